//! What a rollout needs of a pod and of a ReplicaSet, read from what kubelet and controllers write.

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::ReplicaSet;
use k8s_openapi::api::core::v1::{
    ContainerState, ContainerStateTerminated, ContainerStateWaiting, ContainerStatus, Pod, PodCondition,
    PodStatus,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;

use crate::model::observed::{DELETED, PodView, ReplicaSetView, Stopped};
use crate::model::{LABEL_TEMPLATE, LABEL_TRACK};

/// The longest message that is kept, in characters.
const MESSAGE: usize = 300;

/// Returns the view of a pod. What is missing in it counts as not yet happened.
pub fn pod_view(pod: &Pod) -> PodView {
    let metadata = &pod.metadata;
    let none = PodStatus::default();
    let status = pod.status.as_ref().unwrap_or(&none);
    let containers = status.container_statuses.as_deref().unwrap_or_default();
    let starting = status.init_container_statuses.as_deref().unwrap_or_default();
    let declared = pod.spec.as_ref().map_or(0, |spec| spec.containers.len());
    let text = |name: &str| {
        metadata.labels.as_ref().and_then(|labels| labels.get(name)).cloned().unwrap_or_default()
    };
    let all = || starting.iter().chain(containers);
    // An init container that ended well is no termination to speak of.
    let failed = starting.iter().filter_map(last_end).filter(|end| end.exit_code != 0);
    let ends = failed.chain(containers.iter().filter_map(last_end));
    PodView {
        name: metadata.name.clone().unwrap_or_default(),
        uid: metadata.uid.clone().unwrap_or_default(),
        owner: owner(
            metadata.owner_references.as_deref(),
            &["ReplicaSet", "StatefulSet", "DaemonSet", "Job"],
        ),
        revision: match text(LABEL_TEMPLATE) {
            template if template.is_empty() => text("controller-revision-hash"),
            template => template,
        },
        node: node(pod),
        track: text(LABEL_TRACK),
        ip: status.pod_ip.clone().filter(|ip| !ip.is_empty()),
        created_at: metadata.creation_timestamp.as_ref().map_or(Timestamp::UNIX_EPOCH, |time| time.0),
        ready_since: ready_since(status),
        started: declared > 0 && containers.len() >= declared && containers.iter().all(has_started),
        restarts: all()
            .map(|container| u32::try_from(container.restart_count).unwrap_or(0))
            .max()
            .unwrap_or(0),
        waiting: all().find_map(waiting),
        terminated: ends.max_by_key(|end| end.finished_at.as_ref().map(|time| time.0)).map(stopped),
        unschedulable: unschedulable(status),
        disrupted: disrupted(pod, status),
        ended: matches!(status.phase.as_deref(), Some("Failed" | "Succeeded")),
        deleting: metadata.deletion_timestamp.is_some(),
        image_id: containers.first().map(|container| container.image_id.clone()).filter(|id| !id.is_empty()),
    }
}

/// Returns the node of a pod. That of a DaemonSet is made for one, which its affinity names before a scheduler has taken it there.
fn node(pod: &Pod) -> String {
    let Some(spec) = &pod.spec else { return String::new() };
    let affinity = spec.affinity.as_ref().and_then(|all| all.node_affinity.as_ref());
    let required = affinity.and_then(|all| all.required_during_scheduling_ignored_during_execution.as_ref());
    let terms = required.into_iter().flat_map(|required| &required.node_selector_terms);
    let mut fields = terms.flat_map(|term| term.match_fields.iter().flatten());
    let named = fields.find(|field| field.key == "metadata.name" && field.operator == "In");
    let meant = named.and_then(|field| field.values.as_ref()?.first().cloned());
    spec.node_name.clone().filter(|name| !name.is_empty()).or(meant).unwrap_or_default()
}

/// Returns the view of a ReplicaSet.
pub fn replica_set_view(set: &ReplicaSet) -> ReplicaSetView {
    let metadata = &set.metadata;
    let annotation = |name: &str| metadata.annotations.as_ref().and_then(|all| all.get(name));
    let replicas = set.spec.as_ref().and_then(|spec| spec.replicas);
    ReplicaSetView {
        uid: metadata.uid.clone().unwrap_or_default(),
        owner: owner(metadata.owner_references.as_deref(), &["Deployment"]),
        name: metadata.name.clone().unwrap_or_default(),
        revision: annotation("deployment.kubernetes.io/revision")
            .and_then(|text| text.parse().ok())
            .unwrap_or(0),
        replicas: replicas.and_then(|count| u32::try_from(count).ok()).unwrap_or(1),
    }
}

fn owner(owners: Option<&[OwnerReference]>, kinds: &[&str]) -> String {
    owners
        .unwrap_or_default()
        .iter()
        .find(|owner| owner.controller == Some(true) && kinds.contains(&owner.kind.as_str()))
        .map(|owner| owner.uid.clone())
        .unwrap_or_default()
}

fn condition<'a>(status: &'a PodStatus, kind: &str) -> Option<&'a PodCondition> {
    status.conditions.as_deref().unwrap_or_default().iter().find(|condition| condition.type_ == kind)
}

