//! The objects of a release around its pods: files, Deployment, Service, and the labels and annotations that all of them carry.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};

use super::body::content_hash;
use super::{RenderContext, pod, values};
use crate::declare::template;
use crate::model::declaration::{Cron, Declaration, RunLimits};
use crate::model::object::{Manifest, ObjectKey, Role};
use crate::model::policy::{Amount, Strategy};
use crate::model::{
    LABEL_ENVIRONMENT, LABEL_MANAGED_BY, LABEL_RELEASE, LABEL_SERVICE, LABEL_TEAM, LABEL_TRACK, MANAGER,
};

/// Old ReplicaSets that Kubernetes keeps: the way back is the revision Secrets, these are for the eye only.
pub(super) const REVISION_HISTORY: u32 = 2;

/// What runs a job again at its times.
pub(crate) const CRON_JOB: &str = "CronJob";
/// Runs of a cron that are left for who looks after them, of those that ended well and of those that did not.
const LEFT_RUNS: u32 = 3;

/// Files of the declaration, as they lie in one ConfigMap.
pub(super) struct Files {
    /// The ConfigMap's name, with its content's hash.
    pub(super) name: String,
    /// Path in the container, key in the ConfigMap.
    pub(super) keys: Vec<(String, String)>,
    data: Map<String, Value>,
}

/// Renders all objects, in the order of their application: what pods read before the pods.
pub(super) fn objects(declaration: &Declaration, context: &RenderContext<'_>) -> Vec<Manifest> {
    let files = files(declaration, context);
    let mut objects = Vec::new();
    if let Some(files) = &files {
        let mut body = head(declaration, context, "v1", "ConfigMap", &files.name);
        put(&mut body, "immutable", json!(true));
        put(&mut body, "data", Value::Object(files.data.clone()));
        objects.push(manifest(Role::Config, context, body));
    }
    if let Some(limits) = declaration.run {
        let job = job(declaration, context, files.as_ref(), limits);
        let again = declaration.cron.as_ref().map(|cron| again(declaration, context, cron, &job));
        objects.push(job);
        objects.extend(again);
        return objects;
    }
    objects.push(deployment(declaration, context, files.as_ref()));
    objects.push(service(declaration, context));
    objects
}

pub(super) fn manifest(role: Role, context: &RenderContext<'_>, body: Map<String, Value>) -> Manifest {
    let body = Value::Object(body);
    let text = |pointer: &str| body.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
    let key = ObjectKey {
        api_version: text("/apiVersion"),
        kind: text("/kind"),
        namespace: context.namespace.to_string(),
        name: text("/metadata/name"),
    };
    Manifest { key, role, hash: content_hash(&body), body }
}

fn put(map: &mut Map<String, Value>, key: &str, value: Value) {
    map.insert(key.to_owned(), value);
}

/// The part of a body that all kinds share.
fn head(
    declaration: &Declaration,
    context: &RenderContext<'_>,
    api_version: &str,
    kind: &str,
    name: &str,
) -> Map<String, Value> {
    let mut metadata = Map::new();
    put(&mut metadata, "name", json!(name));
    put(&mut metadata, "namespace", json!(context.namespace.as_str()));
    put(&mut metadata, "labels", json!(labels(declaration, context)));
    if !declaration.service.annotations.is_empty() {
        put(&mut metadata, "annotations", json!(declaration.service.annotations));
    }
    let mut body = Map::new();
    put(&mut body, "apiVersion", json!(api_version));
    put(&mut body, "kind", json!(kind));
    put(&mut body, "metadata", Value::Object(metadata));
    body
}

/// The labels of an object: the team's own, then ours over them.
pub(super) fn labels(declaration: &Declaration, context: &RenderContext<'_>) -> BTreeMap<String, String> {
    let service = &declaration.service;
    let mut labels = service.labels.clone();
    labels.extend(pod_labels(declaration, context));
    labels.insert(LABEL_TEAM.to_owned(), service.team.to_string());
    labels.insert("idp.dev/lifecycle".to_owned(), service.lifecycle.name().to_owned());
    labels.insert("idp.dev/tier".to_owned(), service.tier.name().to_owned());
    labels
}

