//! What goes into a source's loop besides bytes, and what comes out of it: the values that the wiring codes against.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::model::change::{CommitId, Revision};
use crate::model::declaration::ManifestFile;
use crate::model::desired::{Desired, Heads, SourceProblem};
use crate::model::name::{EnvironmentName, ServiceName, SourceName};

/// One declaration file, to be asked who it is.
#[derive(Debug, Clone)]
pub struct DeclareRequest {
    /// The source.
    pub source: SourceName,
    /// The file, relative to the repository's root.
    pub path: String,
    /// Its content, at most 1 MiB.
    pub bytes: Arc<[u8]>,
    /// Every environment that the source may claim: a file that names another one is refused.
    pub environments: Vec<EnvironmentName>,
}

/// Who a declaration file is and what it watches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Declared {
    /// The service.
    pub service: ServiceName,
    /// What it watches beside the folder that holds `.idp`: globs relative to the repository's root.
    pub paths: Vec<String>,
    /// Files of manifests that it is rendered from, which count too wherever they are: globs relative to the repository's root.
    pub manifests: Vec<String>,
    /// What of it does not count, beside `.idp/**` and `**/*.md`: globs relative to the repository's root.
    pub ignore: Vec<String>,
}

/// Why a declaration file is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// The service, if the file could at least say that.
    pub service: Option<ServiceName>,
    /// Everything that is wrong, for people.
    pub message: String,
}

/// One declaration file with all that its rendering needs.
#[derive(Debug, Clone)]
pub struct RenderRequest {
    /// The source.
    pub source: SourceName,
    /// The file, relative to the repository's root.
    pub path: String,
    /// Its content, at most 1 MiB.
    pub bytes: Arc<[u8]>,
    /// The files of manifests, in the order of their paths.
    pub manifests: Vec<ManifestFile>,
    /// The commit that brought this content: the oldest first-parent commit from which on neither the file nor what it watches moved.
    pub revision: Revision,
    /// The content id of the watched paths.
    pub watched_tree: String,
    /// The commits with the same watched content, oldest first, at least one and at most 20.
    pub candidates: Vec<CommitId>,
    /// The environments to answer for: those that follow this branch and that the source may claim.
    pub environments: Vec<EnvironmentName>,
    /// Every environment that the source may claim, for the parser: the others of them follow other branches.
    pub claimable: Vec<EnvironmentName>,
}

/// What a declaration asks for: one entry for each environment that it names. The error is a sentence for people.
pub type RenderAnswer = BTreeMap<EnvironmentName, Result<Desired, String>>;

/// Asks a declaration file who it is. Pure.
pub type Declare = Arc<dyn Fn(&DeclareRequest) -> Result<Declared, Refused> + Send + Sync>;
/// Renders a declaration file. Pure.
pub type Render = Arc<dyn Fn(&RenderRequest) -> RenderAnswer + Send + Sync>;

/// The two pure functions that the wiring composes of `declare` and `render`.
#[derive(Clone)]
pub struct Compose {
    /// Who a file is.
    pub declare: Declare,
    /// What it asks for.
    pub render: Render,
}

/// Why a source was looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Trigger {
    /// The daemon started.
    Start,
    /// The interval passed, or the wait after a failure.
    Poll,
    /// A local repository changed.
    Notify,
    /// A person asked.
    Asked,
    /// A webhook came.
    Webhook,
}

/// What one look cost.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LookStats {
    /// Requests that were sent; 0 for a local repository.
    pub requests: u64,
    /// Packs that were received; 0 for a local repository, which is read where it is.
    pub fetches: u64,
    /// Bytes of HTTP bodies that were received.
    pub bytes: u64,
    /// Declaration files that were rendered.
    pub rendered: u64,
    /// Tree entries and files that were read; bounded.
    pub entries: u64,
}

/// What one look at a source yields.
#[derive(Debug, Clone)]
pub struct SourceReport {
    /// The source.
    pub source: SourceName,
    /// The commit of the source's own branch; the last good one after a failed look.
    pub commit: Option<CommitId>,
    /// The releases whose answer differs from the last report, and all present problems. The first report has every release.
    pub heads: Heads,
    /// When the look ended.
    pub looked_at: Timestamp,
    /// Why it was looked.
    pub trigger: Trigger,
    /// What it cost.
    pub stats: LookStats,
    /// Whether every tracked branch was read; `false` with [`Heads::problems`] saying why.
    pub up: bool,
    /// The state to show and to store.
    pub status: SourceStatus,
    /// Whether `status` differs in more than `looked_at` from the last report: an idle look is not worth a write.
    pub status_changed: bool,
    /// How it is looked at from now on.
    pub pace: Option<Pace>,
}

/// How a source is looked at without a hint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pace {
    /// Seconds between two looks.
    pub interval_seconds: u64,
    /// Whether that is ten times slower than configured, because webhooks tell of the changes.
    pub slowed: bool,
    /// When the next look is due.
    pub next: Timestamp,
}

/// The state of a source for `idp status`; stored in the ConfigMap `idp-source-<name>`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceStatus {
    /// The source.
    pub source: SourceName,
    /// The repository's address, without credentials.
    pub repository: String,
    /// What is followed: a branch, or `tags FORM RANGE`, or `commit ID`.
    pub branch: String,
    /// The tag that was last taken, where tags are followed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tag: Option<String>,
    /// Its commit at the last good look.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub commit: Option<CommitId>,
    /// When it was last looked at.
    pub looked_at: Timestamp,
    /// When a tracked branch last moved, as this process saw it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub changed_at: Option<Timestamp>,
    /// The number of declaration files.
    pub files: usize,
    /// The number of releases that are declared.
    pub releases: usize,
    /// How many problems there are.
    #[serde(default)]
    pub problem_count: usize,
    /// What is wrong: the first 50, each cut to 1,000 characters; empty when all is well.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub problems: Vec<SourceProblem>,
}