fn ready_since(status: &PodStatus) -> Option<Timestamp> {
    let ready = condition(status, "Ready").filter(|ready| ready.status == "True")?;
    Some(ready.last_transition_time.as_ref().map_or(Timestamp::UNIX_EPOCH, |time| time.0))
}

/// A container that runs has started, whatever its startup probe says: a probe that never passes is the version's own doing. So has
/// one that ended by itself, unless the runtime could not even begin it.
fn has_started(container: &ContainerStatus) -> bool {
    let runs = container.state.as_ref().is_some_and(|state| state.running.is_some());
    let ended = last_end(container)
        .is_some_and(|end| !matches!(end.reason.as_deref(), Some("ContainerCannotRun" | "StartError")));
    runs || ended || container.started == Some(true)
}

fn waiting(container: &ContainerStatus) -> Option<Stopped> {
    let ContainerStateWaiting { reason, message } = container.state.as_ref()?.waiting.clone()?;
    let reason = reason.unwrap_or_default();
    // Every container waits like this at first; it is no reason for anything.
    if matches!(reason.as_str(), "" | "ContainerCreating" | "PodInitializing") {
        return None;
    }
    Some(Stopped { reason, message: cut(message.as_deref()), exit_code: None })
}

fn last_end(container: &ContainerStatus) -> Option<&ContainerStateTerminated> {
    let end =
        |state: &'_ Option<ContainerState>| state.as_ref().is_some_and(|state| state.terminated.is_some());
    let from = if end(&container.state) { &container.state } else { &container.last_state };
    from.as_ref()?.terminated.as_ref()
}

fn stopped(end: &ContainerStateTerminated) -> Stopped {
    let reason = end.reason.clone().filter(|reason| !reason.is_empty()).unwrap_or_else(|| "Error".to_owned());
    Stopped { reason, message: tail(end.message.as_deref()), exit_code: Some(end.exit_code) }
}

fn unschedulable(status: &PodStatus) -> Option<String> {
    let scheduled = condition(status, "PodScheduled").filter(|scheduled| scheduled.status == "False")?;
    let message = cut(scheduled.message.as_deref());
    Some(if message.is_empty() { scheduled.reason.clone().unwrap_or_default() } else { message })
}

/// Kubernetes says in three ways that a pod's end is not its own doing: the condition `DisruptionTarget` (preemption, eviction, a
/// tainted or drained node), the pod's own reason after kubelet ended it or its node was lost, and Ready's reason on a node
/// that does not answer.
fn disrupted(pod: &Pod, status: &PodStatus) -> Option<String> {
    if let Some(target) = condition(status, "DisruptionTarget").filter(|target| target.status == "True") {
        return Some(
            target.reason.clone().filter(|text| !text.is_empty()).unwrap_or("DisruptionTarget".to_owned()),
        );
    }
    if let Some(reason) = status.reason.as_deref().filter(|reason| is_disruption(reason)) {
        return Some(reason.to_owned());
    }
    if condition(status, "Ready").is_some_and(|ready| ready.status == "Unknown") {
        return Some("NodeNotReady".to_owned());
    }
    pod.metadata.deletion_timestamp.as_ref().map(|_| DELETED.to_owned())
}

/// Reasons that kubelet or the node controller writes when they end or refuse a pod: `OutOfcpu`, `OutOfmemory`, … among them.
fn is_disruption(reason: &str) -> bool {
    reason.starts_with("OutOf")
        || matches!(
            reason,
            "Evicted"
                | "Preempted"
                | "Preempting"
                | "NodeLost"
                | "NodeAffinity"
                | "NodeShutdown"
                | "Shutdown"
                | "Terminated"
        )
}

fn cut(text: Option<&str>) -> String {
    text.unwrap_or_default().trim().chars().take(MESSAGE).collect()
}

