//! System calls that a thread can do without once all is attached: they fail with EPERM from then on. What is left of
//! root is reading; nothing is started, written to, mounted, traced, loaded or connected to.
//!
//! It is a list of what is forbidden, not of what is allowed: another C library or kernel may need calls that nobody
//! thought of. Not Landlock: whoever it restricts may look at no process outside, and /proc/PID/exe would be closed.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule, TargetArch, apply_filter,
};

/// What a thread does with files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Files {
    Read,
    /// Some are opened to be written to.
    Written,
}

/// Forbidden whatever their arguments.
const FORBIDDEN: &[libc::c_long] = &[
    // Programs.
    libc::SYS_execve,
    libc::SYS_execveat,
    // Other processes.
    libc::SYS_ptrace,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_process_madvise,
    libc::SYS_pidfd_getfd,
    libc::SYS_pidfd_send_signal,
    libc::SYS_kill,
    libc::SYS_rt_sigqueueinfo,
    // Other places.
    libc::SYS_setns,
    libc::SYS_unshare,
    libc::SYS_chroot,
    libc::SYS_pivot_root,
    libc::SYS_mount,
    libc::SYS_umount2,
    libc::SYS_move_mount,
    libc::SYS_open_tree,
    libc::SYS_fsopen,
    libc::SYS_fsmount,
    libc::SYS_mount_setattr,
    // The kernel.
    libc::SYS_init_module,
    libc::SYS_finit_module,
    libc::SYS_delete_module,
    libc::SYS_kexec_load,
    libc::SYS_kexec_file_load,
    libc::SYS_reboot,
    libc::SYS_swapon,
    libc::SYS_swapoff,
    libc::SYS_perf_event_open,
    libc::SYS_userfaultfd,
    libc::SYS_add_key,
    libc::SYS_request_key,
    libc::SYS_keyctl,
    // What would do any of the others unseen, and what names a file in ways that cannot be looked at here.
    libc::SYS_io_uring_setup,
    libc::SYS_openat2,
    libc::SYS_open_by_handle_at,
    // Connections of its own: the listener and systemd's socket are there already.
    libc::SYS_socket,
    libc::SYS_connect,
    libc::SYS_bind,
    libc::SYS_listen,
    // Files, but for what is open.
    libc::SYS_creat,
    libc::SYS_truncate,
    libc::SYS_mknod,
    libc::SYS_mknodat,
    libc::SYS_mkdir,
    libc::SYS_mkdirat,
    libc::SYS_rmdir,
    libc::SYS_unlink,
    libc::SYS_unlinkat,
    libc::SYS_rename,
    libc::SYS_renameat,
    libc::SYS_renameat2,
    libc::SYS_link,
    libc::SYS_linkat,
    libc::SYS_symlink,
    libc::SYS_symlinkat,
    libc::SYS_chmod,
    libc::SYS_fchmod,
    libc::SYS_fchmodat,
    libc::SYS_chown,
    libc::SYS_fchown,
    libc::SYS_lchown,
    libc::SYS_fchownat,
    libc::SYS_setxattr,
    libc::SYS_lsetxattr,
    libc::SYS_fsetxattr,
];

/// `enum bpf_cmd`: maps are read, and the walk is made.
const BPF_ALLOWED: [u64; 4] = [
    1,  // BPF_MAP_LOOKUP_ELEM
    4,  // BPF_MAP_GET_NEXT_KEY
    15, // BPF_OBJ_GET_INFO_BY_FD
    33, // BPF_ITER_CREATE
];

/// Forbids them to the calling thread, and to those that it starts.
pub fn confine(files: Files) -> Result<()> {
    let filter = filter(files).context("cannot make the filter of system calls")?;
    apply_filter(&filter).context("cannot filter system calls")
}

