//! Rows 24 to 26: data for a socket whose owner has closed it. The writer's record is the broken pipe (row 23).
//!
//! Which row it is depends on when the acknowledgement of the closer's FIN came, so each is forced by its timing.

use super::*;
use crate::lab::agent::protocol::Half;
use expect::{FIN_LOCAL, FIN_PEER_RST, is};

pub const ROWS: [Row; 4] = [
    Row::new("write_after_shutdown_rdwr", write_after_shutdown_rdwr),
    Row::new("write_to_orphan_in_fin_wait1", write_to_orphan_in_fin_wait1),
    Row::new("write_to_orphan_in_fin_wait2", write_to_orphan_in_fin_wait2),
    Row::new("write_to_time_wait", write_to_time_wait),
];

/// Row 24: x has shut down both directions and keeps the descriptor. Its kernel calls that a reset received; it is none.
pub fn write_after_shutdown_rdwr(net: &Net, count: usize) -> Vec<End> {
    let pairs = net.pairs(count);
    for pair in &pairs {
        talk(pair);
        pair.x.shutdown(Half::Both);
    }
    let mut ends = Vec::new();
    for pair in &pairs {
        wait_for_state(net, &pair.x, FIN_WAIT2);
        let [x, y] = broken_pipe(net, pair);
        pair.x.close();
        ends.push(
            x.verdict(FIN_LOCAL.errno(Some("ECONNRESET")))
                .want("state", is("fin_wait2"))
                .resets(&[("sent", &["tcp_abort_on_data"])]),
        );
        ends.push(y);
    }
    ends
}

/// Row 25: x is an orphan in FIN_WAIT1; the data itself carries the acknowledgement of its FIN.
pub fn write_to_orphan_in_fin_wait1(net: &Net, count: usize) -> Vec<End> {
    let mut ends = Vec::new();
    for pair in net.pairs(count) {
        talk(&pair);
        pair.y.quickack(false);
        pair.x.close();
        // Within the 40 ms of the delayed acknowledgement; a slow machine may make it row 26.
        let [x, y] = broken_pipe(net, &pair);
        ends.push(
            x.want("state", is("fin_wait2"))
                .resets(&[("sent", &["tcp_abort_on_data", "tcp_timewait_socket"])]),
        );
        ends.push(y);
    }
    ends
}

/// Row 24 without an owner: where the fin timeout is above 60 s, the orphan stays a full socket in FIN_WAIT2.
pub fn write_to_orphan_in_fin_wait2(net: &Net, count: usize) -> Vec<End> {
    net.sysctl("net.ipv4.tcp_fin_timeout", "120");
    let pairs = net.pairs(count);
    for pair in &pairs {
        talk(pair);
        pair.x.close();
    }
    sleep(DELAYED_ACK);
    let mut ends = Vec::new();
    for pair in &pairs {
        let [x, y] = broken_pipe(net, pair);
        ends.push(
            x.verdict(FIN_LOCAL.errno(Some("ECONNRESET")))
                .want("state", is("fin_wait2"))
                .resets(&[("sent", &["tcp_abort_on_data"])]),
        );
        ends.push(y);
    }
    ends
}

/// Row 26: when y has acknowledged x's FIN, x's socket is in TIME_WAIT (FIN_WAIT2). Only then y writes.
pub fn write_to_time_wait(net: &Net, count: usize) -> Vec<End> {
    let pairs = net.pairs(count);
    for pair in &pairs {
        talk(pair);
        pair.y.quickack(false);
        pair.x.close();
    }
    sleep(DELAYED_ACK);
    let mut ends = Vec::new();
    for pair in &pairs {
        let [x, y] = broken_pipe(net, pair);
        ends.push(
            x.want("state", is("fin_wait2"))
                .resets(&[("sent", &["tcp_timewait_socket"])]),
        );
        ends.push(y);
    }
    ends
}

/// y writes, the RST comes, y writes again and gets EPIPE. x must have closed.
fn broken_pipe(net: &Net, pair: &Pair) -> [End; 2] {
    let one = 3 + pair.number;
    pair.y.write(one);
    wait_for_state(net, &pair.y, CLOSE);
    let error = pair.y.try_write(5).unwrap_err();
    assert_eq!(error.errno, libc::EPIPE);
    pair.y.close();
    let (x, y) = both(net, pair, FIN_LOCAL, FIN_PEER_RST);
    [
        // What came after x's end was never received.
        x.closer(&pair.x.agent)
            .int("rx_bytes", pair.x.taken())
            .int("rx_unread_bytes", 0)
            .io_errors(&[]),
        reset_by_peer(y)
            .want("state", is("close_wait"))
            .int("tx_after_fin_bytes", one)
            .int("tx_unacked_bytes", one)
            .errors(None, Some("EPIPE"), 1, true)
            .io_errors(&[("send", "EPIPE")]),
    ]
}
