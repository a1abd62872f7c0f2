//! Peers that are silent now, the longest silent first.
//!
//! ```text
//! PROCESS           LOCAL → PEER                     SILENT  ASKED  WAITING  GIVES UP IN  BY
//! go-client[790]    10.1.4.23:48122 → 10.2.0.7:443    12.4s      4      312       14m20s  tcp_retries2
//! ```

use ratatui::{
    buffer::Buffer,
    layout::Rect,
    text::{Line, Span},
};

use super::{
    text::{fit, put, wrap},
    theme::{BAR, HEAD},
};
use crate::{
    sink::text::units,
    tui::{
        columns::{Column, known},
        layout::{first_row, page},
        model::Model,
        stalls::Silent,
    },
};

/// Numbers to the right: title, width.
const NUMBERS: [(&str, usize); 4] = [
    ("SILENT", 6),
    ("ASKED", 5),
    ("WAITING", 7),
    ("GIVES UP IN", 11),
];

/// The setting that decides, where there is room.
const BY: usize = 20;
const WITH_BY: usize = 110;

pub fn draw(model: &Model, buffer: &mut Buffer, area: Rect) {
    let cells = usize::from(area.width);
    let silent = model.silent();
    let cursor = model.stall_selected.min(silent.len().saturating_sub(1));
    let title = |column: Column| column.title().to_owned();
    let heads = NUMBERS.map(|(title, _)| title.to_owned());
    let heads = row(
        cells,
        &title(Column::Process),
        &title(Column::Addresses),
        &heads,
        "BY",
    );
    let mut lines = vec![Line::styled(heads, HEAD)];
    let shown = silent
        .iter()
        .enumerate()
        .skip(first_row(cursor, page(model)));
    lines.extend(shown.take(page(model)).map(|(index, silent)| {
        let line = Line::from(Span::raw(text(model, silent, cells)));
        if index == cursor {
            line.patch_style(BAR)
        } else {
            line
        }
    }));
    if silent.is_empty() {
        let nobody =
            "No peer is silent. One is, once three timeouts or probes in a row went unanswered.";
        let rows = wrap(nobody, cells.saturating_sub(4)).into_iter();
        lines.extend(rows.map(|row| Line::raw(format!("  {row}"))));
    }
    put(buffer, area, &lines);
}

fn text(model: &Model, silent: &Silent, cells: usize) -> String {
    let gives_up = silent.gives_up(model.now);
    let numbers = [
        units::age(silent.for_ms(model.now)),
        silent.asked().to_string(),
        units::size(silent.waiting_bytes()),
        known(gives_up.map(|(ms, _)| units::age(ms))),
    ];
    row(
        cells,
        &Column::Process.cell(&silent.event),
        &Column::Addresses.cell(&silent.event),
        &numbers,
        &known(gives_up.map(|(_, by)| by.to_string())),
    )
}

fn row(cells: usize, process: &str, addresses: &str, numbers: &[String; 4], by: &str) -> String {
    let with_by = cells >= WITH_BY;
    let taken: usize = NUMBERS.iter().map(|(_, width)| width + 1).sum();
    let taken = taken + if with_by { BY + 2 } else { 0 };
    let left = cells.saturating_sub(taken + 1);
    // A narrow terminal has room for one of them: whose it is.
    let who = if left < 40 { left } else { (left / 3).min(23) };
    let mut text = fit(process, who, false);
    if left > who {
        text.push(' ');
        text.push_str(&fit(addresses, left - who, false));
    }
    for ((_, width), number) in NUMBERS.iter().zip(numbers) {
        text.push(' ');
        text.push_str(&fit(number, *width, true));
    }
    if with_by {
        text.push_str("  ");
        text.push_str(&fit(by, BY, false));
    }
    text
}
