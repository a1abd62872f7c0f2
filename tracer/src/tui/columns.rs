//! The columns of the terminations: what is in them, how wide they are, and which of them a
//! terminal has room for.

use std::cmp::Reverse;

use super::{history::Entry, totals::lost_bytes};
use crate::{
    event::{
        Body, End, Event,
        text::Comm,
        values::{Direction, Op, StallEnd},
    },
    sink::text::units,
};

/// What is not known.
const UNKNOWN: &str = "-";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Column {
    Time,
    Process,
    Addresses,
    Why,
    Age,
    Rx,
    Tx,
    Lost,
    Errno,
    Peer,
    Story,
}

impl Column {
    /// From left to right.
    pub const ALL: [Column; 11] = [
        Column::Time,
        Column::Process,
        Column::Addresses,
        Column::Why,
        Column::Age,
        Column::Rx,
        Column::Tx,
        Column::Lost,
        Column::Errno,
        Column::Peer,
        Column::Story,
    ];

    /// The most important first: what has no room is left out from the end.
    const BY_IMPORTANCE: [Column; 11] = [
        Column::Why,
        Column::Process,
        Column::Age,
        Column::Time,
        Column::Addresses,
        Column::Rx,
        Column::Tx,
        Column::Lost,
        Column::Peer,
        Column::Errno,
        Column::Story,
    ];

    pub const fn title(self) -> &'static str {
        match self {
            Column::Time => "TIME",
            Column::Process => "PROCESS",
            Column::Addresses => "LOCAL → PEER",
            Column::Why => "WHY",
            Column::Age => "AT",
            Column::Rx => "RX",
            Column::Tx => "TX",
            Column::Lost => "LOST",
            Column::Errno => "ERRNO",
            Column::Peer => "PEER'S PROCESS",
            Column::Story => "STORY",
        }
    }

    /// Least width.
    const fn width(self, total: u16) -> u16 {
        match self {
            Column::Time => {
                if total < 80 {
                    8
                } else {
                    12
                }
            }
            Column::Process => {
                if total < 120 {
                    16
                } else {
                    23
                }
            }
            Column::Addresses => {
                if total < 120 {
                    24
                } else {
                    43
                }
            }
            Column::Why => 19,
            Column::Age | Column::Rx | Column::Tx | Column::Lost => 6,
            Column::Errno => 12,
            Column::Peer => 23,
            Column::Story => 30,
        }
    }

    pub const fn is_number(self) -> bool {
        matches!(self, Column::Age | Column::Rx | Column::Tx | Column::Lost)
    }

    /// The columns that fit, with their widths and a space between; the last wide one takes what is
    /// left.
    pub fn fitting(total: u16) -> Vec<(Column, u16)> {
        let mut left = total;
        let mut chosen = Vec::new();
        for column in Self::BY_IMPORTANCE {
            let needed = column.width(total) + u16::from(!chosen.is_empty());
            if needed > left {
                break;
            }
            left -= needed;
            chosen.push(column);
        }
        let stretched = [Column::Story, Column::Addresses, Column::Process]
            .into_iter()
            .find(|column| chosen.contains(column));
        Self::ALL
            .into_iter()
            .filter(|column| chosen.contains(column))
            .map(|column| {
                let more = if Some(column) == stretched { left } else { 0 };
                (column, column.width(total) + more)
            })
            .collect()
    }

    /// The same in less room, where there is a shorter way to say it.
    pub fn short_cell(self, event: &Event) -> String {
        match (self, event.ids()) {
            (Column::Addresses, Some(ids)) => format!(
                ":{} → {}",
                ids.local_port,
                ids.peer_addr.with_port(ids.peer_port)
            ),
            _ => self.cell(event),
        }
    }

    /// What is in it.
    pub fn cell(self, event: &Event) -> String {
        let Some(ids) = event.ids() else {
            return String::new();
        };
        match self {
            Column::Time => units::clock(event.head.ts),
            Column::Process => process(ids.comm.as_ref(), ids.pid),
            Column::Addresses => format!(
                "{} → {}",
                ids.local_addr.with_port(ids.local_port),
                ids.peer_addr.with_port(ids.peer_port)
            ),
            Column::Why => why(event),
            Column::Peer => process(ids.peer_comm.as_ref(), ids.peer_pid),
            Column::Errno => known(errno(event)),
            Column::Age => known(age(event).map(units::age)),
            Column::Rx => of_end(event, |end| known(end.rx_bytes.map(units::size))),
            Column::Tx => of_end(event, |end| known(end.tx_bytes.map(units::size))),
            Column::Lost => of_end(event, |end| units::size(lost_bytes(end))),
            Column::Story => match &event.body {
                Body::End { end, .. } => end.story.as_ref(),
                Body::IoError { io, .. } => io.story.as_ref(),
                Body::Stall { stall, .. } => stall.story.as_ref(),
                _ => None,
            }
            .map(ToString::to_string)
            .unwrap_or_default(),
        }
    }
}

