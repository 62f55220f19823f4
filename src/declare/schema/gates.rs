//! Rules beside the built-in ones: `gates` and `slo`.

use schemars::JsonSchema;

use super::{Duration, Loose};

#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
pub(super) struct Gate {
    /// Its name, unique in the file.
    pub(super) name: String,
    /// What is measured; `metric`, `http` and `job` are enforced.
    #[schemars(rename = "type")]
    pub(super) kind: GateType,
    /// Default during.
    pub(super) when: Option<When>,
    /// metric: PromQL that gives one number.
    pub(super) query: Option<String>,
    /// http: what is asked by GET; a 2xx passes.
    pub(super) url: Option<String>,
    /// job: what runs, in place of the image's entry point and arguments.
    pub(super) command: Option<Vec<String>>,
    /// job: another image than the candidate's own.
    pub(super) image: Option<String>,
    /// job: how often a failed pod is replaced by another. Default 0.
    #[schemars(range(max = 10))]
    pub(super) retries: Option<u32>,
    /// metric: the least that passes.
    pub(super) min: Option<f64>,
    /// metric: the most that passes.
    pub(super) max: Option<f64>,
    /// A rule over the result.
    #[schemars(extend("x-unsupported" = true))]
    pub(super) condition: Option<Loose>,
    /// metric, http: time between two measurements. Default 1m.
    pub(super) interval: Option<Duration>,
    /// metric, http: failed measurements of one step, all together, that are accepted. Default 1.
    #[schemars(range(max = 1000))]
    pub(super) failure_limit: Option<u32>,
    /// metric, http: wait before the first measurement. Default 0s.
    pub(super) initial_delay: Option<Duration>,
    /// Longest wait for an answer; of a job, from its start to its end. Default 30s, of a job 10m.
    pub(super) timeout: Option<Duration>,
    /// true: it is measured and told, and decides nothing. Default false.
    pub(super) dry_run: Option<bool>,
}

#[derive(JsonSchema)]
#[schemars(rename_all = "snake_case")]
pub(super) enum GateType {
    Metric,
    Http,
    Job,
    Policy,
    Slo,
}

#[derive(JsonSchema)]
#[schemars(rename_all = "snake_case")]
pub(super) enum When {
    Before,
    During,
    After,
}

#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
pub(super) struct Slo {
    /// Its name, unique in the file.
    pub(super) name: String,
    /// The share of good events in per cent, as in 99.9.
    #[schemars(range(max = 100))]
    pub(super) objective: f64,
    /// Over which time. Default 30d.
    pub(super) window: Option<Duration>,
    /// PromQL: the rate of good events.
    pub(super) good: String,
    /// PromQL: the rate of all events.
    pub(super) total: String,
    /// The least share of the error budget that must be left, as in 20%. Default 0%.
    pub(super) min_budget: Option<String>,
}
