//! Namespaces: one that terminates takes everything in it along.

use serde_json::Value;

use super::Assessment;
use super::read::{condition, text};

pub(super) fn assess(object: &Value) -> Assessment {
    let terminating = text(object, "/status/phase") == "Terminating"
        || object.pointer("/metadata/deletionTimestamp").is_some();
    if terminating {
        let stuck = condition(object, "NamespaceContentRemaining").filter(|c| c.is("True"));
        let why = stuck.map(|condition| format!(" ({})", condition.says())).unwrap_or_default();
        return Assessment::degraded(format!("is being deleted with all that is in it{why}"));
    }
    Assessment::healthy("exists")
}
