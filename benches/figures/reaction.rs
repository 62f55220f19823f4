//! How fast the whole daemon reacts: a push to its candidate, a crash to the write that starts the rollback.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result};
use futures::StreamExt;
use idp::model::LABEL_RELEASE;
use idp::sandbox::SandboxOptions;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{DeleteParams, Patch, PatchParams};
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Client, ResourceExt};
use serde_json::{Value, json};
use tokio::time::Instant;

use super::bed::{Asked, Bed, NAMESPACE, SERVICE, stands};
use super::cpu::Meter;
use super::repository::read_head;
use super::stalls::Stalls;
use super::table::{Figure, Goal, Sheet, Times, show};

const FILE: &str = ".idp/deploy.yaml";
/// A good canary whose steps ask the pods' state once: short, so that many fit into a run.
const GOOD: &str = r"service: {name: checkout, team: shop}
workload: {port: 8080, replicas: 2}
deploy:
  strategy: canary
  canary: [{weight: 50}, {weight: 100}]
healthcheck: {type: none, interval: 100ms}
rollback: {window: 1s, history: 3}
";
/// An ordinary canary, observed in every way, in whose first step a crash decides.
pub const WATCHED: &str = r#"service: {name: checkout, team: shop}
workload: {port: 8080, replicas: 4}
deploy:
  strategy: canary
  canary: [{weight: 25, pause: 1m}, {weight: 50, pause: 1m}, {weight: 100, pause: 1m}]
healthcheck: {path: /health, interval: 250ms, timeout: 200ms}
rollback: {on_restarts: ">0", window: 1s, history: 3}
"#;
/// Between two rounds, so that what trails the first does not burden the second.
const BREATH: Duration = Duration::from_millis(50);
/// Rounds that are told request by request.
const SLOWEST: usize = 4;

/// Starts a bed on which the first version of a declaration is stable.
pub async fn bed(declaration: &str, time_scale: f64) -> Result<Bed> {
    let crash_after = Duration::from_millis(30);
    let mut bed = Bed::start(SandboxOptions { time_scale, crash_after, ..SandboxOptions::default() }).await?;
    let commit = bed.commit("first", &[(FILE, declaration), ("src/app", "first")], "healthy")?;
    bed.repository.merge()?;
    bed.hook(&commit).await?;
    bed.until("the first version is stable", |record| stands(record, &commit)).await?;
    Ok(bed)
}

/// A push of the next version, and when its branch was moved and its webhook sent. A local repository is watched too: the start is
/// the earlier of the two, since the webhook must not profit from what the watch has begun.
pub async fn push(bed: &mut Bed, number: usize, behaviour: &str) -> Result<(String, Instant)> {
    let commit = bed.commit("next", &[("src/app", &format!("version {number}"))], behaviour)?;
    bed.tape.clear();
    bed.sandbox.server().clear_requests();
    let pushed = Instant::now();
    bed.repository.merge()?;
    bed.hook(&commit).await?;
    Ok((commit, pushed))
}

/// Tells the writes of the candidate's Deployment.
fn of_candidate(asked: &Asked) -> bool {
    asked.method == http::Method::PATCH && asked.path.contains("/deployments/checkout-canary")
}

/// Returns what went by; fails where the order is not what the figure's name says.
fn between(from: Instant, to: Instant) -> Result<Duration> {
    to.checked_duration_since(from).context("what should have followed came first")
}

/// The rounds of pushes, each a line's sample.
#[derive(Default)]
struct Pushes {
    least: Vec<Duration>,
    written: Vec<Duration>,
    raised: Vec<Duration>,
    stories: Vec<(Duration, Vec<String>)>,
}

impl Pushes {
    fn note(&mut self, bed: &Bed, pushed: Instant) -> Result<()> {
        let written = bed.tape.first(of_candidate).context("no candidate was written")?.answered;
        let raised = bed.tape.first(|asked| of_candidate(asked) && asked.answered > written);
        let took = between(pushed, written)?;
        self.written.push(took);
        self.raised.push(between(pushed, raised.context("the candidate got no pods")?.answered)?);
        self.stories.push((took, bed.tape.until(pushed, written)));
        Ok(())
    }

