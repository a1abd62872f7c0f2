use super::*;
use crate::{
    core::sample,
    event::{text::Label, time::Timestamp, values::*},
};

fn write(event: &Event) -> Vec<u8> {
    let mut line = Vec::new();
    event.write_line(&mut line);
    line
}

fn own(kind: Kind, body: Body) -> Event {
    Event {
        head: sample::head(kind),
        body,
    }
}

/// One of each kind, with as much in it as there can be.
fn events() -> Vec<Event> {
    let mut ids = sample::ids();
    ids.community_id = Some(CommunityId(*b"1:LQU9qZlK+B5F3KDmev6m5PMibrg="));
    ids.exe = Some(Label::from("/usr/bin/we\"ird\\\n\u{1f980}"));
    ids.comm = Some(sample::comm("é\x1b\t\u{9b}".as_bytes()));
    ids.peer_addr = sample::addr("2001:db8::7");
    ids.peer_conn = Some(sample::conn(u64::MAX));
    ids.called.container_name = Some(Label::from("web")).into();
    ids.called.pod_namespace = Some(Label::from("pr\"od")).into();
    let mut end = sample::end();
    end.errno = Some(Errno(32));
    end.write_errno = Some(Errno(250));
    end.hints = List(vec![Label::from("nginx"), Label::from("aws_alb")]);
    end.chain = Some(List(Vec::new()));
    end.story = Some(Label::from("It broke."));
    end.timeline = Some(List(vec![
        Moment::at(-2004, What::Established),
        Moment {
            bytes: Some(5),
            errno: Some(Errno(104)),
            ..Moment::at(3, What::WriteError)
        },
    ]));
    let counts = || Counts(vec![("tcp_close".into(), 3), ("later".into(), 1 << 53)]);
    vec![
        sample::close(sample::ids(), sample::end()),
        sample::close(ids.clone(), end.clone()),
        sample::connect_failed(ids.clone(), end),
        sample::reset(ids.clone()),
        sample::io_error(ids.clone(), None),
        sample::io_error(ids.clone(), Some(Reason::FinPeerRst)),
        sample::stall_event(ids.clone(), None),
        sample::stall_event(ids, Some(StallEnd::Recovered)),
        own(
            Kind::Start,
            Body::Start(Start {
                version: Label::from("0.1.0"),
                kernel: Label::from("6.18"),
                hooks: List(vec![HookState {
                    signal: Label::from("state"),
                    hook: Label::from("tp_btf:inet_sock_set_state"),
                    error: Some(Label::from("no")),
                    instead_of: None,
                }]),
                blind: List(Vec::new()),
                filters: List(vec![Label::from("--port 80")]),
            }),
        ),
        own(
            Kind::Lost,
            Body::Lost(Lost {
                count: 4,
                r#where: Where::MissedRun,
                kinds: counts(),
            }),
        ),
        own(
            Kind::Heartbeat,
            Body::Heartbeat(Heartbeat {
                written: counts(),
                lost: 0,
                connections: 7,
                hooks: 12,
                recovered: 1,
                missed_runs: 2,
                syn_recv_ended: 3,
                attached: Some(List(vec!["tp_btf:inet_sock_set_state".into()])).into(),
            }),
        ),
        own(
            Kind::Stop,
            Body::Stop(Stop {
                why: StopReason::Signal,
                duration_ms: 1,
                written: counts(),
                reasons: Counts::default(),
                lost: 0,
                lost_kinds: Counts::default(),
                recovered: 0,
                missed_runs: 0,
                syn_recv_ended: 0,
                clusters: List(vec![Cluster {
                    process: None,
                    peer: Label::from("10.2.0.7"),
                    pattern: Pattern::PeerGaveUpWaiting,
                    clock_ms: 60_004,
                    count: 37,
                    of: 37,
                }]),
            }),
        ),
    ]
}

#[test]
fn every_event_comes_back_and_writes_the_same_line() {
    for event in events() {
        let line = write(&event);
        let back = Event::parse(&line).expect("what was written can be read");
        assert_eq!(back, event);
        assert_eq!(write(&back), line);
    }
}

#[test]
fn a_name_that_is_not_utf8_writes_the_same_line() {
    let mut ids = sample::ids();
    ids.comm = Some(sample::comm(b"\xff\xfea\xe2\x82bcdefghi"));
    let line = write(&sample::reset(ids));
    let back = Event::parse(&line).expect("readable");
    assert_eq!(write(&back), line);
}

