//! One function per kind of ending. Each makes `count` connections over a link, ends them its way, and returns the
//! truth about every end; it leaves no full socket behind. The numbers are the rows of the table of terminations.

mod abort;
mod after_close;
mod connect;
mod fin;

use crate::{
    lab::{
        expect::{self, End, Reset, Verdict},
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
    rows.extend(after_close::ROWS);
    rows
}

/// Some payload both ways, a different amount on every connection, all read.
fn talk(pair: &Pair) {
    let (there, back) = (100 + pair.number, 1 + 2 * pair.number);
    pair.x.write(there);
    pair.y.read(there);
    pair.y.write(back);
    pair.x.read(back);
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

const PATIENCE: std::time::Duration = std::time::Duration::from_secs(10);

/// tcp_info's numbers for states.
const ESTABLISHED: usize = 1;
const SYN_SENT: usize = 2;
const FIN_WAIT2: usize = 5;
const CLOSE: usize = 7;
const CLOSE_WAIT: usize = 8;
