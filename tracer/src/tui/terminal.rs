//! The terminal: taken over, and given back on every way out, a panic in any thread included.

use std::{
    io::{self, Write},
    os::fd::AsFd,
    sync::{
        Once,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use anyhow::{Context, Result};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use ratatui::{
    Terminal,
    backend::CrosstermBackend,
    crossterm::{
        cursor::Show,
        event::{DisableMouseCapture, EnableMouseCapture},
        execute,
        terminal::{EnterAlternateScreen, LeaveAlternateScreen, disable_raw_mode, enable_raw_mode},
    },
};

use super::log;

/// Whether it is ours now.
static TAKEN: AtomicBool = AtomicBool::new(false);

pub type Screen = Terminal<CrosstermBackend<io::Stdout>>;

/// Gives the terminal back when it is dropped.
pub struct Taken(());

/// Takes the terminal over.
pub fn take() -> Result<(Taken, Screen)> {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let before = std::panic::take_hook();
        // First of all, so that the message can be read.
        std::panic::set_hook(Box::new(move |info| {
            give_back();
            before(info);
        }));
    });
    enable_raw_mode().context("cannot take over the terminal")?;
    TAKEN.store(true, Ordering::SeqCst);
    log::hold();
    let taken = Taken(());
    execute!(io::stdout(), EnterAlternateScreen, EnableMouseCapture)
        .context("cannot take over the terminal")?;
    let screen = Terminal::new(CrosstermBackend::new(io::stdout()))
        .context("cannot draw on the terminal")?;
    Ok((taken, screen))
}

/// Waits for a key, a resize being none. False when the terminal has hung up: crossterm would read
/// its end for ever.
pub fn wait_for_input(patience: Duration) -> bool {
    let stdout = io::stdout();
    let mut fds = [PollFd::new(stdout.as_fd(), PollFlags::POLLIN)];
    let patience = PollTimeout::try_from(patience).unwrap_or(PollTimeout::ZERO);
    // What interrupts it is looked at by the caller.
    let _ = poll(&mut fds, patience);
    let gone = PollFlags::POLLHUP | PollFlags::POLLERR | PollFlags::POLLNVAL;
    !fds[0].revents().is_some_and(|seen| seen.intersects(gone))
}

/// Whether it is still ours: a panic elsewhere gives it back.
pub fn is_taken() -> bool {
    TAKEN.load(Ordering::SeqCst)
}

impl Drop for Taken {
    fn drop(&mut self) {
        give_back();
    }
}

/// Once is enough.
pub fn give_back() {
    if !TAKEN.swap(false, Ordering::SeqCst) {
        return;
    }
    // A terminal that is gone cannot be given back.
    let _ = execute!(
        io::stdout(),
        DisableMouseCapture,
        LeaveAlternateScreen,
        Show
    );
    let _ = disable_raw_mode();
    let _ = io::stdout().flush();
    log::release();
}
