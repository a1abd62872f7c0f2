//! What happens on a message: a new state of the model, and what is to be done outside of it.

use ratatui::crossterm::event::{KeyCode, KeyModifiers};

use super::{
    columns::Column,
    keymap::{self, Command},
    layout,
    model::{Asks, GroupSort, Model, Over, Prompt, Screen, Status, as_typed},
    playback::{Ask, Goal, Place},
    query,
    totals::{By, OTHERS},
    view::scroll_limit,
};
use crate::{
    core::filter::NONE,
    event::{Body, End, Event, Ids, time::Timestamp, values::ConnId},
};

/// Longest line that can be typed.
const PROMPT_MAX: usize = 500;

#[derive(Debug)]
pub enum Msg {
    Key(KeyCode, KeyModifiers),
    Click {
        column: u16,
        row: u16,
    },
    Wheel {
        up: bool,
    },
    Resize(u16, u16),
    Tick(Timestamp),
    Events(Vec<Event>),
    Status(Status),
    /// Where the replay is.
    Place(Place),
    /// The recordings begin again.
    Restart,
    /// A recording that was over has grown.
    GoesOn,
    /// A line of tracer's own log.
    Log(String),
    /// There will be no more events.
    Ended(String),
    /// What became of an effect.
    Done(String),
}

/// What the model cannot do itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    Quit,
    /// Into the clipboard.
    Copy(String),
    /// Into a file.
    Export(Vec<u8>),
    /// Of the replay.
    Ask(Ask),
}

pub fn update(model: &mut Model, msg: Msg) -> Vec<Effect> {
    match msg {
        Msg::Key(key, modifiers) => return on_key(model, key, modifiers),
        Msg::Click { column, row } => on_click(model, column, row),
        Msg::Wheel { up } => move_by(model, if up { -3 } else { 3 }),
        Msg::Resize(width, height) => model.size = (width, height),
        Msg::Tick(now) => model.now = model.now.max(now),
        Msg::Events(events) => events.into_iter().for_each(|event| model.take(event)),
        Msg::Status(status) => model.status = Some(status),
        Msg::Place(place) => {
            model.now = place.at;
            model.place = Some(place);
        }
        Msg::Restart => model.restart(),
        Msg::GoesOn => model.ended = None,
        Msg::Log(line) => {
            model.message = Some(line.clone());
            model.note(line);
        }
        Msg::Ended(why) => model.ended = Some(why),
        Msg::Done(what) => model.message = Some(what),
    }
    Vec::new()
}

fn on_key(model: &mut Model, key: KeyCode, modifiers: KeyModifiers) -> Vec<Effect> {
    model.message = None;
    if model.prompt.is_some() {
        if keymap::command(key, modifiers) == Some(Command::Quit)
            && modifiers.contains(KeyModifiers::CONTROL)
        {
            return vec![Effect::Quit];
        }
        return on_prompt_key(model, key);
    }
    match keymap::command(key, modifiers) {
        Some(command) => on_command(model, command),
        None => Vec::new(),
    }
}

fn on_prompt_key(model: &mut Model, key: KeyCode) -> Vec<Effect> {
    let Some(mut prompt) = model.prompt.take() else {
        return Vec::new();
    };
    match key {
        KeyCode::Esc => return Vec::new(),
        KeyCode::Backspace if prompt.text.is_empty() => return Vec::new(),
        KeyCode::Backspace => drop(prompt.text.pop()),
        KeyCode::Char(c) if !c.is_control() && prompt.text.len() < PROMPT_MAX => {
            prompt.text.push(c);
        }
        KeyCode::Tab if prompt.asks == Asks::Filter => {
            let (candidates, typed) = query::complete(&prompt.text, |field| model.values_of(field));
            prompt.text.push_str(&query::completion(&candidates, typed));
        }
        KeyCode::Enter => match prompt.asks {
            Asks::Filter => {
                if let Ok(filter) = query::parse(&prompt.text) {
                    model.filter = filter;
                    model.filter_text = prompt.text.trim().to_owned();
                    model.selected = None;
                    model.group_selected = 0;
                    return Vec::new();
                }
                // What is wrong stands above the line.
            }
            Asks::Search => {
                model.search = prompt.text;
                search(model);
                return Vec::new();
            }
            Asks::Time => {
                if let Ok(goal) = Goal::parse(&prompt.text) {
                    return vec![Effect::Ask(Ask::Go(goal))];
                }
            }
        },
        _ => (),
    }
    model.prompt = Some(prompt);
    Vec::new()
}

