//! The view on terminals of several sizes, held to the files in `screens/` (UPDATE_SCREENS=1 writes
//! them), and scripts of keys on the update.

use ratatui::{
    buffer::Buffer,
    crossterm::event::{KeyCode, KeyModifiers},
    layout::Rect,
    style::{Color, Modifier},
};

use super::{
    columns::{Column, why},
    keymap::{BINDINGS, Command},
    model::{Model, Options, Over, Screen, Sort, Source, Status},
    playback::{Ask, Goal, Place},
    update::{Effect, Msg, update},
    view::view,
};
use crate::{
    cli::{Speed, Theme},
    core::{filter::Filter, sample, timeouts::BUILT_IN},
    event::{Body, Event, Lost, Start, text::Label, time::Timestamp, values::*},
};

const SIZES: [(u16, u16); 4] = [(60, 15), (80, 24), (120, 40), (200, 60)];

fn options() -> Options {
    Options {
        theme: Theme::Default,
        unicode: true,
        history: 1_000,
        timeouts: BUILT_IN.clone(),
        source: Source::Live,
    }
}

fn model() -> Model {
    Model::new(options(), Filter::default())
}

fn feed(model: &mut Model, events: Vec<Event>) {
    update(model, Msg::Events(events));
}

/// Half a second after the event before.
fn at(index: u64, mut event: Event) -> Event {
    event.head.ts = Timestamp(event.head.ts.0 + index * 500_000_000);
    event
}

/// The server's end of a broken pipe, or the client's.
fn broken_pipe(server: bool) -> Event {
    let (mut ids, mut end) = (sample::ids(), sample::end());
    ids.peer_pid = Some(812);
    ids.peer_comm = Some(sample::comm(b"nginx"));
    ids.peer_conn = Some(sample::conn(0xb2));
    end.story = Some(Label::from(
        "nginx[812] hung up on go-server[790] after waiting 2.0 s for a response; go-server[790] then \
         wrote 4096 bytes and was answered with a RST, and its next write failed with EPIPE.",
    ));
    if server {
        end.reason = Reason::FinPeerRst;
        end.errno = Some(Errno(32));
        end.write_errno = Some(Errno(32));
        end.tx_after_fin_bytes = Some(4_096);
        end.pattern = Some(Pattern::PeerGaveUpWaiting);
        end.hints = List(vec![
            Label::from("nginx.proxy_read_timeout"),
            Label::from("checkout-lb"),
        ]);
        end.hint_s = Some(2);
        end.chain = Some(List(vec![
            Label::from("nginx[812] fin"),
            Label::from("go-server[790] EPIPE"),
        ]));
        end.timeline = Some(List(vec![
            Moment::at(-2_306, What::Established),
            Moment::at(-2_300, What::LastRx),
            Moment::at(-300, What::PeerFin),
            Moment {
                bytes: Some(4_096),
                ..Moment::at(-50, What::WriteAfterFin)
            },
            Moment::at(0, What::RstReceived),
            Moment::at(0, What::Closed),
            Moment {
                errno: Some(Errno(32)),
                ..Moment::at(2, What::WriteError)
            },
        ]));
    } else {
        (ids.local_addr, ids.peer_addr) = (ids.peer_addr, ids.local_addr);
        (ids.local_port, ids.peer_port) = (ids.peer_port, ids.local_port);
        (ids.conn, ids.peer_conn) = (ids.peer_conn, ids.conn);
        (ids.comm, ids.peer_comm) = (ids.peer_comm, ids.comm);
        (ids.pid, ids.peer_pid) = (ids.peer_pid, ids.pid);
        ids.role = Role::Client;
        end.reason = Reason::FinLocal;
        end.closed_by = ClosedBy::Local;
    }
    sample::close(ids, end)
}

