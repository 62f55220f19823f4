//! What a pass tells the world once its record is stored: log, metrics, Kubernetes event, broker, forge. Nothing here waits: what
//! does not fit now is offered again by a later pass, or was never promised.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::Value;
use tokio::sync::mpsc;

use crate::cluster::record::Stored;
use crate::event::announce::announce;
use crate::event::catalogue::EventSource;
use crate::event::publisher::Outgoing;
use crate::event::status::status_of;
use crate::model::name::{Namespace, ReleaseKey, SourceName};
use crate::model::record::Record;
use crate::model::transition::Transition;
use crate::reconcile::statuses::Statuses;
use crate::telemetry::metrics::Metrics;

/// A Kubernetes event to be created.
#[derive(Debug)]
pub struct KubernetesEvent {
    /// Where.
    pub namespace: String,
    /// The body.
    pub body: Value,
}

/// The ways out; one for the daemon.
pub struct Reporter {
    metrics: Arc<Metrics>,
    cluster: String,
    outgoing: mpsc::Sender<Outgoing>,
    kubernetes: mpsc::Sender<KubernetesEvent>,
    statuses: Statuses,
    /// The highest sequence number that was handed to the publisher, by the record's UID.
    offered: Mutex<HashMap<String, u64>>,
}

impl Reporter {
    /// Makes the ways out.
    pub fn new(
        metrics: Arc<Metrics>,
        cluster: String,
        outgoing: mpsc::Sender<Outgoing>,
        kubernetes: mpsc::Sender<KubernetesEvent>,
        statuses: Statuses,
    ) -> Self {
        Self { metrics, cluster, outgoing, kubernetes, statuses, offered: Mutex::default() }
    }

    /// Returns the metrics.
    pub fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// Tells what a pass left. `record` is the newest state, which may be ahead of what is stored only in what nobody outside sees.
    pub fn report(
        &self,
        release: &ReleaseKey,
        namespace: &Namespace,
        stored: &Stored,
        record: &Record,
        transitions: &[Transition],
    ) {
        let source = EventSource {
            release_uid: stored.uid.clone(),
            cluster: self.cluster.clone(),
            namespace: namespace.to_string(),
        };
        for transition in transitions {
            let body = announce(&self.metrics.releases, &source, transition);
            // Kubernetes events are best effort by their nature: a full channel drops them.
            let _ = self.kubernetes.try_send(KubernetesEvent { namespace: namespace.to_string(), body });
        }
        self.metrics.releases.record(release, record);
        self.metrics.events.outbox(release, record);
        self.offer(release, stored);
        if let Some((commit, status)) = status_of(release, record) {
            self.statuses.tell(&record.source, &commit, status);
        }
    }

    /// Hands the publisher what it was not given yet of a stored outbox.
    fn offer(&self, release: &ReleaseKey, stored: &Stored) {
        let Some(record) = stored.record() else { return };
        let mut offered = self.offered.lock().unwrap_or_else(PoisonError::into_inner);
        let from = offered.get(&stored.uid).copied().unwrap_or(record.published);
        let entries: Vec<_> =
            record.outbox.range(from.saturating_add(1)..).map(|(n, entry)| (*n, entry.clone())).collect();
        let Some(last) = entries.last().map(|(number, _)| *number) else { return };
        let outgoing = Outgoing { release: release.clone(), uid: stored.uid.clone(), entries };
        if self.outgoing.try_send(outgoing).is_ok() {
            offered.insert(stored.uid.clone(), last);
        }
    }

    /// Says that a source has problems on a commit, where its forge can show them.
    pub fn source_problem(&self, source: &SourceName, commit: &str, problem: &crate::model::desired::SourceProblem) {
        self.statuses.problem(source, commit, problem);
    }

    /// Removes a release's series.
    pub fn forget(&self, release: &ReleaseKey) {
        self.metrics.releases.remove(release);
        self.metrics.events.forget(release);
    }
}
