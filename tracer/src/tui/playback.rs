//! What the view asks of a replay, and what a replay says of itself. No clock: the replay has one.

use crate::{
    cli::{Speed, values},
    event::time::Timestamp,
};

const NS_PER_MS: u64 = 1_000_000;
const NS_PER_S: u64 = 1_000_000_000;
const NS_PER_DAY: u64 = 86_400 * NS_PER_S;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ask {
    /// To stand still, or to go on.
    Hold,
    Faster,
    Slower,
    Go(Goal),
}

/// A moment of the recording.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Goal {
    Start,
    End,
    /// From where it is.
    By {
        ms: i64,
    },
    /// From the first event.
    After {
        ms: u64,
    },
    /// UTC, since midnight.
    TimeOfDay {
        ns: u64,
    },
    At(Timestamp),
}

/// Where a replay is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    pub at: Timestamp,
    /// Of the bytes; `None`: how many there will be is not known.
    pub percent: Option<u8>,
    pub speed: Speed,
    pub held: bool,
}

impl Place {
    /// Whether it looks the same on the screen.
    pub fn looks_like(&self, other: &Place) -> bool {
        let to_the_second = |place: &Place| Place {
            at: Timestamp(place.at.0 / NS_PER_S),
            ..*place
        };
        to_the_second(self) == to_the_second(other)
    }
}

/// What can be typed; within the narrowest terminal.
pub const FORM: &str = "13:40[:23]; 1m30s from the start; +10s, -2m; start; end";

impl Goal {
    pub fn parse(text: &str) -> Result<Self, String> {
        let text = text.trim();
        let wrong = || format!("expected {FORM}");
        let ms = |text: &str| {
            let duration = values::duration(text).map_err(|_| wrong())?;
            u64::try_from(duration.as_millis()).map_err(|_| wrong())
        };
        let by = |text: &str| i64::try_from(ms(text)?).map_err(|_| wrong());
        Ok(match text.as_bytes().first() {
            _ if text == "start" => Goal::Start,
            _ if text == "end" => Goal::End,
            Some(b'+') => Goal::By {
                ms: by(&text[1..])?,
            },
            Some(b'-') => Goal::By {
                ms: -by(&text[1..])?,
            },
            _ if text.contains('T') => Goal::At(Timestamp::parse(text).ok_or_else(wrong)?),
            _ if text.contains(':') => Goal::TimeOfDay {
                ns: time_of_day_ns(text).ok_or_else(wrong)?,
            },
            _ => Goal::After { ms: ms(text)? },
        })
    }

    /// When that is, in a recording that begins at `first` and is at `at`.
    pub fn resolve(self, first: Timestamp, at: Timestamp) -> Timestamp {
        let ns = match self {
            Goal::Start => first.0,
            Goal::End => u64::MAX,
            Goal::By { ms } => {
                let ns = ms.unsigned_abs().saturating_mul(NS_PER_MS);
                if ms < 0 {
                    at.0.saturating_sub(ns)
                } else {
                    at.0.saturating_add(ns)
                }
            }
            Goal::After { ms } => first.0.saturating_add(ms.saturating_mul(NS_PER_MS)),
            Goal::TimeOfDay { ns } => {
                let today = (at.0 / NS_PER_DAY * NS_PER_DAY).saturating_add(ns);
                // A recording that goes on after midnight.
                if today < first.0 {
                    today.saturating_add(NS_PER_DAY)
                } else {
                    today
                }
            }
            Goal::At(at) => at.0,
        };
        Timestamp(ns.max(first.0))
    }
}

/// `13:40` or `13:40:23`.
fn time_of_day_ns(text: &str) -> Option<u64> {
    let seconds = match text.matches(':').count() {
        1 => ":00",
        _ => "",
    };
    let day = format!("1970-01-01T{text}{seconds}Z");
    Timestamp::parse(&day).map(|time| time.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        Timestamp::parse(text).expect("a time")
    }

    #[test]
    fn times_are_understood() {
        let (first, here) = (at("2026-11-20T23:50:00Z"), at("2026-11-20T23:55:00Z"));
        for (text, when) in [
            ("start", "2026-11-20T23:50:00Z"),
            ("23:52", "2026-11-20T23:52:00Z"),
            ("23:52:01.5", "2026-11-20T23:52:01.5Z"),
            ("00:05", "2026-11-21T00:05:00Z"),
            ("90s", "2026-11-20T23:51:30Z"),
            ("+1m", "2026-11-20T23:56:00Z"),
            ("-1m30s", "2026-11-20T23:53:30Z"),
            ("-1h", "2026-11-20T23:50:00Z"),
            ("2026-11-21T01:02:03Z", "2026-11-21T01:02:03Z"),
        ] {
            let goal = Goal::parse(text).expect(text);
            assert_eq!(goal.resolve(first, here), at(when), "{text}");
        }
        let end = Goal::parse("end").map(|goal| goal.resolve(first, here));
        assert_eq!(end, Ok(Timestamp(u64::MAX)));
        // After midnight, a time of the day before.
        let later = at("2026-11-21T00:10:00Z");
        let goal = Goal::parse("00:05").expect("a goal");
        assert_eq!(goal.resolve(first, later), at("2026-11-21T00:05:00Z"));
    }

    #[test]
    fn other_texts_are_refused_with_the_form() {
        for text in [
            "",
            "x",
            "25:00",
            "1:2",
            "+",
            "--1s",
            "10",
            "99999999999999999999s",
            "é:é",
        ] {
            let error = Goal::parse(text).expect_err(text);
            assert!(error.contains("13:40[:23]"), "{text}: {error}");
        }
    }

    #[test]
    fn nothing_overflows() {
        let (first, here) = (Timestamp(5), Timestamp(u64::MAX));
        for goal in [
            Goal::By { ms: i64::MAX },
            Goal::By { ms: i64::MIN },
            Goal::After { ms: u64::MAX },
            Goal::TimeOfDay { ns: 1 },
        ] {
            assert!(goal.resolve(first, here) >= first);
            assert!(goal.resolve(here, here) >= here);
        }
    }
}
