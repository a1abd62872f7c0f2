//! Joins what the hooks told of one socket into one end.
//!
//! The records of a socket do not come in the order of the story: a RST that our kernel sends on
//! late data is traced after tcp_destroy_sock, a receive-reset that was none is only known by the
//! send-reset after it, and calls may fail for as long as a process keeps the descriptor. So an end
//! waits 5 ms after the socket's destruction, or 100 ms after TCP_CLOSE while the descriptor is
//! open; RSTs and failed calls wait 5 ms for what explains them.

use std::collections::VecDeque;

use rustc_hash::FxHashMap;
use tracer_common::{
    conn::{Conn, flag},
    record::{Destroyed, Record, kind},
    task::Task,
};

use super::classify::SentRst;
use crate::event::names::RstReasons;

/// Wait for what follows in the same breath.
pub const GRACE_NS: u64 = 5_000_000;
/// Wait for calls on a socket that is closed but held.
pub const HELD_NS: u64 = 100_000_000;

/// Failed calls, as counted in the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct IoErrors {
    pub count: u32,
    /// First errno, 0 for none.
    pub read: u16,
    pub write: u16,
    pub sigpipe: bool,
}

impl IoErrors {
    pub fn of(conn: &Conn) -> Self {
        IoErrors {
            count: conn.io_errors,
            read: conn.read_errno,
            write: conn.write_errno,
            sigpipe: conn.has(flag::SIGPIPE),
        }
    }

    fn of_destroyed(body: &Destroyed) -> Self {
        IoErrors {
            count: body.io_errors,
            read: body.read_errno,
            write: body.write_errno,
            sigpipe: body.flags & flag::SIGPIPE != 0,
        }
    }
}

/// An end with all that belongs to it.
#[derive(Clone, Debug)]
pub struct Finished {
    pub close: Record,
    pub sent: Option<SentRst>,
    /// `enum sk_rst_reason` of that RST.
    pub sent_code: u32,
    pub sent_ns: u64,
    pub rst_received: bool,
    pub received_ns: u64,
    pub io: IoErrors,
    /// When the first receive, send failed; 0 for not (seen).
    pub read_error_ns: u64,
    pub write_error_ns: u64,
    /// A process still holds the descriptor: calls may fail later.
    pub held: bool,
    /// It has waited for the other end to be accepted.
    pub is_late: bool,
}

/// What is ready to be told.
#[derive(Debug)]
pub enum Joined {
    End(Box<Finished>),
    Reset(Box<Record>),
    /// A failed call, and the end of its connection if that is behind it but not told yet.
    IoError(Box<Record>, Option<Box<Finished>>),
    /// The socket with this cookie is gone: no call can follow.
    Gone(u64),
}

/// Whether an end that was made good is one that was told, of the connection that began at `birth_ns`: the scan may meet
/// a socket that is just being closed, or the mark that its end was seen may be lost. A socket that connected again has
/// another birth.
pub fn told_before(conn: &Conn, birth_ns: u64) -> bool {
    conn.has(flag::RECOVERED) && (conn.has(flag::PREEXISTING) || conn.birth_ns == birth_ns)
}

struct Pending {
    finished: Box<Finished>,
    deadline_ns: u64,
}

/// Boxes that are kept for the next ends: about as many as wait at once on a busy node.
const SPARE_MAX: usize = 2_048;

/// The state of joining. Times are CLOCK_MONOTONIC, given by the caller.
pub struct Joiner {
    reasons: RstReasons,
    pending: FxHashMap<u64, Pending>,
    /// Deadlines, each queue in order; an entry whose deadline has moved is passed over.
    soon: VecDeque<(u64, u64)>,
    late: VecDeque<(u64, u64)>,
    /// RSTs and failed calls on hold.
    held: VecDeque<(u64, Box<Record>)>,
    /// Cookies of sockets that are gone.
    gone: VecDeque<(u64, u64)>,
    /// Ends that wait for nothing more.
    #[expect(clippy::vec_box, reason = "an end stays in its box")]
    ready: Vec<Box<Finished>>,
    /// Of ends that have been told.
    #[expect(clippy::vec_box, reason = "the boxes are what is kept")]
    spare: Vec<Box<Finished>>,
}

