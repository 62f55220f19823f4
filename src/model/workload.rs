//! The kinds of workload that a rollout can act on.

use serde::{Deserialize, Serialize};

use super::object::ObjectKey;

/// What a release's pods belong to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum WorkloadKind {
    /// Interchangeable pods; a candidate can have a Deployment of its own beside.
    #[default]
    Deployment,
    /// Pods with names and storage of their own, replaced from the highest number down to a partition.
    StatefulSet,
    /// One pod on every node that fits; the nodes say how many.
    DaemonSet,
}

impl WorkloadKind {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Deployment, Self::StatefulSet, Self::DaemonSet];

    /// Returns the kind as Kubernetes names it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Deployment => "Deployment",
            Self::StatefulSet => "StatefulSet",
            Self::DaemonSet => "DaemonSet",
        }
    }

    /// Tells whether it has `spec.replicas`.
    pub fn has_replicas(self) -> bool {
        self != Self::DaemonSet
    }

    /// Returns the kind of this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }

    /// Returns the kind of an object; one that is none of these counts as a Deployment.
    pub fn of(key: &ObjectKey) -> Self {
        Self::named(&key.kind).unwrap_or_default()
    }

    /// Tells whether it is the default, for records of versions that knew no other.
    pub fn is_deployment(&self) -> bool {
        *self == Self::Deployment
    }
}
