//! hook: tp_btf or raw_tp task_rename (task, comm)
//! kernels: all, unchanged
//! context: process (exec, prctl, a write to /proc/PID/comm)
//! fields: task_struct.group_leader, tgid, pid, start_boottime
//!
//! The name that an entry holds is the one that its owner had when it connected or accepted. Only a
//! process's own name matters, not its threads'. The tracepoint fires before the name is written.

use core::ffi::c_void;

use aya_ebpf::{
    helpers::generated::bpf_probe_read_kernel_str,
    macros::{btf_tracepoint, raw_tracepoint},
    programs::{BtfTracePointContext, RawTracePointContext},
};
use tracer_common::{
    counters,
    record::{Head, Renamed, kind},
    task::{COMM_LEN, Task},
};

use crate::{conns::now, emit, globals::offset, read::Pointer};

#[btf_tracepoint(function = "task_rename")]
pub fn task_rename(ctx: BtfTracePointContext) -> i32 {
    renamed(Pointer::typed(ctx.arg(0)), ctx.arg(1))
}

#[raw_tracepoint(tracepoint = "task_rename")]
pub fn raw_task_rename(ctx: RawTracePointContext) -> i32 {
    renamed(Pointer::untyped(ctx.arg(0)), ctx.arg(1))
}

#[inline(always)]
fn renamed(task: Pointer, name: *const c_void) -> i32 {
    let tid: u32 = task.get(offset!(task_pid), 0);
    if tid != task.get(offset!(task_tgid), 0) {
        return 0;
    }
    let mut comm = [0u64; COMM_LEN / 8];
    // SAFETY: the helper writes at most COMM_LEN bytes.
    unsafe { bpf_probe_read_kernel_str(comm.as_mut_ptr().cast(), COMM_LEN as u32, name) };
    let leader = task.follow(offset!(task_group_leader));
    let body = Renamed {
        head: Head {
            ts_ns: now(),
            sk: 0,
            cookie: 0,
            kind: kind::RENAMED,
            code: 0,
        },
        task: Task {
            start_ns: leader.get(offset!(task_start_boottime), 0),
            tgid: tid,
            tid,
            comm,
            flags: 0,
            exit_code: 0,
        },
    };
    emit::whole(body, counters::RING_RENAMED);
    0
}
