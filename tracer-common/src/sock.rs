//! A socket's fields at the moment of an event, as the kernel has them.

/// `sock_common.skc_flags` bits (`enum sock_flags`).
pub mod sock_flag {
    /// No descriptor is left.
    pub const DEAD: u32 = 1 << 0;
    /// The peer's FIN was received.
    pub const DONE: u32 = 1 << 1;
    pub const KEEPOPEN: u32 = 1 << 3;
    pub const LINGER: u32 = 1 << 4;
}

/// Bits of [`SockSnap::bits`].
pub mod sock_bit {
    /// `sk_socket` is set: a process holds, or is about to hold, a descriptor.
    pub const HAS_SOCKET: u8 = 1 << 0;
    /// SO_LINGER with a time of 0.
    pub const LINGER0: u8 = 1 << 1;
    /// An MPTCP subflow.
    pub const MPTCP: u8 = 1 << 2;
    /// TCP_REPAIR.
    pub const REPAIR: u8 = 1 << 3;
    /// The tcp_sock fields were read: the socket is a full one.
    pub const FULL: u8 = 1 << 4;
    /// A process holds the socket's lock: it is within a call, and no timer runs.
    pub const OWNED: u8 = 1 << 5;
}

/// What one event says of its socket. Addresses are in network order, v4 as v4-mapped v6.
#[repr(C)]
#[cfg_attr(feature = "user", derive(zerocopy::FromBytes))]
#[derive(Clone, Copy, Debug)]
pub struct SockSnap {
    pub saddr: [u8; 16],
    pub daddr: [u8; 16],
    /// `bytes_acked`: moves of `snd_una`, our SYN and FIN included.
    pub bytes_acked: u64,
    /// `bytes_received`: moves of `rcv_nxt`, the peer's FIN included.
    pub bytes_received: u64,
    pub bytes_sent: u64,
    pub bytes_retrans: u64,
    /// kernfs id of the socket's cgroup (v2), in softirq too.
    pub cgroup_id: u64,
    pub snd_una: u32,
    pub snd_nxt: u32,
    pub write_seq: u32,
    pub rcv_nxt: u32,
    pub copied_seq: u32,
    pub snd_wnd: u32,
    /// `srtt_us`, as kept: 8 times the smoothed RTT.
    pub srtt_us8: u32,
    pub total_retrans: u32,
    /// `icsk_user_timeout`, ms.
    pub user_timeout_ms: u32,
    /// Jiffies (low 32 bits) now, and of the last payload received and sent.
    pub jiffies: u32,
    pub lrcvtime: u32,
    pub lsndtime: u32,
    /// Jiffies of the last segment received that acknowledged anything.
    pub rcv_tstamp: u32,
    pub reserved2: u32,
    /// Inode number of the network namespace.
    pub netns: u32,
    pub uid: u32,
    /// `sk_err`, a positive errno.
    pub sk_err: i32,
    pub sk_err_soft: i32,
    /// `skc_flags`, bits of [`sock_flag`].
    pub sk_flags: u32,
    /// `linger2`: TCP_LINGER2 in seconds; negative: none.
    pub linger2: i32,
    /// `sk_max_ack_backlog`: a child inherits its listener's.
    pub max_ack_backlog: u32,
    /// Host order.
    pub sport: u16,
    pub dport: u16,
    pub family: u16,
    /// State: the one left, for TCP_CLOSE; the present one otherwise.
    pub state: u8,
    /// `sk_shutdown`: 1 RCV, 2 SEND.
    pub shutdown: u8,
    /// `icsk_retransmits`: timeouts in a row.
    pub retransmits: u8,
    /// `icsk_probes_out`: unanswered probes.
    pub probes_out: u8,
    /// Bits of [`sock_bit`].
    pub bits: u8,
    pub reserved: u8,
}

impl SockSnap {
    pub const ZERO: SockSnap = SockSnap {
        saddr: [0; 16],
        daddr: [0; 16],
        bytes_acked: 0,
        bytes_received: 0,
        bytes_sent: 0,
        bytes_retrans: 0,
        cgroup_id: 0,
        snd_una: 0,
        snd_nxt: 0,
        write_seq: 0,
        rcv_nxt: 0,
        copied_seq: 0,
        snd_wnd: 0,
        srtt_us8: 0,
        total_retrans: 0,
        user_timeout_ms: 0,
        jiffies: 0,
        lrcvtime: 0,
        lsndtime: 0,
        rcv_tstamp: 0,
        reserved2: 0,
        netns: 0,
        uid: 0,
        sk_err: 0,
        sk_err_soft: 0,
        sk_flags: 0,
        linger2: 0,
        max_ack_backlog: 0,
        sport: 0,
        dport: 0,
        family: 0,
        state: 0,
        shutdown: 0,
        retransmits: 0,
        probes_out: 0,
        bits: 0,
        reserved: 0,
    };

    #[inline(always)]
    pub const fn has(&self, bit: u8) -> bool {
        self.bits & bit != 0
    }

    #[inline(always)]
    pub const fn has_sock_flag(&self, flag: u32) -> bool {
        self.sk_flags & flag != 0
    }
}

crate::assert_size!(SockSnap, 168);
