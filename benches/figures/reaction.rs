//! How fast the whole daemon reacts: a push to its candidate, a crash to the write that starts the rollback.

use std::collections::BTreeMap;
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
use super::repository::read_head;
use super::table::{Figure, Times, print, show};

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
const PUSHES: usize = 120;
const CRASHES: usize = 60;
/// Between two rounds, so that what trails the first does not burden the second.
const BREATH: Duration = Duration::from_millis(50);

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

/// A push of the next version: when its branch moved, and when its hook was sent.
pub async fn push(bed: &mut Bed, number: usize, behaviour: &str) -> Result<(String, Instant, Instant)> {
    let commit = bed.commit("next", &[("src/app", &format!("version {number}"))], behaviour)?;
    bed.tape.clear();
    let pushed = Instant::now();
    bed.repository.merge()?;
    let hooked = Instant::now();
    bed.hook(&commit).await?;
    Ok((commit, pushed, hooked))
}

fn canary_written(asked: &Asked) -> bool {
    asked.method == http::Method::PATCH && asked.path.ends_with("/deployments/checkout-canary")
}

/// Webhook received → candidate written.
pub async fn pushes() -> Result<()> {
    let mut bed = bed(GOOD, 0.01).await?;
    let baseline = bed.sandbox.server().client_as("baseline");
    let spec = spec_of_stable(&baseline).await?;
    let (mut from_hook, mut from_push, mut least) = (Vec::new(), Vec::new(), Vec::new());
    let mut stories = Vec::new();
    for number in 0..PUSHES {
        let (commit, pushed, hooked) = push(&mut bed, number, "healthy").await?;
        bed.until("the next version is stable", |record| stands(record, &commit)).await?;
        let written = bed.tape.first(canary_written).context("no candidate was written")?;
        from_hook.push(written.answered.duration_since(hooked));
        from_push.push(written.answered.duration_since(pushed));
        stories.push((written.answered.duration_since(hooked), bed.tape.until(hooked, written.answered)));
        tokio::time::sleep(BREATH).await;
        least.push(read_and_apply(&bed, &baseline, &spec, number).await?);
    }
    let (median, p99) = (Some(Duration::from_millis(25)), Some(Duration::from_millis(80)));
    let figures = [
        Figure {
            what: "webhook sent → candidate written",
            times: Times::new(from_hook),
            goals: (median, p99),
        },
        Figure {
            what: "branch moved → candidate written",
            times: Times::new(from_push),
            goals: (None, None),
        },
    ];
    let against = "against: read the branch's id, one server-side apply";
    print("Push to candidate", against, &Times::new(least), &figures);
    stories.sort_by_key(|(took, _)| *took);
    if let Some((took, story)) = stories.get(stories.len() / 2) {
        println!("  the median round ({}), request by request, since the hook was sent:", show(*took));
        for line in story {
            println!("    {line}");
        }
    }
    super::cpu::print_passes(&bed);
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
struct Restarts {
    written: Arc<Mutex<BTreeMap<String, Instant>>>,
    shown: Arc<Mutex<BTreeMap<String, Instant>>>,
}

impl Restarts {
    fn follow(bed: &Bed) -> Self {
        let all = Self::default();
        let written = Arc::clone(&all.written);
        bed.sandbox.server().inject(move |request| {
            let restarts =
                request.body.pointer("/status/containerStatuses/0/restartCount").and_then(Value::as_u64);
            if request.kind == "Pod" && restarts.is_some_and(|count| count > 0) {
                note(&written, &request.name);
            }
            None
        });
        let shown = Arc::clone(&all.shown);
        let pods: Api<Pod> = Api::namespaced(bed.sandbox.server().client_as("raw-watch"), NAMESPACE);
        tokio::spawn(async move {
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

    fn clear(&self) {
        for all in [&self.written, &self.shown] {
            all.lock().unwrap_or_else(PoisonError::into_inner).clear();
        }
    }

    /// Returns the first of the round.
    fn first(&self) -> Option<(Instant, Instant)> {
        let written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
        let (name, at) = written.iter().min_by_key(|(_, at)| **at)?;
        let shown = self.shown.lock().unwrap_or_else(PoisonError::into_inner);
        Some((*at, *shown.get(name)?))
    }
}

fn note(all: &Mutex<BTreeMap<String, Instant>>, name: &str) {
    all.lock().unwrap_or_else(PoisonError::into_inner).entry(name.to_owned()).or_insert_with(Instant::now);
}

/// A pod's deciding restart → the record that says that the rollout is taken back.
pub async fn crashes() -> Result<()> {
    let mut bed = bed(WATCHED, 0.01).await?;
    let restarts = Restarts::follow(&bed);
    let (mut reaction, mut shown, mut over) = (Vec::new(), Vec::new(), Vec::new());
    for number in 0..CRASHES {
        restarts.clear();
        push(&mut bed, number, "crash").await?;
        let rollout = u64::try_from(number)? + 2;
        bed.until("the crashing version is held", |record| {
            record.rollout.is_none() && record.held.contains_key(&rollout)
        })
        .await?;
        let ended = Instant::now();
        let (written, seen) = restarts.first().context("no pod restarted")?;
        let stored = bed.tape.first(|asked| asked.ending).context("no rollback began")?;
        reaction.push(stored.answered.duration_since(written));
        shown.push(seen.duration_since(written));
        over.push(ended.duration_since(written));
        tokio::time::sleep(BREATH).await;
    }
    let figures = [
        Figure {
            what: "deciding restart written → rollback recorded",
            times: Times::new(reaction),
            goals: (None, Some(Duration::from_millis(200))),
        },
        Figure {
            what: "deciding restart written → candidate gone, held",
            times: Times::new(over),
            goals: (None, None),
        },
    ];
    let against = "against: a bare watch shows the same event";
    print("Crash to rollback", against, &Times::new(shown), &figures);
    bed.stop().await;
    Ok(())
}
