//! CronJobs on a server where a test says when they last ran.

use std::time::Duration;

use k8s_openapi::api::batch::v1::{CronJob, Job};
use kube::api::{Api, ListParams, Patch, PatchParams};
use serde_json::{Value, json};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::super::api::{ApiOptions, ApiServer};

struct World {
    crons: Api<CronJob>,
    jobs: Api<Job>,
    server: ApiServer,
    _stop: tokio_util::sync::DropGuard,
}

impl World {
    /// A CronJob of every minute that last ran so many minutes ago.
    async fn with(spec: &Value, minutes: i64) -> Self {
        let server = ApiServer::new(ApiOptions::default());
        let token = CancellationToken::new();
        super::start(&server, 1.0, &TaskTracker::new(), token.clone());
        let client = server.client();
        let world = Self {
            crons: Api::namespaced(client.clone(), "default"),
            jobs: Api::namespaced(client, "default"),
            server,
            _stop: token.drop_guard(),
        };
        let mut body = json!({
            "apiVersion": "batch/v1", "kind": "CronJob", "metadata": {"name": "tick"},
            "spec": {"schedule": "0 0 1 1 *", "jobTemplate": {"metadata": {"labels": {"a": "b"}}, "spec": {"template": {
                "spec": {"restartPolicy": "Never", "containers": [{"name": "app", "image": "x"}]},
            }}}},
        });
        for (key, value) in spec.as_object().unwrap() {
            body["spec"][key] = value.clone();
        }
        world.crons.patch("tick", &PatchParams::apply("idp").force(), &Patch::Apply(&body)).await.unwrap();
        world.ran(minutes).await;
        world.spec(&json!({"schedule": "* * * * *"})).await;
        world
    }

    async fn ran(&self, minutes: i64) {
        let now: jiff::Timestamp = self.server.clock().now_text().parse().unwrap();
        let at = now - Duration::from_secs(60 * minutes.unsigned_abs());
        let patch = Patch::Merge(json!({"status": {"lastScheduleTime": at.to_string()}}));
        self.crons.patch_status("tick", &PatchParams::default(), &patch).await.unwrap();
    }

    async fn spec(&self, spec: &Value) {
        let patch = Patch::Merge(json!({"spec": spec}));
        self.crons.patch("tick", &PatchParams::default(), &patch).await.unwrap();
    }

    async fn end(&self, job: &str, kind: &str) {
        let now = self.server.clock().now_text();
        let mut status = json!({"startTime": now, "conditions": [{"type": kind, "status": "True", "lastTransitionTime": now}]});
        if kind == "Complete" {
            status["completionTime"] = json!(now);
        }
        let patch = Patch::Merge(json!({"status": status}));
        self.jobs.patch_status(job, &PatchParams::default(), &patch).await.unwrap();
    }

    /// The names of its Jobs, once there are so many, and no other number for a while.
    async fn names(&self, count: usize) -> Vec<String> {
        let list = async || self.jobs.list(&ListParams::default()).await.unwrap().items;
        let mut changes = self.server.core().store().subscribe();
        let waiting = async {
            while list().await.len() != count {
                changes.changed().await.unwrap();
            }
        };
        let done = tokio::time::timeout(Duration::from_secs(10), waiting).await;
        assert!(done.is_ok(), "{} Jobs, wanted {count}", list().await.len());
        list().await.into_iter().filter_map(|job| job.metadata.name).collect()
    }

    async fn status(&self) -> Value {
        serde_json::to_value(self.crons.get("tick").await.unwrap().status).unwrap()
    }
}

#[tokio::test]
async fn of_missed_times_the_newest_runs_once() {
    let world = World::with(&json!({}), 5).await;
    let names = world.names(1).await;
    let job = world.jobs.get(&names[0]).await.unwrap();
    let job = serde_json::to_value(job).unwrap();
    assert_eq!(
        (&job["metadata"]["labels"]["a"], &job["metadata"]["ownerReferences"][0]["kind"]),
        (&json!("b"), &json!("CronJob"))
    );
    let due = &job["metadata"]["annotations"]["batch.kubernetes.io/cronjob-scheduled-timestamp"];
    while world.status().await["lastScheduleTime"] != *due {
        tokio::task::yield_now().await;
    }
    assert_eq!(world.status().await["active"][0]["name"], names[0].as_str());
    world.end(&names[0], "Complete").await;
    while world.status().await["lastSuccessfulTime"].is_null() {
        tokio::task::yield_now().await;
    }
    assert!(world.status().await["active"].is_null());
}

#[tokio::test]
async fn what_is_suspended_or_too_late_does_not_run() {
    for spec in [json!({"suspend": true}), json!({"timeZone": "Etc/UTC", "schedule": "0 0 1 1 *"})] {
        let world = World::with(&spec, 5).await;
        world.spec(&spec).await;
        world.names(usize::from(spec["suspend"].is_null())).await;
    }
    let world = World::with(&json!({"suspend": true}), 5).await;
    world.spec(&json!({"startingDeadlineSeconds": 0})).await;
    world.spec(&json!({"suspend": false})).await;
    world.names(0).await;
}

#[tokio::test]
async fn a_run_that_is_not_over_keeps_the_next_away_or_goes() {
    for (policy, count, kept) in [("Forbid", 1, true), ("Allow", 2, true), ("Replace", 1, false)] {
        let world = World::with(&json!({"concurrencyPolicy": policy, "suspend": true}), 0).await;
        let early = json!({"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "early", "ownerReferences": [{
            "apiVersion": "batch/v1", "kind": "CronJob", "name": "tick", "controller": true,
            "uid": world.crons.get("tick").await.unwrap().metadata.uid.unwrap()}]},
            "spec": {"suspend": true, "template": {"spec": {"restartPolicy": "Never", "containers": [{"name": "app", "image": "x"}]}}}});
        world.jobs.patch("early", &PatchParams::apply("t").force(), &Patch::Apply(&early)).await.unwrap();
        world.ran(2).await;
        world.spec(&json!({"suspend": false})).await;
        let mut names = world.names(count).await;
        if policy == "Replace" {
            while names == ["early"] {
                tokio::task::yield_now().await;
                names = world
                    .jobs
                    .list(&ListParams::default())
                    .await
                    .unwrap()
                    .items
                    .into_iter()
                    .filter_map(|job| job.metadata.name)
                    .collect();
            }
        }
        assert_eq!(names.contains(&"early".to_owned()), kept, "{policy}: {names:?}");
        if policy == "Forbid" {
            world.end("early", "Failed").await;
            world.names(2).await;
        }
    }
}

#[tokio::test]
async fn as_many_ended_ones_are_left_as_it_says() {
    let world = World::with(&json!({"successfulJobsHistoryLimit": 1, "failedJobsHistoryLimit": 0}), 2).await;
    let first = world.names(1).await.remove(0);
    world.end(&first, "Failed").await;
    world.names(0).await;
}

#[tokio::test]
async fn what_is_no_schedule_is_refused() {
    let world = World::with(&json!({}), 0).await;
    for spec in [
        json!({"schedule": "every day"}),
        json!({"schedule": "TZ=UTC * * * * *"}),
        json!({"timeZone": "Local"}),
        json!({"timeZone": "Nowhere/None"}),
        json!({"concurrencyPolicy": "Never"}),
    ] {
        let refused =
            world.crons.patch("tick", &PatchParams::default(), &Patch::Merge(json!({"spec": spec}))).await;
        assert!(
            matches!(&refused, Err(kube::Error::Api(status)) if status.code == 422),
            "{spec}: {refused:?}"
        );
    }
}
