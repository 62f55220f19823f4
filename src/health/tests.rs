//! One object a row: what its kind's function makes of it.

use serde_json::Value;

use super::*;
use Health::{Degraded, Healthy, Missing, Progressing, Suspended, Unknown};

fn check(kind: &str, rows: &[(&str, Health, &str)]) {
    let now: Timestamp = "2026-01-01T12:00:00Z".parse().unwrap();
    for (text, health, reason) in rows {
        let object: Value = serde_yaml::from_str(text).unwrap();
        let found = of(kind, &object, now);
        assert_eq!((found.health, found.reason.as_str()), (*health, *reason), "{kind} {text}");
    }
}

const DONE: &str = "conditions: [{type: Available, status: 'True'}, {type: Progressing, status: 'True', reason: NewReplicaSetAvailable}]";

fn deployment(head: &str, status: &str) -> String {
    format!("{{metadata: {{generation: 2}}, spec: {{replicas: 3{head}}}, status: {{{status}, {DONE}}}}}")
}

#[test]
fn deployments() {
    let counts = |updated: u8, all: u8, available: u8, ready: u8| {
        let status = format!(
            "observedGeneration: 2, updatedReplicas: {updated}, replicas: {all}, availableReplicas: {available}, readyReplicas: {ready}"
        );
        deployment("", &status)
    };
    check(
        "Deployment",
        &[
            (&counts(3, 3, 3, 3), Healthy, "3 of 3 pods available"),
            (&counts(2, 3, 3, 3), Progressing, "2 of 3 pods have the new template"),
            (&counts(3, 4, 3, 3), Progressing, "1 pods of the former template remain"),
            (&counts(3, 3, 2, 3), Progressing, "2 of 3 pods are available"),
            (&counts(3, 3, 3, 2), Progressing, "2 of 3 pods are ready"),
            (
                &deployment("", "observedGeneration: 1, updatedReplicas: 3, replicas: 3"),
                Progressing,
                "its controller has seen generation 1 of 2",
            ),
            (&deployment(", paused: true", "observedGeneration: 2"), Suspended, "is paused"),
            ("{metadata: {generation: 1}, spec: {}}", Progressing, "its controller has not seen it yet"),
            (
                "{metadata: {generation: 1}, spec: {replicas: 0}, status: {observedGeneration: 1}}",
                Healthy,
                "scaled to 0",
            ),
            ("{metadata: {generation: 1, deletionTimestamp: x}, spec: {}}", Progressing, "is being deleted"),
        ],
    );
}

#[test]
fn stateful_sets() {
    let set = |spec: &str, ready: u8, updated: u8, current: &str| {
        format!(
            "{{metadata: {{generation: 2}}, spec: {{replicas: 3{spec}}}, status: {{observedGeneration: 2, readyReplicas: {ready}, \
             updatedReplicas: {updated}, updateRevision: b, currentRevision: {current}}}}}"
        )
    };
    let partition = ", updateStrategy: {type: RollingUpdate, rollingUpdate: {partition: 2}}";
    check(
        "StatefulSet",
        &[
            (&set("", 3, 3, "b"), Healthy, "3 of 3 pods ready"),
            (&set("", 2, 3, "b"), Progressing, "2 of 3 pods are ready"),
            (&set("", 3, 1, "a"), Progressing, "1 of 3 pods have the new template"),
            (&set("", 3, 3, "a"), Progressing, "3 of 3 pods have the new template"),
            (&set(partition, 3, 1, "a"), Healthy, "3 of 3 pods ready"),
            (&set(partition, 3, 0, "a"), Progressing, "0 of 1 pods have the new template"),
            (
                &set(", updateStrategy: {type: OnDelete}", 3, 0, "a"),
                Healthy,
                "3 of 3 pods ready, replaced when they are deleted",
            ),
            ("{metadata: {generation: 1}, spec: {}}", Progressing, "its controller has not seen it yet"),
        ],
    );
}

#[test]
fn daemon_sets() {
    let set = |spec: &str, available: u8, updated: u8, wrong: u8| {
        format!(
            "{{metadata: {{generation: 2}}, spec: {{{spec}}}, status: {{observedGeneration: 2, desiredNumberScheduled: 3, \
             numberAvailable: {available}, updatedNumberScheduled: {updated}, numberMisscheduled: {wrong}}}}}"
        )
    };
    check(
        "DaemonSet",
        &[
            (&set("", 3, 3, 0), Healthy, "3 of 3 pods available"),
            (&set("", 2, 3, 0), Progressing, "2 of 3 pods are available"),
            (&set("", 3, 2, 0), Progressing, "2 of 3 pods have the new template"),
            (&set("", 3, 3, 1), Progressing, "1 pods are where they should not be"),
            (
                &set("updateStrategy: {type: OnDelete}", 3, 0, 0),
                Healthy,
                "3 of 3 pods available, replaced when they are deleted",
            ),
        ],
    );
}

