//! How the controllers reach the store: reads, and writes that the fault hook and the log see.

use std::{sync::Arc, time::Duration};

use jiff::Timestamp;
use serde_json::{Value, json};
use tokio::sync::watch;

use super::{
    super::{
        api::{ApiError, ApiServer, Change, Core, KindSpec, LabelSelector, Reply, Request, Verb},
        clock, json,
    },
    Key, replica_set_key,
};

const AGENT: &str = "kube-controller-manager";

/// The store, as one client of it.
pub(super) struct Hands {
    core: Arc<Core>,
    deployments: Option<Arc<KindSpec>>,
    replica_sets: Option<Arc<KindSpec>>,
    stateful_sets: Option<Arc<KindSpec>>,
    daemon_sets: Option<Arc<KindSpec>>,
    nodes: Option<Arc<KindSpec>>,
    revisions: Option<Arc<KindSpec>>,
    pods: Option<Arc<KindSpec>>,
    autoscalers: Option<Arc<KindSpec>>,
    jobs: Option<Arc<KindSpec>>,
    cron_jobs: Option<Arc<KindSpec>>,
    time_scale: f64,
}

impl Hands {
    pub(super) fn new(server: &ApiServer, time_scale: f64) -> Self {
        let core = server.core().clone();
        let kind = |group: &str, version: &str, plural: &str| core.store().kind(group, version, plural);
        let autoscalers = kind("autoscaling", "v2", "horizontalpodautoscalers");
        Self {
            deployments: kind("apps", "v1", "deployments"),
            replica_sets: kind("apps", "v1", "replicasets"),
            stateful_sets: kind("apps", "v1", "statefulsets"),
            daemon_sets: kind("apps", "v1", "daemonsets"),
            nodes: kind("", "v1", "nodes"),
            revisions: kind("apps", "v1", "controllerrevisions"),
            pods: kind("", "v1", "pods"),
            jobs: kind("batch", "v1", "jobs"),
            cron_jobs: kind("batch", "v1", "cronjobs"),
            autoscalers,
            core,
            time_scale,
        }
    }

    pub(super) fn subscribe(&self) -> watch::Receiver<u64> {
        self.core.store().subscribe()
    }

    /// The changes after `version` (none if some are forgotten), and the version that they lead to.
    pub(super) fn changes_since(&self, version: u64) -> (Option<Vec<Change>>, u64) {
        let store = self.core.store();
        let changes = store.since(version).map(|changes| changes.cloned().collect());
        (changes, store.version())
    }

    pub(super) fn now(&self) -> Timestamp {
        self.core.clock.now()
    }

    pub(super) fn now_text(&self) -> String {
        clock::seconds_text(self.now())
    }

    /// A time of an object's spec as the sandbox's clock counts it.
    pub(super) fn scaled(&self, time: Duration) -> Duration {
        time.mul_f64(self.time_scale)
    }

    fn list(&self, kind: Option<&Arc<KindSpec>>, namespace: &str) -> Vec<Arc<Value>> {
        kind.map(|kind| self.core.store().list(kind, namespace).cloned().collect()).unwrap_or_default()
    }

    fn get(&self, kind: Option<&Arc<KindSpec>>, namespace: &str, name: &str) -> Option<Arc<Value>> {
        self.core.store().get(kind?, namespace, name)
    }

    pub(super) fn deployment(&self, namespace: &str, name: &str) -> Option<Arc<Value>> {
        self.get(self.deployments.as_ref(), namespace, name)
    }

    pub(super) fn replica_set(&self, namespace: &str, name: &str) -> Option<Arc<Value>> {
        self.get(self.replica_sets.as_ref(), namespace, name)
    }

    pub(super) fn autoscaler(&self, namespace: &str, name: &str) -> Option<Arc<Value>> {
        self.get(self.autoscalers.as_ref(), namespace, name)
    }

    pub(super) fn autoscalers(&self, namespace: &str) -> Vec<Arc<Value>> {
        self.list(self.autoscalers.as_ref(), namespace)
    }

