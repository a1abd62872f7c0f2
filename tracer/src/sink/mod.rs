//! Where events go: an encoding, and the thread that writes it.

pub mod text;
pub mod writer;

use crate::event::Event;

/// How events are written.
#[derive(Clone, Debug)]
pub enum Format {
    Json,
}

impl Format {
    /// Appends an event.
    pub fn write(&mut self, event: &Event, out: &mut Vec<u8>) {
        match self {
            Format::Json => event.write_line(out),
        }
    }
}
