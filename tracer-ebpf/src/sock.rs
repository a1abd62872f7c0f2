//! A typed view of `struct sock`, whatever kind of socket it is.

use core::ptr;

use aya_ebpf::helpers::generated::{
    bpf_get_smp_processor_id, bpf_get_socket_cookie, bpf_jiffies64, bpf_ktime_get_ns,
    bpf_skc_to_tcp_sock,
};
use tracer_common::{
    proto::{AF_INET, AF_INET6, IPPROTO_MPTCP, IPPROTO_TCP},
    sock::{SockSnap, sock_bit, sock_flag},
    state,
};

use crate::{
    conns,
    globals::{has_socket_cookie, offset, repair_mask},
    read::{Pointer, probe},
};

/// A `struct sock *` argument of a program, not NULL. May be a full socket, or a timewait or request
/// socket, which share only `struct sock_common` with it.
#[derive(Clone, Copy)]
pub struct Sock(Pointer);

impl Sock {
    #[inline(always)]
    pub fn new(sk: Pointer) -> Self {
        Sock(sk)
    }

    #[inline(always)]
    pub fn key(self) -> u64 {
        self.0.number()
    }

    #[inline(always)]
    pub fn state(self) -> u8 {
        self.0.get(offset!(skc_state), 0)
    }

    #[inline(always)]
    pub fn family(self) -> u16 {
        self.0.get(offset!(skc_family), 0)
    }

    #[inline(always)]
    pub fn is_inet(self) -> bool {
        matches!(self.family(), AF_INET | AF_INET6)
    }

    /// Only for a full socket.
    #[inline(always)]
    pub fn is_tcp(self) -> bool {
        self.0.get(offset!(sk_protocol), 0u16) == IPPROTO_TCP
    }

    /// Only for a full socket.
    #[inline(always)]
    pub fn is_msk(self) -> bool {
        self.0.get(offset!(sk_protocol), 0u16) == IPPROTO_MPTCP
    }

    #[inline(always)]
    pub fn flags(self) -> u32 {
        self.0.get(offset!(skc_flags), 0u64) as u32
    }

    #[inline(always)]
    pub fn is_orphan(self) -> bool {
        self.flags() & sock_flag::DEAD != 0
    }

    #[inline(always)]
    pub fn err(self) -> i32 {
        self.0.get(offset!(sk_err), 0)
    }

    #[inline(always)]
    pub fn err_soft(self) -> i32 {
        self.0.get(offset!(sk_err_soft), 0)
    }

    #[inline(always)]
    pub fn shutdown(self) -> u8 {
        self.0.get(offset!(sk_shutdown), 0)
    }

    #[inline(always)]
    pub fn has_socket(self) -> bool {
        !self.0.follow(offset!(sk_socket)).is_null()
    }

    /// Makes one if there is none yet, as ss does. Where programs may not ask for it, a number of
    /// our own that is as unique: to be kept by whoever asks.
    #[inline(always)]
    pub fn cookie(self) -> u64 {
        if !has_socket_cookie() {
            // SAFETY: no arguments.
            let (now, cpu) = unsafe { (bpf_ktime_get_ns(), bpf_get_smp_processor_id()) };
            return now << 6 | (cpu & 63) as u64;
        }
        if !self.0.is_typed() {
            // Only with a type may it be asked for.
            return self.stored_cookie();
        }
        // SAFETY: a socket pointer that the verifier has typed.
        unsafe { bpf_get_socket_cookie(self.0.to().cast_mut()) }
    }

    /// Of a timewait socket: the one that the connection had, 0 if it had none.
    #[inline(always)]
    pub fn stored_cookie(self) -> u64 {
        self.0.get(offset!(skc_cookie), 0)
    }

    #[inline(always)]
    pub fn net(self) -> Pointer {
        self.0.follow(offset!(skc_net))
    }

    #[inline(always)]
    pub fn num(self) -> u16 {
        self.0.get(offset!(skc_num), 0)
    }

    #[inline(always)]
    pub fn dport(self) -> u16 {
        u16::from_be(self.0.get(offset!(skc_dport), 0))
    }

