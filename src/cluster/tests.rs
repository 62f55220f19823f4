//! The room against the in-process API server, through a `kube::Client`, as the daemon uses it.

mod election;
mod pulls;
mod records;
mod views;
mod writes;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::Cluster;
use super::calls::{Calls, Place};
use super::revision::Owner;
use crate::model::name::{Namespace, ReleaseKey, TeamName};
use crate::model::object::{ContentHash, Manifest, ObjectKey, Role};
use crate::sandbox::api::{ApiOptions, ApiServer, KindSpec};

/// How long a test waits for what must come before it fails.
const PATIENCE: Duration = Duration::from_secs(20);

/// A server, a handle on it, and what was woken.
struct World {
    server: ApiServer,
    cluster: Cluster,
    release: ReleaseKey,
    namespace: Namespace,
    team: TeamName,
    woken: Arc<Mutex<Vec<ReleaseKey>>>,
    tasks: TaskTracker,
    newer: watch::Sender<u64>,
    shutdown: CancellationToken,
}

impl Drop for World {
    fn drop(&mut self) {
        self.shutdown.cancel();
    }
}

impl World {
    /// A server with the namespace `shop` and the kind `Release`; no watch runs.
    async fn new() -> Self {
        let server = ApiServer::new(ApiOptions::default());
        server.register(KindSpec::from_crd(&super::crd::crd()).unwrap());
        let woken: Arc<Mutex<Vec<ReleaseKey>>> = Arc::default();
        let sink = Arc::clone(&woken);
        let cluster =
            Cluster::new(server.client(), Arc::new(move |key| sink.lock().unwrap().push(key.clone())));
        let world = Self {
            server,
            cluster,
            release: "web.prod".parse().unwrap(),
            namespace: "shop".parse().unwrap(),
            team: "tea".parse().unwrap(),
            woken,
            tasks: TaskTracker::new(),
            newer: watch::Sender::default(),
            shutdown: CancellationToken::new(),
        };
        world.cluster.ensure_namespace(&world.namespace).await.unwrap();
        world
    }

    /// The same with all watches in step.
    async fn watching() -> Self {
        let world = Self::new().await;
        world.cluster.watch(&world.tasks, &world.shutdown);
        let mut synced = world.cluster.view().synced();
        tokio::time::timeout(PATIENCE, synced.wait_for(|synced| *synced)).await.unwrap().unwrap();
        world.woken.lock().unwrap().clear();
        world
    }

    fn owner(&self) -> Owner<'_> {
        Owner { release: &self.release, namespace: &self.namespace, team: &self.team }
    }

    fn calls(&self) -> &Calls {
        self.cluster.calls()
    }

    async fn get(&self, key: &ObjectKey) -> Option<Value> {
        let resource = super::raw::resource_of(key);
        let place = Place { resource: &resource, namespace: &key.namespace, name: &key.name };
        self.calls().get(&place).await.unwrap().map(super::raw::Raw::into_value)
    }

    /// Waits until something holds, with a deadline instead of a sleep of its own length.
    async fn eventually(&self, what: &str, mut holds: impl FnMut() -> bool) {
        let wait = async {
            while !holds() {
                tokio::task::yield_now().await;
            }
        };
        assert!(tokio::time::timeout(PATIENCE, wait).await.is_ok(), "never: {what}");
    }

    /// Mutating requests since the last call.
    fn mutations(&self) -> usize {
        let count = self.server.requests().iter().filter(|request| request.mutating).count();
        self.server.clear_requests();
        count
    }
}

fn key(kind: &str, name: &str) -> ObjectKey {
    let api_version = if kind == "Deployment" { "apps/v1" } else { "v1" };
    ObjectKey {
        api_version: api_version.into(),
        kind: kind.into(),
        namespace: "shop".into(),
        name: name.into(),
    }
}

fn labels() -> Value {
    json!({"app.kubernetes.io/managed-by": "idp", "idp.dev/service": "web", "idp.dev/environment": "prod"})
}

fn manifest(key: &ObjectKey, role: Role, rest: &Value) -> Manifest {
    let mut body = json!({"apiVersion": key.api_version, "kind": key.kind,
        "metadata": {"name": key.name, "namespace": key.namespace, "labels": labels()}});
    for (name, value) in rest.as_object().unwrap() {
        body[name] = value.clone();
    }
    Manifest { key: key.clone(), role, hash: ContentHash("0".into()), body }
}

fn deployment(name: &str, image: &str, replicas: Option<u32>) -> Manifest {
    let mut spec = json!({
        "selector": {"matchLabels": {"idp.dev/release": "web.prod"}},
        "template": {"metadata": {"labels": {"idp.dev/release": "web.prod", "idp.dev/service": "web"}},
            "spec": {"containers": [{"name": "app", "image": image}]}},
    });
    if let Some(replicas) = replicas {
        spec["replicas"] = replicas.into();
    }
    manifest(&key("Deployment", name), Role::Workload, &json!({"spec": spec}))
}

fn config(name: &str, value: &str) -> Manifest {
    manifest(&key("ConfigMap", name), Role::Config, &json!({"data": {"a": value}}))
}
