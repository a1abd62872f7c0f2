//! An end in one sentence, two at most: who, whom, after what, and the consequence. Only what the
//! record proves; a reader at 3 a.m. acts on it.

mod chain;
mod exit;
pub mod stall;
mod timeouts;

use std::fmt::{self, Display};

pub use timeouts::aside;

use super::pattern;
use crate::event::{
    End, Ids,
    values::{ClosedBy, Errno, How, Pattern, Reason, Role},
};

/// What comes less than this after something else follows from it.
const LATER_MS: u64 = 100;

/// A TLS record of a close_notify: of TLS 1.3, and of 1.2 with AES-GCM. Other ciphers are longer.
const CLOSE_NOTIFY_BYTES: [u64; 2] = [24, 31];

/// How the kernel came to give a connection up.
#[derive(Clone, Debug, Default)]
pub struct GaveUp {
    /// The setting that decided, where it is known.
    pub by: Option<String>,
    /// The peer would have taken more.
    pub window_is_open: bool,
}

/// The story of an end. `sends_seen`: a failed send would have been seen. `aside`: what is to be
/// said of the time after which it came.
pub fn story(ids: &Ids, end: &End, sends_seen: bool, aside: &str, gave_up: &GaveUp) -> String {
    let teller = Teller {
        ids,
        end,
        sends_seen,
        aside,
        gave_up,
    };
    let mut text = teller.first();
    let behind = chain::clause(end);
    if !behind.is_empty() {
        text.truncate(text.trim_end_matches('.').len());
        text.push_str(&behind);
        text.push('.');
    }
    let second = teller.second();
    if !second.is_empty() {
        text.push(' ');
        text.push_str(&second);
    }
    for nobody in ["the peer ", "this end "] {
        if text.starts_with(nobody) {
            text[..1].make_ascii_uppercase();
        }
    }
    text
}

struct Teller<'a> {
    ids: &'a Ids,
    end: &'a End,
    sends_seen: bool,
    aside: &'a str,
    gave_up: &'a GaveUp,
}

