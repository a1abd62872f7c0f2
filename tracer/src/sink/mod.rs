//! Where events go: an encoding, and the thread that writes it.

pub mod text;
pub mod writer;

use std::io::IsTerminal;

use crate::{cli::Output, event::Event};
use text::Text;

/// How events are written.
#[derive(Clone, Copy, Debug)]
pub enum Format {
    /// One object a line.
    Json,
    /// For people.
    Text(Text),
}

impl Format {
    /// Text on a terminal unless told otherwise; colour only there, and not with NO_COLOR.
    /// `to_stdout`: not to a file.
    pub fn choose(output: Output, wide: bool, to_stdout: bool) -> Self {
        let terminal = to_stdout && std::io::stdout().is_terminal();
        if !output.is_text(terminal) {
            return Format::Json;
        }
        let no_color = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        Format::Text(Text {
            wide,
            colour: terminal && !no_color,
        })
    }

    /// Appends an event.
    pub fn write(self, event: &Event, out: &mut Vec<u8>) {
        match self {
            Format::Json => event.write_line(out),
            Format::Text(text) => text.write(event, out),
        }
    }
}
