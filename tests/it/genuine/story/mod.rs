//! The story that `idp demo` tells too, here from pull request to verdict: told once, and looked at by one test a witness.

mod events;
mod metrics;
mod people;
mod teller;

use idp::model::record::Record;
use k8s_openapi::api::core::v1::Event as KubernetesEvent;
use serde_json::Value;
use tokio::sync::OnceCell;

use super::events::Event;
use crate::stack::{CommitStatus, Sample};

/// The team's repository, service and environment.
const TEAM: &str = "payments";
const SERVICE: &str = "checkout";
const RELEASE: &str = "checkout.production";
const NAMESPACE: &str = "payments-production";
const TOPIC: &str = "story";

/// The threshold of the health check is out of reach for a machine that is merely busy.
const DECLARATION: &str = r#"service: {name: checkout, team: payments}
workload: {replicas: 4}
deploy:
  strategy: canary
  canary:
    - {weight: 10, pause: 5s}
    - {weight: 50, pause: 5s}
    - {weight: 100, pause: 5s}
  healthcheck: {path: /healthz, interval: 500ms, timeout: 400ms, threshold: 20}
  rollback: {on_error_rate: ">1%", on_restarts: ">1", min_requests: 20, window: 2s}
"#;

/// What came of one pull request.
struct Chapter {
    /// The merge commit.
    commit: String,
    /// What was said of it on the forge, the oldest first.
    statuses: Vec<CommitStatus>,
    /// The record when all was said.
    record: Record,
}

/// The whole story, as everybody saw it.
struct Told {
    uid: String,
    first: Chapter,
    good: Chapter,
    bad: Chapter,
    unrelated: Chapter,
    revert: Chapter,
    crash: Chapter,
    fix: Chapter,
    /// `idp status -o json` and `idp explain RELEASE -o json` while the bad version is held.
    status: Value,
    explanation: Value,
    /// `idp deliveries -o json` after a pull request was abandoned, at the end, and its number.
    deliveries: Value,
    abandoned: u64,
    /// `kubectl get releases` at the end.
    table: String,
    announced: Vec<KubernetesEvent>,
    published: Vec<Event>,
    /// What `/metrics` says, and what a Prometheus that scraped it answers.
    metrics: String,
    counted: Vec<Sample>,
    accepted_hooks: Vec<Sample>,
}

/// Returns the story; the first test that asks has it told, and the others wait.
async fn told() -> anyhow::Result<&'static Told> {
    static TOLD: OnceCell<Result<Told, String>> = OnceCell::const_new();
    let tell = async || Box::pin(teller::tell()).await.map_err(|error| format!("{error:#}"));
    let told = TOLD.get_or_init(tell).await;
    told.as_ref().map_err(|error| anyhow::anyhow!("the story broke off: {error}"))
}
