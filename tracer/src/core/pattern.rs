//! What kind of end it looks like, and which clock would be round if a timeout did it.
//!
//! A pattern says who stopped waiting for whom. It is told from the state of the conversation at
//! the first end, not from how long the connection lived: a request that takes a minute to be
//! answered ends with its answer, and then no clock of waiting is running.

use tracer_common::{conn::Conn, task::PF_EXITING};

use super::clean;
use crate::event::{
    End, Ids,
    values::{ClosedBy, How, LastData, Pattern, Reason, Role},
};

/// A conversation that paused for less than this was not waiting for anything: shorter than any
/// timeout that is in use, longer than a scheduling delay.
const WAIT_MS: u64 = 1_000;

/// Idle for so long that a box between the ends may have forgotten the connection: the shortest
/// idle timeout of a NAT or load balancer in use.
const FORGOTTEN_MS: u64 = 60_000;

/// A RST that answers what was sent this recently answers it.
const AT_ONCE_MS: u64 = 2_000;

/// A pattern, and the clock that a timeout of this pattern would have run on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Found {
    pub pattern: Pattern,
    /// Milliseconds at the first end.
    pub clock_ms: Option<u64>,
}

/// The first pattern that fits.
pub fn pattern(conn: &Conn, ids: &Ids, end: &End) -> Option<Found> {
    let view = View { ids, end };
    let found = |pattern, clock_ms| Some(Found { pattern, clock_ms });
    if owner_exits(conn) {
        return found(Pattern::ProcessExit, None);
    }
    if end.how == How::Timeout && end.reason != Reason::ConnectTimeout {
        return found(Pattern::DeadPeer, end.idle_rx_ms);
    }
    if view.is_silent_drop() {
        return found(Pattern::SilentDrop, end.idle_rx_ms);
    }
    if view.unanswered() && end.closed_by == ClosedBy::Peer && ids.role == Role::Server {
        return found(Pattern::PeerGaveUpWaiting, end.idle_rx_ms);
    }
    if view.unanswered() && end.closed_by == ClosedBy::Local && ids.role == Role::Client {
        return found(Pattern::LocalGaveUpWaiting, end.idle_tx_ms);
    }
    if view.no_request() {
        return found(Pattern::NoRequest, end.end_age_ms);
    }
    if end.reason == Reason::FinPeerRst {
        return found(Pattern::WriteAfterPeerClose, None);
    }
    if let Some(idle_ms) = view.idle_ms().filter(|idle_ms| *idle_ms >= WAIT_MS) {
        match (end.closed_by, end.how) {
            (ClosedBy::Peer, How::Fin) => return found(Pattern::PeerIdleClose, Some(idle_ms)),
            (ClosedBy::Local, How::Fin) => return found(Pattern::LocalIdleClose, Some(idle_ms)),
            _ => (),
        }
    }
    if clean::is_clean(ids, end) {
        return found(Pattern::Normal, None);
    }
    None
}

/// The owner closed it by exiting, or by being killed.
fn owner_exits(conn: &Conn) -> bool {
    conn.closer.is_known()
        && conn.closer.flags & PF_EXITING != 0
        && conn.closer.tgid == conn.owner.tgid
}

struct View<'a> {
    ids: &'a Ids,
    end: &'a End,
}

