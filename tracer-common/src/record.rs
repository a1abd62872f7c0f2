//! What crosses the ring buffer.

use crate::{conn::Conn, sock::SockSnap, task::Task};

/// What a [`Record`] reports: the hook that spoke.
pub mod kind {
    /// inet_sock_set_state → TCP_CLOSE (or its repair at tcp_destroy_sock).
    pub const CLOSE: u32 = 1;
    /// tcp_send_reset.
    pub const RST_SENT: u32 = 2;
    /// tcp_receive_reset.
    pub const RST_RECEIVED: u32 = 3;
    /// sock_send_length with an error.
    pub const SEND_ERROR: u32 = 4;
    /// sock_recv_length with an error.
    pub const RECV_ERROR: u32 = 5;
    /// tcp_destroy_sock after a TCP_CLOSE that left a descriptor open; a [`Destroyed`].
    pub const DESTROYED: u32 = 6;
    /// task_rename of a thread-group leader: exec or prctl; a [`Renamed`].
    pub const RENAMED: u32 = 7;
    /// signal_generate or mark_victim: a process was sent a signal that ends it by default; a
    /// [`Signalled`].
    pub const SIGNALLED: u32 = 8;
}

/// The head of every record.
#[repr(C)]
#[cfg_attr(feature = "user", derive(zerocopy::FromBytes))]
#[derive(Clone, Copy, Debug)]
pub struct Head {
    /// CLOCK_MONOTONIC, ns.
    pub ts_ns: u64,
    /// Address of `struct sock`; 0 when there was none.
    pub sk: u64,
    /// Socket cookie; 0 when unknown.
    pub cookie: u64,
    /// One of [`kind`].
    pub kind: u32,
    /// RST: `enum sk_rst_reason`; send/receive error: the errno.
    pub code: u32,
}

crate::assert_size!(Head, 32);

/// An event, its socket's fields, and what was remembered of the connection.
#[repr(C)]
#[cfg_attr(feature = "user", derive(zerocopy::FromBytes))]
#[derive(Clone, Copy, Debug)]
pub struct Record {
    pub head: Head,
    pub conn: Conn,
    pub sock: SockSnap,
    /// The process in whose context a send or receive failed; `NONE` otherwise.
    pub actor: Task,
    /// RST sent: 1 when it answers a segment (`skb` not NULL); errors: 1 when a SIGPIPE came with it.
    pub extra: u64,
}

crate::assert_size!(Record, 32 + 248 + 168 + 40 + 8);

/// The descriptor is gone: no more calls can follow.
#[repr(C)]
#[cfg_attr(feature = "user", derive(zerocopy::FromBytes))]
#[derive(Clone, Copy, Debug)]
pub struct Destroyed {
    pub head: Head,
    pub io_errors: u32,
    pub read_errno: u16,
    pub write_errno: u16,
    /// [`crate::conn::flag`]s at the end.
    pub flags: u32,
    /// What the process had read in the end.
    pub rcv_nxt: u32,
    pub copied_seq: u32,
    pub reserved: u32,
}

crate::assert_size!(Destroyed, 56);

/// A process has another name from now on.
#[repr(C)]
#[cfg_attr(feature = "user", derive(zerocopy::FromBytes))]
#[derive(Clone, Copy, Debug)]
pub struct Renamed {
    pub head: Head,
    pub task: Task,
}

crate::assert_size!(Renamed, 72);

/// Who sent a signal.
pub mod sender {
    /// A process: kill(2) and the like.
    pub const PROCESS: u64 = 0;
    /// The kernel.
    pub const KERNEL: u64 = 1;
    /// The kernel's out-of-memory killer.
    pub const OOM: u64 = 2;
}

/// A process was sent a signal that ends it by default. `head.code`: the signal.
#[repr(C)]
#[cfg_attr(feature = "user", derive(zerocopy::FromBytes))]
#[derive(Clone, Copy, Debug)]
pub struct Signalled {
    pub head: Head,
    /// Start time of the process, as in [`Task`].
    pub target_start_ns: u64,
    pub target_tgid: u32,
    pub reserved: u32,
    /// The sending process, if it was one.
    pub from: Task,
    /// One of [`sender`].
    pub sender: u64,
}

crate::assert_size!(Signalled, 32 + 8 + 8 + 40 + 8);