impl Joiner {
    pub fn new(reasons: RstReasons) -> Self {
        Joiner {
            reasons,
            pending: FxHashMap::default(),
            soon: VecDeque::new(),
            late: VecDeque::new(),
            held: VecDeque::new(),
            gone: VecDeque::new(),
            ready: Vec::new(),
            spare: Vec::new(),
        }
    }

    /// Takes one record of a socket.
    pub fn take(&mut self, record: &Record) {
        match record.head.kind {
            kind::CLOSE => self.closed(record),
            kind::RST_SENT => self.rst_sent(record),
            kind::RST_RECEIVED => self.hold(record),
            _ => self.io_error(record),
        }
    }

    /// Gives back what has been told.
    pub fn told(&mut self, joined: Joined) {
        if let Joined::End(finished) = joined
            && self.spare.len() < SPARE_MAX
        {
            self.spare.push(finished);
        }
    }

    fn boxed(&mut self, finished: Finished) -> Box<Finished> {
        match self.spare.pop() {
            Some(mut spare) => {
                *spare = finished;
                spare
            }
            None => Box::new(finished),
        }
    }

    fn closed(&mut self, close: &Record) {
        let conn = &close.conn;
        let cookie = close.head.cookie;
        let told = self.pending.get(&cookie);
        if told.is_some_and(|told| told_before(conn, told.finished.close.conn.birth_ns)) {
            return;
        }
        if let Some(peer) = self.pending.get_mut(&conn.peer_cookie) {
            peer.finished.name_peer(conn);
        }
        let orphan = conn.has(flag::ORPHAN);
        let sent = conn.has(flag::RST_SENT).then(|| SentRst {
            cause: self.reasons.cause(u32::from(conn.rst_reason)),
            answers: !conn.has(flag::RST_SENT_ACTIVE),
            before_close: true,
        });
        let rst_received = conn.has(flag::RST_RECEIVED);
        let close_ns = close.head.ts_ns;
        let mut finished = self.boxed(Finished {
            sent,
            sent_code: u32::from(conn.rst_reason),
            sent_ns: if sent.is_some() { close_ns } else { 0 },
            rst_received,
            received_ns: if rst_received { close_ns } else { 0 },
            io: IoErrors::of(conn),
            read_error_ns: 0,
            write_error_ns: 0,
            held: !orphan,
            is_late: false,
            close: *close,
        });
        // What failed before the end is still on hold.
        for (_, record) in self.held.iter().filter(|(_, r)| r.head.cookie == cookie) {
            finished.note_io_error(record);
        }
        // The same socket was connected again and has ended again: the first end is overdue.
        if let Some(earlier) = self.pending.remove(&cookie) {
            self.ready.push(earlier.finished);
        }
        let deadline_ns = close_ns.saturating_add(if orphan { GRACE_NS } else { HELD_NS });
        let queue = if orphan {
            &mut self.soon
        } else {
            &mut self.late
        };
        queue.push_back((deadline_ns, cookie));
        self.pending.insert(
            cookie,
            Pending {
                finished,
                deadline_ns,
            },
        );
    }

    /// The descriptor of a socket is gone.
    pub fn destroyed(&mut self, body: &Destroyed) {
        let cookie = body.head.cookie;
        let deadline_ns = body.head.ts_ns.saturating_add(GRACE_NS);
        self.gone.push_back((deadline_ns, cookie));
        if let Some(pending) = self.pending.get_mut(&cookie) {
            pending.finished.io = IoErrors::of_destroyed(body);
            pending.finished.held = false;
            pending
                .finished
                .name_owner(&body.owner, body.attribution as u8);
            let Record { conn, sock, .. } = &mut pending.finished.close;
            if !conn.has(flag::CLOSE_IN_TASK) {
                // What had been received before could still be read after TCP_CLOSE.
                (sock.rcv_nxt, sock.copied_seq) = (body.rcv_nxt, body.copied_seq);
            }
            if deadline_ns < pending.deadline_ns {
                pending.deadline_ns = deadline_ns;
                self.soon.push_back((deadline_ns, cookie));
            }
        }
    }

