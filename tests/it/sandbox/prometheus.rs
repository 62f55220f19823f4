//! A genuine Prometheus scrapes the pods, and the gates ask it.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use idp::model::rollout::{Hold, Outcome, Phase};
use idp::model::verdict::{Answer, Gate};
use idp::sandbox::{Load, LoadOptions};
use kube::api::{Api, DynamicObject, ListParams};
use serde_json::json;
use tokio::task::JoinHandle;
use tokio::time::sleep;

use super::world::{NAMESPACE, Setup, World};
use crate::stack::{self, Prometheus};

/// A world whose pods are scraped once a second, and which has load.
struct Scraped {
    world: World,
    prometheus: Prometheus,
    _load: Load,
    targets: JoinHandle<()>,
    _folder: tempfile::TempDir,
}

impl Drop for Scraped {
    fn drop(&mut self) {
        self.targets.abort();
    }
}

const DECLARATION: &str = r#"service:
  name: web
  team: shop
workload:
  replicas: 3
deploy:
  strategy: canary
  canary:
    - weight: 34
      pause: 5s
    - weight: 100
      pause: 300ms
  progress_deadline: 40s
  healthcheck:
    path: /health
    interval: 500ms
    timeout: 450ms
    threshold: 20
  rollback:
    on_error_rate: ">5%"
    on_latency: {p95: ">250ms"}
    on_restarts: ">0"
    min_requests: 20
    window: 1s
  gates:
    - name: scraped
      type: metric
      query: count(up{namespace="shop-production"} == 1)
      min: 1
      interval: 1s
"#;

impl Scraped {
    async fn start() -> anyhow::Result<Self> {
        let folder = tempfile::tempdir()?;
        let file = folder.path().join("targets.json");
        std::fs::write(&file, "[]")?;
        let config = format!(
            "global: {{scrape_interval: 1s, scrape_timeout: 900ms}}\nscrape_configs:\n  - job_name: pods\n    file_sd_configs: [{{files: ['{}'], refresh_interval: 1s}}]\n",
            file.display()
        );
        let prometheus = stack::prometheus(&config).await?;
        let environment =
            format!("    prometheus: {{url: \"{}\", scrape_interval: 1s, timeout: 1s}}\n", prometheus.url);
        // It lives as long as the process, which is a test's.
        let environment: &'static str = environment.leak();
        let mut world = World::start(Setup { environment, ..Setup::default() }).await;
        let targets = tokio::spawn(follow(world.api("v1", "Pod", NAMESPACE), file));
        let options =
            LoadOptions { rate: 120.0, max_requests: 100_000, ..LoadOptions::new(NAMESPACE, "web") };
        let load = world.sandbox.load(options);
        world.repository.put(".idp/deploy.yaml", DECLARATION);
        world.merge("one", "healthy");
        world.ends(1, Outcome::Promoted).await;
        Ok(Self { world, prometheus, _load: load, targets, _folder: folder })
    }
}

/// Writes the pods as targets, as service discovery does.
async fn follow(pods: Api<DynamicObject>, file: PathBuf) {
    let mut written = String::new();
    loop {
        let found = pods.list(&ListParams::default()).await.map(|list| list.items).unwrap_or_default();
        let target = |pod: &DynamicObject| {
            let ip = pod.data["status"]["podIP"].as_str()?.to_owned();
            let name = pod.metadata.name.clone()?;
            Some(json!({"targets": [format!("{ip}:8080")], "labels": {"namespace": NAMESPACE, "pod": name}}))
        };
        let text = json!(found.iter().filter_map(target).collect::<Vec<_>>()).to_string();
        if text != written {
            let next = file.with_extension("next");
            std::fs::write(&next, &text).unwrap();
            std::fs::rename(&next, &file).unwrap();
            written = text;
        }
        sleep(Duration::from_millis(100)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bad_candidate_is_caught_by_what_prometheus_scraped() -> anyhow::Result<()> {
    if stack::require().is_some() {
        return Ok(());
    }
    let mut scraped = Scraped::start().await?;
    let world = &mut scraped.world;
    let mut causes = BTreeMap::new();
    for (number, behaviour) in [(2, "errors-40"), (3, "latency-400ms.otel")] {
        world.merge(behaviour, behaviour);
        let summary = world.ends(number, Outcome::RolledBack).await;
        let held = world.record().await.held[&number].clone();
        assert_eq!(held.hold, Hold::Held, "{}", summary.verdict);
        assert_eq!(held.verdict.to_string(), summary.verdict, "one sentence");
        causes.insert(number, (held.verdict.gate, held.verdict.numbers.provider.unwrap_or_default()));
    }
    let plain = "Prometheus (http_requests_total)".to_owned();
    assert_eq!(causes[&2], (Gate::ErrorRate, plain));
    // It counts by OpenTelemetry's name and stable by the other: each is read by its own.
    assert_eq!(causes[&3].0, Gate::Latency);
    assert!(causes[&3].1.starts_with("Prometheus ("), "{causes:?}");
    // What is well is promoted, by the same numbers.
    world.merge("well", "healthy");
    world.ends(4, Outcome::Promoted).await;
    let told = world.record().await.totals.verdicts;
    assert!(told["gate/pass"] > 0 && told["latency/pass"] > 0, "{told:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_prometheus_that_is_away_holds_the_step_and_no_rollback() -> anyhow::Result<()> {
    if stack::require().is_some() {
        return Ok(());
    }
    let mut scraped = Scraped::start().await?;
    scraped.prometheus.freeze()?;
    let world = &mut scraped.world;
    world.merge("two", "crash-120s");
    world.reaches(2, Phase::Progressing).await;
    let unknown = |record: &idp::model::record::Record| {
        let stage = record.rollout.as_ref().map(|rollout| &rollout.stage);
        let verdict = stage.and_then(|stage| stage.verdicts.get("error_rate"));
        verdict.is_some_and(|verdict| {
            verdict.answer == Answer::Unknown && verdict.reason.contains("Prometheus: no answer within 1s")
        })
    };
    let record = world.until("the gate says that it cannot tell", unknown).await;
    assert_eq!(record.rollout.unwrap().step, 0);
    // It crashes while nobody answers, and is taken back all the same.
    world.ends(2, Outcome::RolledBack).await;
    assert_eq!(world.record().await.held[&2].verdict.gate, Gate::PodState);
    scraped.prometheus.thaw()
}
