//! The records of a load, held against the logs of its processes: every socket has its record and no record is without its
//! socket; reason, owner, bytes, errors and the other end are what the processes know.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    fs::File,
    io::{BufRead, BufReader},
    path::Path,
};

use serde::Deserialize;

use super::{
    log::{Entry, Said},
    ways::Way::{self, *},
    worker::AGAIN_PORTS,
};
use crate::lab::blind_spot::Ports;

/// What the judge looks at in a `tcp_close` or `tcp_connect_failed`.
#[derive(Debug, Clone, Deserialize)]
pub struct Told {
    event: String,
    mono_us: i64,
    conn: String,
    netns: Option<u64>,
    local_port: u16,
    peer_port: u16,
    role: String,
    pid: Option<i32>,
    tid: Option<i32>,
    comm: Option<String>,
    exe: Option<String>,
    closer_pid: Option<i32>,
    peer_pid: Option<i32>,
    peer_conn: Option<String>,
    flow_id: Option<String>,
    reason: String,
    closed_by: String,
    how: String,
    state: Option<String>,
    errno: Option<String>,
    preexisting: Option<bool>,
    age_ms: Option<i64>,
    rx_bytes: Option<u64>,
    tx_bytes: Option<u64>,
    tx_unacked_bytes: Option<u64>,
    tx_unsent_bytes: Option<u64>,
    rx_unread_bytes: Option<u64>,
    tx_after_fin_bytes: Option<u64>,
    read_errno: Option<String>,
    write_errno: Option<String>,
    io_errors: u64,
    sigpipe: bool,
    pattern: Option<String>,
    exit_status: Option<i32>,
    exit_signal: Option<String>,
}

impl Told {
    fn cookie(&self) -> Option<u64> {
        cookie(&self.conn)
    }

    /// Its birth and ESTABLISHED may fall into such a moment: then it seems to be older than the run.
    fn was_unborn(&self) -> bool {
        self.preexisting == Some(true)
    }

    /// Nothing was known of it before its end: nobody had accepted it either.
    fn was_untracked(&self) -> bool {
        self.was_unborn() && self.flow_id.is_none()
    }

    /// Whether this end was over before the other was established: then neither knows the other.
    fn missed(&self, other: &Told) -> bool {
        let established_us = other.age_ms.map(|age_ms| other.mono_us - 1000 * age_ms);
        established_us.is_some_and(|established_us| self.mono_us < established_us + 1000)
    }

    fn ports(&self) -> Ports {
        let (local, peer) = (self.local_port, self.peer_port);
        (local.min(peer), local.max(peer))
    }

    fn is_near(&self, other: &Told) -> bool {
        let is_other = !std::ptr::eq(self, other) && self.netns == other.netns;
        is_other
            && self.ports() == other.ports()
            && self.mono_us.abs_diff(other.mono_us) < 1_000_000
    }

    /// The kernel runs no program inside itself, so an end may be made good without its cause; `stop` counts these.
    fn was_recovered(&self) -> bool {
        self.event == "tcp_close" && self.state.is_none()
    }
}

fn cookie(conn: &str) -> Option<u64> {
    u64::from_str_radix(conn.split_once('-')?.1, 16).ok()
}

/// All that a tracer told of the ends in some namespaces.
#[derive(Default)]
pub struct Records {
    /// What a line of these namespaces contains.
    marks: Vec<String>,
    ends: Vec<Told>,
    /// RSTs as they were written, by their ports.
    resets: HashMap<Ports, Vec<String>>,
    /// Failed calls that were written as lines of their own, by socket.
    io_errors: HashMap<u64, Vec<String>>,
    pub lost: u64,
    /// What was lost, by where and kind.
    pub losses: BTreeMap<String, u64>,
    pub recovered: usize,
    /// Runs of the tracer's programs that the kernel skipped.
    pub missed_runs: usize,
}

impl Records {
    pub fn of(namespaces: &[u64]) -> Records {
        let mark = |inode: &u64| format!("\"netns\":{inode},");
        Records {
            marks: namespaces.iter().map(mark).collect(),
            ..Records::default()
        }
    }

