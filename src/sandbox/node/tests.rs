//! Pods on a node, seen through the API and through their own ports.

use std::{net::SocketAddr, time::Duration};

use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, DeleteParams, PostParams};
use serde_json::{Value, json};

use super::{
    super::{
        api::{ApiOptions, ApiServer},
        http::get,
    },
    *,
};

struct World {
    server: ApiServer,
    node: Node,
    pods: Api<Pod>,
}

async fn world(scale: f64) -> World {
    let server = ApiServer::new(ApiOptions::default());
    let options = NodeOptions {
        time_scale: scale,
        back_off_scale: 0.001,
        crash_after: Duration::from_millis(10),
        pull_back_off: Duration::from_millis(10),
        ..NodeOptions::default()
    };
    let node = Node::start(server.client_as("sandbox-node"), options).await.unwrap();
    let pods = Api::namespaced(server.client(), "default");
    World { server, node, pods }
}

fn container(tag: &str, more: &Value) -> Value {
    let mut out = json!({"name": "app", "image": format!("shop/web:{tag}"), "ports": [{"containerPort": 8080, "name": "http"}]});
    for (key, value) in more.as_object().into_iter().flatten() {
        out[key] = value.clone();
    }
    out
}

fn probe() -> Value {
    json!({"httpGet": {"path": "/healthz", "port": "http"}, "periodSeconds": 1, "failureThreshold": 1})
}

impl World {
    async fn run(&self, tag: &str, more: &Value) {
        let pod = json!({"metadata": {"name": "web"}, "spec": {"containers": [container(tag, more)]}});
        self.pods.create(&PostParams::default(), &serde_json::from_value(pod).unwrap()).await.unwrap();
    }

    async fn until(&self, holds: impl Fn(&Value) -> bool) -> Value {
        let mut changes = self.server.core().store().subscribe();
        let waiting = async {
            loop {
                changes.mark_unchanged();
                let pod = serde_json::to_value(self.pods.get("web").await.unwrap()).unwrap();
                if holds(&pod) {
                    return pod;
                }
                changes.changed().await.unwrap();
            }
        };
        match tokio::time::timeout(Duration::from_secs(10), waiting).await.ok() {
            Some(pod) => pod,
            None => panic!("not in time: {:#?}", self.pods.get("web").await.unwrap().status),
        }
    }
}

fn ready(pod: &Value) -> bool {
    condition(pod, "Ready") == "True"
}

fn condition<'a>(pod: &'a Value, kind: &str) -> &'a str {
    json::list(pod, &["status", "conditions"])
        .iter()
        .find(|one| one["type"] == kind)
        .map_or("", |one| json::text(one, &["status"]))
}

fn status(pod: &Value) -> &Value {
    &pod["status"]["containerStatuses"][0]
}

async fn ask(pod: &Value, path: &str) -> Option<(u16, String)> {
    let address: SocketAddr = format!("{}:8080", json::text(pod, &["status", "podIP"])).parse().unwrap();
    let answer = get(address, path, "test", Duration::from_secs(2)).await.ok()?;
    Some((answer.status().as_u16(), String::from_utf8_lossy(answer.body()).into_owned()))
}

#[tokio::test]
async fn a_healthy_pod_turns_ready_and_answers() {
    let world = world(0.01).await;
    world.run("v1", &json!({"readinessProbe": probe()})).await;
    let pod = world.until(ready).await;
    for kind in ["PodScheduled", "Initialized", "ContainersReady"] {
        assert_eq!(condition(&pod, kind), "True", "{kind}");
    }
    assert_eq!(pod["status"]["phase"], "Running");
    assert_eq!(pod["spec"]["nodeName"], "sandbox-node");
    assert_eq!((&status(&pod)["ready"], &status(&pod)["started"]), (&json!(true), &json!(true)));
    assert_eq!(ask(&pod, "/").await.unwrap().0, 200);
    let page = ask(&pod, "/metrics").await.unwrap().1;
    assert!(page.contains("http_requests_total{code=\"200\",method=\"GET\"} 1"), "{page}");
    assert_eq!(world.node.answered("default", "web")[&200], 1);
    world.node.stop().await;
    assert_eq!(ask(&pod, "/").await, None, "the servers end with the node");
}

#[tokio::test]
async fn a_crash_loop_shows_within_a_second() {
    let world = world(1.0).await;
    let start = tokio::time::Instant::now();
    world.run("v1.crash", &json!({"terminationMessagePolicy": "FallbackToLogsOnError"})).await;
    let pod = world
        .until(|pod| {
            status(pod)["state"]["waiting"]["reason"] == "CrashLoopBackOff"
                && status(pod)["restartCount"].as_i64() > Some(1)
        })
        .await;
    assert!(start.elapsed() < Duration::from_secs(1));
    assert_eq!(status(&pod)["lastState"]["terminated"]["exitCode"], 1);
    assert_eq!(status(&pod)["lastState"]["terminated"]["message"], "fatal: the program gave up\n");
    assert!(!ready(&pod));
}

