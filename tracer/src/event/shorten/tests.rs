use std::borrow::Cow;

use serde_json::Value;

use super::*;
use crate::{
    core::sample,
    event::{Heartbeat, Lost, Start, Stop, text::Comm, values::*},
};

/// Numbers that are the same in every run (the SplitMix64 generator).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit as u64) as usize
    }

    /// Up to 10 kB of what is dear to write, or little of it.
    fn text(&mut self) -> String {
        const DEAR: [char; 8] = [
            '\x01',
            '"',
            '\\',
            '\u{9b}',
            'é',
            '\u{1f980}',
            '\u{fffd}',
            'a',
        ];
        let length = match self.below(5) {
            0 => 0,
            1 => self.below(12),
            2 | 3 => self.below(700),
            _ => self.below(10_000),
        };
        match self.below(3) {
            0 => (0..length).map(|_| DEAR[self.below(DEAR.len())]).collect(),
            1 => "\x02".repeat(length),
            _ => "x".repeat(length),
        }
    }

    fn label(&mut self) -> Label {
        self.text().into()
    }

    fn maybe(&mut self) -> Option<Label> {
        (self.below(4) > 0).then(|| self.label())
    }

    fn comm(&mut self) -> Option<Comm> {
        Some(Comm(std::array::from_fn(|index| match index {
            15 => 0,
            _ => [1, b'"', 0xff, 0x80, b'c'][self.below(5)],
        })))
    }

    fn labels(&mut self, most: usize) -> List<Label> {
        List((0..self.below(most + 1)).map(|_| self.label()).collect())
    }

    fn counts(&mut self) -> Counts {
        let count = self.below(12);
        Counts(
            (0..count)
                .map(|_| (Cow::Owned(self.text()), u64::MAX))
                .collect(),
        )
    }

    fn ids(&mut self) -> Ids {
        let mut ids = sample::ids();
        ids.conn = Some(sample::conn(u64::MAX));
        ids.community_id = Some(CommunityId(*b"1:LQU9qZlK+B5F3KDmev6m5PMibrg="));
        ids.peer_addr = sample::addr("2001:db8:1111:2222:3333:4444:5555:6666");
        ids.local_addr = ids.peer_addr;
        ids.peer_conn = ids.conn;
        for comm in [&mut ids.comm, &mut ids.closer_comm, &mut ids.peer_comm] {
            *comm = self.comm();
        }
        for number in [
            &mut ids.pid,
            &mut ids.tid,
            &mut ids.uid,
            &mut ids.closer_pid,
        ] {
            *number = Some(u32::MAX);
        }
        ids.peer_pid = Some(u32::MAX);
        for text in [
            &mut ids.exe,
            &mut ids.cgroup,
            &mut ids.container_id,
            &mut ids.runtime,
            &mut ids.pod_uid,
            &mut ids.unit,
            &mut ids.peer_container_id,
            &mut ids.called.container_name.0,
            &mut ids.called.pod.0,
            &mut ids.called.pod_namespace.0,
        ] {
            *text = self.maybe();
        }
        ids
    }

    fn end(&mut self) -> End {
        let mut end = sample::end();
        for number in [
            &mut end.end_age_ms,
            &mut end.age_ms,
            &mut end.idle_rx_ms,
            &mut end.idle_tx_ms,
            &mut end.half_close_ms,
            &mut end.rx_bytes,
            &mut end.tx_bytes,
            &mut end.tx_unacked_bytes,
            &mut end.tx_unsent_bytes,
            &mut end.rx_unread_bytes,
            &mut end.tx_after_fin_bytes,
            &mut end.hint_s,
            &mut end.repeats,
            &mut end.killer_signal_ms.0,
        ] {
            *number = Some(u64::MAX);
        }
        for conn in [&mut end.cause_conn, &mut end.root_conn] {
            *conn = Some(sample::conn(u64::MAX));
        }
        end.killer_pid = Some(u32::MAX).into();
        end.killer_comm = self.comm().into();
        end.rst_reason = self.maybe();
        end.hints = self.labels(8);
        end.chain = (self.below(2) > 0).then(|| self.labels(20));
        end.story = self.maybe();
        end.timeline = Some(List(vec![
            Moment::at(i64::MIN, What::Established);
            self.below(300)
        ]));
        end
    }

    fn event(&mut self, kind: Kind) -> Event {
        let mut event = match kind {
            Kind::TcpClose => sample::close(self.ids(), self.end()),
            Kind::TcpConnectFailed => sample::connect_failed(self.ids(), self.end()),
            Kind::TcpReset => sample::reset(self.ids()),
            Kind::TcpIoError => sample::io_error(self.ids(), Some(Reason::FinPeerRst)),
            Kind::TcpStall => sample::stall_event(self.ids(), None),
            Kind::TcpStallEnd => sample::stall_event(self.ids(), Some(StallEnd::Recovered)),
            Kind::Start | Kind::Lost | Kind::Heartbeat | Kind::Stop => Event {
                head: sample::head(kind),
                body: self.own(kind),
            },
        };
        match &mut event.body {
            Body::Reset { reset, .. } => reset.rst_reason = self.maybe(),
            Body::IoError { io, .. } => io.story = self.maybe(),
            Body::Stall { stall, .. } => stall.story = self.maybe(),
            _ => (),
        }
        event.head.node = self.label();
        event
    }

    fn own(&mut self, kind: Kind) -> Body {
        match kind {
            Kind::Start => Body::Start(Start {
                version: self.label(),
                kernel: self.label(),
                hooks: List(
                    (0..self.below(12))
                        .map(|_| HookState {
                            signal: self.label(),
                            hook: self.label(),
                            error: self.maybe(),
                            instead_of: self.maybe(),
                        })
                        .collect(),
                ),
                blind: self.labels(20),
                filters: self.labels(20),
            }),
            Kind::Lost => Body::Lost(Lost {
                count: u64::MAX,
                r#where: Where::MissedRun,
                kinds: self.counts(),
            }),
            Kind::Heartbeat => Body::Heartbeat(Heartbeat {
                written: self.counts(),
                lost: u64::MAX,
                connections: u64::MAX,
                hooks: u64::MAX,
                recovered: u64::MAX,
                missed_runs: u64::MAX,
                syn_recv_ended: u64::MAX,
                attached: Some(self.labels(20)).into(),
            }),
            _ => Body::Stop(Stop {
                why: StopReason::ReaderGone,
                duration_ms: u64::MAX,
                written: self.counts(),
                reasons: self.counts(),
                lost: u64::MAX,
                lost_kinds: self.counts(),
                recovered: u64::MAX,
                missed_runs: u64::MAX,
                syn_recv_ended: u64::MAX,
                clusters: List(
                    (0..self.below(12))
                        .map(|_| Cluster {
                            process: self.maybe(),
                            peer: self.label(),
                            pattern: Pattern::PeerGaveUpWaiting,
                            clock_ms: u64::MAX,
                            count: u64::MAX,
                            of: u64::MAX,
                        })
                        .collect(),
                ),
            }),
        }
    }
}

