//! One function per kind of ending. Each makes `count` connections over a link, ends them its way, and returns the
//! truth about every end; it leaves no full socket behind. The numbers are the rows of the table of terminations.

pub mod abort;
pub mod after_close;
pub mod connect;
pub mod exit;
pub mod fin;
pub mod fin_wait;
pub mod handshake;
pub mod oom;
pub mod rst;
pub mod silence;
pub mod special;
pub mod timeout;

use std::{thread::sleep, time::Duration};

use crate::{
    lab::{
        agent::Sock,
        expect::{self, End, Reset, Verdict, Want},
        link::{Net, Pair},
    },
    rows::Row,
};

pub type Ending = fn(&Net, usize) -> Vec<End>;

/// Every row, in the order of the table.
pub fn all() -> Vec<Row> {
    let mut rows = Vec::new();
    rows.extend(fin::ROWS);
    rows.extend(abort::ROWS);
    rows.extend(connect::ROWS);
    rows.extend(oom::ROWS);
    rows.extend(fin_wait::ROWS);
    rows.extend(exit::ROWS);
    rows.extend(timeout::ROWS);
    rows.extend(silence::ROWS);
    rows.extend(rst::ROWS);
    rows.extend(after_close::ROWS);
    rows.extend(handshake::ROWS);
    rows.extend(special::ROWS);
    rows
}

/// Some payload both ways, a different amount on every connection, all read and acknowledged.
fn talk(pair: &Pair) {
    let (there, back) = (100 + pair.number, 1 + 2 * pair.number);
    pair.x.write(there);
    pair.y.read(there);
    pair.y.write(back);
    pair.x.read(back);
    pair.x.settle();
    pair.y.settle();
}

/// The truth about both ends, where all that was written arrived.
fn both(net: &Net, pair: &Pair, x: Verdict, y: Verdict) -> (End, End) {
    (
        End::of(net, &pair.x, Some(&pair.y), x),
        End::of(net, &pair.y, Some(&pair.x), y),
    )
}

/// The end of a peer whom our RST reached: no call of its own ended it.
fn reset_by_peer(end: End) -> End {
    end.no_closer().resets(&[("received", &[])])
}

fn wait_for_state(net: &Net, sock: &Sock, state: usize) {
    net.wait_for(&format!("state {state}"), PATIENCE, || {
        sock.state() == state
    });
}

/// Calls `then` for every connection as soon as its x has died, in whatever order their timers choose.
fn as_they_die(net: &Net, pairs: &[Pair], mut then: impl FnMut(&Pair)) {
    let mut left: Vec<&Pair> = pairs.iter().collect();
    net.wait_for("the ends of all", Duration::from_secs(30), || {
        left.retain(|pair| {
            let dead = pair.x.state() == CLOSE;
            if dead {
                then(pair);
            }
            !dead
        });
        left.is_empty()
    });
}

const PATIENCE: Duration = Duration::from_secs(10);

/// Longer than a delayed acknowledgement (40 ms here, 200 ms at most).
const DELAYED_ACK: Duration = Duration::from_millis(250);

/// Longer than the tracer waits for a socket whose descriptor stays open (100 ms).
const OPEN_GRACE: Duration = Duration::from_millis(200);

/// tcp_info's numbers for states.
const FIN_WAIT2: usize = 5;
const CLOSE: usize = 7;
const CLOSE_WAIT: usize = 8;
