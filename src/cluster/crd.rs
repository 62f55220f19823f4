//! The custom resource `Release` (`releases.idp.dev`): its definition as JSON, and its installation.

use std::time::Duration;

use kube::core::ApiResource;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tokio::time::Instant;

use super::calls::{Calls, Place};
use super::error::ApiError;
use crate::model::command::{STANDING, Verb};
use crate::model::{ANNOTATION_HASH, GROUP, LABEL_MANAGED_BY, MANAGER};

/// The version that is served and stored.
pub const VERSION: &str = "v1alpha1";
/// The kind.
pub const KIND: &str = "Release";
/// The definition's name.
pub const NAME: &str = "releases.idp.dev";
/// How often a new definition is looked at until it is established.
const LOOK: Duration = Duration::from_millis(100);

/// Why the definition is not served.
#[derive(Debug, thiserror::Error)]
pub enum CrdError {
    /// The API server did not take it.
    #[error(
        "the definition {NAME} could not be installed; apply `idp crd` with an account that may write CustomResourceDefinitions"
    )]
    Install(#[source] ApiError),
    /// It was taken, and is not served.
    #[error("the definition {NAME} was not established within {} s: {message}", .after.as_secs())]
    NotEstablished {
        /// What its conditions say.
        message: String,
        /// How long was waited.
        after: Duration,
    },
}

/// Returns the resource of a `Release`.
pub fn resource() -> ApiResource {
    super::raw::resource(&format!("{GROUP}/{VERSION}"), KIND)
}

/// Returns the definition, with its own hash in an annotation.
pub fn crd() -> Value {
    let mut crd = definition();
    if let Some(Value::Object(metadata)) = crd.get_mut("metadata") {
        metadata.insert("annotations".to_owned(), json!({ANNOTATION_HASH: hash()}));
    }
    crd
}

fn definition() -> Value {
    let schema = json!({
        "type": "object",
        "description": "A service in an environment: what idp has recorded of it (status), and what people ask of it (spec).",
        "properties": { "spec": spec(), "status": status() },
    });
    let names = json!({"kind": KIND, "listKind": "ReleaseList", "plural": "releases", "singular": "release",
        "shortNames": ["rel"], "categories": ["all"]});
    let version = json!({
        "name": VERSION, "served": true, "storage": true, "subresources": {"status": {}},
        "additionalPrinterColumns": columns(), "schema": {"openAPIV3Schema": schema},
    });
    json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": NAME, "labels": {LABEL_MANAGED_BY: MANAGER}},
        "spec": {"group": GROUP, "scope": "Namespaced", "names": names, "versions": [version]},
    })
}

fn columns() -> Value {
    let column = |name: &str, kind: &str, path: &str| json!({"name": name, "type": kind, "jsonPath": path});
    json!([
        column("Service", "string", ".metadata.name"),
        column("Environment", "string", ".status.environment"),
        column("Phase", "string", ".status.phase"),
        column("Weight", "integer", ".status.weight"),
        column("Revision", "string", ".status.revision"),
        column("Health", "string", ".status.health"),
        column("Age", "date", ".metadata.creationTimestamp"),
        {"name": "Message", "type": "string", "jsonPath": ".status.message", "priority": 1},
    ])
}

fn spec() -> Value {
    let text = |most: u32, about: &str| json!({"type": "string", "maxLength": most, "description": about});
    let number =
        |about: &str| json!({"type": "integer", "format": "int64", "minimum": 0, "description": about});
    let command = json!({
        "type": "object",
        "required": ["verb", "who", "at"],
        "properties": {
            "verb": {"type": "string", "enum": Verb::ALL.map(Verb::name), "description": "What is asked."},
            "who": text(256, "Who asks, from the API server's review of the caller."),
            "why": text(1024, "Why, in the person's words."),
            "at": {"type": "string", "format": "date-time", "description": "When it was asked."},
            "rollout": number("The rollout that it is meant for: refused if another one runs by then."),
            "full": {"type": "boolean", "description": "promote: no further pause is waited for."},
            "to": number("undo: the rollout that brought the version to go back to."),
        },
    });
    json!({
        "type": "object",
        "description": "What people ask; idp never writes here.",
        "properties": {
            "suspend": {"type": "boolean", "description": "No new rollout starts. A rollback is still allowed."},
            "commands": {"type": "object", "additionalProperties": command, "maxProperties": STANDING,
                "description": "Commands by id; each is answered once, in status.commands."},
        },
    })
}

