//! The drawing: from the model to cells, without I/O and without a clock.
//!
//! ```text
//! tracer web-1  12 ends  3 abnormal  filter: port=80  1.2/s  345 watched  lost 0  ▁▂▁
//!  1 Terminations   2 Groups   3 Ages   4 Hooks   5 Stalls
//! …
//! ?:help q:quit Enter:why /:filter
//! ```

mod ages;
mod detail;
mod groups;
mod help;
mod hooks;
mod live;
mod stalls;
mod story;
mod text;
mod theme;
mod timeline;

use ratatui::{
    buffer::Buffer,
    layout::Rect,
    text::{Line, Span},
};

use super::{
    keymap::BINDINGS,
    layout::{self, areas},
    model::{Asks, Model, Over, Prompt, Screen},
    playback::{self, Goal, Place},
    query,
    totals::RATE_SECONDS,
};
use crate::{cli::Speed, sink::text::units};
use text::{bar, fit, put, width};
use theme::{BAR, DIM, FAULT, HEAD, NOTICE, PLAIN};

/// Draws everything.
pub fn view(model: &Model, buffer: &mut Buffer) {
    let (columns, lines) = model.size;
    if columns < layout::LEAST.0 || lines < layout::LEAST.1 {
        let text = format!(
            "This terminal has {columns}x{lines} characters; tracer needs {}x{}. q quits.",
            layout::LEAST.0,
            layout::LEAST.1
        );
        let lines: Vec<_> = text::wrap(&text, usize::from(columns))
            .into_iter()
            .map(Line::raw)
            .collect();
        put(buffer, buffer.area, &lines);
    } else {
        draw(model, buffer);
    }
    theme::apply(model.options.theme, buffer);
    if !model.options.unicode {
        theme::without_unicode(buffer);
    }
}

fn draw(model: &Model, buffer: &mut Buffer) {
    let areas = areas(model);
    status(model, buffer, areas.status);
    tabs(model, buffer, areas.tabs);
    match (text_page(model), model.screen) {
        (Some((lines, scroll)), _) => scrolled(&lines, scroll, buffer, areas.body),
        (None, Screen::Groups) => groups::draw(model, buffer, areas.body),
        (None, Screen::Stalls) => stalls::draw(model, buffer, areas.body),
        (None, Screen::Ages) => ages::draw(model, buffer, areas.body),
        (None, Screen::Live | Screen::Hooks) => live::draw(model, buffer, areas.body),
    }
    match (&model.prompt, &model.message) {
        (Some(prompt), _) => typing(model, prompt, buffer, areas.prompt),
        (None, Some(message)) => {
            let message = crate::event::text::Label::from(message.as_str()).to_string();
            bar(buffer, areas.prompt, &message, HEAD);
        }
        (None, None) => (),
    }
    footer(model, buffer, areas.footer);
}

/// What is shown as one long text, and how far it is scrolled.
fn text_page(model: &Model) -> Option<(Vec<Line<'static>>, usize)> {
    let cells = usize::from(model.size.0);
    Some(match (&model.over, model.screen) {
        (Some(Over::Help { scroll }), _) => (help::lines(), *scroll),
        (Some(Over::Detail { id, scroll }), _) => (detail::lines(model, *id, cells), *scroll),
        (Some(Over::CommandLine(line)), _) => (command_line(line, cells), 0),
        (None, Screen::Hooks) => (hooks::lines(model, cells), model.scroll),
        (None, Screen::Live | Screen::Groups | Screen::Ages | Screen::Stalls) => return None,
    })
}

/// How far it can be scrolled until its end is in sight.
pub fn scroll_limit(model: &Model) -> usize {
    let height = usize::from(areas(model).body.height);
    text_page(model).map_or(0, |(lines, _)| lines.len().saturating_sub(height))
}

/// What matters most first: the rest may have no room.
fn status(model: &Model, buffer: &mut Buffer, area: Rect) {
    let mut spans = vec![Span::styled(" tracer ", HEAD)];
    if model.is_replay() {
        spans.push(Span::raw("replay "));
    }
    if let Some(place) = &model.place {
        replay_place(place, &mut spans);
    }
    if let Some(node) = model.start.as_ref().map(|(node, _)| node.to_string()) {
        spans.push(Span::raw(fit(&node, width(&node).min(16), false)));
    }
    if model.paused.is_some() {
        spans.push(Span::styled(" PAUSED ", BAR));
    }
    let totals = &model.totals;
    let lost = totals.lost.total();
    spans.push(Span::raw(format!("  {} ends", totals.ends)));
    let style = if totals.abnormal > 0 { NOTICE } else { PLAIN };
    spans.push(Span::styled(
        format!("  {} abnormal", totals.abnormal),
        style,
    ));
    let silent = model.stalls.count();
    if silent > 0 {
        let text = format!("  {silent} silent");
        spans.push(Span::styled(text, NOTICE));
    }
    if lost > 0 {
        spans.push(Span::styled(format!("  {lost} LOST"), FAULT));
    }
    if let Some(ended) = &model.ended {
        spans.push(Span::styled(format!("  {ended}"), HEAD));
    }
    if model.is_filtered() {
        spans.push(Span::styled(
            format!("  filter: {}", model.filter_text),
            NOTICE,
        ));
    }
    spans.push(Span::raw(format!("  {:.1}/s", totals.rate(model.now))));
    if let Some(status) = &model.status {
        spans.push(Span::raw(format!("  {} watched", status.connections)));
        let all = status.hooks_attached == status.hooks;
        spans.push(Span::styled(
            format!("  hooks {}/{}", status.hooks_attached, status.hooks),
            if all { PLAIN } else { NOTICE },
        ));
    }
    if lost == 0 {
        spans.push(Span::styled("  lost 0", DIM));
    }
    // Last: where there is no room, the numbers say it.
    let seconds = totals.recent.since(model.now.0 / 1_000_000_000);
    let from = seconds.len().saturating_sub(2 * RATE_SECONDS);
    spans.push(Span::styled(
        format!("  {}", sparkline(&seconds[from..])),
        theme::CHART,
    ));
    put(buffer, area, &[Line::from(spans)]);
}

