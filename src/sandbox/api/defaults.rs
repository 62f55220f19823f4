//! The defaults that the genuine server fills in, as far as they decide whether a second apply is a no-op.

use serde_json::{Map, Value, json};

use super::{super::json, kinds::KindSpec};

/// Fills in what the kind defaults.
pub(crate) fn fill(kind: &KindSpec, object: &mut Value) {
    match (kind.group.as_str(), kind.kind.as_str()) {
        ("apps", "Deployment") => deployment(object),
        ("apps", "ReplicaSet") => replica_set(object),
        ("autoscaling", _) => autoscaler(json::map_mut(object, &["spec"])),
        ("apps", "StatefulSet") => stateful_set(object),
        ("apps", "DaemonSet") => daemon_set(object),
        ("batch", "CronJob") => cron_job(json::map_mut(object, &["spec"])),
        ("batch", "Job") => job(json::map_mut(object, &["spec"])),
        ("", "Pod") => pod(object),
        ("", "Service") => service(json::map_mut(object, &["spec"])),
        ("", "Secret") => secret(object),
        ("", "Namespace") => namespace(object),
        ("apiextensions.k8s.io", "CustomResourceDefinition") => crd(json::map_mut(object, &["spec"])),
        _ => {}
    }
}

fn deployment(object: &mut Value) {
    let spec = json::map_mut(object, &["spec"]);
    json::default(spec, "replicas", 1);
    json::default(spec, "revisionHistoryLimit", 10);
    json::default(spec, "progressDeadlineSeconds", 600);
    let strategy = json::as_map(spec.entry("strategy").or_insert(Value::Null));
    json::default(strategy, "type", "RollingUpdate");
    if strategy.get("type").is_some_and(|kind| kind == "RollingUpdate") {
        let rolling = json::as_map(strategy.entry("rollingUpdate").or_insert(Value::Null));
        json::default(rolling, "maxUnavailable", "25%");
        json::default(rolling, "maxSurge", "25%");
    }
    template(spec);
}

fn autoscaler(spec: &mut Map<String, Value>) {
    json::default(spec, "minReplicas", 1);
    let target = json!({"type": "Utilization", "averageUtilization": 80});
    let cpu = json!([{"type": "Resource", "resource": {"name": "cpu", "target": target}}]);
    json::default(spec, "metrics", cpu);
}

fn replica_set(object: &mut Value) {
    let spec = json::map_mut(object, &["spec"]);
    json::default(spec, "replicas", 1);
    template(spec);
}

fn stateful_set(object: &mut Value) {
    let spec = json::map_mut(object, &["spec"]);
    json::default(spec, "podManagementPolicy", "OrderedReady");
    let strategy = json::as_map(spec.entry("updateStrategy").or_insert(Value::Null));
    if !strategy.contains_key("type") {
        json::default(strategy, "type", "RollingUpdate");
        json::default(strategy, "rollingUpdate", json!({}));
    }
    if let Some(Value::Object(rolling)) = strategy.get_mut("rollingUpdate") {
        json::default(rolling, "partition", 0);
    }
    let claims = spec.entry("persistentVolumeClaimRetentionPolicy").or_insert(Value::Null);
    let claims = json::as_map(claims);
    json::default(claims, "whenDeleted", "Retain");
    json::default(claims, "whenScaled", "Retain");
    json::default(spec, "replicas", 1);
    json::default(spec, "revisionHistoryLimit", 10);
    // The type always writes it, be it empty.
    json::default(spec, "serviceName", "");
    for claim in items_mut(spec, "volumeClaimTemplates") {
        json::default(claim, "apiVersion", "v1");
        json::default(claim, "kind", "PersistentVolumeClaim");
        json::default(claim, "status", json!({"phase": "Pending"}));
        let wanted = json::as_map(claim.entry("spec").or_insert(Value::Null));
        json::default(wanted, "volumeMode", "Filesystem");
    }
    template(spec);
}

fn daemon_set(object: &mut Value) {
    let spec = json::map_mut(object, &["spec"]);
    let strategy = json::as_map(spec.entry("updateStrategy").or_insert(Value::Null));
    json::default(strategy, "type", "RollingUpdate");
    if strategy.get("type").is_some_and(|kind| kind == "RollingUpdate") {
        let rolling = json::as_map(strategy.entry("rollingUpdate").or_insert(Value::Null));
        json::default(rolling, "maxUnavailable", 1);
        json::default(rolling, "maxSurge", 0);
    }
    json::default(spec, "revisionHistoryLimit", 10);
    template(spec);
}