/// Columns and conditions are typed, the rest is kept as it is: a later program's fields must survive an older one's writes.
fn status() -> Value {
    let text = json!({"type": "string"});
    let share = json!({"type": "integer", "minimum": 0, "maximum": 100});
    let condition = json!({
        "type": "object",
        "required": ["type", "status", "reason", "message", "lastTransitionTime"],
        "properties": {
            "type": {"type": "string", "maxLength": 316},
            "status": {"type": "string", "enum": ["True", "False", "Unknown"]},
            "observedGeneration": {"type": "integer", "format": "int64", "minimum": 0},
            "lastTransitionTime": {"type": "string", "format": "date-time"},
            "reason": {"type": "string", "minLength": 1, "maxLength": 1024},
            "message": {"type": "string", "maxLength": 32768},
        },
    });
    json!({
        "type": "object",
        "description": "The record; idp is its only writer.",
        "x-kubernetes-preserve-unknown-fields": true,
        "properties": {
            "schema": {"type": "integer", "format": "int64", "minimum": 1},
            "epoch": {"type": "integer", "format": "int64", "minimum": 0},
            "environment": text, "team": text, "source": text, "phase": text, "health": text, "sync": text,
            "revision": text, "message": text, "weight": share,
            "conditions": {"type": "array", "items": condition,
                "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["type"]},
        },
    })
}

/// Installs or updates the definition and waits until it is served, `deadline` at most. One that this program wrote before is left
/// alone, so that a restart writes nothing and needs no right to write definitions.
pub async fn ensure_crd(calls: &Calls, deadline: Duration) -> Result<(), CrdError> {
    let resource = super::raw::resource("apiextensions.k8s.io/v1", "CustomResourceDefinition");
    let place = Place { resource: &resource, namespace: "", name: NAME };
    let until = Instant::now() + deadline;
    let there = calls.get(&place).await.map_err(CrdError::Install)?;
    if there.is_some_and(|there| is_ours(there.value()) && is_established(there.value())) {
        return Ok(());
    }
    let mut raw = calls.apply(&place, MANAGER, true, &crd()).await.map_err(CrdError::Install)?;
    while !is_established(raw.value()) {
        if Instant::now() >= until {
            return Err(CrdError::NotEstablished { message: conditions(raw.value()), after: deadline });
        }
        tokio::time::sleep(LOOK).await;
        if let Some(now) = calls.get(&place).await.map_err(CrdError::Install)? {
            raw = now;
        }
    }
    Ok(())
}

fn is_ours(crd: &Value) -> bool {
    crd.pointer("/metadata/annotations").and_then(|all| all.get(ANNOTATION_HASH)?.as_str()) == Some(&hash())
}

/// Returns the first 16 hexadecimal digits of the definition's SHA-256.
fn hash() -> String {
    let digest = Sha256::digest(definition().to_string());
    hex::encode(digest).chars().take(16).collect()
}

fn is_established(crd: &Value) -> bool {
    let is = |condition: &Value, name: &str, wanted: &str| {
        condition.get(name).and_then(Value::as_str) == Some(wanted)
    };
    list(crd).iter().any(|condition| is(condition, "type", "Established") && is(condition, "status", "True"))
}

fn conditions(crd: &Value) -> String {
    let said: Vec<&str> =
        list(crd).iter().filter_map(|condition| condition.get("message")?.as_str()).collect();
    if said.is_empty() { "it has no conditions yet".to_owned() } else { said.join("; ") }
}

fn list(crd: &Value) -> &[Value] {
    crd.pointer("/status/conditions").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_definition_says_what_kubectl_shows() {
        let crd = crd();
        assert_eq!(crd["metadata"]["name"], format!("{}.{GROUP}", resource().plural));
        assert_eq!(crd["spec"]["names"]["shortNames"][0], "rel");
        let version = &crd["spec"]["versions"][0];
        let columns: Vec<_> = version["additionalPrinterColumns"]
            .as_array()
            .unwrap()
            .iter()
            .filter(|column| column.get("priority").is_none())
            .map(|column| column["name"].as_str().unwrap().to_lowercase())
            .collect();
        assert_eq!(columns, ["service", "environment", "phase", "weight", "revision", "health", "age"]);
        assert_eq!(version["subresources"], json!({"status": {}}));
    }

    #[test]
    fn the_definition_is_one_that_kubernetes_types_accept() {
        let parsed: k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition =
            serde_json::from_value(crd()).unwrap();
        let schema = parsed.spec.versions[0].schema.clone().unwrap().open_api_v3_schema.unwrap();
        let status = &schema.properties.unwrap()["status"];
        assert_eq!(status.x_kubernetes_preserve_unknown_fields, Some(true));
    }

    #[test]
    fn our_own_definition_is_known_by_its_hash() {
        let mut crd = crd();
        assert!(is_ours(&crd));
        crd["metadata"]["annotations"][ANNOTATION_HASH] = "0".into();
        assert!(!is_ours(&crd));
    }

    #[test]
    fn established_is_a_condition() {
        assert!(!is_established(&json!({})));
        let crd =
            json!({"status": {"conditions": [{"type": "Established", "status": "True", "message": "ok"}]}});
        assert!(is_established(&crd));
        assert_eq!(conditions(&crd), "ok");
    }
}
