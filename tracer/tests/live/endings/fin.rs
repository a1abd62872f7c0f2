//! Rows 1 to 4: both sides close with a FIN.

use super::*;
use crate::lab::agent::protocol::Half;
use expect::{FIN_LOCAL, FIN_PEER, is, one_of};

pub const ROWS: [Row; 3] = [
    Row::new("fin", fin),
    Row::new("fin_eof_unread", fin_eof_unread),
    Row::new("shutdown_wr_then_close", shutdown_wr_then_close),
];

/// Rows 1 and 2: x closes, y reads the end of file and closes.
pub fn fin(net: &Net, count: usize) -> Vec<End> {
    close_and_close(net, count, true)
}

/// The same, but y never reads the end of file.
pub fn fin_eof_unread(net: &Net, count: usize) -> Vec<End> {
    close_and_close(net, count, false)
}

fn close_and_close(net: &Net, count: usize, read_eof: bool) -> Vec<End> {
    let mut ends = Vec::new();
    for pair in net.pairs(count) {
        talk(&pair);
        pair.x.close();
        if read_eof {
            pair.y.read_eof();
        } else {
            net.wait_for("the FIN", PATIENCE, || pair.y.state() == CLOSE_WAIT);
        }
        pair.y.close();
        let (x, y) = both(net, &pair, FIN_LOCAL, FIN_PEER);
        ends.push(
            x.closer(&pair.x.agent)
                .want("state", one_of(["fin_wait1", "fin_wait2"]))
                .resets(&[])
                .io_errors(&[]),
        );
        ends.push(
            y.closer(&pair.y.agent)
                .want("state", is("last_ack"))
                .resets(&[])
                .io_errors(&[]),
        );
    }
    ends
}

/// Row 4, and a legitimate half-close: y answers after x's FIN, and x reads it all.
pub fn shutdown_wr_then_close(net: &Net, count: usize) -> Vec<End> {
    let pairs = net.pairs(count);
    for pair in &pairs {
        talk(pair);
        pair.x.shutdown(Half::Write);
        pair.y.read_eof();
        pair.y.write(5000 + pair.number);
        pair.y.close();
        pair.x.read(5000 + pair.number);
        pair.x.read_eof();
    }
    // x's sockets are dead now; their descriptors stay open for longer than the tracer waits for them.
    std::thread::sleep(std::time::Duration::from_millis(200));
    let mut ends = Vec::new();
    for pair in &pairs {
        pair.x.close();
        let (x, y) = both(net, pair, FIN_LOCAL, FIN_PEER);
        ends.push(
            x.closer(&pair.x.agent)
                .want("state", is("fin_wait2"))
                .resets(&[])
                .io_errors(&[]),
        );
        ends.push(
            y.closer(&pair.y.agent)
                .int("tx_after_fin_bytes", 5000 + pair.number)
                .want("state", is("last_ack"))
                .resets(&[])
                .io_errors(&[]),
        );
    }
    ends
}
