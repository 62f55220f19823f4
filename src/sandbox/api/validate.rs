//! What the server refuses with 422: the checks that a daemon or a person runs into, not all of them.

use serde_json::{Value, json};

use super::{
    super::json,
    error::{ApiError, FieldError},
    kinds::KindSpec,
    selector::LabelSelector,
};

/// A ConfigMap's or Secret's data may not exceed this.
const DATA_LIMIT: usize = 1024 * 1024;
/// The store behind a genuine server takes no more than this in one object.
const OBJECT_LIMIT: usize = 1536 * 1024;
const ANNOTATION_LIMIT: usize = 256 * 1024;

/// Checks `new`; `live` is what it replaces.
pub(crate) fn check(kind: &KindSpec, live: Option<&Value>, new: &Value) -> Result<(), ApiError> {
    let mut errors = Vec::new();
    metadata(kind, new, &mut errors);
    match (kind.group.as_str(), kind.kind.as_str()) {
        ("apps", "Deployment" | "ReplicaSet" | "StatefulSet" | "DaemonSet") => {
            workload(kind, live, new, &mut errors);
            super::validate_sets::check(kind, live, new, &mut errors);
        }
        ("batch", "Job") => job(live, new, &mut errors),
        ("batch", "CronJob") => super::validate_cron::check(new, &mut errors),
        ("", "Pod") => {
            containers(json::at(new, &["spec"]), "spec", &mut errors);
            if let Some(live) = live {
                pod_update(live, new, &mut errors);
            }
        }
        ("", "Service") => service(live, new, &mut errors),
        ("", "ConfigMap" | "Secret") => data(live, new, &mut errors),
        _ => {}
    }
    let name = json::text(new, &["metadata", "name"]);
    if !errors.is_empty() {
        return Err(ApiError::invalid(kind, name, &errors));
    }
    // No character takes more than six bytes as JSON, so the exact size is counted for what comes near the limit only.
    if roughly(new) * 6 > OBJECT_LIMIT && new.to_string().len() > OBJECT_LIMIT {
        return Err(ApiError::unforeseen("etcdserver: request is too large"));
    }
    Ok(())
}

