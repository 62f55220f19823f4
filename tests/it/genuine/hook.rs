//! The hook that `idp sources hook --create` makes in a real forge: made once, mended, and what it delivers is proven and understood.

use std::path::Path;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::routing::post;
use idp::config;
use idp::model::pull::{Action, PullRequest};
use idp::source::webhook::{HookOutcome, Hooks, News, Proven};
use idp::source::{Hints, Suspensions};
use reqwest::Method;
use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::SOON;
use crate::stack::{self, Gitea, Repo, require};

type Delivery = (HeaderMap, Bytes);

/// Starts a receiver of the source's webhooks and returns its address and what arrives there.
async fn listen() -> anyhow::Result<(String, mpsc::Receiver<Delivery>)> {
    async fn receive(State(sender): State<mpsc::Sender<Delivery>>, headers: HeaderMap, body: Bytes) {
        // After the test has seen what it wanted, nobody reads on.
        let _ = sender.send((headers, body)).await;
    }
    let (sender, deliveries) = mpsc::channel(64);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let url = format!("http://{}", listener.local_addr()?);
    let router = Router::new().route("/hooks/web", post(receive)).with_state(sender);
    tokio::spawn(async { axum::serve(listener, router).await });
    Ok((url, deliveries))
}

/// Runs the command and returns what it says became of the hook.
async fn create(folder: &Path, url: &str) -> anyhow::Result<String> {
    let mut idp = tokio::process::Command::new(env!("CARGO_BIN_EXE_idp"));
    idp.args(["--output", "json", "sources", "hook", "web", "--create", "--url", url]);
    idp.arg("--config").arg(folder.join("idpd.yaml")).arg("--token-file").arg(folder.join("token"));
    let said: Value = serde_json::from_str(&stack::command::run(&mut idp, SOON).await?)?;
    Ok(said["hook"].as_str().unwrap_or_default().to_owned())
}

async fn hooks_of(repo: &Repo) -> anyhow::Result<Vec<Value>> {
    Ok(serde_json::from_value(repo.call(Method::GET, "hooks", &Value::Null).await?)?)
}

/// The door as the daemon has it.
struct Door {
    hooks: Hooks,
    deliveries: mpsc::Receiver<Delivery>,
}

impl Door {
    /// Waits for a delivery, proven and understood, that is wanted.
    async fn proven<T>(&mut self, wanted: impl Fn(&Hooks, Proven) -> Option<T>) -> anyhow::Result<T> {
        let source = "web".parse()?;
        let search = async {
            while let Some((headers, body)) = self.deliveries.recv().await {
                let proven = self.hooks.prove(&source, &headers, &body)?;
                if let Some(found) = wanted(&self.hooks, proven) {
                    return Ok(found);
                }
            }
            anyhow::bail!("the receiver is gone")
        };
        tokio::time::timeout(SOON, search).await?
    }

    /// Waits for what is told of a pull request.
    async fn told(&mut self, action: Action) -> anyhow::Result<PullRequest> {
        self.proven(|_, proven| {
            proven.pull().map(|(pull, _)| pull.clone()).filter(|pull| pull.action == action)
        })
        .await
    }
}

#[tokio::test]
async fn a_hook_is_made_once_and_what_it_delivers_is_proven() -> anyhow::Result<()> {
    if require().is_some() {
        return Ok(());
    }
    let gitea = Gitea::launch().await?;
    let repo = gitea.admin.create_repo(&gitea.admin.user, "web").await?;
    let (url, deliveries) = listen().await?;
    let folder = tempfile::TempDir::new()?;
    std::fs::write(folder.path().join("token"), &repo.forge.token)?;
    std::fs::write(folder.path().join("hook-secret"), "open sesame")?;
    let text = format!(
        "cluster: {{in_cluster: true}}\nenvironments: [{{name: production, namespace: p}}]\n\
         sources: [{{name: web, url: \"{}/{}/web.git\", webhook: {{forge: gitea, secret_file: hook-secret}}}}]\n",
        gitea.url, repo.owner
    );
    std::fs::write(folder.path().join("idpd.yaml"), &text)?;

    assert_eq!(create(folder.path(), &url).await?, "created");
    assert_eq!(create(folder.path(), &url).await?, "unchanged");
    let made = hooks_of(&repo).await?;
    assert_eq!(made.len(), 1, "{made:?}");
    let id = made[0]["id"].clone();
    repo.call(Method::PATCH, &format!("hooks/{id}"), &json!({"active": true, "events": ["push"]})).await?;
    assert_eq!(create(folder.path(), &url).await?, "changed");
    assert_eq!(create(folder.path(), &url).await?, "unchanged");
    assert_eq!(hooks_of(&repo).await?.len(), 1);

    let config = config::parse(&text, folder.path()).map_err(|errors| anyhow::anyhow!("{errors}"))?;
    let hints = Hints::new(config.sources.keys().cloned());
    let hooks = Hooks::new(&config, &hints, &Suspensions::new(config.sources.values()));
    let mut door = Door { hooks, deliveries };
    repo.commit("main", "one file", &[("a.txt", "a")]).await?;
    let source = "web".parse()?;
    let settled = |hooks: &Hooks, proven| Some(hooks.settle(&source, proven, Ok(())));
    assert_eq!(door.proven(settled).await?, HookOutcome::Accepted(News::Commit));

    // What no ref tells later, in the forge's own words.
    repo.create_branch("change", "main").await?;
    let commit = repo.commit("change", "another", &[("b.txt", "b")]).await?;
    let number = repo.open_pull_request("Another file", "change", "main").await?;
    let opened = door.told(Action::Opened).await?;
    assert_eq!((opened.number, opened.title.as_deref()), (number, Some("Another file")));
    assert_eq!(opened.commit.as_deref(), Some(commit.as_str()));
    let ann = gitea.admin.create_user("ann").await?;
    repo.call(Method::PUT, "collaborators/ann", &json!({"permission": "write"})).await?;
    let review = Repo { forge: ann, ..repo.clone() };
    let path = format!("pulls/{number}/reviews");
    for (event, action) in [("APPROVED", Action::Approved), ("REQUEST_CHANGES", Action::Rejected)] {
        review.call(Method::POST, &path, &json!({"event": event, "body": "seen"})).await?;
        let told = door.told(action).await?;
        assert_eq!(told.review.map(|review| review.who).as_deref(), Some("ann"));
        assert_eq!((told.number, told.commit.as_deref()), (number, Some(commit.as_str())));
    }
    repo.close_pull_request(number).await?;
    let closed = door.told(Action::Closed).await?;
    assert!(closed.at.is_some() && closed.at >= opened.at, "{closed:?}");
    Ok(())
}
