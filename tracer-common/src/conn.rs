//! The state that the kernel side keeps for every TCP socket between its birth and its end.

use crate::task::Task;

/// How the owner is known; the wire value of `attribution`.
pub mod attribution {
    pub const NONE: u8 = 0;
    /// The process that called connect.
    pub const CONNECT: u8 = 1;
    /// The process to which accept returned the socket.
    pub const ACCEPT: u8 = 2;
    /// The process that last sent or received on it.
    pub const IO: u8 = 3;
    /// Not accepted yet: the process that owns the listener.
    pub const LISTENER: u8 = 4;
    /// Found among the open files of a process when tracing began.
    pub const SCAN: u8 = 5;
    /// The process whose call ended it; nothing earlier was seen.
    pub const SYSCALL: u8 = 6;
}

/// Bits of [`Conn::flags`].
pub mod flag {
    /// We sent the SYN (active open): bytes_acked counts it.
    pub const ACTIVE: u32 = 1 << 0;
    /// Cloned from a listener (passive open).
    pub const PASSIVE: u32 = 1 << 1;
    /// Open before tracing began, or its birth was not seen.
    pub const PREEXISTING: u32 = 1 << 2;
    /// Our FIN was queued (→ FIN_WAIT1 or LAST_ACK).
    pub const LOCAL_FIN: u32 = 1 << 3;
    /// The peer's FIN was processed (→ CLOSE_WAIT or CLOSING).
    pub const PEER_FIN: u32 = 1 << 4;
    /// Went through CLOSING: both FINs crossed.
    pub const CLOSING: u32 = 1 << 5;
    /// tcp_receive_reset fired for it.
    pub const RST_RECEIVED: u32 = 1 << 6;
    /// tcp_send_reset fired for it before TCP_CLOSE.
    pub const RST_SENT: u32 = 1 << 7;
    /// That RST was an active one (`skb` NULL: tcp_send_active_reset).
    pub const RST_SENT_ACTIVE: u32 = 1 << 8;
    /// TCP_CLOSE was reported.
    pub const CLOSED: u32 = 1 << 9;
    /// The final state change ran in the context of `closer`.
    pub const CLOSE_IN_TASK: u32 = 1 << 11;
    /// No run saw TCP_CLOSE: made good at tcp_destroy_sock.
    pub const RECOVERED: u32 = 1 << 12;
    /// No room in the map: nothing before TCP_CLOSE is known.
    pub const UNTRACKED: u32 = 1 << 13;
    /// No descriptor was left at TCP_CLOSE: nothing can follow but a late RST.
    pub const ORPHAN: u32 = 1 << 15;
    /// Payload had been received, sent, when the first FIN came.
    pub const RX_BEFORE_FIN: u32 = 1 << 16;
    pub const TX_BEFORE_FIN: u32 = 1 << 17;
    /// ICMP reported an error before the end. A process may consume it unseen (SO_ERROR).
    pub const ICMP_ERROR: u32 = 1 << 18;
    /// The other end, on this node, closed first and has more to tell: it is linked, or its process
    /// exited.
    pub const PEER_TELLS: u32 = 1 << 20;
    /// The kernel gave it up because orphans were too many or memory too little.
    pub const OOM: u32 = 1 << 22;
    /// A SIGPIPE was generated for a send on it. Threads that send at the same moment each add one: there is
    /// room for three, and what is beyond overflows into nothing.
    pub const SIGPIPE: u32 = 3 << 30;
    pub const ONE_SIGPIPE: u32 = 1 << 30;
}

/// Bits of [`Conn::exchange`].
pub mod exchange {
    /// An active socket received payload since the link was made, a passive one sent some: what is
    /// sent, received next begins a new exchange.
    pub const ANSWERED: u8 = 1 << 0;
    /// In the queue of a thread's `LAST_RX`.
    pub const QUEUED: u8 = 1 << 1;
}

/// One entry of the `CONNS` map, keyed by the address of `struct sock` and overwritten at every
/// birth (slab memory is reused at once: SLAB_TYPESAFE_BY_RCU). Times are CLOCK_MONOTONIC, 0 when
/// not seen.
#[repr(C)]
#[cfg_attr(feature = "user", derive(zerocopy::FromBytes))]
#[derive(Clone, Copy, Debug)]
pub struct Conn {
    /// Socket cookie: unique since boot.
    pub cookie: u64,
    /// First sight: the SYN, the clone from the listener, or the scan.
    pub birth_ns: u64,
    pub established_ns: u64,
    pub local_fin_ns: u64,
    pub peer_fin_ns: u64,
    /// Bytes written by the application (and our SYN, if active) when the peer's FIN arrived.
    pub written_at_peer_fin: u64,
    /// The same when our FIN was queued after the peer's.
    pub written_at_local_fin: u64,
    /// `sk` and cookie of the other end when it is on this node, else 0.
    pub peer_sk: u64,
    pub peer_cookie: u64,
    /// `sk` and cookie of the socket of the same process on whose behalf this one works, or which
    /// works on its behalf (a proxy's two sides); 0 for none.
    pub link_sk: u64,
    pub link_cookie: u64,
    pub owner: Task,
    /// The process whose call ended the local end.
    pub closer: Task,
    /// Owner of the other end, left here when that end closed first.
    pub peer_owner: Task,
    /// Initial sequence numbers + 1, of this end and of the other; valid when `established_ns` != 0.
    pub iss: u32,
    pub irs: u32,
    /// Jiffies since the last payload in each direction, at the first FIN.
    pub idle_rx_jiffies: u32,
    pub idle_tx_jiffies: u32,
    /// Bits of [`flag`].
    pub flags: u32,
    /// Errors that sends and receives returned.
    pub io_errors: u32,
    /// First errno that a receive, a send returned; 0 for none.
    pub read_errno: u16,
    pub write_errno: u16,
    /// `enum sk_rst_reason` of the RST sent before TCP_CLOSE.
    pub rst_reason: u8,
    /// Bits of [`exchange`]. A byte of its own because processes write it beside the socket's events.
    pub exchange: u8,
    /// One of [`attribution`].
    pub attribution: u8,
    /// Timeouts or probes in a row of which the walk has told last; 0: it is not stalled. A byte of
    /// its own because the walk writes it beside the socket's events.
    pub stalled: u8,
    /// What the process had read of an ended connection by its last receive.
    pub copied_seq: u32,
    /// The thread that made the link, or that ended this connection right after the linked one had
    /// given it its end of file or an error.
    pub link_tid: u32,
}

