use super::*;
use crate::{
    core::sample,
    event::{
        Lost, Start, Stop,
        text::Label,
        values::{
            Cluster, Counts, Errno, HookState, Kind, List, Pattern, StallEnd, StopReason, Where,
        },
    },
};

const NARROW_TEXT: Text = Text {
    wide: false,
    colour: false,
};
const WIDE_TEXT: Text = Text {
    wide: true,
    colour: false,
};

fn lines(text: Text, events: &[Event]) -> String {
    let mut out = Vec::new();
    for event in events {
        text.write(event, &mut out);
    }
    String::from_utf8(out).expect("text")
}

fn start() -> Event {
    let hook = |signal: &str, hook: &str, error: Option<&str>| HookState {
        signal: Label::from(signal),
        hook: Label::from(hook),
        error: error.map(Label::from),
        instead_of: None,
    };
    Event {
        head: sample::head(Kind::Start),
        body: Body::Start(Start {
            version: Label::from("0.1.0"),
            kernel: Label::from("6.18.44"),
            hooks: List(vec![
                hook("socket_end", "tp_btf:tcp_destroy_sock", None),
                hook("rst_sent", "tp_btf:tcp_send_reset", None),
                hook("state", "tp_btf:inet_sock_set_state", None),
                hook(
                    "accept",
                    "tracepoint:syscalls:sys_exit_accept",
                    Some("no such tracepoint"),
                ),
            ]),
            blind: List(vec![
                Label::from("owners of accepted sockets before their first send or receive"),
                Label::from("owners of accepted sockets before their first send or receive"),
            ]),
            filters: List(vec![
                Label::from("--abnormal"),
                Label::from("--port 80,443"),
            ]),
        }),
    }
}

fn broken_pipe() -> Event {
    let (mut ids, mut end) = (sample::ids(), sample::end());
    ids.peer_pid = Some(812);
    ids.peer_comm = Some(sample::comm(b"nginx"));
    end.reason = Reason::FinPeerRst;
    end.errno = Some(Errno(32));
    end.tx_bytes = Some(943_718_400);
    end.story = Some(Label::from(
        "nginx[812] hung up on go-server[790] after waiting 2.0 s for a response; go-server then \
         wrote 4096 bytes, was answered with a RST, and its next write failed with EPIPE.",
    ));
    sample::close(ids, end)
}

fn v6(local: &str, peer: &str) -> Event {
    let mut ids = sample::ids();
    ids.local_addr = sample::addr(local);
    ids.peer_addr = sample::addr(peer);
    ids.comm = Some(sample::comm(b"fifteen-letters"));
    ids.pid = Some(4_194_303);
    sample::close(ids, sample::end())
}

fn stop() -> Event {
    Event {
        head: sample::head(Kind::Stop),
        body: Body::Stop(Stop {
            why: StopReason::Duration,
            duration_ms: 30_000,
            written: Counts(vec![("start".into(), 1), ("tcp_close".into(), 23)]),
            reasons: Counts(vec![("fin_peer_rst".into(), 3), ("fin_peer".into(), 20)]),
            lost: 0,
            lost_kinds: Counts::default(),
            recovered: 0,
            syn_recv_ended: 2,
            missed_runs: 0,
            clusters: List(vec![Cluster {
                process: Some("go-server".into()),
                peer: "10.2.0.7".into(),
                pattern: Pattern::PeerGaveUpWaiting,
                clock_ms: 60_004,
                count: 3,
                of: 4,
            }]),
        }),
    }
}

fn lost() -> Event {
    Event {
        head: sample::head(Kind::Lost),
        body: Body::Lost(Lost {
            count: 23,
            r#where: Where::Ring,
            kinds: Counts(vec![("tcp_reset".into(), 3), ("tcp_close".into(), 20)]),
        }),
    }
}