/// The labels that pods carry too. What may change without a new version (team, lifecycle, tier) is not among them, nor is the commit.
fn pod_labels(declaration: &Declaration, context: &RenderContext<'_>) -> BTreeMap<String, String> {
    let name = declaration.service.name.as_str();
    let labels = [
        ("app.kubernetes.io/name", name),
        ("app.kubernetes.io/instance", name),
        (LABEL_MANAGED_BY, MANAGER),
        (LABEL_SERVICE, name),
        (LABEL_ENVIRONMENT, declaration.environment.as_str()),
    ];
    let mut labels: BTreeMap<String, String> =
        labels.into_iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect();
    labels.insert(LABEL_RELEASE.to_owned(), context.release.to_string());
    labels
}

/// Lays the declared files into one ConfigMap whose name follows its content.
fn files(declaration: &Declaration, context: &RenderContext<'_>) -> Option<Files> {
    if declaration.workload.files.is_empty() {
        return None;
    }
    let values = values(declaration, context);
    let mut hash = Sha256::new();
    let mut keys = Vec::new();
    let mut data = Map::new();
    for (index, (path, content)) in declaration.workload.files.iter().enumerate() {
        let text = template::fill(content, values);
        for part in [path.as_str(), text.as_str()] {
            hash.update((part.len() as u64).to_be_bytes());
            hash.update(part.as_bytes());
        }
        let base = path.rsplit('/').next().unwrap_or_default();
        let plain = |c: char| if c.is_ascii_alphanumeric() || "._-".contains(c) { c } else { '_' };
        let key = format!("{index}-{}", base.chars().map(plain).take(200).collect::<String>());
        data.insert(key.clone(), Value::from(text));
        keys.push((path.clone(), key));
    }
    let digits = content_digits(hash);
    Some(Files { name: format!("{}-files-{digits}", declaration.service.name), keys, data })
}

/// Returns what the name of hashed config ends with.
pub(super) fn content_digits(hash: Sha256) -> String {
    hex::encode(hash.finalize()).chars().take(10).collect()
}

fn deployment(declaration: &Declaration, context: &RenderContext<'_>, files: Option<&Files>) -> Manifest {
    let name = declaration.service.name.as_str();
    let mut labels = pod_labels(declaration, context);
    labels.insert(LABEL_TRACK.to_owned(), "stable".to_owned());
    let policy = &declaration.policy;
    let spec = json!({
        "replicas": 0,
        "revisionHistoryLimit": REVISION_HISTORY,
        "progressDeadlineSeconds": pod::seconds(policy.progress_deadline).max(1),
        "strategy": replacement(declaration),
        "selector": {"matchLabels": {
            LABEL_RELEASE: context.release.to_string(),
            LABEL_TRACK: "stable",
        }},
        "template": {
            "metadata": {"labels": labels},
            "spec": pod::spec(declaration, context, files),
        },
    });
    let mut body = head(declaration, context, "apps/v1", "Deployment", name);
    let labels = body.get_mut("metadata").and_then(|metadata| metadata.get_mut("labels"));
    if let Some(labels) = labels.and_then(Value::as_object_mut) {
        put(labels, LABEL_TRACK, json!("stable"));
    }
    put(&mut body, "spec", spec);
    manifest(Role::Workload, context, body)
}

