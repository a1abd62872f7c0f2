//! Which timeouts of the table fit an end: the clock of its pattern, the side that hung up, what it
//! sent, and the process that did it, when that is on this node.

use std::cmp::Reverse;

use super::{
    pattern::Found,
    timeouts::{Clock, Table, Timeout},
};
use crate::event::{
    End, Ids,
    text::Label,
    values::{ClosedBy, How, Pattern, Reason, Role},
};

/// As many as a record names.
const HINTS_MAX: usize = 5;

/// The idle clocks go in ticks of up to 10 ms (HZ=100), one at each end of the interval.
const EARLY_MS: u64 = 20;

/// What a busy machine takes to run a process whose timer is due. Of 500 timers of nginx, HAProxy,
/// Node.js and Go none was more than 16 ms late, and 68 ms where compilers had all cores; poll and
/// epoll add up to a thousandth of the time waited for, 100 ms at most.
const LATE_MS: u64 = 100;
const SLACK_MAX_MS: u64 = 100;

/// A box forgets at some time after its timeout's last packet and before the next one. Twice as long
/// after, the next smaller timeout is as likely.
const FORGOTTEN_TIMES: u64 = 2;

/// What closes this soon after its last payload closes because of that, and not for its age.
const QUIET_MS: u64 = 100;

/// A product that looks only now and then is late. Where nobody knows that it is this product, that
/// would fit too much.
const LATE_UNKNOWN_MS: u64 = 1_500;

/// A path's round-trip time counts up to here: the two ends see the last payload at different times.
const RTT_MAX_MS: u64 = 500;

/// How late a timer of a process may be.
pub fn late_ms(value_ms: u64) -> u64 {
    LATE_MS + (value_ms / 1_000).min(SLACK_MAX_MS)
}

/// Who hung up.
#[derive(Clone, Copy, Debug)]
pub enum Closing<'a> {
    /// A process of another node, or one that is not known to be on this.
    Elsewhere,
    /// This process of this node: its name and its executable's path.
    Here {
        comm: Option<&'a str>,
        exe: Option<&'a str>,
    },
}

/// Timeouts that fit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hints {
    /// Best first.
    pub ids: Vec<Label>,
    pub value_ms: u64,
    /// How many have this value, those included that there was no room for.
    pub all: usize,
    /// The process that hung up is this product, or the site said so.
    pub certain: bool,
}

/// What ran on, and for how long, at the first end; by the reason where that names the kernel's timer,
/// and nothing went wrong before.
fn clock(found: Option<Found>, end: &End) -> Option<(Clock, u64)> {
    let idle_ms = end.idle_rx_ms.into_iter().chain(end.idle_tx_ms).min();
    let (pattern, clock_ms) = match found {
        Some(Found { pattern, clock_ms }) => (Some(pattern), clock_ms),
        None => (None, None),
    };
    let (clock, ms) = match (pattern, end.reason) {
        (Some(Pattern::SilentDrop), _) => (Clock::Forgotten, clock_ms),
        (_, Reason::TimeoutKeepalive) => (Clock::Keepalive, idle_ms),
        (_, Reason::TimeoutRetrans) => (Clock::Retrans, end.idle_rx_ms.or(end.end_age_ms)),
        (_, Reason::TimeoutUser) => (Clock::User, end.idle_rx_ms.or(end.end_age_ms)),
        (_, Reason::ConnectTimeout) => (Clock::Syn, end.end_age_ms),
        (_, Reason::ConnectCancelled) => (Clock::Connect, end.end_age_ms),
        (Some(pattern), _) => {
            let clock = match pattern {
                Pattern::PeerGaveUpWaiting | Pattern::LocalGaveUpWaiting => Clock::Waiting,
                Pattern::PeerNoAnswer | Pattern::LocalNoAnswer => Clock::NoAnswer,
                Pattern::PeerIdleClose | Pattern::LocalIdleClose => Clock::Idle,
                Pattern::NoRequest => Clock::Request,
                _ => return None,
            };
            (clock, clock_ms)
        }
        (None, _) => return None,
    };
    Some((clock, ms?))
}

