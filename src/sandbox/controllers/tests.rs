//! Deployments on a server whose pods a test turns ready by hand.

use std::time::Duration;

use k8s_openapi::api::{
    apps::v1::{Deployment, ReplicaSet},
    autoscaling::v2::HorizontalPodAutoscaler,
    batch::v1::Job,
    core::v1::Pod,
};
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams};
use serde_json::{Value, json};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::super::api::{ApiOptions, ApiServer, Fault, Verb};

struct World {
    server: ApiServer,
    deployments: Api<Deployment>,
    sets: Api<ReplicaSet>,
    pods: Api<Pod>,
    _stop: tokio_util::sync::DropGuard,
}

fn world(time_scale: f64) -> World {
    let server = ApiServer::new(ApiOptions::default());
    let token = CancellationToken::new();
    super::start(&server, time_scale, &TaskTracker::new(), token.clone());
    let client = server.client();
    World {
        deployments: Api::namespaced(client.clone(), "default"),
        sets: Api::namespaced(client.clone(), "default"),
        pods: Api::namespaced(client, "default"),
        server,
        _stop: token.drop_guard(),
    }
}

fn web(image: &str, replicas: i32, more: &Value) -> Value {
    let mut body = json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"},
        "spec": {
            "replicas": replicas, "selector": {"matchLabels": {"app": "web"}},
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}},
            "template": {
                "metadata": {"labels": {"app": "web"}},
                "spec": {"containers": [{"name": "app", "image": image}]},
            },
        },
    });
    for (key, value) in more.as_object().into_iter().flatten() {
        body["spec"][key] = value.clone();
    }
    body
}

impl World {
    async fn apply(&self, body: &Value) {
        self.deployments.patch("web", &PatchParams::apply("idp").force(), &Patch::Apply(body)).await.unwrap();
    }

    /// Waits until the Deployment's status satisfies `holds`, turning pods ready meanwhile if `ready`.
    async fn until(&self, ready: bool, holds: impl Fn(&Value) -> bool) -> Value {
        let mut changes = self.server.core().store().subscribe();
        let waiting = async {
            loop {
                changes.mark_unchanged();
                if ready {
                    self.make_ready().await;
                }
                let found = serde_json::to_value(self.deployments.get("web").await.unwrap()).unwrap();
                if holds(&found) {
                    return found;
                }
                changes.changed().await.unwrap();
            }
        };
        match tokio::time::timeout(Duration::from_secs(10), waiting).await.ok() {
            Some(found) => found,
            None => panic!("not in time: {:#?}", self.deployments.get("web").await.unwrap().status),
        }
    }

    async fn make_ready(&self) {
        for pod in self.pods.list(&ListParams::default().fields("status.phase=Pending")).await.unwrap() {
            let status = json!({"status": {"phase": "Running", "conditions": [{
                "type": "Ready", "status": "True", "lastTransitionTime": self.server.clock().now_text(),
            }]}});
            // A pod may have gone meanwhile.
            let _ = self
                .pods
                .patch_status(&pod.metadata.name.unwrap(), &PatchParams::default(), &Patch::Merge(status))
                .await;
        }
    }
}

fn count(deployment: &Value, name: &str) -> i64 {
    deployment["status"][name].as_i64().unwrap_or(0)
}

fn condition<'a>(deployment: &'a Value, kind: &str) -> (&'a str, &'a str) {
    super::conditions::find(&deployment["status"], kind)
        .map(|one| (one["status"].as_str().unwrap(), one["reason"].as_str().unwrap()))
        .unwrap_or_default()
}

#[tokio::test]
async fn a_deployment_becomes_available() {
    let world = world(1.0);
    world.apply(&web("shop/web:v1", 3, &json!({}))).await;
    let done = world.until(true, |d| condition(d, "Progressing").1 == "NewReplicaSetAvailable").await;
    for name in ["replicas", "updatedReplicas", "readyReplicas", "availableReplicas"] {
        assert_eq!(count(&done, name), 3, "{name}");
    }
    assert_eq!(condition(&done, "Available"), ("True", "MinimumReplicasAvailable"));
    assert_eq!(done["status"]["observedGeneration"], done["metadata"]["generation"]);
    assert_eq!(done["metadata"]["annotations"]["deployment.kubernetes.io/revision"], "1");
    let set = &world.sets.list(&ListParams::default()).await.unwrap().items[0];
    let hash = &set.metadata.labels.as_ref().unwrap()["pod-template-hash"];
    assert_eq!(set.metadata.name.as_deref(), Some(format!("web-{hash}").as_str()));
    for pod in world.pods.list(&ListParams::default()).await.unwrap() {
        assert!(pod.metadata.name.unwrap().starts_with(&format!("web-{hash}-")));
        assert_eq!(pod.metadata.owner_references.unwrap()[0].controller, Some(true));
    }
}