#[test]
fn start_introduces_itself_what_it_cannot_see_and_the_columns() {
    let expected = "\
tracer 0.1.0 on web-1, Linux 6.18.44, 2026-11-20; times are UTC
Hooks: 3 are attached.
Not attached: tracepoint:syscalls:sys_exit_accept: no such tracepoint.
Not seen because of that: owners of accepted sockets before their first send or receive.
Only: --abnormal --port 80,443
Each line is the end of a connection, a RST, a failed call or a silent peer, seen by its process.
Below it, in words: who hung up on whom, and why. Ends that were clean have nothing to tell.
AT: the connection's age when the first end came. RX, TX: payload bytes. -: not known.
`tracer explain WHY` says what a reason means.
TIME         PROCESS[PID]     LOCAL → PEER                      WHY                   AT    RX    TX
";
    assert_eq!(lines(NARROW_TEXT, &[start()]), expected);
    let named =
        "\nHooks: tp_btf:inet_sock_set_state, tp_btf:tcp_destroy_sock, tp_btf:tcp_send_reset.\n";
    assert!(lines(WIDE_TEXT, &[start()]).contains(named));
}

#[test]
fn ends_stand_in_columns_and_the_story_below() {
    let mut refused = sample::end();
    refused.reason = Reason::ConnectUnreachable;
    refused.end_age_ms = Some(59_999);
    (refused.rx_bytes, refused.tx_bytes) = (Some(0), Some(0));
    let mut unknown = sample::end();
    (unknown.end_age_ms, unknown.rx_bytes, unknown.tx_bytes) = (None, None, None);
    let mut nobodys = sample::ids();
    (nobodys.comm, nobodys.pid) = (None, None);
    let events = [
        sample::close(sample::ids(), sample::end()),
        broken_pipe(),
        sample::connect_failed(sample::ids(), refused),
        sample::close(nobodys, unknown),
    ];
    let expected = "\
12:23:36.123 go-server[790]   10.1.4.23:8080 → 10.2.0.7:48122   fin_peer            2.0s    78  8193
12:23:36.123 go-server[790]   10.1.4.23:8080 → 10.2.0.7:48122   fin_peer_rst        2.0s    78  900M
             nginx[812] hung up on go-server[790] after waiting 2.0 s for a response; go-server then
             wrote 4096 bytes, was answered with a RST, and its next write failed with EPIPE.
12:23:36.123 go-server[790]   10.1.4.23:8080 → 10.2.0.7:48122   connect_unreachable 59.9s    0     0
12:23:36.123 -                10.1.4.23:8080 → 10.2.0.7:48122   fin_peer               -     -     -
";
    assert_eq!(lines(NARROW_TEXT, &events), expected);
}

#[test]
fn addresses_that_are_too_long_take_what_room_there_is_or_go_below() {
    let long = (
        "2001:db8:1111:2222:3333:4444:5555:6666",
        "2001:db8:aaaa:bbbb:cccc:dddd:eeee:ffff",
    );
    let mut short = v6("192.168.1.10", "192.168.1.20");
    if let Body::End { ids, .. } = &mut short.body {
        (ids.comm, ids.pid) = (Some(sample::comm(b"nginx")), Some(812));
    }
    let events = [
        short,
        v6("2001:db8::10", "2001:db8::20"),
        v6(long.0, long.1),
        v6("::1", "::1"),
    ];
    let expected = "\
12:23:36.123 nginx[812]  192.168.1.10:8080 → 192.168.1.20:48122 fin_peer            2.0s    78  8193
12:23:36.123 fifteen-letters[4194303]                           fin_peer            2.0s    78  8193
             [2001:db8::10]:8080 → [2001:db8::20]:48122
12:23:36.123 fifteen-letters[4194303]                           fin_peer            2.0s    78  8193
             [2001:db8:1111:2222:3333:4444:5555:6666]:8080 →
             [2001:db8:aaaa:bbbb:cccc:dddd:eeee:ffff]:48122
12:23:36.123 fifteen-letters[4194303] [::1]:8080 → [::1]:48122  fin_peer            2.0s    78  8193
";
    assert_eq!(lines(NARROW_TEXT, &events), expected);
}