fn line(event: &Event) -> (Vec<u8>, Value) {
    let mut line = Vec::new();
    event.write_line(&mut line);
    let json = serde_json::from_slice(&line).expect("JSON");
    (line, json)
}

#[test]
#[cfg_attr(miri, ignore = "takes the interpreter very long")]
fn no_text_however_hostile_makes_a_line_too_long() {
    let mut random = Random(23);
    for kind in Kind::ALL {
        let mut shortened = 0;
        for round in 0..60 {
            let event = random.event(*kind);
            let (text, json) = line(&event);
            assert!(
                text.len() <= MAX_LINE_BYTES + 1,
                "{kind} {round}: {} bytes",
                text.len()
            );
            let back = Event::parse(&text).expect("what was written can be read");
            assert_eq!(back.head.event, *kind);
            let marked = json["truncated"] == true;
            let mut whole = Vec::new();
            event.write_object(&mut whole);
            assert_eq!(marked, whole.len() > MAX_LINE_BYTES, "{kind} {round}");
            shortened += u32::from(marked);
        }
        assert!(shortened > 15, "{kind}: only {shortened} were too long");
    }
}

/// An end with these texts, and what is left of it: lengths of timeline, chain, cgroup and story.
fn left(timeline: usize, chain: usize, cgroup: usize, story: usize) -> [Option<usize>; 4] {
    let mut ids = sample::ids();
    ids.cgroup = Some("c".repeat(cgroup).into());
    let mut end = sample::end();
    end.timeline = Some(List(vec![Moment::at(0, What::Established); timeline]));
    end.chain = Some(List(vec!["hop".into(); chain]));
    end.story = Some("s".repeat(story).into());
    let (_, json) = line(&sample::close(ids, end));
    let length = |key: &str| match &json[key] {
        Value::Array(list) => Some(list.len()),
        Value::String(text) => Some(text.len()),
        _ => None,
    };
    ["timeline", "chain", "cgroup", "story"].map(length)
}

#[test]
fn the_timeline_goes_first_then_the_chain_then_names_then_the_story() {
    let whole = |length| Some(length);
    assert_eq!(left(3, 3, 300, 300), [3, 3, 300, 300].map(whole));
    assert_eq!(
        left(100, 3, 300, 300),
        [None, whole(3), whole(300), whole(300)]
    );
    assert_eq!(
        left(100, 500, 300, 300),
        [None, None, whole(300), whole(300)]
    );
    assert_eq!(left(3, 3, 2500, 900), [None, None, whole(128), whole(900)]);
    assert_eq!(left(3, 3, 2500, 3000), [None, None, whole(128), whole(512)]);
}
