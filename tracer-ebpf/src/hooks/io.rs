//! hook: tp_btf sock_send_length, sock_recv_length (sk, ret, flags)
//! kernels: 6.3 and later
//! context: process, or an io_uring worker of it
//! fields: sk_protocol, skc_family, and all of sock.rs for an error
//!
//! Fires for every send and receive of every family, so: two loads, one lookup, two compares. A
//! process that uses a socket which another one opened becomes its owner. Errors are told three
//! times per connection and counted after that.

use aya_ebpf::{
    helpers::bpf_get_current_pid_tgid, macros::btf_tracepoint, programs::BtfTracePointContext,
};
use tracer_common::{
    conn::{Conn, attribution, flag},
    counters,
    record::kind,
};

use crate::{
    conns,
    emit::{self, Event},
    globals::offset,
    hooks::signal,
    links,
    maps::MPTCP_OWNERS,
    read::{Pointer, copy},
    sock::Sock,
    table::add_u32,
    task,
};

const EINTR: i32 = 4;
const EAGAIN: i32 = 11;
const EPIPE: i32 = 32;
const EINPROGRESS: i32 = 115;
/// ERESTARTSYS and its kin: the call is made again, the caller never sees them.
const RESTARTS: core::ops::RangeInclusive<i32> = 512..=516;

/// Errors of one connection that are told one by one.
const TOLD: u32 = 3;

#[btf_tracepoint(function = "sock_send_length")]
pub fn send_length(ctx: BtfTracePointContext) -> i32 {
    on_io(Pointer::typed(ctx.arg(0)), ctx.arg(1), kind::SEND_ERROR);
    0
}

#[btf_tracepoint(function = "sock_recv_length")]
pub fn recv_length(ctx: BtfTracePointContext) -> i32 {
    on_io(Pointer::typed(ctx.arg(0)), ctx.arg(1), kind::RECV_ERROR);
    0
}

/// A send or receive returned: bytes, or an errno below 0.
#[inline(always)]
pub fn on_io(sk: Pointer, ret: i32, kind: u32) {
    let sk = Sock::new(sk);
    if !sk.is_inet() {
        return;
    }
    if !sk.is_tcp() {
        if sk.is_msk() {
            remember_msk(sk);
        }
        return;
    }
    let Some(conn) = conns::get(sk) else { return };
    conns::catch_up(sk, conn);
    let tgid = (bpf_get_current_pid_tgid() >> 32) as u32;
    if conn.owner.tgid != tgid && ret >= 0 && !conn.has(flag::CLOSED) {
        change_owner(conn);
    }
    if ret > 0 {
        if kind == kind::RECV_ERROR {
            links::received(sk, conn);
        } else {
            links::sent(sk, conn);
        }
    } else if kind == kind::RECV_ERROR && ret != -EAGAIN {
        links::ended(conn);
    }
    if kind == kind::RECV_ERROR && conn.has(flag::CLOSED) {
        // What was received before the end can be read after it.
        if let Some(tcp) = sk.tcp() {
            conn.copied_seq = tcp.u32(offset!(copied_seq));
        }
    }
    if ret < 0 {
        on_error(sk, conn, kind, -ret);
    }
}

#[inline(always)]
fn change_owner(conn: &mut Conn) {
    if let Some(current) = task::current() {
        copy(&raw mut conn.owner, &raw const current);
        conn.attribution = attribution::IO;
    }
}

#[inline(always)]
fn remember_msk(sk: Sock) {
    // SAFETY: read at once.
    let known = unsafe { MPTCP_OWNERS.get(sk.key()) }.map(|task| task.tgid);
    if known != Some(task::current_tgid())
        && let Some(current) = task::current()
    {
        let _ = MPTCP_OWNERS.insert(sk.key(), current, 0);
    }
}

#[inline(always)]
fn on_error(sk: Sock, conn: &mut Conn, kind: u32, errno: i32) {
    if matches!(errno, EAGAIN | EINTR | EINPROGRESS) || RESTARTS.contains(&errno) {
        return;
    }
    let sigpipe = kind == kind::SEND_ERROR && errno == EPIPE && signal::take_sigpipe();
    if sigpipe && !conn.has(flag::SIGPIPE) {
        // The socket's own events may write these at the same moment.
        add_u32(&raw mut conn.flags, flag::ONE_SIGPIPE);
    }
    conn.io_errors = conn.io_errors.saturating_add(1);
    let first = if kind == kind::SEND_ERROR {
        &mut conn.write_errno
    } else {
        &mut conn.read_errno
    };
    if *first == 0 {
        *first = errno as u16;
    }
    if conn.io_errors > TOLD {
        return;
    }
    let Some(tcp) = sk.tcp() else { return };
    let event = Event {
        kind,
        code: errno as u32,
        extra: sigpipe as u64,
        lost: counters::RING_IO,
    };
    emit::full(event, sk, tcp, conn, task::current());
}
