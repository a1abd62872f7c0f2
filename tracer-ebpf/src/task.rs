//! The current task. Only true of a socket where its state change proves task context
//! (conns.rs says where): in softirq, current is whoever was interrupted.

use core::{ffi::c_void, mem::MaybeUninit};

use aya_ebpf::helpers::{bpf_get_current_pid_tgid, bpf_get_current_task};
use tracer_common::task::{PF_KTHREAD, Task};

use crate::{
    globals::offset,
    read::{probe, probe_into},
};

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
    let start_ns = probe(leader, offset!(task_start_boottime)).unwrap_or(0);
    let comm_offset = offset!(task_comm);
    let tgid = probe(task, offset!(task_tgid))?;
    let tid = probe(task, offset!(task_pid))?;
    let mut known = MaybeUninit::<Task>::uninit();
    let at = known.as_mut_ptr();
    // SAFETY: every field is written; comm is two words at an 8-byte offset (assert_size!).
    Some(unsafe {
        (&raw mut (*at).start_ns).write(start_ns);
        (&raw mut (*at).tgid).write(tgid);
        (&raw mut (*at).tid).write(tid);
        probe_into::<2>((&raw mut (*at).comm).cast(), leader, comm_offset);
        (&raw mut (*at).flags).write(flags);
        (&raw mut (*at).reserved).write(0);
        known.assume_init()
    })
}
