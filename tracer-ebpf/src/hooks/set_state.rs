//! hook: tp_btf or raw_tp inet_sock_set_state (sk, oldstate, newstate)
//! kernels: 4.16 and later, unchanged
//! context: process or softirq; the transition tells which (below)
//! fields: all of sock.rs
//!
//! Called before sk_state is written. At TCP_CLOSE the error is final, the queues may be purged but
//! no sequence number or byte counter is touched; tcp_disconnect zeroes them right after, so this
//! is the moment to copy them.
//!
//! In process context for certain, and then current is the one who acts: CLOSE → SYN_SENT,
//! CLOSE → LISTEN, → FIN_WAIT1, CLOSE_WAIT → LAST_ACK, and → CLOSE from a state that only a call
//! leaves that way: without an error, or within close() (an error may be pending: IP_RECVERR), or
//! with ECONNABORTED (tcp_abort: the killer). Not so for MPTCP subflows, which a worker drives.
//!
//! From 7.0 a thread can be preempted within a tracepoint, and while it waits for its turn every other run
//! of that program on its CPU is skipped: hundreds of ends under load. There a second program comes after the
//! first, with a count of its own, and does what the first has left undone. (bpf_preempt_disable does not help: the thread
//! is preempted when it ends, which is within the program too.)

use aya_ebpf::{
    macros::{btf_tracepoint, raw_tracepoint},
    programs::{BtfTracePointContext, RawTracePointContext},
};
use tracer_common::{
    conn::{Conn, attribution, flag},
    counters,
    record::kind,
    state,
    task::Task,
};

use crate::{
    conns,
    emit::{self, Event},
    globals::offset,
    links,
    maps::{MPTCP_OWNERS, count, scratch},
    pairs,
    read::{Pointer, copy},
    sock::{Sock, Tcp},
    task,
};

const ECONNABORTED: i32 = 103;
/// sk_shutdown once close() has begun: from these states no other call sets both bits.
const SHUTDOWN_MASK: u8 = 3;

#[btf_tracepoint(function = "inet_sock_set_state")]
pub fn set_state(ctx: BtfTracePointContext) -> i32 {
    let sk = Sock::new(Pointer::typed(ctx.arg(0)));
    let (oldstate, newstate): (i32, i32) = (ctx.arg(1), ctx.arg(2));
    #[cfg(feature = "log")]
    aya_log_ebpf::debug!(
        &ctx,
        "cookie {}: {} -> {}",
        sk.stored_cookie(),
        oldstate,
        newstate
    );
    changed(sk, oldstate as u8, newstate as u8)
}

#[raw_tracepoint(tracepoint = "inet_sock_set_state")]
pub fn raw_set_state(ctx: RawTracePointContext) -> i32 {
    let sk = Sock::new(Pointer::untyped(ctx.arg(0)));
    let (oldstate, newstate): (i32, i32) = (ctx.arg(1), ctx.arg(2));
    changed(sk, oldstate as u8, newstate as u8)
}

#[btf_tracepoint(function = "inet_sock_set_state")]
pub fn set_state_again(ctx: BtfTracePointContext) -> i32 {
    let sk = Sock::new(Pointer::typed(ctx.arg(0)));
    let (oldstate, newstate): (i32, i32) = (ctx.arg(1), ctx.arg(2));
    changed_unseen(sk, oldstate as u8, newstate as u8)
}

#[raw_tracepoint(tracepoint = "inet_sock_set_state")]
pub fn raw_set_state_again(ctx: RawTracePointContext) -> i32 {
    let sk = Sock::new(Pointer::untyped(ctx.arg(0)));
    let (oldstate, newstate): (i32, i32) = (ctx.arg(1), ctx.arg(2));
    changed_unseen(sk, oldstate as u8, newstate as u8)
}

/// Which of the two programs runs.
#[derive(Clone, Copy, PartialEq)]
enum Run {
    First,
    Again,
}

impl Run {
    #[inline(always)]
    fn insert(self, sk: Sock, flags: u32, owner: Task, how: u8) -> Option<&'static mut Conn> {
        match self {
            Run::First => conns::insert(sk, flags, owner, how),
            Run::Again => conns::try_insert(sk, flags, owner, how),
        }
    }
}

