//! An in-process OCI registry: what the daemon asks for digests, and what tells the node how an image behaves.
//!
//! What it does: answers `/v2/`, manifests and their configs on a free port of 127.0.0.1, with or without
//! authentication, and misbehaves when told to.
//!
//! What comes in: pushes of a repository and a tag. What goes out: digests that depend on nothing but what was pushed.

#[cfg(test)]
mod tests;

use std::{
    collections::BTreeMap,
    io,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, header};
use http_body_util::Full;
use hyper::body::Incoming;
use serde_json::json;
use sha2::{Digest as _, Sha256};
use tokio::net::TcpListener;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    http::{Ending, serve, text},
    node::{Behaviour, Pulled, Resolver},
};

/// How the registry wants its callers to prove who they are.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Access {
    /// Anybody may read.
    #[default]
    Open,
    /// A user and a password with each request.
    Basic {
        /// The only user.
        user: String,
        /// Their password.
        password: String,
    },
    /// A bearer token from `/token`, which anybody gets.
    AnonymousToken,
    /// A bearer token from `/token`, for a user and a password.
    Token {
        /// The only user.
        user: String,
        /// Their password.
        password: String,
    },
}

/// What goes wrong with every request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RegistryFault {
    /// This code is the answer.
    Status(u16),
    /// There is no answer.
    Hang,
}

/// The registry. It ends with [`Registry::stop`] or when the last clone is dropped.
#[derive(Clone)]
pub struct Registry {
    handle: Arc<Handle>,
}

struct Handle {
    address: SocketAddr,
    state: Arc<Mutex<State>>,
    token: CancellationToken,
    tasks: TaskTracker,
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.token.cancel();
    }
}

#[derive(Default)]
struct State {
    /// repository → tag → digest.
    tags: BTreeMap<String, BTreeMap<String, String>>,
    /// digest → content, for manifests and configs alike.
    blobs: BTreeMap<String, Bytes>,
    /// digest of a manifest → how its image behaves.
    behaviours: BTreeMap<String, String>,
    access: Access,
    fault: Option<RegistryFault>,
    delay: Duration,
    requests: Vec<String>,
}

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const TOKEN: &str = "sandbox-token";

impl Registry {
    /// Listens on a free port.
    pub async fn start() -> io::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let address = listener.local_addr()?;
        let handle = Handle {
            address,
            state: Arc::default(),
            token: CancellationToken::new(),
            tasks: TaskTracker::new(),
        };
        let state = handle.state.clone();
        let handler = move |request| answer(state.clone(), address, request);
        let tasks = handle.tasks.clone();
        let spawn = move |connection| drop(tasks.spawn(connection));
        handle.tasks.spawn(serve(listener, false, Ending::new(handle.token.clone()), spawn, handler));
        Ok(Self { handle: Arc::new(handle) })
    }

    /// Where it listens; the first part of its images' names.
    pub fn address(&self) -> SocketAddr {
        self.handle.address
    }

    /// The full name of an image in it, such as `127.0.0.1:4000/shop/web:v1`.
    pub fn image(&self, repository: &str, tag: &str) -> String {
        format!("{}/{repository}:{tag}", self.address())
    }

    /// Puts an image there whose pods behave as its tag says, and returns its digest.
    pub fn push(&self, repository: &str, tag: &str) -> String {
        self.push_as(repository, tag, tag)
    }

    /// Puts an image there whose pods behave as `behaviour` says, under a tag that says nothing; a tag that is there
    /// moves.
    pub fn push_as(&self, repository: &str, tag: &str, behaviour: &str) -> String {
        let config = json!({
            "architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": []},
            "config": {"Labels": {
                "sandbox.behaviour": behaviour, "sandbox.repository": repository, "sandbox.tag": tag,
            }},
        })
        .to_string();
        let config_digest = digest(config.as_bytes());
        let manifest = json!({
            "schemaVersion": 2, "mediaType": MANIFEST, "layers": [],
            "config": {
                "mediaType": "application/vnd.oci.image.config.v1+json",
                "digest": config_digest, "size": config.len(),
            },
        })
        .to_string();
        let manifest_digest = digest(manifest.as_bytes());
        let mut state = self.state();
        state.blobs.insert(config_digest, config.into());
        state.blobs.insert(manifest_digest.clone(), manifest.into());
        state.behaviours.insert(manifest_digest.clone(), behaviour.to_owned());
        let tags = state.tags.entry(repository.to_owned()).or_default();
        tags.insert(tag.to_owned(), manifest_digest.clone());
        manifest_digest
    }

    /// Takes a tag away; its digest stays.
    pub fn untag(&self, repository: &str, tag: &str) {
        if let Some(tags) = self.state().tags.get_mut(repository) {
            tags.remove(tag);
        }
    }

    /// The behaviour that an image was pushed with, by its digest.
    pub fn tag_of(&self, digest: &str) -> Option<String> {
        self.state().behaviours.get(digest).cloned()
    }

    /// The digest that a tag stands for.
    pub fn digest_of(&self, repository: &str, tag: &str) -> Option<String> {
        self.state().tags.get(repository)?.get(tag).cloned()
    }

    /// How a node knows the behaviour of an image: this registry's images by their digest, others by their tag. What
    /// was not pushed here cannot be pulled.
    pub fn resolver(&self) -> Resolver {
        let registry = self.clone();
        Arc::new(move |image| registry.pull(image))
    }

    fn pull(&self, image: &str) -> Pulled {
        let Some(rest) = image.strip_prefix(&format!("{}/", self.address())) else {
            return Pulled::by_tag(image);
        };
        let missing = || Pulled { behaviour: Behaviour::parse("pull-error"), image_id: None };
        let (repository, digest) = if let Some((name, digest)) = rest.split_once('@') {
            (name.split(':').next().unwrap_or_default().to_owned(), Some(digest.to_owned()))
        } else {
            let (repository, tag) = rest.split_once(':').unwrap_or((rest, "latest"));
            (repository.to_owned(), self.digest_of(repository, tag))
        };
        let known = digest.and_then(|digest| Some((self.tag_of(&digest)?, digest)));
        known.map_or_else(missing, |(tag, digest)| Pulled {
            behaviour: Behaviour::parse(&tag),
            image_id: Some(format!("{}/{repository}@{digest}", self.address())),
        })
    }

    /// Asks callers for credentials from now on.
    pub fn set_access(&self, access: Access) {
        self.state().access = access;
    }

    /// Lets every request fail, or none.
    pub fn set_fault(&self, fault: Option<RegistryFault>) {
        self.state().fault = fault;
    }

    /// Lets every request wait before it is answered.
    pub fn set_delay(&self, delay: Duration) {
        self.state().delay = delay;
    }

    /// The requests so far, as `HEAD /v2/shop/web/manifests/v1`.
    pub fn requests(&self) -> Vec<String> {
        self.state().requests.clone()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.handle.state)
    }

    /// Ends it and its connections.
    pub async fn stop(&self) {
        self.handle.token.cancel();
        self.handle.tasks.close();
        self.handle.tasks.wait().await;
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

fn digest(content: &[u8]) -> String {
    format!("sha256:{}", hex::encode(Sha256::digest(content)))
}

async fn answer(
    state: Arc<Mutex<State>>,
    address: SocketAddr,
    request: Request<Incoming>,
) -> Response<Full<Bytes>> {
    let (fault, delay) = {
        let mut state = lock(&state);
        let line = format!("{} {}", request.method(), request.uri().path());
        state.requests.push(line);
        (state.fault, state.delay)
    };
    if !delay.is_zero() {
        tokio::time::sleep(delay).await;
    }
    match fault {
        Some(RegistryFault::Hang) => std::future::pending().await,
        Some(RegistryFault::Status(code)) => return problem(code, "UNAVAILABLE"),
        None => {}
    }
    let authorization = request
        .headers()
        .get(header::AUTHORIZATION)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    let state = lock(&state);
    let path = request.uri().path();
    if path == "/token" {
        return give_token(&state.access, authorization);
    }
    if let Some(refused) = refuse(&state.access, authorization, address, path) {
        return refused;
    }
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        return problem(405, "UNSUPPORTED");
    }
    find(&state, path, request.method() == Method::HEAD)
}