/// Whether it is worth finding out who hung up: for most ends it is not.
pub fn may_fit(table: &Table, found: Option<Found>, end: &End) -> bool {
    let may_be_old = table
        .least_age_ms()
        .zip(end.end_age_ms)
        .is_some_and(|(least_ms, age_ms)| age_ms.saturating_add(EARLY_MS) >= least_ms);
    let second_timer = matches!(end.reason, Reason::TimeoutFinWait | Reason::TimeoutOrphan);
    may_be_old || second_timer || clock(found, end).is_some()
}

/// An end, as far as timeouts are about it.
pub struct View<'a> {
    pub ids: &'a Ids,
    pub end: &'a End,
    pub closing: Closing<'a>,
    /// The socket's TCP_USER_TIMEOUT.
    pub user_timeout_ms: u64,
}

impl View<'_> {
    /// The timeouts that fit.
    pub fn hints(&self, table: &Table, found: Option<Found>) -> Option<Hints> {
        let first = clock(found, self.end).and_then(|(clock, ms)| {
            let sending = self.is_sending(clock).then_some(Clock::Sending);
            sending
                .and_then(|clock| self.fitting(table, clock, ms))
                .or_else(|| self.fitting(table, clock, ms))
        });
        first.or_else(|| {
            // What came after the first end has a timer of its own.
            let clock = match self.end.reason {
                Reason::TimeoutFinWait => Clock::FinWait,
                Reason::TimeoutOrphan => Clock::Orphan,
                _ => return None,
            };
            self.fitting(table, clock, self.end.half_close_ms?)
        })
    }

    /// An age limit that fits where no idle clock does and no payload explains the close.
    pub fn age_limit(&self, table: &Table, found: Option<Found>) -> Option<Hints> {
        let end = self.end;
        let age_ms = end.end_age_ms?;
        if age_ms.saturating_add(EARLY_MS) < table.least_age_ms()? {
            return None;
        }
        let balanced = matches!(
            found?.pattern,
            Pattern::Normal | Pattern::PeerIdleClose | Pattern::LocalIdleClose
        );
        let idle_ms = end.idle_rx_ms.into_iter().chain(end.idle_tx_ms).min()?;
        let quiet = idle_ms >= QUIET_MS && end.how == How::Fin;
        (balanced && quiet)
            .then(|| self.fitting(table, Clock::Age, age_ms))
            .flatten()
    }

    /// The end that hung up had more to send than the other took.
    fn is_sending(&self, clock: Clock) -> bool {
        let left = match self.end.closed_by {
            ClosedBy::Local => self.end.tx_unsent_bytes,
            _ => self.end.rx_unread_bytes,
        };
        matches!(clock, Clock::Waiting | Clock::NoAnswer | Clock::Idle)
            && left.is_some_and(|bytes| bytes > 0)
    }

    fn fitting(&self, table: &Table, clock: Clock, ms: u64) -> Option<Hints> {
        let mut fits: Vec<Fit> = table
            .entries()
            .iter()
            .filter(|entry| entry.clocks.has(clock) && self.fits_side(entry))
            .filter_map(|entry| {
                let class = self.class(entry, clock)?;
                let value_ms = self.value(entry, class, clock, ms)?;
                Some(Fit {
                    class,
                    value_ms,
                    late: ms > value_ms.saturating_add(late_ms(value_ms)),
                    entry,
                })
            })
            .collect();
        fits.sort_by(|a, b| a.rank().cmp(&b.rank()));
        let best = fits.first()?;
        let (value_ms, certain) = (best.value_ms, best.class != Class::Possible);
        // Where one is certain, what is only possible is not named.
        fits.retain(|fit| fit.value_ms == value_ms && (!certain || fit.class != Class::Possible));
        Some(Hints {
            ids: fits
                .iter()
                .take(HINTS_MAX)
                .map(|fit| fit.entry.id.clone())
                .collect(),
            value_ms,
            all: fits.len(),
            certain,
        })
    }

    /// The right end hung up, in the right way.
    fn fits_side(&self, entry: &Timeout) -> bool {
        let closer = match (self.end.closed_by, self.ids.role) {
            (ClosedBy::Peer, Role::Client) => Role::Server,
            (ClosedBy::Peer, Role::Server) => Role::Client,
            (ClosedBy::Local | ClosedBy::Kernel, role) => role,
            _ => Role::Unknown,
        };
        let port = match self.ids.role {
            Role::Client => self.ids.peer_port,
            _ => self.ids.local_port,
        };
        let how = match self.end.how {
            // Nothing was sent yet.
            How::None => None,
            how => Some(how),
        };
        entry.closer.is_none_or(|wanted| wanted == closer)
            && (entry.ports.is_empty() || entry.ports.contains(&port))
            && entry
                .how
                .is_none_or(|wanted| how.is_none_or(|how| wanted == how))
    }

    fn class(&self, entry: &Timeout, clock: Clock) -> Option<Class> {
        let nameless = entry.process.is_empty() && entry.runtime.is_empty();
        if nameless && entry.site {
            return Some(Class::Site);
        }
        // The reason says so.
        if entry.node || clock == Clock::User {
            return Some(Class::Certain);
        }
        match self.closing {
            Closing::Elsewhere => Some(Class::Possible),
            Closing::Here { comm, exe } => {
                let is = |names: &[String]| names.iter().any(|name| is_called(name, comm, exe));
                match () {
                    () if is(&entry.process) && entry.site => Some(Class::Site),
                    () if is(&entry.process) => Some(Class::Certain),
                    () if is(&entry.runtime) => Some(Class::Possible),
                    // A socket's own settings are the program's, whatever its name.
                    () if nameless && clock == Clock::Keepalive => Some(Class::Possible),
                    () => None,
                }
            }
        }
    }

    /// The value that the clock agrees with, the nearest of several.
    fn value(&self, entry: &Timeout, class: Class, clock: Clock, ms: u64) -> Option<u64> {
        let rtt_ms = match self.closing {
            Closing::Elsewhere => u64::from(self.end.srtt_us.unwrap_or(0) / 1_000).min(RTT_MAX_MS),
            Closing::Here { .. } => 0,
        };
        if clock == Clock::User {
            let least_ms = self.user_timeout_ms.saturating_sub(EARLY_MS);
            return (self.user_timeout_ms > 0 && ms >= least_ms).then_some(self.user_timeout_ms);
        }
        let agrees = |value_ms: &u64| {
            let value_ms = *value_ms;
            if clock == Clock::Forgotten {
                return (value_ms..=value_ms.saturating_mul(FORGOTTEN_TIMES)).contains(&ms);
            }
            let early_ms = EARLY_MS.min(value_ms / 10) + rtt_ms;
            let usual_ms = late_ms(value_ms);
            let mut late_ms = entry.late_ms.unwrap_or(usual_ms);
            if class == Class::Possible && clock != Clock::Keepalive {
                late_ms = late_ms.min(LATE_UNKNOWN_MS.max(usual_ms));
            }
            let latest_ms = value_ms.saturating_add(late_ms).saturating_add(rtt_ms);
            (value_ms.saturating_sub(early_ms)..=latest_ms).contains(&ms)
        };
        let values = entry.values_ms.iter().copied().filter(agrees);
        values.min_by_key(|value_ms| value_ms.abs_diff(ms))
    }
}

