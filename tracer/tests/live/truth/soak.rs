//! A long run: the load of `truth` at a moderate rate, and every minute something that a node has to bear. Two tracers watch
//! all the time, one through a pipe and one into a file; both must have told everything in the end, and have stayed as
//! small as they were.

use std::{
    collections::{BTreeMap, HashSet},
    fs,
    io::{BufRead as _, BufReader},
    net::TcpStream,
    process::{Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    thread::{self, JoinHandle, sleep},
    time::{Duration, Instant},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use super::{
    Place, Recorder, Running, image,
    judge::{Records, judge, read_log},
    pids_again,
};
use crate::lab::{
    agent::{
        Agent,
        protocol::{Churn, Op},
    },
    folder::Folder,
    link::{Link, Net},
    tracer::{command, hooks},
};

const AN_HOUR_S: u64 = 3600;
const A_MINUTE_S: u64 = 60;

/// How long the whole takes, and how long it is from one fault to the next.
const LENGTH_VARIABLE: &str = "LIVE_SOAK_S";
const EVERY_VARIABLE: &str = "LIVE_SOAK_EVERY_S";

/// For each of the four links.
const CONNECTIONS_PER_S: u64 = 16;

/// What memory may grow by in the second half of a run: heaps settle, histories fill.
const GROWTH_KIB: u64 = 8 << 10;

/// What may be left in the maps of what others do on this machine.
const OTHERS_ENTRIES: u64 = 2_000;

fn seconds(variable: &str, default: u64) -> u64 {
    let value = std::env::var(variable).ok();
    value
        .and_then(|value| value.parse().ok())
        .unwrap_or(default)
}

/// The tracer that writes to a pipe, and its reader, which may stand still.
struct Piped {
    child: Running,
    stands_still: Arc<AtomicBool>,
    reader: JoinHandle<Records>,
}

impl Piped {
    fn start(namespaces: &[u64]) -> Piped {
        let mut command = command(&["-o", "json"]);
        let command = command.args(hooks()).stdout(Stdio::piped());
        let mut child = Running::start(command);
        let mut stdout = BufReader::with_capacity(1 << 16, child.0.stdout.take().expect("piped"));
        let mut start = String::new();
        stdout.read_line(&mut start).expect("a line");
        let stands_still = Arc::new(AtomicBool::new(false));
        let reader = {
            let stands_still = Arc::clone(&stands_still);
            let mut records = Records::of(namespaces);
            thread::spawn(move || {
                records.read_from(stdout, || {
                    while stands_still.load(Relaxed) {
                        sleep(Duration::from_millis(50));
                    }
                });
                records
            })
        };
        Piped {
            child,
            stands_still,
            reader,
        }
    }

    fn pid(&self) -> i32 {
        self.child.0.id() as i32
    }

    fn finish(mut self) -> Records {
        self.stands_still.store(false, Relaxed);
        end(&mut self.child);
        self.reader.join().expect("a reader")
    }
}

fn end(tracer: &mut Running) {
    kill(Pid::from_raw(tracer.0.id() as i32), Signal::SIGINT).expect("it runs");
    let status = tracer.0.wait().expect("it ends");
    assert!(status.success(), "the tracer ended with {status}");
}

fn wait_for(what: &str, mut done: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !done() {
        assert!(Instant::now() < deadline, "waited in vain for {what}");
        sleep(Duration::from_millis(20));
    }
}

/// What a process has of the machine.
#[derive(Debug, Clone, Copy)]
struct Figures {
    at_s: u64,
    rss_kib: u64,
    fds: usize,
    threads: u64,
}

impl Figures {
    fn of(pid: i32, began: Instant) -> Figures {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("it runs");
        let number = |key: &str| {
            let line = status.lines().find(|line| line.starts_with(key));
            let number = line.and_then(|line| line.split_whitespace().nth(1)?.parse().ok());
            number.expect("a number")
        };
        let fds = fs::read_dir(format!("/proc/{pid}/fd")).expect("it runs");
        Figures {
            at_s: began.elapsed().as_secs(),
            rss_kib: number("VmRSS:"),
            fds: fds.count(),
            threads: number("Threads:"),
        }
    }
}

/// Maps in which something could stay behind, and bytes from one key to the next: a key of 0 is none.
const TABLES: [(&str, usize); 2] = [("CONN_KEYS", 8), ("PAIRS", 16)];

/// Entries of the tracer's tables, by name.
fn entries(pid: i32) -> BTreeMap<String, u64> {
    let folder = fs::read_dir(format!("/proc/{pid}/fdinfo")).expect("it runs");
    let infos = folder
        .flatten()
        .map(|file| fs::read_to_string(file.path()).unwrap_or_default());
    infos
        .filter_map(|info| {
            let id = info.lines().find_map(|line| line.strip_prefix("map_id:"))?;
            let id = id.trim();
            let shown = run(&["bpftool", "-j", "map", "show", "id", id]);
            let (name, step) = TABLES
                .into_iter()
                .find(|(name, _)| shown["name"] == *name)?;
            let dumped = run(&["bpftool", "-j", "map", "dump", "id", id]);
            let values = dumped.as_array().expect("a list").iter();
            let bytes = values.flat_map(|element| element["value"].as_array().expect("bytes"));
            let bytes: Vec<_> = bytes.map(|byte| byte.as_str() != Some("0x00")).collect();
            let keys = bytes.chunks(step).map(|chunk| chunk[..8].contains(&true));
            Some((
                name.to_owned(),
                keys.filter(|is_there| *is_there).count() as u64,
            ))
        })
        .collect()
}

fn run(words: &[&str]) -> serde_json::Value {
    let output = Command::new(words[0]).args(&words[1..]).output();
    serde_json::from_slice(&output.expect("bpftool").stdout).unwrap_or_default()
}

/// What is tried, one a minute, and for how long.
type Fault = (&'static str, fn(&mut Watched, Duration));

/// Both tracers.
struct Watched {
    piped: Piped,
    filed: Recorder,
    /// Of files that were rotated.
    records: Records,
    metrics: u16,
}

const FAULTS: [Fault; 10] = [
    ("nothing", |_, _| ()),
    ("a reader that stands still", stand_still),
    ("the file is rotated", rotate),
    ("a processor hog", hog),
    ("namespaces deleted under load", delete_namespaces),
    ("a flood", flood),
    ("other tracers, one of them killed", others),
    ("a tracer that is stopped and goes on", stop_and_go_on),
    ("a scraper that says nothing", silent_scraper),
    ("SIGHUP five times", hang_up),
];

fn stand_still(watched: &mut Watched, length: Duration) {
    watched.piped.stands_still.store(true, Relaxed);
    sleep(length / 2);
    watched.piped.stands_still.store(false, Relaxed);
}

fn rotate(watched: &mut Watched, _: Duration) {
    let old = watched.filed.file.with_extension("old");
    fs::rename(&watched.filed.file, &old).expect("the folder is ours");
    signal(watched.filed.pid(), Signal::SIGHUP);
    wait_for("a new file", || watched.filed.file.exists());
    watched.records.read(&old);
    fs::remove_file(&old).expect("the folder is ours");
}

fn signal(pid: i32, signal: Signal) {
    kill(Pid::from_raw(pid), signal).expect("it runs");
}

fn hog(_: &mut Watched, length: Duration) {
    let until = Instant::now() + length / 2;
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| while Instant::now() < until {});
        }
    });
}

