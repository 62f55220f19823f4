//! Reads request counters from a pod's `/metrics`: the Prometheus text format 0.0.4 and `OpenMetrics` 1.0, as far as counters need it.
//! Pure, bounded, and never panics: the text comes from a stranger's program.

use crate::model::samples::Tally;

/// The largest text that is read, in bytes.
pub const LIMIT: usize = 4 << 20;
/// Labels of one series.
const LABELS: usize = 64;
/// A value above this (2⁵³) is no count: neighbours cannot be told apart in the format's doubles.
pub(super) const LARGEST: f64 = 9_007_199_254_740_992.0;

/// A counter of requests by response status.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Counter {
    /// The series that counts.
    pub name: &'static str,
    /// The family's names in `# TYPE` lines: Prometheus' and that of `OpenMetrics`.
    pub(super) families: [&'static str; 2],
    /// The labels that hold the status, tried in order.
    pub(super) labels: [&'static str; 2],
    /// Whether a series without a status counts requests that nobody answered (OpenTelemetry leaves the attribute out then).
    pub(super) unanswered: bool,
}

/// The counters that are understood, tried in this order: OpenTelemetry's semantic conventions for HTTP servers, then the name that
/// most client libraries use.
pub const COUNTERS: [Counter; 2] = [
    Counter {
        name: "http_server_request_duration_seconds_count",
        families: ["http_server_request_duration_seconds", "http_server_request_duration_seconds"],
        labels: ["http_response_status_code", "http_response_status_code"],
        unanswered: true,
    },
    Counter {
        name: "http_requests_total",
        families: ["http_requests_total", "http_requests"],
        labels: ["code", "status"],
        unanswered: false,
    },
];

/// What a pod has counted since it started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reading {
    /// Which counter; readings of different counters cannot be compared.
    pub counter: &'static str,
    /// All requests, and those answered with 5xx.
    pub total: Tally,
}

/// Why a text cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ExpositionError {
    /// Larger than [`LIMIT`].
    #[error("the metrics are larger than 4 MiB")]
    TooLarge,
    /// Not UTF-8.
    #[error("the metrics are not text")]
    NotText,
    /// A line of a counter that does not follow the format.
    #[error("line {line} of the metrics cannot be read: {text:?}")]
    Malformed {
        /// From 1.
        line: usize,
        /// The line, at most 80 characters.
        text: String,
    },
    /// NaN, infinite, negative, or beyond 2⁵³.
    #[error("line {line} of the metrics counts {value}")]
    Absurd {
        /// From 1.
        line: usize,
        /// The value as written, at most 40 characters.
        value: String,
    },
}

/// Reads the first counter that is there. `None`: the text has none of the names with a status label, so this source does not apply. A
/// family that is declared and has no series yet has counted nothing.
pub fn read(body: &[u8]) -> Result<Option<Reading>, ExpositionError> {
    if body.len() > LIMIT {
        return Err(ExpositionError::TooLarge);
    }
    let text = std::str::from_utf8(body).map_err(|_| ExpositionError::NotText)?;
    for counter in &COUNTERS {
        if let Some(total) = sum(counter, text)? {
            return Ok(Some(Reading { counter: counter.name, total }));
        }
    }
    Ok(None)
}

#[derive(Clone, Copy, PartialEq)]
pub(super) enum Status {
    Fine,
    Error,
    Missing,
}

/// Adds up all series of a counter.
fn sum(counter: &Counter, text: &str) -> Result<Option<Tally>, ExpositionError> {
    let (mut declared, mut with_status) = (false, false);
    let (mut series, mut requests, mut errors) = (0_u64, 0.0, 0.0);
    for (index, line) in text.lines().enumerate() {
        let line = line.trim();
        declared |= declares(counter, line);
        let Some(rest) = line.strip_prefix(counter.name).filter(|rest| rest.starts_with(['{', ' ', '\t']))
        else {
            continue;
        };
        let number = index + 1;
        let malformed = || ExpositionError::Malformed { line: number, text: line.chars().take(80).collect() };
        let (status, value) = sample(counter, rest).ok_or_else(malformed)?;
        series += 1;
        let value = count(value).ok_or_else(|| match value.parse::<f64>() {
            Ok(_) => ExpositionError::Absurd { line: number, value: value.chars().take(40).collect() },
            Err(_) => malformed(),
        })?;
        with_status |= status != Status::Missing;
        if status != Status::Missing || counter.unanswered {
            requests += value;
        }
        if status == Status::Error || (status == Status::Missing && counter.unanswered) {
            errors += value;
        }
        if requests > LARGEST {
            return Err(ExpositionError::Absurd { line: number, value: requests.to_string() });
        }
    }
    let applies = with_status || (declared && series == 0);
    Ok(applies.then(|| Tally { requests: whole(requests), errors: whole(errors) }))
}

