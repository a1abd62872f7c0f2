//! Counts that go on whatever the history drops: by process, peer, reason, hint and container; ages;
//! ends a second. All bounded.

use std::collections::HashMap;

use crate::{
    core::{clean::clean, filter::NONE},
    event::{
        Body, End, Event,
        time::Timestamp,
        values::{Counts, Reason},
    },
};

/// Seconds of which rates are known.
pub const SECONDS: usize = 60;
/// Seconds that a group's rate is taken over.
pub const RATE_SECONDS: usize = 10;
/// Groups of a kind; what comes beyond is counted together.
const GROUPS: usize = 2_000;
/// The name of those.
pub const OTHERS: &str = "(others)";
/// Steps of the age scale to a doubling.
const STEPS: f64 = 4.0;
/// Ages up to 2^35 ms, a year.
pub const BINS: usize = 35 * STEPS as usize;
/// Different ages of which it is known how often they came.
const EXACT_AGES: usize = 4_096;

/// What ends are grouped by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum By {
    Process,
    Peer,
    Reason,
    Hint,
    Container,
}

impl By {
    pub const ALL: [By; 5] = [By::Process, By::Peer, By::Reason, By::Hint, By::Container];

    pub const fn name(self) -> &'static str {
        match self {
            By::Process => "process",
            By::Peer => "peer",
            By::Reason => "reason",
            By::Hint => "hint",
            By::Container => "container",
        }
    }

    fn key(self, ids: &crate::event::Ids, end: &End) -> String {
        let unknown = || NONE.to_owned();
        match self {
            By::Process => ids
                .comm
                .map_or_else(unknown, |comm| comm.text().into_owned()),
            By::Peer => ids.peer_addr.to_string(),
            By::Reason => end.reason.to_string(),
            // What several share is nobody's.
            By::Hint => match end.hints.0.as_slice() {
                [] => unknown(),
                [one] => one.to_string(),
                several => {
                    let names: Vec<_> = several.iter().map(ToString::to_string).collect();
                    format!("{} s: {}", end.hint_s.unwrap_or(0), names.join(" or "))
                }
            },
            By::Container => {
                let id = ids.container_id.as_ref();
                let id = || id.map(|id| id.as_str().chars().take(12).collect());
                let name = ids.called.container_name.0.as_ref();
                let name = name.map(ToString::to_string);
                name.or_else(id).unwrap_or_else(unknown)
            }
        }
    }
}

/// Counts by second, the last of them being `now`.
#[derive(Clone, Debug)]
pub struct Seconds<const N: usize> {
    now: u64,
    counts: [u32; N],
}

impl<const N: usize> Default for Seconds<N> {
    fn default() -> Self {
        Seconds {
            now: 0,
            counts: [0; N],
        }
    }
}

impl<const N: usize> Seconds<N> {
    fn add(&mut self, second: u64) {
        self.advance(second);
        // What comes late counts where it belongs, unless that is forgotten.
        if self.now - second < N as u64 {
            self.counts[(second % N as u64) as usize] += 1;
        }
    }

    fn advance(&mut self, second: u64) {
        if second <= self.now {
            return;
        }
        for passed in (self.now + 1..=second).rev().take(N) {
            self.counts[(passed % N as u64) as usize] = 0;
        }
        self.now = second;
    }

    /// Oldest first, as of a second.
    pub fn since(&self, now: u64) -> Vec<u32> {
        let mut seen = self.clone();
        seen.advance(now);
        let n = N as u64;
        (seen.now + 1..=seen.now + n)
            .map(|second| seen.counts[(second % n) as usize])
            .collect()
    }
}

/// Ages on a logarithmic scale.
#[derive(Clone, Debug)]
pub struct Ages(Box<[u32; BINS]>);

impl Default for Ages {
    fn default() -> Self {
        Ages(Box::new([0; BINS]))
    }
}

impl Ages {
    fn add(&mut self, ms: u64) {
        let bin = ((ms.max(1) as f64).log2() * STEPS) as usize;
        self.0[bin.min(BINS - 1)] += 1;
    }

    pub fn bins(&self) -> &[u32] {
        &self.0[..]
    }

    /// Where a bin begins.
    pub fn start_ms(bin: usize) -> f64 {
        (bin as f64 / STEPS).exp2()
    }

    /// To within the width of a bin.
    pub fn median_ms(&self) -> Option<u64> {
        let total: u64 = self.0.iter().map(|count| u64::from(*count)).sum();
        let mut left = total.div_ceil(2);
        if total == 0 {
            return None;
        }
        let bin = self.0.iter().position(|count| {
            let count = u64::from(*count);
            let found = count >= left;
            left = left.saturating_sub(count);
            found
        })?;
        Some(Self::start_ms(bin).round() as u64)
    }
}

#[derive(Clone, Debug, Default)]
pub struct Group {
    pub count: u64,
    pub abnormal: u64,
    pub lost_bytes: u64,
    pub ages: Ages,
    pub recent: Seconds<RATE_SECONDS>,
}

