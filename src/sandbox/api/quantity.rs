//! Quantities in the form in which the API server writes them back: `0.5` is `500m`, `1024Mi` is `1Gi`.
//!
//! Without it an apply of the same body would differ from what is stored, and so never be a no-op.

const NANO: i128 = 1_000_000_000;

const BINARY: [(&str, u32); 6] = [("Ki", 1), ("Mi", 2), ("Gi", 3), ("Ti", 4), ("Pi", 5), ("Ei", 6)];
const DECIMAL: [(&str, i32); 10] =
    [("n", -9), ("u", -6), ("m", -3), ("", 0), ("k", 3), ("M", 6), ("G", 9), ("T", 12), ("P", 15), ("E", 18)];

/// The canonical text; none if `text` is no quantity.
pub(crate) fn canonical(text: &str) -> Option<String> {
    let at = text.find(|c: char| !matches!(c, '0'..='9' | '.' | '+' | '-')).unwrap_or(text.len());
    let (number, suffix) = text.split_at_checked(at)?;
    if let Some((_, power)) = BINARY.iter().find(|(name, _)| *name == suffix) {
        let nano = nanos(number)?.checked_mul(1024_i128.checked_pow(*power)?)?;
        return Some(binary(nano));
    }
    let power = match DECIMAL.iter().find(|(name, _)| *name == suffix) {
        Some((_, power)) => *power,
        None => suffix.strip_prefix(['e', 'E'])?.parse().ok()?,
    };
    let nano = scaled(nanos(number)?, power)?;
    Some(decimal(nano))
}

fn nanos(number: &str) -> Option<i128> {
    let negative = number.starts_with('-');
    let number = number.trim_start_matches(['+', '-']);
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if whole.is_empty() && fraction.is_empty() {
        return None;
    }
    let digits = |text: &str| if text.is_empty() { Some(0) } else { text.parse::<i128>().ok() };
    let kept: String = format!("{fraction:0<9}").chars().take(9).collect();
    let value = digits(whole)?.checked_mul(NANO)?.checked_add(digits(&kept)?)?;
    Some(if negative { -value } else { value })
}

fn scaled(nano: i128, power: i32) -> Option<i128> {
    let factor = 10_i128.checked_pow(power.unsigned_abs())?;
    if power < 0 { Some(nano / factor) } else { nano.checked_mul(factor) }
}

fn binary(nano: i128) -> String {
    let whole = nano / NANO;
    if nano % NANO != 0 || whole.abs() < 1024 {
        return decimal(nano);
    }
    let (mut value, mut suffix) = (whole, "");
    for (name, _) in BINARY {
        if value % 1024 != 0 {
            break;
        }
        value /= 1024;
        suffix = name;
    }
    format!("{value}{suffix}")
}

fn decimal(nano: i128) -> String {
    if nano == 0 {
        return "0".to_owned();
    }
    let (mut value, mut suffix) = (nano, "n");
    for (name, _) in DECIMAL.iter().skip(1) {
        if value % 1000 != 0 {
            break;
        }
        value /= 1000;
        suffix = name;
    }
    format!("{value}{suffix}")
}

#[cfg(test)]
mod tests {
    use super::canonical;

    #[test]
    fn quantities_are_written_as_the_genuine_server_does() {
        for (given, wanted) in [
            ("1", "1"),
            ("0.5", "500m"),
            ("1000m", "1"),
            ("1500m", "1500m"),
            ("2000", "2k"),
            ("1024Mi", "1Gi"),
            ("1.5Gi", "1536Mi"),
            ("512", "512"),
            ("64Mi", "64Mi"),
            ("1e3", "1k"),
            ("0", "0"),
        ] {
            assert_eq!(canonical(given).as_deref(), Some(wanted), "{given}");
        }
        assert_eq!(canonical("lots"), None);
    }
}
