//! The configuration: `idpd.yaml` read once at start.
//!
//! In: a file. Out: a validated [`Config`], or every problem of the file at once with line, column and how to mend it. May use:
//! `model`, the file system and the environment (for the file itself and for secrets, which are read anew at each use).

mod access;
mod error;
mod follow;
mod network;
mod node;
mod platform;
mod prometheus;
mod reader;
mod secret;
mod size;
mod sources;
mod template;
#[cfg(test)]
mod tests;
mod types;

use std::collections::BTreeSet;
use std::io::Read;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

pub use access::{Access, GitHubApp, HostKeys, Proof, Proxy, Route, Scope, SharedProof, SshKey, SshUrl};
pub use error::{ConfigErrors, Place, Problem};
pub use follow::{Follow, TagRange};
pub use network::{Network, NetworkError};
pub use prometheus::{Login, Prometheus};
pub use secret::{Secret, SecretError, SecretRef};
pub use template::{ImageTemplate, NamespaceTemplate, TemplateError};
pub use types::{
    Claim, Cluster, ClusterAccess, Config, Credentials, Environment, Forge, Kafka, Lease, LogFormat,
    Platform, Probe, Registry, RepoUrl, Signatures, Source, StatusForge, StatusTarget, Webhook,
};

use crate::model::name::EnvironmentName;
use reader::{Problems, Section};

/// What all mirrors together may take, in bytes, unless the file says otherwise.
const DEFAULT_CACHE_LIMIT: u64 = 10 << 30;
/// What the file may say.
const CACHE_LIMITS: std::ops::RangeInclusive<u64> = 64 << 20..=16 << 40;

/// Reads and checks a configuration file, and that the kubeconfig, every secret and every file of keys that it
/// names can be read. Paths in it are relative to its folder.
pub fn load(path: &Path) -> Result<Config, ConfigErrors> {
    let whole = |message: String| {
        let mut errors = ConfigErrors::one(Problem::new(Place::START, "", message));
        errors.file = Some(path.to_owned());
        errors
    };
    let text =
        std::fs::read_to_string(path).map_err(|error| whole(format!("cannot read the file: {error}")))?;
    let base = path.parent().unwrap_or(Path::new("."));
    let config = parse(&text, base).map_err(|mut errors| {
        errors.file = Some(path.to_owned());
        errors
    })?;
    let mut problems = unreadable_secrets(&config);
    problems.extend(unreadable_kubeconfig(&config));
    problems.extend(unreadable_keys(&config));
    match problems {
        problems if problems.is_empty() => Ok(config),
        problems => Err(ConfigErrors { file: Some(path.to_owned()), problems }),
    }
}

/// Checks a configuration's text; touches no file. Relative paths in it become relative to `base`.
pub fn parse(text: &str, base: &Path) -> Result<Config, ConfigErrors> {
    let root = node::read(text)?;
    let problems = Problems::default();
    let config = read(Section::open(&root, "", &problems), base);
    match (config, problems.into_vec()) {
        (Some(config), problems) if problems.is_empty() => Ok(config),
        (_, problems) => Err(ConfigErrors::in_order(problems)),
    }
}

fn read(mut section: Section<'_>, base: &Path) -> Option<Config> {
    let listen = section.parsed("listen", |text| {
        text.parse::<SocketAddr>()
            .map_err(|_| format!("{text:?} is not an address: write for example 0.0.0.0:8080"))
    });
    let log = section.parsed("log", log_format).map_or(LogFormat::Text, |found| found.value);
    let cache_dir = section.parsed("cache_dir", platform::not_empty).map(|found| base.join(found.value));
    let cache_limit = section.parsed("cache_limit", |text| size::bytes(text, &CACHE_LIMITS));
    let cluster = section.section("cluster");
    if cluster.is_none() {
        section.missing("cluster", "write cluster: {in_cluster: true} or cluster: {kubeconfig: FILE}");
    }
    let cluster = cluster.and_then(|inner| platform::cluster(inner, base));
    let environments = platform::environments(section.sections("environments"), base);
    if section.node("environments").is_none() {
        section.missing("environments", "without one there is nowhere to deploy to");
    }
    let platform = section.section("platform").map(|inner| platform::platform(inner, base));
    let platform = platform.unwrap_or_default();
    let sources = sources::sources(section.sections("sources"), &environments, &platform, base);
    let kafka = section.section("kafka").and_then(|inner| platform::kafka(inner, base));
    section.finish();
    Some(Config {
        listen: listen.map_or_else(|| SocketAddr::from(([127, 0, 0, 1], 8080)), |found| found.value),
        log,
        cache_dir: cache_dir.unwrap_or_else(default_cache_dir),
        cache_limit: cache_limit.map_or(DEFAULT_CACHE_LIMIT, |found| found.value),
        cluster: cluster?,
        environments,
        platform,
        sources,
        kafka,
    })
}

