//! Reads the parts of the file that describe the platform: cluster, environments, image defaults, registries, the broker.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use super::access;
use super::error::Place;
use super::follow::{self, Follow};
use super::network::Network;
use super::prometheus;
use super::reader::{At, Section};
use super::secret::SecretRef;
use super::template::{ImageTemplate, NamespaceTemplate};
use super::types::{
    Cluster, ClusterAccess, Credentials, Environment, Kafka, Lease, Platform, Probe, Registry,
};
use crate::model::name::{EnvironmentName, Namespace};

/// Reads `cluster`.
pub(super) fn cluster(mut section: Section<'_>, base: &Path) -> Option<Cluster> {
    let in_cluster = section.flag("in_cluster", false);
    let kubeconfig = section.text("kubeconfig");
    let context = section.text("context");
    let name = section.parsed("name", label).map_or_else(|| "default".to_owned(), |found| found.value);
    let home = section.parsed("home_namespace", str::parse::<Namespace>);
    let access = match (in_cluster, kubeconfig) {
        (true, None) => Some(ClusterAccess::InCluster),
        (false, Some(path)) => Some(ClusterAccess::Kubeconfig {
            path: base.join(path.value),
            context: context.as_ref().map(|found| found.value.clone()),
        }),
        (true, Some(path)) => {
            section.problem(path.at, "kubeconfig", "in_cluster is true as well: keep one of the two");
            None
        }
        (false, None) => {
            section.missing("in_cluster", "write in_cluster: true, or kubeconfig: FILE");
            None
        }
    };
    if let (Some(context), Some(ClusterAccess::InCluster)) = (&context, &access) {
        section.problem(context.at, "context", "a context needs kubeconfig: remove it or name the file");
    }
    let lease = section.section("lease").map_or_else(Lease::default, lease);
    section.finish();
    let home_namespace = home.map(|found| found.value).or_else(|| "idp-system".parse().ok())?;
    Some(Cluster { name, access: access?, home_namespace, lease })
}

/// Reads `cluster.lease`. Whole seconds, since the Lease itself counts in them; three renewals in one duration, so that one that is
/// lost or late costs nothing.
fn lease(mut section: Section<'_>) -> Lease {
    let default = Lease::default();
    let (second, hour) = (Duration::from_secs(1), Duration::from_hours(1));
    let duration = section.duration("duration", second..=hour, default.duration);
    let third = duration / 3;
    let renew = section.duration("renew", Duration::from_millis(100)..=hour, default.renew.min(third));
    if duration.subsec_nanos() != 0 {
        section.problem(section.at, "duration", "the lease counts in whole seconds: write for example 15s");
    }
    if renew > third {
        let most = crate::model::duration::format(third);
        let why = format!("three renewals must fit into the duration: write {most} or less");
        section.problem(section.at, "renew", why);
    }
    section.finish();
    Lease { duration, renew }
}

fn label(text: &str) -> Result<String, String> {
    text.parse::<EnvironmentName>()
        .map(|_| text.to_owned())
        .map_err(|_| format!("{text:?} is not a cluster name: at most 22 lower-case letters, digits and '-'"))
}

/// Reads `environments`; two of one name or with one namespace template are refused.
pub(super) fn environments(
    sections: Vec<Section<'_>>,
    base: &Path,
) -> BTreeMap<EnvironmentName, Environment> {
    let mut found: BTreeMap<EnvironmentName, Environment> = BTreeMap::new();
    for mut section in sections {
        let name =
            section.required("name", "write for example name: production", str::parse::<EnvironmentName>);
        let template = section.required(
            "namespace",
            "write for example \"{{service.team}}-{{env}}\"",
            NamespaceTemplate::parse,
        );
        let follow = followed(&mut section);
        let default = section.flag("default", false);
        let create_namespace = section.flag("create_namespace", false);
        let max_concurrent_rollouts = section.number("max_concurrent_rollouts", 1..=1_000, 10);
        let probe = section.parsed("probe", probe).map_or(Probe::Direct, |found| found.value);
        let prometheus = section.section("prometheus").and_then(|inner| prometheus::prometheus(inner, base));
        if let (Some(name), Some(template)) = (name, template) {
            let environment = Environment {
                name: name.value.clone(),
                namespace: template.value.clone(),
                follow,
                default,
                create_namespace,
                max_concurrent_rollouts,
                probe,
                prometheus,
            };
            if let Some((at, field, message)) = clash(&found, &environment, &name, &template) {
                section.problem(at, field, message);
            } else {
                found.insert(environment.name.clone(), environment);
            }
        }
        section.finish();
    }
    found
}

