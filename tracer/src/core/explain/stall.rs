//! A silent peer in words: what was not answered, for how long, and what the kernel will do about it.

use super::{Bytes, Span, plural, us};
use crate::{
    core::{give_up::Silence, stall::Silent},
    event::{Ids, Stall, values::StallEnd},
};

/// The story of a stall or of its end.
pub fn story(ids: &Ids, stall: &Stall, silent: &Silent, window_is_open: bool) -> String {
    let us = us(ids);
    let peer = ids.peer_addr.with_port(ids.peer_port);
    let span = Span(stall.stalled_ms);
    match stall.ended {
        Some(StallEnd::Recovered) => {
            return format!(
                "{peer} answers {us} again after {span} and {}.",
                asked(stall, silent)
            );
        }
        Some(StallEnd::Closed) => {
            return format!(
                "The connection of {us} to {peer} ended after {span} of silence and {}.",
                asked(stall, silent)
            );
        }
        None => (),
    }
    let gives_up = gives_up(stall, silent);
    let unacked = Bytes(stall.tx_unacked_bytes.unwrap_or(0));
    let unsent = Bytes(stall.tx_unsent_bytes.unwrap_or(0));
    let first = match silent.silence {
        Silence::Data => {
            let waiting = match stall.tx_unsent_bytes {
                Some(0) | None => format!("{unacked} unacknowledged"),
                Some(_) => format!("{unacked} unacknowledged and {unsent} unsent"),
            };
            format!(
                "{us} has had no acknowledgement from {peer} for {span}: {} in a row, {waiting}{gives_up}.",
                asked(stall, silent)
            )
        }
        Silence::Unsent if window_is_open => format!(
            "Nothing that {us} writes to {peer} leaves this host: {unsent} have waited for {span}, and {} in a row failed{gives_up}. Check this host's route to the peer and its own firewall.",
            asked(stall, silent)
        ),
        Silence::Unsent => format!(
            "{peer} has closed its window and answered none of the last {} of {us} for {span}: {unsent} wait to be sent{gives_up}.",
            asked(stall, silent)
        ),
        Silence::Keepalive => format!(
            "{peer} has answered none of the last {} of {us} for {span}{gives_up}.",
            asked(stall, silent)
        ),
    };
    let second = keepalive(silent);
    format!("{first}{second}")
}

/// What went unanswered.
fn asked(stall: &Stall, silent: &Silent) -> String {
    match silent.silence {
        Silence::Data => plural(u64::from(stall.retrans_in_row), "retransmission"),
        Silence::Unsent => plural(u64::from(stall.probes_in_row), "probe"),
        Silence::Keepalive => plural(u64::from(stall.probes_in_row), "keepalive probe"),
    }
}

fn gives_up(stall: &Stall, silent: &Silent) -> String {
    match (stall.gives_up_in_ms, silent.decided_by()) {
        (Some(ms), Some(by)) => format!("; the kernel gives up in about {} ({by})", Span(ms)),
        _ => String::new(),
    }
}

/// What keepalive does about it: nothing, while there is data.
fn keepalive(silent: &Silent) -> String {
    match (silent.silence, silent.keepalive) {
        (Silence::Unsent, _) | (_, None) => String::new(),
        (Silence::Data, Some(set)) => format!(
            " Its keepalive (after {}, then every {}) does not run while data is unacknowledged.",
            Span(set.time_ms),
            Span(set.intvl_ms)
        ),
        (Silence::Keepalive, Some(set)) => format!(
            " Keepalive asks after {} of silence and then every {}.",
            Span(set.time_ms),
            Span(set.intvl_ms)
        ),
    }
}

#[cfg(test)]
mod tests {
    use crate::core::{
        assemble::{Assembler, Run},
        names::{Named, Names},
        sample,
        timeouts::Table,
    };
    use crate::event::{Body, names::RstReasons};
    use tracer_common::{
        record::{Stall as Record, pending},
        sock::sock_flag,
        task::Task,
    };

    struct Nobody;

    impl Names for Nobody {
        fn name(&mut self, _: &Task, _: u64) -> Named {
            Named::default()
        }
    }

    fn story(change: impl FnOnce(&mut Record)) -> String {
        let mut record = sample::stall();
        record.conn.owner.tgid = 790;
        record.conn.owner.comm[0] = u64::from_ne_bytes(*b"client\0\0");
        record.sock.daddr = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 10, 0, 0, 7];
        record.sock.dport = 80;
        change(&mut record);
        let mut assembler = Assembler::new(Run {
            run_id: "r".into(),
            node: "n".into(),
            boot_id: "4b2d0c7e".into(),
            jiffy_ns: 4_000_000,
            reasons: RstReasons::default(),
            stories_for_all: false,
            sends_seen: true,
            timeouts: Table::default(),
        });
        let event = assembler.stall(&record, &mut Nobody).expect("it began");
        match event.body {
            Body::Stall { stall, .. } => stall.story.expect("a story").to_string(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn no_acknowledgement() {
        let told = story(|_| ());
        assert!(
            told.starts_with(
                "client[790] has had no acknowledgement from 10.0.0.7:80 for 1.4 s: \
                 3 retransmissions in a row, 312 bytes unacknowledged; \
                 the kernel gives up in about 1"
            ),
            "{told}"
        );
        assert!(told.ends_with("(tcp_retries2 = 15)."), "{told}");
        let told = story(|record| record.sock.sk_flags = sock_flag::KEEPOPEN);
        assert!(
            told.ends_with(
                " Its keepalive (after 2 h 0 min, then every 75.0 s) does not run while data is \
                 unacknowledged."
            ),
            "{told}"
        );
    }

    #[test]
    fn nothing_leaves_this_host_or_the_window_is_closed() {
        let unsent = |record: &mut Record| {
            record.timers.packets_out = 0;
            record.timers.pending = pending::PROBE0;
            record.sock.write_seq = record.sock.snd_nxt + 1000;
            record.sock.snd_una = record.sock.snd_nxt;
            (record.sock.retransmits, record.sock.probes_out) = (0, 4);
        };
        let told = story(unsent);
        assert!(
            told.starts_with(
                "Nothing that client[790] writes to 10.0.0.7:80 leaves this host: 1000 bytes have \
                 waited for "
            ),
            "{told}"
        );
        let told = story(|record| {
            unsent(record);
            record.sock.snd_wnd = 0;
        });
        assert!(
            told.starts_with(
                "10.0.0.7:80 has closed its window and answered none of the last 4 probes of \
                 client[790] for "
            ),
            "{told}"
        );
    }
}