    /// A file of the run; it may have several, one after the other.
    pub fn read(&mut self, path: &Path) {
        let file = File::open(path).expect("its output");
        self.read_from(BufReader::with_capacity(1 << 20, file), || ());
    }

    pub fn read_from(&mut self, mut lines: impl BufRead, between: impl Fn()) {
        let mut line = String::new();
        while lines.read_line(&mut line).expect("its output") > 0 {
            assert!(line.ends_with('\n'), "half a line: {line}");
            self.take(&line);
            line.clear();
            between();
        }
    }

    fn take(&mut self, line: &str) {
        let is = |event: &str| line.starts_with(&format!("{{\"v\":1,\"event\":\"{event}\""));
        if is("stop") || is("lost") {
            let value: serde_json::Value = serde_json::from_str(line).expect("a line of JSON");
            let number = |key: &str| value[key].as_u64().unwrap_or(0);
            if is("stop") {
                self.lost = self.lost.max(number("lost"));
                self.recovered = number("recovered") as usize;
                self.missed_runs = number("missed_runs") as usize;
            } else {
                let place = value["where"].as_str().unwrap_or("?");
                for (kind, count) in value["kinds"].as_object().into_iter().flatten() {
                    *self.losses.entry(format!("{place} {kind}")).or_default() +=
                        count.as_u64().unwrap_or(0);
                }
            }
            return;
        }
        if !self.marks.iter().any(|mark| line.contains(mark)) {
            return;
        }
        if is("tcp_close") || is("tcp_connect_failed") {
            let told = serde_json::from_str(line);
            self.ends
                .push(told.unwrap_or_else(|error| panic!("{error}: {line}")));
        } else if is("tcp_reset") {
            #[derive(Deserialize)]
            struct Reset {
                local_port: Option<u16>,
                peer_port: Option<u16>,
            }
            let reset: Reset = serde_json::from_str(line).expect("a line of JSON");
            if let (Some(local), Some(peer)) = (reset.local_port, reset.peer_port) {
                let ports = (local.min(peer), local.max(peer));
                let resets = self.resets.entry(ports).or_default();
                resets.push(line.trim_end().to_owned());
            }
        } else if is("tcp_io_error") {
            #[derive(Deserialize)]
            struct Failed {
                conn: Option<String>,
                errno: Option<String>,
            }
            let failed: Failed = serde_json::from_str(line).expect("a line of JSON");
            if let (Some(cookie), Some(errno)) =
                (failed.conn.as_deref().and_then(cookie), failed.errno)
            {
                self.io_errors.entry(cookie).or_default().push(errno);
            }
        }
    }
}

/// What the processes wrote down.
pub fn read_log(path: &Path) -> (Vec<Entry>, Vec<String>) {
    let (mut entries, mut faults) = (Vec::new(), Vec::new());
    let lines = BufReader::with_capacity(1 << 20, File::open(path).expect("the log"));
    for line in lines.lines() {
        match serde_json::from_str(&line.expect("the log")).expect("a line of the log") {
            Said::End(entry) => entries.push(*entry),
            Said::Fault(fault) => faults.push(fault),
        }
    }
    (entries, faults)
}

/// What came of the comparison.
#[derive(Default)]
pub struct Judgement {
    pub connections: usize,
    pub ends: usize,
    pub records: usize,
    /// Ends without a record, and records without an end.
    pub missed: Vec<String>,
    pub invented: Vec<String>,
    /// Records that say something wrong, by what it is.
    pub wrong: BTreeMap<&'static str, Vec<String>>,
    /// Ends that this machine hides from every program, or whose cause it hid.
    pub blind: usize,
    /// Runs that the kernel skipped, as far as what a record lacks goes back to them.
    pub spent: usize,
    pub unborn: usize,
    pub recovered: usize,
    pub by_way: BTreeMap<Way, usize>,
    /// How often a pid came again for another process.
    pub pids_again: usize,
}

