//! hook: fexit, or kprobe and kretprobe, tcp_check_oom (sk, shift), and whether there is too little
//! kernels: all with trampolines or kprobes; needed before 6.10, whose RSTs have no reason
//! context: process (close) or softirq (the timers of an orphan)
//! fields: none of the socket
//!
//! Called right before the end that it brings about. The sockets' bottom halves are off within it, so
//! that no other call comes between on this CPU.

use core::ffi::c_void;

use aya_ebpf::{
    macros::{fexit, kprobe, kretprobe},
    programs::{FExitContext, ProbeContext, RetProbeContext},
};
use tracer_common::conn::flag;

use crate::{conns, maps::CHECKED, read::Pointer};

#[fexit(function = "tcp_check_oom")]
pub fn check_oom(ctx: FExitContext) -> i32 {
    checked(Pointer::typed(ctx.arg(0)).number(), ctx.arg(2))
}

#[kprobe]
pub fn probe_check_oom(ctx: ProbeContext) -> i32 {
    if let Some(sk) = ctx.arg::<*const c_void>(0)
        && let Some(place) = CHECKED.get_ptr_mut(0)
    {
        // SAFETY: a per-CPU slot.
        unsafe { *place = sk as u64 };
    }
    0
}

#[kretprobe]
pub fn probe_checked_oom(ctx: RetProbeContext) -> i32 {
    CHECKED.get(0).map_or(0, |sk| checked(*sk, ctx.ret()))
}

#[inline(always)]
fn checked(sk: u64, too_little: i32) -> i32 {
    if too_little & 0xff != 0
        && let Some(conn) = conns::get_key(sk)
    {
        conn.flags |= flag::OOM;
    }
    0
}
