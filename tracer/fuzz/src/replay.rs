//! Lines of a recording: no event, or one that comes back as it was, and commands no terminal.

use ratatui::{
    buffer::Buffer,
    crossterm::event::{KeyCode, KeyModifiers},
    layout::Rect,
};
use serde_json::Value;
use tracer::{
    cli::Theme,
    core::{filter::Filter, timeouts::BUILT_IN},
    event::{Event, MAX_LINE_BYTES},
    sink::text::Text,
    tui::{
        model::{Model, Options, Source},
        update::{Msg, update},
        view::view,
    },
};

pub fn run(bytes: &[u8]) {
    let events = bytes
        .split(|byte| *byte == b'\n')
        .filter_map(|line| Event::parse(line).ok());
    let events: Vec<Event> = events.collect();
    for event in &events {
        check(event);
    }
    if !events.is_empty() {
        show(events);
    }
}

/// What every event has to stand, wherever it comes from.
pub fn check(event: &Event) {
    let line = written(event);
    let again = Event::parse(&line).unwrap_or_else(|fault| panic!("{fault}: {}", shown(&line)));
    // A name that is no UTF-8 is, once it was written.
    let line = written(&again);
    let again = Event::parse(&line).unwrap_or_else(|fault| panic!("{fault}: {}", shown(&line)));
    assert_eq!(shown(&written(&again)), shown(&line));
    for wide in [false, true] {
        let mut text = Vec::new();
        Text {
            wide,
            colour: false,
        }
        .write(event, &mut text);
        assert!(
            !commands(&shown(&text).replace('\n', "")),
            "{:?}",
            shown(&text)
        );
    }
}

fn written(event: &Event) -> Vec<u8> {
    let mut line = Vec::new();
    event.write_line(&mut line);
    let text = shown(&line);
    assert!(
        line.len() <= MAX_LINE_BYTES + 1,
        "{} bytes: {text}",
        line.len()
    );
    assert_eq!(text.find(char::is_control), Some(line.len() - 1), "{text}");
    let value: Value =
        serde_json::from_slice(&line).unwrap_or_else(|error| panic!("{error}: {text}"));
    assert!(value.is_object(), "{text}");
    line
}

fn shown(line: &[u8]) -> &str {
    str::from_utf8(line).expect("what is written is UTF-8")
}

/// Whether a terminal would do anything but show it.
fn commands(text: &str) -> bool {
    let turns_round = |c| matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    text.contains(|c: char| c.is_control() || turns_round(c))
}

/// The live view of them, row and story.
fn show(events: Vec<Event>) {
    let options = Options {
        theme: Theme::Default,
        unicode: true,
        history: 100,
        timeouts: BUILT_IN.clone(),
        source: Source::Live,
    };
    let mut model = Model::new(options, Filter::default());
    model.size = (100, 40);
    update(&mut model, Msg::Events(events));
    for key in [KeyCode::Char('a'), KeyCode::Enter, KeyCode::Tab] {
        update(&mut model, Msg::Key(key, KeyModifiers::NONE));
        let mut buffer = Buffer::empty(Rect::new(0, 0, 100, 40));
        view(&model, &mut buffer);
        let cells: String = buffer.content.iter().map(|cell| cell.symbol()).collect();
        assert!(!commands(&cells), "{cells:?}");
    }
}