    /// `None` for anything that is not a full TCP socket.
    #[inline(always)]
    pub fn tcp(self) -> Option<Tcp> {
        if !self.0.is_typed() {
            let is_full = !matches!(self.state(), state::TIME_WAIT | state::NEW_SYN_RECV);
            return (is_full && self.is_inet() && self.is_tcp()).then_some(Tcp(self.0));
        }
        // SAFETY: a socket pointer that the verifier has typed.
        let tcp = unsafe { bpf_skc_to_tcp_sock(self.0.to().cast_mut()) };
        (!tcp.is_null()).then_some(Tcp(Pointer::typed(tcp.cast_const().cast())))
    }

    /// What every kind of socket has: addresses, ports, namespace.
    #[inline(always)]
    pub fn snap_common(self, snap: &mut SockSnap) {
        snap.family = self.family();
        snap.state = self.state();
        snap.dport = self.dport();
        snap.sport = self.num();
        snap.netns = self.net().get(offset!(net_inum), 0);
        if snap.family == AF_INET {
            v4_mapped(&mut snap.saddr, self.0.get(offset!(skc_rcv_saddr), 0));
            v4_mapped(&mut snap.daddr, self.0.get(offset!(skc_daddr), 0));
        } else {
            copy_v6(&mut snap.saddr, self.0, offset!(skc_v6_rcv_saddr));
            copy_v6(&mut snap.daddr, self.0, offset!(skc_v6_daddr));
        }
    }

    /// Everything that a record says of a full socket: writes every field.
    #[inline(always)]
    pub fn snap(self, tcp: Tcp, snap: &mut SockSnap) {
        self.snap_common(snap);
        snap.bits = sock_bit::FULL;
        (snap.reserved, snap.reserved2) = (0, 0);
        snap.uid = self.0.get(offset!(sk_uid), 0);
        snap.sk_err = self.err();
        snap.sk_err_soft = self.err_soft();
        snap.sk_flags = self.flags();
        snap.shutdown = self.shutdown();
        snap.max_ack_backlog = self.0.get(offset!(sk_max_ack_backlog), 0);
        let kn = self.0.follow(offset!(sk_cgroup)).follow(offset!(cgroup_kn));
        snap.cgroup_id = kn.get(offset!(kernfs_id), 0);
        // skc_num is already 0 at TCP_CLOSE when the port was chosen by the kernel.
        let sport = tcp.u16(offset!(inet_sport));
        if sport != 0 {
            snap.sport = u16::from_be(sport);
        }
        tcp.snap(snap);
        if self.has_socket() {
            snap.bits |= sock_bit::HAS_SOCKET;
        }
        if self.0.get(offset!(sk_owned), 0u32) != 0 {
            snap.bits |= sock_bit::OWNED;
        }
        // sk_lingertime is a u32 or a long: its first four bytes tell 0 from the rest.
        let lingers = snap.sk_flags & sock_flag::LINGER != 0;
        if lingers && self.0.get(offset!(sk_lingertime), 1u32) == 0 {
            snap.bits |= sock_bit::LINGER0;
        }
    }
}

/// A `struct tcp_sock *`, from bpf_skc_to_tcp_sock where there are types: the verifier refuses fields past
/// struct sock on a plain sk.
#[derive(Clone, Copy)]
pub struct Tcp(Pointer);

impl Tcp {
    #[inline(always)]
    pub fn u8(self, offset: u16) -> u8 {
        self.0.get(offset, 0)
    }

    #[inline(always)]
    pub fn u16(self, offset: u16) -> u16 {
        self.0.get(offset, 0)
    }

    #[inline(always)]
    pub fn u32(self, offset: u16) -> u32 {
        self.0.get(offset, 0)
    }

    #[inline(always)]
    pub fn u64(self, offset: u16) -> u64 {
        self.0.get(offset, 0)
    }

    /// Sequence numbers consumed by writes so far: payload, our SYN if active, our FIN if queued.
    #[inline(always)]
    pub fn written(self) -> u64 {
        let queued = self
            .u32(offset!(write_seq))
            .wrapping_sub(self.u32(offset!(snd_una)));
        self.u64(offset!(bytes_acked)) + queued as u64
    }

