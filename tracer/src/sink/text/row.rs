//! Lines and columns, counted in characters.

use std::fmt::Display;

/// How a cell looks on a terminal with colours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    Plain,
    /// What is always there.
    Dim,
    /// Heads of columns.
    Bold,
    /// Not clean.
    Yellow,
    /// Something was cut short.
    Red,
}

impl Style {
    /// Select Graphic Rendition parameters, of the colours that every theme keeps readable.
    const fn sgr(self) -> &'static str {
        match self {
            Style::Plain => "",
            Style::Dim => "2",
            Style::Bold => "1",
            Style::Yellow => "33",
            Style::Red => "31",
        }
    }
}

/// Where columns begin, or end if they are aligned to the right.
#[derive(Debug)]
pub struct Columns {
    pub who: usize,
    pub addresses: usize,
    pub why: usize,
    pub age_end: usize,
    pub rx_end: usize,
    pub tx_end: usize,
    /// Only when there is no limit.
    pub closed_by: usize,
    pub errno: usize,
    pub peer: usize,
}

pub const NARROW: Columns = Columns {
    who: 13,
    addresses: 30,
    why: 64,
    age_end: 88,
    rx_end: 94,
    tx_end: 100,
    closed_by: 0,
    errno: 0,
    peer: 0,
};

pub const WIDE: Columns = Columns {
    who: 13,
    addresses: 38,
    why: 98,
    age_end: 124,
    rx_end: 138,
    tx_end: 152,
    closed_by: 154,
    errno: 163,
    peer: 177,
};

/// A line under construction. A cell that is too long moves the next ones; they are back in their
/// columns as soon as there is room.
pub struct Row {
    text: String,
    width: usize,
    colour: bool,
}

impl Row {
    pub fn new(colour: bool) -> Self {
        Row {
            text: String::new(),
            width: 0,
            colour,
        }
    }

    /// Appends a cell that begins at a column.
    pub fn left(&mut self, column: usize, cell: impl Display, style: Style) {
        let cell = cell.to_string();
        self.pad_to(column);
        self.push(&cell, style);
    }

    /// Appends a cell that ends before a column.
    pub fn right(&mut self, end: usize, cell: impl Display, style: Style) {
        let cell = cell.to_string();
        self.pad_to(end.saturating_sub(width(&cell)));
        self.push(&cell, style);
    }

    /// Where a cell can begin so that it ends a space before `end`: at its column, or to the left
    /// of it where the cell before leaves room.
    pub fn place(&self, column: usize, cell: &str, end: usize) -> Option<usize> {
        let latest = end.checked_sub(width(cell) + 1)?;
        let place = column.min(latest).max(self.start(0));
        (place <= latest).then_some(place)
    }

    /// Appends the line.
    pub fn finish(mut self, out: &mut Vec<u8>) {
        self.text.truncate(self.text.trim_end().len());
        out.extend_from_slice(self.text.as_bytes());
        out.push(b'\n');
    }

    fn start(&self, column: usize) -> usize {
        let separator = usize::from(self.width > 0);
        column.max(self.width + separator)
    }

    fn pad_to(&mut self, column: usize) {
        let start = self.start(column);
        self.text
            .extend(std::iter::repeat_n(' ', start - self.width));
        self.width = start;
    }

    fn push(&mut self, cell: &str, style: Style) {
        self.width += width(cell);
        if self.colour && style != Style::Plain {
            self.text.push_str("\x1b[");
            self.text.push_str(style.sgr());
            self.text.push('m');
            self.text.push_str(cell);
            self.text.push_str("\x1b[0m");
        } else {
            self.text.push_str(cell);
        }
    }
}

pub fn width(text: &str) -> usize {
    text.chars().count()
}

/// Appends `text` as lines of at most `limit` characters, each indented. A word that is longer than
/// a line is broken.
pub fn wrap(text: &str, indent: usize, limit: usize, out: &mut Vec<u8>) {
    let room = limit.saturating_sub(indent).max(1);
    let mut line = String::new();
    for word in text.split_whitespace() {
        let mut rest = word;
        if !line.is_empty() {
            if width(&line) + 1 + width(rest) <= room {
                line.push(' ');
                line.push_str(rest);
                continue;
            }
            indented(&line, indent, out);
            line.clear();
        }
        while let Some((end, _)) = rest.char_indices().nth(room) {
            let (head, tail) = rest.split_at(end);
            indented(head, indent, out);
            rest = tail;
        }
        line.push_str(rest);
    }
    if !line.is_empty() {
        indented(&line, indent, out);
    }
}

fn indented(line: &str, indent: usize, out: &mut Vec<u8>) {
    out.extend(std::iter::repeat_n(b' ', indent));
    out.extend_from_slice(line.as_bytes());
    out.push(b'\n');
}

#[cfg(test)]
mod tests {
    use super::*;

    fn finish(row: Row) -> String {
        let mut out = Vec::new();
        row.finish(&mut out);
        String::from_utf8(out).expect("text")
    }

    #[test]
    fn cells_find_back_to_their_columns() {
        let mut row = Row::new(false);
        row.left(0, "a", Style::Plain);
        row.left(4, "too long", Style::Plain);
        row.left(8, "b", Style::Plain);
        row.right(20, 7, Style::Plain);
        assert_eq!(finish(row), "a   too long b     7\n");
    }

    #[test]
    fn a_cell_begins_earlier_when_it_is_long_and_there_is_room() {
        let mut row = Row::new(false);
        row.left(0, "a", Style::Plain);
        for (cell, place) in [
            ("short", Some(4)),
            ("a bit longer", Some(3)),
            ("as long as it", Some(2)),
            ("longer than that", None),
        ] {
            assert_eq!(row.place(4, cell, 16), place, "{cell}");
        }
    }

    #[test]
    fn colours_take_no_room() {
        let mut row = Row::new(true);
        row.left(0, "é", Style::Red);
        row.left(3, "b", Style::Plain);
        assert_eq!(finish(row), "\x1b[31mé\x1b[0m  b\n");
    }

    #[test]
    fn long_text_is_wrapped_and_longer_words_are_broken() {
        let mut out = Vec::new();
        wrap("one two three abcdefghijklmno p", 2, 9, &mut out);
        assert_eq!(
            String::from_utf8_lossy(&out),
            "  one two\n  three\n  abcdefg\n  hijklmn\n  o p\n"
        );
        out.clear();
        wrap("", 2, 9, &mut out);
        assert!(out.is_empty());
    }
}
