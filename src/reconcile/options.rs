//! The configuration as each room wants it.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderMap, HeaderName, HeaderValue};
use tokio::net::TcpListener;

use super::supervisor::{DaemonError, start};
use crate::clock::Clock;
use crate::config::{Config, Login, Probe, Prometheus};
use crate::event::kafka::{KafkaConfig, KafkaSink};
use crate::event::publisher::Sink;
use crate::evidence::dial::Way;
use crate::evidence::observe::Options;
use crate::evidence::outside::Allow;
use crate::evidence::prometheus::{self, Authorization, Provider};
use crate::evidence::registry::{Credentials, RegistryOptions};
use crate::model::name::EnvironmentName;

pub(super) fn sink(config: &Config) -> Result<Sink, DaemonError> {
    let Some(kafka) = &config.kafka else { return Ok(Sink::Log) };
    let mut properties = kafka.properties.clone();
    for (name, secret) in &kafka.secret_properties {
        let value = secret.read().map_err(start(format!("the Kafka property {name} could not be read")))?;
        properties.insert(name.clone(), value.expose().to_owned());
    }
    let brokers = kafka.brokers.clone();
    let sink = KafkaConfig { brokers, topic: kafka.topic.clone(), properties, structured: false };
    Ok(Sink::Kafka(KafkaSink::new(sink).map_err(start("the Kafka producer could not be made"))?))
}

pub(super) fn evidence(
    config: &Config,
    client: &kube::Client,
    session: u64,
    clock: &Clock,
) -> Result<Options, DaemonError> {
    let way = |probe: Probe| match probe {
        Probe::Direct => Way::Direct,
        Probe::Proxy => Way::Proxy(client.clone()),
    };
    let ways = config.environments.values().map(|e| (e.name.clone(), way(e.probe))).collect();
    let networks = config.platform.gate_networks.clone();
    let allowed: Allow = Arc::new(move |address| networks.iter().any(|network| network.contains(address)));
    let prometheus = providers(config)?;
    Ok(Options { ways, prometheus, allowed, clock: clock.clone(), ..Options::new(session) })
}

/// One provider an address: environments that name the same one with the same words share it.
fn providers(config: &Config) -> Result<BTreeMap<EnvironmentName, Arc<Provider>>, DaemonError> {
    let mut made: Vec<(&Prometheus, Arc<Provider>)> = Vec::new();
    let mut providers = BTreeMap::new();
    for (name, environment) in &config.environments {
        let Some(prometheus) = &environment.prometheus else { continue };
        let shared = made.iter().find(|(other, _)| *other == prometheus).map(|(_, made)| Arc::clone(made));
        let provider = match shared {
            Some(provider) => provider,
            None => Arc::new(provider(prometheus)?),
        };
        made.push((prometheus, Arc::clone(&provider)));
        providers.insert(name.clone(), provider);
    }
    Ok(providers)
}

fn provider(prometheus: &Prometheus) -> Result<Provider, DaemonError> {
    let what = || format!("the client for Prometheus at {} could not be made", prometheus.url);
    let ca = prometheus.ca_file.as_ref().map(std::fs::read).transpose().map_err(start(what()))?;
    let mut headers = HeaderMap::new();
    for (name, value) in &prometheus.headers {
        // Both were checked when they were read.
        if let (Ok(name), Ok(value)) = (HeaderName::from_bytes(name.as_bytes()), HeaderValue::from_str(value))
        {
            headers.insert(name, value);
        }
    }
    let options = prometheus::Options {
        url: prometheus.url.clone(),
        authorization: prometheus.login.clone().map(authorization),
        ca,
        headers,
        timeout: prometheus.timeout,
        scrape_interval: prometheus.scrape_interval,
        dialects: prometheus.presets.clone(),
        pod_label: prometheus.pod_label.clone(),
        namespace_label: prometheus.namespace_label.clone(),
    };
    Provider::new(options).map_err(start(what()))
}

/// Reads the secret anew for each request: a service account's token is replaced every hour.
fn authorization(login: Login) -> Authorization {
    Arc::new(move || {
        let secret = login.secret().read().map_err(|error| super::error::chain(&error))?;
        let text = match &login {
            Login::Bearer(_) => format!("Bearer {}", secret.expose()),
            Login::Basic(credentials) => {
                let pair = format!("{}:{}", credentials.username, secret.expose());
                format!("Basic {}", STANDARD.encode(pair))
            }
        };
        let mut value = HeaderValue::from_str(&text)
            .map_err(|_| format!("the secret in {} cannot stand in a header", login.secret()))?;
        value.set_sensitive(true);
        Ok(value)
    })
}

pub(super) fn registries(config: &Config) -> Result<RegistryOptions, DaemonError> {
    let mut options = RegistryOptions::default();
    for registry in config.platform.registries.values() {
        if registry.insecure {
            options.insecure.insert(registry.host.clone());
        }
        let Some(credentials) = &registry.credentials else { continue };
        let password = credentials
            .secret
            .read()
            .map_err(start(format!("the password of registry {} could not be read", registry.host)))?;
        let credentials =
            Credentials { username: credentials.username.clone(), password: password.expose().to_owned() };
        options.credentials.insert(registry.host.clone(), credentials);
    }
    Ok(options)
}

pub(super) async fn listen(config: &Config) -> Result<(TcpListener, SocketAddr), DaemonError> {
    let what =
        || format!("cannot listen on {}: is another daemon running, or the port not ours?", config.listen);
    let listener = TcpListener::bind(config.listen).await.map_err(start(what()))?;
    let address = listener.local_addr().map_err(start(what()))?;
    Ok((listener, address))
}

/// Who this process is: its host's name, its number, and a random part, since a container's number is always 1.
pub(super) fn identity() -> String {
    let host = std::env::var("HOSTNAME").unwrap_or_else(|_| "idpd".to_owned());
    format!("{host}-{}-{:08x}", std::process::id(), rand::random::<u32>())
}
