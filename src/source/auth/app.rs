//! One installation of a GitHub App and the token that it has now. All sources that name it share the token; it is renewed in time,
//! and at once where a repository refuses it.

use jiff::{SignedDuration, Timestamp};
use reqwest::header::{ACCEPT, AUTHORIZATION, HeaderValue};
use reqwest::{Method, Request, Response};
use serde::Deserialize;
use tokio::sync::Mutex;
use url::Url;

use super::error::AuthError;
use super::{basic, file, jwt, sensitive};
use crate::config::{GitHubApp, Secret};
use crate::source::error::GitError;
use crate::source::network::{refused, unreachable};

/// A token that ends earlier than that is not used any more: a look may take a minute, and clocks differ.
const MARGIN: SignedDuration = SignedDuration::from_mins(5);
/// Largest answer that is read, in bytes.
const ANSWER_LIMIT: usize = 64 << 10;
/// Who a token asks as, as GitHub documents it for Git over HTTP.
const USERNAME: &str = "x-access-token";

/// An installation of an App.
pub(super) struct Installation {
    app: GitHubApp,
    /// Held while a token is asked for: others wait for that one.
    token: Mutex<Option<Token>>,
}

struct Token {
    header: HeaderValue,
    ends: Timestamp,
}

#[derive(Deserialize)]
struct Answer {
    token: String,
    expires_at: Timestamp,
}

impl Installation {
    pub(super) fn new(app: GitHubApp) -> Self {
        Self { app, token: Mutex::default() }
    }

    /// Returns the header of requests to repositories, from a token that lasts.
    pub(super) async fn header(&self, client: &reqwest::Client) -> Result<HeaderValue, GitError> {
        let mut token = self.token.lock().await;
        let now = crate::source::now();
        if let Some(token) = token.as_ref().filter(|token| token.ends.duration_since(now) >= MARGIN) {
            return Ok(token.header.clone());
        }
        *token = None;
        let Answer { token: text, expires_at: ends } = self.ask(client, now).await?;
        let header = basic(USERNAME, Secret::new(text).expose())?;
        *token = Some(Token { header: header.clone(), ends });
        Ok(header)
    }

    /// Forgets a token that was refused, unless another one has taken its place.
    pub(super) async fn forget(&self, refused: &HeaderValue) {
        let mut token = self.token.lock().await;
        if token.as_ref().is_some_and(|token| token.header == *refused) {
            *token = None;
        }
    }

    /// Asks the forge for a token ("Create an installation access token for an app").
    async fn ask(&self, client: &reqwest::Client, now: Timestamp) -> Result<Answer, GitError> {
        let GitHubApp { app_id, installation_id, private_key, api_url } = &self.app;
        let pem = file::text(private_key).map_err(GitError::Auth)?;
        let unusable = |why| GitError::Auth(AuthError::Unusable { file: private_key.clone(), why });
        let proof = jwt::signed(app_id, &pem, now).map_err(unusable)?;
        let path = format!("{api_url}/app/installations/{installation_id}/access_tokens");
        let url = Url::parse(&path).map_err(|_| self.nonsense())?;
        let mut request = Request::new(Method::POST, url);
        let headers = request.headers_mut();
        headers.insert(AUTHORIZATION, sensitive(&format!("Bearer {}", proof.expose()))?);
        headers.insert(ACCEPT, HeaderValue::from_static("application/vnd.github+json"));
        headers.insert("x-github-api-version", HeaderValue::from_static("2022-11-28"));
        let response = client.execute(request).await.map_err(unreachable)?;
        if !response.status().is_success() {
            return Err(self.refusal(&response));
        }
        self.read(response).await
    }

    async fn read(&self, mut response: Response) -> Result<Answer, GitError> {
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(unreachable)? {
            body.extend_from_slice(&chunk);
            if body.len() > ANSWER_LIMIT {
                return Err(self.nonsense());
            }
        }
        // Not even the parser's own words: they may repeat what stands there.
        serde_json::from_slice(&body).map_err(|_| self.nonsense())
    }

    fn nonsense(&self) -> GitError {
        GitError::Auth(AuthError::NotAToken { app: self.app.to_string() })
    }

    fn refusal(&self, response: &Response) -> GitError {
        let status = response.status().as_u16();
        let hint = match refused(status, response.headers(), true) {
            GitError::Unauthorized(_) => {
                "private_key_file is not a key of this App, or the clock here is off by a minute or more"
            }
            GitError::Forbidden => "the installation is suspended, or may not read repositories",
            GitError::NotFound => {
                "there is no such installation of this App: check installation_id and app_id"
            }
            GitError::Status(422) => "the installation has no repositories that this App may read",
            other => return other,
        };
        GitError::Auth(AuthError::NoToken { app: self.app.to_string(), status, hint })
    }
}
