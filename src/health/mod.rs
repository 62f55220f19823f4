//! Object → health, one function a kind.
//!
//! In: the kind, the live object as JSON, the time. Out: one of the field's words for health and one clause why. May use: `model`.
//! Rules: the union of kstatus, gitops-engine, `PipeCD` and kubedog. What a controller says counts only if it has seen the newest
//! generation (`observedGeneration`); an object on its way out is on its way.

mod cron_job;
mod deployment;
mod namespace;
mod other;
mod pod;
mod read;
mod release;
mod replica_set;
mod service;
mod sets;

use jiff::Timestamp;
use serde::Serialize;
use serde_json::Value;

use crate::model::observed::{Known, Live};
use crate::model::record::Health;

/// How an object is, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Assessment {
    /// The word.
    pub health: Health,
    /// Why, one clause of at most about 300 characters; for a healthy object too.
    pub reason: String,
}

impl Assessment {
    fn new(health: Health, reason: impl Into<String>) -> Self {
        Self { health, reason: reason.into() }
    }

    fn healthy(reason: impl Into<String>) -> Self {
        Self::new(Health::Healthy, reason)
    }

    fn progressing(reason: impl Into<String>) -> Self {
        Self::new(Health::Progressing, reason)
    }

    fn degraded(reason: impl Into<String>) -> Self {
        Self::new(Health::Degraded, reason)
    }
}

/// Assesses an object that is there. A kind without rules of its own is judged by its conditions, as kstatus does.
pub fn of(kind: &str, object: &Value, now: Timestamp) -> Assessment {
    if kind == "Namespace" {
        return namespace::assess(object);
    }
    if let Some(on_its_way) = read::unsettled(object) {
        return on_its_way;
    }
    match kind {
        "Deployment" => deployment::assess(object),
        "ReplicaSet" => replica_set::assess(object),
        "StatefulSet" => sets::stateful_set(object),
        "DaemonSet" => sets::daemon_set(object),
        "CronJob" => cron_job::assess(object),
        "Pod" => pod::assess(object, now),
        "Service" => service::assess(object, now),
        "ConfigMap" | "Secret" => Assessment::healthy("exists"),
        "Release" => release::assess(object),
        _ => other::assess(object),
    }
}

/// Assesses what is known of an object: absent is `Missing`, unread is `Unknown`.
pub fn of_known(kind: &str, live: &Known<Live>, now: Timestamp) -> Assessment {
    match live {
        Known::Present(live) => of(kind, &live.object, now),
        Known::Absent => Assessment::new(Health::Missing, "is not there"),
        Known::Unknown => Assessment::new(Health::Unknown, "was not read"),
    }
}

/// Returns the worst of several, the first among equals; of nothing, nothing is known.
pub fn worst(all: impl IntoIterator<Item = Assessment>) -> Assessment {
    all.into_iter()
        .reduce(|worst, next| if next.health > worst.health { next } else { worst })
        .unwrap_or_else(|| Assessment::new(Health::Unknown, "no object is known"))
}

#[cfg(test)]
mod tests;
