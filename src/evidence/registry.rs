//! Asks a registry for the digest behind a tag: `HEAD /v2/<name>/manifests/<tag>` of the OCI distribution specification 1.1, anonymous,
//! with a token or with user and password, plain HTTP only for the hosts that the configuration names.
//!
//! A client of our own on `reqwest`: the digest is all that is needed, and each answer here is bounded in size and time and keeps
//! "not there" apart from "no usable answer".

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use reqwest::header::{ACCEPT, HeaderMap, RETRY_AFTER, WWW_AUTHENTICATE};
use reqwest::{Method, RequestBuilder, Response, StatusCode, redirect};
use sha2::{Digest as _, Sha256};
use tokio::time::Instant;
use url::Url;

use super::challenge::{self, Challenge};
use super::lock;
use crate::model::image::Digest;

/// What a manifest may be, in the order of preference: an index first, so that the digest serves every platform.
const MANIFEST_TYPES: &str = "application/vnd.oci.image.index.v1+json, \
     application/vnd.docker.distribution.manifest.list.v2+json, \
     application/vnd.oci.image.manifest.v1+json, \
     application/vnd.docker.distribution.manifest.v2+json";
/// The distribution specification asks registries to accept manifests of up to 4 MiB.
const MANIFEST_LIMIT: usize = 4 << 20;
const TOKEN_LIMIT: usize = 64 << 10;
const TOKENS_KEPT: usize = 1_000;
const CONNECT: Duration = Duration::from_secs(5);

/// User and password for one registry; never shown.
#[derive(Clone)]
pub struct Credentials {
    /// The user.
    pub username: String,
    /// The password or token.
    pub password: String,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Credentials(…)")
    }
}

/// How registries are asked.
#[derive(Debug, Clone)]
pub struct RegistryOptions {
    /// Hosts (`host:port`) that are asked over plain HTTP.
    pub insecure: BTreeSet<String>,
    /// Credentials by host (`host` or `host:port`); other hosts are asked anonymously.
    pub credentials: BTreeMap<String, Credentials>,
    /// Longest wait for one answer, 1 s to 60 s.
    pub timeout: Duration,
}

impl Default for RegistryOptions {
    /// No plain HTTP, no credentials, 10 s.
    fn default() -> Self {
        Self { insecure: BTreeSet::new(), credentials: BTreeMap::new(), timeout: Duration::from_secs(10) }
    }
}

/// Why registries cannot be asked at all; terminal.
#[derive(Debug, thiserror::Error)]
pub enum RegistryError {
    /// The HTTP client, mostly the system's certificates.
    #[error("cannot set up the HTTP client for registries")]
    Client(#[source] reqwest::Error),
}

/// What a registry said about one tag.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// It is there, with this digest.
    Found(Digest),
    /// It is certainly not there.
    Absent,
    /// Nothing follows from it.
    /// No usable answer: why, one clause, and how long the registry asks to be left alone.
    Unknown {
        /// One clause.
        reason: String,
        /// As the registry said.
        retry_after: Option<Duration>,
    },
}

/// Answers for a repository and a tag within the process, where registries are simulated.
pub type Answers = Arc<dyn Fn(&str, &str) -> Answer + Send + Sync>;

/// Who is asked.
pub(super) enum Registries {
    Http(Box<Registry>),
    Within(Answers),
}

impl Registries {
    /// Asks for the digest of a tag. Never fails: what is not an answer is [`Answer::Unknown`].
    pub(super) async fn digest(&self, repository: &str, tag: &str) -> Answer {
        match self {
            Self::Http(registry) => registry.digest(repository, tag).await,
            Self::Within(answers) => answers(repository, tag),
        }
    }
}

fn unknown(reason: impl Into<String>) -> Answer {
    Answer::Unknown { reason: reason.into(), retry_after: None }
}

/// The client for all registries. Remembers pull tokens until they expire.
pub(super) struct Registry {
    options: RegistryOptions,
    secure: reqwest::Client,
    plain: reqwest::Client,
    tokens: Mutex<HashMap<(String, String), (String, Instant)>>,
}

/// Splits `host/path`; `None` without a host (a first part with a dot, a port, or `localhost`) or with characters that have no place
/// in a repository's name.
pub(super) fn split(repository: &str) -> Option<(&str, &str)> {
    let (host, name) = repository.split_once('/')?;
    let is_host = host == "localhost" || host.contains(['.', ':']);
    let host_chars = |c: char| c.is_ascii_alphanumeric() || ".-:[]".contains(c);
    let name_chars = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "._-/".contains(c);
    let parts = name.split('/').all(|part| part.starts_with(|c: char| c.is_ascii_alphanumeric()));
    (is_host && parts && host.chars().all(host_chars) && name.chars().all(name_chars)).then_some((host, name))
}

