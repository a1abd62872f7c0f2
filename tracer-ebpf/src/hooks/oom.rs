//! hook: fexit tcp_check_oom (sk, shift), and whether there is too little
//! kernels: all with trampolines; needed before 6.10, whose RSTs have no reason
//! context: process (close) or softirq (the timers of an orphan)
//! fields: none of the socket
//!
//! Called right before the end that it brings about.

use core::ffi::c_void;

use aya_ebpf::{macros::fexit, programs::FExitContext};
use tracer_common::conn::flag;

use crate::{conns, sock::Sock};

#[fexit(function = "tcp_check_oom")]
pub fn check_oom(ctx: FExitContext) -> i32 {
    let sk: *const c_void = ctx.arg(0);
    let too_little: i32 = ctx.arg(2);
    if too_little & 0xff != 0
        && let Some(conn) = conns::get(Sock::new(sk))
    {
        conn.flags |= flag::OOM;
    }
    0
}