fn filter(files: Files) -> Result<BpfProgram> {
    let mut rules: BTreeMap<i64, Vec<SeccompRule>> =
        FORBIDDEN.iter().map(|call| (*call, Vec::new())).collect();
    let others = BPF_ALLOWED.map(|command| on(0, SeccompCmpOp::Ne, command));
    let others = others.into_iter().collect::<Result<_>>()?;
    rules.insert(libc::SYS_bpf, vec![SeccompRule::new(others)?]);
    if files == Files::Read {
        for (call, flags_at) in [(libc::SYS_open, 1), (libc::SYS_openat, 2)] {
            let writes = [
                (libc::O_ACCMODE, libc::O_WRONLY),
                (libc::O_ACCMODE, libc::O_RDWR),
                (libc::O_CREAT, libc::O_CREAT),
                (libc::O_TRUNC, libc::O_TRUNC),
            ];
            let writes = writes.map(|(mask, flags)| {
                let masked = SeccompCmpOp::MaskedEq(mask as u64);
                Ok(SeccompRule::new(vec![on(flags_at, masked, flags as u64)?])?)
            });
            rules.insert(call, writes.into_iter().collect::<Result<_>>()?);
        }
    }
    let filter = SeccompFilter::new(
        rules,
        SeccompAction::Allow,
        SeccompAction::Errno(libc::EPERM as u32),
        TargetArch::x86_64,
    )?;
    Ok(filter.try_into()?)
}

/// A condition on an argument of 32 bits.
fn on(argument: u8, is: SeccompCmpOp, value: u64) -> Result<SeccompCondition> {
    Ok(SeccompCondition::new(
        argument,
        SeccompCmpArgLen::Dword,
        is,
        value,
    )?)
}

#[cfg(test)]
mod tests {
    use std::{
        fs::{self, File, OpenOptions},
        io::{Error, ErrorKind},
        net::TcpListener,
        process::Command,
        thread,
    };

    use nix::{
        sched::{CloneFlags, unshare},
        unistd::getpid,
    };

    use super::*;

    /// On a thread of its own: there is no way back.
    fn confined(files: Files, try_it: impl FnOnce() + Send + 'static) {
        let thread = thread::spawn(move || {
            confine(files).expect("a kernel with seccomp");
            try_it();
        });
        thread.join().expect("all as it has to be");
    }

    fn forbidden<T>(result: Result<T, Error>) {
        assert_eq!(
            result.err().map(|error| error.kind()),
            Some(ErrorKind::PermissionDenied)
        );
    }

    fn file(name: &str) -> std::path::PathBuf {
        std::env::temp_dir().join(format!("tracer-confine-{name}-{}", getpid()))
    }

    #[test]
    fn what_is_forbidden_fails() {
        let there = file("there");
        fs::write(&there, "x").expect("a file of our own");
        let of_thread = there.clone();
        confined(Files::Read, move || {
            forbidden(Command::new("/bin/true").spawn());
            forbidden(TcpListener::bind("127.0.0.1:0"));
            forbidden(File::create(file("new")));
            forbidden(OpenOptions::new().append(true).open(&of_thread));
            forbidden(OpenOptions::new().read(true).write(true).open(&of_thread));
            forbidden(fs::remove_file(&of_thread));
            forbidden(unshare(CloneFlags::CLONE_FILES).map_err(Error::from));
            forbidden(nix::sys::signal::kill(getpid(), None).map_err(Error::from));
        });
        fs::remove_file(there).expect("it is there still");
    }

    #[test]
    fn what_is_needed_works() {
        let (log, of_thread) = (file("log"), file("log"));
        confined(Files::Read, || {
            assert!(fs::read_to_string("/proc/self/status").is_ok());
            assert!(fs::read_dir("/proc").is_ok());
            thread::spawn(|| ()).join().expect("a thread");
        });
        confined(Files::Written, move || {
            drop(crate::sink::file::open(&of_thread).expect("a file to write to"));
            forbidden(Command::new("/bin/true").spawn());
        });
        fs::remove_file(log).expect("it was made");
    }
}
