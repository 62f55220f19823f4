//! Leadership by one Lease, `idpd-<cluster>` in the home namespace, and the fencing epoch that comes with it.
//!
//! No wall clock is compared with another machine's: a candidate watches whether the holder's entry *changes* and measures by its own
//! monotonic clock how long it did not; the holder counts its own validity from before it sent the renewal. A lease alone is no
//! fence (a paused holder does not know that it was paused), so every write carries what it read, and every record the epoch.

use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout_at};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::Instrument;

use super::calls::{Calls, Place};
use super::error::ApiError;
use super::raw::{Raw, resource};
use super::record::{self, RecordError};
use crate::model::name::Namespace;
use crate::model::{ANNOTATION_EPOCH, LABEL_MANAGED_BY, MANAGER};

/// How a process stands for election.
#[derive(Debug, Clone)]
pub struct LeaseOptions {
    /// The home namespace.
    pub namespace: Namespace,
    /// The cluster's name: the Lease is `idpd-<cluster>`.
    pub cluster: String,
    /// Who this process is: never the same for two processes, so a random part belongs in it.
    pub identity: String,
    /// Where other processes reach this one; empty if nowhere.
    pub address: String,
    /// How long the others wait after the holder's last sign of life.
    pub duration: Duration,
    /// How often the holder renews; the holder stops acting so long before the others may begin.
    pub renew: Duration,
}

impl LeaseOptions {
    /// Returns options with a duration of 15 s, renewed every 5 s.
    pub fn new(namespace: Namespace, cluster: &str, identity: String) -> Self {
        Self {
            namespace,
            cluster: cluster.to_owned(),
            identity,
            address: String::new(),
            duration: Duration::from_secs(15),
            renew: Duration::from_secs(5),
        }
    }

    /// How long a renewal is good for, from before it was sent.
    fn validity(&self) -> Duration {
        self.duration.saturating_sub(self.renew).max(self.renew)
    }

    /// How often a candidate looks, and a holder tries again after a failure.
    fn retry(&self) -> Duration {
        self.renew / 2
    }
}

/// A term of leadership.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Held {
    /// Higher than any epoch before.
    pub epoch: u64,
    /// Until when it is good, unless it is renewed.
    pub until: Instant,
}

/// Whether this process leads.
#[derive(Debug, Clone)]
pub struct Leadership {
    held: watch::Receiver<Option<Held>>,
}

impl Leadership {
    /// Returns the epoch if this process leads now. It asks the clock: after a pause of the whole process this is right before any
    /// task had a chance to notice.
    pub fn epoch(&self) -> Option<u64> {
        self.held.borrow().filter(|held| Instant::now() < held.until).map(|held| held.epoch)
    }

    /// Waits until leadership began, was renewed or ended. Returns false once the election is over for this process.
    pub async fn changed(&mut self) -> bool {
        self.held.changed().await.is_ok()
    }
}

/// Begins to stand for election; with `shutdown` a held lease is given back so that another process need not wait. Whoever leads stands
/// anew once `newer` shows a higher epoch than its own: another leads, or a record came from a backup, and then no term below it is heard.
pub fn spawn(
    calls: Calls,
    options: LeaseOptions,
    newer: watch::Receiver<u64>,
    tasks: &TaskTracker,
    shutdown: &CancellationToken,
) -> Leadership {
    let (sender, held) = watch::channel(None);
    let elector = Elector { calls, options, held: sender, lease: None, seen: None, newer };
    let span = tracing::info_span!("lease", identity = %elector.options.identity);
    tasks.spawn(elector.run(shutdown.clone()).instrument(span));
    Leadership { held }
}

