//! What a pass asks of the cluster: writes as values, each idempotent, each fenced where something exists already.

use serde_json::Value;

use super::object::{Fence, Manifest, ObjectKey};
use super::rollout::{Mark, Version};

/// One write.
#[derive(Debug, Clone, PartialEq)]
pub enum Write {
    /// Server-side apply by `idp`. Without a fence the object is created; a workload's body then carries `spec.replicas: 0`.
    Apply {
        /// The object, annotations included.
        manifest: Box<Manifest>,
        /// What was read; `None`: it is certainly not there.
        fence: Option<Fence>,
    },
    /// Server-side apply of `spec.replicas` alone by `idp-rollout`, forced.
    Scale {
        /// The workload.
        key: ObjectKey,
        /// The pods wanted.
        replicas: u32,
        /// What was read.
        fence: Fence,
    },
    /// Replicas of a workload that somebody else scales, once, through its scale subresource: it changes nobody's fields.
    Raise {
        /// The workload.
        key: ObjectKey,
        /// The pods wanted.
        replicas: u32,
        /// What was read.
        fence: Fence,
    },
    /// Server-side apply of `spec.suspend: false` alone by `idp-rollout`, forced: a Job that was made suspended begins.
    Start {
        /// The Job.
        key: ObjectKey,
        /// What was read.
        fence: Fence,
    },
    /// JSON patch by `idp-rollout` of a team's own route.
    Route {
        /// The route.
        key: ObjectKey,
        /// The operations, never empty.
        patch: Vec<Value>,
        /// What was read.
        fence: Fence,
    },
    /// Delete by UID.
    Delete {
        /// The object.
        key: ObjectKey,
        /// Its UID in the inventory.
        uid: String,
    },
    /// Delete a pod of the release's workload by UID, so that its controller makes it anew from the template of the day.
    ReplacePod {
        /// The pod.
        key: ObjectKey,
        /// Its UID.
        uid: String,
    },
    /// Create or replace a revision Secret.
    SaveRevision {
        /// The rollout's number.
        rollout: u64,
        /// The version.
        version: Box<Version>,
        /// How it is marked.
        mark: Mark,
        /// Its objects, image pinned.
        objects: Vec<Manifest>,
    },
    /// Mark a revision Secret.
    MarkRevision {
        /// The rollout's number.
        rollout: u64,
        /// The mark.
        mark: Mark,
    },
    /// Delete a revision Secret that nothing needs any more.
    DropRevision {
        /// The rollout's number.
        rollout: u64,
    },
}

impl Write {
    /// Returns a short name for logs and metrics.
    pub fn verb(&self) -> &'static str {
        match self {
            Self::Apply { .. } => "apply",
            Self::Scale { .. } => "scale",
            Self::Raise { .. } => "raise",
            Self::Start { .. } => "start",
            Self::Route { .. } => "route",
            Self::Delete { .. } => "delete",
            Self::ReplacePod { .. } => "replace_pod",
            Self::SaveRevision { .. } => "save_revision",
            Self::MarkRevision { .. } => "mark_revision",
            Self::DropRevision { .. } => "drop_revision",
        }
    }
}
