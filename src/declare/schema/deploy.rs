//! How it is rolled out: `deploy`, `healthcheck`, `rollback`.

use std::collections::BTreeMap;

use schemars::JsonSchema;

use super::gates::Gate;
use super::{Duration, Loose, Scalar};

/// A limit: ">1%", ">= 1 %", "1%", 0.01, ">2".
#[derive(JsonSchema)]
#[schemars(untagged)]
pub(super) enum Threshold {
    Text(String),
    Number(f64),
}

/// A number, or a share as in 25%.
#[derive(JsonSchema)]
#[schemars(untagged)]
pub(super) enum Amount {
    Count(u32),
    Share(String),
}

#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
pub(super) struct Deploy {
    /// How stable is replaced. Default rolling, or canary where there are steps.
    pub(super) strategy: Option<Strategy>,
    /// The steps, weights increasing; a missing last step of 100 is added.
    pub(super) canary: Option<Vec<Step>>,
    /// Who moves the traffic of a canary or a blue-green deploy.
    pub(super) traffic: Option<Traffic>,
    /// How long a step's pods may take to be ready. Default 10m.
    pub(super) progress_deadline: Option<Duration>,
    /// Pods above the wanted number while rolling. Default 25%.
    pub(super) max_surge: Option<Amount>,
    /// Wanted pods that may be missing. Default 0.
    pub(super) max_unavailable: Option<Amount>,
    /// Whether objects that the commit dropped are deleted.
    #[schemars(extend("x-unsupported" = true))]
    pub(super) prune: Option<Loose>,
    /// Whether foreign edits are put back.
    #[schemars(extend("x-unsupported" = true))]
    pub(super) self_heal: Option<bool>,
    /// Services whose declared version must be stable first.
    pub(super) after: Option<Vec<String>>,
    /// The team's services that name it go from step to step together, and back together.
    pub(super) group: Option<String>,
    /// Jobs before and after.
    #[schemars(extend("x-unsupported" = true))]
    pub(super) hooks: Option<Loose>,
    /// Default apply; observe writes nothing but the `Release` and events.
    pub(super) mode: Option<Mode>,
    /// What candidate pods are asked.
    pub(super) healthcheck: Option<HealthCheck>,
    /// When a rollout is taken back.
    pub(super) rollback: Option<Rollback>,
    /// More rules.
    pub(super) gates: Option<Vec<Gate>>,
}

#[derive(JsonSchema)]
#[schemars(rename_all = "snake_case")]
pub(super) enum Strategy {
    Rolling,
    Canary,
    BlueGreen,
    Recreate,
}

#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
pub(super) struct Traffic {
    /// Default auto: the one route of the namespace that names the Service, else by the number of pods. nginx is not enforced yet.
    pub(super) provider: Option<Provider>,
    /// The name of the `HTTPRoute` or `VirtualService`; default: the one that names the Service.
    pub(super) route: Option<String>,
    /// The one gateway that has to accept the route; default: all that it is attached to.
    pub(super) gateway: Option<String>,
}

#[derive(JsonSchema)]
#[schemars(rename_all = "snake_case")]
pub(super) enum Provider {
    Auto,
    Replicas,
    GatewayApi,
    Istio,
    Nginx,
}

#[derive(JsonSchema)]
#[schemars(rename_all = "snake_case")]
pub(super) enum Mode {
    Apply,
    Observe,
}

#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
pub(super) struct Step {
    /// The candidate's share in per cent; 0 only beside `match`.
    #[schemars(range(min = 0, max = 100))]
    pub(super) weight: u8,
    /// How long it is observed, or `manual` (`{}` is the same): until a person promotes it. Default 0s: pod state and health check once.
    pub(super) pause: Option<Pause>,
    /// The candidate's pods.
    #[schemars(extend("x-unsupported" = true))]
    pub(super) replicas: Option<Loose>,
    /// Whose requests go there whatever the weight; all conditions have to hold. Needs a route.
    #[schemars(rename = "match")]
    pub(super) cohort: Option<Cohort>,
    /// Who must agree before the next step.
    pub(super) approve: Option<Approval>,
}

/// Whose requests go to the candidate.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
pub(super) struct Cohort {
    /// Headers with exactly these values.
    pub(super) header: Option<BTreeMap<String, Scalar>>,
    /// One cookie with exactly this value.
    pub(super) cookie: Option<BTreeMap<String, Scalar>>,
}

