//! What a canary of three steps without pauses takes beyond its pods' own time.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::Result;
use futures::StreamExt;
use k8s_openapi::api::apps::v1::Deployment;
use kube::runtime::watcher::Event;
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, ResourceExt};
use tokio::time::Instant;

use super::bed::{Bed, NAMESPACE, stands};
use super::reaction::{bed, push};
use super::table::{Figure, Goal, Sheet, Times};

const THREE: &str = r"service: {name: checkout, team: shop}
workload: {port: 8080, replicas: 4}
deploy:
  strategy: canary
  canary: [{weight: 25}, {weight: 50}, {weight: 100}]
healthcheck: {type: none, interval: 100ms}
rollback: {window: 1s, history: 3}
";
/// Between two rounds, so that what trails the first does not burden the second.
const BREATH: Duration = Duration::from_millis(50);

/// For how long some Deployment was not as its spec asks: its controller and its pods were at work, and nobody can be faster.
#[derive(Clone, Default)]
struct Pods(Arc<Mutex<Waiting>>);

#[derive(Default)]
struct Waiting {
    behind: BTreeSet<String>,
    since: Option<Instant>,
    waited: Duration,
}

impl Pods {
    fn follow(bed: &mut Bed) -> Self {
        let all = Self::default();
        let known = all.clone();
        let api: Api<Deployment> = Api::namespaced(bed.sandbox.server().client_as("raw-watch"), NAMESPACE);
        bed.lookers.spawn(async move {
            let mut changes = std::pin::pin!(watcher(api, watcher::Config::default()).default_backoff());
            while let Some(change) = changes.next().await {
                match change {
                    Ok(Event::Apply(it) | Event::InitApply(it)) => known.note(it.name_any(), !is_there(&it)),
                    Ok(Event::Delete(it)) => known.note(it.name_any(), false),
                    _ => {}
                }
            }
        });
        all
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note(&self, name: String, behind: bool) {
        let now = Instant::now();
        let mut waiting = self.lock();
        if behind {
            waiting.behind.insert(name);
            waiting.since.get_or_insert(now);
            return;
        }
        waiting.behind.remove(&name);
        if let (true, Some(since)) = (waiting.behind.is_empty(), waiting.since) {
            waiting.since = None;
            waiting.waited += now.duration_since(since);
        }
    }

    fn waited(&self) -> Duration {
        self.lock().waited
    }
}

/// Tells whether a Deployment's controller has done what its spec asks, and all its pods are ready.
fn is_there(deployment: &Deployment) -> bool {
    let wanted = deployment.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(1);
    let Some(status) = &deployment.status else { return wanted == 0 };
    let all = [status.replicas, status.updated_replicas, status.ready_replicas];
    status.observed_generation >= deployment.metadata.generation
        && all.into_iter().all(|count| count.unwrap_or(0) == wanted)
}

/// Three steps without pauses, from the push to the promotion, less the time in which pods were made and taken away.
pub async fn three(sheet: &mut Sheet, rounds: usize) -> Result<()> {
    let mut bed = bed(THREE, 0.01).await?;
    let pods = Pods::follow(&mut bed);
    let (mut own, mut total, mut waited) = (Vec::new(), Vec::new(), Vec::new());
    for number in 0..rounds {
        let before = pods.waited();
        let (commit, pushed) = push(&mut bed, number, "healthy").await?;
        bed.until("the next version is stable", |record| stands(record, &commit)).await?;
        let took = pushed.elapsed();
        tokio::time::sleep(BREATH).await;
        let theirs = pods.waited().saturating_sub(before);
        own.push(took.saturating_sub(theirs));
        total.push(took);
        waited.push(theirs);
    }
    let goal = Goal { median: Some(Duration::from_millis(300)), p99: None };
    let figures = [
        Figure { what: "pushed → promoted, less the pods' own time", times: Times::new(own), goal },
        Figure::plain("pushed → promoted", total),
    ];
    let against = Figure::plain("against: Deployments were not as their specs ask", waited);
    sheet.print("Three steps without pauses", &against, &figures);
    bed.stop().await;
    Ok(())
}