#[tokio::test]
async fn a_rolling_update_keeps_its_limits_and_comes_back() {
    let world = world(1.0);
    let complete = |revision: &'static str| {
        move |d: &Value| {
            d["metadata"]["annotations"]["deployment.kubernetes.io/revision"] == revision
                && d["status"]["observedGeneration"] == d["metadata"]["generation"]
                && count(d, "updatedReplicas") == 4
                && count(d, "replicas") == 4
                && count(d, "availableReplicas") == 4
        }
    };
    world.apply(&web("shop/web:v1", 4, &json!({}))).await;
    world.until(true, complete("1")).await;
    let start = world.server.version();
    world.apply(&web("shop/web:v2", 4, &json!({}))).await;
    world.until(true, complete("2")).await;

    let (changes, _) = super::Hands::new(&world.server, 1.0).changes_since(start);
    for change in changes.unwrap().iter().filter(|change| change.place.1 == "deployments") {
        assert!(count(&change.new, "replicas") <= 5, "{}", change.new["status"]);
        assert!(count(&change.new, "availableReplicas") >= 4, "{}", change.new["status"]);
    }
    world.apply(&web("shop/web:v1", 4, &json!({}))).await;
    world.until(true, complete("3")).await;
    assert_eq!(
        world.sets.list(&ListParams::default()).await.unwrap().items.len(),
        2,
        "the old set serves again"
    );
}

#[tokio::test]
async fn scaling_in_the_middle_of_a_rollout_is_in_proportion() {
    let world = world(1.0);
    world.apply(&web("shop/web:v1", 4, &json!({}))).await;
    world.until(true, |d| count(d, "availableReplicas") == 4).await;
    world.apply(&web("shop/web:v2", 4, &json!({}))).await;
    world.until(false, |d| count(d, "updatedReplicas") == 1).await;
    world.apply(&web("shop/web:v2", 8, &json!({}))).await;
    let grown = world.until(false, |d| count(d, "replicas") == 9).await;
    assert_eq!(count(&grown, "updatedReplicas"), 2);
    world.until(true, |d| count(d, "updatedReplicas") == 8 && count(d, "replicas") == 8).await;
}

#[tokio::test]
async fn a_rollout_that_stands_still_exceeds_its_deadline() {
    let world = world(0.01);
    world.apply(&web("shop/web:v1", 2, &json!({"progressDeadlineSeconds": 50}))).await;
    let late = world.until(false, |d| condition(d, "Progressing").0 == "False").await;
    assert_eq!(condition(&late, "Progressing").1, "ProgressDeadlineExceeded");
    assert_eq!(condition(&late, "Available"), ("False", "MinimumReplicasUnavailable"));
    let mended = world.until(true, |d| condition(d, "Progressing").0 == "True").await;
    assert_eq!(condition(&mended, "Available").0, "True");
}

#[tokio::test]
async fn a_refused_pod_shows_as_a_replica_failure() {
    let world = world(1.0);
    world.server.inject(|request| {
        (request.kind == "Pod" && request.verb == Verb::Create).then(|| Fault::status(403))
    });
    world.apply(&web("shop/web:v1", 2, &json!({}))).await;
    let failed = world.until(false, |d| condition(d, "ReplicaFailure").0 == "True").await;
    assert_eq!(condition(&failed, "ReplicaFailure").1, "FailedCreate");
    world.server.clear_faults();
    let mended = world.until(true, |d| count(d, "availableReplicas") == 2).await;
    assert_eq!(condition(&mended, "ReplicaFailure"), ("", ""));
}

