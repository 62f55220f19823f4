//! ReplicaSets: refused pods first, then the counts.

use serde_json::Value;

use super::Assessment;
use super::deployment::wanted;
use super::read::{condition, number, unseen};

pub(super) fn assess(object: &Value) -> Assessment {
    if let Some(unseen) = unseen(object) {
        return unseen;
    }
    if let Some(failure) = condition(object, "ReplicaFailure").filter(|c| c.is("True")) {
        return Assessment::degraded(failure.says());
    }
    let wanted = wanted(object);
    for (field, word) in
        [("fullyLabeledReplicas", "labelled"), ("readyReplicas", "ready"), ("availableReplicas", "available")]
    {
        let there = number(object, &format!("/status/{field}"));
        if there < wanted {
            return Assessment::progressing(format!("{there} of {wanted} pods are {word}"));
        }
    }
    let all = number(object, "/status/replicas");
    if all > wanted {
        return Assessment::progressing(format!("{} pods too many remain", all - wanted));
    }
    Assessment::healthy(format!("{wanted} of {wanted} pods available"))
}
