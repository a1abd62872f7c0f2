//! Connections whose peer is silent: what the walk over them told, kept until the peer answers or the
//! connection ends.

use rustc_hash::FxHashMap;
use tracer_common::{
    conn::Conn,
    record::{Head, SILENT_IN_ROW, Stall, timer_bit},
    sock::SockSnap,
};

use super::give_up::{self, GivesUp, Keepalive, Silence};
use crate::event::values::GivesUpBy;

/// Silent connections that are remembered.
const MAX: usize = 65_536;

/// A timeout before any round trip was measured.
const RTO_INITIAL_US: u64 = 1_000_000;

/// The shortest timeout, and the shortest wait for a window.
const RTO_MIN_US: u64 = 200_000;

/// What is known of a silent connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Silent {
    /// CLOCK_MONOTONIC of the first byte or probe that was not answered, within a timer's step.
    pub since_ns: u64,
    /// How long nothing had come from the peer by then; `None` for keepalive, which waits by itself.
    pub idle_before_ms: Option<u64>,
    pub silence: Silence,
    /// The most of each in a row.
    pub retransmits: u8,
    pub probes: u8,
    pub gives_up: Option<GivesUp>,
    pub keepalive: Option<Keepalive>,
    pub user_timeout_ms: Option<u64>,
    pub retries2: u32,
}

/// What a record of the walk changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    Began(Silent),
    /// The peer answered at this time.
    Recovered(Silent, u64),
}

/// A socket's address, and the birth of its entry: addresses are used again.
type Key = (u64, u64);

fn key(head: &Head, conn: &Conn) -> Key {
    (head.sk, conn.birth_ns)
}

#[derive(Debug, Default)]
pub struct Stalls {
    silent: FxHashMap<Key, Silent>,
}

impl Stalls {
    /// Takes what the walk told. `None`: it is known already.
    pub fn take(&mut self, stall: &Stall, jiffy_ns: u64) -> Option<Change> {
        let key = key(&stall.head, &stall.conn);
        let Stall { sock, .. } = stall;
        if sock.retransmits.max(sock.probes_out) < SILENT_IN_ROW {
            let silent = self.silent.remove(&key)?;
            let clock = Clock { stall, jiffy_ns };
            let answered_ns = clock.at_ns(sock.rcv_tstamp).max(silent.since_ns);
            return Some(Change::Recovered(silent, answered_ns));
        }
        if let Some(known) = self.silent.get_mut(&key) {
            known.retransmits = known.retransmits.max(sock.retransmits);
            known.probes = known.probes.max(sock.probes_out);
            return None;
        }
        let silent = Silent::of(stall, jiffy_ns);
        if silent.silence == Silence::Keepalive && silent.keepalive.is_none() {
            // Nothing is asked of the peer any more.
            return None;
        }
        if self.silent.len() < MAX {
            self.silent.insert(key, silent);
        }
        Some(Change::Began(silent))
    }

    /// What is known of a connection that has ended, with its last counts.
    pub fn at_end(&self, head: &Head, conn: &Conn, sock: &SockSnap) -> Option<Silent> {
        let mut silent = *self.silent.get(&key(head, conn))?;
        silent.retransmits = silent.retransmits.max(sock.retransmits);
        silent.probes = silent.probes.max(sock.probes_out);
        Some(silent)
    }

    /// The connection is over.
    pub fn forget(&mut self, head: &Head, conn: &Conn) {
        self.silent.remove(&key(head, conn));
    }
}

impl Silent {
    fn of(stall: &Stall, jiffy_ns: u64) -> Self {
        let Stall { sock, timers, .. } = stall;
        let clock = Clock { stall, jiffy_ns };
        let silence = give_up::silence(stall);
        let keepalive = give_up::keepalive(stall, jiffy_ns);
        let heard_ns = clock.at_ns(give_up::last_heard(sock));
        let asked_ns = match silence {
            Silence::Data => clock.first_sent_ns(),
            Silence::Unsent if timers.probes_tstamp != 0 => {
                let rto_ns = u64::from(timers.rto) * jiffy_ns;
                let unbacked_ns = rto_ns.max(RTO_MIN_US * 1_000);
                clock
                    .at_ns(timers.probes_tstamp)
                    .saturating_sub(unbacked_ns)
            }
            Silence::Unsent => heard_ns,
            Silence::Keepalive => {
                let intvl_ms = keepalive.map_or(0, |set| set.intvl_ms);
                let probes_ns = u64::from(sock.probes_out) * intvl_ms * 1_000_000;
                clock.at_ns(timers.keepalive_due).saturating_sub(probes_ns)
            }
        };
        let acked_ns = clock.at_ns(sock.rcv_tstamp);
        let since_ns = asked_ns.max(acked_ns).min(stall.head.ts_ns);
        Silent {
            since_ns,
            idle_before_ms: (silence != Silence::Keepalive)
                .then(|| since_ns.saturating_sub(heard_ns) / 1_000_000),
            silence,
            retransmits: sock.retransmits,
            probes: sock.probes_out,
            gives_up: give_up::gives_up(stall, jiffy_ns),
            keepalive,
            user_timeout_ms: (sock.user_timeout_ms != 0).then_some(u64::from(sock.user_timeout_ms)),
            retries2: timers.retries2,
        }
    }

    /// The setting that decides, as `name = value`.
    pub fn decided_by(&self) -> Option<String> {
        self.gives_up.map(|gives_up| self.setting(gives_up.by))
    }

