//! StatefulSets on a server whose pods a test turns ready by hand.

use std::time::Duration;

use k8s_openapi::api::{
    apps::v1::{ControllerRevision, StatefulSet},
    core::v1::Pod,
};
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams};
use serde_json::{Value, json};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::super::api::{ApiOptions, ApiServer};

struct World {
    server: ApiServer,
    sets: Api<StatefulSet>,
    revisions: Api<ControllerRevision>,
    pods: Api<Pod>,
    _stop: tokio_util::sync::DropGuard,
}

fn world() -> World {
    let server = ApiServer::new(ApiOptions::default());
    let token = CancellationToken::new();
    super::start(&server, 1.0, &TaskTracker::new(), token.clone());
    let client = server.client();
    World {
        sets: Api::namespaced(client.clone(), "default"),
        revisions: Api::namespaced(client.clone(), "default"),
        pods: Api::namespaced(client, "default"),
        server,
        _stop: token.drop_guard(),
    }
}

fn db(image: &str, policy: &str, partition: i64) -> Value {
    json!({
        "apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": {"name": "db"},
        "spec": {
            "replicas": 3, "serviceName": "db", "selector": {"matchLabels": {"app": "db"}},
            "podManagementPolicy": policy,
            "updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"partition": partition}},
            "template": {
                "metadata": {"labels": {"app": "db"}},
                "spec": {"containers": [{"name": "app", "image": image}]},
            },
        },
    })
}

impl World {
    async fn apply(&self, body: &Value) {
        self.sets.patch("db", &PatchParams::apply("idp").force(), &Patch::Apply(body)).await.unwrap();
    }

    /// The image of each pod, in order; a pod that is not ready has a `?` behind it.
    async fn images(&self) -> Vec<String> {
        let pods = self.pods.list(&ListParams::default()).await.unwrap();
        let image = |pod: &Pod| {
            let pod = serde_json::to_value(pod).unwrap();
            let ready = super::pods::is_ready(&pod);
            let image = pod["spec"]["containers"][0]["image"].as_str().unwrap().to_owned();
            if ready { image } else { format!("{image}?") }
        };
        pods.iter().map(image).collect()
    }

    /// Turns pods ready but those of `broken`, until the images are so.
    async fn until(&self, broken: &str, images: &[&str]) {
        let mut changes = self.server.core().store().subscribe();
        let waiting = async {
            loop {
                changes.mark_unchanged();
                self.make_ready(broken).await;
                if self.images().await == images && self.is_seen().await {
                    return;
                }
                changes.changed().await.unwrap();
            }
        };
        let done = tokio::time::timeout(Duration::from_secs(10), waiting).await;
        assert!(done.is_ok(), "not in time: {:?}, wanted {images:?}", self.images().await);
    }

    /// Whether the controller has nothing left to say of what there is.
    async fn is_seen(&self) -> bool {
        let set = serde_json::to_value(self.sets.get("db").await.unwrap()).unwrap();
        let ready = self.images().await.iter().filter(|image| !image.ends_with('?')).count();
        set["status"]["observedGeneration"] == set["metadata"]["generation"]
            && set["status"]["readyReplicas"].as_u64().unwrap_or(0) == ready as u64
    }

    async fn make_ready(&self, broken: &str) {
        for pod in self.pods.list(&ListParams::default().fields("status.phase=Pending")).await.unwrap() {
            let image = pod.spec.unwrap().containers[0].image.clone().unwrap();
            let ready = if image == broken { "False" } else { "True" };
            let status = json!({"status": {"phase": "Running", "conditions": [{
                "type": "Ready", "status": ready, "lastTransitionTime": self.server.clock().now_text(),
            }]}});
            let name = pod.metadata.name.unwrap();
            // A pod may have gone meanwhile.
            let _ = self.pods.patch_status(&name, &PatchParams::default(), &Patch::Merge(status)).await;
        }
    }

    async fn status(&self) -> Value {
        serde_json::to_value(self.sets.get("db").await.unwrap().status).unwrap()
    }
}