    fn rst_sent(&mut self, record: &Record) {
        let cookie = record.head.cookie;
        let answers = record.extra != 0;
        if cookie != 0 {
            // Nothing answers a RST with a RST: the receive-reset before this was the kernel
            // aborting on data that nobody will read.
            let before = self.held.len();
            if answers {
                self.held.retain(|(_, held)| {
                    held.head.kind != kind::RST_RECEIVED || held.head.cookie != cookie
                });
            }
            let was_false = self.held.len() < before;
            if let Some(pending) = self.pending.get_mut(&cookie) {
                let finished = &mut pending.finished;
                finished.sent = Some(SentRst {
                    cause: self.reasons.cause(record.head.code),
                    answers,
                    before_close: record.head.ts_ns < finished.close.head.ts_ns,
                });
                finished.sent_code = record.head.code;
                finished.sent_ns = record.head.ts_ns;
                if was_false {
                    finished.rst_received = false;
                    finished.received_ns = 0;
                }
            }
        }
        self.hold(record);
    }

    fn io_error(&mut self, record: &Record) {
        if let Some(pending) = self.pending.get_mut(&record.head.cookie) {
            pending.finished.io = IoErrors::of(&record.conn);
            pending.finished.note_io_error(record);
        }
        self.hold(record);
    }

    fn hold(&mut self, record: &Record) {
        let deadline_ns = record.head.ts_ns.saturating_add(GRACE_NS);
        self.held.push_back((deadline_ns, Box::new(*record)));
    }

    /// Gives back the room that a flood has taken.
    pub fn shrink(&mut self) {
        self.pending.shrink_to_fit();
        self.ready.shrink_to_fit();
        self.spare = Vec::new();
        self.held.shrink_to_fit();
        for queue in [&mut self.soon, &mut self.late, &mut self.gone] {
            queue.shrink_to_fit();
        }
    }

    /// An end that waits for what may still belong to it.
    pub fn pending(&self, cookie: u64) -> Option<&Finished> {
        self.pending.get(&cookie).map(|pending| &*pending.finished)
    }

    /// When something is next due.
    pub fn next_deadline_ns(&self) -> Option<u64> {
        [
            self.soon.front().map(|(at, _)| *at),
            self.late.front().map(|(at, _)| *at),
            self.held.front().map(|(at, _)| *at),
            self.gone.front().map(|(at, _)| *at),
        ]
        .into_iter()
        .flatten()
        .min()
    }

    /// Gives out what is due at `now_ns`; `u64::MAX` gives out everything. `now_ns` must have been
    /// read before the ring buffer was drained, or what explains an end may still be in there.
    /// `look_up` reads a connection's entry as it is in the kernel now.
    pub fn expire(
        &mut self,
        now_ns: u64,
        mut look_up: impl FnMut(u64) -> Option<Conn>,
        mut emit: impl FnMut(Joined),
    ) {
        for finished in self.ready.drain(..) {
            emit(Joined::End(finished));
        }
        while self.held.front().is_some_and(|(at, _)| *at <= now_ns) {
            let Some((_, mut record)) = self.held.pop_front() else {
                break;
            };
            let pending = self.pending.get(&record.head.cookie);
            emit(match record.head.kind {
                kind::RST_SENT | kind::RST_RECEIVED => {
                    if let Some(pending) = pending {
                        // The end knows more: a RST may be traced before the owner is found out,
                        // or after the entry is gone.
                        record.conn = pending.finished.close.conn;
                    }
                    Joined::Reset(record)
                }
                _ => {
                    let end = pending.map(|pending| pending.finished.clone());
                    Joined::IoError(record, end)
                }
            });
        }
        let mut unnamed = Vec::new();
        for queue in [&mut self.soon, &mut self.late] {
            while let Some((deadline_ns, cookie)) = queue.front().copied() {
                if deadline_ns > now_ns {
                    break;
                }
                queue.pop_front();
                let due = self
                    .pending
                    .get(&cookie)
                    .is_some_and(|pending| pending.deadline_ns == deadline_ns);
                if !due {
                    continue;
                }
                let Some(pending) = self.pending.remove(&cookie) else {
                    continue;
                };
                let mut finished = pending.finished;
                if finished.held
                    && let Some(conn) = look_up(finished.close.head.sk)
                    && conn.cookie == cookie
                    && conn.birth_ns == finished.close.conn.birth_ns
                {
                    finished.update(&conn);
                }
                if finished.peer_is_unnamed()
                    && let Some(peer) = look_up(finished.close.conn.peer_sk)
                    && peer.cookie == finished.close.conn.peer_cookie
                {
                    finished.name_peer(&peer);
                    if finished.peer_is_unnamed() && !finished.is_late && now_ns != u64::MAX {
                        unnamed.push(finished);
                        continue;
                    }
                }
                emit(Joined::End(finished));
            }
        }
        for finished in unnamed {
            self.wait_for_accept(finished, now_ns);
        }
        while self.gone.front().is_some_and(|(at, _)| *at <= now_ns) {
            if let Some((_, cookie)) = self.gone.pop_front() {
                emit(Joined::Gone(cookie));
            }
        }
    }

