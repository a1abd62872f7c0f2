//! Rows 5 to 8 and 10: one side aborts with a RST, the other receives it (row 23 without a FIN before).

use super::*;
use expect::{ABORT_LINGER0, ABORT_UNREAD, RST_PEER, is};

pub const ROWS: [Row; 2] = [
    Row::new("abort_unread", abort_unread),
    Row::new("abort_linger0", abort_linger0),
];

/// Row 5: x closes with data that it has not read.
pub fn abort_unread(net: &Net, count: usize) -> Vec<End> {
    let mut ends = Vec::new();
    for pair in net.pairs(count) {
        talk(&pair);
        let unread = 7 + pair.number;
        pair.y.write(unread);
        net.wait_for("the data", PATIENCE, || pair.x.unread() == unread);
        pair.x.close();
        let error = pair.y.recv().unwrap_err();
        assert_eq!(error.errno, libc::ECONNRESET);
        pair.y.close();
        let (x, y) = both(net, &pair, ABORT_UNREAD, RST_PEER);
        ends.push(
            x.closer(&pair.x.agent)
                .want("state", is("established"))
                .resets(&[("sent", &["tcp_abort_on_close"])])
                .io_errors(&[]),
        );
        ends.push(
            reset_by_peer(y)
                .want("state", is("established"))
                .errors(Some("ECONNRESET"), None, 1, false)
                .io_errors(&[("recv", "ECONNRESET")]),
        );
    }
    ends
}

/// Row 6: x closes with SO_LINGER {1, 0}.
pub fn abort_linger0(net: &Net, count: usize) -> Vec<End> {
    let mut ends = Vec::new();
    for pair in net.pairs(count) {
        talk(&pair);
        pair.x.close_linger0();
        let error = pair.y.try_write(10).unwrap_err();
        assert_eq!(error.errno, libc::ECONNRESET);
        pair.y.close();
        let (x, y) = both(net, &pair, ABORT_LINGER0, RST_PEER);
        ends.push(
            x.closer(&pair.x.agent)
                .want("state", is("established"))
                .resets(&[("sent", &["tcp_state"])])
                .io_errors(&[]),
        );
        ends.push(
            reset_by_peer(y)
                .want("state", is("established"))
                .errors(None, Some("ECONNRESET"), 1, false)
                .io_errors(&[("send", "ECONNRESET")]),
        );
    }
    ends
}
