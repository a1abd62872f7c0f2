//! Rows 13 and 15: we closed first, and the peer's FIN never comes.

use super::*;
use crate::lab::agent::protocol::Half;
use expect::{FIN_LOCAL, FIN_PEER, FIN_PEER_RST, TIMEOUT_FIN_WAIT, is};

pub const ROWS: [Row; 4] = [
    Row::new("linger2_in_fin_wait2", linger2_in_fin_wait2),
    Row::new("linger2_in_fin_wait1", linger2_in_fin_wait1),
    Row::new("timeout_fin_wait", timeout_fin_wait),
    Row::new("timeout_fin_wait_long", timeout_fin_wait_long),
];

/// Row 13 in close(2): TCP_LINGER2 < 0, our FIN acknowledged.
pub fn linger2_in_fin_wait2(net: &Net, count: usize) -> Vec<End> {
    let pairs = net.pairs(count);
    for pair in &pairs {
        talk(pair);
        pair.x.set_tcp(libc::TCP_LINGER2, -1);
        pair.x.shutdown(Half::Write);
    }
    let mut ends = Vec::new();
    for pair in &pairs {
        wait_for_state(net, &pair.x, FIN_WAIT2);
        pair.x.close();
        let sent: Reset = ("sent", &["tcp_abort_on_linger"]);
        ends.extend(reset_after_our_fin(net, pair, "fin_wait2", sent));
    }
    ends
}

/// Row 13 when the acknowledgement of our FIN arrives: closed before it.
pub fn linger2_in_fin_wait1(net: &Net, count: usize) -> Vec<End> {
    let pairs = net.pairs(count);
    for pair in &pairs {
        talk(pair);
        pair.x.set_tcp(libc::TCP_LINGER2, -1);
        // With an immediate acknowledgement the close itself would see FIN_WAIT2.
        pair.y.quickack(false);
        pair.x.close();
    }
    let mut ends = Vec::new();
    for pair in &pairs {
        wait_for_state(net, &pair.y, CLOSE);
        let sent: Reset = ("sent", &["tcp_abort_on_data"]);
        ends.extend(reset_after_our_fin(net, pair, "fin_wait2", sent));
    }
    ends
}

fn reset_after_our_fin(net: &Net, pair: &Pair, state: &str, sent: Reset) -> [End; 2] {
    wait_for_state(net, &pair.y, CLOSE);
    pair.y.close();
    let (x, y) = both(net, pair, FIN_LOCAL, FIN_PEER_RST);
    [
        x.closer(&pair.x.agent)
            .want("state", is(state))
            .resets(&[sent])
            .io_errors(&[]),
        reset_by_peer(y)
            .want("state", is("close_wait"))
            .io_errors(&[]),
    ]
}

/// Row 15, the timer with a RST. A full socket waits in FIN_WAIT2 without an owner only where the fin timeout is above
/// 60 s; so it is lowered while they wait. (The other way there, an acknowledgement that finds the orphan locked,
/// cannot be timed: close(2) itself hands such a socket to TIME_WAIT.)
pub fn timeout_fin_wait(net: &Net, count: usize) -> Vec<End> {
    net.sysctl("net.ipv4.tcp_fin_timeout", "63");
    let pairs = net.pairs(count);
    for pair in &pairs {
        talk(pair);
        pair.x.close();
    }
    sleep(DELAYED_ACK);
    net.sysctl("net.ipv4.tcp_fin_timeout", "1");
    let mut ends = Vec::new();
    for pair in &pairs {
        wait_for_state(net, &pair.y, CLOSE);
        pair.y.close();
        let (x, y) = both(net, pair, TIMEOUT_FIN_WAIT, FIN_PEER_RST);
        ends.push(
            x.closer(&pair.x.agent)
                .want("state", is("fin_wait2"))
                .want("half_close_ms", Want::Between(2000, 6000))
                .resets(&[("sent", &["tcp_state"])])
                .io_errors(&[]),
        );
        ends.push(
            reset_by_peer(y)
                .want("state", is("close_wait"))
                .io_errors(&[]),
        );
    }
    ends
}

/// Row 15 with a fin timeout above 60 s: the timer hands the orphan to TIME_WAIT, without a word on the wire.
pub fn timeout_fin_wait_long(net: &Net, count: usize) -> Vec<End> {
    // The timer runs for what exceeds 60 s.
    net.sysctl("net.ipv4.tcp_fin_timeout", "62");
    let pairs = net.pairs(count);
    for pair in &pairs {
        talk(pair);
        pair.x.close();
    }
    let only_close_wait = || {
        let lines = net.full_sockets();
        lines
            .iter()
            .all(|line| line.split_whitespace().nth(3) == Some("08"))
    };
    net.wait_for("the end of FIN_WAIT2", PATIENCE, only_close_wait);
    let mut ends = Vec::new();
    for pair in &pairs {
        pair.y.read_eof();
        pair.y.close();
        let (x, y) = both(net, pair, TIMEOUT_FIN_WAIT, FIN_PEER);
        ends.push(
            x.closer(&pair.x.agent)
                .want("state", is("fin_wait2"))
                .want("half_close_ms", Want::Between(1000, 5000))
                .resets(&[])
                .io_errors(&[]),
        );
        ends.push(y.closer(&pair.y.agent).resets(&[]).io_errors(&[]));
    }
    ends
}
