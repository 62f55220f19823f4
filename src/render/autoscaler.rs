//! The autoscaler of a release whose file gives bounds instead of a number.

use serde_json::{Value, json};

use super::body::content_hash;
use crate::model::autoscale::{AUTOSCALER, AUTOSCALING, Autoscale};
use crate::model::object::{Manifest, ObjectKey, Role};

/// Returns the key of the autoscaler that is ours: named after the service, as the Deployment that it scales.
pub fn autoscaler_key(service: &str, namespace: &str) -> ObjectKey {
    ObjectKey {
        api_version: AUTOSCALING.to_owned(),
        kind: AUTOSCALER.to_owned(),
        namespace: namespace.to_owned(),
        name: service.to_owned(),
    }
}

/// Makes the autoscaler beside a team's own Service, whose labels it takes.
pub fn autoscaler_of(service: &Manifest, bounds: Autoscale) -> Manifest {
    let key = autoscaler_key(&service.key.name, &service.key.namespace);
    let Autoscale { min, max, cpu } = bounds;
    let body = json!({
        "apiVersion": key.api_version,
        "kind": key.kind,
        "metadata": {
            "name": key.name,
            "namespace": key.namespace,
            "labels": service.body.pointer("/metadata/labels").cloned().unwrap_or_else(|| json!({})),
        },
        "spec": {
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": key.name},
            "minReplicas": min,
            "maxReplicas": max,
            "metrics": [metric(cpu)],
        },
    });
    Manifest { key, role: Role::Shared, hash: content_hash(&body), body }
}

/// Mean CPU use of all pods, in per cent of what they request.
fn metric(cpu: u32) -> Value {
    json!({"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": cpu}}})
}
