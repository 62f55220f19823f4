//! The forge merges, tells, serves and keeps.

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::routing::post;
use hmac::{Hmac, Mac};
use reqwest::Method;
use serde_json::{Value, json};
use sha2::Sha256;
use tokio::sync::mpsc;

use super::super::{CommitStatus, Forge, Gitea, Repo, command, gitea, require};
use super::SOON;

#[tokio::test]
async fn a_merged_pull_request_is_told_by_a_signed_webhook() -> anyhow::Result<()> {
    if require().is_some() {
        return Ok(());
    }
    let gitea = gitea().await?;
    let repo = repo_of_a_team(&gitea.admin).await?;
    let (listener, mut deliveries) = listen().await?;
    repo.create_webhook(&listener, "s3cret", &["push", "pull_request"]).await?;

    repo.create_branch("change", "main").await?;
    repo.commit("change", "add two files", &[("a.txt", "a"), (".idp/deploy.yaml", "b")]).await?;
    let number = repo.open_pull_request("Two files", "change", "main").await?;
    let merged = repo.merge_pull_request(number).await?;
    assert_eq!(repo.head("main").await?, merged);

    let (headers, body) =
        delivery(&mut deliveries, |event, body| event == "push" && body["ref"] == "refs/heads/main").await?;
    assert_eq!(serde_json::from_slice::<Value>(&body)?["after"], merged.as_str());
    let mut mac = Hmac::<Sha256>::new_from_slice(b"s3cret")?;
    mac.update(&body);
    mac.verify_slice(&hex::decode(&headers["X-Gitea-Signature"])?)?;
    Ok(())
}

#[tokio::test]
async fn the_forge_serves_clones_and_commit_statuses() -> anyhow::Result<()> {
    if require().is_some() {
        return Ok(());
    }
    let mut gitea = Gitea::launch().await?;
    let repo = gitea.admin.create_repo(&gitea.admin.user, "books").await?;
    let commit = repo.commit("main", "one file", &[("a.txt", "a")]).await?;

    gitea.stop();
    gitea.start().await?;
    let mut git = tokio::process::Command::new("git");
    // Nothing of the machine's own settings, and no proxy: git would use one for the loopback too.
    git.env("GIT_CONFIG_GLOBAL", "/dev/null").args(["-c", "http.proxy=", "ls-remote"]);
    let refs = command::run(git.args([&repo.clone_url()?, "refs/heads/main"]), SOON).await?;
    assert!(refs.starts_with(&commit), "{refs}");

    let status =
        json!({ "context": "idp/books", "state": "success", "description": "promoted", "target_url": "" });
    repo.call(Method::POST, &format!("statuses/{commit}"), &status).await?;
    let statuses = repo.statuses(&commit).await?;
    let told = CommitStatus {
        context: "idp/books".into(),
        state: "success".into(),
        description: "promoted".into(),
        target_url: String::new(),
    };
    assert_eq!(statuses, [told]);

    gitea.freeze()?;
    gitea.thaw()
}

async fn repo_of_a_team(admin: &Forge) -> anyhow::Result<Repo> {
    let user = admin.create_user("ann").await?;
    user.create_org("shop").await?;
    user.create_repo("shop", "cart").await
}

type Delivery = (HeaderMap, Bytes);

/// Starts a receiver of webhooks and returns its URL and what arrives there.
async fn listen() -> anyhow::Result<(String, mpsc::Receiver<Delivery>)> {
    async fn receive(State(sender): State<mpsc::Sender<Delivery>>, headers: HeaderMap, body: Bytes) {
        // After the test has seen what it wanted, nobody reads on.
        let _ = sender.send((headers, body)).await;
    }
    let (sender, deliveries) = mpsc::channel(16);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let url = format!("http://{}/", listener.local_addr()?);
    let router = Router::new().route("/", post(receive)).with_state(sender);
    tokio::spawn(async { axum::serve(listener, router).await });
    Ok((url, deliveries))
}

/// Waits for the delivery that is wanted and passes over the others.
async fn delivery(
    deliveries: &mut mpsc::Receiver<Delivery>,
    wanted: impl Fn(&str, &Value) -> bool,
) -> anyhow::Result<Delivery> {
    let search = async {
        while let Some((headers, body)) = deliveries.recv().await {
            let event =
                headers.get("X-Gitea-Event").and_then(|value| value.to_str().ok()).unwrap_or_default();
            if wanted(event, &serde_json::from_slice(&body)?) {
                return Ok((headers, body));
            }
        }
        anyhow::bail!("the receiver is gone")
    };
    tokio::time::timeout(SOON, search).await?
}
