//! Plays every scenario at once, each as a service of its own, with one daemon in this process.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;
use std::sync::Arc;

use anyhow::Context as _;
use futures::future::try_join_all;
use idp::config;
use idp::model::record::{Health, Record};
use idp::model::rollout::{Hold, Outcome};
use idp::reconcile::Daemon;
use idp::telemetry::metrics::Metrics;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Event;
use kube::api::{Api, ListParams, Patch, PatchParams};
use serde_json::json;
use tempfile::TempDir;

use super::Traces;
use super::cluster::Cluster;
use super::table::{CRON, SCENARIOS, Scenario};
use crate::genuine::SOON;
use crate::genuine::census::Census;
use crate::genuine::release::Release;
use crate::genuine::repository::Repository;
use crate::stack::until;

/// The pods that an autoscaler holds once it has a metric.
const HELD: u32 = 4;
const NAMESPACE: &str = "stage-production";

/// How a scenario ended.
#[derive(Debug, PartialEq)]
pub struct Trace {
    /// How each rollout ended.
    pub outcomes: Vec<Outcome>,
    /// How far each came, and what is held.
    pub steps: Vec<u32>,
    pub held: BTreeMap<u64, Hold>,
    pub phase: String,
    pub health: Health,
    /// How often each transition was announced.
    pub announced: BTreeMap<String, usize>,
    /// How often each object was made, and those that are there.
    pub made: BTreeMap<String, usize>,
    pub there: BTreeMap<String, String>,
}

/// Starts a cluster and a daemon and plays all scenarios.
pub async fn play(start: impl AsyncFnOnce() -> anyhow::Result<Cluster>) -> anyhow::Result<Traces> {
    let cluster = start().await?;
    let folder = TempDir::new()?;
    let stages = SCENARIOS.iter().map(|scenario| Stage::build(&cluster, folder.path(), scenario));
    let stages = try_join_all(stages).await?;
    let text = configuration(&cluster, folder.path(), &stages);
    let config = config::parse(&text, folder.path()).map_err(|errors| anyhow::anyhow!("{errors}"))?;
    let metrics = Arc::new(Metrics::register()?);
    let client = cluster.daemon_client(&metrics).await?;
    let daemon = Daemon::start(config, client, metrics).await?;
    let census = Census::begin(&cluster.client(), NAMESPACE);
    let traces = try_join_all(stages.iter().map(|stage| stage.play(&cluster, &census))).await?;
    daemon.stop().await;
    Ok(traces.into_iter().collect())
}

fn configuration(cluster: &Cluster, folder: &Path, stages: &[Stage]) -> String {
    let registry = cluster.registry().address();
    let mut text = format!(
        r#"listen: 127.0.0.1:0
cache_dir: {cache}
cluster: {{in_cluster: true, name: scenarios}}
environments:
  - {{name: production, namespace: "{{{{service.team}}}}-{{{{env}}}}", default: true, create_namespace: true, max_concurrent_rollouts: 100}}
platform:
  image: "{registry}/{{{{service.team}}}}/{{{{service.name}}}}"
  registries: [{{host: "{registry}", insecure: true}}]
sources:
"#,
        cache = folder.join("cache").display(),
    );
    for Stage { scenario, repository, .. } in stages {
        let _ = writeln!(
            text,
            "  - {{name: {}, url: {}, poll: 24h}}",
            scenario.service,
            repository.path.display()
        );
    }
    text
}

/// A scenario with its repository and its release.
struct Stage {
    scenario: &'static Scenario,
    repository: Repository,
    release: Release,
    client: kube::Client,
}

impl Stage {
    async fn build(cluster: &Cluster, folder: &Path, scenario: &'static Scenario) -> anyhow::Result<Self> {
        let repository = Repository::create(&folder.join(scenario.service)).await?;
        let client = cluster.client();
        let release = Release::new(&client, NAMESPACE, scenario.service);
        Ok(Self { scenario, repository, release, client })
    }

