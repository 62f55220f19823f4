//! How sources prove themselves over HTTP, and through which client they ask: a name and a token, a token alone, or a GitHub App.
//!
//! In: what the configuration names, read anew for each look. Out: a [`Pass`], which sends a look's requests. Credentials are a header of
//! requests below the address that they are bound to and stand in no address, log or error.

mod app;
mod clients;
mod error;
mod file;
mod jwt;
#[cfg(test)]
pub(in crate::source) mod testing;
#[cfg(test)]
mod tests;

use std::sync::{Arc, Mutex, PoisonError};

use base64::Engine as _;
use reqwest::header::{AUTHORIZATION, HeaderValue};
use reqwest::{Request, Response};
use url::Url;

pub use clients::Clients;
pub use error::{AuthError, ShownKey};
pub(super) use file::text;

use self::app::Installation;
use super::error::GitError;
use crate::config::{Access, Credentials, Proof, Scope};

/// Sends the requests of one look, with the source's credentials where they belong.
pub(super) struct Pass {
    client: reqwest::Client,
    scope: Scope,
    /// What proves the source; `Debug` of the value says `Sensitive`.
    header: Mutex<Option<HeaderValue>>,
    app: Option<Arc<Installation>>,
}

impl std::fmt::Debug for Pass {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pass").field("scope", &self.scope).finish_non_exhaustive()
    }
}

impl Clients {
    /// Reads what a source proves itself with and returns what its requests go through. Asks a forge for an App's token where there is
    /// none that lasts.
    pub(super) async fn pass(&self, url: &Url, access: &Access) -> Result<Pass, GitError> {
        let client = self.client(&access.route).map_err(GitError::Auth)?;
        let mut app = None;
        let header = match &access.proof {
            None | Some(Proof::Ssh(_)) => None,
            Some(Proof::Basic(Credentials { username, secret })) => {
                let secret = secret.read().map_err(GitError::Secret)?;
                Some(basic(username, secret.expose())?)
            }
            Some(Proof::Bearer(secret)) => {
                let secret = secret.read().map_err(GitError::Secret)?;
                Some(sensitive(&format!("Bearer {}", secret.expose()))?)
            }
            Some(Proof::GitHubApp(named)) => {
                let installation = self.installation(named);
                let header = installation.header(&client).await?;
                app = Some(installation);
                Some(header)
            }
        };
        Ok(Pass { client, scope: Scope::of_http(url), header: Mutex::new(header), app })
    }
}

impl Pass {
    /// Sends one request. Redirects are not followed.
    pub(super) async fn send(&self, mut request: Request) -> Result<Response, reqwest::Error> {
        if self.scope.covers(&Scope::of_http(request.url()))
            && let Some(value) = self.header()
        {
            request.headers_mut().insert(AUTHORIZATION, value);
        }
        self.client.execute(request).await
    }

    /// Gets another token in place of one that was refused; `false` if there is none to be had.
    pub(super) async fn renew(&self) -> Result<bool, GitError> {
        let (Some(app), Some(refused)) = (&self.app, self.header()) else { return Ok(false) };
        app.forget(&refused).await;
        let header = app.header(&self.client).await?;
        *self.header.lock().unwrap_or_else(PoisonError::into_inner) = Some(header);
        Ok(true)
    }

    /// Tells whether the source proves itself at all.
    pub(super) fn proves(&self) -> bool {
        self.header().is_some()
    }

    fn header(&self) -> Option<HeaderValue> {
        self.header.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

fn basic(username: &str, secret: &str) -> Result<HeaderValue, GitError> {
    let encoded = base64::engine::general_purpose::STANDARD.encode(format!("{username}:{secret}"));
    sensitive(&format!("Basic {encoded}"))
}

fn sensitive(text: &str) -> Result<HeaderValue, GitError> {
    let mut value = HeaderValue::from_str(text).map_err(|_| GitError::Auth(AuthError::NotAHeader))?;
    value.set_sensitive(true);
    Ok(value)
}