/// What happened, in a word.
pub fn why(event: &Event) -> String {
    match &event.body {
        Body::End { end, .. } => end.reason.to_string(),
        Body::Reset { reset, .. } => match reset.direction {
            Direction::Sent => "RST sent".to_owned(),
            Direction::Received => "RST received".to_owned(),
        },
        Body::IoError { io, .. } => match io.op {
            Op::Send => format!("send: {}", io.errno),
            Op::Recv => format!("recv: {}", io.errno),
        },
        Body::Stall { stall, .. } => match stall.ended {
            None => "peer is silent".to_owned(),
            Some(StallEnd::Recovered) => "peer answers again".to_owned(),
            Some(StallEnd::Closed) => "ended in silence".to_owned(),
        },
        _ => String::new(),
    }
}

fn errno(event: &Event) -> Option<String> {
    match &event.body {
        Body::End { end, .. } => end.errno,
        Body::IoError { io, .. } => Some(io.errno),
        _ => None,
    }
    .map(|errno| errno.to_string())
}

fn age(event: &Event) -> Option<u64> {
    match &event.body {
        Body::End { end, .. } => end.end_age_ms,
        Body::IoError { io, .. } => io.end_age_ms,
        _ => None,
    }
}

fn of_end(event: &Event, cell: impl Fn(&End) -> String) -> String {
    match &event.body {
        Body::End { end, .. } => cell(end),
        _ => String::new(),
    }
}

/// `comm[pid]`, with what is known.
pub fn process(comm: Option<&Comm>, pid: Option<u32>) -> String {
    let comm = known(comm.map(ToString::to_string));
    match pid {
        Some(pid) => format!("{comm}[{pid}]"),
        None => comm,
    }
}

pub fn known(value: Option<String>) -> String {
    value.unwrap_or_else(|| UNKNOWN.to_owned())
}

/// Orders rows: numbers from the largest, names from A, what is equal by arrival.
pub fn sorted(rows: &mut [&Entry], column: Column) {
    let number = |entry: &Entry| match &entry.event.body {
        Body::End { end, .. } => match column {
            Column::Rx => end.rx_bytes,
            Column::Tx => end.tx_bytes,
            Column::Lost => Some(lost_bytes(end)),
            _ => end.end_age_ms,
        },
        _ => age(&entry.event),
    };
    match column {
        Column::Time => rows.sort_by_key(|entry| Reverse(entry.event.head.ts)),
        column if column.is_number() => rows.sort_by_key(|entry| Reverse(number(entry))),
        column => rows.sort_by_cached_key(|entry| column.cell(&entry.event)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_width_has_the_columns_that_matter_and_is_filled() {
        for total in 58..400 {
            let columns = Column::fitting(total);
            let sum: u16 = columns.iter().map(|(_, width)| width + 1).sum();
            assert_eq!(sum - 1, total);
            for column in [Column::Why, Column::Process, Column::Age, Column::Time] {
                assert!(columns.iter().any(|(one, _)| *one == column), "{total}");
            }
        }
        assert_eq!(Column::fitting(200).len(), Column::ALL.len());
    }
}