impl Judgement {
    fn wrong(
        &mut self,
        records: &Records,
        key: &'static str,
        due: String,
        entry: &Entry,
        told: &Told,
    ) {
        let mut text = format!("due {due}\n    {entry:?}\n    {told:?}");
        // The other end, and whoever had these ports before and after.
        for other in records.ends.iter().filter(|other| other.is_near(told)) {
            text += &format!("\n    beside {other:?}");
        }
        for reset in records.resets.get(&told.ports()).into_iter().flatten() {
            text += &format!("\n    with {reset}");
        }
        self.wrong.entry(key).or_default().push(text);
    }

    pub fn summary(&self, records: &Records) -> String {
        let wrong: usize = self.wrong.values().map(Vec::len).sum();
        format!(
            "{} connections, {} ends, {} records, {} missed, {} invented, {wrong} things wrong, lost {:?}, {} runs \
             skipped, of which {} were felt: {} ends recovered, {} with an unseen start; {} hidden by the machine, pids came again {} times; {:?}",
            self.connections,
            self.ends,
            self.records,
            self.missed.len(),
            self.invented.len(),
            records.losses,
            records.missed_runs,
            self.spent,
            self.recovered,
            self.unborn,
            self.blind,
            self.pids_again,
            self.by_way
        )
    }

    /// Fails unless everything is true, or accounted for by `lost`.
    pub fn must_be_true(&self, records: &Records) {
        let mut text = format!(
            "{} ends of {} connections, {} records; {} missed with {} lost, {} invented, {} of {} skipped runs felt\n",
            self.ends,
            self.connections,
            self.records,
            self.missed.len(),
            records.lost,
            self.invented.len(),
            self.spent,
            records.missed_runs,
        );
        for (what, list) in [("missed", &self.missed), ("invented", &self.invented)] {
            for one in list.iter().take(5) {
                text += &format!("{what}: {one}\n");
            }
        }
        for (key, list) in &self.wrong {
            text += &format!("{key}: {} wrong, such as\n  {}\n", list.len(), list[0]);
            for one in list.iter().skip(1).take(2) {
                text += &format!("  {one}\n");
            }
        }
        // What is lost beside an end is missing from it: an error, a name, a RST.
        let wrong: usize = self.wrong.values().map(Vec::len).sum();
        let is_true = (self.missed.len() + wrong) as u64 <= records.lost
            && self.invented.is_empty()
            && self.spent <= records.missed_runs
            && self.recovered <= records.recovered;
        assert!(is_true, "{text}");
    }
}

/// (reason, closed_by, how, errno); `?` for no errno.
type Verdict = (&'static str, &'static str, &'static str, &'static str);

const FIN_LOCAL: Verdict = ("fin_local", "local", "fin", "?");
const FIN_PEER: Verdict = ("fin_peer", "peer", "fin", "?");
const FIN_BOTH: Verdict = ("fin_both", "local", "fin", "?");
const FIN_LOCAL_ON_DATA: Verdict = ("fin_local", "local", "fin", "ECONNRESET");
const UNREAD: Verdict = ("abort_unread", "local", "rst", "?");
const UNREAD_AFTER_FIN: Verdict = ("abort_unread", "peer", "fin", "?");
const LINGER0: Verdict = ("abort_linger0", "local", "rst", "?");
const LINGER0_AFTER_FIN: Verdict = ("abort_linger0", "peer", "fin", "?");
const RST_PEER: Verdict = ("rst_peer", "peer", "rst", "ECONNRESET");
const RST_AFTER_OUR_FIN: Verdict = ("rst_peer", "local", "fin", "ECONNRESET");
const BROKEN_PIPE: Verdict = ("fin_peer_rst", "peer", "fin", "EPIPE");
const BROKEN_PIPE_CLOSED: Verdict = ("fin_peer_rst", "peer", "fin", "ECONNRESET");
const DISCONNECT: Verdict = ("disconnect", "local", "rst", "?");

