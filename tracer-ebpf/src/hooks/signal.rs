//! hook: tp_btf or raw_tp signal_generate (sig, info, task, group, result), mark_victim (task, uid or pid)
//! kernels: all, unchanged; mark_victim has the task since 6.8, its pid before
//! context: process, or whatever the kernel sends a signal from
//! fields: task_struct.pid, tgid, group_leader, start_boottime; kernel_siginfo.si_code
//!
//! SIGPIPE comes before the failing send's own tracepoint (sk_stream_error), so it is noted for the
//! thread and taken by the send that fails. It fires for an ignored signal too.
//!
//! Signals that end a process by default are told, with who sent them: a process that ends its
//! connections by dying was often told to. mark_victim comes before the SIGKILL of the
//! out-of-memory killer.

use core::ffi::c_void;

use aya_ebpf::{
    helpers::bpf_get_current_pid_tgid,
    macros::{btf_tracepoint, raw_tracepoint},
    programs::{BtfTracePointContext, RawTracePointContext},
};
use tracer_common::{
    counters,
    record::{Head, Signalled, kind, sender},
    task::Task,
};

use crate::{
    conns::now,
    emit,
    globals::{has_victim_task, offset},
    maps::SIGPIPES,
    read::{Pointer, probe},
    task,
};

const SIGHUP: i32 = 1;
const SIGINT: i32 = 2;
const SIGQUIT: i32 = 3;
const SIGILL: i32 = 4;
const SIGABRT: i32 = 6;
const SIGBUS: i32 = 7;
const SIGFPE: i32 = 8;
const SIGKILL: i32 = 9;
const SIGSEGV: i32 = 11;
const SIGPIPE: i32 = 13;
const SIGTERM: i32 = 15;

/// SEND_SIG_PRIV: `info` of a signal that the kernel sends.
const SEND_SIG_PRIV: u64 = 1;

/// Longer ago than this, it was for a pipe, not for the send that fails now.
const FRESH_NS: u64 = 100_000_000;

#[btf_tracepoint(function = "signal_generate")]
pub fn signal_generate(ctx: BtfTracePointContext) -> i32 {
    generated(ctx.arg(0), ctx.arg(1), Pointer::typed(ctx.arg(2)))
}

#[raw_tracepoint(tracepoint = "signal_generate")]
pub fn raw_signal_generate(ctx: RawTracePointContext) -> i32 {
    generated(ctx.arg(0), ctx.arg(1), Pointer::untyped(ctx.arg(2)))
}

#[inline(always)]
fn generated(sig: i32, info: *const c_void, target: Pointer) -> i32 {
    match sig {
        SIGPIPE => {
            let pid_tgid = bpf_get_current_pid_tgid();
            if target.get(offset!(task_pid), 0u32) == pid_tgid as u32 {
                let _ = SIGPIPES.insert(pid_tgid, now(), 0);
            }
        }
        SIGHUP | SIGINT | SIGQUIT | SIGILL | SIGABRT | SIGBUS | SIGFPE | SIGKILL | SIGSEGV
        | SIGTERM => {
            // No plain load: 6.12 takes `info` for a number, as it may be SEND_SIG_PRIV.
            let by_kernel = info as u64 == SEND_SIG_PRIV
                || probe::<i32>(info, offset!(si_code)).is_some_and(|code| code > 0);
            let from = if by_kernel { None } else { task::current() };
            tell(sig, target, from, by_kernel as u64);
        }
        _ => (),
    }
    0
}

#[btf_tracepoint(function = "mark_victim")]
pub fn mark_victim(ctx: BtfTracePointContext) -> i32 {
    if has_victim_task() {
        tell(SIGKILL, Pointer::typed(ctx.arg(0)), None, sender::OOM);
    } else {
        submit(SIGKILL, ctx.arg(0), 0, None, sender::OOM);
    }
    0
}

#[raw_tracepoint(tracepoint = "mark_victim")]
pub fn raw_mark_victim(ctx: RawTracePointContext) -> i32 {
    if has_victim_task() {
        tell(SIGKILL, Pointer::untyped(ctx.arg(0)), None, sender::OOM);
    } else {
        submit(SIGKILL, ctx.arg(0), 0, None, sender::OOM);
    }
    0
}

#[inline(always)]
fn tell(sig: i32, target: Pointer, from: Option<Task>, sender: u64) {
    let leader = target.follow(offset!(task_group_leader));
    let start_ns = leader.get(offset!(task_start_boottime), 0);
    let tgid = target.get(offset!(task_tgid), 0);
    submit(sig, tgid, start_ns, from, sender);
}

#[inline(always)]
fn submit(sig: i32, tgid: u32, start_ns: u64, from: Option<Task>, sender: u64) {
    let body = Signalled {
        head: Head {
            ts_ns: now(),
            sk: 0,
            cookie: 0,
            kind: kind::SIGNALLED,
            code: sig as u32,
        },
        target_start_ns: start_ns,
        target_tgid: tgid,
        reserved: 0,
        from: from.unwrap_or(Task::NONE),
        sender,
    };
    emit::whole(body, counters::RING_SIGNALLED);
}

/// Whether the current thread was just sent a SIGPIPE; each counts once.
#[inline(always)]
pub fn take_sigpipe() -> bool {
    let key = bpf_get_current_pid_tgid();
    // SAFETY: copied out at once.
    let Some(at) = (unsafe { SIGPIPES.get(key) }).copied() else {
        return false;
    };
    let _ = SIGPIPES.remove(key);
    now().wrapping_sub(at) < FRESH_NS
}
