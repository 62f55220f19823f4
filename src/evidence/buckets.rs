//! Histograms as Prometheus' formats have them: a counter for each upper bound `le`, of everything up to it. Pure and bounded.

use super::exposition::{ExpositionError, LARGEST, LIMIT, labelled, whole};
use crate::model::histogram::Histogram;

/// The durations that are understood, in seconds, tried in this order: OpenTelemetry's name, then the one that most libraries use.
const FAMILIES: [&str; 2] = ["http_server_request_duration_seconds", "http_request_duration_seconds"];
/// Bounds of one histogram.
const BOUNDS: usize = 200;

/// The counters of one histogram, added up over its series.
#[derive(Debug, Clone, Default)]
pub(super) struct Buckets(Vec<(f64, f64)>);

impl Buckets {
    /// Adds a counter; `scale` turns the bound into seconds. The error is one clause.
    pub(super) fn add(&mut self, le: &str, scale: f64, value: f64) -> Result<(), String> {
        let bound = le.parse::<f64>().map(|bound| bound * scale).ok().filter(|bound| !bound.is_nan());
        let Some(bound) = bound else { return Err(format!("{le:?} is no bound of a bucket")) };
        if !(0.0..=LARGEST).contains(&value) {
            return Err(format!("a bucket counts {value}"));
        }
        let full = self.0.len() >= BOUNDS;
        match self.0.iter_mut().find(|(known, _)| known.total_cmp(&bound).is_eq()) {
            Some((_, sum)) => *sum += value,
            None if full => return Err(format!("more than {BOUNDS} buckets")),
            None => self.0.push((bound, value)),
        }
        Ok(())
    }

    /// Returns the requests of each bucket. The error is one clause: no bucket for all, or one with fewer than the one below it.
    pub(super) fn histogram(mut self) -> Result<Histogram, String> {
        self.0.sort_by(|(one, _), (other, _)| one.total_cmp(other));
        if self.0.last().is_none_or(|(bound, _)| bound.is_finite()) {
            return Err("the buckets have no last one of +Inf".to_owned());
        }
        let (mut histogram, mut below) = (Histogram::default(), 0);
        for (bound, sum) in self.0 {
            let sum = whole(sum.min(LARGEST));
            let Some(count) = sum.checked_sub(below) else {
                return Err("the buckets do not add up".to_owned());
            };
            histogram.counts.push(count);
            if bound.is_finite() {
                histogram.bounds.push(bound);
            }
            below = sum;
        }
        Ok(histogram)
    }

    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// Reads the first family of durations that is in a pod's metrics; `None`: there is none.
pub(super) fn read(body: &[u8]) -> Result<Option<Histogram>, String> {
    if body.len() > LIMIT {
        return Err(ExpositionError::TooLarge.to_string());
    }
    let text = std::str::from_utf8(body).map_err(|_| ExpositionError::NotText.to_string())?;
    for family in FAMILIES {
        let buckets = family_of(text, family)?;
        if !buckets.is_empty() {
            return buckets.histogram().map(Some);
        }
    }
    Ok(None)
}

fn family_of(text: &str, family: &str) -> Result<Buckets, String> {
    let mut buckets = Buckets::default();
    for (index, line) in text.lines().enumerate() {
        let rest = line.trim().strip_prefix(family).and_then(|rest| rest.strip_prefix("_bucket"));
        let Some(rest) = rest.filter(|rest| rest.starts_with(['{', ' ', '\t'])) else { continue };
        let mut le = None;
        let value = labelled(rest, |name, value| {
            if name == "le" {
                le = Some(value.to_owned());
            }
        });
        let parsed = value.and_then(|value| value.parse::<f64>().ok());
        let (Some(le), Some(value)) = (le, parsed) else {
            return Err(format!("line {} of the metrics cannot be read", index + 1));
        };
        buckets.add(&le, 1.0, value)?;
    }
    Ok(buckets)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn buckets_become_counts_of_their_own() {
        let plain = "http_request_duration_seconds_bucket{code=\"200\",le=\"0.1\"} 3\nhttp_request_duration_seconds_bucket{code=\"500\",le=\"0.1\"} 1\nhttp_request_duration_seconds_bucket{code=\"200\",le=\"+Inf\"} 5 # {id=\"a\"} 1\nhttp_request_duration_seconds_bucket{code=\"500\",le=\"+Inf\"} 1\n";
        let expected = Histogram { bounds: vec![0.1], counts: vec![4, 2] };
        assert_eq!(read(plain.as_bytes()), Ok(Some(expected)));
        let otel = "http_server_request_duration_seconds_bucket{le=\"+Inf\"} 2\n".to_owned() + plain;
        assert_eq!(read(otel.as_bytes()), Ok(Some(Histogram { bounds: vec![], counts: vec![2] })));
        assert_eq!(read(b"http_request_duration_seconds_sum 7"), Ok(None));
    }

    #[test]
    fn what_is_no_histogram_is_told() {
        let line =
            |le: &str, value: &str| format!("http_request_duration_seconds_bucket{{le=\"{le}\"}} {value}\n");
        for (text, clause) in [
            (line("0.1", "3"), "the buckets have no last one of +Inf"),
            (line("0.1", "3") + &line("+Inf", "2"), "the buckets do not add up"),
            (line("0.1", "NaN"), "a bucket counts NaN"),
            (line("0.1", "-1"), "a bucket counts -1"),
            (line("long", "1"), "\"long\" is no bound of a bucket"),
            (line("NaN", "1"), "\"NaN\" is no bound of a bucket"),
            (
                "http_request_duration_seconds_bucket{x=\"1\"} 1".to_owned(),
                "line 1 of the metrics cannot be read",
            ),
            ((0..300).map(|le| line(&le.to_string(), "1")).collect(), "more than 200 buckets"),
        ] {
            assert_eq!(read(text.as_bytes()), Err(clause.to_owned()), "{text}");
        }
        let mut istio = Buckets::default();
        istio.add("250", 0.001, 4.0).unwrap();
        istio.add("+Inf", 0.001, 4.0).unwrap();
        assert_eq!(istio.histogram(), Ok(Histogram { bounds: vec![0.25], counts: vec![4, 0] }));
    }

    proptest! {
        #[test]
        fn nothing_panics(bytes in proptest::collection::vec(any::<u8>(), 0..300), tail in "\\PC{0,120}") {
            let _ = read(&bytes);
            let _ = read(format!("http_request_duration_seconds_bucket{tail}").as_bytes());
            let _ = read(format!("http_request_duration_seconds_bucket{{le=\"1\",{tail}").as_bytes());
        }
    }
}