    #[inline(always)]
    pub fn is_mptcp(self) -> bool {
        self.u8(offset!(is_mptcp)) & 1 != 0
    }

    /// The msk of a subflow.
    #[inline(always)]
    pub fn msk(self) -> u64 {
        let subflow = self.0.follow(offset!(icsk_ulp_data));
        probe(subflow.to(), offset!(subflow_conn)).unwrap_or(0)
    }

    /// When the kernel began to work on the segment that it is at; CLOCK_MONOTONIC, as tcp_mstamp_refresh
    /// takes it. Of half the cost of asking, and true only where a segment is being taken in.
    #[inline(always)]
    pub fn segment_ns(self) -> u64 {
        match self.u64(offset!(tcp_clock_cache)) {
            0 => conns::now(),
            clock_ns => clock_ns,
        }
    }

    /// Jiffies since the last payload received and sent.
    #[inline(always)]
    pub fn idle_jiffies(self) -> (u32, u32) {
        let now = jiffies() as u32;
        (
            now.wrapping_sub(self.u32(offset!(lrcvtime))),
            now.wrapping_sub(self.u32(offset!(lsndtime))),
        )
    }

    #[inline(always)]
    fn snap(self, snap: &mut SockSnap) {
        snap.bytes_acked = self.u64(offset!(bytes_acked));
        snap.bytes_received = self.u64(offset!(bytes_received));
        snap.bytes_sent = self.u64(offset!(bytes_sent));
        snap.bytes_retrans = self.u64(offset!(bytes_retrans));
        snap.snd_una = self.u32(offset!(snd_una));
        snap.snd_nxt = self.u32(offset!(snd_nxt));
        snap.write_seq = self.u32(offset!(write_seq));
        snap.rcv_nxt = self.u32(offset!(rcv_nxt));
        snap.copied_seq = self.u32(offset!(copied_seq));
        snap.snd_wnd = self.u32(offset!(snd_wnd));
        snap.srtt_us8 = self.u32(offset!(srtt_us));
        snap.total_retrans = self.u32(offset!(total_retrans));
        snap.user_timeout_ms = self.u32(offset!(icsk_user_timeout));
        snap.jiffies = jiffies() as u32;
        snap.lrcvtime = self.u32(offset!(lrcvtime));
        snap.lsndtime = self.u32(offset!(lsndtime));
        snap.rcv_tstamp = self.u32(offset!(rcv_tstamp));
        snap.linger2 = self.u32(offset!(linger2)) as i32;
        snap.retransmits = self.u8(offset!(icsk_retransmits));
        snap.probes_out = self.u8(offset!(icsk_probes_out));
        if self.is_mptcp() {
            snap.bits |= sock_bit::MPTCP;
        }
        if self.u8(offset!(repair)) & repair_mask() != 0 {
            snap.bits |= sock_bit::REPAIR;
        }
    }
}

#[inline(always)]
pub fn jiffies() -> u64 {
    // SAFETY: no arguments.
    unsafe { bpf_jiffies64() }
}

/// `::ffff:a.b.c.d`, from the four bytes as the kernel holds them.
#[inline(always)]
pub fn v4_mapped(to: &mut [u8; 16], addr: u32) {
    let words = ptr::from_mut(to).cast::<u32>();
    // SAFETY: 16 bytes; SockSnap begins with the two addresses, so they are 8-byte aligned.
    unsafe {
        words.write_volatile(0);
        words.add(1).write_volatile(0);
        words.add(2).write_volatile(0x0000_ffff_u32.to_be());
        words.add(3).write_volatile(addr);
    }
}

#[inline(always)]
fn copy_v6(to: &mut [u8; 16], sk: Pointer, offset: u16) {
    let high: u64 = sk.get(offset, 0);
    let low: u64 = sk.get(offset.saturating_add(8), 0);
    let to = ptr::from_mut(to).cast::<u64>();
    // SAFETY: 16 bytes; SockSnap begins with the two addresses, so they are 8-byte aligned.
    unsafe {
        to.write(high);
        to.add(1).write(low);
    }
}
