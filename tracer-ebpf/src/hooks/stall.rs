//! hook: iter/bpf_map_elem (meta, map, key, value) over `CONN_KEYS`, read once a second
//! kernels: 5.9 and later
//! context: process (the daemon, reading)
//! fields: icsk_retransmits, icsk_probes_out, skc_state, and of a candidate those of [`Stall`]
//!
//! Finds the connections whose peer is silent: the kernel has no event for a retransmission timeout
//! that names its socket on all kernels, and a look at every connection costs less than a hook on every
//! timer. An address is only a number here, so every field is a checked read, and what was read counts
//! only if the socket still has the cookie of the entry afterwards: its memory may be another's by now.

use core::ffi::c_void;

use tracer_common::{
    conn::{Conn, flag},
    counters,
    proto::AF_INET,
    record::{Head, SILENT_IN_ROW, Stall, Timers, kind, timer_bit},
    sock::{SockSnap, sock_bit, sock_flag},
    state,
    table::WAYS,
};

use crate::{
    conns::{self, now},
    emit,
    globals::{has_socket_cookie, keepalive_probes_mask, offset, retries2_mask, usec_ts_mask},
    read::{copy, probe, probe_into},
    sock::{jiffies, v4_mapped},
};

#[unsafe(no_mangle)]
#[unsafe(link_section = "iter/bpf_map_elem")]
pub extern "C" fn walk_conns(ctx: *mut c_void) -> i32 {
    // SAFETY: struct bpf_iter__bpf_map_elem: meta, map, key, value; the verifier checks the loads.
    let (key, value) = unsafe {
        let words = ctx.cast::<*const c_void>();
        (words.add(2).read_volatile(), words.add(3).read_volatile())
    };
    if key.is_null() || value.is_null() {
        return 0;
    }
    // SAFETY: the key of this very map; the verifier checks the bounds.
    let set = unsafe { key.cast::<u32>().read_volatile() };
    for way in 0..WAYS {
        // SAFETY: within the value.
        let sk = unsafe { value.cast::<u64>().add(way as usize).read_volatile() };
        if sk != 0 {
            let _ = visit(sk as *const c_void, set * WAYS + way);
        }
    }
    0
}

#[inline(always)]
fn visit(sk: *const c_void, slot: u32) -> Option<()> {
    let in_row = in_row(sk)?;
    let conn = conns::at(slot)?;
    let is_silent = in_row >= SILENT_IN_ROW;
    if conn.stalled == if is_silent { in_row } else { 0 } {
        return None;
    }
    let socket = Socket(sk);
    if !socket.can_stall(conn.stalled != 0)? || conn.has(flag::CLOSED) {
        return None;
    }
    if emit::filled(counters::RING_STALL, |stall| socket.tell(conn, stall)) {
        conn.stalled = if is_silent { in_row } else { 0 };
    }
    Some(())
}

/// Timeouts or probes in a row. This is all that most connections cost, so it is one read where the two
/// counts are neighbours, as they are on every kernel so far.
#[inline(always)]
fn in_row(sk: *const c_void) -> Option<u8> {
    let apart = offset!(icsk_probes_out).wrapping_sub(offset!(icsk_retransmits));
    if apart < 8 {
        let both: u64 = probe(sk, offset!(icsk_retransmits))?;
        let (retransmits, probes_out) = (both as u8, (both >> (apart * 8)) as u8);
        return Some(retransmits.max(probes_out));
    }
    let retransmits: u8 = probe(sk, offset!(icsk_retransmits))?;
    let probes_out: u8 = probe(sk, offset!(icsk_probes_out))?;
    Some(retransmits.max(probes_out))
}

/// The address of a `struct sock`, of which the verifier knows nothing.
#[derive(Clone, Copy)]
struct Socket(*const c_void);

impl Socket {
    #[inline(always)]
    fn get<T: Copy>(self, offset: u16, default: T) -> T {
        probe(self.0, offset).unwrap_or(default)
    }

    #[inline(always)]
    fn u32(self, offset: u16) -> u32 {
        self.get(offset, 0)
    }

    #[inline(always)]
    fn u8(self, offset: u16) -> u8 {
        self.get(offset, 0)
    }

    /// Established, and a process has it: what nobody has any more is nobody's stall, unless it was one
    /// before.
    #[inline(always)]
    fn can_stall(self, was_stalled: bool) -> Option<bool> {
        let established = matches!(
            probe(self.0, offset!(skc_state))?,
            state::ESTABLISHED
                | state::CLOSE_WAIT
                | state::FIN_WAIT1
                | state::FIN_WAIT2
                | state::CLOSING
                | state::LAST_ACK
        );
        Some(established && (was_stalled || self.sock_flags() & sock_flag::DEAD == 0))
    }

    #[inline(always)]
    fn sock_flags(self) -> u32 {
        self.get(offset!(skc_flags), 0u64) as u32
    }