    /// The other end is in a listener's queue: who accepts it will be known soon.
    fn wait_for_accept(&mut self, mut finished: Box<Finished>, now_ns: u64) {
        let cookie = finished.close.head.cookie;
        let deadline_ns = now_ns.saturating_add(HELD_NS);
        finished.is_late = true;
        self.late.push_back((deadline_ns, cookie));
        self.pending.insert(
            cookie,
            Pending {
                finished,
                deadline_ns,
            },
        );
    }
}

impl Finished {
    /// The other end is on this node, and had not been accepted yet when this one ended.
    fn peer_is_unnamed(&self) -> bool {
        let conn = &self.close.conn;
        conn.peer_cookie != 0 && !conn.peer_owner.is_known()
    }

    /// Learns from the other end's entry who has accepted it since.
    fn name_peer(&mut self, peer: &Conn) {
        let conn = &mut self.close.conn;
        if !conn.peer_owner.is_known() && peer.cookie == conn.peer_cookie {
            conn.peer_owner = peer.owner;
        }
    }

    /// It ended while accept was returning it, and nobody's it was then.
    fn name_owner(&mut self, owner: &Task, attribution: u8) {
        let conn = &mut self.close.conn;
        if !conn.owner.is_known() && owner.is_known() {
            (conn.owner, conn.attribution) = (*owner, attribution);
        }
    }

    /// What has happened since TCP_CLOSE on a descriptor that is still open.
    fn update(&mut self, now: &Conn) {
        // Errors past the third are counted in the kernel only.
        self.io = IoErrors::of(now);
        self.name_owner(&now.owner, now.attribution);
        if !self.close.conn.has(flag::CLOSE_IN_TASK) {
            self.close.sock.copied_seq = now.copied_seq;
        }
    }

    fn note_io_error(&mut self, record: &Record) {
        let first = match record.head.kind {
            kind::SEND_ERROR => &mut self.write_error_ns,
            kind::RECV_ERROR => &mut self.read_error_ns,
            _ => return,
        };
        if *first == 0 {
            *first = record.head.ts_ns;
        }
    }
}

#[cfg(test)]
mod tests {
    use tracer_common::{conn::attribution, record::Head, sock::SockSnap};

    use super::*;

    const MS: u64 = 1_000_000;

    fn record(kind: u32, cookie: u64, at_ms: u64) -> Record {
        Record {
            head: Head {
                ts_ns: at_ms * MS,
                sk: cookie << 8,
                cookie,
                kind,
                code: 0,
            },
            conn: Conn {
                cookie,
                birth_ns: 1,
                ..Conn::ZERO
            },
            sock: SockSnap::ZERO,
            actor: Task::NONE,
            extra: 0,
        }
    }

    fn orphan_close(cookie: u64, at_ms: u64) -> Record {
        let mut close = record(kind::CLOSE, cookie, at_ms);
        close.conn.flags |= flag::ORPHAN;
        close
    }

    fn destroyed(cookie: u64, at_ms: u64) -> Destroyed {
        Destroyed {
            head: record(kind::DESTROYED, cookie, at_ms).head,
            io_errors: 0,
            read_errno: 0,
            write_errno: 0,
            flags: 0,
            rcv_nxt: 0,
            copied_seq: 0,
            attribution: 0,
            owner: Task::NONE,
        }
    }

