//! The broker ends during a rollout and comes back.

use idp::model::rollout::{Outcome, Phase};

use super::daemon::{Daemon, Setup};
use super::events::{ensure_unbroken, events, outcomes, until_published};
use super::ground::Ground;
use super::service::Service;
use crate::stack::{Kafka, require};

const TOPIC: &str = "outage";

#[tokio::test]
async fn a_broker_that_is_away_delays_no_rollout_and_misses_no_event() -> anyhow::Result<()> {
    if require().is_some() {
        return Ok(());
    }
    let (ground, mut kafka) = tokio::try_join!(Ground::lay(), Kafka::launch())?;
    let service = Service::create(&ground, "books").await?;
    let bootstrap = kafka.bootstrap.clone();
    let setup = Setup {
        kubeconfig: &ground.api.kubeconfig,
        sources: service.source(),
        kafka: (&bootstrap, TOPIC),
        environment: "",
    };
    let daemon = Daemon::prepare(&ground, &setup)?;
    let story = story(&service, &daemon, &mut kafka).await;
    daemon.explain(story)
}

async fn story(service: &Service, daemon: &Daemon, kafka: &mut Kafka) -> anyhow::Result<()> {
    let first = service.merge("one", "v1").await?;
    daemon.start().await?;
    service.release.until_ended(&first, Outcome::Promoted).await?;

    let good = service.merge("two", "v2").await?;
    service
        .release
        .until("the canary", |record| {
            record.rollout.as_ref().is_some_and(|rollout| rollout.phase == Phase::Progressing)
        })
        .await?;
    kafka.stop();
    service.release.until_ended(&good, Outcome::Promoted).await?;
    let bad = service.merge("three", "v3.crash").await?;
    let record = service.release.until_ended(&bad, Outcome::RolledBack).await?;
    assert!(!record.outbox.is_empty(), "what nobody took is kept");

    kafka.start().await?;
    let before = events(kafka, TOPIC, &service.key()).await?.len();
    let fix = service.merge("four", "v4").await?;
    service.release.until_ended(&fix, Outcome::Promoted).await?;
    let (uid, record) = service.release.read().await?.expect("it was just read");
    let published = until_published(kafka, TOPIC, &service.key(), (&uid, record.sequence)).await?;
    assert!(before < published.len());
    ensure_unbroken(&published, &uid, record.sequence)?;
    assert_eq!(outcomes(&published)?, ["success", "success", "failure", "success"]);
    daemon.stop().await
}
