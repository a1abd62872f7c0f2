//! Ends of one process, peer and pattern that keep coming at the same clock: a timeout shows itself
//! by that also where no table knows its value.

use std::net::IpAddr;

use rustc_hash::FxHashMap;

use super::hints;
use crate::event::{
    Ids,
    text::{Comm, Label},
    values::{Cluster, Pattern, Role},
};

/// Groups in each of two generations. When the younger is full the older is forgotten, so that a
/// group lives for as long as this many others did not come since: about 2 MiB in all.
const GENERATION: usize = 4_096;

/// Different clocks of a group. Beyond them the rarest is forgotten.
const CLOCKS: usize = 8;

/// Clusters that `stop` tells, and from how many ends on one is told.
const TOLD: usize = 10;
pub const TOLD_FROM: u64 = 3;

/// How far two runs of one timer may be apart: what it may be late, and less for short ones, of which
/// chance gives as many at any clock.
fn tolerance_ms(clock_ms: u64) -> u64 {
    hints::late_ms(clock_ms).min(clock_ms / 20)
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Peer {
    /// On this node.
    Process(Comm),
    /// A client's port is another one each time.
    Client(IpAddr),
    Server(IpAddr, u16),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Key {
    process: Option<Comm>,
    peer: Peer,
    pattern: Pattern,
}

#[derive(Clone, Copy, Debug, Default)]
struct AtClock {
    clock_ms: u64,
    count: u64,
}

#[derive(Clone, Copy, Debug, Default)]
struct Group {
    ends: u64,
    clocks: [AtClock; CLOCKS],
}

impl Group {
    fn count(&mut self, clock_ms: u64) -> AtClock {
        self.ends += 1;
        let near = |at: &&mut AtClock| {
            at.count > 0 && at.clock_ms.abs_diff(clock_ms) <= tolerance_ms(at.clock_ms)
        };
        if let Some(at) = self.clocks.iter_mut().find(near) {
            at.count += 1;
            // Towards the mean, without forgetting where it is.
            let weight = at.count.min(16);
            at.clock_ms = (at.clock_ms * (weight - 1) + clock_ms + weight / 2) / weight;
            return *at;
        }
        let new = AtClock { clock_ms, count: 1 };
        if let Some(rarest) = self.clocks.iter_mut().min_by_key(|at| at.count) {
            *rarest = new;
        }
        new
    }
}

/// How often an end like this one came at its clock, this one included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Repeat {
    pub count: u64,
    /// Of so many of its process, peer and pattern.
    pub of: u64,
    pub clock_ms: u64,
}

impl Repeat {
    /// Whether it is worth a reader's time: most of them come at this clock.
    pub fn is_telling(&self) -> bool {
        self.count >= TOLD_FROM && self.count.saturating_mul(2) > self.of
    }
}

/// All groups.
#[derive(Default)]
pub struct Clusters {
    young: FxHashMap<Key, Group>,
    old: FxHashMap<Key, Group>,
}

impl Clusters {
    /// Counts an end of this pattern at this clock.
    pub fn count(&mut self, ids: &Ids, pattern: Pattern, clock_ms: u64) -> Repeat {
        let key = Key {
            process: ids.comm,
            peer: match (ids.peer_comm, ids.role) {
                (Some(comm), _) => Peer::Process(comm),
                (None, Role::Client) => Peer::Server(ids.peer_addr.0, ids.peer_port),
                (None, _) => Peer::Client(ids.peer_addr.0),
            },
            pattern,
        };
        if !self.young.contains_key(&key) {
            if self.young.len() >= GENERATION {
                self.old = std::mem::take(&mut self.young);
            }
            let group = self.old.remove(&key).unwrap_or_default();
            self.young.insert(key, group);
        }
        let group = self.young.entry(key).or_default();
        let at = group.count(clock_ms);
        Repeat {
            count: at.count,
            of: group.ends,
            clock_ms: at.clock_ms,
        }
    }

    /// The largest, for `stop`.
    pub fn top(&self) -> Vec<Cluster> {
        let mut clusters: Vec<_> = self
            .young
            .iter()
            .chain(&self.old)
            .flat_map(|(key, group)| group.clocks.iter().map(move |at| (key, group, at)))
            .filter(|(.., at)| at.count >= TOLD_FROM)
            .map(|(key, group, at)| Cluster {
                process: key.process.map(|comm| Label::from(&*comm.text())),
                peer: match key.peer {
                    Peer::Process(comm) => Label::from(&*comm.text()),
                    Peer::Client(addr) => addr.to_string().into(),
                    Peer::Server(addr, port) => {
                        std::net::SocketAddr::new(addr, port).to_string().into()
                    }
                },
                pattern: key.pattern,
                clock_ms: at.clock_ms,
                count: at.count,
                of: group.ends,
            })
            .collect();
        clusters.sort_by(|a, b| {
            let rank = |cluster: &Cluster| (std::cmp::Reverse(cluster.count), cluster.clock_ms);
            rank(a)
                .cmp(&rank(b))
                .then_with(|| a.peer.as_str().cmp(b.peer.as_str()))
        });
        clusters.truncate(TOLD);
        clusters
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::sample;

    fn count(clusters: &mut Clusters, clock_ms: u64) -> (u64, u64) {
        let repeat = clusters.count(&sample::ids(), Pattern::PeerGaveUpWaiting, clock_ms);
        (repeat.count, repeat.of)
    }

    #[test]
    fn a_timeout_repeats_and_chance_does_not() {
        let mut clusters = Clusters::default();
        for nth in 1..=37 {
            let jitter = nth % 5 * 7;
            assert_eq!(count(&mut clusters, 37_000 + jitter), (nth, nth));
        }
        assert_eq!(count(&mut clusters, 12_345), (1, 38));
        assert_eq!(count(&mut clusters, 37_010), (38, 39));
        let top = clusters.top();
        let [cluster] = top.as_slice() else {
            panic!("{top:?}");
        };
        assert_eq!((cluster.count, cluster.of), (38, 39));
        assert!((37_000..37_030).contains(&cluster.clock_ms), "{cluster:?}");
    }

    #[test]
    #[cfg_attr(miri, ignore = "too many rounds for an interpreter")]
    fn scattered_clocks_are_not_telling() {
        let mut clusters = Clusters::default();
        let mut clock_ms: u64 = 1;
        for _ in 0..10_000 {
            clock_ms = clock_ms
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            let spread = 1_000 + (clock_ms >> 33) % 60_000;
            let repeat = clusters.count(&sample::ids(), Pattern::PeerIdleClose, spread);
            assert!(!repeat.is_telling(), "{repeat:?}");
        }
    }

    #[test]
    fn what_is_apart_is_counted_apart() {
        let mut clusters = Clusters::default();
        let mut of = |change: fn(&mut Ids), pattern| {
            let mut ids = sample::ids();
            change(&mut ids);
            clusters.count(&ids, pattern, 60_000).count
        };
        let pattern = Pattern::PeerGaveUpWaiting;
        assert_eq!(of(|_| (), pattern), 1);
        assert_eq!(of(|ids| ids.peer_port = 1, pattern), 2, "a client's port");
        assert_eq!(of(|ids| ids.pid = Some(7), pattern), 3, "a worker");
        assert_eq!(
            of(|ids| ids.peer_addr = sample::addr("10.9.9.9"), pattern),
            1
        );
        assert_eq!(
            of(|ids| ids.comm = Some(sample::comm(b"other")), pattern),
            1
        );
        assert_eq!(
            of(|ids| ids.peer_comm = Some(sample::comm(b"nginx")), pattern),
            1
        );
        assert_eq!(of(|_| (), Pattern::PeerIdleClose), 1);
        assert_eq!(of(|ids| ids.role = Role::Client, pattern), 1);
        assert_eq!(
            of(
                |ids| {
                    ids.role = Role::Client;
                    ids.peer_port = 1;
                },
                pattern
            ),
            1,
            "another server"
        );
    }

    #[test]
    #[cfg_attr(miri, ignore = "too many rounds for an interpreter")]
    fn memory_is_bounded_and_what_comes_again_stays() {
        let mut clusters = Clusters::default();
        let at = |clusters: &mut Clusters, number: u32| {
            let mut ids = sample::ids();
            ids.peer_addr = crate::event::text::Addr(IpAddr::from(number.to_be_bytes()));
            clusters.count(&ids, Pattern::PeerIdleClose, 5_000).count
        };
        for number in 0..100_000 {
            at(&mut clusters, number);
            let often = at(&mut clusters, u32::MAX);
            assert_eq!(often, u64::from(number) + 1);
        }
        assert!(clusters.young.len() + clusters.old.len() <= 2 * GENERATION);
        assert_eq!(at(&mut clusters, 0), 1, "forgotten");
    }
}