pub(super) fn is_tag(tag: &str) -> bool {
    let chars = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    tag.len() <= 128
        && tag.chars().all(chars)
        && tag.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_')
}

/// The innermost cause says what happened; the address is left out, since it may hold what nobody should read.
fn clause(error: reqwest::Error, timeout: Duration) -> String {
    if error.is_timeout() {
        return format!("no answer within {}", crate::model::duration::rough(timeout));
    }
    let error = error.without_url();
    let mut cause: &dyn std::error::Error = &error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    cause.to_string().chars().take(200).collect()
}

fn client(timeout: Duration, insecure: &BTreeSet<String>) -> reqwest::ClientBuilder {
    let insecure = insecure.clone();
    // Manifests may live elsewhere; credentials do not follow (reqwest drops them when the host changes), nor does plain HTTP.
    let policy = redirect::Policy::custom(move |attempt| {
        let safe = attempt.url().scheme() == "https" || insecure.contains(authority(attempt.url()).as_str());
        if safe && attempt.previous().len() <= 3 { attempt.follow() } else { attempt.stop() }
    });
    reqwest::Client::builder()
        .timeout(timeout)
        .connect_timeout(CONNECT.min(timeout))
        .redirect(policy)
        .user_agent(concat!("idp/", env!("CARGO_PKG_VERSION")))
}

fn authority(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
}

impl Registry {
    /// Fails if the system's certificates cannot be read.
    pub(super) fn new(mut options: RegistryOptions) -> Result<Self, RegistryError> {
        options.timeout = options.timeout.clamp(Duration::from_secs(1), Duration::from_mins(1));
        let builder = || client(options.timeout, &options.insecure);
        let secure = builder().build().map_err(RegistryError::Client)?;
        // Plain HTTP is for registries next door: never through a proxy.
        let plain = builder().no_proxy().build().map_err(RegistryError::Client)?;
        Ok(Self { secure, plain, options, tokens: Mutex::default() })
    }

    fn request(&self, method: Method, host: &str, path: &str) -> RequestBuilder {
        let (client, scheme) = if self.options.insecure.contains(host) {
            (&self.plain, "http")
        } else {
            (&self.secure, "https")
        };
        client.request(method, format!("{scheme}://{host}{path}"))
    }

    /// Asks for the digest of a tag. Never fails: what is not an answer is [`Answer::Unknown`].
    pub(super) async fn digest(&self, repository: &str, tag: &str) -> Answer {
        let Some((host, name)) = split(repository) else {
            return unknown(format!(
                "{repository:?} names no registry: write <host>/<path>, the path in lower case"
            ));
        };
        if !is_tag(tag) {
            return unknown(format!("{:?} is not a tag", tag.chars().take(140).collect::<String>()));
        }
        match self.look(host, name, tag).await {
            Ok(answer) => answer,
            Err(error) => unknown(clause(error, self.options.timeout)),
        }
    }

    async fn look(&self, host: &str, name: &str, tag: &str) -> reqwest::Result<Answer> {
        let path = format!("/v2/{name}/manifests/{tag}");
        let response = match self.authorised(Method::HEAD, host, name, &path).await? {
            Ok(response) => response,
            Err(answer) => return Ok(answer),
        };
        if let Some(answer) = refusal(&response) {
            return Ok(answer);
        }
        match header(response.headers(), "docker-content-digest") {
            Some(digest) => {
                Ok(digest.parse().map_or_else(|_| unknown("its digest is not a sha256"), Answer::Found))
            }
            None => self.hash(host, name, &path).await,
        }
    }

    /// Some registries do not name the digest: then it is the hash of the manifest's bytes.
    async fn hash(&self, host: &str, name: &str, path: &str) -> reqwest::Result<Answer> {
        let response = match self.authorised(Method::GET, host, name, path).await? {
            Ok(response) => response,
            Err(answer) => return Ok(answer),
        };
        if let Some(answer) = refusal(&response) {
            return Ok(answer);
        }
        let Some(body) = capped(response, MANIFEST_LIMIT).await? else {
            return Ok(unknown("its manifest is larger than 4 MiB"));
        };
        let digest = format!("sha256:{}", hex::encode(Sha256::digest(&body)));
        Ok(digest.parse().map_or_else(|_| unknown("its digest is not a sha256"), Answer::Found))
    }

