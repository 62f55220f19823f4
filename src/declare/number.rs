//! Quantities and thresholds: `250m`, `128Mi`, `">1%"`, `">2"`.

use std::time::Duration;

use super::diagnostic::Code;
use super::section::{Complaint, cut};
use crate::model::duration;
use crate::model::policy::Longest;

/// A quantity that Kubernetes writes as we do, so that what the server echoes equals what was applied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Quantity {
    /// The canonical text.
    pub(super) text: String,
    /// For CPU thousandths, for memory bytes.
    pub(super) amount: u64,
}

fn bad(what: String, fix: &str) -> Complaint {
    Complaint(Code::Quantity, what, fix.to_owned())
}

/// Parses CPU, at least one thousandth: `250m`, `0.5`, `2`.
pub(super) fn cpu(text: &str) -> Result<Quantity, Complaint> {
    let fix = "write for example 100m (a tenth of a CPU), 0.5 or 2";
    let (amount, _) =
        amount(text, 3).ok_or_else(|| bad(format!("{:?} is not an amount of CPU", cut(text)), fix))?;
    if amount == 0 || amount > 1_000_000 {
        return Err(bad(format!("{:?} is outside 1m to 1000 CPUs", cut(text)), fix));
    }
    let text = if amount.is_multiple_of(1_000) { decimal(amount / 1_000) } else { format!("{amount}m") };
    Ok(Quantity { text, amount })
}

/// Parses memory, at least one mebibyte: `128Mi`, `1Gi`, `500M`.
pub(super) fn memory(text: &str) -> Result<Quantity, Complaint> {
    let fix = "write for example 128Mi or 1Gi";
    let parsed = amount(text, 0);
    let (amount, binary) =
        parsed.ok_or_else(|| bad(format!("{:?} is not an amount of memory", cut(text)), fix))?;
    if !(1 << 20..=1 << 44).contains(&amount) {
        let what = format!(
            "{:?} is outside 1Mi to 16Ti; m means thousandths of a byte, M and Mi mean millions",
            cut(text)
        );
        return Err(bad(what, fix));
    }
    Ok(Quantity { text: if binary { power_of_two(amount) } else { decimal(amount) }, amount })
}

/// Parses a number with a suffix into units of 10^-`scale`, and whether the suffix was one of powers of two. `None` also where it is no
/// whole number of units.
fn amount(text: &str, scale: u32) -> Option<(u64, bool)> {
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, suffix) = text.split_at(end);
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if number.len() > 18 || fraction.contains('.') || (whole.is_empty() && fraction.is_empty()) {
        return None;
    }
    let digits: u128 = format!("{whole}{fraction}").parse().ok()?;
    let (times, divide, binary): (u128, u128, bool) = match suffix {
        "" => (1, 1, false),
        "m" => (1, 1_000, false),
        "k" => (1_000, 1, false),
        "M" => (1_000_000, 1, false),
        "G" => (1_000_000_000, 1, false),
        "T" => (1_000_000_000_000, 1, false),
        "Ki" => (1 << 10, 1, true),
        "Mi" => (1 << 20, 1, true),
        "Gi" => (1 << 30, 1, true),
        "Ti" => (1 << 40, 1, true),
        _ => {
            let exponent: u32 = suffix.strip_prefix(['e', 'E'])?.parse().ok()?;
            (10u128.checked_pow(exponent.min(20))?, 1, false)
        }
    };
    let times = digits.checked_mul(times)?.checked_mul(10u128.checked_pow(scale)?)?;
    let divide = divide.checked_mul(10u128.checked_pow(u32::try_from(fraction.len()).ok()?)?)?;
    if times % divide != 0 {
        return None;
    }
    Some((u64::try_from(times / divide).ok()?, binary))
}

fn shortened(mut amount: u64, step: u64, suffixes: [&str; 5]) -> String {
    let mut suffix = "";
    for next in suffixes {
        if amount == 0 || !amount.is_multiple_of(step) {
            break;
        }
        amount /= step;
        suffix = next;
    }
    format!("{amount}{suffix}")
}

fn decimal(amount: u64) -> String {
    shortened(amount, 1_000, ["k", "M", "G", "T", "P"])
}

fn power_of_two(amount: u64) -> String {
    shortened(amount, 1_024, ["Ki", "Mi", "Gi", "Ti", "Pi"])
}

/// Parses the highest share of failing requests: `">1%"`, `">= 1 %"`, `"1%"`, `0.01`.
pub(super) fn share(text: &str) -> Result<f64, Complaint> {
    let wrong =
        |what: String| Complaint(Code::Threshold, what, "write for example \">1%\" or 0.01".to_owned());
    let number = text.trim_start_matches('>').trim_start_matches('=').trim();
    if text.starts_with('<') {
        return Err(wrong(format!("{:?} would take a healthy version back", cut(text))));
    }
    let (number, percent) = match number.strip_suffix('%') {
        Some(number) => (number.trim(), true),
        None => (number, false),
    };
    let plain = !number.is_empty() && number.chars().all(|c| c.is_ascii_digit() || c == '.');
    let parsed = number.parse::<f64>().ok().filter(|_| plain && text.matches('>').count() < 2);
    let Some(value) = parsed else {
        return Err(wrong(format!("{:?} is not a share of requests", cut(text))));
    };
    let share = if percent { value / 100.0 } else { value };
    if !percent && value >= 1.0 {
        let what = format!("{:?} can mean {number} % or all requests", cut(text));
        return Err(Complaint(Code::Threshold, what, format!("write \">{number}%\"")));
    }
    if share == 0.0 {
        let what = format!("{:?} would take a version back for one failing request", cut(text));
        return Err(wrong(what));
    }
    if (0.0..=1.0).contains(&share) {
        return Ok(share);
    }
    Err(wrong(format!("{:?} is outside 0 % to 100 %", cut(text))))
}

