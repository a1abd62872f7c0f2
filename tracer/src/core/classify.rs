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

use super::numbers::{self, Bytes};
use crate::event::{
    names::RstCause,
    values::{ClosedBy, How, Reason},
};

const ECONNABORTED: i32 = 103;
const ETIMEDOUT: i32 = 110;
const EPIPE: i32 = 32;
const ECONNRESET: i32 = 104;

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

        if sent(RstCause::AbortOnMemory) || self.conn.has(flag::OOM) {
            return cut(Reason::Oom, ClosedBy::Kernel, How::Rst);
        }
        if self.sock.sk_err == ECONNABORTED {
            return cut(Reason::AbortAdmin, ClosedBy::Local, How::Rst);
        }
        if self.rst_received || self.rst_unseen() {
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
            Some(First::Local)
                if self.conn.has(flag::CLOSING) || self.sock.state == state::CLOSING =>
            {
                Verdict::new(Reason::FinBoth, ClosedBy::Local, How::Fin)
            }
            Some(First::Local) => Verdict::new(Reason::FinLocal, ClosedBy::Local, How::Fin),
            Some(First::Peer) => Verdict::new(Reason::FinPeer, ClosedBy::Peer, How::Fin),
            None => Verdict::new(Reason::Unknown, ClosedBy::Unknown, How::None),
        }
    }

    /// The run that would have seen the RST was skipped: nothing else brings an established end this errno.
    fn rst_unseen(&self) -> bool {
        matches!(self.sock.sk_err, ECONNRESET | EPIPE)
            && !self.conn.has(flag::RST_RECEIVED | flag::CLOSE_IN_TASK)
            && !self.sent.is_some_and(|rst| rst.answers)
            && !self.sock.has(sock_bit::MPTCP)
    }

    fn first(&self) -> Option<First> {
        let conn = self.conn;
        match (conn.has(flag::LOCAL_FIN), conn.has(flag::PEER_FIN)) {
            // The run that would have seen the peer's FIN was skipped: this state is reached by it alone.
            (true, false) if numbers::peer_fin_unseen(conn, self.sock) => Some(First::Peer),
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
    /// above 60 s. Otherwise an orphan leaves FIN_WAIT2 on a segment, or within close() if it was
    /// shut down before.
    fn fin_wait_timer(&self) -> bool {
        let sock = self.sock;
        if sock.state != state::FIN_WAIT2 || sock.sk_err != 0 {
            return false;
        }
        let with_rst = self.sent.is_some_and(|rst| {
            // Without reasons: nothing else resets there before the end.
            rst.before_close && !rst.answers && matches!(rst.cause, Some(RstCause::State) | None)
        });
        let silently = self.sent.is_none()
            && sock.has_sock_flag(sock_flag::DEAD)
            && !sock.has_sock_flag(sock_flag::DONE)
            && !sock.has(sock_bit::OWNED)
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

#[cfg(test)]
mod tests {
    use super::*;

    /// An end, changed from an ordinary one.
    struct Case {
        conn: Conn,
        sock: SockSnap,
        sent: Option<SentRst>,
        rst_received: bool,
    }

    impl Case {
        fn established(state: u8) -> Self {
            Case {
                conn: Conn {
                    established_ns: 1,
                    flags: flag::PASSIVE,
                    ..Conn::ZERO
                },
                sock: SockSnap {
                    state,
                    bits: sock_bit::FULL | sock_bit::HAS_SOCKET,
                    ..SockSnap::ZERO
                },
                sent: None,
                rst_received: false,
            }
        }

        fn connecting(err: i32) -> Self {
            let mut case = Case::established(state::SYN_SENT);
            case.conn.established_ns = 0;
            case.conn.flags = flag::ACTIVE;
            case.sock.sk_err = err;
            case
        }

        fn local_fin(mut self, at_ns: u64) -> Self {
            self.conn.flags |= flag::LOCAL_FIN;
            self.conn.local_fin_ns = at_ns;
            self
        }

        fn peer_fin(mut self, at_ns: u64) -> Self {
            self.conn.flags |= flag::PEER_FIN;
            self.conn.peer_fin_ns = at_ns;
            self.sock.sk_flags |= sock_flag::DONE;
            self
        }

        fn orphan(mut self) -> Self {
            self.sock.sk_flags |= sock_flag::DEAD;
            self.sock.bits &= !sock_bit::HAS_SOCKET;
            self
        }

        fn err(mut self, err: i32) -> Self {
            self.sock.sk_err = err;
            self
        }

        fn unacked(mut self) -> Self {
            (self.sock.snd_nxt, self.sock.write_seq) = (1000, 1000);
            self
        }

        fn closed_by_call(mut self, shutdown: u8) -> Self {
            self.conn.flags |= flag::CLOSE_IN_TASK;
            self.sock.shutdown = shutdown;
            self
        }

        fn sent(mut self, cause: RstCause, answers: bool, before_close: bool) -> Self {
            self.sent = Some(SentRst {
                cause: Some(cause),
                answers,
                before_close,
            });
            self
        }

        /// A RST of a kernel that gives no reasons.
        fn sent_unexplained(mut self, before_close: bool) -> Self {
            self.sent = Some(SentRst {
                cause: None,
                answers: false,
                before_close,
            });
            self
        }

        fn received(mut self, err: i32) -> Self {
            self.rst_received = true;
            self.conn.flags |= flag::RST_RECEIVED;
            self.err(err)
        }

        fn verdict(&self) -> (&'static str, &'static str, &'static str) {
            let bytes = numbers::bytes(&self.conn, &self.sock);
            let verdict = classify(&Evidence {
                conn: &self.conn,
                sock: &self.sock,
                bytes: &bytes,
                sent: self.sent,
                rst_received: self.rst_received,
            });
            (
                verdict.reason.as_str(),
                verdict.closed_by.as_str(),
                verdict.how.as_str(),
            )
        }
    }

    #[test]
    fn connects() {
        let mut closed = Case::connecting(0);
        closed.sock.shutdown = SHUTDOWN_MASK;
        let mut told_by_icmp = Case::connecting(0);
        told_by_icmp.sock.shutdown = SHUTDOWN_MASK;
        told_by_icmp.conn.flags |= flag::ICMP_ERROR;
        for (case, expected) in [
            (closed, ("connect_cancelled", "local", "none")),
            (told_by_icmp, ("connect_unreachable", "unknown", "icmp")),
            // The call itself failed: no free port.
            (Case::connecting(0), ("unknown", "kernel", "none")),
            (
                Case::connecting(0).received(111),
                ("connect_refused", "peer", "rst"),
            ),
            // The same errno by ICMP port unreachable.
            (
                Case::connecting(111),
                ("connect_unreachable", "unknown", "icmp"),
            ),
            (
                Case::connecting(113),
                ("connect_unreachable", "unknown", "icmp"),
            ),
            (
                Case::connecting(110),
                ("connect_timeout", "kernel", "timeout"),
            ),
            (Case::connecting(103), ("abort_admin", "local", "none")),
        ] {
            assert_eq!(case.verdict(), expected);
        }
    }

    #[test]
    fn fins() {
        let mut both = Case::established(state::CLOSING).local_fin(2).peer_fin(3);
        both.conn.flags |= flag::CLOSING;
        for (case, expected) in [
            (
                Case::established(state::FIN_WAIT2).local_fin(2).orphan(),
                ("fin_local", "local", "fin"),
            ),
            (
                Case::established(state::LAST_ACK)
                    .peer_fin(2)
                    .local_fin(3)
                    .orphan(),
                ("fin_peer", "peer", "fin"),
            ),
            (both, ("fin_both", "local", "fin")),
            // A peer's FIN went unseen.
            (
                Case::established(state::CLOSING).local_fin(3).orphan(),
                ("fin_both", "local", "fin"),
            ),
            (
                Case::established(state::LAST_ACK).local_fin(3).orphan(),
                ("fin_peer", "peer", "fin"),
            ),
            // Not tracked: the state that was left tells.
            (
                Case::established(state::LAST_ACK),
                ("fin_peer", "peer", "fin"),
            ),
        ] {
            assert_eq!(case.verdict(), expected);
        }
    }

    #[test]
    fn a_received_rst_does_not_change_who_was_first() {
        for (case, expected) in [
            (
                Case::established(state::ESTABLISHED).received(104),
                ("rst_peer", "peer", "rst"),
            ),
            (
                Case::established(state::CLOSE_WAIT)
                    .peer_fin(2)
                    .received(32),
                ("fin_peer_rst", "peer", "fin"),
            ),
            (
                Case::established(state::FIN_WAIT2)
                    .local_fin(2)
                    .received(104),
                ("rst_peer", "local", "fin"),
            ),
            // The RST itself went unseen.
            (
                Case::established(state::ESTABLISHED).err(104),
                ("rst_peer", "peer", "rst"),
            ),
            (
                Case::established(state::CLOSE_WAIT).peer_fin(2).err(32),
                ("fin_peer_rst", "peer", "fin"),
            ),
        ] {
            assert_eq!(case.verdict(), expected);
        }
    }

    #[test]
    fn data_for_a_closed_end_is_no_received_rst() {
        // The kernel goes through tcp_reset itself; join.rs has taken rst_received back.
        let mut case = Case::established(state::FIN_WAIT2)
            .local_fin(2)
            .err(104)
            .sent(RstCause::AbortOnData, true, false);
        case.conn.flags |= flag::RST_RECEIVED;
        assert_eq!(case.verdict(), ("fin_local", "local", "fin"));
    }

    #[test]
    fn aborts() {
        let mut unread = Case::established(state::ESTABLISHED).closed_by_call(3);
        unread.sock.rcv_nxt = 5;
        let mut unread_after_fin = Case::established(state::CLOSE_WAIT)
            .peer_fin(2)
            .closed_by_call(3);
        unread_after_fin.sock.rcv_nxt = 6;
        let mut linger = Case::established(state::ESTABLISHED).closed_by_call(3);
        linger.sock.bits |= sock_bit::LINGER0;
        let mut never_accepted = Case::established(state::ESTABLISHED).closed_by_call(0);
        never_accepted.sock.bits &= !sock_bit::HAS_SOCKET;
        let mut linger_after_fin =
            Case::established(state::FIN_WAIT2)
                .local_fin(2)
                .sent(RstCause::State, false, false);
        linger_after_fin.sock.bits |= sock_bit::LINGER0;
        linger_after_fin.sock.shutdown = 3;
        let mut repair = Case::established(state::ESTABLISHED).closed_by_call(3);
        let mut oom_without_reasons = Case::established(state::FIN_WAIT1)
            .local_fin(2)
            .orphan()
            .sent_unexplained(true);
        oom_without_reasons.conn.flags |= flag::OOM;
        repair.sock.bits |= sock_bit::REPAIR;
        for (case, expected) in [
            (unread, ("abort_unread", "local", "rst")),
            (unread_after_fin, ("abort_unread", "peer", "fin")),
            (linger, ("abort_linger0", "local", "rst")),
            (linger_after_fin, ("abort_linger0", "local", "fin")),
            (
                Case::established(state::ESTABLISHED).closed_by_call(0),
                ("disconnect", "local", "rst"),
            ),
            (never_accepted, ("listener_closed", "local", "rst")),
            (
                Case::established(state::ESTABLISHED)
                    .closed_by_call(0)
                    .err(103),
                ("abort_admin", "local", "rst"),
            ),
            (
                Case::established(state::ESTABLISHED)
                    .closed_by_call(3)
                    .sent(RstCause::AbortOnMemory, false, false),
                ("oom", "kernel", "rst"),
            ),
            (repair, ("disconnect", "local", "none")),
            (oom_without_reasons, ("oom", "local", "fin")),
        ] {
            assert_eq!(case.verdict(), expected);
        }
    }

    #[test]
    fn timeouts() {
        let mut user = Case::established(state::ESTABLISHED).err(110).unacked();
        user.sock.user_timeout_ms = 3000;
        let mut probe = Case::established(state::ESTABLISHED).err(110);
        probe.sock.probes_out = 5;
        let mut silent_timer = Case::established(state::FIN_WAIT2).local_fin(2).orphan();
        silent_timer.sock.jiffies = 1000;
        // close() long after shutdown(WR): no timer.
        let mut close_in_fin_wait2 = Case::established(state::FIN_WAIT2).local_fin(2).orphan();
        close_in_fin_wait2.sock.jiffies = 1000;
        close_in_fin_wait2.sock.bits |= sock_bit::OWNED;
        for (case, expected) in [
            (
                Case::established(state::FIN_WAIT2)
                    .local_fin(2)
                    .orphan()
                    .sent_unexplained(true),
                ("timeout_fin_wait", "local", "fin"),
            ),
            (
                Case::established(state::ESTABLISHED).err(110).unacked(),
                ("timeout_retrans", "kernel", "timeout"),
            ),
            // What ICMP had reported takes the place of ETIMEDOUT.
            (
                Case::established(state::ESTABLISHED).err(113).unacked(),
                ("timeout_retrans", "kernel", "timeout"),
            ),
            (
                Case::established(state::CLOSE_WAIT)
                    .peer_fin(2)
                    .err(110)
                    .unacked(),
                ("timeout_retrans", "peer", "fin"),
            ),
            (user, ("timeout_user", "kernel", "timeout")),
            (probe, ("timeout_probe", "kernel", "timeout")),
            (
                Case::established(state::ESTABLISHED).err(110).sent(
                    RstCause::KeepaliveTimeout,
                    false,
                    true,
                ),
                ("timeout_keepalive", "kernel", "timeout"),
            ),
            (
                Case::established(state::FIN_WAIT1)
                    .local_fin(2)
                    .orphan()
                    .err(110)
                    .unacked(),
                ("timeout_orphan", "local", "fin"),
            ),
            (
                Case::established(state::FIN_WAIT2)
                    .local_fin(2)
                    .orphan()
                    .sent(RstCause::State, false, true),
                ("timeout_fin_wait", "local", "fin"),
            ),
            (silent_timer, ("timeout_fin_wait", "local", "fin")),
            (close_in_fin_wait2, ("fin_local", "local", "fin")),
            // An error that ICMP left pending is no timeout when FINs end the connection.
            (
                Case::established(state::FIN_WAIT2)
                    .local_fin(2)
                    .orphan()
                    .err(113),
                ("fin_local", "local", "fin"),
            ),
        ] {
            assert_eq!(case.verdict(), expected);
        }
    }
}