/// The processes die, and their namespaces with them, in the middle of what they do.
fn delete_namespaces(_: &mut Watched, length: Duration) {
    let until = Instant::now() + length / 2;
    while Instant::now() < until {
        let net = Net::new(Link::VethV4);
        let listener = net.listen();
        let (count, fd, addr) = (1_000_000, listener.fd, listener.addr);
        let (client, server) = (Arc::clone(&net.client), Arc::clone(&net.server));
        let working = [
            thread::spawn(move || call(&server, Op::Serve { fd, count })),
            thread::spawn(move || call(&client, Op::Churn(Churn { addr, count }))),
        ];
        sleep(Duration::from_millis(300));
        for pid in [net.client.pid, net.server.pid] {
            signal(pid, Signal::SIGKILL);
        }
        drop(listener);
        for one in working {
            // They died over it.
            let _ = one.join();
        }
    }
}

fn call(agent: &Agent, op: Op) {
    let _ = agent.call(op);
}

/// As fast as two processes can, for some seconds.
fn flood(_: &mut Watched, _: Duration) {
    const CONNECTIONS: usize = 20_000;
    let net = Net::new(Link::LoV4);
    let listener = net.listen();
    let (fd, addr, count) = (listener.fd, listener.addr, CONNECTIONS);
    thread::scope(|scope| {
        scope.spawn(|| listener.agent.must(Op::Serve { fd, count }));
        scope.spawn(|| net.client.must(Op::Churn(Churn { addr, count })));
    });
}

