//! The program under test, as a user starts it: a child process whose standard output is read line by line.

use std::{
    collections::HashSet,
    io::{BufRead, BufReader, Read},
    os::unix::process::ExitStatusExt,
    path::PathBuf,
    process::{Child, Command, ExitStatus, Stdio},
    sync::{Arc, LazyLock, Mutex},
    thread::JoinHandle,
    time::{Duration, Instant},
};

use nix::{
    sys::signal::{Signal, kill},
    time::{ClockId, clock_gettime},
    unistd::Pid,
};
use serde_json::Value;

use super::{
    blind_spot::{BlindSpot, Ports},
    netns::Netns,
    schema,
};
use crate::json_schema::Validator;

/// The binary: `TRACER_BIN`, or the one that cargo built with these tests.
pub fn binary() -> PathBuf {
    std::env::var_os("TRACER_BIN")
        .map(PathBuf::from)
        .or_else(|| option_env!("CARGO_BIN_EXE_tracer").map(PathBuf::from))
        .expect("TRACER_BIN names the binary to test")
}

/// For the whole suite with one family of hooks.
pub fn hooks() -> Vec<String> {
    let family = std::env::var("LIVE_HOOKS").unwrap_or_default();
    match family.is_empty() {
        true => Vec::new(),
        false => vec!["--hooks".to_owned(), family],
    }
}

/// A tracer command that no variable of the environment changes.
pub fn command(args: &[&str]) -> Command {
    let mut command = Command::new(binary());
    command.args(args);
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("TRACER_") {
            command.env_remove(name);
        }
    }
    command
}

/// What it says that its lines are.
static SCHEMA: LazyLock<Validator> = LazyLock::new(|| Validator::of(&mut command(&[])));

#[derive(Debug, Clone)]
pub struct Line {
    pub text: String,
    pub json: Value,
    /// CLOCK_MONOTONIC when we had read it, in µs, to compare with `mono_us`.
    pub arrived_us: i64,
}

/// A line before anybody has looked at it: reading must be faster than the tracer.
#[derive(Debug, Clone)]
struct Unread {
    bytes: Vec<u8>,
    arrived_us: i64,
}

impl Line {
    pub fn new(text: String) -> Line {
        Line {
            json: serde_json::from_str(&text).unwrap_or(Value::Null),
            text,
            arrived_us: 0,
        }
    }

    pub fn event(&self) -> &str {
        self.json["event"].as_str().unwrap_or("")
    }

    pub fn is_end(&self) -> bool {
        matches!(self.event(), "tcp_close" | "tcp_connect_failed")
    }

    pub fn int(&self, key: &str) -> Option<i64> {
        self.json[key].as_i64()
    }

    pub fn str(&self, key: &str) -> Option<&str> {
        self.json[key].as_str()
    }
}

pub fn mono_us() -> i64 {
    let now = clock_gettime(ClockId::CLOCK_MONOTONIC).expect("the clock");
    now.tv_sec() * 1_000_000 + now.tv_nsec() / 1_000
}

/// A tracer that is attached.
pub struct Tracer {
    child: Child,
    lines: Arc<Mutex<Vec<Unread>>>,
    reader: Option<JoinHandle<()>>,
    stderr: Option<JoinHandle<String>>,
    blind_spot: Option<BlindSpot>,
}

/// Everything that one run wrote.
pub struct Recording {
    pub lines: Vec<Line>,
    pub stderr: String,
    pub status: ExitStatus,
    /// Connections with a moment that no BPF program of this machine could see.
    pub blind: HashSet<Ports>,
}

const START: Duration = Duration::from_secs(20);
const STOP: Duration = Duration::from_secs(20);

impl Tracer {
    /// With every field filled and every event written.
    pub fn start() -> Tracer {
        Tracer::start_with(&[])
    }

    pub fn start_with(args: &[&str]) -> Tracer {
        Tracer::begin(args, |_| ())
    }

