//! Which end began it, when a connection ended because another one had: a proxy that closes its
//! upstream because its client left, or its client because its upstream died.
//!
//! The kernel side links the two connections of a process that work for each other (its links.rs).
//! A link alone is no cause. One end brings another one about when
//! - the same process owns both, and the cause's first end came before, by no more than [`AT_ONCE_NS`];
//! - the thread that made the link is the one that acts, or it had just read the other's end of
//!   file; or, as where bytes are only passed on, both carried the same number of them;
//! - nothing more was received in between: then it ended for what was received;
//! - something was wrong: an answer was owed, data was lost, a process died. Orderly ends follow
//!   each other too, and nobody has to know. An upstream that had answered was not given up, unless
//!   the client was cut off. One that owes its answer to a client that the proxy has answered itself
//!   had been given up before that client left.
//!
//! A process that exits, or that closes many connections of different ages at once (a reload), ends
//! them itself.

use std::{
    collections::{HashSet, VecDeque},
    sync::Arc,
};

use rustc_hash::FxHashMap;
use tracer_common::{
    conn::{Conn, flag},
    task::{PF_EXITING, Task},
};

use super::{
    assemble::last_data,
    clean,
    facts::Facts,
    join::Finished,
    numbers::{self, Idle},
    renames::Renames,
};
use crate::event::{
    text::Label,
    values::{ClosedBy, How, LastData, Reason, Role},
};

/// What follows from an end follows within this: a turn of a busy event loop, some waits for a CPU.
const AT_ONCE_NS: u64 = 250_000_000;

/// Connections that a process closes within this time are closed together.
const TOGETHER_NS: u64 = 20_000_000;

/// So many that were closed together were not closed because of one another, unless the same
/// timeout closed them.
const MANY: usize = 6;

/// Clocks that differ by no more than this belong to the same timeout.
const SAME_CLOCK_MS: u64 = 100;

/// Longest chain: proxies do not stack deeper, and a loop must end.
const DEPTH: usize = 16;

/// Ends that are remembered; more while the connections that they explain are open.
const KEPT: usize = 16_384;
const KEPT_MAX: usize = 4 * KEPT;

/// A socket, by address and cookie.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Socket {
    pub sk: u64,
    pub cookie: u64,
}

impl Socket {
    fn is_known(self) -> bool {
        self.cookie != 0
    }
}

/// What other ends need to know of the first end of a connection.
#[derive(Clone, Debug)]
pub struct Hop {
    cookie: u64,
    first_end_ns: u64,
    closed_by: ClosedBy,
    abnormal: bool,
    /// Not an orderly FIN.
    cut: bool,
    exits: bool,
    role: Role,
    owner: Task,
    closer_tid: u32,
    link: Socket,
    link_tid: u32,
    peer: Socket,
    peer_tells: bool,
    /// Payload received and sent, once it has ended.
    bytes: Option<(u64, u64)>,
    idle: Idle,
    /// `nginx[812] fin`: what this end's process did.
    deed: Label,
    /// The same of the other end's.
    peer_deed: Label,
    /// The way to the first cause, once it is known.
    way: Option<Arc<Way>>,
    /// Connections that this end may explain and whose own end has not been told.
    awaited: u8,
}

/// From the first cause to an end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Way {
    /// The connection of the same process that brought this end about.
    pub cause: Option<u64>,
    pub root: u64,
    /// Who did what, the first cause first.
    pub deeds: Vec<Label>,
    pub abnormal: bool,
}

/// Ends that have not been told yet, and connections that have not ended.
pub trait Others {
    /// The end of a connection, if it is joined but not told.
    fn pending(&self, cookie: u64) -> Option<&Finished>;
    /// A connection as it is now.
    fn live(&mut self, sk: u64) -> Option<Conn>;
}

/// Whether anything could be behind this end but itself and the process at its other end.
pub fn is_more(conn: &Conn) -> bool {
    conn.link_cookie != 0 || conn.has(flag::PEER_TELLS) || is_exit(conn)
}

fn is_exit(conn: &Conn) -> bool {
    conn.closer.is_known() && conn.closer.flags & PF_EXITING != 0
}

