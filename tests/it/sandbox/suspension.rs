//! A source that a person suspends: nothing of it is looked at until it is resumed, not even by a new daemon.

use idp::cli::connect::Scope;
use idp::cli::{self, Colour, Exit, Format, Output};
use idp::http::sources::{SourceList, SourceSeen};
use idp::model::command::Verb;
use idp::model::rollout::{Outcome, Phase};

use super::webhooks::sign;
use super::world::{SECRET, Setup, World};
use crate::lease::HOME;

const SOURCE: &str = "    webhook: {forge: gitea, secret_file: hook}\n";

/// As a person types it, against the cluster alone.
async fn ask(world: &World, suspended: bool) {
    let scope = Scope { client: world.sandbox.server().client_as("idp"), namespace: None };
    let output = Output::new(Format::Json, Colour::Never);
    let source = "web".parse().unwrap();
    let asked = cli::suspend::run(&scope, &output, HOME, &source, (suspended, "an audit")).await.unwrap();
    assert_eq!(asked, Exit::Good);
}

async fn seen(world: &World) -> SourceSeen {
    let daemon = format!("http://{}", world.daemon.as_ref().unwrap().address).parse().unwrap();
    let list: SourceList = cli::daemon::get(&daemon, "/api/v1/sources", &[], "its sources").await.unwrap();
    list.sources.into_iter().next().unwrap()
}

async fn push(world: &World) -> String {
    const PUSH: &str = r#"{"ref":"refs/heads/main"}"#;
    let url = format!("http://{}/hooks/web", world.daemon.as_ref().unwrap().address);
    let request = reqwest::Client::new().post(url).header("x-gitea-event", "push").body(PUSH);
    let answer = request.header("x-gitea-signature", sign(SECRET, PUSH)).send().await.unwrap();
    format!("{} {}", answer.status().as_u16(), answer.text().await.unwrap().trim())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_survives_a_restart_what_runs_goes_on_and_resumed_it_is_looked_at_at_once() {
    let mut world = World::deployed(Setup { source: SOURCE, poll: Some("1h"), ..Setup::default() }).await;
    // A canary runs when it is suspended, and is taken back by hand.
    world.merge("two", "healthy");
    world.reaches(2, Phase::Progressing).await;
    ask(&world, true).await;
    world.find("the daemon hears", async || seen(&world).await.suspended).await;
    world.command("web", "0123456789ab", Verb::Abort.name()).await;
    world.ends(2, Outcome::Aborted).await;

    world.merge("three", "healthy");
    assert_eq!(push(&world).await, "200 suspended");
    world.restart().await;
    let web = seen(&world).await;
    let suspended = web.suspended.unwrap();
    assert_eq!((suspended.why.as_str(), web.up), ("an audit", None), "a new daemon does not look either");
    assert!(suspended.who.is_some_and(|who| !who.is_empty()));
    assert_eq!(push(&world).await, "200 suspended");
    let metrics = format!("http://{}/metrics", world.daemon.as_ref().unwrap().address);
    let metrics = reqwest::get(metrics).await.unwrap().text().await.unwrap();
    assert!(metrics.contains("idp_source_suspended{source=\"web\"} 1"), "{metrics}");
    assert_eq!(world.record().await.rollouts, 2, "nothing new began");
    assert_eq!(world.ledger.ever_named("Deployment", "web"), 1, "nothing was deleted");

    ask(&world, false).await;
    world.ends(3, Outcome::Promoted).await;
    assert_eq!(seen(&world).await.suspended, None);
    assert_eq!(push(&world).await, "202 accepted");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_is_suspended_while_no_daemon_runs() {
    let mut world = World::deployed(Setup { source: SOURCE, ..Setup::default() }).await;
    world.kill();
    ask(&world, true).await;
    world.merge("two", "healthy");
    world.expire_lease().await;
    world.start_daemon().await;
    assert!(seen(&world).await.suspended.is_some());
    ask(&world, false).await;
    world.ends(2, Outcome::Promoted).await;
}
