//! What people ask for beside a deploy: observe, suspend, a place in the queue, abort, retry.

use std::collections::BTreeSet;

use idp::model::rollout::{Hold, Outcome, Phase};

use super::process::AGENT;
use super::world::{NAMESPACE, Setup, World, declaration};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn observe_writes_nothing_but_its_release() {
    let mut world = World::start(Setup::default()).await;
    world.make_namespace().await;
    world
        .repository
        .put(".idp/deploy.yaml", declaration("web").replace("deploy:\n", "deploy:\n  mode: observe\n"));
    world.merge("one", "healthy");
    let record = world.until("observes", |record| record.message.contains("observing")).await;
    assert!(record.rollout.is_none() && record.rollouts == 0);
    world.merge("two", "healthy");
    let head = record.head.unwrap().commit;
    world
        .until("sees the next commit", |record| record.head.as_ref().is_some_and(|seen| seen.commit != head))
        .await;
    let requests = world.sandbox.server().requests();
    let written: BTreeSet<String> = requests
        .iter()
        .filter(|request| request.user_agent == AGENT && request.mutating && request.namespace == NAMESPACE)
        .map(|request| request.kind.clone())
        .collect();
    assert_eq!(written, BTreeSet::from(["Release".to_owned()]));

    // From then on it may act.
    world.repository.put(".idp/deploy.yaml", declaration("web"));
    world.push("healthy");
    world.ends(1, Outcome::Promoted).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn suspended_starts_nothing_and_still_rolls_back() {
    let mut world = World::deployed(Setup::default()).await;
    world.ask("web", serde_json::json!({"suspend": true})).await;
    let commit = world.merge("two", "healthy");
    let record = world.until("says so", |record| record.message.contains("suspended")).await;
    assert_eq!(record.head.unwrap().commit, commit);
    assert_eq!(record.rollouts, 1);
    world.ask("web", serde_json::json!({"suspend": false})).await;
    world.ends(2, Outcome::Promoted).await;

    let text = declaration("web").replacen("pause: 400ms", "pause: 1h", 1);
    world.repository.put(".idp/deploy.yaml", text);
    world.merge("three", "crash-30s");
    world.reaches(3, Phase::Progressing).await;
    world.ask("web", serde_json::json!({"suspend": true})).await;
    world.ends(3, Outcome::RolledBack).await;
    world.is_sound(2).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_second_of_two_waits_for_its_slot_and_says_so() {
    let environment = "    max_concurrent_rollouts: 1\n";
    let mut world = World::start(Setup { environment, ..Setup::default() }).await;
    world.repository.put("services/web/.idp/deploy.yaml", declaration("web"));
    world.repository.put("services/web/main", "one");
    world.push("healthy");
    world.ends(1, Outcome::Promoted).await;
    let text = declaration("web").replacen("pause: 400ms", "pause: 1h", 1);
    world.repository.put("services/web/.idp/deploy.yaml", text);
    world.repository.put("services/web/main", "two");
    world.push("healthy");
    world.reaches(2, Phase::Progressing).await;

    world.repository.put("services/api/.idp/deploy.yaml", declaration("api"));
    world.repository.put("services/api/main", "one");
    world.push("healthy");
    world.until_of("api", "waits and says so", |record| record.message.contains("waiting for a slot")).await;
    assert_eq!(world.ledger.ever_named("Deployment", "api"), 0);

    // A new process knows who has the slot, whichever release it looks at first.
    world.restart().await;
    world
        .until_of("api", "still waits", |record| {
            record.epoch > 1 && record.message.contains("waiting for a slot")
        })
        .await;
    assert_eq!(world.ledger.ever_named("Deployment", "api"), 0);
    world.command("web", "stop", "abort").await;
    world.ends(2, Outcome::Aborted).await;
    world.until_of("api", "deployed", |record| record.stable.is_some()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn abort_and_retry_are_obeyed_once_and_refused_where_they_make_no_sense() {
    let mut world = World::deployed(Setup::default()).await;
    let good = world.image().await;
    world.command("web", "early", "abort").await;
    let record = world.until("answers", |record| record.commands.contains_key("early")).await;
    assert!(!record.commands["early"].accepted && record.commands["early"].message.contains("no rollout"));

    let text = declaration("web").replacen("pause: 400ms", "pause: 1h", 1);
    world.repository.put(".idp/deploy.yaml", text);
    world.merge("two", "healthy");
    world.reaches(2, Phase::Progressing).await;
    world.command("web", "stop", "abort").await;
    let summary = world.ends(2, Outcome::Aborted).await;
    assert!(summary.verdict.contains("aborted by ada"), "{}", summary.verdict);
    let record = world.record().await;
    assert_eq!(record.held[&2].hold, Hold::Held);
    assert!(record.commands["stop"].accepted);
    assert_eq!(world.image().await, good);
    world.is_sound(1).await;

    world.command("web", "again", "retry").await;
    world.reaches(3, Phase::Progressing).await;
    world.restart().await;
    // A new process does not obey a second time.
    let record = world.until("taken over", |record| record.epoch > 1).await;
    assert_eq!((record.rollouts, record.commands.len()), (3, 3));
}
