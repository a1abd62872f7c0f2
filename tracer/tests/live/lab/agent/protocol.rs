//! What the test says to its agents (separate processes that hold the sockets), and what they answer.
//!
//! One operation, one answer, over a SEQPACKET pair, so that a message needs no framing and may carry descriptors.

use std::{
    io::{IoSlice, IoSliceMut},
    net::SocketAddr,
    os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd},
    time::Duration,
};

use nix::{
    cmsg_space,
    errno::Errno,
    poll::{PollFd, PollFlags, PollTimeout},
    sys::socket::{ControlMessage, ControlMessageOwned, MsgFlags, recvmsg, sendmsg},
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use super::meet;

/// A descriptor as numbered in the agent's own process.
pub type Fd = RawFd;

#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum Op {
    Socket {
        v6: bool,
        mptcp: bool,
    },
    /// A TCP_REPAIR, SO_LINGER … by number: `value` is the whole option.
    SetOpt {
        fd: Fd,
        level: i32,
        name: i32,
        value: Vec<i32>,
    },
    Bind {
        fd: Fd,
        addr: SocketAddr,
    },
    Listen {
        fd: Fd,
        backlog: i32,
    },
    /// Connects without waiting.
    ConnectStart {
        fd: Fd,
        addr: SocketAddr,
    },
    /// Waits for the end of a connect and consumes SO_ERROR.
    ConnectWait {
        fd: Fd,
    },
    /// A blocking connect(2), as most programs do it.
    Connect {
        fd: Fd,
        addr: SocketAddr,
    },
    Accept {
        fd: Fd,
    },
    Names {
        fd: Fd,
    },
    /// Sends `len` bytes in calls of at most `chunk`; stops at the first error.
    Write {
        fd: Fd,
        len: usize,
        chunk: usize,
        flags: i32,
    },
    /// Sends without waiting until the kernel takes no more, at most `len` bytes.
    Fill {
        fd: Fd,
        len: usize,
    },
    /// Reads exactly `len` bytes.
    Read {
        fd: Fd,
        len: usize,
    },
    /// One recv(2) once there is something to receive: bytes, end of file or an error.
    Recv {
        fd: Fd,
    },
    Shutdown {
        fd: Fd,
        how: Half,
    },
    /// connect(AF_UNSPEC).
    Disconnect {
        fd: Fd,
    },
    Close {
        fd: Fd,
    },
    /// Unread bytes in the receive queue (SIOCINQ).
    Unread {
        fd: Fd,
    },
    /// Bytes not yet acknowledged or not yet sent (SIOCOUTQ, SIOCOUTQNSD).
    Outstanding {
        fd: Fd,
    },
    /// tcp_info's state number.
    State {
        fd: Fd,
    },
    /// The kernel's number of the socket, as records have it.
    Cookie {
        fd: Fd,
    },
    Dup {
        fd: Fd,
    },
    Exit {
        status: i32,
    },
    /// The answer carries the channel of the child, which goes on as an agent of its own.
    Fork,
    /// Becomes a fresh image of this program; `keep` survives. The channel stays.
    Exec {
        keep: Vec<Fd>,
        comm: String,
    },
    /// prctl(PR_SET_NAME) of the thread-group leader.
    Rename {
        comm: Vec<u8>,
    },
    /// Does `op` on a new thread of that name and joins it. The answer is `Threaded`.
    InThread {
        name: String,
        op: Box<Op>,
    },
    /// connect, send and receive through io_uring, `async_worker`: by an io-wq worker thread.
    Uring {
        fd: Fd,
        op: UringOp,
        async_worker: bool,
    },
    /// Takes the descriptor that comes with this message.
    Take,
    SendFd {
        via: Fd,
        fd: Fd,
    },
    RecvFd {
        via: Fd,
    },
    SetUid {
        uid: u32,
    },
    WriteFile {
        path: String,
        text: String,
    },
    /// Many connections to `addr`, ended as the plan says; see `load`.
    Churn(Churn),
    /// Accepts and ends what `Churn` opens, until `count` connections have ended.
    Serve {
        fd: Fd,
        count: usize,
    },
    /// Opens so many connections to itself and keeps both ends until it ends.
    Hold {
        count: usize,
    },
    /// Many connections at once, each with a number; see `meet`.
    Meet(meet::Plan),
    /// Accepts what `Meet` opens; the sockets that live on do so for `hold_ms` after the last.
    Greet {
        fd: Fd,
        hold_ms: u64,
    },
}

