//! A recording in the view: held, moved in time, faster; and from a pipe, which goes one way.

use std::{fs, fs::OpenOptions, io::Write};

use serde_json::Value;

use super::Terminal;
use crate::{Test, lab::needs::Need};

/// nginx, a Go and a Python server and curl, with timeouts, resets and a killed process.
pub const RECORDING: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/recordings/shop.ndjson");

pub fn tests() -> Vec<Test> {
    let tmux = &[Need::Program("tmux")];
    vec![
        Test::new("tui::a_recording_is_held_and_moved_in_time", tmux, moved),
        Test::new("tui::a_pipe_goes_one_way", tmux, one_way),
        Test::new("tui::a_file_that_grows_is_followed", tmux, grows),
    ]
}

/// The first time of day of the recording, in seconds.
fn first_s() -> u32 {
    let text = fs::read_to_string(RECORDING).expect("the recording");
    let line = text.lines().next().expect("a line");
    let start: Value = serde_json::from_str(line).expect("JSON");
    let ts = start["ts"].as_str().expect("a time");
    let part = |at: usize| ts[at..at + 2].parse::<u32>().expect("a number");
    part(11) * 3600 + part(14) * 60 + part(17)
}

fn clock(s: u32) -> String {
    format!("{:02}:{:02}:{:02}", s / 3600, s / 60 % 60, s % 60)
}

fn moved() {
    let first = first_s();
    let terminal = Terminal::new();
    terminal.start(&format!("replay {RECORDING}"));
    terminal.wait_for("replay ");
    terminal.keys(&["Space"]);
    terminal.wait_for("HELD");
    // Moved, it still stands.
    terminal.keys(&[")"]);
    let screen = terminal.wait_for("100%");
    assert!(screen.contains("HELD"), "{screen}");
    let all = ends(&terminal.wait_for("the recording is over"));
    terminal.keys(&["("]);
    terminal.wait_for(&format!("replay {} 0%", clock(first)));
    terminal.wait_for("Waiting for the recording");
    terminal.type_text("t5s");
    terminal.keys(&["Enter"]);
    let screen = terminal.wait_for(&format!("replay {} ", clock(first + 5)));
    let some = ends(&screen);
    assert!(some > 0 && some < all, "{some} of {all}: {screen}");
    terminal.keys(&["."]);
    let later = ends(&terminal.wait_for(&format!("replay {} ", clock(first + 15))));
    terminal.keys(&[","]);
    let screen = terminal.wait_for(&format!("replay {} ", clock(first + 5)));
    assert_eq!(ends(&screen), some, "{screen}");
    assert!(later > some);
    terminal.type_text(&format!("t{}", clock(first + 4)));
    terminal.keys(&["Enter"]);
    terminal.wait_for(&format!("replay {} ", clock(first + 4)));
    // Ten times as fast it is soon over.
    terminal.keys(&["+"]);
    terminal.wait_for("x10");
    terminal.keys(&["Space"]);
    assert_eq!(ends(&terminal.wait_for("the recording is over")), all);
    terminal.keys(&["q"]);
    terminal.assert_restored();
}

/// Ends, as the status line counts them.
pub fn ends(screen: &str) -> u64 {
    let words: Vec<_> = screen.split_whitespace().collect();
    let at = words.iter().position(|word| *word == "ends");
    let count = at.and_then(|at| words[at - 1].parse().ok());
    count.unwrap_or_else(|| panic!("no count of ends: {screen}"))
}

fn one_way() {
    let terminal = Terminal::new();
    terminal.type_text(&format!("cat {RECORDING} | "));
    terminal.start("replay --ascii --theme high-contrast -");
    terminal.wait_for("replay ");
    terminal.keys(&[")"]);
    let screen = terminal.wait_for("the recording is over");
    assert!(screen.is_ascii(), "{screen}");
    terminal.keys(&["("]);
    terminal.wait_for("a pipe cannot be read again");
    terminal.keys(&["q"]);
    terminal.assert_restored();
}

/// As `tracer --output-file` writes it, and once half a line.
fn grows() {
    let text = fs::read_to_string(RECORDING).expect("the recording");
    let lines: Vec<_> = text.split_inclusive('\n').collect();
    let is_end = |line: &&&str| line.contains(r#""event":"tcp_c"#);
    let count = |lines: &[&str]| lines.iter().filter(is_end).count() as u64;
    let (first, later) = lines.split_at(lines.len() / 2);
    let at = later.iter().position(|line| is_end(&line)).expect("an end");
    let half = later[at].len() / 2;

    let terminal = Terminal::new();
    let file = terminal.folder.file("grows.ndjson");
    fs::write(&file, first.concat()).expect("the folder is ours");
    let append = |text: &str| {
        let file = OpenOptions::new().append(true).open(&file);
        let mut file = file.expect("it is there");
        file.write_all(text.as_bytes()).expect("it can be written");
    };
    terminal.start("replay --speed max grows.ndjson");
    terminal.wait_for("the recording is over");
    let is = |due: u64| terminal.wait_for(&format!(" {due} ends"));
    is(count(first));
    append(&later[..at].concat());
    append(&later[at][..half]);
    is(count(first));
    append(&later[at][half..]);
    is(count(first) + 1);
    // Held, it stands, also when there is more.
    terminal.keys(&["Space"]);
    terminal.wait_for("HELD");
    append(&later[at + 1..].concat());
    is(count(first) + 1);
    terminal.keys(&["Space"]);
    is(count(&lines));
    terminal.keys(&["("]);
    terminal.wait_for("the recording is over");
    is(count(&lines));
    terminal.keys(&["q"]);
    terminal.wait_for("ended=0");
    assert!(
        !terminal.screen().contains("skipped"),
        "{}",
        terminal.screen()
    );
    terminal.assert_restored();
}