#[derive(Clone, Debug, Default)]
pub struct Totals {
    pub ends: u64,
    pub abnormal: u64,
    pub ages: Ages,
    pub recent: Seconds<SECONDS>,
    /// What was lost, by place and kind of event.
    pub lost: Counts,
    groups: [HashMap<String, Group>; By::ALL.len()],
    /// How often an age came, of ages rounded so that a timeout gives one value.
    exact: HashMap<u64, u32>,
}

impl Totals {
    pub fn add(&mut self, event: &Event) {
        let second = event.head.ts.0 / 1_000_000_000;
        match &event.body {
            Body::End { ids, end } => {
                let clean = clean(event);
                self.ends += 1;
                self.abnormal += u64::from(!clean);
                self.recent.add(second);
                if let Some(ms) = end.end_age_ms {
                    self.ages.add(ms);
                    self.note_age(ms);
                }
                for (by, groups) in By::ALL.into_iter().zip(&mut self.groups) {
                    let mut key = by.key(ids, end);
                    if groups.len() >= GROUPS && !groups.contains_key(&key) {
                        OTHERS.clone_into(&mut key);
                    }
                    let group = groups.entry(key).or_default();
                    group.count += 1;
                    group.abnormal += u64::from(!clean);
                    group.lost_bytes = group.lost_bytes.saturating_add(lost_bytes(end));
                    group.recent.add(second);
                    if let Some(ms) = end.end_age_ms {
                        group.ages.add(ms);
                    }
                }
            }
            Body::Lost(lost) => {
                for (kind, count) in &lost.kinds.0 {
                    self.lost.add(format!("{} ({kind})", lost.r#where), *count);
                }
            }
            _ => (),
        }
    }

    fn note_age(&mut self, ms: u64) {
        let rounded = round_age(ms);
        if self.exact.len() >= EXACT_AGES && !self.exact.contains_key(&rounded) {
            // Ages that came once are no timeouts.
            self.exact.retain(|_, count| *count > 1);
            if self.exact.len() >= EXACT_AGES {
                return;
            }
        }
        *self.exact.entry(rounded).or_default() += 1;
    }

    /// Most frequent first.
    pub fn frequent_ages(&self) -> Vec<(u64, u32)> {
        let mut ages: Vec<_> = self.exact.iter().map(|(ms, count)| (*ms, *count)).collect();
        ages.sort_by_key(|(ms, count)| (std::cmp::Reverse(*count), *ms));
        ages
    }

    pub fn groups(&self, by: By) -> &HashMap<String, Group> {
        &self.groups[by as usize]
    }

    /// Ends a second over the last ten.
    pub fn rate(&self, now: Timestamp) -> f64 {
        let seconds = self.recent.since(now.0 / 1_000_000_000);
        let last: u32 = seconds.iter().rev().take(RATE_SECONDS).sum();
        f64::from(last) / RATE_SECONDS as f64
    }
}

/// To the step in which timeouts are set: 10 ms below a second, 100 ms below ten, then seconds.
pub fn round_age(ms: u64) -> u64 {
    let step = match ms {
        0..1_000 => 10,
        1_000..10_000 => 100,
        _ => 1_000,
    };
    ms.saturating_add(step / 2) / step * step
}

/// Payload that one end wrote and the other never got: not acknowledged, never sent, never read, or
/// written after a FIN and answered with a RST.
pub fn lost_bytes(end: &End) -> u64 {
    let known = |bytes: Option<u64>| bytes.unwrap_or(0);
    let after_fin = match end.reason {
        Reason::FinPeerRst => known(end.tx_after_fin_bytes),
        _ => 0,
    };
    known(end.tx_unacked_bytes)
        .max(after_fin)
        .saturating_add(known(end.tx_unsent_bytes))
        .saturating_add(known(end.rx_unread_bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_forget_what_is_old_and_take_what_is_late() {
        let mut seconds = Seconds::<4>::default();
        for second in [100, 100, 103, 101, 99] {
            seconds.add(second);
        }
        assert_eq!(seconds.since(103), [2, 1, 0, 1]);
        assert_eq!(seconds.since(105), [0, 1, 0, 0]);
        seconds.add(1_000_000_000_000);
        assert_eq!(seconds.since(0), [0, 0, 0, 1]);
    }

    #[test]
    fn medians_are_right_to_a_fifth() {
        let mut ages = Ages::default();
        assert_eq!(ages.median_ms(), None);
        for ms in [1, 60_000, 60_010, 60_020, u64::MAX] {
            ages.add(ms);
        }
        let median = ages.median_ms().expect("some");
        assert!((50_000..=60_000).contains(&median), "{median}");
    }

    #[test]
    fn a_timeout_is_one_age() {
        assert_eq!(round_age(60_020), 60_000);
        assert_eq!(round_age(59_998), 60_000);
        assert_eq!(round_age(2_004), 2_000);
        assert_eq!(round_age(514), 510);
    }
}
