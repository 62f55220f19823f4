//! Sizes, written with their unit.

use std::ops::RangeInclusive;

const UNITS: [(&str, u64); 4] = [("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30), ("TiB", 1 << 40)];

/// Reads a size in bytes within a range. The error says what to write.
pub(super) fn bytes(text: &str, range: &RangeInclusive<u64>) -> Result<u64, String> {
    let example = || format!("{text:?} is not a size: write for example 512KiB or 3MiB");
    let parts = UNITS.iter().find_map(|(unit, of)| Some((text.strip_suffix(unit)?, of)));
    let (number, unit) = parts.ok_or_else(example)?;
    let bytes = number.trim().parse::<u64>().ok().and_then(|number| number.checked_mul(*unit));
    let bytes = bytes.ok_or_else(example)?;
    if range.contains(&bytes) {
        return Ok(bytes);
    }
    Err(format!("{text} is outside of {} to {}", written(*range.start()), written(*range.end())))
}

fn written(bytes: u64) -> String {
    let unit = UNITS.iter().rev().find(|(_, of)| bytes.is_multiple_of(*of) && bytes >= *of);
    unit.map_or_else(|| format!("{bytes} bytes"), |(unit, of)| format!("{}{unit}", bytes / of))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_size_has_a_unit_and_stays_within_its_range() {
        let range = 1 << 10..=16 << 40;
        for (text, expected) in [
            ("1KiB", Ok(1 << 10)),
            ("3 MiB", Ok(3 << 20)),
            ("10GiB", Ok(10 << 30)),
            ("16TiB", Ok(16 << 40)),
            ("17TiB", Err("17TiB is outside of 1KiB to 16TiB")),
            ("0MiB", Err("0MiB is outside of 1KiB to 16TiB")),
            ("10GB", Err("\"10GB\" is not a size: write for example 512KiB or 3MiB")),
            ("1.5GiB", Err("\"1.5GiB\" is not a size: write for example 512KiB or 3MiB")),
            ("99999999999TiB", Err("\"99999999999TiB\" is not a size: write for example 512KiB or 3MiB")),
            ("1024", Err("\"1024\" is not a size: write for example 512KiB or 3MiB")),
        ] {
            assert_eq!(bytes(text, &range), expected.map_err(str::to_owned), "{text}");
        }
    }
}
