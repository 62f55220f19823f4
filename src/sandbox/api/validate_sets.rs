//! What the server refuses of StatefulSets and DaemonSets beyond what holds for every workload. Source: `pkg/apis/apps/validation`.

use serde_json::{Value, json};

use super::{super::json, error::FieldError, kinds::KindSpec};

/// What of a StatefulSet's spec may change.
const CHANGEABLE: [&str; 7] = [
    "replicas",
    "ordinals",
    "template",
    "updateStrategy",
    "revisionHistoryLimit",
    "persistentVolumeClaimRetentionPolicy",
    "minReadySeconds",
];

/// Checks `new`; `live` is what it replaces.
pub(super) fn check(kind: &KindSpec, live: Option<&Value>, new: &Value, errors: &mut Vec<FieldError>) {
    match kind.kind.as_str() {
        "StatefulSet" => stateful_set(live, new, errors),
        "DaemonSet" => daemon_set(new, errors),
        _ => {}
    }
}

fn stateful_set(live: Option<&Value>, new: &Value, errors: &mut Vec<FieldError>) {
    let policy = json::text(new, &["spec", "podManagementPolicy"]);
    if !matches!(policy, "OrderedReady" | "Parallel") {
        let why = "must be 'OrderedReady' or 'Parallel'";
        errors.push(FieldError::invalid("spec.podManagementPolicy", &json!(policy), why));
    }
    let rolling = json::at(new, &["spec", "updateStrategy", "rollingUpdate"]);
    match json::text(new, &["spec", "updateStrategy", "type"]) {
        "RollingUpdate" => {}
        "OnDelete" => {
            if let Some(rolling) = rolling {
                let why = "only allowed for updateStrategy 'RollingUpdate'";
                errors.push(FieldError::invalid("spec.updateStrategy.rollingUpdate", rolling, why));
            }
        }
        other => {
            let why = "must be 'RollingUpdate' or 'OnDelete'";
            errors.push(FieldError::invalid("spec.updateStrategy", &json!({"type": other}), why));
        }
    }
    if let Some(partition) = rolling.and_then(|rolling| json::int(rolling, &["partition"]))
        && partition < 0
    {
        let why = "must be greater than or equal to 0";
        errors.push(FieldError::invalid(
            "spec.updateStrategy.rollingUpdate.partition",
            &json!(partition),
            why,
        ));
    }
    let frozen = |object: &Value| {
        let mut spec = object.get("spec").cloned().unwrap_or_default();
        for name in CHANGEABLE {
            json::remove(&mut spec, &[name]);
        }
        spec
    };
    if live.is_some_and(|live| frozen(live) != frozen(new)) {
        errors.push(FieldError::forbidden(
            "spec",
            "updates to statefulset spec for fields other than 'replicas', 'ordinals', 'template', 'updateStrategy', 'revisionHistoryLimit', 'persistentVolumeClaimRetentionPolicy' and 'minReadySeconds' are forbidden",
        ));
    }
}

fn daemon_set(new: &Value, errors: &mut Vec<FieldError>) {
    let strategy = json::at(new, &["spec", "updateStrategy"]).cloned().unwrap_or_default();
    match json::text(&strategy, &["type"]) {
        "OnDelete" => {}
        "RollingUpdate" => {
            let none = |name: &str| {
                let part = json::at(&strategy, &["rollingUpdate", name]);
                part.is_none_or(|part| *part == json!(0) || *part == json!("0%"))
            };
            let given =
                |name: &str| json::at(&strategy, &["rollingUpdate", name]).cloned().unwrap_or_default();
            match (none("maxUnavailable"), none("maxSurge")) {
                (true, true) => errors.push(FieldError::required(
                    "spec.updateStrategy.rollingUpdate.maxUnavailable",
                    "cannot be 0 when maxSurge is 0",
                )),
                (false, false) => errors.push(FieldError::invalid(
                    "spec.updateStrategy.rollingUpdate.maxSurge",
                    &given("maxSurge"),
                    "may not be set when maxUnavailable is non-zero",
                )),
                _ => {}
            }
        }
        _ => errors.push(FieldError::not_supported(
            "spec.updateStrategy",
            &strategy,
            &["RollingUpdate", "OnDelete"],
        )),
    }
}
