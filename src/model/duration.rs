//! Durations as people write them: `30s`, `5m`, `1h30m`, `7d`.

use std::time::Duration;

use serde::{Deserialize, Deserializer, Serializer};

/// Why a text is not a duration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DurationError {
    /// A number without its unit.
    #[error("{0:?} has no unit: write for example {0}s or {0}m")]
    NoUnit(String),
    /// Anything else that does not parse.
    #[error("{0:?} is not a duration: write for example 30s, 5m, 1h30m or 7d")]
    Malformed(String),
    /// More than ten years, which nobody means.
    #[error("{0:?} is longer than 3650d")]
    TooLong(String),
}

const LONGEST: u64 = 3650 * 86_400_000;

fn unit_ms(unit: &str) -> Option<u64> {
    Some(match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return None,
    })
}

/// Parses `30s`, `5m`, `1h30m`, `7d`, `250ms`; units are `ms s m h d`. A bare number is refused, `0` apart, so that nobody has
/// to guess its unit.
pub fn parse(text: &str) -> Result<Duration, DurationError> {
    let text = text.trim();
    let malformed = || DurationError::Malformed(text.chars().take(40).collect());
    if text == "0" {
        return Ok(Duration::ZERO);
    }
    if !text.is_empty() && text.chars().all(|c| c.is_ascii_digit()) {
        return Err(DurationError::NoUnit(text.chars().take(40).collect()));
    }
    let mut rest = text;
    let mut total: u64 = 0;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit()).ok_or_else(malformed)?;
        let (number, tail) = rest.split_at(digits);
        let letters = tail.find(|c: char| !c.is_ascii_lowercase()).unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(letters);
        let number: u64 = number.parse().map_err(|_| malformed())?;
        let part = unit_ms(unit).and_then(|ms| number.checked_mul(ms)).ok_or_else(malformed)?;
        total = total.checked_add(part).ok_or_else(malformed)?;
        rest = tail;
    }
    match total {
        _ if text.is_empty() => Err(malformed()),
        ms if ms > LONGEST => Err(DurationError::TooLong(text.to_owned())),
        ms => Ok(Duration::from_millis(ms)),
    }
}

/// Writes a duration the way [`parse`] reads it, largest units first; zero is `0s`.
pub fn format(duration: Duration) -> String {
    let mut ms = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    let mut text = String::new();
    for (unit, name) in [(86_400_000, "d"), (3_600_000, "h"), (60_000, "m"), (1_000, "s"), (1, "ms")] {
        if ms >= unit {
            text.push_str(&(ms / unit).to_string());
            text.push_str(name);
            ms %= unit;
        }
    }
    if text.is_empty() { "0s".to_owned() } else { text }
}

/// Writes a duration for a sentence: the largest unit and the next (`1h30m`, `5m`, `12s`), rounded down; below a second, milliseconds.
pub fn rough(duration: Duration) -> String {
    let ms = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    let cut = match ms {
        0..1_000 => ms,
        1_000..3_600_000 => ms - ms % 1_000,
        3_600_000..86_400_000 => ms - ms % 60_000,
        _ => ms - ms % 3_600_000,
    };
    format(Duration::from_millis(cut))
}

/// Returns a wait that doubles with each of so many failures before it, `longest` at most; no more than ten doublings count.
pub fn doubled(first: Duration, times: u32, longest: Duration) -> Duration {
    first.saturating_mul(1 << times.min(10)).min(longest)
}

/// Serde: a duration as text.
pub fn serialize<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&format(*duration))
}

/// Serde: a duration from text.
pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    let text = String::deserialize(deserializer)?;
    parse(&text).map_err(serde::de::Error::custom)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_doubles_ten_times_and_not_beyond_its_end() {
        let second = Duration::from_secs(1);
        let waits =
            |longest| [0, 1, 3, 10, 11, u32::MAX].map(|times| doubled(second, times, longest).as_secs());
        assert_eq!(waits(Duration::MAX), [1, 2, 8, 1024, 1024, 1024]);
        assert_eq!(waits(Duration::from_secs(5)), [1, 2, 5, 5, 5, 5]);
    }

    #[test]
    fn reads_what_people_write() {
        for (text, seconds) in
            [("30s", 30), ("5m", 300), ("1h30m", 5400), ("7d", 604_800), ("0", 0), ("0s", 0)]
        {
            assert_eq!(parse(text), Ok(Duration::from_secs(seconds)), "{text}");
        }
    }

    #[test]
    fn refuses_what_could_mean_two_things() {
        assert_eq!(parse("30"), Err(DurationError::NoUnit("30".into())));
        for bad in ["", "m", "5 m", "5M", "-5s", "1.5h", "5s5", "99999999999999999999s", "1y"] {
            assert!(parse(bad).is_err(), "{bad}");
        }
        assert_eq!(parse("4000d"), Err(DurationError::TooLong("4000d".into())));
    }

    #[test]
    fn writes_what_it_reads() {
        for text in ["30s", "5m", "1h30m", "7d", "250ms", "1d1h1m1s1ms"] {
            assert_eq!(format(parse(text).unwrap()), text);
        }
        assert_eq!(format(Duration::ZERO), "0s");
        assert_eq!(rough(Duration::from_millis(61_234)), "1m1s");
    }
}
