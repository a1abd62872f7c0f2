//! This test program as a live view of its own, through the same session and terminal as tracer's: to panic where
//! tracer never does, and to be flooded.

use std::{
    process::{Command, exit},
    sync::mpsc::channel,
    thread::sleep,
    time::{Duration, Instant},
};

use tracer::{
    cli::Theme,
    core::{filter::Filter, timeouts::BUILT_IN},
    event::{Event, values::Reason},
    sink::Room,
    tui::{
        model::{Options, Source},
        session::{self, Feed},
    },
};

use super::replay::RECORDING;

/// Says that this process is a view, and of what kind.
const VIEW: &str = "LIVE_TEST_IS_VIEW";

/// Events that the flooded view keeps.
const HISTORY: usize = 10_000;
pub const FLOOD_PER_S: u32 = 50_000;
pub const FLOOD_S: u32 = 6;
const STEPS_PER_S: u32 = 100;

/// The command line of a view that panics in this thread when Space is pressed.
pub fn panics_in(place: &str) -> String {
    let program = std::env::current_exe().expect("this program");
    format!("{VIEW}=panic:{place} {}", program.display())
}

/// A view with one broken pipe and then a flood of clean closes.
pub fn flooded() -> Command {
    let mut command = Command::new(std::env::current_exe().expect("this program"));
    command.env(VIEW, "flood");
    command
}

pub fn run_if_view() {
    match std::env::var(VIEW).as_deref() {
        Ok("flood") => flood(),
        Ok("panic:view") => panic_in_view(),
        Ok(_) => panic_elsewhere(),
        Err(_) => (),
    }
}

fn options() -> Options {
    Options {
        theme: Theme::Default,
        unicode: true,
        history: HISTORY,
        timeouts: BUILT_IN.clone(),
        source: Source::Replay(Vec::new()),
    }
}

fn panic_in_view() {
    let feed = session::open(options(), &Filter::default(), |_| panic!("forced: view"));
    ends(feed.expect("a view"));
}

fn panic_elsewhere() {
    let (asks, inbox) = channel();
    let _feed = session::open(options(), &Filter::default(), move |ask| {
        asks.send(ask).expect("somebody listens");
    })
    .expect("a view");
    inbox.recv().expect("Space is pressed");
    panic!("forced: elsewhere");
}

fn flood() {
    let recorded: Vec<Event> = std::fs::read(RECORDING)
        .expect("the recording")
        .split(|byte| *byte == b'\n')
        .filter_map(|line| Event::parse(line).ok())
        .collect();
    let of = |reason: Reason| {
        let mut all = recorded.iter();
        let found = all.find(|event| {
            matches!(&event.body, tracer::event::Body::End { end, .. } if end.reason == reason)
        });
        found.expect("one in the recording").clone()
    };
    let (broken, clean) = (of(Reason::FinPeerRst), of(Reason::FinPeer));
    let feed = session::open(options(), &Filter::default(), |_| ()).expect("a view");
    feed.send(vec![broken]);
    let began = Instant::now();
    for step in 1..=FLOOD_S * STEPS_PER_S {
        // As a run does, which counts as lost what there is no room for.
        let count = (FLOOD_PER_S / STEPS_PER_S) as usize;
        if feed.room(count) == Room::Ample {
            feed.send(vec![clean.clone(); count]);
        }
        let due = Duration::from_secs(1) * step / STEPS_PER_S;
        sleep(due.saturating_sub(began.elapsed()));
    }
    feed.ended("the flood is over");
    ends(feed);
}

/// When the view is quit, or has failed.
fn ends(feed: Feed) {
    while !feed.is_gone() {
        sleep(Duration::from_millis(10));
    }
    exit(i32::from(feed.close().is_err()));
}