/// When it is, how far, how fast.
fn replay_place(place: &Place, spans: &mut Vec<Span<'static>>) {
    let clock: String = units::clock(place.at).chars().take(8).collect();
    let percent = place.percent.map(|percent| format!(" {percent}%"));
    let speed = match place.speed {
        Speed::Times(1) => String::new(),
        Speed::Times(times) => format!(" x{times}"),
        Speed::Max => " at once".to_owned(),
    };
    let text = format!("{clock}{}{speed} ", percent.unwrap_or_default());
    spans.push(Span::styled(text, HEAD));
    if place.held {
        spans.push(Span::styled(" HELD ", BAR));
    }
}

/// A row of bars.
fn sparkline(values: &[u32]) -> String {
    const BARS: [char; 9] = [' ', '▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    let most = values.iter().copied().max().unwrap_or(0).max(1);
    values
        .iter()
        .map(|value| BARS[(u64::from(*value) * 8).div_ceil(u64::from(most)) as usize])
        .collect()
}

fn tabs(model: &Model, buffer: &mut Buffer, area: Rect) {
    for (screen, x, text) in layout::tabs() {
        let style = if screen == model.screen { BAR } else { DIM };
        let room = usize::from(area.width.saturating_sub(x));
        buffer.set_stringn(area.x + x, area.y, text, room, style);
    }
}

/// What can be typed next or what is wrong, and the line itself.
fn typing(model: &Model, prompt: &Prompt, buffer: &mut Buffer, area: Rect) {
    let (hint, style) = match prompt.asks {
        Asks::Search => (
            "text in process, addresses, reason or story".to_owned(),
            DIM,
        ),
        Asks::Time => match Goal::parse(&prompt.text) {
            Err(_) if !prompt.text.is_empty() => (playback::FORM.to_owned(), FAULT),
            _ => (playback::FORM.to_owned(), DIM),
        },
        Asks::Filter => {
            let (candidates, _) = query::complete(&prompt.text, |field| model.values_of(field));
            match query::parse(&prompt.text) {
                Err(error) if candidates.is_empty() => (error, FAULT),
                _ if candidates.is_empty() => ("Enter: filter  Esc: as before".to_owned(), DIM),
                _ => (format!("Tab: {}", candidates.join(" ")), DIM),
            }
        }
    };
    bar(buffer, Rect { height: 1, ..area }, &hint, style);
    let sign = match prompt.asks {
        Asks::Filter => "filter: ",
        Asks::Search => "find: ",
        Asks::Time => "go to: ",
    };
    // The end of a long line is what is being typed.
    let room = usize::from(area.width).saturating_sub(width(sign) + 1);
    let mut shown = prompt.text.as_str();
    while width(shown) > room {
        let mut chars = shown.chars();
        chars.next();
        shown = chars.as_str();
    }
    let line = Line::from(vec![
        Span::styled(sign, HEAD),
        Span::raw(shown),
        Span::styled(" ", BAR),
    ]);
    put(
        buffer,
        Rect {
            y: area.y + 1,
            height: 1,
            ..area
        },
        &[line],
    );
}

fn command_line(line: &str, cells: usize) -> Vec<Line<'static>> {
    let line = crate::event::text::Label::from(line).to_string();
    let mut lines = vec![
        Line::styled(" The same as a command; it is in the clipboard too:", HEAD),
        Line::raw(""),
    ];
    let words = text::wrap(&line, cells.saturating_sub(4)).into_iter();
    lines.extend(words.map(|line| Line::raw(format!("  {line}"))));
    lines
}

/// The keys that fit, help and quit first.
fn footer(model: &Model, buffer: &mut Buffer, area: Rect) {
    let mut spans = Vec::new();
    let mut left = usize::from(area.width);
    for binding in BINDINGS {
        let Some(word) = binding.footer else { continue };
        if binding.command.is_of_replay() && !model.is_replay() {
            continue;
        }
        let needed = width(binding.shown) + width(word) + 3;
        if needed > left {
            break;
        }
        left -= needed;
        spans.push(Span::styled(format!(" {}", binding.shown), HEAD));
        spans.push(Span::raw(format!(":{word} ")));
    }
    put(buffer, area, &[Line::from(spans)]);
}

/// Lines of which only some fit: from a place on, which stops at the end, and where one is in them.
fn scrolled(lines: &[Line<'_>], scroll: usize, buffer: &mut Buffer, area: Rect) {
    let height = usize::from(area.height);
    let from = scroll.min(lines.len().saturating_sub(height));
    put(buffer, area, &lines[from..]);
    if lines.len() > height && area.width > 0 {
        let x = area.right() - 1;
        if from > 0 {
            buffer.set_string(x, area.y, "▲", DIM);
        }
        if from + height < lines.len() {
            buffer.set_string(x, area.bottom() - 1, "▼", DIM);
        }
    }
}
