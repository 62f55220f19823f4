//! The daemon's HTTP server: webhooks in, metrics and health out, and what became of the webhooks for who asks from this machine.
//!
//! In: requests of anybody. Out: hints (through [`Hooks`]), text and JSON. Bounded in connections, headers, bodies and time, so that a slow
//! or a large client hurts itself only. May use: `config`, `source::webhook`, the network.

#[cfg(test)]
mod bounds_tests;
mod connections;
mod deliveries;
mod hooks;
mod near;
pub mod pulls;
pub mod releases;
pub mod sources;
#[cfg(test)]
mod tests;

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use futures::future::BoxFuture;
use jiff::Timestamp;
use tokio::sync::{Semaphore, watch};
use tower_http::catch_panic::CatchPanicLayer;

use crate::config::Forge;
use crate::model::name::SourceName;
use crate::model::pull::{PullRequest, Pulls};
use crate::source::webhook::{HookOutcome, Hooks};
use crate::source::{Hints, Suspensions};

pub use connections::serve;

/// Bytes of webhook bodies that may be under way at one time, in KiB.
const IN_FLIGHT_KIB: usize = 64 * 1024;

/// Whether the daemon can do its work.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Readiness {
    /// It can.
    Ready,
    /// It cannot yet, or not any more; why, in one sentence.
    NotReady(String),
}

/// One webhook request, for counting. The source is absent where the name in the path is none of ours, so that labels stay few.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HookSeen {
    /// The source and its forge.
    pub source: Option<(SourceName, Forge)>,
    /// What became of it.
    pub outcome: HookOutcome,
}

/// Counts webhook requests.
pub type OnHook = Arc<dyn Fn(&HookSeen) + Send + Sync>;
/// Tells how each source was last seen; their webhooks are the door's own to tell.
pub type SourcesNow = Arc<dyn Fn() -> Vec<sources::SourceSeen> + Send + Sync>;
/// Keeps what a forge tells of a pull request, and when it came, in the cluster; the error says why it could not.
pub type KeepPull =
    Arc<dyn Fn(SourceName, PullRequest, Timestamp) -> BoxFuture<'static, Result<(), String>> + Send + Sync>;
/// Reads the pull requests of a source from the cluster; the error says why it could not.
pub type PullsNow = Arc<dyn Fn(SourceName) -> BoxFuture<'static, Result<Pulls, String>> + Send + Sync>;
/// Writes the metrics in Prometheus' text format.
pub type MetricsText = Arc<dyn Fn() -> String + Send + Sync>;

/// Who sent a request.
#[derive(Debug, Clone, Copy)]
struct Peer(SocketAddr);

/// What the door knows of the sources, and how it reaches them.
#[derive(Clone)]
pub struct Ways {
    /// Asks for looks.
    pub hints: Hints,
    /// Which of them are suspended.
    pub suspensions: Suspensions,
    /// How they were last seen.
    pub sources: SourcesNow,
    /// Keeps pull requests.
    pub keep: KeepPull,
    /// Reads them.
    pub pulls: PullsNow,
    /// Asks something of a release.
    pub releases: releases::Releases,
}

/// What the server answers from.
#[derive(Clone)]
pub struct HttpState {
    hooks: Arc<Hooks>,
    ways: Ways,
    metrics: MetricsText,
    ready: watch::Receiver<Readiness>,
    on_hook: OnHook,
    in_flight: Arc<Semaphore>,
}

impl HttpState {
    /// Gathers what the server needs.
    pub fn new(
        hooks: Arc<Hooks>,
        ways: Ways,
        metrics: MetricsText,
        ready: watch::Receiver<Readiness>,
        on_hook: OnHook,
    ) -> Self {
        Self { hooks, ways, metrics, ready, on_hook, in_flight: Arc::new(Semaphore::new(IN_FLIGHT_KIB)) }
    }
}

/// Returns the routes.
pub fn router(state: HttpState) -> Router {
    let releases = releases::routes().into_iter();
    let router = releases.fold(Router::new(), |router, (path, methods)| router.route(path, methods));
    router
        .route("/hooks/{source}", post(hooks::receive))
        .route("/api/v1/deliveries", get(deliveries::list))
        .route("/api/v1/sources", get(sources::list))
        .route("/api/v1/sources/{source}/look", post(sources::look))
        .route("/api/v1/sources/{source}/pulls", get(pulls::list))
        .route("/metrics", get(metrics))
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(ready))
        .layer(CatchPanicLayer::new())
        .with_state(state)
}

async fn metrics(State(state): State<HttpState>) -> Response {
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], (state.metrics)()).into_response()
}

async fn ready(State(state): State<HttpState>) -> Response {
    match &*state.ready.borrow() {
        Readiness::Ready => "ok\n".into_response(),
        Readiness::NotReady(reason) => {
            (StatusCode::SERVICE_UNAVAILABLE, format!("{reason}\n")).into_response()
        }
    }
}
