//! The view at work: a thread that takes events and keys, draws after a key at once and otherwise at
//! most ten times a second, and does what the model asks for. Events come through a [`Feed`], which
//! never waits for the drawing.

use std::{
    fs::OpenOptions,
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
        mpsc::{Receiver, Sender, TryRecvError, channel},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use anyhow::{Context, Result, anyhow};
use base64::Engine;
use ratatui::crossterm::event::{self, Event as Input, KeyEventKind, MouseButton, MouseEventKind};

use super::{
    log,
    model::{Model, Options, Source, Status},
    playback::{Ask, Place},
    terminal::{self, Screen},
    update::{Effect, Msg, update},
    view::view,
};
use crate::{
    core::filter::Filter,
    event::{Event, time::Timestamp},
    kernel::privilege,
    sink::{Room, file},
};

/// Between two drawings that no key asks for.
const FRAME: Duration = Duration::from_millis(100);
/// How long keys are waited for before events have their turn.
const NAP: Duration = Duration::from_millis(25);
/// Events that may wait to be taken in.
const WAITING: usize = 1 << 16;
/// Events taken in before keys have their turn: a few milliseconds.
const TURN: usize = 1 << 11;

/// How long the view may take to close.
const CLOSING: Duration = Duration::from_secs(2);

enum Fed {
    Events(Vec<Event>),
    Status(Status),
    Place(Place),
    Restart,
    GoesOn,
    Say(String),
    Ended(String),
    Close,
}

/// The way into the view.
pub struct Feed {
    sender: Sender<Fed>,
    waiting: Arc<AtomicUsize>,
    gone: Arc<AtomicBool>,
    thread: Option<JoinHandle<Result<()>>>,
}

/// Opens the view on the terminal. `traced` is what events are chosen by before they come; `asked`
/// is told, by the view's thread, what is asked of the replay.
pub fn open(
    options: Options,
    traced: &Filter,
    asked: impl Fn(Ask) + Send + 'static,
) -> Result<Feed> {
    let (sender, inbox) = channel();
    let waiting = Arc::new(AtomicUsize::new(0));
    let gone = Arc::new(AtomicBool::new(false));
    let session = Session {
        model: Model::new(options, traced.clone()),
        inbox,
        waiting: waiting.clone(),
        gone: Gone(gone.clone()),
        asked: Box::new(asked),
        drawn: None,
        stale: true,
        touched: false,
    };
    let thread = thread::Builder::new()
        .name("tracer-view".into())
        .spawn(move || {
            privilege::give_up_but_files();
            session.serve()
        })
        .context("cannot start the view's thread")?;
    Ok(Feed {
        sender,
        waiting,
        gone,
        thread: Some(thread),
    })
}

impl Feed {
    /// What fits after `more` events that are not sent yet.
    pub fn room(&self, more: usize) -> Room {
        Room::of(self.waiting.load(Ordering::Relaxed) + more, WAITING)
    }

    pub fn send(&self, events: Vec<Event>) {
        self.waiting.fetch_add(events.len(), Ordering::Relaxed);
        // A view that is gone is noticed by `is_gone`.
        let _ = self.sender.send(Fed::Events(events));
    }

    pub fn status(&self, status: Status) {
        let _ = self.sender.send(Fed::Status(status));
    }

    /// Where the replay is.
    pub fn place(&self, place: Place) {
        let _ = self.sender.send(Fed::Place(place));
    }

    /// The recordings begin again: what came before is forgotten.
    pub fn restart(&self) {
        let _ = self.sender.send(Fed::Restart);
    }

    /// A recording that was over has grown.
    pub fn goes_on(&self) {
        let _ = self.sender.send(Fed::GoesOn);
    }

    /// A message for the one who looks.
    pub fn say(&self, what: &str) {
        let _ = self.sender.send(Fed::Say(what.to_owned()));
    }

    /// Says that there will be no more events; the view stays.
    pub fn ended(&self, why: &str) {
        let _ = self.sender.send(Fed::Ended(why.to_owned()));
    }

    /// Whether the view was quit.
    pub fn is_gone(&self) -> bool {
        self.gone.load(Ordering::Relaxed)
    }

    /// Set when the view was quit.
    pub fn gone(&self) -> Arc<AtomicBool> {
        self.gone.clone()
    }

    /// Closes the view and gives the terminal back.
    pub fn close(mut self) -> Result<()> {
        self.join()
    }

    fn join(&mut self) -> Result<()> {
        // A view that is gone is closed already.
        let _ = self.sender.send(Fed::Close);
        joined(self.thread.take())
    }
}

impl Drop for Feed {
    fn drop(&mut self) {
        if let Err(error) = self.join() {
            tracing::error!("{error:#}");
        }
    }
}

fn joined(thread: Option<JoinHandle<Result<()>>>) -> Result<()> {
    let until = Instant::now() + CLOSING;
    while thread.as_ref().is_some_and(|thread| !thread.is_finished()) {
        if Instant::now() > until {
            terminal::give_back();
            return Err(anyhow!("the view does not answer"));
        }
        thread::sleep(NAP);
    }
    match thread.map(JoinHandle::join) {
        Some(Ok(result)) => result,
        Some(Err(_)) => Err(anyhow!("the view failed; its message is above")),
        None => Ok(()),
    }
}

/// Says that the view is gone, however it went.
struct Gone(Arc<AtomicBool>);

impl Drop for Gone {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

struct Session {
    model: Model,
    inbox: Receiver<Fed>,
    waiting: Arc<AtomicUsize>,
    gone: Gone,
    asked: Box<dyn Fn(Ask) + Send>,
    drawn: Option<Instant>,
    /// Something happened since the last drawing.
    stale: bool,
    /// Somebody waits to see it.
    touched: bool,
}

impl Session {
    fn serve(mut self) -> Result<()> {
        let (_taken, mut screen) = terminal::take()?;
        let size = screen.size().context("the terminal has no size")?;
        self.model.size = (size.width, size.height);
        let mut going_on = true;
        while going_on && terminal::is_taken() {
            going_on = self.take_events() && self.take_input()?;
            if self.touched || self.drawn.is_none_or(|drawn| drawn.elapsed() >= FRAME) {
                self.tick();
                self.draw(&mut screen)?;
            }
        }
        drop(self.gone);
        Ok(())
    }

    /// False when the view is to close.
    fn take_events(&mut self) -> bool {
        let mut taken = 0;
        while taken < TURN {
            let msg = match self.inbox.try_recv() {
                Ok(Fed::Events(events)) => {
                    taken += events.len();
                    self.waiting.fetch_sub(events.len(), Ordering::Relaxed);
                    Msg::Events(events)
                }
                Ok(Fed::Status(status)) => Msg::Status(status),
                // Nothing to draw.
                Ok(Fed::Place(place)) if self.is_shown(&place) => continue,
                Ok(Fed::Place(place)) => Msg::Place(place),
                Ok(Fed::Restart) => Msg::Restart,
                Ok(Fed::GoesOn) => Msg::GoesOn,
                Ok(Fed::Say(what)) => Msg::Done(what),
                Ok(Fed::Ended(why)) => Msg::Ended(why),
                Ok(Fed::Close) | Err(TryRecvError::Disconnected) => return false,
                Err(TryRecvError::Empty) => return true,
            };
            self.tell(msg);
        }
        true
    }

    fn is_shown(&self, place: &Place) -> bool {
        let shown = self.model.place.as_ref();
        shown.is_some_and(|shown| shown.looks_like(place))
    }

    /// False when the view is to close.
    fn take_input(&mut self) -> Result<bool> {
        // With more events to take in, keys are looked for and not waited for.
        let patience = match self.waiting.load(Ordering::Relaxed) {
            0 => NAP,
            _ => Duration::ZERO,
        };
        if !terminal::wait_for_input(patience) {
            return Ok(false);
        }
        while event::poll(Duration::ZERO).context("cannot wait for keys")? {
            let msg = match event::read().context("cannot read keys")? {
                Input::Key(key) if key.kind != KeyEventKind::Release => {
                    Msg::Key(key.code, key.modifiers)
                }
                Input::Mouse(mouse) => match mouse.kind {
                    MouseEventKind::Down(MouseButton::Left) => Msg::Click {
                        column: mouse.column,
                        row: mouse.row,
                    },
                    MouseEventKind::ScrollUp => Msg::Wheel { up: true },
                    MouseEventKind::ScrollDown => Msg::Wheel { up: false },
                    _ => continue,
                },
                Input::Resize(width, height) => Msg::Resize(width, height),
                _ => continue,
            };
            self.touched = true;
            if !self.tell(msg) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn tick(&mut self) {
        for line in log::fresh() {
            self.tell(Msg::Log(line));
        }
        // A recording has its own time.
        if self.model.options.source == Source::Live {
            let since = SystemTime::now().duration_since(UNIX_EPOCH);
            let now = Timestamp(since.unwrap_or_default().as_nanos() as u64);
            let second = |ts: Timestamp| ts.0 / 1_000_000_000;
            // Rates change by the second.
            if second(now) != second(self.model.now) {
                self.tell(Msg::Tick(now));
            }
        }
    }

    fn draw(&mut self, screen: &mut Screen) -> Result<()> {
        if !self.stale {
            return Ok(());
        }
        screen
            .draw(|frame| {
                let area = frame.area();
                self.model.size = (area.width, area.height);
                view(&self.model, frame.buffer_mut());
            })
            .context("cannot draw on the terminal")?;
        self.drawn = Some(Instant::now());
        self.stale = false;
        self.touched = false;
        Ok(())
    }

    /// Tells the model. False when it wants to quit.
    fn tell(&mut self, msg: Msg) -> bool {
        self.stale = true;
        for effect in update(&mut self.model, msg) {
            let done = match effect {
                Effect::Quit => return false,
                Effect::Copy(text) => copy(&text),
                Effect::Export(lines) => export(&lines),
                Effect::Ask(ask) => {
                    (self.asked)(ask);
                    continue;
                }
            };
            let done = done.unwrap_or_else(|error| format!("{error:#}"));
            update(&mut self.model, Msg::Done(done));
        }
        true
    }
}

/// Into the clipboard of the terminal, also through ssh (OSC 52).
fn copy(text: &str) -> Result<String> {
    let encoded = base64::engine::general_purpose::STANDARD.encode(text);
    let mut stdout = io::stdout();
    write!(stdout, "\x1b]52;c;{encoded}\x07")
        .and_then(|()| stdout.flush())
        .context("cannot write to the terminal")?;
    Ok(format!(
        "{} bytes are in the clipboard, if the terminal lets programs use it",
        text.len()
    ))
}

/// Into a new file of the working directory.
fn export(lines: &[u8]) -> Result<String> {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    let seconds = since.unwrap_or_default().as_secs();
    for number in 0..100 {
        let path = match number {
            0 => format!("tracer-{seconds}.ndjson"),
            number => format!("tracer-{seconds}-{number}.ndjson"),
        };
        let made = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(file::MODE)
            .open(&path);
        let mut made = match made {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => continue,
            made => made.with_context(|| format!("cannot make the file {path}"))?,
        };
        made.write_all(lines)
            .with_context(|| format!("cannot write to the file {path}"))?;
        let count = lines.iter().filter(|byte| **byte == b'\n').count();
        return Ok(format!("{count} events written to {path}"));
    }
    Err(anyhow!(
        "cannot make a new file here: remove old tracer-*.ndjson"
    ))
}
