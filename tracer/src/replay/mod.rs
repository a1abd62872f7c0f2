//! `tracer replay`: recordings, merged by time, through the same filters and formats as a live run.

mod lines;
mod merge;
mod pace;
mod recording;
mod stop;

use std::io::{self, ErrorKind, Write};

use anyhow::{Context, Result, bail};

use crate::{cli::Replay, core::filter::Filter, sink::Format};
use merge::Merge;
use pace::Pace;
use stop::{Stop, Stopped};

/// Bytes that are written at once.
const CHUNK: usize = 256 << 10;

/// Shows recordings.
pub fn replay(settings: &Replay) -> Result<()> {
    let stop = Stop::on_signals()?;
    let mut merge = Merge::open(&settings.files, &stop)?;
    let mut out = Out {
        filter: settings.filter.clone(),
        format: Format::choose(settings.output, settings.wide, true),
        lines: Vec::with_capacity(2 * CHUNK),
    };
    let mut pace = Pace::new(settings.speed, stop);
    let shown = show(&mut merge, &mut pace, &mut out);
    // Also when it was stopped, what was seen is written.
    for result in [shown, out.flush()] {
        match result {
            Err(error) if !error.is::<Stopped>() => return Err(error),
            _ => (),
        }
    }
    if merge.tell_skipped() > 0 && merge.events() == 0 {
        bail!("no line is an event of this tracer; `tracer -o json` makes a recording");
    }
    Ok(())
}

fn show(merge: &mut Merge, pace: &mut Pace, out: &mut Out) -> Result<()> {
    while let Some(recording) = merge.next(|| out.flush())? {
        let Some((event, line)) = recording.current() else {
            continue;
        };
        pace.wait(event.head.ts, || out.flush())?;
        if out.filter.matches(event) {
            match out.format {
                // As it stands, with what this version does not know.
                Format::Json => {
                    out.lines.extend_from_slice(line);
                    out.lines.push(b'\n');
                }
                format => format.write(event, &mut out.lines),
            }
        }
        if out.lines.len() >= CHUNK {
            out.flush()?;
        }
    }
    Ok(())
}

/// Lines on their way to standard output.
struct Out {
    filter: Filter,
    format: Format,
    lines: Vec<u8>,
}

impl Out {
    /// Writes what there is. A reader that is gone ends the replay.
    fn flush(&mut self) -> Result<()> {
        if self.lines.is_empty() {
            return Ok(());
        }
        let mut stdout = io::stdout().lock();
        let written = stdout.write_all(&self.lines).and_then(|()| stdout.flush());
        self.lines.clear();
        match written {
            Err(error) if error.kind() == ErrorKind::BrokenPipe => Err(Stopped.into()),
            written => written.context("cannot write to standard output"),
        }
    }
}
