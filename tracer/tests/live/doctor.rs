//! `tracer doctor`: the truth about this kernel, and the one thing to fix where tracing is impossible.

use std::{
    os::unix::process::CommandExt as _,
    process::{Command, Output},
};

use serde_json::Value;

use crate::{
    Test,
    cli::as_nobody,
    lab::{
        folder::Folder,
        needs::Need,
        tracer::{Tracer, binary, command, hooks},
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
        Test::new(
            "doctor::without_types",
            &[Need::Program("unshare")],
            without_types,
        ),
        Test::new(
            "doctor::with_half_of_the_capabilities",
            &[Need::Program("setpriv")],
            with_half_of_the_capabilities,
        ),
        Test::new("doctor::where_bpf_is_refused", &[], where_bpf_is_refused),
        Test::new("doctor::under_lockdown", &[Need::Lockdown], under_lockdown),
    ]
}

fn doctor(args: &[&str]) -> Output {
    command(args).output().expect("the tracer")
}

/// What it found by attaching is what a run finds, and nothing of it stays behind.
fn says_what_serves() {
    let hooks = hooks();
    let words: Vec<&str> = ["doctor", "--json"]
        .into_iter()
        .chain(hooks.iter().map(String::as_str))
        .collect();
    let output = doctor(&words);
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
    for (family, hook) in [
        ("fentry", "fexit:inet_recvmsg"),
        ("kprobe", "kretprobe:inet_recvmsg"),
    ] {
        let output = doctor(&["--hooks", family, "-o", "json", "--for", "300ms"]);
        let stderr = String::from_utf8_lossy(&output.stderr);
        if output.status.success() {
            let stdout = String::from_utf8_lossy(&output.stdout);
            let start: Value =
                serde_json::from_str(stdout.lines().next().expect("a line")).expect("JSON");
            let hooks = start["hooks"].to_string();
            assert!(hooks.contains(hook), "{hooks}");
            assert!(!hooks.contains("sock_recv_length"), "{hooks}");
        } else {
            assert_eq!(output.status.code(), Some(1), "{output:?}");
            let asked = format!("as --hooks {family} asks");
            for words in ["cannot attach", &asked, "--hooks auto"] {
                assert!(stderr.contains(words), "{words}: {stderr}");
            }
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

/// A kernel that does not describe its types.
fn without_types() {
    let script = "mount -t tmpfs none /sys/kernel/btf && exec \"$0\" doctor";
    let output = Command::new("unshare")
        .args(["-m", "sh", "-c", script])
        .arg(binary())
        .output()
        .expect("unshare");
    impossible(&output, "CONFIG_DEBUG_INFO_BTF");
}

/// Root in name: one of the two capabilities is missing, and only that one is named.
fn with_half_of_the_capabilities() {
    // CAP_BPF, by its number: older programs do not know the name.
    let output = Command::new("setpriv")
        .args(["--inh-caps=-all,+cap_39", "--bounding-set=-all,+cap_39"])
        .arg(binary())
        .arg("doctor")
        .output()
        .expect("setpriv");
    impossible(&output, "tracing needs CAP_PERFMON, which");
}

/// A container's seccomp profile.
fn where_bpf_is_refused() {
    let mut command = command(&["doctor"]);
    // SAFETY: one system call that allocates nothing.
    unsafe { command.pre_exec(refuse_bpf) };
    let output = command.output().expect("the tracer");
    impossible(&output, "seccomp profile that allows bpf(2)");
}

/// From here on bpf(2) answers EPERM in this process.
fn refuse_bpf() -> std::io::Result<()> {
    const NUMBER_AT: u32 = 0;
    let load = (libc::BPF_LD | libc::BPF_W | libc::BPF_ABS) as u16;
    let equal = (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16;
    let end = (libc::BPF_RET | libc::BPF_K) as u16;
    let instruction = |code, jt, k| libc::sock_filter { code, jt, jf: 0, k };
    let mut filter = [
        instruction(load, 0, NUMBER_AT),
        instruction(equal, 1, libc::SYS_bpf as u32),
        instruction(end, 0, libc::SECCOMP_RET_ALLOW),
        instruction(end, 0, libc::SECCOMP_RET_ERRNO | libc::EPERM as u32),
    ];
    let program = libc::sock_fprog {
        len: filter.len() as u16,
        filter: filter.as_mut_ptr(),
    };
    // SAFETY: the kernel copies the program, which outlives the call.
    let set = unsafe {
        libc::syscall(
            libc::SYS_seccomp,
            libc::SECCOMP_SET_MODE_FILTER,
            0,
            &raw const program,
        )
    };
    match set {
        0 => Ok(()),
        _ => Err(std::io::Error::last_os_error()),
    }
}

/// Most of it can be seen, and what cannot is said.
fn under_lockdown() {
    let output = doctor(&["doctor", "--json"]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let report: Value = serde_json::from_slice(&output.stdout).expect("one JSON object");
    assert_eq!(report["may_probe"], false, "{report}");
    let blind = report["blind"].to_string();
    assert!(blind.contains("open already"), "{blind}");
    let mut hooks = report["hooks"].as_array().expect("hooks").iter();
    let state = hooks.find(|hook| hook["signal"] == "state");
    assert_eq!(state.expect("a signal")["attached"], true, "{report}");
    let text = doctor(&["doctor"]);
    let text = String::from_utf8_lossy(&text.stdout).into_owned();
    assert!(text.contains("boot with lockdown=integrity"), "{text}");

    let refused = doctor(&["doctor", "--hooks", "kprobe"]);
    impossible(&refused, "lockdown=confidentiality forbids");
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
