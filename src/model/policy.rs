//! How a release is rolled out: steps, gates and deadlines. No part of a version's identity; a rollout pins the policy in its
//! record when it starts, so a later edit changes the next rollout and never the running one.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::duration;
use super::gate::{DeclaredGate, Slo};
use super::name::{EnvironmentName, GroupName, ServiceName, TeamName};
use super::traffic::{Cohort, Traffic};

/// How stable is replaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Strategy {
    /// Stable's own Deployment takes the new template, pod by pod.
    Rolling,
    /// A second Deployment, `<name>-canary`, takes a growing share first.
    Canary,
    /// A second Deployment of the full size, `<name>-canary`, takes all traffic at once while the old one still stands.
    BlueGreen,
    /// All of stable's pods end before the first of the new template starts.
    Recreate,
    /// Nothing serves: the version is a Job that runs once, and is stable when it completed. Of services of type `job`, never written.
    Job,
}

impl Strategy {
    /// Tells whether the candidate has a Deployment of its own beside stable's.
    pub fn is_beside(self) -> bool {
        matches!(self, Self::Canary | Self::BlueGreen)
    }

    /// Returns the strategy's name as it stands in the file.
    pub fn name(self) -> &'static str {
        match self {
            Self::Rolling => "rolling",
            Self::Canary => "canary",
            Self::BlueGreen => "blue_green",
            Self::Recreate => "recreate",
            Self::Job => "job",
        }
    }
}

/// One step of a canary.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    /// The share asked for, in per cent, 1 to 100; 0 for the gate before the switch of a blue-green deploy, and beside a cohort. The
    /// last step of a policy is always 100.
    pub weight: u8,
    /// How long the step is observed; zero asks pod state and health check once, unless a person is waited for.
    #[serde(with = "duration")]
    pub pause: Duration,
    /// `pause: manual`: the step lasts until a person promotes it, or approves of it where `approve` says who.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub manual: bool,
    /// Who must agree before the next step.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approve: Option<Approval>,
    /// Whose requests go to the candidate beside its share.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cohort: Option<Cohort>,
}

impl Step {
    /// Makes a step that waits for nobody.
    pub fn timed(weight: u8, pause: Duration) -> Self {
        Self { weight, pause, manual: false, approve: None, cohort: None }
    }

    /// Tells whether the step lasts until a person says something.
    pub fn waits_for_person(&self) -> bool {
        self.manual || self.approve.is_some()
    }
}

/// Who must agree before something goes on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Approval {
    /// The teams whose members may; empty: anybody who may write the release.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub teams: Vec<TeamName>,
    /// How many people, 1 to 20.
    pub count: u32,
    /// How long they are waited for.
    #[serde(with = "duration")]
    pub timeout: Duration,
}

/// The environment in which a commit must have been proven first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Predecessor {
    /// The environment.
    pub environment: EnvironmentName,
    /// How long the commit, or one after it, must have been stable there.
    #[serde(with = "duration")]
    pub soak: Duration,
}

/// What must be there before a rollout starts.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Order {
    /// `environments.X.after`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub environment: Option<Predecessor>,
    /// `deploy.after`: services of the same environment whose declared version must be stable first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub services: Vec<ServiceName>,
    /// `environments.X.approval`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approval: Option<Approval>,
    /// `deploy.group`: the team's services of the same environment that name it go step by step together.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<GroupName>,
}

impl Order {
    /// Tells whether nothing is asked.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// A number of pods, or a share of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Amount {
    /// So many pods.
    Count(u32),
    /// So many per cent of the desired pods, 0 to 100.
    Percent(u32),
}

impl Amount {
    /// Returns the pods that this is of `desired`, rounded up.
    pub fn of_ceil(self, desired: u32) -> u32 {
        match self {
            Self::Count(count) => count,
            Self::Percent(percent) => desired.saturating_mul(percent).div_ceil(100),
        }
    }

    /// Returns the pods that this is of `desired`, rounded down.
    pub fn of_floor(self, desired: u32) -> u32 {
        match self {
            Self::Count(count) => count,
            Self::Percent(percent) => desired.saturating_mul(percent) / 100,
        }
    }
}

/// What a health check asks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CheckKind {
    /// GET and a status within one of the ranges (inclusive).
    Http {
        /// The path, beginning with `/`.
        path: String,
        /// `https` instead of `http`; the pod's certificate is not verified, as kubelet does it.
        tls: bool,
        /// Accepted statuses, inclusive ranges within 100–599.
        status: Vec<(u16, u16)>,
    },
    /// `grpc.health.v1`'s `Check` of the whole server over HTTP/2, which answers that it is serving.
    Grpc,
    /// A connection that is accepted.
    Tcp,
    /// Nothing is asked.
    None,
}