/// What may be said of this end; more than one where two processes act at the same moment.
fn due(entry: &Entry) -> &'static [Verdict] {
    let x = entry.is_x;
    if entry.way == Some(Fin) && !x && !entry.is_client && AGAIN_PORTS.contains(&entry.peer.port())
    {
        // x has the same port again before y has closed: its new SYN is answered by the old socket, and that with a RST.
        return &[FIN_PEER, BROKEN_PIPE, BROKEN_PIPE_CLOSED];
    }
    let Some(way) = entry.way else {
        return match entry.read_errno {
            Some(_) => &[RST_PEER],
            None => &[FIN_PEER],
        };
    };
    match way {
        Fin | HalfClose | BothShutDown | Lingers if x => &[FIN_LOCAL],
        HurriedClose | SilentClose | Exit | Killed if x => &[FIN_LOCAL],
        Fin | HalfClose | BothShutDown | Lingers => &[FIN_PEER],
        HurriedClose | SilentClose | Exit | Killed => &[FIN_PEER],
        BothClose | Itself => &[FIN_LOCAL, FIN_PEER, FIN_BOTH],
        CloseUnderWrites if x => &[UNREAD, FIN_LOCAL, FIN_LOCAL_ON_DATA, UNREAD_AFTER_FIN],
        // All may have been written and acknowledged before x closed.
        CloseUnderWrites => &[
            BROKEN_PIPE,
            BROKEN_PIPE_CLOSED,
            RST_PEER,
            RST_AFTER_OUR_FIN,
            FIN_LOCAL,
        ],
        Unread | ExitUnread if x => &[UNREAD],
        UnreadAfterFin if x => &[UNREAD_AFTER_FIN],
        UnreadAfterFin => &[RST_AFTER_OUR_FIN],
        AbortRead | AbortWrite | AbortTaken | AbortFull if x => &[LINGER0],
        HurriedAbort | SilentAbort if x => &[LINGER0],
        AbortRead | AbortWrite | AbortTaken | AbortFull => &[RST_PEER],
        Unread | ExitUnread | HurriedAbort | SilentAbort => &[RST_PEER],
        BothAbort => &[LINGER0, RST_PEER],
        CloseMeetsAbort if x => &[FIN_LOCAL, RST_AFTER_OUR_FIN, RST_PEER],
        CloseMeetsAbort => &[LINGER0, LINGER0_AFTER_FIN],
        AbortAfterShutdown if x => &[RST_AFTER_OUR_FIN],
        AbortAfterShutdown => &[LINGER0_AFTER_FIN],
        BrokenPipe | BrokenPipeQuiet if x => &[FIN_LOCAL],
        ShutdownBoth if x => &[FIN_LOCAL_ON_DATA],
        BrokenPipe | BrokenPipeQuiet | ShutdownBoth => &[BROKEN_PIPE],
        Disconnect if x => &[DISCONNECT],
        Disconnect => &[RST_PEER],
        Refused => &[("connect_refused", "peer", "rst", "ECONNREFUSED")],
        Cancelled => &[("connect_cancelled", "local", "none", "?")],
        TimedOut => &[("connect_timeout", "kernel", "timeout", "ETIMEDOUT")],
        NoPort => &[("unknown", "kernel", "none", "?")],
        ListenerClosed if x => &[("listener_closed", "local", "rst", "?")],
        ListenerClosed => &[RST_PEER],
    }
}

/// Whether both ends' verdicts go together, where each alone may be.
fn go_together(way: Way, x: &Told, y: &Told) -> bool {
    let both = |reason: &str| x.reason == reason && y.reason == reason;
    match way {
        // Each FIN was seen by the other end, so one was first or they crossed.
        BothClose => !both("fin_peer") && !both("fin_local"),
        BothAbort => !both("rst_peer"),
        CloseMeetsAbort => !(x.closed_by == "peer" && y.closed_by == "peer"),
        CloseUnderWrites => !(x.closed_by == "peer" && y.closed_by == "peer"),
        _ => true,
    }
}

fn errno_name(errno: i32) -> String {
    format!("{:?}", nix::errno::Errno::from_raw(errno))
}

/// How much later than TCP_CLOSE something must be to be allowed to miss the record: it waits for 100 ms.
const JOINED_US: i64 = 95_000;

