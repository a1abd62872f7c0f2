//! What kind of end it looks like, and which clock would be round if a timeout did it.
//!
//! A pattern says who stopped waiting for whom. It is told from the state of the conversation at
//! the first end, not from how long the connection lived: a request that takes a minute to be
//! answered ends with its answer, and then no clock of waiting is running.

use tracer_common::{conn::Conn, task::PF_EXITING};

use super::{clean, stall::Silent};
use crate::event::{
    End, Ids,
    values::{ClosedBy, How, Pattern, Reason, Role},
};

/// A conversation that paused for less than this was not waiting for anything: shorter than any
/// timeout that is in use, longer than a scheduling delay.
pub(super) const WAIT_MS: u64 = 1_000;

/// Idle for so long that a box between the ends may have forgotten the connection: the shortest
/// idle timeout of a NAT or load balancer in use.
const FORGOTTEN_MS: u64 = 60_000;

/// A RST that answers what was sent this recently answers it.
const AT_ONCE_MS: u64 = 2_000;

/// Who sends and hangs up within this is not waiting for an answer: it said goodbye, with TLS's
/// close_notify or a QUIT. Longer than a scheduling delay between the two.
const GOODBYE_MS: u64 = 20;

/// As much as a server may have said to a client that never asked: a greeting, or that it is tired
/// of waiting (a 408). One that only ever sends is at work.
const NOTICE_BYTES: u64 = 1_024;

/// A pattern, and the clock that a timeout of this pattern would have run on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Found {
    pub pattern: Pattern,
    /// Milliseconds at the first end.
    pub clock_ms: Option<u64>,
}

/// The first pattern that fits. `silent`: the peer had fallen silent, as far as that was seen.
pub fn pattern(conn: &Conn, ids: &Ids, end: &End, silent: Option<&Silent>) -> Option<Found> {
    let exits = owner_exits(conn) || owner_was_told_to(ids, end);
    if let Some(idle_ms) = silent.and_then(forgotten_ms)
        && end.how == How::Timeout
        && !exits
    {
        return Some(Found {
            pattern: Pattern::SilentDrop,
            clock_ms: Some(idle_ms),
        });
    }
    let pattern = View { ids, end }.pattern(exits)?;
    Some(Found {
        pattern,
        clock_ms: clock_ms(pattern, ids, end),
    })
}

/// What it would be if the owner had closed it while it went on living.
pub fn but_for_exit(ids: &Ids, end: &End) -> Option<Pattern> {
    View { ids, end }.pattern(false)
}

/// The clock of an end with this pattern.
pub fn clock_ms(pattern: Pattern, ids: &Ids, end: &End) -> Option<u64> {
    match pattern {
        Pattern::DeadPeer
        | Pattern::SilentDrop
        | Pattern::PeerGaveUpWaiting
        | Pattern::LocalNoAnswer => end.idle_rx_ms,
        // The send clock starts again when data is sent again.
        Pattern::LocalGaveUpWaiting if View { ids, end }.sent_again() => None,
        Pattern::LocalGaveUpWaiting | Pattern::PeerNoAnswer => end.idle_tx_ms,
        Pattern::NoRequest | Pattern::MaxAge => end.end_age_ms,
        Pattern::WriteAfterPeerClose | Pattern::PeerIdleClose | Pattern::LocalIdleClose => {
            View { ids, end }.idle_ms()
        }
        Pattern::ProcessExit | Pattern::Normal => None,
    }
}

/// The owner closed it by exiting, or by being killed.
fn owner_exits(conn: &Conn) -> bool {
    conn.closer.is_known()
        && conn.closer.flags & PF_EXITING != 0
        && conn.closer.tgid == conn.owner.tgid
}

/// Nothing for long, then we sent, and nothing ever answered: how long that was.
fn forgotten_ms(silent: &Silent) -> Option<u64> {
    silent
        .idle_before_ms
        .filter(|idle_ms| *idle_ms >= FORGOTTEN_MS)
}

