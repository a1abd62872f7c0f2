//! hook: tp_btf signal_generate (sig, info, task, group, result)
//! kernels: all, unchanged
//! context: process, before the failing send returns (sk_stream_error)
//! fields: task_struct.pid
//!
//! The signal comes before the send's own tracepoint, so it is noted for the thread and taken by
//! the send that fails. It fires for an ignored signal too.

use core::ffi::c_void;

use aya_ebpf::{
    helpers::bpf_get_current_pid_tgid, macros::btf_tracepoint, programs::BtfTracePointContext,
};

use crate::{conns::now, globals::offset, maps::SIGPIPES, read::field};

const SIGPIPE: i32 = 13;

/// Longer ago than this, it was for a pipe, not for the send that fails now.
const FRESH_NS: u64 = 100_000_000;

#[btf_tracepoint(function = "signal_generate")]
pub fn signal_generate(ctx: BtfTracePointContext) -> i32 {
    let sig: i32 = ctx.arg(0);
    if sig != SIGPIPE {
        return 0;
    }
    let target: *const c_void = ctx.arg(2);
    let pid_tgid = bpf_get_current_pid_tgid();
    if field(target, offset!(task_pid), 0u32) == pid_tgid as u32 {
        let _ = SIGPIPES.insert(pid_tgid, now(), 0);
    }
    0
}

/// Whether the current thread was just sent one; each counts once.
#[inline(always)]
pub fn take() -> bool {
    let key = bpf_get_current_pid_tgid();
    // SAFETY: copied out at once.
    let Some(at) = (unsafe { SIGPIPES.get(key) }).copied() else {
        return false;
    };
    let _ = SIGPIPES.remove(key);
    now().wrapping_sub(at) < FRESH_NS
}
