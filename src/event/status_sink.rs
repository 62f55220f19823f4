//! Sending commit statuses to a forge: a small loop that keeps the newest status a commit and context, sends what changed, and
//! never makes anybody wait. There is no cursor: what gets lost is derived from the record again.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use backoff::BackoffBuilder as _;
use http::StatusCode;
use http::header::{ACCEPT, AUTHORIZATION, RETRY_AFTER, USER_AGENT};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use url::Url;

use super::status::CommitStatus;
use crate::telemetry::metrics::EventMetrics;

/// Statuses that wait at most; above it the oldest is dropped.
const WAITING: usize = 1024;
/// Sent statuses remembered, so that an unchanged one is not sent again.
const REMEMBERED: usize = 4096;
/// Longest wait for a forge's answer.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Which API a forge speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Forge {
    /// Gitea, and what descends from it.
    Gitea,
    /// GitHub, and GitHub Enterprise.
    GitHub,
}

/// A forge's token. It shows itself to nobody.
#[derive(Clone)]
pub struct Token(String);

impl Token {
    /// Takes the token; white space around it is dropped.
    pub fn new(token: &str) -> Self {
        Self(token.trim().to_owned())
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(…)")
    }
}

/// Why statuses cannot be sent to a forge.
#[derive(Debug, thiserror::Error)]
pub enum StatusError {
    /// The repository's address names no owner and repository.
    #[error(
        "finding owner and name in the repository's address: it has to be like https://forge.example.com/owner/name"
    )]
    Repository,
    /// The HTTP client cannot be made.
    #[error("making the HTTP client for commit statuses")]
    Client(#[source] reqwest::Error),
}

/// Where the statuses of one repository go.
#[derive(Debug, Clone)]
pub struct ForgeTarget {
    forge: Forge,
    /// `…/repos/<owner>/<name>/statuses/`
    statuses: String,
    token: Token,
}

impl ForgeTarget {
    /// Works out the address from the repository's; `api` is the API's root where it is not at the forge's usual place. Fails if
    /// the repository's address names no owner and repository.
    pub fn new(forge: Forge, repository: &Url, api: Option<&Url>, token: Token) -> Result<Self, StatusError> {
        let parts: Vec<&str> =
            repository.path_segments().into_iter().flatten().filter(|part| !part.is_empty()).collect();
        let [.., owner, name] = parts.as_slice() else { return Err(StatusError::Repository) };
        let name = name.strip_suffix(".git").unwrap_or(name);
        let root = match (api, forge, repository.host_str()) {
            (Some(api), _, _) => api.as_str().trim_end_matches('/').to_owned(),
            (None, Forge::GitHub, Some("github.com")) => "https://api.github.com".to_owned(),
            (None, Forge::GitHub, _) => format!("{}/api/v3", repository.origin().ascii_serialization()),
            (None, Forge::Gitea, _) => format!("{}/api/v1", repository.origin().ascii_serialization()),
        };
        Ok(Self { forge, statuses: format!("{root}/repos/{owner}/{name}/statuses/"), token })
    }
}

type Key = (String, String);

/// What waits and what was sent. The newest wins.
#[derive(Debug, Default)]
struct Desk {
    waiting: BTreeMap<Key, CommitStatus>,
    order: VecDeque<Key>,
    /// On its way: what the forge will have next.
    flying: Option<(Key, CommitStatus)>,
    sent: BTreeMap<Key, CommitStatus>,
    remembered: VecDeque<Key>,
}

impl Desk {
    /// Takes a status, unless the forge has it already. Returns whether there is something new to send.
    fn put(&mut self, commit: &str, status: CommitStatus) -> bool {
        let key = (commit.to_owned(), status.context.clone());
        if let Some(waiting) = self.waiting.get_mut(&key) {
            *waiting = status;
            return false;
        }
        let flying = self.flying.as_ref().filter(|(flying, _)| *flying == key).map(|(_, status)| status);
        if flying.or(self.sent.get(&key)) == Some(&status) {
            return false;
        }
        if self.order.len() >= WAITING
            && let Some(oldest) = self.order.pop_front()
        {
            self.waiting.remove(&oldest);
        }
        self.order.push_back(key.clone());
        self.waiting.insert(key, status);
        true
    }

    fn next(&mut self) -> Option<(Key, CommitStatus)> {
        let key = self.order.pop_front()?;
        let status = self.waiting.remove(&key)?;
        self.flying = Some((key.clone(), status.clone()));
        Some((key, status))
    }

    /// Puts back what could not be sent, unless something newer came.
    fn put_back(&mut self, key: Key, status: CommitStatus) {
        self.flying = None;
        if !self.waiting.contains_key(&key) {
            self.order.push_front(key.clone());
            self.waiting.insert(key, status);
        }
    }