    fn print(mut self, sheet: &mut Sheet) {
        let figures = [
            Figure {
                what: "webhook sent → candidate written",
                times: Times::new(self.written),
                goal: Goal { median: Some(Duration::from_millis(25)), p99: Some(Duration::from_millis(80)) },
            },
            Figure::plain("webhook sent → candidate asked for its pods", self.raised),
        ];
        let against = Figure::plain("against: read the branch's commit, one server-side apply", self.least);
        sheet.print("Push to candidate", &against, &figures);
        self.stories.sort_by_key(|(took, _)| *took);
        if let Some((took, story)) = self.stories.get(self.stories.len() / 2) {
            println!("  the median round ({}), request by request, since the webhook was sent:", show(*took));
            for line in story {
                println!("    {line}");
            }
        }
    }
}

/// Webhook received → candidate written.
pub async fn pushes(sheet: &mut Sheet, rounds: usize) -> Result<()> {
    let mut bed = bed(GOOD, 0.01).await?;
    let baseline = bed.sandbox.server().client_as("baseline");
    let spec = spec_of_stable(&baseline).await?;
    let mut all = Pushes::default();
    let before = Meter::read(&bed)?;
    for number in 0..rounds {
        let (commit, pushed) = push(&mut bed, number, "healthy").await?;
        bed.until("the next version is stable", |record| stands(record, &commit)).await?;
        all.note(&bed, pushed).with_context(|| {
            format!("push {number} went as {:#?}", bed.tape.until(pushed, Instant::now()))
        })?;
        tokio::time::sleep(BREATH).await;
        all.least.push(read_and_apply(&bed, &baseline, &spec, number).await?);
    }
    all.print(sheet);
    Meter::read(&bed)?.print_since(&before, sheet)?;
    bed.stop().await;
    Ok(())
}

/// What nobody who delivers from Git can go below here: one read of the branch, one write.
async fn read_and_apply(bed: &Bed, client: &Client, spec: &Value, number: usize) -> Result<Duration> {
    let api: Api<Deployment> = Api::namespaced(client.clone(), "default");
    let name = format!("baseline-{number}");
    let metadata = json!({"name": name, "namespace": "default"});
    let body = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": metadata, "spec": spec});
    let begun = Instant::now();
    std::hint::black_box(read_head(bed.repository.path())?);
    api.patch(&name, &PatchParams::apply("baseline"), &Patch::Apply(&body)).await?;
    let took = begun.elapsed();
    api.delete(&name, &DeleteParams::default()).await?;
    Ok(took)
}

/// Returns the spec of the team's Deployment, without pods.
async fn spec_of_stable(client: &Client) -> Result<Value> {
    let api: Api<Deployment> = Api::namespaced(client.clone(), NAMESPACE);
    let mut spec = api.get(SERVICE).await?.spec.context("it has no spec")?;
    spec.replicas = Some(0);
    Ok(serde_json::to_value(spec)?)
}

/// When each pod's first restart was written, by its name, and when a watch showed it.
#[derive(Clone, Default)]
pub struct Restarts {
    /// Pods of earlier rounds. One that is on its way out is still written now and then, long before the next one restarts.
    old: Arc<Mutex<BTreeSet<String>>>,
    written: Arc<Mutex<BTreeMap<String, Instant>>>,
    shown: Arc<Mutex<BTreeMap<String, Instant>>>,
}

impl Restarts {
    /// Begins to look.
    pub fn follow(bed: &mut Bed) -> Self {
        let all = Self::default();
        let (written, old) = (Arc::clone(&all.written), Arc::clone(&all.old));
        bed.sandbox.server().inject(move |request| {
            let restarts =
                request.body.pointer("/status/containerStatuses/0/restartCount").and_then(Value::as_u64);
            let is_old = || old.lock().unwrap_or_else(PoisonError::into_inner).contains(&request.name);
            if request.kind == "Pod" && restarts.is_some_and(|count| count > 0) && !is_old() {
                note(&written, &request.name);
            }
            None
        });
        let shown = Arc::clone(&all.shown);
        let pods: Api<Pod> = Api::namespaced(bed.sandbox.server().client_as("raw-watch"), NAMESPACE);
        bed.lookers.spawn(async move {
            let config = watcher::Config::default().labels(LABEL_RELEASE);
            let changes = watcher(pods, config).default_backoff().applied_objects();
            let mut changes = std::pin::pin!(changes.filter_map(async |change| change.ok()));
            while let Some(pod) = changes.next().await {
                let statuses = pod.status.as_ref().and_then(|status| status.container_statuses.as_ref());
                if statuses.into_iter().flatten().any(|container| container.restart_count > 0) {
                    note(&shown, &pod.name_any());
                }
            }
        });
        all
    }

