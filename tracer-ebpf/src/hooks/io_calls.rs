//! hook: fexit inet_sendmsg, inet6_sendmsg (sock, msg, size), inet_sendpage (sock, page, offset, size,
//!       flags), inet_recvmsg, inet6_recvmsg (sock, msg, size, flags), and what they return; or kprobe and
//!       kretprobe of the same
//! kernels: all with trampolines or kprobes; inet_sendpage until 6.4
//! context: process, or an io_uring worker of it
//! fields: socket.sk, and those of io.rs
//!
//! What sock_send_length and sock_recv_length tell from 6.3: every send and receive of the inet
//! families goes through these. A kretprobe knows no arguments: the socket is kept from the entry on.

use core::ffi::c_void;

use aya_ebpf::{
    bindings::BPF_ANY,
    helpers::bpf_get_current_pid_tgid,
    macros::{fexit, kprobe, kretprobe},
    programs::{FExitContext, ProbeContext, RetProbeContext},
};
use tracer_common::{counters, record::kind};

use crate::{
    globals::offset,
    hooks::io::on_io,
    maps::{CALLS, count},
    read::Pointer,
};

#[fexit(function = "inet_sendmsg")]
pub fn inet_sendmsg(ctx: FExitContext) -> i32 {
    returned(&ctx, 3, kind::SEND_ERROR)
}

#[fexit(function = "inet6_sendmsg")]
pub fn inet6_sendmsg(ctx: FExitContext) -> i32 {
    returned(&ctx, 3, kind::SEND_ERROR)
}

#[fexit(function = "inet_sendpage")]
pub fn inet_sendpage(ctx: FExitContext) -> i32 {
    returned(&ctx, 5, kind::SEND_ERROR)
}

#[fexit(function = "inet_recvmsg")]
pub fn inet_recvmsg(ctx: FExitContext) -> i32 {
    returned(&ctx, 4, kind::RECV_ERROR)
}

#[fexit(function = "inet6_recvmsg")]
pub fn inet6_recvmsg(ctx: FExitContext) -> i32 {
    returned(&ctx, 4, kind::RECV_ERROR)
}

/// `args`: how many there are; the return value comes after them.
#[inline(always)]
fn returned(ctx: &FExitContext, args: usize, kind: u32) -> i32 {
    let socket = Pointer::typed(ctx.arg(0));
    on_io(socket.follow(offset!(socket_sk)), ctx.arg(args), kind);
    0
}

#[kprobe]
pub fn probe_send(ctx: ProbeContext) -> i32 {
    called(&ctx)
}

#[kprobe]
pub fn probe_recv(ctx: ProbeContext) -> i32 {
    called(&ctx)
}

#[kretprobe]
pub fn probe_sent(ctx: RetProbeContext) -> i32 {
    done(&ctx, kind::SEND_ERROR)
}

#[kretprobe]
pub fn probe_received(ctx: RetProbeContext) -> i32 {
    done(&ctx, kind::RECV_ERROR)
}

#[inline(always)]
fn called(ctx: &ProbeContext) -> i32 {
    let Some(socket) = ctx.arg::<*const c_void>(0) else {
        return 0;
    };
    let thread = bpf_get_current_pid_tgid();
    let sk = Pointer::untyped(socket).follow(offset!(socket_sk));
    // SAFETY: not read.
    if unsafe { CALLS.get(thread) }.is_some() {
        // A kernel serves only so many returns at once.
        count(counters::RETURNS_MISSED);
    }
    let _ = CALLS.insert(thread, sk.to() as u64, BPF_ANY as u64);
    0
}

#[inline(always)]
fn done(ctx: &RetProbeContext, kind: u32) -> i32 {
    let thread = bpf_get_current_pid_tgid();
    // SAFETY: copied out at once.
    let Some(sk) = (unsafe { CALLS.get(thread) }).copied() else {
        return 0;
    };
    let _ = CALLS.remove(thread);
    on_io(Pointer::untyped(sk as *const c_void), ctx.ret(), kind);
    0
}
