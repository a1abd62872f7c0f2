//! Byte counts and clocks from the kernel's sequence numbers and jiffies.
//!
//! The kernel counts SYN and FIN as bytes: `bytes_acked` has our SYN if we opened the connection,
//! and our FIN once it is acknowledged; `bytes_received` has the peer's FIN. Nothing here wraps:
//! what cannot be known is `None`.

use tracer_common::{
    conn::{Conn, flag},
    sock::{SockSnap, sock_bit, sock_flag},
    state,
};

use crate::event::values::Role;

/// Payload of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Bytes {
    pub rx: Option<u64>,
    pub tx: Option<u64>,
    pub tx_unacked: Option<u64>,
    pub tx_unsent: Option<u64>,
    pub rx_unread: Option<u64>,
    pub tx_after_fin: Option<u64>,
}

/// Our FIN's place in the send queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fin {
    None,
    Unsent,
    Unacked,
    Acked,
}

fn local_fin(conn: &Conn, sock: &SockSnap) -> Fin {
    // A state that is only reached by queueing one. CLOSE_WAIT and ESTABLISHED have none.
    let queued = match conn.has(flag::RECOVERED) {
        // The state that was left went unseen; the FIN was not, a process had sent it.
        true => conn.has(flag::LOCAL_FIN),
        false => matches!(
            sock.state,
            state::FIN_WAIT1 | state::FIN_WAIT2 | state::CLOSING | state::LAST_ACK
        ),
    };
    // It is the last number of the queue.
    match queued {
        false => Fin::None,
        true if sock.snd_nxt != sock.write_seq => Fin::Unsent,
        true if sock.snd_una != sock.write_seq => Fin::Unacked,
        true => Fin::Acked,
    }
}

/// Which end sent the SYN. For a connection that is older than the trace the counters tell:
/// `bytes_acked` has one more than was sent if it was us.
pub fn role(conn: &Conn, sock: &SockSnap) -> Role {
    if conn.has(flag::ACTIVE) {
        return Role::Client;
    }
    if conn.has(flag::PASSIVE) {
        return Role::Server;
    }
    if !sock.has(sock_bit::FULL) {
        return Role::Unknown;
    }
    match sent_with_syn(conn, sock).checked_sub(sock.bytes_sent.saturating_sub(sock.bytes_retrans))
    {
        Some(0) => Role::Server,
        Some(1) if sock.max_ack_backlog == 0 => Role::Client,
        _ => Role::Unknown,
    }
}

/// Sequence numbers that went out at least once, our FIN left out, our SYN not.
fn sent_with_syn(conn: &Conn, sock: &SockSnap) -> u64 {
    let fin = matches!(local_fin(conn, sock), Fin::Unacked | Fin::Acked);
    let in_flight = u64::from(sock.snd_nxt.wrapping_sub(sock.snd_una));
    sock.bytes_acked
        .saturating_add(in_flight)
        .saturating_sub(u64::from(fin))
}

/// The byte counts at TCP_CLOSE.
pub fn bytes(conn: &Conn, sock: &SockSnap) -> Bytes {
    if !sock.has(sock_bit::FULL) {
        return Bytes::default();
    }
    let fin = local_fin(conn, sock);
    let syn = match role(conn, sock) {
        Role::Client => Some(1),
        Role::Server => Some(0),
        Role::Unknown => None,
    };
    // A SYN that was never answered is in no counter but snd_nxt.
    let syn = if sock.state == state::SYN_SENT {
        Some(u64::from(sock.snd_nxt.wrapping_sub(sock.snd_una)).min(1))
    } else {
        syn
    };
    let peer_fin = u64::from(sock.has_sock_flag(sock_flag::DONE));
    let unsent = u64::from(sock.write_seq.wrapping_sub(sock.snd_nxt));
    let unacked = u64::from(sock.snd_nxt.wrapping_sub(sock.snd_una));
    let unread = u64::from(sock.rcv_nxt.wrapping_sub(sock.copied_seq));
    let unacked_syn = u64::from(sock.state == state::SYN_SENT && unacked > 0);
    Bytes {
        rx: Some(sock.bytes_received.saturating_sub(peer_fin)),
        tx: syn.map(|syn| sent_with_syn(conn, sock).saturating_sub(syn)),
        tx_unacked: Some(unacked.saturating_sub(u64::from(fin == Fin::Unacked) + unacked_syn)),
        tx_unsent: Some(unsent.saturating_sub(u64::from(fin == Fin::Unsent))),
        // Once the application has read EOF, copied_seq has the FIN too.
        rx_unread: (sock.state != state::SYN_SENT).then(|| unread.saturating_sub(peer_fin)),
        tx_after_fin: after_fin(conn, sock, fin),
    }
}

