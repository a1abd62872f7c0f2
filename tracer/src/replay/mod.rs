//! `tracer replay`: recordings, merged by time, through the same filters and formats as a live run.

mod lines;
mod merge;
mod out;
mod player;
mod recording;
mod stop;

use std::sync::mpsc::channel;

use anyhow::{Result, bail};

use crate::{
    cli::{Replay, Speed},
    core::filter::Filter,
    event::time::Timestamp,
    sink::{Shape, view_options},
    tui::{model::Source, session},
};
use merge::Merge;
use out::Out;
use player::{Player, Turn};
use stop::{Stop, Stopped};

/// Shows recordings.
pub fn replay(settings: &Replay, shape: Shape) -> Result<()> {
    let mut stop = Stop::on_signals()?;
    // Before the view: what cannot be opened is said on a terminal as it was.
    let is_view = matches!(shape, Shape::View);
    let mut merge = Merge::open(&settings.files, is_view)?;
    let rewinds = merge.percent().is_some();
    let (out, speed, asks) = match shape {
        Shape::Lines(format) => (Out::lines(format), Speed::Max, None),
        Shape::View => {
            let files = settings.files.iter();
            let files = files.map(|file| file.display().to_string()).collect();
            let options = view_options(&settings.view, &settings.timeouts, Source::Replay(files));
            let (asks, inbox) = channel();
            let feed = session::open(options, &settings.filter, move |ask| {
                // A replay that is over listens no more.
                let _ = asks.send(ask);
            })?;
            stop = stop.or_when(feed.gone());
            (Out::View(feed, Vec::new()), Speed::Times(1), Some(inbox))
        }
    };
    let speed = settings.speed.unwrap_or(speed);
    let mut show = Show {
        player: Player::new(speed, stop.clone(), asks, rewinds),
        filter: &settings.filter,
        stop: &stop,
        out,
    };
    // Also when it was stopped, what was seen is written.
    for result in [show.all(&mut merge), show.out.flush()] {
        match result {
            Err(error) if !error.is::<Stopped>() => return Err(error),
            _ => (),
        }
    }
    if let Out::View(feed, _) = show.out {
        feed.close()?;
    }
    if merge.tell_skipped() > 0 && merge.events() == 0 {
        bail!("no line is an event of this tracer; `tracer -o json` makes a recording");
    }
    Ok(())
}

struct Show<'a> {
    player: Player,
    filter: &'a Filter,
    stop: &'a Stop,
    out: Out,
}

impl Show<'_> {
    /// From the beginning to the end; in the view, until that is quit.
    fn all(&mut self, merge: &mut Merge) -> Result<()> {
        loop {
            if self.once(merge)? == Turn::Show {
                self.tell(merge)?;
                let Out::View(..) = self.out else {
                    return Ok(());
                };
                self.out.ended();
                if self.rest(merge)? == Turn::Show {
                    continue;
                }
            }
            merge.rewind()?;
            self.player.restart();
            self.out.restart();
        }
    }

    /// At the end, until more has been written or it is to begin again.
    fn rest(&mut self, merge: &mut Merge) -> Result<Turn> {
        while self.player.rests() {
            if self.stop.asked() {
                return Err(Stopped.into());
            }
            if self.player.follows() && merge.goes_on() {
                self.player.follow();
                self.out.goes_on();
                return Ok(Turn::Show);
            }
            self.tell(merge)?;
        }
        Ok(Turn::Again)
    }

    /// To the end, or until it is to begin again.
    fn once(&mut self, merge: &mut Merge) -> Result<Turn> {
        let (player, out) = (&mut self.player, &mut self.out);
        let mut last = Timestamp(0);
        loop {
            let percent = merge.percent();
            let mut idle = |player: &mut Player| {
                player.listen();
                let refused = player.take_refusal();
                out.tell(player.place(percent), refused)
            };
            let next = merge.next(self.stop, || idle(player))?;
            let Some((event, line)) = next.and_then(|recording| recording.current()) else {
                player.end(last);
                return Ok(Turn::Show);
            };
            if player.wait(event.head.ts, idle)? == Turn::Again {
                return Ok(Turn::Again);
            }
            last = last.max(event.head.ts);
            if self.filter.matches(event) {
                out.take(event, line)?;
            }
        }
    }

    fn tell(&mut self, merge: &Merge) -> Result<()> {
        let refused = self.player.take_refusal();
        let place = self.player.place(merge.percent());
        self.out.tell(place, refused)
    }
}
