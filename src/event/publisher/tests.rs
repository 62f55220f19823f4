//! The loop against librdkafka's mock broker, and against the log.

use std::collections::{BTreeMap, BTreeSet};

use rdkafka::consumer::{Consumer as _, StreamConsumer};
use rdkafka::message::{Headers as _, Message as _};
use rdkafka::mocking::MockCluster;
use rdkafka::producer::DefaultProducerContext;
use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};
use rdkafka::{ClientConfig, Offset, TopicPartitionList};

use super::*;
use crate::event::catalogue::EventSource;
use crate::event::catalogue::stories::{source, stories};
use crate::event::kafka::KafkaConfig;
use crate::event::outbox::outbox_push;
use crate::event::outbox::tests::record;
use crate::telemetry::metrics::Metrics;

const TOPIC: &str = "idp.deployments";
const PATIENCE: Duration = Duration::from_mins(1);

fn release(number: usize) -> ReleaseKey {
    format!("service-{number}.production").parse().unwrap()
}

/// The outbox of a release that has been through `count` transitions.
fn outgoing(number: usize, count: usize) -> Outgoing {
    let mut record = record();
    let source = EventSource { release_uid: format!("uid-{number}"), ..source() };
    for story in stories().iter().cycle().take(count) {
        outbox_push(&mut record, &source, story);
    }
    Outgoing {
        release: release(number),
        uid: source.release_uid,
        entries: record.outbox.into_iter().collect(),
    }
}

struct Running {
    offers: mpsc::Sender<Outgoing>,
    acks: mpsc::Receiver<Acked>,
    metrics: Metrics,
    shutdown: CancellationToken,
    task: tokio::task::JoinHandle<usize>,
}

impl Running {
    fn start(sink: Sink) -> Self {
        let (offers, inbox) = mpsc::channel(64);
        let (outbox, acks) = mpsc::channel(4);
        let (metrics, shutdown) = (Metrics::register().unwrap(), CancellationToken::new());
        let run = run(sink, inbox, outbox, metrics.events.clone(), shutdown.clone(), Duration::from_secs(2));
        Self { offers, acks, metrics, shutdown, task: tokio::spawn(run) }
    }

    /// Waits until everything of these offers is acknowledged.
    async fn acknowledged(&mut self, offered: &[Outgoing]) {
        let mut left: BTreeMap<ReleaseKey, u64> =
            offered.iter().map(|o| (o.release.clone(), o.entries.last().unwrap().0)).collect();
        while !left.is_empty() {
            let acked = tokio::time::timeout(PATIENCE, self.acks.recv()).await.unwrap().unwrap();
            if left.get(&acked.release) == Some(&acked.sequence) {
                left.remove(&acked.release);
            }
        }
    }