/// Reads what an environment follows: `branch`, or `ref` as sources have it.
fn followed(section: &mut Section<'_>) -> Option<Follow> {
    let at = section.node("branch").map(|node| node.at);
    let branch = section.parsed("branch", follow::branch).map(|found| Follow::Branch(found.value));
    let given = section.node("ref").is_some();
    if let Some(at) = at.filter(|_| given) {
        section.problem(at, "branch", "ref says what is followed as well: keep one of the two");
    }
    let follow = follow::follow(section, "ref");
    follow.or(branch)
}

fn clash(
    found: &BTreeMap<EnvironmentName, Environment>,
    new: &Environment,
    name: &At<EnvironmentName>,
    template: &At<NamespaceTemplate>,
) -> Option<(Place, &'static str, String)> {
    if found.contains_key(&new.name) {
        let message = format!("there is another environment {}: names are unique", new.name);
        return Some((name.at, "name", message));
    }
    let mine = new.namespace.in_environment(&new.name);
    let other = found.values().find(|old| old.namespace.in_environment(&old.name) == mine)?;
    let message = format!(
        "the environments {} and {} would share their namespaces: write {{{{env}}}} in the template, or two templates",
        other.name, new.name
    );
    Some((template.at, "namespace", message))
}

fn probe(text: &str) -> Result<Probe, String> {
    match text {
        "direct" => Ok(Probe::Direct),
        "proxy" => Ok(Probe::Proxy),
        _ => Err(format!("{text:?} is not known: write direct or proxy")),
    }
}

/// Reads `platform`.
pub(super) fn platform(mut section: Section<'_>, base: &Path) -> Platform {
    let image = section.parsed("image", ImageTemplate::parse).map(|found| found.value);
    let mut registries = BTreeMap::new();
    for mut inner in section.sections("registries") {
        let host = inner.required("host", "write for example host: registry.example.com:5000", host);
        let credentials = credentials(&mut inner, base, "password_file", "password_env");
        let insecure = inner.flag("insecure", false);
        if let Some(host) = host {
            let registry = Registry { host: host.value.clone(), credentials, insecure };
            if registries.insert(host.value, registry).is_some() {
                inner.problem(host.at, "host", "this registry stands here twice");
            }
        }
        inner.finish();
    }
    let (credentials, route) = access::platform(&mut section, base);
    let hosts = hosts(&mut section);
    let networks = section.texts("gate_networks", str::parse::<Network>);
    let gate_networks = networks.into_iter().map(|found| found.value).collect();
    section.finish();
    Platform { image, registries, credentials, route, gate_networks, hosts }
}

fn hosts(section: &mut Section<'_>) -> BTreeMap<String, u32> {
    let mut hosts = BTreeMap::new();
    for mut inner in section.sections("hosts") {
        let host = inner.required("host", "write for example host: git.example.com", host);
        if inner.node("requests_per_minute").is_none() {
            inner.missing("requests_per_minute", "write for example requests_per_minute: 300");
        }
        let requests = inner.number("requests_per_minute", 1..=1_000_000, 60_000);
        if let Some(host) = host
            && hosts.insert(host.value, requests).is_some()
        {
            inner.problem(host.at, "host", "this host stands here twice");
        }
        inner.finish();
    }
    hosts
}

fn host(text: &str) -> Result<String, String> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || ".-:[]".contains(c);
    if text.is_empty() || text.starts_with('-') || !text.chars().all(allowed) {
        return Err(format!("{text:?} is not a host: write host or host:port, without https://"));
    }
    Ok(text.to_owned())
}

/// Reads `username` and the secret by file or by environment variable; a username without a secret, or two secrets, are problems.
pub(super) fn credentials(
    section: &mut Section<'_>,
    base: &Path,
    file: &'static str,
    env: &'static str,
) -> Option<Credentials> {
    let username = section.text("username");
    let secret = secret(section, base, file, env);
    match (username, secret) {
        (username, Some(secret)) => {
            let username = username.map_or_else(|| "idp".to_owned(), |found| found.value);
            if username.contains(':') || username.chars().any(char::is_control) {
                section.problem(section.at, "username", "a username has no colon and no control characters");
            }
            Some(Credentials { username, secret })
        }
        (Some(username), None) => {
            section.problem(username.at, "username", format!("a username needs {file} or {env}"));
            None
        }
        (None, None) => None,
    }
}

