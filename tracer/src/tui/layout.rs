//! Where things are on the screen: the same for drawing and for the mouse.

use ratatui::layout::Rect;

use super::model::{Model, Screen};

pub struct Areas {
    /// Totals and state.
    pub status: Rect,
    pub tabs: Rect,
    pub body: Rect,
    /// What is typed, or a message; empty when there is neither.
    pub prompt: Rect,
    pub footer: Rect,
}

/// Smallest terminal.
pub const LEAST: (u16, u16) = (60, 15);

pub fn areas(model: &Model) -> Areas {
    let (width, height) = model.size;
    let prompt = match (&model.prompt, &model.message) {
        // What can be typed next, or what is wrong, and the line.
        (Some(_), _) => 2,
        (None, Some(_)) => 1,
        (None, None) => 0,
    };
    let line = |y: u16, lines: u16| Rect::new(0, y, width, lines);
    let body = height.saturating_sub(3 + prompt);
    Areas {
        status: line(0, 1.min(height)),
        tabs: line(1, 1),
        body: line(2, body),
        prompt: line(2 + body, prompt),
        footer: line(height.saturating_sub(1), 1),
    }
}

/// Rows of a table below its heads.
pub fn page(model: &Model) -> usize {
    usize::from(areas(model).body.height.saturating_sub(1)).max(1)
}

/// First row that is shown, so that the cursor is in sight.
pub fn first_row(cursor: usize, page: usize) -> usize {
    // Page by page: a cursor that moves by one does not move all rows.
    cursor / page * page
}

/// The tabs and where each begins.
pub fn tabs() -> impl Iterator<Item = (Screen, u16, String)> {
    let mut x = 0;
    Screen::ALL
        .into_iter()
        .zip(1..)
        .map(move |(screen, number)| {
            let text = format!(" {number} {} ", screen.title());
            let start = x;
            x += text.len() as u16 + 1;
            (screen, start, text)
        })
}