/// The run that would have seen the peer's FIN was skipped: these states are reached by it alone.
pub fn peer_fin_unseen(conn: &Conn, sock: &SockSnap) -> bool {
    !conn.has(flag::PEER_FIN) && matches!(sock.state, state::CLOSE_WAIT | state::LAST_ACK)
}

fn after_fin(conn: &Conn, sock: &SockSnap, fin: Fin) -> Option<u64> {
    if peer_fin_unseen(conn, sock) {
        return None;
    }
    if !conn.has(flag::PEER_FIN) || conn.has(flag::CLOSING) {
        // CLOSING: our FIN went out before theirs came in.
        let unseen = conn.has(flag::UNTRACKED) && sock.has_sock_flag(sock_flag::DONE);
        return (!unseen).then_some(0);
    }
    if conn.peer_fin_ns == 0 {
        return None;
    }
    let at_peer_fin = conn.written_at_peer_fin;
    let at_end = if conn.has(flag::LOCAL_FIN) {
        conn.written_at_local_fin
    } else {
        let queued = u64::from(sock.write_seq.wrapping_sub(sock.snd_una));
        sock.bytes_acked
            .saturating_add(queued)
            .saturating_sub(u64::from(fin != Fin::None))
    };
    if conn.has(flag::LOCAL_FIN) && conn.local_fin_ns < conn.peer_fin_ns {
        return Some(0);
    }
    Some(at_end.saturating_sub(at_peer_fin))
}

/// The clocks at the first end, in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Idle {
    pub rx_ms: Option<u64>,
    pub tx_ms: Option<u64>,
}

impl Idle {
    /// The clock goes in ticks, so it may say a little more than the connection's whole age.
    pub fn within(self, age_ms: Option<u64>) -> Self {
        let limit = |idle_ms: u64| age_ms.map_or(idle_ms, |age_ms| idle_ms.min(age_ms));
        Idle {
            rx_ms: self.rx_ms.map(limit),
            tx_ms: self.tx_ms.map(limit),
        }
    }
}