impl View<'_> {
    /// A request was on its way or being worked on.
    fn unanswered(&self) -> bool {
        clean::unanswered(self.ids, self.end)
    }

    /// Since the last payload in either direction.
    fn idle_ms(&self) -> Option<u64> {
        match (self.end.idle_rx_ms, self.end.idle_tx_ms) {
            (Some(rx), Some(tx)) => Some(rx.min(tx)),
            (one, other) => one.or(other),
        }
    }

    /// Nothing for long, then we sent, and a RST came at once.
    fn is_silent_drop(&self) -> bool {
        let end = self.end;
        end.reason == Reason::RstPeer
            && end.how == How::Rst
            && end.idle_rx_ms.is_some_and(|rx| rx >= FORGOTTEN_MS)
            && end.idle_tx_ms.is_some_and(|tx| tx < AT_ONCE_MS)
    }

    /// Short ones are health checks and connections that were not needed after all.
    fn no_request(&self) -> bool {
        let end = self.end;
        self.ids.role == Role::Server
            && end.last_data == LastData::None
            && end.rx_bytes == Some(0)
            && end.how != How::Timeout
            && end.end_age_ms.is_some_and(|age| age >= WAIT_MS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::sample;

    fn of(change: impl FnOnce(&mut Ids, &mut End)) -> Option<Pattern> {
        let (mut ids, mut end) = (sample::ids(), sample::end());
        end.errno = None;
        end.write_errno = None;
        end.io_errors = 0;
        end.sigpipe = false;
        end.tx_after_fin_bytes = Some(0);
        end.tx_unacked_bytes = Some(0);
        end.tx_unsent_bytes = Some(0);
        end.rx_unread_bytes = Some(0);
        end.rst_reason = None;
        end.how = How::Fin;
        change(&mut ids, &mut end);
        pattern(&Conn::ZERO, &ids, &end).map(|found| found.pattern)
    }

    fn clocks(end: &mut End, rx: Option<u64>, tx: Option<u64>) {
        (end.idle_rx_ms, end.idle_tx_ms) = (rx, tx);
        end.last_data = match (rx, tx) {
            (None, None) => LastData::None,
            (Some(rx), Some(tx)) if rx < tx => LastData::Rx,
            (Some(_), None) => LastData::Rx,
            _ => LastData::Tx,
        };
    }

    #[test]
    fn a_client_that_hangs_up_before_its_answer_gave_up_waiting() {
        let pattern = of(|ids, end| {
            ids.role = Role::Server;
            (end.reason, end.closed_by) = (Reason::FinPeerRst, ClosedBy::Peer);
            clocks(end, Some(60_010), None);
        });
        assert_eq!(pattern, Some(Pattern::PeerGaveUpWaiting));
        let pattern = of(|ids, end| {
            ids.role = Role::Client;
            (end.reason, end.closed_by) = (Reason::FinLocal, ClosedBy::Local);
            clocks(end, None, Some(60_010));
        });
        assert_eq!(pattern, Some(Pattern::LocalGaveUpWaiting));
    }

    #[test]
    fn a_minute_of_work_is_no_timeout() {
        // The answer went out after 60 s, and the close came with it.
        for (reason, closed_by) in [
            (Reason::FinPeer, ClosedBy::Peer),
            (Reason::FinLocal, ClosedBy::Local),
        ] {
            let pattern = of(|ids, end| {
                ids.role = Role::Server;
                (end.reason, end.closed_by) = (reason, closed_by);
                end.end_age_ms = Some(60_000);
                clocks(end, Some(60_000), Some(4));
            });
            assert_eq!(pattern, Some(Pattern::Normal));
        }
    }

    #[test]
    fn an_idle_connection_is_closed_by_one_side() {
        for (closed_by, reason, expected) in [
            (ClosedBy::Peer, Reason::FinPeer, Pattern::PeerIdleClose),
            (ClosedBy::Local, Reason::FinLocal, Pattern::LocalIdleClose),
        ] {
            let pattern = of(|ids, end| {
                ids.role = Role::Server;
                (end.reason, end.closed_by) = (reason, closed_by);
                clocks(end, Some(75_020), Some(75_000));
            });
            assert_eq!(pattern, Some(expected));
        }
    }

    #[test]
    fn a_rst_after_long_silence_is_a_silent_drop() {
        let rst = |rx, tx| {
            of(|ids, end| {
                ids.role = Role::Client;
                (end.reason, end.closed_by) = (Reason::RstPeer, ClosedBy::Peer);
                end.how = How::Rst;
                clocks(end, Some(rx), Some(tx));
            })
        };
        assert_eq!(rst(400_000, 40), Some(Pattern::SilentDrop));
        assert_eq!(rst(4_000, 40), None);
        assert_eq!(rst(400_000, 400_000), None);
    }
}
