//! A way back that needs nothing but the cluster: the broker has ended, Prometheus hangs, the repository is gone, and nobody may miss them.
//! Then, with everything there again, people steer by commands.

use idp::cluster::raw::resource;
use idp::model::record::Record;
use idp::model::rollout::{Outcome, Phase};
use kube::api::Api;
use serde_json::Value;

use super::daemon::{Daemon, Setup};
use super::events::{ensure_unbroken, events, outcomes, until_published};
use super::ground::Ground;
use super::service::{NAMESPACE, Service};
use crate::stack::{Kafka, Prometheus, require};
use crate::targets::Targets;

const TOPIC: &str = "alone";
const RELEASE: &str = "books.production";

/// The first step lasts long enough for a person, and for all the rest to go away.
const DECLARATION: &str = r#"service: {name: books, team: shop}
workload: {replicas: 2}
deploy:
  strategy: canary
  canary:
    - {weight: 50, pause: manual}
    - {weight: 100, pause: 1s}
  healthcheck: {path: /healthz, interval: 200ms, timeout: 150ms, threshold: 30}
  rollback: {on_restarts: ">0", on_error_rate: ">5%", window: 1s}
"#;

#[tokio::test]
async fn a_way_back_needs_nothing_but_the_cluster_and_people_steer_by_commands() -> anyhow::Result<()> {
    if require().is_some() {
        return Ok(());
    }
    let (ground, kafka) = tokio::try_join!(Ground::lay(), Kafka::launch())?;
    let mut targets = Targets::none()?;
    targets.follow(Api::namespaced_with(ground.client.clone(), NAMESPACE, &resource("v1", "Pod")), NAMESPACE);
    let prometheus = Prometheus::launch(&targets.configuration()).await?;
    let service = Service::create(&ground, "books").await?;
    let bootstrap = kafka.bootstrap.clone();
    let setup = Setup {
        kubeconfig: &ground.api.kubeconfig,
        sources: service.source(),
        kafka: (&bootstrap, TOPIC),
        environment: &format!(
            "    prometheus: {{url: \"{}\", scrape_interval: 1s, timeout: 1s}}\n",
            prometheus.url
        ),
    };
    let daemon = Daemon::prepare(&ground, &setup)?;
    let mut all = All { ground: &ground, service: &service, kafka, prometheus };
    let story = all.story(&daemon).await;
    daemon.explain(story)
}

struct All<'a> {
    ground: &'a Ground,
    service: &'a Service,
    kafka: Kafka,
    prometheus: Prometheus,
}

impl All<'_> {
    async fn story(&mut self, daemon: &Daemon) -> anyhow::Result<()> {
        let release = &self.service.release;
        let first = self.service.merge_as("one", "v1", DECLARATION).await?;
        daemon.start().await?;
        let stable = release.until_ended(&first, Outcome::Promoted).await?;
        let _load = self.ground.load(NAMESPACE, "books", 50.0);

        // Twenty seconds: long enough for its step to stand, and for all the rest to go away.
        let bad = self.service.merge_as("two", "v2.crash-200s", DECLARATION).await?;
        release.until("the first step", waits_for_promote).await?;
        let away = self.service.disappear()?;
        self.kafka.stop();
        self.prometheus.freeze()?;
        let record = release.until_ended(&bad, Outcome::RolledBack).await?;
        let verdict = &record.history[&2].verdict;
        anyhow::ensure!(verdict.starts_with("pod_state fail"), "{verdict}");
        anyhow::ensure!(!record.outbox.is_empty(), "what nobody took is kept");
        let image = |record: &Record| record.stable.as_ref().map(|stable| stable.version.image.clone());
        assert_eq!(image(&record), image(&stable));

        self.kafka.start().await?;
        self.prometheus.thaw()?;
        self.service.appear(away)?;

        // A second chance, and none: both by command.
        self.ground.idp(&["rollout", "retry", RELEASE, "--why", "it was the node"]).await?;
        release.until("the second try", is_at(3, Phase::Progressing)).await?;
        let answer = self.ground.idp(&["rollout", "abort", RELEASE, "--why", "it was not"]).await?;
        assert_eq!(answer["accepted"], true, "{answer}");
        let record = release.until_ended(&bad, Outcome::Aborted).await?;
        anyhow::ensure!(record.history[&3].verdict.contains("it was not"), "{:?}", record.history[&3]);

        let fix = self.service.merge_as("three", "v3", DECLARATION).await?;
        release.until("the fix waits for a person", waits_for_promote).await?;
        let answer: Value = self.ground.idp(&["rollout", "promote", RELEASE]).await?;
        assert_eq!(answer["accepted"], true, "{answer}");
        release.until_ended(&fix, Outcome::Promoted).await?;
        self.is_told(daemon).await
    }

    async fn is_told(&self, daemon: &Daemon) -> anyhow::Result<()> {
        let key = self.service.key();
        let (uid, record) = self.service.release.read().await?.expect("it was just read");
        let gates = &record.totals.verdicts;
        assert!(gates.get("error_rate/pass").is_some_and(|passes| *passes > 0), "{gates:?}");
        let published = until_published(&self.kafka, TOPIC, &key, (&uid, record.sequence)).await?;
        ensure_unbroken(&published, &uid, record.sequence)?;
        let published = events(&self.kafka, TOPIC, &key).await?;
        assert_eq!(outcomes(&published)?, ["success", "failure", "cancel", "success"]);
        daemon.stop().await
    }
}

fn waits_for_promote(record: &Record) -> bool {
    record.message.ends_with("waiting for `promote`")
}

fn is_at(number: u64, phase: Phase) -> impl Fn(&Record) -> bool {
    move |record| {
        record.rollout.as_ref().is_some_and(|rollout| rollout.number == number && rollout.phase == phase)
    }
}