fn full() -> Model {
    let mut model = model();
    let start = Start {
        version: Label::from("0.1.0"),
        kernel: Label::from("6.18.0"),
        hooks: List(vec![
            HookState {
                signal: Label::from("state"),
                hook: Label::from("tp_btf:inet_sock_set_state"),
                error: None,
                instead_of: None,
            },
            HookState {
                signal: Label::from("rst"),
                hook: Label::from("tp_btf:tcp_send_reset"),
                error: Some(Label::from("no such tracepoint")),
                instead_of: None,
            },
        ]),
        blind: List(vec![Label::from("RSTs that are sent")]),
        filters: List(Vec::new()),
    };
    let own = |kind, body| Event {
        head: sample::head(kind),
        body,
    };
    let mut events = vec![own(Kind::Start, Body::Start(start))];
    for index in 0..70 {
        let mut ids = sample::ids();
        ids.peer_addr = sample::addr(if index % 2 == 0 {
            "2001:db8::7"
        } else {
            "10.9.8.7"
        });
        ids.pid = Some(700 + index as u32);
        let mut end = sample::end();
        end.end_age_ms = Some(if index % 3 == 0 {
            60_002
        } else {
            40 + index * 7
        });
        match index % 5 {
            0 => events.push(at(index, sample::io_error(ids, Some(Reason::RstPeer)))),
            1 => {
                end.reason = Reason::RstPeer;
                end.how = How::Rst;
                end.errno = Some(Errno(104));
                end.rx_unread_bytes = Some(1_000_000);
                ids.comm = Some(sample::comm(b"postgres"));
                events.push(at(index, sample::close(ids, end)));
            }
            _ => events.push(at(index, sample::close(ids, end))),
        }
    }
    events.push(at(69, broken_pipe(false)));
    events.push(at(70, broken_pipe(true)));
    events.push(at(70, {
        let mut reset = sample::reset(sample::ids());
        if let Body::Reset { reset, .. } = &mut reset.body {
            reset.direction = Direction::Received;
        }
        reset
    }));
    events.push(own(
        Kind::Lost,
        Body::Lost(Lost {
            count: 3,
            r#where: Where::Ring,
            kinds: Counts(vec![("tcp_close".into(), 3)]),
        }),
    ));
    feed(&mut model, events);
    update(
        &mut model,
        Msg::Tick(at(70, sample::reset(sample::ids())).head.ts),
    );
    let status = Status {
        connections: 345,
        hooks_attached: 11,
        hooks: 12,
    };
    update(&mut model, Msg::Status(status));
    model
}

fn hostile() -> Model {
    let mut model = model();
    let names: [&[u8]; 5] = [
        b"\x1b[31mred\x1b[0m",
        b"\xff\xfe\xfd",
        "\u{202e}evil".as_bytes(),
        "日本語日本".as_bytes(),
        b"a\tb\nc\r",
    ];
    let events = names.iter().zip(0..).map(|(name, index)| {
        let (mut ids, mut end) = (sample::ids(), sample::end());
        ids.comm = Some(sample::comm(name));
        ids.peer_addr = sample::addr("2001:db8:1111:2222:3333:4444:5555:6666");
        ids.cgroup = Some(Label::from("/a\x1b]0;owned\x07b"));
        end.reason = Reason::TimeoutKeepalive;
        end.rx_bytes = Some(u64::MAX);
        end.end_age_ms = Some(u64::MAX);
        end.timeline = Some(List(vec![
            Moment::at(i64::MIN, What::Established),
            Moment::at(i64::MAX, What::Closed),
        ]));
        end.story = Some(Label::from("\x1b[2Jgone\u{9b}31m"));
        at(index, sample::close(ids, end))
    });
    feed(&mut model, events.collect());
    update(&mut model, Msg::Tick(sample::head(Kind::TcpClose).ts));
    model
}

fn drawn(model: &Model) -> Buffer {
    let (width, height) = model.size;
    let mut buffer = Buffer::empty(Rect::new(0, 0, width, height));
    view(model, &mut buffer);
    buffer
}

