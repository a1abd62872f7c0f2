//! Text in cells.

use ratatui::{
    buffer::Buffer,
    style::Style,
    text::{Line, Span},
};

/// How many cells it takes.
pub fn width(text: &str) -> usize {
    if text.is_ascii() {
        text.len()
    } else {
        Span::raw(text).width()
    }
}

/// Cut to a width, marked where there is room for the mark, and filled up with spaces.
pub fn fit(text: &str, cells: usize, right: bool) -> String {
    let taken = width(text);
    if taken <= cells {
        let fill = " ".repeat(cells - taken);
        return if right {
            format!("{fill}{text}")
        } else {
            format!("{text}{fill}")
        };
    }
    let mut cut = String::new();
    let mut left = cells.saturating_sub(1);
    for c in text.chars() {
        let wide = width(c.encode_utf8(&mut [0; 4]));
        if wide > left {
            break;
        }
        left -= wide;
        cut.push(c);
    }
    if cells > 0 {
        cut.push('…');
    }
    // Where a wide character was left out.
    cut.push_str(&" ".repeat(left));
    cut
}

/// Words in lines of at most so many cells; a longer word is broken.
pub fn wrap(text: &str, cells: usize) -> Vec<String> {
    let cells = cells.max(1);
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        let line = lines.last_mut().map(|line| width(line)).unwrap_or(0);
        if line > 0 && line + 1 + width(word) > cells {
            lines.push(String::new());
        } else if line > 0
            && let Some(line) = lines.last_mut()
        {
            line.push(' ');
        }
        for c in word.chars() {
            let wide = width(c.encode_utf8(&mut [0; 4]));
            if lines.last().is_some_and(|line| width(line) + wide > cells) {
                lines.push(String::new());
            }
            if let Some(line) = lines.last_mut() {
                line.push(c);
            }
        }
    }
    lines
}

/// Draws lines from a place on, as many as there is room for.
pub fn put(buffer: &mut Buffer, area: ratatui::layout::Rect, lines: &[Line<'_>]) {
    for (line, y) in lines.iter().zip(area.y..area.bottom()) {
        buffer.set_line(area.x, y, line, area.width);
    }
}

/// Draws one text over the whole width, so that its style reaches to the edge.
pub fn bar(buffer: &mut Buffer, area: ratatui::layout::Rect, text: &str, style: Style) {
    if area.height > 0 {
        let text = fit(text, usize::from(area.width), false);
        buffer.set_stringn(area.x, area.y, text, usize::from(area.width), style);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_are_filled_exactly() {
        for (text, cells, fitted) in [
            ("ab", 4, "ab  "),
            ("abcde", 4, "abc…"),
            ("日本語", 4, "日… "),
            ("日本", 4, "日本"),
            ("ab", 0, ""),
            ("ab", 1, "…"),
        ] {
            assert_eq!(fit(text, cells, false), fitted);
        }
        assert_eq!(fit("7", 3, true), "  7");
    }

    #[test]
    fn words_are_wrapped() {
        assert_eq!(wrap("one two abcdefgh", 5), ["one", "two", "abcde", "fgh"]);
        assert_eq!(wrap("", 5), [""]);
    }
}
