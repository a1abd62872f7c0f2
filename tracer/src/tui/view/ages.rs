//! How old connections were at their first end: a timeout is a spike. Arrows show where one is known.
//!
//! ```text
//!  The most frequent ages             ▁
//!   60.0s   120 ██████████ ◂          █
//!                              ▂▁   ▃██▁
//!                                     ▴
//!                              1ms 10ms 100ms 1s 10s 1m …
//! ```

use ratatui::{
    buffer::Buffer,
    layout::Rect,
    text::{Line, Span},
};

use super::{
    text::{fit, put},
    theme::{CHART, DIM, HEAD},
};
use crate::{
    sink::text::units,
    tui::{
        model::Model,
        totals::{Ages, round_age},
    },
};

/// Marks of the scale.
const MARKS: [(&str, u64); 9] = [
    ("1ms", 1),
    ("10ms", 10),
    ("100ms", 100),
    ("1s", 1_000),
    ("10s", 10_000),
    ("1m", 60_000),
    ("10m", 600_000),
    ("1h", 3_600_000),
    ("1d", 86_400_000),
];

/// Lines below the bars, and the title above.
const AXIS: u16 = 2;
/// Of the list of single ages.
const LIST: u16 = 30;

pub fn draw(model: &Model, buffer: &mut Buffer, area: Rect) {
    let of_kept;
    let totals = if model.is_filtered() {
        of_kept = model.totals_of_kept();
        &of_kept
    } else {
        &model.totals
    };
    let list = Rect {
        width: LIST.min(area.width / 2),
        ..area
    };
    let chart = Rect {
        x: area.x + list.width + 1,
        width: area.width.saturating_sub(list.width + 1),
        ..area
    };
    let timeouts = model.options.timeouts.values_ms();
    ages(&totals.frequent_ages(), &timeouts, buffer, list);
    bars(totals.ages.bins(), &timeouts, buffer, chart);
}

fn ages(ages: &[(u64, u32)], timeouts: &[u64], buffer: &mut Buffer, area: Rect) {
    let mut lines = vec![Line::styled(" The most frequent ages", HEAD)];
    let most = ages.first().map_or(1, |(_, count)| *count);
    let room = u64::from(area.width.saturating_sub(20));
    for (ms, count) in ages.iter().take(usize::from(area.height)) {
        let bar = (u64::from(*count) * room).div_ceil(u64::from(most)) as usize;
        let known = timeouts
            .iter()
            .any(|timeout_ms| round_age(*timeout_ms) == *ms);
        lines.push(Line::from(vec![
            Span::raw(fit(&units::age(*ms), 8, true)),
            Span::raw(fit(&count.to_string(), 8, true)),
            Span::styled(format!(" {}", "█".repeat(bar)), CHART),
            Span::raw(if known { " ◂" } else { "" }),
        ]));
    }
    if ages.is_empty() {
        lines.push(Line::raw("  None is known yet."));
    }
    put(buffer, area, &lines);
}

fn bars(bins: &[u32], timeouts: &[u64], buffer: &mut Buffer, area: Rect) {
    const EIGHTHS: [&str; 8] = [" ", "▁", "▂", "▃", "▄", "▅", "▆", "▇"];
    buffer.set_stringn(
        area.x,
        area.y,
        "Ends by age at the first end; ▴ known timeout",
        usize::from(area.width),
        HEAD,
    );
    let width = usize::from(area.width);
    let height = area.height.saturating_sub(1 + AXIS);
    if width == 0 || height == 0 {
        return;
    }
    // A day is as far as a connection's age is of interest on one screen.
    let last_ms = 86_400_000.0 * 4.0;
    let column_of = |ms: f64| ((ms.log2() / f64::log2(last_ms)) * width as f64) as usize;
    let mut columns = vec![0u64; width];
    for (bin, count) in bins.iter().enumerate() {
        let column = column_of(Ages::start_ms(bin)).min(width - 1);
        columns[column] += u64::from(*count);
    }
    let most = columns.iter().copied().max().unwrap_or(0).max(1);
    let bottom = area.y + 1 + height;
    for (x, count) in (area.x..).zip(&columns) {
        let eighths = (count * u64::from(height) * 8).div_ceil(most);
        for line in 0..height {
            let here = eighths.saturating_sub(u64::from(line) * 8);
            let symbol = match here {
                8.. => "█",
                part => EIGHTHS[part as usize],
            };
            buffer.set_string(x, bottom - 1 - line, symbol, CHART);
        }
    }
    for column in timeouts.iter().map(|ms| column_of(*ms as f64)) {
        if columns.get(column).is_some_and(|count| *count > 0) {
            buffer.set_string(area.x + column as u16, bottom, "▴", HEAD);
        }
    }
    let mut free = 0;
    for (name, ms) in MARKS {
        let x = column_of(ms as f64);
        let marked = |x: usize| {
            let at = (area.x + x as u16, bottom);
            buffer.cell(at).is_some_and(|cell| cell.symbol() == "▴")
        };
        if x < width && !marked(x) {
            buffer.set_string(area.x + x as u16, bottom, "│", DIM);
        }
        if x >= free && x + name.len() <= width {
            buffer.set_string(area.x + x as u16, bottom + 1, name, DIM);
            free = x + name.len() + 1;
        }
    }
}
