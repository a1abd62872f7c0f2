//! When the kernel gives a silent connection up, and by which setting: its own rule, followed timer by
//! timer from the present one on (`net/ipv4/tcp_timer.c`, `kernel/time/timer.c`).
//!
//! Unacknowledged data: at each expiry of the retransmission timer, which doubles up to its limit, it
//! asks whether the first retransmission was longer ago than `tcp_retries2` doublings of 200 ms take;
//! TCP_USER_TIMEOUT stands in for that time. Data that cannot be sent: `tcp_retries2` probes.
//! Neither: keepalive's own count.

use tracer_common::{
    record::{Stall, pending, timer_bit},
    sock::{SockSnap, sock_flag},
};

use crate::event::values::GivesUpBy;

/// `TCP_RTO_MIN` and `TCP_RTO_MAX`.
pub const RTO_MIN_MS: u64 = 200;
const RTO_MAX_MS: u64 = 120_000;

/// Backoff of window probes: `ilog2(TCP_RTO_MAX / TCP_RTO_MIN) + 1`.
const PROBE_BACKOFF_MAX: u8 = 10;

/// `TCP_TIMEOUT_MIN`, jiffies.
const TIMEOUT_MIN: u64 = 2;

/// More timers than any setting allows: the rule has no end then.
const TIMERS_MAX: usize = 10_000;

/// What the kernel waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Silence {
    /// An acknowledgement of what was sent.
    Data,
    /// An open window or a way out: there is data that was never sent.
    Unsent,
    /// An answer to keepalive probes.
    Keepalive,
}

/// The end that is to come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GivesUp {
    pub in_ms: u64,
    pub by: GivesUpBy,
}

/// What is silent about it.
pub fn silence(stall: &Stall) -> Silence {
    if stall.timers.packets_out > 0 {
        Silence::Data
    } else if stall.sock.write_seq != stall.sock.snd_nxt {
        Silence::Unsent
    } else {
        Silence::Keepalive
    }
}

/// `None`: the kernel does not give up by itself, or by a rule that is not followed here.
pub fn gives_up(stall: &Stall, jiffy_ns: u64) -> Option<GivesUp> {
    let rule = Rule {
        stall,
        jiffy_ns: jiffy_ns.max(1),
    };
    let (at, by) = match silence(stall) {
        Silence::Data => rule.retransmit()?,
        Silence::Unsent => rule.probe()?,
        Silence::Keepalive => rule.keepalive()?,
    };
    let jiffies = at.saturating_sub(rule.now());
    Some(GivesUp {
        in_ms: jiffies.saturating_mul(rule.jiffy_ns) / 1_000_000,
        by,
    })
}

/// Keepalive as it is set for a connection, milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Keepalive {
    /// Idle before the first probe.
    pub time_ms: u64,
    pub intvl_ms: u64,
    pub probes: u32,
}

/// `None`: SO_KEEPALIVE is off.
pub fn keepalive(stall: &Stall, jiffy_ns: u64) -> Option<Keepalive> {
    let timers = &stall.timers;
    let own = |own: u32, all: u32| if own != 0 { own } else { all };
    let ms = |jiffies: u32| u64::from(jiffies) * jiffy_ns / 1_000_000;
    stall
        .sock
        .has_sock_flag(sock_flag::KEEPOPEN)
        .then(|| Keepalive {
            time_ms: ms(own(timers.keepalive_time, timers.sysctl_keepalive_time)),
            intvl_ms: ms(own(timers.keepalive_intvl, timers.sysctl_keepalive_intvl)),
            probes: own(
                u32::from(timers.keepalive_probes),
                timers.sysctl_keepalive_probes,
            ),
        })
}

struct Rule<'a> {
    stall: &'a Stall,
    jiffy_ns: u64,
}