#[test]
fn cron_jobs_by_their_last_run() {
    let cron =
        |spec: &str, status: &str| format!("{{metadata: {{}}, spec: {{{spec}}}, status: {{{status}}}}}");
    let (due, before) = ("'2026-01-02T00:00:00Z'", "'2026-01-01T00:00:00Z'");
    let ran = |well: &str| cron("", &format!("lastScheduleTime: {due}, lastSuccessfulTime: {well}"));
    check(
        "CronJob",
        &[
            (&cron("suspend: true", ""), Suspended, "is suspended"),
            (&cron("", ""), Healthy, "no run was due yet"),
            (&cron("", &format!("active: [{{}}], lastScheduleTime: {due}")), Healthy, "1 under way"),
            (&ran(due), Healthy, "the run of 2026-01-02T00:00:00Z succeeded"),
            (&ran(before), Degraded, "the run of 2026-01-02T00:00:00Z did not succeed"),
        ],
    );
}

#[test]
fn deployments_by_the_word_of_their_controller() {
    let all =
        "observedGeneration: 1, replicas: 1, updatedReplicas: 1, availableReplicas: 1, readyReplicas: 1";
    let with = |conditions: &str| {
        format!("{{metadata: {{generation: 1}}, spec: {{}}, status: {{{all}, conditions: [{conditions}]}}}}")
    };
    let available = "{type: Available, status: 'True'}";
    check(
        "Deployment",
        &[
            (
                &with(
                    "{type: Progressing, status: 'False', reason: ProgressDeadlineExceeded, message: too slow}",
                ),
                Degraded,
                "ProgressDeadlineExceeded: too slow",
            ),
            (
                &with(
                    "{type: ReplicaFailure, status: 'True', reason: FailedCreate, message: exceeded quota}",
                ),
                Degraded,
                "FailedCreate: exceeded quota",
            ),
            (&with(""), Progressing, "availability is not reported yet"),
            (&with("{type: Available, status: 'False', reason: Few}"), Progressing, "Few"),
            (&with(available), Healthy, "1 of 1 pods available"),
            (
                &with(&format!(
                    "{available}, {{type: Progressing, status: 'True', reason: ReplicaSetUpdated}}"
                )),
                Progressing,
                "ReplicaSetUpdated",
            ),
        ],
    );
}

#[test]
fn replica_sets() {
    let with = |status: &str| {
        format!(
            "{{metadata: {{generation: 1}}, spec: {{replicas: 2}}, status: {{observedGeneration: 1, {status}}}}}"
        )
    };
    let full = "replicas: 2, fullyLabeledReplicas: 2, readyReplicas: 2, availableReplicas: 2";
    check(
        "ReplicaSet",
        &[
            (&with(full), Healthy, "2 of 2 pods available"),
            (&with("replicas: 2, fullyLabeledReplicas: 1"), Progressing, "1 of 2 pods are labelled"),
            (&with("fullyLabeledReplicas: 2, readyReplicas: 1"), Progressing, "1 of 2 pods are ready"),
            (
                &with("fullyLabeledReplicas: 2, readyReplicas: 2, availableReplicas: 0"),
                Progressing,
                "0 of 2 pods are available",
            ),
            (&with(&full.replacen("replicas: 2", "replicas: 3", 1)), Progressing, "1 pods too many remain"),
            (
                &with(
                    "conditions: [{type: ReplicaFailure, status: 'True', reason: FailedCreate, message: nope}]",
                ),
                Degraded,
                "FailedCreate: nope",
            ),
        ],
    );
}

#[test]
fn pods() {
    let running = |rest: &str| format!("{{status: {{phase: Running, {rest}}}}}");
    let container = |state: &str| running(&format!("containerStatuses: [{{name: web, {state}}}]"));
    let ready = "conditions: [{type: Ready, status: 'True'}]";
    let unready =
        "conditions: [{type: Ready, status: 'False', reason: ContainersNotReady, message: 'web  is\n slow'}]";
    let unscheduled = |since: &str| {
        format!(
            "{{status: {{phase: Pending, conditions: [{{type: PodScheduled, status: 'False', reason: Unschedulable, message: no node, lastTransitionTime: '{since}'}}]}}}}"
        )
    };
    let oom = "lastState: {terminated: {reason: OOMKilled, exitCode: 137}}, state: {running: {}}";
    check(
        "Pod",
        &[
            (&running(ready), Healthy, "is ready"),
            ("{status: {phase: Succeeded}}", Healthy, "succeeded"),
            ("{status: {phase: Failed, reason: Evicted, message: disk}}", Degraded, "failed: Evicted: disk"),
            (&running(unready), Progressing, "is not ready: ContainersNotReady: web is slow"),
            ("{status: {phase: Pending}}", Progressing, "is being started"),
            (&unscheduled("2026-01-01T11:59:50Z"), Progressing, "Unschedulable: no node"),
            (&unscheduled("2026-01-01T11:59:45Z"), Degraded, "Unschedulable: no node"),
            (
                &container(
                    "state: {waiting: {reason: CrashLoopBackOff, message: back-off 10s}}, lastState: {terminated: {exitCode: 1}}, restartCount: 3",
                ),
                Degraded,
                "container web: CrashLoopBackOff: back-off 10s (last exit 1, 3 restarts)",
            ),
            (&container("state: {waiting: {reason: ErrImagePull}}"), Degraded, "container web: ErrImagePull"),
            (
                &container("state: {waiting: {reason: CreateContainerConfigError}}"),
                Degraded,
                "container web: CreateContainerConfigError",
            ),
            (&container("state: {waiting: {reason: ContainerCreating}}"), Progressing, "is being started"),
            (
                &container("state: {terminated: {reason: Error, exitCode: 2}}"),
                Degraded,
                "container web: exit 2: Error",
            ),
            (&container("state: {terminated: {exitCode: 0}}"), Progressing, "is being started"),
            (&container(oom), Degraded, "container web: OOMKilled (its memory limit is too low for it)"),
            (&running(&format!("{ready}, containerStatuses: [{{name: web, {oom}}}]")), Healthy, "is ready"),
            (
                &running("initContainerStatuses: [{name: migrate, state: {terminated: {exitCode: 1}}}]"),
                Degraded,
                "container migrate: exit 1",
            ),
            ("{metadata: {deletionTimestamp: x}, status: {phase: Running}}", Progressing, "is being deleted"),
        ],
    );
}

