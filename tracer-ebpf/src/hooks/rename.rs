//! hook: tp_btf task_rename (task, comm)
//! kernels: all, unchanged
//! context: process (exec, prctl, a write to /proc/PID/comm)
//! fields: task_struct.group_leader, tgid, pid, start_boottime
//!
//! The name that an entry holds is the one that its owner had when it connected or accepted. Only a
//! process's own name matters, not its threads'. The tracepoint fires before the name is written.

use core::ffi::c_void;

use aya_ebpf::{
    helpers::generated::bpf_probe_read_kernel_str, macros::btf_tracepoint,
    programs::BtfTracePointContext,
};
use tracer_common::{
    counters,
    record::{Head, Renamed, kind},
    task::{COMM_LEN, Task},
};

use crate::{
    conns::now,
    emit,
    globals::offset,
    read::{field, pointer},
};

#[btf_tracepoint(function = "task_rename")]
pub fn task_rename(ctx: BtfTracePointContext) -> i32 {
    let task: *const c_void = ctx.arg(0);
    let name: *const c_void = ctx.arg(1);
    let tid: u32 = field(task, offset!(task_pid), 0);
    if tid != field(task, offset!(task_tgid), 0) {
        return 0;
    }
    let mut comm = [0u64; COMM_LEN / 8];
    // SAFETY: the helper writes at most COMM_LEN bytes.
    unsafe { bpf_probe_read_kernel_str(comm.as_mut_ptr().cast(), COMM_LEN as u32, name) };
    let leader = pointer(task, offset!(task_group_leader));
    let body = Renamed {
        head: Head {
            ts_ns: now(),
            sk: 0,
            cookie: 0,
            kind: kind::RENAMED,
            code: 0,
        },
        task: Task {
            start_ns: field(leader, offset!(task_start_boottime), 0),
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
