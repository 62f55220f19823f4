//! What a router needs beside the team's own objects: a Service for each track, or the subsets of a mesh.

use serde_json::{Value, json};

use super::body::content_hash;
use crate::model::LABEL_TRACK;
use crate::model::object::{Manifest, ObjectKey, Role};
use crate::model::traffic::{CANARY, STABLE};

/// Makes the Service of one track from the team's own: `<name>-<track>`, which selects the pods of that track only.
pub fn track_of(service: &Manifest, track: &str) -> Manifest {
    let name = format!("{}-{track}", service.key.name);
    let mut body = service.body.clone();
    if let Some(metadata) = body.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.insert("name".to_owned(), Value::from(name.as_str()));
    }
    for labels in ["/metadata/labels", "/spec/selector"] {
        if let Some(labels) = body.pointer_mut(labels).and_then(Value::as_object_mut) {
            labels.insert(LABEL_TRACK.to_owned(), Value::from(track));
        }
    }
    let key = ObjectKey { name, ..service.key.clone() };
    Manifest { key, role: Role::Shared, hash: content_hash(&body), body }
}

/// Returns the key of the `DestinationRule` that is ours.
pub fn subsets_key(service: &ObjectKey, api_version: &str) -> ObjectKey {
    ObjectKey {
        api_version: api_version.to_owned(),
        kind: "DestinationRule".to_owned(),
        namespace: service.namespace.clone(),
        name: format!("{}-tracks", service.name),
    }
}

/// Makes the `DestinationRule` that has both tracks of a Service as subsets, for hosts without a rule of the team's.
pub fn subsets_of(service: &Manifest, api_version: &str) -> Manifest {
    let key = subsets_key(&service.key, api_version);
    let subset = |track: &str| json!({"name": track, "labels": {LABEL_TRACK: track}});
    let body = json!({
        "apiVersion": api_version,
        "kind": key.kind,
        "metadata": {
            "name": key.name,
            "namespace": key.namespace,
            "labels": service.body.pointer("/metadata/labels").cloned().unwrap_or_else(|| json!({})),
        },
        "spec": {"host": service.key.name, "subsets": [subset(STABLE), subset(CANARY)]},
    });
    Manifest { key, role: Role::Shared, hash: content_hash(&body), body }
}