fn job(spec: &mut Map<String, Value>) {
    json::default(spec, "completionMode", "NonIndexed");
    json::default(spec, "completions", 1);
    json::default(spec, "parallelism", 1);
    json::default(spec, "backoffLimit", 6);
    json::default(spec, "suspend", false);
    json::default(spec, "manualSelector", false);
    let replaced = if spec.contains_key("podFailurePolicy") { "Failed" } else { "TerminatingOrFailed" };
    json::default(spec, "podReplacementPolicy", replaced);
    template(spec);
}

fn cron_job(spec: &mut Map<String, Value>) {
    json::default(spec, "concurrencyPolicy", "Allow");
    json::default(spec, "suspend", false);
    json::default(spec, "successfulJobsHistoryLimit", 3);
    json::default(spec, "failedJobsHistoryLimit", 1);
    let job = json::as_map(spec.entry("jobTemplate").or_insert(Value::Null));
    json::default(job, "metadata", json!({}));
    template(json::as_map(job.entry("spec").or_insert(Value::Null)));
}

fn template(spec: &mut Map<String, Value>) {
    let template = json::as_map(spec.entry("template").or_insert(Value::Null));
    // The template's type always writes its metadata, be it empty.
    json::default(template, "metadata", json!({}));
    pod_spec(json::as_map(template.entry("spec").or_insert(Value::Null)));
}

fn pod(object: &mut Value) {
    let spec = json::map_mut(object, &["spec"]);
    pod_spec(spec);
    json::default(spec, "enableServiceLinks", true);
    for container in containers_mut(spec) {
        requests_from_limits(container);
    }
}

fn requests_from_limits(container: &mut Map<String, Value>) {
    let Some(limits) = container
        .get("resources")
        .and_then(|resources| resources.get("limits"))
        .and_then(Value::as_object)
        .cloned()
    else {
        return;
    };
    let resources = json::as_map(container.entry("resources").or_insert(Value::Null));
    let requests = json::as_map(resources.entry("requests").or_insert(Value::Null));
    for (name, amount) in limits {
        json::default(requests, &name, amount);
    }
}

fn containers_mut(spec: &mut Map<String, Value>) -> impl Iterator<Item = &mut Map<String, Value>> {
    spec.iter_mut()
        .filter(|(key, _)| matches!(key.as_str(), "containers" | "initContainers"))
        .filter_map(|(_, list)| list.as_array_mut())
        .flatten()
        .filter_map(Value::as_object_mut)
}

fn pod_spec(spec: &mut Map<String, Value>) {
    json::default(spec, "restartPolicy", "Always");
    json::default(spec, "terminationGracePeriodSeconds", 30);
    json::default(spec, "dnsPolicy", "ClusterFirst");
    json::default(spec, "schedulerName", "default-scheduler");
    json::default(spec, "securityContext", json!({}));
    if let Some(account) = spec.get("serviceAccountName").cloned() {
        json::default(spec, "serviceAccount", account);
    }
    for one in containers_mut(spec) {
        container(one);
    }
    for one in spec.get_mut("volumes").and_then(Value::as_array_mut).into_iter().flatten() {
        if let Some(one) = one.as_object_mut() {
            volume(one);
        }
    }
}

fn container(container: &mut Map<String, Value>) {
    let image = container.get("image").and_then(Value::as_str).unwrap_or_default();
    let tag = image.rsplit('/').next().and_then(|last| last.split_once(':'));
    let always = !image.contains('@') && tag.is_none_or(|(_, tag)| tag == "latest");
    let policy = if always { "Always" } else { "IfNotPresent" };
    json::default(container, "imagePullPolicy", policy);
    json::default(container, "terminationMessagePath", "/dev/termination-log");
    json::default(container, "terminationMessagePolicy", "File");
    json::default(container, "resources", json!({}));
    for port in items_mut(container, "ports") {
        json::default(port, "protocol", "TCP");
    }
    for name in ["livenessProbe", "readinessProbe", "startupProbe"] {
        if let Some(probe) = container.get_mut(name).and_then(Value::as_object_mut) {
            json::default(probe, "timeoutSeconds", 1);
            json::default(probe, "periodSeconds", 10);
            json::default(probe, "successThreshold", 1);
            json::default(probe, "failureThreshold", 3);
            handler(probe);
        }
    }
    if let Some(lifecycle) = container.get_mut("lifecycle").and_then(Value::as_object_mut) {
        for (_, hook) in lifecycle.iter_mut() {
            handler(json::as_map(hook));
        }
    }
    for variable in items_mut(container, "env") {
        if let Some(Value::Object(from)) = variable.get_mut("valueFrom")
            && let Some(Value::Object(field)) = from.get_mut("fieldRef")
        {
            json::default(field, "apiVersion", "v1");
        }
    }
}

fn handler(probe: &mut Map<String, Value>) {
    if let Some(get) = probe.get_mut("httpGet").and_then(Value::as_object_mut) {
        json::default(get, "path", "/");
        json::default(get, "scheme", "HTTP");
    }
    if let Some(grpc) = probe.get_mut("grpc").and_then(Value::as_object_mut) {
        json::default(grpc, "service", "");
    }
}

