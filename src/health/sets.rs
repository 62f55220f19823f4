//! StatefulSets and DaemonSets: neither has conditions of its own, so the counts tell. One that replaces pods only when they are deleted is as it
//! is meant to be.

use serde_json::Value;

use super::Assessment;
use super::deployment::wanted;
use super::read::{number, text, unseen};

fn replaced_by_hand(object: &Value) -> bool {
    text(object, "/spec/updateStrategy/type") == "OnDelete"
}

pub(super) fn stateful_set(object: &Value) -> Assessment {
    if let Some(unseen) = unseen(object) {
        return unseen;
    }
    let wanted = wanted(object);
    let count = |name: &str| number(object, &format!("/status/{name}"));
    let ready = count("readyReplicas");
    if ready < wanted {
        return Assessment::progressing(format!("{ready} of {wanted} pods are ready"));
    }
    if replaced_by_hand(object) {
        return Assessment::healthy(format!(
            "{wanted} of {wanted} pods ready, replaced when they are deleted"
        ));
    }
    let partition = number(object, "/spec/updateStrategy/rollingUpdate/partition").clamp(0, wanted.max(0));
    let (updated, due) = (count("updatedReplicas"), wanted - partition);
    let moving = text(object, "/status/updateRevision") != text(object, "/status/currentRevision");
    if updated < due || (partition == 0 && moving) {
        return Assessment::progressing(format!("{updated} of {due} pods have the new template"));
    }
    Assessment::healthy(format!("{wanted} of {wanted} pods ready"))
}

pub(super) fn daemon_set(object: &Value) -> Assessment {
    if let Some(unseen) = unseen(object) {
        return unseen;
    }
    let count = |name: &str| number(object, &format!("/status/{name}"));
    let (wanted, available) = (count("desiredNumberScheduled"), count("numberAvailable"));
    let updated = count("updatedNumberScheduled");
    if available < wanted {
        return Assessment::progressing(format!("{available} of {wanted} pods are available"));
    }
    if replaced_by_hand(object) {
        return Assessment::healthy(format!(
            "{wanted} of {wanted} pods available, replaced when they are deleted"
        ));
    }
    if updated < wanted {
        return Assessment::progressing(format!("{updated} of {wanted} pods have the new template"));
    }
    match count("numberMisscheduled") {
        0 => Assessment::healthy(format!("{wanted} of {wanted} pods available")),
        more => Assessment::progressing(format!("{more} pods are where they should not be")),
    }
}
