//! What the cluster has: compact views made from watch events and write responses. Absent and unknown are different answers.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::Timestamp;
use serde_json::Value;

use super::object::{Manifest, ObjectKey};

/// What is known about something in the cluster.
#[derive(Debug, Clone, Default, PartialEq)]
pub enum Known<T> {
    /// It was not read, or reading failed: nothing follows from it.
    #[default]
    Unknown,
    /// It is certainly not there.
    Absent,
    /// It is there.
    Present(T),
}

impl<T> Known<T> {
    /// Returns the value if it is there.
    pub fn present(&self) -> Option<&T> {
        match self {
            Self::Present(value) => Some(value),
            Self::Unknown | Self::Absent => None,
        }
    }
}

/// A live object, without `managedFields`.
#[derive(Debug, Clone, PartialEq)]
pub struct Live {
    /// The object's UID.
    pub uid: String,
    /// The version that was read; what a fenced write names.
    pub resource_version: String,
    /// Whether the manager `idp` has applied it (from `managedFields`, before they were dropped).
    pub managed: bool,
    /// Whether somebody beside the manager `idp` owns `spec.replicas` (`idp-rollout`, an autoscaler, a person): until then, an apply by
    /// `idp` without the field would reset it.
    pub scaled: bool,
    /// The whole object as JSON, `managedFields` dropped.
    pub object: Arc<Value>,
}

impl Live {
    /// Tells whether its deletion has begun.
    pub fn is_deleting(&self) -> bool {
        self.object.pointer("/metadata/deletionTimestamp").is_some()
    }
}

/// A ReplicaSet, as far as a rollout needs it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReplicaSetView {
    /// Its UID: what its pods name as their owner.
    pub uid: String,
    /// The UID of its Deployment.
    pub owner: String,
    /// The name.
    pub name: String,
    /// `deployment.kubernetes.io/revision`; the Deployment's own tells which ReplicaSet is its newest.
    pub revision: u64,
    /// `spec.replicas`.
    pub replicas: u32,
}

/// Why a container is not running, or last stopped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stopped {
    /// `CrashLoopBackOff`, `OOMKilled`, `Error`, `ImagePullBackOff`, `CreateContainerConfigError`, …
    pub reason: String,
    /// The message, at most 300 characters: of what waits the first, of what ended the last.
    pub message: String,
    /// The exit code, where the container ran.
    pub exit_code: Option<i32>,
}

/// Why a pod is disrupted that somebody deleted.
pub const DELETED: &str = "Deleted";

/// A pod, as far as gates need it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PodView {
    /// The name.
    pub name: String,
    /// The UID.
    pub uid: String,
    /// The UID of the owning ReplicaSet, StatefulSet, DaemonSet or Job; empty without one.
    pub owner: String,
    /// Which template it has: the label `idp.dev/template`, which the pods of a DaemonSet carry, else `controller-revision-hash`, by which
    /// those of a StatefulSet are told apart; empty without one.
    pub revision: String,
    /// The node that it runs on, or shall run on; empty before it has one.
    pub node: String,
    /// The label `idp.dev/track`: `stable` or `canary`.
    pub track: String,
    /// The address, once there is one.
    pub ip: Option<String>,
    /// When it was created.
    pub created_at: Timestamp,
    /// Condition Ready, since when.
    pub ready_since: Option<Timestamp>,
    /// Whether every container has started at least once.
    pub started: bool,
    /// The highest restart count of its containers.
    pub restarts: u32,
    /// The waiting reason of a container that does not run.
    pub waiting: Option<Stopped>,
    /// The last termination of a container.
    pub terminated: Option<Stopped>,
    /// `PodScheduled` is False: the scheduler's message.
    pub unschedulable: Option<String>,
    /// Deleted, evicted, preempted, its node gone: not evidence against the version. The reason.
    pub disrupted: Option<String>,
    /// Its phase is Failed or Succeeded: it never runs again, and counts for nobody, however long its object is left lying.
    pub ended: bool,
    /// `metadata.deletionTimestamp` is set.
    pub deleting: bool,
    /// The `imageID` of the first container, once known.
    pub image_id: Option<String>,
}

impl PodView {
    /// Tells whether it is not ready by its own doing: its program has ended before. Nobody can say when such a pod will be ready.
    pub fn is_broken(&self) -> bool {
        self.ready_since.is_none() && self.restarts > 0 && self.disrupted.is_none()
    }

    /// Returns why it does not run, where that is known: one clause.
    pub fn why_not_running(&self) -> Option<String> {
        let waiting =
            || self.waiting.as_ref().map(|stopped| format!("{}: {}", stopped.reason, stopped.message));
        self.unschedulable.clone().or_else(waiting)
    }

    /// Tells whether it is not ready since its node does not answer or sends it away; a pod that somebody deleted is not among them.
    pub fn is_away(&self) -> bool {
        self.ready_since.is_none() && self.disrupted.as_deref().is_some_and(|why| why != DELETED)
    }
}

/// The objects of one version, as kept in its revision Secret.
#[derive(Debug, Clone, PartialEq)]
pub struct RevisionBody {
    /// The rollout that brought the version.
    pub rollout: u64,
    /// The version itself.
    pub version: super::rollout::Version,
    /// How the Secret is marked.
    pub mark: super::rollout::Mark,
    /// The objects, image pinned.
    pub objects: Arc<Vec<Manifest>>,
}

/// What a pass sees of other people's routes.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Routes {
    /// The kinds that the server has and lets us read, as `apiVersion` and kind.
    pub served: BTreeSet<(String, String)>,
    /// The routes of the release's namespace that mention its Service, and those that were asked for by name.
    pub objects: BTreeMap<ObjectKey, Known<Live>>,
}

impl Routes {
    /// Tells whether the server has a kind of this group and lets us read it.
    pub fn serves(&self, group: &str, kind: &str) -> bool {
        self.version(group, kind).is_some()
    }

    /// Returns the `apiVersion` that a kind of this group is read by.
    pub fn version(&self, group: &str, kind: &str) -> Option<&str> {
        let of_group = |version: &str| version.split_once('/').is_some_and(|(found, _)| found == group);
        let mut served = self.served.iter();
        served.find(|(version, name)| name == kind && of_group(version)).map(|(version, _)| version.as_str())
    }

    /// Returns what is known of a route; what was not looked for is unknown.
    pub fn object(&self, key: &ObjectKey) -> &Known<Live> {
        self.objects.get(key).unwrap_or(&Known::Unknown)
    }
}

/// Everything that a pass sees of the cluster for one release.
#[derive(Debug, Clone, Default)]
pub struct Observed {
    /// Whether the namespace is there (and not terminating).
    pub namespace: Known<()>,
    /// Every object of the inventory, of the head and of the release's labels that was looked for.
    pub objects: BTreeMap<ObjectKey, Known<Live>>,
    /// ReplicaSets with the release's labels.
    pub replica_sets: Vec<ReplicaSetView>,
    /// Pods of this release, those of its Jobs among them.
    pub pods: Vec<PodView>,
    /// The kept revisions, by rollout number.
    pub revisions: BTreeMap<u64, Known<RevisionBody>>,
    /// Other people's routes.
    pub routes: Routes,
    /// What the last pass's writes were refused with, by object (quota, admission, rights): one sentence each.
    pub refusals: BTreeMap<ObjectKey, String>,
}

impl Observed {
    /// Returns what is known of an object; what was not looked for is unknown.
    pub fn object(&self, key: &ObjectKey) -> &Known<Live> {
        self.objects.get(key).unwrap_or(&Known::Unknown)
    }
}
