//! Events for people: a line of aligned columns for each, what happened in words below it. Within
//! 100 characters, or wide; for one who has never seen it, `start` writes a legend and the heads of
//! the columns. Names from outside cannot command the terminal: their `Display` makes control
//! characters visible.

mod row;
mod units;

use std::{borrow::Cow, fmt::Display};

use crate::event::{
    Body, End, Event, Ids, IoError, Lost, Reset, Start, Stop,
    time::Timestamp,
    values::{Counts, Direction, Op, Reason, StopReason, Where},
};
use row::{Columns, NARROW, Row, WIDE, wrap};
use units::{age, clock, size};

/// Characters to a line, unless wide.
const LINE: usize = 100;
/// Where what belongs to a line goes on below it: under the process.
const INDENT: usize = 13;
/// What is not known.
const UNKNOWN: &str = "-";

/// How text is written.
#[derive(Clone, Copy, Debug, Default)]
pub struct Text {
    /// No limit of 100 characters, more columns, exact sizes.
    pub wide: bool,
    /// With colours.
    pub colour: bool,
}

impl Text {
    /// Appends an event's lines. A heartbeat has none: nobody watches for it.
    pub fn write(self, event: &Event, out: &mut Vec<u8>) {
        let ts = event.head.ts;
        match &event.body {
            Body::End { ids, end } => self.end(ts, ids, end, out),
            Body::Reset { ids, reset } => self.reset(ts, ids, reset, out),
            Body::IoError { ids, io } => self.io_error(ts, ids, io, out),
            Body::Start(start) => self.start(event, start, out),
            Body::Lost(lost) => self.lost(ts, lost, out),
            Body::Heartbeat(_) => (),
            Body::Stop(stop) => self.stop(ts, stop, out),
        }
    }

    fn columns(self) -> &'static Columns {
        if self.wide { &WIDE } else { &NARROW }
    }

    fn end(self, ts: Timestamp, ids: &Ids, end: &End, out: &mut Vec<u8>) {
        let columns = self.columns();
        let (mut row, addresses) = self.begin(ts, ids);
        row.left(columns.why, end.reason.as_str(), style(end));
        if let Some((by, errno)) = columns.by_and_errno {
            row.left(by, end.closed_by.as_str(), Style::Plain);
            let errno = end.errno.map(|errno| errno.to_string());
            row.left(errno_column(errno.as_deref(), errno_or(&errno), errno_at(errno.is_some(), by, errno_end(by)), errno_end(by)), "", Style::Plain);
        }
        let _ = (addresses, out);
    }
}
