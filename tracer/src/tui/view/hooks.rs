//! How tracing goes: what is hooked, what cannot be seen, what was lost, what is kept.

use ratatui::text::{Line, Span};

use super::{
    text::{fit, wrap},
    theme::{DIM, FAULT, HEAD, NOTICE},
};
use crate::{event::text::Label, tui::model::Model};

pub fn lines(model: &Model, cells: usize) -> Vec<Line<'static>> {
    let mut page = Page {
        lines: Vec::new(),
        cells: cells.saturating_sub(4),
    };
    losses(model, &mut page);
    hooks(model, &mut page);
    kept(model, &mut page);
    if !model.log.is_empty() {
        page.title("What tracer says");
        for line in &model.log {
            page.paragraph(&Label::from(line.as_str()).to_string());
        }
    }
    page.lines
}

struct Page {
    lines: Vec<Line<'static>>,
    cells: usize,
}

impl Page {
    fn title(&mut self, text: &str) {
        if !self.lines.is_empty() {
            self.lines.push(Line::raw(""));
        }
        self.lines.push(Line::styled(format!(" {text}"), HEAD));
    }

    fn paragraph(&mut self, text: &str) {
        let lines = wrap(text, self.cells).into_iter();
        self.lines
            .extend(lines.map(|line| Line::raw(format!("  {line}"))));
    }
}

fn losses(model: &Model, page: &mut Page) {
    page.title("Losses");
    let lost = &model.totals.lost;
    if lost.total() == 0 {
        page.paragraph("Nothing was lost.");
    }
    for (what, count) in &lost.0 {
        page.lines
            .push(Line::styled(format!("  {count} {what}"), FAULT));
    }
    if let Some(heartbeat) = &model.heartbeat {
        page.paragraph(&format!(
            "Made good when the socket was destroyed: {}. Runs that the kernel skipped: {}. Incoming \
             connections that were never established: {}.",
            heartbeat.recovered, heartbeat.missed_runs, heartbeat.syn_recv_ended
        ));
    }
}

fn hooks(model: &Model, page: &mut Page) {
    page.title("Hooks");
    let Some((_, start)) = &model.start else {
        page.paragraph("The start is not known.");
        return;
    };
    page.paragraph(&format!("tracer {}, Linux {}", start.version, start.kernel));
    for hook in &start.hooks.0 {
        let name = fit(&hook.hook.to_string(), 36, false);
        let line = match &hook.error {
            None => vec![
                Span::raw(format!("  {name} ")),
                Span::styled(hook.signal.to_string(), DIM),
            ],
            Some(error) => vec![
                Span::styled(format!("! {name} "), NOTICE),
                Span::raw(error.to_string()),
            ],
        };
        page.lines.push(Line::from(line));
    }
    for blind in &start.blind.0 {
        page.paragraph(&format!("Not seen because of that: {blind}."));
    }
    if !start.filters.0.is_empty() {
        let filters: Vec<_> = start.filters.0.iter().map(ToString::to_string).collect();
        page.paragraph(&format!("Traced with: {}", filters.join(" ")));
    }
}

fn kept(model: &Model, page: &mut Page) {
    page.title("Kept");
    page.paragraph(&format!(
        "{} events, {} at most (--history); {} were dropped, clean closes first. Totals, groups and \
         ages count on without them.",
        model.history.len(),
        model.options.history,
        model.history.dropped
    ));
}
