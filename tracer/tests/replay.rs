//! `tracer replay` as its users start it, on a real recording. No privilege is needed.

use std::{
    fs,
    io::{BufRead, BufReader, Write},
    path::PathBuf,
    process::{Command, Output, Stdio},
    time::{Duration, Instant},
};

/// A broken pipe, as `tracer demo` makes one: both ends, the RST at both, and the failed write.
const RECORDING: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/tests/recordings/broken_pipe.ndjson"
);

fn recorded() -> String {
    fs::read_to_string(RECORDING).expect("the recording")
}

fn command(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tracer"));
    command.arg("replay").args(args);
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("TRACER_") {
            command.env_remove(name);
        }
    }
    command
}

fn run(args: &[&str]) -> Output {
    command(args)
        .stdin(Stdio::null())
        .output()
        .expect("tracer runs")
}

/// With this on standard input.
fn fed(args: &[&str], input: &[u8]) -> Output {
    let mut child = command(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("tracer runs");
    let mut stdin = child.stdin.take().expect("piped");
    stdin.write_all(input).expect("it reads");
    drop(stdin);
    child.wait_with_output().expect("it ends")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// A file that is gone after the test.
struct File(PathBuf);

impl File {
    fn new(name: &str, content: &str) -> File {
        let name = format!("tracer-replay-{}-{name}", std::process::id());
        let path = std::env::temp_dir().join(name);
        fs::write(&path, content).expect("a temporary file");
        File(path)
    }

    fn path(&self) -> &str {
        self.0.to_str().expect("UTF-8")
    }
}

impl Drop for File {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

#[test]
fn as_json_a_recording_comes_back_byte_for_byte() {
    let output = run(&[RECORDING]);
    assert_eq!(text(&output.stdout), recorded());
    assert_eq!(
        (output.status.code(), text(&output.stderr)),
        (Some(0), String::new())
    );
    let output = fed(&["-"], recorded().as_bytes());
    assert_eq!(text(&output.stdout), recorded());
}

#[test]
fn what_this_version_does_not_know_comes_back_too() {
    let line = recorded().replace("{\"v\":1,", "{\"v\":1,\"later\":[1.5,{}],");
    let output = fed(&["-"], line.as_bytes());
    assert_eq!(text(&output.stdout), line);
}

#[test]
fn as_text_it_is_what_a_live_run_writes() {
    let output = run(&["-o", "text", RECORDING]);
    let text = text(&output.stdout);
    for part in ["PROCESS[PID]", "demo-server[", "fin_peer_rst", "hung up on"] {
        assert!(text.contains(part), "{part}: {text}");
    }
}

#[test]
fn filters_choose_as_they_do_live() {
    let kinds = |args: &[&str]| {
        let mut all = args.to_vec();
        all.push(RECORDING);
        let output = text(&run(&all).stdout);
        output
            .lines()
            .filter(|line| line.contains("\"event\":\"tcp_"))
            .count()
    };
    let all = kinds(&[]);
    assert_eq!(
        kinds(&["--reason", "fin_peer_rst", "--events", "tcp_close"]),
        1
    );
    assert_eq!(kinds(&["--comm", "demo-server,demo-client"]), all);
    assert_eq!(kinds(&["--comm", "nobody"]), 0);
    assert_eq!(kinds(&["--peer", "127.0.0.0/8"]), all);
    // tracer's own lines are there whatever is chosen.
    let output = text(&run(&["--pid", "1", RECORDING]).stdout);
    assert!(output.contains("\"event\":\"start\"") && output.contains("\"event\":\"stop\""));
}

#[test]
fn bad_lines_are_told_with_their_number_and_passed_over() {
    let good = recorded();
    let newer = "{\"v\":2,\"event\":\"tcp_close\"}";
    let long = "x".repeat(70_000);
    let input = format!("nothing\n{good}\n{newer}\n{long}\n{{\"v\":1,\"ev");
    let output = fed(&["-"], input.as_bytes());
    assert_eq!(text(&output.stdout), good);
    assert_eq!(output.status.code(), Some(0));
    let lines = good.lines().count();
    let errors = text(&output.stderr);
    for part in [
        "standard input:1: skipped: not a JSON object".to_owned(),
        format!("standard input:{}: skipped: of schema version 2", lines + 3),
        format!("standard input:{}: skipped: longer than 64 KiB", lines + 4),
        format!("standard input:{}: skipped: not a JSON object", lines + 5),
    ] {
        assert!(errors.contains(&part), "{part}: {errors}");
    }
}

#[test]
fn what_cannot_be_shown_is_a_failure_and_what_cannot_be_meant_is_wrong_usage() {
    let output = run(&["/nowhere.ndjson"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("/nowhere.ndjson"));
    let output = fed(&["-"], b"a\nb\n");
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("no line is an event"));
    assert_eq!(fed(&["-"], b"").status.code(), Some(0));
    for args in [
        &["-o", "tui", "-"][..],
        &[],
        &["--speed", "3", "-"],
        &["--port", "x", "-"],
    ] {
        let output = run(args);
        assert_eq!(output.status.code(), Some(2), "{args:?}");
        assert!(output.stdout.is_empty());
    }
}

#[test]
fn recordings_are_merged_by_time() {
    let all = recorded();
    let lines: Vec<_> = all.lines().collect();
    let time = |line: &str| {
        let at = line.find("\"ts\":\"").expect("a time") + 6;
        line[at..at + 30].to_owned()
    };
    let mut by_time = lines.clone();
    by_time.sort_by_key(|line| time(line));
    let (mut odd, mut even) = (String::new(), String::new());
    for (index, line) in by_time.iter().enumerate() {
        let part = if index % 2 == 0 { &mut even } else { &mut odd };
        part.push_str(line);
        part.push('\n');
    }
    let (odd, even) = (File::new("odd", &odd), File::new("even", &even));
    let output = run(&[odd.path(), even.path()]);
    assert_eq!(text(&output.stdout), by_time.join("\n") + "\n");
}

#[test]
fn a_recording_that_grows_is_shown_as_it_grows() {
    let mut child = command(&["-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("tracer runs");
    let mut stdin = child.stdin.take().expect("piped");
    let mut stdout = BufReader::new(child.stdout.take().expect("piped"));
    for line in recorded().split_inclusive('\n') {
        stdin.write_all(line.as_bytes()).expect("it reads");
        let mut shown = String::new();
        stdout.read_line(&mut shown).expect("it writes");
        assert_eq!(shown, line);
    }
    // A reader that goes away ends it, also while nothing comes.
    drop(stdout);
    let until = Instant::now() + Duration::from_secs(10);
    let status = loop {
        match child.try_wait().expect("a child") {
            Some(status) => break status,
            None => assert!(Instant::now() < until, "it does not notice"),
        }
        std::thread::sleep(Duration::from_millis(20));
    };
    assert_eq!(status.code(), Some(0));
}