fn declares(counter: &Counter, line: &str) -> bool {
    let mut words = line.split_ascii_whitespace();
    words.next() == Some("#")
        && words.next() == Some("TYPE")
        && words.next().is_some_and(|family| counter.families.contains(&family))
}

/// Within 0 to 2⁵³ by construction; counters may be fractions, requests are not.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
pub(super) fn whole(value: f64) -> u64 {
    value as u64
}

fn count(value: &str) -> Option<f64> {
    value.parse().ok().filter(|value: &f64| (0.0..=LARGEST).contains(value))
}

/// Splits what follows a name into the status and the value's text.
fn sample<'a>(counter: &Counter, rest: &'a str) -> Option<(Status, &'a str)> {
    let mut found: [Status; 2] = [Status::Missing; 2];
    let value = labelled(rest, |name, value| {
        for (label, place) in counter.labels.iter().zip(&mut found) {
            if *label == name {
                *place = status(value);
            }
        }
    })?;
    Some((found.into_iter().find(|status| *status != Status::Missing).unwrap_or(Status::Missing), value))
}

/// Reads what follows a name, `{labels} value [timestamp] [# exemplar]`: tells each label, and returns the value's text.
pub(super) fn labelled(rest: &str, mut each: impl FnMut(&str, &str)) -> Option<&str> {
    let mut rest = rest.trim_start();
    if let Some(inside) = rest.strip_prefix('{') {
        rest = inside.trim_start();
        let mut seen = 0;
        while !rest.starts_with('}') {
            seen += 1;
            let (name, after) = rest.split_once('=')?;
            let (value, after) = quoted(after.trim_start())?;
            each(name.trim(), &value);
            let after = after.trim_start();
            rest = match after.strip_prefix(',') {
                Some(next) => next.trim_start(),
                None if after.starts_with('}') => after,
                None => return None,
            };
            if seen > LABELS {
                return None;
            }
        }
        rest = rest.strip_prefix('}')?;
    }
    rest.split_ascii_whitespace().next()
}

/// Reads a quoted label value with its escapes, and returns what follows it.
fn quoted(text: &str) -> Option<(String, &str)> {
    let text = text.strip_prefix('"')?;
    let mut value = String::new();
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Some((value, text.get(at + 1..)?)),
            '\\' => value.push(match chars.next()?.1 {
                'n' => '\n',
                other => other,
            }),
            _ => value.push(c),
        }
    }
    None
}

