//! From evidence to a verdict: what ended the connection, who, and how.
//!
//! `closed_by` and `how` name the first end that this socket's kernel saw; `reason` names what cut
//! the connection short if anything did, else the first FIN. The rules are asked from top to
//! bottom, the first that fits answers:
//!
//! | in SYN_SENT | reason |
//! |---|---|
//! | ECONNABORTED | abort_admin |
//! | a RST came | connect_refused |
//! | ETIMEDOUT | connect_timeout |
//! | any other error | connect_unreachable |
//! | closed by the process | connect_cancelled |
//!
//! | once established | reason |
//! |---|---|
//! | RST for lack of memory | oom |
//! | ECONNABORTED | abort_admin |
//! | a real RST came | fin_peer_rst after the peer's FIN, else rst_peer |
//! | error, orphan, after our FIN | timeout_orphan |
//! | error, TCP_USER_TIMEOUT set | timeout_user |
//! | error, keepalive RST sent | timeout_keepalive |
//! | error, unacknowledged data | timeout_retrans |
//! | error, probes unanswered or data unsent | timeout_probe |
//! | RST on our FIN_WAIT2 timer | timeout_fin_wait |
//! | RST at a process's close | abort_unread, abort_linger0, disconnect, listener_closed |
//! | FINs | fin_both, fin_local, fin_peer |

use tracer_common::{
    conn::{Conn, flag},
    sock::{SockSnap, sock_bit, sock_flag},
    state,
};

use super::numbers::Bytes;
use crate::event::{
    names::RstCause,
    values::{ClosedBy, How, Reason},
};

const ECONNABORTED: i32 = 103;
const ETIMEDOUT: i32 = 110;

/// `sk_shutdown` of a socket that close() has gone through.
const SHUTDOWN_MASK: u8 = 3;

/// A last segment longer ago than this did not bring the present change about. The timer it is told
/// from runs for seconds; half a second at HZ=100, 50 ms at HZ=1000.
const SEGMENT_AGO_JIFFIES: u32 = 50;

/// A RST that this end sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SentRst {
    /// The kernel's reason; `None` where the kernel gives none.
    pub cause: Option<RstCause>,
    /// It answered a segment.
    pub answers: bool,
    /// It was traced before TCP_CLOSE.
    pub before_close: bool,
}

/// All that is known of an end.
#[derive(Clone, Copy, Debug)]
pub struct Evidence<'a> {
    pub conn: &'a Conn,
    pub sock: &'a SockSnap,
    pub bytes: &'a Bytes,
    pub sent: Option<SentRst>,
    /// tcp_receive_reset fired and it was a received RST, not the kernel's own abort.
    pub rst_received: bool,
}

/// What ended the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verdict {
    pub reason: Reason,
    pub closed_by: ClosedBy,
    pub how: How,
}

impl Verdict {
    const fn new(reason: Reason, closed_by: ClosedBy, how: How) -> Self {
        Verdict {
            reason,
            closed_by,
            how,
        }
    }
}

/// Whether the socket ended before it was established.
pub fn is_connect_failure(conn: &Conn, sock: &SockSnap) -> bool {
    conn.established_ns == 0
        && (sock.state == state::SYN_SENT
            || (sock.state == state::SYN_RECV && conn.has(flag::ACTIVE)))
}

/// Judges.
pub fn classify(evidence: &Evidence<'_>) -> Verdict {
    if is_connect_failure(evidence.conn, evidence.sock) {
        evidence.connect()
    } else {
        evidence.established()
    }
}

/// Whose FIN came first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum First {
    Local,
    Peer,
}

