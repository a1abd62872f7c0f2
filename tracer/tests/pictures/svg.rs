//! Cells as SVG: text that can be selected and searched, in the colours of a dark terminal.

use std::fmt::Write;

use ratatui::{
    buffer::{Buffer, Cell},
    style::{Color, Modifier},
    text::Span,
};

const CELL: (f32, f32) = (8.4, 17.0);
const MARGIN: f32 = 8.0;
/// From the top of a line to the foot of its letters.
const FOOT: f32 = 13.0;

const PAPER: &str = "#14181f";
const INK: &str = "#d7dbe2";

#[derive(PartialEq)]
struct Look {
    ink: &'static str,
    paper: &'static str,
    bold: bool,
    dim: bool,
}

pub fn picture(buffer: &Buffer) -> String {
    let (columns, rows) = (buffer.area.width, buffer.area.height);
    let width = f32::from(columns) * CELL.0 + 2.0 * MARGIN;
    let height = f32::from(rows) * CELL.1 + 2.0 * MARGIN;
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width:.0} {height:.0}\" \
         font-family=\"ui-monospace,'DejaVu Sans Mono',Menlo,Consolas,monospace\" font-size=\"14\">\n\
         <rect width=\"100%\" height=\"100%\" rx=\"6\" fill=\"{PAPER}\"/>\n"
    );
    for (row, cells) in buffer.content.chunks(usize::from(columns)).enumerate() {
        line(row, cells, &mut out);
    }
    out.push_str("</svg>\n");
    out
}

/// Cells that look the same are one text.
fn line(row: usize, cells: &[Cell], out: &mut String) {
    let mut from = 0;
    while from < cells.len() {
        let look = look(&cells[from]);
        let same = cells[from..]
            .iter()
            .take_while(|cell| self::look(cell) == look);
        let to = from + same.count();
        run(row, from, &cells[from..to], &look, out);
        from = to;
    }
}

fn run(row: usize, column: usize, cells: &[Cell], look: &Look, out: &mut String) {
    let (x, y) = (
        MARGIN + column as f32 * CELL.0,
        MARGIN + row as f32 * CELL.1,
    );
    let width = cells.len() as f32 * CELL.0;
    if look.paper != PAPER {
        let _ = writeln!(
            out,
            "<rect x=\"{x:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"{}\" fill=\"{}\"/>",
            CELL.1, look.paper
        );
    }
    // Each column on its own, so that a font of another width does not move the next.
    let mut cell = 0;
    for part in text(cells).split_inclusive("  ") {
        let blank = part.len() - part.trim_start().len();
        let at = x + (cell + blank) as f32 * CELL.0;
        cell += Span::raw(part).width();
        words(part.trim(), at, y, look, out);
    }
}

fn words(text: &str, x: f32, y: f32, look: &Look, out: &mut String) {
    if text.is_empty() {
        return;
    }
    let length = Span::raw(text).width() as f32 * CELL.0;
    let bold = if look.bold {
        " font-weight=\"bold\""
    } else {
        ""
    };
    let dim = if look.dim { " opacity=\"0.6\"" } else { "" };
    let _ = writeln!(
        out,
        "<text x=\"{x:.1}\" y=\"{:.1}\" textLength=\"{length:.1}\" fill=\"{}\"{bold}{dim} \
         xml:space=\"preserve\">{}</text>",
        y + FOOT,
        look.ink,
        escaped(text)
    );
}

/// A wide character's second cell is not drawn.
fn text(cells: &[Cell]) -> String {
    let mut text = String::new();
    let mut skip = 0;
    for cell in cells {
        if skip == 0 {
            text.push_str(cell.symbol());
            skip = Span::raw(cell.symbol()).width().max(1);
        }
        skip -= 1;
    }
    text
}

fn look(cell: &Cell) -> Look {
    let has = |modifier| cell.modifier.contains(modifier);
    let (ink, paper) = (
        colour(cell.fg).unwrap_or(INK),
        colour(cell.bg).unwrap_or(PAPER),
    );
    let turned = has(Modifier::REVERSED);
    Look {
        ink: if turned { paper } else { ink },
        paper: if turned { ink } else { paper },
        bold: has(Modifier::BOLD),
        dim: has(Modifier::DIM),
    }
}

fn colour(colour: Color) -> Option<&'static str> {
    match colour {
        Color::Reset => None,
        Color::Yellow => Some("#e5c07b"),
        Color::Magenta => Some("#ec7bd0"),
        Color::Cyan => Some("#5cc4d1"),
        other => panic!("the default theme has no {other:?}"),
    }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}
