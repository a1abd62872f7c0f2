//! All that the live view knows. No clock: `now` is what the last tick said.

use std::collections::{BTreeSet, VecDeque};

use super::{
    columns::{Column, sorted},
    history::{Entry, History, Id},
    playback::Place,
    stalls::{Silent, Stalls},
    totals::{By, Group, Totals},
};
use crate::{
    cli::Theme,
    core::{filter::Filter, timeouts::Table},
    event::{Body, End, Event, Heartbeat, Start, text::Label, time::Timestamp, values::ConnId},
};

/// Lines of tracer's own log that are kept.
const LOG_LINES: usize = 200;

/// How the view is drawn and how much it keeps.
#[derive(Clone, Debug)]
pub struct Options {
    pub theme: Theme,
    /// Characters beyond ASCII can be shown.
    pub unicode: bool,
    /// Events that are kept.
    pub history: usize,
    /// What ages are compared with, and what hints mean.
    pub timeouts: Table,
    pub source: Source,
}

/// Where the events come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    Live,
    /// The names of the recordings.
    Replay(Vec<String>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Screen {
    Live,
    Groups,
    Ages,
    Hooks,
    Stalls,
}

impl Screen {
    pub const ALL: [Screen; 5] = [
        Screen::Live,
        Screen::Groups,
        Screen::Ages,
        Screen::Hooks,
        Screen::Stalls,
    ];

    pub const fn title(self) -> &'static str {
        match self {
            Screen::Live => "Terminations",
            Screen::Groups => "Groups",
            Screen::Ages => "Ages",
            Screen::Hooks => "Hooks",
            Screen::Stalls => "Stalls",
        }
    }
}

/// What lies over the screen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Over {
    Help {
        scroll: usize,
    },
    /// One event in full.
    Detail {
        id: Id,
        scroll: usize,
    },
    CommandLine(String),
}

/// A line that is being typed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prompt {
    pub asks: Asks,
    pub text: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asks {
    Filter,
    Search,
    /// Where the replay is to go.
    Time,
}

