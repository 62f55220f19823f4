//! What a pass tells the world once its record is stored: log, metrics, Kubernetes event, broker, forge. Nothing here waits: what
//! does not fit now is offered again by a later pass, or was never promised.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::mpsc;

use crate::cluster::home::Announcer;
use crate::cluster::record::Stored;
use crate::event::announce::announce;
use crate::event::catalogue::EventSource;
use crate::event::publisher::{self, Outgoing};
use crate::model::desired::SourceProblem;
use crate::model::name::{Namespace, ReleaseKey, SourceName};
use crate::model::record::Record;
use crate::model::transition::Transition;
use crate::reconcile::statuses::Statuses;
use crate::telemetry::metrics::Metrics;

/// The ways out; one for the daemon.
pub struct Reporter {
    metrics: Arc<Metrics>,
    cluster: String,
    outgoing: mpsc::Sender<Outgoing>,
    announcer: Announcer,
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
        announcer: Announcer,
        statuses: Statuses,
    ) -> Self {
        Self { metrics, cluster, outgoing, announcer, statuses, offered: Mutex::default() }
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
            self.announcer.announce(namespace.as_str(), body);
        }
        self.metrics.releases.record(release, record);
        self.metrics.events.outbox(release, record);
        self.offer(release, stored, transitions.is_empty());
        self.statuses.tell(release, record);
    }

    /// Hands the publisher a stored outbox if it holds what was not handed over, or was and is not acknowledged for a while.
    fn offer(&self, release: &ReleaseKey, stored: &Stored, again: bool) {
        let Some(record) = stored.record().filter(|record| !record.outbox.is_empty()) else { return };
        let mut offered = self.offered.lock().unwrap_or_else(PoisonError::into_inner);
        let known = offered.get(&stored.uid).copied().unwrap_or_default();
        if known >= record.sequence && !again {
            return;
        }
        let entries = record.outbox.iter().map(|(number, entry)| (*number, entry.clone())).collect();
        let outgoing = Outgoing { release: release.clone(), uid: stored.uid.clone(), entries };
        if publisher::offer(&self.outgoing, outgoing) {
            offered.insert(stored.uid.clone(), record.sequence);
        }
    }

    /// Says what is wrong in a source's commits, where its forge can show it.
    pub fn source_problems(&self, source: &SourceName, problems: &[SourceProblem]) {
        self.statuses.problems(source, problems);
    }

    /// Returns the sender of Kubernetes events.
    pub fn announcer(&self) -> &Announcer {
        &self.announcer
    }

    /// Removes a release's series.
    pub fn forget(&self, release: &ReleaseKey) {
        self.metrics.releases.remove(release);
        self.metrics.events.forget(release);
    }
}
