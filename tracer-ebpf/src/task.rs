//! The current task. Only true of a socket where its state change proves task context
//! (conns.rs says where): in softirq, current is whoever was interrupted.

use core::ffi::c_void;

use aya_ebpf::helpers::{bpf_get_current_pid_tgid, bpf_get_current_task};
use tracer_common::task::{PF_KTHREAD, Task};

use crate::{globals::offset, read::probe};

#[inline(always)]
pub fn current_tgid() -> u32 {
    (bpf_get_current_pid_tgid() >> 32) as u32
}

/// The current process, `None` for a kernel thread.
#[inline(always)]
pub fn current() -> Option<Task> {
    // SAFETY: no arguments.
    let task = unsafe { bpf_get_current_task() } as *const c_void;
    of(task)
}

/// The process of `task`, `None` for a kernel thread or when it cannot be read.
#[inline(always)]
pub fn of(task: *const c_void) -> Option<Task> {
    let flags: u32 = probe(task, offset!(task_flags))?;
    if flags & PF_KTHREAD != 0 {
        return None;
    }
    let leader = probe::<u64>(task, offset!(task_group_leader))? as *const c_void;
    Some(Task {
        start_ns: probe(leader, offset!(task_start_boottime)).unwrap_or(0),
        tgid: probe(task, offset!(task_tgid))?,
        tid: probe(task, offset!(task_pid))?,
        comm: probe(leader, offset!(task_comm)).unwrap_or([0; 16]),
        flags,
        reserved: 0,
    })
}