impl Conn {
    pub const ZERO: Conn = Conn {
        cookie: 0,
        birth_ns: 0,
        established_ns: 0,
        local_fin_ns: 0,
        peer_fin_ns: 0,
        written_at_peer_fin: 0,
        written_at_local_fin: 0,
        peer_sk: 0,
        peer_cookie: 0,
        link_sk: 0,
        link_cookie: 0,
        owner: Task::NONE,
        closer: Task::NONE,
        peer_owner: Task::NONE,
        iss: 0,
        irs: 0,
        idle_rx_jiffies: 0,
        idle_tx_jiffies: 0,
        flags: 0,
        io_errors: 0,
        read_errno: 0,
        write_errno: 0,
        rst_reason: 0,
        exchange: 0,
        attribution: attribution::NONE,
        stalled: 0,
        copied_seq: 0,
        link_tid: 0,
    };

    #[inline(always)]
    pub const fn has(&self, flag: u32) -> bool {
        self.flags & flag != 0
    }
}

crate::assert_size!(Conn, 248);

/// Key of the `LISTENERS` map.
#[repr(C)]
#[cfg_attr(feature = "user", derive(zerocopy::FromBytes))]
#[derive(Clone, Copy, Debug)]
pub struct ListenerKey {
    /// Address of `struct net`.
    pub net: u64,
    /// Local port, host order.
    pub port: u32,
    pub reserved: u32,
}

crate::assert_size!(ListenerKey, 16);

/// Who listens on a port of a namespace.
#[repr(C)]
#[cfg_attr(feature = "user", derive(zerocopy::FromBytes))]
#[derive(Clone, Copy, Debug)]
pub struct Listener {
    /// The socket that was counted last: a fork shares it, SO_REUSEPORT adds others.
    pub sk: u64,
    pub owner: Task,
    /// Listening sockets on this port (SO_REUSEPORT).
    pub sockets: u32,
    /// 1 when they belong to more than one process: then nobody is named.
    pub ambiguous: u32,
}

crate::assert_size!(Listener, 56);

/// A seat of a bucket of the `PAIRS` map: the end that reached ESTABLISHED first waits here for the other.
#[repr(C)]
#[cfg_attr(feature = "user", derive(zerocopy::FromBytes))]
#[derive(Clone, Copy, Debug)]
pub struct Waiting {
    /// The pair of initial sequence numbers; 0: free.
    pub key: u64,
    pub sk: u64,
}

crate::assert_size!(Waiting, 16);

/// Seats of a bucket: a cache line.
pub const SEATS: u32 = 4;

/// Buckets of `PAIRS` for each [`set`](crate::table) of connections: seats for all of them, were they
/// spread evenly.
pub const BUCKETS_PER_SET: u32 = 2;

/// Slots of the `LAST_RX` map for threads, by tid.
pub const RX_THREADS: u32 = 16_384;
/// Slots for processes, by tgid, after those of the threads: the connection accepted last.
pub const RX_PROCESSES: u32 = 4_096;

/// Requests that a thread has received and neither answered nor passed on: one turn of an event
/// loop may take in many before it passes on the first.
pub const RX_QUEUE: u32 = 16;

/// A passive socket that gave payload.
#[repr(C)]
#[cfg_attr(feature = "user", derive(zerocopy::FromBytes))]
#[derive(Clone, Copy, Debug)]
pub struct Received {
    pub sk: u64,
    /// 0 when it was answered.
    pub cookie: u64,
    pub jiffies: u64,
}

/// Value of the `LAST_RX` map: the passive socket that gave a thread its last payload, or that a
/// process accepted last. The newest one has the slot.
#[repr(C)]
#[cfg_attr(feature = "user", derive(zerocopy::FromBytes))]
#[derive(Clone, Copy, Debug)]
pub struct LastRx {
    /// tgid << 32 | tid of the thread; tgid << 32 for a process.
    pub who: u64,
    pub sk: u64,
    pub cookie: u64,
    pub jiffies: u64,
    /// The thread.
    pub tid: u64,
    /// The socket that gave the thread an end of file or an error last, and when.
    pub eof_cookie: u64,
    pub eof_jiffies: u64,
    /// Positions of the oldest in the queue and behind the newest.
    pub first: u32,
    pub end: u32,
    pub queue: [Received; RX_QUEUE as usize],
}

crate::assert_size!(LastRx, 448);
