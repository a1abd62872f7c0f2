//! What the records of a server's and its client's end must say when a timeout has ended their connection.

use std::{
    thread,
    time::{Duration, Instant},
};

use serde_json::Value;

use super::{host::Host, table::Table};
use crate::lab::{
    blind_spot::Ports,
    expect::Verdict,
    tracer::{Line, Tracer},
};

/// For all records to be written.
const PATIENCE: Duration = Duration::from_secs(20);

/// Timers that were started before the last byte went: a client's before it connected, a server's at the time of its
/// event loop. Much on a busy machine.
const EARLY_MS: i64 = 1_000;

/// Timers of a busy machine are late.
const LATE_MS: i64 = 3_000;

/// Connections of a case, all at once.
pub const TIMES: usize = 5;

/// What the table of timeouts allows for, and a little less.
const PUNCTUAL_MS: std::ops::RangeInclusive<i64> = -15..=90;

/// A setting, and connections that it ends.
pub struct Case {
    pub setting: &'static str,
    /// The server's.
    pub port: u16,
    pub server: Option<Side>,
    pub client: Option<Side>,
}

/// What the records of one end must say.
pub struct Side {
    pub comm: &'static str,
    verdict: Verdict,
    pub pattern: Option<&'static str>,
    /// A key, and the milliseconds that it must show.
    pub clock: Option<(&'static str, i64)>,
    /// The timeout that must be named first.
    pub hint: Option<&'static str>,
    any_hint: bool,
    also: Vec<(&'static str, Value)>,
}

impl Case {
    pub fn new(setting: &'static str, port: u16) -> Case {
        Case {
            setting,
            port,
            server: None,
            client: None,
        }
    }

    pub fn server(mut self, side: Side) -> Case {
        self.server = Some(side);
        self
    }

    pub fn client(mut self, side: Side) -> Case {
        self.client = Some(side);
        self
    }

    /// The ends to be judged, with what tells their records from others.
    pub fn sides(&self) -> impl Iterator<Item = (&'static str, &Side, &'static str)> {
        let server = self
            .server
            .as_ref()
            .map(|side| ("server", side, "local_port"));
        let client = self
            .client
            .as_ref()
            .map(|side| ("client", side, "peer_port"));
        server.into_iter().chain(client)
    }

    /// The other end's process, if it is judged.
    fn other(&self, role: &str) -> Option<&Side> {
        match role {
            "server" => self.client.as_ref(),
            _ => self.server.as_ref(),
        }
    }
}

impl Side {
    /// An end of this process that ended so.
    pub fn of(comm: &'static str, verdict: Verdict, pattern: &'static str) -> Side {
        Side {
            comm,
            verdict,
            pattern: Some(pattern),
            clock: None,
            hint: None,
            any_hint: false,
            also: Vec::new(),
        }
    }

    /// No pattern fits.
    pub fn plain(comm: &'static str, verdict: Verdict) -> Side {
        Side {
            pattern: None,
            ..Side::of(comm, verdict, "")
        }
    }

    pub fn clock(mut self, key: &'static str, ms: i64) -> Side {
        self.clock = Some((key, ms));
        self
    }

    pub fn hint(mut self, id: &'static str) -> Side {
        self.hint = Some(id);
        self
    }

    /// The end is too late for its timeout, or is not.
    pub fn any_hint(mut self) -> Side {
        self.any_hint = true;
        self
    }

    pub fn also(mut self, key: &'static str, value: impl Into<Value>) -> Side {
        self.also.push((key, value.into()));
        self
    }

    fn differences(&self, line: &Line, role: &str, other: Option<&Side>) -> Vec<String> {
        let mut due: Vec<(&str, Value)> = vec![
            ("role", role.into()),
            ("comm", self.comm.into()),
            ("reason", self.verdict.reason.into()),
            ("closed_by", self.verdict.closed_by.into()),
            ("how", self.verdict.how.into()),
            ("pattern", self.pattern.into()),
            ("preexisting", false.into()),
        ];
        if let Some(other) = other {
            due.push(("peer_comm", other.comm.into()));
        }
        due.extend(self.also.iter().cloned());
        let mut wrong: Vec<String> = due
            .iter()
            .filter(|(key, due)| line.json[*key] != *due)
            .map(|(key, due)| format!("{key} is {}, must be {due}", line.json[*key]))
            .collect();
        if let Some((key, ms)) = self.clock
            && !line
                .int(key)
                .is_some_and(|value| (ms - EARLY_MS..=ms + LATE_MS).contains(&value))
        {
            wrong.push(format!("{key} is {}, must be {ms}", line.json[key]));
        }
        let hint = line.json["hints"][0].as_str();
        let due = self.clock.is_none() || self.is_punctual(line);
        if due && !self.any_hint && hint != self.hint {
            wrong.push(format!(
                "the first hint is {hint:?}, must be {:?}",
                self.hint
            ));
        }
        wrong
    }

    /// When a timer of an idle machine would be due: then the timeout must be recognised.
    pub fn is_punctual(&self, line: &Line) -> bool {
        self.clock
            .and_then(|(key, ms)| Some(line.int(key)? - ms))
            .is_some_and(|late_ms| PUNCTUAL_MS.contains(&late_ms))
    }
}

/// Waits for the records of these cases, ends the tracer, and demands that each says what it must. The rows of the
/// table in the documentation are made of them.
pub fn judge(host: &Host, tracer: Tracer, product: &str, version: &str, cases: &[Case]) {
    let deadline = Instant::now() + PATIENCE;
    while missing(&tracer.lines(), host, cases) && Instant::now() < deadline {
        thread::sleep(Duration::from_millis(100));
    }
    let recording = tracer.finish();
    let mut wrong = Vec::new();
    let mut table = Table::new(product, version);
    for case in cases {
        for (role, side, key) in case.sides() {
            let lines = records(&recording.lines, host, case.port, key);
            let what = format!("{}, {role}", case.setting);
            let unseen = recording
                .blind
                .iter()
                .filter(|ports| is_of(ports, case.port));
            if !(TIMES.saturating_sub(unseen.count())..=TIMES).contains(&lines.len()) {
                let count = lines.len();
                wrong.push(format!("{what}: {count} records, not {TIMES}"));
            }
            for line in lines.iter().filter(|line| !recording.is_blind(line)) {
                let problems = side.differences(line, role, case.other(role));
                if !problems.is_empty() {
                    wrong.push(format!(
                        "{what}: {}\n    {}",
                        problems.join("; "),
                        line.text
                    ));
                }
            }
            let punctual = lines.iter().find(|line| side.is_punctual(line));
            if let Some(line) = punctual.or(lines.first()) {
                table.row(case.setting, role, side, line);
            }
        }
    }
    assert!(wrong.is_empty(), "{product}:\n{}", wrong.join("\n"));
    table.settle();
}

fn missing(lines: &[Line], host: &Host, cases: &[Case]) -> bool {
    cases.iter().any(|case| {
        let few = |key| records(lines, host, case.port, key).len() < TIMES;
        case.sides().any(|(_, _, key)| few(key))
    })
}

fn is_of(ports: &Ports, port: u16) -> bool {
    [ports.0, ports.1].contains(&port)
}

/// The ends in this namespace with this port there.
fn records<'a>(lines: &'a [Line], host: &Host, port: u16, key: &str) -> Vec<&'a Line> {
    let netns = host.netns.inode() as i64;
    lines
        .iter()
        .filter(|line| line.is_end() && line.int("netns") == Some(netns))
        .filter(|line| line.int(key) == Some(port.into()))
        .collect()
}
