//! Where a recording is shown: standard output, or the live view.

use std::{
    io::{self, ErrorKind, Write},
    thread::sleep,
    time::Duration,
};

use anyhow::{Context, Result};

use super::stop::Stopped;
use crate::{
    event::Event,
    sink::{Format, Room},
    tui::{playback::Place, session::Feed},
};

/// Bytes that are written at once.
const CHUNK: usize = 256 << 10;
/// Events that are given to the view at once.
const EVENTS: usize = 256;
/// How long to wait for the view to take more.
const NAP: Duration = Duration::from_millis(5);

pub enum Out {
    Lines(Format, Vec<u8>),
    View(Feed, Vec<Event>),
}

impl Out {
    pub fn lines(format: Format) -> Self {
        Out::Lines(format, Vec::with_capacity(2 * CHUNK))
    }

    /// Takes an event and its line.
    pub fn take(&mut self, event: &Event, line: &[u8]) -> Result<()> {
        let full = match self {
            Out::Lines(format, lines) => {
                match format {
                    // As it stands, with what this version does not know.
                    Format::Json => {
                        lines.extend_from_slice(line);
                        lines.push(b'\n');
                    }
                    format => format.write(event, lines),
                }
                lines.len() >= CHUNK
            }
            Out::View(_, events) => {
                events.push(event.clone());
                events.len() >= EVENTS
            }
        };
        if full { self.flush() } else { Ok(()) }
    }

    /// Says where the recordings are, and what could not be done; all that was taken is before it.
    pub fn tell(&mut self, place: Option<Place>, refused: Option<&str>) -> Result<()> {
        self.flush()?;
        if let Out::View(feed, _) = self {
            if let Some(place) = place {
                feed.place(place);
            }
            if let Some(why) = refused {
                feed.say(why);
            }
        }
        Ok(())
    }

    /// The recordings begin again.
    pub fn restart(&mut self) {
        if let Out::View(feed, events) = self {
            events.clear();
            feed.restart();
        }
    }

    /// A recording that was over has grown.
    pub fn goes_on(&mut self) {
        if let Out::View(feed, _) = self {
            feed.goes_on();
        }
    }

    /// The recordings are over.
    pub fn ended(&mut self) {
        if let Out::View(feed, _) = self {
            feed.ended("the recording is over");
        }
    }

    /// Gives on what there is. A reader that is gone ends the replay.
    pub fn flush(&mut self) -> Result<()> {
        match self {
            Out::Lines(_, lines) => {
                let written = write(lines);
                lines.clear();
                written
            }
            Out::View(feed, events) => {
                while feed.room(events.len()) == Room::None && !feed.is_gone() {
                    sleep(NAP);
                }
                if feed.is_gone() {
                    return Err(Stopped.into());
                }
                if !events.is_empty() {
                    feed.send(std::mem::take(events));
                }
                Ok(())
            }
        }
    }
}

fn write(lines: &[u8]) -> Result<()> {
    if lines.is_empty() {
        return Ok(());
    }
    let mut stdout = io::stdout().lock();
    match stdout.write_all(lines).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Err(Stopped.into()),
        written => written.context("cannot write to standard output"),
    }
}
