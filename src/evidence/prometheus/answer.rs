//! Reads what Prometheus' HTTP API answers. Pure and bounded: whatever stands behind the address may have written it.

use std::collections::BTreeMap;

use serde::Deserialize;

/// The largest answer that is read, in bytes.
pub(super) const LIMIT: usize = 8 << 20;
/// Series in one answer.
const SERIES: usize = 20_000;

/// Why an answer says nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AnswerError {
    /// It is not that of Prometheus' API, a page of a login or a proxy for example.
    #[error("HTTP {0} and not an answer of Prometheus' API")]
    Foreign(u16),
    /// The query was refused.
    #[error("the query was refused: {0}")]
    Refused(String),
    /// The server has a trouble of its own.
    #[error("HTTP {status} {message}")]
    Failed {
        /// The status.
        status: u16,
        /// What it says, at most 200 characters.
        message: String,
    },
    /// Not all of the data was looked at.
    #[error("a partial answer: {0}")]
    Partial(String),
    /// More than is read.
    #[error("the answer is larger than 8 MiB")]
    TooLarge,
    /// More series than are read.
    #[error("the answer has more than {SERIES} series")]
    TooMany,
    /// Neither numbers at one time nor one number.
    #[error("the answer is a {0}; numbers at one time are wanted")]
    Shape(String),
}

/// One number with its labels.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Series {
    pub(super) labels: BTreeMap<String, String>,
    pub(super) value: f64,
}

/// An answer.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Vector {
    /// The time that was looked at, in seconds since 1970 by the server's clock; `None` without any series.
    pub(super) at: Option<f64>,
    pub(super) series: Vec<Series>,
}

#[derive(Deserialize)]
struct Reply {
    status: String,
    #[serde(default)]
    data: Option<Data>,
    #[serde(default)]
    error: String,
    #[serde(default)]
    warnings: Vec<String>,
}

#[derive(Deserialize)]
struct Data {
    #[serde(rename = "resultType")]
    kind: String,
    result: serde_json::Value,
}

#[derive(Deserialize)]
struct Element {
    metric: BTreeMap<String, String>,
    value: Point,
}

/// When, and what: a number in a string, since JSON knows neither infinity nor NaN.
#[derive(Deserialize)]
struct Point(f64, String);

fn cut(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(200).collect()
}

/// Reads an answer.
pub(super) fn read(status: u16, body: &[u8]) -> Result<Vector, AnswerError> {
    let Ok(reply) = serde_json::from_slice::<Reply>(body) else { return Err(AnswerError::Foreign(status)) };
    match (reply.status.as_str(), reply.data) {
        ("success", Some(data)) if (200..300).contains(&status) => {
            if let Some(warning) = reply.warnings.first() {
                return Err(AnswerError::Partial(cut(warning)));
            }
            vector(status, data)
        }
        ("error", _) if matches!(status, 400 | 422) => Err(AnswerError::Refused(cut(&reply.error))),
        ("error", _) => Err(AnswerError::Failed { status, message: cut(&reply.error) }),
        _ => Err(AnswerError::Foreign(status)),
    }
}

fn vector(status: u16, data: Data) -> Result<Vector, AnswerError> {
    let foreign = |_| AnswerError::Foreign(status);
    let elements = match data.kind.as_str() {
        "vector" => {
            if data.result.as_array().is_some_and(|result| result.len() > SERIES) {
                return Err(AnswerError::TooMany);
            }
            serde_json::from_value::<Vec<Element>>(data.result).map_err(foreign)?
        }
        "scalar" => {
            let value = serde_json::from_value::<Point>(data.result).map_err(foreign)?;
            vec![Element { metric: BTreeMap::new(), value }]
        }
        other => return Err(AnswerError::Shape(cut(other))),
    };
    let at = elements.first().map(|element| element.value.0);
    let series = elements.into_iter().map(|Element { metric, value }| {
        // Rust reads NaN, +Inf and -Inf as Prometheus writes them.
        let value = value.1.parse().map_err(|_| AnswerError::Foreign(status))?;
        Ok(Series { labels: metric, value })
    });
    Ok(Vector { at, series: series.collect::<Result<_, _>>()? })
}

/// Takes the one number of an answer.
pub(super) fn single(vector: &Vector) -> Result<f64, String> {
    match vector.series.as_slice() {
        [] => Err("the query gave no data".to_owned()),
        [only] if only.value.is_finite() => Ok(only.value),
        [only] => Err(format!("the query gave {}", only.value)),
        many => Err(format!("the query gave {} series, and one number is wanted", many.len())),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn body(kind: &str, result: &str) -> String {
        format!(r#"{{"status":"success","data":{{"resultType":"{kind}","result":{result}}}}}"#)
    }

    #[test]
    fn numbers_are_read_with_their_labels() {
        let text = body(
            "vector",
            r#"[{"metric":{"pod":"a"},"value":[17.5,"3"]},{"metric":{},"value":[17.5,"NaN"]}]"#,
        );
        let found = read(200, text.as_bytes()).unwrap();
        assert_eq!((found.at, found.series.len()), (Some(17.5), 2));
        assert_eq!(found.series[0].labels["pod"], "a");
        assert!(found.series[1].value.is_nan());
        let found = read(200, body("scalar", r#"[1,"+Inf"]"#).as_bytes()).unwrap();
        assert!(found.series[0].value.is_infinite());
    }

    #[test]
    fn what_is_no_answer_is_told_apart() {
        use AnswerError::{Failed, Foreign, Partial, Refused, Shape};
        let many =
            body("vector", &format!("[{}]", vec![r#"{"metric":{},"value":[1,"1"]}"#; SERIES + 1].join(",")));
        for (status, text, expected) in [
            (200, "<html>sign in</html>".to_owned(), Foreign(200)),
            (502, "bad gateway".to_owned(), Foreign(502)),
            (200, "{}".to_owned(), Foreign(200)),
            (200, body("vector", "7"), Foreign(200)),
            (200, body("vector", r#"[{"metric":{},"value":[1,"many"]}]"#), Foreign(200)),
            (200, body("matrix", "[]"), Shape("matrix".into())),
            (400, r#"{"status":"error","errorType":"bad_data","error":"parse error"}"#.into(), Refused("parse error".into())),
            (503, r#"{"status":"error","error":"starting\nup"}"#.into(), Failed { status: 503, message: "starting up".into() }),
            (200, r#"{"status":"success","data":{"resultType":"vector","result":[]},"warnings":["a store is away"]}"#.into(), Partial("a store is away".into())),
            (200, many, AnswerError::TooMany),
        ] {
            assert_eq!(read(status, text.as_bytes()), Err(expected));
        }
    }

    #[test]
    fn one_finite_number_is_wanted() {
        let of = |values: &[f64]| {
            let series = values.iter().map(|value| Series { labels: BTreeMap::new(), value: *value });
            single(&Vector { at: None, series: series.collect() })
        };
        assert_eq!(of(&[2.5]), Ok(2.5));
        for (values, clause) in [
            (&[][..], "the query gave no data"),
            (&[f64::NAN], "the query gave NaN"),
            (&[f64::INFINITY], "the query gave inf"),
            (&[1.0, 1.0], "the query gave 2 series, and one number is wanted"),
        ] {
            assert_eq!(of(values), Err(clause.to_owned()));
        }
    }

    proptest! {
        #[test]
        fn nothing_panics(status in 0_u16..700, bytes in proptest::collection::vec(any::<u8>(), 0..200), tail in "\\PC{0,80}") {
            let _ = read(status, &bytes);
            let _ = read(status, body("vector", &tail).as_bytes());
        }
    }
}
