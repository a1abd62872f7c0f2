//! When an event of a recording is shown.

use std::time::{Duration, Instant};

use anyhow::Result;

use super::stop::{Stop, Stopped};
use crate::{cli::Speed, event::time::Timestamp};

/// How long one sleep lasts at most: signals are looked at in between.
const NAP: Duration = Duration::from_millis(100);

pub struct Pace {
    speed: Speed,
    /// The first event's time, and when it was shown.
    began: Option<(Timestamp, Instant)>,
    stop: Stop,
}

impl Pace {
    pub fn new(speed: Speed, stop: Stop) -> Self {
        Pace {
            speed,
            began: None,
            stop,
        }
    }

    /// Waits until the event is due; `idle` is called first if that takes time.
    pub fn wait(&mut self, ts: Timestamp, idle: impl FnOnce() -> Result<()>) -> Result<()> {
        let Speed::Times(speed) = self.speed else {
            return Ok(());
        };
        let (first, shown) = *self.began.get_or_insert_with(|| (ts, Instant::now()));
        let since = Duration::from_nanos(ts.0.saturating_sub(first.0)) / speed;
        let left = || since.saturating_sub(shown.elapsed());
        if left().is_zero() {
            return Ok(());
        }
        idle()?;
        while !left().is_zero() {
            if self.stop.asked() {
                return Err(Stopped.into());
            }
            std::thread::sleep(left().min(NAP));
        }
        Ok(())
    }
}