#[test]
fn resets_errors_losses_and_the_end() {
    let mut nobodys = sample::ids();
    (nobodys.comm, nobodys.pid) = (None, None);
    let mut told = sample::io_error(sample::ids(), Some(Reason::FinPeerRst));
    if let Body::IoError { io, .. } = &mut told.body {
        io.op = Op::Recv;
        io.errno = Errno(104);
        io.sigpipe = false;
        io.story = Some(Label::from("curl[99] hung up."));
    }
    let mut received = sample::reset(nobodys.clone());
    if let Body::Reset { reset, .. } = &mut received.body {
        reset.direction = Direction::Received;
        reset.rst_reason = None;
        reset.suppressed = 7;
    }
    let events = [
        sample::reset(nobodys),
        received,
        sample::io_error(sample::ids(), Some(Reason::FinPeerRst)),
        sample::io_error(sample::ids(), None),
        told,
        lost(),
        stop(),
    ];
    let expected = "\
12:23:36.123 -                10.1.4.23:8080 → 10.2.0.7:48122   RST sent: abort_on_data
12:23:36.123 -                10.1.4.23:8080 → 10.2.0.7:48122   RST received in fin_wait2
             7 more without a socket were only counted.
12:23:36.123 go-server[790]   10.1.4.23:8080 → 10.2.0.7:48122   send failed: EPIPE, SIGPIPE
             its connection: fin_peer_rst, ended by peer 2.0s after it was established
12:23:36.123 go-server[790]   10.1.4.23:8080 → 10.2.0.7:48122   send failed: EPIPE, SIGPIPE
12:23:36.123 go-server[790]   10.1.4.23:8080 → 10.2.0.7:48122   receive failed: ECONNRESET
             curl[99] hung up.
12:23:36.123 23 events LOST
             The kernel's ring buffer was full: a larger --ring-size lasts longer bursts. Lost:
             tcp_close 20, tcp_reset 3.
12:23:36.123 End after 30.0s: --for is over.
             Written: tcp_close 23, start 1.
             Ends written, by reason: fin_peer 20, fin_peer_rst 3.
             Nothing was lost.
             Incoming connections that were never established: 2.
             Repeated: 3 of 4 ends of go-server with 10.2.0.7 (peer_gave_up_waiting) came at 1m00s.
";
    assert_eq!(lines(NARROW_TEXT, &events), expected);
}

#[test]
fn wide_has_everything_on_one_line() {
    let expected = "\
12:23:36.123 go-server[790]           10.1.4.23:8080 → 10.2.0.7:48122                             \
fin_peer_rst          2.0s            78     943718400  peer     EPIPE         nginx[812]
             nginx[812] hung up on go-server[790] after waiting 2.0 s for a response; go-server \
then wrote 4096 bytes, was answered with a RST, and its next write failed with EPIPE.
12:23:36.123 fifteen-letters[4194303] [2001:db8::10]:8080 → [2001:db8::20]:48122                  \
fin_peer              2.0s            78          8193  peer     -             -
";
    let events = [broken_pipe(), v6("2001:db8::10", "2001:db8::20")];
    assert_eq!(lines(WIDE_TEXT, &events), expected);
    let heads = lines(WIDE_TEXT, &[start()]);
    let heads = heads.lines().last().expect("heads of columns");
    let row = expected.lines().next().expect("a row");
    for (head, cell) in [
        ("PROCESS[PID]", "go-server"),
        ("LOCAL", "10.1.4.23"),
        ("WHY", "fin_peer_rst"),
        ("ENDED BY", "peer  "),
        ("ERRNO", "EPIPE"),
        ("PEER'S", "nginx"),
    ] {
        let column = |line: &str, text: &str| line.split(text).next().map(row::width);
        assert_eq!(column(heads, head), column(row, cell), "{head}");
    }
}

#[test]
fn no_name_can_command_the_terminal_or_leave_its_line() {
    for name in [
        &b"\x1b[2J\x07\xffa\nb"[..],
        b"\x1b\x1b\x1b\x1b\x1b\x1b\x1b\x1b\x1b\x1b\x1b\x1b\x1b\x1b\x1b",
        "\u{9b}\u{9b}\u{9b}\u{9b}\u{9b}\u{9b}\u{9b}".as_bytes(),
        "\u{202e}abc\r\t".as_bytes(),
        b"               ",
    ] {
        let mut ids = sample::ids();
        ids.comm = Some(sample::comm(name));
        ids.pid = Some(4_194_303);
        let mut end = sample::end();
        end.story = Some(Label::from(String::from_utf8_lossy(name).into_owned()));
        for text in [NARROW_TEXT, WIDE_TEXT] {
            let shown = lines(text, &[sample::close(ids.clone(), end.clone())]);
            assert!(
                !shown.chars().any(|c| c.is_control() && c != '\n'),
                "{shown:?}"
            );
            assert!(!shown.contains('\u{202e}'), "{shown:?}");
            assert!(shown.lines().count() <= 3, "{shown:?}");
        }
    }
}

