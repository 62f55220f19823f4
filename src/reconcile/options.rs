//! The configuration as each room wants it.

use std::net::SocketAddr;

use tokio::net::TcpListener;

use super::supervisor::{DaemonError, start};
use crate::config::{Config, Probe};
use crate::event::kafka::{KafkaConfig, KafkaSink};
use crate::event::publisher::Sink;
use crate::evidence::dial::Way;
use crate::evidence::observe::Options;
use crate::evidence::registry::{Credentials, RegistryOptions};

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

pub(super) fn ways(config: &Config, client: &kube::Client, session: u64) -> Options {
    let way = |probe: Probe| match probe {
        Probe::Direct => Way::Direct,
        Probe::Proxy => Way::Proxy(client.clone()),
    };
    let ways = config.environments.values().map(|e| (e.name.clone(), way(e.probe))).collect();
    Options { ways, ..Options::new(session) }
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
