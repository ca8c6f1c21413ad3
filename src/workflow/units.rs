//! Lengths of time, amounts and clock times as a person writes them: `1h30m`, `2GiB`, `14:00`. Exact decimal arithmetic,
//! rounded up to a millisecond or a thousandth. Knows nothing of files.

use crate::engine::ids::{Amount, Span};

/// No length of time is longer: 100 years.
const MAX_SPAN: u128 = 100 * 366 * DAY;
const DAY: u128 = 86_400_000;

/// No amount is larger: four exa-thousandths leave room to add.
const MAX_AMOUNT: u128 = 1 << 62;

/// What a length of time looks like, for hints.
pub(super) const DURATION_HELP: &str = "a length of time has a unit: \"500ms\", \"90s\", \"10m\", \"1h30m\", \"2d\"";
/// What an amount looks like, for hints.
pub(super) const AMOUNT_HELP: &str = "an amount is a number or a size: 2, 0.5, \"500MB\", \"2GiB\"";

/// Digits with perhaps a point: the digits as a number, and how many of them follow the point.
fn decimal(text: &str) -> Option<(u128, u32)> {
    let (whole, part) = text.split_once('.').unwrap_or((text, ""));
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty() || !digits(whole) || !digits(part) || (part.is_empty() && text.contains('.')) {
        return None;
    }
    let all = format!("{whole}{part}");
    let significant = all.trim_start_matches('0');
    if significant.len() > 20 || part.len() > 20 {
        return None;
    }
    let value = if significant.is_empty() { 0 } else { significant.parse().ok()? };
    Some((value, u32::try_from(part.len()).ok()?))
}

/// `number × unit`, rounded up.
fn scaled((value, places): (u128, u32), unit: u128) -> Option<u128> {
    Some(value.checked_mul(unit)?.div_ceil(10u128.checked_pow(places)?))
}

/// Reads `1h30m`.
///
/// # Errors
/// Why not, in words.
pub fn duration(text: &str) -> Result<Span, String> {
    let mut rest = text.trim();
    if rest.is_empty() {
        return Err("an empty text is no length of time".into());
    }
    if rest.starts_with('-') {
        return Err("a length of time cannot be negative".into());
    }
    let mut total = 0u128;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !(c.is_ascii_digit() || c == '.')).unwrap_or(rest.len());
        let number = decimal(&rest[..digits]).ok_or("not a length of time")?;
        rest = rest[digits..].trim_start();
        let letters = rest.find(|c: char| !c.is_alphabetic()).unwrap_or(rest.len());
        let unit = match &rest[..letters] {
            "ms" => 1,
            "s" => 1000,
            "m" => 60_000,
            "h" => 3_600_000,
            "d" => DAY,
            "" => return Err("a unit is missing".into()),
            unit => return Err(format!("`{}` is no unit of time", super::diagnostic::shown(unit))),
        };
        total = scaled(number, unit).and_then(|part| total.checked_add(part)).unwrap_or(u128::MAX);
        rest = rest[letters..].trim_start();
    }
    if total > MAX_SPAN {
        return Err("longer than 100 years".into());
    }
    Ok(Span(u64::try_from(total).expect("100 years in milliseconds fit 64 bits")))
}

/// Reads `2GiB`, `500MB`, `1.5`.
///
/// # Errors
/// Why not, in words.
pub(super) fn amount(text: &str) -> Result<Amount, String> {
    let text = text.trim();
    if text.starts_with('-') {
        return Err("an amount cannot be negative".into());
    }
    let digits = text.find(|c: char| !(c.is_ascii_digit() || c == '.')).unwrap_or(text.len());
    let number = decimal(&text[..digits]).ok_or("not an amount")?;
    let unit: u128 = match text[digits..].trim_start() {
        "" | "B" => 1,
        "kB" | "KB" => 1000,
        "MB" => 1_000_000,
        "GB" => 1_000_000_000,
        "TB" => 1_000_000_000_000,
        "KiB" | "kiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        "TiB" => 1 << 40,
        unit => return Err(format!("`{}` is no unit of size", super::diagnostic::shown(unit))),
    };
    let thousandths = scaled(number, unit * 1000).filter(|amount| *amount <= MAX_AMOUNT).ok_or("too large")?;
    Ok(Amount(u64::try_from(thousandths).expect("2^62 fits 64 bits")))
}

/// Reads a number as RON writes them as an amount.
///
/// # Errors
/// Why not, in words.
pub(super) fn amount_of_number(written: &str) -> Result<Amount, String> {
    let plain = written.strip_prefix('+').unwrap_or(written).replace('_', "");
    if decimal(&plain).is_some() {
        return amount(&plain);
    }
    if let Ok(whole) = ron::from_str::<u64>(written) {
        return amount(&whole.to_string());
    }
    let number: f64 = ron::from_str(written).map_err(|_| "not an amount")?;
    if number < 0.0 {
        return Err("an amount cannot be negative".into());
    }
    let thousandths = (number * 1000.0).ceil();
    if !thousandths.is_finite() || thousandths > MAX_AMOUNT as f64 {
        return Err("too large".into());
    }
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "checked just above")]
    Ok(Amount(thousandths as u64))
}

