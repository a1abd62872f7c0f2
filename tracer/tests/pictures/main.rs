//! The pictures in docs/: a real recording, through tracer's own view, as SVG. This test holds them to it;
//! `cargo xtask picture` writes them (UPDATE_PICTURES=1).

mod svg;

use ratatui::{
    buffer::Buffer,
    crossterm::event::{KeyCode, KeyModifiers},
    layout::Rect,
};
use tracer::{
    cli::{Speed, Theme},
    core::{filter::Filter, timeouts::BUILT_IN},
    event::Event,
    tui::{
        model::{Model, Options, Source},
        playback::Place,
        update::{Msg, update},
        view::view,
    },
};

const RECORDING: &str = include_str!("../recordings/shop.ndjson");

/// Of the broken pipes the one that began with the client.
const OPEN_THE_CHAINED: [KeyCode; 3] = [KeyCode::Down, KeyCode::Down, KeyCode::Enter];

#[test]
fn the_pictures_are_up_to_date() {
    let live = drawn((116, 26), &[]);
    let detail = drawn((116, 44), &keys("/reason=fin_peer_rst", &OPEN_THE_CHAINED));
    for (name, buffer) in [("tui", &live), ("tui-detail", &detail)] {
        let picture = svg::picture(buffer);
        let path = format!("{}/../docs/{name}.svg", env!("CARGO_MANIFEST_DIR"));
        if std::env::var_os("UPDATE_PICTURES").is_some() {
            std::fs::write(&path, &picture).expect("docs/ can be written");
            continue;
        }
        let there = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(
            there == picture,
            "docs/{name}.svg is out of date: cargo xtask picture"
        );
    }
}

/// Typed, entered, and then these.
fn keys(text: &str, more: &[KeyCode]) -> Vec<KeyCode> {
    let typed = text.chars().map(KeyCode::Char);
    typed
        .chain([KeyCode::Enter])
        .chain(more.iter().copied())
        .collect()
}

/// The view of the whole recording after these keys.
fn drawn((width, height): (u16, u16), keys: &[KeyCode]) -> Buffer {
    let options = Options {
        theme: Theme::Default,
        unicode: true,
        history: 10_000,
        timeouts: BUILT_IN.clone(),
        source: Source::Replay(vec!["shop.ndjson".to_owned()]),
    };
    let mut model = Model::new(options, Filter::default());
    update(&mut model, Msg::Resize(width, height));
    let events: Vec<_> = RECORDING
        .lines()
        .map(|line| Event::parse(line.as_bytes()).expect("an event"))
        .collect();
    let at = events.iter().map(|event| event.head.ts).max();
    update(&mut model, Msg::Events(events));
    let place = Place {
        at: at.expect("an event"),
        percent: Some(100),
        speed: Speed::Times(1),
        held: false,
    };
    update(&mut model, Msg::Place(place));
    for key in keys {
        update(&mut model, Msg::Key(*key, KeyModifiers::NONE));
    }
    let mut buffer = Buffer::empty(Rect::new(0, 0, width, height));
    view(&model, &mut buffer);
    buffer
}
