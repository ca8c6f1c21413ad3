//! Times, lengths and sizes as short words of steady width. Knows nothing of panes.

use jiff::Timestamp;
use jiff::tz::TimeZone;

use crate::engine::ids::{Span, Time};

/// `9s`, `3m12`, `2h05`, `4d02`: at most five cells.
pub fn short(span: Span) -> String {
    let s = span.0 / 1000;
    match s {
        0..60 => format!("{s}s"),
        60..3600 => format!("{}m{:02}", s / 60, s % 60),
        3600..86_400 => format!("{}h{:02}", s / 3600, s / 60 % 60),
        86_400..8_640_000 => format!("{}d{:02}", s / 86_400, s / 3600 % 24),
        _ => "100d+".to_owned(),
    }
}

/// As [`short`], with tenths below ten seconds: for what is over, where `0s` would say nothing.
pub fn fine(span: Span) -> String {
    if span.0 < 9_950 { format!("{:.1}s", span.0 as f64 / 1000.0) } else { short(span) }
}

/// `0:42:10`.
pub fn stopwatch(span: Span) -> String {
    let s = span.0 / 1000;
    format!("{}:{:02}:{:02}", s / 3600, s / 60 % 60, s % 60)
}

/// `12:04:31` in this zone.
pub fn clock(time: Time, zone: &TimeZone) -> String {
    at(time, zone, "%H:%M:%S")
}

/// `12:04`.
pub fn minute(time: Time, zone: &TimeZone) -> String {
    at(time, zone, "%H:%M")
}

/// `26 Nov`.
pub fn day(time: Time, zone: &TimeZone) -> String {
    at(time, zone, "%d %b")
}

fn at(time: Time, zone: &TimeZone, pattern: &str) -> String {
    let stamp = i64::try_from(time.0).ok().and_then(|ms| Timestamp::from_millisecond(ms).ok());
    stamp.map_or_else(|| "—".to_owned(), |stamp| stamp.to_zoned(zone.clone()).strftime(pattern).to_string())
}

/// `812K`, `5.2G`: binary, at most five cells.
pub fn bytes(n: u64) -> String {
    const UNITS: [&str; 6] = ["B", "K", "M", "G", "T", "P"];
    let mut value = n as f64;
    let mut unit = 0;
    while value >= 999.5 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    if unit == 0 || value >= 99.5 { format!("{value:.0}{}", UNITS[unit]) } else { format!("{value:.1}{}", UNITS[unit]) }
}

/// `1,204` as `1 204`: thousands apart.
pub fn count(n: usize) -> String {
    let digits = n.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (i, c) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(' ');
        }
        out.push(c);
    }
    out
}

/// `task` or `tasks`.
pub fn plural(n: usize, word: &str) -> String {
    if n == 1 { format!("1 {word}") } else { format!("{} {word}s", count(n)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_of_time_are_short_at_every_scale() {
        let cases = [(0, "0s"), (59_999, "59s"), (192_000, "3m12"), (7_500_000, "2h05"), (352_800_000, "4d02")];
        for (ms, want) in cases {
            assert_eq!(short(Span(ms)), want);
        }
        assert!(short(Span(u64::MAX)).len() <= 5);
        for (ms, want) in [(0, "0.0s"), (949, "0.9s"), (9_949, "9.9s"), (9_950, "9s"), (10_000, "10s")] {
            assert_eq!(fine(Span(ms)), want);
        }
        assert_eq!(stopwatch(Span(2_530_000)), "0:42:10");
    }

    #[test]
    fn sizes_and_counts_keep_their_width() {
        let cases = [(0, "0B"), (999, "999B"), (1000, "1.0K"), (5_583_457_485, "5.2G"), (120_000_000, "114M")];
        for (n, want) in cases {
            assert_eq!(bytes(n), want);
        }
        assert_eq!(count(1_000_000), "1 000 000");
        assert_eq!(clock(Time(u64::MAX), &TimeZone::UTC), "—");
        assert_eq!(clock(Time(45_871_000), &TimeZone::UTC), "12:44:31");
    }
}
