//! The line that says that all is well: which hooks are attached, what is tracked, and runs that were missed.

use std::{
    fs,
    thread::{scope, sleep},
    time::{Duration, Instant},
};

use serde_json::Value;

use crate::{
    Test,
    lab::{
        agent::{
            meet::{Plan, Way},
            protocol::Op,
        },
        link::{Link, Net},
        needs::Need,
        tracer::{Line, Tracer},
    },
};

pub fn tests() -> Vec<Test> {
    let ip = Need::Program("ip");
    vec![
        Test::new(
            "heartbeat::names_what_is_attached",
            &[ip],
            names_what_is_attached,
        ),
        Test::new(
            "heartbeat::returns_that_were_missed",
            &[ip, Need::Kretprobes],
            returns_that_were_missed,
        ),
    ]
}

const PATIENCE: Duration = Duration::from_secs(30);

/// The newest heartbeat that fits.
fn heartbeat(tracer: &Tracer, fits: impl Fn(&Line) -> bool) -> Line {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let lines = tracer.lines();
        let mut heartbeats = lines.iter().filter(|line| line.event() == "heartbeat");
        if let Some(line) = heartbeats.rfind(|line| fits(line)) {
            return line.clone();
        }
        assert!(Instant::now() < deadline, "no such heartbeat: {lines:#?}");
        sleep(Duration::from_millis(20));
    }
}

/// The hooks that `start` has without an error, each once; and the connections that there are.
fn names_what_is_attached() {
    const HELD: usize = 23;
    let tracer = Tracer::start_with(&["--heartbeat", "200ms"]);
    let start = tracer.lines()[0].json.clone();
    let mut due: Vec<&Value> = Vec::new();
    for hook in start["hooks"].as_array().expect("hooks") {
        if hook["error"].is_null() && !due.contains(&&hook["hook"]) {
            due.push(&hook["hook"]);
        }
    }
    assert!(!due.is_empty(), "{start}");

    let net = Net::new(Link::VethV4);
    let pairs = net.pairs(HELD);
    let many = 2 * HELD as i64;
    let line = heartbeat(&tracer, |line| {
        line.int("connections").is_some_and(|open| open >= many)
    });
    let attached = line.json["attached"].as_array().expect("hooks");
    assert_eq!(attached.iter().collect::<Vec<_>>(), due, "{}", line.text);
    let serving = start["hooks"].as_array().expect("hooks");
    let serving = serving.iter().filter(|hook| hook["error"].is_null());
    assert_eq!(line.int("hooks"), Some(serving.count() as i64));

    for pair in &pairs {
        pair.x.close();
        pair.y.read_eof();
        pair.y.close();
    }
    net.wait_until_gone();
    heartbeat(&tracer, |line| {
        line.json["written"]["tcp_close"].as_i64() >= Some(many)
    });
    let recording = tracer.finish();
    let heartbeats: Vec<i64> = recording
        .of_event("heartbeat")
        .filter_map(|line| line.int("mono_us"))
        .collect();
    let apart = |pair: &[i64]| pair[1] - pair[0] >= 100_000;
    assert!(
        heartbeats.windows(2).all(apart),
        "200 ms apart: {heartbeats:?}"
    );
}

/// A kretprobe watches only so many calls at once. More threads than that wait in a receive when their peer aborts:
/// every end is told all the same, and so is every failed call or that it was missed.
fn returns_that_were_missed() {
    let threads = 2 * processors() + 30;
    let tracer = Tracer::start_with(&["--heartbeat", "200ms"]);
    let net = Net::new(Link::LoV4);
    let listener = net.listen();
    let plan = Plan {
        addr: listener.addr,
        from: None,
        first: 0,
        // A thread's next call shows that the return of the one before was missed.
        count: 2 * threads,
        ways: vec![Way::ServerAborts],
        threads,
        hold_ms: 0,
        fastopen: false,
    };
    let last = Plan {
        first: plan.count,
        count: 1,
        ways: vec![Way::Stop],
        threads: 1,
        ..plan.clone()
    };
    scope(|scope| {
        let meeting = scope.spawn(|| {
            net.client.must(Op::Meet(plan));
            net.client.must(Op::Meet(last));
        });
        net.wait_for("threads that wait in a receive", PATIENCE, || {
            receiving(net.client.pid) == threads as usize
        });
        let greet = Op::Greet {
            fd: listener.fd,
            hold_ms: 0,
        };
        net.server.must(greet);
        meeting.join().expect("connections");
    });
    net.wait_until_gone();
    let missed = |line: &Line| line.int("missed_runs").unwrap_or(0);
    heartbeat(&tracer, |line| missed(line) > 0);
    let recording = tracer.finish();

    let netns = net.client_ns.inode() as i64;
    let ours = |line: &&Line| line.int("netns") == Some(netns);
    let reset = |line: &&Line| line.str("reason") == Some("rst_peer");
    let ends = recording.ends().filter(ours).filter(reset);
    assert_eq!(ends.count(), 2 * threads as usize);
    let told = recording
        .of_event("tcp_io_error")
        .filter(ours)
        .filter(|line| line.str("op") == Some("recv") && line.str("errno") == Some("ECONNRESET"))
        .count();
    let missed = missed(recording.lines.last().expect("stop"));
    assert!(told < 2 * threads as usize, "none was missed");
    assert!(
        told as i64 + missed >= threads.into(),
        "{told} were told and {missed} missed"
    );
}

/// That this machine may ever have: kretprobes have two instances for each, ten at least.
fn processors() -> u32 {
    let possible = fs::read_to_string("/sys/devices/system/cpu/possible").expect("sysfs");
    let last = possible.trim().rsplit(['-', ',']).next();
    let last: Option<u32> = last.and_then(|last| last.parse().ok());
    last.expect("such as 0-3") + 1
}

/// Threads of a process that wait in recvfrom(2).
fn receiving(pid: i32) -> usize {
    let number = format!("{} ", libc::SYS_recvfrom);
    let threads = fs::read_dir(format!("/proc/{pid}/task"));
    let threads = threads.expect("it runs").flatten();
    threads
        .filter_map(|thread| fs::read_to_string(thread.path().join("syscall")).ok())
        .filter(|call| call.starts_with(&number))
        .count()
}
