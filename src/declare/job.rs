//! Reads what a service of type `job` or `cron` says: it serves nothing, so whatever speaks of requests, pods that stay or steps has no meaning.

use std::time::Duration;

use super::diagnostic::Code;
use super::section::Section;
use crate::model::declaration::RunLimits;
use crate::model::gate::When;
use crate::model::policy::{CheckKind, OnUnknown, Policy, Strategy};

const SECOND: Duration = Duration::from_secs(1);
const DAY: Duration = Duration::from_hours(24);

/// Keys of `workload` that only a cron has.
const TIMED: [&str; 3] = ["schedule", "timezone", "concurrency"];
/// Keys of `workload` that only what serves has.
const SERVING: [&str; 3] = ["port", "replicas", "probe"];
/// Keys of `deploy` that only what serves has.
const REPLACING: [&str; 8] = [
    "strategy",
    "group",
    "canary",
    "traffic",
    "max_surge",
    "max_unavailable",
    "progress_deadline",
    "healthcheck",
];
/// Keys of `deploy.rollback` that only what serves has.
const MEASURED: [&str; 6] =
    ["on_error_rate", "on_latency", "on_restarts", "min_requests", "window", "on_low_traffic"];

/// Tells whether the file is of a service that serves.
pub(super) fn serves(file: &Section<'_>) -> bool {
    file.section("service").text("type").is_none_or(|found| found.value == "service")
}

/// Returns the type that a file names; `service` where it names none.
pub(super) fn kind(file: &Section<'_>) -> String {
    file.section("service").text("type").map_or_else(|| "service".to_owned(), |found| found.value.to_owned())
}

/// Tells whether the file is of a service whose version is a job, be it one that runs again at its times.
pub(super) fn is_job(file: &Section<'_>) -> bool {
    matches!(kind(file).as_str(), "job" | "cron")
}

/// Tells whether the file is of a service whose job runs again at its times.
pub(super) fn is_cron(file: &Section<'_>) -> bool {
    kind(file) == "cron"
}

/// Says of a service that serves that it names what only a job has.
pub(super) fn only_jobs(workload: &Section<'_>) {
    meaningless(workload, &["timeout", "retries"], "service.type service");
    meaningless(workload, &TIMED, "service.type service");
}

fn meaningless(section: &Section<'_>, keys: &[&str], with: &str) {
    for key in keys {
        if let Some(entry) = section.entry(key) {
            let what = format!("`{}` has no meaning with {with}", section.full(key));
            section.error(Code::Conflict, entry.at, what, "remove it, or write another service.type");
        }
    }
}

/// Reads how long a run may take and how often it is tried again.
pub(super) fn limits(workload: &Section<'_>) -> RunLimits {
    let timeout = workload.duration("timeout", SECOND..=7 * DAY);
    let retries = workload.number("retries", 0..=10).and_then(|found| u32::try_from(found.value).ok());
    RunLimits {
        timeout: timeout.map_or(Duration::from_hours(1), |found| found.value),
        retries: retries.unwrap_or(0),
    }
}

/// Makes the policy of a job out of what `deploy` says, and says what has no meaning there.
pub(super) fn policy(file: &Section<'_>, deploy: &Section<'_>, mut policy: Policy) -> Policy {
    let (with, workload) = (format!("service.type {}", kind(file)), file.section("workload"));
    let with = with.as_str();
    if !is_cron(file) {
        meaningless(&workload, &TIMED, with);
    }
    meaningless(&workload, &SERVING, with);
    meaningless(deploy, &REPLACING, with);
    let rollback = deploy.section("rollback");
    meaningless(&rollback, &MEASURED, with);
    if policy.rollback.on_unknown == OnUnknown::Continue
        && let Some(entry) = rollback.entry("on_unknown")
    {
        let what = format!("`deploy.rollback.on_unknown: continue` has no meaning with {with}");
        rollback.error(Code::Conflict, entry.at, what, "its run alone decides: write hold or rollback");
    }
    for node in deploy.list("gates").unwrap_or_default() {
        let gate = deploy.inner(node, deploy.full("gates[]"));
        if let Some(found) = gate.text("when").filter(|found| found.value != "before") {
            let what = format!("`{}: {}` has no meaning with {with}", gate.full("when"), found.value);
            gate.error(Code::Conflict, found.at, what, "write when: before, which is the default of a job");
        }
    }
    for gate in &mut policy.gates {
        gate.when = When::Before;
    }
    policy.strategy = Strategy::Job;
    policy.steps = Vec::new();
    policy.health.kind = CheckKind::None;
    policy.rollback.max_error_rate = None;
    policy.rollback.max_latency = Vec::new();
    policy
}