/// Times are jiffies that do not wrap: those of the record, moved up by 2³².
impl Rule<'_> {
    fn now(&self) -> u64 {
        u64::from(self.stall.sock.jiffies) + (1 << 32)
    }

    /// A time of the record, at most 2³¹ jiffies from now.
    fn at(&self, jiffies: u32) -> u64 {
        let distance = jiffies.wrapping_sub(self.stall.sock.jiffies) as i32;
        self.now().saturating_add_signed(i64::from(distance))
    }

    /// As `msecs_to_jiffies` rounds.
    fn jiffies(&self, ms: u64) -> u64 {
        ms.saturating_mul(1_000_000).div_ceil(self.jiffy_ns)
    }

    fn ms(&self, jiffies: u64) -> u64 {
        jiffies.saturating_mul(self.jiffy_ns) / 1_000_000
    }

    fn rto_max(&self) -> u64 {
        match self.stall.timers.rto_max {
            0 => self.jiffies(RTO_MAX_MS),
            jiffies => u64::from(jiffies),
        }
    }

    fn user_timeout_ms(&self) -> Option<u64> {
        let ms = self.stall.sock.user_timeout_ms;
        (ms != 0).then_some(u64::from(ms))
    }

    /// The expiry of the timer that runs, not before the next tick.
    fn first(&self, due: u32, length: u64) -> u64 {
        let due = self.at(due);
        expiry(due, due.saturating_sub(length)).max(self.now() + 1)
    }

    fn retransmit(&self) -> Option<(u64, GivesUpBy)> {
        let Stall { sock, timers, .. } = self.stall;
        if sock.snd_wnd == 0 {
            // The peer shrank its window: probes in disguise, which have a rule of their own.
            return None;
        }
        let (limit_ms, by) = match self.user_timeout_ms() {
            Some(ms) => (ms, GivesUpBy::TcpUserTimeout),
            None => (
                self.ms(model_timeout(
                    timers.retries2,
                    self.jiffies(RTO_MIN_MS),
                    self.rto_max(),
                )),
                GivesUpBy::TcpRetries2,
            ),
        };
        let since_ms = self.since_first_retransmission_ms();
        let elapsed_ms = |at: u64| since_ms.saturating_add(self.ms(at.saturating_sub(self.now())));
        let mut rto = u64::from(timers.rto).max(1);
        let mut at = self.first(timers.due, rto);
        for _ in 0..TIMERS_MAX {
            if elapsed_ms(at) >= limit_ms {
                return Some((at, by));
            }
            rto = rto.saturating_mul(2).min(self.rto_max());
            let mut length = rto;
            if let Some(user_ms) = self.user_timeout_ms() {
                length = length.min(self.jiffies(user_ms.saturating_sub(elapsed_ms(at))));
            }
            at = expiry(at.saturating_add(length), at);
        }
        None
    }

    fn since_first_retransmission_ms(&self) -> u64 {
        let stamp = self.stall.timers.retrans_stamp;
        let now_us = self.stall.head.ts_ns / 1_000;
        if self.stall.timers.bits & timer_bit::USEC != 0 {
            u64::from((now_us as u32).wrapping_sub(stamp)) / 1_000
        } else {
            u64::from(((now_us / 1_000) as u32).wrapping_sub(stamp))
        }
    }

    fn probe(&self) -> Option<(u64, GivesUpBy)> {
        let Stall { sock, timers, .. } = self.stall;
        if timers.pending != pending::PROBE0 {
            return None;
        }
        let base = u64::from(timers.rto).max(self.jiffies(RTO_MIN_MS));
        let length = |backoff: u8| (base << backoff.min(PROBE_BACKOFF_MAX)).min(self.rto_max());
        let user = self.user_timeout_ms().map(|ms| self.jiffies(ms));
        if user.is_some() && timers.probes_tstamp == 0 {
            // Before 5.11 it counts from when the data was first looked at, which is not read here.
            return None;
        }
        let began = self.at(timers.probes_tstamp);
        let (mut probes, mut backoff) = (u32::from(sock.probes_out), timers.backoff);
        let mut at = self.first(timers.due, length(backoff));
        for _ in 0..TIMERS_MAX {
            let elapsed = at.saturating_sub(began);
            if user.is_some_and(|user| elapsed >= user) {
                return Some((at, GivesUpBy::TcpUserTimeout));
            }
            if probes >= timers.retries2 {
                return Some((at, GivesUpBy::TcpRetries2));
            }
            probes += 1;
            if u32::from(backoff) < timers.retries2 {
                backoff = backoff.saturating_add(1);
            }
            let mut length = length(backoff);
            if let Some(user) = user {
                length = length.min(user.saturating_sub(elapsed).max(TIMEOUT_MIN));
            }
            at = expiry(at.saturating_add(length), at);
        }
        None
    }

    fn keepalive(&self) -> Option<(u64, GivesUpBy)> {
        let Stall { sock, timers, .. } = self.stall;
        let set = keepalive(self.stall, self.jiffy_ns)?;
        let intvl = self.jiffies(set.intvl_ms).max(1);
        let user = self.user_timeout_ms().map(|ms| self.jiffies(ms));
        let heard = self.at(last_heard(sock));
        let mut probes = u32::from(sock.probes_out);
        let mut at = self.first(timers.keepalive_due, intvl);
        for _ in 0..TIMERS_MAX {
            match user {
                Some(user) if at.saturating_sub(heard) >= user && probes > 0 => {
                    return Some((at, GivesUpBy::TcpUserTimeout));
                }
                None if probes >= set.probes => {
                    let by = if timers.keepalive_probes != 0 {
                        GivesUpBy::TcpKeepcnt
                    } else {
                        GivesUpBy::TcpKeepaliveProbes
                    };
                    return Some((at, by));
                }
                _ => probes += 1,
            }
            at = expiry(at.saturating_add(intvl), at);
        }
        None
    }
}