/// Why a step of the election failed.
#[derive(Debug, thiserror::Error)]
enum LeaseError {
    #[error("the lease could not be read or written")]
    Api(#[from] ApiError),
    #[error("the highest epoch of the records could not be read")]
    Records(#[from] RecordError),
}

struct Elector {
    calls: Calls,
    options: LeaseOptions,
    held: watch::Sender<Option<Held>>,
    /// The Lease as it was last read or written.
    lease: Option<Raw>,
    /// Another holder's entry, and since when it has not changed.
    seen: Option<(Value, Instant)>,
    /// The highest epoch that a record was found with.
    newer: watch::Receiver<u64>,
}

impl Elector {
    async fn run(mut self, shutdown: CancellationToken) {
        while shutdown.run_until_cancelled(self.step()).await.is_some() {}
        if self.held.send_replace(None).is_some() {
            self.release().await;
        }
    }

    async fn step(&mut self) {
        let held = *self.held.borrow();
        match held {
            Some(held) => self.keep(held).await,
            None => match self.stand().await {
                Ok(Some(held)) => {
                    tracing::info!(epoch = held.epoch, "leading");
                    self.held.send_replace(Some(held));
                }
                Ok(None) => sleep(self.options.retry()).await,
                Err(error) => {
                    tracing::warn!(error = &error as &dyn std::error::Error, "cannot stand for election");
                    sleep(self.options.retry()).await;
                }
            },
        }
    }

    /// Looks at the Lease once and takes it if it is free, given back, or its holder has shown no life for its duration.
    async fn stand(&mut self) -> Result<Option<Held>, LeaseError> {
        let lease = self.read().await?;
        if let Some(lease) = &lease
            && self.is_held_by_another(lease)
        {
            return Ok(None);
        }
        let recorded = record::highest_epoch(&self.calls).await?;
        let epoch = lease.as_ref().map_or(0, epoch_of).max(recorded).saturating_add(1);
        let begin = Instant::now();
        let body = self.body(lease.as_ref(), &self.options.identity, Some(epoch));
        let written = match lease {
            Some(_) => self.write(body).await,
            None => self.create(body).await,
        };
        match written {
            Ok(()) => Ok(Some(Held { epoch, until: begin + self.options.validity() })),
            // Another candidate was faster.
            Err(ApiError::Conflict { .. }) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    fn is_held_by_another(&mut self, lease: &Raw) -> bool {
        let spec = lease.value().get("spec").cloned().unwrap_or_default();
        let holder = spec.get("holderIdentity").and_then(Value::as_str).unwrap_or_default();
        if holder.is_empty() || holder == self.options.identity {
            return false;
        }
        let seconds = spec.get("leaseDurationSeconds").and_then(Value::as_u64).unwrap_or_default();
        let duration = Duration::from_secs(seconds.min(3600)).max(self.options.duration);
        match &self.seen {
            Some((seen, since)) if *seen == spec => since.elapsed() < duration,
            _ => {
                self.seen = Some((spec, Instant::now()));
                true
            }
        }
    }

    /// Sleeps until the next renewal and renews; leadership ends when no renewal was confirmed in time.
    async fn keep(&mut self, held: Held) {
        tokio::select! {
            () = outbid(&mut self.newer, held.epoch) => return self.lost("a record is of a newer term"),
            () = sleep(self.options.renew) => {}
        }
        let mut last = None;
        while Instant::now() < held.until {
            let begin = Instant::now();
            match timeout_at(held.until, self.renew()).await {
                Ok(Ok(true)) => {
                    self.held.send_replace(Some(Held { until: begin + self.options.validity(), ..held }));
                    return;
                }
                Ok(Ok(false)) => return self.lost("another process holds the lease"),
                Ok(Err(error)) => last = Some(error),
                Err(_) => break,
            }
            let next = Instant::now() + self.options.retry();
            tokio::time::sleep_until(next.min(held.until)).await;
        }
        if let Some(error) = last {
            tracing::warn!(%error, "the lease could not be renewed");
        }
        self.lost("no renewal was confirmed in time");
    }

    fn lost(&mut self, reason: &str) {
        tracing::warn!(%reason, "no longer leading");
        self.seen = None;
        self.held.send_replace(None);
    }

    /// Renews once. Returns false if another process holds the lease.
    async fn renew(&mut self) -> Result<bool, ApiError> {
        let body = self.body(self.lease.as_ref(), &self.options.identity, None);
        match self.write(body).await {
            Ok(()) => return Ok(true),
            Err(ApiError::Conflict { .. } | ApiError::NotFound(_)) => {}
            Err(error) => return Err(error),
        }
        // An unanswered renewal of ours, or somebody's label: the entry is ours as long as its holder is.
        let lease = self.read().await?;
        let holder = lease.as_ref().and_then(|lease| lease.value().pointer("/spec/holderIdentity")?.as_str());
        if holder != Some(self.options.identity.as_str()) {
            return Ok(false);
        }
        let body = self.body(self.lease.as_ref(), &self.options.identity, None);
        match self.write(body).await {
            Ok(()) => Ok(true),
            Err(error) => Err(error),
        }
    }

    async fn release(&mut self) {
        let body = self.body(self.lease.as_ref(), "", None);
        let until = Instant::now() + self.options.renew;
        match timeout_at(until, self.write(body)).await {
            Ok(Ok(())) => tracing::info!("the lease is given back"),
            Ok(Err(error)) => tracing::warn!(%error, "the lease could not be given back and runs out"),
            Err(_) => tracing::warn!("the lease could not be given back in time and runs out"),
        }
    }

    /// Returns the Lease's body over what was last read; a new term also counts the transition.
    fn body(&self, over: Option<&Raw>, holder: &str, epoch: Option<u64>) -> Value {
        let now = micros(wall());
        let epoch_now = epoch.unwrap_or_else(|| over.map_or(0, epoch_of));
        let before = over.and_then(|lease| lease.value().pointer("/spec/acquireTime"));
        let acquired =
            before.filter(|_| epoch.is_none()).cloned().unwrap_or_else(|| Value::from(now.as_str()));
        let spec = json!({
            "holderIdentity": holder, "acquireTime": acquired, "renewTime": now,
            "leaseDurationSeconds": self.options.duration.as_secs().max(1),
            "leaseTransitions": i32::try_from(epoch_now).unwrap_or(i32::MAX),
        });
        // A body for a create names no version: there is nothing that it could be over.
        let (uid, version) = (over.map(Raw::uid), over.map(Raw::resource_version));
        let metadata = json!({
            "name": self.name(), "namespace": self.options.namespace, "uid": uid, "resourceVersion": version,
            "labels": {LABEL_MANAGED_BY: MANAGER},
            "annotations": {ANNOTATION_EPOCH: epoch_now.to_string(), "idp.dev/address": self.options.address},
        });
        json!({"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": metadata, "spec": spec})
    }

    fn name(&self) -> String {
        format!("idpd-{}", self.options.cluster)
    }

    async fn read(&mut self) -> Result<Option<Raw>, ApiError> {
        let (resource, name) = (resource("coordination.k8s.io/v1", "Lease"), self.name());
        let place = Place { resource: &resource, namespace: self.options.namespace.as_str(), name: &name };
        self.lease = self.calls.get(&place).await?;
        Ok(self.lease.clone())
    }

    async fn create(&mut self, body: Value) -> Result<(), ApiError> {
        let (resource, name) = (resource("coordination.k8s.io/v1", "Lease"), self.name());
        let place = Place { resource: &resource, namespace: self.options.namespace.as_str(), name: &name };
        self.lease = Some(self.calls.create(&place, body).await?);
        Ok(())
    }

    async fn write(&mut self, body: Value) -> Result<(), ApiError> {
        let (resource, name) = (resource("coordination.k8s.io/v1", "Lease"), self.name());
        let place = Place { resource: &resource, namespace: self.options.namespace.as_str(), name: &name };
        self.lease = Some(self.calls.replace(&place, body).await?);
        Ok(())
    }
}

/// Waits until an epoch above this one is seen.
async fn outbid(newer: &mut watch::Receiver<u64>, epoch: u64) {
    if newer.wait_for(|seen| *seen > epoch).await.is_err() {
        std::future::pending::<()>().await;
    }
}

/// The annotation holds the whole number; `leaseTransitions` has 31 bits of it, and people can read it.
fn epoch_of(lease: &Raw) -> u64 {
    let value = lease.value();
    let annotation =
        value.pointer("/metadata/annotations").and_then(|all| all.get(ANNOTATION_EPOCH)?.as_str());
    let transitions = value.pointer("/spec/leaseTransitions").and_then(Value::as_u64).unwrap_or_default();
    annotation.and_then(|text| text.parse::<u64>().ok()).unwrap_or_default().max(transitions)
}

/// The room's only look at the wall clock, for people who read the Lease; nothing is computed from it.
#[allow(clippy::disallowed_methods)] // The one place.
fn wall() -> Timestamp {
    Timestamp::now()
}

/// `metav1.MicroTime`: exactly six digits.
fn micros(at: Timestamp) -> String {
    at.strftime("%Y-%m-%dT%H:%M:%S%.6fZ").to_string()
}