fn log_format(text: &str) -> Result<LogFormat, String> {
    match text {
        "text" => Ok(LogFormat::Text),
        "json" => Ok(LogFormat::Json),
        _ => Err(format!("{text:?} is not known: write text or json")),
    }
}

/// Returns where caches of this user belong, by the XDG base directory specification; else the system's temporary folder.
fn default_cache_dir() -> PathBuf {
    let absolute = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let cache = absolute("XDG_CACHE_HOME").or_else(|| absolute("HOME").map(|home| home.join(".cache")));
    cache.unwrap_or_else(std::env::temp_dir).join("idp")
}

fn unreadable_kubeconfig(config: &Config) -> Option<Problem> {
    let ClusterAccess::Kubeconfig { path, .. } = &config.cluster.access else { return None };
    let error = std::fs::File::open(path).err()?;
    let message = format!("{} cannot be read: {error}", path.display());
    Some(Problem::new(Place::START, "cluster.kubeconfig", message))
}

fn prometheus_of(config: &Config) -> impl Iterator<Item = (&EnvironmentName, &Prometheus)> {
    config
        .environments
        .iter()
        .filter_map(|(name, environment)| Some((name, environment.prometheus.as_ref()?)))
}

fn unreadable_keys(config: &Config) -> Vec<Problem> {
    let mut named: Vec<(String, &PathBuf)> = Vec::new();
    let platform = &config.platform;
    let shared = platform.credentials.iter().flat_map(|shared| shared.proof.files());
    let shared: Vec<_> = shared.chain(platform.route.file()).collect();
    // What many sources share is told once.
    let mut told: BTreeSet<&PathBuf> = shared.iter().map(|(_, file)| *file).collect();
    named.extend(shared.into_iter().map(|(what, file)| (format!("platform {what}"), file)));
    for (name, prometheus) in prometheus_of(config) {
        let file = prometheus.ca_file.iter().filter(|file| told.insert(file));
        named.extend(file.map(|file| (format!("environments {name} prometheus.ca_file"), file)));
    }
    for (name, source) in &config.sources {
        let keys = source.signatures.iter().flat_map(|signatures| &signatures.allowed);
        let keys = keys.map(|file| ("signatures.allowed", file));
        let files = keys.chain(source.access.files()).filter(|(_, file)| told.insert(file));
        named.extend(files.map(|(what, file)| (format!("sources {name} {what}"), file)));
    }
    let failed = named.into_iter().filter_map(|(field, file)| {
        // A folder can be opened, but not read.
        let error = std::fs::File::open(file).and_then(|mut file| file.read(&mut [0])).err()?;
        let message = format!("{} cannot be read: {error}", file.display());
        Some(Problem::new(Place::START, field, message))
    });
    failed.collect()
}

fn unreadable_secrets(config: &Config) -> Vec<Problem> {
    let mut named: Vec<(String, &SecretRef)> = Vec::new();
    for (host, registry) in &config.platform.registries {
        named.extend(
            registry.credentials.as_ref().map(|c| (format!("platform.registries {host}"), &c.secret)),
        );
    }
    let shared = config.platform.credentials.iter().filter_map(|shared| shared.proof.secret());
    let shared: Vec<_> = shared.chain(config.platform.route.secret()).collect();
    let mut told: BTreeSet<&SecretRef> = shared.iter().map(|(_, secret)| *secret).collect();
    named.extend(shared.into_iter().map(|(what, secret)| (format!("platform {what}"), secret)));
    for (name, prometheus) in prometheus_of(config) {
        let secret = prometheus.login.iter().map(Login::secret).filter(|secret| told.insert(secret));
        named.extend(secret.map(|secret| (format!("environments {name} prometheus"), secret)));
    }
    for (name, source) in &config.sources {
        let hook = source.webhook.as_ref();
        let secrets = [
            ("webhook", hook.map(|found| &found.secret)),
            ("webhook (second secret)", hook.and_then(|found| found.second_secret.as_ref())),
            ("status", source.status.as_ref().map(|found| &found.token)),
        ];
        let secrets = secrets.into_iter().filter_map(|(what, secret)| Some((what, secret?)));
        let secrets = secrets.chain(source.access.secrets()).filter(|(_, secret)| told.insert(secret));
        named.extend(secrets.map(|(what, secret)| (format!("sources {name} {what}"), secret)));
    }
    for (property, secret) in config.kafka.iter().flat_map(|kafka| &kafka.secret_properties) {
        named.push((format!("kafka.secret_properties.{property}"), secret));
    }
    let failed = named.into_iter().filter_map(|(field, secret)| {
        let error = secret.read().err()?;
        let cause = std::error::Error::source(&error).map(|cause| format!(": {cause}")).unwrap_or_default();
        Some(Problem::new(Place::START, field, format!("{error}{cause}")))
    });
    failed.collect()
}
