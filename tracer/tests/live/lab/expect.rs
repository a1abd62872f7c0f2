//! Ground truth, and its comparison with what the tracer wrote.
//!
//! Every ending says of each of its ends what the record must hold; `judge` then demands exactly one record per end,
//! every key as said, and no further record from the namespaces of the test. Traffic elsewhere does not matter.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    net::{IpAddr, SocketAddr},
};

use serde_json::{Value, json};

use super::{
    agent::{Agent, Role, Sock},
    blind_spot::Ports,
    kernel,
    link::Net,
    tracer::{Line, Recording},
};

/// Who ended it, how and why, as the table of contract.md section 2.3 has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Verdict {
    pub event: &'static str,
    pub reason: &'static str,
    pub closed_by: &'static str,
    pub how: &'static str,
    pub errno: Option<&'static str>,
}

const fn close(
    reason: &'static str,
    closed_by: &'static str,
    how: &'static str,
    errno: Option<&'static str>,
) -> Verdict {
    Verdict {
        event: "tcp_close",
        reason,
        closed_by,
        how,
        errno,
    }
}

const fn failed(
    reason: &'static str,
    closed_by: &'static str,
    how: &'static str,
    errno: Option<&'static str>,
) -> Verdict {
    Verdict {
        event: "tcp_connect_failed",
        reason,
        closed_by,
        how,
        errno,
    }
}

pub const FIN_LOCAL: Verdict = close("fin_local", "local", "fin", None);
pub const FIN_PEER: Verdict = close("fin_peer", "peer", "fin", None);
pub const FIN_BOTH: Verdict = close("fin_both", "local", "fin", None);
pub const ABORT_UNREAD: Verdict = close("abort_unread", "local", "rst", None);
pub const ABORT_LINGER0: Verdict = close("abort_linger0", "local", "rst", None);
pub const DISCONNECT: Verdict = close("disconnect", "local", "rst", None);
pub const LISTENER_CLOSED: Verdict = close("listener_closed", "local", "rst", None);
pub const CONNECT_CANCELLED: Verdict = failed("connect_cancelled", "local", "none", None);
pub const ABORT_ADMIN: Verdict = close("abort_admin", "local", "rst", Some("ECONNABORTED"));
pub const OOM_AFTER_FIN: Verdict = close("oom", "local", "fin", None);
pub const TIMEOUT_FIN_WAIT: Verdict = close("timeout_fin_wait", "local", "fin", None);
pub const TIMEOUT_KEEPALIVE: Verdict =
    close("timeout_keepalive", "kernel", "timeout", Some("ETIMEDOUT"));
pub const TIMEOUT_USER: Verdict = close("timeout_user", "kernel", "timeout", Some("ETIMEDOUT"));
pub const TIMEOUT_RETRANS: Verdict =
    close("timeout_retrans", "kernel", "timeout", Some("ETIMEDOUT"));
pub const TIMEOUT_PROBE: Verdict = close("timeout_probe", "kernel", "timeout", Some("ETIMEDOUT"));
pub const TIMEOUT_ORPHAN: Verdict = close("timeout_orphan", "local", "fin", Some("ETIMEDOUT"));
pub const CONNECT_TIMEOUT: Verdict =
    failed("connect_timeout", "kernel", "timeout", Some("ETIMEDOUT"));
pub const CONNECT_UNREACHABLE: Verdict = failed(
    "connect_unreachable",
    "unknown",
    "icmp",
    Some("EHOSTUNREACH"),
);
pub const CONNECT_REFUSED: Verdict = failed("connect_refused", "peer", "rst", Some("ECONNREFUSED"));
pub const RST_PEER: Verdict = close("rst_peer", "peer", "rst", Some("ECONNRESET"));
pub const RST_PEER_AFTER_OUR_FIN: Verdict = close("rst_peer", "local", "fin", Some("ECONNRESET"));
/// The broken pipe.
pub const FIN_PEER_RST: Verdict = close("fin_peer_rst", "peer", "fin", Some("EPIPE"));

impl Verdict {
    pub const fn errno(self, errno: Option<&'static str>) -> Verdict {
        Verdict { errno, ..self }
    }

    pub const fn first(self, closed_by: &'static str, how: &'static str) -> Verdict {
        Verdict {
            closed_by,
            how,
            ..self
        }
    }
}

