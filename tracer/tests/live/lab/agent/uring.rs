//! One operation through io_uring, either on the submitting thread or on a worker of the ring.

use std::{
    net::SocketAddr,
    os::fd::{AsRawFd, BorrowedFd},
};

use io_uring::{IoUring, opcode, squeue, types};
use nix::errno::Errno;
use socket2::SockAddr;

use super::protocol::UringOp;

pub fn perform(fd: BorrowedFd, op: &UringOp, async_worker: bool) -> Result<usize, Errno> {
    let mut ring =
        IoUring::new(4).map_err(|error| Errno::from_raw(super::sys::errno_of(&error)))?;
    let target = types::Fd(fd.as_raw_fd());
    let mut buffer;
    let address;
    let entry = match op {
        UringOp::Connect { addr } => {
            address = SockAddr::from(*addr as SocketAddr);
            opcode::Connect::new(target, address.as_ptr().cast(), address.len()).build()
        }
        UringOp::Send { len } => {
            buffer = vec![b'u'; *len];
            opcode::Send::new(target, buffer.as_ptr(), buffer.len() as u32).build()
        }
        UringOp::Recv { len } => {
            buffer = vec![0; *len];
            opcode::Recv::new(target, buffer.as_mut_ptr(), buffer.len() as u32).build()
        }
        UringOp::Close => opcode::Close::new(target).build(),
    };
    let entry = if async_worker {
        entry.flags(squeue::Flags::ASYNC)
    } else {
        entry
    };
    // SAFETY: address and buffer live until the completion has been taken below.
    unsafe { ring.submission().push(&entry) }.expect("an empty queue has room");
    ring.submit_and_wait(1)
        .map_err(|error| Errno::from_raw(super::sys::errno_of(&error)))?;
    let completion = ring
        .completion()
        .next()
        .expect("one operation, one completion");
    match completion.result() {
        result if result < 0 => Err(Errno::from_raw(-result)),
        result => Ok(result as usize),
    }
}