    fn due(joiner: &mut Joiner, at_ms: u64) -> Vec<Joined> {
        let mut out = Vec::new();
        joiner.expire(at_ms * MS, |_| None, |joined| out.push(joined));
        out
    }

    fn ends(joined: &[Joined]) -> Vec<&Finished> {
        joined
            .iter()
            .filter_map(|joined| match joined {
                Joined::End(finished) => Some(&**finished),
                _ => None,
            })
            .collect()
    }

    #[test]
    fn an_end_within_accept_has_its_owner() {
        let owner = Task {
            tgid: 7,
            ..Task::NONE
        };
        let mut joiner = Joiner::new(RstReasons::default());
        joiner.take(&record(kind::CLOSE, 1, 100));
        joiner.destroyed(&Destroyed {
            owner,
            attribution: u32::from(attribution::ACCEPT),
            ..destroyed(1, 101)
        });
        // This one is held for longer than anybody waits.
        joiner.take(&record(kind::CLOSE, 2, 100));
        let mut joined = Vec::new();
        let accepted = Conn {
            owner,
            attribution: attribution::ACCEPT,
            ..record(kind::CLOSE, 2, 0).conn
        };
        joiner.expire(200 * MS, |_| Some(accepted), |one| joined.push(one));
        let ends = ends(&joined);
        assert_eq!(ends.len(), 2);
        for end in ends {
            let conn = &end.close.conn;
            assert_eq!((conn.owner, conn.attribution), (owner, attribution::ACCEPT));
        }
    }

    #[test]
    fn an_end_that_was_told_is_not_made_good() {
        let mut joiner = Joiner::new(RstReasons::default());
        joiner.take(&record(kind::CLOSE, 1, 100));
        let mut again = record(kind::CLOSE, 1, 101);
        again.conn.flags |= flag::RECOVERED;
        joiner.take(&again);
        // The socket had connected again, and that end went unseen.
        again.conn.birth_ns += 1;
        let mut other = Joiner::new(RstReasons::default());
        other.take(&record(kind::CLOSE, 1, 100));
        other.take(&again);
        assert_eq!(ends(&due(&mut joiner, 300)).len(), 1);
        assert_eq!(ends(&due(&mut other, 300)).len(), 2);
    }

    #[test]
    fn an_orphan_waits_for_its_late_rst() {
        let mut joiner = Joiner::new(RstReasons::default());
        joiner.take(&orphan_close(1, 100));
        let mut rst = record(kind::RST_SENT, 1, 100);
        rst.head.code = 8;
        rst.extra = 1;
        joiner.take(&rst);
        assert!(due(&mut joiner, 104).is_empty());
        let joined = due(&mut joiner, 105);
        let ends = ends(&joined);
        assert_eq!(ends.len(), 1);
        let sent = ends[0].sent.expect("the RST belongs to this end");
        assert!(sent.answers && !sent.before_close);
        assert_eq!(ends[0].sent_code, 8);
        assert!(matches!(joined[0], Joined::Reset(_)), "it is told as well");
        assert!(
            joiner.next_deadline_ns().is_none(),
            "nothing is left behind"
        );
    }

    #[test]
    fn a_receive_reset_that_is_answered_was_none() {
        let mut joiner = Joiner::new(RstReasons::default());
        joiner.take(&record(kind::RST_RECEIVED, 1, 100));
        let mut close = record(kind::CLOSE, 1, 100);
        close.conn.flags |= flag::RST_RECEIVED;
        joiner.take(&close);
        let mut answer = record(kind::RST_SENT, 1, 100);
        answer.extra = 1;
        joiner.take(&answer);
        let joined = due(&mut joiner, 300);
        assert!(!ends(&joined)[0].rst_received);
        let told = joined.iter().filter(|joined| {
            matches!(joined, Joined::Reset(record) if record.head.kind == kind::RST_RECEIVED)
        });
        assert_eq!(told.count(), 0);
    }