/// `503`, `5xx`: a class of statuses is as good as a status. Anything else is none.
pub(super) fn status(value: &str) -> Status {
    let mut chars = value.chars();
    let class = chars.next();
    let rest = chars.as_str();
    let code =
        rest.len() == 2 && (rest.chars().all(|c| c.is_ascii_digit()) || rest.eq_ignore_ascii_case("xx"));
    match class {
        Some('5') if code => Status::Error,
        Some('1'..='4') if code => Status::Fine,
        _ => Status::Missing,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const OTEL: &str = "http_server_request_duration_seconds_count";

    fn reading(counter: &'static str, requests: u64, errors: u64) -> Reading {
        Reading { counter, total: Tally { requests, errors } }
    }

    #[test]
    fn counters_are_added_up_by_status() {
        let plain = "http_requests_total";
        let cases = [
            ("", None),
            ("<html>http_requests_total</html>", None),
            ("http_requests_total 5\n", None),
            ("http_requests_total_sum{code=\"500\"} 5\n", None),
            ("http_requests_total{path=\"/\"} 5\n", None),
            ("http_requests_total{code=\"ok\"} 5\n", None),
            (
                "# HELP http_requests_total x\n# TYPE http_requests_total counter\nhttp_requests_total{code=\"200\"} 7\nhttp_requests_total{code=\"503\"} 2\n",
                Some(reading(plain, 9, 2)),
            ),
            ("# TYPE http_requests_total counter\n", Some(reading(plain, 0, 0))),
            (
                "# TYPE http_requests counter\nhttp_requests_total{status=\"5xx\"} 3 # {id=\"a\"} 1\n# EOF",
                Some(reading(plain, 3, 3)),
            ),
            (
                "http_requests_total{ method = \"GET\", status=\"404\" , } 4.0 1700000000000\r\nhttp_requests_total{p=\"a\\\"},b\\\\\",code=\"500\"}\t1e1",
                Some(reading(plain, 14, 10)),
            ),
            ("http_requests_total{code=\"200\",status=\"500\"} 4", Some(reading(plain, 4, 0))),
            ("http_requests_total{code=\"200\"} 4\nhttp_requests_total 4", Some(reading(plain, 4, 0))),
            (
                "http_requests_total{code=\"200\"} 1\nhttp_server_request_duration_seconds_count{http_response_status_code=\"500\"} 2\nhttp_server_request_duration_seconds_bucket{http_response_status_code=\"500\",le=\"1\"} 99",
                Some(reading(OTEL, 2, 2)),
            ),
            (
                "http_server_request_duration_seconds_count{http_response_status_code=\"200\"} 5\nhttp_server_request_duration_seconds_count{error_type=\"timeout\"} 2",
                Some(reading(OTEL, 7, 2)),
            ),
            ("# TYPE http_server_request_duration_seconds histogram", Some(reading(OTEL, 0, 0))),
        ];
        for (text, expected) in cases {
            assert_eq!(read(text.as_bytes()), Ok(expected), "{text}");
        }
    }

    #[test]
    fn absurd_values_are_no_counts() {
        for value in ["NaN", "+Inf", "-Inf", "-1", "1e300", "9007199254740994"] {
            let text = format!("\nhttp_requests_total{{code=\"200\"}} {value}\n");
            let expected = ExpositionError::Absurd { line: 2, value: value.into() };
            assert_eq!(read(text.as_bytes()), Err(expected));
        }
        let twice = "http_requests_total{code=\"200\"} 9007199254740992\n".repeat(2);
        assert!(matches!(read(twice.as_bytes()), Err(ExpositionError::Absurd { line: 2, .. })));
    }

    #[test]
    fn what_breaks_the_format_is_named_by_line() {
        let labels = "l=\"x\",".repeat(100);
        let many = format!("http_requests_total{{{labels}code=\"200\"}} 1");
        for text in [
            "http_requests_total{code=\"200\"}",
            "http_requests_total{code=\"200\"} many",
            "http_requests_total{code=\"200\" 5",
            "http_requests_total{code=200} 5",
            "http_requests_total{code=\"200",
            "http_requests_total{",
            &many,
        ] {
            assert!(
                matches!(read(text.as_bytes()), Err(ExpositionError::Malformed { line: 1, .. })),
                "{text}"
            );
        }
        assert_eq!(read(&[0xff, 0xfe]), Err(ExpositionError::NotText));
        assert_eq!(read(&vec![b' '; LIMIT + 1]), Err(ExpositionError::TooLarge));
    }

    proptest! {
        #[test]
        fn nothing_panics(bytes in proptest::collection::vec(any::<u8>(), 0..300), tail in "\\PC{0,120}") {
            let _ = read(&bytes);
            let _ = read(format!("http_requests_total{tail}").as_bytes());
            let _ = read(format!("http_requests_total{{{tail}").as_bytes());
        }

        #[test]
        fn errors_are_among_the_requests(series in proptest::collection::vec((100_u16..600, 0_u32..1_000_000), 1..20)) {
            let line = |(code, value): &(u16, u32)| format!("http_requests_total{{code=\"{code}\"}} {value}");
            let text = series.iter().map(line).collect::<Vec<_>>().join("\n");
            let total: u64 = series.iter().map(|(_, value)| u64::from(*value)).sum();
            let bad = series.iter().filter(|(code, _)| *code >= 500).map(|(_, value)| u64::from(*value)).sum();
            prop_assert_eq!(read(text.as_bytes()), Ok(Some(reading("http_requests_total", total, bad))));
        }
    }
}
