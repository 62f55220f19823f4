//! What the evidence loop is asked to measure, and what it measured. Tallies are running totals since the measuring process began
//! to observe one stage of one rollout; the pass adds them to what the record stores.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::gate::Measure;
use super::histogram::Histogram;
use super::policy::HealthCheck;

/// Which of the two sets of pods.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Track {
    /// The pods of the stable version.
    Stable,
    /// The pods of the candidate.
    Candidate,
}

/// What to measure for one release now; replaced whenever it changes, withdrawn when nothing is to be measured.
#[derive(Debug, Clone, PartialEq)]
pub struct Assignment {
    /// The rollout's number.
    pub rollout: u64,
    /// Counts up whenever measuring must begin from zero: a new step, a new phase.
    pub stage: u32,
    /// The health check of candidate pods; stable's pods are asked the same, to tell an outage of the way from one of the service.
    pub health: HealthCheck,
    /// Whether traffic is to be measured at all.
    pub traffic: bool,
    /// Whether durations of requests are to be measured, and the bounds, in seconds, that are asked about.
    pub latency: Option<Vec<f64>>,
    /// Where the traffic numbers come from, once a choice was made: pinned for the rollout.
    pub source: Option<TrafficSource>,
    /// What the team's gates and objectives ask now.
    pub questions: Vec<Question>,
    /// The port whose `/metrics` is read.
    pub metrics_port: u16,
    /// The pods to ask: Ready or once Ready, not being deleted.
    pub pods: Vec<Target>,
}

/// One pod to ask.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// The pod's UID: a re-created pod is another target.
    pub uid: String,
    /// The pod's namespace.
    pub namespace: String,
    /// The pod's name, for sentences and for the API server's pod proxy.
    pub name: String,
    /// The pod's address.
    pub ip: String,
    /// Which set it belongs to.
    pub track: Track,
    /// Since when it is Ready.
    pub ready_since: Timestamp,
}

/// Where requests are counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TrafficSource {
    /// The pods' own `/metrics`.
    PodMetrics,
    /// Our own health checks, each a request.
    Probes,
    /// The environment's Prometheus, by these names.
    Prometheus(Dialect),
}

/// The names by which Prometheus knows the requests that a pod answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Dialect {
    /// `http_server_request_duration_seconds` of OpenTelemetry's semantic conventions, counted by the pods.
    OpenTelemetry,
    /// `http_requests_total` with a label `code` or `status`, counted by the pods.
    Plain,
    /// `istio_requests_total`, counted by the proxy beside each pod.
    Istio,
    /// `envoy_cluster_endpoint_rq_*` by address, counted by the proxies of Envoy Gateway.
    EnvoyGateway,
}

impl TrafficSource {
    /// Returns whose counts they are, for a sentence.
    pub fn name(self) -> &'static str {
        match self {
            Self::PodMetrics => "the pods' metrics",
            Self::Probes => "our own probes",
            Self::Prometheus(Dialect::OpenTelemetry) => "Prometheus (OpenTelemetry)",
            Self::Prometheus(Dialect::Plain) => "Prometheus (http_requests_total)",
            Self::Prometheus(Dialect::Istio) => "Prometheus (Istio)",
            Self::Prometheus(Dialect::EnvoyGateway) => "Prometheus (Envoy Gateway)",
        }
    }
}

/// What was measured of one stage by one process.
#[derive(Debug, Clone, PartialEq)]
pub struct Samples {
    /// The rollout's number, as assigned.
    pub rollout: u64,
    /// The stage, as assigned. Samples of another stage are ignored.
    pub stage: u32,
    /// Tells one measuring process from the next; totals of another session begin at zero.
    pub session: u64,
    /// The time of the newest sample.
    pub last_at: Timestamp,
    /// Per pod UID.
    pub checks: BTreeMap<String, CheckTally>,
    /// Where `candidate` and `stable` come from; `None` until a source answered.
    pub source: Option<TrafficSource>,
    /// Requests that candidate pods answered.
    pub candidate: Traffic,
    /// Requests that stable pods answered, over the same time.
    pub stable: Traffic,
    /// How long requests took, where that was asked.
    pub latency: Option<Latencies>,
    /// What the questions' measurements gave, by their key.
    pub answers: BTreeMap<String, Answers>,
}

