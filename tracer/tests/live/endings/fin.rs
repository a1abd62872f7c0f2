//! Rows 1 to 4: both sides close with a FIN.

use super::*;
use crate::lab::{
    agent::{Role, protocol::Half},
    needs::Need,
};
use expect::{FIN_BOTH, FIN_LOCAL, FIN_PEER, is, one_of};

pub const ROWS: [Row; 6] = [
    Row::new("fin", fin),
    Row::new("fin_eof_unread", fin_eof_unread),
    Row::new("fin_both", fin_both).needs(&[
        Need::Program("ip"),
        Need::Program("tc"),
        Need::Qdisc("tbf"),
    ]),
    Row::new("shutdown_wr_then_close", shutdown_wr_then_close),
    Row::new("shutdown_wr_and_read_later", shutdown_wr_and_read_later),
    Row::new(
        "shutdown_wr_close_in_fin_wait2",
        shutdown_wr_close_in_fin_wait2,
    ),
];

/// Rows 1 and 2: x closes, y reads the end of file and closes.
pub fn fin(net: &Net, count: usize) -> Vec<End> {
    close_and_close(net, count, talk, true)
}

/// The same, but y never reads the end of file.
pub fn fin_eof_unread(net: &Net, count: usize) -> Vec<End> {
    close_and_close(net, count, talk, false)
}

/// The same after a request of the client's and its answer: clean on whichever ticks of the clock they fall, where a
/// server that speaks first has, a tick later, a request without an answer.
pub fn answered(net: &Net, count: usize) -> Vec<End> {
    close_and_close(net, count, ask, true)
}

fn ask(pair: &Pair) {
    let (client, server) = match pair.x.role {
        Role::Client => (&pair.x, &pair.y),
        Role::Server => (&pair.y, &pair.x),
    };
    let (request, answer) = (100 + pair.number, 1 + 2 * pair.number);
    client.write(request);
    server.read(request);
    server.write(answer);
    client.read(answer);
    client.settle();
    server.settle();
}

fn close_and_close(net: &Net, count: usize, speak: fn(&Pair), read_eof: bool) -> Vec<End> {
    let mut ends = Vec::new();
    for pair in net.pairs(count) {
        speak(&pair);
        pair.x.close();
        if read_eof {
            pair.y.read_eof();
        } else {
            wait_for_state(net, &pair.y, CLOSE_WAIT);
        }
        pair.y.close();
        ends.extend(closed_in_order(net, &pair));
    }
    ends
}

/// x has closed and y after it, with nothing wrong.
fn closed_in_order(net: &Net, pair: &Pair) -> [End; 2] {
    let (x, y) = both(net, pair, FIN_LOCAL, FIN_PEER);
    [
        x.closer(&pair.x.agent)
            .want("state", one_of(["fin_wait1", "fin_wait2"]))
            .resets(&[])
            .io_errors(&[]),
        y.closer(&pair.y.agent)
            .want("state", is("last_ack"))
            .resets(&[])
            .io_errors(&[]),
    ]
}

/// Row 3: the two FINs cross on the wire, because a queue holds both back until both sides have closed.
pub fn fin_both(net: &Net, count: usize) -> Vec<End> {
    let pairs = net.pairs(count);
    pairs.iter().for_each(talk);
    // Late acknowledgements would be in the queue too and spoil nothing, but it is clearer without.
    sleep(DELAYED_ACK);
    net.hold_back();
    for pair in &pairs {
        pair.x.close();
        pair.y.close();
    }
    net.let_go();
    let mut ends = Vec::new();
    for pair in &pairs {
        let (x, y) = both(net, pair, FIN_BOTH, FIN_BOTH);
        for (end, sock) in [(x, &pair.x), (y, &pair.y)] {
            ends.push(
                end.closer(&sock.agent)
                    .want("state", is("closing"))
                    .resets(&[])
                    .io_errors(&[]),
            );
        }
    }
    ends
}

/// Row 4, and a legitimate half-close: y answers after x's FIN, and x reads it all.
pub fn shutdown_wr_then_close(net: &Net, count: usize) -> Vec<End> {
    half_close(net, count, true)
}

/// The same, but y closes right after its answer: x's socket is in CLOSE before the program has read it, and the
/// program reads it then. ASSUMPTION: what is read before the record is written is not unread.
pub fn shutdown_wr_and_read_later(net: &Net, count: usize) -> Vec<End> {
    half_close(net, count, false)
}

fn half_close(net: &Net, count: usize, read_first: bool) -> Vec<End> {
    let pairs = net.pairs(count);
    for pair in &pairs {
        let answer = 5000 + pair.number;
        talk(pair);
        pair.x.shutdown(Half::Write);
        pair.y.read_eof();
        pair.y.write(answer);
        if read_first {
            pair.x.read(answer);
            pair.y.close();
        } else {
            pair.y.close();
            wait_for_state(net, &pair.x, CLOSE);
            pair.x.read(answer);
        }
        pair.x.read_eof();
    }
    // x's sockets are dead now; their descriptors stay open for longer than the tracer waits for them.
    sleep(OPEN_GRACE);
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

/// Row 4 without the peer's FIN: the close of a socket in FIN_WAIT2 hands it to TIME_WAIT at once.
pub fn shutdown_wr_close_in_fin_wait2(net: &Net, count: usize) -> Vec<End> {
    let pairs = net.pairs(count);
    for pair in &pairs {
        talk(pair);
        pair.x.shutdown(Half::Write);
    }
    let mut ends = Vec::new();
    for pair in &pairs {
        wait_for_state(net, &pair.x, FIN_WAIT2);
        pair.x.close();
    }
    for pair in &pairs {
        pair.y.read_eof();
        pair.y.close();
        ends.extend(closed_in_order(net, pair));
    }
    ends
}
