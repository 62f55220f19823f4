//! What happened in the cluster, noted by watches of its own: which objects ever existed, how few pods were ready at the worst, and
//! every record that was stored.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard};

use futures::StreamExt as _;
use idp::cluster::raw::resource;
use idp::model::record::Record;
use idp::sandbox::ApiServer;
use kube::api::{Api, DynamicObject};
use kube::runtime::WatchStreamExt as _;
use kube::runtime::watcher::{self, Event, watcher};
use serde_json::Value;
use tokio::task::JoinSet;

const KINDS: [(&str, &str); 7] = [
    ("apps/v1", "Deployment"),
    ("apps/v1", "ReplicaSet"),
    ("v1", "Pod"),
    ("v1", "Service"),
    ("v1", "ConfigMap"),
    ("v1", "Secret"),
    ("idp.dev/v1alpha1", "Release"),
];

/// Its watches end with it.
#[derive(Default)]
pub struct Ledger {
    notes: Arc<Mutex<Notes>>,
    watches: JoinSet<()>,
}

#[derive(Default)]
struct Notes {
    /// Every UID that an object of a kind and name ever had, by `Kind/name`.
    seen: BTreeMap<String, BTreeSet<String>>,
    /// The pods that are there, and whether each is ready and stays, by name.
    pods: BTreeMap<String, bool>,
    least_ready: Option<usize>,
    /// The phases that each rollout was seen in, in order, by `service/number`.
    phases: BTreeMap<String, Vec<String>>,
}

impl Ledger {
    /// Begins to watch; the `Release` kind must be known to the server by then.
    pub fn follow(&mut self, server: &ApiServer) {
        for (version, kind) in KINDS {
            let notes = Arc::clone(&self.notes);
            let api: Api<DynamicObject> = Api::all_with(server.client_as("ledger"), &resource(version, kind));
            self.watches.spawn(async move {
                let mut events = std::pin::pin!(watcher(api, watcher::Config::default()).default_backoff());
                while let Some(event) = events.next().await {
                    let mut notes = notes.lock().unwrap();
                    match event {
                        Ok(Event::Apply(object) | Event::InitApply(object)) => notes.note(kind, &object),
                        Ok(Event::Delete(object)) => notes.gone(kind, &object),
                        Ok(Event::Init | Event::InitDone) | Err(_) => {}
                    }
                }
            });
        }
    }

    /// Whether it does not watch yet.
    pub fn is_idle(&self) -> bool {
        self.watches.is_empty()
    }

    fn notes(&self) -> MutexGuard<'_, Notes> {
        self.notes.lock().unwrap()
    }

    /// How many objects ever had exactly this name.
    pub fn ever_named(&self, kind: &str, name: &str) -> usize {
        self.notes().seen.get(&format!("{kind}/{name}")).map_or(0, BTreeSet::len)
    }

    /// The phases that a rollout was seen in.
    pub fn phases(&self, service: &str, number: u64) -> Vec<String> {
        self.notes().phases.get(&format!("{service}/{number}")).cloned().unwrap_or_default()
    }

    /// From now on notes how few pods were ready at the worst.
    pub fn count_ready_from_now(&self) {
        let mut notes = self.notes();
        notes.least_ready = Some(usize::MAX);
        notes.count_ready();
    }

    /// How few pods were ready at the worst since [`Self::count_ready_from_now`].
    pub fn least_ready(&self) -> usize {
        self.notes().least_ready.unwrap()
    }
}

impl Notes {
    fn note(&mut self, kind: &str, object: &DynamicObject) {
        let (name, uid) = (object.metadata.name.clone().unwrap(), object.metadata.uid.clone().unwrap());
        match kind {
            "Pod" => {
                let conditions = object.data.pointer("/status/conditions").and_then(Value::as_array);
                let ready =
                    conditions.into_iter().flatten().any(|c| c["type"] == "Ready" && c["status"] == "True");
                let stays = object.metadata.deletion_timestamp.is_none();
                self.pods.insert(name, ready && stays);
                self.count_ready();
            }
            "Release" => {
                let Ok(record) = serde_json::from_value::<Record>(object.data["status"].clone()) else {
                    return;
                };
                if let Some(rollout) = record.rollout {
                    let phases = self.phases.entry(format!("{name}/{}", rollout.number)).or_default();
                    let phase = rollout.phase.name().to_owned();
                    if phases.last() != Some(&phase) {
                        phases.push(phase);
                    }
                }
            }
            _ => {}
        }
        if kind != "Pod" {
            let name = object.metadata.name.clone().unwrap();
            self.seen.entry(format!("{kind}/{name}")).or_default().insert(uid);
        }
    }

    fn gone(&mut self, kind: &str, object: &DynamicObject) {
        if kind == "Pod" {
            self.pods.remove(object.metadata.name.as_deref().unwrap());
            self.count_ready();
        }
    }

    fn count_ready(&mut self) {
        let ready = self.pods.values().filter(|ready| **ready).count();
        self.least_ready = self.least_ready.map(|least| least.min(ready));
    }
}
