//! What happened on a connection, in order.

use tracer_common::{conn::flag, state};

use super::{facts::Facts, join::Finished};
use crate::event::values::{Errno, Moment, What};

/// Most entries of a timeline.
const MAX: usize = 16;

/// The moments of an end, by time, offsets from TCP_CLOSE in milliseconds.
pub fn timeline(finished: &Finished, facts: &Facts, jiffy_ns: u64) -> Vec<Moment> {
    let conn = &finished.close.conn;
    let sock = &finished.close.sock;
    let close_ns = finished.close.head.ts_ns;
    let mut moments: Vec<(u64, Moment)> = Vec::with_capacity(MAX);
    let mut add = |at_ns: u64, mut moment: Moment| {
        if at_ns != 0 {
            let distance_ms = at_ns.abs_diff(close_ns) / 1_000_000;
            moment.ms = if at_ns < close_ns {
                -(distance_ms as i64)
            } else {
                distance_ms as i64
            };
            moments.push((at_ns, moment));
        }
    };
    let what = |what| Moment::at(0, what);

    add(conn.established_ns, what(What::Established));
    add(conn.peer_fin_ns, what(What::PeerFin));
    add(conn.local_fin_ns, what(What::LocalFin));
    if let Some(first_end_ns) = facts.first_end_ns {
        let before_end = |idle_ms: u64| first_end_ns.saturating_sub(idle_ms * 1_000_000);
        if let Some(idle_ms) = facts.idle.rx_ms {
            add(before_end(idle_ms), what(What::LastRx));
        }
        if let Some(idle_ms) = facts.idle.tx_ms {
            add(before_end(idle_ms), what(What::LastTx));
        }
    }
    let after_fin = facts.bytes.tx_after_fin.filter(|bytes| *bytes > 0);
    if let Some(bytes) = after_fin
        && sock.state == state::CLOSE_WAIT
    {
        // The last of them: lsndtime, to the tick.
        let ago_ns = u64::from(sock.jiffies.wrapping_sub(sock.lsndtime)) * jiffy_ns;
        let at_ns = close_ns.saturating_sub(ago_ns).max(conn.peer_fin_ns);
        add(
            at_ns,
            Moment {
                bytes: Some(bytes),
                ..what(What::WriteAfterFin)
            },
        );
    }
    if let Some(silent) = &facts.silent {
        add(silent.since_ns, what(What::Stall));
    }
    if finished.sent.is_some() {
        add(finished.sent_ns, what(What::RstSent));
    }
    if finished.rst_received {
        add(finished.received_ns, what(What::RstReceived));
    }
    let errno = |code: u16| Errno::from_code(i32::from(code));
    add(
        finished.write_error_ns,
        Moment {
            errno: errno(finished.io.write),
            ..what(What::WriteError)
        },
    );
    add(
        finished.read_error_ns,
        Moment {
            errno: errno(finished.io.read),
            ..what(What::ReadError)
        },
    );
    if !conn.has(flag::RECOVERED) {
        add(close_ns, what(What::Closed));
    }
    // Stable: what has the same time stays in the order above, cause before effect.
    moments.sort_by_key(|(at_ns, _)| *at_ns);
    moments.truncate(MAX);
    moments.into_iter().map(|(_, moment)| moment).collect()
}