impl Hop {
    /// Of a connection that has ended.
    pub fn ended(finished: &Finished, facts: &Facts, renames: &Renames) -> Option<Hop> {
        let conn = &finished.close.conn;
        let role = numbers::role(conn, &finished.close.sock);
        let verdict = facts.verdict;
        let cut_short = !matches!(
            verdict.reason,
            Reason::FinLocal | Reason::FinPeer | Reason::FinBoth
        );
        let bytes = &facts.bytes;
        let lost = [
            bytes.tx_unacked,
            bytes.tx_unsent,
            bytes.rx_unread,
            bytes.tx_after_fin,
        ]
        .iter()
        .any(|bytes| bytes.is_some_and(|bytes| bytes > 0));
        let mut hop = Hop::new(
            conn,
            role,
            facts.idle,
            verdict.closed_by,
            facts.first_end_ns?,
        );
        hop.cookie = finished.close.head.cookie;
        hop.cut = cut_short;
        hop.abnormal |= cut_short || lost || finished.sent.is_some() || facts.aborts;
        hop.bytes = bytes.rx.zip(bytes.tx);
        hop.tell(conn, verdict.how, renames);
        Some(hop)
    }

    /// Of a connection that is still open, if one end has closed it.
    fn live(conn: &Conn, jiffy_ns: u64, renames: &Renames) -> Option<Hop> {
        let (local, peer) = (conn.local_fin_ns, conn.peer_fin_ns);
        let (closed_by, first_end_ns) = match (local, peer) {
            (0, 0) => return None,
            (local, 0) => (ClosedBy::Local, local),
            (0, peer) => (ClosedBy::Peer, peer),
            (local, peer) if local <= peer => (ClosedBy::Local, local),
            (_, peer) => (ClosedBy::Peer, peer),
        };
        let role = if conn.has(flag::ACTIVE) {
            Role::Client
        } else if conn.has(flag::PASSIVE) {
            Role::Server
        } else {
            Role::Unknown
        };
        let ms = |jiffies: u32| u64::from(jiffies) * jiffy_ns / 1_000_000;
        let idle = Idle {
            rx_ms: conn
                .has(flag::RX_BEFORE_FIN)
                .then(|| ms(conn.idle_rx_jiffies)),
            tx_ms: conn
                .has(flag::TX_BEFORE_FIN)
                .then(|| ms(conn.idle_tx_jiffies)),
        };
        let mut hop = Hop::new(conn, role, idle, closed_by, first_end_ns);
        hop.tell(conn, How::Fin, renames);
        Some(hop)
    }

    fn new(conn: &Conn, role: Role, idle: Idle, closed_by: ClosedBy, first_end_ns: u64) -> Hop {
        let exits = closed_by == ClosedBy::Local && is_exit(conn);
        Hop {
            cookie: conn.cookie,
            first_end_ns,
            closed_by,
            abnormal: exits || clean::awaits_answer(role, last_data(role, &idle), &idle),
            cut: false,
            exits,
            role,
            owner: conn.owner,
            closer_tid: conn.closer.tid,
            link: Socket {
                sk: conn.link_sk,
                cookie: conn.link_cookie,
            },
            link_tid: conn.link_tid,
            peer: Socket {
                sk: conn.peer_sk,
                cookie: conn.peer_cookie,
            },
            peer_tells: conn.has(flag::PEER_TELLS),
            bytes: None,
            idle,
            deed: Label::default(),
            peer_deed: Label::default(),
            way: None,
            awaited: 0,
        }
    }

    fn tell(&mut self, conn: &Conn, how: How, renames: &Renames) {
        let how = if self.exits { "exit" } else { how.as_str() };
        let actor = if conn.closer.is_known() {
            &conn.closer
        } else {
            &conn.owner
        };
        self.deed = deed(actor, how, renames);
        self.peer_deed = deed(&conn.peer_owner, how, renames);
    }

    fn is_of_same_process(&self, other: &Hop) -> bool {
        let process = |task: &Task| (task.tgid, task.start_ns);
        self.owner.is_known() && process(&self.owner) == process(&other.owner)
    }
}

fn deed(task: &Task, how: &str, renames: &Renames) -> Label {
    if task.is_known() {
        let comm = renames.name(task);
        Label::from(format!("{}[{}] {how}", comm.text(), task.tgid))
    } else {
        Label::from(format!("unknown {how}"))
    }
}