/// Parses how long requests may take: `">500ms"`, `"2s"`, or as a multiple of stable's, `">1.5x"`.
pub(super) fn latency(text: &str) -> Result<Longest, Complaint> {
    let wrong = |what: String| {
        Complaint(
            Code::Threshold,
            what,
            "write for example \">500ms\", or \">1.5x\" for 1.5 times stable's".to_owned(),
        )
    };
    let number = text.strip_prefix('>').unwrap_or(text).trim_start_matches('=').trim();
    if let Some(times) = number.strip_suffix('x') {
        let plain = times.chars().all(|c| c.is_ascii_digit() || c == '.');
        let times = times.parse::<f64>().ok().filter(|_| plain);
        return match times {
            Some(times) if times > 1.0 && times <= 100.0 => Ok(Longest::TimesStable(times)),
            _ => Err(wrong(format!("{:?} is no multiple of stable's above 1x, to 100x", cut(text)))),
        };
    }
    let time = duration::parse(number).map_err(|error| wrong(error.to_string()))?;
    if (Duration::from_millis(1)..=Duration::from_hours(1)).contains(&time) {
        return Ok(Longest::Time(time));
    }
    Err(wrong(format!("{:?} is outside 1ms to 1h", cut(text))))
}

/// Parses how many times something may happen: `">2"` and `2` allow two, `">=2"` allows one.
pub(super) fn count(text: &str) -> Result<u32, Complaint> {
    let wrong = || {
        let what = format!("{:?} is not a number of restarts from 0 to 1000", cut(text));
        Complaint(Code::Threshold, what, "write for example \">2\"".to_owned())
    };
    let (number, less) = match text.strip_prefix(">=") {
        Some(rest) => (rest, 1),
        None => (text.strip_prefix('>').unwrap_or(text), 0),
    };
    let number: u32 = number.trim().parse().map_err(|_| wrong())?;
    number.checked_sub(less).filter(|number| *number <= 1_000).ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities_are_written_as_the_api_server_writes_them() {
        for (text, canonical) in
            [("250m", "250m"), ("0.5", "500m"), ("1000m", "1"), ("2", "2"), (".1", "100m"), ("1e0", "1")]
        {
            assert_eq!(cpu(text).ok().map(|q| q.text).as_deref(), Some(canonical), "{text}");
        }
        for (text, canonical) in [
            ("128Mi", "128Mi"),
            ("1024Mi", "1Gi"),
            ("0.5Gi", "512Mi"),
            ("1.5Gi", "1536Mi"),
            ("134217728", "134217728"),
            ("500M", "500M"),
            ("2000M", "2G"),
            ("1e9", "1G"),
        ] {
            assert_eq!(memory(text).ok().map(|q| q.text).as_deref(), Some(canonical), "{text}");
        }
    }

    #[test]
    fn amounts_that_nobody_means_are_refused() {
        for bad in
            ["", "m", "0", "-1", "1x", "0.0001", "1.2.3", "1e99", "999999999999999999999", "2000", "1 "]
        {
            assert!(cpu(bad).is_err(), "{bad}");
        }
        for bad in ["", "128", "128m", "128mi", "1Ei", "0", "1e", "Mi", "1e400", "99999999999999999Ti"] {
            assert!(memory(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn thresholds_are_read_in_every_form_that_people_write() {
        for (text, limit) in [
            (">1%", 0.01),
            (">= 1 %", 0.01),
            ("1%", 0.01),
            ("0.01", 0.01),
            (">0.1%", 0.001),
            ("> 0.5", 0.5),
            (">100%", 1.0),
        ] {
            let read = share(text).ok().unwrap();
            assert!((read - limit).abs() < 1e-12, "{text}: {read}");
        }
        for bad in [
            "", "0", "0%", ">0.0%", ">", "%", "<1%", "1", "5", ">101%", "1%%", ">>1%", "nan", "inf", "1e-2",
            "-1%", "a%",
        ] {
            assert!(share(bad).is_err(), "{bad}");
        }
        for (text, allowed) in [(">2", 2), ("2", 2), (">=2", 1), ("> 0", 0), (">=1", 0)] {
            assert_eq!(count(text).ok(), Some(allowed), "{text}");
        }
        for (text, limit) in [
            (">500ms", Longest::Time(Duration::from_millis(500))),
            (">= 2s", Longest::Time(Duration::from_secs(2))),
            ("1m", Longest::Time(Duration::from_mins(1))),
            (">1.5x", Longest::TimesStable(1.5)),
            ("2x", Longest::TimesStable(2.0)),
        ] {
            assert_eq!(latency(text).ok(), Some(limit), "{text}");
        }
        for bad in
            ["", ">", "0", ">0ms", "500", ">1x", ">0x", "1e3x", "infx", "101x", "2h", "<5s", ">>5s", "x"]
        {
            assert!(latency(bad).is_err(), "{bad}");
        }
        for bad in ["", ">", ">=0", "1.5", "-1", "<2", "9999"] {
            assert!(count(bad).is_err(), "{bad}");
        }
    }
}
