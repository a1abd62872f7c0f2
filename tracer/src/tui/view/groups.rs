//! Ends by process, peer, reason, hint or container.
//!
//! ```text
//! PROCESS                     COUNT  ABNORMAL   LOST     /S  MEDIAN AT
//! nginx                         120        12  97.6K    1.2      60.0s
//! ```

use ratatui::{
    buffer::Buffer,
    layout::Rect,
    text::{Line, Span},
};

use super::{
    text::{fit, put},
    theme::{BAR, HEAD},
};
use crate::{
    event::text::Label,
    sink::text::units,
    tui::{
        columns::known,
        layout::{first_row, page},
        model::{GroupSort, Model},
        totals::{Group, RATE_SECONDS},
    },
};

/// Numbers to the right: title, width, what it is sorted by.
const COLUMNS: [(&str, usize, Option<GroupSort>); 5] = [
    ("COUNT", 9, Some(GroupSort::Count)),
    ("ABNORMAL", 9, None),
    ("LOST", 7, Some(GroupSort::Lost)),
    ("/S", 8, Some(GroupSort::Rate)),
    ("MEDIAN AT", 10, Some(GroupSort::Age)),
];

pub fn draw(model: &Model, buffer: &mut Buffer, area: Rect) {
    let numbers: usize = COLUMNS.iter().map(|(_, width, _)| width + 1).sum();
    let name = usize::from(area.width).saturating_sub(numbers).min(60);
    let groups = model.groups();
    let cursor = model.group_selected.min(groups.len().saturating_sub(1));
    let mut lines = vec![heads(model, name)];
    let second = model.now.0 / 1_000_000_000;
    lines.extend(
        groups
            .iter()
            .enumerate()
            .skip(first_row(cursor, page(model)))
            .take(page(model))
            .map(|(index, (key, group))| {
                let line = row(key, group, name, second);
                if index == cursor {
                    line.patch_style(BAR)
                } else {
                    line
                }
            }),
    );
    if groups.is_empty() {
        lines.push(Line::raw("  Nothing has ended yet."));
    }
    put(buffer, area, &lines);
}

fn heads(model: &Model, name: usize) -> Line<'static> {
    let title = |title: &str, sorted: bool| {
        let sign = if model.group_reverse { '▲' } else { '▼' };
        if sorted {
            format!("{title}{sign}")
        } else {
            title.to_owned()
        }
    };
    let by = title(
        &model.by.name().to_uppercase(),
        model.group_sort == GroupSort::Name,
    );
    let what = if model.is_filtered() {
        " (kept, filtered)"
    } else {
        ""
    };
    let mut text = fit(&format!("{by}{what}"), name, false);
    for (column, width, sort) in COLUMNS {
        text.push(' ');
        text.push_str(&fit(
            &title(column, sort == Some(model.group_sort)),
            width,
            true,
        ));
    }
    Line::styled(text, HEAD)
}

fn row(key: &str, group: &Group, name: usize, second: u64) -> Line<'static> {
    let recent: u32 = group.recent.since(second).iter().sum();
    let cells = [
        group.count.to_string(),
        group.abnormal.to_string(),
        units::size(group.lost_bytes),
        format!("{:.1}", f64::from(recent) / RATE_SECONDS as f64),
        known(group.ages.median_ms().map(units::age)),
    ];
    // A name may be anything.
    let mut text = fit(&Label::from(key).to_string(), name, false);
    for ((_, width, _), cell) in COLUMNS.iter().zip(cells) {
        text.push(' ');
        text.push_str(&fit(&cell, *width, true));
    }
    Line::from(Span::raw(text))
}
