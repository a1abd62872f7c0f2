//! Bad days: readers that fail, a kernel side that is full, and what can happen to a process. What can be kept is kept,
//! what cannot is counted, and nothing stays behind.

mod kernel_side;
mod output;
mod process;

use std::{
    collections::BTreeMap,
    process::{Child, Command, ExitStatus, Stdio},
    sync::atomic::{AtomicUsize, Ordering::Relaxed},
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
        link::{Link, Net},
        tracer::{Line, command},
    },
    load::{Couple, churned, pairs_called},
};

pub fn tests() -> Vec<Test> {
    [output::tests(), kernel_side::tests(), process::tests()]
        .into_iter()
        .flatten()
        .collect()
}

const PATIENCE: Duration = Duration::from_secs(30);

/// Connections by processes whose names nobody else has, and how many ends there were.
struct Traffic {
    net: Net,
    couples: Vec<Couple>,
    names: [String; 2],
    blind_spot: Option<BlindSpot>,
    ends: usize,
}

impl Traffic {
    fn new() -> Traffic {
        static NUMBER: AtomicUsize = AtomicUsize::new(0);
        let number = NUMBER.fetch_add(1, Relaxed);
        let names = ["c", "s"].map(|side| format!("f{side}{}-{number}", std::process::id()));
        let net = Net::new(Link::LoV4);
        let couples = pairs_called(&net, [&names[0], &names[1]]);
        Traffic {
            net,
            couples,
            names,
            blind_spot: BlindSpot::watch(),
            ends: 0,
        }
    }

    /// For `--comm`.
    fn comms(&self) -> String {
        self.names.join(",")
    }

    /// So many connections, until all are gone.
    fn run(&mut self, connections: usize) {
        churned(&self.couples, connections);
        self.net.wait_until_gone();
        self.ends += 2 * connections / self.couples.len() * self.couples.len();
    }

    /// Ends that this machine may have hidden from every BPF program.
    fn hidden(&self) -> usize {
        let seen = self.blind_spot.as_ref().map(BlindSpot::seen);
        2 * seen.map_or(0, |seen| seen.len())
    }

    /// Every end was told or counted as lost.
    fn account(&self, told: usize, lost: usize) {
        assert!(
            told + lost <= self.ends && told + lost + self.hidden() >= self.ends,
            "{told} told and {lost} lost of {} ends, of which {} may be hidden",
            self.ends,
            self.hidden()
        );
    }

    fn own<'a>(&self, lines: &'a [Line]) -> Vec<&'a Line> {
        let of_ours = |line: &&Line| {
            line.is_end()
                && line
                    .str("comm")
                    .is_some_and(|comm| self.names.iter().any(|name| name == comm))
        };
        lines.iter().filter(of_ours).collect()
    }
}

/// A tracer that is ended with the test.
struct Running(Child);

impl Running {
    fn start(command: &mut Command) -> Running {
        let command = command.stdin(Stdio::null());
        Running(command.spawn().expect("the tracer"))
    }

    fn pid(&self) -> Pid {
        Pid::from_raw(self.0.id() as i32)
    }

    fn signal(&self, signal: Signal) {
        kill(self.pid(), signal).expect("it runs");
    }

    fn ends(&mut self, patience: Duration) -> ExitStatus {
        let deadline = Instant::now() + patience;
        loop {
            if let Some(status) = self.0.try_wait().expect("a child") {
                return status;
            }
            assert!(Instant::now() < deadline, "it goes on after {patience:?}");
            sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A tracer of such names alone, with lines that are long.
fn tracer_of(traffic: &Traffic) -> Command {
    command(&["-o", "json", "--stories", "all", "--comm", &traffic.comms()])
}

/// Every line must be whole.
fn lines_of(bytes: &[u8]) -> Vec<Line> {
    let text = std::str::from_utf8(bytes).expect("UTF-8");
    assert!(
        text.is_empty() || text.ends_with('\n'),
        "half a line: {}",
        tail(text)
    );
    text.lines()
        .map(|line| {
            let line = Line::new(line.to_owned());
            assert!(!line.event().is_empty(), "no event: {}", line.text);
            line
        })
        .collect()
}

fn tail(text: &str) -> &str {
    text.lines().last().unwrap_or_default()
}

/// What `lost` lines say, by kind.
fn lost_in(lines: &[Line], place: &str) -> BTreeMap<String, usize> {
    let mut lost = BTreeMap::new();
    for line in lines {
        if line.event() == "lost" && line.str("where") == Some(place) {
            let kinds = line.json["kinds"].as_object().expect("kinds");
            for (kind, count) in kinds {
                *lost.entry(kind.clone()).or_default() += count.as_u64().expect("a count") as usize;
            }
        }
    }
    lost
}

fn wait_for(what: &str, mut done: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !done() {
        assert!(Instant::now() < deadline, "waited in vain for {what}");
        sleep(Duration::from_millis(10));
    }
}
