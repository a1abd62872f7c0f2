//! Row 23: a RST that the other end sent, at different stages. Without a FIN before it, `abort` has it.

use super::*;
use crate::lab::agent::protocol::Half;
use expect::{
    ABORT_LINGER0, ABORT_UNREAD, FIN_LOCAL, FIN_PEER_RST, RST_PEER, RST_PEER_AFTER_OUR_FIN, is,
};

pub const ROWS: [Row; 4] = [
    Row::new("rst_after_our_fin", rst_after_our_fin),
    Row::new("abort_unread_after_fin", abort_unread_after_fin),
    Row::with_nft("rst_in_last_ack", rst_in_last_ack),
    Row::with_nft("rst_from_no_socket", rst_from_no_socket),
];

/// Row 23 after our FIN only: x has shut down its direction, y aborts.
pub fn rst_after_our_fin(net: &Net, count: usize) -> Vec<End> {
    let mut ends = Vec::new();
    for pair in net.pairs(count) {
        talk(&pair);
        pair.x.shutdown(Half::Write);
        pair.y.read_eof();
        pair.y.close_linger0();
        let error = pair.x.recv().unwrap_err();
        assert_eq!(error.errno, libc::ECONNRESET);
        pair.x.close();
        let (x, y) = both(
            net,
            &pair,
            RST_PEER_AFTER_OUR_FIN,
            ABORT_LINGER0.first("peer", "fin"),
        );
        ends.push(
            x.want("closer_pid", is(pair.x.agent.pid))
                .errors(Some("ECONNRESET"), None, 1, false)
                .resets(&[("received", &[])]),
        );
        ends.push(
            y.closer(&pair.y.agent)
                .want("state", is("close_wait"))
                .resets(&[("sent", &["tcp_state"])])
                .io_errors(&[]),
        );
    }
    ends
}

/// Row 5 after the peer's FIN: the first end is the peer's, the abort is ours.
pub fn abort_unread_after_fin(net: &Net, count: usize) -> Vec<End> {
    let mut ends = Vec::new();
    for pair in net.pairs(count) {
        talk(&pair);
        let unread = 9 + pair.number;
        pair.y.write(unread);
        pair.y.shutdown(Half::Write);
        wait_for_state(net, &pair.x, CLOSE_WAIT);
        pair.y.settle();
        pair.x.close();
        wait_for_state(net, &pair.y, CLOSE);
        pair.y.close();
        let (x, y) = both(
            net,
            &pair,
            ABORT_UNREAD.first("peer", "fin"),
            RST_PEER_AFTER_OUR_FIN,
        );
        ends.push(
            x.closer(&pair.x.agent)
                .want("state", is("close_wait"))
                .resets(&[("sent", &["tcp_abort_on_close"])])
                .io_errors(&[]),
        );
        ends.push(
            y.want("closer_pid", is(pair.y.agent.pid))
                .resets(&[("received", &[])]),
        );
    }
    ends
}

/// Row 23 after both FINs: y's answer to x's FIN, data and FIN, is lost at first; when it comes, x's host has forgotten
/// that it may not receive, and answers with a RST. y is an orphan in LAST_ACK then.
pub fn rst_in_last_ack(net: &Net, count: usize) -> Vec<End> {
    let pairs = net.pairs(count);
    for pair in &pairs {
        talk(pair);
        pair.y.quickack(false);
        pair.x.close();
        pair.y.read_eof();
    }
    sleep(DELAYED_ACK);
    net.blackhole(pairs[0].listener_port());
    let mut ends = Vec::new();
    for pair in &pairs {
        let late = 4 + pair.number;
        pair.y.write(late);
        pair.y.close();
        let (x, y) = both(net, pair, FIN_LOCAL, FIN_PEER_RST.errno(Some("ECONNRESET")));
        ends.push(
            x.closer(&pair.x.agent)
                .int("rx_bytes", pair.x.taken())
                .int("rx_unread_bytes", 0)
                .want("state", is("fin_wait2"))
                .resets(&[("sent", &["tcp_timewait_socket"])]),
        );
        ends.push(
            y.closer(&pair.y.agent)
                .want("state", is("last_ack"))
                .int("tx_after_fin_bytes", late)
                .int("tx_unacked_bytes", late)
                .resets(&[("received", &[])])
                .io_errors(&[]),
        );
    }
    net.heal();
    ends
}

/// Rows 23 and 27: x aborts unheard; y's next data meets no socket at all.
pub fn rst_from_no_socket(net: &Net, count: usize) -> Vec<End> {
    let pairs = net.pairs(count);
    pairs.iter().for_each(talk);
    sleep(DELAYED_ACK);
    net.blackhole(pairs[0].listener_port());
    pairs.iter().for_each(|pair| pair.x.close_linger0());
    net.heal();
    let mut ends = Vec::new();
    for pair in &pairs {
        let late = 4 + pair.number;
        pair.y.write(late);
        let error = pair.y.recv().unwrap_err();
        assert_eq!(error.errno, libc::ECONNRESET);
        pair.y.close();
        let (x, y) = both(net, pair, ABORT_LINGER0, RST_PEER);
        ends.push(
            x.closer(&pair.x.agent)
                .int("rx_bytes", pair.x.taken())
                .int("rx_unread_bytes", 0),
        );
        ends.push(
            reset_by_peer(y)
                .int("tx_unacked_bytes", late)
                .errors(Some("ECONNRESET"), None, 1, false)
                .io_errors(&[("recv", "ECONNRESET")]),
        );
    }
    ends
}