    fn setting(&self, by: GivesUpBy) -> String {
        match by {
            GivesUpBy::TcpRetries2 => self.retries2(),
            GivesUpBy::TcpUserTimeout => {
                let ms = self.user_timeout_ms.unwrap_or(0);
                format!("TCP_USER_TIMEOUT = {ms} ms")
            }
            GivesUpBy::TcpKeepaliveProbes => {
                format!("tcp_keepalive_probes = {}", self.keepalive_probes())
            }
            GivesUpBy::TcpKeepcnt => format!("TCP_KEEPCNT = {}", self.keepalive_probes()),
        }
    }

    /// `tcp_retries2 = 15`.
    pub fn retries2(&self) -> String {
        format!("tcp_retries2 = {}", self.retries2)
    }

    /// The setting that limits keepalive's probes, if it was keepalive that found the silence.
    pub fn keepalive_count(&self) -> Option<String> {
        (self.silence == Silence::Keepalive)
            .then(|| self.decided_by())
            .flatten()
    }

    fn keepalive_probes(&self) -> u32 {
        self.keepalive.map_or(0, |set| set.probes)
    }
}

struct Clock<'a> {
    stall: &'a Stall,
    jiffy_ns: u64,
}

impl Clock<'_> {
    /// CLOCK_MONOTONIC of a time before or after the record, in jiffies.
    fn at_ns(&self, jiffies: u32) -> u64 {
        let distance = jiffies.wrapping_sub(self.stall.sock.jiffies) as i32;
        let distance_ns = i64::from(distance).saturating_mul(self.jiffy_ns as i64);
        self.stall.head.ts_ns.saturating_add_signed(distance_ns)
    }

    /// When the data that is not acknowledged was sent first: one timeout before it was sent again.
    fn first_sent_ns(&self) -> u64 {
        let Stall {
            head, sock, timers, ..
        } = self.stall;
        let again_us = if timers.bits & timer_bit::USEC != 0 {
            u64::from(((head.ts_ns / 1_000) as u32).wrapping_sub(timers.retrans_stamp))
        } else {
            u64::from(((head.ts_ns / 1_000_000) as u32).wrapping_sub(timers.retrans_stamp)) * 1_000
        };
        let rto_us = match sock.srtt_us8 {
            0 => RTO_INITIAL_US,
            srtt_us8 => (u64::from(srtt_us8 >> 3) + u64::from(timers.rttvar_us)).max(RTO_MIN_US),
        };
        head.ts_ns.saturating_sub((again_us + rto_us) * 1_000)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::sample;

    const JIFFY_NS: u64 = 4_000_000;

    fn ms(ns: u64) -> u64 {
        ns / 1_000_000
    }

    #[test]
    fn it_begins_once_and_ends_when_the_peer_answers() {
        let mut stalls = Stalls::default();
        let mut stall = sample::stall();
        let Some(Change::Began(silent)) = stalls.take(&stall, JIFFY_NS) else {
            panic!("it began");
        };
        assert_eq!(ms(stall.head.ts_ns - silent.since_ns), 1_400);
        assert_eq!(silent.silence, Silence::Data);
        stall.sock.retransmits = 7;
        assert_eq!(stalls.take(&stall, JIFFY_NS), None);
        stall.sock.retransmits = 0;
        stall.head.ts_ns += 10_000_000_000;
        stall.sock.jiffies += 2_500;
        stall.sock.rcv_tstamp = stall.sock.jiffies - 100;
        let Some(Change::Recovered(silent, at_ns)) = stalls.take(&stall, JIFFY_NS) else {
            panic!("it recovered");
        };
        assert_eq!(silent.retransmits, 7);
        assert_eq!(ms(stall.head.ts_ns - at_ns), 400);
        assert_eq!(stalls.take(&stall, JIFFY_NS), None, "it is forgotten");
    }

    #[test]
    fn an_address_that_is_used_again_is_another_connection() {
        let mut stalls = Stalls::default();
        let first = sample::stall();
        let mut second = sample::stall();
        second.conn.birth_ns += 1;
        for stall in [&first, &second] {
            assert!(matches!(
                stalls.take(stall, JIFFY_NS),
                Some(Change::Began(_))
            ));
        }
        let close = SockSnap {
            retransmits: 15,
            ..first.sock
        };
        let silent = stalls.at_end(&first.head, &first.conn, &close);
        assert_eq!(silent.map(|silent| silent.retransmits), Some(15));
        stalls.forget(&first.head, &first.conn);
        assert_eq!(stalls.at_end(&first.head, &first.conn, &close), None);
        assert!(stalls.at_end(&second.head, &second.conn, &close).is_some());
    }

    #[test]
    fn idle_time_before_it_is_known() {
        let mut stall = sample::stall();
        stall.sock.lrcvtime = stall.sock.jiffies - 30_000;
        stall.sock.rcv_tstamp = stall.sock.lrcvtime;
        let silent = Silent::of(&stall, JIFFY_NS);
        assert_eq!(silent.idle_before_ms, Some(120_000 - 1_400));
    }

    #[test]
    fn keepalive_has_been_silent_since_its_first_probe() {
        let mut stall = sample::stall();
        stall.timers.packets_out = 0;
        stall.sock.snd_nxt = stall.sock.snd_una;
        stall.sock.write_seq = stall.sock.snd_una;
        (stall.sock.retransmits, stall.sock.probes_out) = (0, 3);
        stall.sock.sk_flags = tracer_common::sock::sock_flag::KEEPOPEN;
        stall.timers.keepalive_intvl = 250;
        stall.timers.keepalive_due = stall.sock.jiffies + 50;
        stall.sock.rcv_tstamp = stall.sock.jiffies - 4_000;
        let silent = Silent::of(&stall, JIFFY_NS);
        // The next probe comes in 200 ms, the three were 1 s apart.
        assert_eq!(ms(stall.head.ts_ns - silent.since_ns), 2_800);
        assert_eq!(silent.idle_before_ms, None);
    }
}
