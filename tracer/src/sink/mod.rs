//! Where events go: encoded to the thread that writes them, or as they are to the live view.

pub mod file;
pub mod lines;
mod shared_folder;
pub mod text;
pub mod writer;

use std::{
    ffi::OsStr,
    io::{self, ErrorKind, IsTerminal, Write},
    time::Duration,
};

use anyhow::{Context, Result};

use crate::{
    cli::{Output, Theme, Usage, View},
    core::timeouts::Table,
    event::Event,
    tui::{
        model::{Options, Source, Status},
        session::Feed,
    },
};
use lines::{Lines, Unwritten};
use text::Text;
use writer::{BACKLOG_BYTES, Writer};

/// For the last lines to be written.
pub const LAST_LINES: Duration = Duration::from_secs(1);

/// How events are written.
#[derive(Clone, Copy, Debug)]
pub enum Format {
    /// One object a line.
    Json,
    /// For people.
    Text(Text),
}

impl Format {
    /// Appends an event.
    pub fn write(self, event: &Event, out: &mut Vec<u8>) {
        match self {
            Format::Json => event.write_line(out),
            Format::Text(text) => text.write(event, out),
        }
    }
}

/// What becomes of events.
#[derive(Clone, Copy, Debug)]
pub enum Shape {
    Lines(Format),
    /// The live view.
    View,
}

impl Shape {
    /// The live view on a terminal unless told otherwise, JSON elsewhere; colour only on a terminal,
    /// and not with NO_COLOR. `to_stdout`: not to a file.
    pub fn choose(output: Output, wide: bool, to_stdout: bool) -> Result<Self, Usage> {
        let terminal = to_stdout && io::stdout().is_terminal();
        let dumb = std::env::var_os("TERM").is_none_or(|term| term.is_empty() || term == "dumb");
        let text = Shape::Lines(Format::Text(Text {
            wide,
            colour: terminal && colour_is_wanted(),
        }));
        Ok(match output {
            Output::Auto if terminal && !dumb => Shape::View,
            Output::Auto if terminal => text,
            Output::Auto | Output::Json => Shape::Lines(Format::Json),
            Output::Text => text,
            Output::Tui if terminal && !dumb => Shape::View,
            Output::Tui => {
                return Err(Usage(
                    "--output tui: the live view needs a terminal as standard output, and TERM \
                     naming it; json and text go anywhere"
                        .to_owned(),
                ));
            }
        })
    }
}

fn colour_is_wanted() -> bool {
    std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// How the live view is to be drawn on this terminal.
pub fn view_options(view: &View, timeouts: &Table, source: Source) -> Options {
    let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
    // As setlocale looks for it.
    let locale = ["LC_ALL", "LC_CTYPE", "LANG"].into_iter().find_map(set);
    let utf8 = |locale: &OsStr| {
        let locale = locale.to_string_lossy().to_ascii_lowercase();
        locale.contains("utf-8") || locale.contains("utf8")
    };
    Options {
        theme: view.theme.unwrap_or(match colour_is_wanted() {
            true => Theme::Default,
            false => Theme::Mono,
        }),
        unicode: !view.ascii && locale.is_some_and(|locale| utf8(&locale)),
        history: view.history,
        timeouts: timeouts.clone(),
        source,
    }
}

/// Events on their way.
pub enum Batch {
    Lines(Format, Lines),
    Events(Vec<Event>),
}

impl Batch {
    pub fn new(shape: Shape) -> Self {
        match shape {
            Shape::Lines(format) => Batch::Lines(format, Lines::default()),
            Shape::View => Batch::Events(Vec::new()),
        }
    }

    pub fn push(&mut self, event: &Event) {
        match self {
            Batch::Lines(format, lines) => lines.push(*format, event),
            Batch::Events(events) => events.push(event.clone()),
        }
    }

    /// Bytes or events: what [`Sink::has_room`] counts.
    pub fn len(&self) -> usize {
        match self {
            Batch::Lines(_, lines) => lines.len(),
            Batch::Events(events) => events.len(),
        }
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Takes what there is.
    pub fn take(&mut self) -> Batch {
        match self {
            Batch::Lines(format, lines) => Batch::Lines(*format, lines.take()),
            Batch::Events(events) => Batch::Events(std::mem::take(events)),
        }
    }
}

/// How much more the output takes: what was cut short is told longer than what closed cleanly.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Room {
    /// Everything.
    Ample,
    /// All but clean closes.
    Scarce,
    None,
}

impl Room {
    /// What is left when `used` of `limit` waits for a slow reader: the last quarter is for what was
    /// not clean.
    pub fn of(used: usize, limit: usize) -> Self {
        if used < limit / 4 * 3 {
            Room::Ample
        } else if used < limit {
            Room::Scarce
        } else {
            Room::None
        }
    }
}

/// Prints a text. A reader that goes away has seen enough.
pub fn print(text: &str) -> Result<()> {
    let mut stdout = io::stdout().lock();
    let printed = stdout.write_all(text.as_bytes());
    match printed.and_then(|()| stdout.flush()) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        printed => printed.context("cannot write to standard output"),
    }
}

