//! hook: fentry or kprobe tcp_v4_send_reset, tcp_v6_send_reset (sk, skb)
//! kernels: all with trampolines or kprobes; needed before 6.10
//! context: softirq, or process when the backlog is worked off
//! fields: skc_state, skc_cookie; of the segment: head, network_header, transport_header, dev
//!
//! The RSTs that answer a segment for no socket or for one in TIME_WAIT: before 6.10 tcp_send_reset
//! tells only those of full sockets.

use core::ffi::c_void;

use aya_ebpf::{
    macros::{fentry, kprobe},
    programs::{FEntryContext, ProbeContext},
};
use tracer_common::{counters, record::kind, state};

use super::reset::snap_segment;
use crate::{
    emit::{self, Event},
    globals::offset,
    read::{Pointer, probe_at},
    sock::Sock,
};

/// Of the flags in a TCP header.
const FLAGS_AT: usize = 13;
const RST: u8 = 1 << 2;

#[fentry(function = "tcp_v4_send_reset")]
pub fn v4_send_reset(ctx: FEntryContext) -> i32 {
    answering(Pointer::typed(ctx.arg(0)), Pointer::typed(ctx.arg(1)));
    0
}

#[fentry(function = "tcp_v6_send_reset")]
pub fn v6_send_reset(ctx: FEntryContext) -> i32 {
    answering(Pointer::typed(ctx.arg(0)), Pointer::typed(ctx.arg(1)));
    0
}

/// At either function.
#[kprobe]
pub fn probe_send_reset(ctx: ProbeContext) -> i32 {
    if let (Some(sk), Some(skb)) = (ctx.arg(0), ctx.arg(1)) {
        answering(Pointer::untyped(sk), Pointer::untyped(skb));
    }
    0
}

#[inline(always)]
fn answering(sk: Pointer, skb: Pointer) {
    let head = skb.get(offset!(skb_head), 0u64) as *const c_void;
    let transport = skb.get(offset!(skb_transport_header), 0u16) as usize;
    // A RST is never answered with one.
    if probe_at::<u8>(head, transport + FLAGS_AT).unwrap_or(RST) & RST != 0 {
        return;
    }
    let event = Event {
        kind: kind::RST_SENT,
        code: 0,
        extra: 1,
        lost: counters::RING_RST,
    };
    if sk.is_null() {
        emit::bare(event, 0, 0, |snap| snap_segment(snap, skb));
        return;
    }
    let sk = Sock::new(sk);
    match sk.state() {
        state::TIME_WAIT => emit::bare(event, 0, sk.stored_cookie(), |snap| sk.snap_common(snap)),
        state::NEW_SYN_RECV => emit::bare(event, 0, 0, |snap| {
            snap_segment(snap, skb);
            snap.state = state::NEW_SYN_RECV;
        }),
        // The tracepoint tells these.
        _ => (),
    }
}
