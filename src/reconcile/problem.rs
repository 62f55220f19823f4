//! The Kubernetes event of a source that has problems, in the home namespace: a file that cannot even name its service has no
//! `Release` to show itself on.

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::model::name::Namespace;
use crate::source::SourceStatus;

/// Returns the event's body. `status` has at least one problem.
pub fn event(home: &Namespace, status: &SourceStatus, now: Timestamp) -> Value {
    let sentences = status.problems.iter().map(|problem| match &problem.path {
        Some(path) => format!("{path}: {}", problem.message),
        None => problem.message.clone(),
    });
    let message: String = sentences.collect::<Vec<_>>().join("; ").chars().take(1000).collect();
    let name = format!("idp-source-{}", status.source);
    json!({
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"generateName": format!("{name}-"), "namespace": home},
        "involvedObject": {"apiVersion": "v1", "kind": "ConfigMap", "namespace": home, "name": name},
        "reason": "SourceProblem",
        "type": "Warning",
        "message": message,
        "firstTimestamp": now.to_string(),
        "lastTimestamp": now.to_string(),
        "count": 1,
        "source": {"component": "idpd"},
        "reportingComponent": "idpd",
        "reportingInstance": "idpd",
    })
}