pub fn judge(
    records: &Records,
    entries: &[Entry],
    blind: &HashSet<Ports>,
    pids_again: usize,
) -> Judgement {
    let mut judgement = Judgement {
        ends: entries.len(),
        connections: entries.iter().filter(|entry| entry.is_client).count(),
        records: records.ends.len(),
        pids_again,
        ..Judgement::default()
    };
    let mut by_cookie: HashMap<u64, Vec<usize>> = HashMap::new();
    let mut by_ports: HashMap<(u64, u16, u16), Vec<usize>> = HashMap::new();
    for (at, told) in records.ends.iter().enumerate() {
        if let Some(cookie) = told.cookie() {
            by_cookie.entry(cookie).or_default().push(at);
        }
        let key = (told.netns.unwrap_or(0), told.local_port, told.peer_port);
        by_ports.entry(key).or_default().push(at);
    }
    for list in by_cookie.values_mut() {
        list.sort_by_key(|at| records.ends[*at].mono_us);
    }
    // Two connections of one socket are logged in their order.
    let mut turns: HashMap<u64, usize> = HashMap::new();
    let mut taken: HashSet<usize> = HashSet::new();
    let mut matched: Vec<Option<usize>> = Vec::with_capacity(entries.len());
    for entry in entries {
        let found = match entry.cookie {
            Some(cookie) => {
                let turn = turns.entry(cookie).or_default();
                *turn += 1;
                by_cookie
                    .get(&cookie)
                    .and_then(|list| list.get(*turn - 1))
                    .copied()
            }
            None => {
                let key = (entry.netns, entry.local.port(), entry.peer.port());
                let is_free = |at: &&usize| {
                    !taken.contains(*at) && records.ends[**at].reason == "listener_closed"
                };
                let list = by_ports.get(&key).map_or(&[][..], Vec::as_slice);
                list.iter().find(is_free).copied()
            }
        };
        taken.extend(found);
        matched.push(found);
    }

    let mut by_pid: HashMap<i32, Vec<&Entry>> = HashMap::new();
    for entry in entries {
        by_pid.entry(entry.pid).or_default().push(entry);
    }
    for list in by_pid.values_mut() {
        list.sort_by_key(|entry| entry.owned_us);
    }
    let mut both: HashMap<u64, Vec<usize>> = HashMap::new();
    for (at, entry) in entries.iter().enumerate() {
        if entry.number != 0 {
            both.entry(entry.number).or_default().push(at);
        }
        *judgement
            .by_way
            .entry(entry.way.unwrap_or(SilentAbort))
            .or_default() += 1;
        let ports = (
            entry.local.port().min(entry.peer.port()),
            entry.local.port().max(entry.peer.port()),
        );
        let is_blind = blind.contains(&ports);
        let Some(told) = matched[at].map(|at| &records.ends[at]) else {
            if is_blind {
                judgement.blind += 1;
            } else {
                judgement.missed.push(format!("{entry:?}"));
            }
            continue;
        };
        if is_blind {
            judgement.blind += 1;
            continue;
        }
        if told.was_recovered() && entry.way != Some(NoPort) {
            judgement.spent += 1;
            judgement.recovered += 1;
            continue;
        }
        if told.was_unborn() {
            judgement.spent += 2;
            judgement.unborn += 1;
        }
        if told.was_untracked() {
            continue;
        }
        let same_tick = has_heir(by_pid.get(&entry.pid).map_or(&[], Vec::as_slice), entry);
        one(&mut judgement, records, entry, told, same_tick);
    }
    for ends in both.values() {
        pair(&mut judgement, records, entries, &matched, ends, blind);
    }
    for (at, told) in records.ends.iter().enumerate() {
        if taken.contains(&at) {
            continue;
        }
        if blind.contains(&told.ports()) {
            judgement.blind += 1;
        } else {
            judgement.invented.push(format!("{told:?}"));
        }
    }
    judgement
}

/// /proc tells when a process began in hundredths of a second; its record is read somewhat later.
const TICK_US: i64 = 10_000;

