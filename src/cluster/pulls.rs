//! The pull requests of each source, in a ConfigMap `idp-pulls-<source>` of the home namespace, written by compare-and-swap. Who
//! keeps something is answered once a write that has it has landed. While one write is under way all others of its source wait and
//! are one write together. What could not be written is tried again until it can be, answered or not: many forges do not come again.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Value, json};
use tokio::sync::{Notify, oneshot};
use tokio::time::{Instant, sleep, timeout};

use super::calls::{Calls, Place};
use super::error::ApiError;
use super::raw::{Raw, resource};
use crate::model::duration::doubled;
use crate::model::name::{Namespace, SourceName};
use crate::model::pull::{PullRequest, Pulls, SCHEMA, bounded, fold};
use crate::model::{LABEL_KEEPS, LABEL_MANAGED_BY, MANAGER};

/// What the names of the ConfigMaps begin with.
pub const PREFIX: &str = "idp-pulls-";
/// The entry of the ConfigMaps.
pub const ENTRY: &str = "pulls.json";
/// The value of [`LABEL_KEEPS`] on them.
pub const KEEPS: &str = "pulls";
/// How long one call may take.
const CALL: Duration = Duration::from_millis(1_500);
/// How long one who keeps something waits: Gitea waits five seconds for our answer, the others longer.
const PATIENCE: Duration = Duration::from_secs(4);
/// How long one write may be tried again and again, so that its reason reaches who waits.
const TRYING: Duration = Duration::from_millis(2_300);
/// The pauses between the tries of one write: the first, and the longest that its doublings come to.
const PAUSE: (Duration, Duration) = (Duration::from_millis(20), Duration::from_millis(500));
/// The pauses after writes that failed: the first, and the longest that its doublings come to.
const FAILED: (Duration, Duration) = (Duration::from_secs(1), Duration::from_mins(1));
/// What waits to be written of one source at most; the oldest goes first.
const WAITING: usize = 4_096;

/// Why something was not kept.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeepError {
    /// The API server did not do it.
    #[error("the pull requests of a source could not be read or kept: {0}")]
    Api(ApiError),
    /// What is kept is nothing that we wrote.
    #[error(
        "the ConfigMap {PREFIX}{0} has no readable {ENTRY}: remove that entry, and what it holds is lost"
    )]
    Unreadable(SourceName),
    /// A newer version wrote it.
    #[error("the ConfigMap {PREFIX}{0} was written by a newer idpd (form {1}): run that one")]
    Newer(SourceName, u32),
    /// It took too long; it may be kept later.
    #[error("it was not kept within {} s; it is tried again", .0.as_secs())]
    Late(Duration),
}

impl From<ApiError> for KeepError {
    fn from(error: ApiError) -> Self {
        Self::Api(error)
    }
}

/// Keeps pull requests. Cheap to clone.
#[derive(Clone)]
pub struct PullKeeper {
    calls: Calls,
    home: Namespace,
    desks: Arc<Mutex<BTreeMap<SourceName, Arc<Desk>>>>,
}

/// What waits to be written of one source.
#[derive(Default)]
struct Desk {
    state: Mutex<State>,
    came: Notify,
}

#[derive(Default)]
struct State {
    waiting: VecDeque<Asked>,
    /// Somebody writes, or waits to write again.
    busy: bool,
    /// What was last read or written, and its resource version.
    known: Option<(Pulls, String)>,
}

/// Something to be kept, and whom to tell.
struct Asked {
    told: PullRequest,
    received: Timestamp,
    done: Option<oneshot::Sender<Result<(), KeepError>>>,
}

impl Desk {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lays something down; tells whether nobody writes yet.
    fn ask(&self, asked: Asked) -> bool {
        let mut state = self.state();
        if state.waiting.len() >= WAITING {
            state.waiting.pop_front();
            tracing::error!("too many events of pull requests wait to be kept: the oldest is lost");
        }
        state.waiting.push_back(asked);
        self.came.notify_one();
        !std::mem::replace(&mut state.busy, true)
    }

    /// Takes all that waits; nothing ends the writing.
    fn take(&self) -> Vec<Asked> {
        let mut state = self.state();
        let batch: Vec<Asked> = state.waiting.drain(..).collect();
        state.busy = !batch.is_empty();
        batch
    }

    /// Puts back what could not be written, with nobody left to tell.
    fn put_back(&self, batch: Vec<Asked>) {
        let mut state = self.state();
        for asked in batch.into_iter().rev() {
            if state.waiting.len() < WAITING {
                state.waiting.push_front(Asked { done: None, ..asked });
            }
        }
    }
}

impl PullKeeper {
    /// Makes a keeper of the documents in a home namespace; nothing is read yet.
    pub fn new(calls: Calls, home: Namespace) -> Self {
        Self { calls: calls.with_deadline(CALL), home, desks: Arc::default() }
    }

    /// Keeps what a forge told of a pull request; `received` is when it came. Returns once it is in the cluster, or why it is not
    /// after four seconds at most. Must be called within a runtime; that the caller goes away ends nothing.
    pub async fn keep(
        &self,
        source: &SourceName,
        told: PullRequest,
        received: Timestamp,
    ) -> Result<(), KeepError> {
        let desk = {
            let mut desks = self.desks.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(desks.entry(source.clone()).or_default())
        };
        let (done, answer) = oneshot::channel();
        if desk.ask(Asked { told, received, done: Some(done) }) {
            tokio::spawn(self.clone().write_all(source.clone(), desk));
        }
        match timeout(PATIENCE, answer).await {
            Ok(Ok(kept)) => kept,
            _ => Err(KeepError::Late(PATIENCE)),
        }
    }

