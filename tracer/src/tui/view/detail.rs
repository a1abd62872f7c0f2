//! One event in full: story, timeline, both ends, the way from the cause, what else happened on the
//! connection, every key.

use ratatui::text::{Line, Span};

use super::{
    story,
    text::{fit, wrap},
    theme::{DIM, HEAD, PLAIN, severity},
    timeline,
};
use crate::{
    core::timeouts::Timeout,
    event::{Body, End, Event, text::Label},
    tui::{
        columns::{Column, why},
        history::{Entry, Id},
        model::Model,
    },
};

/// Other events of the connection that are listed.
const RELATED: usize = 20;
/// Hops that are drawn further to the right than the one before.
const MAX_INDENT: usize = 6;

pub fn lines(model: &Model, id: Id, cells: usize) -> Vec<Line<'static>> {
    match model.history.get(id) {
        Some(entry) => page(model, entry, cells.saturating_sub(5)),
        None => vec![Line::raw("  This event is no longer kept (--history).")],
    }
}

fn page(model: &Model, entry: &Entry, cells: usize) -> Vec<Line<'static>> {
    let event = &entry.event;
    let (sign, style) = severity(event);
    let mut lines = vec![
        Line::from(vec![
            Span::styled(format!(" {sign} {} ", why(event)), style),
            Span::styled(Column::Process.cell(event), HEAD),
        ]),
        Line::raw(format!(
            "   {}  {}",
            Column::Time.cell(event),
            Column::Addresses.cell(event)
        )),
    ];
    let story = Column::Story.cell(event);
    if !story.is_empty() {
        lines.push(Line::raw(""));
        lines.extend(
            wrap(&story, cells)
                .into_iter()
                .map(|line| Line::raw(format!("  {line}"))),
        );
    }
    if let Body::End { end, .. } = &event.body {
        hints(model, end, cells, &mut lines);
        if let Some(moments) = &end.timeline {
            title("Timeline, to scale", &mut lines);
            lines.extend(timeline::draw(&moments.0, cells));
        }
        if let Some(chain) = &end.chain {
            title("The way from the first cause", &mut lines);
            path(event, &chain.0, cells, &mut lines);
        }
        lines.push(Line::raw(""));
        lines.extend(story::ends(event, other_end(model, event), cells));
    }
    related(model, entry, cells, &mut lines);
    keys(event, cells, &mut lines);
    lines
}

/// The timeouts that fit, and what sets them.
fn hints(model: &Model, end: &End, cells: usize, lines: &mut Vec<Line<'static>>) {
    if end.hints.0.is_empty() {
        return;
    }
    title("Timeouts that fit", lines);
    for hint in &end.hints.0 {
        let what = match model.options.timeouts.get(hint.as_str()) {
            Some(timeout) => meaning(timeout),
            None => format!("{hint}: this site's own (--fingerprints)"),
        };
        let rows = wrap(&what, cells).into_iter();
        lines.extend(rows.map(|line| Line::raw(format!("  {line}"))));
    }
}

/// What a site does not say of its own is left out.
fn meaning(timeout: &Timeout) -> String {
    let mut text = timeout.id.to_string();
    let said = [("", &timeout.what), ("set by ", &timeout.setting)];
    let said = said.into_iter().filter(|(_, text)| !text.is_empty());
    for (index, (before, what)) in said.enumerate() {
        text.push_str(if index == 0 { ": " } else { "; " });
        text.push_str(before);
        text.push_str(what);
    }
    if timeout.site {
        text.push_str(" (this site's own)");
    }
    text
}

fn title(text: &str, lines: &mut Vec<Line<'static>>) {
    lines.push(Line::raw(""));
    lines.push(Line::styled(format!("  {text}"), HEAD));
}

/// The hops from the first cause to this end.
fn path(event: &Event, chain: &[Label], cells: usize, lines: &mut Vec<Line<'static>>) {
    let this = Column::Process.cell(event);
    let mut hops: Vec<_> = chain.iter().map(ToString::to_string).collect();
    match hops.last_mut() {
        Some(last) if last.starts_with(&this) => last.push_str("  (this end)"),
        _ => hops.push(format!("{this} {}  (this end)", why(event))),
    }
    for (depth, hop) in hops.iter().enumerate() {
        let indent = 3 * depth.saturating_sub(1).min(MAX_INDENT);
        let arrow = if depth == 0 { "" } else { "└▶ " };
        let text = format!("{}{arrow}{hop}", " ".repeat(indent));
        let style = if depth == 0 { HEAD } else { PLAIN };
        lines.push(Line::styled(
            format!("  {}", fit(&text, cells, false).trim_end()),
            style,
        ));
    }
}

/// The record of the connection's other end, if that was on this node.
fn other_end<'a>(model: &'a Model, event: &Event) -> Option<&'a Event> {
    let peer = event.ids()?.peer_conn?;
    let entry = model.end_of_conn(&event.head.node, peer)?;
    Some(&entry.event)
}

/// Resets and errors of the same connection.
fn related(model: &Model, entry: &Entry, cells: usize, lines: &mut Vec<Line<'static>>) {
    let Some(conn) = entry.event.ids().and_then(|ids| ids.conn) else {
        return;
    };
    let same = |other: &&Entry| {
        other.id != entry.id && other.event.ids().and_then(|ids| ids.conn) == Some(conn)
    };
    let mut others: Vec<_> = model.history.iter().filter(same).take(RELATED).collect();
    others.sort_by_key(|other| other.event.head.ts);
    if others.is_empty() {
        return;
    }
    title("Also on this connection", lines);
    for other in others {
        let text = format!("{}  {}", Column::Time.cell(&other.event), why(&other.event));
        lines.push(Line::raw(format!("  {}", fit(&text, cells, false))));
    }
}

/// Every key as it is written.
fn keys(event: &Event, cells: usize, lines: &mut Vec<Line<'static>>) {
    title("Every key", lines);
    let mut line = Vec::new();
    event.write_line(&mut line);
    let Ok(serde_json::Value::Object(keys)) = serde_json::from_slice(&line) else {
        return;
    };
    let name_cells = 22;
    for (key, value) in keys {
        let value = match value {
            serde_json::Value::String(text) => Label::from(text).to_string(),
            other => Label::from(other.to_string()).to_string(),
        };
        let mut first = true;
        for part in wrap(&value, cells.saturating_sub(name_cells)) {
            let name = if std::mem::take(&mut first) {
                key.as_str()
            } else {
                ""
            };
            lines.push(Line::from(vec![
                Span::styled(fit(&format!("  {name}"), name_cells, false), DIM),
                Span::raw(part),
            ]));
        }
    }
}
