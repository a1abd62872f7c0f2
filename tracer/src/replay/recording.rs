//! One recording: a file, or standard input while it grows, event by event.

use std::{
    fmt::Display,
    fs::File,
    io::{self, Seek},
    ops::Range,
    os::fd::AsFd,
    path::Path,
};

use anyhow::{Context, Result};

use super::{
    lines::{Line, Lines, MAX_LINE_BYTES},
    stop::Stop,
};
use crate::event::Event;

/// Lines that are passed over and told one by one; the others are only counted.
const TOLD: u64 = 20;

pub struct Recording {
    /// As messages name it.
    name: String,
    input: File,
    /// Of a file; `None`: it cannot be read again.
    size_bytes: Option<u64>,
    lines: Lines,
    /// Lines so far.
    number: u64,
    pub events: u64,
    pub skipped: u64,
    /// It is read again: what was passed over has been told.
    again: bool,
    /// Half a line at its end may still become a whole one.
    grows: bool,
    ended: bool,
    current: Option<(Event, Range<usize>)>,
}

impl Recording {
    /// `-` is standard input. A file that `grows` may be gone on with at its end.
    pub fn open(path: &Path, grows: bool) -> Result<Self> {
        let (name, input) = if path.as_os_str() == "-" {
            let stdin = io::stdin().as_fd().try_clone_to_owned();
            let stdin = stdin.context("cannot use standard input")?;
            ("standard input".to_owned(), File::from(stdin))
        } else {
            let name = path.display().to_string();
            let file =
                File::open(path).with_context(|| format!("cannot open the recording {name}"))?;
            (name, file)
        };
        let about = input.metadata().ok().filter(|about| about.is_file());
        Ok(Recording {
            name,
            grows: grows && about.is_some(),
            size_bytes: about.map(|about| about.len()),
            input,
            lines: Lines::default(),
            number: 0,
            events: 0,
            skipped: 0,
            again: false,
            ended: false,
            current: None,
        })
    }

    /// Begins again.
    pub fn rewind(&mut self) -> Result<()> {
        let rewound = self.input.rewind();
        rewound.with_context(|| format!("cannot read {} again", self.name))?;
        self.lines = Lines::default();
        self.number = 0;
        self.events = 0;
        self.skipped = 0;
        self.again = true;
        self.ended = false;
        self.current = None;
        Ok(())
    }

    /// Whether more was written to the file since it was over; if so it goes on.
    pub fn goes_on(&mut self) -> bool {
        if self.ended && self.grows {
            let size = self.input.metadata().map_or(0, |about| about.len());
            if size > self.lines.read_bytes() {
                self.size_bytes = Some(size);
                self.ended = false;
                return true;
            }
        }
        false
    }

    /// Bytes that were taken, and all that there are; `None`: nobody knows, and it cannot begin
    /// again.
    pub fn progress_bytes(&self) -> Option<(u64, u64)> {
        let taken = self.lines.taken_bytes();
        self.size_bytes.map(|size| (taken, size.max(taken)))
    }

    /// The event that it stands at, and its line.
    pub fn current(&self) -> Option<(&Event, &[u8])> {
        let (event, line) = self.current.as_ref()?;
        Some((event, self.lines.bytes(line)))
    }

    /// Goes to the next event; there is none at the end. `idle` is called before more is read.
    pub fn advance(&mut self, stop: &Stop, idle: &mut impl FnMut() -> Result<()>) -> Result<()> {
        self.current = None;
        loop {
            if stop.asked() {
                return Err(super::Stopped.into());
            }
            while let Some(line) = self.next_line() {
                self.number += 1;
                if self.take(line) {
                    return Ok(());
                }
            }
            if self.ended {
                return Ok(());
            }
            stop.wait_for(&self.input, idle)?;
            let more = self.lines.fill(&mut self.input);
            self.ended = !more.with_context(|| format!("cannot read {}", self.name))?;
        }
    }

    fn next_line(&mut self) -> Option<Line> {
        let line = self.lines.take();
        // The end of a file that grows is a line if it can be read as one.
        let half = || {
            let rest = self.lines.bytes(&self.lines.rest());
            self.grows && Event::parse(rest).is_err()
        };
        if line.is_some() || !self.ended || half() {
            return line;
        }
        self.lines.take_rest()
    }

    /// Whether the line is an event.
    fn take(&mut self, line: Line) -> bool {
        let Line::Whole(range) = line else {
            self.skip(format_args!("longer than {} KiB", MAX_LINE_BYTES >> 10));
            return false;
        };
        let bytes = self.lines.bytes(&range);
        if bytes.trim_ascii().is_empty() {
            return false;
        }
        match Event::parse(bytes) {
            Ok(event) => {
                self.events += 1;
                self.current = Some((event, range));
                true
            }
            Err(fault) => {
                self.skip(fault);
                false
            }
        }
    }

    fn skip(&mut self, why: impl Display) {
        self.skipped += 1;
        if self.skipped <= TOLD && !self.again {
            tracing::warn!("{}:{}: skipped: {why}", self.name, self.number);
        }
    }

    /// Says how many lines were passed over, where not all were told.
    pub fn tell_skipped(&mut self) {
        if self.ended && !self.lines.rest().is_empty() {
            self.number += 1;
            self.skip("half a line at its end");
        }
        if self.skipped > TOLD {
            tracing::warn!(
                "{}: {} of {} lines were skipped",
                self.name,
                self.skipped,
                self.number
            );
        }
    }
}