    /// Reads what is kept of a source; nothing kept is an empty document.
    pub async fn read(&self, source: &SourceName) -> Result<Pulls, KeepError> {
        Ok(self.get(source).await?.map(|(pulls, _)| pulls).unwrap_or_default())
    }

    /// Writes until nothing waits any more.
    async fn write_all(self, source: SourceName, desk: Arc<Desk>) {
        let mut failures = 0;
        loop {
            let mut batch = desk.take();
            if batch.is_empty() {
                return;
            }
            let mut known = desk.state().known.take();
            let stored = self.store(&source, &mut known, &batch).await;
            desk.state().known = known;
            for done in batch.iter_mut().filter_map(|asked| asked.done.take()) {
                done.send(stored.clone()).ok();
            }
            let Err(error) = stored else {
                failures = 0;
                continue;
            };
            let count = batch.len();
            tracing::warn!(%source, %error, count, "pull requests could not be kept; it is tried again");
            desk.put_back(batch);
            let pause = doubled(FAILED.0, failures, FAILED.1);
            failures = failures.saturating_add(1);
            // Who comes meanwhile learns of the reason at once.
            tokio::select! { () = sleep(pause) => {}, () = desk.came.notified() => {} }
        }
    }

    /// Writes a batch, again after a conflict or a failure that may pass.
    async fn store(
        &self,
        source: &SourceName,
        known: &mut Option<(Pulls, String)>,
        batch: &[Asked],
    ) -> Result<(), KeepError> {
        let until = Instant::now() + TRYING;
        let mut tries = 0;
        loop {
            let error = match self.try_store(source, known, batch).await {
                Ok(()) => return Ok(()),
                Err(error) => error,
            };
            *known = None;
            let pause = doubled(PAUSE.0, tries, PAUSE.1);
            tries += 1;
            let again = matches!(&error, KeepError::Api(error) if error.is_transient());
            if !again || Instant::now() + pause >= until {
                return Err(error);
            }
            sleep(pause).await;
        }
    }

    async fn try_store(
        &self,
        source: &SourceName,
        known: &mut Option<(Pulls, String)>,
        batch: &[Asked],
    ) -> Result<(), KeepError> {
        if known.is_none() {
            *known = self.get(source).await?;
        }
        let (before, version) = match known.as_ref() {
            Some((pulls, version)) => (pulls.clone(), Some(version.clone())),
            None => (Pulls::default(), None),
        };
        let folded =
            batch.iter().fold(before.clone(), |pulls, asked| fold(pulls, &asked.told, asked.received));
        let Some(last) = batch.last() else { return Ok(()) };
        let (after, dropped) = bounded(folded, last.received);
        if dropped > 0 {
            tracing::warn!(%source, dropped, "more pull requests are open than are kept: the oldest are left out");
        }
        if version.is_some() && after == before {
            return Ok(());
        }
        let raw = self.put(source, &after, version).await?;
        *known = Some((after, raw.resource_version().to_owned()));
        Ok(())
    }

    async fn get(&self, source: &SourceName) -> Result<Option<(Pulls, String)>, KeepError> {
        let (resource, name) = (resource("v1", "ConfigMap"), format!("{PREFIX}{source}"));
        let place = Place { resource: &resource, namespace: self.home.as_str(), name: &name };
        let Some(raw) = self.calls.get(&place).await? else { return Ok(None) };
        let version = raw.resource_version().to_owned();
        let text = raw.value().get("data").and_then(|data| data.get(ENTRY)?.as_str());
        // Somebody who removed the entry wants to begin anew.
        let Some(text) = text else { return Ok(Some((Pulls::default(), version))) };
        let pulls: Pulls = serde_json::from_str(text).map_err(|_| KeepError::Unreadable(source.clone()))?;
        if pulls.schema > SCHEMA {
            return Err(KeepError::Newer(source.clone(), pulls.schema));
        }
        Ok(Some((pulls, version)))
    }

    async fn put(
        &self,
        source: &SourceName,
        pulls: &Pulls,
        version: Option<String>,
    ) -> Result<Raw, ApiError> {
        let (resource, name) = (resource("v1", "ConfigMap"), format!("{PREFIX}{source}"));
        let place = Place { resource: &resource, namespace: self.home.as_str(), name: &name };
        let text = serde_json::to_string(pulls).unwrap_or_default();
        match version {
            Some(version) => {
                let patch = json!({"metadata": {"resourceVersion": version}, "data": {ENTRY: text}});
                match self.calls.merge(&place, &patch).await {
                    // It was removed: it is made anew.
                    Err(ApiError::NotFound(message)) => {
                        Err(ApiError::Conflict { message, managers: Vec::new() })
                    }
                    answer => answer,
                }
            }
            None => self.calls.create(&place, body(&name, &self.home, source, &text)).await,
        }
    }
}

fn body(name: &str, home: &Namespace, source: &SourceName, text: &str) -> Value {
    let labels = json!({LABEL_MANAGED_BY: MANAGER, LABEL_KEEPS: KEEPS, "idp.dev/source": source});
    json!({"apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"name": name, "namespace": home, "labels": labels}, "data": {ENTRY: text}})
}