fn others(_: &mut Watched, length: Duration) {
    for how in [Signal::SIGKILL, Signal::SIGTERM, Signal::SIGKILL] {
        let mut command = command(&["-o", "json"]);
        let mut other = Running::start(command.stdout(Stdio::null()));
        sleep(length / 8);
        signal(other.0.id() as i32, how);
        other.0.wait().expect("it ends");
    }
}

fn stop_and_go_on(watched: &mut Watched, _: Duration) {
    let pid = watched.filed.pid();
    signal(pid, Signal::SIGSTOP);
    sleep(Duration::from_secs(5));
    signal(pid, Signal::SIGCONT);
}

fn silent_scraper(watched: &mut Watched, length: Duration) {
    let silent = TcpStream::connect(("127.0.0.1", watched.metrics)).expect("it listens");
    sleep(length / 2);
    drop(silent);
}

fn hang_up(watched: &mut Watched, _: Duration) {
    for _ in 0..5 {
        signal(watched.filed.pid(), Signal::SIGHUP);
        sleep(Duration::from_millis(200));
    }
}

pub fn soak() {
    let length = Duration::from_secs(seconds(LENGTH_VARIABLE, AN_HOUR_S));
    let every = Duration::from_secs(seconds(EVERY_VARIABLE, A_MINUTE_S));
    let folder = Folder::new();
    let image = image(&folder);
    let places = Place::all(&folder, &image);
    let metrics = free_port();
    let listen = format!("127.0.0.1:{metrics}");
    let file = folder.file("events.ndjson");
    let inodes: Vec<u64> = places.iter().flat_map(|place| place.net.inodes()).collect();
    let mut watched = Watched {
        filed: Recorder::start(file, &["--metrics-listen", &listen]),
        piped: Piped::start(&inodes),
        records: Records::of(&inodes),
        metrics,
    };
    let pids = [watched.piped.pid(), watched.filed.pid()];
    let before = entries(pids[0]);

    let began = Instant::now();
    let is_over = AtomicBool::new(false);
    let mut told = Vec::new();
    let figures = thread::scope(|scope| {
        let load = scope.spawn(|| load(&places, every, &is_over));
        let sampler = scope.spawn(|| sample(pids, began, &is_over));
        for (name, fault) in FAULTS.iter().cycle() {
            if began.elapsed() + every > length {
                break;
            }
            let until = Instant::now() + every;
            fault(&mut watched, every);
            told.push(*name);
            sleep(until.saturating_duration_since(Instant::now()));
        }
        is_over.store(true, Relaxed);
        load.join().expect("the load");
        sampler.join().expect("the figures")
    });
    for place in &places {
        place.net.wait_until_gone();
    }
    sleep(Duration::from_secs(1));
    let after = entries(pids[0]);
    let piped = watched.piped.finish();
    let blind = watched.filed.finish();
    let mut filed = watched.records;
    filed.read(&watched.filed.file);
    report(&told, &figures, &before, &after);

    let (log, faults) = read_log(&folder.file("load.ndjson"));
    assert!(
        faults.is_empty(),
        "{} times the load went wrong, such as\n{}",
        faults.len(),
        faults[..faults.len().min(8)].join("\n")
    );
    for (name, records) in [("pipe", &piped), ("file", &filed)] {
        let judgement = judge(records, &log, &blind, pids_again(&log));
        println!("note: {name}: {}", judgement.summary(records));
        judgement.must_be_true(records);
    }
    flat(&figures, length);
    for (map, after) in after {
        let before = before[&map];
        assert!(
            after < before + OTHERS_ENTRIES,
            "{map}: {before}, then {after}"
        );
    }
    assert!(!before.is_empty(), "its maps were found");
}