/// Ends that may explain others.
#[derive(Debug, Default)]
pub struct Chains {
    hops: FxHashMap<u64, Hop>,
    /// Oldest first.
    order: VecDeque<u64>,
    /// Process, time and waiting clock of the newest ends that a process began.
    closed: VecDeque<(u32, u64, u64)>,
}

/// Process-begun ends that are looked through for others of the same moment.
const CLOSED: usize = 256;

impl Chains {
    /// Takes note of an end before it and those that come with it are told.
    pub fn note(&mut self, hop: Hop) {
        if hop.closed_by == ClosedBy::Local {
            if self.closed.len() >= CLOSED {
                self.closed.pop_front();
            }
            self.closed
                .push_back((hop.owner.tgid, hop.first_end_ns, waited_ms(&hop)));
        }
        self.make_room();
        let mut hop = hop;
        hop.awaited = [hop.peer, hop.link]
            .iter()
            .filter(|socket| socket.is_known() && !self.hops.contains_key(&socket.cookie))
            .count() as u8;
        self.order.push_back(hop.cookie);
        self.hops.insert(hop.cookie, hop);
    }

    fn make_room(&mut self) {
        // Those that still have something to explain go to the back, as long as there is room at all.
        for _ in 0..8 {
            if self.hops.len() < KEPT {
                return;
            }
            let Some(oldest) = self.order.pop_front() else {
                return;
            };
            let waits = self.hops.get(&oldest).is_some_and(|hop| hop.awaited > 0);
            if waits && self.hops.len() < KEPT_MAX {
                self.order.push_back(oldest);
            } else {
                self.hops.remove(&oldest);
            }
        }
    }

    /// An end has been told: what explained it may have nothing left to explain.
    pub fn told(&mut self, conn: &Conn) {
        for cookie in [conn.peer_cookie, conn.link_cookie] {
            if let Some(hop) = self.hops.get_mut(&cookie) {
                hop.awaited = hop.awaited.saturating_sub(1);
            }
        }
    }

    /// The way from the first cause to this end. `None`: it began off this node, or is not known.
    pub fn way(&mut self, hop: &Hop, find: &mut dyn FnMut(Socket) -> Option<Hop>) -> Option<Way> {
        let mut seen = HashSet::new();
        let way = self.walk(hop, &mut seen, find)?;
        if let Some(known) = self.hops.get_mut(&hop.cookie) {
            known.way = Some(Arc::new(way.clone()));
        }
        Some(way)
    }

    fn walk(
        &self,
        hop: &Hop,
        seen: &mut HashSet<u64>,
        find: &mut dyn FnMut(Socket) -> Option<Hop>,
    ) -> Option<Way> {
        if let Some(way) = &hop.way {
            return Some((**way).clone());
        }
        if seen.len() >= DEPTH || !seen.insert(hop.cookie) {
            return None;
        }
        match hop.closed_by {
            ClosedBy::Unknown => None,
            ClosedBy::Peer => self.beyond_peer(hop, seen, find),
            ClosedBy::Local | ClosedBy::Kernel => {
                let caused = self
                    .known_or(hop.link, find)
                    .filter(|cause| self.brings_about(cause, hop))
                    .and_then(|cause| Some((self.walk(&cause, seen, find)?, cause)))
                    // An upstream that owed nothing was not given up; a client may be.
                    .filter(|(way, cause)| {
                        hop.abnormal || cause.cut || (way.abnormal && hop.role == Role::Server)
                    });
                Some(match caused {
                    Some((mut way, cause)) => {
                        way.cause = Some(cause.cookie);
                        way.deeds.push(hop.deed.clone());
                        way.abnormal |= hop.abnormal;
                        way
                    }
                    None => Way {
                        cause: None,
                        root: hop.cookie,
                        deeds: vec![hop.deed.clone()],
                        abnormal: hop.abnormal,
                    },
                })
            }
        }
    }