/// What one key must hold.
#[derive(Debug, Clone)]
pub enum Want {
    Is(Value),
    OneOf(Vec<Value>),
    Between(i64, i64),
    /// Null while the issue that fills it is open, else this.
    NullOr(Box<Want>),
    NotNull,
    Any,
}

impl Want {
    fn accepts(&self, value: &Value) -> bool {
        match self {
            Want::Is(due) => value == due,
            Want::OneOf(due) => due.contains(value),
            Want::Between(low, high) => value
                .as_i64()
                .is_some_and(|value| (*low..=*high).contains(&value)),
            Want::NullOr(due) => value.is_null() || due.accepts(value),
            Want::NotNull => !value.is_null(),
            Want::Any => true,
        }
    }

    fn text(&self) -> String {
        match self {
            Want::Is(due) => due.to_string(),
            Want::OneOf(due) => format!("one of {}", Value::from(due.clone())),
            Want::Between(low, high) => format!("{low} to {high}"),
            Want::NullOr(due) => format!("null or {}", due.text()),
            Want::NotNull => "a value".to_owned(),
            Want::Any => "anything".to_owned(),
        }
    }
}

pub fn is(value: impl Into<Value>) -> Want {
    Want::Is(value.into())
}

pub fn one_of<V: Into<Value>>(values: impl IntoIterator<Item = V>) -> Want {
    Want::OneOf(values.into_iter().map(Into::into).collect())
}

pub fn null() -> Want {
    Want::Is(Value::Null)
}