/// How sure it is that the one who hung up is this product. Best first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Class {
    Site,
    Certain,
    Possible,
}

struct Fit<'a> {
    class: Class,
    value_ms: u64,
    /// Later than a precise timer.
    late: bool,
    entry: &'a Timeout,
}

impl Fit<'_> {
    /// Less is better: what is known of the process, then of the clock, then of the value.
    fn rank(&self) -> (Class, bool, u32, Reverse<u64>, bool, Reverse<bool>, &str) {
        (
            self.class,
            self.late,
            self.entry.clocks.count(),
            // Of what a box may have forgotten, the longest is the nearest.
            Reverse(self.value_ms),
            !self.entry.verified,
            Reverse(self.entry.common),
            self.entry.id.as_str(),
        )
    }
}

/// Whether a process has this name, `*` standing for anything.
fn is_called(pattern: &str, comm: Option<&str>, exe: Option<&str>) -> bool {
    let file = exe.and_then(|path| path.rsplit('/').next());
    let matches = |name: &str| match pattern.split_once('*') {
        None => name == pattern,
        Some((before, after)) => {
            name.len() >= before.len() + after.len()
                && name.starts_with(before)
                && name.ends_with(after)
        }
    };
    comm.is_some_and(matches) || file.is_some_and(matches)
}

#[cfg(test)]
mod tests;