/// A port of this host that nobody has; the tracer's own sockets are left out of what it tells.
fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).expect("a port");
    listener.local_addr().expect("bound").port()
}

/// Round after round, each of as many connections as fit in the time from one fault to the next.
fn load(places: &[Place], every: Duration, is_over: &AtomicBool) {
    let connections = CONNECTIONS_PER_S * every.as_secs();
    for round in 1.. {
        if is_over.load(Relaxed) {
            return;
        }
        // Seven tenths of them are four threads', and each waits for half of twice that.
        let pause_us = 4_000_000 * 10 / 7 / CONNECTIONS_PER_S;
        let clients: Vec<Running> = places
            .iter()
            .flat_map(|place| place.clients(connections, pause_us, round))
            .collect();
        for mut client in clients {
            let status = client.0.wait().expect("it ends");
            assert!(status.success(), "a client ended with {status}");
        }
    }
}

fn sample(pids: [i32; 2], began: Instant, is_over: &AtomicBool) -> [Vec<Figures>; 2] {
    let mut all = [Vec::new(), Vec::new()];
    let mut next = Instant::now();
    while !is_over.load(Relaxed) {
        if Instant::now() >= next {
            next += Duration::from_secs(10);
            for (figures, pid) in all.iter_mut().zip(pids) {
                figures.push(Figures::of(pid, began));
            }
        }
        sleep(Duration::from_millis(100));
    }
    all
}

fn report(
    told: &[&str],
    figures: &[Vec<Figures>; 2],
    before: &BTreeMap<String, u64>,
    after: &BTreeMap<String, u64>,
) {
    let kinds: HashSet<&&str> = told.iter().collect();
    println!("note: {} faults of {} kinds", told.len(), kinds.len());
    for (name, figures) in ["pipe", "file"].iter().zip(figures) {
        let step = (figures.len() / 8).max(1);
        for part in figures.chunks(step) {
            let most = |of: fn(&Figures) -> u64| part.iter().map(of).max().unwrap_or(0);
            println!(
                "note: {name}: to {} s: at most {} KiB, {} descriptors, {} threads",
                most(|one| one.at_s),
                most(|one| one.rss_kib),
                most(|one| one.fds as u64),
                most(|one| one.threads),
            );
        }
    }
    println!("note: entries of maps: {before:?}, then {after:?}");
}

/// No more in the last quarter than in the second.
fn flat(figures: &[Vec<Figures>; 2], length: Duration) {
    // Shorter, and it has not settled.
    if length < Duration::from_secs(20 * 60) {
        return;
    }
    for figures in figures {
        let quarter = figures.len() / 4;
        let most = |part: &[Figures], of: fn(&Figures) -> u64| part.iter().map(of).max();
        let (second, last) = (&figures[quarter..2 * quarter], &figures[3 * quarter..]);
        let rss = |part| most(part, |one| one.rss_kib).expect("a quarter");
        assert!(
            rss(last) < rss(second) + GROWTH_KIB,
            "{} KiB, then {}",
            rss(second),
            rss(last)
        );
        for of in [|one: &Figures| one.fds as u64, |one: &Figures| one.threads] {
            assert!(
                most(last, of) <= most(second, of).map(|most| most + 1),
                "{figures:?}"
            );
        }
    }
}