impl Teller<'_> {
    fn us(&self) -> String {
        us(self.ids)
    }

    /// The process that closed our end, if it is not the owner.
    fn closer(&self) -> String {
        match (&self.ids.closer_comm, self.ids.closer_pid) {
            (Some(comm), Some(pid)) if Some(pid) != self.ids.pid => format!("{comm}[{pid}]"),
            _ => self.us(),
        }
    }

    fn peer(&self) -> String {
        match (&self.ids.peer_comm, self.ids.peer_pid) {
            (Some(comm), Some(pid)) => format!("{comm}[{pid}]"),
            _ => format!(
                "the peer {}",
                self.ids.peer_addr.with_port(self.ids.peer_port)
            ),
        }
    }

    /// `, 2.0 s after it was established`, and how our process ended if that is why.
    fn at_age(&self) -> String {
        let age = self.age();
        match self.end.closed_by {
            ClosedBy::Local => age + &exit::clause(self.ids, self.end),
            _ => age,
        }
    }

    fn age(&self) -> String {
        match self.end.end_age_ms {
            Some(ms) => format!(" {} after it was established", Span(ms)),
            None if self.end.preexisting => " (it was open before tracing began)".to_owned(),
            None => String::new(),
        }
    }

    /// When the first end came, by the clock that says most, and how our process ended if that is why.
    fn after(&self) -> String {
        let pattern = match self.end.pattern {
            Some(Pattern::ProcessExit) => pattern::but_for_exit(self.ids, self.end),
            pattern => pattern,
        };
        let clock = pattern
            .and_then(|pattern| Some((pattern, pattern::clock_ms(pattern, self.ids, self.end)?)));
        let when = match clock {
            Some((pattern, ms)) => self.by_clock(pattern, Span(ms)),
            None => self.in_silence().unwrap_or_else(|| self.age()),
        };
        let when = when + self.aside;
        let exit = match self.end.closed_by {
            ClosedBy::Local => exit::clause(self.ids, self.end),
            _ => String::new(),
        };
        let comma = if when.starts_with(',') && !exit.is_empty() {
            ","
        } else {
            ""
        };
        when + comma + &exit
    }

    /// Where what we had sent did not arrive, so that nobody knows for how long we waited.
    fn in_silence(&self) -> Option<String> {
        let gave_up = self.end.pattern == Some(Pattern::LocalGaveUpWaiting);
        let heard_ms = self.end.idle_rx_ms.filter(|_| gave_up)?;
        Some(format!(
            " after hearing nothing from it for {}",
            Span(heard_ms)
        ))
    }

    /// What long idleness before the silence may mean.
    fn forgotten(&self) -> &'static str {
        match self.end.pattern {
            Some(Pattern::SilentDrop) => {
                " after more than a minute of silence, as if something on the way had forgotten the connection"
            }
            _ => "",
        }
    }

    /// Our own deed that ended it; `then`: where the peer's FIN had come first.
    fn we_end(&self, did: &str, then: &str, when: String) -> String {
        let (us, peer, closer) = (self.us(), self.peer(), self.closer());
        match self.end.closed_by {
            ClosedBy::Peer => {
                format!("{peer} closed the connection to {us}{when}; {closer} then {then}")
            }
            _ => format!("{closer} {did} the connection to {peer}{when}"),
        }
    }

    /// Between how our process ended and what follows.
    fn comma_after_exit(&self) -> &'static str {
        let told =
            self.end.closed_by == ClosedBy::Local && !exit::clause(self.ids, self.end).is_empty();
        if told { "," } else { "" }
    }

    fn by_clock(&self, pattern: Pattern, span: Span) -> String {
        match pattern {
            Pattern::LocalGaveUpWaiting | Pattern::LocalIdleClose if self.stuck() => {
                format!(" {span} after its last bytes had gone out")
            }
            Pattern::PeerGaveUpWaiting | Pattern::LocalGaveUpWaiting => {
                format!(" after waiting {span} for a response")
            }
            Pattern::PeerNoAnswer | Pattern::LocalNoAnswer if span.0 < pattern::WAIT_MS => {
                format!(", whose data of {span} before was unanswered")
            }
            Pattern::PeerNoAnswer | Pattern::LocalNoAnswer => {
                format!(", whose data had been unanswered for {span}")
            }
            Pattern::NoRequest => format!("{}; no request had been sent on it", self.age()),
            Pattern::WriteAfterPeerClose | Pattern::PeerIdleClose | Pattern::LocalIdleClose => {
                format!(" after it had been idle for {span}")
            }
            Pattern::SilentDrop => format!(" when it was sent data after {span} of silence"),
            _ => self.age(),
        }
    }

    /// All that went out was acknowledged, and yet the rest did not go out for long.
    fn stuck(&self) -> bool {
        self.end.how != How::Timeout
            && self.end.tx_unsent_bytes.is_some_and(|bytes| bytes > 0)
            && self.end.tx_unacked_bytes == Some(0)
            && self.end.idle_tx_ms.is_some_and(|ms| ms >= pattern::WAIT_MS)
    }

    fn first(&self) -> String {
        let (us, peer) = (self.us(), self.peer());
        match self.end.reason {
            Reason::FinPeerRst => self.broken_pipe(),
            Reason::FinPeer => format!("{peer} closed the connection to {us}{}.", self.after()),
            Reason::FinLocal => format!(
                "{} closed the connection to {peer}{}.",
                self.closer(),
                self.after()
            ),
            Reason::FinBoth => format!(
                "{us} and {peer} closed the connection at the same time{}.",
                self.at_age()
            ),
            Reason::RstPeer if self.end.how == How::Fin => {
                let later = match self.end.half_close_ms {
                    Some(ms) if ms >= LATER_MS => format!("{} later", Span(ms)),
                    _ => "then".to_owned(),
                };
                format!(
                    "{us} closed the connection to {peer}{}, and {later} {peer} sent a RST.",
                    self.after()
                )
            }
            Reason::RstPeer => format!("{peer} reset the connection to {us}{}.", self.after()),
            Reason::AbortUnread => {
                let unread = self.end.rx_unread_bytes.unwrap_or(0);
                let tls = match CLOSE_NOTIFY_BYTES.contains(&unread) {
                    true => " (as long as TLS's goodbye)",
                    false => "",
                };
                let unread = Bytes(unread);
                let comma = self.comma_after_exit();
                format!(
                    "{}{comma} with {unread} received but never read{tls}, so the kernel sent a RST instead of a FIN.",
                    self.we_end("closed", "closed it", self.at_age()),
                )
            }
            Reason::AbortLinger0 => {
                let linger = match self.comma_after_exit() {
                    "" => ": it closed with SO_LINGER set to 0",
                    _ => "; SO_LINGER was 0",
                };
                format!(
                    "{}{linger}.",
                    self.we_end("reset", "reset it", self.after())
                )
            }
            Reason::AbortAdmin => format!(
                "{} destroyed the connection of {us} to {peer}{} (ss -K or SOCK_DESTROY).",
                self.closer(),
                self.at_age()
            ),
            Reason::Disconnect => format!(
                "{} disconnected its socket from {peer}{}.",
                self.closer(),
                self.at_age()
            ),
            Reason::ListenerClosed => format!(
                "{} closed its listening socket while the connection from {peer} waited to be accepted{}: it got a RST.",
                self.closer(),
                self.at_age().replacen(' ', ", ", 1)
            ),
            Reason::TimeoutRetrans if self.end.retrans == Some(0) => format!(
                "{peer} acknowledged nothing more, and no retransmission could leave this host: the kernel gave up the connection of {us}{}{}.",
                self.at_age(),
                self.decided_by()
            ),
            Reason::TimeoutRetrans => format!(
                "{peer} acknowledged nothing more{}: after {} the kernel gave up the connection of {us}{}{}.",
                self.forgotten(),
                plural(u64::from(self.end.retrans.unwrap_or(0)), "retransmission"),
                self.at_age(),
                self.decided_by()
            ),
            Reason::TimeoutKeepalive => format!(
                "{peer} answered no keepalive probe, so the kernel gave up the idle connection of {us}{}{}.",
                self.at_age(),
                self.decided_by()
            ),
            Reason::TimeoutUser if self.only_unsent() && !self.gave_up.window_is_open => format!(
                "{peer} kept its window closed for longer than the TCP_USER_TIMEOUT that {us} has set, so the kernel gave up the connection{}{}.",
                self.at_age(),
                self.decided_by()
            ),
            Reason::TimeoutUser => format!(
                "{peer} made no progress for longer than the TCP_USER_TIMEOUT that {us} has set, so the kernel gave up the connection{}{}.",
                self.at_age(),
                self.decided_by()
            ),
            Reason::TimeoutProbe if self.gave_up.window_is_open => format!(
                "Nothing that {us} wrote to {peer} could leave this host any more, so the kernel gave up the connection{}{}.",
                self.at_age(),
                self.decided_by()
            ),
            Reason::TimeoutProbe => format!(
                "{peer} had closed its window and then answered no window probe, so the kernel gave up the connection of {us}{}{}.",
                self.at_age(),
                self.decided_by()
            ),
            Reason::TimeoutFinWait => format!(
                "{us} closed the connection to {peer}{}, and the peer's own FIN never came.",
                self.at_age()
            ),
            Reason::TimeoutOrphan if self.end.closed_by == ClosedBy::Peer => format!(
                "{peer} closed the connection to {us}{}; {us} closed it too, and the peer never acknowledged the rest.",
                self.after()
            ),
            Reason::TimeoutOrphan => format!(
                "{us} closed the connection to {peer}{}, and the peer never acknowledged the rest.",
                self.after()
            ),
            Reason::ConnectRefused => format!(
                "{peer} refused the connection of {us}: nothing listens there, or a firewall rejects it."
            ),
            Reason::ConnectTimeout => format!(
                "{peer} did not answer {us} for {}{}: the host is down, or a firewall drops the packets.",
                Span(self.end.end_age_ms.unwrap_or(0)),
                self.aside
            ),
            Reason::ConnectUnreachable => format!(
                "The network told {us} that it cannot reach {peer}{}.",
                self.errno()
            ),
            Reason::ConnectCancelled => format!(
                "{} gave up connecting to {peer} after {} without an answer{}.",
                self.closer(),
                Span(self.end.end_age_ms.unwrap_or(0)),
                self.aside
            ),
            Reason::Oom => format!(
                "The kernel dropped the connection of {us} to {peer}{} for lack of TCP memory or because there were too many orphans.",
                self.at_age()
            ),
            Reason::NetnsExit => format!(
                "The network namespace of {us} went away, and with it the connection to {peer}."
            ),
            Reason::Unknown => format!(
                "The connection of {us} to {peer} ended{}; the kernel's traces do not say why.",
                self.at_age()
            ),
        }
    }

    /// Nothing was on its way, and something was left to send.
    fn only_unsent(&self) -> bool {
        self.end.tx_unacked_bytes == Some(0) && self.end.tx_unsent_bytes.unwrap_or(0) > 0
    }

    /// ` (tcp_retries2 = 15)`.
    fn decided_by(&self) -> String {
        self.gave_up
            .by
            .as_ref()
            .map(|setting| format!(" ({setting})"))
            .unwrap_or_default()
    }

    fn errno(&self) -> String {
        match self.end.errno {
            Some(errno) => format!(" ({errno})"),
            None => String::new(),
        }
    }

    fn broken_pipe(&self) -> String {
        let (us, peer) = (self.us(), self.peer());
        let wrote = self.end.tx_after_fin_bytes;
        let wrote = match wrote {
            Some(bytes) if bytes > 0 => format!("{us} then wrote {}", Bytes(bytes)),
            Some(_) => format!("data of {us} reached it after that"),
            None => format!("{us} wrote on"),
        };
        let consequence = match self.end.write_errno {
            Some(errno) => format!(", and its next write failed with {errno}"),
            None => String::new(),
        };
        format!(
            "{peer} hung up on {us}{}; {wrote} and was answered with a RST{consequence}.",
            self.after()
        )
    }

    /// All that was written after the peer's FIN may be TLS's answer to the peer's close_notify.
    fn said_goodbye(&self) -> bool {
        self.end.write_errno.is_none()
            && self
                .end
                .tx_after_fin_bytes
                .is_some_and(|bytes| CLOSE_NOTIFY_BYTES.contains(&bytes))
    }

    /// What was lost by it.
    fn second(&self) -> String {
        let end = self.end;
        let unacked = end.tx_unacked_bytes.unwrap_or(0);
        let unsent = end.tx_unsent_bytes.unwrap_or(0);
        let us = self.us();
        match end.reason {
            Reason::FinPeerRst if self.said_goodbye() => format!(
                "{} is as long as TLS's goodbye (close_notify), which nobody misses.",
                Bytes(end.tx_after_fin_bytes.unwrap_or(0))
            ),
            Reason::FinPeerRst
                if end.write_errno.is_none()
                    && end.io_errors == 0
                    && end.tx_after_fin_bytes != Some(0) =>
            {
                let lost = match end.pattern {
                    Some(Pattern::PeerGaveUpWaiting) => "its response was lost",
                    _ => "what it had written after the peer's FIN was lost",
                };
                if self.sends_seen {
                    format!("So far no send of {us} has failed, but {lost}.")
                } else {
                    format!("{us} may not have noticed: {lost}.")
                }
            }
            Reason::FinPeerRst | Reason::ConnectRefused | Reason::ConnectTimeout => String::new(),
            Reason::AbortUnread | Reason::AbortLinger0 | Reason::Disconnect
                if unacked > 0 || unsent > 0 =>
            {
                format!(
                    "{} that it had written were not delivered.",
                    Bytes(unacked.saturating_add(unsent))
                )
            }
            _ if self.stuck() => format!(
                "{} that {us} had written were never sent, as if {} had stopped reading.",
                Bytes(unsent),
                self.peer()
            ),
            _ if unsent > 0 && unacked == 0 => {
                format!("{} that {us} had written were never sent.", Bytes(unsent))
            }
            _ if unsent > 0 => format!(
                "{} that {us} had written were not acknowledged and {} were never sent{}.",
                Bytes(unacked),
                Bytes(unsent),
                self.incomplete()
            ),
            _ if unacked > 0 => format!(
                "{} that {us} had written were not acknowledged{}.",
                Bytes(unacked),
                self.incomplete()
            ),
            Reason::FinPeer if end.tx_after_fin_bytes.unwrap_or(0) > 0 => format!(
                "{us} wrote {} more after that, and the peer took them.",
                Bytes(end.tx_after_fin_bytes.unwrap_or(0))
            ),
            _ => self.call_errors(),
        }
    }

    /// What lost data means to the one that waited for it.
    fn incomplete(&self) -> &'static str {
        match self.ids.role {
            Role::Server => ", so the response may not have arrived whole",
            Role::Client => ", so the request may not have arrived whole",
            Role::Unknown => "",
        }
    }

    fn call_errors(&self) -> String {
        let told = |what: &str, errno: Option<Errno>| {
            errno.map(|errno| format!("a {what} of {} failed with {errno}.", self.us()))
        };
        let text = told("send", self.end.write_errno)
            .or_else(|| told("receive", self.end.read_errno))
            .unwrap_or_default();
        let mut chars = text.chars();
        match chars.next() {
            Some(first) => first.to_uppercase().chain(chars).collect(),
            None => text,
        }
    }
}