/// How long each direction had been idle at the first end.
pub fn idle(conn: &Conn, sock: &SockSnap, jiffy_ns: u64) -> Idle {
    let ms = |jiffies: u32| u64::from(jiffies) * jiffy_ns / 1_000_000;
    let fin_seen = conn.local_fin_ns != 0 || conn.peer_fin_ns != 0;
    if fin_seen {
        return Idle {
            rx_ms: conn
                .has(flag::RX_BEFORE_FIN)
                .then(|| ms(conn.idle_rx_jiffies)),
            tx_ms: conn
                .has(flag::TX_BEFORE_FIN)
                .then(|| ms(conn.idle_tx_jiffies)),
        };
    }
    let fin_before_start = conn.has(flag::LOCAL_FIN | flag::PEER_FIN);
    if fin_before_start || !sock.has(sock_bit::FULL) {
        return Idle::default();
    }
    let peer_fin = u64::from(sock.has_sock_flag(sock_flag::DONE));
    Idle {
        rx_ms: (sock.bytes_received > peer_fin)
            .then(|| ms(sock.jiffies.wrapping_sub(sock.lrcvtime))),
        tx_ms: (sock.bytes_sent > 0).then(|| ms(sock.jiffies.wrapping_sub(sock.lsndtime))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn snap(state: u8) -> SockSnap {
        SockSnap {
            state,
            bits: sock_bit::FULL,
            ..SockSnap::ZERO
        }
    }

    fn conn(flags: u32) -> Conn {
        Conn {
            flags,
            ..Conn::ZERO
        }
    }

    #[test]
    fn client_that_closed_first_counts_neither_syn_nor_fin() {
        // SYN, 100 bytes and FIN acknowledged; 50 bytes received.
        let sock = SockSnap {
            bytes_acked: 102,
            bytes_received: 50,
            bytes_sent: 100,
            snd_una: 1103,
            snd_nxt: 1103,
            write_seq: 1103,
            rcv_nxt: 50,
            copied_seq: 50,
            ..snap(state::FIN_WAIT2)
        };
        let bytes = bytes(&conn(flag::ACTIVE | flag::LOCAL_FIN), &sock);
        assert_eq!(bytes.tx, Some(100));
        assert_eq!(bytes.rx, Some(50));
        assert_eq!(bytes.tx_unacked, Some(0));
        assert_eq!(bytes.tx_after_fin, Some(0));
    }

    #[test]
    fn an_end_that_was_made_good_counts_no_fin_either() {
        // The same, but that nobody saw the state that was left for CLOSE.
        let sock = SockSnap {
            bytes_acked: 102,
            snd_una: 1103,
            snd_nxt: 1103,
            write_seq: 1103,
            ..snap(state::CLOSE)
        };
        let closed = flag::ACTIVE | flag::RECOVERED;
        assert_eq!(bytes(&conn(closed | flag::LOCAL_FIN), &sock).tx, Some(100));
        assert_eq!(bytes(&conn(closed), &sock).tx, Some(101));
    }

    #[test]
    fn broken_pipe_counts_what_was_written_after_the_fin() {
        let sock = SockSnap {
            bytes_acked: 50,
            bytes_received: 101,
            bytes_sent: 4146,
            snd_una: 1050,
            snd_nxt: 5146,
            write_seq: 9242,
            rcv_nxt: 102,
            copied_seq: 101,
            sk_flags: sock_flag::DONE,
            ..snap(state::CLOSE_WAIT)
        };
        let conn = Conn {
            peer_fin_ns: 1,
            written_at_peer_fin: 50,
            ..conn(flag::PASSIVE | flag::PEER_FIN)
        };
        let bytes = bytes(&conn, &sock);
        assert_eq!(bytes.rx, Some(100));
        assert_eq!(bytes.tx, Some(4146));
        assert_eq!(bytes.tx_unacked, Some(4096));
        assert_eq!(bytes.tx_unsent, Some(4096));
        assert_eq!(bytes.rx_unread, Some(0));
        assert_eq!(bytes.tx_after_fin, Some(8192));
    }

    #[test]
    fn reading_eof_does_not_wrap_the_unread_count() {
        let sock = SockSnap {
            rcv_nxt: 5,
            copied_seq: 5,
            bytes_received: 5,
            sk_flags: sock_flag::DONE,
            ..snap(state::LAST_ACK)
        };
        let bytes = bytes(&conn(flag::PASSIVE | flag::PEER_FIN), &sock);
        assert_eq!(bytes.rx_unread, Some(0));
        assert_eq!(bytes.rx, Some(4));
        // The peer's FIN came before the trace: not known.
        assert_eq!(bytes.tx_after_fin, None);
    }

    #[test]
    fn an_unanswered_syn_is_no_payload() {
        let sock = SockSnap {
            snd_una: 100,
            snd_nxt: 101,
            write_seq: 101,
            ..snap(state::SYN_SENT)
        };
        let bytes = bytes(&conn(flag::ACTIVE), &sock);
        assert_eq!((bytes.tx, bytes.tx_unacked), (Some(0), Some(0)));
        assert_eq!(bytes.rx_unread, None);
    }

    #[test]
    fn an_older_connection_tells_its_role_by_its_syn() {
        let mut sock = SockSnap {
            bytes_acked: 101,
            bytes_sent: 130,
            bytes_retrans: 30,
            ..snap(state::ESTABLISHED)
        };
        let older = conn(flag::PREEXISTING);
        assert_eq!(role(&older, &sock), Role::Client);
        sock.bytes_acked = 100;
        assert_eq!(role(&older, &sock), Role::Server);
        // Segments dropped on this host are counted as sent again: nothing is certain.
        sock.bytes_sent = 4000;
        assert_eq!(role(&older, &sock), Role::Unknown);
        assert_eq!(bytes(&older, &sock).tx, None);
    }

    #[test]
    fn idle_is_null_where_nothing_ever_went() {
        let sock = SockSnap {
            jiffies: 5,
            lrcvtime: u32::MAX - 4,
            lsndtime: 1,
            bytes_received: 7,
            ..snap(state::ESTABLISHED)
        };
        let idle = idle(&conn(flag::PASSIVE), &sock, 4_000_000);
        assert_eq!(idle.rx_ms, Some(40), "jiffies wrap");
        assert_eq!(idle.tx_ms, None);
    }
}