    async fn play(&self, cluster: &Cluster, census: &Census) -> anyhow::Result<(&'static str, Trace)> {
        let Scenario { service, strategy, manifests, changes } = *self.scenario;
        let what = if manifests.is_some() {
            "source: {manifests: [./k8s/*.yaml]}".to_owned()
        } else {
            format!("workload: {{replicas: {}}}", self.scenario.replicas())
        };
        let manifests = manifests.map(|text| text.replace("SERVICE", service));
        let times = if strategy == CRON { ", schedule: \"0 0 29 2 *\", timezone: Etc/UTC" } else { "" };
        let job = format!(
            "service: {{name: {service}, team: stage, {strategy}}}\nworkload: {{timeout: 1m{times}}}\n"
        );
        let serves = format!(
            "service: {{name: {service}, team: stage}}\n\
             {what}\n\
             deploy:\n  {}\n  \
               healthcheck: {{path: /healthz, interval: 200ms, timeout: 150ms, threshold: 30}}\n  \
               rollback: {{on_restarts: \">0\", window: 1s}}\n",
            strategy.replace(", canary:", "\n  canary:"),
        );
        let declaration = if self.scenario.is_job() { job } else { serves };
        for change in changes {
            let mut files = vec![(".idp/deploy.yaml", declaration.as_str()), ("app.txt", change.content)];
            files.extend(manifests.iter().map(|text| ("k8s/all.yaml", text.as_str())));
            let commit = self.repository.commit(change.content, &files).await?;
            cluster.registry().push_as(&format!("stage/{service}"), &commit, change.behaviour);
            self.repository.merge().await?;
            let done = match change.outcome {
                Some(outcome) => self.release.until_ended(&commit, outcome).await.map(drop),
                None => self.release.until_seen(&commit).await.map(drop),
            };
            done.with_context(|| format!("{service}: {}", change.content))?;
            if self.scenario.is_autoscaled() {
                self.scale(HELD).await.with_context(|| format!("{service}: scale"))?;
            }
        }
        let trace = self.rest(census).await.with_context(|| format!("{service}, at its end"))?;
        Ok((service, trace))
    }

    /// Does what an autoscaler does with a metric, which neither cluster has.
    async fn scale(&self, replicas: u32) -> anyhow::Result<()> {
        let deployments: Api<Deployment> = Api::namespaced(self.client.clone(), NAMESPACE);
        let patch = Patch::Merge(json!({"spec": {"replicas": replicas}}));
        let autoscaler =
            PatchParams { field_manager: Some("kube-controller-manager".into()), ..PatchParams::default() };
        deployments.patch_scale(self.scenario.service, &autoscaler, &patch).await?;
        self.release.until("the size to be known", |record| record.replicas == replicas).await.map(drop)
    }

    /// Waits until nothing is on its way any more: no candidate, and every transition announced.
    async fn rest(&self, census: &Census) -> anyhow::Result<Trace> {
        let service = self.scenario.service;
        let settled = |record: &Record| {
            let there = census.there(service);
            let candidate =
                there.iter().any(|(name, facts)| name.contains("-canary") || facts.contains("candidate"));
            let healthy = record.stable.is_none()
                || (record.health == Health::Healthy && !record.incident)
                // What a run that failed did cannot be mended by what was before.
                || self.scenario.is_job() && record.health == Health::Degraded;
            !candidate && !there.is_empty() && healthy
        };
        let record = self.release.until("rest", settled).await?;
        let announced = until("all transitions to be announced", SOON, async || {
            let announced = self.announced().await?;
            let count: usize = announced.values().sum();
            Ok((u64::try_from(count)? >= record.sequence).then_some(announced))
        });
        Ok(Trace {
            outcomes: record.history.values().map(|summary| summary.outcome).collect(),
            steps: record.history.values().map(|summary| summary.steps).collect(),
            held: record.held.iter().map(|(number, held)| (*number, held.hold)).collect(),
            announced: announced.await?,
            made: census.made(service),
            there: census.there(service),
            phase: record.phase,
            health: record.health,
        })
    }

    async fn announced(&self) -> anyhow::Result<BTreeMap<String, usize>> {
        let events: Api<Event> = Api::namespaced(self.client.clone(), NAMESPACE);
        let mut announced = BTreeMap::new();
        for event in events.list(&ListParams::default()).await?.items {
            let object = &event.involved_object;
            if object.kind.as_deref() == Some("Release")
                && object.name.as_deref() == Some(self.scenario.service)
            {
                *announced.entry(event.reason.unwrap_or_default()).or_default() += 1;
            }
        }
        Ok(announced)
    }
}
