//! Rows 24 to 26: data for a socket whose owner has closed it. The writer's record is the broken pipe (row 23).

use std::{thread::sleep, time::Duration};

use super::*;
use expect::{FIN_LOCAL, FIN_PEER_RST, is};

pub const ROWS: [Row; 1] = [Row::new("write_to_time_wait", write_to_time_wait)];

/// Row 26: x closes; when y has acknowledged its FIN, x's socket is in TIME_WAIT (FIN_WAIT2). Then y writes twice.
pub fn write_to_time_wait(net: &Net, count: usize) -> Vec<End> {
    let pairs = net.pairs(count);
    for pair in &pairs {
        talk(pair);
        // With an immediate acknowledgement x would stay a full socket (row 15).
        pair.y.quickack(false);
        pair.x.close();
    }
    sleep(Duration::from_millis(150));
    let mut ends = Vec::new();
    for pair in &pairs {
        let one = 3 + pair.number;
        pair.y.write(one);
        net.wait_for("the RST", PATIENCE, || pair.y.state() == CLOSE);
        let error = pair.y.try_write(5).unwrap_err();
        assert_eq!(error.errno, libc::EPIPE);
        pair.y.close();
        let (x, y) = both(net, pair, FIN_LOCAL, FIN_PEER_RST);
        ends.push(
            x.closer(&pair.x.agent)
                .want("state", is("fin_wait2"))
                // What came after its end never became this socket's.
                .int("rx_bytes", pair.x.taken())
                .int("rx_unread_bytes", 0)
                .resets(&[("sent", &["timewait_socket"])])
                .io_errors(&[]),
        );
        ends.push(
            reset_by_peer(y)
                .want("state", is("close_wait"))
                .int("tx_after_fin_bytes", one)
                .int("tx_unacked_bytes", one)
                .errors(None, Some("EPIPE"), 1, true)
                .io_errors(&[("send", "EPIPE")]),
        );
    }
    ends
}
