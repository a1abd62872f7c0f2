//! The only place that writes output: a thread of its own, so that a slow reader never keeps the
//! ring buffer from being read. What waits for it is bounded; what does not fit is the caller's to
//! count.

use std::{
    fs::File,
    io::{self, Seek, SeekFrom, Write},
    mem,
    os::fd::AsFd,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
        mpsc::{Receiver, Sender, channel},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::{
    Room, file,
    lines::{Lines, Unwritten},
};
use crate::{
    kernel::{pipe, privilege},
    panics,
};

/// Bytes that may wait for a slow reader.
pub const BACKLOG_BYTES: usize = 64 << 20;

/// What is given to the output at once. To a pipe it is what that takes whole or not at all, so that its reader sees no
/// half line, however we end.
const PIECE_BYTES: usize = 256 << 10;

/// A reader that shares its end with us may have it not wait; then we do.
const WAIT_MS: u8 = 100;

/// How often a failing output is spoken of.
const SPEAK_AGAIN: Duration = Duration::from_secs(60);

/// A failing output works again when nothing has failed for so long.
const CALM: Duration = Duration::from_secs(2);

enum Message {
    Lines(Lines),
    Reopen,
    Finish,
}

#[derive(Default)]
struct Shared {
    queued_bytes: AtomicUsize,
    reader_gone: AtomicBool,
    /// What waits is not to be written any more.
    hurry: AtomicBool,
    /// What could not be written (a full disk).
    unwritten: Mutex<Unwritten>,
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
        Self::start(file::open(path)?, Some(path.to_owned()))
    }

    fn start(file: File, path: Option<PathBuf>) -> Result<Self> {
        let (messages, inbox) = channel();
        let (finished, done) = channel();
        let shared = Arc::new(Shared::default());
        let stdout = path.is_none();
        let output = Output {
            is_file: is_file(&file),
            pipe_bytes: pipe::capacity_bytes(&file),
            file,
            path,
            shared: shared.clone(),
            failing: Failing::default(),
        };
        let thread = thread::Builder::new()
            .name("tracer-output".into())
            .spawn(move || {
                let _watched = panics::watch();
                match stdout {
                    true => privilege::give_up(),
                    false => privilege::give_up_but_files(),
                }
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
    pub fn send(&self, lines: Lines) {
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

    /// What could not be written since the last call.
    pub fn take_unwritten(&self) -> Unwritten {
        mem::take(&mut *self.shared.unwritten())
    }

    /// Whether there is something to write, and somebody who does.
    pub fn is_busy(&self) -> bool {
        let writes = |thread: &JoinHandle<()>| !thread.is_finished();
        self.queued_bytes() > 0 && self.thread.as_ref().is_some_and(writes)
    }

    /// Whether what waits is not written any more, but counted as that.
    pub fn hurry(&self, hurry: bool) {
        self.shared.hurry.store(hurry, Ordering::Relaxed);
    }

    /// Writes what is queued, for at most `limit`.
    pub fn finish(mut self, limit: Duration) {
        self.end(limit);
    }

    fn end(&mut self, limit: Duration) {
        let Some(thread) = self.thread.take() else {
            return;
        };
        // It may have ended by itself.
        let _ = self.messages.send(Message::Finish);
        if self.done.recv_timeout(limit).is_ok() {
            let _ = thread.join();
        }
    }
}

/// After a panic what is queued is still worth something.
impl Drop for Writer {
    fn drop(&mut self) {
        self.end(super::LAST_LINES);
    }
}

impl Shared {
    fn unwritten(&self) -> std::sync::MutexGuard<'_, Unwritten> {
        self.unwritten
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
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

fn is_file(file: &File) -> bool {
    file.metadata().is_ok_and(|metadata| metadata.is_file())
}

struct Output {
    file: File,
    /// And neither a pipe nor a device.
    is_file: bool,
    /// What a pipe holds.
    pipe_bytes: Option<usize>,
    path: Option<PathBuf>,
    shared: Arc<Shared>,
    failing: Failing,
}

/// Why a piece did not go out, and how much of it did.
struct Stopped {
    written: usize,
    why: Why,
}

enum Why {
    ReaderGone,
    Hurry,
    Failed(io::Error),
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
        match file::reopen(path, &self.file) {
            Ok(None) => (),
            Ok(Some(file)) => {
                self.is_file = is_file(&file);
                self.pipe_bytes = pipe::capacity_bytes(&file);
                self.file = file;
            }
            // The old file is still better than none.
            Err(error) => tracing::error!("{error:#}; going on with the old file"),
        }
    }

    /// False when the reader is gone.
    fn write(&mut self, lines: &Lines) -> bool {
        let mut start = 0;
        while let Some(end) = lines.piece(start, self.piece_bytes()) {
            let stopped = match self.write_piece(&lines.bytes()[start..end]) {
                Ok(()) => {
                    start = end;
                    continue;
                }
                Err(stopped) => stopped,
            };
            let written = start + stopped.written;
            let whole = lines.whole(written);
            self.take_back(written - whole);
            let mut unwritten = Unwritten::default();
            lines.unwritten(whole, &mut unwritten);
            match stopped.why {
                Why::ReaderGone => {
                    self.shared.reader_gone.store(true, Ordering::Relaxed);
                    return false;
                }
                Why::Hurry => (),
                Why::Failed(error) => self.failing.failed(&error, unwritten.count()),
            }
            self.shared.unwritten().add(unwritten);
            return true;
        }
        self.failing.works();
        true
    }

    fn piece_bytes(&self) -> usize {
        let room = |pipe_bytes| pipe::room_bytes(&self.file, pipe_bytes);
        self.pipe_bytes.map_or(PIECE_BYTES, room)
    }

    fn write_piece(&mut self, piece: &[u8]) -> Result<(), Stopped> {
        let mut written = 0;
        while written < piece.len() {
            let stopped = |why| Stopped { written, why };
            if self.shared.hurry.load(Ordering::Relaxed) && written == 0 {
                return Err(stopped(Why::Hurry));
            }
            match self.file.write(&piece[written..]) {
                Ok(0) => {
                    let why = io::Error::other("it takes no more bytes");
                    return Err(stopped(Why::Failed(why)));
                }
                Ok(n) => written += n,
                Err(error) => match error.kind() {
                    io::ErrorKind::Interrupted => (),
                    io::ErrorKind::WouldBlock => self.wait(),
                    io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset => {
                        return Err(stopped(Why::ReaderGone));
                    }
                    _ => return Err(stopped(Why::Failed(error))),
                },
            }
        }
        Ok(())
    }

    /// Until there may be room, for a moment.
    fn wait(&self) {
        let mut fds = [PollFd::new(self.file.as_fd(), PollFlags::POLLOUT)];
        // What interrupts it is as good as its end.
        let _ = poll(&mut fds, PollTimeout::from(WAIT_MS));
    }

    /// Takes the last bytes of a file back, a half line, unless somebody has written after them.
    fn take_back(&mut self, half: usize) {
        if half == 0 || !self.is_file {
            return;
        }
        let (Ok(end), Ok(metadata)) = (self.file.stream_position(), self.file.metadata()) else {
            return;
        };
        if metadata.len() == end {
            let whole = end.saturating_sub(half as u64);
            // Where that fails too, the half line stays.
            let _ = self.file.set_len(whole);
            let _ = self.file.seek(SeekFrom::Start(whole));
        }
    }
}

/// A full disk is spoken of now and then, and not for every line.
#[derive(Default)]
struct Failing {
    lines: u64,
    spoke: Option<Instant>,
    failed: Option<Instant>,
}

impl Failing {
    fn failed(&mut self, error: &io::Error, lines: u64) {
        self.lines += lines;
        self.failed = Some(Instant::now());
        if self.spoke.is_none_or(|spoke| spoke.elapsed() > SPEAK_AGAIN) {
            tracing::error!(
                "cannot write the output: {error}; what is lost is counted, and told when it can be written again"
            );
            self.spoke = self.failed;
        }
    }

    /// A short line fits where a long one did not: that is not the end of it.
    fn works(&mut self) {
        if self.failed.is_some_and(|failed| failed.elapsed() > CALM) {
            tracing::warn!(
                "the output can be written again; {} lines were lost",
                self.lines
            );
            *self = Failing::default();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{core::sample, sink::Format};
    use std::fs;

    #[test]
    fn what_is_queued_before_a_panic_is_written() {
        const LINES: usize = 20_000;
        let name = format!("tracer-writer-{}", std::process::id());
        let path = std::env::temp_dir().join(name);
        let mut due = Vec::new();
        let event = sample::close(sample::ids(), sample::end());
        Format::Json.write(&event, &mut due);
        let ended = panics::caught(|| {
            let writer = Writer::file(&path)?;
            let mut lines = Lines::default();
            for _ in 0..LINES {
                lines.push(Format::Json, &event);
            }
            writer.send(lines);
            panic!("forced");
        });
        let written = fs::read(&path).expect("it is there");
        let _ = fs::remove_file(&path);
        assert!(ended.is_err());
        assert!(written == due.repeat(LINES), "{} bytes", written.len());
    }
}
