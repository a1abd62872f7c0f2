//! What a story says of the time after which an end came: the timeouts that have this value, and how
//! often that happened. A value that several products share is nobody's.

use super::Span;
use crate::{
    core::{clusters::Repeat, hints::Hints, timeouts::Value},
    event::text::Label,
};

/// Timeouts that a sentence has room for.
const NAMED: usize = 2;

/// ` (60 s: nginx.proxy_read_timeout; 37 of 37 such ends came at 60.0 s)`, or nothing.
pub fn aside(hints: Option<&Hints>, repeat: Option<Repeat>) -> String {
    let often = repeat.filter(Repeat::is_telling).map(|repeat| {
        let Repeat {
            count,
            of,
            clock_ms,
        } = repeat;
        format!("{count} of {of} such ends came at {}", Span(clock_ms))
    });
    let parts: Vec<_> = hints.map(named).into_iter().chain(often).collect();
    if parts.is_empty() {
        return String::new();
    }
    format!(" ({})", parts.join("; "))
}

fn named(hints: &Hints) -> String {
    let value = Value(hints.value_ms);
    let ids: Vec<_> = hints.ids.iter().map(Label::as_str).collect();
    if hints.certain {
        format!("{value}: {}", list(&ids, hints.all, "or"))
    } else {
        format!("{value} is the default of {}", list(&ids, hints.all, "and"))
    }
}

/// `a`, `a and b`, `a, b and 3 others`.
fn list(ids: &[&str], all: usize, joint: &str) -> String {
    match ids {
        [] => String::new(),
        [one] => (*one).to_owned(),
        [one, other] => format!("{one} {joint} {other}"),
        more => {
            let named: Vec<_> = more.iter().copied().take(NAMED).collect();
            let others = match all.saturating_sub(NAMED) {
                1 => "1 other".to_owned(),
                others => format!("{others} others"),
            };
            format!("{} {joint} {others}", named.join(", "))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hints(ids: &[&str], all: usize, certain: bool) -> Hints {
        Hints {
            ids: ids.iter().copied().map(Label::from).collect(),
            value_ms: 60_000,
            all,
            certain,
        }
    }

    #[test]
    fn a_product_is_named_as_the_one_only_where_it_is() {
        for (ids, all, certain, text) in [
            (&["a.x"][..], 1, true, " (60 s: a.x)"),
            (&["a.x", "a.y"], 2, true, " (60 s: a.x or a.y)"),
            (&["a.x"], 1, false, " (60 s is the default of a.x)"),
            (
                &["a.x", "b.y"],
                2,
                false,
                " (60 s is the default of a.x and b.y)",
            ),
            (
                &["a.x", "b.y", "c.z"],
                3,
                false,
                " (60 s is the default of a.x, b.y and 1 other)",
            ),
            (
                &["a", "b", "c", "d", "e"],
                9,
                false,
                " (60 s is the default of a, b and 7 others)",
            ),
        ] {
            assert_eq!(aside(Some(&hints(ids, all, certain)), None), text);
        }
    }

    #[test]
    fn repetition_is_told_from_the_third_time_on_if_it_is_the_rule() {
        let repeat = |count, of, clock_ms| {
            Some(Repeat {
                count,
                of,
                clock_ms,
            })
        };
        assert_eq!(aside(None, repeat(2, 2, 41_500)), "");
        assert_eq!(aside(None, repeat(3, 6, 41_500)), "");
        assert_eq!(
            aside(None, repeat(3, 3, 41_500)),
            " (3 of 3 such ends came at 41.5 s)"
        );
        assert_eq!(
            aside(Some(&hints(&["a.x"], 1, true)), repeat(37, 38, 60_003)),
            " (60 s: a.x; 37 of 38 such ends came at 60.0 s)"
        );
    }
}
