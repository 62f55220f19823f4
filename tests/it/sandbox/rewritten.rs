//! Branches that are rewritten while something rolls.

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

    world.until("at rest", |record| record.rollout.is_none()).await;
    world.repository.put("README.md", "nothing that counts");
    let marker = world.push("healthy");
    world.seen(&marker).await;
    let record = world.until("at rest", |record| record.rollout.is_none()).await;
    assert!(record.history.len() <= 2, "the first deploy and one more: {:?}", record.history.keys());
    assert!(record.history.values().skip(1).all(|ended| ended.outcome != Outcome::Promoted));
    assert_eq!(world.image().await, world.image_of(&first));
    assert!(record.held.is_empty(), "nobody was found guilty of anything");
    world.is_sound(record.history.len() - 1).await;
}
