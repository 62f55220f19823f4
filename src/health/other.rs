//! Kinds without rules of their own: the condition Ready, where there is one.

use serde_json::Value;

use super::Assessment;
use super::read::condition;

/// Parts of a Ready=False reason that say it will not mend itself.
const TERMINAL: [&str; 5] = ["Failed", "Error", "Invalid", "Denied", "Degraded"];

pub(super) fn assess(object: &Value) -> Assessment {
    let Some(ready) = condition(object, "Ready") else {
        return Assessment::healthy("exists (assumed: it reports no readiness)");
    };
    if ready.is("True") {
        return Assessment::healthy("is ready");
    }
    let terminal = ready.is("False") && TERMINAL.iter().any(|word| ready.reason().contains(word));
    if terminal { Assessment::degraded(ready.says()) } else { Assessment::progressing(ready.says()) }
}
