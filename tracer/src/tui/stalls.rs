//! The peers that are silent now: from `tcp_stall` until they answer or their connection ends.

use std::collections::HashMap;

use super::history::Id;
use crate::event::{
    Body, Event, Stall,
    time::Timestamp,
    values::{ConnId, GivesUpBy},
};

/// Most that are kept; further ones are among the events only.
const MAX: usize = 10_000;

#[derive(Debug)]
pub struct Silent {
    /// Of its event in the history.
    pub id: Id,
    pub event: Event,
}

#[derive(Debug, Default)]
pub struct Stalls {
    silent: HashMap<ConnId, Silent>,
}

impl Stalls {
    /// Takes an event in that has this place in the history.
    pub fn take(&mut self, id: Id, event: &Event) {
        let Some(conn) = event.ids().and_then(|ids| ids.conn) else {
            return;
        };
        let begins = match &event.body {
            Body::Stall { stall, .. } => stall.ended.is_none(),
            Body::End { .. } => false,
            _ => return,
        };
        if !begins {
            self.silent.remove(&conn);
        } else if self.silent.len() < MAX {
            let event = event.clone();
            self.silent.insert(conn, Silent { id, event });
        }
    }

    pub fn count(&self) -> usize {
        self.silent.len()
    }

    pub fn iter(&self) -> impl Iterator<Item = &Silent> {
        self.silent.values()
    }
}

impl Silent {
    fn stall(&self) -> Option<&Stall> {
        match &self.event.body {
            Body::Stall { stall, .. } => Some(stall),
            _ => None,
        }
    }

    fn since_event_ms(&self, now: Timestamp) -> u64 {
        now.0.saturating_sub(self.event.head.ts.0) / 1_000_000
    }

    /// For how long the peer has been silent.
    pub fn for_ms(&self, now: Timestamp) -> u64 {
        self.stall().map_or(0, |stall| stall.stalled_ms) + self.since_event_ms(now)
    }

    /// Until the kernel gives it up, and by which setting.
    pub fn gives_up(&self, now: Timestamp) -> Option<(u64, GivesUpBy)> {
        let stall = self.stall()?;
        let in_ms = stall.gives_up_in_ms?;
        Some((
            in_ms.saturating_sub(self.since_event_ms(now)),
            stall.gives_up_by?,
        ))
    }

    /// Written and not acknowledged, or never sent.
    pub fn waiting_bytes(&self) -> u64 {
        self.stall().map_or(0, |stall| {
            stall.tx_unacked_bytes.unwrap_or(0) + stall.tx_unsent_bytes.unwrap_or(0)
        })
    }

    /// What the peer had not answered when it was told of.
    pub fn asked(&self) -> u32 {
        self.stall()
            .map_or(0, |stall| stall.retrans_in_row.max(stall.probes_in_row))
    }
}