#[test]
fn lines_keep_within_a_hundred_characters() {
    let mut events = vec![start(), broken_pipe(), lost(), stop()];
    for reason in Reason::ALL {
        for name in ["a", "fifteen-letters"] {
            let (mut ids, mut end) = (sample::ids(), sample::end());
            ids.comm = Some(sample::comm(name.as_bytes()));
            ids.pid = Some(4_194_303);
            end.reason = *reason;
            end.end_age_ms = Some(86_399_999);
            if !reason.as_str().starts_with("connect_") {
                (end.rx_bytes, end.tx_bytes) = (Some(99_999), Some(1_048_575));
            }
            events.push(sample::close(ids.clone(), end));
            events.push(sample::io_error(ids.clone(), Some(*reason)));
            let mut reset = sample::reset(ids);
            if let Body::Reset { reset, .. } = &mut reset.body {
                reset.rst_reason = Some(Label::from("mptcp_rst_middlebox_interference"));
            }
            events.push(reset);
        }
    }
    for event in &events {
        for line in lines(NARROW_TEXT, std::slice::from_ref(event)).lines() {
            assert!(row::width(line) <= LINE, "{}: {line}", row::width(line));
        }
    }
}

#[test]
fn colour_is_only_there_when_asked_for() {
    let colour = Text {
        wide: false,
        colour: true,
    };
    let events = [start(), broken_pipe(), lost(), stop()];
    let plain = lines(NARROW_TEXT, &events);
    let coloured = lines(colour, &events);
    assert!(!plain.contains('\x1b'));
    assert!(coloured.contains("\x1b[31mfin_peer_rst\x1b[0m"));
    let mut stripped = coloured;
    for code in ["\x1b[0m", "\x1b[1m", "\x1b[2m", "\x1b[31m", "\x1b[33m"] {
        stripped = stripped.replace(code, "");
    }
    assert_eq!(stripped, plain);
}

#[test]
fn a_silent_peer_is_told_with_its_story() {
    let stalls = [
        sample::stall_event(sample::ids(), None),
        sample::stall_event(sample::ids(), Some(StallEnd::Recovered)),
        sample::stall_event(sample::ids(), Some(StallEnd::Closed)),
    ];
    let text = lines(NARROW_TEXT, &stalls);
    let told: Vec<_> = text.lines().collect();
    assert_eq!(told.len(), 6);
    for (line, what) in [
        (told[0], "peer is silent"),
        (told[2], "peer answers again"),
        (told[4], "ended in silence"),
    ] {
        assert!(line.starts_with("12:23:36.123 go-server[790]"), "{line}");
        assert!(line.contains(what), "{line}");
        assert!(line.ends_with(" 12.4s"), "{line}");
    }
    assert_eq!(told[1].trim(), "Nobody answers.");
}

/// A live run writes an event itself; a replay writes what it has read from the event's line.
#[test]
fn a_recording_gives_the_text_that_the_live_run_gave() {
    let (mut ids, mut end) = (sample::ids(), sample::end());
    ids.comm = Some(sample::comm(b"\x1b[31m\xff\x80e\n"));
    ids.peer_addr = sample::addr("2001:db8::7");
    end.reason = Reason::RstPeer;
    end.story = Some(Label::from("\u{1f980} said: \u{9b}31m\u{202e}."));
    let events = [
        start(),
        broken_pipe(),
        sample::close(sample::ids(), sample::end()),
        sample::close(ids.clone(), end.clone()),
        sample::connect_failed(ids.clone(), end),
        sample::reset(ids.clone()),
        sample::io_error(ids.clone(), None),
        sample::io_error(ids.clone(), Some(Reason::FinPeerRst)),
        sample::stall_event(ids.clone(), None),
        sample::stall_event(ids, Some(StallEnd::Recovered)),
        lost(),
        stop(),
    ];
    for event in events {
        let mut line = Vec::new();
        event.write_line(&mut line);
        let read = Event::parse(line.trim_ascii_end()).expect("an event");
        for wide in [false, true] {
            for colour in [false, true] {
                let text = Text { wide, colour };
                let live = lines(text, std::slice::from_ref(&event));
                assert_eq!(lines(text, std::slice::from_ref(&read)), live);
            }
        }
    }
}
