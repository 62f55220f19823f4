//! The validated configuration: what every other room reads. Nothing here can hold nonsense, and nothing prints a secret.

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use globset::GlobSet;
use http::HeaderName;
use url::Url;

use super::access::{Access, Route, SharedProof, SshUrl};
use super::follow::Follow;
use super::network::Network;
use super::prometheus::Prometheus;
use super::secret::SecretRef;
use super::template::{ImageTemplate, NamespaceTemplate};
use crate::model::name::{EnvironmentName, Namespace, ServiceName, SourceName};

/// Everything that `idpd` is told.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where webhooks, metrics and health are served.
    pub listen: SocketAddr,
    /// The form of log lines.
    pub log: LogFormat,
    /// Where mirrors of repositories are kept; they may be deleted at any time.
    pub cache_dir: PathBuf,
    /// What all mirrors together may take there, in bytes, 64 MiB to 16 TiB; over it the least recently changed ones go.
    pub cache_limit: u64,
    /// The cluster.
    pub cluster: Cluster,
    /// The environments by name.
    pub environments: BTreeMap<EnvironmentName, Environment>,
    /// Defaults of the platform.
    pub platform: Platform,
    /// The sources by name; their loops share them.
    pub sources: BTreeMap<SourceName, Arc<Source>>,
    /// The broker; without it events go to the log and the API only.
    pub kafka: Option<Kafka>,
}

/// The form of log lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// The cluster that the daemon serves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cluster {
    /// Its name; part of the lease's name. A DNS label.
    pub name: String,
    /// How it is reached.
    pub access: ClusterAccess,
    /// Where the daemon keeps its leases and journals.
    pub home_namespace: Namespace,
    /// How leadership passes on.
    pub lease: Lease,
}

/// How leadership passes on when a daemon ends without giving it back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lease {
    /// How long the next one waits after the last sign of life; whole seconds, 1s to 1h.
    pub duration: Duration,
    /// How often the holder shows that it lives, 100ms to a third of the duration.
    pub renew: Duration,
}

impl Default for Lease {
    fn default() -> Self {
        Self { duration: Duration::from_secs(15), renew: Duration::from_secs(5) }
    }
}

/// How a cluster is reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ClusterAccess {
    /// With the service account of the pod that the daemon runs in.
    InCluster,
    /// With a kubeconfig file.
    Kubeconfig {
        /// The file.
        path: PathBuf,
        /// The context in it; `None`: its current one.
        context: Option<String>,
    },
}

/// Where services run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Environment {
    /// Its name.
    pub name: EnvironmentName,
    /// The rule for its namespaces.
    pub namespace: NamespaceTemplate,
    /// What it follows; `None`: what the source follows.
    pub follow: Option<Follow>,
    /// Whether a declaration that names no environments runs here.
    pub default: bool,
    /// Whether a namespace that is not there is created.
    pub create_namespace: bool,
    /// Rollouts at one time, 1 to 1,000.
    pub max_concurrent_rollouts: u32,
    /// How pods are asked.
    pub probe: Probe,
    /// Where requests are counted; `None`: by the pods' own metrics and our probes.
    pub prometheus: Option<Prometheus>,
}

/// How pods are asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Probe {
    /// At their own address.
    Direct,
    /// Through the API server's proxy.
    Proxy,
}

/// Defaults of the platform.
#[derive(Debug, Clone, Default)]
pub struct Platform {
    /// The image of a service that names none; `None`: such a service is refused.
    pub image: Option<ImageTemplate>,
    /// The registries that need more than an anonymous request, by host and port.
    pub registries: BTreeMap<String, Registry>,
    /// How sources below an address prove themselves that do not say it themselves.
    pub credentials: Vec<SharedProof>,
    /// The way that requests of sources take that name no other.
    pub route: Route,
    /// Networks that declared gates may ask although they are denied by default.
    pub gate_networks: Vec<Network>,
    /// Requests a minute of repositories' hosts, by name or by name and port; 1 to 1,000,000.
    pub hosts: BTreeMap<String, u32>,
}

/// An image registry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Registry {
    /// Host, with its port where it has one.
    pub host: String,
    /// Who asks; `None`: anonymous.
    pub credentials: Option<Credentials>,
    /// Plain http instead of https.
    pub insecure: bool,
}

/// A name and its secret.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Credentials {
    /// The name.
    pub username: String,
    /// The password or token.
    pub secret: SecretRef,
}

/// A Git repository, a ref in it, and where to look.
#[derive(Debug, Clone)]
pub struct Source {
    /// Its name; the last part of its webhook's path.
    pub name: SourceName,
    /// The repository.
    pub url: RepoUrl,
    /// What of it is followed.
    pub follow: Follow,
    /// Where declarations are: globs relative to the repository's root, `*` within one segment, `**` over many.
    pub paths: Vec<String>,
    /// How the repository is reached, and how the source proves itself there.
    pub access: Access,
    /// Time between two looks without a hint.
    pub poll: Duration,
    /// Who may send hints.
    pub webhook: Option<Webhook>,
    /// Who must have signed the commits that are taken; `None`: nobody.
    pub signatures: Option<Signatures>,
    /// The services that it may claim.
    pub services: Claim<ServiceName>,
    /// The environments that it may claim; `None`: every one.
    pub environments: Option<Vec<EnvironmentName>>,
    /// Where verdicts are told as commit statuses.
    pub status: Option<StatusTarget>,
    /// It is not looked at; what it said last stays.
    pub suspend: bool,
}