    /// Waits until a line of `/metrics` contains all of `parts`.
    async fn counted(&self, parts: &[&str]) {
        let found = async {
            while !self.metrics.render().lines().any(|line| parts.iter().all(|part| line.contains(part))) {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::time::timeout(PATIENCE, found).await.unwrap();
    }

    async fn stop(self) -> usize {
        self.shutdown.cancel();
        tokio::time::timeout(PATIENCE, self.task).await.unwrap().unwrap()
    }
}

fn mock() -> MockCluster<'static, DefaultProducerContext> {
    let cluster = MockCluster::new(1).unwrap();
    cluster.create_topic(TOPIC, 3, 1).unwrap();
    cluster
}

fn kafka(cluster: &MockCluster<'static, DefaultProducerContext>, properties: &[(&str, &str)]) -> Sink {
    let config = KafkaConfig {
        brokers: vec![cluster.bootstrap_servers()],
        topic: TOPIC.into(),
        properties: properties
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect(),
        structured: false,
    };
    Sink::Kafka(KafkaSink::new(config).unwrap())
}

/// One record as a consumer sees it.
#[derive(Debug, Clone, PartialEq)]
struct Seen {
    key: String,
    id: String,
    value: String,
}

/// Reads until every id of `offered` was seen; returns what came, in the order of each partition.
async fn consume(cluster: &MockCluster<'static, DefaultProducerContext>, offered: &[Outgoing]) -> Vec<Seen> {
    let consumer: StreamConsumer = ClientConfig::new()
        .set("bootstrap.servers", cluster.bootstrap_servers())
        .set("group.id", "test")
        .create()
        .unwrap();
    let mut partitions = TopicPartitionList::new();
    for partition in 0..3 {
        partitions.add_partition_offset(TOPIC, partition, Offset::Beginning).unwrap();
    }
    consumer.assign(&partitions).unwrap();
    let events = |offered: &Outgoing| -> Vec<String> {
        offered
            .entries
            .iter()
            .flat_map(|(_, entry)| entry.events.iter().map(|event| event.id.clone()))
            .collect()
    };
    let mut missing: BTreeSet<String> = offered.iter().flat_map(events).collect();
    let mut seen = Vec::new();
    while !missing.is_empty() {
        let message = tokio::time::timeout(PATIENCE, consumer.recv()).await.unwrap().unwrap();
        let headers = message.headers().unwrap();
        let id = headers.iter().find(|header| header.key == "ce_id").unwrap().value.unwrap();
        let id = String::from_utf8(id.to_vec()).unwrap();
        missing.remove(&id);
        let text = |bytes: Option<&[u8]>| String::from_utf8(bytes.unwrap().to_vec()).unwrap();
        seen.push(Seen { key: text(message.key()), id, value: text(message.payload()) });
    }
    seen
}

/// Drops duplicates by id, and checks that they were equal and that each key's rest is what was offered, in order.
fn check(seen: Vec<Seen>, offered: &[Outgoing]) {
    let mut first: BTreeMap<String, Seen> = BTreeMap::new();
    let mut order: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for record in seen {
        if let Some(known) = first.get(&record.id) {
            assert_eq!(known, &record, "equal ids have equal bytes");
            continue;
        }
        order.entry(record.key.clone()).or_default().push(record.value.clone());
        first.insert(record.id.clone(), record);
    }
    for offered in offered {
        let expected: Vec<String> = offered
            .entries
            .iter()
            .flat_map(|(_, entry)| entry.events.iter().map(|event| event.data.clone()))
            .collect();
        assert_eq!(order.get(&offered.release.to_string()), Some(&expected));
    }
}

#[tokio::test]
async fn every_event_arrives_in_the_order_of_its_key() {
    let cluster = mock();
    let mut running = Running::start(kafka(&cluster, &[]));
    let offered: Vec<Outgoing> = (0..5).map(|number| outgoing(number, 20)).collect();
    for outgoing in &offered {
        // The record is offered as it grows.
        for length in [3, 11, 20] {
            let entries = outgoing.entries.iter().take(length).cloned().collect();
            assert!(offer(&running.offers, Outgoing { entries, ..outgoing.clone() }));
        }
    }
    running.acknowledged(&offered).await;
    check(consume(&cluster, &offered).await, &offered);
    assert_eq!(running.stop().await, 0);
}

#[tokio::test]
async fn a_broker_that_was_away_gets_everything_once_it_is_back() {
    let cluster = mock();
    let mut running = Running::start(kafka(&cluster, &[("message.timeout.ms", "300")]));
    let first = [outgoing(0, 2)];
    assert!(offer(&running.offers, first[0].clone()));
    running.acknowledged(&first).await;
    cluster.broker_down(1).unwrap();
    let offered: Vec<Outgoing> = (0..3).map(|number| outgoing(number, 12)).collect();
    for outgoing in &offered {
        assert!(offer(&running.offers, outgoing.clone()));
    }
    running.counted(&["idp_events_published_total", r#"result="timeout""#]).await;
    cluster.broker_up(1).unwrap();
    running.acknowledged(&offered).await;
    check(consume(&cluster, &offered).await, &offered);
    assert_eq!(running.stop().await, 0);
}

#[tokio::test]
async fn after_a_fatal_error_a_new_producer_goes_on() {
    let cluster = mock();
    cluster.request_errors(
        RDKafkaApiKey::InitProducerId,
        &[RDKafkaRespErr::RD_KAFKA_RESP_ERR_CLUSTER_AUTHORIZATION_FAILED],
    );
    let mut running = Running::start(kafka(&cluster, &[]));
    let offered = [outgoing(0, 5)];
    assert!(offer(&running.offers, offered[0].clone()));
    running.acknowledged(&offered).await;
    running.counted(&["idp_events_published_total", r#"result="fatal""#]).await;
    check(consume(&cluster, &offered).await, &offered);
    assert_eq!(running.stop().await, 0);
}

#[tokio::test]
async fn an_event_that_is_too_large_is_dropped_and_holds_up_nobody() {
    let cluster = mock();
    let mut running = Running::start(kafka(&cluster, &[("message.max.bytes", "9000")]));
    let mut poisoned = outgoing(0, 3);
    poisoned.entries[1].1.events[0].data = format!("{:?}", "x".repeat(20_000));
    let offered = [poisoned, outgoing(1, 3)];
    for outgoing in &offered {
        assert!(offer(&running.offers, outgoing.clone()));
    }
    running.acknowledged(&offered).await;
    running.counted(&["idp_events_dropped_total", r#"result="unsendable""#]).await;
    let mut rest = offered;
    rest[0].entries.remove(1);
    check(consume(&cluster, &rest).await, &rest);
    assert_eq!(running.stop().await, 0);
}

#[tokio::test]
async fn stopping_without_a_broker_ends_by_its_deadline_and_says_what_is_left() {
    let nowhere =
        KafkaConfig { brokers: vec!["127.0.0.1:1".into()], topic: TOPIC.into(), ..KafkaConfig::default() };
    let running = Running::start(Sink::Kafka(KafkaSink::new(nowhere).unwrap()));
    assert!(offer(&running.offers, outgoing(0, 7)));
    let begun = tokio::time::Instant::now();
    assert_eq!(running.stop().await, 7);
    assert!(begun.elapsed() < Duration::from_secs(10));
}

#[tokio::test]
async fn a_busy_publisher_never_holds_its_sender() {
    let (offers, _inbox) = mpsc::channel(1);
    assert!(offer(&offers, outgoing(0, 1)));
    assert!(!offer(&offers, outgoing(0, 1)));
}

#[tokio::test]
async fn without_a_broker_the_log_acknowledges_at_once_and_a_lost_acknowledgement_comes_again() {
    let mut running = Running::start(Sink::Log);
    let offered = [outgoing(0, 9)];
    for _ in 0..2 {
        assert!(offer(&running.offers, offered[0].clone()));
        running.acknowledged(&offered).await;
    }
    let published: f64 = running
        .metrics
        .render()
        .lines()
        .filter(|line| line.starts_with("idp_events_published_total{"))
        .map(|line| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap())
        .sum();
    assert!((published - 9.0).abs() < f64::EPSILON, "{published}: an acknowledged entry went twice");
    assert_eq!(running.stop().await, 0);
}
