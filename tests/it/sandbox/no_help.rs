//! A rollback needs the Kubernetes API and nothing else.

use idp::model::rollout::{Hold, Outcome, Phase};
use idp::model::verdict::Gate;

use super::world::{Setup, World, declaration};

/// Git is gone, and the pods' metrics hang, while a candidate starts to crash.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crashing_candidate_is_rolled_back_without_git_and_metrics() {
    let mut world = World::start(Setup::default()).await;
    let patient = declaration("web").replacen("pause: 400ms", "pause: 1h", 1);
    world.repository.put(".idp/deploy.yaml", patient);
    let good = world.merge("one", "metrics-hang");
    world.ends(1, Outcome::Promoted).await;
    world.ledger.count_ready_from_now();

    world.merge("two", "crash-30s.metrics-hang");
    world.reaches(2, Phase::Progressing).await;
    world.repository.disappear();
    let lost = async || world.source_problems("web").await.first().cloned();
    world.find("the source says that its repository is away", lost).await;

    world.ends(2, Outcome::RolledBack).await;
    let record = world.record().await;
    let held = &record.held[&2];
    assert_eq!((held.hold, held.verdict.gate), (Hold::Held, Gate::PodState));
    world.is_sound(1).await;
    assert_eq!(world.image().await, world.image_of(&good));

    // Git comes back and still says the same: nothing starts.
    world.repository.reappear();
    let found = async || world.source_problems("web").await.is_empty().then_some(());
    world.find("the source is well again", found).await;
    let record = world.until("says that it is held", |record| record.message.contains("held")).await;
    assert_eq!(record.rollouts, 2);
}