/// The Job of a service that is one. A rollout makes it under a name of its own.
fn job(
    declaration: &Declaration,
    context: &RenderContext<'_>,
    files: Option<&Files>,
    limits: RunLimits,
) -> Manifest {
    let mut labels = pod_labels(declaration, context);
    labels.remove(LABEL_RELEASE);
    let mut body = head(declaration, context, "batch/v1", "Job", declaration.service.name.as_str());
    let template = json!({
        "metadata": {"labels": labels},
        "spec": super::job::to_its_end(pod::spec(declaration, context, files), |_| {}),
    });
    put(&mut body, "spec", super::job::spec(limits.retries, limits.timeout, &template));
    manifest(Role::Job, context, body)
}

/// The CronJob that runs the job of a stable version again at its times. It is no part of what the version is proven by.
fn again(declaration: &Declaration, context: &RenderContext<'_>, cron: &Cron, job: &Manifest) -> Manifest {
    let mut body = head(declaration, context, "batch/v1", CRON_JOB, declaration.service.name.as_str());
    let mut run = job.body.get("spec").cloned().unwrap_or_default();
    let mut labels = pod_labels(declaration, context);
    labels.remove(LABEL_RELEASE);
    // Jobs that a rollout makes are ours; those that the cluster makes at their times are not.
    labels.remove(LABEL_MANAGED_BY);
    if let Some(run) = run.as_object_mut() {
        // How many of them are left is what the CronJob says.
        run.remove("ttlSecondsAfterFinished");
        run.remove("suspend");
    }
    let mut spec = json!({
        "schedule": cron.schedule.to_string(),
        "suspend": false,
        "concurrencyPolicy": cron.concurrency.name(),
        "successfulJobsHistoryLimit": LEFT_RUNS,
        "failedJobsHistoryLimit": LEFT_RUNS,
        "jobTemplate": {"metadata": {"labels": labels}, "spec": run},
    });
    if let (Some(zone), Some(spec)) = (&cron.timezone, spec.as_object_mut()) {
        put(spec, "timeZone", json!(zone));
    }
    put(&mut body, "spec", spec);
    manifest(Role::Shared, context, body)
}

/// How Kubernetes replaces pods.
pub(super) fn replacement(declaration: &Declaration) -> Value {
    match declaration.policy.strategy {
        Strategy::Recreate => json!({"type": "Recreate"}),
        Strategy::Rolling | Strategy::Canary | Strategy::BlueGreen | Strategy::Job => {
            json!({"type": "RollingUpdate", "rollingUpdate": rolling(declaration)})
        }
    }
}

/// A number of pods, or a share of them, as Kubernetes writes it.
pub(super) fn amount(amount: Amount) -> Value {
    match amount {
        Amount::Count(count) => json!(count),
        Amount::Percent(percent) => json!(format!("{percent}%")),
    }
}

/// How many pods Kubernetes replaces at a time. A canary's promotion rolls beside the candidate and may take no pod away before its successor is ready.
fn rolling(declaration: &Declaration) -> Value {
    let policy = &declaration.policy;
    let (surge, unavailable) = match policy.strategy {
        Strategy::Rolling | Strategy::Recreate | Strategy::Job => (policy.max_surge, policy.max_unavailable),
        Strategy::Canary | Strategy::BlueGreen => {
            let none = matches!(policy.max_surge, Amount::Count(0) | Amount::Percent(0));
            (if none { Amount::Count(1) } else { policy.max_surge }, Amount::Count(0))
        }
    };
    json!({"maxSurge": amount(surge), "maxUnavailable": amount(unavailable)})
}

/// The team's Service: all pods of the release, stable and candidate, by the port's name.
fn service(declaration: &Declaration, context: &RenderContext<'_>) -> Manifest {
    let mut body = head(declaration, context, "v1", "Service", declaration.service.name.as_str());
    let spec = json!({
        "type": "ClusterIP",
        "selector": {LABEL_RELEASE: context.release.to_string()},
        "ports": [{
            "name": pod::PORT, "port": declaration.workload.port(), "protocol": "TCP", "targetPort": pod::PORT,
        }],
    });
    put(&mut body, "spec", spec);
    manifest(Role::Shared, context, body)
}
