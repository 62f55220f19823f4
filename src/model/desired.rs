//! What a resolved commit asks for, per release: the value that the source loop leaves for the pass.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use super::autoscale::Autoscale;
use super::change::{Changes, Revision};
use super::image::ImageRequest;
use super::name::{Namespace, ReleaseKey, SourceName, TeamName};
use super::object::Manifest;
use super::policy::Policy;

/// The identity of a version: a hash of what ends in a pod as the team wrote it, with a format number in front (`1-3f…`). Two
/// commits with equal identities are the same version.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Identity(pub String);

impl Identity {
    /// Returns the format number and ten digits, for people.
    pub fn short(&self) -> &str {
        self.0.get(..12).unwrap_or(&self.0)
    }
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Whether the daemon acts on a release.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// Differences are applied.
    Apply,
    /// Differences are reported; nothing but the `Release` and its events is written.
    Observe,
}

/// What one commit declares for one release.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Desired {
    /// The release.
    pub release: ReleaseKey,
    /// Where it runs.
    pub namespace: Namespace,
    /// The owning team.
    pub team: TeamName,
    /// The source that declared it.
    pub source: SourceName,
    /// The commit.
    pub revision: Revision,
    /// The newest commits that changed what the service watches, or its declaration.
    #[serde(default, skip_serializing_if = "Changes::is_empty")]
    pub changes: Changes,
    /// The identity of the version that the commit asks for.
    pub identity: Identity,
    /// Hash of the renderer's version, the platform's defaults and the profile.
    pub platform: String,
    /// The image to resolve.
    pub image: ImageRequest,
    /// Apply or observe.
    pub mode: Mode,
    /// `false`: a new version is shown and not started by itself.
    pub auto_deploy: bool,
    /// The pods wanted, 0 to 10,000; with an autoscaler those that it begins with. Belongs to no version.
    pub replicas: u32,
    /// The autoscaler's bounds. Belong to no version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub autoscale: Option<Autoscale>,
    /// How a new version is rolled out.
    pub policy: Policy,
    /// The port that the pods serve on, and where their metrics are.
    pub port: u16,
    /// The objects in the order of their application, with [`super::IMAGE_PLACEHOLDER`] where the image goes.
    pub objects: Vec<Manifest>,
}

/// What the source loop knows about a release now.
#[derive(Debug, Clone, PartialEq)]
pub enum Head {
    /// The newest commit declares this.
    Known(Box<Desired>),
    /// The newest look failed or does not parse; this is the last good answer. Nothing new starts, nothing is pruned.
    KeepLast {
        /// The last good answer.
        desired: Box<Desired>,
        /// Why it is not newer, one sentence.
        reason: String,
    },
    /// Nothing is known since this process started. Nothing new starts, nothing is pruned; all else goes on.
    None {
        /// Why, one sentence.
        reason: String,
        /// Whether its source was looked at: it does not declare it, or not so that it can be understood.
        looked: bool,
    },
}

impl Head {
    /// Returns the desired state, fresh or kept.
    pub fn desired(&self) -> Option<&Desired> {
        match self {
            Self::Known(desired) | Self::KeepLast { desired, .. } => Some(desired),
            Self::None { .. } => None,
        }
    }
}

/// Everything that one look at a source yields.
#[derive(Debug, Clone, Default)]
pub struct Heads {
    /// One entry a release that the source declares or declared.
    pub releases: BTreeMap<ReleaseKey, HeadUpdate>,
    /// What is wrong with the source itself or with files that cannot name their service; empty when all is well.
    pub problems: Vec<SourceProblem>,
}

/// What became of one release in one look.
#[derive(Debug, Clone)]
pub enum HeadUpdate {
    /// Rendered from the looked-at commit.
    Known(Box<Desired>),
    /// The last good answer stays; the reason is one sentence, diagnostics after it.
    Keep {
        /// Why.
        reason: String,
    },
}

/// A fault of a source, or of a file in it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceProblem {
    /// The file, relative to the repository's root; `None` for the source itself.
    pub path: Option<String>,
    /// The commit that was looked at, where one was resolved.
    pub commit: Option<String>,
    /// The sentence for people: what, where, why and how to mend.
    pub message: String,
}