/// A measurement that is made again and again.
#[derive(Debug, Clone, PartialEq)]
pub struct Question {
    /// The key of its verdicts.
    pub key: String,
    /// What is measured, templates filled in.
    pub measure: Measure,
    /// Time between two measurements.
    pub interval: Duration,
    /// Wait before the first.
    pub initial_delay: Duration,
    /// Longest wait for one answer.
    pub timeout: Duration,
}

/// The measurements of one question since the stage began.
#[derive(Debug, Clone, PartialEq)]
pub struct Answers {
    /// Those that passed.
    pub passed: u64,
    /// Those that failed.
    pub failed: u64,
    /// The newest.
    pub last: Measured,
    /// The clause of the newest that failed.
    pub last_failure: Option<(String, Option<f64>)>,
    /// When the newest ended.
    pub last_at: Timestamp,
}

/// What one measurement gave.
#[derive(Debug, Clone, PartialEq)]
pub enum Measured {
    /// It is as wanted.
    Pass(Option<f64>),
    /// It is not; one clause, and the number.
    Fail(String, Option<f64>),
    /// It could not be measured: the provider is down, or the number absurd. One clause.
    Unknown(String),
}

/// How long the requests of both tracks took since the stage began.
#[derive(Debug, Clone, PartialEq)]
pub struct Latencies {
    /// Only our own health checks tell: nobody else measures.
    pub probes: bool,
    /// The candidate's.
    pub candidate: Latency,
    /// Stable's.
    pub stable: Latency,
}

/// What is known of a track's durations.
#[derive(Debug, Clone, PartialEq)]
pub enum Latency {
    /// Nothing is known; the reason is one clause.
    Unknown {
        /// Why.
        reason: String,
    },
    /// Every pod of the track was seen in the newest round.
    Seen(Histogram),
}

/// The health checks of one pod.
#[derive(Debug, Clone, PartialEq)]
pub struct CheckTally {
    /// Which set the pod belongs to.
    pub track: Track,
    /// The pod's name.
    pub pod: String,
    /// Successes since the last failure.
    pub passed_in_row: u32,
    /// Failures since the last success.
    pub failed_in_row: u32,
    /// All checks.
    pub asked: u64,
    /// All failed checks.
    pub failed: u64,
    /// What the newest failure was, one clause (`HTTP 503`, `no answer within 2s`, `connection refused`).
    pub last_failure: Option<String>,
    /// When the newest check ended.
    pub last_at: Timestamp,
}

/// What is known of a track's traffic.
#[derive(Debug, Clone, PartialEq)]
pub enum Traffic {
    /// Nothing is known: no pod was scraped, the source is silent or absurd. The reason is one clause.
    Unknown {
        /// Why.
        reason: String,
    },
    /// Every pod of the track was seen in the newest round; zero requests are zero requests.
    Seen(Tally),
}

/// Totals since the stage began.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tally {
    /// Answered requests.
    pub requests: u64,
    /// Those answered with a status of 500 or above, or not at all.
    pub errors: u64,
}

impl Tally {
    /// Returns the sum of two totals.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self {
            requests: self.requests.saturating_add(other.requests),
            errors: self.errors.saturating_add(other.errors),
        }
    }

    /// Returns what came since `earlier`; never below zero.
    #[must_use]
    pub fn since(self, earlier: Self) -> Self {
        Self {
            requests: self.requests.saturating_sub(earlier.requests),
            errors: self.errors.saturating_sub(earlier.errors),
        }
    }
}

/// How long samples may be missing before time is no longer credited: three intervals and two timeouts.
pub fn blind_after(health: &HealthCheck) -> Duration {
    health.interval * 3 + health.timeout * 2
}
