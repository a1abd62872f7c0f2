//! hook: fexit inet_csk_accept (sk, flags, err, kern), from 6.10 (sk, arg), and the socket it returns;
//!       kretprobe of the same, which needs no arguments
//! kernels: all with trampolines or kprobes
//! context: process, or an io_uring worker of it
//! fields: of a child of fast open those of conns::meet
//!
//! Where the accept tracepoints cannot be had. The socket is told before it has a descriptor; a
//! kernel thread that accepts is nobody.

use core::ffi::c_void;

use aya_ebpf::{
    macros::{fexit, kretprobe},
    programs::{FExitContext, RetProbeContext},
};

use crate::{conns, links, read::Pointer, sock::Sock, task};

#[fexit(function = "inet_csk_accept")]
pub fn csk_accept(ctx: FExitContext) -> i32 {
    accepted(ctx.arg(4))
}

#[fexit(function = "inet_csk_accept")]
pub fn csk_accept_arg(ctx: FExitContext) -> i32 {
    accepted(ctx.arg(2))
}

#[kretprobe]
pub fn probe_accept(ctx: RetProbeContext) -> i32 {
    accepted(ctx.ret())
}

#[inline(always)]
fn accepted(sk: *const c_void) -> i32 {
    if !sk.is_null()
        && let Some(owner) = task::current()
    {
        conns::accepted(Sock::new(Pointer::untyped(sk)), owner);
        links::accepted(sk as u64);
    }
    0
}