    #[test]
    fn a_held_descriptor_is_waited_for_but_not_for_long() {
        let mut joiner = Joiner::new(RstReasons::default());
        joiner.take(&record(kind::CLOSE, 1, 100));
        joiner.take(&record(kind::CLOSE, 2, 100));
        joiner.destroyed(&destroyed(1, 120));
        let joined = due(&mut joiner, 125);
        assert_eq!(ends(&joined).len(), 1);
        assert!(!ends(&joined)[0].held);
        assert!(matches!(joined.last(), Some(Joined::Gone(1))));
        assert!(due(&mut joiner, 199).is_empty());
        let joined = due(&mut joiner, 200);
        assert_eq!(ends(&joined)[0].close.head.cookie, 2);
        assert!(ends(&joined)[0].held);
    }

    #[test]
    fn a_socket_that_is_used_again_ends_twice() {
        let mut joiner = Joiner::new(RstReasons::default());
        joiner.take(&record(kind::CLOSE, 1, 100));
        joiner.take(&record(kind::CLOSE, 1, 150));
        assert_eq!(ends(&due(&mut joiner, 150)).len(), 1);
        assert_eq!(ends(&due(&mut joiner, 250)).len(), 1);
    }

    #[test]
    fn a_failed_call_knows_the_end_that_is_not_told_yet() {
        let mut joiner = Joiner::new(RstReasons::default());
        joiner.take(&record(kind::CLOSE, 1, 100));
        joiner.take(&record(kind::SEND_ERROR, 1, 101));
        let joined = due(&mut joiner, 106);
        assert!(matches!(&joined[..], [Joined::IoError(_, Some(_))]));
        assert_eq!(ends(&due(&mut joiner, 200))[0].write_error_ns, 101 * MS);
    }

    #[test]
    fn everything_goes_at_the_end() {
        let mut joiner = Joiner::new(RstReasons::default());
        joiner.take(&record(kind::CLOSE, 1, 100));
        joiner.take(&orphan_close(2, 100));
        joiner.take(&record(kind::RECV_ERROR, 3, 100));
        let mut out = Vec::new();
        joiner.expire(u64::MAX, |_| None, |joined| out.push(joined));
        assert_eq!(out.len(), 3);
    }

    #[test]
    fn the_other_end_may_be_accepted_after_this_one_is_gone() {
        let owner = Task {
            tgid: 7,
            ..Task::NONE
        };
        let accepted = Conn {
            cookie: 2,
            owner,
            ..Conn::ZERO
        };
        let mut hurried = orphan_close(1, 1000);
        (hurried.conn.peer_sk, hurried.conn.peer_cookie) = (2 << 8, 2);
        let named = |joiner: &mut Joiner, at_ms: u64, entry: Conn| {
            let mut pid = None;
            joiner.expire(
                at_ms * MS,
                |sk| (sk == 2 << 8).then_some(entry),
                |joined| {
                    if let Joined::End(finished) = joined
                        && finished.close.head.cookie == 1
                    {
                        pid = Some(finished.close.conn.peer_owner.tgid);
                    }
                },
            );
            pid
        };
        let in_queue = Conn {
            owner: Task::NONE,
            ..accepted
        };
        let other = Conn {
            cookie: 3,
            ..accepted
        };
        let mut joiner = Joiner::new(RstReasons::default());
        joiner.take(&hurried);
        assert_eq!(named(&mut joiner, 1005, accepted), Some(7));
        joiner.take(&hurried);
        assert_eq!(named(&mut joiner, 1005, other), Some(0));

        joiner.take(&hurried);
        assert_eq!(named(&mut joiner, 1005, in_queue), None);
        assert_eq!(named(&mut joiner, 1104, accepted), None);
        assert_eq!(named(&mut joiner, 1105, accepted), Some(7));
        joiner.take(&hurried);
        assert_eq!(named(&mut joiner, 1005, in_queue), None);
        assert_eq!(named(&mut joiner, 1105, in_queue), Some(0));

        // It was accepted, and has ended as well.
        joiner.take(&hurried);
        assert_eq!(named(&mut joiner, 1005, in_queue), None);
        let mut close = orphan_close(2, 1050);
        (close.conn.owner, close.conn.peer_cookie) = (owner, 1);
        joiner.take(&close);
        assert_eq!(named(&mut joiner, 1105, other), Some(7));
    }
}
