//! Both ends of a connection next to each other.

use ratatui::text::{Line, Span};

use super::{
    text::{fit, width},
    theme::{DIM, HEAD},
};
use crate::{
    event::{Body, End, Event, Ids},
    sink::text::units,
    tui::columns::{known, process},
};

type Cell = fn(&Ids, &End) -> String;

const ROWS: [(&str, Cell); 16] = [
    ("process", |ids, _| process(ids.comm.as_ref(), ids.pid)),
    ("address", |ids, _| {
        ids.local_addr.with_port(ids.local_port).to_string()
    }),
    ("role", |ids, _| ids.role.to_string()),
    ("reason", |_, end| end.reason.to_string()),
    ("closed_by, how", |_, end| {
        format!("{}, {}", end.closed_by, end.how)
    }),
    ("first end at", |_, end| {
        known(end.end_age_ms.map(units::age))
    }),
    ("idle rx, tx", |_, end| {
        let idle = |ms: Option<u64>| known(ms.map(units::age));
        format!("{}, {}", idle(end.idle_rx_ms), idle(end.idle_tx_ms))
    }),
    ("last data", |_, end| end.last_data.to_string()),
    ("rx bytes", |_, end| number(end.rx_bytes)),
    ("tx bytes", |_, end| number(end.tx_bytes)),
    ("unacknowledged", |_, end| number(end.tx_unacked_bytes)),
    ("never sent", |_, end| number(end.tx_unsent_bytes)),
    ("never read", |_, end| number(end.rx_unread_bytes)),
    ("after peer's FIN", |_, end| number(end.tx_after_fin_bytes)),
    ("pending error", |_, end| {
        known(end.errno.map(|errno| errno.to_string()))
    }),
    ("write error", |_, end| {
        known(end.write_errno.map(|errno| errno.to_string()))
    }),
];

/// Of few ends; shown where one of the two knows it.
const RARE_ROWS: [(&str, Cell); 5] = [
    ("read error", |_, end| {
        known(end.read_errno.map(|errno| errno.to_string()))
    }),
    ("closed by", |ids, _| match ids.closer_pid {
        Some(pid) if ids.pid != Some(pid) => process(ids.closer_comm.as_ref(), Some(pid)),
        _ => known(None),
    }),
    ("process ended", |_, end| {
        let oom = match end.oom_killed.0 {
            Some(true) => " for want of memory",
            _ => "",
        };
        let signal = end.exit_signal.0.map(|signal| format!("by {signal}{oom}"));
        let status = || end.exit_status.0.map(|status| format!("exit {status}"));
        known(signal.or_else(status))
    }),
    ("was told to by", |_, end| {
        let killer = end.killer_pid.0.map(|pid| {
            let killer = end.killer_comm.0.as_ref();
            format!(" from {}", process(killer, Some(pid)))
        });
        let signal = end.killer_signal.0;
        known(signal.map(|signal| format!("{signal}{}", killer.unwrap_or_default())))
    }),
    ("before the close", |_, end| {
        known(end.killer_signal_ms.0.map(units::age))
    }),
];

fn number(value: Option<u64>) -> String {
    known(value.map(|value| value.to_string()))
}

/// This end, and the other one if its record is kept.
pub fn ends(event: &Event, other: Option<&Event>, cells: usize) -> Vec<Line<'static>> {
    let (Some(this), other) = (end_of(event), other.and_then(end_of)) else {
        return Vec::new();
    };
    let column = cells.saturating_sub(20) / 2;
    let mut lines = vec![Line::from(vec![
        Span::raw(fit("", 20, false)),
        Span::styled(fit("THIS END", column, false), HEAD),
        Span::styled(if other.is_some() { "THE OTHER END" } else { "" }, HEAD),
    ])];
    let rare = RARE_ROWS.iter().filter(|(_, cell)| {
        [Some(this), other]
            .into_iter()
            .flatten()
            .any(|(ids, end)| cell(ids, end) != known(None))
    });
    for (name, cell) in ROWS.iter().chain(rare) {
        let mine = cell(this.0, this.1);
        let theirs = other.map(|(ids, end)| cell(ids, end));
        // Alone it has all the room.
        let mine = match &theirs {
            Some(_) => fit(&mine, column.saturating_sub(1), false),
            None => fit(&mine, width(&mine).min(2 * column), false),
        };
        lines.push(Line::from(vec![
            Span::styled(fit(&format!("  {name}"), 20, false), DIM),
            Span::raw(format!("{mine} ")),
            Span::raw(theirs.map_or_else(String::new, |text| {
                fit(&text, width(&text).min(column), false)
            })),
        ]));
    }
    lines
}

fn end_of(event: &Event) -> Option<(&Ids, &End)> {
    match &event.body {
        Body::End { ids, end } => Some((ids, end)),
        _ => None,
    }
}
