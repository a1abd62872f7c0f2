//! A kernel side that is full, stopped, in company, or started in the middle of a storm.

use std::{
    collections::BTreeMap,
    fs::File,
    io::Read,
    path::{Path, PathBuf},
    process::{Child, Command},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    thread::{self, sleep},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use nix::{
    sys::signal::Signal,
    time::{ClockId, clock_gettime, clock_settime},
};

use super::{PATIENCE, Running, Traffic, lines_of, lost_in, tracer_of, wait_for};
use tracer::event::Event;

use crate::{
    Test,
    endings::fin::fin,
    lab::{
        agent::{
            Agent,
            protocol::{Op, Reply},
        },
        folder::Folder,
        link::{Link, Net},
        needs::Need,
        tracer::{Line, Tracer, command, mono_us},
    },
};

pub fn tests() -> Vec<Test> {
    let ip = Need::Program("ip");
    vec![
        Test::new("faults::map_full", &[ip], map_full),
        Test::new("faults::ring_full", &[ip], ring_full),
        Test::new(
            "faults::stopped_and_continued",
            &[ip],
            stopped_and_continued,
        ),
        Test::new("faults::three_at_once", &[ip], three_at_once),
        Test::new("faults::busy_cpus", &[ip], busy_cpus),
        Test::new("faults::namespaces_come_and_go", &[ip], namespaces),
        Test::new("faults::attached_in_a_storm", &[ip], || in_a_storm(4_000)),
        Test::new(
            "faults::attached_in_a_storm_of_50_000",
            &[ip, Need::Asked("LIVE_LONG")],
            || in_a_storm(50_000),
        ),
        Test::new(
            "faults::clock_set",
            &[ip, Need::Asked("LIVE_CLOCK"), Need::Alone],
            clock_set,
        ),
    ]
}

/// A tracer that writes to a file, since some tests stop it.
struct ToFile {
    tracer: Running,
    file: PathBuf,
    _folder: Folder,
}

impl ToFile {
    fn start(mut command: Command) -> ToFile {
        let folder = Folder::new();
        let file = folder.file("events.ndjson");
        let output = File::create(&file).expect("the folder is ours");
        let tracer = Running::start(command.stdout(output));
        wait_for("`start`", || !read(&file).is_empty());
        ToFile {
            tracer,
            file,
            _folder: folder,
        }
    }

    fn lines(&self) -> Vec<Line> {
        let mut bytes = read(&self.file);
        let whole = bytes.iter().rposition(|byte| *byte == b'\n');
        bytes.truncate(whole.map_or(0, |newline| newline + 1));
        lines_of(&bytes)
    }

    fn finish(mut self) -> Vec<Line> {
        self.tracer.signal(Signal::SIGINT);
        assert!(self.tracer.ends(Duration::from_secs(20)).success());
        let lines = lines_of(&read(&self.file));
        assert_eq!(lines.last().map_or("", |line| line.event()), "stop");
        lines
    }
}

fn read(file: &Path) -> Vec<u8> {
    let mut bytes = Vec::new();
    let file = File::open(file).and_then(|mut file| file.read_to_end(&mut bytes));
    file.expect("the folder is ours");
    bytes
}

/// Keeps connections to itself until it is dropped.
fn holder(net: &Net, count: usize) -> Arc<Agent> {
    let agent = Agent::start(Some(&net.client_ns), "lab-holder");
    let held = agent.must(Op::Hold { count });
    assert!(
        matches!(held, Reply::Count(held) if held == count),
        "{held:?}"
    );
    agent
}

/// Connections that find no room, some of them open already: their ends are told, and that more was not kept.
fn map_full() {
    const ROOM: usize = 64;
    const OPEN: usize = 100;
    let net = Net::new(Link::LoV4);
    let before = holder(&net, OPEN);
    let mut command = command(&["-o", "json", "--max-connections"]);
    command.arg(ROOM.to_string());
    let tracer = ToFile::start(command);
    let ports = |lines: &[Line]| {
        let mut ends: BTreeMap<(i64, i64), usize> = BTreeMap::new();
        let port = |line: &Line, key| line.int(key).expect("a port");
        for line in lines.iter().filter(|line| line.is_end()) {
            let ports = (port(line, "local_port"), port(line, "peer_port"));
            if net
                .inodes()
                .map(|inode| Some(inode as i64))
                .contains(&line.int("netns"))
            {
                *ends.entry(ports).or_default() += 1;
            }
        }
        ends
    };
    let since = holder(&net, OPEN);
    drop((before, since));
    wait_for("every end", || ports(&tracer.lines()).len() >= 4 * OPEN);
    let lines = tracer.finish();
    let ends = ports(&lines);
    assert_eq!(ends.len(), 4 * OPEN);
    assert!(ends.values().all(|count| *count == 1), "{ends:?}");
    let lost = lost_in(&lines, "map");
    // Both ends of those that were open, and of those that came.
    let least = 4 * OPEN - 2 * ROOM;
    assert!(lost["tcp_close"] >= least, "{lost:?}, at least {least}");
}

/// Nobody empties the ring buffer: what finds no room is counted, and everything is told again afterwards.
fn ring_full() {
    let mut traffic = Traffic::new();
    let mut command = tracer_of(&traffic);
    command.args(["--ring-size", "64K"]);
    let tracer = ToFile::start(command);
    tracer.tracer.signal(Signal::SIGSTOP);
    traffic.run(400);
    tracer.tracer.signal(Signal::SIGCONT);
    wait_for("`lost`", || {
        lost_in(&tracer.lines(), "ring").contains_key("tcp_close")
    });
    let (ends, told) = (traffic.ends, traffic.own(&tracer.lines()).len());
    for _ in 0..5 {
        // As much as fits between two looks.
        traffic.run(20);
        sleep(Duration::from_millis(20));
    }
    let lines = tracer.finish();
    let all = traffic.own(&lines).len();
    let lost = lost_in(&lines, "ring")["tcp_close"];
    assert!(lost > 400, "{lost}");
    // Others' ends may be among those that were lost.
    traffic.account(all, lost.min(traffic.ends - all));
    let (ends, told) = (traffic.ends - ends, all - told);
    assert!(
        told + traffic.hidden() >= ends,
        "{told} of {ends} afterwards"
    );
}

/// As a machine that is suspended, or a debugger: everything is told afterwards, at its own time.
fn stopped_and_continued() {
    let mut traffic = Traffic::new();
    let tracer = ToFile::start(tracer_of(&traffic));
    tracer.tracer.signal(Signal::SIGSTOP);
    let began_us = mono_us();
    traffic.run(400);
    let over_us = mono_us();
    sleep(Duration::from_secs(1));
    tracer.tracer.signal(Signal::SIGCONT);
    let lines = tracer.finish();
    let told = traffic.own(&lines);
    traffic.account(told.len(), 0);
    for line in told {
        let at_us = line.int("mono_us").expect("every line has it");
        assert!((began_us..=over_us).contains(&at_us), "{}", line.text);
    }
    assert!(lost_in(&lines, "ring").is_empty() && lost_in(&lines, "map").is_empty());
}

/// None of them misses anything, also while one more comes and goes.
fn three_at_once() {
    let mut traffic = Traffic::new();
    let tracers: Vec<ToFile> = (0..3).map(|_| ToFile::start(tracer_of(&traffic))).collect();
    let fourth = ToFile::start(tracer_of(&traffic));
    thread::scope(|scope| {
        scope.spawn(|| {
            sleep(Duration::from_millis(100));
            fourth.finish()
        });
        traffic.run(1_000);
    });
    for tracer in tracers {
        let lines = tracer.finish();
        assert_eq!(
            lines.iter().filter(|line| line.event() == "lost").count(),
            0
        );
        traffic.account(traffic.own(&lines).len(), 0);
    }
}

/// Programs that do nothing but run.
struct Busy(Vec<Child>);

impl Busy {
    fn start(count: usize) -> Busy {
        let start = || {
            Command::new("sh")
                .args(["-c", "while :; do :; done"])
                .spawn()
        };
        Busy((0..count).map(|_| start().expect("a shell")).collect())
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        for child in &mut self.0 {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn busy_cpus() {
    let cpus = thread::available_parallelism().expect("CPUs").get();
    let mut traffic = Traffic::new();
    let _busy = Busy::start(3 * cpus);
    let tracer = ToFile::start(tracer_of(&traffic));
    traffic.run(1_000);
    let lines = tracer.finish();
    assert_eq!(
        lines.iter().filter(|line| line.event() == "lost").count(),
        0
    );
    traffic.account(traffic.own(&lines).len(), 0);
}

/// Each for some connections, two at a time, while others go on.
fn namespaces() {
    const EACH: usize = 12;
    let mut traffic = Traffic::new();
    let tracer = Tracer::start();
    let made: Vec<u64> = thread::scope(|scope| {
        let makers: Vec<_> = (0..2)
            .map(|_| {
                scope.spawn(|| {
                    (0..EACH)
                        .map(|_| {
                            let net = Net::new(Link::LoV4);
                            fin(&net, 3);
                            net.client_ns.inode()
                        })
                        .collect::<Vec<_>>()
                })
            })
            .collect();
        traffic.run(1_000);
        let made = makers
            .into_iter()
            .flat_map(|maker| maker.join().expect("made"));
        made.collect()
    });
    let recording = tracer.finish();
    traffic.account(traffic.own(&recording.lines).len(), 0);
    // A number may be given again.
    let mut due: BTreeMap<i64, usize> = BTreeMap::new();
    for inode in made {
        *due.entry(inode as i64).or_default() += 6;
    }
    let mut told: BTreeMap<i64, usize> = due.keys().map(|inode| (*inode, 0)).collect();
    for line in recording.ends() {
        let of_lab = line
            .str("comm")
            .is_some_and(|comm| comm.starts_with("lab-"));
        if let Some(told) = line.int("netns").and_then(|netns| told.get_mut(&netns))
            && of_lab
        {
            *told += 1;
        }
    }
    if recording.hidden_ends() == 0 {
        assert_eq!(told, due);
    }
}

/// Attached while so many connections are open, and others come and go: what was open is found, each once and with its
/// owner, and what is opened since is whole.
fn in_a_storm(open: usize) {
    // Two descriptors each: a process may have as many anywhere.
    const EACH: usize = 1_000;
    let net = Net::new(Link::LoV4);
    let holders: Vec<_> = thread::scope(|scope| {
        let start = |_| scope.spawn(|| holder(&net, EACH));
        let starting: Vec<_> = (0..open / EACH).map(start).collect();
        let started = starting
            .into_iter()
            .map(|holder| holder.join().expect("it holds"));
        started.collect()
    });
    let mut storm = Traffic::new();
    let mut since = Traffic::new();
    let over = AtomicBool::new(false);
    let mut command = command(&["-o", "json", "--comm"]);
    command.arg(format!("lab-holder,{}", since.comms()));
    let tracer = thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(Relaxed) {
                storm.run(400);
            }
        });
        sleep(Duration::from_millis(100));
        let tracer = ToFile::start(command);
        since.run(400);
        over.store(true, Relaxed);
        tracer
    });
    let pids: Vec<i64> = holders.iter().map(|agent| agent.pid.into()).collect();
    drop(holders);
    let held = |lines: &[Line]| {
        let mut ends: BTreeMap<i64, usize> = BTreeMap::new();
        for line in lines.iter().filter(|line| line.is_end()) {
            let pid = line.int("pid").unwrap_or(0);
            if pids.contains(&pid) {
                assert_eq!(line.json["preexisting"], true, "{}", line.text);
                assert_eq!(line.str("attribution"), Some("scan"), "{}", line.text);
                *ends.entry(pid).or_default() += 1;
            }
        }
        ends
    };
    let due: BTreeMap<i64, usize> = pids.iter().map(|pid| (*pid, 2 * EACH)).collect();
    let deadline = Instant::now() + PATIENCE;
    while held(&tracer.lines()) != due && Instant::now() < deadline {
        sleep(Duration::from_millis(100));
    }
    let lines = tracer.finish();
    let told = held(&lines);
    let missing = 2 * open - told.values().sum::<usize>();
    assert!(
        told.values().all(|ends| *ends <= 2 * EACH) && missing <= since.hidden(),
        "{told:?} of {} each; {} may be hidden",
        2 * EACH,
        since.hidden()
    );
    since.account(since.own(&lines).len(), 0);
    assert_eq!(
        lines.iter().filter(|line| line.event() == "lost").count(),
        0
    );
}

