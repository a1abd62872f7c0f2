//! Every recording that is kept here is read by this tracer and accepted by its schema, those of
//! recordings/v1 for ever.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use serde_json::{Value, json};
use tracer::event::{Event, MAX_LINE_BYTES, values::Kind};

mod json_schema;

use json_schema::Validator;

const HERE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests");

fn tracer() -> Command {
    Command::new(env!("CARGO_BIN_EXE_tracer"))
}

fn recordings(folders: &[&str]) -> Vec<PathBuf> {
    let mut files: Vec<_> = folders
        .iter()
        .flat_map(|folder| fs::read_dir(Path::new(HERE).join(folder)).expect("a folder"))
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.extension().is_some_and(|end| end == "ndjson"))
        .collect();
    files.sort();
    files
}

fn text(file: &Path) -> String {
    fs::read_to_string(file).unwrap_or_else(|error| panic!("{}: {error}", file.display()))
}

#[test]
fn every_recorded_line_is_an_event_by_the_schema() {
    let validator = Validator::of(&mut tracer());
    let mut lines = 0;
    for file in recordings(&["recordings", "recordings/v1", "stories"]) {
        for (number, line) in text(&file).lines().enumerate() {
            let place = format!("{}:{}", file.display(), number + 1);
            assert!(line.len() <= MAX_LINE_BYTES, "{place}");
            let value =
                serde_json::from_str(line).unwrap_or_else(|error| panic!("{place}: {error}"));
            let judgement = validator.check(&value);
            judgement.unwrap_or_else(|error| panic!("{place}: {error}"));
            lines += 1;
        }
    }
    assert!(lines > 100, "only {lines}");
}

#[test]
fn the_schema_refuses_what_is_no_event() {
    let validator = Validator::of(&mut tracer());
    let file = Path::new(HERE).join("recordings/v1/tcp_close.ndjson");
    let line = text(&file).lines().next().expect("a line").to_owned();
    let good: Value = serde_json::from_str(&line).expect("JSON");
    let wrong = [
        ("v", json!(2)),
        ("event", json!("tcp_party")),
        ("ts", json!("today")),
        ("conn", json!(1)),
        ("local_addr", json!("10.0.0.256")),
        ("reason", json!("because")),
        ("rx_bytes", json!(-1)),
        ("tx_bytes", json!(9_007_199_254_740_994_u64)),
        ("age_ms", json!(1.5)),
        ("hints", json!(null)),
        ("preexisting", json!(null)),
    ];
    for (key, value) in wrong {
        let mut bad = good.clone();
        bad[key] = value;
        assert!(validator.check(&bad).is_err(), "{bad}");
    }
    let mut short = good;
    short.as_object_mut().expect("an object").remove("story");
    assert!(validator.check(&short).is_err(), "{short}");
}

#[test]
fn there_are_lines_of_version_1_of_every_kind() {
    for kind in Kind::ALL {
        let file = Path::new(HERE).join(format!("recordings/v1/{kind}.ndjson"));
        let text = text(&file);
        assert!(
            text.ends_with('\n') && text.starts_with("{\"v\":1,"),
            "{kind}"
        );
        for line in text.lines() {
            let event = Event::parse(line.as_bytes()).expect("this version reads it");
            assert_eq!(event.head.event, *kind);
        }
    }
}

#[test]
fn lines_of_version_1_are_replayed_as_they_are() {
    for file in recordings(&["recordings/v1"]) {
        let replay = |output: &str| {
            let mut tracer = tracer();
            tracer.args(["replay", "-o", output]).arg(&file);
            for (name, _) in std::env::vars_os() {
                if name.to_string_lossy().starts_with("TRACER_") {
                    tracer.env_remove(name);
                }
            }
            let output = tracer.stdin(Stdio::null()).output().expect("tracer runs");
            assert_eq!(output.status.code(), Some(0), "{output:?}");
            assert!(output.stderr.is_empty(), "{output:?}");
            String::from_utf8(output.stdout).expect("UTF-8")
        };
        assert_eq!(replay("json"), text(&file), "{}", file.display());
        // A heartbeat is nothing to read.
        let shown = !file.ends_with("heartbeat.ndjson");
        assert_eq!(!replay("text").is_empty(), shown, "{}", file.display());
    }
}
