//! Webhooks from the door to the look.

use hmac::{Hmac, Mac as _};
use idp::cli;
use idp::http::sources::SourceList;
use idp::model::rollout::Outcome;
use sha2::Sha256;

use super::world::{SECRET, Setup, World, declaration};

const PUSH: &str = r#"{"ref":"refs/heads/main"}"#;

pub fn sign(secret: &str, body: &str) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).unwrap();
    mac.update(body.as_bytes());
    hex::encode(mac.finalize().into_bytes())
}

async fn post(world: &World, delivery: &str, signature: Option<&str>, body: String) -> u16 {
    let url = format!("http://{}/hooks/web", world.daemon.as_ref().unwrap().address);
    let mut request =
        reqwest::Client::new().post(url).header("x-gitea-event", "push").header("x-gitea-delivery", delivery);
    if let Some(signature) = signature {
        request = request.header("x-gitea-signature", signature);
    }
    request.body(body).send().await.unwrap().status().as_u16()
}

/// How many looks at the source ended well.
fn looks(world: &World) -> u64 {
    let text = world.daemon.as_ref().unwrap().metrics.render();
    let lines = text
        .lines()
        .filter(|line| line.starts_with("idp_source_fetches_total{") && line.contains("changed\""));
    lines.map(|line| line.rsplit(' ').next().unwrap().parse::<u64>().unwrap()).sum()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_a_hook_that_is_signed_makes_the_daemon_look() {
    let source = "    webhook: {forge: gitea, secret_file: hook, max_body: 1KiB}\n";
    let mut world = World::start(Setup { source, poll: Some("1h"), ..Setup::default() }).await;
    world.repository.put(".idp/deploy.yaml", declaration("web"));
    world.merge("one", "healthy");
    world.ends(1, Outcome::Promoted).await;
    let before = looks(&world);

    assert_eq!(post(&world, "1", None, PUSH.to_owned()).await, 401);
    assert_eq!(post(&world, "2", Some(&sign("guess", PUSH)), PUSH.to_owned()).await, 401);
    assert_eq!(post(&world, "3", Some("no hex"), PUSH.to_owned()).await, 401);
    let long = format!("{PUSH}{}", " ".repeat(2000));
    assert_eq!(post(&world, "4", Some(&sign(SECRET, &long)), long).await, 413);
    assert_eq!(post(&world, "5", Some(&sign(SECRET, PUSH)), PUSH.to_owned()).await, 202);
    let looked = async || (looks(&world) > before).then_some(());
    world.find("it looked", looked).await;
    assert_eq!(looks(&world), before + 1, "the others made it look at nothing");

    let url = format!("http://{}/api/v1/deliveries?source=web", world.daemon.as_ref().unwrap().address);
    let told: serde_json::Value = reqwest::get(url).await.unwrap().json().await.unwrap();
    let rows = told["deliveries"].as_array().unwrap();
    assert_eq!(rows.len(), 1, "{told}");
    assert_eq!((&rows[0]["id"], &rows[0]["outcome"]), (&"5".into(), &"accepted".into()));
    let refused = told["refused"].as_array().unwrap().iter();
    let refused: Vec<_> = refused.map(|row| (row["reason"].as_str(), row["count"].as_u64())).collect();
    assert_eq!(refused, [(Some("too_large"), Some(1)), (Some("unproven"), Some(3))]);

    // A person sees the source and has it looked at, without a webhook.
    let daemon = format!("http://{}", world.daemon.as_ref().unwrap().address).parse().unwrap();
    let page = "/api/v1/sources";
    let list: SourceList = cli::daemon::get(&daemon, page, &[], "its sources").await.unwrap();
    let [web] = list.sources.as_slice() else { panic!("one source: {list:?}") };
    let status = web.status.as_ref().unwrap();
    assert_eq!((web.up, status.releases, status.problem_count), (Some(true), 1, 0));
    assert_eq!(web.webhook.as_ref().unwrap().last.map(|at| at >= status.changed_at.unwrap()), Some(true));
    let before = looks(&world);
    cli::daemon::post(&daemon, &format!("{page}/web/look"), "a look").await.unwrap();
    world.find("it looked again", async || (looks(&world) > before).then_some(())).await;
}
