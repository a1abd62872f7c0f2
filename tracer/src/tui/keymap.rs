//! Every key and what it does: the one table from which keys are looked up, and from which the help,
//! the footer and docs/tui.md are made.

use ratatui::crossterm::event::{KeyCode, KeyModifiers};

use super::{
    model::Screen,
    playback::{Ask, Goal},
};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command {
    Quit,
    Help,
    Back,
    Open,
    Up,
    Down,
    PageUp,
    PageDown,
    Top,
    Bottom,
    Show(Screen),
    NextScreen,
    Filter,
    ClearFilter,
    Search,
    SearchAgain,
    Pause,
    Sort,
    Reverse,
    NextGrouping,
    AllEvents,
    Mark,
    Copy,
    CommandLine,
    Export,
    OtherEnd,
    Cause,
    NextTheme,
    Replay(Ask),
    GoTo,
}

pub struct Binding {
    pub keys: &'static [KeyCode],
    /// How the keys are written.
    pub shown: &'static str,
    pub command: Command,
    /// What it does.
    pub help: &'static str,
    /// The same in a word, if it is in the footer.
    pub footer: Option<&'static str>,
}

const fn binding(
    keys: &'static [KeyCode],
    shown: &'static str,
    command: Command,
    help: &'static str,
    footer: Option<&'static str>,
) -> Binding {
    Binding {
        keys,
        shown,
        command,
        help,
        footer,
    }
}

use KeyCode::{Char, Down, End, Enter, Esc, Home, Left, PageDown, PageUp, Right, Tab, Up};

/// In the order of the help; the footer shows as many as fit.
#[rustfmt::skip]
pub const BINDINGS: &[Binding] = &[
    binding(&[Char('?'), KeyCode::F(1)], "?", Command::Help, "this help", Some("help")),
    binding(&[Char('q')], "q", Command::Quit, "quit (so does Ctrl-C)", Some("quit")),
    binding(&[Enter, Right, Char('l')], "Enter", Command::Open, "why: the story of this end or stall; in groups, only its ends", Some("why")),
    binding(&[Esc, Left, Char('h')], "Esc", Command::Back, "back", None),
    binding(&[Char('/')], "/", Command::Filter, "filter, in the language of the options: port=8080 abnormal", Some("filter")),
    binding(&[Char('x')], "x", Command::ClearFilter, "no filter", None),
    binding(&[Char(' ')], "Space", Command::Replay(Ask::Hold), "replay: hold the recording, or go on (live: as p)", Some("hold")),
    binding(&[Char('t')], "t", Command::GoTo, "replay: go to a time, 13:40:23, or 90s from the start, or -10s from here", Some("time")),
    binding(&[Char(',')], ",", go_by(-10), "replay: 10 s back", None),
    binding(&[Char('.')], ".", go_by(10), "replay: 10 s on", None),
    binding(&[Char('<')], "<", go_by(-60), "replay: a minute back", Some("back")),
    binding(&[Char('>')], ">", go_by(60), "replay: a minute on", Some("on")),
    binding(&[Char('[')], "[", go_by(-600), "replay: ten minutes back", None),
    binding(&[Char(']')], "]", go_by(600), "replay: ten minutes on", None),
    binding(&[Char('(')], "(", Command::Replay(Ask::Go(Goal::Start)), "replay: to the start", None),
    binding(&[Char(')')], ")", Command::Replay(Ask::Go(Goal::End)), "replay: to the end", None),
    binding(&[Char('+'), Char('=')], "+", Command::Replay(Ask::Faster), "replay: faster, 10 times or as fast as can be", Some("faster")),
    binding(&[Char('-')], "-", Command::Replay(Ask::Slower), "replay: slower", None),
    binding(&[Char('p')], "p", Command::Pause, "pause: the rows stand still, counting goes on", Some("pause")),
    binding(&[Tab], "Tab", Command::NextScreen, "next screen", Some("next")),
    binding(&[Char('1')], "1", Command::Show(Screen::Live), "terminations", None),
    binding(&[Char('2')], "2", Command::Show(Screen::Groups), "groups", None),
    binding(&[Char('3')], "3", Command::Show(Screen::Ages), "ages at the first end", None),
    binding(&[Char('4')], "4", Command::Show(Screen::Hooks), "hooks and losses", None),
    binding(&[Char('5')], "5", Command::Show(Screen::Stalls), "stalls: peers that are silent now", None),
    binding(&[Char('s')], "s", Command::Sort, "sort by the next column", Some("sort")),
    binding(&[Char('r')], "r", Command::Reverse, "the other way round", None),
    binding(&[Char('g')], "g", Command::NextGrouping, "group by the next: process, peer, reason, hint, container", None),
    binding(&[Char('e')], "e", Command::AllEvents, "resets, I/O errors and stalls among the terminations, or not", None),
    binding(&[Char('f')], "f", Command::Search, "find text in process, addresses, reason or story", Some("find")),
    binding(&[Char('n')], "n", Command::SearchAgain, "find the next", None),
    binding(&[Char('m')], "m", Command::Mark, "mark this row, or not", Some("mark")),
    binding(&[Char('y')], "y", Command::Copy, "copy what is marked, or this row, as JSON to the clipboard", None),
    binding(&[Char('w')], "w", Command::Export, "write what is marked, or else all that is shown, to a file as NDJSON", Some("write")),
    binding(&[Char('o')], "o", Command::OtherEnd, "why, for the other end of this connection", None),
    binding(&[Char('u')], "u", Command::Cause, "why, for the end that brought this one about", None),
    binding(&[Char('c')], "c", Command::CommandLine, "the command line that shows the same", None),
    binding(&[Char('T')], "T", Command::NextTheme, "the next theme", None),
    binding(&[Up, Char('k')], "Up", Command::Up, "up", None),
    binding(&[Down, Char('j')], "Down", Command::Down, "down", None),
    binding(&[PageUp], "PgUp", Command::PageUp, "a page up", None),
    binding(&[PageDown], "PgDn", Command::PageDown, "a page down", None),
    binding(&[Home], "Home", Command::Top, "to the top; there, new rows push the others down", None),
    binding(&[End, Char('G')], "End", Command::Bottom, "to the end", None),
];

const fn go_by(seconds: i64) -> Command {
    Command::Replay(Ask::Go(Goal::By {
        ms: seconds * 1_000,
    }))
}

impl Command {
    /// Only a replay can do it.
    pub const fn is_of_replay(self) -> bool {
        matches!(self, Command::Replay(_) | Command::GoTo)
    }
}

/// What a key asks for.
pub fn command(key: KeyCode, modifiers: KeyModifiers) -> Option<Command> {
    if modifiers.contains(KeyModifiers::CONTROL) {
        return (key == Char('c')).then_some(Command::Quit);
    }
    BINDINGS
        .iter()
        .find(|binding| binding.keys.contains(&key))
        .map(|binding| binding.command)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_key_has_two_meanings() {
        let keys: Vec<_> = BINDINGS.iter().flat_map(|binding| binding.keys).collect();
        let different: std::collections::HashSet<_> = keys.iter().collect();
        assert_eq!(keys.len(), different.len());
    }
}