#[tokio::test]
async fn recreate_never_runs_both() {
    let world = world(1.0);
    let recreate = json!({"strategy": {"type": "Recreate"}});
    world.apply(&web("shop/web:v1", 2, &recreate)).await;
    world.until(true, |d| count(d, "availableReplicas") == 2).await;
    world.apply(&web("shop/web:v2", 2, &recreate)).await;
    world
        .until(true, |d| {
            d["metadata"]["annotations"]["deployment.kubernetes.io/revision"] == "2"
                && count(d, "availableReplicas") == 2
        })
        .await;
    let images: Vec<String> = world
        .pods
        .list(&ListParams::default())
        .await
        .unwrap()
        .into_iter()
        .map(|pod| pod.spec.unwrap().containers[0].image.clone().unwrap())
        .collect();
    assert_eq!(images, ["shop/web:v2", "shop/web:v2"]);
}

#[tokio::test]
async fn history_is_kept_to_its_limit_and_a_deletion_takes_everything() {
    let world = world(1.0);
    for version in 1..=4 {
        world.apply(&web(&format!("shop/web:v{version}"), 1, &json!({"revisionHistoryLimit": 1}))).await;
        let revision = version.to_string();
        world
            .until(true, |d| {
                d["metadata"]["annotations"]["deployment.kubernetes.io/revision"] == revision
                    && condition(d, "Progressing").1 == "NewReplicaSetAvailable"
                    && count(d, "updatedReplicas") == 1
                    && count(d, "replicas") == 1
            })
            .await;
    }
    let settled = async {
        while world.sets.list(&ListParams::default()).await.unwrap().items.len() > 2 {
            tokio::task::yield_now().await;
        }
        world.deployments.delete("web", &DeleteParams::foreground()).await.unwrap();
        while world.deployments.get_opt("web").await.unwrap().is_some() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), settled).await.unwrap();
    assert!(world.sets.list(&ListParams::default()).await.unwrap().items.is_empty());
    assert!(world.pods.list(&ListParams::default()).await.unwrap().items.is_empty());
}

#[tokio::test]
async fn at_rest_nothing_is_written() {
    let world = world(1.0);
    world.apply(&web("shop/web:v1", 3, &json!({}))).await;
    world.until(true, |d| condition(d, "Progressing").1 == "NewReplicaSetAvailable").await;
    // The last writes of the settling come at once; after them the version stands still.
    let mut changes = world.server.core().store().subscribe();
    let quiet =
        async { while tokio::time::timeout(Duration::from_millis(200), changes.changed()).await.is_ok() {} };
    tokio::time::timeout(Duration::from_secs(5), quiet).await.unwrap();
}

/// An autoscaler of the Deployment, and the CPU use of its pods.
#[tokio::test]
async fn an_autoscaler_follows_the_use_within_its_bounds_and_leaves_nothing_at_nothing() {
    let world = world(0.001);
    world.apply(&web("a", 1, &json!({}))).await;
    let body = json!({
        "apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler", "metadata": {"name": "web"},
        "spec": {
            "minReplicas": 2, "maxReplicas": 6,
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"},
            "behavior": {"scaleDown": {"stabilizationWindowSeconds": 60}},
        },
    });
    let scalers: Api<HorizontalPodAutoscaler> = Api::namespaced(world.server.client(), "default");
    scalers.patch("web", &PatchParams::apply("team"), &Patch::Apply(&body)).await.unwrap();
    let size = |size: i64| move |found: &Value| found["spec"]["replicas"] == size;
    let found = world.until(true, size(2)).await;
    let entries = found["metadata"]["managedFields"].as_array().unwrap();
    let theirs = |one: &&Value| one["manager"] == "kube-controller-manager" && one["subresource"] == "scale";
    assert!(
        entries.iter().find(theirs).is_some_and(|one| !one["fieldsV1"]["f:spec"]["f:replicas"].is_null())
    );
    world.server.set_cpu("default", "web", Some(200));
    world.until(true, size(6)).await;
    world.server.set_cpu("default", "web", Some(20));
    world.until(true, size(2)).await;
    // Nobody but a person gives it pods again.
    let none = json!({"spec": {"replicas": 0}});
    world.deployments.patch_scale("web", &PatchParams::default(), &Patch::Merge(&none)).await.unwrap();
    let disabled = async || {
        let status = serde_json::to_value(scalers.get("web").await.unwrap().status).unwrap();
        let all = status["conditions"].as_array().cloned().unwrap_or_default();
        all.iter().any(|one| one["reason"] == "ScalingDisabled")
    };
    let waiting = async {
        while !disabled().await {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), waiting).await.unwrap();
    assert_eq!(world.deployments.get("web").await.unwrap().spec.unwrap().replicas, Some(0));
}