/// What a container left when it ended is the end of its log, whose last words say most.
fn tail(text: Option<&str>) -> String {
    let text = text.unwrap_or_default().trim();
    let skipped = text.chars().count().saturating_sub(MESSAGE);
    text.chars().skip(skipped).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn pod(status: &Value) -> PodView {
        let pod = json!({
            "metadata": {"name": "web-1", "uid": "u", "creationTimestamp": "2026-01-01T00:00:00Z",
                "labels": {"idp.dev/track": "canary"},
                "ownerReferences": [
                    {"apiVersion": "v1", "kind": "Other", "name": "x", "uid": "no", "controller": false},
                    {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "web-a", "uid": "rs", "controller": true}]},
            "spec": {"containers": [{"name": "app"}]}, "status": status});
        pod_view(&serde_json::from_value(pod).unwrap())
    }

    fn container(state: &Value, last: &Value, restarts: u32) -> Value {
        json!({"containerStatuses": [{"name": "app", "image": "i", "imageID": "i@sha256:1", "ready": false,
            "restartCount": restarts, "state": state, "lastState": last}]})
    }

    fn reason(stopped: Option<&Stopped>) -> &str {
        stopped.map_or("", |stopped| stopped.reason.as_str())
    }

    #[test]
    fn a_new_pod_has_nothing_yet() {
        let view = pod(&json!({}));
        let expected = PodView {
            name: "web-1".into(),
            uid: "u".into(),
            owner: "rs".into(),
            track: "canary".into(),
            created_at: "2026-01-01T00:00:00Z".parse().unwrap(),
            ..PodView::default()
        };
        assert_eq!(view, expected);
        assert_eq!(pod(&json!({"podIP": ""})).ip, None);
    }

    #[test]
    fn a_pod_that_serves_is_ready_since_then() {
        let mut status = container(&json!({"running": {"startedAt": "2026-01-01T00:00:01Z"}}), &json!({}), 0);
        status["podIP"] = "10.0.0.1".into();
        status["conditions"] =
            json!([{"type": "Ready", "status": "True", "lastTransitionTime": "2026-01-01T00:00:05Z"}]);
        let view = pod(&status);
        assert_eq!(view.ready_since, Some("2026-01-01T00:00:05Z".parse().unwrap()));
        assert_eq!((view.ip.as_deref(), view.image_id.as_deref()), (Some("10.0.0.1"), Some("i@sha256:1")));
        assert!(view.started && view.disrupted.is_none());
    }

    #[test]
    fn containers_that_do_not_run_say_why() {
        let waits = |reason: &str| json!({"waiting": {"reason": reason, "message": "m"}});
        let ended = |reason: &str, code: i32| json!({"terminated": {"reason": reason, "exitCode": code, "finishedAt": "2026-01-01T00:00:02Z"}});
        // state, last state, restarts → waiting, terminated, exit code, started
        let table = [
            (waits("ContainerCreating"), json!({}), 0, "", "", None, false),
            (waits("PodInitializing"), json!({}), 0, "", "", None, false),
            (waits("ImagePullBackOff"), json!({}), 0, "ImagePullBackOff", "", None, false),
            (waits("ErrImagePull"), json!({}), 0, "ErrImagePull", "", None, false),
            (
                waits("CreateContainerConfigError"),
                json!({}),
                0,
                "CreateContainerConfigError",
                "",
                None,
                false,
            ),
            (waits("CrashLoopBackOff"), ended("Error", 1), 4, "CrashLoopBackOff", "Error", Some(1), true),
            (
                waits("CrashLoopBackOff"),
                ended("OOMKilled", 137),
                3,
                "CrashLoopBackOff",
                "OOMKilled",
                Some(137),
                true,
            ),
            (
                waits("CrashLoopBackOff"),
                ended("Completed", 0),
                3,
                "CrashLoopBackOff",
                "Completed",
                Some(0),
                true,
            ),
            (
                waits("CrashLoopBackOff"),
                ended("StartError", 128),
                2,
                "CrashLoopBackOff",
                "StartError",
                Some(128),
                false,
            ),
            (ended("Error", 2), ended("Error", 1), 1, "", "Error", Some(2), true),
            (json!({"running": {}}), ended("", 1), 1, "", "Error", Some(1), true),
        ];
        for (state, last, restarts, wait, end, code, started) in table {
            let view = pod(&container(&state, &last, restarts));
            assert_eq!(reason(view.waiting.as_ref()), wait, "{state}");
            assert_eq!(reason(view.terminated.as_ref()), end, "{state}");
            assert_eq!(view.terminated.and_then(|end| end.exit_code), code, "{state}");
            assert_eq!((view.started, view.restarts), (started, restarts), "{state}");
        }
    }

    #[test]
    fn a_probe_that_never_passes_does_not_hide_that_it_started() {
        let mut status = container(&json!({"running": {}}), &json!({}), 0);
        status["containerStatuses"][0]["started"] = false.into();
        assert!(pod(&status).started);
    }

    #[test]
    fn init_containers_count_when_they_fail() {
        let init = |code: i32| {
            json!({"initContainerStatuses": [{"name": "i", "image": "i", "imageID": "", "ready": false, "restartCount": 2,
                "state": {"terminated": {"exitCode": code, "reason": "Error"}}}]})
        };
        assert_eq!(pod(&init(0)).terminated, None);
        let failed = pod(&init(1));
        assert_eq!(
            (failed.terminated.unwrap().exit_code, failed.restarts, failed.started),
            (Some(1), 2, false)
        );
    }

    #[test]
    fn what_is_not_the_versions_doing_is_told_apart() {
        let condition = |kind: &str, status: &str, reason: &str| json!({"conditions": [{"type": kind, "status": status, "reason": reason, "message": "0/3 nodes"}]});
        let table = [
            (condition("DisruptionTarget", "True", "PreemptionByScheduler"), Some("PreemptionByScheduler")),
            (condition("DisruptionTarget", "True", ""), Some("DisruptionTarget")),
            (condition("DisruptionTarget", "False", "X"), None),
            (json!({"phase": "Failed", "reason": "Evicted"}), Some("Evicted")),
            (json!({"phase": "Failed", "reason": "OutOfcpu"}), Some("OutOfcpu")),
            (json!({"reason": "NodeLost"}), Some("NodeLost")),
            (json!({"phase": "Failed", "reason": "DeadlineExceeded"}), None),
            (condition("Ready", "Unknown", "NodeStatusUnknown"), Some("NodeNotReady")),
            (condition("Ready", "False", "ContainersNotReady"), None),
        ];
        for (status, expected) in table {
            assert_eq!(pod(&status).disrupted.as_deref(), expected, "{status}");
        }
        let view = pod(&condition("PodScheduled", "False", "Unschedulable"));
        assert_eq!((view.unschedulable.as_deref(), view.disrupted), (Some("0/3 nodes"), None));
    }

    #[test]
    fn a_deleted_pod_is_no_evidence() {
        let pod = json!({"metadata": {"name": "a", "deletionTimestamp": "2026-01-01T00:00:00Z"}});
        let view = pod_view(&serde_json::from_value(pod).unwrap());
        assert!(view.deleting);
        assert_eq!(view.disrupted.as_deref(), Some("Deleted"));
    }

    #[test]
    fn messages_are_cut() {
        let state = json!({"waiting": {"reason": "ErrImagePull", "message": "é".repeat(1000)}});
        let view = pod(&container(&state, &json!({}), 0));
        assert_eq!(view.waiting.unwrap().message.chars().count(), MESSAGE);
        let message = format!("{}the last words\n", "é".repeat(1000));
        let state = json!({"terminated": {"reason": "Error", "exitCode": 3, "message": message}});
        let ended = pod(&container(&state, &json!({}), 0)).terminated.unwrap();
        assert_eq!(ended.message.chars().count(), MESSAGE);
        assert!(ended.message.ends_with("éthe last words"));
    }

    #[test]
    fn a_pod_names_what_made_it() {
        for (kind, owned) in [("ReplicaSet", true), ("Job", true), ("StatefulSet", true), ("Node", false)] {
            let owner =
                json!({"apiVersion": "x/v1", "kind": kind, "name": "web", "uid": "u", "controller": true});
            let pod = json!({"metadata": {"name": "a", "ownerReferences": [owner]}});
            assert_eq!(pod_view(&serde_json::from_value(pod).unwrap()).owner == "u", owned, "{kind}");
        }
    }

    #[test]
    fn a_pod_of_a_daemon_set_names_its_node_and_its_template() {
        let terms = json!([{"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["n1"]}]}]);
        let required =
            json!({"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": terms}});
        let pod = json!({"metadata": {"labels": {LABEL_TEMPLATE: "t", "controller-revision-hash": "c"}},
            "spec": {"affinity": {"nodeAffinity": required}, "containers": []}});
        let view = pod_view(&serde_json::from_value(pod).unwrap());
        assert_eq!((view.node.as_str(), view.revision.as_str()), ("n1", "t"));
    }

    #[test]
    fn a_replica_set_names_its_deployment_and_revision() {
        let set = json!({"metadata": {"name": "web-a", "uid": "rs", "annotations": {"deployment.kubernetes.io/revision": "7"},
            "ownerReferences": [{"apiVersion": "apps/v1", "kind": "Deployment", "name": "web", "uid": "d", "controller": true}]},
            "spec": {"replicas": 3, "selector": {}}});
        let view = replica_set_view(&serde_json::from_value(set).unwrap());
        assert_eq!((view.owner.as_str(), view.revision, view.replicas), ("d", 7, 3));
    }
}