fn basic(user: &str, password: &str) -> String {
    format!("Basic {}", STANDARD.encode(format!("{user}:{password}")))
}

fn give_token(access: &Access, authorization: &str) -> Response<Full<Bytes>> {
    if let Access::Token { user, password } = access
        && authorization != basic(user, password)
    {
        return problem(401, "UNAUTHORIZED");
    }
    json_answer(200, &json!({"token": TOKEN, "access_token": TOKEN, "expires_in": 300}))
}

/// The challenge, if the request does not carry what the registry asks for.
fn refuse(
    access: &Access,
    authorization: &str,
    address: SocketAddr,
    path: &str,
) -> Option<Response<Full<Bytes>>> {
    let (wanted, challenge) = match access {
        Access::Open => return None,
        Access::Basic { user, password } => (basic(user, password), "Basic realm=\"sandbox\"".to_owned()),
        Access::AnonymousToken | Access::Token { .. } => {
            let repository = path.trim_start_matches("/v2/").split("/manifests/").next().unwrap_or_default();
            let scope = format!("repository:{repository}:pull");
            let realm =
                format!("Bearer realm=\"http://{address}/token\",service=\"sandbox\",scope=\"{scope}\"");
            (format!("Bearer {TOKEN}"), realm)
        }
    };
    if authorization == wanted {
        return None;
    }
    let mut response = problem(401, "UNAUTHORIZED");
    if let Ok(value) = HeaderValue::from_str(&challenge) {
        response.headers_mut().insert(header::WWW_AUTHENTICATE, value);
    }
    Some(response)
}

fn find(state: &State, path: &str, head: bool) -> Response<Full<Bytes>> {
    if path == "/v2/" || path == "/v2" {
        return json_answer(200, &json!({}));
    }
    let rest = path.trim_start_matches("/v2/");
    let (digest, missing, media) = if let Some((repository, reference)) = rest.split_once("/manifests/") {
        let tags = state.tags.get(repository);
        let digest = if reference.starts_with("sha256:") {
            tags.map(|_| reference.to_owned())
        } else {
            tags.and_then(|tags| tags.get(reference).cloned())
        };
        (digest, "MANIFEST_UNKNOWN", MANIFEST)
    } else if let Some((_, digest)) = rest.split_once("/blobs/") {
        (Some(digest.to_owned()), "BLOB_UNKNOWN", "application/octet-stream")
    } else {
        (None, "NAME_UNKNOWN", "")
    };
    let found = digest.and_then(|digest| Some((state.blobs.get(&digest)?.clone(), digest)));
    let Some((content, digest)) = found else {
        return problem(404, missing);
    };
    let length = content.len();
    let mut response = text(200, if head { Bytes::new() } else { content });
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_LENGTH, length.into());
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(media));
    if let Ok(value) = HeaderValue::from_str(&digest) {
        headers.insert("docker-content-digest", value);
    }
    response
}

fn json_answer(code: u16, body: &serde_json::Value) -> Response<Full<Bytes>> {
    let mut response = text(code, body.to_string());
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

fn problem(code: u16, what: &str) -> Response<Full<Bytes>> {
    json_answer(code, &json!({"errors": [{"code": what, "message": what.to_lowercase()}]}))
}
