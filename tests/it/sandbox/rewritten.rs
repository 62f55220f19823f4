//! Branches that are rewritten while something rolls.

use idp::model::record::Record;
use idp::model::rollout::{Outcome, Phase};

use super::world::{Setup, World};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_force_push_in_the_midst_of_a_rollout_takes_its_place() {
    let mut world = World::deployed(Setup::default()).await;
    let first = world.repository.head();
    world.merge("two", "healthy");
    world.reaches(2, Phase::Progressing).await;

    // As if the second commit had never been.
    world.repository.rewind(&first);
    let rewritten = world.merge("three", "healthy");
    world.ends(2, Outcome::Superseded).await;
    world.ends(3, Outcome::Promoted).await;
    assert_eq!(world.image().await, world.image_of(&rewritten));
    world.is_sound(2).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn there_and_back_within_a_second_is_at_most_one_rollout() {
    let mut world = World::deployed(Setup::default()).await;
    let first = world.repository.head();
    let second = world.merge("two", "healthy");
    world.seen(&second).await;
    world.repository.rewind(&first);
    world.repository.merge();
    world.seen(&first).await;
    assert_eq!(world.image().await, world.image_of(&first));

    // A third version shows what went before it: whatever waited has had its turn when it is promoted.
    let third = world.merge("three", "healthy");
    let ends_at_third = |record: &Record| {
        record.rollout.is_none() && record.head.as_ref().is_some_and(|head| head.commit == third)
    };
    let record = world.until("at rest at the third", ends_at_third).await;
    let promoted = |number: &u64| record.history[number].outcome == Outcome::Promoted;
    let numbers: Vec<u64> = record.history.keys().copied().collect();
    assert!(numbers.len() <= 3, "the first deploy, one between, the third: {:?}", record.history);
    let ended: Vec<u64> = numbers.iter().copied().filter(promoted).collect();
    assert_eq!(ended, [1, numbers.len() as u64], "only the first and the third ran to the end");
    assert_eq!(world.image().await, world.image_of(&third));
    assert!(record.held.is_empty(), "nobody was found guilty of anything");
    // The second look may come before the candidate of the second is made, or before its rollout has begun.
    let candidates = world.ledger.ever_named("Deployment", "web-canary");
    assert!(candidates < numbers.len(), "a candidate without a rollout: {:?}", record.history);
    world.is_sound(candidates).await;
}
