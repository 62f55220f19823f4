//! What the server itself writes into an object: identity, generation, status kept apart, what a kind is given at birth.

use serde_json::{Value, json};

use super::{super::json, kinds::KindSpec, store::Store};

/// Completes a new object just before it is checked and stored.
pub(crate) fn at_birth(store: &mut Store, kind: &KindSpec, object: &mut Value, now: &str) {
    let uid = store.uid();
    let meta = json::map_mut(object, &["metadata"]);
    for name in
        ["deletionTimestamp", "deletionGracePeriodSeconds", "selfLink", "resourceVersion", "generation"]
    {
        meta.remove(name);
    }
    meta.insert("uid".to_owned(), uid.into());
    meta.insert("creationTimestamp".to_owned(), now.into());
    if kind.has_generation() {
        meta.insert("generation".to_owned(), 1.into());
    }
    if kind.status {
        json::remove(object, &["status"]);
    }
    match (kind.group.as_str(), kind.kind.as_str()) {
        ("", "Namespace") => {
            json::set(object, &["spec", "finalizers"], json!(["kubernetes"]));
            json::set(object, &["status"], json!({"phase": "Active"}));
        }
        ("", "Pod") => pod(object),
        ("", "Service") => service(store, object),
        ("batch", "Job") => job(object),
        ("apps", "ReplicaSet" | "Deployment") => json::set(object, &["status"], json!({})),
        ("apps", "StatefulSet") => {
            json::set(object, &["status"], json!({"replicas": 0, "availableReplicas": 0}));
        }
        ("apps", "DaemonSet") => {
            let none = json!({
                "currentNumberScheduled": 0, "numberMisscheduled": 0, "desiredNumberScheduled": 0,
                "numberReady": 0,
            });
            json::set(object, &["status"], none);
        }
        ("apiextensions.k8s.io", "CustomResourceDefinition") => established(object, now),
        _ => {}
    }
    if kind.is("apps", "ReplicaSet") {
        json::set(object, &["status", "replicas"], 0);
    }
}

/// A Job selects its pods by its own UID.
fn job(job: &mut Value) {
    const UID: &str = "batch.kubernetes.io/controller-uid";
    let part = |name: &str| json::text(job, &["metadata", name]).to_owned();
    let (uid, name) = (part("uid"), part("name"));
    json::set(job, &["status"], json!({}));
    for (label, value) in
        [(UID, &uid), ("controller-uid", &uid), ("batch.kubernetes.io/job-name", &name), ("job-name", &name)]
    {
        json::set(job, &["spec", "template", "metadata", "labels", label], value.as_str());
    }
    json::set(job, &["spec", "selector"], json!({"matchLabels": {UID: uid}}));
}

fn pod(pod: &mut Value) {
    let class = quality_class(pod);
    json::set(pod, &["status"], json!({"phase": "Pending", "qosClass": class}));
    let spec = json::map_mut(pod, &["spec"]);
    json::default(spec, "priority", 0);
    json::default(spec, "preemptionPolicy", "PreemptLowerPriority");
    let tolerations = json::list_mut(spec, "tolerations");
    for key in ["node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"] {
        if !tolerations.iter().any(|one| json::text(one, &["key"]) == key) {
            tolerations.push(json!({
                "key": key, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300,
            }));
        }
    }
}

fn quality_class(pod: &Value) -> &'static str {
    let containers = json::list(pod, &["spec", "containers"]);
    let amount = |one: &Value, side: &str, what: &str| json::at(one, &["resources", side, what]).cloned();
    let any = containers.iter().any(|one| {
        ["cpu", "memory"]
            .iter()
            .any(|what| amount(one, "requests", what).is_some() || amount(one, "limits", what).is_some())
    });
    let all = containers.iter().all(|one| {
        ["cpu", "memory"].iter().all(|what| {
            let limit = amount(one, "limits", what);
            limit.is_some() && limit == amount(one, "requests", what)
        })
    });
    match (any, all) {
        (false, _) => "BestEffort",
        (true, true) => "Guaranteed",
        (true, false) => "Burstable",
    }
}

fn service(store: &mut Store, service: &mut Value) {
    if json::text(service, &["spec", "type"]) != "ExternalName" {
        let address = match json::text(service, &["spec", "clusterIP"]) {
            "" => store.cluster_ip(),
            given => given.to_owned(),
        };
        json::set(service, &["spec", "clusterIPs"], json!([address]));
        json::set(service, &["spec", "clusterIP"], address);
        let spec = json::map_mut(service, &["spec"]);
        json::default(spec, "ipFamilies", json!(["IPv4"]));
        json::default(spec, "ipFamilyPolicy", "SingleStack");
    }
    json::set(service, &["status"], json!({"loadBalancer": {}}));
}

