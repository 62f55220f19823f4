//! DaemonSets on a server whose nodes a test adds and whose pods it turns ready by hand.

use std::{collections::BTreeMap, time::Duration};

use k8s_openapi::api::{
    apps::v1::DaemonSet,
    core::v1::{Node, Pod},
};
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams, PostParams};
use serde_json::{Value, json};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::super::{
    api::{ApiOptions, ApiServer},
    node::node_of,
};

struct World {
    server: ApiServer,
    sets: Api<DaemonSet>,
    nodes: Api<Node>,
    pods: Api<Pod>,
    _stop: tokio_util::sync::DropGuard,
}

fn agent(image: &str, strategy: &Value) -> Value {
    json!({
        "apiVersion": "apps/v1", "kind": "DaemonSet", "metadata": {"name": "agent"},
        "spec": {
            "selector": {"matchLabels": {"app": "agent"}}, "updateStrategy": strategy,
            "template": {
                "metadata": {"labels": {"app": "agent"}},
                "spec": {"nodeSelector": {"disk": "yes"}, "containers": [{"name": "app", "image": image}]},
            },
        },
    })
}

fn on_delete() -> Value {
    json!({"type": "OnDelete"})
}

fn rolling() -> Value {
    json!({"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 1}})
}

impl World {
    async fn with(nodes: &[&str]) -> Self {
        let server = ApiServer::new(ApiOptions::default());
        let token = CancellationToken::new();
        super::start(&server, 1.0, &TaskTracker::new(), token.clone());
        let client = server.client();
        let world = Self {
            sets: Api::namespaced(client.clone(), "default"),
            nodes: Api::all(client.clone()),
            pods: Api::namespaced(client, "default"),
            server,
            _stop: token.drop_guard(),
        };
        world.node("diskless", "no").await;
        for name in nodes {
            world.node(name, "yes").await;
        }
        world
    }

    async fn node(&self, name: &str, disk: &str) {
        let node = json!({"metadata": {"name": name, "labels": {"disk": disk}}});
        self.nodes.create(&PostParams::default(), &serde_json::from_value(node).unwrap()).await.unwrap();
    }

    async fn apply(&self, body: &Value) {
        self.sets.patch("agent", &PatchParams::apply("idp").force(), &Patch::Apply(body)).await.unwrap();
    }

    /// The image of the pod of each node; one that is not ready has a `?` behind it.
    async fn images(&self) -> BTreeMap<String, String> {
        let image = |pod: &Pod| {
            let pod = serde_json::to_value(pod).unwrap();
            let image = pod["spec"]["containers"][0]["image"].as_str().unwrap().to_owned();
            let mark = if super::pods::is_ready(&pod) { "" } else { "?" };
            (node_of(&pod).to_owned(), format!("{image}{mark}"))
        };
        self.pods.list(&ListParams::default()).await.unwrap().iter().map(image).collect()
    }

    async fn status(&self) -> Value {
        serde_json::to_value(self.sets.get("agent").await.unwrap().status).unwrap()
    }

    /// Turns pods ready but those of `broken`, until the images are so and the status says how many are ready.
    async fn until(&self, broken: &str, images: &[(&str, &str)]) {
        let wanted: BTreeMap<String, String> =
            images.iter().map(|(node, image)| ((*node).to_owned(), (*image).to_owned())).collect();
        let ready = wanted.values().filter(|image| !image.ends_with('?')).count();
        let mut changes = self.server.core().store().subscribe();
        let waiting = async {
            loop {
                changes.mark_unchanged();
                self.make_ready(broken).await;
                let set = serde_json::to_value(self.sets.get("agent").await.unwrap()).unwrap();
                let seen = set["status"]["observedGeneration"] == set["metadata"]["generation"];
                if self.images().await == wanted && seen && set["status"]["numberReady"] == ready {
                    return;
                }
                changes.changed().await.unwrap();
            }
        };
        let done = tokio::time::timeout(Duration::from_secs(10), waiting).await;
        assert!(done.is_ok(), "not in time: {:?}, wanted {wanted:?}", self.images().await);
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

    async fn delete_on(&self, node: &str) {
        for pod in self.pods.list(&ListParams::default()).await.unwrap() {
            if node_of(&serde_json::to_value(&pod).unwrap()) == node {
                let name = pod.metadata.name.unwrap();
                self.pods.delete(&name, &DeleteParams::default().grace_period(0)).await.unwrap();
            }
        }
    }
}

#[tokio::test]
async fn every_node_that_fits_has_a_pod_and_one_that_comes_gets_one() {
    let world = World::with(&["a", "b"]).await;
    world.apply(&agent("v1", &rolling())).await;
    world.until("", &[("a", "v1"), ("b", "v1")]).await;
    world.node("c", "yes").await;
    world.until("", &[("a", "v1"), ("b", "v1"), ("c", "v1")]).await;
    world.nodes.delete("b", &DeleteParams::default()).await.unwrap();
    let status = world.status().await;
    assert_eq!(
        (&status["desiredNumberScheduled"], &status["updatedNumberScheduled"]),
        (&json!(3), &json!(3))
    );
}

#[tokio::test]
async fn on_delete_replaces_only_what_somebody_deletes() {
    let world = World::with(&["a", "b", "c"]).await;
    world.apply(&agent("v1", &on_delete())).await;
    world.until("", &[("a", "v1"), ("b", "v1"), ("c", "v1")]).await;
    world.apply(&agent("v2", &on_delete())).await;
    world.until("", &[("a", "v1"), ("b", "v1"), ("c", "v1")]).await;
    world.delete_on("b").await;
    world.until("", &[("a", "v1"), ("b", "v2"), ("c", "v1")]).await;
    assert_eq!(world.status().await["updatedNumberScheduled"], 1);
    world.apply(&agent("v1", &on_delete())).await;
    world.delete_on("b").await;
    world.until("", &[("a", "v1"), ("b", "v1"), ("c", "v1")]).await;
    assert_eq!(
        world.status().await["updatedNumberScheduled"],
        3,
        "the former template's pods are the newest again"
    );
}

#[tokio::test]
async fn rolling_takes_one_at_a_time_and_stops_at_one_that_does_not_come_up() {
    let world = World::with(&["a", "b"]).await;
    world.apply(&agent("v1", &rolling())).await;
    world.until("", &[("a", "v1"), ("b", "v1")]).await;
    world.apply(&agent("bad", &rolling())).await;
    let broken = async {
        while world.images().await.values().filter(|image| *image == "bad?").count() == 0 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), broken).await.unwrap();
    world.make_ready("bad").await;
    assert_eq!(world.images().await.values().filter(|image| *image == "v1").count(), 1);
    world.apply(&agent("v2", &rolling())).await;
    world.until("bad", &[("a", "v2"), ("b", "v2")]).await;
}