#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub enum Half {
    Read,
    Write,
    Both,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum UringOp {
    Connect { addr: SocketAddr },
    Send { len: usize },
    Recv { len: usize },
    Close,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Churn {
    pub addr: SocketAddr,
    pub count: usize,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum Reply {
    Done,
    Fd(Fd),
    Count(usize),
    Pair(usize, usize),
    Pid(i32),
    Cookie(u64),
    Names {
        local: SocketAddr,
        peer: Option<SocketAddr>,
    },
    Accepted {
        fd: Fd,
        local: SocketAddr,
        peer: SocketAddr,
    },
    /// An error, and how many bytes had gone through before it.
    Failed {
        errno: i32,
        done: usize,
    },
    Threaded {
        tid: i32,
        reply: Box<Reply>,
    },
    Log(Vec<u64>),
    Met(Vec<meet::Met>),
}

const LARGEST: usize = 128 * 1024;

/// Sends a message with descriptors.
pub fn send<T: Serialize>(channel: BorrowedFd, message: &T, fds: &[RawFd]) -> Result<(), Errno> {
    let bytes = serde_json::to_vec(message).expect("protocol messages are plain data");
    assert!(bytes.len() <= LARGEST, "message of {} bytes", bytes.len());
    let rights = [ControlMessage::ScmRights(fds)];
    let control: &[ControlMessage] = if fds.is_empty() { &[] } else { &rights };
    sendmsg::<()>(
        channel.as_raw_fd(),
        &[IoSlice::new(&bytes)],
        control,
        MsgFlags::MSG_NOSIGNAL,
        None,
    )
    .map(|_| ())
}

/// Receives a message; `None` when the other side is gone. Waits at most `patience`, then ETIMEDOUT.
pub fn receive<T: DeserializeOwned>(
    channel: BorrowedFd,
    patience: Option<Duration>,
) -> Result<Option<(T, Vec<OwnedFd>)>, Errno> {
    if let Some(patience) = patience {
        let mut ready = [PollFd::new(channel, PollFlags::POLLIN)];
        let timeout = PollTimeout::try_from(patience).expect("a patience that poll can express");
        if nix::poll::poll(&mut ready, timeout)? == 0 {
            return Err(Errno::ETIMEDOUT);
        }
    }
    let mut bytes = vec![0; LARGEST];
    let mut space = cmsg_space!([RawFd; 4]);
    let (len, fds) = {
        let mut iov = [IoSliceMut::new(&mut bytes)];
        let message = recvmsg::<()>(
            channel.as_raw_fd(),
            &mut iov,
            Some(&mut space),
            MsgFlags::MSG_CMSG_CLOEXEC,
        )?;
        let mut fds = Vec::new();
        for control in message.cmsgs()? {
            if let ControlMessageOwned::ScmRights(received) = control {
                // SAFETY: the kernel has just installed these descriptors for us; nobody else owns them.
                fds.extend(
                    received
                        .into_iter()
                        .map(|fd| unsafe { OwnedFd::from_raw_fd(fd) }),
                );
            }
        }
        (message.bytes, fds)
    };
    if len == 0 {
        return Ok(None);
    }
    let message = serde_json::from_slice(&bytes[..len]).expect("both ends are this program");
    Ok(Some((message, fds)))
}