/// The health check of candidate pods, each asked itself and never through the Service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HealthCheck {
    /// What is asked.
    pub kind: CheckKind,
    /// The pod's port.
    pub port: u16,
    /// Time between two checks of one pod.
    #[serde(with = "duration")]
    pub interval: Duration,
    /// Longest wait for an answer; shorter than the interval.
    #[serde(with = "duration")]
    pub timeout: Duration,
    /// Failures in a row of one pod that fail the gate; at least 1.
    pub threshold: u32,
    /// Successes in a row after which a pod counts as checked; at least 1.
    pub success_threshold: u32,
    /// Wait after the pod is Ready before the first check.
    #[serde(with = "duration")]
    pub initial_delay: Duration,
}

/// What becomes of a step that saw fewer requests than `min_requests`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnLowTraffic {
    /// Pod state and health check decide alone.
    Pass,
    /// The step is held, as for unknown.
    Hold,
    /// Rolled back and parked.
    Rollback,
}

/// What becomes of a gate that cannot tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnUnknown {
    /// The weight is held; after `unknown_timeout` rolled back and parked.
    Hold,
    /// Rolled back and parked at once.
    Rollback,
    /// The gate is passed over; pod state and health check decide.
    Continue,
}

/// A share of requests, the fastest ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Quantile {
    /// Half of them.
    P50,
    /// 95 of 100.
    P95,
    /// 99 of 100.
    P99,
}

impl Quantile {
    /// Returns the word.
    pub fn name(self) -> &'static str {
        match self {
            Self::P50 => "p50",
            Self::P95 => "p95",
            Self::P99 => "p99",
        }
    }

    /// Returns the share, 0 to 1.
    pub fn share(self) -> f64 {
        match self {
            Self::P50 => 0.5,
            Self::P95 => 0.95,
            Self::P99 => 0.99,
        }
    }
}

/// How long a share of requests may take.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct LatencyLimit {
    /// The share.
    pub quantile: Quantile,
    /// How long.
    pub most: Longest,
}

/// How long requests may take.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Longest {
    /// So long, 1ms to 1h.
    Time(#[serde(with = "duration")] Duration),
    /// So many times as long as stable's, above 1 to 100.
    TimesStable(f64),
}

/// When a rollout is taken back.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Rollback {
    /// `false`: a failed gate freezes the weight until a person or a newer version ends it, 24 h at most.
    pub auto: bool,
    /// The highest share of failing requests, 0 to 1; `None`: not gated.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_error_rate: Option<f64>,
    /// How long requests may take; empty: not gated.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub max_latency: Vec<LatencyLimit>,
    /// Crashes or out-of-memory kills of one candidate pod that are still accepted; one more fails.
    pub max_restarts: u32,
    /// Requests below which a step's traffic proves nothing.
    pub min_requests: u64,
    /// The window of a verdict, and the bake after a rolling or first deploy.
    #[serde(with = "duration")]
    pub window: Duration,
    /// See [`OnLowTraffic`].
    pub on_low_traffic: OnLowTraffic,
    /// See [`OnUnknown`].
    pub on_unknown: OnUnknown,
    /// How long a gate may stay unknown.
    #[serde(with = "duration")]
    pub unknown_timeout: Duration,
    /// Whether a version whose gate failed is held.
    pub hold: bool,
    /// Kept revisions beside stable and the running candidate, 0 to 50.
    pub history: u32,
}

/// Everything about a rollout that its declaration says.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Policy {
    /// How stable is replaced.
    pub strategy: Strategy,
    /// The steps of a canary or a blue-green deploy, weights strictly increasing, the last 100. For the others: empty.
    pub steps: Vec<Step>,
    /// What moves the traffic.
    #[serde(default)]
    pub traffic: Traffic,
    /// How long a step's pods may take to be ready.
    #[serde(with = "duration")]
    pub progress_deadline: Duration,
    /// How long CI may take to push the image.
    #[serde(with = "duration")]
    pub image_wait: Duration,
    /// Pods above the desired number while rolling.
    pub max_surge: Amount,
    /// Desired pods that may be missing at any time.
    pub max_unavailable: Amount,
    /// The health check.
    pub health: HealthCheck,
    /// The gates' limits.
    pub rollback: Rollback,
    /// What must be there before it starts.
    #[serde(default, skip_serializing_if = "Order::is_empty")]
    pub order: Order,
    /// What the team declares beside them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub gates: Vec<DeclaredGate>,
    /// What a rollout waits for before its first pod.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub slo: Vec<Slo>,
}
