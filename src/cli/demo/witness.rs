//! Who saw what: the timeline from the `Release` object, the moment the candidate was written, and the events from the broker.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::time::Instant;

use futures::{StreamExt as _, TryStreamExt as _};
use kube::api::Api;
use kube::runtime::{WatchStreamExt as _, watcher};
use kube::{Client, api::DynamicObject};
use rdkafka::Message as _;
use rdkafka::consumer::StreamConsumer;
use rdkafka::message::{BorrowedMessage, Headers as _};
use serde_json::Value;
use tokio::sync::watch;

use super::world::NAMESPACE;
use crate::cli::connect::release_resource;
use crate::cli::timeline::{self, Line};
use crate::cluster::raw::resource;
use crate::model::record::Record;

/// An event, as it was read back from the broker.
#[derive(Debug, Clone)]
pub struct Seen {
    /// Its type.
    pub kind: String,
    /// Its data.
    pub data: Value,
}

/// Everything that was seen so far.
#[derive(Debug, Default)]
pub struct Notes {
    /// When a rollout's first pods were asked for: its Deployment was written.
    pub written: BTreeMap<u64, Instant>,
    /// Events in order, equal ids once.
    pub events: Vec<Seen>,
    ids: BTreeSet<String>,
}

/// The witness; cheap to clone.
#[derive(Clone, Default)]
pub struct Witness(Arc<Mutex<Notes>>);

impl Witness {
    /// Looks into the notes.
    pub fn notes<T>(&self, look: impl FnOnce(&Notes) -> T) -> T {
        look(&self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn note(&self, note: impl FnOnce(&mut Notes)) {
        note(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// Follows the record; every change is told as lines. Returns the newest record.
    pub fn follow(client: Client, tell: impl Fn(&Line) + Send + 'static) -> watch::Receiver<Option<Record>> {
        let (sender, records) = watch::channel(None);
        tokio::spawn(async move {
            let api: Api<DynamicObject> = Api::namespaced_with(client, NAMESPACE, &release_resource());
            let changes = watcher(api, watcher::Config::default()).default_backoff().applied_objects();
            let mut changes = std::pin::pin!(changes.filter_map(async |change| change.ok()));
            let mut before: Option<Record> = None;
            while let Some(object) = changes.next().await {
                let status = object.data.get("status").cloned().unwrap_or_default();
                let Ok(record) = serde_json::from_value::<Record>(status) else { continue };
                let number = record.rollouts;
                for line in timeline::between(before.as_ref(), &record, number, crate::cli::now()) {
                    tell(&line);
                }
                before = Some(record.clone());
                sender.send_replace(Some(record));
            }
        });
        records
    }

    /// Notes when the Deployment of each rollout is first written.
    pub fn watch_deployments(&self, client: Client) {
        let witness = self.clone();
        tokio::spawn(async move {
            let kind = resource("apps/v1", "Deployment");
            let api: Api<DynamicObject> = Api::namespaced_with(client, NAMESPACE, &kind);
            let changes = watcher(api, watcher::Config::default()).default_backoff().applied_objects();
            let mut changes = std::pin::pin!(changes.filter_map(async |change| change.ok()));
            while let Some(object) = changes.next().await {
                let number = object
                    .metadata
                    .annotations
                    .as_ref()
                    .and_then(|all| all.get(crate::model::ANNOTATION_ROLLOUT));
                if let Some(number) = number.and_then(|text| text.parse().ok()) {
                    witness.note(|notes| {
                        notes.written.entry(number).or_insert_with(Instant::now);
                    });
                }
            }
        });
    }

    /// Reads the events until `done` says that the last one came.
    pub async fn consume(&self, consumer: &StreamConsumer, done: impl Fn(&Notes) -> bool) {
        let mut messages = consumer.stream();
        while let Ok(Some(message)) = messages.try_next().await {
            let (Some(kind), Some(id)) = (header(&message, "ce_type"), header(&message, "ce_id")) else {
                continue;
            };
            let data =
                message.payload().and_then(|bytes| serde_json::from_slice(bytes).ok()).unwrap_or_default();
            self.note(|notes| {
                if notes.ids.insert(id) {
                    notes.events.push(Seen { kind, data });
                }
            });
            if self.notes(&done) {
                return;
            }
        }
    }
}

fn header(message: &BorrowedMessage<'_>, name: &str) -> Option<String> {
    let found = message.headers()?.iter().find(|header| header.key == name)?;
    found.value.and_then(|value| String::from_utf8(value.to_vec()).ok())
}