/// A `tcp_reset` line that an end must have: direction, and the kernel's reasons of which it must be one (none: any).
pub type Reset = (&'static str, &'static [&'static str]);

/// What tells one end from another, but for the reuse of a port.
type Key = (u64, IpAddr, Option<u16>, SocketAddr);

/// One end of a connection, and what its record must say.
#[derive(Debug, Clone)]
pub struct End {
    label: String,
    netns: u64,
    local_ip: IpAddr,
    /// `None`: the socket's port was never known; the peer's port must be unique then.
    local_port: Option<u16>,
    peer: SocketAddr,
    wants: BTreeMap<&'static str, Want>,
    resets: Option<Vec<Reset>>,
    io_errors: Option<Vec<(&'static str, &'static str)>>,
}

impl End {
    /// The truth about a socket whose bytes all arrived: what the agents counted. `other` is `None` when the peer is
    /// no socket of ours.
    pub fn of(net: &Net, sock: &Sock, other: Option<&Sock>, verdict: Verdict) -> End {
        let end = End {
            label: format!("{} {:?} of {}", verdict.reason, sock.role, net.link.name()),
            netns: net.ns_of(sock).inode(),
            local_ip: match sock.local.ip() {
                ip if ip.is_unspecified() => match sock.role {
                    Role::Client => net.client_ip,
                    Role::Server => net.server_ip,
                },
                ip => ip,
            },
            local_port: Some(sock.local.port()).filter(|port| *port != 0),
            peer: sock.peer.expect("an end that was connected or connecting"),
            wants: BTreeMap::new(),
            resets: None,
            io_errors: None,
        };
        let received = other.map_or(0, Sock::written) as i64;
        let end = end
            .verdict(verdict)
            .owner(&sock.agent)
            .want("closer_pid", Want::Any)
            .want(
                "role",
                is(if sock.role == Role::Client {
                    "client"
                } else {
                    "server"
                }),
            )
            .want("family", is(if net.link.is_v6() { "ipv6" } else { "ipv4" }))
            .want(
                "attribution",
                one_of(["connect", "accept", "io", "syscall"]),
            )
            .want("preexisting", is(false))
            .want("mptcp", is(false))
            .want("truncated", is(false))
            .want("tx_bytes", is(sock.written() as i64))
            .want("tx_unacked_bytes", is(0))
            .want("tx_unsent_bytes", is(0))
            .want("rx_bytes", is(received))
            .want("rx_unread_bytes", is(received - sock.taken() as i64))
            .want("tx_after_fin_bytes", is(0))
            .want("read_errno", is(Value::Null))
            .want("write_errno", is(Value::Null))
            .want("io_errors", is(0))
            .want("sigpipe", is(false))
            // No table knows our programs, and the kernel's own timeouts are another namespace's.
            .want(
                "hints",
                is(match verdict.reason {
                    "timeout_user" => json!(["linux.tcp_user_timeout"]),
                    _ => json!([]),
                }),
            );
        let end = if verdict.event == "tcp_close" {
            end.want("age_ms", Want::Between(0, 60_000))
        } else {
            end.want("age_ms", null())
                .want("half_close_ms", null())
                // Nothing can have been unread: both ways of saying so are fair.
                .want("rx_unread_bytes", one_of([Value::Null, 0.into()]))
        };
        let end = end.want("end_age_ms", Want::Between(0, 60_000));
        match other {
            Some(other) => end
                .want("peer_pid", Want::NullOr(Box::new(is(other.agent.pid))))
                .want(
                    "peer_comm",
                    Want::NullOr(Box::new(is(other.agent.comm_text()))),
                ),
            None => end
                .want("peer_pid", null())
                .want("peer_comm", null())
                .want("peer_conn", null()),
        }
    }

    pub fn verdict(self, verdict: Verdict) -> End {
        self.want("event", is(verdict.event))
            .want("reason", is(verdict.reason))
            .want("closed_by", is(verdict.closed_by))
            .want("how", is(verdict.how))
            .want("errno", is(json!(verdict.errno)))
    }

    pub fn owner(self, agent: &Agent) -> End {
        self.want("pid", is(agent.pid))
            .want("tid", is(agent.pid))
            .want("comm", is(agent.comm_text()))
            .want("uid", is(agent.uid))
    }

    /// The process whose call ended this end: close, shutdown, exit, a kill of the socket.
    pub fn closer(self, agent: &Agent) -> End {
        self.want("closer_pid", is(agent.pid))
            .want("closer_comm", is(agent.comm_text()))
    }

    /// No call ended it: a RST, a timer.
    pub fn no_closer(self) -> End {
        self.want("closer_pid", null()).want("closer_comm", null())
    }

    pub fn want(mut self, key: &'static str, want: Want) -> End {
        self.wants.insert(key, want);
        self
    }

    pub fn int(self, key: &'static str, value: usize) -> End {
        self.want(key, is(value as i64))
    }

    /// Errors that calls returned before the record was written.
    pub fn errors(self, read: Option<&str>, write: Option<&str>, count: i64, sigpipe: bool) -> End {
        self.want("read_errno", is(json!(read)))
            .want("write_errno", is(json!(write)))
            .want("io_errors", is(count))
            .want("sigpipe", is(sigpipe))
    }

    /// Exactly these `tcp_reset` lines.
    pub fn resets(mut self, resets: &[Reset]) -> End {
        self.resets = Some(resets.to_vec());
        self
    }

    /// Whatever `tcp_reset` lines: two connections of one socket share a cookie, so they cannot be told apart.
    pub fn resets_any(mut self) -> End {
        self.resets = None;
        self
    }

    /// Exactly these `tcp_io_error` lines, as (op, errno), before or after the record.
    pub fn io_errors(mut self, errors: &[(&'static str, &'static str)]) -> End {
        self.io_errors = Some(errors.to_vec());
        self
    }

    /// The value that a key must have, if there is just one.
    pub fn due(&self, key: &str) -> Option<&Value> {
        match self.wants.get(key) {
            Some(Want::Is(value)) => Some(value),
            _ => None,
        }
    }

    /// Whether a RST was to be sent or received besides.
    pub fn with_reset(&self) -> bool {
        self.resets
            .as_ref()
            .is_some_and(|resets| !resets.is_empty())
    }

    /// Without the lines beside the record.
    pub fn record_only(mut self) -> End {
        self.resets = None;
        self.io_errors = None;
        self
    }

    fn key(&self) -> Key {
        (self.netns, self.local_ip, self.local_port, self.peer)
    }

    fn what(&self) -> String {
        let port = self
            .local_port
            .map_or("?".to_owned(), |port| port.to_string());
        format!("{} ({}:{port} → {})", self.label, self.local_ip, self.peer)
    }

    /// Whether its connection is among these.
    fn is_in(&self, connections: &HashSet<Ports>) -> bool {
        let peer = self.peer.port();
        match self.local_port {
            Some(local) => connections.contains(&(local.min(peer), local.max(peer))),
            None => connections.iter().any(|(a, b)| [*a, *b].contains(&peer)),
        }
    }

    fn is_of(&self, line: &Line) -> bool {
        line.int("netns") == Some(self.netns as i64) && self.is_like(line)
    }

    /// By its addresses only.
    fn is_like(&self, line: &Line) -> bool {
        let int = |key, value: u16| line.int(key) == Some(value.into());
        line.str("local_addr") == Some(&self.local_ip.to_string())
            && self.local_port.is_none_or(|port| int("local_port", port))
            && line.str("peer_addr") == Some(&self.peer.ip().to_string())
            && int("peer_port", self.peer.port())
    }

    fn differences(&self, line: &Line, recovered: bool) -> Vec<String> {
        self.wants
            .iter()
            .filter(|(key, _)| !recovered || !UNSEEN.contains(key))
            .filter(|(key, want)| !want.accepts(&line.json[**key]))
            .map(|(key, want)| format!("{key} is {}, must be {}", line.json[*key], want.text()))
            .collect()
    }

    fn wrong_side_lines(&self, conn: &[&Line]) -> Vec<String> {
        let mut wrong = Vec::new();
        if let Some(due) = &self.resets {
            let seen: Vec<&Line> = conn
                .iter()
                .copied()
                .filter(|line| line.event() == "tcp_reset")
                .collect();
            let must = |reset: &&Reset| {
                kernel::gives_cookies() || !reset.1.contains(&"tcp_timewait_socket")
            };
            let fits = (due.iter().filter(must).count()..=due.len()).contains(&seen.len())
                && due.iter().filter(must).all(|(direction, reasons)| {
                    seen.iter().any(|line| {
                        line.str("direction") == Some(direction)
                            && (reasons.is_empty()
                                || (!kernel::gives_rst_reasons()
                                    && line.json["rst_reason"].is_null())
                                || reasons
                                    .iter()
                                    .any(|reason| line.str("rst_reason") == Some(reason)))
                    })
                });
            if !fits {
                wrong.push(format!(
                    "its tcp_reset lines must be {due:?}, but are {}",
                    texts(&seen)
                ));
            }
        }
        if let Some(due) = &self.io_errors {
            let seen: Vec<&Line> = conn
                .iter()
                .copied()
                .filter(|line| line.event() == "tcp_io_error")
                .collect();
            let mut is: Vec<_> = seen
                .iter()
                .map(|line| (line.str("op"), line.str("errno")))
                .collect();
            let mut must: Vec<_> = due
                .iter()
                .map(|(op, errno)| (Some(*op), Some(*errno)))
                .collect();
            is.sort_unstable();
            must.sort_unstable();
            if is != must {
                wrong.push(format!(
                    "its tcp_io_error lines must be {due:?}, but are {}",
                    texts(&seen)
                ));
            }
        }
        wrong
    }
}

fn texts(lines: &[&Line]) -> String {
    if lines.is_empty() {
        return "none".to_owned();
    }
    let texts: Vec<&str> = lines.iter().map(|line| line.text.as_str()).collect();
    format!("\n      {}", texts.join("\n      "))
}

/// One record per end, each as said, none besides, for everything in these namespaces.
pub fn judge(recording: &Recording, namespaces: &[u64], ends: &[End]) {
    let problems = problems(recording, namespaces, ends);
    assert!(
        problems.is_empty(),
        "{} of {} ends are told wrongly:\n{}",
        problems.len(),
        ends.len(),
        problems
            .iter()
            .take(6)
            .cloned()
            .collect::<Vec<_>>()
            .join("\n")
    );
}

pub fn problems(recording: &Recording, namespaces: &[u64], ends: &[End]) -> Vec<String> {
    let ours: Vec<&Line> = recording
        .lines
        .iter()
        .filter(|line| {
            line.int("netns")
                .is_some_and(|netns| namespaces.contains(&(netns as u64)))
        })
        .collect();
    let mut by_conn: HashMap<&str, Vec<&Line>> = HashMap::new();
    for line in &ours {
        if let Some(conn) = line.str("conn") {
            by_conn.entry(conn).or_default().push(line);
        }
    }
    // All local ports of a link are different, so this finds the few candidates at once.
    let mut by_peer: HashMap<i64, Vec<&Line>> = HashMap::new();
    for line in ours.iter().filter(|line| line.is_end()) {
        by_peer
            .entry(line.int("peer_port").unwrap_or(-1))
            .or_default()
            .push(line);
    }

    let mut problems = Vec::new();
    let mut told: HashSet<i64> = HashSet::new();
    let mut forgiven = recording.recovered();
    // A port may be used again within a test: the ends that share addresses are told in the order of their times.
    let mut turns: HashMap<Key, usize> = HashMap::new();
    let mut totals: HashMap<Key, usize> = HashMap::new();
    for end in ends {
        *totals.entry(end.key()).or_default() += 1;
    }
    for end in ends {
        let empty = Vec::new();
        let candidates = by_peer.get(&i64::from(end.peer.port())).unwrap_or(&empty);
        let mut records: Vec<&Line> = candidates
            .iter()
            .copied()
            .filter(|line| end.is_of(line))
            .collect();
        records.sort_by_key(|line| line.int("mono_us"));
        told.extend(records.iter().filter_map(|line| line.int("seq")));
        let due = totals[&end.key()];
        let turn = turns.entry(end.key()).or_default();
        let number = *turn;
        *turn += 1;
        let blind = end.is_in(&recording.blind);
        if blind {
            println!(
                "note: {} ended while PID 1 was the current task",
                end.what()
            );
        }
        if records.len() != due {
            if blind {
                continue;
            }
            // Perhaps it is there, but under a wrong namespace or event.
            let alike: Vec<&Line> = recording
                .lines
                .iter()
                .filter(|line| end.is_like(line))
                .collect();
            problems.push(format!(
                "  {}: {} record(s), {due} due; lines with these addresses: {}",
                end.what(),
                records.len(),
                texts(&alike)
            ));
            continue;
        }
        let record = records[number];
        if blind {
            continue;
        }
        let conn = record.str("conn").unwrap_or("");
        let lines = by_conn.get(conn).map_or(&[][..], Vec::as_slice);
        let recovered = forgiven > 0 && was_recovered(record);
        forgiven -= usize::from(recovered);
        let mut wrong = end.differences(record, recovered);
        wrong.extend(end.wrong_side_lines(lines));
        wrong.extend(consistent(record));
        // A socket that is used again has one cookie for two records.
        if lines.iter().filter(|line| line.is_end()).count() == 1 {
            wrong.extend(lines.iter().flat_map(|line| same_socket(record, line)));
        }
        if !wrong.is_empty() {
            problems.push(format!(
                "  {}:\n    {}\n    {}",
                end.what(),
                wrong.join("\n    "),
                record.text
            ));
        }
    }
    let extra = ours
        .iter()
        .filter(|line| line.is_end() && !told.contains(&line.int("seq").unwrap_or(0)));
    problems.extend(extra.map(|line| {
        format!(
            "  a record of a connection that we did not make:\n    {}",
            line.text
        )
    }));
    problems
}

/// A RST or an error is told of the same socket and the same process as its end.
fn same_socket(record: &Line, line: &Line) -> Vec<String> {
    const KEYS: [&str; 11] = [
        "family",
        "local_addr",
        "local_port",
        "peer_addr",
        "peer_port",
        "netns",
        "role",
        "pid",
        "comm",
        "uid",
        "flow_id",
    ];
    KEYS.iter()
        .filter(|key| line.json[**key] != record.json[**key])
        // Not known yet while the SYN is unanswered.
        .filter(|key| **key != "flow_id" || !line.json[**key].is_null())
        .map(|key| format!("{key} is another one in\n      {}", line.text))
        .collect()
}

/// The kernel runs no program inside itself: when a timer interrupts the program that watches states, and ends a
/// connection, that end is not seen, and told later without its cause. `stop` counts how often that happened.
fn was_recovered(record: &Line) -> bool {
    record.str("reason") == Some("unknown") && record.json["state"].is_null()
}

/// What such a record cannot say.
const UNSEEN: [&str; 7] = [
    "reason",
    "closed_by",
    "how",
    "errno",
    "state",
    "closer_pid",
    "closer_comm",
];

/// What holds for any record by itself.
fn consistent(record: &Line) -> Vec<String> {
    let mut wrong = Vec::new();
    let int = |key: &str| record.int(key);
    if let (Some(end_age), Some(age)) = (int("end_age_ms"), int("age_ms")) {
        if end_age > age {
            wrong.push(format!("end_age_ms {end_age} is later than age_ms {age}"));
        }
        if record.str("how") == Some("fin")
            && int("half_close_ms").is_none_or(|half| (half - (age - end_age)).abs() > 1)
        {
            wrong.push(format!(
                "half_close_ms is not age_ms - end_age_ms = {}",
                age - end_age
            ));
        }
    }
    wrong
}
