//! Help, man page and completions as their users get them, kept as files beside this one: a change of the command line
//! shows itself there. UPDATE_TEXTS=1 in the environment writes them anew.

use std::{
    fs,
    path::Path,
    process::{Command, Stdio},
};

const TEXTS: &[(&str, &[&str])] = &[
    ("help.txt", &["--help"]),
    ("help-short.txt", &["-h"]),
    ("help-replay.txt", &["replay", "--help"]),
    ("help-demo.txt", &["demo", "--help"]),
    ("help-doctor.txt", &["doctor", "--help"]),
    ("help-explain.txt", &["explain", "-h"]),
    ("help-schema.txt", &["schema", "--help"]),
    ("help-gen.txt", &["gen", "--help"]),
    ("tracer.8", &["gen", "man"]),
    ("completions.bash", &["gen", "completions", "bash"]),
    ("completions.zsh", &["gen", "completions", "zsh"]),
    ("completions.fish", &["gen", "completions", "fish"]),
    ("config.toml", &["gen", "config"]),
];

fn printed(args: &[&str]) -> String {
    let mut tracer = Command::new(env!("CARGO_BIN_EXE_tracer"));
    // As wide as it is where nobody says how wide it is.
    tracer.args(args).env_remove("COLUMNS").stdin(Stdio::null());
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("TRACER_") {
            tracer.env_remove(name);
        }
    }
    let output = tracer.output().expect("tracer runs");
    assert!(
        output.status.success() && output.stderr.is_empty(),
        "{output:?}"
    );
    String::from_utf8(output.stdout).expect("UTF-8")
}

#[test]
fn texts_are_as_they_were() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/texts");
    for (name, args) in TEXTS {
        let file = match *name {
            // A package brings it along.
            "config.toml" => folder.join("../../../deploy/tracer.toml"),
            name => folder.join(name),
        };
        let text = printed(args);
        if std::env::var_os("UPDATE_TEXTS").is_some() {
            fs::write(&file, text).expect("it can be written");
            continue;
        }
        let kept = fs::read_to_string(&file).unwrap_or_default();
        let differs = text.lines().zip(kept.lines()).find(|(is, was)| is != was);
        assert!(
            text == kept,
            "tracer {} differs from tests/texts/{name} (is, was): {differs:?}; if it should: \
             UPDATE_TEXTS=1 cargo test --package tracer --test texts",
            args.join(" ")
        );
    }
}

/// groff reads the man page without a complaint.
#[test]
fn the_man_page_is_one() {
    let groff = Command::new("groff")
        .args(["-ww", "-man", "-Tutf8", "-z"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn();
    let Ok(mut groff) = groff else {
        println!("skipped: the_man_page_is_one: needs the program groff");
        return;
    };
    let mut stdin = groff.stdin.take().expect("piped");
    std::io::Write::write_all(&mut stdin, printed(&["gen", "man"]).as_bytes()).expect("it reads");
    drop(stdin);
    let output = groff.wait_with_output().expect("groff");
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && told.is_empty(), "{told}");
}
