//! A ReplicaSet: as many pods as it asks for, and what it says of them.

use std::{sync::Arc, time::Duration};

use serde_json::{Value, json};

use super::{
    super::{api::ApiError, json},
    Outcome, conditions,
    hands::{Hands, claim, controller_reference, is_going},
    pods,
};

/// No more pods are made or deleted in one look.
const BURST: usize = 500;

/// Brings one ReplicaSet to what it asks for.
pub(super) fn sync(hands: &Hands, namespace: &str, name: &str) -> Outcome {
    let Some(set) = hands.replica_set(namespace, name) else {
        return Outcome::Done;
    };
    let mine = claim(&set, "ReplicaSet", hands.pods(namespace), |pod| hands.update_pod(pod));
    let active: Vec<&Value> = mine.iter().map(|pod| &**pod).filter(|pod| pods::is_active(pod)).collect();
    let going = mine.iter().filter(|pod| is_going(pod) && !pods::has_ended(pod)).count();
    let problem = if is_going(&set) { None } else { manage(hands, &set, active.clone()).err() };

    let min_ready = min_ready(hands, &set);
    let now = hands.now();
    let status = status(&set, &active, going, min_ready, hands, problem.as_ref());
    let mut failed = problem.is_some();
    if set.get("status") != Some(&status) {
        let mut new = (*set).clone();
        json::set(&mut new, &["status"], status);
        failed |= hands.update_replica_set(new, "status").is_err();
    }
    if failed {
        return Outcome::Failed;
    }
    let waits = active.iter().filter_map(|pod| pods::until_available(pod, min_ready, now));
    match waits.filter(|wait| !wait.is_zero()).min() {
        // Times are written in whole seconds, so a little is added to be past them.
        Some(wait) => Outcome::Later(wait + Duration::from_millis(1)),
        None => Outcome::Done,
    }
}

/// How long a pod must have been ready to be available.
fn min_ready(hands: &Hands, object: &Value) -> Duration {
    let seconds = json::int(object, &["spec", "minReadySeconds"]).unwrap_or(0);
    hands.scaled(Duration::from_secs(seconds.unsigned_abs()))
}

/// Makes what is missing or deletes what is too many.
fn manage(hands: &Hands, set: &Arc<Value>, mut active: Vec<&Value>) -> Result<(), ApiError> {
    let wanted = json::int(set, &["spec", "replicas"]).and_then(|n| usize::try_from(n).ok()).unwrap_or(0);
    if active.len() < wanted {
        let namespace = json::text(set, &["metadata", "namespace"]);
        for _ in 0..(wanted - active.len()).min(BURST) {
            hands.create_pod(namespace, new_pod(set, "ReplicaSet"))?;
        }
    } else if active.len() > wanted {
        let many = (active.len() - wanted).min(BURST);
        pods::sort_for_deletion(&mut active, hands.now());
        for pod in active.iter().take(many) {
            match hands.delete_pod(pod) {
                Err(error) if error.code != 404 => return Err(error),
                _ => {}
            }
        }
    }
    Ok(())
}

/// The pod that an owner's template makes.
pub(super) fn new_pod(set: &Value, kind: &str) -> Value {
    let template = |name: &str| json::at(set, &["spec", "template", "metadata", name]).cloned();
    let mut pod = json!({
        "metadata": {
            "generateName": format!("{}-", json::text(set, &["metadata", "name"])),
            "ownerReferences": [controller_reference(set, kind)],
        },
        "spec": json::at(set, &["spec", "template", "spec"]).cloned().unwrap_or_default(),
    });
    for name in ["labels", "annotations", "finalizers"] {
        if let Some(value) = template(name) {
            json::set(&mut pod, &["metadata", name], value);
        }
    }
    pod
}

fn status(
    set: &Value,
    active: &[&Value],
    going: usize,
    min_ready: Duration,
    hands: &Hands,
    problem: Option<&ApiError>,
) -> Value {
    let now = hands.now();
    let labels: Vec<(&str, &str)> = json::pairs(set, &["spec", "template", "metadata", "labels"]).collect();
    let fully = |pod: &Value| {
        labels.iter().all(|(key, value)| json::text_opt(pod, &["metadata", "labels", key]) == Some(*value))
    };
    let available =
        |pod: &&&Value| pods::until_available(pod, min_ready, now).is_some_and(|wait| wait.is_zero());
    let number = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);

    let mut status = set.get("status").cloned().unwrap_or_default();
    let map = json::as_map(&mut status);
    map.insert("replicas".to_owned(), number(active.len()).into());
    map.insert("terminatingReplicas".to_owned(), number(going).into());
    conditions::count(map, "fullyLabeledReplicas", number(active.iter().filter(|pod| fully(pod)).count()));
    conditions::count(map, "readyReplicas", number(active.iter().filter(|pod| pods::is_ready(pod)).count()));
    conditions::count(map, "availableReplicas", number(active.iter().filter(available).count()));
    let generation = json::int(set, &["metadata", "generation"]).unwrap_or(0);
    conditions::count(map, "observedGeneration", generation);
    match problem {
        Some(error) => {
            let wanted = json::int(set, &["spec", "replicas"]).unwrap_or(0);
            let reason = if number(active.len()) < wanted { "FailedCreate" } else { "FailedDelete" };
            let message = json::text(&error.status, &["message"]);
            let mut condition = conditions::new("ReplicaFailure", "True", reason, message, &hands.now_text());
            json::remove(&mut condition, &["lastUpdateTime"]);
            conditions::set(&mut status, condition);
        }
        None => conditions::remove(&mut status, "ReplicaFailure"),
    }
    status
}
