//! The walk over the connection map, once a second: a BPF iterator whose program tells of silent
//! peers. aya 0.14 cannot say which map an iterator is to go over, so the link is made here.

use std::{
    fs::File,
    io,
    os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd},
    sync::mpsc::{RecvTimeoutError, Sender, channel},
    thread,
    time::Duration,
};

use nix::time::{ClockId, clock_gettime};

use super::{privilege, scan::run_through};
use crate::panics;

/// From one walk to the next, if that costs little.
const INTERVAL: Duration = Duration::from_secs(1);

/// A walk over a big map waits this many times as long as the one before took: 1 % of one CPU.
const REST: u32 = 100;

/// `enum bpf_cmd` and `enum bpf_attach_type`.
const BPF_LINK_CREATE: libc::c_long = 28;
const BPF_ITER_CREATE: libc::c_long = 33;
const BPF_TRACE_ITER: u32 = 28;

/// `union bpf_iter_link_info`, its `map`.
#[repr(C)]
struct IterInfo {
    map_fd: u32,
}

/// `link_create` of `union bpf_attr`, for an iterator.
#[repr(C)]
struct LinkCreate {
    prog_fd: u32,
    target_fd: u32,
    attach_type: u32,
    flags: u32,
    iter_info: u64,
    iter_info_bytes: u32,
    reserved: u32,
}

/// `iter_create` of `union bpf_attr`.
#[repr(C)]
struct IterCreate {
    link_fd: u32,
    flags: u32,
}

/// Walks until it is dropped.
pub struct Walk {
    _stop: Sender<()>,
}

impl Walk {
    /// Attaches the loaded program to the map and begins.
    pub fn start(program: BorrowedFd<'_>, map: BorrowedFd<'_>) -> io::Result<Self> {
        let link = link(program, map)?;
        // What fails once is said now and not once a second.
        walk(&link)?;
        let (stop, stopped) = channel();
        thread::Builder::new()
            .name("walk".to_owned())
            .spawn(move || {
                let _watched = panics::watch();
                privilege::give_up();
                let mut interval = INTERVAL;
                let mut failing = false;
                while let Err(RecvTimeoutError::Timeout) = stopped.recv_timeout(interval) {
                    let before = cpu_time();
                    let walked = walk(&link);
                    match &walked {
                        Ok(()) if failing => tracing::warn!("silent peers are told of again"),
                        Err(error) if !failing => tracing::warn!(
                            %error, "cannot walk over the connections: silent peers are not told of meanwhile"
                        ),
                        _ => (),
                    }
                    failing = walked.is_err();
                    let cost = cpu_time().saturating_sub(before);
                    tracing::debug!(cost_us = cost.as_micros() as u64, "walked over the connections");
                    interval = INTERVAL.max(cost * REST);
                }
            })?;
        Ok(Walk { _stop: stop })
    }
}

fn link(program: BorrowedFd<'_>, map: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    let info = IterInfo {
        map_fd: map.as_raw_fd() as u32,
    };
    let attr = LinkCreate {
        prog_fd: program.as_raw_fd() as u32,
        target_fd: 0,
        attach_type: BPF_TRACE_ITER,
        flags: 0,
        iter_info: (&raw const info) as u64,
        iter_info_bytes: size_of::<IterInfo>() as u32,
        reserved: 0,
    };
    // SAFETY: the attributes of this command, which point at `info`; both outlive the call.
    unsafe { bpf(BPF_LINK_CREATE, &attr) }
}

/// One walk.
fn walk(link: &OwnedFd) -> io::Result<()> {
    let attr = IterCreate {
        link_fd: link.as_raw_fd() as u32,
        flags: 0,
    };
    // SAFETY: the attributes of this command.
    run_through(File::from(unsafe { bpf(BPF_ITER_CREATE, &attr) }?))
}

/// # Safety
///
/// `attr` must be what `command` takes, and `command` one that returns a new descriptor.
unsafe fn bpf<T>(command: libc::c_long, attr: &T) -> io::Result<OwnedFd> {
    // SAFETY: the kernel reads size_of::<T>() bytes at `attr`; the caller vouches for their meaning.
    let fd = unsafe { libc::syscall(libc::SYS_bpf, command, &raw const *attr, size_of::<T>()) };
    let fd = i32::try_from(fd).unwrap_or(-1);
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: a new descriptor that nobody else has.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// CPU time of this thread.
fn cpu_time() -> Duration {
    clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).map_or(Duration::ZERO, Duration::from)
}
