//! What no ref can tell is in the cluster before the forge is answered, whatever happens to the daemon or to the API server.

use idp::model::pull::{PullState, Pulls};
use idp::sandbox::Fault;
use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::process::AGENT;
use super::webhooks::sign;
use super::world::{SECRET, Setup, World};
use crate::lease::HOME;

const SOURCE: &str = "    webhook: {forge: gitea, secret_file: hook}\n";

async fn world() -> World {
    World::start(Setup { source: SOURCE, poll: Some("1h"), ..Setup::default() }).await
}

/// The delivery of a pull request that was closed without a merge.
fn closed(world: &World, number: u64) -> reqwest::RequestBuilder {
    let body = json!({
        "action": "closed", "number": number,
        "pull_request": {"number": number, "state": "closed", "merged": false,
            "title": "More", "user": {"login": "ann"}, "base": {"ref": "main"}, "head": {"ref": "topic", "sha": "1b"}}
    })
    .to_string();
    let url = format!("http://{}/hooks/web", world.daemon.as_ref().unwrap().address);
    reqwest::Client::new()
        .post(url)
        .header("x-gitea-event", "pull_request")
        .header("x-gitea-delivery", number.to_string())
        .header("x-gitea-signature", sign(SECRET, &body))
        .body(body)
}

async fn status(request: reqwest::RequestBuilder) -> Option<u16> {
    request.send().await.ok().map(|answer| answer.status().as_u16())
}

/// What the cluster keeps.
async fn kept(world: &World) -> Pulls {
    let map = world.api("v1", "ConfigMap", HOME).get_opt("idp-pulls-web").await.unwrap();
    let text = map.and_then(|map| Some(map.data["data"]["pulls.json"].as_str()?.to_owned()));
    text.map_or(Pulls::default(), |text| serde_json::from_str(&text).unwrap())
}

fn is_pulls(request: &idp::sandbox::api::Request) -> bool {
    request.user_agent == AGENT && request.name == "idp-pulls-web"
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_close_is_kept_before_it_is_answered_or_has_to_come_again() {
    let world = world().await;
    let answers = futures::future::join_all((1..=50).map(|number| status(closed(&world, number)))).await;
    assert!(answers.iter().all(|answer| *answer == Some(200)), "{answers:?}");
    let pulls = kept(&world).await.pulls;
    assert!(pulls.len() == 50 && pulls.values().all(|pull| pull.state == PullState::Closed));

    world.sandbox.server().inject(|request| is_pulls(request).then(|| Fault::status(503)));
    let answer = closed(&world, 60).send().await.unwrap();
    assert_eq!((answer.status().as_u16(), &answer.headers()["retry-after"]), (503, &"5".parse().unwrap()));
    assert!(!kept(&world).await.pulls.contains_key(&60));
    world.sandbox.server().clear_faults();
    assert_eq!(status(closed(&world, 60)).await, Some(200), "the same delivery, again");
    assert_eq!(kept(&world).await.pulls[&60].title.as_deref(), Some("More"));

    let url = format!("http://{}/api/v1/sources/web/pulls", world.daemon.as_ref().unwrap().address);
    let shown: Pulls = reqwest::get(url).await.unwrap().json().await.unwrap();
    assert_eq!(shown, kept(&world).await);
}

/// Kills the daemon at the write of a close; tells whether it was answered well before, and whether it is kept.
async fn killed(after_effect: bool) -> (bool, bool) {
    let mut world = world().await;
    let token = CancellationToken::new();
    let trap = token.clone();
    world.sandbox.server().inject(move |request| {
        if trap.is_cancelled() {
            return Some(Fault::Hang);
        }
        let hit = is_pulls(request) && request.verb.is_mutating();
        hit.then(|| Fault::Kill { token: trap.clone(), after_effect })
    });
    let request = closed(&world, 7);
    let answer = tokio::spawn(status(request));
    token.cancelled().await;
    world.kill();
    let answered = answer.await.unwrap().is_some_and(|status| status < 300);
    world.sandbox.server().clear_faults();
    let there = kept(&world).await.pulls.contains_key(&7);
    world.restart().await;
    assert_eq!(status(closed(&world, 7)).await, Some(200), "the forge comes again");
    assert_eq!(kept(&world).await.pulls[&7].state, PullState::Closed);
    (answered, there)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_before_the_write_nothing_was_promised_and_after_it_all_is_there() {
    assert_eq!(killed(false).await, (false, false));
    assert_eq!(killed(true).await, (false, true));
}