/// A measure of a value's size: its JSON has no more than six times as many bytes.
fn roughly(value: &Value) -> usize {
    match value {
        Value::String(text) => text.len() + 2,
        Value::Array(items) => items.iter().map(|item| roughly(item) + 1).sum::<usize>() + 2,
        Value::Object(map) => {
            map.iter().map(|(key, member)| key.len() + roughly(member) + 4).sum::<usize>() + 2
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => 8,
    }
}

fn metadata(kind: &KindSpec, new: &Value, errors: &mut Vec<FieldError>) {
    let name = json::text(new, &["metadata", "name"]);
    let given = json!(name);
    let label_only = matches!(kind.kind.as_str(), "Namespace" | "Service") && kind.group.is_empty();
    if name.is_empty() {
        errors.push(FieldError::required("metadata.name", "name or generateName is required"));
    } else if label_only && name.contains('.') {
        errors.push(FieldError::invalid("metadata.name", &given, "must not contain dots"));
    } else if label_only && !is_dns_label(name) {
        errors.push(FieldError::invalid("metadata.name", &given, DNS_LABEL));
    } else if !label_only && !is_dns_subdomain(name) {
        errors.push(FieldError::invalid("metadata.name", &given, DNS_SUBDOMAIN));
    }
    for (key, value) in json::pairs(new, &["metadata", "labels"]) {
        label("metadata.labels", key, value, errors);
    }
    let size: usize =
        json::pairs(new, &["metadata", "annotations"]).map(|(key, value)| key.len() + value.len()).sum();
    if size > ANNOTATION_LIMIT {
        errors.push(FieldError::too_long("metadata.annotations", ANNOTATION_LIMIT));
    }
}

const DNS_LABEL: &str = "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')";
const DNS_SUBDOMAIN: &str = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')";
const LABEL_VALUE: &str = "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')";
const LABEL_KEY: &str = "name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')";

fn is_dns_label(name: &str) -> bool {
    let inner = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    name.len() <= 63
        && name.chars().all(|c| inner(c) || c == '-')
        && name.starts_with(inner)
        && name.ends_with(inner)
}

fn is_dns_subdomain(name: &str) -> bool {
    let inner = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    name.len() <= 253
        && name.split('.').all(|part| {
            part.chars().all(|c| inner(c) || c == '-') && part.starts_with(inner) && part.ends_with(inner)
        })
}

fn is_label_word(word: &str) -> bool {
    let edge = |c: char| c.is_ascii_alphanumeric();
    word.len() <= 63
        && word.chars().all(|c| edge(c) || matches!(c, '-' | '_' | '.'))
        && word.starts_with(edge)
        && word.ends_with(edge)
}

fn label(field: &str, key: &str, value: &str, errors: &mut Vec<FieldError>) {
    let word = key.rsplit_once('/').map_or(key, |(_, word)| word);
    if !is_label_word(word) {
        errors.push(FieldError::invalid(field, &json!(key), LABEL_KEY));
    }
    if value.len() > 63 {
        errors.push(FieldError::invalid(field, &json!(value), "must be no more than 63 bytes"));
    } else if !value.is_empty() && !is_label_word(value) {
        errors.push(FieldError::invalid(field, &json!(value), LABEL_VALUE));
    }
}

fn workload(kind: &KindSpec, live: Option<&Value>, new: &Value, errors: &mut Vec<FieldError>) {
    let selector = json::at(new, &["spec", "selector"]).cloned().unwrap_or(Value::Null);
    let labels = json::at(new, &["spec", "template", "metadata", "labels"]).cloned().unwrap_or(json!({}));
    let is_empty = selector.as_object().is_none_or(serde_json::Map::is_empty);
    if selector.is_null() {
        errors.push(FieldError::required("spec.selector", ""));
        let given = json::at(new, &["spec", "template", "metadata", "labels"]).unwrap_or(&Value::Null);
        let why = "`selector` does not match template `labels`";
        errors.push(FieldError::invalid("spec.template.metadata.labels", given, why));
    } else if is_empty {
        errors.push(FieldError::invalid(
            "spec.selector",
            &selector,
            &format!("empty selector is invalid for {}", kind.kind.to_lowercase()),
        ));
    } else if !LabelSelector::from_object(&selector).matches(&json!({"metadata": {"labels": labels}})) {
        errors.push(FieldError::invalid(
            "spec.template.metadata.labels",
            &labels,
            "`selector` does not match template `labels`",
        ));
    }
    if let Some(old) = live.and_then(|live| json::at(live, &["spec", "selector"]))
        && *old != selector
    {
        errors.push(FieldError::invalid("spec.selector", &selector, "field is immutable"));
    }
    for (key, value) in json::pairs(new, &["spec", "template", "metadata", "labels"]) {
        label("spec.template.metadata.labels", key, value, errors);
    }
    for name in ["replicas", "minReadySeconds", "revisionHistoryLimit", "progressDeadlineSeconds"] {
        if let Some(number) = json::int(new, &["spec", name])
            && number < 0
        {
            let why = "must be greater than or equal to 0";
            errors.push(FieldError::invalid(format!("spec.{name}"), &json!(number), why));
        }
    }
    if kind.kind == "Deployment" {
        deployment(new, errors);
    }
    containers(json::at(new, &["spec", "template", "spec"]), "spec.template.spec", errors);
    let restart = json::text(new, &["spec", "template", "spec", "restartPolicy"]);
    if restart != "Always" {
        errors.push(FieldError::not_supported(
            "spec.template.spec.restartPolicy",
            &json!(restart),
            &["Always"],
        ));
    }
}

fn deployment(new: &Value, errors: &mut Vec<FieldError>) {
    let rolling = ["spec", "strategy", "rollingUpdate"];
    let part = |name| json::at(new, &[rolling.as_slice(), &[name]].concat()).cloned();
    let is_zero = |value: &Option<Value>| matches!(value, Some(v) if *v == json!(0) || *v == json!("0%"));
    let strategy = json::text(new, &["spec", "strategy", "type"]);
    if strategy == "RollingUpdate" && is_zero(&part("maxUnavailable")) && is_zero(&part("maxSurge")) {
        errors.push(FieldError::invalid(
            "spec.strategy.rollingUpdate.maxUnavailable",
            &part("maxUnavailable").unwrap_or_default(),
            "may not be 0 when `maxSurge` is 0",
        ));
    }
    if strategy == "Recreate" && json::at(new, &rolling).is_some() {
        errors.push(FieldError::forbidden(
            "spec.strategy.rollingUpdate",
            "may not be specified when strategy `type` is 'Recreate'",
        ));
    }
    let deadline = json::int(new, &["spec", "progressDeadlineSeconds"]).unwrap_or(600);
    if deadline <= json::int(new, &["spec", "minReadySeconds"]).unwrap_or(0) {
        errors.push(FieldError::invalid(
            "spec.progressDeadlineSeconds",
            &json!(deadline),
            "must be greater than minReadySeconds",
        ));
    }
}

fn job(live: Option<&Value>, new: &Value, errors: &mut Vec<FieldError>) {
    containers(json::at(new, &["spec", "template", "spec"]), "spec.template.spec", errors);
    let restart = json::text(new, &["spec", "template", "spec", "restartPolicy"]);
    if !matches!(restart, "Never" | "OnFailure") {
        let path = "spec.template.spec.restartPolicy";
        errors.push(FieldError::not_supported(path, &json!(restart), &["OnFailure", "Never"]));
    }
    for name in ["template", "selector", "completions"] {
        let of = |object: &Value| json::at(object, &["spec", name]).cloned().unwrap_or_default();
        if live.is_some_and(|live| of(live) != of(new)) {
            errors.push(FieldError::invalid(format!("spec.{name}"), &of(new), "field is immutable"));
        }
    }
}

pub(super) fn containers(spec: Option<&Value>, path: &str, errors: &mut Vec<FieldError>) {
    let Some(spec) = spec else { return };
    let list = json::list(spec, &["containers"]);
    if list.is_empty() {
        errors.push(FieldError::required(format!("{path}.containers"), ""));
    }
    let mut names = Vec::new();
    for (at, one) in list.iter().enumerate() {
        let field = format!("{path}.containers[{at}]");
        let name = json::text(one, &["name"]);
        if name.is_empty() {
            errors.push(FieldError::required(format!("{field}.name"), ""));
        } else if !is_dns_label(name) {
            errors.push(FieldError::invalid(format!("{field}.name"), &json!(name), DNS_LABEL));
        } else if names.contains(&name) {
            errors.push(FieldError::duplicate(format!("{field}.name"), &json!(name)));
        }
        names.push(name);
        if json::text(one, &["image"]).is_empty() {
            errors.push(FieldError::required(format!("{field}.image"), ""));
        }
        for (number, port) in json::list(one, &["ports"]).iter().enumerate() {
            let given = json::int(port, &["containerPort"]).unwrap_or(0);
            if !(1..=65535).contains(&given) {
                let why = "must be between 1 and 65535, inclusive";
                errors.push(FieldError::invalid(
                    format!("{field}.ports[{number}].containerPort"),
                    &json!(given),
                    why,
                ));
            }
        }
    }
}

/// Of a pod's spec only images, the deadline and added tolerations may change.
fn pod_update(live: &Value, new: &Value, errors: &mut Vec<FieldError>) {
    let frozen = |pod: &Value| {
        let mut spec = json::at(pod, &["spec"]).cloned().unwrap_or_default();
        for name in ["activeDeadlineSeconds", "tolerations", "terminationGracePeriodSeconds"] {
            json::remove(&mut spec, &[name]);
        }
        for list in ["containers", "initContainers"] {
            if let Some(Value::Array(items)) = spec.get_mut(list) {
                for one in items {
                    json::remove(one, &["image"]);
                }
            }
        }
        spec
    };
    if frozen(live) != frozen(new) {
        errors.push(FieldError::forbidden(
            "spec",
            "pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)",
        ));
    }
}

fn service(live: Option<&Value>, new: &Value, errors: &mut Vec<FieldError>) {
    let ports = json::list(new, &["spec", "ports"]);
    let address = json::text(new, &["spec", "clusterIP"]);
    let external = json::text(new, &["spec", "type"]) == "ExternalName";
    if ports.is_empty() && address != "None" && !external {
        errors.push(FieldError::required("spec.ports", ""));
    }
    let mut names = Vec::new();
    for (at, port) in ports.iter().enumerate() {
        let field = format!("spec.ports[{at}]");
        let name = json::text(port, &["name"]);
        if name.is_empty() && ports.len() > 1 {
            errors.push(FieldError::required(format!("{field}.name"), ""));
        } else if names.contains(&name) && !name.is_empty() {
            errors.push(FieldError::duplicate(format!("{field}.name"), &json!(name)));
        }
        names.push(name);
        let number = json::int(port, &["port"]).unwrap_or(0);
        if !(1..=65535).contains(&number) {
            let why = "must be between 1 and 65535, inclusive";
            errors.push(FieldError::invalid(format!("{field}.port"), &json!(number), why));
        }
    }
    let before = live.map(|live| json::text(live, &["spec", "clusterIP"])).unwrap_or_default();
    if !before.is_empty() && before != address {
        let why = "may not change once set";
        errors.push(FieldError::invalid("spec.clusterIPs[0]", &json!([address]), why));
    }
}

fn data(live: Option<&Value>, new: &Value, errors: &mut Vec<FieldError>) {
    let size: usize = ["data", "binaryData"]
        .iter()
        .flat_map(|name| json::pairs(new, &[name]))
        .map(|(_, value)| value.len())
        .sum();
    if size > DATA_LIMIT {
        errors.push(FieldError::too_long("[]", DATA_LIMIT));
    }
    let Some(live) = live else { return };
    if json::flag(live, &["immutable"]) {
        for name in ["data", "binaryData"] {
            if live.get(name) != new.get(name) {
                errors.push(FieldError::forbidden(name, "field is immutable when `immutable` is set"));
            }
        }
    }
    if json::text(live, &["type"]) != json::text(new, &["type"]) {
        errors.push(FieldError::invalid("type", &new["type"], "field is immutable"));
    }
}

fn go_type(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(number) if number.is_f64() => "number",
        Value::Number(_) => "integer",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

/// Checks a custom resource against its schema: types, required fields, enumerations, bounds.
pub(crate) fn open_api(schema: &Value, value: &Value, path: &str, errors: &mut Vec<FieldError>) {
    let wanted = json::text(schema, &["type"]);
    let fits = match wanted {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "integer" => value.is_i64() || value.is_u64(),
        "number" => value.is_number(),
        "boolean" => value.is_boolean(),
        _ => true,
    };
    if !fits {
        errors.push(FieldError::of_type(path, wanted, go_type(value)));
        return;
    }
    let allowed = json::list(schema, &["enum"]);
    if !allowed.is_empty() && !allowed.contains(value) {
        let known: Vec<&str> = allowed.iter().filter_map(Value::as_str).collect();
        errors.push(FieldError::not_supported(path, value, &known));
    }
    if let (Some(number), Some(least)) = (value.as_f64(), schema.get("minimum").and_then(Value::as_f64))
        && number < least
    {
        let why = format!("{path} in body should be greater than or equal to {least}");
        errors.push(FieldError::invalid(path, value, &why));
    }
    let below = |name: &str| if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") };
    for name in json::list(schema, &["required"]).iter().filter_map(Value::as_str) {
        if value.get(name).is_none() {
            errors.push(FieldError::required(below(name), ""));
        }
    }
    if let Value::Object(map) = value {
        for (name, member) in map {
            let inner = json::at(schema, &["properties", name])
                .or_else(|| json::at(schema, &["additionalProperties"]));
            if let Some(inner @ Value::Object(_)) = inner {
                open_api(inner, member, &below(name), errors);
            }
        }
    }
    if let (Value::Array(items), Some(inner)) = (value, schema.get("items")) {
        for (at, item) in items.iter().enumerate() {
            open_api(inner, item, &format!("{path}[{at}]"), errors);
        }
    }
}
