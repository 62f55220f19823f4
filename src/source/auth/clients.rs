//! What all sources share to reach their repositories: one pooled client for each pair of certificates and proxy, and the tokens of
//! GitHub Apps.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use reqwest::{Certificate, NoProxy};
use sha2::{Digest, Sha256};

use super::app::Installation;
use super::error::AuthError;
use super::file;
use crate::config::{GitHubApp, Proxy, Route, Secret};

/// Connections to one host that are kept open for the next look.
const IDLE_CONNECTIONS: usize = 4;

/// What all sources share to reach their repositories; clones share it too.
#[derive(Clone, Default)]
pub struct Clients(Arc<Shared>);

#[derive(Default)]
struct Shared {
    clients: Mutex<BTreeMap<Route, Kept>>,
    apps: Mutex<BTreeMap<GitHubApp, Arc<Installation>>>,
}

/// A client and what it was made of.
struct Kept {
    content: [u8; 32],
    client: reqwest::Client,
}

impl std::fmt::Debug for Clients {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Clients").finish_non_exhaustive()
    }
}

impl Clients {
    /// Returns the client of a route: the same one for as long as its files do not change.
    pub(super) fn client(&self, route: &Route) -> Result<reqwest::Client, AuthError> {
        let certificates = route.ca_file.as_deref().map(file::text).transpose()?;
        let secret = proxy_secret(route.proxy.as_ref())?;
        let mut content = Sha256::new();
        for part in [certificates.as_deref(), secret.as_ref().map(Secret::expose)] {
            content.update(part.map_or(0, str::len).to_be_bytes());
            content.update(part.unwrap_or_default());
        }
        let content: [u8; 32] = content.finalize().into();
        let mut clients = self.0.clients.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(kept) = clients.get(route).filter(|kept| kept.content == content) {
            return Ok(kept.client.clone());
        }
        let client = build(route, certificates.as_deref(), secret.as_ref())?;
        clients.insert(route.clone(), Kept { content, client: client.clone() });
        Ok(client)
    }

    /// Returns the installation of an App: the same one for all sources that name it.
    pub(super) fn installation(&self, app: &GitHubApp) -> Arc<Installation> {
        let mut apps = self.0.apps.lock().unwrap_or_else(PoisonError::into_inner);
        apps.entry(app.clone()).or_insert_with(|| Arc::new(Installation::new(app.clone()))).clone()
    }
}

fn proxy_secret(proxy: Option<&Proxy>) -> Result<Option<Secret>, AuthError> {
    let Some(credentials) = proxy.and_then(|proxy| proxy.credentials.as_ref()) else { return Ok(None) };
    credentials.secret.read().map(Some).map_err(AuthError::ProxySecret)
}

fn build(
    route: &Route,
    certificates: Option<&str>,
    secret: Option<&Secret>,
) -> Result<reqwest::Client, AuthError> {
    let mut builder = reqwest::Client::builder()
        .redirect(reqwest::redirect::Policy::none())
        .connect_timeout(Duration::from_secs(10))
        .read_timeout(Duration::from_secs(30))
        .pool_max_idle_per_host(IDLE_CONNECTIONS)
        .user_agent(concat!("git/idp-", env!("CARGO_PKG_VERSION")));
    if let (Some(path), Some(pem)) = (&route.ca_file, certificates) {
        let unusable = AuthError::Unusable {
            file: path.clone(),
            why: "it holds no certificates in PEM; write those of the authority that signed the server's",
        };
        match Certificate::from_pem_bundle(pem.as_bytes()) {
            Ok(found) if !found.is_empty() => builder = builder.tls_certs_merge(found),
            _ => return Err(unusable),
        }
    }
    if let Some(Proxy { url, credentials, no_proxy }) = &route.proxy {
        let mut proxy = reqwest::Proxy::all(url.as_str()).map_err(AuthError::Client)?;
        if let (Some(credentials), Some(secret)) = (credentials, secret) {
            proxy = proxy.basic_auth(&credentials.username, secret.expose());
        }
        // One that is written down counts alone: the environment's would be a second opinion.
        builder = builder.no_proxy().proxy(proxy.no_proxy(NoProxy::from_string(&no_proxy.join(","))));
    }
    builder.build().map_err(AuthError::Client)
}
