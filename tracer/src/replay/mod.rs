//! `tracer replay`: recordings, merged by time, through the same filters and formats as a live run.

mod lines;
mod merge;
mod out;
mod pace;
mod recording;
mod stop;

use std::{thread::sleep, time::Duration};

use anyhow::{Result, bail};

use crate::{
    cli::{Replay, Speed},
    core::filter::Filter,
    sink::{Shape, view_options},
    tui::{model::Source, session},
};
use merge::Merge;
use out::Out;
use pace::Pace;
use stop::{Stop, Stopped};

/// How often it is looked whether the view was quit.
const NAP: Duration = Duration::from_millis(50);

/// Shows recordings.
pub fn replay(settings: &Replay, shape: Shape) -> Result<()> {
    let mut stop = Stop::on_signals()?;
    // Before the view: what cannot be opened is said on a terminal as it was.
    let mut merge = Merge::open(&settings.files)?;
    let (mut out, speed) = match shape {
        Shape::Lines(format) => (Out::lines(format), Speed::Max),
        Shape::View => {
            let files = settings.files.iter();
            let files = files.map(|file| file.display().to_string()).collect();
            let options = view_options(settings.history, Source::Replay(files));
            let feed = session::open(options, &settings.filter)?;
            stop = stop.or_when(feed.gone());
            (Out::View(feed, Vec::new()), Speed::Times(1))
        }
    };
    let mut pace = Pace::new(settings.speed.unwrap_or(speed), stop.clone());
    let shown = show(&mut merge, &stop, &mut pace, &settings.filter, &mut out);
    // Also when it was stopped, what was seen is written.
    for result in [shown, out.flush()] {
        match result {
            Err(error) if !error.is::<Stopped>() => return Err(error),
            _ => (),
        }
    }
    let skipped = merge.tell_skipped();
    if let Out::View(feed, _) = out {
        feed.ended("the recording is over");
        while !stop.asked() {
            sleep(NAP);
        }
        feed.close()?;
    }
    if skipped > 0 && merge.events() == 0 {
        bail!("no line is an event of this tracer; `tracer -o json` makes a recording");
    }
    Ok(())
}

fn show(
    merge: &mut Merge,
    stop: &Stop,
    pace: &mut Pace,
    filter: &Filter,
    out: &mut Out,
) -> Result<()> {
    while let Some(recording) = merge.next(stop, || out.flush())? {
        let Some((event, line)) = recording.current() else {
            continue;
        };
        pace.wait(event.head.ts, || out.flush())?;
        if filter.matches(event) {
            out.take(event, line)?;
        }
    }
    Ok(())
}