fn volume(volume: &mut Map<String, Value>) {
    const MODE: i64 = 0o644;
    if volume.len() <= 1 {
        volume.insert("emptyDir".to_owned(), json!({}));
    }
    for source in ["configMap", "secret", "projected", "downwardAPI"] {
        if let Some(source) = volume.get_mut(source).and_then(Value::as_object_mut) {
            json::default(source, "defaultMode", MODE);
        }
    }
    if let Some(path) = volume.get_mut("hostPath").and_then(Value::as_object_mut) {
        json::default(path, "type", "");
    }
}

fn items_mut<'a>(
    map: &'a mut Map<String, Value>,
    key: &str,
) -> impl Iterator<Item = &'a mut Map<String, Value>> + use<'a> {
    map.get_mut(key).and_then(Value::as_array_mut).into_iter().flatten().filter_map(Value::as_object_mut)
}

fn service(spec: &mut Map<String, Value>) {
    json::default(spec, "sessionAffinity", "None");
    json::default(spec, "type", "ClusterIP");
    if spec.get("type").is_some_and(|kind| kind != "ExternalName") {
        json::default(spec, "internalTrafficPolicy", "Cluster");
    }
    if spec.get("type").is_some_and(|kind| kind == "NodePort" || kind == "LoadBalancer") {
        json::default(spec, "externalTrafficPolicy", "Cluster");
    }
    for port in items_mut(spec, "ports") {
        json::default(port, "protocol", "TCP");
        if let Some(number) = port.get("port").cloned() {
            json::default(port, "targetPort", number);
        }
    }
}

fn secret(object: &mut Value) {
    use base64::Engine as _;
    let map = json::as_map(object);
    json::default(map, "type", "Opaque");
    if let Some(Value::Object(plain)) = map.remove("stringData") {
        let data = json::as_map(map.entry("data").or_insert(Value::Null));
        for (key, value) in plain {
            let bytes = value.as_str().unwrap_or_default();
            data.insert(key, base64::engine::general_purpose::STANDARD.encode(bytes).into());
        }
    }
}

fn namespace(object: &mut Value) {
    let name = json::text(object, &["metadata", "name"]).to_owned();
    if !name.is_empty() {
        let labels = json::map_mut(object, &["metadata", "labels"]);
        json::default(labels, "kubernetes.io/metadata.name", name);
    }
}

fn crd(spec: &mut Map<String, Value>) {
    let names = json::as_map(spec.entry("names").or_insert(Value::Null));
    let kind = names.get("kind").and_then(Value::as_str).unwrap_or_default().to_owned();
    json::default(names, "listKind", format!("{kind}List"));
    json::default(names, "singular", kind.to_lowercase());
    json::default(spec, "conversion", json!({"strategy": "None"}));
}

/// The object-level defaults of a custom resource's schema, filled into every object that is there.
pub(crate) fn from_open_api(open_api: &Value, value: &mut Value) {
    match value {
        Value::Object(map) => {
            let properties = json::at(open_api, &["properties"]).and_then(Value::as_object);
            for (name, property) in properties.into_iter().flatten() {
                if let Some(default) = property.get("default") {
                    json::default(map, name, default.clone());
                }
                if let Some(member) = map.get_mut(name) {
                    from_open_api(property, member);
                }
            }
            if let Some(inner @ Value::Object(_)) = json::at(open_api, &["additionalProperties"]) {
                map.values_mut().for_each(|member| from_open_api(inner, member));
            }
        }
        Value::Array(items) => {
            if let Some(inner) = json::at(open_api, &["items"]) {
                for item in items {
                    from_open_api(inner, item);
                }
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filling_twice_is_filling_once() {
        let kind =
            super::super::kinds::built_in().into_iter().find(|kind| kind.kind == "Deployment").unwrap();
        let mut once = json!({"spec": {"template": {"spec": {"containers": [{
            "name": "app", "image": "shop/web:v1", "ports": [{"containerPort": 80}],
            "readinessProbe": {"httpGet": {"port": 80}},
        }], "volumes": [{"name": "tmp"}]}}}});
        fill(&kind, &mut once);
        let mut twice = once.clone();
        fill(&kind, &mut twice);
        assert_eq!(once, twice);
        assert_eq!(json::int(&once, &["spec", "progressDeadlineSeconds"]), Some(600));
        let container = &once["spec"]["template"]["spec"]["containers"][0];
        assert_eq!(container["ports"][0]["protocol"], "TCP");
        assert_eq!(container["imagePullPolicy"], "IfNotPresent");
        assert_eq!(container["readinessProbe"]["httpGet"]["path"], "/");
    }
}
