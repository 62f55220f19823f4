//! An in-process Kubernetes API server.
//!
//! What it does: stores objects of a dozen built-in kinds and of any kind that is registered, and answers create, get,
//! list, watch, update, the four patches and delete as a genuine server does, as far as a delivery daemon and kubectl
//! can tell: optimistic concurrency, generations, status kept apart, defaults, field ownership, Tables.
//!
//! What comes in: HTTP requests, as a tower service (under [`kube::Client`]) or over a socket; a seed and a clock.
//! What goes out: HTTP answers and watch streams, a log of requests, and nothing else: no object changes by itself here.

mod core;
mod decode;
mod defaults;
mod delete;
mod discovery;
mod entries;
mod error;
mod events;
mod fault;
mod fieldset;
mod kinds;
mod managed;
mod patch;
mod proxy;
mod quantity;
mod render;
mod request;
mod schema;
mod selector;
mod serve;
mod service;
mod store;
mod strategy;
mod table;
#[cfg(test)]
mod tests;
mod typed;
mod validate;
mod validate_cron;
mod validate_sets;
mod watch;
mod write;

use std::{io, net::SocketAddr, sync::Arc, sync::OnceLock, time::Duration};

use http::HeaderValue;
use serde_json::Value;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

pub(crate) use self::{
    core::{Core, Reply},
    error::ApiError,
    selector::LabelSelector,
    store::Change,
};
pub use self::{
    fault::{Fault, Logged},
    kinds::{Column, KindSpec},
    request::{Request, Verb},
    service::{ApiService, ResponseBody},
};
use super::clock::Clock;

/// How a server starts.
#[derive(Debug, Clone, Default)]
pub struct ApiOptions {
    /// UIDs and generated names follow from it.
    pub seed: u64,
    /// Where timestamps come from.
    pub clock: Clock,
    /// No ownership of fields where it decides nothing: of the objects of kinds that nobody applies, and of what comes through
    /// `/status`. For who plays the server through many lives; else a server keeps all of it, as a genuine one does.
    pub frugal: bool,
}

/// The server. Clones are the same server; it ends when [`ApiServer::stop`] is called or the last clone is dropped.
#[derive(Clone)]
pub struct ApiServer {
    inner: Arc<Inner>,
}

struct Inner {
    core: Arc<Core>,
    shutdown: CancellationToken,
    tasks: TaskTracker,
    address: OnceLock<SocketAddr>,
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.shutdown.cancel();
    }
}

impl ApiServer {
    /// A server that holds the namespaces `default` and `kube-system` and nothing else.
    pub fn new(options: ApiOptions) -> Self {
        Self {
            inner: Arc::new(Inner {
                core: Arc::new(Core::new(options.seed, options.clock, options.frugal)),
                shutdown: CancellationToken::new(),
                tasks: TaskTracker::new(),
                address: OnceLock::new(),
            }),
        }
    }

    /// The server as a tower service.
    pub fn service(&self) -> ApiService {
        ApiService { core: self.inner.core.clone(), shutdown: self.inner.shutdown.clone(), user_agent: None }
    }

    /// A client without a socket in between. Must be called within a tokio runtime.
    pub fn client(&self) -> kube::Client {
        kube::Client::new(self.service(), "default")
    }

    /// As [`Self::client`], with a `User-Agent` by which the log can be told apart.
    pub fn client_as(&self, user_agent: &str) -> kube::Client {
        let mut service = self.service();
        service.user_agent = HeaderValue::from_str(user_agent).ok();
        kube::Client::new(service, "default")
    }

    /// Serves over HTTP on a free port of 127.0.0.1 as well; the second call changes nothing.
    pub async fn serve(&self) -> io::Result<SocketAddr> {
        if let Some(address) = self.inner.address.get() {
            return Ok(*address);
        }
        let address = serve::listen(self.service(), &self.inner.tasks).await?;
        Ok(*self.inner.address.get_or_init(|| address))
    }

    /// The base URL, if the server is served over HTTP.
    pub fn url(&self) -> Option<String> {
        self.inner.address.get().map(|address| format!("http://{address}"))
    }

