//! What was told, counted: the same events that are written. Everything is an index into an array, but for
//! hints and workloads, which are looked up by name; nothing is allocated for a record but the first of its name.

use rustc_hash::FxHashMap;

use super::{
    histogram::{AGE_BOUNDS_MS, Exemplar, Histogram, IDLE_BOUNDS_MS, Value},
    workload::{ReasonClass, Workloads},
};
use crate::event::{
    Body, End, Event, Ids, IoError, Stall, names,
    text::Label,
    time::Timestamp,
    values::{Attribution, ClosedBy, ConnId, Direction, Kind, Op, Pattern, Reason, Role, StallEnd},
};

const ROLES: usize = Role::ALL.len();
const REASONS: usize = Reason::ALL.len();
const PATTERNS: usize = Pattern::ALL.len();

/// Errors that sends and receives usually return; the others are counted together.
pub const ERRNOS: &[&str] = &[
    "EPIPE",
    "ECONNRESET",
    "ETIMEDOUT",
    "ECONNREFUSED",
    "ECONNABORTED",
    "EHOSTUNREACH",
    "ENETUNREACH",
    "ENOTCONN",
];

/// A count, and the last that it counted.
#[derive(Clone, Copy, Debug, Default)]
pub struct Counter {
    pub count: u64,
    pub latest: Option<Exemplar>,
}

impl Counter {
    fn add(&mut self, conn: Option<ConnId>, at: Timestamp) {
        self.count += 1;
        if let Some(conn) = conn {
            let value = Value::One;
            self.latest = Some(Exemplar { conn, at, value });
        }
    }
}

/// Payload that never arrived.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BytesLost {
    pub tx_unacked: u64,
    pub tx_unsent: u64,
    pub rx_unread: u64,
}

/// All counts of a run.
#[derive(Clone, Debug)]
pub struct Tally {
    pub closed: [[Counter; ROLES]; REASONS],
    pub connect_failures: [Counter; REASONS],
    pub patterns: [[u64; ROLES]; PATTERNS],
    pub timeout_matches: FxHashMap<Label, [u64; PATTERNS]>,
    pub age: Vec<[Histogram; ROLES]>,
    pub idle: Vec<[Histogram; ROLES]>,
    pub bytes_lost: BytesLost,
    pub resets: [u64; Direction::ALL.len()],
    /// The last is that of all other errors.
    pub io_errors: [[u64; ERRNOS.len() + 1]; Op::ALL.len()],
    pub stalls: u64,
    pub stalls_ended: [u64; StallEnd::ALL.len()],
    pub attribution: [u64; Attribution::ALL.len()],
    pub workloads: Workloads,
}

impl Tally {
    pub fn new(max_workloads: usize) -> Self {
        let by_role = |bounds| std::array::from_fn(|_| Histogram::new(bounds));
        Tally {
            closed: Default::default(),
            connect_failures: Default::default(),
            patterns: Default::default(),
            timeout_matches: FxHashMap::default(),
            age: ReasonClass::ALL
                .iter()
                .map(|_| by_role(AGE_BOUNDS_MS))
                .collect(),
            idle: ClosedBy::ALL
                .iter()
                .map(|_| by_role(IDLE_BOUNDS_MS))
                .collect(),
            bytes_lost: BytesLost::default(),
            resets: Default::default(),
            io_errors: Default::default(),
            stalls: 0,
            stalls_ended: Default::default(),
            attribution: Default::default(),
            workloads: Workloads::new(max_workloads),
        }
    }

    pub fn count(&mut self, event: &Event) {
        match &event.body {
            Body::End { ids, end } => self.end(event.head.event, event.head.ts, ids, end),
            Body::Reset { reset, .. } => self.resets[reset.direction as usize] += 1,
            Body::IoError { io, .. } => self.io_error(io),
            Body::Stall { stall, .. } => self.stall(stall),
            Body::Start(_) | Body::Lost(_) | Body::Heartbeat(_) | Body::Stop(_) => (),
        }
    }

    fn end(&mut self, kind: Kind, at: Timestamp, ids: &Ids, end: &End) {
        let role = ids.role as usize;
        let class = class(end.reason);
        if kind == Kind::TcpConnectFailed {
            self.connect_failures[end.reason as usize].add(ids.conn, at);
        } else {
            self.closed[end.reason as usize][role].add(ids.conn, at);
            self.clocks(class, at, ids, end);
        }
        self.workloads.count(ids, class, ids.role);
        self.attribution[ids.attribution as usize] += 1;
        if let Some(pattern) = end.pattern {
            self.patterns[pattern as usize][role] += 1;
            for hint in &end.hints.0 {
                self.timeout(hint, pattern);
            }
        }
        let lost = &mut self.bytes_lost;
        lost.tx_unacked += end.tx_unacked_bytes.unwrap_or(0);
        lost.tx_unsent += end.tx_unsent_bytes.unwrap_or(0);
        lost.rx_unread += end.rx_unread_bytes.unwrap_or(0);
    }