/// An amount as a person would write it; sizes from a mebibyte on in binary units where `bytes`.
pub(super) fn amount_text(amount: Amount, bytes: bool) -> String {
    let (whole, part) = (amount.0 / 1000, amount.0 % 1000);
    if bytes {
        for (unit, name) in [(1u64 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")] {
            if whole >= unit {
                let tenths = u128::from(whole) * 10 / u128::from(unit);
                let tail = if tenths % 10 == 0 { String::new() } else { format!(".{}", tenths % 10) };
                return format!("{}{tail}{name}", tenths / 10);
            }
        }
    }
    if part == 0 { whole.to_string() } else { format!("{whole}.{}", format!("{part:03}").trim_end_matches('0')) }
}

/// Reads `14:00` or `14:00:30`.
pub(super) fn clock(text: &str) -> Option<jiff::civil::Time> {
    let mut parts = text.trim().split(':').map(|part| {
        let digits = part.len() == 2 && part.bytes().all(|byte| byte.is_ascii_digit());
        if digits { part.parse::<i8>().ok() } else { None }
    });
    let (hour, minute) = (parts.next()??, parts.next()??);
    let second = parts.next().map_or(Some(0), |part| part)?;
    if parts.next().is_some() {
        return None;
    }
    jiff::civil::Time::new(hour, minute, second, 0).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_of_time_are_read_exactly() {
        for (text, milliseconds) in [
            ("0s", 0),
            ("500ms", 500),
            ("90s", 90_000),
            ("1.5s", 1500),
            ("10m", 600_000),
            ("1h30m", 5_400_000),
            ("1h 30m", 5_400_000),
            ("1d", 86_400_000),
            ("0.0001s", 1),
            ("36500d", 3_153_600_000_000),
        ] {
            assert_eq!(duration(text), Ok(Span(milliseconds)), "{text}");
        }
    }

    #[test]
    fn what_is_no_length_of_time_is_refused_with_its_reason() {
        for (text, reason) in [
            ("", "empty"),
            ("10", "unit is missing"),
            ("-5s", "negative"),
            ("5 minutes", "`minutes` is no unit"),
            ("1e999s", "`e` is no unit"),
            ("NaN", "not a length"),
            ("1..5s", "not a length"),
            ("s", "not a length"),
            ("99999999999999999999d", "100 years"),
            ("999999999999999999999d", "not a length"),
            ("36601d", "100 years"),
        ] {
            let refused = duration(text).unwrap_err();
            assert!(refused.contains(reason), "{text}: {refused}");
        }
    }

    #[test]
    fn amounts_are_thousandths_of_their_unit() {
        for (text, thousandths) in [
            ("1", 1000),
            ("0.5", 500),
            ("2GiB", 2 * 1024 * 1024 * 1024 * 1000),
            ("500MB", 500_000_000_000),
            ("1.5KiB", 1_536_000),
            ("0.0001", 1),
            ("64 B", 64_000),
        ] {
            assert_eq!(amount(text), Ok(Amount(thousandths)), "{text}");
        }
        for text in ["", "GiB", "-1", "1e9", "2 giga", "99999999999TiB", "1.", ".5"] {
            assert!(amount(text).is_err(), "{text}");
        }
        assert_eq!(amount_of_number("1_000"), Ok(Amount::units(1000)));
        assert_eq!(amount_of_number("0x10"), Ok(Amount::units(16)));
        assert_eq!(amount_of_number("1e2"), Ok(Amount::units(100)));
        assert!(amount_of_number("1e999").is_err());
        assert!(amount_of_number("-0.5").is_err());
    }

    #[test]
    fn amounts_are_shown_as_they_would_be_written() {
        assert_eq!(amount_text(Amount(1500), false), "1.5");
        assert_eq!(amount_text(Amount(9000), false), "9");
        assert_eq!(amount_text(Amount::units(3 << 29), true), "1.5GiB");
        assert_eq!(amount_text(Amount::units(512), true), "512");
    }

    #[test]
    fn clock_times_are_of_a_day() {
        assert_eq!(clock("14:00"), Some(jiff::civil::time(14, 0, 0, 0)));
        assert_eq!(clock("23:59:59"), Some(jiff::civil::time(23, 59, 59, 0)));
        for text in ["24:00", "1:00", "14:0", "14", "14:00:00:00", "-1:00", "14:60"] {
            assert_eq!(clock(text), None, "{text}");
        }
    }
}
