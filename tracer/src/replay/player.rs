//! When an event of a recording is shown: at a pace, held, or at once on the way to a moment.

use std::{
    sync::mpsc::{Receiver, RecvTimeoutError},
    time::{Duration, Instant},
};

use anyhow::Result;

use super::stop::{Stop, Stopped};
use crate::{
    cli::Speed,
    event::time::Timestamp,
    tui::playback::{Ask, Place},
};

/// How long one sleep lasts at most: signals are looked at in between.
const NAP: Duration = Duration::from_millis(50);

const SPEEDS: [Speed; 3] = [Speed::Times(1), Speed::Times(10), Speed::Max];

/// What is to be done with an event.
#[derive(Debug, PartialEq, Eq)]
pub enum Turn {
    Show,
    /// The recordings are to be read again from their beginning.
    Again,
}

pub struct Player {
    stop: Stop,
    /// From the live view.
    asks: Option<Receiver<Ask>>,
    /// All recordings can be read again.
    rewinds: bool,
    speed: Speed,
    held: bool,
    /// Time of the first event.
    first: Option<Timestamp>,
    /// Where the recording was at a time of the clock.
    at: Timestamp,
    since: Instant,
    /// Events up to here are shown at once.
    goal: Option<Timestamp>,
    /// The goal is behind.
    again: bool,
    /// There is no more event.
    ended: bool,
    /// What could not be done.
    refused: Option<&'static str>,
}

impl Player {
    pub fn new(speed: Speed, stop: Stop, asks: Option<Receiver<Ask>>, rewinds: bool) -> Self {
        Player {
            stop,
            asks,
            rewinds,
            speed,
            held: false,
            first: None,
            at: Timestamp(0),
            since: Instant::now(),
            goal: None,
            again: false,
            ended: false,
            refused: None,
        }
    }

    /// Waits until the event is due; `idle` is called while that takes time.
    pub fn wait(
        &mut self,
        ts: Timestamp,
        mut idle: impl FnMut(&mut Self) -> Result<()>,
    ) -> Result<Turn> {
        if self.first.is_none() {
            self.first = Some(ts);
            self.stand_at(ts);
        }
        loop {
            self.listen();
            if self.again {
                return Ok(Turn::Again);
            }
            if self.is_due(ts) {
                return Ok(Turn::Show);
            }
            if self.stop.asked() {
                return Err(Stopped.into());
            }
            idle(self)?;
            self.nap(ts);
        }
    }

    fn is_due(&mut self, ts: Timestamp) -> bool {
        if let Some(goal) = self.goal {
            if ts <= goal {
                self.at = self.at.max(ts);
                return true;
            }
            self.goal = None;
            self.stand_at(goal);
        }
        if self.held {
            return false;
        }
        if self.speed == Speed::Max {
            self.at = self.at.max(ts);
        }
        self.now() >= ts
    }

    /// Until the event may be due, or something is asked.
    fn nap(&mut self, ts: Timestamp) {
        let left = match self.speed {
            Speed::Times(speed) if !self.held => {
                Duration::from_nanos(ts.0.saturating_sub(self.now().0)) / speed
            }
            _ => NAP,
        };
        self.listen_for(left.min(NAP));
    }

    /// Does what is asked, without waiting.
    pub fn listen(&mut self) {
        while let Some(ask) = self.asks.as_ref().and_then(|asks| asks.try_recv().ok()) {
            self.take(ask);
        }
    }

    /// The same, waiting for the first.
    fn listen_for(&mut self, patience: Duration) {
        let ask = match &self.asks {
            Some(asks) => asks.recv_timeout(patience),
            None => Err(RecvTimeoutError::Disconnected),
        };
        match ask {
            Ok(ask) => self.take(ask),
            Err(RecvTimeoutError::Timeout) => (),
            Err(RecvTimeoutError::Disconnected) => std::thread::sleep(patience),
        }
    }

    /// At the end of the recordings: false when they are to be shown again, true after a while.
    pub fn rests(&mut self) -> bool {
        self.listen_for(NAP);
        self.listen();
        if !self.again {
            self.goal = None;
        }
        !self.again
    }

    fn take(&mut self, ask: Ask) {
        self.stand_at(self.now());
        let here = SPEEDS.iter().position(|speed| *speed == self.speed);
        let here = here.unwrap_or_default();
        match ask {
            Ask::Hold => self.held = !self.held,
            Ask::Faster => self.speed = SPEEDS[(here + 1).min(SPEEDS.len() - 1)],
            Ask::Slower => self.speed = SPEEDS[here.saturating_sub(1)],
            Ask::Go(goal) => {
                let Some(first) = self.first else { return };
                // From where it is going, unless that is the end.
                let from = self.goal.filter(|goal| goal.0 < u64::MAX);
                let to = goal.resolve(first, from.unwrap_or(self.at));
                if to >= self.at {
                    self.goal = Some(to);
                } else if self.rewinds {
                    self.goal = Some(to);
                    self.again = true;
                } else {
                    self.refused = Some("a pipe cannot be read again: only forward");
                }
            }
        }
    }

