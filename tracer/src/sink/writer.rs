//! The only place that writes output: a thread of its own, so that a slow reader never keeps the
//! ring buffer from being read. What waits for it is bounded; what does not fit is the caller's to
//! count.

use std::{
    fs::{File, OpenOptions},
    io::{self, Write},
    os::{fd::AsFd, unix::fs::OpenOptionsExt},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
        mpsc::{Receiver, RecvTimeoutError, Sender, channel},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use anyhow::{Context, Result};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::Room;
use crate::kernel::privilege;

/// Bytes that may wait for a slow reader.
pub const BACKLOG_BYTES: usize = 64 << 20;

/// Not world-readable: the lines name processes and peers.
const FILE_MODE: u32 = 0o640;

enum Message {
    Lines(Vec<u8>),
    Reopen,
    Finish,
}

#[derive(Default)]
struct Shared {
    queued_bytes: AtomicUsize,
    reader_gone: AtomicBool,
    /// Whole lines that could not be written (a full disk).
    failed_lines: AtomicU64,
}

/// Handle to the writer thread.
pub struct Writer {
    messages: Sender<Message>,
    done: Receiver<()>,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
    stdout: bool,
}

impl Writer {
    /// Writes to standard output.
    pub fn stdout() -> Result<Self> {
        let stdout = io::stdout().as_fd().try_clone_to_owned();
        let file = File::from(stdout.context("cannot use standard output")?);
        Self::start(file, None)
    }

    /// Appends to a file, made with mode 0640 if it is not there.
    pub fn file(path: &Path) -> Result<Self> {
        Self::start(open(path)?, Some(path.to_owned()))
    }

    fn start(file: File, path: Option<PathBuf>) -> Result<Self> {
        let (messages, inbox) = channel();
        let (finished, done) = channel();
        let shared = Arc::new(Shared::default());
        let stdout = path.is_none();
        let output = Output {
            file,
            path,
            shared: shared.clone(),
        };
        let thread = thread::Builder::new()
            .name("tracer-output".into())
            .spawn(move || {
                privilege::give_up();
                output.serve(&inbox);
                // The receiver may have stopped waiting.
                let _ = finished.send(());
            })
            .context("cannot start the output thread")?;
        Ok(Writer {
            messages,
            done,
            shared,
            thread: Some(thread),
            stdout,
        })
    }

    /// What fits after `more` bytes that are not queued yet.
    pub fn room(&self, more: usize) -> Room {
        Room::of(self.queued_bytes() + more, BACKLOG_BYTES)
    }

    /// Bytes that are not written yet.
    pub fn queued_bytes(&self) -> usize {
        self.shared.queued_bytes.load(Ordering::Relaxed)
    }

    /// Queues whole lines.
    pub fn send(&self, lines: Vec<u8>) {
        self.shared
            .queued_bytes
            .fetch_add(lines.len(), Ordering::Relaxed);
        // A thread that is gone has seen its reader go.
        let _ = self.messages.send(Message::Lines(lines));
    }

    /// Opens the file anew (SIGHUP, after logrotate has renamed it).
    pub fn reopen(&self) {
        let _ = self.messages.send(Message::Reopen);
    }

    /// Whether nobody reads standard output any more. Notices without writing.
    pub fn reader_gone(&self) -> bool {
        self.shared.reader_gone.load(Ordering::Relaxed) || (self.stdout && stdout_hung_up())
    }

    /// Lines lost to failed writes since the last call.
    pub fn take_failed_lines(&self) -> u64 {
        self.shared.failed_lines.swap(0, Ordering::Relaxed)
    }

    /// Writes what is queued, for at most `limit`. Returns whether all of it went out.
    pub fn finish(mut self, limit: Duration) -> bool {
        let _ = self.messages.send(Message::Finish);
        let finished = match self.done.recv_timeout(limit) {
            Ok(()) | Err(RecvTimeoutError::Disconnected) => true,
            Err(RecvTimeoutError::Timeout) => false,
        };
        if finished && let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
        finished && self.queued_bytes() == 0
    }
}

fn stdout_hung_up() -> bool {
    let stdout = io::stdout();
    let mut fds = [PollFd::new(stdout.as_fd(), PollFlags::empty())];
    match poll(&mut fds, PollTimeout::ZERO) {
        Ok(n) if n > 0 => fds[0]
            .revents()
            .is_some_and(|events| events.intersects(PollFlags::POLLERR | PollFlags::POLLHUP)),
        _ => false,
    }
}

fn open(path: &Path) -> Result<File> {
    OpenOptions::new()
        .append(true)
        .create(true)
        .mode(FILE_MODE)
        .open(path)
        .with_context(|| format!("cannot open the output file {}", path.display()))
}

struct Output {
    file: File,
    path: Option<PathBuf>,
    shared: Arc<Shared>,
}

impl Output {
    fn serve(mut self, inbox: &Receiver<Message>) {
        while let Ok(message) = inbox.recv() {
            match message {
                Message::Lines(lines) => {
                    if !self.write(&lines) {
                        return;
                    }
                    self.shared
                        .queued_bytes
                        .fetch_sub(lines.len(), Ordering::Relaxed);
                }
                Message::Reopen => self.reopen(),
                Message::Finish => return,
            }
        }
    }

    fn reopen(&mut self) {
        let Some(path) = &self.path else { return };
        match open(path) {
            Ok(file) => self.file = file,
            // The old file is still better than none.
            Err(error) => tracing::error!("{error:#}; going on with the old file"),
        }
    }

    /// False when the reader is gone.
    fn write(&mut self, lines: &[u8]) -> bool {
        let mut written = 0;
        while written < lines.len() {
            match self.file.write(&lines[written..]) {
                Ok(0) => return self.give_up(lines, written, "it takes no more bytes"),
                Ok(n) => written += n,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => (),
                Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {
                    self.shared.reader_gone.store(true, Ordering::Relaxed);
                    return false;
                }
                Err(error) => return self.give_up(lines, written, &error.to_string()),
            }
        }
        true
    }

    /// A full disk: what is whole stays, half a line is taken back, the rest is counted.
    fn give_up(&mut self, lines: &[u8], written: usize, why: &str) -> bool {
        let whole = lines[..written]
            .iter()
            .rposition(|byte| *byte == b'\n')
            .map_or(0, |at| at + 1);
        if self.path.is_some()
            && whole < written
            && let Ok(metadata) = self.file.metadata()
        {
            let half = (written - whole) as u64;
            let _ = self.file.set_len(metadata.len().saturating_sub(half));
        }
        let lost = lines[whole..].iter().filter(|byte| **byte == b'\n').count() as u64;
        self.shared.failed_lines.fetch_add(lost, Ordering::Relaxed);
        tracing::error!("cannot write {lost} lines of output: {why}");
        true
    }
}