fn on_command(model: &mut Model, command: Command) -> Vec<Effect> {
    match command {
        Command::Quit => return vec![Effect::Quit],
        Command::Help => {
            model.over = match model.over {
                Some(Over::Help { .. }) => None,
                _ => Some(Over::Help { scroll: 0 }),
            };
        }
        Command::Back => {
            if model.over.take().is_none() {
                model.screen = Screen::Live;
            }
        }
        Command::Open => open(model),
        Command::Up => move_by(model, -1),
        Command::Down => move_by(model, 1),
        Command::PageUp => move_by(model, -(layout::page(model) as isize)),
        Command::PageDown => move_by(model, layout::page(model) as isize),
        Command::Top => {
            move_by(model, isize::MIN);
            if model.over.is_none() && model.screen == Screen::Live {
                model.selected = None;
            }
        }
        Command::Bottom => move_by(model, isize::MAX),
        Command::Show(screen) => show(model, screen),
        Command::NextScreen => {
            let here = Screen::ALL
                .iter()
                .position(|screen| *screen == model.screen);
            let next = here.map_or(0, |index| (index + 1) % Screen::ALL.len());
            show(model, Screen::ALL[next]);
        }
        Command::Filter => ask(model, Asks::Filter, model.filter_text.clone()),
        Command::ClearFilter => {
            model.filter = Default::default();
            model.filter_text.clear();
        }
        Command::Search => ask(model, Asks::Search, String::new()),
        Command::SearchAgain => search(model),
        Command::Replay(ask) if model.is_replay() => return vec![Effect::Ask(ask)],
        Command::GoTo if model.is_replay() => ask(model, Asks::Time, String::new()),
        Command::Replay(Ask::Hold) => return on_command(model, Command::Pause),
        Command::Replay(_) | Command::GoTo => {
            model.message = Some("only a recording can be replayed: tracer replay FILE".to_owned());
        }
        Command::OtherEnd => go_to(model, "the other end", |ids, _| ids.peer_conn),
        Command::Cause => go_to(model, "the cause", |_, end| {
            end.cause_conn.or(end.root_conn)
        }),
        Command::NextTheme => model.options.theme = model.options.theme.next(),
        Command::Pause => {
            model.paused = match model.paused {
                Some(_) => None,
                None => Some(model.history.newest()),
            };
        }
        Command::Sort => next_sort(model),
        Command::Reverse => match model.screen {
            Screen::Groups => model.group_reverse = !model.group_reverse,
            _ => model.sort.reverse = !model.sort.reverse,
        },
        Command::NextGrouping => {
            let here = By::ALL.iter().position(|by| *by == model.by).unwrap_or(0);
            model.by = By::ALL[(here + 1) % By::ALL.len()];
            model.group_selected = 0;
            show(model, Screen::Groups);
        }
        Command::AllEvents => model.all_events = !model.all_events,
        Command::Mark => mark(model),
        Command::Copy => return copy(model),
        Command::CommandLine => {
            let line = model.command_line();
            model.over = Some(Over::CommandLine(line.clone()));
            return vec![Effect::Copy(line)];
        }
        Command::Export => return export(model),
    }
    Vec::new()
}

fn ask(model: &mut Model, asks: Asks, text: String) {
    model.over = None;
    model.prompt = Some(Prompt { asks, text });
}

fn show(model: &mut Model, screen: Screen) {
    model.over = None;
    model.screen = screen;
    model.scroll = 0;
}

