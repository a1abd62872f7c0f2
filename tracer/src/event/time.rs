//! Wall time as RFC 3339, without a time zone or a calendar library: UTC only, and a busy node
//! writes it tens of thousands of times a second.

use serde_json::{Value, json};

use super::json::Json;

/// Nanoseconds since 1970-01-01T00:00:00Z.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Timestamp(pub u64);

impl Timestamp {
    /// Year, month, day, hour, minute, second, nanosecond.
    pub fn civil(self) -> (u32, u32, u32, u32, u32, u32, u32) {
        let seconds = self.0 / 1_000_000_000;
        let (year, month, day) = civil_from_days(seconds / 86_400);
        let of_day = (seconds % 86_400) as u32;
        (
            year,
            month,
            day,
            of_day / 3600,
            of_day / 60 % 60,
            of_day % 60,
            (self.0 % 1_000_000_000) as u32,
        )
    }
}

/// Days since the epoch to a date of the Gregorian calendar, by Howard Hinnant's
/// `civil_from_days` (chrono-compatible low-level date algorithms), for dates after 1970.
fn civil_from_days(days: u64) -> (u32, u32, u32) {
    let z = days + 719_468;
    let era = z / 146_097;
    let doe = z % 146_097;
    let yoe = (doe - doe / 1460 + doe / 36_524 - doe / 146_096) / 365;
    let doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
    let mp = (5 * doy + 2) / 153;
    let day = (doy - (153 * mp + 2) / 5 + 1) as u32;
    let month = if mp < 10 { mp + 3 } else { mp - 9 } as u32;
    let year = (yoe + era * 400) as u32 + u32::from(month <= 2);
    (year, month, day)
}

/// The inverse of [`civil_from_days`], by the same author.
fn days_from_civil(year: u64, month: u64, day: u64) -> u64 {
    let y = year - u64::from(month <= 2);
    let era = y / 400;
    let yoe = y % 400;
    let mp = (month + 9) % 12;
    let doy = (153 * mp + 2) / 5 + day - 1;
    let doe = yoe * 365 + yoe / 4 - yoe / 100 + doy;
    era * 146_097 + doe - 719_468
}

impl Timestamp {
    /// Reads what [`Json::write`] writes, also with fewer digits of the second's fraction, from
    /// 1970 to where the nanoseconds end in 2554.
    pub fn parse(text: &str) -> Option<Self> {
        let bytes = text.strip_suffix('Z')?.as_bytes();
        let number = |from: usize, digits: usize| {
            let digits = bytes.get(from..from + digits)?;
            digits.iter().try_fold(0u64, |value, digit| {
                digit
                    .is_ascii_digit()
                    .then(|| value * 10 + u64::from(digit - b'0'))
            })
        };
        let separators = [(4, b'-'), (7, b'-'), (10, b'T'), (13, b':'), (16, b':')];
        if separators
            .iter()
            .any(|(at, byte)| bytes.get(*at) != Some(byte))
        {
            return None;
        }
        let (year, month, day) = (number(0, 4)?, number(5, 2)?, number(8, 2)?);
        let (hour, minute, second) = (number(11, 2)?, number(14, 2)?, number(17, 2)?);
        let ns = match bytes.len() {
            19 => 0,
            21..=29 if bytes.get(19) == Some(&b'.') => {
                let digits = bytes.len() - 20;
                number(20, digits)? * 10u64.pow(9 - digits as u32)
            }
            _ => return None,
        };
        let real = (1970..2555).contains(&year)
            && (1..=12).contains(&month)
            && (1..=31).contains(&day)
            && hour < 24
            && minute < 60
            && second < 60;
        if !real {
            return None;
        }
        let days = days_from_civil(year, month, day);
        let seconds = days * 86_400 + hour * 3600 + minute * 60 + second;
        seconds
            .checked_mul(1_000_000_000)?
            .checked_add(ns)
            .map(Timestamp)
    }
}

impl Json for Timestamp {
    fn write(&self, out: &mut Vec<u8>) {
        let (year, month, day, hour, minute, second, ns) = self.civil();
        let mut text = *b"\"0000-00-00T00:00:00.000000000Z\"";
        for (at, value) in [
            (1, year / 100),
            (3, year % 100),
            (6, month),
            (9, day),
            (12, hour),
            (15, minute),
            (18, second),
            (21, ns / 10_000_000),
            (23, ns / 100_000 % 100),
            (25, ns / 1_000 % 100),
            (27, ns / 10 % 100),
        ] {
            text[at] += (value / 10) as u8;
            text[at + 1] += (value % 10) as u8;
        }
        text[29] += (ns % 10) as u8;
        out.extend_from_slice(&text);
    }

    fn schema() -> Value {
        json!({
            "type": "string",
            "format": "date-time",
            "pattern": r"^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}\.\d{9}Z$",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_instants() {
        for (ns, text) in [
            (0, "1970-01-01T00:00:00.000000000Z"),
            (951_782_400_000_000_001, "2000-02-29T00:00:00.000000001Z"),
            (1_795_177_416_123_456_789, "2026-11-20T12:23:36.123456789Z"),
            (4_102_444_799_999_999_999, "2099-12-31T23:59:59.999999999Z"),
            (u64::MAX, "2554-07-21T23:34:33.709551615Z"),
        ] {
            let mut out = Vec::new();
            Timestamp(ns).write(&mut out);
            assert_eq!(String::from_utf8_lossy(&out), format!("\"{text}\""));
            assert_eq!(Timestamp::parse(text), Some(Timestamp(ns)));
        }
    }

    #[test]
    fn what_is_no_instant_is_refused() {
        assert_eq!(
            Timestamp::parse("1970-01-01T00:00:01.5Z"),
            Some(Timestamp(1_500_000_000))
        );
        for text in [
            "",
            "Z",
            "1970-01-01",
            "1970-01-01T00:00:00",
            "1969-12-31T23:59:59Z",
            "1970-00-01T00:00:00Z",
            "1970-13-01T00:00:00Z",
            "1970-01-01T24:00:00Z",
            "1970-01-01T00:00:00.Z",
            "1970-01-01T00:00:00.1234567890Z",
            "1970-01-01T00:00:0éZ",
            "9999-12-31T23:59:59Z",
        ] {
            assert_eq!(Timestamp::parse(text), None, "{text}");
        }
    }
}