    /// Sends a request, and once more with what a 401 asked for.
    async fn authorised(
        &self,
        method: Method,
        host: &str,
        name: &str,
        path: &str,
    ) -> reqwest::Result<Result<Response, Answer>> {
        let ask = || self.request(method.clone(), host, path).header(ACCEPT, MANIFEST_TYPES);
        let first = match self.token(host, name) {
            Some(token) => ask().bearer_auth(token),
            None => ask(),
        };
        let response = first.send().await?;
        if response.status() != StatusCode::UNAUTHORIZED {
            return Ok(Ok(response));
        }
        let challenges = response.headers().get_all(WWW_AUTHENTICATE);
        let Some(challenge) =
            challenges.iter().filter_map(|value| value.to_str().ok()).find_map(challenge::parse)
        else {
            return Ok(Err(unknown("it wants an authentication that is not spoken here")));
        };
        let again = match (challenge, self.options.credentials.get(host)) {
            (Challenge::Basic, Some(known)) => ask().basic_auth(&known.username, Some(&known.password)),
            (Challenge::Basic, None) => return Ok(Err(unknown(no_credentials(host)))),
            (Challenge::Bearer { realm, service, scope }, known) => {
                let scope = scope.unwrap_or_else(|| format!("repository:{name}:pull"));
                match self.fetch_token(&realm, service.as_deref(), &scope, known).await? {
                    Ok((token, lives)) => {
                        self.keep_token(host, name, &token, lives);
                        ask().bearer_auth(token)
                    }
                    Err(answer) => return Ok(Err(answer)),
                }
            }
        };
        again.send().await.map(Ok)
    }

    /// Gets a pull token. The password goes over https, or to a host that the configuration calls insecure.
    async fn fetch_token(
        &self,
        realm: &str,
        service: Option<&str>,
        scope: &str,
        known: Option<&Credentials>,
    ) -> reqwest::Result<Result<(String, Duration), Answer>> {
        let Ok(mut url) = Url::parse(realm) else {
            return Ok(Err(unknown("the place it sends for tokens is no address")));
        };
        let plain = url.scheme() == "http" && self.options.insecure.contains(&authority(&url));
        if !plain && url.scheme() != "https" {
            return Ok(Err(unknown("it sends for tokens to a place without https")));
        }
        url.query_pairs_mut().append_pair("scope", scope).extend_pairs(service.map(|name| ("service", name)));
        let mut request = if plain { &self.plain } else { &self.secure }.get(url);
        if let Some(known) = known {
            request = request.basic_auth(&known.username, Some(&known.password));
        }
        let response = request.send().await?;
        let status = response.status();
        if !status.is_success() {
            return Ok(Err(unknown(format!("its token service answered HTTP {}", status.as_u16()))));
        }
        let body = capped(response, TOKEN_LIMIT).await?.unwrap_or_default();
        let Ok(token) = serde_json::from_slice::<Issued>(&body) else {
            return Ok(Err(unknown("its token service gave no token")));
        };
        let lives = Duration::from_secs(token.expires_in.unwrap_or(60).clamp(1, 3600));
        Ok(token
            .token
            .or(token.access_token)
            .map(|token| (token, lives))
            .ok_or_else(|| unknown("its token service gave no token")))
    }

    fn token(&self, host: &str, name: &str) -> Option<String> {
        let tokens = lock(&self.tokens);
        let (token, until) = tokens.get(&(host.to_owned(), name.to_owned()))?;
        (*until > Instant::now()).then(|| token.clone())
    }

    fn keep_token(&self, host: &str, name: &str, token: &str, lives: Duration) {
        let mut tokens = lock(&self.tokens);
        if tokens.len() >= TOKENS_KEPT {
            tokens.clear();
        }
        let until = Instant::now() + lives.mul_f64(0.8);
        tokens.insert((host.to_owned(), name.to_owned()), (token.to_owned(), until));
    }
}

#[derive(serde::Deserialize)]
struct Issued {
    token: Option<String>,
    access_token: Option<String>,
    expires_in: Option<u64>,
}

fn no_credentials(host: &str) -> String {
    format!("it wants user and password, and the configuration has none for {host}")
}

fn header<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

/// What a status other than success means.
fn refusal(response: &Response) -> Option<Answer> {
    let status = response.status();
    if status.is_success() {
        return None;
    }
    if status == StatusCode::NOT_FOUND {
        return Some(Answer::Absent);
    }
    let seconds =
        header(response.headers(), RETRY_AFTER.as_str()).and_then(|value| value.trim().parse().ok());
    let what = match status {
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => " (access refused: check the credentials)",
        StatusCode::TOO_MANY_REQUESTS => " (too many requests)",
        _ => "",
    };
    Some(Answer::Unknown {
        reason: format!("HTTP {}{what}", status.as_u16()),
        retry_after: seconds.map(Duration::from_secs),
    })
}

/// Reads a body; `None` if it is longer than `limit`.
async fn capped(mut response: Response, limit: usize) -> reqwest::Result<Option<Vec<u8>>> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await? {
        if body.len() + chunk.len() > limit {
            return Ok(None);
        }
        body.extend_from_slice(&chunk);
    }
    Ok(Some(body))
}
