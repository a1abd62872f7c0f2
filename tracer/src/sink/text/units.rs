//! Times, ages and sizes in few characters.

use crate::event::time::Timestamp;

/// `HH:MM:SS.mmm`, UTC.
pub fn clock(ts: Timestamp) -> String {
    let (_, _, _, hour, minute, second, ns) = ts.civil();
    format!("{hour:02}:{minute:02}:{second:02}.{:03}", ns / 1_000_000)
}

/// `YYYY-MM-DD`, UTC.
pub fn date(ts: Timestamp) -> String {
    let (year, month, day, ..) = ts.civil();
    format!("{year:04}-{month:02}-{day:02}")
}

/// At most 6 characters: `812ms`, `2.0s`, `1m05s`, `2h11m`, `3d04h`, `123d`.
pub fn age(ms: u64) -> String {
    let (tenths, seconds) = (ms / 100, ms / 1000);
    let (minutes, hours) = (seconds / 60, seconds / 3600);
    let days = hours / 24;
    match ms {
        0..1_000 => format!("{ms}ms"),
        1_000..60_000 => format!("{seconds}.{}s", tenths % 10),
        60_000..3_600_000 => format!("{minutes}m{:02}s", seconds % 60),
        3_600_000..86_400_000 => format!("{hours}h{:02}m", minutes % 60),
        86_400_000..8_640_000_000 => format!("{days}d{:02}h", hours % 24),
        _ => format!("{days}d"),
    }
}

/// At most 5 characters: exact below 100 000 bytes, then in K, M, G, T, P of 1024.
pub fn size(bytes: u64) -> String {
    if bytes < 100_000 {
        return bytes.to_string();
    }
    let mut unit_bytes = 1u64;
    for unit in ['K', 'M', 'G', 'T'] {
        unit_bytes <<= 10;
        // Rounded down, so that nothing becomes 1024 of a unit, nor more than there was.
        let tenths = u128::from(bytes) * 10 / u128::from(unit_bytes);
        match tenths {
            0..1_000 => return format!("{}.{}{unit}", tenths / 10, tenths % 10),
            1_000..10_240 => return format!("{}{unit}", tenths / 10),
            _ => (),
        }
    }
    format!("{}P", bytes >> 50)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_stay_within_six_characters() {
        for (ms, text) in [
            (0, "0ms"),
            (999, "999ms"),
            (1_000, "1.0s"),
            (2_049, "2.0s"),
            (59_999, "59.9s"),
            (60_000, "1m00s"),
            (3_599_999, "59m59s"),
            (7_875_000, "2h11m"),
            (86_400_000, "1d00h"),
            (8_639_999_999, "99d23h"),
            (8_640_000_000, "100d"),
        ] {
            assert_eq!(age(ms), text);
            assert!(text.len() <= 6);
        }
    }

    #[test]
    fn sizes_stay_within_five_characters() {
        for (bytes, text) in [
            (0, "0"),
            (8_193, "8193"),
            (99_999, "99999"),
            (100_000, "97.6K"),
            (102_400, "100K"),
            (1_048_575, "1023K"),
            (1_048_576, "1.0M"),
            (943_718_400, "900M"),
            (1 << 40, "1.0T"),
            (u64::MAX, "16383P"),
        ] {
            assert_eq!(size(bytes), text);
        }
    }
}