/// Who takes events.
pub enum Sink {
    Lines(Writer),
    View(Feed),
}

impl Sink {
    /// What fits after `more` (see [`Batch::len`]) that are not sent yet.
    pub fn room(&self, more: usize) -> Room {
        match self {
            Sink::Lines(writer) => writer.room(more),
            Sink::View(feed) => feed.room(more),
        }
    }

    /// Bytes of lines that wait; of how many that may.
    pub fn backlog_bytes(&self) -> (usize, usize) {
        match self {
            Sink::Lines(writer) => (writer.queued_bytes(), BACKLOG_BYTES),
            Sink::View(_) => (0, 0),
        }
    }

    pub fn send(&self, batch: Batch) {
        match (self, batch) {
            (Sink::Lines(writer), Batch::Lines(_, lines)) => writer.send(lines),
            (Sink::View(feed), Batch::Events(events)) => feed.send(events),
            // A run makes its batches for its sink.
            (Sink::Lines(_), Batch::Events(_)) | (Sink::View(_), Batch::Lines(..)) => (),
        }
    }

    pub fn status(&self, status: Status) {
        if let Sink::View(feed) = self {
            feed.status(status);
        }
    }

    pub fn is_view(&self) -> bool {
        matches!(self, Sink::View(_))
    }

    /// Opens an output file anew.
    pub fn reopen(&self) {
        if let Sink::Lines(writer) = self {
            writer.reopen();
        }
    }

    /// Whether nobody reads any more, or the view was quit.
    pub fn reader_gone(&self) -> bool {
        match self {
            Sink::Lines(writer) => writer.reader_gone(),
            Sink::View(feed) => feed.is_gone(),
        }
    }

    /// What could not be written since the last call.
    pub fn take_unwritten(&self) -> Unwritten {
        match self {
            Sink::Lines(writer) => writer.take_unwritten(),
            Sink::View(_) => Unwritten::default(),
        }
    }

    /// Whether lines wait to be written.
    pub fn is_busy(&self) -> bool {
        match self {
            Sink::Lines(writer) => writer.is_busy(),
            Sink::View(_) => false,
        }
    }

    /// Whether what waits is not written any more, but counted as that.
    pub fn hurry(&self, hurry: bool) {
        if let Sink::Lines(writer) = self {
            writer.hurry(hurry);
        }
    }

    /// Writes what is queued, for at most `limit`; gives the terminal back.
    pub fn finish(self, limit: Duration) -> Result<()> {
        match self {
            Sink::Lines(writer) => {
                writer.finish(limit);
                Ok(())
            }
            Sink::View(feed) => feed.close(),
        }
    }
}
