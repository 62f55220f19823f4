//! The home namespace: one `ConfigMap` a source, and Kubernetes events for people.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::calls::{Calls, Place};
use super::error::ApiError;
use super::raw::resource;
use crate::model::name::{Namespace, SourceName};
use crate::model::{LABEL_MANAGED_BY, MANAGER};

/// A source's status may have this many bytes at most.
pub const SOURCE_BYTES: usize = 512 * 1024;
/// Kubernetes events that wait to be sent, at most.
const WAITING: usize = 256;
/// The entry of a source's ConfigMap.
const ENTRY: &str = "status.json";

/// Why a source's status was not kept.
#[derive(Debug, thiserror::Error)]
pub enum HomeError {
    /// It is too long.
    #[error("the status of source {source_name} has {bytes} bytes of at most {SOURCE_BYTES}")]
    TooLarge {
        /// The source.
        source_name: SourceName,
        /// Its size as JSON.
        bytes: usize,
    },
    /// What is kept is no JSON.
    #[error("the kept status of source {source_name} is no JSON; remove the ConfigMap")]
    Unreadable {
        /// The source.
        source_name: SourceName,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
    /// The API server did not do it.
    #[error("the status of a source could not be read or kept")]
    Api(#[from] ApiError),
}

/// Keeps a source's status in `idp-source-<name>`. It is one call each time: call it when something changed.
pub async fn put_source(
    calls: &Calls,
    home: &Namespace,
    source: &SourceName,
    status: &Value,
) -> Result<(), HomeError> {
    let text = status.to_string();
    if text.len() > SOURCE_BYTES {
        return Err(HomeError::TooLarge { source_name: source.clone(), bytes: text.len() });
    }
    let (resource, name) = (resource("v1", "ConfigMap"), name(source));
    let place = Place { resource: &resource, namespace: home.as_str(), name: &name };
    let body = json!({"apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"name": name, "namespace": home, "labels": {LABEL_MANAGED_BY: MANAGER, "idp.dev/source": source}},
        "data": {ENTRY: text}});
    calls.apply(&place, MANAGER, true, &body).await?;
    Ok(())
}

/// Reads what was kept of a source; `None`: nothing.
pub async fn read_source(
    calls: &Calls,
    home: &Namespace,
    source: &SourceName,
) -> Result<Option<Value>, HomeError> {
    let (resource, name) = (resource("v1", "ConfigMap"), name(source));
    let place = Place { resource: &resource, namespace: home.as_str(), name: &name };
    let Some(raw) = calls.get(&place).await? else { return Ok(None) };
    let data = raw.value().get("data").and_then(|data| data.get(ENTRY)?.as_str());
    let parse = |text: &str| {
        serde_json::from_str(text)
            .map_err(|error| HomeError::Unreadable { source_name: source.clone(), source: error })
    };
    data.map(parse).transpose()
}

fn name(source: &SourceName) -> String {
    format!("idp-source-{source}")
}

/// Sends Kubernetes events, as far as the API server takes them: they are for people who look, nothing is derived from them.
#[derive(Clone)]
pub struct Announcer {
    queue: mpsc::Sender<(String, Value)>,
    dropped: Arc<AtomicU64>,
}

impl Announcer {
    /// Starts the sender; it ends with `shutdown`.
    pub fn spawn(calls: Calls, tasks: &TaskTracker, shutdown: &CancellationToken) -> Self {
        let (queue, mut waiting) = mpsc::channel::<(String, Value)>(WAITING);
        let dropped = Arc::new(AtomicU64::new(0));
        let (count, shutdown) = (Arc::clone(&dropped), shutdown.clone());
        tasks.spawn(async move {
            let run = async {
                while let Some((namespace, event)) = waiting.recv().await {
                    if let Err(error) = send(&calls, &namespace, event).await {
                        count.fetch_add(1, Ordering::Relaxed);
                        tracing::debug!(%error, "a Kubernetes event was not taken");
                    }
                }
            };
            shutdown.run_until_cancelled(run).await;
        });
        Self { queue, dropped }
    }

    /// Returns an announcer whose events somebody else takes, each with its namespace, instead of an API server.
    pub fn pair() -> (Self, mpsc::Receiver<(String, Value)>) {
        let (queue, waiting) = mpsc::channel(WAITING);
        (Self { queue, dropped: Arc::default() }, waiting)
    }

    /// Queues an event, a body of `v1` or `events.k8s.io/v1` with a name of its own. It never waits: if too many wait it is dropped
    /// and counted.
    pub fn announce(&self, namespace: &str, event: Value) {
        if self.queue.try_send((namespace.to_owned(), event)).is_err() {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Returns how many events were dropped or refused since the start.
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }
}

async fn send(calls: &Calls, namespace: &str, event: Value) -> Result<(), ApiError> {
    let text = |name: &str| event.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
    let resource = resource(&text("apiVersion"), &text("kind"));
    let place = Place { resource: &resource, namespace, name: "" };
    calls.create(&place, event).await.map(drop)
}