#[inline(always)]
fn changed_unseen(sk: Sock, oldstate: u8, newstate: u8) -> i32 {
    if newstate == state::FIN_WAIT2 || oldstate == newstate || !sk.is_tcp() {
        return 0;
    }
    let unseen = match conns::get(sk) {
        Some(conn) => !was_seen(conn, newstate),
        None => matches!(
            newstate,
            state::SYN_SENT | state::SYN_RECV | state::ESTABLISHED
        ),
    };
    if unseen {
        on_tcp(sk, oldstate, newstate, Run::Again);
        if conns::get(sk).is_some_and(|conn| was_seen(conn, newstate)) {
            count(counters::MADE_GOOD);
        }
    }
    0
}

/// Whether a run has noted this change. The socket's lock keeps any other from coming between.
#[inline(always)]
fn was_seen(conn: &Conn, newstate: u8) -> bool {
    match newstate {
        state::SYN_SENT | state::SYN_RECV => !conn.has(flag::CLOSED),
        state::ESTABLISHED => conn.established_ns != 0,
        state::FIN_WAIT1 | state::LAST_ACK => conn.has(flag::LOCAL_FIN),
        state::CLOSE_WAIT => conn.has(flag::PEER_FIN),
        state::CLOSING => conn.has(flag::CLOSING),
        state::CLOSE => conn.has(flag::CLOSED),
        _ => true,
    }
}

#[inline(always)]
fn changed(sk: Sock, oldstate: u8, newstate: u8) -> i32 {
    if newstate == state::FIN_WAIT2 || oldstate == newstate {
        return 0;
    }
    if sk.is_tcp() {
        on_tcp(sk, oldstate, newstate, Run::First);
    } else if sk.is_msk() && newstate == state::SYN_SENT {
        remember_msk(sk);
    }
    0
}

#[inline(always)]
fn on_tcp(sk: Sock, oldstate: u8, newstate: u8, run: Run) {
    match newstate {
        state::SYN_SENT => {
            run.insert(
                sk,
                flag::ACTIVE,
                task::current_or_none(),
                attribution::CONNECT,
            );
        }
        state::SYN_RECV => {
            // From SYN_SENT it is a simultaneous open of a socket that is known already.
            if oldstate == state::LISTEN {
                run.insert(sk, flag::PASSIVE, Task::NONE, attribution::NONE);
            }
        }
        state::ESTABLISHED => established(sk, oldstate, run),
        state::FIN_WAIT1 | state::LAST_ACK => {
            // A child of fast open that is closed before its handshake is over.
            if oldstate == state::SYN_RECV {
                established(sk, oldstate, run);
            }
            local_fin(sk);
        }
        state::CLOSE_WAIT | state::CLOSING => peer_fin(sk, newstate),
        state::LISTEN => {
            if let Some(owner) = task::current() {
                conns::listen(sk, owner);
            }
        }
        state::CLOSE => close(sk, oldstate, run),
        _ => (),
    }
}

#[inline(always)]
fn remember_msk(sk: Sock) {
    if let Some(owner) = task::current() {
        let _ = MPTCP_OWNERS.insert(sk.key(), owner, 0);
    }
}

#[inline(always)]
fn established(sk: Sock, oldstate: u8, run: Run) {
    let Some(tcp) = sk.tcp() else { return };
    // The birth may have been missed: a nested run, or tracing began within the handshake.
    let role = match oldstate {
        state::SYN_SENT => flag::ACTIVE,
        _ => flag::PASSIVE,
    };
    let conn = match conns::get(sk) {
        Some(conn) => Some(conn),
        None => run.insert(sk, role, Task::NONE, attribution::NONE),
    };
    if let Some(conn) = conn {
        conns::establish(sk, conn, tcp);
    }
}

#[inline(always)]
fn local_fin(sk: Sock) {
    let Some(conn) = conns::get(sk) else { return };
    let Some(tcp) = sk.tcp() else { return };
    conns::catch_up(sk, conn);
    let first = !conn.has(flag::PEER_FIN);
    conn.flags |= flag::LOCAL_FIN;
    conn.local_fin_ns = conns::now();
    ensure_cookie(sk, conn);
    if first {
        note_idle(conn, tcp, 0);
    } else {
        conn.written_at_local_fin = tcp.written();
    }
    if let Some(current) = task::current() {
        set_closer(conn, tcp, current);
    }
    if first {
        links::ending(conn);
        conns::tell_peer(conn);
    }
}

