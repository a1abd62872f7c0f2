//! hook: tp_btf or raw_tp tcp_send_reset (sk, skb, reason), tcp_receive_reset (sk)
//! kernels: 6.10 and later with reason and without a socket; before, full sockets only, no reason
//! context: process or softirq
//! fields: all of sock.rs; of the segment: head, network_header, transport_header, dev
//!
//! tcp_send_reset: `skb` NULL for an active reset (tcp_send_active_reset), else the segment that is
//! answered. `sk` may be NULL (closed port), a listener or request socket (the segment has the
//! addresses), a timewait socket (which keeps the connection's cookie) or a full socket.
//! tcp_receive_reset fires first in tcp_reset, which also the kernel's own abort on data after
//! shutdown goes through: then tcp_send_reset with a segment follows for the same sk, and it was no
//! received RST. The daemon tells the two apart.

use core::ffi::c_void;

use aya_ebpf::{
    macros::{btf_tracepoint, raw_tracepoint},
    programs::{BtfTracePointContext, RawTracePointContext},
};
use tracer_common::{
    conn::flag,
    counters,
    proto::{AF_INET, AF_INET6},
    record::kind,
    sock::SockSnap,
    state,
};

use crate::{
    conns,
    emit::{self, Event},
    globals::{has_rst_reason, offset},
    maps::scratch,
    read::{Pointer, probe_at, probe_into},
    sock::{Sock, v4_mapped},
};

#[btf_tracepoint(function = "tcp_send_reset")]
pub fn send_reset(ctx: BtfTracePointContext) -> i32 {
    let reason: u32 = if has_rst_reason() { ctx.arg(2) } else { 0 };
    #[cfg(feature = "log")]
    aya_log_ebpf::debug!(&ctx, "RST sent, reason {}", reason);
    let (sk, skb) = (Pointer::typed(ctx.arg(0)), Pointer::typed(ctx.arg(1)));
    sent(sk, skb, reason)
}

#[raw_tracepoint(tracepoint = "tcp_send_reset")]
pub fn raw_send_reset(ctx: RawTracePointContext) -> i32 {
    let reason: u32 = if has_rst_reason() { ctx.arg(2) } else { 0 };
    let (sk, skb) = (Pointer::untyped(ctx.arg(0)), Pointer::untyped(ctx.arg(1)));
    sent(sk, skb, reason)
}

#[inline(always)]
fn sent(sk: Pointer, skb: Pointer, reason: u32) -> i32 {
    let answers = !skb.is_null();
    let event = Event {
        kind: kind::RST_SENT,
        code: reason,
        extra: answers as u64,
        lost: counters::RING_RST,
    };
    if sk.is_null() {
        if answers {
            emit::bare(event, 0, 0, |snap| snap_segment(snap, skb));
        }
        return 0;
    }
    let sk = Sock::new(sk);
    match sk.state() {
        state::TIME_WAIT => emit::bare(event, 0, sk.stored_cookie(), |snap| sk.snap_common(snap)),
        state::LISTEN | state::NEW_SYN_RECV => {
            if answers {
                let listening = sk.state();
                emit::bare(event, 0, 0, |snap| {
                    snap_segment(snap, skb);
                    snap.state = listening;
                });
            }
        }
        _ => from_full(sk, event, answers),
    }
    0
}

#[inline(always)]
fn from_full(sk: Sock, event: Event, answers: bool) {
    let Some(tcp) = sk.tcp() else { return };
    if let Some(conn) = conns::get(sk) {
        if !conn.has(flag::CLOSED) {
            conn.flags |= flag::RST_SENT;
            if !answers {
                conn.flags |= flag::RST_SENT_ACTIVE;
            }
            conn.rst_reason = event.code.min(u8::MAX as u32) as u8;
        }
        emit::full(event, sk, tcp, conn, None);
    } else if let Some(conn) = conns::stand_in(scratch::SEND_RESET) {
        // Already destroyed: an orphan that data reached.
        conn.cookie = conns::gone(sk);
        emit::full(event, sk, tcp, conn, None);
    }
}

#[btf_tracepoint(function = "tcp_receive_reset")]
pub fn receive_reset(ctx: BtfTracePointContext) -> i32 {
    let sk = Sock::new(Pointer::typed(ctx.arg(0)));
    #[cfg(feature = "log")]
    aya_log_ebpf::debug!(&ctx, "cookie {}: RST received", sk.stored_cookie());
    received(sk)
}

#[raw_tracepoint(tracepoint = "tcp_receive_reset")]
pub fn raw_receive_reset(ctx: RawTracePointContext) -> i32 {
    received(Sock::new(Pointer::untyped(ctx.arg(0))))
}

#[inline(always)]
fn received(sk: Sock) -> i32 {
    let Some(tcp) = sk.tcp() else { return 0 };
    let event = Event {
        kind: kind::RST_RECEIVED,
        code: 0,
        extra: 0,
        lost: counters::RING_RST,
    };
    if let Some(conn) = conns::get(sk) {
        conn.flags |= flag::RST_RECEIVED;
        emit::full(event, sk, tcp, conn, None);
    } else if let Some(conn) = conns::stand_in(scratch::RECEIVE_RESET) {
        conn.flags = flag::RST_RECEIVED | flag::UNTRACKED;
        conn.cookie = sk.cookie();
        emit::full(event, sk, tcp, conn, None);
    }
    0
}

/// Addresses, ports and namespace of a RST without a socket of its own: the answered segment's,
/// turned round.
#[inline(always)]
pub fn snap_segment(snap: &mut SockSnap, skb: Pointer) {
    snap.state = state::CLOSE;
    let net = skb.follow(offset!(skb_dev)).follow(offset!(dev_net));
    snap.netns = net.get(offset!(net_inum), 0);
    let head = skb.get(offset!(skb_head), 0u64) as *const c_void;
    let network = skb.get(offset!(skb_network_header), 0u16) as usize;
    let transport = skb.get(offset!(skb_transport_header), 0u16) as usize;
    snap.dport = u16::from_be(probe_at(head, transport).unwrap_or(0));
    snap.sport = u16::from_be(probe_at(head, transport + 2).unwrap_or(0));
    let version = probe_at::<u8>(head, network).unwrap_or(0) >> 4;
    if version == 4 {
        snap.family = AF_INET;
        v4_mapped(&mut snap.daddr, probe_at(head, network + 12).unwrap_or(0));
        v4_mapped(&mut snap.saddr, probe_at(head, network + 16).unwrap_or(0));
    } else if version == 6 {
        snap.family = AF_INET6;
        let header = head.wrapping_byte_add(network);
        probe_into::<2>((&raw mut snap.daddr).cast(), header, 8);
        probe_into::<2>((&raw mut snap.saddr).cast(), header, 24);
    }
}
