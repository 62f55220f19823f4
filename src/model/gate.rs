//! Rules that a team declares beside the built-in gates, and the objectives that a deploy waits for.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::duration;

/// What templates in a gate stand for.
pub const VARIABLES: [&str; 4] = ["version", "commit.sha", "env", "service.name"];

/// A declared gate.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DeclaredGate {
    /// The name, unique in its declaration.
    pub name: String,
    /// Where its answer comes from. Templates are still in it.
    #[serde(rename = "measure")]
    pub asks: Asks,
    /// When it is asked.
    pub when: When,
    /// Time between two measurements.
    #[serde(with = "duration")]
    pub interval: Duration,
    /// Failed measurements of one stage, all together, that are still accepted; one more fails.
    pub failure_limit: u32,
    /// Wait before the first measurement of a stage.
    #[serde(with = "duration")]
    pub initial_delay: Duration,
    /// Longest wait for one answer.
    #[serde(with = "duration")]
    pub timeout: Duration,
    /// It is measured and told, and decides nothing.
    #[serde(default)]
    pub dry_run: bool,
}

/// Where a gate's answer comes from. What judges in another way, as a policy does, is another variant: it is judged where these are, in
/// `Bench::judge` of the rollout's gates, and nothing else asks for more than the verdict.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Asks {
    /// A Job that runs once a stage, `failure_limit`, `interval` and `initial_delay` without meaning; the gate's `timeout` is its deadline.
    Run {
        /// What runs.
        job: JobGate,
    },
    /// A measurement that is made again and again.
    Measured(Measure),
}

impl Asks {
    /// Returns what is measured, where something is.
    pub fn measure(&self) -> Option<&Measure> {
        match self {
            Self::Measured(measure) => Some(measure),
            Self::Run { .. } => None,
        }
    }

    /// Returns what runs, where something does.
    pub fn job(&self) -> Option<&JobGate> {
        match self {
            Self::Run { job } => Some(job),
            Self::Measured(_) => None,
        }
    }
}

/// What the Job of a gate runs: one container with all that the workload's first one has, but for ports and probes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobGate {
    /// Instead of the image's entry point and arguments, never empty.
    pub command: Vec<String>,
    /// Another image; `None`: the candidate's pinned one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,
    /// How often a failed pod is replaced by another, 0 to 10.
    #[serde(default)]
    pub retries: u32,
}

/// What is measured.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Measure {
    /// The number that a query of the environment's Prometheus gives.
    Metric {
        /// In PromQL.
        query: String,
        /// The least that passes.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        min: Option<f64>,
        /// The most that passes.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        max: Option<f64>,
    },
    /// What a GET of an address answers.
    Http {
        /// `http` or `https`.
        url: String,
    },
    /// What is left of an error budget, as a share of it; below zero once more is spent than there was.
    Budget {
        /// The rate of good events, in PromQL.
        good: String,
        /// The rate of all events, in PromQL.
        total: String,
        /// The share of events that is to be good, above 0 and below 1.
        objective: f64,
        /// Over which time.
        #[serde(with = "duration")]
        window: Duration,
        /// The least share of the budget that passes, 0 to 1.
        min: f64,
    },
}

impl Measure {
    /// Returns the least and the most that passes.
    pub fn bounds(&self) -> (Option<f64>, Option<f64>) {
        match self {
            Self::Metric { min, max, .. } => (*min, *max),
            Self::Budget { min, .. } => (Some(*min), None),
            Self::Http { .. } => (None, None),
        }
    }
}

/// When a gate is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum When {
    /// Before the first pod: nothing is created until it passed.
    Before,
    /// While a step is observed, and in the bake.
    During,
    /// At the end of the bake: nothing is promoted until it passed.
    After,
}

/// An objective that a deploy waits for: it starts once enough of the error budget is left.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Slo {
    /// The name, unique in its declaration.
    pub name: String,
    /// The budget.
    pub measure: Measure,
}

/// Fills in templates; `value` gives what a variable stands for, as it may stand there. What is no variable stays.
pub fn fill(text: &str, value: impl Fn(&str) -> Option<String>) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("{{") {
        out.push_str(before);
        let inside = after.split_once("}}").and_then(|(name, tail)| Some((value(name.trim())?, tail)));
        if let Some((value, tail)) = inside {
            out.push_str(&value);
            rest = tail;
        } else {
            out.push_str("{{");
            rest = after;
        }
    }
    out.push_str(rest);
    out
}

/// Writes a value so that it means itself within the quotes of a PromQL string.
pub fn in_query(value: &str) -> String {
    let escaped = |c: char| match c {
        '\\' | '"' | '\'' | '`' => vec!['\\', c],
        c if c.is_control() => vec![],
        c => vec![c],
    };
    value.chars().flat_map(escaped).collect()
}

/// Writes a value so that it means itself anywhere in an address (RFC 3986: all but unreserved characters are encoded).
pub fn in_url(value: &str) -> String {
    let encoded = |byte: u8| match byte {
        b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => char::from(byte).to_string(),
        byte => format!("%{byte:02X}"),
    };
    value.bytes().map(encoded).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gates_of_earlier_records_are_read_and_a_job_is_told_from_a_measurement() {
        let measured = r#"{"http":{"url":"https://h"}}"#;
        let job = r#"{"job":{"command":["/check"],"retries":0}}"#;
        let read = |text: &str| serde_json::from_str::<Asks>(text).unwrap();
        assert_eq!(read(measured).measure(), Some(&Measure::Http { url: "https://h".to_owned() }));
        assert_eq!(read(job).job().unwrap().command, ["/check"]);
        for text in [measured, job] {
            assert_eq!(serde_json::to_string(&read(text)).unwrap(), text);
        }
    }

    #[test]
    fn variables_are_filled_in_as_they_may_stand_there() {
        let value = |name: &str| (name == "version").then(|| "v1 \"a\\b&c".to_owned());
        for (text, query, url) in [
            ("x=\"{{version}}\"", r#"x="v1 \"a\\b&c""#, "x=\"v1%20%22a%5Cb%26c\""),
            ("{{ version }}{{env}}", r#"v1 \"a\\b&c{{env}}"#, "v1%20%22a%5Cb%26c{{env}}"),
            ("sum({a=~\"{{\"}) {{", "sum({a=~\"{{\"}) {{", "sum({a=~\"{{\"}) {{"),
        ] {
            assert_eq!(fill(text, |name| value(name).map(|value| in_query(&value))), query);
            assert_eq!(fill(text, |name| value(name).map(|value| in_url(&value))), url);
        }
    }
}
