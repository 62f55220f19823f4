//! What one `.idp/deploy.yaml` says for one environment, checked and with its overlays applied.
//!
//! What a version's identity is made of is kept as the team wrote it: a value that the file does not name is `None` here and becomes the
//! platform's default when it is rendered, so that a change of a default is never a new version.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::autoscale::Autoscale;
use super::desired::Mode;
use super::image::Digest;
use super::name::{EnvironmentName, ServiceName, TeamName};
use super::policy::{CheckKind, Policy};
use super::schedule::Schedule;
use super::workload::WorkloadKind;

/// The port that pods serve on where the file names none.
pub const DEFAULT_PORT: u16 = 8080;
/// The pods wanted where the file names no number.
pub const DEFAULT_REPLICAS: u32 = 2;
/// The tag where the file names none.
pub const DEFAULT_TAG: &str = "{{commit.sha}}";

/// What one file declares for one environment.
#[derive(Debug, Clone, PartialEq)]
pub struct Declaration {
    /// The service.
    pub service: ServiceInfo,
    /// The environment.
    pub environment: EnvironmentName,
    /// Which image.
    pub image: ImageSource,
    /// What runs.
    pub workload: Workload,
    /// Objects that the team writes itself; `workload` is then empty.
    pub source: Option<Manifests>,
    /// The service is a job: how long a run may take, and how often it is tried. `None`: it serves. Belongs to no version.
    pub run: Option<RunLimits>,
    /// The service is a cron: when its job runs again. Belongs to no version.
    pub cron: Option<Cron>,
    /// The pods wanted, 0 to 10,000, of a job 0; with an autoscaler those that it begins with. Belongs to no version. With `source` its
    /// target says how many.
    pub replicas: u32,
    /// Who scales them; belongs to no version.
    pub autoscale: Option<Autoscale>,
    /// Apply or observe.
    pub mode: Mode,
    /// `false`: a new version is shown and not started by itself.
    pub auto_deploy: bool,
    /// How a new version is rolled out.
    pub policy: Policy,
}

/// Objects that a team writes itself.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each tells of a key whether it stands in the file")]
pub struct Manifests {
    /// Globs of the files, from the repository's root.
    pub globs: Vec<String>,
    /// The workload that rollouts act on; `None`: the only one.
    pub target: Option<Target>,
    /// A health check is declared.
    pub checked: bool,
    /// The health check names a port.
    pub check_port: bool,
    /// `max_surge` is declared.
    pub surge: bool,
    /// `max_unavailable` is declared.
    pub unavailable: bool,
}

/// A workload among a team's own objects.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// What it is.
    pub kind: WorkloadKind,
    /// Its name.
    pub name: String,
}

/// A file of a repository that holds manifests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ManifestFile {
    /// Its path from the repository's root.
    pub path: String,
    /// Its content.
    pub bytes: Arc<[u8]>,
}

/// When a job runs by itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cron {
    /// The times, on the clock of the zone.
    pub schedule: Schedule,
    /// The zone, by its IANA name; `None`: that of the cluster's controllers.
    pub timezone: Option<String>,
    /// What becomes of a run whose time comes while the one before still runs.
    pub concurrency: Concurrency,
}

/// What becomes of a run whose time comes while the one before still runs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Concurrency {
    /// It is left out.
    #[default]
    Forbid,
    /// Both run.
    Allow,
    /// The one before is ended.
    Replace,
}

impl Concurrency {
    /// Returns the name as Kubernetes writes it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Forbid => "Forbid",
            Self::Allow => "Allow",
            Self::Replace => "Replace",
        }
    }
}

/// How a job runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RunLimits {
    /// From its start to its end, all tries together, 1s to 7d.
    pub timeout: Duration,
    /// How often a failed pod is replaced by another, 0 to 10.
    pub retries: u32,
}

/// What is said about the service itself; none of it is part of a version.
#[derive(Debug, Clone, PartialEq)]
pub struct ServiceInfo {
    /// The name: base name of the objects.
    pub name: ServiceName,
    /// The owner.
    pub team: TeamName,
    /// How mature it is.
    pub lifecycle: Lifecycle,
    /// How much depends on it.
    pub tier: Tier,
    /// Labels of the objects, not of the pods, beside the platform's own.
    pub labels: BTreeMap<String, String>,
    /// Annotations of the objects, not of the pods, beside the platform's own.
    pub annotations: BTreeMap<String, String>,
}

/// How mature a service is; a label on its objects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lifecycle {
    /// May vanish.
    Experimental,
    /// Serves.
    Production,
    /// Goes away.
    Deprecated,
}

impl Lifecycle {
    /// Returns the word.
    pub fn name(self) -> &'static str {
        match self {
            Self::Experimental => "experimental",
            Self::Production => "production",
            Self::Deprecated => "deprecated",
        }
    }
}

/// How much depends on a service; decides some defaults.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tier {
    /// A step with low traffic is held by default, not passed.
    Critical,
    /// The default.
    Standard,
    /// Nothing depends on it.
    BestEffort,
}

impl Tier {
    /// Returns the word.
    pub fn name(self) -> &'static str {
        match self {
            Self::Critical => "critical",
            Self::Standard => "standard",
            Self::BestEffort => "best_effort",
        }
    }
}

/// Which image, as written. Templates are still in it.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ImageSource {
    /// The repository with its registry; `None`: the platform's template.
    pub repository: Option<String>,
    /// The tag; `None`: [`DEFAULT_TAG`].
    pub tag: Option<String>,
    /// Exactly this manifest. Excludes the tag.
    pub digest: Option<Digest>,
}

impl ImageSource {
    /// Returns the tag to look for, with its templates.
    pub fn tag(&self) -> &str {
        self.tag.as_deref().unwrap_or(DEFAULT_TAG)
    }
}

/// What runs in a pod, as written. Templates are still in it.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Workload {
    /// The port that pods serve on; `None`: [`DEFAULT_PORT`].
    pub port: Option<u16>,
    /// Requested CPU, in Kubernetes' canonical form.
    pub cpu: Option<String>,
    /// Requested memory, in Kubernetes' canonical form.
    pub memory: Option<String>,
    /// The CPU limit, in Kubernetes' canonical form; `None`: unlimited.
    pub cpu_limit: Option<String>,
    /// The memory limit, in Kubernetes' canonical form; `None`: as requested.
    pub memory_limit: Option<String>,
    /// Instead of the image's entry point.
    pub command: Option<Vec<String>>,
    /// Instead of the image's arguments.
    pub args: Option<Vec<String>>,
    /// Environment variables.
    pub env: BTreeMap<String, String>,
    /// Files by absolute path.
    pub files: BTreeMap<String, String>,
    /// Who the process is; `None`: the platform's user.
    pub run_as: Option<RunAs>,
    /// How long a pod may take to stop, whole seconds; `None`: the platform's default.
    pub termination_grace: Option<Duration>,
    /// What kubelet asks; `None`: a TCP connection on the port.
    pub probe: Option<Probe>,
}

impl Workload {
    /// Returns the port that pods serve on.
    pub fn port(&self) -> u16 {
        self.port.unwrap_or(DEFAULT_PORT)
    }
}

/// Who a container's process is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RunAs {
    /// This user, 1 to 2^31-1.
    Uid(u32),
    /// Whoever the image says, as long as it is a number and not 0: pods are *restricted*.
    Image,
}

/// What kubelet asks of a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Probe {
    /// The question. Accepted statuses are kubelet's own (200–399), whatever the health check accepts.
    pub kind: CheckKind,
    /// The port; `None`: the workload's.
    pub port: Option<u16>,
}