impl Evidence<'_> {
    fn connect(&self) -> Verdict {
        match self.sock.sk_err {
            ECONNABORTED => Verdict::new(Reason::AbortAdmin, ClosedBy::Local, How::None),
            _ if self.rst_received => {
                Verdict::new(Reason::ConnectRefused, ClosedBy::Peer, How::Rst)
            }
            ETIMEDOUT => Verdict::new(Reason::ConnectTimeout, ClosedBy::Kernel, How::Timeout),
            // The process was told of the ICMP error and closed the socket.
            0 if self.sock.sk_err_soft != 0 || self.conn.has(flag::ICMP_ERROR) => {
                Verdict::new(Reason::ConnectUnreachable, ClosedBy::Unknown, How::Icmp)
            }
            0 if self.sock.shutdown == SHUTDOWN_MASK => {
                Verdict::new(Reason::ConnectCancelled, ClosedBy::Local, How::None)
            }
            // The connect call itself failed: no port was free, no route for the SYN.
            0 => Verdict::new(Reason::Unknown, ClosedBy::Kernel, How::None),
            _ => Verdict::new(Reason::ConnectUnreachable, ClosedBy::Unknown, How::Icmp),
        }
    }

    fn established(&self) -> Verdict {
        let first = self.first();
        // What cuts the connection short does not change who ended it first.
        let cut = |reason, closed_by, how| match first {
            Some(First::Local) => Verdict::new(reason, ClosedBy::Local, How::Fin),
            Some(First::Peer) => Verdict::new(reason, ClosedBy::Peer, How::Fin),
            None => Verdict::new(reason, closed_by, how),
        };
        let sent = |cause| self.sent.is_some_and(|rst| rst.cause == Some(cause));

        if sent(RstCause::AbortOnMemory) {
            return cut(Reason::Oom, ClosedBy::Kernel, How::Rst);
        }
        if self.sock.sk_err == ECONNABORTED {
            return cut(Reason::AbortAdmin, ClosedBy::Local, How::Rst);
        }
        if self.rst_received {
            return match first {
                Some(First::Peer) => Verdict::new(Reason::FinPeerRst, ClosedBy::Peer, How::Fin),
                _ => cut(Reason::RstPeer, ClosedBy::Peer, How::Rst),
            };
        }
        if let Some(reason) = self.timeout(first) {
            return cut(reason, ClosedBy::Kernel, How::Timeout);
        }
        if self.fin_wait_timer() {
            return Verdict::new(Reason::TimeoutFinWait, ClosedBy::Local, How::Fin);
        }
        if let Some(reason) = self.abort(first) {
            let how = if self.sock.has(sock_bit::REPAIR) {
                How::None
            } else {
                How::Rst
            };
            return cut(reason, ClosedBy::Local, how);
        }
        match first {
            Some(First::Local) if self.conn.has(flag::CLOSING) => {
                Verdict::new(Reason::FinBoth, ClosedBy::Local, How::Fin)
            }
            Some(First::Local) => Verdict::new(Reason::FinLocal, ClosedBy::Local, How::Fin),
            Some(First::Peer) => Verdict::new(Reason::FinPeer, ClosedBy::Peer, How::Fin),
            None => Verdict::new(Reason::Unknown, ClosedBy::Unknown, How::None),
        }
    }

    fn first(&self) -> Option<First> {
        let conn = self.conn;
        match (conn.has(flag::LOCAL_FIN), conn.has(flag::PEER_FIN)) {
            (true, false) => Some(First::Local),
            (false, true) => Some(First::Peer),
            (true, true) if conn.has(flag::CLOSING) => Some(First::Local),
            // A FIN without a time was there before tracing began.
            (true, true) if conn.local_fin_ns < conn.peer_fin_ns => Some(First::Local),
            (true, true) => Some(First::Peer),
            // Not tracked before its end: the state that was left tells.
            (false, false) => match self.sock.state {
                state::FIN_WAIT1 | state::FIN_WAIT2 | state::CLOSING => Some(First::Local),
                state::CLOSE_WAIT | state::LAST_ACK => Some(First::Peer),
                _ => None,
            },
        }
    }

    /// The FIN_WAIT2 timer of an orphan: with a RST, or silently if tcp_fin_timeout or TCP_LINGER2 is
    /// above 60 s. Otherwise an orphan leaves FIN_WAIT2 on a segment.
    fn fin_wait_timer(&self) -> bool {
        let sock = self.sock;
        if sock.state != state::FIN_WAIT2 || sock.sk_err != 0 {
            return false;
        }
        let with_rst = self.sent.is_some_and(|rst| {
            rst.before_close && !rst.answers && rst.cause == Some(RstCause::State)
        });
        let silently = self.sent.is_none()
            && sock.has_sock_flag(sock_flag::DEAD)
            && !sock.has_sock_flag(sock_flag::DONE)
            && sock.jiffies.wrapping_sub(sock.rcv_tstamp) > SEGMENT_AGO_JIFFIES;
        with_rst || silently
    }

    /// The kernel gave up: an error that no segment and no process brought. It is ETIMEDOUT, or
    /// what ICMP had reported before.
    fn timeout(&self, first: Option<First>) -> Option<Reason> {
        let sock = self.sock;
        if sock.sk_err == 0
            || self.conn.has(flag::CLOSE_IN_TASK)
            || self.conn.has(flag::RST_RECEIVED)
        {
            return None;
        }
        let keepalive_rst = self.sent.is_some_and(|rst| {
            rst.before_close
                && !rst.answers
                && matches!(rst.cause, Some(RstCause::KeepaliveTimeout) | None)
        });
        // An error may be pending from ICMP (IP_RECVERR) while FINs end the connection: a timer only
        // gives up what is still outstanding, our own FIN included.
        if first == Some(First::Local) && sock.snd_una == sock.write_seq && !keepalive_rst {
            return None;
        }
        if sock.state == state::LAST_ACK && sock.snd_una == sock.write_seq {
            return None;
        }
        let unacked = self.bytes.tx_unacked.unwrap_or(0) > 0 || sock.retransmits > 0;
        let probed = sock.probes_out > 0 || self.bytes.tx_unsent.unwrap_or(0) > 0;
        if first.is_some() && sock.has_sock_flag(sock_flag::DEAD) {
            Some(Reason::TimeoutOrphan)
        } else if sock.user_timeout_ms != 0 {
            Some(Reason::TimeoutUser)
        } else if keepalive_rst {
            Some(Reason::TimeoutKeepalive)
        } else if unacked {
            Some(Reason::TimeoutRetrans)
        } else if probed {
            Some(Reason::TimeoutProbe)
        } else {
            None
        }
    }

    /// A process cut it with a RST, or without one in repair mode.
    fn abort(&self, first: Option<First>) -> Option<Reason> {
        let sock = self.sock;
        let by_call = self.conn.has(flag::CLOSE_IN_TASK);
        let active = self.sent.filter(|rst| !rst.answers);
        // After our own FIN only the RST tells an abort from the ordinary end.
        let by_rst = first == Some(First::Local)
            && active.is_some_and(|rst| {
                !rst.before_close
                    && matches!(
                        rst.cause,
                        Some(
                            RstCause::AbortOnClose | RstCause::State | RstCause::DisconnectWithData
                        )
                    )
            });
        if !by_call && !by_rst {
            return None;
        }
        if sock.has(sock_bit::REPAIR) {
            return Some(Reason::Disconnect);
        }
        if self.conn.has(flag::PASSIVE) && !sock.has(sock_bit::HAS_SOCKET) {
            return Some(Reason::ListenerClosed);
        }
        if sock.shutdown != SHUTDOWN_MASK {
            return Some(Reason::Disconnect);
        }
        if active.is_some_and(|rst| rst.cause == Some(RstCause::AbortOnClose))
            || self.bytes.rx_unread.unwrap_or(0) > 0
        {
            return Some(Reason::AbortUnread);
        }
        if sock.has(sock_bit::LINGER0) {
            return Some(Reason::AbortLinger0);
        }
        // close() leaves ESTABLISHED for FIN_WAIT1 in every other case.
        active.map(|_| Reason::Disconnect)
    }
}
