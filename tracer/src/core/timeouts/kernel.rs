//! The kernel's own timeouts, from this node's settings by the kernel's own formulae.

use crate::core::give_up::{RTO_MIN_MS, model_timeout};

/// Settings of the initial network namespace. Others may differ, and sockets have options: what is
/// worked out here is only claimed where it fits what was measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sysctls {
    pub keepalive_time_s: u64,
    pub keepalive_intvl_s: u64,
    pub keepalive_probes: u64,
    pub retries2: u64,
    /// 0 means 8.
    pub orphan_retries: u64,
    pub syn_retries: u64,
    /// SYNs that are sent again before the time between them doubles; 0 before Linux 6.5.
    pub syn_linear_timeouts: u64,
    pub fin_timeout_s: u64,
    pub rto_max_ms: u64,
}

/// TCP_TIMEOUT_INIT.
const RTO_INIT_MS: u64 = 1_000;
/// TCP_TIMEWAIT_LEN.
const TIME_WAIT_MS: u64 = 60_000;
/// Retries of an orphan whose setting is 0.
const ORPHAN_RETRIES: u64 = 8;
/// As many as a setting can ask for: the sysctls are bytes.
const RETRIES_MAX: u64 = 255;

impl Default for Sysctls {
    /// The kernel's, since 6.5.
    fn default() -> Self {
        Sysctls {
            keepalive_time_s: 7_200,
            keepalive_intvl_s: 75,
            keepalive_probes: 9,
            retries2: 15,
            orphan_retries: 0,
            syn_retries: 6,
            syn_linear_timeouts: 4,
            fin_timeout_s: 60,
            rto_max_ms: 120_000,
        }
    }
}

