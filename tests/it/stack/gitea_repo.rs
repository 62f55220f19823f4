//! One repository on the forge: commits, branches, pull requests, webhooks, statuses.

use std::time::Duration;

use anyhow::Context;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use reqwest::Method;
use serde::Deserialize;
use serde_json::{Value, json};

use super::gitea::{Forge, text};
use super::wait;

/// The forge looks at a pull request in the background before it lets anybody merge it.
const MERGE_LIMIT: Duration = Duration::from_secs(30);

/// A repository, as one user works with it.
#[derive(Clone, Debug)]
pub struct Repo {
    pub forge: Forge,
    pub owner: String,
    pub name: String,
}

/// What somebody said of a commit.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct CommitStatus {
    pub context: String,
    /// `pending`, `success`, `error`, `failure` or `warning`.
    #[serde(rename = "status")]
    pub state: String,
    pub description: String,
    pub target_url: String,
}

impl Repo {
    /// Makes one commit on a branch that creates or replaces these files, and returns its id.
    pub async fn commit(
        &self,
        branch: &str,
        message: &str,
        files: &[(&str, &str)],
    ) -> anyhow::Result<String> {
        let files: Vec<Value> = files
            .iter()
            .map(|(path, text)| json!({ "operation": "upload", "path": path, "content": BASE64_STANDARD.encode(text) }))
            .collect();
        let change = json!({ "branch": branch, "message": message, "files": files });
        let answer = self.call(Method::POST, "contents", &change).await?;
        text(&answer, "/commit/sha")
    }

    /// Makes a branch that begins where another one ends.
    pub async fn create_branch(&self, name: &str, from: &str) -> anyhow::Result<()> {
        let branch = json!({ "new_branch_name": name, "old_ref_name": from });
        self.call(Method::POST, "branches", &branch).await.map(drop)
    }

    /// Returns the commit at which a branch ends.
    pub async fn head(&self, branch: &str) -> anyhow::Result<String> {
        text(&self.call(Method::GET, &format!("branches/{branch}"), &Value::Null).await?, "/commit/id")
    }

    /// Opens a pull request and returns its number.
    pub async fn open_pull_request(&self, title: &str, head: &str, base: &str) -> anyhow::Result<u64> {
        let request = json!({ "title": title, "head": head, "base": base });
        let answer = self.call(Method::POST, "pulls", &request).await?;
        answer.get("number").and_then(Value::as_u64).context("read the pull request's number")
    }

    /// Merges a pull request with a merge commit and returns that commit's id.
    pub async fn merge_pull_request(&self, number: u64) -> anyhow::Result<String> {
        let path = format!("pulls/{number}");
        wait::until("the forge to find that the pull request can be merged", MERGE_LIMIT, async || {
            let request = self.call(Method::GET, &path, &Value::Null).await?;
            Ok((request.get("mergeable") == Some(&Value::Bool(true))).then_some(()))
        })
        .await?;
        self.call(Method::POST, &format!("{path}/merge"), &json!({ "Do": "merge" })).await?;
        text(&self.call(Method::GET, &path, &Value::Null).await?, "/merge_commit_sha")
    }

    /// Puts a label on a pull request; the label is made for it.
    pub async fn label_pull_request(&self, number: u64, label: &str) -> anyhow::Result<()> {
        let made = json!({ "name": label, "color": "#00aabb" });
        let made = self.call(Method::POST, "labels", &made).await?;
        let labels = json!({ "labels": [made.get("id").context("read the label's id")?] });
        self.call(Method::POST, &format!("issues/{number}/labels"), &labels).await.map(drop)
    }

    /// Closes a pull request without merging it.
    pub async fn close_pull_request(&self, number: u64) -> anyhow::Result<()> {
        self.call(Method::PATCH, &format!("pulls/{number}"), &json!({ "state": "closed" })).await.map(drop)
    }

    /// Makes the forge post these events, such as `push` and `pull_request`, to `url`, signed with `secret`.
    pub async fn create_webhook(&self, url: &str, secret: &str, events: &[&str]) -> anyhow::Result<()> {
        let config = json!({ "url": url, "content_type": "json", "secret": secret });
        let hook = json!({ "type": "gitea", "active": true, "config": config, "events": events });
        self.call(Method::POST, "hooks", &hook).await.map(drop)
    }

    /// Returns the statuses of a commit, the latest first.
    pub async fn statuses(&self, commit: &str) -> anyhow::Result<Vec<CommitStatus>> {
        let answer = self.call(Method::GET, &format!("commits/{commit}/statuses"), &Value::Null).await?;
        let mut statuses: Vec<Value> = serde_json::from_value(answer).context("read the statuses")?;
        // The forge sorts by time, to the second; the ids rise with each that it takes.
        statuses.sort_by_key(|status| std::cmp::Reverse(status["id"].as_u64()));
        serde_json::from_value(Value::Array(statuses)).context("read the statuses")
    }

    /// Lets a key read this repository over SSH.
    pub async fn add_deploy_key(&self, public: &str) -> anyhow::Result<()> {
        let key = json!({ "title": "reader", "key": public, "read_only": true });
        self.call(Method::POST, "keys", &key).await.map(drop)
    }

    /// Returns a URL that anybody can clone and push with who has it.
    pub fn clone_url(&self) -> anyhow::Result<String> {
        let mut url = url::Url::parse(&format!("{}/{}/{}.git", self.forge.url, self.owner, self.name))?;
        let set = url.set_username(&self.forge.user).and_then(|()| url.set_password(Some(&self.forge.token)));
        set.ok().context("put credentials into the clone URL")?;
        Ok(url.into())
    }

    /// Calls the REST API below this repository's path.
    pub async fn call(&self, method: Method, path: &str, body: &Value) -> anyhow::Result<Value> {
        self.forge.call(method, &format!("repos/{}/{}/{path}", self.owner, self.name), body).await
    }
}
