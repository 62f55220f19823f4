//! People steer a rollout through the command line's own code: a manual step, an approval, going back while Git, the broker and the
//! registry are away, and services that come after each other.

use std::time::Duration;

use idp::cli::command::{self, Answered, Ask};
use idp::cli::connect::Scope;
use idp::model::command::Verb;
use idp::model::record::Record;
use idp::model::rollout::{Outcome, Phase};

use super::world::{NAMESPACE, Setup, World, declaration};

async fn give(world: &World, who: &str, ask: Ask) -> Answered {
    let client = world.sandbox.server().client_as(who);
    let scope = Scope { client, namespace: Some(NAMESPACE.to_owned()) };
    command::give(&scope, "web", &ask, Duration::from_secs(30)).await.unwrap()
}

async fn tell(world: &World, verb: Verb) -> (bool, String) {
    let answered = give(world, "test", Ask::new(verb, "a test")).await;
    (answered.result.accepted, answered.result.message)
}

/// The usual canary, whose first step waits for a person and whose second one for an approval.
fn asking() -> String {
    declaration("web")
        .replace("weight: 25\n      pause: 400ms", "weight: 25\n      pause: manual")
        .replace("weight: 50\n      pause: 400ms", "weight: 50\n      approve: {count: 1, timeout: 5m}")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rollout_waits_for_people_and_undo_needs_nothing_but_the_cluster() {
    let mut world = World::deployed(Setup::default()).await;
    let first = world.image().await;
    world.repository.put(".idp/deploy.yaml", asking());
    world.merge("two", "healthy");
    let waits = |text: &'static str| move |record: &Record| record.message.ends_with(text);
    world.until("the first step waits", waits("waiting for `promote`")).await;
    let (no, why) = tell(&world, Verb::Approve).await;
    assert!(!no && why.contains("asks for no approval at step 1 of 3"), "{why}");
    assert!(tell(&world, Verb::Promote).await.0);
    world.until("the second step waits", waits("waiting for 1 of 1 approval")).await;
    // A new daemon has the same record.
    world.restart().await;
    assert!(!tell(&world, Verb::Promote).await.0);
    assert!(tell(&world, Verb::Approve).await.0);
    world.ends(2, Outcome::Promoted).await;

    drop(world.broker.take());
    let away = world.repository.disappear();
    let (yes, why) = tell(&world, Verb::Undo).await;
    assert!(yes && why.ends_with("of rollout 1"), "{why}");
    world.ends(3, Outcome::Undone).await;
    assert_eq!(world.image().await, first);
    let record = world.record().await;
    let held = &record.held[&2];
    assert!(!held.released && held.verdict.reason.ends_with("by sandbox-admin: a test"), "{}", held.verdict);
    assert_eq!((record.stable.as_ref().unwrap().rollout, record.rollouts), (3, 3));
    drop(away);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pause_outlives_the_daemon() {
    let mut world = World::deployed(Setup::default()).await;
    world.repository.put(".idp/deploy.yaml", asking());
    world.merge("two", "healthy");
    world.reaches(2, Phase::Progressing).await;
    assert!(tell(&world, Verb::Pause).await.0);
    world.restart().await;
    let (no, why) = tell(&world, Verb::Pause).await;
    assert!(!no && why.contains("is paused by"), "{why}");
    assert!(tell(&world, Verb::Resume).await.0);
    let full = Ask { full: true, ..Ask::new(Verb::Promote, "hurry") };
    let answered = give(&world, "test", full).await;
    assert!(!answered.result.accepted, "{}", answered.result.message);
    world.repository.put(".idp/deploy.yaml", declaration("web"));
    world.merge("three", "healthy");
    world.ends(3, Outcome::Promoted).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn services_of_one_commit_go_in_the_order_that_they_declare() {
    let mut world = World::new(Setup::default()).await;
    let after = declaration("api").replace("deploy:\n", "deploy:\n  after: [web]\n");
    world.repository.put("services/api/.idp/deploy.yaml", after);
    world.repository.put("services/web/.idp/deploy.yaml", declaration("web"));
    world.push("healthy");
    world.start_daemon().await;
    for (round, word) in [(1, "one"), (2, "two")] {
        if round > 1 {
            world.repository.put("services/api/src", word);
            world.repository.put("services/web/src", word);
            world.push("healthy");
        }
        let begun = |record: &Record| {
            let rollout = record.rollout.as_ref().filter(|rollout| rollout.number == round);
            rollout.is_some_and(|rollout| rollout.phase > Phase::Preparing)
        };
        world.until_of("api", "api begins", begun).await;
        let web = world.record().await;
        assert_eq!(
            (web.stable.map(|stable| stable.rollout), web.rollout),
            (Some(round), None),
            "web goes first"
        );
        let stable = |record: &Record| record.stable.as_ref().is_some_and(|stable| stable.rollout == round);
        world.until_of("api", "api is stable", stable).await;
    }
}
