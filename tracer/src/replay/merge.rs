//! Several recordings as one, by time: those of several nodes, say. Within one the order stays.

use std::path::PathBuf;

use anyhow::Result;

use super::{recording::Recording, stop::Stop};

pub struct Merge {
    recordings: Vec<Recording>,
    /// Those that have to go on: all at the start, then the one whose event was given last.
    due: Vec<usize>,
}

impl Merge {
    /// `grow`: files may be gone on with at their end.
    pub fn open(files: &[PathBuf], grow: bool) -> Result<Self> {
        let recordings = files
            .iter()
            .map(|file| Recording::open(file, grow))
            .collect::<Result<Vec<_>>>()?;
        Ok(Merge {
            due: (0..recordings.len()).collect(),
            recordings,
        })
    }

    /// Begins again.
    pub fn rewind(&mut self) -> Result<()> {
        self.due = (0..self.recordings.len()).collect();
        self.recordings.iter_mut().try_for_each(Recording::rewind)
    }

    /// Whether more was written to files since all was over; if so they go on.
    pub fn goes_on(&mut self) -> bool {
        let all = self.recordings.iter_mut().enumerate();
        let grown = all.filter_map(|(index, recording)| recording.goes_on().then_some(index));
        self.due = grown.collect();
        !self.due.is_empty()
    }

    /// How much was taken; `None`: that is not known, and it cannot begin again.
    pub fn percent(&self) -> Option<u8> {
        let mut all = (0, 0);
        for recording in &self.recordings {
            let (taken, size) = recording.progress_bytes()?;
            all = (all.0 + taken, all.1 + size);
        }
        Some((all.0 * 100).checked_div(all.1).unwrap_or(100) as u8)
    }

    /// The recording that stands at the earliest event. `idle` is called before more is read, which
    /// can take long when a recording grows.
    pub fn next(
        &mut self,
        stop: &Stop,
        mut idle: impl FnMut() -> Result<()>,
    ) -> Result<Option<&Recording>> {
        while let Some(index) = self.due.last() {
            self.recordings[*index].advance(stop, &mut idle)?;
            self.due.pop();
        }
        let earliest = (0..self.recordings.len())
            .filter_map(|index| {
                let (event, _) = self.recordings[index].current()?;
                Some((event.head.ts, index))
            })
            .min();
        Ok(earliest.map(|(_, index)| {
            self.due.push(index);
            &self.recordings[index]
        }))
    }

    /// Events so far.
    pub fn events(&self) -> u64 {
        self.recordings
            .iter()
            .map(|recording| recording.events)
            .sum()
    }

    /// Says how many lines were no events, and returns it.
    pub fn tell_skipped(&mut self) -> u64 {
        let all = self.recordings.iter_mut();
        all.for_each(Recording::tell_skipped);
        self.recordings
            .iter()
            .map(|recording| recording.skipped)
            .sum()
    }
}
