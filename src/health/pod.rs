//! Pods: what keeps a container from running, then readiness. `phase: Failed` is a failure, unlike in kstatus.

use std::time::Duration;

use jiff::Timestamp;
use serde_json::Value;

use super::Assessment;
use super::read::{both, condition, items, number, text};

/// How long the scheduler may look for a node before that is trouble and no longer start-up; kstatus' figure.
const SCHEDULING: Duration = Duration::from_secs(15);

pub(super) fn assess(object: &Value, now: Timestamp) -> Assessment {
    match text(object, "/status/phase") {
        "Succeeded" => return Assessment::healthy("succeeded"),
        "Failed" => {
            let why = both(text(object, "/status/reason"), text(object, "/status/message"));
            return Assessment::degraded(both("failed", &broken(object).unwrap_or(why)));
        }
        _ => {}
    }
    if condition(object, "Ready").is_some_and(|ready| ready.is("True")) {
        return Assessment::healthy("is ready");
    }
    if let Some(broken) = broken(object) {
        return Assessment::degraded(broken);
    }
    if let Some(unscheduled) = condition(object, "PodScheduled").filter(|c| c.is("False")) {
        let why = unscheduled.says();
        let waited = unscheduled.since().map(|since| now.duration_since(since).unsigned_abs());
        let long = waited.is_some_and(|waited| waited >= SCHEDULING);
        return if long { Assessment::degraded(why) } else { Assessment::progressing(why) };
    }
    match condition(object, "Ready") {
        Some(ready) => Assessment::progressing(both("is not ready", &ready.says())),
        None => Assessment::progressing("is being started"),
    }
}

/// Returns why a container of a pod that is not ready does not run.
fn broken(object: &Value) -> Option<String> {
    let statuses = items(object, "/status/initContainerStatuses")
        .map(|status| (status, true))
        .chain(items(object, "/status/containerStatuses").map(|status| (status, false)));
    for (status, init) in statuses {
        let name = text(status, "/name");
        let waiting = text(status, "/state/waiting/reason");
        if is_failure(waiting) {
            let why = both(waiting, text(status, "/state/waiting/message"));
            return Some(format!("container {name}: {why}{}", last_exit(status)));
        }
        let stopped = if status.pointer("/state/terminated").is_some() { "/state" } else { "/lastState" };
        let reason = text(status, &format!("{stopped}/terminated/reason"));
        let exit = number(status, &format!("{stopped}/terminated/exitCode"));
        let now_stopped = stopped == "/state";
        // What an init container's earlier try ended with is history once it runs again.
        if reason == "OOMKilled" && (now_stopped || !init) {
            return Some(format!("container {name}: OOMKilled (its memory limit is too low for it)"));
        }
        if now_stopped && exit != 0 {
            return Some(format!("container {name}: {}", both(&format!("exit {exit}"), reason)));
        }
    }
    None
}

fn last_exit(status: &Value) -> String {
    let code = status.pointer("/lastState/terminated/exitCode").and_then(Value::as_i64);
    let restarts = number(status, "/restartCount");
    match code {
        Some(code) => format!(" (last exit {code}, {restarts} restarts)"),
        None => String::new(),
    }
}

fn is_failure(waiting: &str) -> bool {
    waiting.starts_with("Err")
        || waiting.ends_with("Error")
        || waiting.ends_with("BackOff")
        || waiting == "InvalidImageName"
}
