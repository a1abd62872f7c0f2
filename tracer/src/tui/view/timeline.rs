//! The timeline of an end, drawn to scale: a letter for each moment, explained below.
//!
//! ```text
//! a──────────────────────────────────b─────────cd
//! a  -816ms  established
//! ```

use ratatui::text::{Line, Span};

use super::{
    text::fit,
    theme::{CHART, FAULT, HEAD, PLAIN},
};
use crate::event::values::{Moment, What};

pub fn draw(moments: &[Moment], cells: usize) -> Vec<Line<'static>> {
    let mut lines = vec![axis(moments, cells)];
    for (letter, moment) in ('a'..).zip(moments) {
        let style = match moment.what {
            What::RstSent | What::RstReceived | What::WriteError | What::ReadError => FAULT,
            _ => PLAIN,
        };
        let bytes = moment.bytes.map(|bytes| format!(" {bytes} bytes"));
        let errno = moment.errno.map(|errno| format!(" {errno}"));
        lines.push(Line::from(vec![
            Span::styled(format!("  {letter} "), HEAD),
            Span::raw(fit(&offset(moment.ms), 10, true)),
            Span::styled(
                format!(
                    "  {}{}{}",
                    moment.what,
                    bytes.unwrap_or_default(),
                    errno.unwrap_or_default()
                ),
                style,
            ),
        ]));
    }
    lines
}

fn offset(ms: i64) -> String {
    let sign = if ms < 0 { "-" } else { "+" };
    format!("{sign}{}", crate::sink::text::units::age(ms.unsigned_abs()))
}

/// Each letter where its time is, or at the next free place.
fn axis(moments: &[Moment], cells: usize) -> Line<'static> {
    let first = moments.iter().map(|moment| moment.ms).min().unwrap_or(0);
    let last = moments.iter().map(|moment| moment.ms).max().unwrap_or(0);
    let span = last.abs_diff(first).max(1);
    let room = cells.max(moments.len() + 1);
    let mut places = vec!['─'; room];
    for (letter, moment) in ('a'..).zip(moments) {
        let at = u128::from(moment.ms.abs_diff(first)) * (room as u128 - 1) / u128::from(span);
        let at = at as usize;
        let free = (at..room)
            .chain((0..at).rev())
            .find(|place| places[*place] == '─');
        if let Some(place) = free {
            places[place] = letter;
        }
    }
    let text: String = places.into_iter().collect();
    Line::styled(format!("  {text}"), CHART)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_where_their_time_is_and_none_hides_another() {
        let moments = [
            Moment::at(-1_000, What::Established),
            Moment::at(-500, What::PeerFin),
            Moment::at(-500, What::WriteAfterFin),
            Moment::at(0, What::RstReceived),
            Moment::at(0, What::Closed),
        ];
        let text = axis(&moments, 11).to_string();
        assert_eq!(text, "  a────bc──ed");
    }

    #[test]
    fn any_number_at_any_time_is_drawn() {
        let moments = vec![
            Moment::at(i64::MIN, What::Closed),
            Moment::at(i64::MAX, What::Closed),
        ];
        assert_eq!(draw(&moments, 0).len(), 3);
        assert_eq!(draw(&[], 10).len(), 1);
        let many: Vec<_> = (0..60_000).map(|ms| Moment::at(ms, What::Stall)).collect();
        assert_eq!(draw(&many[..100], 5).len(), 101);
    }
}
