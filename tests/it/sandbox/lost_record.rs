//! The `Release` is deleted in every phase: it is rebuilt from the cluster; nothing is deployed without its gates, nothing is left
//! behind, and a hold still holds.

use idp::model::record::Record;
use idp::model::rollout::{Hold, Outcome, Phase};
use kube::api::DeleteParams;

use super::world::{Setup, World, declaration};

/// Deletes the record of `web`, and waits until there is a new one.
async fn lose(world: &World) -> Record {
    let old = world.release("web").await.unwrap().0.metadata.uid;
    world.releases().delete("web", &DeleteParams::background()).await.unwrap();
    let rebuilt = async || {
        let (object, record) = world.release("web").await?;
        (object.metadata.uid != old).then_some(record)
    };
    world.find("the record is rebuilt", rebuilt).await
}

fn ended(outcome: Outcome, since: u64) -> impl Fn(&Record) -> bool {
    move |record| {
        record.history.iter().any(|(number, summary)| *number >= since && summary.outcome == outcome)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn at_rest() {
    let mut world = World::deployed(Setup::default()).await;
    lose(&world).await;
    let record =
        world.until("at rest again", |record| record.stable.is_some() && record.rollout.is_none()).await;
    assert_eq!(record.stable.unwrap().rollout, 1, "what was promoted is known");
    world.is_sound(0).await;
    let next = world.merge("two", "healthy");
    world.until("the next is promoted", ended(Outcome::Promoted, 2)).await;
    assert_eq!(world.image().await, world.image_of(&next));
    assert!(
        world.ledger.phases("web", 2).contains(&"Progressing".to_owned()),
        "as a canary, not as a first deploy"
    );
    world.is_sound(1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_preparing() {
    let mut world = World::deployed(Setup::default()).await;
    world.repository.put("src/main", "two");
    let commit = world.repository.write("two");
    world.repository.merge();
    world.reaches(2, Phase::Preparing).await;
    lose(&world).await;
    world.sandbox.registry().push_as("shop/web", &commit, "healthy");
    world.until("promoted after all", ended(Outcome::Promoted, 2)).await;
    assert_eq!(world.image().await, world.image_of(&commit));
    assert!(world.ledger.phases("web", 2).contains(&"Progressing".to_owned()));
    world.is_sound(1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_progressing() {
    let mut world = World::deployed(Setup::default()).await;
    let text = declaration("web").replacen("pause: 400ms", "pause: 2s", 1);
    world.repository.put(".idp/deploy.yaml", text);
    let commit = world.merge("two", "healthy");
    world
        .until("observes its second step", |record| record.rollout.as_ref().is_some_and(|r| r.step == 1))
        .await;
    let record = lose(&world).await;
    let rollout = record.rollout.expect("the rollout is under way again");
    assert_eq!(
        (rollout.number, rollout.phase, rollout.step),
        (2, Phase::Progressing, 0),
        "nothing is credited"
    );
    assert_ne!(world.image().await, world.image_of(&commit), "stable is what it was");
    world.until("promoted after all", ended(Outcome::Promoted, 2)).await;
    world.is_sound(1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_promoting() {
    let mut world = World::deployed(Setup::default()).await;
    let commit = world.merge("two", "slow-8s");
    world.reaches(2, Phase::Promoting).await;
    lose(&world).await;
    world.until("promoted after all", ended(Outcome::Promoted, 2)).await;
    assert_eq!(world.image().await, world.image_of(&commit));
    world.is_sound(1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_baking() {
    let mut world = World::deployed(Setup::default()).await;
    let text = declaration("web").replacen("pause: 300ms", "pause: 2s", 1);
    world.repository.put(".idp/deploy.yaml", text);
    let commit = world.merge("two", "healthy");
    world.reaches(2, Phase::Baking).await;
    lose(&world).await;
    world.until("promoted after all", ended(Outcome::Promoted, 2)).await;
    assert_eq!(world.image().await, world.image_of(&commit));
    world.is_sound(1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_rolling_back_and_while_held() {
    let mut world = World::deployed(Setup::default()).await;
    let good = world.image().await;
    world.merge("two", "crash");
    world.reaches(2, Phase::RollingBack).await;
    lose(&world).await;
    let is_held = |record: &Record| {
        record.rollout.is_none() && record.held.values().any(|held| held.hold == Hold::Held)
    };
    world.until("held again", is_held).await;
    world.is_sound(1).await;

    let record = lose(&world).await;
    let numbers: Vec<u64> = record.held.keys().copied().collect();
    assert_eq!(numbers, [2], "the hold is known");
    // A commit that changes nothing of it does not free it.
    world.repository.put("README.md", "hello");
    let unrelated = world.push("crash");
    world.seen(&unrelated).await;
    let record = world.until("says that it is held", |record| record.message.contains("held")).await;
    assert!(record.rollout.is_none(), "{}", record.message);
    assert_eq!(world.image().await, good);
    world.is_sound(1).await;

    let fix = world.merge("three", "healthy");
    let record = world.until("the fix is promoted", ended(Outcome::Promoted, 3)).await;
    assert_eq!(record.rollouts, 3, "nothing else was tried in between");
    assert_eq!(world.image().await, world.image_of(&fix));
    world.is_sound(2).await;
}

/// A first deploy whose record is lost on the way stays one, and its gates are asked.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn during_a_first_deploy() {
    let mut world = World::start(Setup::default()).await;
    world.repository.put(".idp/deploy.yaml", declaration("web"));
    let commit = world.merge("one", "slow-8s");
    world.reaches(1, Phase::Promoting).await;
    lose(&world).await;
    world.until("promoted after all", ended(Outcome::Promoted, 1)).await;
    assert_eq!(world.image().await, world.image_of(&commit));
    assert_eq!(world.ledger.ever_named("Deployment", "web"), 1);
}
