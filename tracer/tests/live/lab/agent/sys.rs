//! The few system calls that neither nix nor socket2 wraps.

use std::{
    io,
    os::fd::{AsRawFd, BorrowedFd},
};

use nix::errno::Errno;

/// setsockopt(2) with the option as one or more ints.
pub fn set_option(fd: BorrowedFd, level: i32, name: i32, value: &[i32]) -> Result<(), Errno> {
    // SAFETY: pointer and length describe `value`, which outlives the call.
    let result = unsafe {
        libc::setsockopt(
            fd.as_raw_fd(),
            level,
            name,
            value.as_ptr().cast(),
            size_of_val(value) as libc::socklen_t,
        )
    };
    Errno::result(result).map(drop)
}

/// connect(2) to AF_UNSPEC: dissolves the association.
pub fn disconnect(fd: BorrowedFd) -> Result<(), Errno> {
    // SAFETY: an all-zero sockaddr is valid plain data.
    let mut address: libc::sockaddr = unsafe { std::mem::zeroed() };
    address.sa_family = libc::AF_UNSPEC as libc::sa_family_t;
    // SAFETY: pointer and length describe `address`.
    let result = unsafe {
        libc::connect(
            fd.as_raw_fd(),
            &address,
            size_of_val(&address) as libc::socklen_t,
        )
    };
    Errno::result(result).map(drop)
}

/// An ioctl that answers one int: SIOCINQ, SIOCOUTQ, SIOCOUTQNSD.
pub fn queued(fd: BorrowedFd, request: libc::Ioctl) -> Result<usize, Errno> {
    let mut value: libc::c_int = 0;
    // SAFETY: these three requests write one int to the given address.
    let result = unsafe { libc::ioctl(fd.as_raw_fd(), request, &mut value) };
    Errno::result(result).map(|_| value as usize)
}

/// tcp_info.tcpi_state.
pub fn tcp_state(fd: BorrowedFd) -> Result<u8, Errno> {
    let mut info = [0_u8; 256];
    let mut len = info.len() as libc::socklen_t;
    // SAFETY: pointer and length describe `info`; the kernel writes at most `len` bytes.
    let result = unsafe {
        libc::getsockopt(
            fd.as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_INFO,
            info.as_mut_ptr().cast(),
            &mut len,
        )
    };
    Errno::result(result).map(|_| info[0])
}

/// Renames the calling thread, byte for byte.
pub fn set_comm(comm: &[u8]) {
    let mut name = [0_u8; 16];
    let len = comm.len().min(15);
    name[..len].copy_from_slice(&comm[..len]);
    // SAFETY: `name` is NUL-terminated and 16 bytes long, which is all that the kernel reads.
    unsafe { libc::prctl(libc::PR_SET_NAME, name.as_ptr()) };
}

pub fn errno_of(error: &io::Error) -> i32 {
    error.raw_os_error().unwrap_or(libc::EIO)
}
