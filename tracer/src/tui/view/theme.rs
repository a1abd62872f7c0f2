//! What things look like. Nothing is told by colour alone: what is broken has a sign and is bold, so
//! that NO_COLOR and colour-blind readers lose nothing. Things are drawn in the colours of the
//! default theme; another one, and a terminal that knows ASCII only, replace them after drawing.

use ratatui::{
    buffer::Buffer,
    style::{Color, Modifier, Style},
};

use crate::{
    cli::Theme,
    core::clean::clean,
    event::{
        Body, Event,
        values::{How, Reason, StallEnd},
    },
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

/// From the colours of the default theme to those of another.
pub fn apply(theme: Theme, buffer: &mut Buffer) {
    /// Steps of the colour cube, which themes of terminals leave alone.
    const ORANGE: Color = Color::Indexed(214);
    const BLUE: Color = Color::Indexed(75);
    for cell in &mut buffer.content {
        let colours = match (theme, cell.fg) {
            (Theme::Default, _) => continue,
            (Theme::Mono, _) => (Color::Reset, Color::Reset),
            (Theme::ColourBlind, Color::Yellow) => (BLUE, Color::Reset),
            (Theme::ColourBlind, Color::Magenta) => (ORANGE, Color::Reset),
            (Theme::ColourBlind, _) => (Color::Reset, Color::Reset),
            (Theme::HighContrast, Color::Yellow) => (Color::LightYellow, Color::Black),
            (Theme::HighContrast, Color::Magenta) => (Color::Black, Color::LightYellow),
            (Theme::HighContrast, Color::Cyan) => (Color::LightCyan, Color::Black),
            (Theme::HighContrast, _) => (Color::White, Color::Black),
        };
        (cell.fg, cell.bg) = colours;
        if theme == Theme::HighContrast {
            cell.modifier.remove(Modifier::DIM);
        }
    }
}

/// Replaces what is not ASCII, cell by cell.
pub fn without_unicode(buffer: &mut Buffer) {
    for cell in &mut buffer.content {
        let Some(c) = cell.symbol().chars().next().filter(|c| !c.is_ascii()) else {
            continue;
        };
        cell.set_char(match c {
            '→' | '▶' => '>',
            '…' => '~',
            '─' | '—' => '-',
            '│' => '|',
            '└' => '`',
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
