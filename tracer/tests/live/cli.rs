//! The command as users and their scripts start it: exit statuses, signals, pipes, files, privilege.

use std::{
    collections::BTreeSet,
    fs::{self, File},
    io::{BufRead, BufReader, Read},
    os::unix::{fs::PermissionsExt, process::CommandExt},
    path::{Path, PathBuf},
    process::{Child, ExitStatus, Output, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde_json::Value;

use crate::{
    Test,
    endings::fin::fin,
    lab::{
        folder::Folder,
        link::{Link, Net},
        needs::Need,
        tracer::{Line, Tracer, binary, command},
    },
};

pub fn tests() -> Vec<Test> {
    let ip = &[Need::Program("ip")];
    let bpftool = &[Need::Program("bpftool")];
    vec![
        Test::new("cli::head_1", &[Need::Program("bash")], head_1),
        Test::new(
            "cli::reader_gone_without_events",
            &[],
            reader_gone_without_events,
        ),
        Test::new("cli::sigint", &[], || signal_ends_it(Signal::SIGINT)),
        Test::new("cli::sigterm", &[], || signal_ends_it(Signal::SIGTERM)),
        Test::new("cli::for_a_while", &[], for_a_while),
        Test::new("cli::count", ip, count),
        Test::new(
            "cli::environment_and_config_file",
            &[],
            environment_and_config_file,
        ),
        Test::new("cli::output_file", ip, output_file),
        Test::new("cli::without_privilege", &[], without_privilege),
        Test::new("cli::privilege_is_given_up", &[], privilege_is_given_up),
        Test::new("cli::wrong_usage", &[], wrong_usage),
        Test::new(
            "cli::wrong_usage_is_told_without_privilege",
            &[],
            wrong_usage_without_privilege,
        ),
        Test::new(
            "cli::sigkill_leaves_nothing",
            bpftool,
            sigkill_leaves_nothing,
        ),
        Test::new("cli::end_leaves_nothing", bpftool, end_leaves_nothing),
        Test::new("cli::in_time", ip, in_time),
        Test::new(
            "cli::last_events_before_the_end",
            ip,
            last_events_before_the_end,
        ),
    ]
}

pub const NOBODY: u32 = 65534;

/// `tracer | head -1`: the reader goes away after one line.
fn head_1() {
    let script = format!(
        "{} -o json | head -1; exit ${{PIPESTATUS[0]}}",
        binary().display()
    );
    let began = Instant::now();
    let output = std::process::Command::new("bash")
        .args(["-c", &script])
        .output()
        .expect("bash");
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let line = Line::new(
        String::from_utf8_lossy(&output.stdout)
            .trim_end()
            .to_owned(),
    );
    assert_eq!(line.event(), "start", "{output:?}");
    assert!(output.stderr.is_empty(), "{output:?}");
    assert!(
        began.elapsed() < Duration::from_secs(8),
        "{:?}",
        began.elapsed()
    );
}

/// No event happens, and still it notices that nobody reads any more.
fn reader_gone_without_events() {
    // A filter that nothing passes.
    let mut child = spawn(&["-o", "json", "--comm", "no-such-name"]);
    let mut stdout = BufReader::new(child.stdout.take().expect("piped"));
    let mut line = String::new();
    stdout.read_line(&mut line).expect("the start line");
    drop(stdout);
    let began = Instant::now();
    let status = wait(&mut child, Duration::from_secs(10));
    assert_eq!(status.code(), Some(0));
    // It says 1 s; the rest is for a machine that has other things to do.
    assert!(
        began.elapsed() < Duration::from_secs(3),
        "{:?}",
        began.elapsed()
    );
    assert_eq!(stderr_of(&mut child), "");
}

fn signal_ends_it(signal: Signal) {
    let mut child = spawn(&["-o", "json"]);
    let mut stdout = BufReader::new(child.stdout.take().expect("piped"));
    let mut text = String::new();
    stdout.read_line(&mut text).expect("the start line");
    kill(Pid::from_raw(child.id() as i32), signal).expect("it runs");
    stdout.read_to_string(&mut text).expect("the rest");
    let status = wait(&mut child, Duration::from_secs(10));
    assert_eq!(status.code(), Some(0));
    let last = Line::new(text.lines().last().unwrap_or("").to_owned());
    assert_eq!(last.event(), "stop", "{text}");
    assert_eq!(stderr_of(&mut child), "");
}

fn for_a_while() {
    let began = Instant::now();
    let recording = Tracer::start_with(&["--for", "1200ms"]).collect();
    recording.check();
    let took = began.elapsed();
    assert!((1200..8000).contains(&took.as_millis()), "{took:?}");
}

/// Ends by itself after so many events of connections.
fn count() {
    let net = Net::new(Link::LoV4);
    let netns = net.client_ns.inode() as i64;
    let tracer = Tracer::start_with(&["--count", "7", "--comm", "lab-client,lab-server"]);
    fin(&net, 10);
    let recording = tracer.collect();
    recording.check();
    let events = recording
        .lines
        .iter()
        .filter(|line| line.event().starts_with("tcp_"));
    assert_eq!(events.clone().count(), 7);
    assert!(events.clone().all(|line| line.int("netns") == Some(netns)));
}

/// A flag wins over the environment, that over the file.
fn environment_and_config_file() {
    let folder = Folder::new();
    let config = folder.file("tracer.toml");
    fs::write(&config, "for = \"300s\"\noutput = \"text\"\n").expect("the folder is ours");
    let mut command = command(&["-o", "json", "--config"]);
    command
        .arg(&config)
        .env("TRACER_FOR", "700ms")
        .env("TRACER_OUTPUT", "text");
    let began = Instant::now();
    let output = command.stdin(Stdio::null()).output().expect("the tracer");
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert!(
        began.elapsed() < Duration::from_secs(10),
        "{:?}",
        began.elapsed()
    );
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    for line in text.lines() {
        assert!(
            !Line::new(line.to_owned()).event().is_empty(),
            "not JSON: {line}"
        );
    }
}

/// Appends, with mode 0640, and opens the file anew on SIGHUP.
fn output_file() {
    let folder = Folder::new();
    let (log, rotated) = (folder.file("events.ndjson"), folder.file("events.ndjson.1"));
    let mut child = spawn(&["-o", "json", "--output-file", &log.to_string_lossy()]);
    wait_for_lines(&log, |lines| {
        lines.iter().any(|line| line.event() == "start")
    });
    let mode = fs::metadata(&log).expect("it exists").permissions().mode();
    assert_eq!(mode & 0o7777, 0o640, "{mode:o}");
    let net = Net::new(Link::LoV4);
    let netns = net.client_ns.inode() as i64;
    let ends = |lines: &[Line]| {
        lines
            .iter()
            .filter(|line| line.is_end() && line.int("netns") == Some(netns))
            .count()
    };
    fin(&net, 3);
    wait_for_lines(&log, |lines| ends(lines) == 6);

    fs::rename(&log, &rotated).expect("the folder is ours");
    kill(Pid::from_raw(child.id() as i32), Signal::SIGHUP).expect("it runs");
    wait_for(|| log.exists());
    fin(&net, 4);
    wait_for_lines(&log, |lines| ends(lines) == 8);
    assert_eq!(ends(&lines_of(&rotated)), 6, "nothing more in the old file");

    kill(Pid::from_raw(child.id() as i32), Signal::SIGINT).expect("it runs");
    let status = wait(&mut child, Duration::from_secs(10));
    assert_eq!(status.code(), Some(0));
    let before = lines_of(&log).len();
    assert_eq!(
        lines_of(&log).last().map_or("", |line| line.event()),
        "stop"
    );
    let mut stdout = String::new();
    let mut pipe = child.stdout.take().expect("piped");
    pipe.read_to_string(&mut stdout).expect("text");
    assert_eq!(stdout, "", "all goes to the file");

    // A further run appends.
    let mut child = spawn(&[
        "-o",
        "json",
        "--for",
        "300ms",
        "--output-file",
        &log.to_string_lossy(),
    ]);
    assert_eq!(wait(&mut child, Duration::from_secs(15)).code(), Some(0));
    let lines = lines_of(&log);
    assert!(
        lines.len() >= before + 2,
        "{} lines after {before}",
        lines.len()
    );
}

/// Says which capability is missing.
fn without_privilege() {
    let folder = Folder::new();
    let output = as_nobody(&folder, &["-o", "json"]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(output.stdout.is_empty(), "{output:?}");
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(
        stderr.contains("CAP_BPF") || stderr.contains("CAP_SYS_ADMIN"),
        "{stderr}"
    );
    assert!(!stderr.contains("panicked"), "{stderr}");
}

/// Every thread has only the capabilities that docs/install.md names for a run, and a filter of system calls.
fn privilege_is_given_up() {
    const DAC_OVERRIDE: u64 = 1 << 1;
    const DAC_READ_SEARCH: u64 = 1 << 2;
    const SYS_PTRACE: u64 = 1 << 19;
    const BPF: u64 = 1 << 39;
    const SETS: [&str; 5] = ["CapInh:", "CapPrm:", "CapEff:", "CapBnd:", "CapAmb:"];
    let sets = |status: &str| {
        SETS.map(|set| {
            let line = status.lines().find_map(|line| line.strip_prefix(set));
            u64::from_str_radix(line.expect("a set").trim(), 16).expect("hex")
        })
    };
    let uname = nix::sys::utsname::uname().expect("uname");
    // Before 6.0 maps cannot be read without it.
    let old = uname.release().to_string_lossy().starts_with("5.");
    let least = SYS_PTRACE | DAC_READ_SEARCH | if old { BPF } else { 0 };
    let [_, permitted, effective, bounding, _] =
        sets(&fs::read_to_string("/proc/self/status").expect("/proc"));
    let filters = |status: &str| -> u32 {
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix("Seccomp_filters:"));
        line.expect("since 5.9").trim().parse().expect("a number")
    };
    let own_filters = filters(&fs::read_to_string("/proc/self/status").expect("/proc"));
    let folder = Folder::new();
    let file = folder.file("events.ndjson").display().to_string();
    for (args, due) in [
        (
            &["-o", "json", "--metrics-listen", "127.0.0.1:39435"][..],
            least,
        ),
        (
            &["-o", "json", "--output-file", &file],
            least | DAC_OVERRIDE,
        ),
    ] {
        let mut child = spawn(args);
        let due = [0, permitted & due, effective & due, bounding & due, 0];
        let held = || -> Vec<_> {
            let threads = fs::read_dir(format!("/proc/{}/task", child.id()));
            let threads = threads.expect("it runs").flatten();
            threads
                .filter_map(|thread| fs::read_to_string(thread.path().join("status")).ok())
                .map(|status| (sets(&status), filters(&status)))
                .collect()
        };
        let deadline = Instant::now() + Duration::from_secs(10);
        // The main thread, the output's, the walk's.
        while held().len() < 3 || held().iter().any(|held| *held != (due, own_filters + 1)) {
            assert!(Instant::now() < deadline, "{due:x?}: {:x?}", held());
            sleep(Duration::from_millis(20));
        }
        kill(Pid::from_raw(child.id() as i32), Signal::SIGINT).expect("it runs");
        assert!(wait(&mut child, Duration::from_secs(10)).success());
    }
}

/// What may not be said on the command line, and a word that the message must have.
const WRONG: &[(&[&str], &str)] = &[
    (&["--no-such-option"], "--no-such-option"),
    (&["no-such-command"], "no-such-command"),
    (&["-o", "xml"], "xml"),
    (&["--peer", "10.0.0.0/33"], "10.0.0.0/33"),
    (&["--peer", "example"], "example"),
    (&["--for", "2parsecs"], "2parsecs"),
    (&["--count", "many"], "many"),
    (&["--count", "-1"], "-1"),
    (&["--heartbeat", "1ms"], "100ms"),
    (&["--port", "70000"], "70000"),
    (&["--pid", "x"], "x"),
    (&["--reason", "because"], "because"),
    (&["--events", "tcp_party"], "tcp_party"),
    (&["--config", "/nonexistent.toml"], "/nonexistent.toml"),
    (&["--hooks", "crossed"], "crossed"),
    (&["--ring-size", "3 barrels"], "3 barrels"),
    (&["--metrics-listen", "127.0.0.1"], "127.0.0.1:9435"),
];

fn wrong_usage() {
    for (args, word) in WRONG {
        let output = command(args)
            .stdin(Stdio::null())
            .output()
            .expect("the tracer");
        refused(args, word, &output);
    }
}

/// The place of a mistake in a file is named.
fn refused(args: &[&str], word: &str, output: &Output) {
    assert_eq!(output.status.code(), Some(2), "{args:?}: {output:?}");
    assert!(output.stdout.is_empty(), "{args:?}: {output:?}");
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(stderr.contains(word), "{args:?}: {stderr}");
    assert!(!stderr.contains("panicked"), "{args:?}: {stderr}");
}

/// Mistakes come before privilege.
fn wrong_usage_without_privilege() {
    let folder = Folder::new();
    for (args, word) in &WRONG[..6] {
        refused(args, word, &as_nobody(&folder, args));
    }
    let config = folder.file("tracer.toml");
    fs::write(&config, "output = \"json\"\nno_such_key = 1\n").expect("the folder is ours");
    let output = as_nobody(&folder, &["--config", &config.to_string_lossy()]);
    refused(&["--config"], "no_such_key", &output);
}

/// Everything that the process has in the kernel is gone with it.
fn sigkill_leaves_nothing() {
    leaves_nothing(Signal::SIGKILL);
}

fn end_leaves_nothing() {
    leaves_nothing(Signal::SIGTERM);
}

fn leaves_nothing(signal: Signal) {
    let mut child = spawn(&["-o", "json"]);
    let mut stdout = BufReader::new(child.stdout.take().expect("piped"));
    stdout
        .read_line(&mut String::new())
        .expect("the start line");
    let (programs, maps) = in_kernel(child.id());
    assert!(
        !programs.is_empty() && !maps.is_empty(),
        "{programs:?} {maps:?}"
    );
    assert!(programs.is_subset(&listed("prog")) && maps.is_subset(&listed("map")));
    kill(Pid::from_raw(child.id() as i32), signal).expect("it runs");
    child.wait().expect("waiting for the tracer");
    // The kernel frees them after a grace period.
    wait_for(|| listed("prog").is_disjoint(&programs) && listed("map").is_disjoint(&maps));
}

/// The ids of the programs and maps that a process holds, links included.
pub fn in_kernel(pid: u32) -> (BTreeSet<u64>, BTreeSet<u64>) {
    let (mut programs, mut maps) = (BTreeSet::new(), BTreeSet::new());
    for file in fs::read_dir(format!("/proc/{pid}/fdinfo"))
        .expect("it runs")
        .flatten()
    {
        for line in fs::read_to_string(file.path()).unwrap_or_default().lines() {
            let Some((key, value)) = line.split_once(':') else {
                continue;
            };
            let Ok(id) = value.trim().parse() else {
                continue;
            };
            match key {
                "prog_id" => programs.insert(id),
                "map_id" => maps.insert(id),
                _ => false,
            };
        }
    }
    (programs, maps)
}

/// The ids of all that there are: `prog`, `map` or `link`.
pub fn listed(what: &str) -> BTreeSet<u64> {
    let output = std::process::Command::new("bpftool")
        .args([what, "show", "-j"])
        .output()
        .expect("bpftool");
    let list: Value = serde_json::from_slice(&output.stdout).expect("bpftool's JSON");
    list.as_array()
        .into_iter()
        .flatten()
        .filter_map(|entry| entry["id"].as_u64())
        .collect()
}

/// Soon after it happened. The bounds are for an idle machine, so the median is held to them, and the slowest to more.
fn in_time() {
    let tracer = Tracer::start();
    let net = Net::new(Link::LoV4);
    let mut closes = Vec::new();
    let mut resets = Vec::new();
    for _ in 0..12 {
        fin(&net, 1);
        crate::endings::abort::abort_linger0(&net, 1);
        sleep(Duration::from_millis(60));
    }
    let recording = tracer.finish();
    for line in &recording.lines {
        if line.int("netns") != Some(net.client_ns.inode() as i64) {
            continue;
        }
        let late = line.arrived_us - line.int("mono_us").expect("every line has it");
        match line.event() {
            "tcp_close" => closes.push(late),
            "tcp_reset" | "tcp_io_error" => resets.push(late),
            _ => {}
        }
    }
    assert_eq!((closes.len(), resets.len()), (48, 36));
    closes.sort_unstable();
    resets.sort_unstable();
    let last = |list: &[i64]| list[list.len() - 1];
    let median = |list: &[i64]| list[list.len() / 2];
    assert!(
        median(&closes) <= 150_000 && last(&closes) <= 1_000_000,
        "tcp_close after µs: {closes:?}"
    );
    assert!(
        median(&resets) <= 50_000 && last(&resets) <= 1_000_000,
        "tcp_reset after µs: {resets:?}"
    );
}

/// What happened right before SIGINT is written.
fn last_events_before_the_end() {
    let tracer = Tracer::start();
    let net = Net::new(Link::LoV4);
    let ends = fin(&net, 200);
    net.wait_until_gone();
    let recording = tracer.finish();
    crate::lab::expect::judge(&recording, &net.inodes(), &ends);
}

fn spawn(args: &[&str]) -> Child {
    command(args)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the tracer")
}

/// A copy of the binary where anybody can reach it, run without any capability.
pub fn as_nobody(folder: &Folder, args: &[&str]) -> Output {
    let copy: PathBuf = folder.file("tracer");
    if !copy.exists() {
        fs::copy(binary(), &copy).expect("the folder is ours");
        fs::set_permissions(&copy, fs::Permissions::from_mode(0o755)).expect("the folder is ours");
    }
    std::process::Command::new(&copy)
        .args(args)
        .current_dir("/")
        .stdin(Stdio::null())
        .uid(NOBODY)
        .gid(NOBODY)
        .output()
        .expect("the tracer")
}

fn wait(child: &mut Child, patience: Duration) -> ExitStatus {
    let deadline = Instant::now() + patience;
    loop {
        if let Some(status) = child.try_wait().expect("waiting for the tracer") {
            return status;
        }
        if Instant::now() > deadline {
            let _ = child.kill();
            panic!("the tracer did not end within {patience:?}");
        }
        sleep(Duration::from_millis(5));
    }
}

fn stderr_of(child: &mut Child) -> String {
    let mut text = String::new();
    let mut stderr = child.stderr.take().expect("piped");
    stderr.read_to_string(&mut text).expect("text");
    text
}

fn lines_of(path: &Path) -> Vec<Line> {
    let Ok(file) = File::open(path) else {
        return Vec::new();
    };
    BufReader::new(file)
        .lines()
        .map_while(Result::ok)
        .map(Line::new)
        .collect()
}

fn wait_for_lines(path: &Path, done: impl Fn(&[Line]) -> bool) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while !done(&lines_of(path)) {
        assert!(
            Instant::now() < deadline,
            "{} does not come to hold what it must: {} lines",
            path.display(),
            lines_of(path).len()
        );
        sleep(Duration::from_millis(20));
    }
}

fn wait_for(mut done: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while !done() {
        assert!(Instant::now() < deadline, "waited in vain");
        sleep(Duration::from_millis(20));
    }
}
