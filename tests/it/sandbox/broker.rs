//! librdkafka's mock broker, and a consumer that reads the topic from its beginning.

use std::collections::BTreeMap;
use std::time::Duration;

use idp::event::catalogue::event_id;
use idp::model::record::Record;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::message::{BorrowedMessage, Headers as _};
use rdkafka::mocking::MockCluster;
use rdkafka::producer::DefaultProducerContext;
use rdkafka::{ClientConfig, Message as _, Offset, TopicPartitionList};
use serde_json::Value;

pub const TOPIC: &str = "idp.deployments";

/// An event as it was read back.
#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    pub id: String,
    pub kind: String,
    pub key: String,
    pub data: Value,
}

/// The consumer is dropped before its brokers.
pub struct Broker {
    consumer: BaseConsumer,
    pub cluster: MockCluster<'static, DefaultProducerContext>,
    /// In the order of the topic, an equal id once.
    events: Vec<Event>,
    bytes: BTreeMap<String, Vec<u8>>,
}

impl Broker {
    pub fn start() -> Self {
        let cluster = MockCluster::new(1).unwrap();
        cluster.create_topic(TOPIC, 1, 1).unwrap();
        let consumer: BaseConsumer = ClientConfig::new()
            .set("bootstrap.servers", cluster.bootstrap_servers())
            .set("group.id", "test")
            .set("enable.auto.commit", "false")
            .set("fetch.wait.max.ms", "20")
            .set("reconnect.backoff.max.ms", "200")
            .create()
            .unwrap();
        let mut partitions = TopicPartitionList::new();
        partitions.add_partition_offset(TOPIC, 0, Offset::Beginning).unwrap();
        consumer.assign(&partitions).unwrap();
        Self { cluster, consumer, events: Vec::new(), bytes: BTreeMap::new() }
    }

    pub fn address(&self) -> String {
        self.cluster.bootstrap_servers()
    }

    /// Reads what came since the last time. Equal ids must have equal bytes.
    fn read(&mut self) {
        while let Some(message) = self.consumer.poll(Duration::from_millis(5)) {
            // A broker that is away is what some tests are about.
            let Ok(message) = message else { continue };
            let (id, kind) = (header(&message, "ce_id"), header(&message, "ce_type"));
            let payload = message.payload().unwrap().to_vec();
            if let Some(bytes) = self.bytes.get(&id) {
                assert_eq!(bytes, &payload, "equal ids have equal bytes: {kind}");
                continue;
            }
            let data = serde_json::from_slice(&payload).unwrap();
            let key = String::from_utf8(message.key().unwrap().to_vec()).unwrap();
            self.bytes.insert(id.clone(), payload);
            self.events.push(Event { id, kind, key, data });
        }
    }

    /// The short types of a release's events so far, in order, an equal id once.
    pub fn types(&mut self, release: &str) -> Vec<String> {
        self.read();
        let events = self.events.iter().filter(|event| event.key == release);
        events.map(|event| short(&event.kind)).collect()
    }

    /// A release's events so far.
    pub fn events(&mut self, release: &str) -> Vec<Event> {
        self.read();
        self.events.iter().filter(|event| event.key == release).cloned().collect()
    }

    /// The sequence numbers of a record whose events came, in order of their first arrival; `None`: an event that no number has.
    pub fn sequences(&mut self, release: &str, uid: &str, record: &Record) -> Vec<Option<u64>> {
        let mut numbers = BTreeMap::new();
        for sequence in 1..=record.sequence {
            for index in 0..3 {
                numbers.insert(event_id(uid, sequence, index), sequence);
            }
        }
        let mut found: Vec<_> =
            self.events(release).iter().map(|event| numbers.get(&event.id).copied()).collect();
        found.dedup();
        found
    }
}

/// `dev.cdevents.service.upgraded.0.3.0` is `service.upgraded`.
fn short(kind: &str) -> String {
    let kind = kind.strip_prefix("dev.cdevents.").or(kind.strip_prefix("dev.cdeventsx.")).unwrap();
    kind.splitn(3, '.').take(2).collect::<Vec<_>>().join(".")
}

fn header(message: &BorrowedMessage<'_>, name: &str) -> String {
    let found = message.headers().unwrap().iter().find(|header| header.key == name).unwrap();
    String::from_utf8(found.value.unwrap().to_vec()).unwrap()
}