#[test]
fn keys_in_another_order_with_space_and_with_others_between_are_read() {
    for event in events() {
        let line = write(&event);
        let value: serde_json::Value = serde_json::from_slice(&line).expect("JSON");
        let object = value.as_object().expect("an object");
        let mut sorted: Vec<_> = object.iter().collect();
        sorted.sort_by_key(|(key, _)| *key);
        let members: Vec<_> = sorted
            .iter()
            .map(|(key, value)| {
                format!(" \"x_{key}\" : [1.5e3,{{\"a\":null}}] , \"{key}\" : {value}")
            })
            .collect();
        let line = format!("{{{} }} \r\n", members.join(","));
        assert_eq!(Event::parse(line.as_bytes()), Ok(event), "{line}");
    }
}

#[test]
fn keys_that_an_earlier_version_did_not_write_are_unknown() {
    let mut event = sample::close(sample::ids(), sample::end());
    let line = String::from_utf8(write(&event)).expect("text");
    let line = line
        .replace(",\"srtt_us\":412", "")
        .replace(",\"hints\":[]", "")
        .replace(",\"mptcp\":false", "");
    if let Body::End { end, .. } = &mut event.body {
        end.srtt_us = None;
    }
    assert_eq!(Event::parse(line.as_bytes()), Ok(event));
    let line = line.replace(",\"peer_port\":48122", "");
    assert_eq!(
        Event::parse(line.as_bytes()),
        Err(Fault::Missing("peer_port"))
    );
}

#[test]
fn names_of_a_later_version() {
    let line =
        String::from_utf8(write(&sample::close(sample::ids(), sample::end()))).expect("text");
    let later = line.replace("\"reason\":\"fin_peer\"", "\"reason\":\"teleported\"");
    let event = Event::parse(later.as_bytes()).expect("readable");
    let Body::End { end, .. } = &event.body else {
        panic!("{event:?}");
    };
    assert_eq!(end.reason, Reason::Unknown);
    let later = line.replace("\"how\":\"fin\"", "\"how\":\"teleport\"");
    assert_eq!(Event::parse(later.as_bytes()), Err(Fault::Value("how")));
    let later = line.replace("tcp_close", "quic_close");
    let unknown = Fault::UnknownEvent("quic_close".to_owned());
    assert_eq!(Event::parse(later.as_bytes()), Err(unknown));
    let later = line.replace("\"v\":1", "\"v\":2");
    assert_eq!(Event::parse(later.as_bytes()), Err(Fault::Newer(2)));
}

#[test]
fn whatever_is_cut_or_changed_never_panics() {
    for event in events() {
        let line = write(&event);
        for at in (0..line.len() - 1).step_by(if cfg!(miri) { 499 } else { 1 }) {
            assert!(Event::parse(&line[..at]).is_err());
            for byte in [b'"', b'\\', b'{', b'}', b'9', 0, 0xff] {
                let mut changed = line.clone();
                changed[at] = byte;
                let _ = Event::parse(&changed);
            }
        }
    }
    for line in [
        "",
        "{}",
        "[]",
        "null",
        "{\"v\":",
        "\u{feff}{}",
        "{\"v\":\"\\ud800\"}",
    ] {
        assert!(Event::parse(line.as_bytes()).is_err(), "{line}");
    }
    let deep = format!(
        "{{\"v\":1,\"x\":{}{}}}",
        "[".repeat(9_000),
        "]".repeat(9_000)
    );
    assert_eq!(Event::parse(deep.as_bytes()), Err(Fault::NotJson));
    let trailing = format!(
        "{} {{}}",
        String::from_utf8_lossy(&write(&events()[0])).trim()
    );
    assert_eq!(Event::parse(trailing.as_bytes()), Err(Fault::NotJson));
}

#[test]
fn a_moment_of_another_precision_is_the_same_moment() {
    let line = String::from_utf8(write(&events()[0])).expect("text");
    let line = line.replace("12:23:36.123456789Z", "12:23:36.5Z");
    let event = Event::parse(line.as_bytes()).expect("readable");
    assert_eq!(event.head.ts, Timestamp(1_795_177_416_500_000_000));
}
