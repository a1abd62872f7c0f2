//! What tracer says of itself, on standard error: standard output carries data only.

use std::{
    env,
    fmt::Display,
    fs::File,
    io::{self, IsTerminal, Write},
    os::{fd::AsFd, unix::fs::MetadataExt},
};

use tracing::{Level, Metadata};
use tracing_subscriber::fmt::MakeWriter;

use crate::{
    cli::{Log, LogFormat},
    tui,
};

/// From here on warnings and more are written.
pub fn start(log: &Log) {
    let level = match log.verbosity {
        0 => Level::WARN,
        1 => Level::INFO,
        2 => Level::DEBUG,
        _ => Level::TRACE,
    };
    let journal = is_journal();
    let builder = tracing_subscriber::fmt()
        .with_max_level(level)
        .with_target(false)
        .with_ansi(io::stderr().is_terminal())
        // It would say so on standard error, and panic when that cannot be written.
        .log_internal_errors(false)
        .with_writer(Writers { journal });
    match log.format {
        // The journal keeps time and level by itself.
        LogFormat::Text => builder.without_time().with_level(!journal).init(),
        LogFormat::Json => builder.json().init(),
    }
}

/// Why tracer ends without having done what it was asked for.
pub fn failure(why: impl Display) {
    let text = format!("{why}\n");
    let mut writer = Writer {
        level: Level::ERROR,
        journal: is_journal(),
    };
    // There is nowhere to say that it failed.
    let _ = writer.write_all(text.as_bytes());
}

/// Whether systemd has connected standard error to the journal.
fn is_journal() -> bool {
    let Some(stream) = env::var_os("JOURNAL_STREAM") else {
        return false;
    };
    let stderr = io::stderr().as_fd().try_clone_to_owned();
    let file = stderr.and_then(|stderr| File::from(stderr).metadata());
    // Not so when standard error was turned elsewhere since: a child inherits the variable.
    file.is_ok_and(|file| stream.to_str() == Some(&format!("{}:{}", file.dev(), file.ino())))
}

struct Writers {
    journal: bool,
}

impl<'a> MakeWriter<'a> for Writers {
    type Writer = Writer;

    fn make_writer(&'a self) -> Writer {
        Writer {
            level: Level::INFO,
            journal: self.journal,
        }
    }

    fn make_writer_for(&'a self, what: &Metadata<'_>) -> Writer {
        Writer {
            level: *what.level(),
            ..self.make_writer()
        }
    }
}

struct Writer {
    level: Level,
    journal: bool,
}

impl Write for Writer {
    /// Takes whole lines.
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if !self.journal {
            return tui::log::Stderr.write(bytes);
        }
        let lines = with_priority(self.level, bytes);
        io::stderr().write_all(&lines)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        tui::log::Stderr.flush()
    }
}

/// Each line with the prefix by which the journal knows its priority (sd-daemon(3)).
fn with_priority(level: Level, lines: &[u8]) -> Vec<u8> {
    let prefix: &[u8] = match level {
        Level::ERROR => b"<3>",
        Level::WARN => b"<4>",
        Level::INFO => b"<6>",
        Level::DEBUG | Level::TRACE => b"<7>",
    };
    lines
        .split_inclusive(|byte| *byte == b'\n')
        .flat_map(|line| [prefix, line].concat())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_has_its_priority() {
        assert_eq!(with_priority(Level::WARN, b"a\nb\n"), b"<4>a\n<4>b\n");
        assert_eq!(with_priority(Level::ERROR, b"a"), b"<3>a");
        assert_eq!(with_priority(Level::TRACE, b""), b"");
    }
}
