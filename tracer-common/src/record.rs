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
    /// The walk over `CONNS` met a connection whose peer is silent, or is so no longer; a [`Stall`].
    pub const STALL: u32 = 9;
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
    /// How `owner` is known.
    pub attribution: u32,
    /// Whose it was in the end: accept may return only after TCP_CLOSE.
    pub owner: Task,
}

crate::assert_size!(Destroyed, 96);

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

/// Timeouts or probes in a row from which on a peer counts as silent.
pub const SILENT_IN_ROW: u8 = 3;

/// Bits of [`Timers::bits`].
pub mod timer_bit {
    /// `retrans_stamp` is in microseconds, not milliseconds.
    pub const USEC: u8 = 1 << 0;
}

/// `icsk_pending`: which timer runs.
pub mod pending {
    pub const RETRANS: u8 = 1;
    pub const PROBE0: u8 = 3;
}

/// The timers of a connection, and the settings that they go by. Times are jiffies unless named otherwise;
/// 0 where this kernel lacks the field.
#[repr(C)]
#[cfg_attr(feature = "user", derive(zerocopy::FromBytes))]
#[derive(Clone, Copy, Debug)]
pub struct Timers {
    /// First retransmission, by CLOCK_MONOTONIC, in milliseconds or microseconds ([`timer_bit::USEC`]).
    pub retrans_stamp: u32,
    /// First probe, if `icsk_probes_tstamp` exists (5.11).
    pub probes_tstamp: u32,
    pub rto: u32,
    /// Of the socket (6.15).
    pub rto_max: u32,
    /// When the retransmission or probe timer is due.
    pub due: u32,
    /// When the keepalive timer is due.
    pub keepalive_due: u32,
    /// The socket's own TCP_KEEPIDLE and TCP_KEEPINTVL; 0: the namespace's.
    pub keepalive_time: u32,
    pub keepalive_intvl: u32,
    /// Of the namespace.
    pub sysctl_keepalive_time: u32,
    pub sysctl_keepalive_intvl: u32,
    pub sysctl_keepalive_probes: u32,
    pub retries2: u32,
    /// With `srtt_us8` it gives the timeout before any backoff, µs.
    pub rttvar_us: u32,
    pub packets_out: u32,
    /// The socket's own TCP_KEEPCNT; 0: the namespace's.
    pub keepalive_probes: u8,
    pub backoff: u8,
    /// One of [`pending`].
    pub pending: u8,
    /// Bits of [`timer_bit`].
    pub bits: u8,
    pub reserved: u32,
}

const _: () = assert!(size_of::<Timers>() == 64);

/// A connection whose peer is silent, or is so no longer.
#[repr(C)]
#[cfg_attr(feature = "user", derive(zerocopy::FromBytes))]
#[derive(Clone, Copy, Debug)]
pub struct Stall {
    pub head: Head,
    pub conn: Conn,
    /// Addresses, sequence numbers, clocks and counts; 0 where it says nothing of the timers.
    pub sock: SockSnap,
    pub timers: Timers,
}

crate::assert_size!(Stall, 32 + 248 + 168 + 64);
