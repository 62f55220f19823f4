//! A genuine Prometheus scrapes the pods, and the gates ask it.

use std::collections::BTreeMap;

use idp::model::rollout::{Hold, Outcome, Phase};
use idp::model::verdict::{Answer, Gate};
use idp::sandbox::{Load, LoadOptions};

use super::world::{NAMESPACE, Setup, World};
use crate::stack::{self, Prometheus};
use crate::targets::Targets;

/// A world whose pods are scraped once a second, and which has load.
struct Scraped {
    world: World,
    prometheus: Prometheus,
    _load: Load,
    _targets: Targets,
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
        let mut targets = Targets::none()?;
        let prometheus = stack::prometheus(&targets.configuration()).await?;
        let environment =
            format!("    prometheus: {{url: \"{}\", scrape_interval: 1s, timeout: 1s}}\n", prometheus.url);
        // It lives as long as the process, which is a test's.
        let environment: &'static str = environment.leak();
        let mut world = World::start(Setup { environment, ..Setup::default() }).await;
        targets.follow(world.api("v1", "Pod", NAMESPACE), NAMESPACE);
        let options =
            LoadOptions { rate: 120.0, max_requests: 100_000, ..LoadOptions::new(NAMESPACE, "web") };
        let load = world.sandbox.load(options);
        world.repository.put(".idp/deploy.yaml", DECLARATION);
        world.merge("one", "healthy");
        world.ends(1, Outcome::Promoted).await;
        Ok(Self { world, prometheus, _load: load, _targets: targets })
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
