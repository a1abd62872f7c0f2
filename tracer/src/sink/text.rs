//! Events for people: a line of aligned columns for each, what happened in words below it. Within
//! 100 characters, or wide; for one who has never seen it, `start` writes a legend and the heads of
//! the columns. Names from outside cannot command the terminal: their `Display` makes control
//! characters visible.

mod own;
mod row;
pub mod units;

#[cfg(test)]
mod tests;

use crate::event::{
    Body, End, Event, Ids, IoError, Reset, Stall,
    text::Comm,
    time::Timestamp,
    values::{Direction, How, Op, Pattern, Reason, StallEnd},
};
use row::{Columns, NARROW, Row, Style, WIDE, wrap};

/// Characters to a line, unless wide.
const LINE: usize = 100;
/// Where what belongs to a line goes on below it: under the process.
const INDENT: usize = NARROW.who;
/// What is not known.
const UNKNOWN: &str = "-";

/// How text is written.
#[derive(Clone, Copy, Debug, Default)]
pub struct Text {
    /// No limit of 100 characters, more columns, exact sizes.
    pub wide: bool,
    /// With colours: for a terminal, unless NO_COLOR is set.
    pub colour: bool,
}

impl Text {
    /// Appends the lines of an event. A heartbeat has none: it is for machines.
    pub fn write(self, event: &Event, out: &mut Vec<u8>) {
        let ts = event.head.ts;
        match &event.body {
            Body::End { ids, end } => self.end(ts, ids, end, out),
            Body::Reset { ids, reset } => self.reset(ts, ids, reset, out),
            Body::IoError { ids, io } => self.io_error(ts, ids, io, out),
            Body::Stall { ids, stall } => self.stall(ts, ids, stall, out),
            Body::Start(start) => self.start(&event.head, start, out),
            Body::Lost(lost) => self.lost(ts, lost, out),
            Body::Heartbeat(_) => (),
            Body::Stop(stop) => self.stop(ts, stop, out),
        }
    }

    fn end(self, ts: Timestamp, ids: &Ids, end: &End, out: &mut Vec<u8>) {
        let columns = self.columns();
        let (mut row, below) = self.begin(ts, ids);
        row.left(columns.why, end.reason, style(end));
        row.right(
            columns.age_end,
            known(end.end_age_ms, units::age),
            Style::Plain,
        );
        row.right(
            columns.rx_end,
            known(end.rx_bytes, self.size()),
            Style::Plain,
        );
        row.right(
            columns.tx_end,
            known(end.tx_bytes, self.size()),
            Style::Plain,
        );
        if self.wide {
            row.left(columns.closed_by, end.closed_by, Style::Plain);
            let errno = known(end.errno, |errno| errno.to_string());
            row.left(columns.errno, errno, Style::Plain);
            let peer = process(ids.peer_comm.as_ref(), ids.peer_pid);
            row.left(columns.peer, peer, Style::Plain);
        }
        row.finish(out);
        self.below(below, out);
        self.below(end.story.as_ref().map(ToString::to_string), out);
    }

    fn reset(self, ts: Timestamp, ids: &Ids, reset: &Reset, out: &mut Vec<u8>) {
        let (mut row, below) = self.begin(ts, ids);
        let direction = match reset.direction {
            Direction::Sent => "RST sent",
            Direction::Received => "RST received",
        };
        // The kernel's reason, where it gives one, says more than the state.
        let told = match (&reset.rst_reason, reset.state) {
            (Some(reason), _) => format!("{direction}: {reason}"),
            (None, Some(state)) => format!("{direction} in {}", state.as_str()),
            (None, None) => direction.to_owned(),
        };
        let why = self.columns().why;
        let fits = self.wide || why + row::width(&told) <= LINE;
        row.left(why, if fits { &told } else { direction }, Style::Yellow);
        row.finish(out);
        self.below(below, out);
        self.below((!fits).then_some(told), out);
        let suppressed = (reset.suppressed > 0).then(|| {
            format!(
                "{} more without a socket were only counted.",
                reset.suppressed
            )
        });
        self.below(suppressed, out);
    }