fn established(crd: &mut Value, now: &str) {
    let condition = |kind: &str, reason: &str, message: &str| {
        json!({
            "type": kind, "status": "True", "reason": reason, "message": message, "lastTransitionTime": now,
        })
    };
    let names = json::at(crd, &["spec", "names"]).cloned().unwrap_or_default();
    let versions: Vec<Value> = json::list(crd, &["spec", "versions"])
        .iter()
        .filter(|version| json::flag(version, &["storage"]))
        .filter_map(|version| version.get("name").cloned())
        .collect();
    json::set(
        crd,
        &["status"],
        json!({
            "acceptedNames": names,
            "storedVersions": versions,
            "conditions": [
                condition("NamesAccepted", "NoConflicts", "no conflicts found"),
                condition("Established", "InitialNamesAccepted", "the initial names have been accepted"),
            ],
        }),
    );
}

/// Puts what a caller may not change back to what it was, for a write through the door `subresource`.
pub(crate) fn keep_apart(kind: &KindSpec, live: &Value, new: &mut Value, subresource: &str) {
    if subresource == "status" {
        let mut said = std::mem::take(new);
        let part = |said: &mut Value, name: &str| said.get_mut(name).map(Value::take);
        let (status, meta) = (part(&mut said, "status"), part(&mut said, "metadata").unwrap_or_default());
        *new = without_status(live);
        if let Some(status) = status {
            json::set(new, &["status"], status);
        }
        for name in ["managedFields", "resourceVersion", "uid", "finalizers"] {
            move_field(&meta, new, name);
        }
        if !kind.is_custom() {
            move_field(&meta, new, "annotations");
        }
    } else if kind.status {
        match live.get("status") {
            Some(status) => json::set(new, &["status"], status.clone()),
            None => drop(json::remove(new, &["status"])),
        }
    }
    if kind.is("", "Service") {
        inherit_addresses(live, new);
    }
    for name in ["creationTimestamp", "generation", "deletionTimestamp", "deletionGracePeriodSeconds"] {
        move_field(live.get("metadata").unwrap_or(&Value::Null), new, name);
    }
}

/// A copy without its status, which is often the larger part.
fn without_status(object: &Value) -> Value {
    let Value::Object(map) = object else { return object.clone() };
    let kept = map.iter().filter(|(name, _)| *name != "status");
    Value::Object(kept.map(|(name, value)| (name.clone(), value.clone())).collect())
}

fn move_field(from_meta: &Value, to: &mut Value, name: &str) {
    match from_meta.get(name) {
        Some(value) => json::set(to, &["metadata", name], value.clone()),
        None => drop(json::remove(to, &["metadata", name])),
    }
}

/// A service that says nothing about its addresses keeps them.
fn inherit_addresses(live: &Value, new: &mut Value) {
    for name in ["clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy"] {
        if json::at(new, &["spec", name]).is_none()
            && let Some(value) = json::at(live, &["spec", name])
        {
            json::set(new, &["spec", name], value.clone());
        }
    }
}

/// Raises the generation if what the generation counts has changed.
pub(crate) fn count_generation(kind: &KindSpec, live: &Value, new: &mut Value, through_status: bool) {
    if !kind.has_generation() {
        return;
    }
    let same = if kind.is_custom() {
        let (old, new) = (live.as_object().into_iter().flatten(), new.as_object().into_iter().flatten());
        let counts =
            |field: &(&String, &Value)| field.0 != "metadata" && !(kind.status && field.0 == "status");
        old.filter(counts).eq(new.filter(counts))
    } else {
        // A Deployment's annotations count too: they are copied to its replica sets.
        let annotated = kind.is("apps", "Deployment") && !through_status;
        let annotations = ["metadata", "annotations"];
        live.get("spec") == new.get("spec")
            && (!annotated || json::at(live, &annotations) == json::at(new, &annotations))
    };
    if !same {
        let generation = json::int(live, &["metadata", "generation"]).unwrap_or(0) + 1;
        json::set(new, &["metadata", "generation"], generation);
    }
}

/// The `Scale` of an object.
pub(crate) fn scale_of(object: &Value) -> Value {
    let meta = |name: &str| json::at(object, &["metadata", name]).cloned().unwrap_or_default();
    let selector: Vec<String> = json::pairs(object, &["spec", "selector", "matchLabels"])
        .map(|(key, value)| format!("{key}={value}"))
        .collect();
    json!({
        "kind": "Scale",
        "apiVersion": "autoscaling/v1",
        "metadata": {
            "name": meta("name"), "namespace": meta("namespace"), "uid": meta("uid"),
            "resourceVersion": meta("resourceVersion"), "creationTimestamp": meta("creationTimestamp"),
        },
        "spec": {"replicas": json::int(object, &["spec", "replicas"]).unwrap_or(0)},
        "status": {
            "replicas": json::int(object, &["status", "replicas"]).unwrap_or(0),
            "selector": selector.join(","),
        },
    })
}