    fn beyond_peer(
        &self,
        hop: &Hop,
        seen: &mut HashSet<u64>,
        find: &mut dyn FnMut(Socket) -> Option<Hop>,
    ) -> Option<Way> {
        if !hop.peer.is_known() {
            return None;
        }
        let told = if hop.peer_tells {
            self.known_or(hop.peer, find)
                .and_then(|peer| self.walk(&peer, seen, find))
        } else {
            None
        };
        let mut way = told.unwrap_or_else(|| Way {
            cause: None,
            root: hop.peer.cookie,
            deeds: vec![hop.peer_deed.clone()],
            abnormal: false,
        });
        way.cause = None;
        way.abnormal |= hop.abnormal;
        Some(way)
    }

    fn known_or(&self, socket: Socket, find: &mut dyn FnMut(Socket) -> Option<Hop>) -> Option<Hop> {
        if !socket.is_known() {
            return None;
        }
        self.hops
            .get(&socket.cookie)
            .cloned()
            .or_else(|| find(socket))
    }

    /// Whether the end of `cause` brought that of `hop` about (see the head of this file).
    fn brings_about(&self, cause: &Hop, hop: &Hop) -> bool {
        let Some(between_ns) = hop.first_end_ns.checked_sub(cause.first_end_ns) else {
            return false;
        };
        let by_thread = hop.link_tid != 0 && hop.link_tid == hop.closer_tid;
        let received_since = hop
            .idle
            .rx_ms
            .is_some_and(|rx_ms| (rx_ms + AT_LEAST_MS) * 1_000_000 < between_ns);
        hop.closed_by == ClosedBy::Local
            && !hop.exits
            && !cause.exits
            && hop.is_of_same_process(cause)
            && between_ns <= AT_ONCE_NS
            && (by_thread || passed_on(cause, hop))
            && !received_since
            && !answers_for(cause, hop)
            && (cause.closed_by != ClosedBy::Local
                || (cause.abnormal && !self.is_one_of_many(cause)))
    }

    /// Whether the process closed many connections at that moment, of different clocks.
    fn is_one_of_many(&self, hop: &Hop) -> bool {
        let clock_ms = waited_ms(hop);
        let others = self.closed.iter().filter(|(tgid, at_ns, waited)| {
            *tgid == hop.owner.tgid
                && at_ns.abs_diff(hop.first_end_ns) <= TOGETHER_NS
                && waited.abs_diff(clock_ms) > SAME_CLOCK_MS
                // Not what follows from one that it closed.
                && *waited > SAME_CLOCK_MS
        });
        others.count() >= MANY
    }
}

/// The kernel's tick, at most.
const AT_LEAST_MS: u64 = 10;

/// Since the last payload in either direction.
fn waited_ms(hop: &Hop) -> u64 {
    let Idle { rx_ms, tx_ms } = hop.idle;
    rx_ms.into_iter().chain(tx_ms).min().unwrap_or(0)
}

/// The process gave its client an answer of its own (a 504, say): it had given up its upstream before
/// the client left, even if it closed that later.
fn answers_for(client: &Hop, upstream: &Hop) -> bool {
    let answered = last_data(client.role, &client.idle) == LastData::Tx
        && client.idle.tx_ms < client.idle.rx_ms;
    client.role == Role::Server
        && upstream.role == Role::Client
        && answered
        && clean::awaits_answer(
            Role::Client,
            last_data(Role::Client, &upstream.idle),
            &upstream.idle,
        )
}

/// What came in at one side went out at the other, both ways.
fn passed_on(a: &Hop, b: &Hop) -> bool {
    match (a.bytes, b.bytes) {
        (Some((a_rx, a_tx)), Some((b_rx, b_tx))) => {
            (a_rx > 0 || a_tx > 0) && a_rx == b_tx && b_rx == a_tx
        }
        _ => false,
    }
}

/// A hop of a connection that has not been told, from what is known of it elsewhere.
pub fn find(
    socket: Socket,
    others: &mut dyn Others,
    jiffy_ns: u64,
    renames: &Renames,
    judge: &dyn Fn(&Finished) -> Facts,
) -> Option<Hop> {
    if let Some(finished) = others.pending(socket.cookie) {
        return Hop::ended(finished, &judge(finished), renames);
    }
    let conn = others.live(socket.sk)?;
    if conn.cookie != socket.cookie {
        return None;
    }
    Hop::live(&conn, jiffy_ns, renames)
}

#[cfg(test)]
mod tests;
