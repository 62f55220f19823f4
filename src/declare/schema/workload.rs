//! What runs: `workload`.

use std::collections::BTreeMap;

use schemars::JsonSchema;

use super::{Duration, Loose, Scalar};

/// A Kubernetes quantity: 250m, 0.5, 128Mi.
#[derive(JsonSchema)]
#[schemars(untagged)]
pub(super) enum Quantity {
    Text(String),
    Number(f64),
}

#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
pub(super) struct Workload {
    /// The port that pods serve on. Default 8080.
    #[schemars(range(min = 1))]
    pub(super) port: Option<u16>,
    /// Named ports.
    #[schemars(extend("x-unsupported" = true))]
    pub(super) ports: Option<BTreeMap<String, Loose>>,
    /// The pods wanted. Default 2. With bounds an autoscaler decides.
    pub(super) replicas: Option<Replicas>,
    /// Requested CPU.
    pub(super) cpu: Option<Quantity>,
    /// Requested memory; also the limit, unless `limits` says another.
    pub(super) memory: Option<Quantity>,
    /// Limits. Without them memory is limited to what is requested, CPU is not limited.
    pub(super) limits: Option<Limits>,
    /// Instead of the image's entry point.
    pub(super) command: Option<Vec<Scalar>>,
    /// Instead of the image's arguments.
    pub(super) args: Option<Vec<Scalar>>,
    /// Environment variables.
    pub(super) env: Option<BTreeMap<String, Scalar>>,
    /// Files by absolute path: a `ConfigMap` with its content's hash in the name.
    pub(super) files: Option<BTreeMap<String, String>>,
    /// The account of the pods.
    #[schemars(extend("x-unsupported" = true))]
    pub(super) service_account: Option<String>,
    /// A user id from 1, or `image`: whoever the image says, as long as that is a number and not 0.
    pub(super) run_as: Option<RunAs>,
    /// How long a pod may take to stop. Default 30s.
    pub(super) termination_grace: Option<Duration>,
    /// What kubelet asks; default: the declared healthcheck, else TCP on the port.
    pub(super) probe: Option<Probe>,
    /// How it is reached from outside.
    #[schemars(extend("x-unsupported" = true))]
    pub(super) ingress: Option<Loose>,
    /// cron, required: when it runs: minute, hour, day of the month, month, day of the week, or @hourly, @daily, @weekly, @monthly, @yearly.
    pub(super) schedule: Option<String>,
    /// cron: the zone of the schedule, by its IANA name. Default: that of the cluster's controllers, as a rule UTC.
    pub(super) timezone: Option<String>,
    /// cron: what becomes of a run whose time comes while the one before still runs. Default forbid: it is left out.
    pub(super) concurrency: Option<Concurrency>,
    /// job, cron: how long a run may take, all tries together. Default 1h.
    pub(super) timeout: Option<Duration>,
    /// job, cron: how often a failed pod is replaced by another. Default 0.
    #[schemars(range(max = 10))]
    pub(super) retries: Option<u32>,
}

#[derive(JsonSchema)]
#[schemars(rename_all = "snake_case")]
pub(super) enum Concurrency {
    Forbid,
    Allow,
    Replace,
}

#[derive(JsonSchema)]
#[schemars(untagged)]
pub(super) enum Replicas {
    Count(u32),
    Scaled(Autoscale),
}

/// An autoscaler's bounds.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
pub(super) struct Autoscale {
    /// Pods at least.
    #[schemars(range(min = 1, max = 10_000))]
    pub(super) min: u32,
    /// Pods at most.
    #[schemars(range(min = 1, max = 10_000))]
    pub(super) max: u32,
    /// The mean CPU use to aim at, in per cent of what is requested. Default 80.
    #[schemars(range(min = 1, max = 1_000))]
    pub(super) cpu: Option<u32>,
}

#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
pub(super) struct Limits {
    /// The CPU limit.
    pub(super) cpu: Option<Quantity>,
    /// The memory limit.
    pub(super) memory: Option<Quantity>,
}

#[derive(JsonSchema)]
#[schemars(untagged)]
pub(super) enum RunAs {
    Uid(u32),
    Named(RunAsImage),
}

#[derive(JsonSchema)]
#[schemars(rename_all = "snake_case")]
pub(super) enum RunAsImage {
    Image,
}

#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
pub(super) struct Probe {
    /// The path; without one: TCP.
    pub(super) path: Option<String>,
    /// The port; default: the workload's.
    #[schemars(range(min = 1))]
    pub(super) port: Option<u16>,
}
