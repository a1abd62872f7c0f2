//! hook: fexit inet_sendmsg, inet6_sendmsg (sock, msg, size), inet_sendpage (sock, page, offset, size,
//!       flags), inet_recvmsg, inet6_recvmsg (sock, msg, size, flags), and what they return
//! kernels: all with trampolines; inet_sendpage until 6.4
//! context: process, or an io_uring worker of it
//! fields: socket.sk, and those of io.rs
//!
//! What sock_send_length and sock_recv_length tell from 6.3: every send and receive of the inet
//! families goes through these.

use core::ffi::c_void;

use aya_ebpf::{macros::fexit, programs::FExitContext};
use tracer_common::record::kind;

use crate::{globals::offset, hooks::io::on_io, read::pointer};

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
    let socket: *const c_void = ctx.arg(0);
    on_io(pointer(socket, offset!(socket_sk)), ctx.arg(args), kind);
    0
}
