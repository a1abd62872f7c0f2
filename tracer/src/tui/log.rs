//! What tracer says on standard error, which would spoil the drawing: while the terminal is taken
//! it is held, shown there, and written to standard error afterwards.

use std::{
    collections::VecDeque,
    io::{self, Write},
    sync::{Mutex, MutexGuard, PoisonError},
};

/// Lines that are held at most; the oldest go first.
const LINES: usize = 200;

struct Held {
    holding: bool,
    lines: VecDeque<String>,
    /// Those of them that the view has not taken.
    fresh: usize,
}

static HELD: Mutex<Held> = Mutex::new(Held {
    holding: false,
    lines: VecDeque::new(),
    fresh: 0,
});

fn held() -> MutexGuard<'static, Held> {
    HELD.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Holds lines from now on.
pub fn hold() {
    held().holding = true;
}

/// Writes what was held.
pub fn release() {
    let mut held = held();
    held.holding = false;
    held.fresh = 0;
    for line in held.lines.drain(..) {
        // There is nowhere to say that it failed.
        let _ = writeln!(io::stderr(), "{line}");
    }
}

/// Lines that came since the last call.
pub fn fresh() -> Vec<String> {
    let mut held = held();
    let seen = held.lines.len() - held.fresh;
    held.fresh = 0;
    held.lines.iter().skip(seen).cloned().collect()
}

/// Standard error, or the view.
pub struct Stderr;

impl Write for Stderr {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut held = held();
        if !held.holding {
            return io::stderr().write(bytes);
        }
        for line in String::from_utf8_lossy(bytes).lines() {
            if held.lines.len() == LINES {
                held.lines.pop_front();
            }
            held.lines.push_back(line.to_owned());
            held.fresh = (held.fresh + 1).min(held.lines.len());
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}
