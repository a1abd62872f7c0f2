//! The keys, from their table.

use ratatui::text::{Line, Span};

use super::{
    text::fit,
    theme::{FAULT, HEAD, NOTICE},
};
use crate::tui::keymap::BINDINGS;

pub fn lines() -> Vec<Line<'static>> {
    let mut lines: Vec<_> = BINDINGS
        .iter()
        .map(|binding| {
            Line::from(vec![
                Span::styled(fit(binding.shown, 7, true), HEAD),
                Span::raw(format!("  {}", binding.help)),
            ])
        })
        .collect();
    lines.push(Line::raw(""));
    lines.push(Line::from(vec![
        Span::raw("  Rows: "),
        Span::styled("! cut short", FAULT),
        Span::raw("  "),
        Span::styled("~ closed, but not cleanly", NOTICE),
        Span::raw("  no sign: clean."),
    ]));
    lines.push(Line::raw(
        "  AT is the age at the first end: the time that names the culprit.",
    ));
    lines.push(Line::raw(
        "  Mouse: a click chooses, another opens, the wheel moves.",
    ));
    lines
}