    /// The recordings begin again.
    pub fn restart(&mut self) {
        self.again = false;
        self.ended = false;
        self.stand_at(self.first.unwrap_or(self.at));
    }

    /// The recordings are over: time stands still at the last event.
    pub fn end(&mut self, last: Timestamp) {
        self.goal = None;
        self.ended = true;
        self.stand_at(self.at.max(last));
    }

    /// Whether what comes after the end is to be shown.
    pub fn follows(&self) -> bool {
        !self.held
    }

    /// A recording has grown: it is shown as it grows.
    pub fn follow(&mut self) {
        self.ended = false;
        self.goal = Some(Timestamp(u64::MAX));
    }

    fn stand_at(&mut self, at: Timestamp) {
        self.at = at;
        self.since = Instant::now();
    }

    fn now(&self) -> Timestamp {
        match self.speed {
            Speed::Times(speed) if !self.held && !self.ended && self.goal.is_none() => {
                let passed = self.since.elapsed().as_nanos() as u64;
                Timestamp(self.at.0.saturating_add(passed * u64::from(speed)))
            }
            _ => self.at,
        }
    }

    /// Where it is; nowhere before the first event.
    pub fn place(&self, percent: Option<u8>) -> Option<Place> {
        self.first.map(|_| Place {
            at: self.now(),
            percent,
            speed: self.speed,
            held: self.held,
        })
    }

    /// What could not be done, once.
    pub fn take_refusal(&mut self) -> Option<&'static str> {
        self.refused.take()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;

    use super::*;
    use crate::tui::playback::Goal;

    const S: u64 = 1_000_000_000;

    fn turn(player: &mut Player, ts: u64) -> Result<Turn> {
        // What would wait stops.
        player.wait(Timestamp(ts), |_| Err(Stopped.into()))
    }

    #[test]
    fn it_goes_on_holds_and_goes_back() {
        let (asks, inbox) = channel();
        let ask = |ask| asks.send(ask).expect("a player");
        let stop = Stop::default();
        let mut player = Player::new(Speed::Times(1), stop, Some(inbox), true);
        assert_eq!(turn(&mut player, 100 * S).ok(), Some(Turn::Show));
        assert!(turn(&mut player, 160 * S).is_err(), "not yet");
        ask(Ask::Go(Goal::By { ms: 30_000 }));
        ask(Ask::Go(Goal::By { ms: 40_000 }));
        assert_eq!(
            turn(&mut player, 160 * S).ok(),
            Some(Turn::Show),
            "they add up"
        );
        assert!(turn(&mut player, 180 * S).is_err());
        ask(Ask::Hold);
        ask(Ask::Faster);
        ask(Ask::Faster);
        ask(Ask::Faster);
        assert!(turn(&mut player, 180 * S).is_err(), "held at any speed");
        let speed = player.place(None).map(|place| place.speed);
        assert_eq!(speed, Some(Speed::Max));
        ask(Ask::Hold);
        assert_eq!(turn(&mut player, 180 * S).ok(), Some(Turn::Show));
        ask(Ask::Slower);
        ask(Ask::Slower);
        ask(Ask::Go(Goal::After { ms: 5_000 }));
        assert_eq!(turn(&mut player, 300 * S).ok(), Some(Turn::Again));
        player.restart();
        assert_eq!(turn(&mut player, 100 * S).ok(), Some(Turn::Show));
        assert!(turn(&mut player, 160 * S).is_err());
        let at = player.place(None).expect("a place").at.0;
        assert!((105 * S..106 * S).contains(&at), "{at}");
        ask(Ask::Go(Goal::End));
        assert_eq!(turn(&mut player, 9_000 * S).ok(), Some(Turn::Show));
    }

    #[test]
    fn what_cannot_be_read_again_is_refused() {
        let (asks, inbox) = channel();
        let mut player = Player::new(Speed::Max, Stop::default(), Some(inbox), false);
        assert_eq!(turn(&mut player, 100 * S).ok(), Some(Turn::Show));
        assert_eq!(turn(&mut player, 200 * S).ok(), Some(Turn::Show));
        asks.send(Ask::Go(Goal::Start)).expect("a player");
        assert_eq!(turn(&mut player, 300 * S).ok(), Some(Turn::Show));
        assert!(
            player
                .take_refusal()
                .is_some_and(|why| why.contains("pipe"))
        );
        assert!(player.take_refusal().is_none());
    }
}
