//! A panic in any thread ends the run: its message is on standard error, what was seen is written, and the exit status
//! is that of a failure. Without this, a thread that is gone would be missed by nobody.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::atomic::{AtomicBool, Ordering},
    thread,
};

use anyhow::{Result, anyhow};

static HAPPENED: AtomicBool = AtomicBool::new(false);

/// Held by a thread for as long as it runs.
pub struct Watched(());

pub fn watch() -> Watched {
    Watched(())
}

impl Drop for Watched {
    fn drop(&mut self) {
        if thread::panicking() {
            HAPPENED.store(true, Ordering::Relaxed);
        }
    }
}

/// Whether a watched thread has panicked.
pub fn happened() -> bool {
    HAPPENED.load(Ordering::Relaxed)
}

/// For the one whom the message of the panic has told all but what to do about it.
pub const WORDS: &str =
    "a part of tracer panicked: please report the message above and what `tracer doctor` says";

/// Makes a panic of this thread an error.
pub fn caught(body: impl FnOnce() -> Result<()>) -> Result<()> {
    // What it was working at is gone with it.
    catch_unwind(AssertUnwindSafe(body)).unwrap_or_else(|_| Err(anyhow!(WORDS)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_of_any_thread_is_noticed() {
        let calm = thread::spawn(|| drop(watch()));
        calm.join().expect("it is calm");
        assert!(!happened());
        assert!(caught(|| Ok(())).is_ok());
        assert!(caught(|| panic!("forced")).is_err());
        let panics = thread::spawn(|| {
            let _watched = watch();
            panic!("forced");
        });
        assert!(panics.join().is_err());
        assert!(happened());
    }
}