    #[inline(always)]
    fn tell(self, conn: *const Conn, stall: *mut Stall) -> bool {
        // SAFETY: the reservation is a Stall, 8-byte aligned, of integers; every field is written.
        let stall = unsafe { &mut *stall };
        copy(&raw mut stall.conn, conn);
        copy(&raw mut stall.sock, &raw const ZERO_SOCK);
        self.snap(&mut stall.sock);
        self.timers(&mut stall.timers);
        let cookie = if has_socket_cookie() {
            self.get(offset!(skc_cookie), 0u64)
        } else {
            // It is our own number, which the socket knows nothing of.
            stall.conn.cookie
        };
        stall.head = Head {
            ts_ns: now(),
            sk: self.0 as u64,
            cookie,
            kind: kind::STALL,
            code: 0,
        };
        // A scanned socket may have had none; every birth since would have made a new entry.
        stall.conn.cookie == cookie || stall.conn.cookie == 0
    }

    #[inline(always)]
    fn snap(self, snap: &mut SockSnap) {
        snap.family = self.get(offset!(skc_family), 0);
        if snap.family == AF_INET {
            v4_mapped(&mut snap.saddr, self.u32(offset!(skc_rcv_saddr)));
            v4_mapped(&mut snap.daddr, self.u32(offset!(skc_daddr)));
        } else {
            let (saddr, daddr) = (&raw mut snap.saddr, &raw mut snap.daddr);
            probe_into::<2>(saddr.cast(), self.0, offset!(skc_v6_rcv_saddr));
            probe_into::<2>(daddr.cast(), self.0, offset!(skc_v6_daddr));
        }
        snap.sport = u16::from_be(self.get(offset!(inet_sport), 0));
        snap.dport = u16::from_be(self.get(offset!(skc_dport), 0));
        snap.state = self.u8(offset!(skc_state));
        let net = self.net();
        snap.netns = probe(net, offset!(net_inum)).unwrap_or(0);
        snap.uid = self.u32(offset!(sk_uid));
        snap.sk_flags = self.sock_flags();
        snap.shutdown = self.u8(offset!(sk_shutdown));
        let cgroup = self.get(offset!(sk_cgroup), 0u64) as *const c_void;
        let kn = probe(cgroup, offset!(cgroup_kn)).unwrap_or(0u64) as *const c_void;
        snap.cgroup_id = probe(kn, offset!(kernfs_id)).unwrap_or(0);
        snap.bytes_acked = self.get(offset!(bytes_acked), 0);
        snap.bytes_received = self.get(offset!(bytes_received), 0);
        snap.bytes_sent = self.get(offset!(bytes_sent), 0);
        snap.bytes_retrans = self.get(offset!(bytes_retrans), 0);
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
        snap.max_ack_backlog = self.u32(offset!(sk_max_ack_backlog));
        snap.retransmits = self.u8(offset!(icsk_retransmits));
        snap.probes_out = self.u8(offset!(icsk_probes_out));
        snap.bits = sock_bit::FULL;
        if self.u8(offset!(is_mptcp)) & 1 != 0 {
            snap.bits |= sock_bit::MPTCP;
        }
    }

    #[inline(always)]
    fn net(self) -> *const c_void {
        self.get(offset!(skc_net), 0u64) as *const c_void
    }

    #[inline(always)]
    fn timers(self, timers: &mut Timers) {
        let net = self.net();
        let sysctl = |offset: u16| probe(net, offset).unwrap_or(0u32);
        let usec = self.u8(offset!(usec_ts)) & usec_ts_mask() != 0;
        timers.retrans_stamp = self.u32(offset!(retrans_stamp));
        timers.probes_tstamp = self.u32(offset!(icsk_probes_tstamp));
        timers.rto = self.u32(offset!(icsk_rto));
        timers.rto_max = self.u32(offset!(icsk_rto_max));
        timers.due = self.due();
        timers.keepalive_due = self.keepalive_due();
        timers.keepalive_time = self.u32(offset!(keepalive_time));
        timers.keepalive_intvl = self.u32(offset!(keepalive_intvl));
        timers.sysctl_keepalive_time = sysctl(offset!(sysctl_keepalive_time));
        timers.sysctl_keepalive_intvl = sysctl(offset!(sysctl_keepalive_intvl));
        timers.sysctl_keepalive_probes =
            sysctl(offset!(sysctl_keepalive_probes)) & keepalive_probes_mask();
        timers.retries2 = sysctl(offset!(sysctl_retries2)) & retries2_mask();
        timers.rttvar_us = self.u32(offset!(rttvar_us));
        timers.packets_out = self.u32(offset!(packets_out));
        timers.keepalive_probes = self.u8(offset!(keepalive_probes));
        timers.backoff = self.u8(offset!(icsk_backoff));
        timers.pending = self.u8(offset!(icsk_pending));
        timers.bits = if usec { timer_bit::USEC } else { 0 };
        timers.reserved = 0;
    }

    /// `icsk_timeout` until 6.15; then the timer itself, which moved into `sk_timer`'s place in 6.19.
    #[inline(always)]
    fn due(self) -> u32 {
        probe::<u64>(self.0, offset!(icsk_timeout))
            .or_else(|| probe(self.0, offset!(icsk_retransmit_timer)))
            .or_else(|| probe(self.0, offset!(sk_timer)))
            .unwrap_or(0) as u32
    }

    /// `sk_timer` until it made room for the retransmission timer.
    #[inline(always)]
    fn keepalive_due(self) -> u32 {
        probe::<u64>(self.0, offset!(icsk_keepalive_timer))
            .or_else(|| probe(self.0, offset!(sk_timer)))
            .unwrap_or(0) as u32
    }
}

static ZERO_SOCK: SockSnap = SockSnap::ZERO;