/// What the tracer says about itself, twice a second.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Status {
    /// Connections that are watched.
    pub connections: u64,
    pub hooks_attached: u64,
    pub hooks: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sort {
    /// `None`: by arrival, newest first.
    pub column: Option<Column>,
    pub reverse: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GroupSort {
    Count,
    Lost,
    Rate,
    Age,
    Name,
}

#[derive(Debug)]
pub struct Model {
    pub options: Options,
    /// Columns and lines of the terminal.
    pub size: (u16, u16),
    pub now: Timestamp,
    pub screen: Screen,
    pub over: Option<Over>,
    pub prompt: Option<Prompt>,
    pub message: Option<String>,

    pub history: History,
    pub totals: Totals,
    pub stalls: Stalls,
    pub start: Option<(Label, Start)>,
    pub heartbeat: Option<Heartbeat>,
    pub status: Option<Status>,
    /// Where a replay is.
    pub place: Option<Place>,
    /// The recording is over, or why tracing is.
    pub ended: Option<String>,
    pub log: VecDeque<String>,

    /// As it was typed, and what it means.
    pub filter_text: String,
    pub filter: Filter,
    /// What events were chosen by before they came here.
    pub traced: Filter,
    pub search: String,
    /// Whether resets, I/O errors and stalls are among the rows.
    pub all_events: bool,
    pub sort: Sort,
    /// `None`: the newest row, whichever it is.
    pub selected: Option<Id>,
    pub marked: BTreeSet<Id>,
    /// The newest row that is shown while it is paused.
    pub paused: Option<Id>,

    pub by: By,
    pub group_sort: GroupSort,
    pub group_reverse: bool,
    pub group_selected: usize,
    pub stall_selected: usize,
    pub scroll: usize,
}

impl Model {
    pub fn new(options: Options, traced: Filter) -> Self {
        Model {
            history: History::new(options.history),
            options,
            size: (80, 24),
            now: Timestamp(0),
            screen: Screen::Live,
            over: None,
            prompt: None,
            message: None,
            totals: Totals::default(),
            stalls: Stalls::default(),
            start: None,
            heartbeat: None,
            status: None,
            place: None,
            ended: None,
            log: VecDeque::new(),
            filter_text: String::new(),
            filter: Filter::default(),
            traced,
            search: String::new(),
            all_events: false,
            sort: Sort {
                column: None,
                reverse: false,
            },
            selected: None,
            marked: BTreeSet::new(),
            paused: None,
            by: By::Process,
            group_sort: GroupSort::Count,
            group_reverse: false,
            group_selected: 0,
            stall_selected: 0,
            scroll: 0,
        }
    }

    /// Takes an event in.
    pub fn take(&mut self, event: Event) {
        if self.is_replay() {
            self.now = self.now.max(event.head.ts);
        }
        self.totals.add(&event);
        match event.body {
            Body::Start(start) => self.start = Some((event.head.node, start)),
            Body::Heartbeat(heartbeat) => self.heartbeat = Some(heartbeat),
            Body::Stop(_) | Body::Lost(_) => (),
            Body::End { .. } | Body::Reset { .. } | Body::IoError { .. } | Body::Stall { .. } => {
                self.stalls.take(self.history.newest() + 1, &event);
                self.history.push(event);
            }
        }
    }

    pub fn is_replay(&self) -> bool {
        self.options.source != Source::Live
    }

    /// The recordings begin again: what came of them is forgotten, what was chosen stays.
    pub fn restart(&mut self) {
        self.history = History::new(self.options.history);
        self.totals = Totals::default();
        self.stalls = Stalls::default();
        self.now = Timestamp(0);
        self.start = None;
        self.heartbeat = None;
        self.ended = None;
        self.selected = None;
        self.marked.clear();
        self.paused = None;
        if let Some(Over::Detail { .. }) = self.over {
            self.over = None;
        }
    }

    pub fn note(&mut self, line: String) {
        if self.log.len() == LOG_LINES {
            self.log.pop_front();
        }
        self.log.push_back(line);
    }

    /// The rows of the terminations, in their order.
    pub fn rows(&self) -> Vec<&Entry> {
        let newest = self.paused.unwrap_or(Id::MAX);
        // Who asks for other events gets them.
        let all = self.all_events || !self.filter.events.is_empty();
        let mut rows: Vec<_> = self
            .history
            .iter()
            .filter(|entry| entry.id <= newest)
            .filter(|entry| all || matches!(entry.event.body, Body::End { .. }))
            .filter(|entry| self.filter.matches(&entry.event))
            .collect();
        if let Some(column) = self.sort.column {
            sorted(&mut rows, column);
        }
        if self.sort.reverse {
            rows.reverse();
        }
        rows
    }

    /// Peers that are silent now, the longest silent first.
    pub fn silent(&self) -> Vec<&Silent> {
        let fits = |silent: &&Silent| self.filter.matches(&silent.event);
        let mut silent: Vec<_> = self.stalls.iter().filter(fits).collect();
        silent.sort_by_key(|silent| (std::cmp::Reverse(silent.for_ms(self.now)), silent.id));
        silent
    }

    /// Which of the rows the cursor is on.
    pub fn cursor(&self, rows: &[&Entry]) -> usize {
        self.selected
            .and_then(|id| rows.iter().position(|entry| entry.id == id))
            .unwrap_or(0)
    }

    pub fn is_filtered(&self) -> bool {
        self.filter != Filter::default()
    }

    /// Groups in their order: of everything that was seen, or with a filter of what is kept and
    /// fits it.
    pub fn groups(&self) -> Vec<(String, Group)> {
        let of_kept;
        let totals = if self.is_filtered() {
            of_kept = self.totals_of_kept();
            &of_kept
        } else {
            &self.totals
        };
        let mut groups: Vec<_> = totals
            .groups(self.by)
            .iter()
            .map(|(name, group)| (name.clone(), group.clone()))
            .collect();
        let second = self.now.0 / 1_000_000_000;
        groups.sort_by(|(a_name, a), (b_name, b)| {
            let rate = |group: &Group| group.recent.since(second).iter().sum::<u32>();
            let order = match self.group_sort {
                GroupSort::Count => b.count.cmp(&a.count),
                GroupSort::Lost => b.lost_bytes.cmp(&a.lost_bytes),
                GroupSort::Rate => rate(b).cmp(&rate(a)),
                GroupSort::Age => b.ages.median_ms().cmp(&a.ages.median_ms()),
                GroupSort::Name => std::cmp::Ordering::Equal,
            };
            order.then_with(|| a_name.cmp(b_name))
        });
        if self.group_reverse {
            groups.reverse();
        }
        groups
    }

    /// The same counts, of the events that are kept and fit the filter.
    pub fn totals_of_kept(&self) -> Totals {
        let mut totals = Totals::default();
        self.history
            .iter()
            .filter(|entry| self.filter.matches(&entry.event))
            .for_each(|entry| totals.add(&entry.event));
        totals
    }

    /// The record of a connection's end on this node, if it is kept.
    pub fn end_of_conn(&self, node: &Label, conn: ConnId) -> Option<&Entry> {
        self.history.iter().find(|entry| {
            let ids = entry.event.ids();
            matches!(entry.event.body, Body::End { .. })
                && entry.event.head.node == *node
                && ids.and_then(|ids| ids.conn) == Some(conn)
        })
    }

    /// The event that is looked at.
    pub fn current(&self) -> Option<&Entry> {
        match (&self.over, self.screen) {
            (Some(Over::Detail { id, .. }), _) => self.history.get(*id),
            (None, Screen::Live) => {
                let rows = self.rows();
                rows.get(self.cursor(&rows)).copied()
            }
            _ => None,
        }
    }

    /// Values of a field that are in the history, for completion.
    pub fn values_of(&self, field: &str) -> Vec<String> {
        let mut values = BTreeSet::new();
        if field == "hint" {
            let ends = self.history.iter().filter_map(|entry| end_of(&entry.event));
            let hints = ends.flat_map(|end| &end.hints.0);
            values.extend(hints.map(|hint| hint.as_str().to_owned()));
            return values.into_iter().collect();
        }
        for ids in self.history.iter().filter_map(|entry| entry.event.ids()) {
            match field {
                "comm" => values.extend(ids.comm.map(|comm| comm.text().into_owned())),
                "pid" => values.extend(ids.pid.map(|pid| pid.to_string())),
                "port" => values.extend([ids.local_port.to_string(), ids.peer_port.to_string()]),
                "local-port" => values.extend([ids.local_port.to_string()]),
                "peer" => values.extend([ids.peer_addr.to_string()]),
                "container" => {
                    let name = ids.called.container_name.0.as_ref();
                    let id = ids.container_id.as_ref();
                    values.extend(name.or(id).map(|name| name.as_str().to_owned()));
                }
                "unit" => values.extend(ids.unit.as_ref().map(|unit| unit.as_str().to_owned())),
                _ => (),
            }
        }
        values.into_iter().collect()
    }

    /// The command line that shows the same without the view.
    pub fn command_line(&self) -> String {
        let mut words = vec!["tracer".to_owned()];
        if let Source::Replay(files) = &self.options.source {
            words.push("replay".to_owned());
            words.extend(files.iter().map(|file| quoted(file)));
        }
        words.push("-o json".to_owned());
        // What is chosen here is narrower than what came here.
        let chosen = self.filter.describe();
        let name = |option: &String| option.split(' ').next().map(str::to_owned);
        let mut options = self.traced.describe();
        options.retain(|traced| !chosen.iter().any(|here| name(here) == name(traced)));
        options.extend(chosen);
        words.extend(options.iter().map(|option| match option.split_once(' ') {
            Some((name, value)) => format!("{name} {}", quoted(value)),
            None => option.clone(),
        }));
        words.join(" ")
    }
}

fn end_of(event: &Event) -> Option<&End> {
    match &event.body {
        Body::End { end, .. } => Some(end),
        _ => None,
    }
}

/// A filter as the filter line takes it.
pub fn as_typed(filter: &Filter) -> String {
    let words: Vec<_> = filter
        .describe()
        .iter()
        .map(|option| {
            let option = option.trim_start_matches('-');
            match option.split_once(' ') {
                Some((name, value)) if value.contains(' ') => format!("{name}=\"{value}\""),
                Some((name, value)) => format!("{name}={value}"),
                None => option.to_owned(),
            }
        })
        .collect();
    words.join(" ")
}

/// As a shell takes it literally.
fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:,@%+".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_quoted_for_a_shell() {
        assert_eq!(quoted("10.0.0.0/8,::1"), "10.0.0.0/8,::1");
        assert_eq!(quoted("a b"), "'a b'");
        assert_eq!(quoted("it's $x"), r"'it'\''s $x'");
    }
}