impl Source {
    /// Tells whether the source may claim an environment.
    pub fn may_claim_environment(&self, environment: &EnvironmentName) -> bool {
        self.environments.as_ref().is_none_or(|allowed| allowed.contains(environment))
    }
}

/// Who must have signed a commit, so that it is taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signatures {
    /// Files with the keys that may: lines of OpenSSH's `allowed_signers`, or armored `OpenPGP` public keys. At least one; they
    /// are read at each look.
    pub allowed: Vec<PathBuf>,
}

/// What a source may claim, as globs.
#[derive(Debug, Clone)]
pub struct Claim<T> {
    globs: GlobSet,
    written: Vec<String>,
    kind: std::marker::PhantomData<T>,
}

impl<T: fmt::Display> Claim<T> {
    pub(super) fn new(globs: GlobSet, written: Vec<String>) -> Self {
        Self { globs, written, kind: std::marker::PhantomData }
    }

    /// Tells whether a name matches; no globs at all match everything.
    pub fn allows(&self, name: &T) -> bool {
        self.written.is_empty() || self.globs.is_match(name.to_string())
    }

    /// Returns the globs as written, for a sentence.
    pub fn written(&self) -> String {
        if self.written.is_empty() { "*".to_owned() } else { self.written.join(", ") }
    }
}

/// The address of a repository; never holds credentials.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RepoUrl {
    /// A repository on this machine, bare or with a work tree. It is read where it is.
    Local(PathBuf),
    /// A repository over https, or plain http where that was allowed.
    Http(Url),
    /// A repository over SSH.
    Ssh(SshUrl),
}

impl RepoUrl {
    /// Returns the path on this machine, where it is one.
    pub fn local(&self) -> Option<&Path> {
        match self {
            Self::Local(path) => Some(path),
            Self::Http(_) | Self::Ssh(_) => None,
        }
    }

    /// Returns the owner and the name of the repository as forges write them in their API: the last two segments.
    pub fn owner_and_name(&self) -> Option<(String, String)> {
        let path = match self {
            Self::Local(_) => return None,
            Self::Http(url) => url.path(),
            Self::Ssh(url) => &url.path,
        };
        let path = path.trim_end_matches('/').trim_end_matches(".git");
        let (rest, name) = path.rsplit_once('/')?;
        let owner = rest.rsplit('/').next()?;
        (!owner.is_empty() && !name.is_empty()).then(|| (owner.to_owned(), name.to_owned()))
    }
}

impl fmt::Display for RepoUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Local(path) => write!(f, "{}", path.display()),
            Self::Http(url) => write!(f, "{url}"),
            Self::Ssh(url) => write!(f, "{url}"),
        }
    }
}

/// Who sends webhooks: whose form their proof and their body have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Forge {
    /// GitHub.
    GitHub,
    /// GitLab.
    GitLab,
    /// Gitea, and Forgejo.
    Gitea,
    /// Bitbucket Cloud.
    BitbucketCloud,
    /// Bitbucket Data Center.
    BitbucketDataCenter,
    /// Anybody who signs: every request that is proven is a hint.
    Generic,
    /// A producer of `CDEvents`, such as a build.
    CdEvents,
}

impl Forge {
    /// Every forge.
    pub const ALL: [Self; 7] = [
        Self::GitHub,
        Self::GitLab,
        Self::Gitea,
        Self::BitbucketCloud,
        Self::BitbucketDataCenter,
        Self::Generic,
        Self::CdEvents,
    ];

    /// Returns the name as it is written in the configuration and in metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::GitHub => "github",
            Self::GitLab => "gitlab",
            Self::Gitea => "gitea",
            Self::BitbucketCloud => "bitbucket-cloud",
            Self::BitbucketDataCenter => "bitbucket-data-center",
            Self::Generic => "generic",
            Self::CdEvents => "cdevents",
        }
    }
}

/// Who may send hints for a source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Webhook {
    /// The form of the requests.
    pub forge: Forge,
    /// The secret that signs them.
    pub secret: SecretRef,
    /// The secret before or after it while it is rotated.
    pub second_secret: Option<SecretRef>,
    /// The header with the HMAC-SHA256 of the body, of [`Forge::Generic`] only; without it those follow Standard Webhooks.
    pub signature_header: Option<HeaderName>,
    /// Largest body, in bytes; at most 25 MiB.
    pub max_body: usize,
}

/// The forges that are told commit statuses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StatusForge {
    /// GitHub.
    GitHub,
    /// Gitea, and Forgejo.
    Gitea,
}

/// Where verdicts are told as commit statuses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StatusTarget {
    /// The form of the requests.
    pub forge: StatusForge,
    /// The address of the forge's API, without a slash at its end.
    pub api_url: Url,
    /// The owner of the repository there.
    pub owner: String,
    /// The name of the repository there.
    pub repository: String,
    /// The token that writes statuses.
    pub token: SecretRef,
}

/// The broker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kafka {
    /// `host:port`, at least one.
    pub brokers: Vec<String>,
    /// The topic.
    pub topic: String,
    /// Properties of librdkafka that the operator sets.
    pub properties: BTreeMap<String, String>,
    /// Properties of librdkafka whose value is a secret.
    pub secret_properties: BTreeMap<String, SecretRef>,
}
