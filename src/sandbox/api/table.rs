//! Objects as kubectl wants to print them: `meta.k8s.io/v1` Tables.

use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::{
    super::{clock, json},
    kinds::{Column, KindSpec},
    render::metadata_only,
};

/// The `Table` of `objects`.
pub(crate) fn table(
    kind: &KindSpec,
    objects: &[&Value],
    version: &str,
    now: Timestamp,
    include: &str,
) -> Value {
    let columns = columns(kind);
    let definitions: Vec<Value> = columns
        .iter()
        .map(|column| {
            let format = if column.name == "Name" { "name" } else { "" };
            let (described, shown) = if kind.columns.contains(column) {
                let text = format!("Custom resource definition column (in JSONPath format): {}", column.path);
                (text, column.kind.as_str())
            } else {
                (String::new(), wire_type(&column.kind))
            };
            json!({
                "name": column.name, "type": shown, "format": format, "description": described,
                "priority": column.priority,
            })
        })
        .collect();
    let rows: Vec<Value> = objects
        .iter()
        .map(|object| {
            let cells: Vec<Value> = columns.iter().map(|column| cell(column, object, now)).collect();
            let mut row = json!({ "cells": cells });
            match include {
                "None" => {}
                "Object" => json::set(&mut row, &["object"], (*object).clone()),
                _ => json::set(&mut row, &["object"], metadata_only(object)),
            }
            row
        })
        .collect();
    json!({
        "kind": "Table", "apiVersion": "meta.k8s.io/v1", "metadata": {"resourceVersion": version},
        "columnDefinitions": definitions, "rows": rows,
    })
}

/// A built-in column of dates is declared as the text that it is sent as.
fn wire_type(kind: &str) -> &str {
    match kind {
        "date" | "computed" => "string",
        other => other,
    }
}

fn columns(kind: &KindSpec) -> Vec<Column> {
    let built_in: &[(&str, &str, &str, u32)] = match (kind.group.as_str(), kind.kind.as_str()) {
        ("", "Pod") => &[
            ("Ready", "computed", "pod-ready", 0),
            ("Status", "computed", "pod-status", 0),
            ("Restarts", "computed", "pod-restarts", 0),
            ("Age", "date", ".metadata.creationTimestamp", 0),
            ("IP", "string", ".status.podIP", 1),
            ("Node", "string", ".spec.nodeName", 1),
        ],
        ("apps", "Deployment") => &[
            ("Ready", "computed", "deployment-ready", 0),
            ("Up-to-date", "count", ".status.updatedReplicas", 0),
            ("Available", "count", ".status.availableReplicas", 0),
            ("Age", "date", ".metadata.creationTimestamp", 0),
        ],
        ("apps", "ReplicaSet") => &[
            ("Desired", "count", ".spec.replicas", 0),
            ("Current", "count", ".status.replicas", 0),
            ("Ready", "count", ".status.readyReplicas", 0),
            ("Age", "date", ".metadata.creationTimestamp", 0),
        ],
        ("apps", "StatefulSet") => {
            &[("Ready", "computed", "deployment-ready", 0), ("Age", "date", ".metadata.creationTimestamp", 0)]
        }
        ("apps", "DaemonSet") => &[
            ("Desired", "count", ".status.desiredNumberScheduled", 0),
            ("Current", "count", ".status.currentNumberScheduled", 0),
            ("Ready", "count", ".status.numberReady", 0),
            ("Up-to-date", "count", ".status.updatedNumberScheduled", 0),
            ("Available", "count", ".status.numberAvailable", 0),
            ("Age", "date", ".metadata.creationTimestamp", 0),
        ],
        ("", "Service") => &[
            ("Type", "string", ".spec.type", 0),
            ("Cluster-IP", "string", ".spec.clusterIP", 0),
            ("Port(s)", "computed", "ports", 0),
            ("Age", "date", ".metadata.creationTimestamp", 0),
        ],
        ("", "Namespace") => {
            &[("Status", "string", ".status.phase", 0), ("Age", "date", ".metadata.creationTimestamp", 0)]
        }
        ("", "Node") => &[
            ("Status", "computed", "node-status", 0),
            ("Age", "date", ".metadata.creationTimestamp", 0),
            ("Version", "string", ".status.nodeInfo.kubeletVersion", 0),
        ],
        ("", "ConfigMap") => {
            &[("Data", "computed", "data", 0), ("Age", "date", ".metadata.creationTimestamp", 0)]
        }
        ("", "Secret") => &[
            ("Type", "string", ".type", 0),
            ("Data", "computed", "data", 0),
            ("Age", "date", ".metadata.creationTimestamp", 0),
        ],
        ("" | "events.k8s.io", "Event") => &[
            ("Last Seen", "date", ".metadata.creationTimestamp", 0),
            ("Type", "string", ".type", 0),
            ("Reason", "string", ".reason", 0),
            ("Object", "computed", "event-object", 0),
            ("Message", "computed", "event-message", 0),
        ],
        ("coordination.k8s.io", "Lease") => &[
            ("Holder", "string", ".spec.holderIdentity", 0),
            ("Age", "date", ".metadata.creationTimestamp", 0),
        ],
        _ => &[("Age", "date", ".metadata.creationTimestamp", 0)],
    };
    let column = |name: &str, kind: &str, path: &str, priority| Column {
        name: name.to_owned(),
        kind: kind.to_owned(),
        path: path.to_owned(),
        priority,
    };
    let mut out = Vec::new();
    if kind.kind != "Event" {
        out.push(column("Name", "string", ".metadata.name", 0));
    }
    if kind.columns.is_empty() {
        out.extend(built_in.iter().map(|(name, kind, path, priority)| column(name, kind, path, *priority)));
    } else {
        out.extend(kind.columns.iter().cloned());
    }
    out
}