/// The later of the last payload and the last acknowledgement, jiffies.
pub fn last_heard(sock: &SockSnap) -> u32 {
    let ago = |jiffies: u32| sock.jiffies.wrapping_sub(jiffies);
    if ago(sock.lrcvtime) < ago(sock.rcv_tstamp) {
        sock.lrcvtime
    } else {
        sock.rcv_tstamp
    }
}

/// How long `retries` timeouts take that begin with `base` and double up to `max` (`tcp_model_timeout`).
pub fn model_timeout(retries: u32, base: u64, max: u64) -> u64 {
    let doublings = (max / base.max(1)).checked_ilog2().unwrap_or(0);
    let doubled = ((2u64 << retries.min(doublings)) - 1).saturating_mul(base);
    let at_most = u64::from(retries.saturating_sub(doublings)).saturating_mul(max);
    doubled.saturating_add(at_most)
}

/// When a timer that is due at `due` expires if it was set at `set`: the timer wheel keeps later ones in
/// coarser steps, and always rounds up.
fn expiry(due: u64, set: u64) -> u64 {
    const SLOTS: u64 = 63;
    const STEP_BITS: u32 = 3;
    const LEVELS: u32 = 8;
    let length = due.saturating_sub(set);
    let level = (0..LEVELS)
        .find(|level| length < SLOTS << (level * STEP_BITS))
        .unwrap_or(LEVELS);
    let shift = level * STEP_BITS;
    (due.saturating_add(1 << shift) >> shift) << shift
}

#[cfg(test)]
mod tests {
    use tracer_common::sock::sock_flag;

    use super::*;
    use crate::core::sample;

    /// HZ=250.
    const JIFFY_NS: u64 = 4_000_000;

    fn jiffies(ms: u32) -> u32 {
        ms / 4
    }

    fn of(stall: &Stall) -> (u64, &'static str) {
        let gives_up = gives_up(stall, JIFFY_NS).expect("a rule");
        (gives_up.in_ms, gives_up.by.as_str())
    }

    /// The whole time from the first retransmission, as the settings mean it.
    #[test]
    fn totals_are_the_known_ones() {
        for (retries2, total_ms) in [(0, 200), (3, 3_000), (8, 102_200), (15, 924_600)] {
            assert_eq!(model_timeout(retries2, 50, 30_000) * 4, total_ms);
        }
        // TCP_RTO_MAX_MS of 8 s.
        assert_eq!(model_timeout(15, 50, 2_000) * 4, 12_600 + 10 * 8_000);
    }

    /// Whoever has a network namespace may set it there; older kernels have no limit.
    #[test]
    fn a_setting_without_sense_has_no_end() {
        let mut stall = sample::stall();
        stall.timers.retries2 = u32::MAX;
        stall.timers.rto_max = u32::MAX;
        let gives_up = gives_up(&stall, 1_000_000_000);
        assert!(
            gives_up.is_none_or(|end| end.in_ms > 1 << 40),
            "{gives_up:?}"
        );
    }

