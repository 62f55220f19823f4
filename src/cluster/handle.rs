//! One handle for all that the other rooms ask of the cluster.

use std::sync::Arc;

use futures::StreamExt;
use kube::Client;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::apply::{self, Applied, WriteError};
use super::calls::{Calls, Place};
use super::error::ApiError;
use super::namespace;
use super::raw::resource_of;
use super::record::{self, RecordError, Stored};
use super::revision::Owner;
use super::routes::is_weighted;
use super::shard::ReleaseSeen;
use super::view::{View, ViewError, Wake};
use super::watch::{self, Said};
use super::watched::Watched;
use crate::model::name::{Namespace, ReleaseKey};
use crate::model::object::ObjectKey;
use crate::model::observed::Observed;
use crate::model::record::Record;
use crate::model::write::Write;

/// Reads of one look that run side by side at most.
const READS: usize = 4;

/// The cluster: calls, and the view that watches and write responses fill. Cheap to clone.
#[derive(Clone)]
pub struct Cluster {
    calls: Calls,
    view: Arc<View>,
}

impl Cluster {
    /// Returns a handle in whose view nothing is known yet; [`Self::watch`] fills it.
    pub fn new(client: Client, wake: Wake) -> Self {
        Self { calls: Calls::new(client), view: Arc::new(View::new(wake)) }
    }

    /// Starts the watches; they end with `shutdown`.
    pub fn watch(&self, tasks: &TaskTracker, shutdown: &CancellationToken) {
        watch::spawn(&self.calls.client(), &self.view, tasks, shutdown);
    }

    /// Takes what a watch says from who plays the API server's part: the view is filled by [`Self::watch`] or by this.
    pub fn tell(&self, watched: Watched, said: Said) {
        watch::tell(&self.view, watched, said);
    }

    /// Returns the view: what is in it, how old it is.
    pub fn view(&self) -> &Arc<View> {
        &self.view
    }

    /// Returns the calls, for what has no function here.
    pub fn calls(&self) -> &Calls {
        &self.calls
    }

    /// Returns what the cluster has for a release: the view's answer, and a read for each wanted object that no watch of ours has
    /// shown or denied (first use, after a refused write, and every 30 s for somebody else's object under a wanted name). An object
    /// whose read fails stays unknown. An error before every watch has seen its initial list.
    pub async fn observe(
        &self,
        release: &ReleaseKey,
        namespace: &Namespace,
        wanted: &[ObjectKey],
    ) -> Result<Observed, ViewError> {
        let waiting = self.view.watches().waiting();
        if !waiting.is_empty() {
            return Err(ViewError::NotSynced(waiting));
        }
        let (observed, missing) = self.view.observed(release, namespace, wanted);
        if missing.is_empty() {
            return Ok(observed);
        }
        // Collected first: a stream that borrows through a closure cannot be sent to another thread.
        let reads: Vec<_> = missing.iter().map(|key| self.look(release, key)).collect();
        futures::stream::iter(reads).buffer_unordered(READS).collect::<()>().await;
        Ok(self.view.observed(release, namespace, wanted).0)
    }

    async fn look(&self, release: &ReleaseKey, key: &ObjectKey) {
        let resource = resource_of(key);
        let place = Place { resource: &resource, namespace: &key.namespace, name: &key.name };
        // A rule for destinations that a write of ours left in doubt is somebody else's as well.
        let is_filed = |key: &ObjectKey| is_weighted(key) || self.view.is_doubted_route(key);
        match self.calls.get(&place).await {
            Ok(Some(raw)) if is_filed(key) => self.view.note_route(key, &raw.into_live(&resource)),
            Ok(None) if is_filed(key) => self.view.note_no_route(key),
            Ok(Some(raw)) => self.view.note(release, key, &raw.into_live(&resource)),
            Ok(None) => self.view.note_absent(release, key),
            Err(error) => tracing::warn!(%release, object = %key, %error, "an object could not be read"),
        }
    }

    /// Executes one write; its answer is what the next [`Self::observe`] tells.
    pub async fn execute(&self, owner: Owner<'_>, write: &Write) -> Result<Applied, WriteError> {
        apply::execute(&self.calls, &self.view, owner, write).await
    }

    /// Creates a namespace where the environment allows it.
    pub async fn ensure_namespace(&self, namespace: &Namespace) -> Result<(), ApiError> {
        namespace::ensure_namespace(&self.calls, &self.view, namespace).await
    }

    /// Reads a release's record; `None`: its `Release` is certainly not there.
    pub async fn read_record(
        &self,
        release: &ReleaseKey,
        namespace: &Namespace,
    ) -> Result<Option<Stored>, RecordError> {
        let stored = record::read(&self.calls, release, namespace).await?;
        Ok(stored.inspect(|stored| self.note_record(release, stored)))
    }

    /// Creates a release's `Release`, without a record, or returns the one that is there.
    pub async fn create_record(&self, owner: Owner<'_>) -> Result<Stored, RecordError> {
        let Owner { release, namespace, team } = owner;
        let stored = record::create(&self.calls, release, namespace, team).await?;
        self.note_record(release, &stored);
        Ok(stored)
    }

    /// Stores a record over what was read or stored last.
    pub async fn store_record(
        &self,
        release: &ReleaseKey,
        previous: &Stored,
        new: &Record,
    ) -> Result<Stored, RecordError> {
        let stored = record::store(&self.calls, previous, new).await?;
        self.note_record(release, &stored);
        Ok(stored)
    }

    fn note_record(&self, release: &ReleaseKey, stored: &Stored) {
        let seen = ReleaseSeen {
            namespace: stored.namespace.to_string(),
            uid: stored.uid.clone(),
            resource_version: stored.resource_version.clone(),
            generation: stored.generation,
            deleting: false,
        };
        self.view.note_release(release, seen);
    }
}