/// It closed it because it had just been sent a signal that asks a process to end.
fn owner_was_told_to(ids: &Ids, end: &End) -> bool {
    end.closed_by == ClosedBy::Local
        && end.killer_signal.0.is_some()
        && ids.closer_pid.is_some()
        && ids.closer_pid == ids.pid
}

struct View<'a> {
    ids: &'a Ids,
    end: &'a End,
}

impl View<'_> {
    /// The client said by its FIN that it had said all, and got its answer after it: nobody gave up. What had been
    /// received before the FIN is not known from what came after, so a client that had been answered before is not
    /// recognised.
    fn was_answered_after_fin(&self) -> bool {
        let end = self.end;
        match (self.ids.role, end.reason) {
            (Role::Server, Reason::FinPeer) => {
                end.tx_after_fin_bytes.is_some_and(|bytes| bytes > 0)
                    && end.tx_unacked_bytes == Some(0)
                    && end.tx_unsent_bytes == Some(0)
            }
            (Role::Client, Reason::FinLocal) => {
                end.idle_rx_ms.is_none()
                    && end.rx_bytes.is_some_and(|bytes| bytes > 0)
                    && end.rx_unread_bytes == Some(0)
                    && !clean::sent_rst(end)
            }
            _ => false,
        }
    }

    fn pattern(&self, owner_exits: bool) -> Option<Pattern> {
        let View { ids, end } = *self;
        if owner_exits {
            return Some(Pattern::ProcessExit);
        }
        if end.how == How::Timeout && end.reason != Reason::ConnectTimeout {
            return Some(Pattern::DeadPeer);
        }
        if self.is_silent_drop() {
            return Some(Pattern::SilentDrop);
        }
        if self.was_answered_after_fin() {
            return None;
        }
        if clean::unanswered(ids, end) && !self.says_goodbye() {
            match (ids.role, end.closed_by) {
                (Role::Server, ClosedBy::Peer) => return Some(Pattern::PeerGaveUpWaiting),
                (Role::Client, ClosedBy::Local) => return Some(Pattern::LocalGaveUpWaiting),
                (Role::Client, ClosedBy::Peer) => return Some(Pattern::PeerNoAnswer),
                (Role::Server, ClosedBy::Local) => return Some(Pattern::LocalNoAnswer),
                _ => (),
            }
        }
        if self.no_request() {
            return Some(Pattern::NoRequest);
        }
        if end.reason == Reason::FinPeerRst {
            return Some(Pattern::WriteAfterPeerClose);
        }
        if self.idle_ms().is_some() {
            match (end.closed_by, end.how) {
                (ClosedBy::Peer, How::Fin) => return Some(Pattern::PeerIdleClose),
                (ClosedBy::Peer, How::Rst) if end.reason == Reason::RstPeer => {
                    return Some(Pattern::PeerIdleClose);
                }
                (ClosedBy::Local, How::Fin) => return Some(Pattern::LocalIdleClose),
                (ClosedBy::Local, How::Rst) if end.reason == Reason::AbortLinger0 => {
                    return Some(Pattern::LocalIdleClose);
                }
                _ => (),
            }
        }
        clean::is_clean(ids, end).then_some(Pattern::Normal)
    }

    /// What was not acknowledged was retransmitted.
    fn sent_again(&self) -> bool {
        self.end.tx_unacked_bytes.is_some_and(|bytes| bytes > 0)
            && self.end.retrans.is_some_and(|count| count > 0)
    }

    /// The client's last words went out together with its FIN: no answer was expected.
    fn says_goodbye(&self) -> bool {
        let last_words_ms = match self.ids.role {
            Role::Server => self.end.idle_rx_ms,
            Role::Client => self.end.idle_tx_ms,
            Role::Unknown => None,
        };
        self.end.how == How::Fin && last_words_ms.is_some_and(|ms| ms < GOODBYE_MS)
    }

    /// Since the last payload in either direction, a client's goodbye left out; `None`: the
    /// conversation had not paused.
    fn idle_ms(&self) -> Option<u64> {
        let View { ids, end } = *self;
        let (rx, tx) = (end.idle_rx_ms, end.idle_tx_ms);
        let goodbye = self.says_goodbye();
        let idle_ms = match (ids.role, end.closed_by) {
            (Role::Server, ClosedBy::Peer) if goodbye => tx,
            (Role::Client, ClosedBy::Local) if goodbye => rx,
            _ => match (rx, tx) {
                (Some(rx), Some(tx)) => Some(rx.min(tx)),
                (one, other) => one.or(other),
            },
        };
        idle_ms.filter(|idle_ms| *idle_ms >= WAIT_MS)
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
        let (asked, told) = match self.ids.role {
            Role::Server => (end.rx_bytes, end.tx_bytes),
            Role::Client => (end.tx_bytes, end.rx_bytes),
            Role::Unknown => (None, None),
        };
        asked == Some(0)
            && end.tx_unsent_bytes == Some(0)
            && told.is_some_and(|bytes| bytes <= NOTICE_BYTES)
            && matches!(end.how, How::Fin | How::Rst)
            && end.end_age_ms.is_some_and(|age| age >= WAIT_MS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{core::sample, event::values::LastData};

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
        pattern(&Conn::ZERO, &ids, &end, None).map(|found| found.pattern)
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
            end.rx_bytes = Some(0);
            clocks(end, None, Some(60_010));
        });
        assert_eq!(pattern, Some(Pattern::LocalGaveUpWaiting));
    }

    #[test]
    fn a_server_that_hangs_up_before_its_answer_gives_none() {
        let end_of = |role, closed_by, how, ms| {
            of(|ids, end| {
                ids.role = role;
                (end.reason, end.closed_by) = (Reason::Unknown, closed_by);
                end.how = how;
                match role {
                    Role::Server => clocks(end, Some(ms), None),
                    _ => clocks(end, None, Some(ms)),
                }
            })
        };
        for how in [How::Fin, How::Rst] {
            let server = end_of(Role::Server, ClosedBy::Local, how, 30_000);
            assert_eq!(server, Some(Pattern::LocalNoAnswer));
            let client = end_of(Role::Client, ClosedBy::Peer, how, 30_000);
            assert_eq!(client, Some(Pattern::PeerNoAnswer));
        }
    }

    #[test]
    fn retransmissions_hide_how_long_we_waited() {
        let (ids, mut end) = (sample::ids(), sample::end());
        end.idle_tx_ms = Some(1_300);
        let clock_ms = |end: &End| clock_ms(Pattern::LocalGaveUpWaiting, &ids, end);
        assert_eq!(clock_ms(&end), Some(1_300));
        (end.retrans, end.tx_unacked_bytes) = (Some(4), Some(17));
        assert_eq!(clock_ms(&end), None);
    }

    #[test]
    fn a_goodbye_awaits_no_answer() {
        // TLS's close_notify and then the FIN, after 90 s in a pool.
        let pooled = |role, closed_by, reason| {
            of(|ids, end| {
                ids.role = role;
                (end.reason, end.closed_by) = (reason, closed_by);
                match role {
                    Role::Server => clocks(end, Some(0), Some(90_004)),
                    _ => clocks(end, Some(90_004), Some(0)),
                }
            })
        };
        assert_eq!(
            pooled(Role::Server, ClosedBy::Peer, Reason::FinPeer),
            Some(Pattern::PeerIdleClose)
        );
        assert_eq!(
            pooled(Role::Client, ClosedBy::Local, Reason::FinLocal),
            Some(Pattern::LocalIdleClose)
        );
        let at_once = of(|ids, end| {
            ids.role = Role::Server;
            (end.reason, end.closed_by) = (Reason::FinPeer, ClosedBy::Peer);
            clocks(end, Some(0), Some(8));
        });
        assert_eq!(at_once, None);
    }

    #[test]
    fn a_client_that_never_asked_is_no_request_at_both_ends() {
        let silent = |role, told, age_ms| {
            of(|ids, end| {
                ids.role = role;
                (end.reason, end.closed_by) = (Reason::FinLocal, ClosedBy::Local);
                end.end_age_ms = Some(age_ms);
                (end.rx_bytes, end.tx_bytes) = match role {
                    Role::Server => (Some(0), Some(told)),
                    _ => (Some(told), Some(0)),
                };
                match (role, told) {
                    (_, 0) => clocks(end, None, None),
                    (Role::Server, _) => clocks(end, None, Some(4)),
                    _ => clocks(end, Some(4), None),
                }
            })
        };
        for role in [Role::Server, Role::Client] {
            assert_eq!(silent(role, 0, 60_000), Some(Pattern::NoRequest));
            // A 408.
            assert_eq!(silent(role, 212, 60_000), Some(Pattern::NoRequest));
            // A server that talks and a client that listens.
            assert_eq!(silent(role, 50_000, 60_000), Some(Pattern::Normal));
            // A health check.
            assert_eq!(silent(role, 0, 5), Some(Pattern::Normal));
        }
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
    fn an_idle_connection_may_be_reset() {
        for (closed_by, reason, expected) in [
            (
                ClosedBy::Peer,
                Reason::RstPeer,
                Some(Pattern::PeerIdleClose),
            ),
            (
                ClosedBy::Local,
                Reason::AbortLinger0,
                Some(Pattern::LocalIdleClose),
            ),
            (ClosedBy::Local, Reason::AbortUnread, None),
            (ClosedBy::Local, Reason::AbortAdmin, None),
        ] {
            let pattern = of(|ids, end| {
                ids.role = Role::Server;
                (end.reason, end.closed_by) = (reason, closed_by);
                end.how = How::Rst;
                clocks(end, Some(240_020), Some(240_000));
            });
            assert_eq!(pattern, expected, "{reason}");
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
        assert_eq!(rst(4_000, 40), Some(Pattern::PeerNoAnswer));
        assert_eq!(rst(400_000, 400_000), Some(Pattern::PeerIdleClose));
    }

    #[test]
    fn silence_after_long_idleness_is_a_silent_drop_too() {
        let after = |idle_ms| {
            let mut silent = sample::silent();
            silent.idle_before_ms = idle_ms;
            let mut end = sample::end();
            (end.reason, end.how) = (Reason::TimeoutRetrans, How::Timeout);
            pattern(&Conn::ZERO, &sample::ids(), &end, Some(&silent)).map(|found| found.pattern)
        };
        assert_eq!(after(Some(75_000)), Some(Pattern::SilentDrop));
        assert_eq!(after(Some(50)), Some(Pattern::DeadPeer));
        assert_eq!(after(None), Some(Pattern::DeadPeer));
    }

    #[test]
    fn a_half_close_that_is_answered_is_no_giving_up() {
        let server = |change: fn(&mut End)| {
            of(|ids, end| {
                ids.role = Role::Server;
                end.reason = Reason::FinPeer;
                (end.closed_by, end.how) = (ClosedBy::Peer, How::Fin);
                (end.last_data, end.idle_rx_ms, end.idle_tx_ms) = (LastData::Rx, Some(3_000), None);
                (end.tx_after_fin_bytes, end.tx_unacked_bytes) = (Some(500), Some(0));
                end.tx_unsent_bytes = Some(0);
                change(end);
            })
        };
        assert_eq!(server(|_| ()), None);
        let gave_up = Some(Pattern::PeerGaveUpWaiting);
        assert_eq!(server(|end| end.tx_after_fin_bytes = Some(0)), gave_up);
        assert_eq!(server(|end| end.tx_unacked_bytes = Some(500)), gave_up);
        assert_eq!(server(|end| end.reason = Reason::FinPeerRst), gave_up);
        let client = |rx_bytes: u64| {
            of(|ids, end| {
                ids.role = Role::Client;
                end.reason = Reason::FinLocal;
                (end.closed_by, end.how) = (ClosedBy::Local, How::Fin);
                (end.last_data, end.idle_rx_ms, end.idle_tx_ms) = (LastData::Tx, None, Some(3_000));
                end.rx_bytes = Some(rx_bytes);
                end.rx_unread_bytes = Some(0);
            })
        };
        assert_eq!(client(500), None);
        assert_eq!(client(0), Some(Pattern::LocalGaveUpWaiting));
    }
}