    #[test]
    fn retransmission_ends_at_the_first_timer_past_the_limit() {
        // RTO 200 ms, first retransmission just now: 924.6 s later at the earliest, and the timers
        // come every 120 s by then.
        let mut stall = sample::stall();
        stall.timers.rto = jiffies(400);
        stall.timers.due = stall.sock.jiffies + jiffies(400);
        stall.timers.retrans_stamp = (stall.head.ts_ns / 1_000_000) as u32;
        let (in_ms, by) = of(&stall);
        assert_eq!(by, "tcp_retries2");
        // 400 ms … 102.4 s, then seven of 120 s; the wheel rounds up by less than an eighth.
        let exact_ms = 204_400 + 120_000 * 7;
        assert!(
            (924_600..=exact_ms + exact_ms / 8).contains(&in_ms),
            "{in_ms}"
        );
    }

    #[test]
    fn a_user_timeout_ends_it_on_time() {
        let mut stall = sample::stall();
        stall.sock.user_timeout_ms = 30_000;
        stall.timers.retrans_stamp = (stall.head.ts_ns / 1_000_000) as u32 - 10_000;
        let (in_ms, by) = of(&stall);
        assert_eq!(by, "tcp_user_timeout");
        assert!((20_000..22_500).contains(&in_ms), "{in_ms}");
    }

    #[test]
    fn probes_are_counted() {
        let mut stall = sample::stall();
        (stall.timers.packets_out, stall.timers.retries2) = (0, 5);
        stall.sock.write_seq = stall.sock.snd_nxt + 100;
        (stall.sock.retransmits, stall.sock.probes_out) = (0, 3);
        stall.timers.pending = pending::PROBE0;
        (stall.timers.backoff, stall.timers.rto) = (3, jiffies(204));
        stall.timers.due = stall.sock.jiffies + jiffies(1_000);
        let (in_ms, by) = of(&stall);
        assert_eq!(by, "tcp_retries2");
        // The present timer, one of 16 × 204 ms, one of 32 × 204 ms.
        let exact_ms = 1_000 + 3_264 + 6_528;
        assert!((exact_ms..exact_ms * 9 / 8).contains(&in_ms), "{in_ms}");
        // The timer that would probe does not run.
        stall.timers.pending = 0;
        assert_eq!(gives_up(&stall, JIFFY_NS), None);
    }

    #[test]
    fn keepalive_by_the_sockets_own_count_or_the_namespaces() {
        let mut stall = sample::stall();
        stall.timers.packets_out = 0;
        stall.sock.snd_nxt = stall.sock.snd_una;
        stall.sock.write_seq = stall.sock.snd_una;
        (stall.sock.retransmits, stall.sock.probes_out) = (0, 3);
        assert_eq!(gives_up(&stall, JIFFY_NS), None, "keepalive is off");
        stall.sock.sk_flags |= sock_flag::KEEPOPEN;
        stall.timers.sysctl_keepalive_probes = 9;
        stall.timers.sysctl_keepalive_time = jiffies(7_200_000);
        stall.timers.sysctl_keepalive_intvl = jiffies(75_000);
        stall.timers.keepalive_due = stall.sock.jiffies + jiffies(75_000);
        let (in_ms, by) = of(&stall);
        assert_eq!(by, "tcp_keepalive_probes");
        assert!((7 * 75_000..7 * 75_000 * 9 / 8).contains(&in_ms), "{in_ms}");
        stall.timers.keepalive_probes = 4;
        let (in_ms, by) = of(&stall);
        assert_eq!(by, "tcp_keepcnt");
        assert!((150_000..150_000 * 9 / 8).contains(&in_ms), "{in_ms}");
    }

    #[test]
    fn jiffies_that_wrap_change_little() {
        let mut stall = sample::stall();
        let before = of(&stall);
        let shift = u32::MAX - stall.sock.jiffies - 10;
        for jiffies in [
            &mut stall.sock.jiffies,
            &mut stall.timers.due,
            &mut stall.sock.lrcvtime,
            &mut stall.sock.rcv_tstamp,
        ] {
            *jiffies = jiffies.wrapping_add(shift);
        }
        let after = of(&stall);
        assert_eq!(before.1, after.1);
        assert!(before.0.abs_diff(after.0) < before.0 / 8);
    }

    #[test]
    fn the_wheel_rounds_up_by_its_levels() {
        assert_eq!(expiry(1_010, 1_000), 1_011);
        assert_eq!(expiry(1_100, 1_000), 1_104);
        assert_eq!(expiry(2_000, 1_000), 2_048);
        assert_eq!(expiry(31_000, 1_000), 31_232);
    }
}