/// Whether a process of another image had this one's pid so soon after it that /proc cannot tell them apart.
/// `of_pid`: in the order of time.
fn has_heir(of_pid: &[&Entry], entry: &Entry) -> bool {
    let first = of_pid.partition_point(|other| other.owned_us < entry.owned_us);
    of_pid[first..]
        .iter()
        .take_while(|other| other.owned_us < entry.owned_us + 2 * TICK_US)
        .any(|other| other.exe != entry.exe)
}

/// A record by itself. `same_tick`: see [`has_heir`].
fn one(judgement: &mut Judgement, records: &Records, entry: &Entry, told: &Told, same_tick: bool) {
    let mut check = |key, is_right: bool, due: String| {
        if !is_right {
            judgement.wrong(records, key, due, entry, told);
        }
    };
    let verdict = (
        told.reason.as_str(),
        told.closed_by.as_str(),
        told.how.as_str(),
        told.errno.as_deref().unwrap_or("?"),
    );
    check(
        "verdict",
        due(entry).contains(&verdict),
        format!("{:?}", due(entry)),
    );
    let way = entry.way;
    let is_failed = matches!(way, Some(Refused | Cancelled | TimedOut | NoPort));
    let event = if is_failed {
        "tcp_connect_failed"
    } else {
        "tcp_close"
    };
    check("event", told.event == event, event.to_owned());
    let role = if entry.is_client { "client" } else { "server" };
    check("role", told.role == role, role.to_owned());
    // Before it showed itself, the socket was another's.
    let is_own = told.pid == Some(entry.pid);
    let was_before =
        told.mono_us < entry.owned_us && told.pid.is_some_and(|pid| entry.before.contains(&pid));
    check("pid", is_own || was_before, format!("{}", entry.pid));
    if is_own {
        check(
            "comm",
            told.comm.as_deref() == Some(&entry.comm),
            entry.comm.clone(),
        );
        check("tid", told.tid == Some(entry.tid), format!("{}", entry.tid));
        let exe = told.exe.as_deref();
        check(
            "exe",
            exe.is_none_or(|exe| exe == entry.exe) || same_tick,
            entry.exe.clone(),
        );
    }
    if matches!(told.closed_by.as_str(), "local") && told.reason != "connect_timeout" {
        let closer = told.closer_pid;
        check(
            "closer_pid",
            closer == Some(entry.pid),
            format!("{}", entry.pid),
        );
    }

    let sum = |a: Option<u64>, b: Option<u64>| Some(a? + b?);
    check(
        "tx_bytes",
        sum(told.tx_bytes, told.tx_unsent_bytes) == Some(entry.written),
        format!("{} written", entry.written),
    );
    let consumed = told
        .rx_bytes
        .and_then(|rx| rx.checked_sub(told.rx_unread_bytes.unwrap_or(0)));
    let read_late = entry.last_call_us > told.mono_us + JOINED_US
        && consumed.is_some_and(|consumed| consumed <= entry.read);
    check(
        "rx_bytes",
        consumed == Some(entry.read) || read_late,
        format!("{} read", entry.read),
    );
    let has_unseen_fin = told.tx_after_fin_bytes.is_none();
    if way != Some(CloseUnderWrites) && way != Some(BothClose) && !has_unseen_fin {
        check(
            "tx_after_fin_bytes",
            told.tx_after_fin_bytes == Some(entry.written_after_fin),
            format!("{}", entry.written_after_fin),
        );
    }

    // What failed long after TCP_CLOSE has lines of its own only.
    let lines = records
        .io_errors
        .get(&entry.cookie.unwrap_or(0))
        .map_or(0, Vec::len) as u64;
    let is_late = entry.last_call_us > told.mono_us + JOINED_US;
    let errors = told.io_errors == entry.errors
        || (is_late && told.io_errors < entry.errors && lines >= entry.errors.min(3));
    check("io_errors", errors, format!("{}", entry.errors));
    check(
        "tcp_io_error",
        lines == entry.errors.min(3) || way == Some(Disconnect),
        format!("{} lines, not {lines}", entry.errors),
    );
    for (key, told_errno, errno) in [
        ("read_errno", &told.read_errno, entry.read_errno),
        ("write_errno", &told.write_errno, entry.write_errno),
    ] {
        let errno = errno.map(errno_name);
        let is_right = *told_errno == errno || (is_late && told_errno.is_none());
        check(key, is_right, format!("{errno:?}"));
    }
    check(
        "sigpipe",
        told.sigpipe == entry.sigpipe || is_late,
        format!("{}", entry.sigpipe),
    );

    if let Some(died) = entry.died {
        check(
            "pattern",
            told.pattern.as_deref() == Some("process_exit"),
            "process_exit".to_owned(),
        );
        let is_right = match died {
            0.. => told.exit_status == Some(died) && told.exit_signal.is_none(),
            _ => told.exit_signal.as_deref() == Some("SIGKILL") && told.exit_status.is_none(),
        };
        check("exit_status", is_right, format!("{died}"));
    } else {
        check(
            "exit_status",
            told.exit_status.is_none() && told.exit_signal.is_none(),
            "null".to_owned(),
        );
    }
    judgement.spent += usize::from(has_unseen_fin);
}