    /// Notes that the forge has answered for good.
    fn remember(&mut self, key: Key, status: CommitStatus) {
        self.flying = None;
        self.remembered.retain(|known| *known != key);
        self.remembered.push_back(key.clone());
        self.sent.insert(key, status);
        while self.remembered.len() > REMEMBERED {
            if let Some(oldest) = self.remembered.pop_front() {
                self.sent.remove(&oldest);
            }
        }
    }
}

#[derive(Debug, Default)]
struct Shared {
    desk: Mutex<Desk>,
    news: Notify,
}

impl Shared {
    fn desk(&self) -> MutexGuard<'_, Desk> {
        self.desk.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Where statuses of one repository are handed in. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct StatusSink {
    shared: Arc<Shared>,
}

impl StatusSink {
    /// Makes an empty one; [`StatusSink::run`] sends what is handed in.
    pub fn new() -> Self {
        Self::default()
    }

    /// Hands in a status. Never waits; an unchanged one costs nothing.
    pub fn offer(&self, commit: &str, status: CommitStatus) {
        if self.shared.desk().put(commit, status) {
            self.shared.news.notify_one();
        }
    }

    /// Sends until `shutdown`. Fails at once if the HTTP client cannot be made, never later.
    pub async fn run(
        self,
        target: ForgeTarget,
        metrics: EventMetrics,
        shutdown: CancellationToken,
    ) -> Result<(), StatusError> {
        let client = reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .timeout(TIMEOUT)
            .connect_timeout(TIMEOUT / 2)
            .build()
            .map_err(StatusError::Client)?;
        // A forge that is asked too often answers later, not never.
        let _ = shutdown.run_until_cancelled(self.send_all(&client, &target, &metrics)).await;
        Ok(())
    }

    async fn send_all(&self, client: &reqwest::Client, target: &ForgeTarget, metrics: &EventMetrics) {
        let mut pauses = None;
        loop {
            let next = self.shared.desk().next();
            let Some((key, status)) = next else {
                self.shared.news.notified().await;
                continue;
            };
            match post(client, target, &key.0, &status).await {
                Ok(()) => {
                    metrics.status("sent");
                    pauses = None;
                    self.shared.desk().remember(key, status);
                }
                Err(Failure::Refused(reason)) => {
                    metrics.status("refused");
                    tracing::warn!(
                        commit = key.0,
                        context = key.1,
                        reason,
                        "the forge refuses a commit status"
                    );
                    self.shared.desk().remember(key, status);
                }
                Err(Failure::Later(reason)) => {
                    metrics.status("failed");
                    let pause = pauses.get_or_insert_with(waits).next().unwrap_or(Duration::from_mins(5));
                    tracing::warn!(reason, ?pause, "sending a commit status: it is sent again");
                    self.shared.desk().put_back(key, status);
                    tokio::time::sleep(pause).await;
                }
            }
        }
    }
}

fn waits() -> impl Iterator<Item = Duration> {
    backoff::ExponentialBuilder::default()
        .with_min_delay(Duration::from_millis(200))
        .with_max_delay(Duration::from_mins(5))
        .with_jitter()
        .without_max_times()
        .build()
}

/// Why a status was not taken; one sentence each, without the token.
enum Failure {
    /// It will not be taken as it is.
    Refused(String),
    /// It may be taken later.
    Later(String),
}

async fn post(
    client: &reqwest::Client,
    target: &ForgeTarget,
    commit: &str,
    status: &CommitStatus,
) -> Result<(), Failure> {
    let scheme = match target.forge {
        Forge::Gitea => "token",
        Forge::GitHub => "Bearer",
    };
    let answer = client
        .post(format!("{}{commit}", target.statuses))
        .header(AUTHORIZATION, format!("{scheme} {}", target.token.0))
        .header(USER_AGENT, concat!("idpd/", env!("CARGO_PKG_VERSION")))
        .header(ACCEPT, "application/json")
        .json(status)
        .send()
        .await
        .map_err(|error| Failure::Later(error.to_string()))?;
    let code = answer.status();
    // GitHub says "too many" with 403 and one of these.
    let limited = answer.headers().contains_key(RETRY_AFTER)
        || answer.headers().get("x-ratelimit-remaining").is_some_and(|left| left.as_bytes() == b"0");
    match code {
        _ if code.is_success() => Ok(()),
        StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS => Err(Failure::Later(code.to_string())),
        _ if code.is_server_error() || limited => Err(Failure::Later(code.to_string())),
        _ => Err(Failure::Refused(code.to_string())),
    }
}

#[cfg(test)]
mod tests;
