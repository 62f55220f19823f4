//! The forges' APIs for webhooks, as their documentation describes them: where the hooks of a repository are, what one looks like, and
//! how a token is shown. Pure.

use serde_json::{Value, json};
use url::Url;

use crate::config::Forge;

/// Hooks in one page of a list.
pub(super) const PAGE: usize = 50;

/// How one forge is asked about the hooks of one repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Shape {
    pub(super) forge: Forge,
    /// Where the hooks of the repository are.
    pub(super) hooks: String,
    /// The repository, as the forge names it.
    pub(super) repository: String,
}

/// A hook that is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct There {
    pub(super) id: String,
    /// Its address, events and form are as wanted.
    pub(super) right: bool,
}

const GITHUB: [&str; 3] = ["push", "pull_request", "pull_request_review"];
/// The second one selects every event of pull requests, and is listed as these parts and more.
const GITEA: [&str; 2] = ["push", "pull_request"];
const GITEA_LISTED: [&str; 4] = ["push", "pull_request", "pull_request_label", "pull_request_sync"];
const CLOUD: [&str; 9] = [
    "repo:push",
    "pullrequest:created",
    "pullrequest:updated",
    "pullrequest:approved",
    "pullrequest:unapproved",
    "pullrequest:changes_request_created",
    "pullrequest:changes_request_removed",
    "pullrequest:fulfilled",
    "pullrequest:rejected",
];
const DATA_CENTER: [&str; 9] = [
    "repo:refs_changed",
    "pr:opened",
    "pr:from_ref_updated",
    "pr:reviewer:approved",
    "pr:reviewer:unapproved",
    "pr:reviewer:needs_work",
    "pr:merged",
    "pr:declined",
    "pr:deleted",
];

impl Shape {
    /// Works out where the hooks of a repository are; nothing where the address is none of such a forge, or it has no hooks.
    pub(super) fn new(forge: Forge, repository: &Url) -> Option<Self> {
        let origin = repository.origin().ascii_serialization();
        let path = repository.path().trim_matches('/').trim_end_matches(".git");
        let (rest, name) = path.rsplit_once('/')?;
        let (context, owner) = rest.rsplit_once('/').map_or(("", rest), |(context, owner)| (context, owner));
        let root = if context.is_empty() { origin.clone() } else { format!("{origin}/{context}") };
        let of = |hooks: String| Some(Self { forge, hooks, repository: path.to_owned() });
        match forge {
            Forge::GitHub if repository.host_str() == Some("github.com") => {
                of(format!("https://api.github.com/repos/{owner}/{name}/hooks"))
            }
            Forge::GitHub => of(format!("{root}/api/v3/repos/{owner}/{name}/hooks")),
            Forge::Gitea => of(format!("{root}/api/v1/repos/{owner}/{name}/hooks")),
            // Groups may lie in groups: all of the path is the project.
            Forge::GitLab => of(format!("{origin}/api/v4/projects/{}/hooks", path.replace('/', "%2F"))),
            Forge::BitbucketCloud if repository.host_str() == Some("bitbucket.org") => {
                of(format!("https://api.bitbucket.org/2.0/repositories/{owner}/{name}/hooks"))
            }
            Forge::BitbucketCloud => of(format!("{origin}/2.0/repositories/{owner}/{name}/hooks")),
            // Clones are under `[context/]scm/PROJECT/name`.
            Forge::BitbucketDataCenter => {
                let root = root.trim_end_matches("scm").trim_end_matches('/');
                of(format!("{root}/rest/api/1.0/projects/{owner}/repos/{name}/webhooks"))
            }
            Forge::Generic | Forge::CdEvents => None,
        }
    }

    /// The headers with a token.
    pub(super) fn headers(&self, token: &str) -> Vec<(&'static str, String)> {
        match self.forge {
            Forge::GitHub => vec![
                ("authorization", format!("Bearer {token}")),
                ("accept", "application/vnd.github+json".to_owned()),
                ("x-github-api-version", "2022-11-28".to_owned()),
            ],
            Forge::Gitea => vec![("authorization", format!("token {token}"))],
            Forge::GitLab => vec![("private-token", token.to_owned())],
            _ => vec![("authorization", format!("Bearer {token}"))],
        }
    }

