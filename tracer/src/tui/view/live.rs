//! The terminations, newest first unless sorted.
//!
//! ```text
//!   TIME         PROCESS            LOCAL → PEER                 WHY                    AT
//! ! 13:40:23.212 demo-server[29323] 127.0.0.1:23995 → 127.0.0.1… fin_peer_rst        514ms
//! ```

use ratatui::{
    buffer::Buffer,
    layout::Rect,
    text::{Line, Span},
};

use super::{
    text::{fit, put, wrap},
    theme::{BAR, DIM, HEAD, PLAIN, severity},
};
use crate::tui::{
    columns::Column,
    history::Entry,
    layout::{first_row, page},
    model::{Model, Source},
};

pub fn draw(model: &Model, buffer: &mut Buffer, area: Rect) {
    let rows = model.rows();
    if rows.is_empty() {
        empty(model, buffer, area);
        return;
    }
    let columns = Column::fitting(area.width.saturating_sub(2));
    let cursor = model.cursor(&rows);
    let first = first_row(cursor, page(model));
    let mut lines = vec![heads(model, &columns)];
    lines.extend(
        rows.iter()
            .enumerate()
            .skip(first)
            .take(page(model))
            .map(|(index, entry)| row(model, entry, &columns, index == cursor)),
    );
    put(buffer, area, &lines);
}

fn heads(model: &Model, columns: &[(Column, u16)]) -> Line<'static> {
    let mut spans = vec![Span::raw("  ")];
    for (column, width) in columns {
        let sorted = model.sort.column == Some(*column);
        let title = if sorted {
            let sign = if model.sort.reverse { '▲' } else { '▼' };
            format!("{}{sign}", column.title())
        } else {
            column.title().to_owned()
        };
        spans.push(Span::styled(
            fit(&title, usize::from(*width), column.is_number()),
            HEAD,
        ));
        spans.push(Span::raw(" "));
    }
    Line::from(spans)
}

fn row(model: &Model, entry: &Entry, columns: &[(Column, u16)], chosen: bool) -> Line<'static> {
    let (sign, style) = severity(&entry.event);
    let mark = if model.marked.contains(&entry.id) {
        '●'
    } else {
        ' '
    };
    let mut spans = vec![Span::styled(format!("{mark}{sign}"), style)];
    // The mark takes the first cell, the sign the second.
    for (index, (column, width)) in columns.iter().enumerate() {
        let mut cell = column.cell(&entry.event);
        if super::text::width(&cell) > usize::from(*width) {
            cell = column.short_cell(&entry.event);
        }
        let cell_style = match column {
            Column::Why => style,
            Column::Time => DIM,
            _ => PLAIN,
        };
        if index > 0 {
            spans.push(Span::raw(" "));
        }
        let cell = if *column == Column::Time {
            // A narrow column has no room for the fraction, and no need of a mark.
            cell.chars().take(usize::from(*width)).collect()
        } else {
            fit(&cell, usize::from(*width), column.is_number())
        };
        spans.push(Span::styled(cell, cell_style));
    }
    let line = Line::from(spans);
    if chosen { line.patch_style(BAR) } else { line }
}

/// Why there is nothing, and how to see something.
fn empty(model: &Model, buffer: &mut Buffer, area: Rect) {
    let mut paragraphs = Vec::new();
    if model.is_filtered() && !model.history.is_empty() {
        paragraphs.push(format!(
            "None of the {} events that are kept fits the filter {}. x shows all of them.",
            model.history.len(),
            model.filter_text
        ));
    } else if let Source::Replay(_) = model.options.source {
        paragraphs.push(match &model.ended {
            Some(_) => "There is no termination in the recording.".to_owned(),
            None => "Waiting for the recording.".to_owned(),
        });
    } else {
        paragraphs.push("No connection has ended yet.".to_owned());
        if let Some(status) = &model.status {
            paragraphs.push(format!("{} connections are watched.", status.connections));
        }
        paragraphs.push(
            "To see one end, run `tracer demo` in another terminal: it breaks a real pipe."
                .to_owned(),
        );
    }
    if model.is_filtered() && model.history.is_empty() {
        paragraphs.push(format!("Only what fits is shown: {}", model.filter_text));
    }
    let cells = usize::from(area.width).saturating_sub(4);
    let mut lines = vec![Line::raw("")];
    for paragraph in paragraphs {
        lines.extend(
            wrap(&paragraph, cells)
                .into_iter()
                .map(|line| Line::raw(format!("  {line}"))),
        );
        lines.push(Line::raw(""));
    }
    put(buffer, area, &lines);
}