#[test]
fn services() {
    let balancer = |created: &str, status: &str| {
        format!(
            "{{metadata: {{creationTimestamp: '{created}'}}, spec: {{type: LoadBalancer}}, status: {{{status}}}}}"
        )
    };
    check(
        "Service",
        &[
            ("{spec: {type: ClusterIP}}", Healthy, "exists"),
            ("{spec: {}}", Healthy, "exists"),
            (
                &balancer("2026-01-01T11:00:00Z", "loadBalancer: {ingress: [{ip: 192.0.2.1}]}"),
                Healthy,
                "has a load balancer",
            ),
            (&balancer("2026-01-01T11:55:00Z", "loadBalancer: {}"), Progressing, "waits for a load balancer"),
            (
                &balancer("2026-01-01T11:50:00Z", ""),
                Degraded,
                "no load balancer within 10m: does this cluster provide them?",
            ),
        ],
    );
}

#[test]
fn what_only_has_to_exist() {
    check("ConfigMap", &[("{data: {}}", Healthy, "exists")]);
    check("Secret", &[("{data: {}}", Healthy, "exists")]);
    check(
        "Namespace",
        &[
            ("{status: {phase: Active}}", Healthy, "exists"),
            ("{status: {phase: Terminating}}", Degraded, "is being deleted with all that is in it"),
        ],
    );
}

#[test]
fn releases() {
    check(
        "Release",
        &[
            ("{status: {health: Degraded, message: rolled back}}", Degraded, "rolled back"),
            ("{spec: {}}", Unknown, "has no record yet"),
            (
                "{status: {health: Sparkling}}",
                Unknown,
                "its record says a health that this program does not know",
            ),
        ],
    );
}

#[test]
fn kinds_without_rules_of_their_own() {
    let with = |condition: &str| format!("{{status: {{conditions: [{condition}]}}}}");
    check(
        "Certificate",
        &[
            ("{}", Healthy, "exists (assumed: it reports no readiness)"),
            (&with("{type: Ready, status: 'True'}"), Healthy, "is ready"),
            (&with("{type: Ready, status: 'False', reason: Pending}"), Progressing, "Pending"),
            (&with("{type: Ready, status: 'False', reason: IssueFailed}"), Degraded, "IssueFailed"),
            (&with("{type: Stalled, status: 'True', message: no key}"), Degraded, "stalled: no key"),
            (&with("{type: Reconciling, status: 'True'}"), Progressing, "reconciling"),
        ],
    );
}

#[test]
fn the_worst_counts_and_nothing_is_unknown() {
    let of = |healths: &[Health]| worst(healths.iter().map(|h| Assessment::new(*h, h.name()))).health;
    assert_eq!(of(&[Healthy, Progressing, Suspended]), Progressing);
    assert_eq!(of(&[Degraded, Missing]), Degraded);
    assert_eq!(of(&[Unknown, Degraded]), Unknown);
    assert_eq!(of(&[]), Unknown);
    let first = worst([Assessment::degraded("first"), Assessment::degraded("second")]);
    assert_eq!(first.reason, "first");
    let now = Timestamp::UNIX_EPOCH;
    assert_eq!(of_known("Pod", &Known::Absent, now).health, Missing);
    assert_eq!(of_known("Pod", &Known::Unknown, now).health, Unknown);
}

#[test]
fn hostile_objects_are_survived() {
    let now = Timestamp::UNIX_EPOCH;
    for kind in ["Deployment", "ReplicaSet", "Pod", "Service", "Namespace", "Release", "X"] {
        for object in ["null", "[]", "7", "{status: 7}", "{status: {conditions: 7, containerStatuses: [7]}}"]
        {
            let object: Value = serde_yaml::from_str(object).unwrap();
            let _ = of(kind, &object, now);
        }
    }
    let object: Value = serde_yaml::from_str("{status: {phase: Failed}}").unwrap();
    let mut long = object;
    long["status"]["message"] = Value::from("é".repeat(5_000));
    assert!(of("Pod", &long, now).reason.chars().count() < 300);
}