fn text(buffer: &Buffer) -> String {
    let width = usize::from(buffer.area.width);
    let mut text = String::new();
    for row in buffer.content.chunks(width) {
        let mut skip = 0;
        let mut line = String::new();
        for cell in row {
            // A wide character's second cell is not drawn.
            if skip == 0 {
                line.push_str(cell.symbol());
                skip = ratatui::text::Span::raw(cell.symbol()).width().max(1);
            }
            skip -= 1;
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

/// Compares with the file, or writes it.
fn hold(name: &str, model: &mut Model, (width, height): (u16, u16)) {
    update(model, Msg::Resize(width, height));
    let text = text(&drawn(model));
    assert!(
        !text.contains(['\x1b', '\x07', '\u{9b}', '\u{202e}']),
        "{name}"
    );
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/src/tui/screens");
    let path = format!("{folder}/{name}-{width}x{height}.txt");
    if std::env::var_os("UPDATE_SCREENS").is_some() {
        std::fs::write(&path, &text).expect("the screen can be written");
        return;
    }
    let wanted = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        text == wanted,
        "{path} differs (UPDATE_SCREENS=1 writes it):\n{text}\ninstead of\n{wanted}"
    );
}

fn keys(model: &mut Model, script: &str) -> Vec<Effect> {
    script
        .chars()
        .flat_map(|c| {
            let key = match c {
                '⏎' => KeyCode::Enter,
                '⎋' => KeyCode::Esc,
                '⇥' => KeyCode::Tab,
                '↓' => KeyCode::Down,
                '↑' => KeyCode::Up,
                '⌫' => KeyCode::Backspace,
                c => KeyCode::Char(c),
            };
            update(model, Msg::Key(key, KeyModifiers::NONE))
        })
        .collect()
}

#[test]
fn screens() {
    for (name, script) in [
        ("live", ""),
        ("live-marked-sorted", "mmssss"),
        ("groups", "g⎋2"),
        ("groups-by-reason", "ggg"),
        ("ages", "3"),
        ("hooks", "4"),
        ("detail", "⏎"),
        ("help", "?"),
        ("command-line", "/reason=rst_peer port=8080⏎c"),
        ("filtered", "/reason=rst_peer⏎"),
        ("no-row-fits", "/port=9⏎"),
        ("completing", "/reason=time"),
        ("wrong-filter", "/port=http"),
        ("all-events", "e"),
        ("paused", "p"),
    ] {
        for size in SIZES {
            let mut model = full();
            update(&mut model, Msg::Resize(size.0, size.1));
            keys(&mut model, script);
            hold(name, &mut model, size);
        }
    }
}

/// A peer that has been silent for 12.4 s.
fn stall(cookie: u64, ended: Option<StallEnd>) -> Event {
    let mut ids = sample::ids();
    ids.conn = Some(sample::conn(cookie));
    ids.peer_port = 443 + cookie as u16;
    sample::stall_event(ids, ended)
}

/// Three silent peers, one of which answers again.
fn stalled() -> Model {
    let mut model = model();
    let mut keepalive = stall(3, None);
    if let Body::Stall { ids, stall } = &mut keepalive.body {
        ids.comm = Some(sample::comm(b"postgres"));
        (stall.retrans_in_row, stall.probes_in_row) = (0, 3);
        stall.tx_unacked_bytes = Some(0);
        stall.gives_up_by = Some(GivesUpBy::TcpKeepaliveProbes);
    }
    let mut events = vec![stall(1, None), stall(2, None), at(4, keepalive)];
    events.push(at(9, stall(2, Some(StallEnd::Recovered))));
    feed(&mut model, events);
    update(
        &mut model,
        Msg::Tick(at(20, sample::reset(sample::ids())).head.ts),
    );
    model
}

#[test]
fn stalls_are_those_of_now_with_the_time_that_is_left() {
    for size in SIZES {
        let mut model = stalled();
        keys(&mut model, "5");
        hold("stalls", &mut model, size);
    }
    let mut model = stalled();
    keys(&mut model, "5↓⏎");
    assert!(matches!(model.over, Some(Over::Detail { .. })));
    assert!(text(&drawn(&model)).contains("postgres[790]"));
    // The end of the connection is the end of the stall, also if that itself was not written.
    let mut ids = sample::ids();
    ids.conn = Some(sample::conn(3));
    feed(&mut model, vec![sample::close(ids, sample::end())]);
    assert_eq!(model.silent().len(), 1);
    keys(&mut model, "/port=1⏎");
    assert_eq!(model.silent().len(), 0, "the filter holds here too");
}

#[test]
fn screens_without_events() {
    for size in SIZES {
        let mut model = model();
        let status = Status {
            connections: 345,
            hooks_attached: 12,
            hooks: 12,
        };
        update(&mut model, Msg::Status(status));
        for (name, key) in [
            ("empty", "1"),
            ("empty-groups", "2"),
            ("empty-ages", "3"),
            ("empty-hooks", "4"),
            ("empty-stalls", "5"),
        ] {
            keys(&mut model, key);
            hold(name, &mut model, size);
        }
    }
    let mut model = Model::new(
        Options {
            source: Source::Replay(vec!["a.ndjson".to_owned()]),
            ..options()
        },
        Filter::default(),
    );
    update(&mut model, Msg::Ended("the recording is over".to_owned()));
    hold("empty-replay", &mut model, SIZES[1]);
}

/// A recording in the middle.
fn replay() -> Model {
    let mut model = full();
    model.options.source = Source::Replay(vec!["a.ndjson".to_owned()]);
    model.status = None;
    update(&mut model, Msg::Place(place(true)));
    model
}

fn place(held: bool) -> Place {
    Place {
        at: at(70, sample::reset(sample::ids())).head.ts,
        percent: Some(43),
        speed: Speed::Times(10),
        held,
    }
}

#[test]
fn screens_of_a_replay() {
    for (name, script) in [("replay", ""), ("replay-time", "t13:4")] {
        for size in SIZES {
            let mut model = replay();
            keys(&mut model, script);
            hold(name, &mut model, size);
        }
    }
}

#[test]
fn a_replay_is_asked_for_what_its_keys_say() {
    let mut model = replay();
    let ask = |ask| vec![Effect::Ask(ask)];
    let by = |seconds: i64| {
        ask(Ask::Go(Goal::By {
            ms: seconds * 1_000,
        }))
    };
    for (key, effects) in [
        (" ", ask(Ask::Hold)),
        (",", by(-10)),
        (".", by(10)),
        ("<", by(-60)),
        (">", by(60)),
        ("[", by(-600)),
        ("]", by(600)),
        ("(", ask(Ask::Go(Goal::Start))),
        (")", ask(Ask::Go(Goal::End))),
        ("+", ask(Ask::Faster)),
        ("-", ask(Ask::Slower)),
        ("t-10s⏎", by(-10)),
        ("t1m⏎", ask(Ask::Go(Goal::After { ms: 60_000 }))),
        ("tx⏎", Vec::new()),
    ] {
        assert_eq!(keys(&mut model, key), effects, "{key}");
    }
    assert!(model.prompt.is_some(), "a wrong time stays to be mended");
    // Live there is nothing to go back in; Space holds the rows.
    let mut model = full();
    for binding in BINDINGS
        .iter()
        .filter(|binding| binding.command.is_of_replay())
    {
        assert!(update(&mut model, Msg::Key(binding.keys[0], KeyModifiers::NONE)).is_empty());
        let hold = binding.command == Command::Replay(Ask::Hold);
        assert_eq!(
            (model.message.is_none(), model.prompt.is_none()),
            (hold, true)
        );
    }
    assert!(model.paused.is_some());
}

#[test]
fn going_back_forgets_what_came_and_keeps_what_was_chosen() {
    let mut model = replay();
    keys(&mut model, "/reason=rst_peer⏎m⏎");
    update(&mut model, Msg::Restart);
    assert_eq!((model.totals.ends, model.history.len()), (0, 0));
    assert_eq!((&model.over, model.marked.len()), (&None, 0));
    assert_eq!(model.filter_text, "reason=rst_peer");
    feed(&mut model, vec![broken_pipe(true)]);
    update(&mut model, Msg::Place(place(false)));
    assert_eq!(model.totals.ends, 1);
    // Time goes back too.
    let earlier = Place {
        at: Timestamp(place(true).at.0 - 30_000_000_000),
        ..place(true)
    };
    update(&mut model, Msg::Place(earlier));
    assert_eq!(model.now, earlier.at);
}

/// What is faulty differs from what is only noticed, and both from the rest, by more than hue.
#[test]
fn every_theme_tells_things_apart() {
    let mut model = full();
    for theme in Theme::ALL {
        assert_eq!(model.options.theme, theme);
        let buffer = drawn(&model);
        let style = |sign: &str| {
            let cell = buffer
                .content
                .iter()
                .enumerate()
                // Its place is the second cell of a row that is not chosen.
                .find(|(index, cell)| index % 80 == 1 && cell.symbol() == sign && *index > 320)
                .map(|(_, cell)| cell);
            let cell = cell.expect(sign);
            (cell.fg, cell.bg, cell.modifier)
        };
        let (faulty, noticed, plain) = (style("!"), style("~"), style(" "));
        assert_ne!(faulty.2, noticed.2, "{theme:?}");
        if theme != Theme::Mono {
            assert_ne!((faulty.0, faulty.1), (noticed.0, noticed.1), "{theme:?}");
            assert_ne!((noticed.0, noticed.1), (plain.0, plain.1), "{theme:?}");
        }
        keys(&mut model, "T");
    }
}

#[test]
fn names_from_outside_command_nothing() {
    for size in SIZES {
        let mut model = hostile();
        hold("hostile", &mut model, size);
        keys(&mut model, "2");
        hold("hostile-groups", &mut model, size);
        keys(&mut model, "1⏎");
        hold("hostile-detail", &mut model, size);
    }
}

#[test]
fn without_colour_and_beyond_ascii_nothing_is_missing() {
    for (size, (name, script)) in
        SIZES
            .into_iter()
            .zip([("live", ""), ("detail", "⏎"), ("ages", "3"), ("help", "?")])
    {
        let mut model = full();
        model.options.theme = Theme::Mono;
        model.options.unicode = false;
        update(&mut model, Msg::Resize(size.0, size.1));
        keys(&mut model, script);
        let buffer = drawn(&model);
        assert!(text(&buffer).is_ascii());
        for cell in &buffer.content {
            assert_eq!((cell.fg, cell.bg), (Color::Reset, Color::Reset));
        }
        // The row that is chosen, or the tab, can still be seen.
        assert!(
            buffer
                .content
                .iter()
                .any(|cell| cell.modifier.contains(Modifier::REVERSED))
        );
        hold(&format!("plain-{name}"), &mut model, size);
    }
}

#[test]
fn any_size_is_drawn() {
    for (width, height) in [
        (0, 0),
        (1, 1),
        (10, 3),
        (59, 15),
        (60, 14),
        (1_000, 5),
        (500, 200),
    ] {
        for script in ["", "2", "3", "4", "⏎", "?", "/x", "c"] {
            let mut model = full();
            keys(&mut model, script);
            update(&mut model, Msg::Resize(width, height));
            drawn(&model);
            update(&mut model, Msg::Click { column: 3, row: 3 });
        }
    }
}

#[test]
fn the_cursor_stays_on_its_row_and_the_top_follows() {
    let mut model = full();
    let chosen = |model: &Model| {
        let rows = model.rows();
        rows[model.cursor(&rows)].id
    };
    let newest = chosen(&model);
    feed(&mut model, vec![at(80, broken_pipe(true))]);
    assert_ne!(chosen(&model), newest, "the top follows");
    keys(&mut model, "↓");
    let row = chosen(&model);
    feed(&mut model, vec![at(81, broken_pipe(true))]);
    assert_eq!(chosen(&model), row, "a chosen row stays");
    keys(&mut model, "↑↑↑↑");
    feed(&mut model, vec![at(82, broken_pipe(true))]);
    let rows = model.rows();
    assert_eq!(model.cursor(&rows), 1);
}

#[test]
fn pause_stops_the_rows_and_not_the_counts() {
    let mut model = full();
    keys(&mut model, "p");
    let (rows, ends) = (model.rows().len(), model.totals.ends);
    feed(&mut model, vec![at(80, broken_pipe(true))]);
    assert_eq!((model.rows().len(), model.totals.ends), (rows, ends + 1));
    keys(&mut model, "p");
    assert_eq!(model.rows().len(), rows + 1);
}

#[test]
fn a_filter_is_typed_completed_refused_and_cleared() {
    let mut model = full();
    let all = model.rows().len();
    keys(&mut model, "/rea⇥rst⇥⏎");
    assert_eq!(model.filter_text, "reason=rst_peer");
    let some = model.rows().len();
    assert!(some > 0 && some < all);
    keys(&mut model, "/ port=x⏎");
    assert!(model.prompt.is_some(), "a wrong one stays to be mended");
    keys(&mut model, "⌫1⏎");
    assert_eq!(model.rows().len(), 0);
    keys(&mut model, "x");
    assert_eq!(model.rows().len(), all);
    keys(&mut model, "/q⎋");
    assert_eq!(model.rows().len(), all);
}

#[test]
fn a_group_opens_its_ends() {
    for (by, open, filter) in [
        (0, "", "comm=go-server"),
        (1, "", "peer=10.9.8.7/32"),
        (2, "", "reason=fin_peer"),
        (3, "", "hint=-"),
        (3, "↓", "hint=nginx.proxy_read_timeout,checkout-lb"),
        (4, "", "container=-"),
    ] {
        let mut model = full();
        keys(&mut model, "2");
        keys(&mut model, &"g".repeat(by));
        let groups = model.groups();
        let count = groups[open.chars().count()].1.count;
        keys(&mut model, open);
        keys(&mut model, "⏎");
        assert_eq!(
            (model.screen, model.filter_text.as_str()),
            (Screen::Live, filter)
        );
        assert_eq!(model.rows().len() as u64, count, "{filter}");
    }
    // What cannot be chosen says so.
    let mut model = model();
    let mut ids = sample::ids();
    ids.comm = None;
    feed(&mut model, vec![sample::close(ids, sample::end())]);
    keys(&mut model, "2⏎");
    assert_eq!(model.screen, Screen::Groups);
    assert!(model.message.is_some());
}

#[test]
fn marked_events_are_copied_and_written_as_they_are() {
    let mut model = full();
    let effects = keys(&mut model, "y");
    let [Effect::Copy(line)] = effects.as_slice() else {
        panic!("not a copy");
    };
    let event = Event::parse(line.as_bytes()).expect("an event");
    assert!(matches!(&event.body, Body::End { end, .. } if end.reason == Reason::FinPeerRst));
    let effects = keys(&mut model, "mmw");
    let [Effect::Export(lines)] = effects.as_slice() else {
        panic!("not an export");
    };
    let events: Vec<_> = lines
        .split(|byte| *byte == b'\n')
        .filter(|line| !line.is_empty())
        .map(|line| Event::parse(line).expect("an event"))
        .collect();
    assert_eq!(events.len(), 2);
    assert!(events[0].head.ts < events[1].head.ts, "oldest first");
    assert_eq!(keys(&mut model, "q"), [Effect::Quit]);
    let control_c = Msg::Key(KeyCode::Char('c'), KeyModifiers::CONTROL);
    keys(&mut model, "/");
    assert_eq!(update(&mut model, control_c), [Effect::Quit]);
}

#[test]
fn the_command_line_has_what_was_traced_and_what_is_chosen() {
    let traced = Filter {
        abnormal: true,
        ports: vec![8080],
        ..Filter::default()
    };
    let mut model = Model::new(options(), traced);
    feed(&mut model, vec![broken_pipe(true)]);
    keys(&mut model, "/port=48122 comm=\"a b\"⏎");
    let effects = keys(&mut model, "c");
    let line = "tracer -o json --abnormal --comm 'a b' --port 48122";
    assert_eq!(effects, [Effect::Copy(line.to_owned())]);
    assert_eq!(model.over, Some(Over::CommandLine(line.to_owned())));
}

#[test]
fn the_other_end_and_the_cause_are_a_key_away() {
    let mut model = full();
    let shown = |model: &Model| match &model.over {
        Some(Over::Detail { id, .. }) => model.history.get(*id).map(|entry| why(&entry.event)),
        _ => None,
    };
    keys(&mut model, "⏎");
    assert_eq!(shown(&model).as_deref(), Some("fin_peer_rst"));
    keys(&mut model, "o");
    assert_eq!(shown(&model).as_deref(), Some("fin_local"));
    keys(&mut model, "o");
    assert_eq!(shown(&model).as_deref(), Some("fin_peer_rst"));
    keys(&mut model, "u");
    assert!(model.message.is_some(), "nothing brought it about");
    let (mut ids, mut end) = (sample::ids(), sample::end());
    ids.conn = Some(sample::conn(0xc3));
    end.cause_conn = Some(sample::conn(0xb2));
    end.reason = Reason::RstPeer;
    feed(&mut model, vec![at(71, sample::close(ids, end))]);
    keys(&mut model, "⎋1");
    update(&mut model, Msg::Key(KeyCode::Home, KeyModifiers::NONE));
    keys(&mut model, "⏎");
    assert_eq!(shown(&model).as_deref(), Some("rst_peer"));
    keys(&mut model, "u");
    assert_eq!(shown(&model).as_deref(), Some("fin_local"));
}

#[test]
fn how_a_process_ended_stands_with_the_ends() {
    let mut model = model();
    update(&mut model, Msg::Resize(120, 140));
    let (mut ids, mut end) = (sample::ids(), sample::end());
    ids.closer_pid = Some(33);
    ids.closer_comm = Some(sample::comm(b"sshd"));
    end.exit_signal = Some(Signal(9)).into();
    end.oom_killed = Some(true).into();
    end.killer_signal = Some(Signal(15)).into();
    end.killer_signal_ms = Some(250).into();
    end.killer_pid = Some(1).into();
    end.killer_comm = Some(sample::comm(b"systemd")).into();
    feed(&mut model, vec![sample::close(ids, end)]);
    keys(&mut model, "⏎");
    let text = text(&drawn(&model));
    for part in [
        "process ended     by SIGKILL for want of memory",
        "was told to by    SIGTERM from systemd[1]",
        "before the close  250ms",
        "closed by         sshd[33]",
        "killer_signal_ms    250",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
}

#[test]
fn timeouts_of_a_site_are_marked_and_named() {
    let site = "checkout-lb = \"47s\"\nnginx.proxy_read_timeout = \"47s\"";
    let mut model = Model::new(
        Options {
            timeouts: BUILT_IN.clone().with_site(site).expect("a table"),
            ..options()
        },
        Filter::default(),
    );
    let mut end = sample::end();
    end.end_age_ms = Some(47_004);
    end.hints = List(vec![Label::from("checkout-lb")]);
    feed(&mut model, vec![at(1, sample::close(sample::ids(), end))]);
    keys(&mut model, "⏎");
    let detail = text(&drawn(&model));
    assert!(detail.contains("checkout-lb (this site's own)"), "{detail}");
    assert!(!detail.contains("--fingerprints"), "{detail}");
    let marked = |model: &Model| {
        let ages = text(&drawn(model));
        let mut lines = ages.lines();
        let line = lines.find(|line| line.contains("47.0s")).expect("the age");
        line.contains('◂')
    };
    keys(&mut model, "3");
    assert!(marked(&model));
    model.options.timeouts = BUILT_IN.clone();
    assert!(!marked(&model));
}

#[test]
fn rows_are_found_and_sorted() {
    let mut model = full();
    keys(&mut model, "fNGINX⏎");
    let rows = model.rows();
    let found = &rows[model.cursor(&rows)].event;
    assert!(Column::Process.cell(found).starts_with("nginx"));
    keys(&mut model, "fno such text⏎");
    assert!(model.message.is_some());
    model.sort = Sort {
        column: Some(Column::Age),
        reverse: false,
    };
    assert_eq!(Column::Age.cell(&model.rows()[0].event), "1m00s");
    keys(&mut model, "r");
    assert_ne!(Column::Age.cell(&model.rows()[0].event), "1m00s");
}

#[test]
fn the_mouse_chooses_opens_and_changes_screens() {
    let mut model = full();
    let click = |model: &mut Model, column, row| update(model, Msg::Click { column, row });
    click(&mut model, 10, 5);
    let rows = model.rows();
    assert_eq!(model.cursor(&rows), 2);
    click(&mut model, 10, 5);
    assert!(matches!(model.over, Some(Over::Detail { .. })));
    click(&mut model, 20, 1);
    assert_eq!((model.screen, &model.over), (Screen::Groups, &None));
    update(&mut model, Msg::Wheel { up: false });
    assert_eq!(model.group_selected, 2);
}

#[test]
fn a_long_text_is_scrolled_to_its_end_and_no_further() {
    let mut model = full();
    keys(&mut model, "⏎");
    update(&mut model, Msg::Key(KeyCode::End, KeyModifiers::NONE));
    let end = text(&drawn(&model));
    assert!(end.contains("truncated"), "{end}");
    keys(&mut model, "↓↓");
    assert_eq!(text(&drawn(&model)), end);
    keys(&mut model, "↑");
    assert_ne!(text(&drawn(&model)), end);
}

#[test]
fn a_flood_is_bounded() {
    let mut model = Model::new(
        Options {
            history: 100,
            timeouts: BUILT_IN.clone(),
            ..options()
        },
        Filter::default(),
    );
    for round in 0..50u32 {
        let events = (0..1_000).map(|index| {
            let mut ids = sample::ids();
            ids.peer_addr.0 = std::net::Ipv4Addr::from(round * 1_000 + index).into();
            sample::close(ids, sample::end())
        });
        feed(&mut model, events.collect());
    }
    assert_eq!(model.totals.ends, 50_000);
    assert_eq!(model.history.len(), 100);
    assert!(model.totals.groups(super::totals::By::Peer).len() <= 2_001);
    drawn(&model);
}

/// docs/tui.md shows screens and keys as they are; UPDATE_SCREENS=1 writes them there too.
#[test]
fn the_documentation_shows_what_is_drawn() {
    let root = env!("CARGO_MANIFEST_DIR");
    let path = format!("{root}/../docs/tui.md");
    let text = std::fs::read_to_string(&path).expect("docs/tui.md");
    let mut made = String::new();
    let mut rest = text.as_str();
    while let Some((before, after)) = rest.split_once("<!-- made: ") {
        let (name, after) = after.split_once(" -->\n").expect("a name");
        let (_, after) = after.split_once("<!-- end -->\n").expect("an end");
        let content = match name {
            "keys" => keymap_table(),
            name => {
                let file = format!("{root}/src/tui/screens/{name}.txt");
                let screen = std::fs::read_to_string(file).expect("a screen of that name");
                format!("```text\n{screen}```\n")
            }
        };
        made.push_str(&format!(
            "{before}<!-- made: {name} -->\n{content}<!-- end -->\n"
        ));
        rest = after;
    }
    made.push_str(rest);
    if std::env::var_os("UPDATE_SCREENS").is_some() {
        std::fs::write(&path, &made).expect("docs/tui.md can be written");
        return;
    }
    assert!(
        text == made,
        "docs/tui.md is out of date: UPDATE_SCREENS=1 cargo test --package tracer --lib tui"
    );
}

fn keymap_table() -> String {
    let rows = BINDINGS
        .iter()
        .map(|binding| format!("| `{}` | {} |\n", binding.shown, binding.help));
    format!("| key | |\n|---|---|\n{}", rows.collect::<String>())
}