/// Who must agree before something goes on.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
pub(super) struct Approval {
    /// The teams whose members may. Default: everybody who may change the release.
    pub(super) teams: Option<Vec<String>>,
    /// How many people. Default 1.
    #[schemars(range(min = 1, max = 20))]
    pub(super) count: Option<u32>,
    /// How long they are waited for; then the rollout ends and waits for `idp rollout retry`. Default 24h.
    pub(super) timeout: Option<Duration>,
}

#[derive(JsonSchema)]
#[schemars(untagged)]
pub(super) enum Pause {
    /// A duration, or `manual`.
    Text(String),
    Zero(u8),
    Open(BTreeMap<String, Loose>),
}

#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
pub(super) struct HealthCheck {
    /// Default tcp, or http where there is a path.
    #[schemars(rename = "type")]
    pub(super) kind: Option<CheckType>,
    /// The path of http.
    pub(super) path: Option<String>,
    /// The port; default: the workload's.
    #[schemars(range(min = 1))]
    pub(super) port: Option<u16>,
    /// http or https. Default http.
    pub(super) scheme: Option<Scheme>,
    /// Accepted statuses, as in 200-399 or 200,204. Default 200-399.
    pub(super) status: Option<Scalar>,
    /// Time between two checks of one pod. Default 10s.
    pub(super) interval: Option<Duration>,
    /// Longest wait for an answer, shorter than the interval. Default 2s.
    pub(super) timeout: Option<Duration>,
    /// Failures in a row that fail. Default 3.
    #[schemars(range(min = 1, max = 100))]
    pub(super) threshold: Option<u32>,
    /// Successes in a row that pass. Default 1.
    #[schemars(range(min = 1, max = 100))]
    pub(super) success_threshold: Option<u32>,
    /// Wait after Ready. Default 0s.
    pub(super) initial_delay: Option<Duration>,
    /// `canary_pods`; `service` is not enforced yet.
    pub(super) target: Option<CheckTarget>,
}

#[derive(JsonSchema)]
#[schemars(rename_all = "snake_case")]
pub(super) enum CheckType {
    Http,
    Tcp,
    Grpc,
    None,
}

#[derive(JsonSchema)]
#[schemars(rename_all = "snake_case")]
pub(super) enum Scheme {
    Http,
    Https,
}

#[derive(JsonSchema)]
#[schemars(rename_all = "snake_case")]
pub(super) enum CheckTarget {
    CanaryPods,
    Service,
}

#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
pub(super) struct Rollback {
    /// Default true; false freezes the weight when a gate fails.
    pub(super) auto: Option<bool>,
    /// The highest share of failing requests. Default ">1%".
    pub(super) on_error_rate: Option<Threshold>,
    /// How long requests may take. Default: not gated.
    pub(super) on_latency: Option<Latency>,
    /// Restarts of one pod. Default ">2".
    pub(super) on_restarts: Option<Threshold>,
    /// Fewer requests at a step's end are low traffic. Default 100.
    pub(super) min_requests: Option<u64>,
    /// The window of a verdict, and the bake after a rolling deploy. Default 2m.
    pub(super) window: Option<Duration>,
    /// What low traffic means. Default pass, hold for tier critical.
    pub(super) on_low_traffic: Option<OnLowTraffic>,
    /// What a gate that cannot tell means. Default hold.
    pub(super) on_unknown: Option<OnUnknown>,
    /// How long a gate may not tell. Default 1h.
    pub(super) unknown_timeout: Option<Duration>,
    /// Whether a failed version is held. Default true.
    pub(super) hold: Option<bool>,
    /// Kept revisions. Default 10.
    #[schemars(range(max = 50))]
    pub(super) history: Option<u32>,
    /// How Git is told; only `status` is enforced.
    pub(super) git: Option<GitAnswer>,
}

/// Limits: ">500ms", or ">1.5x" for 1.5 times stable's.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
pub(super) struct Latency {
    /// Half of the requests.
    pub(super) p50: Option<String>,
    /// 95 of 100 requests.
    pub(super) p95: Option<String>,
    /// 99 of 100 requests.
    pub(super) p99: Option<String>,
}

#[derive(JsonSchema)]
#[schemars(rename_all = "snake_case")]
pub(super) enum OnLowTraffic {
    Pass,
    Hold,
    Rollback,
}

#[derive(JsonSchema)]
#[schemars(rename_all = "snake_case")]
pub(super) enum OnUnknown {
    Hold,
    Rollback,
    Continue,
}

#[derive(JsonSchema)]
#[schemars(rename_all = "snake_case")]
pub(super) enum GitAnswer {
    None,
    Status,
    RevertPr,
}