impl Sysctls {
    /// Id of the table, value and how much later it may come, both in ms.
    pub fn timeouts(&self) -> [(&'static str, u64, u64); 5] {
        let keepalive_ms = self.keepalive_ms();
        let syn_ms = self.syn_ms();
        let fin_wait_ms = self.fin_wait_ms();
        [
            (
                "linux.tcp_fin_timeout",
                fin_wait_ms,
                rounding_ms(fin_wait_ms),
            ),
            (
                "linux.tcp_keepalive",
                keepalive_ms,
                rounding_ms(keepalive_ms),
            ),
            (
                "linux.tcp_orphan_retries",
                self.orphan_ms(),
                self.next_rto_ms(self.orphan_ms()),
            ),
            (
                "linux.tcp_retries2",
                self.retrans_ms(),
                self.next_rto_ms(self.retrans_ms()),
            ),
            ("linux.tcp_syn_retries", syn_ms, rounding_ms(syn_ms)),
        ]
    }

    /// Idle, then probes that nobody answers.
    pub fn keepalive_ms(&self) -> u64 {
        let probing_s = self.keepalive_probes.saturating_mul(self.keepalive_intvl_s);
        self.keepalive_time_s
            .saturating_add(probing_s)
            .saturating_mul(1_000)
    }

    /// `tcp_model_timeout` of tcp_retries2: from the first sending of what is not acknowledged.
    pub fn retrans_ms(&self) -> u64 {
        self.model_ms(self.retries2)
    }

    /// The same of tcp_orphan_retries.
    pub fn orphan_ms(&self) -> u64 {
        self.model_ms(match self.orphan_retries {
            0 => ORPHAN_RETRIES,
            retries => retries,
        })
    }

    fn model_ms(&self, retries: u64) -> u64 {
        let retries = retries.min(RETRIES_MAX) as u32;
        let rto_max_ms = self.rto_max_ms.min(u64::from(u32::MAX));
        model_timeout(retries, RTO_MIN_MS, rto_max_ms)
    }

    /// The SYN and its repetitions: the first ones at equal intervals, then doubling.
    pub fn syn_ms(&self) -> u64 {
        let linear = self.syn_linear_timeouts;
        let sent_again = (self.syn_retries + linear).min(RETRIES_MAX);
        let mut total_ms: u64 = 0;
        let mut wait_ms = RTO_INIT_MS.min(self.rto_max_ms);
        for sent in 0..=sent_again {
            total_ms = total_ms.saturating_add(wait_ms);
            if sent >= linear {
                wait_ms = wait_ms.saturating_mul(2).min(self.rto_max_ms);
            }
        }
        total_ms
    }

    /// In FIN_WAIT2 it is waited for what exceeds the TIME_WAIT after it, or for all of a short one.
    pub fn fin_wait_ms(&self) -> u64 {
        let all_ms = self.fin_timeout_s.saturating_mul(1_000);
        match all_ms.checked_sub(TIME_WAIT_MS) {
            Some(more) if more > 0 => more,
            _ => all_ms,
        }
    }

    /// It is looked at when the next retransmission is due, and each doubles what was waited so far.
    fn next_rto_ms(&self, after_ms: u64) -> u64 {
        let next_ms = after_ms.saturating_add(RTO_MIN_MS).min(self.rto_max_ms);
        next_ms.saturating_add(rounding_ms(after_ms))
    }
}

/// Long timers are rounded up by at most an eighth (the kernel's timer wheel).
fn rounding_ms(ms: u64) -> u64 {
    ms / 8 + 500
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_the_ones_that_are_known() {
        let default = Sysctls::default();
        assert_eq!(default.retrans_ms(), 924_600);
        assert_eq!(default.keepalive_ms(), 7_875_000);
        assert_eq!(default.orphan_ms(), 102_200);
        assert_eq!(default.syn_ms(), 131_000);
        assert_eq!(default.fin_wait_ms(), 60_000);
        let before_6_5 = Sysctls {
            syn_linear_timeouts: 0,
            ..default
        };
        assert_eq!(before_6_5.syn_ms(), 127_000);
    }

    #[test]
    fn settings_count_as_they_do_in_the_kernel() {
        let default = Sysctls::default();
        let of = |change: fn(&mut Sysctls)| {
            let mut sysctls = default;
            change(&mut sysctls);
            sysctls
        };
        // 0.2 s x (2^9 - 1), and 0.2 s x (2^10 - 1) + 120 s.
        assert_eq!(of(|s| s.retries2 = 8).retrans_ms(), 102_200);
        assert_eq!(of(|s| s.retries2 = 10).retrans_ms(), 324_600);
        assert_eq!(of(|s| s.retries2 = 5).retrans_ms(), 12_600);
        assert_eq!(of(|s| s.orphan_retries = 3).orphan_ms(), 3_000);
        // tcp_rto_max_ms of 10 s: 0.2 s x (2^6 - 1), then ten times 10 s.
        assert_eq!(of(|s| s.rto_max_ms = 10_000).retrans_ms(), 112_600);
        assert_eq!(of(|s| s.syn_retries = 1).syn_ms(), 7_000);
        assert_eq!(of(|s| s.fin_timeout_s = 63).fin_wait_ms(), 3_000);
        assert_eq!(of(|s| s.fin_timeout_s = 5).fin_wait_ms(), 5_000);
    }

    #[test]
    fn no_setting_overflows() {
        let extreme = Sysctls {
            keepalive_time_s: u64::MAX,
            keepalive_intvl_s: u64::MAX,
            keepalive_probes: u64::MAX,
            retries2: u64::MAX,
            orphan_retries: u64::MAX,
            syn_retries: 255,
            syn_linear_timeouts: 255,
            fin_timeout_s: u64::MAX,
            rto_max_ms: u64::MAX,
        };
        assert!(
            extreme
                .timeouts()
                .iter()
                .all(|(_, value_ms, _)| *value_ms > 0)
        );
        let none = Sysctls {
            rto_max_ms: 0,
            syn_retries: 0,
            ..Sysctls::default()
        };
        assert!(none.retrans_ms() > 0);
    }
}