#[tokio::test]
async fn pods_come_in_order_with_stable_names_and_their_template() {
    let world = world();
    world.apply(&db("v1", "OrderedReady", 0)).await;
    world.until("v1", &["v1?"]).await;
    world.pods.delete("db-0", &DeleteParams::default()).await.unwrap();
    world.until("", &["v1", "v1", "v1"]).await;
    let pods = world.pods.list(&ListParams::default()).await.unwrap();
    let status = world.status().await;
    for (at, pod) in pods.iter().enumerate() {
        let labels = pod.metadata.labels.as_ref().unwrap();
        assert_eq!(pod.metadata.name.as_deref(), Some(format!("db-{at}").as_str()));
        assert_eq!(labels["apps.kubernetes.io/pod-index"], at.to_string());
        assert_eq!(json!(labels["controller-revision-hash"]), status["updateRevision"]);
    }
    assert_eq!(status["currentRevision"], status["updateRevision"]);
    assert_eq!([&status["replicas"], &status["updatedReplicas"]], [&json!(3), &json!(3)]);
}

#[tokio::test]
async fn all_pods_come_at_once_where_they_may() {
    let world = world();
    world.apply(&db("v1", "Parallel", 0)).await;
    world.until("v1", &["v1?", "v1?", "v1?"]).await;
}

#[tokio::test]
async fn the_partition_keeps_the_lower_pods_as_they_are() {
    let world = world();
    world.apply(&db("v1", "OrderedReady", 0)).await;
    world.until("", &["v1", "v1", "v1"]).await;
    let before = world.status().await;
    world.apply(&db("v2", "OrderedReady", 2)).await;
    world.until("", &["v1", "v1", "v2"]).await;
    let status = world.status().await;
    assert_eq!(status["currentRevision"], before["currentRevision"]);
    assert_ne!(status["updateRevision"], before["updateRevision"]);
    assert_eq!([&status["currentReplicas"], &status["updatedReplicas"]], [&json!(2), &json!(1)]);
    world.pods.delete("db-0", &DeleteParams::default()).await.unwrap();
    world.until("", &["v1", "v1", "v2"]).await;
    world.apply(&db("v2", "OrderedReady", 0)).await;
    world.until("", &["v2", "v2", "v2"]).await;
    assert_eq!(world.status().await["currentRevision"], status["updateRevision"]);
    assert_eq!(world.revisions.list(&ListParams::default()).await.unwrap().items.len(), 2);
}

#[tokio::test]
async fn a_broken_pod_stays_until_somebody_deletes_it_although_the_template_is_back() {
    for policy in ["OrderedReady", "Parallel"] {
        let world = world();
        world.apply(&db("v1", policy, 0)).await;
        world.until("", &["v1", "v1", "v1"]).await;
        let before = world.status().await;
        world.apply(&db("bad", policy, 0)).await;
        world.until("bad", &["v1", "v1", "bad?"]).await;
        world.apply(&db("v1", policy, 0)).await;
        if policy == "OrderedReady" {
            world.until("bad", &["v1", "v1", "bad?"]).await;
            tokio::time::sleep(Duration::from_millis(50)).await;
            assert_eq!(world.images().await, ["v1", "v1", "bad?"]);
            world.pods.delete("db-2", &DeleteParams::default()).await.unwrap();
        }
        world.until("bad", &["v1", "v1", "v1"]).await;
        assert_eq!(world.status().await["updateRevision"], before["updateRevision"], "the same one again");
    }
}

#[tokio::test]
async fn what_cannot_change_is_refused() {
    let world = world();
    world.apply(&db("v1", "OrderedReady", 0)).await;
    for (pointer, value) in [
        ("/spec/serviceName", json!("other")),
        ("/spec/podManagementPolicy", json!("Parallel")),
        ("/spec/updateStrategy/type", json!("OnDelete")),
        ("/spec/updateStrategy/rollingUpdate/partition", json!(-1)),
    ] {
        let mut body = db("v1", "OrderedReady", 0);
        *body.pointer_mut(pointer).unwrap() = value;
        let params = PatchParams::apply("idp").force();
        let refused = world.sets.patch("db", &params, &Patch::Apply(&body)).await.unwrap_err();
        assert!(matches!(&refused, kube::Error::Api(status) if status.code == 422), "{pointer}: {refused}");
    }
}