    /// The address of a page of the list, from 0.
    pub(super) fn page(&self, number: usize) -> String {
        let (hooks, next) = (&self.hooks, number + 1);
        match self.forge {
            Forge::GitHub | Forge::GitLab => format!("{hooks}?per_page={PAGE}&page={next}"),
            Forge::BitbucketCloud => format!("{hooks}?pagelen={PAGE}&page={next}"),
            Forge::BitbucketDataCenter => format!("{hooks}?limit={PAGE}&start={}", number * PAGE),
            _ => format!("{hooks}?limit={PAGE}&page={next}"),
        }
    }

    /// The hooks of a page.
    pub(super) fn listed<'a>(&self, page: &'a Value) -> &'a [Value] {
        let list = match self.forge {
            Forge::BitbucketCloud | Forge::BitbucketDataCenter => page.get("values"),
            _ => Some(page),
        };
        list.and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default()
    }

    /// Finds a hook by its address.
    pub(super) fn find(&self, hooks: &[Value], address: &str) -> Option<There> {
        let url = |hook: &Value| {
            let place = match self.forge {
                Forge::GitHub | Forge::Gitea => hook.pointer("/config/url"),
                _ => hook.get("url"),
            };
            place.and_then(Value::as_str) == Some(address)
        };
        let hook = hooks.iter().find(|hook| url(hook))?;
        let id = match hook.get(if self.forge == Forge::BitbucketCloud { "uuid" } else { "id" })? {
            Value::String(id) => id.clone(),
            id => id.to_string(),
        };
        Some(There { id, right: self.is_right(hook) })
    }

    fn is_right(&self, hook: &Value) -> bool {
        let is = |name: &str| hook.get(name) == Some(&Value::Bool(true));
        let has = |wanted: &[&str]| {
            let events = hook.get("events").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
            wanted.iter().all(|name| events.iter().any(|event| event == name || event == "*"))
        };
        let json = || hook.pointer("/config/content_type").and_then(Value::as_str) == Some("json");
        match self.forge {
            Forge::GitHub => is("active") && json() && has(&GITHUB),
            Forge::Gitea => is("active") && json() && has(&GITEA_LISTED),
            Forge::GitLab => is("push_events") && is("merge_requests_events"),
            Forge::BitbucketCloud => is("active") && has(&CLOUD),
            _ => is("active") && has(&DATA_CENTER),
        }
    }

    /// The body that creates or replaces a hook.
    pub(super) fn body(&self, address: &str, secret: &str) -> Value {
        match self.forge {
            Forge::GitHub => json!({"name": "web", "active": true, "events": GITHUB,
                "config": {"url": address, "content_type": "json", "secret": secret, "insecure_ssl": "0"}}),
            Forge::GitLab => json!({"url": address, "token": secret, "push_events": true,
                "merge_requests_events": true, "tag_push_events": true, "enable_ssl_verification": true}),
            Forge::BitbucketCloud => json!({"description": "idp", "url": address, "active": true,
                "secret": secret, "events": CLOUD}),
            Forge::BitbucketDataCenter => json!({"name": "idp", "url": address, "active": true,
                "events": DATA_CENTER, "configuration": {"secret": secret}, "sslVerificationRequired": true}),
            _ => json!({"type": "gitea", "active": true, "events": GITEA,
                "config": {"url": address, "content_type": "json", "secret": secret}}),
        }
    }

    /// The method that changes a hook.
    pub(super) fn changes(&self) -> reqwest::Method {
        match self.forge {
            Forge::GitHub | Forge::Gitea => reqwest::Method::PATCH,
            _ => reqwest::Method::PUT,
        }
    }

    /// What a token must be allowed to do.
    pub(super) fn right(&self) -> &'static str {
        match self.forge {
            Forge::GitHub => "the scope admin:repo_hook, or Webhooks: read and write of a fine-grained token",
            Forge::GitLab => "the scope api, and the role Maintainer in the project",
            Forge::BitbucketCloud => "the scope webhook, and its owner be an administrator of the repository",
            Forge::BitbucketDataCenter => "the permission Repository admin",
            _ => "the scope write:repository, and its owner be an administrator of the repository",
        }
    }
}
