//! Deployments: the controller's own verdicts first, then the counts, then its word that all is done.

use serde_json::Value;

use super::Assessment;
use super::read::{condition, number, unseen};
use crate::model::record::Health;

pub(super) fn assess(object: &Value) -> Assessment {
    if let Some(unseen) = unseen(object) {
        return unseen;
    }
    if object.pointer("/spec/paused").and_then(Value::as_bool) == Some(true) {
        return Assessment::new(Health::Suspended, "is paused");
    }
    let progressing = condition(object, "Progressing");
    if let Some(late) = progressing.as_ref().filter(|c| c.reason() == "ProgressDeadlineExceeded") {
        return Assessment::degraded(late.says());
    }
    if let Some(failure) = condition(object, "ReplicaFailure").filter(|c| c.is("True")) {
        return Assessment::degraded(failure.says());
    }
    if let Some(missing) = pods_missing(object) {
        return Assessment::progressing(missing);
    }
    let wanted = wanted(object);
    if wanted == 0 {
        return Assessment::healthy("scaled to 0");
    }
    match condition(object, "Available") {
        Some(available) if available.is("True") => {}
        Some(available) => return Assessment::progressing(available.says()),
        None => return Assessment::progressing("availability is not reported yet"),
    }
    // Without a deadline there is no Progressing condition.
    match progressing.filter(|condition| condition.reason() != "NewReplicaSetAvailable") {
        Some(progressing) => Assessment::progressing(progressing.says()),
        None => Assessment::healthy(format!("{wanted} of {wanted} pods available")),
    }
}

/// `spec.replicas`, 1 where it is absent as the API defaults it.
pub(super) fn wanted(object: &Value) -> i64 {
    object.pointer("/spec/replicas").and_then(Value::as_i64).unwrap_or(1)
}

fn pods_missing(object: &Value) -> Option<String> {
    let wanted = wanted(object);
    let count = |name: &str| number(object, &format!("/status/{name}"));
    let (updated, all) = (count("updatedReplicas"), count("replicas"));
    let (available, ready) = (count("availableReplicas"), count("readyReplicas"));
    if updated < wanted {
        Some(format!("{updated} of {wanted} pods have the new template"))
    } else if all > updated {
        Some(format!("{} pods of the former template remain", all - updated))
    } else if available < updated {
        Some(format!("{available} of {updated} pods are available"))
    } else if ready < wanted {
        Some(format!("{ready} of {wanted} pods are ready"))
    } else {
        None
    }
}