/// Reads a secret's place: a file, relative to the configuration's folder, or an environment variable.
pub(super) fn secret(
    section: &mut Section<'_>,
    base: &Path,
    file: &'static str,
    env: &'static str,
) -> Option<SecretRef> {
    let from_file = section.parsed(file, not_empty);
    let from_env = section.parsed(env, not_empty);
    match (from_file, from_env) {
        (Some(_), Some(second)) => {
            section.problem(second.at, env, format!("{file} is given as well: keep one of the two"));
            None
        }
        (Some(path), None) => Some(SecretRef::File(base.join(path.value))),
        (None, Some(name)) => Some(SecretRef::Env(name.value)),
        (None, None) => None,
    }
}

pub(super) fn not_empty(text: &str) -> Result<String, &'static str> {
    if text.trim().is_empty() { Err("this may not be empty") } else { Ok(text.to_owned()) }
}

/// Properties whose value is a secret, so that it may not stand in the file.
const SECRET_PROPERTIES: [&str; 7] = [
    "sasl.password",
    "ssl.key.password",
    "ssl.key.pem",
    "ssl.keystore.password",
    "sasl.oauthbearer.client.secret",
    "sasl.oauthbearer.client.credentials.client.secret",
    "sasl.oauthbearer.config",
];

/// Properties that the outbox's promises rest on.
const OWN_PROPERTIES: [(&str, &str); 4] = [
    ("bootstrap.servers", "write the addresses in brokers"),
    ("metadata.broker.list", "write the addresses in brokers"),
    ("enable.idempotence", "it is always on: events keep their order"),
    ("acks", "it is always all: an event that was acknowledged is durable"),
];

/// Reads `kafka`.
pub(super) fn kafka(mut section: Section<'_>, base: &Path) -> Option<Kafka> {
    let brokers: Vec<String> =
        section.texts("brokers", broker).into_iter().map(|found| found.value).collect();
    if section.node("brokers").is_none() {
        section.missing("brokers", "write for example brokers: [\"kafka:9092\"], or remove kafka");
    }
    let topic = section.parsed("topic", topic).map_or_else(|| "idp.deployments".to_owned(), |t| t.value);
    let mut properties = BTreeMap::new();
    for (name, value) in section.scalars("properties") {
        let field = format!("properties.{name}");
        if SECRET_PROPERTIES.contains(&name.as_str()) {
            section.problem(value.at, &field, "this is a secret: name its file in secret_properties");
        } else if let Some((_, reason)) = OWN_PROPERTIES.iter().find(|(own, _)| *own == name) {
            section.problem(value.at, &field, format!("this is not yours to set: {reason}"));
        } else {
            properties.insert(name, value.value);
        }
    }
    let mut secret_properties = BTreeMap::new();
    for (name, value) in section.scalars("secret_properties") {
        if properties.contains_key(&name) {
            section.problem(
                value.at,
                &format!("secret_properties.{name}"),
                "this stands in properties as well",
            );
        }
        secret_properties.insert(name, SecretRef::File(base.join(value.value)));
    }
    section.finish();
    (!brokers.is_empty()).then_some(Kafka { brokers, topic, properties, secret_properties })
}

fn broker(text: &str) -> Result<String, String> {
    let port = text.rsplit_once(':').and_then(|(host, port)| Some((host, port.parse::<u16>().ok()?)));
    match port {
        Some((host, _)) if !host.is_empty() && !text.contains([',', ' ', '/']) => Ok(text.to_owned()),
        _ => Err(format!("{text:?} is not a broker: write host:port, each its own item")),
    }
}

fn topic(text: &str) -> Result<String, String> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    if text.is_empty() || text.len() > 249 || text == "." || text == ".." || !text.chars().all(allowed) {
        return Err(format!("{text:?} is not a topic: at most 249 letters, digits, '.', '_' and '-'"));
    }
    Ok(text.to_owned())
}
