//! The current task. Only true of a socket where its state change proves task context
//! (conns.rs says where): in softirq, current is whoever was interrupted.

use core::{ffi::c_void, mem::MaybeUninit};

use aya_ebpf::helpers::{
    bpf_get_current_pid_tgid, bpf_get_current_task, generated::bpf_get_current_task_btf,
};
use tracer_common::task::{PF_EXITING, PF_KTHREAD, Task};

use crate::{
    globals::{has_task_btf, offset},
    read::{Pointer, copy, probe},
};

#[inline(always)]
pub fn current_tgid() -> u32 {
    (bpf_get_current_pid_tgid() >> 32) as u32
}

/// The current process, `None` for a kernel thread.
#[inline(always)]
pub fn current() -> Option<Task> {
    if !has_task_btf() {
        // SAFETY: no arguments.
        return of(unsafe { bpf_get_current_task() } as *const c_void);
    }
    // SAFETY: no arguments; the verifier knows the type of what it gives.
    let task = Pointer::typed(unsafe { bpf_get_current_task_btf() }.cast_const().cast());
    let flags = task.get(offset!(task_flags), 0);
    if flags & PF_KTHREAD != 0 {
        return None;
    }
    let leader = task.follow(offset!(task_group_leader));
    let comm = offset!(task_comm);
    Some(Task {
        start_ns: leader.get(offset!(task_start_boottime), 0),
        tgid: task.get(offset!(task_tgid), 0),
        tid: task.get(offset!(task_pid), 0),
        comm: [leader.get(comm, 0), leader.get(comm.saturating_add(8), 0)],
        flags,
        exit_code: if flags & PF_EXITING != 0 {
            task.get(offset!(task_exit_code), 0)
        } else {
            0
        },
    })
}

/// The open files of the current process, by descriptor: `struct file **`.
#[inline(always)]
pub fn fds() -> Option<*const c_void> {
    let task = if has_task_btf() {
        // SAFETY: no arguments; the verifier knows the type of what it gives.
        Pointer::typed(unsafe { bpf_get_current_task_btf() }.cast_const().cast())
    } else {
        // SAFETY: no arguments.
        Pointer::untyped(unsafe { bpf_get_current_task() } as *const c_void)
    };
    let fdt = task.follow(offset!(task_files)).follow(offset!(files_fdt));
    (!fdt.is_null()).then(|| fdt.get(offset!(fdt_fd), 0u64) as *const c_void)
}

static NONE: Task = Task::NONE;

/// The current process, [`Task::NONE`] for a kernel thread: for use past a branch, where the compiler
/// may read what an `Option` does not hold, and kernels before 6.4 refuse that.
#[inline(always)]
pub fn current_or_none() -> Task {
    let mut task = MaybeUninit::uninit();
    copy(task.as_mut_ptr(), &raw const NONE);
    if let Some(current) = current() {
        copy(task.as_mut_ptr(), &raw const current);
    }
    // SAFETY: every word was written.
    unsafe { task.assume_init() }
}

/// The process of `task`, a pointer that the verifier knows nothing of. `None` for a kernel thread
/// or when it cannot be read.
#[inline(always)]
pub fn of(task: *const c_void) -> Option<Task> {
    let flags: u32 = probe(task, offset!(task_flags))?;
    if flags & PF_KTHREAD != 0 {
        return None;
    }
    let leader = probe::<u64>(task, offset!(task_group_leader))? as *const c_void;
    let comm = offset!(task_comm);
    Some(Task {
        start_ns: probe(leader, offset!(task_start_boottime)).unwrap_or(0),
        tgid: probe(task, offset!(task_tgid))?,
        tid: probe(task, offset!(task_pid))?,
        comm: [
            probe(leader, comm).unwrap_or(0),
            probe(leader, comm.saturating_add(8)).unwrap_or(0),
        ],
        flags,
        exit_code: probe(task, offset!(task_exit_code)).unwrap_or(0),
    })
}