/// This end's process, by its addresses if it is not known.
fn us(ids: &Ids) -> String {
    match (&ids.comm, ids.pid) {
        (Some(comm), Some(pid)) => format!("{comm}[{pid}]"),
        _ => format!("this end ({})", ids.local_addr.with_port(ids.local_port)),
    }
}

/// `1 probe`, `2 probes`.
fn plural(count: u64, what: &str) -> String {
    match count {
        1 => format!("1 {what}"),
        count => format!("{count} {what}s"),
    }
}

/// A duration for people: `340 ms`, `2.0 s`, `1 min 30 s`, `2 h 11 min`.
pub struct Span(pub u64);

impl Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ms = self.0;
        match ms {
            0..1000 => write!(f, "{ms} ms"),
            1000..120_000 => {
                let tenths = ms.saturating_add(50) / 100;
                write!(f, "{}.{} s", tenths / 10, tenths % 10)
            }
            120_000..7_200_000 => write!(f, "{} min {} s", ms / 60_000, ms % 60_000 / 1000),
            _ => write!(f, "{} h {} min", ms / 3_600_000, ms % 3_600_000 / 60_000),
        }
    }
}

/// A count of bytes for people: exact up to 10 000.
pub struct Bytes(pub u64);

impl Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            1 => f.write_str("1 byte"),
            bytes @ 0..10_000 => write!(f, "{bytes} bytes"),
            bytes => {
                let mut value = bytes as f64;
                let mut unit = "bytes";
                for next in ["KiB", "MiB", "GiB", "TiB"] {
                    if value < 1024.0 {
                        break;
                    }
                    value /= 1024.0;
                    unit = next;
                }
                write!(f, "{value:.1} {unit}")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_and_sizes_read_as_a_person_would_say_them() {
        for (ms, text) in [
            (0, "0 ms"),
            (999, "999 ms"),
            (1999, "2.0 s"),
            (2049, "2.0 s"),
            (60_000, "60.0 s"),
            (125_000, "2 min 5 s"),
            (7_875_000, "2 h 11 min"),
        ] {
            assert_eq!(Span(ms).to_string(), text);
        }
        for (bytes, text) in [
            (1, "1 byte"),
            (4096, "4096 bytes"),
            (943_718_400, "900.0 MiB"),
        ] {
            assert_eq!(Bytes(bytes).to_string(), text);
        }
    }
}