    /// A kubeconfig for kubectl, if the server is served over HTTP.
    pub fn kubeconfig(&self) -> Option<String> {
        self.inner.address.get().map(|address| serve::kubeconfig(*address))
    }

    /// Serves one more kind.
    pub fn register(&self, kind: impl Into<Arc<KindSpec>>) {
        self.inner.core.store().register(kind);
    }

    /// The requests so far, oldest first, at most the newest 100 000. What the controllers of the sandbox do inside the
    /// server is logged too, under the `User-Agent` `kube-controller-manager`.
    pub fn requests(&self) -> Vec<Logged> {
        self.inner.core.probe.entries()
    }

    /// Takes the log of requests, oldest first: for who follows it as it grows.
    pub(crate) fn take_requests(&self) -> std::collections::VecDeque<Logged> {
        self.inner.core.probe.take()
    }

    /// Empties the log of requests.
    pub fn clear_requests(&self) {
        self.inner.core.probe.clear();
    }

    /// Asks `choose` for a fault before each request; it replaces the one before.
    pub fn inject(&self, choose: impl Fn(&Request) -> Option<Fault> + Send + Sync + 'static) {
        self.inner.core.probe.set_hook(Some(Arc::new(choose)));
    }

    /// No more faults.
    pub fn clear_faults(&self) {
        self.inner.core.probe.set_hook(None);
    }

    /// The mean CPU use of a Deployment's pods that its autoscalers go by, in per cent of what they request; none: nobody measures it.
    pub fn set_cpu(&self, namespace: &str, deployment: &str, used: Option<u32>) {
        let key = (namespace.to_owned(), deployment.to_owned());
        let cpu = &mut self.inner.core.settings().cpu;
        match used {
            Some(used) => drop(cpu.insert(key, used)),
            None => drop(cpu.remove(&key)),
        }
    }

    /// How long each mutating request waits before its effect.
    pub fn set_write_latency(&self, latency: Duration) {
        self.inner.core.settings().write_latency = latency;
    }

    /// How often a watch that asked for bookmarks gets one; a minute at first.
    pub fn set_bookmark_interval(&self, interval: Duration) {
        self.inner.core.settings().bookmark_interval = interval;
    }

    /// How many changes are remembered; a watch from before them is told 410. 0 forgets all of them.
    pub fn set_history(&self, changes: usize) {
        let mut store = self.inner.core.store();
        store.history_limit = changes;
        store.trim();
    }

    /// Who a `SelfSubjectReview` says the caller is.
    pub fn set_user(&self, name: &str, groups: &[&str]) {
        let mut settings = self.inner.core.settings();
        name.clone_into(&mut settings.user);
        settings.groups = groups.iter().map(|group| (*group).to_owned()).collect();
    }

    /// What a `TokenReview` says of a bearer token, and a `SubjectAccessReview` of its owner, who may use these verbs.
    pub fn set_token(&self, token: &str, user: &str, verbs: &[&str]) {
        let verbs = verbs.iter().map(|verb| (*verb).to_owned()).collect();
        self.inner.core.settings().tokens.insert(token.to_owned(), (user.to_owned(), verbs));
    }

    /// The `resourceVersion` of the last change of anything.
    pub fn version(&self) -> u64 {
        self.inner.core.store().version()
    }

    /// The clock that the server writes timestamps from.
    pub fn clock(&self) -> &Clock {
        &self.inner.core.clock
    }

    /// Every object there is, in no order: for checkers that compare end states.
    pub fn dump(&self) -> Vec<Arc<Value>> {
        self.inner.core.store().everything().map(|(_, object)| object.clone()).collect()
    }

    /// The server behind its network.
    pub(crate) fn core(&self) -> &Arc<Core> {
        &self.inner.core
    }

    /// Ends watches, hung requests and connections.
    pub async fn stop(&self) {
        self.inner.shutdown.cancel();
        self.inner.tasks.close();
        self.inner.tasks.wait().await;
    }
}
