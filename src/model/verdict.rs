//! What a gate says: pass, fail or unknown, with its numbers, and the one sentence that log, event and command line share.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::duration;

/// Which rule spoke.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Gate {
    /// What the watch says of the candidate's pods.
    PodState,
    /// The candidate's own health check.
    HealthCheck,
    /// The share of failing requests.
    ErrorRate,
    /// How long requests take.
    Latency,
    /// A gate that the team declared; the verdict has its name.
    Declared,
    /// The run of a service that is a job.
    Job,
    /// An objective that a rollout waits for; the verdict has its name.
    Slo,
    /// A deadline of ours.
    Deadline,
    /// The image and its registry.
    Image,
    /// A person's command.
    Command,
    /// What comes before it.
    Order,
    /// The API server refused what the rollout needs (quota, admission, rights).
    Cluster,
}

impl Gate {
    /// Returns the gate's name as it stands in labels and sentences.
    pub fn name(self) -> &'static str {
        match self {
            Self::PodState => "pod_state",
            Self::HealthCheck => "health_check",
            Self::ErrorRate => "error_rate",
            Self::Latency => "latency",
            Self::Declared => "gate",
            Self::Job => "job",
            Self::Slo => "slo",
            Self::Deadline => "deadline",
            Self::Image => "image",
            Self::Command => "command",
            Self::Order => "order",
            Self::Cluster => "cluster",
        }
    }
}

/// The numbers behind a verdict, where there are any.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Numbers {
    /// What was measured, in the gate's unit (a share for error rates, seconds for latency, a count for restarts and checks).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<f64>,
    /// What is allowed, in the same unit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<f64>,
    /// How many samples the value rests on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub samples: Option<u64>,
    /// The time that they span, in seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub window_seconds: Option<u64>,
    /// Who measured it (`the pods' metrics`, `Prometheus (Istio)`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provider: Option<String>,
}

/// The three answers. Unknown is its own answer: never by itself a failure of the service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// The rule holds.
    Pass,
    /// Cannot tell.
    Unknown,
    /// The rule is broken, and the numbers show it.
    Fail,
}

impl Answer {
    /// Returns the answer's name as it stands in labels.
    pub fn name(self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Unknown => "unknown",
            Self::Fail => "fail",
        }
    }
}

/// What a gate says, with its reason.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Verdict {
    /// Which rule.
    pub gate: Gate,
    /// The name of a gate or objective that the team declared.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// It is only told, and decides nothing.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub dry_run: bool,
    /// What it says.
    pub answer: Answer,
    /// Why, one clause without the numbers (`5.1 % of requests failed`).
    pub reason: String,
    /// The numbers.
    #[serde(default)]
    pub numbers: Numbers,
}

impl Verdict {
    fn new(gate: Gate, answer: Answer, reason: impl Into<String>) -> Self {
        let (name, dry_run, numbers) = (None, false, Numbers::default());
        Self { gate, name, dry_run, answer, reason: reason.into(), numbers }
    }

    /// Returns under what the newest verdict of this rule is kept: the gate's name, and a declared one's own after it.
    pub fn key(&self) -> String {
        match &self.name {
            Some(name) => format!("{}/{name}", self.gate.name()),
            None => self.gate.name().to_owned(),
        }
    }

    /// Adds the name of a gate or objective that the team declared.
    #[must_use]
    pub fn named(mut self, name: &str) -> Self {
        self.name = Some(name.to_owned());
        self
    }

    /// Makes a passing verdict.
    pub fn pass(gate: Gate, reason: impl Into<String>) -> Self {
        Self::new(gate, Answer::Pass, reason)
    }

    /// Makes an unknown verdict.
    pub fn unknown(gate: Gate, reason: impl Into<String>) -> Self {
        Self::new(gate, Answer::Unknown, reason)
    }

    /// Makes a failing verdict.
    pub fn fail(gate: Gate, reason: impl Into<String>) -> Self {
        Self::new(gate, Answer::Fail, reason)
    }

    /// Adds the numbers.
    #[must_use]
    pub fn with(mut self, numbers: Numbers) -> Self {
        self.numbers = numbers;
        self
    }
}

fn number(gate: Gate, value: f64) -> String {
    match gate {
        Gate::ErrorRate => format!("{:.2} %", value * 100.0),
        // In seconds.
        Gate::Latency if value < 10.0 => format!("{:.0} ms", value * 1_000.0),
        Gate::Latency => format!("{value:.1} s"),
        Gate::Slo => format!("{:.1} %", value * 100.0),
        _ => format!("{value}"),
    }
}

/// The sentence: gate, answer, reason, value, limit, samples, window.
impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Numbers { value, limit, samples, window_seconds, provider } = &self.numbers;
        f.write_str(self.gate.name())?;
        if let Some(name) = &self.name {
            write!(f, " {name}")?;
        }
        let dry_run = if self.dry_run { " (dry run)" } else { "" };
        write!(f, " {}{dry_run}: {}", self.answer.name(), self.reason)?;
        let mut parts = Vec::new();
        if let Some(value) = value {
            parts.push(format!("value {}", number(self.gate, *value)));
        }
        if let Some(limit) = limit {
            parts.push(format!("limit {}", number(self.gate, *limit)));
        }
        // Where there is none the reason says so.
        if let Some(samples) = samples.filter(|samples| *samples > 0) {
            let noun = if samples == 1 { "sample" } else { "samples" };
            parts.push(format!("{samples} {noun}"));
        }
        if let Some(seconds) = window_seconds {
            parts.push(format!("over {}", duration::rough(Duration::from_secs(*seconds))));
        }
        if let Some(provider) = provider {
            parts.push(format!("by {provider}"));
        }
        if parts.is_empty() { Ok(()) } else { write!(f, " ({})", parts.join(", ")) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_sentence_carries_value_limit_number_and_window() {
        let numbers = Numbers {
            value: Some(0.051),
            limit: Some(0.01),
            samples: Some(1234),
            window_seconds: Some(120),
            ..Numbers::default()
        };
        let verdict = Verdict::fail(Gate::ErrorRate, "the candidate fails too many requests").with(numbers);
        assert_eq!(
            verdict.to_string(),
            "error_rate fail: the candidate fails too many requests (value 5.10 %, limit 1.00 %, 1234 samples, over 2m)"
        );
        let one = Numbers { samples: Some(1), ..Numbers::default() };
        let verdict = Verdict::pass(Gate::HealthCheck, "the pod answers").with(one);
        assert_eq!(verdict.to_string(), "health_check pass: the pod answers (1 sample)");
        let numbers =
            Numbers { value: Some(0.25), provider: Some("Prometheus".into()), ..Numbers::default() };
        let verdict =
            Verdict { dry_run: true, ..Verdict::fail(Gate::Declared, "too few").named("sold").with(numbers) };
        assert_eq!(verdict.to_string(), "gate sold fail (dry run): too few (value 0.25, by Prometheus)");
        assert_eq!(verdict.key(), "gate/sold");
    }
}
