//! What ends a replay before its recordings do: signals, and a reader that goes away.

use std::{
    fmt, io,
    os::fd::AsFd,
    process,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
};

use anyhow::{Context, Result};
use nix::{
    errno::Errno,
    poll::{PollFd, PollFlags, PollTimeout, poll},
};
use tokio::signal::unix::{SignalKind, signal};

/// How long input is waited for before signals are looked at, milliseconds.
const NAP_MS: u16 = 200;

/// The replay was ended from outside: no failure.
#[derive(Debug)]
pub struct Stopped;

impl fmt::Display for Stopped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("stopped")
    }
}

impl std::error::Error for Stopped {}

/// Whether to stop.
#[derive(Clone, Default)]
pub struct Stop {
    told: Arc<AtomicBool>,
    /// The live view, if there is one, was quit.
    gone: Arc<AtomicBool>,
}

impl Stop {
    /// Set by SIGINT and SIGTERM. A second one ends the process at once: a reader that takes
    /// nothing must not keep it.
    pub fn on_signals() -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_io()
            .build()
            .context("cannot start the event loop")?;
        let (mut interrupt, mut terminate) = {
            let _guard = runtime.enter();
            let listen = |kind| signal(kind).context("cannot listen for signals");
            (
                listen(SignalKind::interrupt())?,
                listen(SignalKind::terminate())?,
            )
        };
        let stop = Stop::default();
        let asked = stop.clone();
        thread::Builder::new()
            .name("tracer-signals".into())
            .spawn(move || {
                runtime.block_on(async {
                    for _ in 0..2 {
                        tokio::select! {
                            _ = interrupt.recv() => (),
                            _ = terminate.recv() => (),
                        }
                        if asked.told.swap(true, Ordering::Relaxed) {
                            process::exit(0);
                        }
                    }
                });
            })
            .context("cannot start the signal thread")?;
        Ok(stop)
    }

    /// Stops also when this is set.
    pub fn or_when(self, gone: Arc<AtomicBool>) -> Self {
        Stop { gone, ..self }
    }

    pub fn asked(&self) -> bool {
        self.told.load(Ordering::Relaxed) || self.gone.load(Ordering::Relaxed)
    }

    /// Waits until the input has something, or has ended; `idle` is called meanwhile.
    pub fn wait_for(&self, input: &impl AsFd, idle: &mut impl FnMut() -> Result<()>) -> Result<()> {
        let stdout = io::stdout();
        loop {
            idle()?;
            let mut fds = [
                PollFd::new(input.as_fd(), PollFlags::POLLIN),
                PollFd::new(stdout.as_fd(), PollFlags::empty()),
            ];
            let ready = match poll(&mut fds, PollTimeout::from(NAP_MS)) {
                Ok(ready) => ready,
                Err(Errno::EINTR) => 0,
                Err(error) => return Err(error).context("cannot wait for input"),
            };
            let gone = fds[1]
                .revents()
                .is_some_and(|events| events.intersects(PollFlags::POLLERR | PollFlags::POLLHUP));
            if gone || self.asked() {
                return Err(Stopped.into());
            }
            if ready > 0 {
                return Ok(());
            }
        }
    }
}