    /// With its own sockets in this namespace; it sees all of them.
    pub fn start_in(netns: &Netns, args: &[&str]) -> Tracer {
        Tracer::begin(args, |command| netns.take_in(command))
    }

    /// As somebody else: `who` changes the command, which has its arguments then.
    pub fn start_as(who: impl FnOnce(&mut Command)) -> Tracer {
        Tracer::begin(&[], who)
    }

    fn begin(args: &[&str], place: impl FnOnce(&mut Command)) -> Tracer {
        let mut all = vec!["-o", "json"];
        all.extend(args);
        let hooks = hooks();
        all.extend(hooks.iter().map(String::as_str));
        let blind_spot = BlindSpot::watch();
        let mut command = command(&all);
        place(&mut command);
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("{}: {error}", binary().display()));
        let lines = Arc::new(Mutex::new(Vec::new()));
        let stdout = child.stdout.take().expect("piped");
        let reader = {
            let lines = Arc::clone(&lines);
            std::thread::spawn(move || read_lines(stdout, &lines))
        };
        let mut stderr = child.stderr.take().expect("piped");
        let stderr = std::thread::spawn(move || {
            let mut text = Vec::new();
            let _ = stderr.read_to_end(&mut text);
            String::from_utf8_lossy(&text).into_owned()
        });
        let mut tracer = Tracer {
            child,
            lines,
            reader: Some(reader),
            stderr: Some(stderr),
            blind_spot,
        };
        tracer.wait_for_start();
        tracer
    }

    fn wait_for_start(&mut self) {
        let deadline = Instant::now() + START;
        while self.lines.lock().expect("not poisoned").is_empty() {
            if let Some(status) = self.child.try_wait().expect("waiting for the tracer") {
                let stderr = self.stderr.take().expect("once").join().unwrap_or_default();
                panic!("the tracer ended with {status} before it had started:\n{stderr}");
            }
            assert!(
                Instant::now() < deadline,
                "the tracer did not say `start` within {START:?}"
            );
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    pub fn pid(&self) -> i32 {
        self.child.id() as i32
    }

    /// What it has written so far.
    pub fn lines(&self) -> Vec<Line> {
        let unread = self.lines.lock().expect("not poisoned").clone();
        unread
            .into_iter()
            .map(|line| Line {
                arrived_us: line.arrived_us,
                ..Line::new(String::from_utf8_lossy(&line.bytes).into_owned())
            })
            .collect()
    }

    /// With LIVE_KEEP=FOLDER the lines of every run stay there: for work on the lab.
    fn keep(&self) {
        if let Some(folder) = std::env::var_os("LIVE_KEEP") {
            let file = PathBuf::from(folder).join(format!("{}.ndjson", self.pid()));
            let lines = self.lines.lock().expect("not poisoned");
            let text: Vec<&[u8]> = lines.iter().map(|line| line.bytes.as_slice()).collect();
            std::fs::write(file, text.join(&b'\n')).expect("LIVE_KEEP can be written");
        }
    }

    /// SIGINT, the rest of its lines, and the checks that hold for every run.
    pub fn finish(self) -> Recording {
        kill(Pid::from_raw(self.pid()), Signal::SIGINT).expect("a tracer that still runs");
        let recording = self.collect();
        recording.check();
        recording
    }

    /// Waits until it ends by itself.
    pub fn collect(mut self) -> Recording {
        let deadline = Instant::now() + STOP;
        let status = loop {
            if let Some(status) = self.child.try_wait().expect("waiting for the tracer") {
                break status;
            }
            assert!(
                Instant::now() < deadline,
                "the tracer did not end within {STOP:?}"
            );
            std::thread::sleep(Duration::from_millis(2));
        };
        self.reader
            .take()
            .expect("once")
            .join()
            .expect("the reader");
        let stderr = self.stderr.take().expect("once").join().unwrap_or_default();
        self.keep();
        Recording {
            lines: self.lines(),
            stderr,
            status,
            blind: self
                .blind_spot
                .as_ref()
                .map_or_else(HashSet::new, BlindSpot::seen),
        }
    }
}

impl Drop for Tracer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn read_lines(stdout: impl Read, lines: &Mutex<Vec<Unread>>) {
    let mut stdout = BufReader::with_capacity(1 << 16, stdout);
    let mut bytes = Vec::new();
    while let Ok(1..) = stdout.read_until(b'\n', &mut bytes) {
        bytes.pop_if(|last| *last == b'\n');
        lines.lock().expect("not poisoned").push(Unread {
            bytes: std::mem::take(&mut bytes),
            arrived_us: mono_us(),
        });
    }
}

impl Recording {
    /// Status 0, `start` first, `stop` last, nothing lost, no gap, every line as the contract has it.
    pub fn check(&self) {
        let mut wrong = Vec::new();
        if !self.status.success() {
            let signal = self.status.signal();
            wrong.push(format!("exit status {} (signal {signal:?})", self.status));
        }
        for (number, line) in self.lines.iter().enumerate() {
            let mut say = |problem: String| {
                wrong.push(format!("line {}: {problem}\n    {}", number + 1, line.text))
            };
            for problem in schema::check(line) {
                say(problem);
            }
            if let Err(problem) = SCHEMA.check(&line.json) {
                say(problem);
            }
            if line.int("seq") != Some(number as i64 + 1) {
                say(format!(
                    "seq is {} where {} was due",
                    line.json["seq"],
                    number + 1
                ));
            }
            if line.event() == "lost" || line.int("lost").is_some_and(|lost| lost != 0) {
                say("events were lost".to_owned());
            }
        }
        let first = self.lines.first().map_or("", Line::event);
        let last = self.lines.last().map_or("", Line::event);
        if first != "start" || last != "stop" {
            wrong.push(format!(
                "the run begins with `{first}` and ends with `{last}`"
            ));
        }
        assert!(
            wrong.is_empty(),
            "{} thing(s) wrong with this run:\n{}\nstderr:\n{}",
            wrong.len(),
            wrong
                .iter()
                .take(10)
                .cloned()
                .collect::<Vec<_>>()
                .join("\n"),
            self.stderr
        );
    }

    pub fn ends(&self) -> impl Iterator<Item = &Line> {
        self.lines.iter().filter(|line| line.is_end())
    }

    /// Ends whose moment was not seen, as `stop` counts them.
    pub fn recovered(&self) -> usize {
        let stop = self.lines.last().map_or(&Value::Null, |line| &line.json);
        stop["recovered"].as_u64().unwrap_or(0) as usize
    }

    /// Runs of its programs that the kernel skipped.
    pub fn missed_runs(&self) -> u64 {
        let stop = self.lines.last().map_or(&Value::Null, |line| &line.json);
        stop["missed_runs"].as_u64().unwrap_or(0)
    }

    /// Ends of such connections of which there is no record.
    pub fn hidden_ends(&self) -> usize {
        let told = |ports: &Ports| self.ends().filter(|line| ports_of(line) == *ports).count();
        self.blind
            .iter()
            .map(|ports| 2_usize.saturating_sub(told(ports)))
            .sum()
    }

    /// Whether this end's connection had a moment that no BPF program of this machine could see.
    pub fn is_blind(&self, line: &Line) -> bool {
        self.blind.contains(&ports_of(line))
    }

    pub fn of_event(&self, event: &str) -> impl Iterator<Item = &Line> {
        self.lines.iter().filter(move |line| line.event() == event)
    }
}

/// Both ports of a connection, the smaller first.
fn ports_of(line: &Line) -> Ports {
    let port = |key| line.int(key).unwrap_or(0) as u16;
    let (local, peer) = (port("local_port"), port("peer_port"));
    (local.min(peer), local.max(peer))
}