#[inline(always)]
fn peer_fin(sk: Sock, newstate: u8) {
    let Some(conn) = conns::get(sk) else { return };
    let Some(tcp) = sk.tcp() else { return };
    conns::catch_up(sk, conn);
    conn.flags |= flag::PEER_FIN;
    conn.peer_fin_ns = tcp.segment_ns();
    if newstate == state::CLOSING {
        conn.flags |= flag::CLOSING;
        return;
    }
    ensure_cookie(sk, conn);
    conn.written_at_peer_fin = tcp.written();
    // bytes_received counts the FIN by now.
    note_idle(conn, tcp, 1);
}

/// The clocks at the first FIN, and whether there was any payload that they could mean.
#[inline(always)]
fn note_idle(conn: &mut Conn, tcp: Tcp, fin: u64) {
    (conn.idle_rx_jiffies, conn.idle_tx_jiffies) = tcp.idle_jiffies();
    if tcp.u64(offset!(bytes_received)) > fin {
        conn.flags |= flag::RX_BEFORE_FIN;
    }
    if tcp.u64(offset!(bytes_sent)) > 0 {
        conn.flags |= flag::TX_BEFORE_FIN;
    }
}

/// A scanned socket may have none yet, and its timewait socket inherits it before TCP_CLOSE.
#[inline(always)]
fn ensure_cookie(sk: Sock, conn: &mut Conn) {
    if conn.cookie == 0 {
        conn.cookie = sk.cookie();
    }
}

/// A worker drives subflows: only the owner itself is believed there.
#[inline(always)]
fn set_closer(conn: &mut Conn, tcp: Tcp, current: Task) {
    if tcp.is_mptcp() && current.tgid != conn.owner.tgid {
        return;
    }
    copy(&raw mut conn.closer, &raw const current);
    if conn.owner.tgid == current.tgid {
        // It may have called exec or renamed itself since.
        conn.owner.comm = current.comm;
    }
}

#[inline(always)]
fn close(sk: Sock, oldstate: u8, run: Run) {
    if oldstate == state::LISTEN {
        conns::unlisten(sk, listening_port(sk));
        return;
    }
    let Some(tcp) = sk.tcp() else { return };
    if let Some(conn) = conns::get(sk) {
        if oldstate == state::SYN_RECV && !conn.owner.is_known() {
            count(counters::SYN_RECV_ENDED);
            conn.flags |= flag::CLOSED;
            return;
        }
        conns::catch_up(sk, conn);
        report(sk, tcp, conn, oldstate);
        pairs::stop_waiting(sk, conn);
    } else if run == Run::First
        && oldstate != state::SYN_RECV
        && let Some(conn) = conns::stand_in(scratch::SET_STATE)
    {
        conn.flags = flag::UNTRACKED;
        conn.cookie = sk.cookie();
        report(sk, tcp, conn, oldstate);
    }
}

/// The port that a listener had: skc_num is 0 by now if the kernel chose it.
#[inline(always)]
fn listening_port(sk: Sock) -> u16 {
    match sk.tcp() {
        Some(tcp) => u16::from_be(tcp.u16(offset!(inet_sport))),
        None => sk.num(),
    }
}

#[inline(always)]
fn report(sk: Sock, tcp: Tcp, conn: &mut Conn, oldstate: u8) {
    let err = sk.err();
    let orphan = sk.is_orphan();
    let left_by_call = matches!(
        oldstate,
        state::ESTABLISHED | state::CLOSE_WAIT | state::SYN_SENT
    ) && !orphan
        && (err == 0 || sk.shutdown() == SHUTDOWN_MASK);
    if left_by_call || err == ECONNABORTED {
        conn.flags |= flag::CLOSE_IN_TASK;
        if let Some(current) = task::current() {
            set_closer(conn, tcp, current);
        }
        if !conn.has(flag::LOCAL_FIN | flag::PEER_FIN) {
            links::ending(conn);
            conns::tell_peer(conn);
        }
    }
    conn.flags |= flag::CLOSED;
    if orphan {
        conn.flags |= flag::ORPHAN;
    }
    conn.copied_seq = tcp.u32(offset!(copied_seq));
    ensure_cookie(sk, conn);
    conns::resolve_owner(sk, tcp, conn, u16::from_be(tcp.u16(offset!(inet_sport))));
    conns::part(conn);
    emit::full(CLOSED_EVENT, sk, tcp, conn, None);
}

const CLOSED_EVENT: Event = Event {
    kind: kind::CLOSE,
    code: 0,
    extra: 0,
    lost: counters::RING_CLOSE,
};
