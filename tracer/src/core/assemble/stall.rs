//! The events of a silent peer: that it fell silent, and how that was over.

use tracer_common::{conn::Conn, record::Head, sock::SockSnap};

use super::{Assembler, Who};
use crate::{
    core::{
        explain::{self, GaveUp},
        join::Finished,
        names::Names,
        numbers,
        stall::{Change, Silent},
    },
    event::{
        Body, Event, Stall,
        values::{Kind, Reason, StallEnd, State},
    },
};
use tracer_common::record::Stall as Record;

/// A moment of a silent connection.
struct At<'a> {
    head: &'a Head,
    conn: &'a Conn,
    sock: &'a SockSnap,
    ended: Option<StallEnd>,
    /// Until when the peer has been silent, CLOCK_MONOTONIC.
    until_ns: u64,
}

impl Assembler {
    /// What the walk over the connections told; `None`: nothing new.
    pub fn stall(&mut self, record: &Record, names: &mut dyn Names) -> Option<Event> {
        let (silent, ended, until_ns) = match self.stalls.take(record, self.run.jiffy_ns)? {
            Change::Began(silent) => (silent, None, record.head.ts_ns),
            Change::Recovered(silent, at_ns) => (silent, Some(StallEnd::Recovered), at_ns),
        };
        let at = At {
            head: &record.head,
            conn: &record.conn,
            sock: &record.sock,
            ended,
            until_ns,
        };
        Some(self.stall_event(&silent, &at, names))
    }

    /// The end of a connection whose peer is still silent.
    pub fn stall_closed(&self, finished: &Finished, names: &mut dyn Names) -> Option<Event> {
        let close = &finished.close;
        let silent = self.stalls.at_end(&close.head, &close.conn, &close.sock)?;
        let at = At {
            head: &close.head,
            conn: &close.conn,
            sock: &close.sock,
            ended: Some(StallEnd::Closed),
            until_ns: close.head.ts_ns,
        };
        Some(self.stall_event(&silent, &at, names))
    }

    fn stall_event(&self, silent: &Silent, at: &At<'_>, names: &mut dyn Names) -> Event {
        let (ids, _) = self.ids(&Who::of(at.head, at.conn, at.sock), names);
        let bytes = numbers::bytes(at.conn, at.sock);
        let gives_up = silent.gives_up.filter(|_| at.ended.is_none());
        let jiffies_idle = at.sock.jiffies.wrapping_sub(at.sock.lrcvtime);
        let mut stall = Stall {
            stalled_ms: at.until_ns.saturating_sub(silent.since_ns) / 1_000_000,
            retrans_in_row: u32::from(silent.retransmits),
            tx_unacked_bytes: bytes.tx_unacked,
            gives_up_in_ms: gives_up.map(|gives_up| gives_up.in_ms),
            gives_up_by: gives_up.map(|gives_up| gives_up.by),
            tx_unsent_bytes: bytes.tx_unsent,
            probes_in_row: u32::from(silent.probes),
            idle_rx_ms: bytes
                .rx
                .filter(|rx| *rx > 0)
                .map(|_| u64::from(jiffies_idle) * self.run.jiffy_ns / 1_000_000),
            state: State(at.sock.state),
            keepalive_time_ms: silent.keepalive.map(|set| set.time_ms),
            keepalive_intvl_ms: silent.keepalive.map(|set| set.intvl_ms),
            keepalive_probes: silent.keepalive.map(|set| set.probes),
            user_timeout_ms: silent.user_timeout_ms,
            retries2: Some(silent.retries2),
            ended: at.ended,
            story: None,
        };
        let window_is_open = at.sock.snd_wnd > 0;
        stall.story = Some(explain::stall::story(&ids, &stall, silent, window_is_open).into());
        let kind = match at.ended {
            None => Kind::TcpStall,
            Some(_) => Kind::TcpStallEnd,
        };
        Event {
            head: self.head(kind, at.head.ts_ns),
            body: Body::Stall { ids, stall },
        }
    }
}

/// What is known of how the kernel gave a connection up.
pub fn gave_up(reason: Reason, sock: &SockSnap, silent: Option<&Silent>) -> GaveUp {
    let by = match reason {
        Reason::TimeoutUser => Some(format!("TCP_USER_TIMEOUT = {} ms", sock.user_timeout_ms)),
        Reason::TimeoutRetrans | Reason::TimeoutProbe => silent.map(Silent::retries2),
        Reason::TimeoutKeepalive => silent.and_then(Silent::keepalive_count),
        _ => None,
    };
    GaveUp {
        by,
        window_is_open: sock.snd_wnd > 0,
    }
}
