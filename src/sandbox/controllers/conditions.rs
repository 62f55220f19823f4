//! Conditions of a Deployment's or ReplicaSet's status, kept as the genuine controllers keep them.

use serde_json::{Map, Value, json};

use super::super::json;

/// The condition of a type.
pub(super) fn find<'a>(status: &'a Value, kind: &str) -> Option<&'a Value> {
    json::list(status, &["conditions"]).iter().find(|one| json::text(one, &["type"]) == kind)
}

/// The reason of the condition of a type, or the empty string.
pub(super) fn reason<'a>(status: &'a Value, kind: &str) -> &'a str {
    find(status, kind).map(|one| json::text(one, &["reason"])).unwrap_or_default()
}

pub(super) fn new(kind: &str, status: &str, reason: &str, message: &str, now: &str) -> Value {
    json!({
        "type": kind, "status": status, "reason": reason, "message": message,
        "lastUpdateTime": now, "lastTransitionTime": now,
    })
}

/// Sets a condition, unless one with the same status and reason is there. The time of the last transition stays while
/// the status does.
pub(super) fn set(status: &mut Value, mut condition: Value) {
    let kind = json::text(&condition, &["type"]).to_owned();
    if let Some(current) = find(status, &kind) {
        let same = |name: &str| current.get(name) == condition.get(name);
        if same("status") && same("reason") {
            return;
        }
        if same("status")
            && let Some(at) = current.get("lastTransitionTime").cloned()
        {
            json::set(&mut condition, &["lastTransitionTime"], at);
        }
    }
    remove(status, &kind);
    list(status).push(condition);
}

/// Sets a condition whatever is there, keeping the time of the last transition while the status stays true.
pub(super) fn refresh(status: &mut Value, mut condition: Value) {
    let kind = json::text(&condition, &["type"]).to_owned();
    if let Some(current) = find(status, &kind)
        && json::text(current, &["status"]) == "True"
        && let Some(at) = current.get("lastTransitionTime").cloned()
    {
        json::set(&mut condition, &["lastTransitionTime"], at);
    }
    remove(status, &kind);
    list(status).push(condition);
}

pub(super) fn remove(status: &mut Value, kind: &str) {
    if status.get("conditions").is_some() {
        list(status).retain(|one| json::text(one, &["type"]) != kind);
        if list(status).is_empty() {
            json::remove(status, &["conditions"]);
        }
    }
}

fn list(status: &mut Value) -> &mut Vec<Value> {
    json::list_mut(json::as_map(status), "conditions")
}

/// Sets a count that is not written while it is zero.
pub(super) fn count(status: &mut Map<String, Value>, name: &str, number: i64) {
    if number == 0 {
        status.remove(name);
    } else {
        status.insert(name.to_owned(), number.into());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_transition_stays_while_the_status_does() {
        let mut status = json!({});
        set(&mut status, new("Progressing", "True", "NewReplicaSetCreated", "", "t1"));
        set(&mut status, new("Progressing", "True", "NewReplicaSetCreated", "", "t2"));
        assert_eq!(find(&status, "Progressing").unwrap()["lastUpdateTime"], "t1");
        set(&mut status, new("Progressing", "True", "ReplicaSetUpdated", "", "t3"));
        let found = find(&status, "Progressing").unwrap();
        assert_eq!(
            (found["lastTransitionTime"].as_str(), found["lastUpdateTime"].as_str()),
            (Some("t1"), Some("t3"))
        );
        set(&mut status, new("Progressing", "False", "ProgressDeadlineExceeded", "", "t4"));
        assert_eq!(find(&status, "Progressing").unwrap()["lastTransitionTime"], "t4");
    }
}
