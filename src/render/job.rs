//! Jobs: of a gate, made from the workload of the version that it judges, and what they have in common with a service that is one.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Map, Value, json};

use super::body::content_hash;
use super::pod::seconds;
use crate::model::object::{Manifest, ObjectKey, Role};
use crate::model::{LABEL_ENVIRONMENT, LABEL_GATE, LABEL_MANAGED_BY, LABEL_SERVICE, LABEL_TRACK};

/// What no rollout took away (its record was lost) goes by itself after a week.
const LEFT_FOR_SECONDS: u32 = 7 * 24 * 60 * 60;

/// What the Job of a gate is made of beside the workload.
#[derive(Debug)]
pub struct GateJob<'a> {
    /// Which Job.
    pub key: &'a ObjectKey,
    /// The gate's name.
    pub gate: &'a str,
    /// The command, templates filled in.
    pub command: Vec<String>,
    /// Another image than the workload's.
    pub image: Option<String>,
    /// How often a failed pod is replaced.
    pub retries: u32,
    /// From its start to its end, all tries together; whole seconds count, rounded up.
    pub deadline: Duration,
}

impl GateJob<'_> {
    /// Makes the Job: suspended, since a creation cannot be fenced and must start nothing by itself. Its pods are the workload's, run to
    /// their end, without the labels by which Services and controllers select.
    pub fn of(&self, workload: &Manifest) -> Manifest {
        let template = workload.body.pointer("/spec/template/spec").cloned().unwrap_or_else(|| json!({}));
        let labels = self.labels(workload);
        let of_pods =
            |name: &str| [LABEL_MANAGED_BY, LABEL_SERVICE, LABEL_ENVIRONMENT, LABEL_GATE].contains(&name);
        let pods: BTreeMap<&String, &String> = labels.iter().filter(|(name, _)| of_pods(name)).collect();
        let pod = to_its_end(template, |container| {
            container.remove("args");
            container.insert("command".to_owned(), json!(self.command));
            if let Some(image) = &self.image {
                container.insert("image".to_owned(), json!(image));
            }
        });
        let template = json!({"metadata": {"labels": pods}, "spec": pod});
        let body = json!({
            "apiVersion": self.key.api_version,
            "kind": self.key.kind,
            "metadata": {"name": self.key.name, "namespace": self.key.namespace, "labels": labels},
            "spec": spec(self.retries, self.deadline, &template),
        });
        Manifest { key: self.key.clone(), role: Role::Job, hash: content_hash(&body), body }
    }

    /// The workload's own labels but for those that tell its pods, and the gate's.
    fn labels(&self, workload: &Manifest) -> BTreeMap<String, String> {
        let own = workload.body.pointer("/metadata/labels").and_then(Value::as_object);
        let text = |(name, value): (&String, &Value)| Some((name.clone(), value.as_str()?.to_owned()));
        let mut labels: BTreeMap<String, String> = own.into_iter().flatten().filter_map(text).collect();
        labels.remove(LABEL_TRACK);
        labels.insert(LABEL_GATE.to_owned(), self.gate.to_owned());
        labels
    }
}

/// The `spec` of a Job that begins when it is told to. A pod that was evicted does not count.
pub(super) fn spec(retries: u32, deadline: Duration, template: &Value) -> Value {
    json!({
        "suspend": true,
        "backoffLimit": retries,
        "activeDeadlineSeconds": seconds(deadline).max(1),
        "ttlSecondsAfterFinished": LEFT_FOR_SECONDS,
        "podFailurePolicy": {"rules": [{
            "action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}],
        }]},
        "template": template,
    })
}

/// Makes a pod that serves into one that runs to its end: the first container alone, without ports and probes. `change` has the last word.
pub(super) fn to_its_end(mut pod: Value, change: impl FnOnce(&mut Map<String, Value>)) -> Value {
    let mut first = pod.pointer("/containers/0").and_then(Value::as_object).cloned().unwrap_or_default();
    for serving in ["ports", "startupProbe", "readinessProbe", "livenessProbe", "lifecycle"] {
        first.remove(serving);
    }
    first.insert("terminationMessagePolicy".to_owned(), json!("FallbackToLogsOnError"));
    change(&mut first);
    if let Some(spec) = pod.as_object_mut() {
        spec.insert("restartPolicy".to_owned(), json!("Never"));
        spec.insert("containers".to_owned(), json!([first]));
    }
    pod
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::LABEL_RELEASE;

    #[test]
    fn a_gates_pod_is_the_workloads_and_nobody_sends_it_requests() {
        let labels = json!({LABEL_RELEASE: "web.production", LABEL_TRACK: "stable", LABEL_MANAGED_BY: "idp",
            LABEL_SERVICE: "web", LABEL_ENVIRONMENT: "production", "app.kubernetes.io/name": "web"});
        let pod = json!({"securityContext": {"runAsNonRoot": true}, "volumes": [{"name": "files"}], "containers": [
            {"name": "app", "image": "r/web@sha256:1", "ports": [{"containerPort": 80}], "readinessProbe": {}, "lifecycle": {},
             "args": ["serve"], "env": [{"name": "A", "value": "b"}], "securityContext": {"allowPrivilegeEscalation": false}},
            {"name": "sidecar"},
        ]});
        let body = json!({"metadata": {"labels": labels}, "spec": {"template": {"metadata": {"labels": labels}, "spec": pod}}});
        let key = ObjectKey {
            api_version: "batch/v1".into(),
            kind: "Job".into(),
            namespace: "shop".into(),
            name: "web-check-r3-a".into(),
        };
        let workload = Manifest { key: key.clone(), role: Role::Workload, hash: content_hash(&body), body };
        let mut gate = GateJob {
            key: &key,
            gate: "check",
            command: vec!["/check".into()],
            image: None,
            retries: 2,
            deadline: Duration::from_millis(1_500),
        };
        let spec = gate.of(&workload).body["spec"].clone();
        assert_eq!((&spec["suspend"], &spec["backoffLimit"]), (&json!(true), &json!(2)));
        assert_eq!(spec["activeDeadlineSeconds"], 2);
        let told = json!({LABEL_MANAGED_BY: "idp", LABEL_SERVICE: "web", LABEL_ENVIRONMENT: "production", LABEL_GATE: "check"});
        assert_eq!(spec["template"]["metadata"]["labels"], told);
        let expected = json!({"restartPolicy": "Never", "securityContext": {"runAsNonRoot": true}, "volumes": [{"name": "files"}],
            "containers": [{"name": "app", "image": "r/web@sha256:1", "command": ["/check"],
                "terminationMessagePolicy": "FallbackToLogsOnError", "env": [{"name": "A", "value": "b"}],
                "securityContext": {"allowPrivilegeEscalation": false}}]});
        assert_eq!(spec["template"]["spec"], expected);
        gate.image = Some("r/checks:1".into());
        assert_eq!(
            gate.of(&workload).body["spec"]["template"]["spec"]["containers"][0]["image"],
            "r/checks:1"
        );
    }
}
