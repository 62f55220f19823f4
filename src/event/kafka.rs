//! Kafka: one event in, one answer out. An idempotent producer that is replaced when librdkafka calls its error fatal; what to do
//! with an answer is the publisher's decision.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{FutureProducer, FutureRecord, Producer as _};

use super::binding;
use crate::model::record::RenderedEvent;

/// Where events go, with every secret already read.
#[derive(Clone, Default)]
pub struct KafkaConfig {
    /// `host:port` of the first brokers to ask.
    pub brokers: Vec<String>,
    /// The topic.
    pub topic: String,
    /// Any property of librdkafka. What keeps order and loses nothing (`enable.idempotence`, `acks`,
    /// `max.in.flight.requests.per.connection`) is not theirs to change.
    pub properties: BTreeMap<String, String>,
    /// Structured instead of binary mode.
    pub structured: bool,
}

/// Property values may be passwords and keys: only names are shown.
impl fmt::Debug for KafkaConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KafkaConfig")
            .field("brokers", &self.brokers)
            .field("topic", &self.topic)
            .field("properties", &self.properties.keys().collect::<Vec<_>>())
            .field("structured", &self.structured)
            .finish()
    }
}

/// Why there is no producer.
#[derive(Debug, thiserror::Error)]
pub enum ProducerError {
    /// librdkafka refuses the configuration.
    #[error("making a Kafka producer: check the brokers and the properties under kafka")]
    Refused(#[source] KafkaError),
}

/// What became of one event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Sent {
    /// The broker has it.
    Acknowledged,
    /// No broker will ever take it; the reason.
    Unsendable(String),
    /// Not now; the failure as a word for metrics, and the sentence.
    Failed(&'static str, String),
}

/// A producer that is made anew after a fatal error.
pub struct KafkaSink {
    config: KafkaConfig,
    current: Mutex<Current>,
}

#[derive(Clone)]
struct Current {
    generation: u64,
    producer: FutureProducer,
}

impl fmt::Debug for KafkaSink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KafkaSink").field("config", &self.config).finish_non_exhaustive()
    }
}

fn producer(config: &KafkaConfig) -> Result<FutureProducer, ProducerError> {
    let mut client = ClientConfig::new();
    client.set("linger.ms", "1").set("message.timeout.ms", "30000").set("reconnect.backoff.max.ms", "1000");
    for (name, value) in &config.properties {
        client.set(name, value);
    }
    client
        .set("bootstrap.servers", config.brokers.join(","))
        .set("enable.idempotence", "true")
        .set("acks", "all")
        .set("max.in.flight.requests.per.connection", "5");
    client.create().map_err(ProducerError::Refused)
}

impl KafkaSink {
    /// Makes the producer; it connects by itself, and again whenever it has to. Fails if librdkafka refuses the configuration.
    pub fn new(config: KafkaConfig) -> Result<Self, ProducerError> {
        let current = Current { generation: 0, producer: producer(&config)? };
        Ok(Self { config, current: Mutex::new(current) })
    }

    fn current(&self) -> Current {
        self.current.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Sends one event and waits for the broker's answer, `message.timeout.ms` at most.
    pub async fn send(&self, key: &str, event: &RenderedEvent) -> Sent {
        let Current { generation, producer } = self.current();
        let (headers, value) = if self.config.structured {
            (binding::structured_headers(), binding::structured_value(event, key))
        } else {
            (binding::kafka_headers(event, key), event.data.clone().into_bytes())
        };
        let headers = headers.iter().fold(OwnedHeaders::new(), |headers, (key, value)| {
            headers.insert(Header { key, value: Some(value) })
        });
        let record = FutureRecord::to(&self.config.topic).key(key).payload(&value).headers(headers);
        match producer.send(record, Duration::ZERO).await {
            Ok(_) => Sent::Acknowledged,
            Err((error, _)) if producer.client().fatal_error().is_some() => self.renew(generation, &error),
            Err((error, _)) => judge(&error),
        }
    }

    /// Replaces the producer of `generation`, unless somebody else was faster.
    fn renew(&self, generation: u64, error: &KafkaError) -> Sent {
        let failed = |error: &dyn fmt::Display| Sent::Failed("fatal", error.to_string());
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        if current.generation != generation {
            return failed(error);
        }
        match producer(&self.config) {
            Ok(producer) => {
                let new = Current { generation: generation + 1, producer };
                let old = std::mem::replace(&mut *current, new);
                // Dropping a producer waits for its queue.
                tokio::task::spawn_blocking(move || drop(old));
                failed(error)
            }
            Err(refused) => failed(&refused),
        }
    }

    /// Waits until the client's queue is empty, `limit` at most. Blocks.
    pub fn flush(&self, limit: Duration) {
        if let Err(error) = self.current().producer.flush(limit) {
            tracing::warn!(%error, "flushing the Kafka producer: what is left is sent after the next start");
        }
    }
}

fn judge(error: &KafkaError) -> Sent {
    let Some(code) = error.rdkafka_error_code() else { return Sent::Failed("error", error.to_string()) };
    match code {
        RDKafkaErrorCode::MessageSizeTooLarge
        | RDKafkaErrorCode::InvalidRecord
        | RDKafkaErrorCode::PolicyViolation => Sent::Unsendable(error.to_string()),
        RDKafkaErrorCode::QueueFull => Sent::Failed("queue_full", error.to_string()),
        RDKafkaErrorCode::MessageTimedOut => Sent::Failed("timeout", error.to_string()),
        _ => Sent::Failed("error", error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_shows_no_property_value() {
        let properties = BTreeMap::from([("sasl.password".to_owned(), "hunter2".to_owned())]);
        let config = KafkaConfig { properties, ..KafkaConfig::default() };
        let sink = KafkaSink::new(config.clone()).unwrap();
        let text = format!("{config:?} {sink:?}");
        assert!(text.contains("sasl.password") && !text.contains("hunter2"), "{text}");
    }

    #[test]
    fn a_property_that_librdkafka_does_not_know_is_refused() {
        let properties = BTreeMap::from([("no.such.thing".to_owned(), "1".to_owned())]);
        let config = KafkaConfig { properties, ..KafkaConfig::default() };
        assert!(KafkaSink::new(config).is_err());
    }
}
