//! People steer a rollout through the command line's own code: a manual step, an approval, going back while Git, the broker and the
//! registry are away, and services that come after each other or go together.

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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn services_of_a_group_go_together_and_back_together() {
    let mut world = World::new(Setup::default()).await;
    for service in ["api", "web"] {
        let group = declaration(service).replace("deploy:\n", "deploy:\n  group: shop\n");
        world.repository.put(&format!("services/{service}/.idp/deploy.yaml"), group);
    }
    world.push("healthy");
    world.start_daemon().await;
    let ended = |number: u64, outcome| {
        move |record: &Record| record.history.get(&number).is_some_and(|summary| summary.outcome == outcome)
    };
    for service in ["api", "web"] {
        world.until_of(service, "the first deploy", ended(1, Outcome::Promoted)).await;
    }

    for service in ["api", "web"] {
        world.repository.put(&format!("services/{service}/src"), "two");
    }
    let commit = world.repository.write("two");
    world.sandbox.registry().push_as("shop/api", &commit, "crash");
    world.sandbox.registry().push_as("shop/web", &commit, "healthy");
    world.repository.merge();
    world.until_of("api", "api fails", ended(2, Outcome::RolledBack)).await;
    world.until_of("web", "web goes back with it", ended(2, Outcome::RolledBack)).await;
    let waits = |record: &Record| record.message.contains("api of group shop ended as RolledBack");
    let web = world.until_of("web", "web waits for api", waits).await;
    assert_eq!(
        (web.held.len(), web.stable.unwrap().rollout),
        (0, 1),
        "nothing is held against web's version"
    );

    world.repository.put("services/api/src", "three");
    world.push("healthy");
    world.until_of("api", "api's next version", ended(3, Outcome::Promoted)).await;
    let web = world.until_of("web", "web's version, with it", ended(3, Outcome::Promoted)).await;
    assert_eq!(web.stable.unwrap().version.revision.commit.as_str(), commit);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_program_steers_over_http_as_whoever_its_token_belongs_to() {
    let mut world = World::deployed(Setup::default()).await;
    world.sandbox.server().set_token("secret-of-ann", "ann", &["get", "patch"]);
    world.sandbox.server().set_token("secret-of-eve", "eve", &["get"]);
    world.repository.put(".idp/deploy.yaml", asking());
    world.merge("two", "healthy");
    world.until("the first step waits", |record| record.message.ends_with("waiting for `promote`")).await;
    let base = format!("http://{}/api/v1/releases", world.daemon.as_ref().unwrap().address);
    let client = reqwest::Client::new();
    let promote = r#"{"verb": "promote", "why": "looks good", "rollout": 2}"#;
    let post = async |token: &str, release: &str, body: &str| {
        let request = client.post(format!("{base}/{release}/commands")).bearer_auth(token);
        let answer =
            request.header("content-type", "application/json").body(body.to_owned()).send().await.unwrap();
        (answer.status().as_u16(), answer.json::<serde_json::Value>().await.unwrap())
    };
    for (token, release, body, status) in [
        ("made-up", "web.production", promote, 401),
        ("secret-of-eve", "web.production", promote, 403),
        ("secret-of-ann", "no.production", promote, 404),
        ("secret-of-ann", "web", promote, 404),
        ("secret-of-ann", "web.production", r#"{"verb": "explode"}"#, 422),
        ("secret-of-ann", "web.production", "{", 400),
    ] {
        let (said, body) = post(token, release, body).await;
        assert_eq!(said, status, "{token} {release}: {body}");
        assert!(!body.to_string().contains("secret-of"), "{body}");
    }
    assert_eq!(client.get(format!("{base}/web.production")).send().await.unwrap().status().as_u16(), 401);
    let shown =
        client.get(format!("{base}/web.production")).bearer_auth("secret-of-eve").send().await.unwrap();
    let shown: serde_json::Value = shown.json().await.unwrap();
    assert_eq!(shown["status"]["rollout"]["number"], 2);

    let (status, given) = post("secret-of-ann", "web.production", promote).await;
    assert_eq!((status, &given["who"]), (202, &serde_json::json!("ann")));
    let answer = format!("{}{}", base.replace("/api/v1/releases", ""), given["answer"].as_str().unwrap());
    let answered = world
        .find("the answer", async || {
            let got = client.get(&answer).bearer_auth("secret-of-eve").send().await.unwrap();
            if got.status().is_success() { got.json::<serde_json::Value>().await.ok() } else { None }
        })
        .await;
    assert_eq!((&answered["accepted"], &answered["who"]), (&true.into(), &serde_json::json!("ann")));
    world.until("the second step waits", |record| record.message.contains("1 of 1 approval")).await;
}
