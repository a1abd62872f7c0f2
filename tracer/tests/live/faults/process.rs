//! What can happen to the process itself: killed at any moment, too few descriptors, too little memory.

use std::{
    collections::BTreeSet,
    fs,
    io::{Read, pipe},
    os::unix::process::{CommandExt, ExitStatusExt},
    process::{Command, Output, Stdio},
    thread::sleep,
    time::Duration,
};

use nix::sys::signal::Signal;

use super::{Running, Traffic, lines_of, tracer_of, wait_for};
use crate::{
    Test,
    cli::{in_kernel, listed},
    lab::{folder::Folder, memory::MemoryLimit, needs::Need, tracer::command},
};

pub fn tests() -> Vec<Test> {
    let (ip, bpftool) = (Need::Program("ip"), Need::Program("bpftool"));
    vec![
        Test::new(
            "faults::killed_while_attaching",
            &[bpftool],
            killed_while_attaching,
        ),
        Test::new("faults::few_open_files", &[], few_open_files),
        Test::new("faults::files_run_out_later", &[ip], files_run_out_later),
        Test::new("faults::little_memory", &[Need::MemoryLimit], little_memory),
        Test::new(
            "faults::killed_for_want_of_memory",
            &[Need::MemoryLimit, ip, bpftool],
            killed_for_want_of_memory,
        ),
        Test::new(
            "faults::standard_output_is_full",
            &[],
            standard_output_is_full,
        ),
        Test::new(
            "faults::standard_error_is_full",
            &[],
            standard_error_is_full,
        ),
        Test::new(
            "faults::hangup_without_a_file",
            &[ip],
            hangup_without_a_file,
        ),
    ]
}

/// What a process has in the kernel.
#[derive(Default)]
struct Held {
    programs: BTreeSet<u64>,
    maps: BTreeSet<u64>,
}

impl Held {
    fn note(&mut self, tracer: &Running) {
        let (programs, maps) = in_kernel(tracer.0.id());
        self.programs.extend(programs);
        self.maps.extend(maps);
    }

    /// The kernel frees them after a grace period, and never gives their numbers again so soon.
    fn wait_until_gone(&self) {
        wait_for("the kernel to be empty", || {
            listed("prog").is_disjoint(&self.programs) && listed("map").is_disjoint(&self.maps)
        });
    }
}

/// At moments spread over the whole start, and some after it.
fn killed_while_attaching() {
    const KILLS: u32 = 20;
    let mut all = Held::default();
    let mut stages = BTreeSet::new();
    for kill in 0..KILLS {
        let mut command = command(&["-o", "json"]);
        let mut tracer = Running::start(command.stdout(Stdio::null()));
        sleep(Duration::from_millis(13) * kill);
        // It stands still, so that what it has can be looked at.
        tracer.signal(Signal::SIGSTOP);
        wait_for("it to stop", || {
            let stat = fs::read_to_string(format!("/proc/{}/stat", tracer.0.id()));
            stat.is_ok_and(|stat| {
                stat.rsplit(')')
                    .next()
                    .is_some_and(|rest| rest.starts_with(" T"))
            })
        });
        let mut held = Held::default();
        held.note(&tracer);
        stages.insert((held.programs.len(), held.maps.len()));
        tracer.signal(Signal::SIGKILL);
        let status = tracer.ends(Duration::from_secs(10));
        assert_eq!(status.signal(), Some(libc::SIGKILL));
        all.programs.extend(held.programs);
        all.maps.extend(held.maps);
    }
    assert!(stages.len() > 3, "killed at different moments: {stages:?}");
    all.wait_until_gone();
}

/// With so many descriptors: (as the process has it, as it may raise it).
fn with_open_files(command: &mut Command, soft: u64, hard: u64) -> Output {
    let limit = libc::rlimit {
        rlim_cur: soft,
        rlim_max: hard,
    };
    // SAFETY: a system call alone between fork and exec.
    unsafe {
        command.pre_exec(move || match libc::setrlimit(libc::RLIMIT_NOFILE, &limit) {
            0 => Ok(()),
            _ => Err(std::io::Error::last_os_error()),
        });
    }
    command.stdin(Stdio::null()).output().expect("the tracer")
}

