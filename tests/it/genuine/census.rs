//! Every object that ever was in a namespace: how often each was made, and which are there.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

use futures::{StreamExt as _, TryStreamExt as _};
use kube::api::{Api, ApiResource, DynamicObject, GroupVersionKind};
use kube::runtime::WatchStreamExt as _;
use kube::runtime::watcher::{self, Event};
use tokio::task::JoinSet;

/// What the daemon makes, and what the controllers make of it.
const KINDS: [(&str, &str, &str); 10] = [
    ("apps", "v1", "Deployment"),
    ("apps", "v1", "ReplicaSet"),
    ("apps", "v1", "StatefulSet"),
    ("apps", "v1", "DaemonSet"),
    ("batch", "v1", "Job"),
    ("batch", "v1", "CronJob"),
    ("", "v1", "Service"),
    ("", "v1", "Secret"),
    ("", "v1", "ConfigMap"),
    ("idp.dev", "v1alpha1", "Release"),
];

#[derive(Default)]
struct Seen {
    /// UIDs by kind and name.
    made: BTreeMap<(String, String), BTreeSet<String>>,
    there: BTreeMap<(String, String), DynamicObject>,
    /// How often one of that kind and name was deleted.
    gone: BTreeMap<(String, String), usize>,
}

/// Watches a namespace from now on until it is dropped.
pub struct Census {
    seen: Arc<Mutex<Seen>>,
    _watching: JoinSet<()>,
}

impl Census {
    pub fn begin(client: &kube::Client, namespace: &str) -> Self {
        let seen: Arc<Mutex<Seen>> = Arc::default();
        let mut watching = JoinSet::new();
        for (group, version, kind) in KINDS {
            let resource = ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, kind));
            let api: Api<DynamicObject> = Api::namespaced_with(client.clone(), namespace, &resource);
            watching.spawn(watch(kind, api, Arc::clone(&seen)));
        }
        Self { seen, _watching: watching }
    }

    /// Returns how many objects were ever made under each name of a service; ReplicaSets count under their Deployment.
    pub fn made(&self, service: &str) -> BTreeMap<String, usize> {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let all = seen.made.iter().map(|((kind, name), uids)| (plain(kind, name, service), uids.len()));
        all.filter_map(|(name, count)| Some((name?, count))).collect()
    }

    /// Returns how many objects were deleted under each name of a service; ReplicaSets are their controller's.
    pub fn gone(&self, service: &str) -> BTreeMap<String, usize> {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let all = seen.gone.iter().filter(|((kind, _), _)| kind != "ReplicaSet");
        all.filter_map(|((kind, name), count)| Some((plain(kind, name, service)?, *count))).collect()
    }

    /// Returns the objects of a service that are there, each with what tells one end from another.
    pub fn there(&self, service: &str) -> BTreeMap<String, String> {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let all = seen.there.iter().filter(|((kind, _), _)| kind != "ReplicaSet");
        all.filter_map(|((kind, name), object)| Some((plain(kind, name, service)?, facts(kind, object))))
            .collect()
    }
}

/// Returns the name of a service's object as it would be for any service.
fn plain(kind: &str, name: &str, service: &str) -> Option<String> {
    let rest = name.strip_prefix("idp-").unwrap_or(name).strip_prefix(service)?;
    (rest.is_empty() || rest.starts_with('-')).then(|| format!("{kind}/{}", name.replace(service, "SERVICE")))
}

/// Returns what tells one end from another. Whose rollout last wrote an object is a fact of workloads and revisions only: a new leader
/// writes its epoch on the others too.
fn facts(kind: &str, object: &DynamicObject) -> String {
    let annotations = object
        .metadata
        .annotations
        .as_ref()
        .filter(|_| matches!(kind, "Deployment" | "StatefulSet" | "DaemonSet"));
    let labels = object.metadata.labels.as_ref().filter(|_| kind == "Secret");
    let at = |map: Option<&BTreeMap<String, String>>, name: &str| map?.get(name).cloned();
    let rollout = at(annotations, "idp.dev/rollout").or(at(labels, "idp.dev/rollout"));
    if kind == "Job" {
        return job_facts(object).to_owned();
    }
    if kind == "CronJob" {
        let container = object.data.pointer("/spec/jobTemplate/spec/template/spec/containers/0/image");
        let image =
            container.and_then(|image| image.as_str()).is_some_and(|image| image.contains("@sha256:"));
        return format!("pinned {image}, suspended {:?}", object.data.pointer("/spec/suspend"));
    }
    if kind == "DaemonSet" {
        let replaced = object.data.pointer("/spec/updateStrategy/type");
        return format!("replaced by {replaced:?}, rollout {rollout:?}");
    }
    let replicas = object.data.pointer("/spec/replicas");
    format!("replicas {replicas:?}, rollout {rollout:?}, mark {:?}", at(labels, "idp.dev/mark"))
}

/// How a Job ended. One of a gate that completed is on its way out, as is what still runs.
fn job_facts(object: &DynamicObject) -> &'static str {
    let conditions = object.data.pointer("/status/conditions").and_then(|all| all.as_array());
    let holds = |kind: &str| {
        conditions.into_iter().flatten().any(|one| one["type"] == kind && one["status"] == "True")
    };
    let gate = object.metadata.labels.iter().flatten().any(|(name, _)| name == "idp.dev/gate");
    match (holds("Failed"), holds("Complete")) {
        (true, _) => "failed",
        (_, true) if !gate => "complete",
        _ => "a candidate's",
    }
}

async fn watch(kind: &'static str, api: Api<DynamicObject>, seen: Arc<Mutex<Seen>>) {
    let mut events = watcher::watcher(api, watcher::Config::default()).default_backoff().boxed();
    loop {
        let event = match events.try_next().await {
            Ok(Some(event)) => event,
            Ok(None) => return,
            // It begins again by itself, as long as the definition of a Release is not installed.
            Err(_) => continue,
        };
        let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
        match event {
            Event::Apply(object) | Event::InitApply(object) => {
                let uid = object.metadata.uid.clone().unwrap_or_default();
                seen.made.entry(place(kind, &object)).or_default().insert(uid);
                seen.there.insert(place(kind, &object), object);
            }
            Event::Delete(object) => {
                let place = place(kind, &object);
                seen.there.remove(&place);
                *seen.gone.entry(place).or_default() += 1;
            }
            Event::Init | Event::InitDone => {}
        }
    }
}

fn place(kind: &str, object: &DynamicObject) -> (String, String) {
    let owner = object.metadata.owner_references.iter().flatten().next().map(|owner| owner.name.clone());
    let name = owner.filter(|_| kind == "ReplicaSet").or(object.metadata.name.clone());
    (kind.to_owned(), name.unwrap_or_default())
}