    /// The autoscalers of a Deployment.
    pub(super) fn scaling(&self, deployment: &Value) -> Vec<Key> {
        let (namespace, name) = super::key_parts(deployment);
        let all = self.autoscalers(&namespace);
        let of = |one: &&Arc<Value>| json::text(one, &["spec", "scaleTargetRef", "name"]) == name;
        all.iter().filter(of).map(|one| super::autoscaler_key(one)).collect()
    }

    /// The mean CPU use of a Deployment's pods that a test tells of, in per cent of what they request.
    pub(super) fn cpu(&self, namespace: &str, deployment: &str) -> Option<i64> {
        let key = (namespace.to_owned(), deployment.to_owned());
        self.core.settings().cpu.get(&key).map(|used| i64::from(*used))
    }

    pub(super) fn stateful_set(&self, namespace: &str, name: &str) -> Option<Arc<Value>> {
        self.get(self.stateful_sets.as_ref(), namespace, name)
    }

    pub(super) fn all_stateful_sets(&self) -> Vec<Arc<Value>> {
        self.list(self.stateful_sets.as_ref(), "")
    }

    pub(super) fn daemon_set(&self, namespace: &str, name: &str) -> Option<Arc<Value>> {
        self.get(self.daemon_sets.as_ref(), namespace, name)
    }

    pub(super) fn all_daemon_sets(&self) -> Vec<Arc<Value>> {
        self.list(self.daemon_sets.as_ref(), "")
    }

    pub(super) fn update_daemon_set_status(&self, set: Value) -> Result<Arc<Value>, ApiError> {
        self.update(self.daemon_sets.as_ref(), set, "status")
    }

    pub(super) fn nodes(&self) -> Vec<Arc<Value>> {
        self.list(self.nodes.as_ref(), "")
    }

    pub(super) fn revisions(&self, namespace: &str) -> Vec<Arc<Value>> {
        self.list(self.revisions.as_ref(), namespace)
    }

    pub(super) fn create_revision(&self, namespace: &str, body: Value) -> Result<Arc<Value>, ApiError> {
        self.write(self.revisions.as_ref(), Verb::Create, namespace, "", "", body)
    }

    pub(super) fn update_revision(&self, revision: Value) -> Result<Arc<Value>, ApiError> {
        self.update(self.revisions.as_ref(), revision, "")
    }

    pub(super) fn delete_revision(&self, revision: &Value) -> Result<Arc<Value>, ApiError> {
        let kind = self.revisions.clone();
        kind.map_or_else(|| Err(ApiError::no_such_path()), |kind| self.delete(&kind, revision))
    }

    pub(super) fn update_stateful_set_status(&self, set: Value) -> Result<Arc<Value>, ApiError> {
        self.update(self.stateful_sets.as_ref(), set, "status")
    }

    pub(super) fn job(&self, namespace: &str, name: &str) -> Option<Arc<Value>> {
        self.get(self.jobs.as_ref(), namespace, name)
    }

    pub(super) fn all_jobs(&self) -> Vec<Arc<Value>> {
        self.list(self.jobs.as_ref(), "")
    }

    pub(super) fn update_job_status(&self, job: Value) -> Result<Arc<Value>, ApiError> {
        self.update(self.jobs.as_ref(), job, "status")
    }

    pub(super) fn create_job(&self, namespace: &str, body: Value) -> Result<Arc<Value>, ApiError> {
        self.write(self.jobs.as_ref(), Verb::Create, namespace, "", "", body)
    }

    pub(super) fn delete_job(&self, job: &Value) -> Result<Arc<Value>, ApiError> {
        let kind = self.jobs.clone();
        kind.map_or_else(|| Err(ApiError::no_such_path()), |kind| self.delete(&kind, job))
    }

    pub(super) fn cron_job(&self, namespace: &str, name: &str) -> Option<Arc<Value>> {
        self.get(self.cron_jobs.as_ref(), namespace, name)
    }

    pub(super) fn all_cron_jobs(&self) -> Vec<Arc<Value>> {
        self.list(self.cron_jobs.as_ref(), "")
    }