/// It takes what it may have, and says how many it needs where that is too little.
fn few_open_files() {
    let run = || command(&["-o", "json", "--for", "100ms"]);
    for hard in [8, 30, 64, 100] {
        let output = with_open_files(&mut run(), hard, hard);
        assert_eq!(output.status.code(), Some(1), "{hard}: {output:?}");
        assert!(output.stdout.is_empty(), "{hard}: {output:?}");
        let stderr = String::from_utf8_lossy(&output.stderr);
        let words = ["open files", "ulimit -n", &format!("may have {hard}")];
        assert!(words.iter().all(|word| stderr.contains(word)), "{stderr}");
        assert_eq!(stderr.lines().count(), 1, "{stderr}");
    }
    let output = with_open_files(&mut run(), 16, 1024);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let lines = lines_of(&output.stdout);
    assert_eq!(lines.last().map_or("", |line| line.event()), "stop");
    assert_eq!(lines[0].json["blind"], serde_json::json!([]));
    let output = with_open_files(&mut command(&["doctor"]), 30, 30);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let stdout = String::from_utf8_lossy(&output.stdout);
    assert!(stdout.contains("To fix it: raise the limit"), "{stdout}");
}

/// The maps do not fit, and it says what to do; smaller ones do.
fn little_memory() {
    let limit = MemoryLimit::new(80 << 20);
    let run = |args: &[&str]| {
        let mut command = command(&["-o", "json", "--for", "100ms"]);
        limit.take_in(command.args(args));
        command.stdin(Stdio::null()).output().expect("the tracer")
    };
    let output = run(&["--max-connections", "1000000"]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let stderr = String::from_utf8_lossy(&output.stderr);
    let words = [
        "no memory for the maps",
        "--max-connections",
        "limit of this cgroup",
    ];
    assert!(words.iter().all(|word| stderr.contains(word)), "{stderr}");
    let output = run(&["--max-connections", "1000", "--ring-size", "1M"]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
}

/// What waits for a reader that stands still grows until the kernel kills: nothing stays in the kernel, and what the
/// reader has is whole.
fn killed_for_want_of_memory() {
    let limit = MemoryLimit::new(90 << 20);
    let mut traffic = Traffic::new();
    let mut command = tracer_of(&traffic);
    command.args(["--max-connections", "1000", "--ring-size", "1M"]);
    limit.take_in(&mut command);
    let (mut reader, writer) = pipe().expect("a pipe");
    let mut tracer = Running::start(command.stdout(writer));
    drop(command);
    let mut bytes = vec![0; 4096];
    let count = reader.read(&mut bytes).expect("a line");
    bytes.truncate(count);
    let mut held = Held::default();
    held.note(&tracer);
    assert!(!held.programs.is_empty() && !held.maps.is_empty());
    wait_for("the kernel to kill it", || {
        traffic.run(2_000);
        tracer.0.try_wait().expect("a child").is_some()
    });
    let status = tracer.ends(Duration::from_secs(1));
    assert_eq!(status.signal(), Some(libc::SIGKILL), "{status}");
    held.wait_until_gone();
    reader.read_to_end(&mut bytes).expect("the rest");
    assert!(lines_of(&bytes).len() > 10);
}

/// Nobody hears what it says of itself: that is no reason to end.
fn standard_error_is_full() {
    let full = || {
        fs::OpenOptions::new()
            .write(true)
            .open("/dev/full")
            .expect("a device")
    };
    for (args, code) in [
        (&["-o", "json", "-vvv", "--for", "100ms"][..], 0),
        (&["--no-such-option"], 2),
    ] {
        let output = command(args)
            .stdin(Stdio::null())
            .stderr(full())
            .output()
            .expect("the tracer");
        assert_eq!(output.status.code(), Some(code), "{args:?}: {output:?}");
        let last = lines_of(&output.stdout).pop();
        let due = if code == 0 { "stop" } else { "" };
        assert_eq!(last.as_ref().map_or("", |line| line.event()), due);
    }
}

/// What is asked for once and cannot be written is a failure.
fn standard_output_is_full() {
    for args in [&["schema"][..], &["--help"], &["doctor"]] {
        let output = command(args)
            .stdin(Stdio::null())
            .stdout(
                fs::OpenOptions::new()
                    .write(true)
                    .open("/dev/full")
                    .expect("a device"),
            )
            .stderr(Stdio::piped())
            .output()
            .expect("the tracer");
        assert_eq!(output.status.code(), Some(1), "{args:?}: {output:?}");
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(
            stderr.contains("cannot write to standard output"),
            "{stderr}"
        );
    }
}

/// There is nothing to open anew, and nothing else happens.
fn hangup_without_a_file() {
    let mut traffic = Traffic::new();
    let (mut reader, writer) = pipe().expect("a pipe");
    let mut tracer = Running::start(tracer_of(&traffic).stdout(writer));
    let mut bytes = vec![0; 4096];
    let count = reader.read(&mut bytes).expect("a line");
    bytes.truncate(count);
    tracer.signal(Signal::SIGHUP);
    traffic.run(20);
    tracer.signal(Signal::SIGHUP);
    tracer.signal(Signal::SIGTERM);
    reader.read_to_end(&mut bytes).expect("the rest");
    assert!(tracer.ends(Duration::from_secs(10)).success());
    let lines = lines_of(&bytes);
    traffic.account(traffic.own(&lines).len(), 0);
    assert_eq!(lines.last().map_or("", |line| line.event()), "stop");
}

/// What is open stays so: events go on without what would have to be opened, and with it again later.
fn files_run_out_later() {
    let folder = Folder::new();
    let (file, stderr) = (folder.file("events.ndjson"), folder.file("stderr"));
    let said = || fs::read_to_string(&stderr).expect("it is there");
    let mut traffic = Traffic::new();
    let mut tracer = tracer_of(&traffic);
    tracer
        .arg("--output-file")
        .arg(&file)
        .stderr(fs::File::create(&stderr).expect("the folder is ours"));
    let mut tracer = Running::start(&mut tracer);
    wait_for("`start`", || {
        fs::metadata(&file).is_ok_and(|file| file.len() > 0)
    });
    let allow = |soft| {
        let limit = libc::rlimit {
            rlim_cur: soft,
            rlim_max: 1_024,
        };
        let pid = tracer.pid().as_raw();
        // SAFETY: one limit, which outlives the call.
        let set = unsafe { libc::prlimit(pid, libc::RLIMIT_NOFILE, &limit, std::ptr::null_mut()) };
        assert_eq!(set, 0, "{}", std::io::Error::last_os_error());
    };
    allow(3);
    traffic.run(20);
    let old = folder.file("events.ndjson.1");
    fs::rename(&file, &old).expect("it is ours");
    tracer.signal(Signal::SIGHUP);
    wait_for("two complaints", || {
        let said = said();
        said.contains("going on with the old file") && said.contains("not told of meanwhile")
    });
    traffic.run(20);
    allow(1_024);
    wait_for("the walk", || said().contains("told of again"));
    tracer.signal(Signal::SIGHUP);
    wait_for("the new file", || file.exists());
    traffic.run(20);
    tracer.signal(Signal::SIGINT);
    assert!(tracer.ends(Duration::from_secs(10)).success());
    let mut lines = lines_of(&fs::read(&old).expect("it is there"));
    lines.extend(lines_of(&fs::read(&file).expect("it is there")));
    traffic.account(traffic.own(&lines).len(), 0);
    assert_eq!(lines.last().map_or("", |line| line.event()), "stop");
}
