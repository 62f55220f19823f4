//! Kubernetes quantities (`100m`, `0.5`, `128Mi`, `1e3`) as exact numbers, so that two spellings of one amount are equal. The grammar
//! is that of `k8s.io/apimachinery/pkg/api/resource.Quantity`.

use serde_json::Value;

const NANO: i128 = 1_000_000_000;

/// Reads a quantity in units of 10⁻⁹, rounded away from zero as the API server does. `None`: not a quantity, or beyond 128 bits.
pub(super) fn nano(value: &Value) -> Option<i128> {
    match value {
        Value::String(text) => parse(text.trim()),
        Value::Number(number) => parse(&number.to_string()),
        _ => None,
    }
}

fn parse(text: &str) -> Option<i128> {
    let (negative, unsigned) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let end = unsigned.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(unsigned.len());
    let (number, suffix) = unsigned.split_at(end);
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if (whole.is_empty() && fraction.is_empty()) || fraction.contains('.') || fraction.len() > 18 {
        return None;
    }
    let digits: i128 = format!("{whole}{fraction}").parse().ok()?;
    let (times, divided) = scale(suffix)?;
    let numerator = digits.checked_mul(times)?.checked_mul(NANO)?;
    let denominator = power(u32::try_from(fraction.len()).ok()?)?.checked_mul(divided)?;
    let rounded = numerator.checked_add(denominator - 1)? / denominator;
    Some(if negative { -rounded } else { rounded })
}

fn power(exponent: u32) -> Option<i128> {
    10i128.checked_pow(exponent)
}

/// A suffix as a factor and a divisor.
fn scale(suffix: &str) -> Option<(i128, i128)> {
    Some(match suffix {
        "" => (1, 1),
        "n" => (1, 1_000_000_000),
        "u" => (1, 1_000_000),
        "m" => (1, 1_000),
        "k" => (power(3)?, 1),
        "M" => (power(6)?, 1),
        "G" => (power(9)?, 1),
        "T" => (power(12)?, 1),
        "P" => (power(15)?, 1),
        "E" => (power(18)?, 1),
        "Ki" => (1 << 10, 1),
        "Mi" => (1 << 20, 1),
        "Gi" => (1 << 30, 1),
        "Ti" => (1 << 40, 1),
        "Pi" => (1 << 50, 1),
        "Ei" => (1 << 60, 1),
        _ => {
            let exponent: i32 = suffix.strip_prefix(['e', 'E'])?.parse().ok()?;
            let size = power(exponent.unsigned_abs().min(30))?;
            if exponent < 0 { (1, size) } else { (size, 1) }
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn two_spellings_of_one_amount_are_equal() {
        for (a, b) in [
            (json!("1000m"), json!("1")),
            (json!("0.5"), json!("500m")),
            (json!(2), json!("2")),
            (json!(0.5), json!("500m")),
            (json!("1Gi"), json!("1024Mi")),
            (json!("1e3"), json!("1k")),
            (json!("1E"), json!("1e18")),
            (json!("1E-3"), json!("1m")),
            (json!("+1.50"), json!("1500m")),
            (json!("-1"), json!("-1000m")),
            (json!("0"), json!("0m")),
        ] {
            assert_eq!(nano(&a), nano(&b), "{a} {b}");
            assert!(nano(&a).is_some(), "{a}");
        }
        assert_ne!(nano(&json!("1G")), nano(&json!("1Gi")));
        assert_ne!(nano(&json!("1m")), nano(&json!("1M")));
    }

    #[test]
    fn what_is_no_quantity_is_none() {
        let long = "9".repeat(60);
        for bad in ["", ".", "m", "1.2.3", "1 Gi", "1gi", "0x10", "e3", "1e", "NaN", long.as_str(), "1e400"] {
            assert_eq!(nano(&json!(bad)), None, "{bad}");
        }
        assert_eq!(nano(&json!(null)), None);
    }
}
