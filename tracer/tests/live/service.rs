//! deploy/systemd and deploy/logrotate.d: the unit as systemd sees it, the tracer with exactly what the unit leaves it,
//! and rotation under load.

use std::{
    fs,
    os::{
        linux::fs::MetadataExt,
        unix::{net::UnixDatagram, process::CommandExt},
    },
    path::Path,
    process::{Child, Command, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use crate::{
    Test,
    lab::{
        blind_spot::BlindSpot,
        folder::Folder,
        kernel::charges_memlock,
        link::{Link, Net},
        needs::Need,
        schema,
        systemd::{self, Systemd},
        tracer::{Line, binary, command},
        unit::{SYSCALLS, Unit, deploy},
    },
};

pub fn tests() -> Vec<Test> {
    let analyze = Need::Program("systemd-analyze");
    let mut tests = vec![
        Test::new("service::systemd_accepts_the_unit", &[analyze], accepted),
        Test::new(
            "service::runs_within_the_unit",
            &[analyze, Need::File(SYSCALLS), Need::Program("ip")],
            runs_within_the_unit,
        ),
        Test::new("service::under_systemd", &systemd::NEEDS, under_systemd),
    ];
    if !charges_memlock() {
        let name = "service::memlock_that_cannot_be_raised";
        tests.push(Test::new(name, &[], memlock_that_cannot_be_raised));
    }
    tests
}

/// A container may come with a limit of 64 KiB and without the capability that would raise it.
fn memlock_that_cannot_be_raised() {
    let mut tracer = command(&["-o", "json", "--for", "100ms"]);
    let limit = libc::rlimit {
        rlim_cur: 64 << 10,
        rlim_max: 64 << 10,
    };
    // SAFETY: system calls alone between fork and exec.
    unsafe {
        tracer.pre_exec(move || {
            const CAP_SYS_RESOURCE: libc::c_ulong = 24;
            let limited = libc::setrlimit(libc::RLIMIT_MEMLOCK, &limit) == 0
                && libc::prctl(libc::PR_CAPBSET_DROP, CAP_SYS_RESOURCE, 0, 0, 0) == 0;
            match limited {
                true => Ok(()),
                false => Err(std::io::Error::last_os_error()),
            }
        });
    }
    let output = tracer.stdin(Stdio::null()).output().expect("the tracer");
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    let last = Line::new(text.lines().last().unwrap_or_default().to_owned());
    assert_eq!(last.event(), "stop", "{text}");
}

/// systemd's own opinion of how much the service could do, in tenths: 28 of 100 when this was written.
const EXPOSURE_MAX: &str = "--threshold=30";

fn accepted() {
    let folder = Folder::new();
    let unit = fs::read_to_string(deploy("systemd/tracer.service")).expect("the unit");
    // The man page and the binary are where a package puts them, and there is none here.
    let unit = at_our_binary(&unit).replace("Documentation=man:tracer(8)\n", "");
    let file = folder.file("tracer.service");
    fs::write(&file, unit).expect("the folder is ours");
    judge(
        &file,
        &["security", "--offline=true", "--no-pager", EXPOSURE_MAX],
    );
    judge(&file, &["verify", "--man=no"]);
    // The same unit with what turns it to the journal.
    let dropin = folder.file("tracer.service.d");
    fs::create_dir(&dropin).expect("the folder is ours");
    let journal = fs::read_to_string(deploy("systemd/tracer.service.d/journal.conf"));
    let journal = at_our_binary(&journal.expect("the drop-in"));
    fs::write(dropin.join("journal.conf"), journal).expect("the folder is ours");
    judge(&file, &["verify", "--man=no"]);
}

fn at_our_binary(text: &str) -> String {
    text.replace("/usr/bin/tracer", &binary().display().to_string())
}

/// systemd has nothing to say against it.
fn judge(unit: &Path, args: &[&str]) {
    let mut path = unit.parent().expect("a folder").as_os_str().to_owned();
    // Its own folders after ours.
    path.push(":");
    let output = Command::new("systemd-analyze")
        .args(args)
        .arg(unit)
        .env("SYSTEMD_UNIT_PATH", path)
        .output()
        .expect("a need");
    assert!(output.status.success(), "{args:?}: {output:?}");
    let told = String::from_utf8_lossy(&output.stderr);
    // systemd speaks of the machine's other units too.
    let ours: Vec<_> = told
        .lines()
        .filter(|line| line.contains("tracer"))
        .collect();
    assert!(ours.is_empty(), "{args:?}: {ours:?}");
}

/// As systemd listens to its services.
struct Notifications {
    socket: UnixDatagram,
    heard: String,
}

impl Notifications {
    fn hear(&mut self, text: &str) {
        let deadline = Instant::now() + PATIENCE;
        let mut bytes = [0; 4096];
        while !self.heard.contains(text) {
            let left = deadline.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "{text} is to be said: {:?}", self.heard);
            self.socket.set_read_timeout(Some(left)).expect("a timeout");
            if let Ok(length) = self.socket.recv(&mut bytes) {
                self.heard += &String::from_utf8_lossy(&bytes[..length]);
            }
        }
    }
}

const PATIENCE: Duration = Duration::from_secs(30);

/// It says when it is ready, alive and ending, attributes a broken pipe with the few capabilities that are left, and
/// speaks to the journal in its way.
fn runs_within_the_unit() {
    let folder = Folder::new();
    let logs = folder.file("log");
    fs::create_dir(&logs).expect("the folder is ours");
    let log = logs.join("events.ndjson");
    let unit = Unit::read();
    assert_eq!(unit.get("Type"), "notify");
    let mut command = unit.command(&[
        ("/etc/tracer/tracer.toml", &deploy("tracer.toml")),
        ("/var/log/tracer/events.ndjson", &log),
    ]);
    let notify = folder.file("notify");
    let socket = UnixDatagram::bind(&notify).expect("the folder is ours");
    let mut systemd = Notifications {
        socket,
        heard: String::new(),
    };
    let journal = folder.file("journal");
    let stderr = fs::File::create(&journal).expect("the folder is ours");
    let of_journal = stderr.metadata().expect("it is open");
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .env("NOTIFY_SOCKET", &notify)
        .env("WATCHDOG_USEC", "30000000")
        .env(
            "JOURNAL_STREAM",
            format!("{}:{}", of_journal.st_dev(), of_journal.st_ino()),
        )
        .stderr(stderr)
        .process_group(0);
    unit.confine(&mut command, &logs);
    let mut tracer = Running(command.spawn().expect("the tracer"));
    let failed = || fs::read_to_string(&journal).unwrap_or_default();
    wait_for("`start`, or what keeps it", || {
        log_has(&log, |line| line.event() == "start") || !failed().is_empty()
    });
    assert_eq!(failed(), "", "nothing to complain of");
    systemd.hear("READY=1\nSTATUS=");
    systemd.hear("WATCHDOG=1\n");
    let capabilities = fs::read_to_string(format!("/proc/{}/status", tracer.0.id()));
    let capabilities = capabilities.expect("it runs");
    let left = capabilities
        .lines()
        .find_map(|line| line.strip_prefix("CapEff:"));
    let left = u64::from_str_radix(left.expect("a line").trim(), 16).expect("hex digits");
    // Of the unit's it gives up those that attaching took (BPF, before Linux 6.0, is still needed).
    let bit = |name: &str| match name {
        "CAP_DAC_READ_SEARCH" => 1 << 2,
        "CAP_SYS_PTRACE" => 1 << 19,
        "CAP_PERFMON" => 1_u64 << 38,
        "CAP_BPF" => 1 << 39,
        other => panic!("{other} is new here"),
    };
    let names = unit.get("CapabilityBoundingSet").split_whitespace();
    let given: u64 = names.map(bit).sum();
    let attaching = bit("CAP_PERFMON") | bit("CAP_BPF");
    assert_eq!(left & !bit("CAP_BPF"), given & !attaching, "{left:x}");

    let net = Net::new(Link::LoV4);
    let end = &told_broken_pipe(&net, &log);
    assert!(schema::check(end).is_empty(), "{:?}", schema::check(end));
    let me = std::env::current_exe().expect("it runs");
    assert_eq!(end.str("exe"), me.to_str(), "{}", end.text);
    assert!(end.str("cgroup").is_some(), "{}", end.text);
    assert_eq!(end.str("errno"), Some("EPIPE"), "{}", end.text);
    let start = &lines_of(&log)[0].json;
    assert_eq!(start["blind"], serde_json::json!([]), "nothing is blind");

    // A fault: its file cannot be opened anew.
    let aside = logs.join("aside");
    fs::rename(&log, &aside).expect("the folder is ours");
    fs::create_dir(&log).expect("the folder is ours");
    let process = Pid::from_raw(tracer.0.id() as i32);
    kill(process, Signal::SIGHUP).expect("it runs");
    wait_for("an error", || failed().contains("events.ndjson"));
    assert!(failed().starts_with("<3>cannot open"), "{}", failed());

    kill(process, Signal::SIGTERM).expect("it runs");
    systemd.hear("STOPPING=1\n");
    let status = tracer.0.wait().expect("a child");
    assert_eq!(status.code(), Some(0));
    let last = lines_of(&aside).pop().expect("lines");
    assert_eq!(last.event(), "stop", "the old file is better than none");
}

/// The unit as a real systemd runs it; only where its files are differs, and how soon the watchdog bites.
fn under_systemd() {
    let folder = Folder::new();
    let mut unit = fs::read_to_string(deploy("systemd/tracer.service")).expect("the unit");
    for (of_package, here) in [
        ("/usr/bin/tracer", "/run/lab/tracer"),
        ("/etc/tracer/", "/run/lab/"),
        ("/var/log/tracer/", "/run/lab/log/"),
        // A user's manager would have it below a home, which is closed.
        (
            "LogsDirectory=tracer\nLogsDirectoryMode=0750\n",
            "ReadWritePaths=/run/lab/log\n",
        ),
        ("WatchdogSec=30s", "WatchdogSec=3s"),
    ] {
        assert!(unit.contains(of_package), "{of_package}");
        unit = unit.replace(of_package, here);
    }
    fs::write(folder.file("tracer.service"), unit).expect("the folder is ours");
    fs::copy(binary(), folder.file("tracer")).expect("the folder is ours");
    fs::copy(deploy("tracer.toml"), folder.file("tracer.toml")).expect("the folder is ours");
    fs::create_dir(folder.file("log")).expect("the folder is ours");
    let systemd = Systemd::start(folder.path());
    systemd.must(&["start", "tracer.service"]);
    let began = Instant::now();
    let status = systemd.show("tracer", "StatusText");
    let hooks = status
        .strip_suffix(" hooks attached")
        .map(|rest| rest.split_once(" of "));
    assert!(
        matches!(hooks, Some(Some((some, all))) if some == all),
        "{status}"
    );

    let log = systemd.lab().join("log/events.ndjson");
    let net = Net::new(Link::LoV4);
    let me = std::env::current_exe().expect("it runs");
    let see = || {
        let end = told_broken_pipe(&net, &log);
        assert_eq!(end.str("exe"), me.to_str(), "{}", end.text);
    };
    see();
    assert_eq!(lines_of(&log)[0].json["blind"], serde_json::json!([]));
    fs::rename(&log, log.with_extension("1")).expect("the folder is ours");
    systemd.must(&["reload", "tracer.service"]);
    wait_for("the new file", || log.exists());
    see();
    // Longer than the watchdog waits.
    sleep(Duration::from_secs(4).saturating_sub(began.elapsed()));
    assert_eq!(systemd.show("tracer", "ActiveState"), "active");
    systemd.must(&["stop", "tracer.service"]);
    assert_eq!(systemd.show("tracer", "Result"), "success");
    assert_eq!(systemd.show("tracer", "NRestarts"), "0");
    assert_eq!(lines_of(&log).pop().expect("lines").event(), "stop");
}

/// A broken pipe and what the tracer says of it; another one for each that this machine is known to have hidden.
fn told_broken_pipe(net: &Net, log: &Path) -> Line {
    let blind_spot = BlindSpot::watch();
    for missed in 0.. {
        let pid = broken_pipe(net);
        let deadline = Instant::now() + Duration::from_secs(10);
        while Instant::now() < deadline {
            let told = lines_of(log).into_iter().find(|line| {
                line.is_end()
                    && line.str("reason") == Some("fin_peer_rst")
                    && line.int("pid") == Some(pid)
                    && line.int("netns") == Some(net.client_ns.inode() as i64)
            });
            match told {
                Some(line) => return line,
                None => sleep(Duration::from_millis(50)),
            }
        }
        let seen = blind_spot.as_ref().map(BlindSpot::seen);
        let hidden = seen.map_or(0, |seen| seen.len());
        assert!(missed < hidden, "no broken pipe is told");
    }
    unreachable!("it has ended or failed")
}

/// The process that wrote into a closed connection.
fn broken_pipe(net: &Net) -> i64 {
    let pairs = net.pairs(1);
    let (x, y) = (&pairs[0].x, &pairs[0].y);
    y.close();
    x.read_eof();
    x.write(10);
    net.wait_for("the RST", PATIENCE, || x.state() == CLOSE);
    assert_eq!(x.try_write(10).unwrap_err().errno, libc::EPIPE);
    x.close();
    i64::from(x.agent.pid)
}

/// tcp_info's number.
const CLOSE: usize = 7;

struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn lines_of(file: &Path) -> Vec<Line> {
    let text = fs::read_to_string(file).unwrap_or_default();
    text.lines()
        .map(|line| Line::new(line.to_owned()))
        .collect()
}

fn log_has(file: &Path, is_it: impl Fn(&Line) -> bool) -> bool {
    lines_of(file).iter().any(is_it)
}

fn wait_for(what: &str, mut done: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !done() {
        assert!(Instant::now() < deadline, "waited in vain for {what}");
        sleep(Duration::from_millis(20));
    }
}