/// Both ends of a connection.
fn pair(
    judgement: &mut Judgement,
    records: &Records,
    entries: &[Entry],
    matched: &[Option<usize>],
    ends: &[usize],
    blind: &HashSet<Ports>,
) {
    let [a, b] = ends else { return };
    let (Some(told_a), Some(told_b)) = (
        matched[*a].map(|at| &records.ends[at]),
        matched[*b].map(|at| &records.ends[at]),
    ) else {
        return;
    };
    let unseen = |told: &Told| told.was_recovered() || told.was_untracked();
    if unseen(told_a)
        || unseen(told_b)
        || [told_a, told_b]
            .iter()
            .any(|told| blind.contains(&told.ports()))
    {
        return;
    }
    let mut missed = told_a.missed(told_b) || told_b.missed(told_a);
    let are_strangers = [told_a, told_b]
        .iter()
        .all(|told| told.event == "tcp_close" && told.peer_conn.is_none());
    if are_strangers && !missed && entries[*a].way != Some(ListenerClosed) {
        // One of them was established unseen, and did nothing before the other was gone.
        judgement.spent += 1;
        missed = true;
    }
    for (at, other_at, told, other) in [(*a, *b, told_a, told_b), (*b, *a, told_b, told_a)] {
        let (entry, other_entry) = (&entries[at], &entries[other_at]);
        if told.event != "tcp_close" || entry.way == Some(ListenerClosed) {
            continue;
        }
        let mut check = |key, is_right: bool, due: String| {
            if !is_right {
                judgement.wrong(records, key, due, entry, told);
            }
        };
        check(
            "peer_conn",
            told.peer_conn.as_ref() == Some(&other.conn) || (missed && told.peer_conn.is_none()),
            other.conn.clone(),
        );
        check(
            "flow_id",
            told.flow_id.is_some() && told.flow_id == other.flow_id,
            format!("{:?}", other.flow_id),
        );
        // The other end may not have been anybody's yet, or another's.
        let peer_pid = told.peer_pid == Some(other_entry.pid)
            || (told.mono_us < other_entry.owned_us
                && told
                    .peer_pid
                    .is_none_or(|pid| other_entry.before.contains(&pid)));
        let peer_pid = peer_pid || told.peer_conn.is_none();
        check("peer_pid", peer_pid, format!("{}", other_entry.pid));
        // What one end had acknowledged the other has received.
        let acked = told
            .tx_bytes
            .zip(told.tx_unacked_bytes)
            .map(|(tx, unacked)| tx - unacked);
        let arrived = other.rx_bytes;
        let fits = acked <= arrived && arrived <= told.tx_bytes;
        check("arrived", fits, format!("{arrived:?}"));
        let way = entry.way.unwrap_or(SilentClose);
        if entry.is_x {
            check(
                "together",
                go_together(way, told, other),
                format!("{other:?}"),
            );
        }
    }
}
