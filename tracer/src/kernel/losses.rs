//! What the kernel side could not keep or tell, read from its counters.

use std::{fs, os::fd::AsRawFd};

use tracer_common::counters;

use super::attach::{Attached, counter};
use crate::event::{
    Lost,
    values::{Counts, Kind, Where},
};

/// Counters as they are now; `ring` and `map` since the last reading.
#[derive(Clone, Debug, Default)]
pub struct Reading {
    /// Records that found the ring buffer full, by the event that they would have made.
    pub ring: Counts,
    /// Connections that found no room: their ends are told, without start and owner.
    pub map: Counts,
    pub recovered: u64,
    pub syn_recv_ended: u64,
    /// Entries of the connection map.
    pub connections: u64,
    /// Runs that the kernel skipped because the program was running on that CPU already, or because a
    /// kretprobe watches only so many calls at once, without those that a second program made good at once.
    pub missed_runs: u64,
}

/// Remembers what has been said.
#[derive(Debug, Default)]
pub struct Losses {
    last: [u64; counters::COUNT as usize],
    kinds: Counts,
    places: [u64; Where::ALL.len()],
    /// By place: what no `lost` line has said.
    unsaid: [Counts; Where::ALL.len()],
}

const RING: [(u32, Kind); 4] = [
    (counters::RING_CLOSE, Kind::TcpClose),
    (counters::RING_RST, Kind::TcpReset),
    (counters::RING_IO, Kind::TcpIoError),
    (counters::RING_STALL, Kind::TcpStall),
];

impl Losses {
    /// Reads all counters.
    pub fn read(&mut self, attached: &Attached) -> Reading {
        let value = |id| counter(&attached.counters, id);
        let mut since = |id: u32| {
            let now = value(id);
            let last = std::mem::replace(&mut self.last[id as usize], now);
            now.saturating_sub(last)
        };
        let mut ring = Counts::default();
        for (id, kind) in RING {
            ring.add(kind.as_str(), since(id));
        }
        let mut map = Counts::default();
        map.add(Kind::TcpClose.as_str(), since(counters::MAP_CONN));
        Reading {
            ring,
            map,
            recovered: value(counters::RECOVERED),
            syn_recv_ended: value(counters::SYN_RECV_ENDED),
            connections: value(counters::CONN_INSERTED)
                .saturating_sub(value(counters::CONN_REMOVED)),
            missed_runs: (attached
                .programs()
                .map(|(_, program)| missed_runs(program))
                .sum::<u64>()
                + value(counters::RETURNS_MISSED))
            .saturating_sub(value(counters::MADE_GOOD)),
        }
    }

    /// Notes losses, which are to be said.
    pub fn add(&mut self, place: Where, kinds: &Counts) {
        self.places[place as usize] += kinds.total();
        self.kinds.merge(kinds);
        self.unsaid[place as usize].merge(kinds);
    }

    /// What has been said was not heard.
    pub fn say_again(&mut self, lost: &Lost) {
        self.unsaid[lost.r#where as usize].merge(&lost.kinds);
    }

    /// What is to be said.
    pub fn take_unsaid(&mut self) -> Vec<Lost> {
        let unsaid = std::mem::take(&mut self.unsaid);
        let lost = Where::ALL.iter().zip(unsaid).map(|(place, kinds)| Lost {
            count: kinds.total(),
            r#where: *place,
            kinds,
        });
        lost.filter(|lost| lost.count > 0).collect()
    }

    pub fn total(&self) -> u64 {
        self.kinds.total()
    }

    /// By place, in the order of [`Where::ALL`].
    pub fn places(&self) -> [u64; Where::ALL.len()] {
        self.places
    }

    pub fn kinds(&self) -> &Counts {
        &self.kinds
    }
}

/// `recursion_misses` of a program (5.12), which aya does not read.
fn missed_runs(program: impl AsRawFd) -> u64 {
    of_program(&program, "recursion_misses:").unwrap_or(0)
}

/// How many instructions the verifier went through (5.16).
pub fn verified_instructions(program: impl AsRawFd) -> Option<u64> {
    of_program(&program, "verified_insns:")
}

fn of_program(program: &impl AsRawFd, key: &str) -> Option<u64> {
    let path = format!("/proc/self/fdinfo/{}", program.as_raw_fd());
    parse(&fs::read_to_string(path).ok()?, key)
}

fn parse(info: &str, key: &str) -> Option<u64> {
    let value = info.lines().find_map(|line| line.strip_prefix(key))?;
    value.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::{Losses, parse};
    use crate::event::values::{Counts, Where};

    #[test]
    fn what_was_not_heard_is_said_again_and_counted_once() {
        let mut kinds = Counts::default();
        kinds.add("tcp_close", 5);
        let mut losses = Losses::default();
        losses.add(Where::Ring, &kinds);
        let said = losses.take_unsaid();
        assert_eq!((said.len(), said[0].count), (1, 5));
        assert!(losses.take_unsaid().is_empty());
        losses.say_again(&said[0]);
        losses.add(Where::Ring, &kinds);
        losses.add(Where::Output, &kinds);
        let said: Vec<_> = losses.take_unsaid();
        let said: Vec<_> = said.iter().map(|lost| (lost.r#where, lost.count)).collect();
        assert_eq!(said, [(Where::Ring, 10), (Where::Output, 5)]);
        assert_eq!(losses.total(), 15);
    }

    #[test]
    fn missed_runs_are_read_from_fdinfo() {
        let info = "pos:\t0\nprog_type:\t26\nrecursion_misses:\t17\nverified_insns:\t900\n";
        assert_eq!(parse(info, "recursion_misses:"), Some(17));
        assert_eq!(parse(info, "verified_insns:"), Some(900));
        assert_eq!(parse("pos:\t0\n", "recursion_misses:"), None);
    }
}