    /// Begins a round.
    pub fn clear(&self) {
        let mut written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
        self.old
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .extend(std::mem::take(&mut *written).into_keys());
        self.shown.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// Returns the first of the round.
    pub fn first(&self) -> Option<(Instant, Instant)> {
        let written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
        let (name, at) = written.iter().min_by_key(|(_, at)| **at)?;
        let shown = self.shown.lock().unwrap_or_else(PoisonError::into_inner);
        Some((*at, *shown.get(name)?))
    }
}

fn note(all: &Mutex<BTreeMap<String, Instant>>, name: &str) {
    all.lock().unwrap_or_else(PoisonError::into_inner).entry(name.to_owned()).or_insert_with(Instant::now);
}

/// The rounds of crashes, each a line's sample.
#[derive(Default)]
struct Crashes {
    recorded: Vec<Duration>,
    lowered: Vec<Duration>,
    shown: Vec<Duration>,
    over: Vec<Duration>,
    stalled: Vec<Duration>,
    stories: Vec<(Duration, Duration, Vec<String>)>,
}

/// A pod's deciding restart → the record that says that the rollout is taken back, and the first write that does it.
pub async fn crashes(sheet: &mut Sheet, rounds: usize) -> Result<()> {
    let mut bed = bed(WATCHED, 0.01).await?;
    let restarts = Restarts::follow(&mut bed);
    let (stalls, mut all) = (Stalls::start(), Crashes::default());
    for number in 0..rounds {
        restarts.clear();
        push(&mut bed, number, "crash").await?;
        let rollout = u64::try_from(number)? + 2;
        bed.until("the crashing version is held", |record| {
            record.rollout.is_none() && record.held.contains_key(&rollout)
        })
        .await?;
        let ended = Instant::now();
        let (written, seen) = restarts.first().context("no pod restarted")?;
        let stored = bed.tape.first(|asked| asked.ending).context("no rollback began")?.answered;
        let down = bed.tape.first(|asked| of_candidate(asked) && asked.answered > stored);
        let took = between(written, stored)?;
        let stalled = stalls.longest(written, stored);
        all.recorded.push(took);
        all.lowered.push(between(written, down.context("the candidate was not lowered")?.answered)?);
        all.shown.push(between(written, seen)?);
        all.over.push(between(written, ended)?);
        all.stalled.push(stalled);
        all.stories.push((took, stalled, bed.tape.until(written, stored)));
        tokio::time::sleep(BREATH).await;
    }
    all.print(sheet);
    bed.stop().await;
    Ok(())
}

impl Crashes {
    fn print(mut self, sheet: &mut Sheet) {
        let goal = || Goal { p99: Some(Duration::from_millis(200)), median: None };
        let Self { recorded, lowered, shown, over, stalled, .. } = self;
        let figures = [
            Figure {
                what: "deciding restart → rollback recorded",
                times: Times::new(recorded),
                goal: goal(),
            },
            Figure {
                what: "deciding restart → candidate lowered", times: Times::new(lowered), goal: goal()
            },
            Figure::plain("deciding restart → candidate gone, version held", over),
            Figure::plain("a thread that only sleeps is late by, till recorded", stalled),
        ];
        let against = Figure::plain("against: a bare watch shows the same restart", shown);
        sheet.print("Crash to rollback", &against, &figures);
        self.stories.sort_by_key(|(took, ..)| std::cmp::Reverse(*took));
        for (took, stalled, story) in self.stories.iter().take(SLOWEST) {
            println!("  one of the slowest ({}; the machine stalled for {}):", show(*took), show(*stalled));
            for line in story {
                println!("    {line}");
            }
        }
    }
}
