//! hook: tp_btf or raw_tp tcp_destroy_sock (sk)
//! kernels: 4.16 and later, unchanged
//! context: process (the last close) or softirq (an orphan's end)
//! fields: sk_state, and all of sock.rs when a TCP_CLOSE was missed
//!
//! The entry goes. When the descriptor outlived TCP_CLOSE, the daemon is told that no call can
//! follow. A socket whose TCP_CLOSE no run saw (a program is not entered twice on one CPU) gets its
//! record here.

use aya_ebpf::{
    macros::{btf_tracepoint, raw_tracepoint},
    programs::{BtfTracePointContext, RawTracePointContext},
};
use tracer_common::{
    conn::{Conn, flag},
    counters,
    record::{Destroyed, Head, kind},
};

use crate::{
    conns,
    emit::{self, Event},
    globals::offset,
    maps::count,
    pairs,
    read::Pointer,
    sock::Sock,
};

#[btf_tracepoint(function = "tcp_destroy_sock")]
pub fn destroy_sock(ctx: BtfTracePointContext) -> i32 {
    destroyed(Pointer::typed(ctx.arg(0)))
}

#[raw_tracepoint(tracepoint = "tcp_destroy_sock")]
pub fn raw_destroy_sock(ctx: RawTracePointContext) -> i32 {
    destroyed(Pointer::untyped(ctx.arg(0)))
}

#[inline(always)]
fn destroyed(sk: Pointer) -> i32 {
    let sk = Sock::new(sk);
    if let Some(leaving) = conns::leaving(sk) {
        if !leaving.conn.has(flag::CLOSED) {
            recover(sk, leaving.conn);
        } else if !leaving.conn.has(flag::ORPHAN) {
            tell(sk, leaving.conn);
        }
        leaving.remove(sk);
    }
    0
}

#[inline(always)]
fn tell(sk: Sock, conn: &Conn) {
    let Some(tcp) = sk.tcp() else { return };
    let head = Head {
        ts_ns: conns::now(),
        sk: sk.key(),
        cookie: conn.cookie,
        kind: kind::DESTROYED,
        code: 0,
    };
    let body = Destroyed {
        head,
        io_errors: conn.io_errors,
        read_errno: conn.read_errno,
        write_errno: conn.write_errno,
        flags: conn.flags,
        rcv_nxt: tcp.u32(offset!(rcv_nxt)),
        copied_seq: tcp.u32(offset!(copied_seq)),
        attribution: conn.attribution as u32,
        owner: conn.owner,
    };
    emit::whole(body, counters::RING_DESTROYED);
}

#[inline(always)]
fn recover(sk: Sock, conn: &mut Conn) {
    let is_child = conn.established_ns == 0 && !conn.has(flag::ACTIVE | flag::PREEXISTING);
    if is_child && !conn.owner.is_known() {
        count(counters::SYN_RECV_ENDED);
        return;
    }
    let Some(tcp) = sk.tcp() else { return };
    count(counters::RECOVERED);
    if conn.established_ns == 0 && tcp.u64(offset!(bytes_acked)) > 0 {
        // Its SYN was acknowledged.
        conns::establish_late(sk, conn, tcp);
    }
    conn.flags |= flag::CLOSED | flag::ORPHAN | flag::RECOVERED;
    conns::part(conn);
    pairs::stop_waiting(sk, conn);
    emit::full(
        Event {
            kind: kind::CLOSE,
            code: 0,
            extra: 0,
            lost: counters::RING_CLOSE,
        },
        sk,
        tcp,
        conn,
        None,
    );
}