fn check(retries: i32, deadline: Option<i64>) -> Value {
    json!({
        "apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "check"},
        "spec": {
            "suspend": true, "backoffLimit": retries, "activeDeadlineSeconds": deadline,
            "podFailurePolicy": {"rules": [{"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]}]},
            "template": {"spec": {"restartPolicy": "Never", "containers": [{"name": "app", "image": "x"}]}},
        },
    })
}

/// Ends the pods of the Job `check` one after the other, each in its phase, and returns how the Job ends and how many pods it made.
async fn run(world: &World, retries: i32, deadline: Option<i64>, ends: &[&str]) -> (String, usize) {
    let jobs: Api<Job> = Api::namespaced(world.server.client(), "default");
    let params = PatchParams::apply("idp").force();
    jobs.patch("check", &params, &Patch::Apply(check(retries, deadline))).await.unwrap();
    let started = json!({"apiVersion": "batch/v1", "kind": "Job", "spec": {"suspend": false}});
    let mut seen = std::collections::BTreeSet::new();
    for round in 0..2_000 {
        tokio::time::sleep(Duration::from_millis(5)).await;
        let pods = world.pods.list(&ListParams::default()).await.unwrap().items;
        if round == 5 {
            assert!(pods.is_empty(), "it is suspended");
            let rollout = PatchParams::apply("idp-rollout").force();
            jobs.patch("check", &rollout, &Patch::Apply(&started)).await.unwrap();
        }
        for pod in pods {
            let name = pod.metadata.name.unwrap();
            let phase = pod.status.and_then(|status| status.phase).unwrap_or_default();
            let fresh = seen.insert(name.clone());
            let (true, "Pending", Some(end)) = (fresh, phase.as_str(), ends.get(seen.len() - 1)) else {
                continue;
            };
            let target = json!([{"type": "DisruptionTarget", "status": "True"}]);
            let conditions = if *end == "Evicted" { target } else { json!([]) };
            let phase = if *end == "Evicted" { "Failed" } else { end };
            let status = json!({"status": {"phase": phase, "conditions": conditions}});
            world.pods.patch_status(&name, &PatchParams::default(), &Patch::Merge(&status)).await.unwrap();
        }
        let job = jobs.get("check").await.unwrap();
        let all = job.status.and_then(|status| status.conditions).unwrap_or_default();
        if let Some(end) = all.iter().find(|one| matches!(one.type_.as_str(), "Complete" | "Failed")) {
            return (format!("{} {}", end.type_, end.reason.clone().unwrap_or_default()), seen.len());
        }
    }
    panic!("the Job did not end");
}

#[tokio::test]
async fn a_job_ends_with_its_pods_or_at_its_deadline() {
    for (retries, deadline, ends, expected, pods) in [
        (0, None, vec!["Succeeded"], "Complete CompletionsReached", 1),
        (0, None, vec!["Failed"], "Failed BackoffLimitExceeded", 1),
        (1, None, vec!["Failed", "Succeeded"], "Complete CompletionsReached", 2),
        (0, None, vec!["Evicted", "Succeeded"], "Complete CompletionsReached", 2),
        (0, Some(20_000), vec![], "Failed DeadlineExceeded", 1),
    ] {
        let world = world(0.0001);
        assert_eq!(run(&world, retries, deadline, &ends).await, (expected.to_owned(), pods), "{ends:?}");
    }
}

#[tokio::test]
async fn a_deleted_job_takes_its_pods_along_and_its_template_stays_as_it_is() {
    let world = world(1.0);
    let jobs: Api<Job> = Api::namespaced(world.server.client(), "default");
    let mut body = check(0, None);
    body["spec"]["suspend"] = json!(false);
    let params = PatchParams::apply("idp").force();
    jobs.patch("check", &params, &Patch::Apply(&body)).await.unwrap();
    let pods = async || world.pods.list(&ListParams::default()).await.unwrap().items.len();
    while pods().await != 1 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    body["spec"]["template"]["spec"]["containers"][0]["image"] = json!("y");
    let refused = jobs.patch("check", &params, &Patch::Apply(&body)).await.unwrap_err();
    assert!(refused.to_string().contains("field is immutable"), "{refused}");
    jobs.delete("check", &DeleteParams::background()).await.unwrap();
    while pods().await != 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