    pub(super) fn update_cron_job_status(&self, cron: Value) -> Result<Arc<Value>, ApiError> {
        self.update(self.cron_jobs.as_ref(), cron, "status")
    }

    pub(super) fn all_deployments(&self) -> Vec<Arc<Value>> {
        self.list(self.deployments.as_ref(), "")
    }

    pub(super) fn all_replica_sets(&self) -> Vec<Arc<Value>> {
        self.list(self.replica_sets.as_ref(), "")
    }

    pub(super) fn replica_sets(&self, namespace: &str) -> Vec<Arc<Value>> {
        self.list(self.replica_sets.as_ref(), namespace)
    }

    pub(super) fn pods(&self, namespace: &str) -> Vec<Arc<Value>> {
        self.list(self.pods.as_ref(), namespace)
    }

    /// The replica sets that select a pod which nobody controls: one of them may adopt it.
    pub(super) fn selecting(&self, pod: &Value) -> Vec<Key> {
        if controller_of(pod).is_some() {
            return Vec::new();
        }
        self.replica_sets(json::text(pod, &["metadata", "namespace"]))
            .iter()
            .filter(|set| selector_of(set).matches(pod))
            .map(|set| replica_set_key(set))
            .collect()
    }

    /// Every object of every kind, with its kind.
    pub(super) fn everything(&self) -> Vec<(Arc<KindSpec>, Arc<Value>)> {
        let store = self.core.store();
        let mut out = Vec::new();
        for kind in store.kinds().iter().filter(|kind| !kind.is_events_v1()) {
            out.extend(store.list(kind, "").map(|object| (kind.clone(), object.clone())));
        }
        out
    }

    pub(super) fn create_replica_set(&self, namespace: &str, body: Value) -> Result<Arc<Value>, ApiError> {
        self.write(self.replica_sets.as_ref(), Verb::Create, namespace, "", "", body)
    }

    pub(super) fn create_pod(&self, namespace: &str, body: Value) -> Result<Arc<Value>, ApiError> {
        self.write(self.pods.as_ref(), Verb::Create, namespace, "", "", body)
    }

    /// Replaces an object that was read before; refused if it has changed since.
    pub(super) fn update_replica_set(&self, set: Value, door: &str) -> Result<Arc<Value>, ApiError> {
        self.update(self.replica_sets.as_ref(), set, door)
    }

    pub(super) fn update_deployment_status(&self, deployment: Value) -> Result<Arc<Value>, ApiError> {
        self.update(self.deployments.as_ref(), deployment, "status")
    }

    pub(super) fn update_autoscaler_status(&self, autoscaler: Value) -> Result<Arc<Value>, ApiError> {
        self.update(self.autoscalers.as_ref(), autoscaler, "status")
    }

    /// Writes a Deployment's size through its scale subresource.
    pub(super) fn scale_deployment(&self, namespace: &str, name: &str, size: i64) -> Result<(), ApiError> {
        let body = json!({"metadata": {"name": name, "namespace": namespace}, "spec": {"replicas": size}});
        self.write(self.deployments.as_ref(), Verb::Update, namespace, name, "scale", body).map(drop)
    }

    pub(super) fn update_pod(&self, pod: Value) -> Result<Arc<Value>, ApiError> {
        self.update(self.pods.as_ref(), pod, "")
    }

    fn update(
        &self,
        kind: Option<&Arc<KindSpec>>,
        object: Value,
        door: &str,
    ) -> Result<Arc<Value>, ApiError> {
        let (namespace, name) = super::key_parts(&object);
        self.write(kind, Verb::Update, &namespace, &name, door, object)
    }

    pub(super) fn delete_pod(&self, pod: &Value) -> Result<Arc<Value>, ApiError> {
        let kind = self.pods.clone();
        kind.map_or_else(|| Err(ApiError::no_such_path()), |kind| self.delete(&kind, pod))
    }

    pub(super) fn delete_replica_set(&self, set: &Value) -> Result<Arc<Value>, ApiError> {
        let kind = self.replica_sets.clone();
        kind.map_or_else(|| Err(ApiError::no_such_path()), |kind| self.delete(&kind, set))
    }