    fn clocks(&mut self, class: ReasonClass, at: Timestamp, ids: &Ids, end: &End) {
        let role = ids.role as usize;
        if let Some(age_ms) = end.end_age_ms {
            self.age[class as usize][role].observe(age_ms, ids.conn, at);
        }
        let payloads = [end.idle_rx_ms, end.idle_tx_ms].into_iter().flatten();
        if let Some(idle_ms) = payloads.min().or(end.end_age_ms) {
            self.idle[end.closed_by as usize][role].observe(idle_ms, ids.conn, at);
        }
    }

    fn timeout(&mut self, hint: &Label, pattern: Pattern) {
        match self.timeout_matches.get_mut(hint) {
            Some(counts) => counts[pattern as usize] += 1,
            None => {
                let mut counts = [0; PATTERNS];
                counts[pattern as usize] = 1;
                self.timeout_matches.insert(hint.clone(), counts);
            }
        }
    }

    fn io_error(&mut self, io: &IoError) {
        let name = names::errno(io.errno.0);
        let known = ERRNOS.iter().position(|known| Some(*known) == name);
        self.io_errors[io.op as usize][known.unwrap_or(ERRNOS.len())] += 1;
    }

    fn stall(&mut self, stall: &Stall) {
        match stall.ended {
            None => self.stalls += 1,
            Some(ended) => self.stalls_ended[ended as usize] += 1,
        }
    }
}

