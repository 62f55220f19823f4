//! Pods as their controllers judge them: active, ready, available, and which of them to let go first.

use std::{cmp::Reverse, time::Duration};

use jiff::Timestamp;
use serde_json::Value;

use super::{
    super::{clock, json},
    hands::is_going,
};

/// Neither ended nor going.
pub(super) fn is_active(pod: &Value) -> bool {
    !is_going(pod) && !has_ended(pod)
}

pub(super) fn has_ended(pod: &Value) -> bool {
    matches!(json::text(pod, &["status", "phase"]), "Succeeded" | "Failed")
}

fn ready_condition(pod: &Value) -> Option<&Value> {
    json::list(pod, &["status", "conditions"])
        .iter()
        .find(|one| json::text(one, &["type"]) == "Ready" && json::text(one, &["status"]) == "True")
}

pub(super) fn is_ready(pod: &Value) -> bool {
    ready_condition(pod).is_some()
}

fn ready_since(pod: &Value) -> Option<Timestamp> {
    clock::parse_time(json::text(ready_condition(pod)?, &["lastTransitionTime"]))
}

/// How long until a ready pod counts as available; none if it is not ready.
pub(super) fn until_available(pod: &Value, min_ready: Duration, now: Timestamp) -> Option<Duration> {
    ready_condition(pod)?;
    if min_ready.is_zero() {
        return Some(Duration::ZERO);
    }
    let since = ready_since(pod)?;
    Some(min_ready.saturating_sub(clock::elapsed(since, now)))
}

/// Sorts so that the first is the first to go: unassigned, not running, not ready, cheap, crowded, young.
pub(super) fn sort_for_deletion(pods: &mut [&Value], now: Timestamp) {
    let on_node = |node: &str| {
        pods.iter().filter(|pod| is_ready(pod) && json::text(pod, &["spec", "nodeName"]) == node).count()
    };
    let crowds: Vec<(String, usize)> = pods
        .iter()
        .map(|pod| json::text(pod, &["spec", "nodeName"]).to_owned())
        .map(|node| (node.clone(), on_node(&node)))
        .collect();
    let crowd = |pod: &Value| {
        let node = json::text(pod, &["spec", "nodeName"]);
        crowds.iter().find(|(name, _)| name == node).map_or(0, |(_, count)| *count)
    };
    pods.sort_by_cached_key(|pod| {
        let created = clock::parse_time(json::text(pod, &["metadata", "creationTimestamp"]));
        (
            !json::text(pod, &["spec", "nodeName"]).is_empty(),
            phase_rank(pod),
            is_ready(pod),
            deletion_cost(pod),
            Reverse(crowd(pod)),
            age_rank(ready_since(pod), now),
            Reverse(restarts(pod)),
            age_rank(created, now),
            json::text(pod, &["metadata", "uid"]).to_owned(),
        )
    });
}

fn phase_rank(pod: &Value) -> u8 {
    match json::text(pod, &["status", "phase"]) {
        "Running" => 2,
        "Unknown" => 1,
        _ => 0,
    }
}

fn deletion_cost(pod: &Value) -> i64 {
    let text = json::text(pod, &["metadata", "annotations", "controller.kubernetes.io/pod-deletion-cost"]);
    text.parse().unwrap_or(0)
}

fn restarts(pod: &Value) -> i64 {
    json::list(pod, &["status", "containerStatuses"])
        .iter()
        .filter_map(|one| json::int(one, &["restartCount"]))
        .max()
        .unwrap_or(0)
}

/// Ages count by powers of two, so that of pods of about the same age a random one goes.
fn age_rank(since: Option<Timestamp>, now: Timestamp) -> i64 {
    let Some(since) = since else { return -1 };
    let nanos = clock::elapsed(since, now).as_nanos();
    if nanos == 0 { -1 } else { i64::from(nanos.ilog2()) }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn pod(name: &str, node: &str, ready: bool, age: i64) -> Value {
        let at = clock::seconds_text(Timestamp::from_second(1_000_000 - age).unwrap());
        let status = if ready { "True" } else { "False" };
        json!({
            "metadata": {"name": name, "uid": name, "creationTimestamp": at},
            "spec": {"nodeName": node},
            "status": {
                "phase": if node.is_empty() { "Pending" } else { "Running" },
                "conditions": [{"type": "Ready", "status": status, "lastTransitionTime": at}],
            },
        })
    }

    #[test]
    fn the_young_and_the_unready_go_first() {
        let all = [
            pod("old", "n", true, 4000),
            pod("young", "n", true, 10),
            pod("unready", "n", false, 4000),
            pod("pending", "", false, 4000),
        ];
        let mut sorted: Vec<&Value> = all.iter().collect();
        sort_for_deletion(&mut sorted, Timestamp::from_second(1_000_000).unwrap());
        let names: Vec<&str> = sorted.iter().map(|pod| json::text(pod, &["metadata", "name"])).collect();
        assert_eq!(names, ["pending", "unready", "young", "old"]);
    }

    #[test]
    fn availability_takes_its_time() {
        let now = Timestamp::from_second(1_000_000).unwrap();
        let ready = pod("a", "n", true, 10);
        assert_eq!(until_available(&ready, Duration::ZERO, now), Some(Duration::ZERO));
        assert_eq!(until_available(&ready, Duration::from_secs(30), now), Some(Duration::from_secs(20)));
        assert_eq!(until_available(&pod("b", "n", false, 10), Duration::ZERO, now), None);
    }
}