    /// Deletes exactly the object that was read.
    pub(super) fn delete(&self, kind: &Arc<KindSpec>, object: &Value) -> Result<Arc<Value>, ApiError> {
        let (namespace, name) = super::key_parts(object);
        let body = json!({
            "propagationPolicy": "Background", "preconditions": {"uid": json::text(object, &["metadata", "uid"])},
        });
        self.write(Some(kind), Verb::Delete, &namespace, &name, "", body)
    }

    /// Replaces an object of any kind.
    pub(super) fn replace(&self, kind: &Arc<KindSpec>, object: Value) -> Result<Arc<Value>, ApiError> {
        self.update(Some(kind), object, "")
    }

    fn write(
        &self,
        kind: Option<&Arc<KindSpec>>,
        verb: Verb,
        namespace: &str,
        name: &str,
        door: &str,
        body: Value,
    ) -> Result<Arc<Value>, ApiError> {
        let kind = kind.ok_or_else(ApiError::no_such_path)?;
        let mut request = Request::internal(kind.clone(), verb, (namespace, name), (AGENT, body));
        door.clone_into(&mut request.subresource);
        self.core.perform(&request).map(Reply::object)
    }
}

/// The owner that controls an object.
pub(super) fn controller_of(object: &Value) -> Option<&Value> {
    json::list(object, &["metadata", "ownerReferences"])
        .iter()
        .find(|owner| json::flag(owner, &["controller"]))
}

/// Whether `owner` controls `object`.
pub(super) fn controls(owner: &Value, object: &Value) -> bool {
    controller_of(object)
        .is_some_and(|found| json::text(found, &["uid"]) == json::text(owner, &["metadata", "uid"]))
}

/// The reference by which `owner` controls what it makes.
pub(super) fn controller_reference(owner: &Value, kind: &str) -> Value {
    json!({
        "apiVersion": if matches!(kind, "Job" | "CronJob") { "batch/v1" } else { "apps/v1" }, "kind": kind,
        "name": json::text(owner, &["metadata", "name"]), "uid": json::text(owner, &["metadata", "uid"]),
        "controller": true, "blockOwnerDeletion": true,
    })
}

pub(super) fn selector_of(object: &Value) -> LabelSelector {
    LabelSelector::from_object(json::at(object, &["spec", "selector"]).unwrap_or(&Value::Null))
}

pub(super) fn is_going(object: &Value) -> bool {
    json::at(object, &["metadata", "deletionTimestamp"]).is_some()
}

/// The objects of `candidates` that `owner` controls, after adopting the orphans that its selector matches.
///
/// `adopt` stores an orphan with the owner's reference added, and returns it.
pub(super) fn claim(
    owner: &Value,
    kind: &str,
    candidates: Vec<Arc<Value>>,
    adopt: impl Fn(Value) -> Result<Arc<Value>, ApiError>,
) -> Vec<Arc<Value>> {
    let selector = selector_of(owner);
    let mut out = Vec::new();
    for object in candidates {
        let fits = selector.matches(&object);
        if controls(owner, &object) {
            if fits {
                out.push(object);
            } else {
                release(owner, &object, &adopt);
            }
        } else if controller_of(&object).is_none() && fits && !is_going(&object) && !is_going(owner) {
            let mut new = (*object).clone();
            let owners = json::list_mut(json::map_mut(&mut new, &["metadata"]), "ownerReferences");
            owners.push(controller_reference(owner, kind));
            // What was not adopted now is adopted with the change that prevented it.
            if let Ok(adopted) = adopt(new) {
                out.push(adopted);
            }
        }
    }
    out
}

fn release(owner: &Value, object: &Value, store: impl Fn(Value) -> Result<Arc<Value>, ApiError>) {
    let uid = json::text(owner, &["metadata", "uid"]);
    let mut new = object.clone();
    let owners = json::list_mut(json::map_mut(&mut new, &["metadata"]), "ownerReferences");
    owners.retain(|one| json::text(one, &["uid"]) != uid);
    // A refusal means that the object has changed, which brings it here again.
    let _ = store(new);
}
