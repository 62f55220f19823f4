//! Garbage collection: what is owned only by what is gone goes too; what is deleted in the foreground waits for it.

use std::{collections::BTreeSet, sync::Arc};

use serde_json::Value;

use super::{
    super::{api::KindSpec, json},
    Outcome,
    hands::{Hands, is_going},
};

const FOREGROUND: &str = "foregroundDeletion";

/// Looks at every owned object once.
pub(super) fn collect(hands: &Hands) -> Outcome {
    let all = hands.everything();
    let uids: BTreeSet<&str> =
        all.iter().map(|(_, object)| json::text(object, &["metadata", "uid"])).collect();
    let leaving: BTreeSet<&str> = all
        .iter()
        .filter(|(_, object)| waits_for_dependents(object))
        .map(|(_, object)| json::text(object, &["metadata", "uid"]))
        .collect();
    let mut failed = false;
    for (kind, object) in &all {
        let owners = json::list(object, &["metadata", "ownerReferences"]);
        let owned = !owners.is_empty();
        let has_other = owners.iter().any(|owner| {
            let uid = json::text(owner, &["uid"]);
            uids.contains(uid) && !leaving.contains(uid)
        });
        if owned && !has_other && !is_going(object) {
            failed |= delete(hands, kind, object);
        }
    }
    for (kind, object) in &all {
        if waits_for_dependents(object) && !is_blocked(&all, object) {
            failed |= let_go(hands, kind, object);
        }
    }
    if failed { Outcome::Failed } else { Outcome::Done }
}

/// True if it is to be tried again. What is gone by itself is well.
fn delete(hands: &Hands, kind: &Arc<KindSpec>, object: &Value) -> bool {
    hands.delete(kind, object).is_err_and(|error| !matches!(error.code, 404 | 409))
}

fn waits_for_dependents(object: &Value) -> bool {
    is_going(object) && json::list(object, &["metadata", "finalizers"]).iter().any(|one| one == FOREGROUND)
}

fn is_blocked(all: &[(Arc<KindSpec>, Arc<Value>)], owner: &Value) -> bool {
    let uid = json::text(owner, &["metadata", "uid"]);
    all.iter().any(|(_, object)| {
        json::list(object, &["metadata", "ownerReferences"])
            .iter()
            .any(|one| json::text(one, &["uid"]) == uid && json::flag(one, &["blockOwnerDeletion"]))
    })
}

fn let_go(hands: &Hands, kind: &Arc<KindSpec>, object: &Value) -> bool {
    let mut new = object.clone();
    json::list_mut(json::map_mut(&mut new, &["metadata"]), "finalizers").retain(|one| one != FOREGROUND);
    hands.replace(kind, new).is_err_and(|error| error.code != 404)
}
