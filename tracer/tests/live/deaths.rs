//! Connections that end because their process does: how it died, and who told it to.

use std::{
    fs,
    io::Read as _,
    net::{TcpListener, TcpStream},
    path::Path,
    process::{Child, Command, Stdio},
    thread,
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde_json::{Value, json};

use crate::{
    Test,
    lab::{
        needs::Need,
        tracer::{Line, Recording, Tracer},
    },
};

const TIMES: usize = 23;

pub fn tests() -> Vec<Test> {
    let test = |name: &str, body: fn()| {
        Test::new(format!("deaths::{name}"), &[Need::Program("python3")], body)
    };
    vec![
        test("terminated", terminated),
        test("caught_and_exited", caught_and_exited),
        test("hangup_is_no_reason", hangup_is_no_reason),
        test("crashed", crashed),
        test("aborted", aborted),
        Test::new(
            "deaths::out_of_memory",
            &[
                Need::Program("python3"),
                Need::File("/sys/fs/cgroup/memory"),
            ],
            out_of_memory,
        ),
    ]
}

/// A process with a connection to us, which waits for a byte before it does `then`.
struct Victim {
    child: Child,
    stream: TcpStream,
}

impl Victim {
    fn start(listener: &TcpListener, then: &str) -> Victim {
        let port = listener.local_addr().expect("a listener").port();
        let program = format!(
            "import os, signal, socket, sys, time\n\
             s = socket.create_connection(('127.0.0.1', {port}))\n\
             {then}\n"
        );
        let child = Command::new("python3")
            .args(["-c", &program])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("python3");
        let (stream, _) = listener.accept().expect("a connection");
        Victim { child, stream }
    }

    /// Waits until it says that it is ready.
    fn ready(&mut self) {
        let mut byte = [0];
        let stdout = self.child.stdout.as_mut().expect("piped");
        stdout.read_exact(&mut byte).expect("it says so");
    }

    fn pid(&self) -> u32 {
        self.child.id()
    }

    fn gone(mut self) {
        self.child.wait().expect("a child");
        let mut rest = Vec::new();
        let _ = self.stream.read_to_end(&mut rest);
    }
}

/// Runs victims side by side, each to its end by `end`, and gives the record of each end.
fn die(then: &str, end: fn(&Victim)) -> Vec<Line> {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let tracer = Tracer::start();
    let mut victims: Vec<_> = (0..TIMES).map(|_| Victim::start(&listener, then)).collect();
    let pids: Vec<_> = victims.iter().map(Victim::pid).collect();
    for victim in &mut victims {
        victim.ready();
        end(victim);
    }
    for victim in victims {
        victim.gone();
    }
    drop(listener);
    of_pids(tracer.finish(), &pids)
}

/// The one end of each of these processes.
fn of_pids(recording: Recording, pids: &[u32]) -> Vec<Line> {
    recording.check();
    pids.iter()
        .map(|pid| {
            let ends: Vec<_> = recording
                .ends()
                .filter(|line| line.int("pid") == Some(i64::from(*pid)))
                .collect();
            let [end] = ends[..] else {
                panic!("process {pid} has {} ends, not 1", ends.len());
            };
            Line::new(end.text.clone())
        })
        .collect()
}

fn expect(ends: &[Line], wanted: &[(&str, Value)], story: &[&str]) {
    assert_eq!(ends.len(), TIMES);
    for end in ends {
        assert_eq!(end.str("pattern"), Some("process_exit"), "{}", end.text);
        for (key, value) in wanted {
            let is = end.json.get(key).cloned().unwrap_or(Value::Null);
            assert_eq!(is, *value, "{key} of {}", end.text);
        }
        let told = end.str("story").expect("a story");
        for part in story {
            assert!(told.contains(part), "`{part}` is not in: {told}");
        }
    }
}

const WAIT: &str = "os.write(1, b'.')\ntime.sleep(60)";

fn send(victim: &Victim, signal: Signal) {
    kill(Pid::from_raw(victim.pid() as i32), signal).expect("a child of ours");
}

fn terminated() {
    let ends = die(WAIT, |victim| send(victim, Signal::SIGTERM));
    let me = std::process::id();
    expect(
        &ends,
        &[
            ("exit_signal", json!("SIGTERM")),
            ("killer_signal", json!("SIGTERM")),
            ("killer_pid", json!(me)),
        ],
        &[
            "when it was killed by SIGTERM, which ",
            &format!("[{me}] had sent it"),
        ],
    );
}

/// As gunicorn's workers do when their master has had enough of them.
fn caught_and_exited() {
    let then =
        "signal.signal(signal.SIGABRT, lambda *_: sys.exit(1))\nos.write(1, b'.')\ntime.sleep(60)";
    let ends = die(then, |victim| send(victim, Signal::SIGABRT));
    expect(
        &ends,
        &[
            ("exit_signal", Value::Null),
            // Python closes the socket before it exits.
            ("exit_status", Value::Null),
            ("killer_signal", json!("SIGABRT")),
            ("killer_pid", json!(std::process::id())),
        ],
        &[" ms after ", " had sent it SIGABRT"],
    );
}

/// What reloads a daemon did not end it.
fn hangup_is_no_reason() {
    let then = "told = []\n\
                signal.signal(signal.SIGHUP, lambda *_: told.append(1))\n\
                os.write(1, b'.')\n\
                while not told: time.sleep(0.01)\n\
                os._exit(3)";
    let ends = die(then, |victim| send(victim, Signal::SIGHUP));
    expect(
        &ends,
        &[
            ("exit_status", json!(3)),
            ("killer_signal", Value::Null),
            ("killer_pid", Value::Null),
        ],
        &["when it exited with status 3"],
    );
}

/// A fault is the kernel's signal.
fn crashed() {
    let then = "import ctypes\nos.write(1, b'.')\nctypes.string_at(8)";
    let ends = die(then, |_| ());
    expect(
        &ends,
        &[
            ("exit_signal", json!("SIGSEGV")),
            ("killer_signal", json!("SIGSEGV")),
            ("killer_pid", Value::Null),
        ],
        &["when it crashed with SIGSEGV"],
    );
}

/// abort(3) is a signal to oneself.
fn aborted() {
    let ends = die("os.write(1, b'.')\nos.abort()", |_| ());
    for end in &ends {
        assert_eq!(end.int("killer_pid"), end.int("pid"), "{}", end.text);
    }
    expect(
        &ends,
        &[("exit_signal", json!("SIGABRT"))],
        &["when it ended itself with SIGABRT"],
    );
}

fn out_of_memory() {
    let folder = format!("/sys/fs/cgroup/memory/lab-oom-{}", std::process::id());
    let group = Path::new(&folder);
    fs::create_dir(group).expect("a memory cgroup");
    fs::write(group.join("memory.limit_in_bytes"), "32M").expect("a limit");
    let then = format!(
        "open('{folder}/cgroup.procs', 'w').write(str(os.getpid()))\n\
         os.write(1, b'.')\n\
         hog = []\n\
         while True: hog.append(bytearray(os.urandom(1 << 20)))"
    );
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let tracer = Tracer::start();
    // One after another: the kernel kills only one of a group at a time, not the one that asked.
    let pids: Vec<_> = (0..TIMES)
        .map(|_| {
            let mut victim = Victim::start(&listener, &then);
            victim.ready();
            let pid = victim.pid();
            victim.gone();
            pid
        })
        .collect();
    let ends = of_pids(tracer.finish(), &pids);
    // An emptied group is busy for a moment.
    while fs::remove_dir(group).is_err() {
        thread::yield_now();
    }
    expect(
        &ends,
        &[
            ("exit_signal", json!("SIGKILL")),
            ("oom_killed", json!(true)),
            ("killer_pid", Value::Null),
        ],
        &["when the kernel killed it for want of memory"],
    );
}