#[tokio::test]
async fn a_late_crash_serves_first() {
    let world = world(0.01).await;
    world.run("crash-20s", &json!({"readinessProbe": probe()})).await;
    world.until(ready).await;
    world.until(|pod| status(pod)["restartCount"].as_i64() > Some(0)).await;
}

#[tokio::test]
async fn memory_pulls_and_configuration_fail_in_their_own_ways() {
    for (tag, path, reason) in [
        ("oom", ["lastState", "terminated"], "OOMKilled"),
        ("pull-error", ["state", "waiting"], "ImagePullBackOff"),
        ("config-error", ["state", "waiting"], "CreateContainerConfigError"),
    ] {
        let world = world(1.0).await;
        world.run(tag, &json!({})).await;
        world.until(|pod| status(pod)[path[0]][path[1]]["reason"] == reason).await;
    }
}

#[tokio::test]
async fn a_slow_start_is_unready_and_then_ready() {
    let world = world(0.02).await;
    world.run("slow-10s", &json!({"readinessProbe": probe()})).await;
    let pod = world.until(|pod| pod["status"]["phase"] == "Running").await;
    assert!(!ready(&pod));
    world.until(ready).await;
}

#[tokio::test]
async fn pods_turn_unready_with_and_without_a_probe() {
    for more in [json!({}), json!({"readinessProbe": probe()})] {
        let world = world(0.01).await;
        world.run("unready-30s", &more).await;
        world.until(ready).await;
        let pod = world.until(|pod| !ready(pod)).await;
        assert_eq!(pod["status"]["phase"], "Running");
    }
}

#[tokio::test]
async fn health_fails_while_other_requests_are_answered() {
    let world = world(0.01).await;
    world.run("health-fail", &json!({})).await;
    let pod = world.until(ready).await;
    assert_eq!(ask(&pod, "/healthz").await.unwrap().0, 503);
    assert_eq!(ask(&pod, "/work").await.unwrap().0, 200);
}

#[tokio::test]
async fn errors_come_in_their_share() {
    let world = world(0.01).await;
    world.run("errors-20", &json!({})).await;
    let pod = world.until(ready).await;
    for _ in 0..200 {
        ask(&pod, "/").await.unwrap();
    }
    let counts = world.node.answered("default", "web");
    assert_eq!(counts[&200] + counts[&500], 200);
    assert!((20..=60).contains(&counts[&500]), "{counts:?}");
}

#[tokio::test]
async fn a_failing_liveness_probe_restarts_the_container() {
    let world = world(0.01).await;
    world.run("health-fail", &json!({"livenessProbe": probe()})).await;
    let pod = world.until(|pod| status(pod)["restartCount"].as_i64() > Some(0)).await;
    assert_eq!(status(&pod)["lastState"]["terminated"]["exitCode"], 137);
}

#[tokio::test]
async fn killing_evicting_and_losing_the_node() {
    let world = world(0.01).await;
    world.run("v1", &json!({})).await;
    world.until(ready).await;
    assert!(world.node.kill_pod("default", "web").await);
    world.until(|pod| ready(pod) && status(pod)["restartCount"] == 1).await;

    world.node.set_not_ready(true).await.unwrap();
    let lost = world.until(|pod| !ready(pod)).await;
    assert_eq!(condition(&lost, "ContainersReady"), "True");
    world.node.set_not_ready(false).await.unwrap();
    world.until(ready).await;

    assert!(world.node.put_out("default", "web").await);
    let failed = world.until(|pod| pod["status"]["phase"] == "Failed").await;
    assert_eq!(failed["status"]["reason"], "Evicted");
    assert_eq!(condition(&failed, "DisruptionTarget"), "True");
}

#[tokio::test]
async fn a_deleted_pod_goes_after_its_grace() {
    let world = world(0.01).await;
    world.run("v1", &json!({"lifecycle": {"preStop": {"sleep": {"seconds": 5}}}})).await;
    let pod = world.until(ready).await;
    world.pods.delete("web", &DeleteParams::default()).await.unwrap();
    assert!(world.pods.get("web").await.unwrap().metadata.deletion_timestamp.is_some());
    let mut changes = world.server.core().store().subscribe();
    let gone = async {
        while world.pods.get_opt("web").await.unwrap().is_some() {
            changes.changed().await.unwrap();
        }
    };
    tokio::time::timeout(Duration::from_secs(5), gone).await.unwrap();
    assert_eq!(ask(&pod, "/").await, None);
}

#[tokio::test]
async fn what_does_not_fit_stays_pending() {
    let world = world(1.0).await;
    world.node.set_schedules(false);
    world.run("v1", &json!({})).await;
    let pod = world.until(|pod| condition(pod, "PodScheduled") == "False").await;
    assert_eq!(pod["status"]["phase"], "Pending");
}
