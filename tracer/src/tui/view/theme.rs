//! What things look like. Nothing is told by colour alone: what is broken has a sign and is bold, so
//! that NO_COLOR and colour-blind readers lose nothing; and yellow and magenta differ for all of
//! them. With a terminal that knows ASCII only, signs are replaced after drawing.

use ratatui::{
    buffer::Buffer,
    style::{Color, Modifier, Style},
};

use crate::{
    event::{
        Body, Event,
        values::{How, Reason, StallEnd},
    },
    tui::history::clean,
};

pub const PLAIN: Style = Style::new();
pub const DIM: Style = Style::new().add_modifier(Modifier::DIM);
pub const HEAD: Style = Style::new().add_modifier(Modifier::BOLD);
pub const BAR: Style = Style::new().add_modifier(Modifier::REVERSED);
pub const NOTICE: Style = Style::new().fg(Color::Yellow);
pub const FAULT: Style = Style::new().fg(Color::Magenta).add_modifier(Modifier::BOLD);
pub const CHART: Style = Style::new().fg(Color::Cyan);

/// How bad an event is: its sign and style.
pub fn severity(event: &Event) -> (char, Style) {
    match &event.body {
        Body::End { end, .. } => {
            let fin = end.how == How::Fin
                && matches!(
                    end.reason,
                    Reason::FinLocal | Reason::FinPeer | Reason::FinBoth
                );
            match (clean(event), fin) {
                (true, _) => (' ', PLAIN),
                (false, true) => ('~', NOTICE),
                (false, false) => ('!', FAULT),
            }
        }
        Body::Stall { stall, .. } if stall.ended == Some(StallEnd::Recovered) => ('~', NOTICE),
        Body::IoError { .. } | Body::Stall { .. } => ('!', FAULT),
        _ => ('~', NOTICE),
    }
}

/// Takes the colours away.
pub fn without_colour(buffer: &mut Buffer) {
    for cell in &mut buffer.content {
        cell.fg = Color::Reset;
        cell.bg = Color::Reset;
    }
}

/// Replaces what is not ASCII, cell by cell.
pub fn without_unicode(buffer: &mut Buffer) {
    for cell in &mut buffer.content {
        let Some(c) = cell.symbol().chars().next().filter(|c| !c.is_ascii()) else {
            continue;
        };
        cell.set_char(match c {
            '→' => '>',
            '…' => '~',
            '─' | '—' => '-',
            '│' => '|',
            '●' => '*',
            '▲' | '▴' => '^',
            '◂' => '<',
            '▼' => 'v',
            '▁' | '▂' => '.',
            '▃' | '▄' => ':',
            '▅' | '▆' => '+',
            '▇' | '█' => '#',
            _ => '?',
        });
    }
}