/// In the terminations and stalls, the story of the row; in the groups, the terminations of the group.
fn open(model: &mut Model) {
    match (model.screen, &model.over) {
        (Screen::Live, None) => {
            let rows = model.rows();
            let id = rows.get(model.cursor(&rows)).map(|entry| entry.id);
            if let Some(id) = id {
                model.selected = Some(id);
                model.over = Some(Over::Detail { id, scroll: 0 });
            }
        }
        (Screen::Groups, None) => open_group(model),
        (Screen::Stalls, None) => {
            let id = model
                .silent()
                .get(model.stall_selected)
                .map(|silent| silent.id);
            model.over = id.map(|id| Over::Detail { id, scroll: 0 });
        }
        (_, Some(Over::CommandLine(_))) => model.over = None,
        _ => (),
    }
}

/// Opens the end of another connection that this one names.
fn go_to(model: &mut Model, what: &str, conn: fn(&Ids, &End) -> Option<ConnId>) {
    let Some(entry) = model.current() else {
        return;
    };
    let named = match &entry.event.body {
        Body::End { ids, end } => conn(ids, end),
        _ => None,
    };
    let here = named.and_then(|conn| model.end_of_conn(&entry.event.head.node, conn));
    match here.map(|entry| entry.id) {
        Some(id) if id != entry.id => {
            model.selected = Some(id);
            model.over = Some(Over::Detail { id, scroll: 0 });
        }
        _ => model.message = Some(format!("the record of {what} is not here")),
    }
}

fn open_group(model: &mut Model) {
    let groups = model.groups();
    let Some((name, _)) = groups.get(model.group_selected) else {
        return;
    };
    let mut filter = model.filter.clone();
    let one = name.clone();
    let known = match model.by {
        _ if name == OTHERS => false,
        // A process whose name is not known can be chosen by nothing.
        By::Process if name == NONE => false,
        By::Process => {
            filter.comms = vec![one];
            true
        }
        By::Peer => {
            let net = name.parse().map(|addr: std::net::IpAddr| addr.into());
            filter.peers = net.iter().copied().collect();
            net.is_ok()
        }
        By::Reason => {
            let reason = name.parse();
            filter.reasons = reason.iter().copied().collect();
            reason.is_ok()
        }
        By::Hint => {
            // What several share is named with all of them.
            let names = name
                .split_once(": ")
                .map_or(name.as_str(), |(_, names)| names);
            filter.hints = names.split(" or ").map(str::to_owned).collect();
            true
        }
        By::Container => {
            filter.containers = vec![one];
            true
        }
    };
    if !known {
        model.message = Some(format!("no filter chooses what is counted under {name}"));
        return;
    }
    model.filter_text = as_typed(&filter);
    model.filter = filter;
    model.selected = None;
    show(model, Screen::Live);
}

fn move_by(model: &mut Model, rows: isize) {
    let move_from = |at: usize, last: usize| at.saturating_add_signed(rows).min(last);
    let limit = scroll_limit(model);
    match &mut model.over {
        Some(Over::Help { scroll } | Over::Detail { scroll, .. }) => {
            *scroll = move_from(*scroll, limit);
            return;
        }
        Some(Over::CommandLine(_)) => return,
        None => (),
    }
    match model.screen {
        Screen::Live => {
            let shown = model.rows();
            let Some(last) = shown.len().checked_sub(1) else {
                return;
            };
            let at = move_from(model.cursor(&shown), last);
            model.selected = Some(shown[at].id);
        }
        Screen::Groups => {
            let last = model.groups().len().saturating_sub(1);
            model.group_selected = move_from(model.group_selected, last);
        }
        Screen::Stalls => {
            let last = model.silent().len().saturating_sub(1);
            model.stall_selected = move_from(model.stall_selected, last);
        }
        Screen::Ages | Screen::Hooks => model.scroll = move_from(model.scroll, limit),
    }
}

fn next_sort(model: &mut Model) {
    if model.screen == Screen::Groups {
        model.group_sort = match model.group_sort {
            GroupSort::Count => GroupSort::Lost,
            GroupSort::Lost => GroupSort::Rate,
            GroupSort::Rate => GroupSort::Age,
            GroupSort::Age => GroupSort::Name,
            GroupSort::Name => GroupSort::Count,
        };
        return;
    }
    let columns = Column::fitting(model.size.0.saturating_sub(2));
    let here = columns
        .iter()
        .position(|(column, _)| Some(*column) == model.sort.column);
    let next = here.map_or(0, |index| index + 1);
    model.sort.column = columns.get(next).map(|(column, _)| *column);
}

