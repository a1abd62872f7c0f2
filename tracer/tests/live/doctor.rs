//! `tracer doctor`: the truth about this kernel, and the one thing to fix where tracing is impossible.

use std::process::{Command, Output};

use serde_json::Value;

use crate::{
    Test,
    cli::as_nobody,
    lab::{
        folder::Folder,
        needs::Need,
        tracer::{Tracer, binary, command},
    },
};

pub fn tests() -> Vec<Test> {
    vec![
        Test::new("doctor::says_what_serves", &[], says_what_serves),
        Test::new("doctor::without_privilege", &[], without_privilege),
        Test::new("doctor::a_family_by_name", &[], a_family_by_name),
        Test::new(
            "doctor::without_sysfs",
            &[Need::Program("unshare")],
            without_sysfs,
        ),
    ]
}

fn doctor(args: &[&str]) -> Output {
    command(args).output().expect("the tracer")
}

/// What it found by attaching is what a run finds, and nothing of it stays behind.
fn says_what_serves() {
    let output = doctor(&["doctor", "--json"]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let report: Value = serde_json::from_slice(&output.stdout).expect("one JSON object");
    assert_eq!(report["possible"], true, "{report}");
    assert_eq!(report["fix"], Value::Null, "{report}");

    let start = Tracer::start().finish().lines[0].json.clone();
    let served = |hooks: &Value| -> Vec<[Value; 4]> {
        let hooks = hooks.as_array().expect("hooks");
        hooks
            .iter()
            .map(|hook| ["signal", "hook", "error", "instead_of"].map(|key| hook[key].clone()))
            .collect()
    };
    assert_eq!(served(&report["hooks"]), served(&start["hooks"]));
    assert_eq!(report["blind"], start["blind"]);
    assert_eq!(report["kernel"], start["kernel"]);

    let text = doctor(&["doctor"]);
    assert_eq!(text.status.code(), Some(0), "{text:?}");
    let text = String::from_utf8_lossy(&text.stdout).into_owned();
    assert!(text.contains("Tracing works"), "{text}");
    for hook in report["hooks"].as_array().expect("hooks") {
        let signal = hook["signal"].as_str().expect("a name");
        assert!(text.contains(signal), "{signal} is not in\n{text}");
    }
}

/// Functions in the place of tracepoints, or words that say why this kernel does not let them.
fn a_family_by_name() {
    let output = doctor(&["--hooks", "fentry", "-o", "json", "--for", "300ms"]);
    let stderr = String::from_utf8_lossy(&output.stderr);
    if output.status.success() {
        let stdout = String::from_utf8_lossy(&output.stdout);
        let start: Value =
            serde_json::from_str(stdout.lines().next().expect("a line")).expect("JSON");
        let hooks = start["hooks"].to_string();
        assert!(hooks.contains("fexit:inet_recvmsg"), "{hooks}");
        assert!(!hooks.contains("sock_recv_length"), "{hooks}");
    } else {
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        for words in ["cannot attach", "as --hooks fentry asks", "--hooks auto"] {
            assert!(stderr.contains(words), "{words}: {stderr}");
        }
    }
}

fn without_privilege() {
    let folder = Folder::new();
    let output = as_nobody(&folder, &["doctor"]);
    impossible(&output, "CAP_BPF");
}

/// A container without the host's /sys.
fn without_sysfs() {
    let script = "umount -l /sys && exec \"$0\" doctor";
    let output = Command::new("unshare")
        .args(["-m", "sh", "-c", script])
        .arg(binary())
        .output()
        .expect("unshare");
    impossible(&output, "mount sysfs");
}

fn impossible(output: &Output, word: &str) {
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(text.contains("Tracing is impossible"), "{text}");
    assert!(text.contains("To fix it: "), "{text}");
    assert!(text.contains(word), "{text}");
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(!stderr.contains("panicked"), "{stderr}");
}