fn cell(column: &Column, object: &Value, now: Timestamp) -> Value {
    let found = || json_path(object, &column.path);
    match column.kind.as_str() {
        "date" => match found().as_ref().and_then(Value::as_str).and_then(clock::parse_time) {
            Some(then) => age(clock::elapsed(then, now)).into(),
            None => "<unknown>".into(),
        },
        "count" => found().unwrap_or(json!(0)),
        "computed" => computed(&column.path, object),
        "integer" | "number" | "boolean" => found().unwrap_or(Value::Null),
        _ => match found() {
            Some(Value::String(text)) => text.into(),
            Some(other) => other.to_string().into(),
            None => Value::Null,
        },
    }
}

fn computed(what: &str, object: &Value) -> Value {
    let count = |path: &[&str]| json::int(object, path).unwrap_or(0);
    let statuses = json::list(object, &["status", "containerStatuses"]);
    match what {
        "pod-ready" => {
            let ready = statuses.iter().filter(|one| json::flag(one, &["ready"])).count();
            format!("{ready}/{}", json::list(object, &["spec", "containers"]).len()).into()
        }
        "pod-restarts" => {
            let all: i64 = statuses.iter().filter_map(|one| json::int(one, &["restartCount"])).sum();
            all.to_string().into()
        }
        "pod-status" => pod_status(object, statuses).into(),
        "deployment-ready" => {
            format!("{}/{}", count(&["status", "readyReplicas"]), count(&["spec", "replicas"])).into()
        }
        "ports" => {
            let ports: Vec<String> = json::list(object, &["spec", "ports"])
                .iter()
                .map(|port| {
                    format!("{}/{}", json::int(port, &["port"]).unwrap_or(0), json::text(port, &["protocol"]))
                })
                .collect();
            ports.join(",").into()
        }
        "node-status" => {
            let ready = json::list(object, &["status", "conditions"])
                .iter()
                .any(|one| json::text(one, &["type"]) == "Ready" && json::text(one, &["status"]) == "True");
            if ready { "Ready".into() } else { "NotReady".into() }
        }
        "data" => {
            let size =
                |name: &str| object.get(name).and_then(Value::as_object).map_or(0, serde_json::Map::len);
            json!(size("data") + size("binaryData"))
        }
        "event-object" => {
            let about = object.get("involvedObject").or(object.get("regarding")).cloned().unwrap_or_default();
            format!("{}/{}", json::text(&about, &["kind"]).to_lowercase(), json::text(&about, &["name"]))
                .into()
        }
        "event-message" => object.get("message").or(object.get("note")).cloned().unwrap_or_default(),
        _ => Value::Null,
    }
}