fn mark(model: &mut Model) {
    let rows = model.rows();
    if let Some(id) = rows.get(model.cursor(&rows)).map(|entry| entry.id) {
        if !model.marked.remove(&id) {
            model.marked.insert(id);
        }
        move_by(model, 1);
    }
}

/// What is marked, oldest first, as lines.
fn marked_lines(model: &Model) -> (Vec<u8>, usize) {
    let mut lines = Vec::new();
    let entries = model.marked.iter().filter_map(|id| model.history.get(*id));
    let count = entries
        .map(|entry| entry.event.write_line(&mut lines))
        .count();
    (lines, count)
}

fn copy(model: &mut Model) -> Vec<Effect> {
    let (mut lines, count) = marked_lines(model);
    if count == 0 && model.screen == Screen::Stalls {
        let Some(silent) = model.silent().get(model.stall_selected).copied() else {
            return Vec::new();
        };
        silent.event.write_line(&mut lines);
    } else if count == 0 {
        let rows = model.rows();
        let Some(entry) = rows.get(model.cursor(&rows)) else {
            return Vec::new();
        };
        entry.event.write_line(&mut lines);
    }
    vec![Effect::Copy(String::from_utf8_lossy(&lines).into_owned())]
}

fn export(model: &mut Model) -> Vec<Effect> {
    let (mut lines, count) = marked_lines(model);
    if count == 0 {
        let rows = model.rows();
        rows.iter()
            .rev()
            .for_each(|entry| entry.event.write_line(&mut lines));
    }
    if lines.is_empty() {
        model.message = Some("there is nothing to write".to_owned());
        return Vec::new();
    }
    vec![Effect::Export(lines)]
}

/// Goes to the next row with the text in it.
fn search(model: &mut Model) {
    let text = model.search.to_lowercase();
    if text.is_empty() {
        return;
    }
    show(model, Screen::Live);
    let rows = model.rows();
    let from = model.cursor(&rows) + 1;
    let has = |index: &usize| {
        let event = &rows[*index].event;
        [
            Column::Process,
            Column::Addresses,
            Column::Why,
            Column::Peer,
            Column::Story,
        ]
        .iter()
        .any(|column| column.cell(event).to_lowercase().contains(&text))
    };
    let found = (from..rows.len()).chain(0..from.min(rows.len())).find(has);
    match found.map(|index| rows[index].id) {
        Some(id) => model.selected = Some(id),
        None => model.message = Some(format!("{:?} is in no row", model.search)),
    }
}

fn on_click(model: &mut Model, column: u16, row: u16) {
    let areas = layout::areas(model);
    if row == areas.tabs.y {
        let tab = layout::tabs().find(|(_, x, text)| (*x..x + text.len() as u16).contains(&column));
        if let Some((screen, ..)) = tab {
            show(model, screen);
        }
        return;
    }
    // Below the heads.
    let Some(index) = row.checked_sub(areas.body.y + 1).map(usize::from) else {
        return;
    };
    let page = layout::page(model);
    if index >= page || model.over.is_some() {
        return;
    }
    match model.screen {
        Screen::Live => {
            let rows = model.rows();
            let cursor = model.cursor(&rows);
            let at = layout::first_row(cursor, page) + index;
            let Some(id) = rows.get(at).map(|entry| entry.id) else {
                return;
            };
            let again = model.selected == Some(id);
            model.selected = Some(id);
            if again {
                open(model);
            }
        }
        Screen::Groups => {
            let at = layout::first_row(model.group_selected, page) + index;
            if at < model.groups().len() {
                let again = model.group_selected == at;
                model.group_selected = at;
                if again {
                    open(model);
                }
            }
        }
        Screen::Stalls => {
            let at = layout::first_row(model.stall_selected, page) + index;
            if at < model.silent().len() {
                let again = model.stall_selected == at;
                model.stall_selected = at;
                if again {
                    open(model);
                }
            }
        }
        Screen::Ages | Screen::Hooks => (),
    }
}