/// The class of a reason.
pub const fn class(reason: Reason) -> ReasonClass {
    match reason {
        Reason::FinLocal | Reason::FinPeer | Reason::FinBoth => ReasonClass::Ok,
        Reason::FinPeerRst
        | Reason::RstPeer
        | Reason::AbortUnread
        | Reason::AbortLinger0
        | Reason::AbortAdmin
        | Reason::Disconnect
        | Reason::ListenerClosed => ReasonClass::Reset,
        Reason::TimeoutRetrans
        | Reason::TimeoutKeepalive
        | Reason::TimeoutUser
        | Reason::TimeoutProbe
        | Reason::TimeoutFinWait
        | Reason::TimeoutOrphan
        | Reason::ConnectTimeout => ReasonClass::Timeout,
        Reason::ConnectRefused | Reason::ConnectUnreachable => ReasonClass::Refused,
        Reason::ConnectCancelled | Reason::Oom | Reason::NetnsExit | Reason::Unknown => {
            ReasonClass::Other
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        core::sample,
        event::values::{List, State},
    };

    fn closed(change: impl FnOnce(&mut Ids, &mut End)) -> Event {
        let (mut ids, mut end) = (sample::ids(), sample::end());
        change(&mut ids, &mut end);
        sample::close(ids, end)
    }

    fn tally_of(events: &[Event]) -> Tally {
        let mut tally = Tally::new(10);
        for event in events {
            tally.count(event);
        }
        tally
    }

    #[test]
    fn an_end_counts_once_in_every_metric_of_ends() {
        let tally = tally_of(&[
            closed(|_, _| ()),
            closed(|ids, end| {
                ids.conn = Some(sample::conn(0xb2));
                ids.role = Role::Client;
                end.reason = Reason::FinPeerRst;
                end.pattern = Some(Pattern::PeerGaveUpWaiting);
                end.tx_unacked_bytes = Some(5);
                end.tx_unsent_bytes = Some(70);
                end.rx_unread_bytes = Some(900);
            }),
        ]);
        let server = tally.closed[Reason::FinPeer as usize][Role::Server as usize];
        assert_eq!(server.count, 1);
        assert_eq!(server.latest.map(|latest| latest.conn), sample::ids().conn);
        let client = tally.closed[Reason::FinPeerRst as usize][Role::Client as usize];
        assert_eq!(client.latest.map(|latest| latest.conn.cookie), Some(0xb2));
        assert_eq!(
            tally
                .closed
                .iter()
                .flatten()
                .map(|counter| counter.count)
                .sum::<u64>(),
            2
        );
        let (ok, reset) = (ReasonClass::Ok as usize, ReasonClass::Reset as usize);
        assert_eq!(tally.age[ok][Role::Server as usize].count(), 1);
        assert_eq!(tally.age[reset][Role::Client as usize].count(), 1);
        let peer = &tally.idle[ClosedBy::Peer as usize];
        assert_eq!(
            peer[Role::Server as usize].sum_ms,
            4,
            "the later of both payloads"
        );
        assert_eq!(tally.patterns.iter().flatten().sum::<u64>(), 2);
        assert_eq!(
            tally.bytes_lost,
            BytesLost {
                tx_unacked: 5,
                tx_unsent: 70,
                rx_unread: 900
            }
        );
        assert_eq!(tally.attribution[Attribution::Accept as usize], 2);
        let workload = tally.workloads.rows().last().expect("a workload");
        assert_eq!(workload.ends[ok][Role::Server as usize], 1);
        assert_eq!(workload.ends[reset][Role::Client as usize], 1);
    }

    #[test]
    fn what_is_not_known_is_in_no_histogram() {
        let tally = tally_of(&[closed(|_, end| {
            end.end_age_ms = None;
            end.idle_rx_ms = None;
            end.idle_tx_ms = None;
            end.pattern = None;
            end.state = None::<State>;
        })]);
        let all = tally.age.iter().chain(&tally.idle).flatten();
        assert_eq!(all.map(Histogram::count).sum::<u64>(), 0);
        assert_eq!(tally.patterns.iter().flatten().sum::<u64>(), 0);
    }

    #[test]
    fn without_payload_the_silence_began_with_the_connection() {
        let tally = tally_of(&[closed(|_, end| {
            end.end_age_ms = Some(60_020);
            end.idle_rx_ms = None;
            end.idle_tx_ms = None;
        })]);
        let idle = &tally.idle[ClosedBy::Peer as usize][Role::Server as usize];
        assert_eq!(idle.sum_ms, 60_020);
    }

    #[test]
    fn failed_connects_are_counted_apart() {
        let mut end = sample::end();
        end.reason = Reason::ConnectRefused;
        let tally = tally_of(&[sample::connect_failed(sample::ids(), end)]);
        assert_eq!(
            tally.connect_failures[Reason::ConnectRefused as usize].count,
            1
        );
        assert!(
            tally
                .closed
                .iter()
                .flatten()
                .all(|counter| counter.count == 0)
        );
        let workload = tally.workloads.rows().last().expect("a workload");
        let refused = ReasonClass::Refused as usize;
        assert_eq!(workload.ends[refused][Role::Server as usize], 1);
        let all = tally.age.iter().chain(&tally.idle).flatten();
        assert_eq!(all.map(Histogram::count).sum::<u64>(), 0);
    }

    #[test]
    fn every_timeout_that_fits_counts() {
        let hints = |names: &[&str]| List(names.iter().map(|name| Label::from(*name)).collect());
        let ends = [&["a", "b"][..], &["b"], &[]].map(|names| {
            closed(|_, end| {
                end.pattern = Some(Pattern::PeerIdleClose);
                end.hints = hints(names);
            })
        });
        let tally = tally_of(&ends);
        let count = |name: &str| {
            let counts = tally
                .timeout_matches
                .get(&Label::from(name))
                .expect("counted");
            counts[Pattern::PeerIdleClose as usize]
        };
        assert_eq!((count("a"), count("b")), (1, 2));
    }

    #[test]
    fn moments_are_counted_by_what_they_are() {
        let ids = sample::ids;
        let mut odd = sample::io_error(ids(), None);
        if let Body::IoError { io, .. } = &mut odd.body {
            io.errno = crate::event::values::Errno(71);
        }
        let tally = tally_of(&[
            sample::reset(ids()),
            sample::io_error(ids(), None),
            odd,
            sample::stall_event(ids(), None),
            sample::stall_event(ids(), Some(StallEnd::Recovered)),
        ]);
        assert_eq!(tally.resets.iter().sum::<u64>(), 1);
        let send = tally.io_errors[Op::Send as usize];
        assert_eq!((send[0], send[ERRNOS.len()]), (1, 1), "EPIPE and another");
        assert_eq!(tally.stalls, 1);
        assert_eq!(tally.stalls_ended[StallEnd::Recovered as usize], 1);
    }

    #[test]
    fn errnos_have_names() {
        for name in ERRNOS {
            assert!(names::errno_value(name).is_some(), "{name}");
        }
    }
}