fn pod_status(pod: &Value, statuses: &[Value]) -> String {
    if json::at(pod, &["metadata", "deletionTimestamp"]).is_some() {
        return "Terminating".to_owned();
    }
    let reason = statuses.iter().find_map(|one| {
        ["waiting", "terminated"].iter().find_map(|state| json::text_opt(one, &["state", state, "reason"]))
    });
    reason.unwrap_or_else(|| json::text(pod, &["status", "phase"])).to_owned()
}

/// The subset of JSON paths that printer columns use: fields, `[n]`, `[?(@.a=="b")]`, `['a.b']` and `\.`.
pub(crate) fn json_path(object: &Value, path: &str) -> Option<Value> {
    let mut current = object;
    let mut rest = path.trim_start_matches('$');
    while !rest.is_empty() {
        if let Some(tail) = rest.strip_prefix('.') {
            let tail = tail.replace("\\.", "\u{0}");
            let end = tail.find(['.', '[']).unwrap_or(tail.len());
            let (name, _) = tail.split_at_checked(end)?;
            let name = name.replace('\u{0}', ".");
            // Escaped dots were one byte longer in the original.
            let used = 1 + end + name.matches('.').count();
            current = current.get(&name)?;
            rest = rest.get(used..)?;
        } else {
            let (inside, tail) = rest.strip_prefix('[')?.split_once(']')?;
            current = step_inside(current, inside)?;
            rest = tail;
        }
    }
    Some(current.clone())
}

fn step_inside<'a>(current: &'a Value, inside: &str) -> Option<&'a Value> {
    if let Some(name) = inside.strip_prefix(['\'', '"']) {
        return current.get(name.trim_end_matches(['\'', '"']));
    }
    if let Some(filter) = inside.strip_prefix("?(@.").and_then(|rest| rest.strip_suffix(')')) {
        let (key, wanted) = filter.split_once("==")?;
        let wanted = wanted.trim().trim_matches(['"', '\'']);
        return current.as_array()?.iter().find(|item| json::text(item, &[key.trim()]) == wanted);
    }
    current.get(inside.parse::<usize>().ok()?)
}

/// An age as kubectl prints it: two units at most, the finer one only while it matters.
pub(crate) fn age(elapsed: Duration) -> String {
    let seconds = elapsed.as_secs();
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
    let pair = |big: u64, unit: &str, small: u64, fine: &str| {
        if small == 0 { format!("{big}{unit}") } else { format!("{big}{unit}{small}{fine}") }
    };
    match seconds {
        0..120 => format!("{seconds}s"),
        120..600 => pair(minutes, "m", seconds % 60, "s"),
        600..10_800 => format!("{minutes}m"),
        10_800..28_800 => pair(hours, "h", minutes % 60, "m"),
        28_800..172_800 => format!("{hours}h"),
        172_800..691_200 => pair(days, "d", hours % 24, "h"),
        691_200..63_072_000 => format!("{days}d"),
        _ => pair(days / 365, "y", days % 365, "d"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_reach_into_lists_and_odd_names() {
        let object = json!({
            "metadata": {"labels": {"idp.dev/team": "shop"}},
            "status": {"conditions": [{"type": "Ready", "status": "True"}], "list": [1, 2]},
        });
        for (path, wanted) in [
            (".status.conditions[?(@.type==\"Ready\")].status", json!("True")),
            (".status.list[1]", json!(2)),
            (".metadata.labels.idp\\.dev/team", json!("shop")),
            (".metadata.labels['idp.dev/team']", json!("shop")),
        ] {
            assert_eq!(json_path(&object, path), Some(wanted), "{path}");
        }
        assert_eq!(json_path(&object, ".status.missing"), None);
    }

    #[test]
    fn ages_read_as_kubectl_prints_them() {
        for (seconds, wanted) in [(5, "5s"), (119, "119s"), (125, "2m5s"), (7200, "120m"), (172_800, "2d")] {
            assert_eq!(age(Duration::from_secs(seconds)), wanted);
        }
    }
}
