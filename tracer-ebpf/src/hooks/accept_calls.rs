//! hook: fexit inet_csk_accept (sk, flags, err, kern), from 6.10 (sk, arg), and the socket it returns;
//!       kretprobe of the same, which needs no arguments
//! kernels: all with trampolines or kprobes
//! context: process, or an io_uring worker of it
//! fields: of a child of fast open those of conns::meet
//!
//! The first choice: only accept pays for it. The socket is told before it has a descriptor; a
//! kernel thread that accepts is nobody.

use aya_ebpf::{
    macros::{fexit, kretprobe},
    programs::{FExitContext, RetProbeContext},
};

use crate::{conns, links, read::Pointer, sock::Sock, task};

#[fexit(function = "inet_csk_accept")]
pub fn csk_accept(ctx: FExitContext) -> i32 {
    accepted(Pointer::typed(ctx.arg(4)))
}

#[fexit(function = "inet_csk_accept")]
pub fn csk_accept_arg(ctx: FExitContext) -> i32 {
    accepted(Pointer::typed(ctx.arg(2)))
}

#[kretprobe]
pub fn probe_accept(ctx: RetProbeContext) -> i32 {
    accepted(Pointer::untyped(ctx.ret()))
}

#[inline(always)]
fn accepted(sk: Pointer) -> i32 {
    let _ = by_current(sk);
    0
}

#[inline(always)]
fn by_current(sk: Pointer) -> Option<()> {
    if sk.is_null() {
        return None;
    }
    let owner = task::current()?;
    let sk = Sock::new(sk);
    let conn = match conns::get(sk) {
        Some(conn) => conn,
        None => conns::accepting(sk)?,
    };
    conns::accepted(sk, conn, owner);
    links::accepted(sk.key(), conn);
    Some(())
}