    fn io_error(self, ts: Timestamp, ids: &Ids, io: &IoError, out: &mut Vec<u8>) {
        let (mut row, below) = self.begin(ts, ids);
        let op = match io.op {
            Op::Send => "send",
            Op::Recv => "receive",
        };
        let sigpipe = if io.sigpipe { ", SIGPIPE" } else { "" };
        let failed = format!("{op} failed: {}{sigpipe}", io.errno);
        row.left(self.columns().why, failed, Style::Red);
        row.finish(out);
        self.below(below, out);
        let told = match (&io.story, io.reason) {
            (Some(story), _) => Some(story.to_string()),
            (None, Some(reason)) => Some(culprit(reason, io)),
            (None, None) => None,
        };
        self.below(told, out);
    }

    fn stall(self, ts: Timestamp, ids: &Ids, stall: &Stall, out: &mut Vec<u8>) {
        let (mut row, below) = self.begin(ts, ids);
        let (what, style) = match stall.ended {
            None => ("peer is silent", Style::Red),
            Some(StallEnd::Recovered) => ("peer answers again", Style::Yellow),
            Some(StallEnd::Closed) => ("ended in silence", Style::Red),
        };
        row.left(self.columns().why, what, style);
        row.right(
            self.columns().age_end,
            units::age(stall.stalled_ms),
            Style::Plain,
        );
        row.finish(out);
        self.below(below, out);
        self.below(stall.story.as_ref().map(ToString::to_string), out);
    }

    fn columns(self) -> &'static Columns {
        if self.wide { &WIDE } else { &NARROW }
    }

    fn size(self) -> fn(u64) -> String {
        if self.wide {
            |bytes| bytes.to_string()
        } else {
            units::size
        }
    }

    /// Time, process and addresses; these come back if they are too long for their column.
    fn begin(self, ts: Timestamp, ids: &Ids) -> (Row, Option<String>) {
        let columns = self.columns();
        let mut row = Row::new(self.colour);
        row.left(0, units::clock(ts), Style::Dim);
        let owner = process(ids.comm.as_ref(), ids.pid);
        row.left(columns.who, owner, Style::Plain);
        let addresses = format!(
            "{} → {}",
            ids.local_addr.with_port(ids.local_port),
            ids.peer_addr.with_port(ids.peer_port)
        );
        let place = match self.wide {
            true => Some(columns.addresses),
            false => row.place(columns.addresses, &addresses, columns.why),
        };
        match place {
            Some(place) => {
                row.left(place, addresses, Style::Plain);
                (row, None)
            }
            None => (row, Some(addresses)),
        }
    }

    /// Text that belongs to the line above.
    fn below(self, text: Option<String>, out: &mut Vec<u8>) {
        let limit = if self.wide { usize::MAX } else { LINE };
        if let Some(text) = text {
            wrap(&text, INDENT, limit, out);
        }
    }
}

/// `comm[pid]`, with what is known.
fn process(comm: Option<&Comm>, pid: Option<u32>) -> String {
    let comm = known(comm, ToString::to_string);
    match pid {
        Some(pid) => format!("{comm}[{pid}]"),
        None => comm,
    }
}

fn known<T>(value: Option<T>, show: impl FnOnce(T) -> String) -> String {
    value.map_or_else(|| UNKNOWN.to_owned(), show)
}

fn style(end: &End) -> Style {
    let fin = matches!(
        end.reason,
        Reason::FinLocal | Reason::FinPeer | Reason::FinBoth
    );
    let clean = end.how == How::Fin && end.pattern.is_none_or(|pattern| pattern == Pattern::Normal);
    match (fin, clean) {
        (true, true) => Style::Plain,
        (true, false) => Style::Yellow,
        (false, _) => Style::Red,
    }
}

fn culprit(reason: Reason, io: &IoError) -> String {
    let by = io.closed_by.map(|by| format!(", ended by {by}"));
    let age = io
        .end_age_ms
        .map(|ms| format!(" {} after it was established", units::age(ms)));
    format!(
        "its connection: {reason}{}{}",
        by.unwrap_or_default(),
        age.unwrap_or_default()
    )
}