/// Gives the clock back.
struct Clock {
    ahead: Duration,
}

impl Clock {
    fn set(ahead: Duration) -> Clock {
        let now = clock_gettime(ClockId::CLOCK_REALTIME).expect("a clock");
        let then = Duration::from(now) + ahead;
        clock_settime(ClockId::CLOCK_REALTIME, then.into()).expect("root may");
        Clock { ahead }
    }
}

impl Drop for Clock {
    fn drop(&mut self) {
        let now = clock_gettime(ClockId::CLOCK_REALTIME).expect("a clock");
        let then = Duration::from(now) - self.ahead;
        let _ = clock_settime(ClockId::CLOCK_REALTIME, then.into());
    }
}

/// An hour ahead and back again: times follow the clock, and ages and order do not care.
fn clock_set() {
    const HOUR: Duration = Duration::from_secs(3_600);
    let net = Net::new(Link::LoV4);
    let tracer = Tracer::start();
    let mut due_s = Vec::new();
    let mut end = || {
        // The clock is looked at twice a second.
        sleep(Duration::from_millis(1_200));
        let since = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .expect("after 1970");
        fin(&net, 1);
        due_s.push((mono_us(), since.as_secs()));
    };
    end();
    let ahead = Clock::set(HOUR);
    end();
    drop(ahead);
    end();
    let recording = tracer.finish();
    for (before_us, wall_s) in due_s {
        let ends: Vec<_> = recording
            .ends()
            .filter(|line| line.int("netns") == Some(net.client_ns.inode() as i64))
            .filter(|line| {
                let apart_us = line.int("mono_us").expect("it has it") - before_us;
                apart_us.abs() < 300_000
            })
            .collect();
        assert_eq!(ends.len(), 2);
        for line in ends {
            let event = Event::parse(line.text.as_bytes()).expect("an event");
            let seconds = event.head.ts.0 / 1_000_000_000;
            assert!(
                seconds.abs_diff(wall_s) <= 1,
                "{seconds} {wall_s}: {}",
                line.text
            );
            assert!(
                line.int("age_ms").expect("an age") < 10_000,
                "{}",
                line.text
            );
        }
    }
}
