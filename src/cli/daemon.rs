//! Asking the daemon itself, at its own address: it answers who asks from its machine, as through a forwarded port.

use std::time::Duration;

use reqwest::{Method, Response, StatusCode};
use serde::de::DeserializeOwned;
use url::Url;

use super::CliError;
use super::output::clean;

/// Longest wait for the daemon.
const PATIENCE: Duration = Duration::from_secs(10);

/// Gets a page; `what` completes "asking the daemon at … for".
pub async fn get<T: DeserializeOwned>(
    daemon: &Url,
    path: &str,
    query: &[(&str, &str)],
    what: &str,
) -> Result<T, CliError> {
    let answer = call(Method::GET, daemon, path, query, what).await?;
    answer.json().await.map_err(|source| failed(daemon, what, source))
}

/// Posts to a page, without a body.
pub async fn post(daemon: &Url, path: &str, what: &str) -> Result<(), CliError> {
    call(Method::POST, daemon, path, &[], what).await.map(drop)
}

async fn call(
    method: Method,
    daemon: &Url,
    path: &str,
    query: &[(&str, &str)],
    what: &str,
) -> Result<Response, CliError> {
    let mut url = daemon.join(path).map_err(|_| CliError::NotADaemon(daemon.to_string()))?;
    for (name, value) in query {
        url.query_pairs_mut().append_pair(name, value);
    }
    let failed = |source| failed(daemon, what, source);
    let client = reqwest::Client::builder().timeout(PATIENCE).build().map_err(failed)?;
    let answer = client.request(method, url).send().await.map_err(failed)?;
    let status = answer.status();
    if status.is_success() {
        return Ok(answer);
    }
    let said = answer.text().await.unwrap_or_default();
    if status == StatusCode::NOT_FOUND && !said.is_empty() {
        return Err(CliError::NotConfigured(clean(said.trim())));
    }
    if status == StatusCode::CONFLICT {
        return Err(CliError::Refused(clean(said.trim())));
    }
    Err(CliError::NotADaemon(format!("{daemon} ({status})")))
}

fn failed(daemon: &Url, what: &str, source: reqwest::Error) -> CliError {
    CliError::Daemon { what: format!("asking the daemon at {daemon} for {what}"), source: Box::new(source) }
}
