//! The Node object, and which pods come to it.

use k8s_openapi::api::core::v1::Node as NodeObject;
use kube::api::{Api, Patch, PatchParams, PostParams};
use serde_json::{Value, json};

use super::{Shared, json};

/// Makes the Node object, or takes over the one that is there.
pub(super) async fn register(shared: &Shared) -> Result<(), kube::Error> {
    let nodes: Api<NodeObject> = Api::all(shared.client.clone());
    let patch = json!({
        "apiVersion": "v1", "kind": "Node",
        "metadata": {"name": shared.name, "labels": labels(shared)},
    });
    let params = PatchParams::apply("kubelet").force();
    nodes.patch(&shared.name, &params, &Patch::Apply(patch)).await?;
    // A genuine server makes every node with the taint `not-ready:NoSchedule`, which keeps DaemonSets away, and leaves it to a controller
    // to take that off.
    let able = Patch::Merge(json!({"spec": {"taints": null}}));
    nodes.patch(&shared.name, &PatchParams::default(), &able).await?;
    report(shared).await
}

fn labels(shared: &Shared) -> Value {
    json!({"kubernetes.io/hostname": shared.name, "kubernetes.io/os": "linux", "kubernetes.io/arch": "amd64"})
}

/// Writes the Node's status.
pub(super) async fn report(shared: &Shared) -> Result<(), kube::Error> {
    let nodes: Api<NodeObject> = Api::all(shared.client.clone());
    let now = shared.clock.now_text();
    let (status, reason) =
        if shared.is_ready() { ("True", "KubeletReady") } else { ("Unknown", "NodeStatusUnknown") };
    let room = json!({"cpu": "64", "memory": "256Gi", "pods": "1000", "ephemeral-storage": "100Gi"});
    let patch = json!({"status": {
        "conditions": [{
            "type": "Ready", "status": status, "reason": reason, "message": reason,
            "lastHeartbeatTime": now, "lastTransitionTime": now,
        }],
        "addresses": [
            {"type": "InternalIP", "address": shared.address.to_string()},
            {"type": "Hostname", "address": shared.name},
        ],
        "capacity": room, "allocatable": room,
        "nodeInfo": {
            "machineID": "", "systemUUID": "", "bootID": "", "kernelVersion": "", "osImage": "sandbox",
            "containerRuntimeVersion": "sandbox://1", "kubeletVersion": "v1.36.3-sandbox", "kubeProxyVersion": "",
            "operatingSystem": "linux", "architecture": "amd64",
        },
    }});
    let params = PatchParams { field_manager: Some("kubelet".to_owned()), ..PatchParams::default() };
    nodes.patch_status(&shared.name, &params, &Patch::Strategic(patch)).await.map(drop)
}

/// The affinity of a pod that is made for one node, as the DaemonSet controller writes it.
pub(crate) fn affinity_to(node: &str) -> Value {
    let field = json!({"key": "metadata.name", "operator": "In", "values": [node]});
    json!({"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [{"matchFields": [field]}]}})
}

/// The node that a pod runs on, or was made for; empty for a pod that may go to any.
pub(crate) fn node_of(pod: &Value) -> &str {
    let bound = json::text(pod, &["spec", "nodeName"]);
    let required = [
        "spec",
        "affinity",
        "nodeAffinity",
        "requiredDuringSchedulingIgnoredDuringExecution",
        "nodeSelectorTerms",
    ];
    let terms = json::list(pod, &required).iter();
    let mut fields = terms.flat_map(|term| json::list(term, &["matchFields"]));
    let meant = fields.find(|field| json::text(field, &["key"]) == "metadata.name");
    let meant = meant.and_then(|field| json::list(field, &["values"]).first()).and_then(Value::as_str);
    if bound.is_empty() { meant.unwrap_or_default() } else { bound }
}

/// Binds a pod to this node, or says why it cannot be.
pub(super) async fn schedule(shared: &Shared, pod: &Value) {
    let another = match node_of(pod) {
        "" => !shared.takes_any,
        node => node != shared.name,
    };
    if another || json::at(pod, &["metadata", "deletionTimestamp"]).is_some() {
        return;
    }
    let (namespace, name) =
        (json::text(pod, &["metadata", "namespace"]), json::text(pod, &["metadata", "name"]));
    let labels = labels(shared);
    let fits = json::pairs(pod, &["spec", "nodeSelector"])
        .all(|(key, value)| json::text_opt(&labels, &[key]) == Some(value));
    let open = shared.schedules.load(std::sync::atomic::Ordering::Relaxed);
    if fits && open {
        let binding = json!({
            "apiVersion": "v1", "kind": "Binding", "metadata": {"name": name, "namespace": namespace},
            "target": {"apiVersion": "v1", "kind": "Node", "name": shared.name},
        });
        // A pod that is gone, or that another binds, needs none; a refusal for another reason comes again with the
        // watcher's next list.
        let _: Result<Value, kube::Error> = shared
            .pods(namespace)
            .create_subresource("binding", name, &PostParams::default(), &binding)
            .await;
        return;
    }
    let message = if fits {
        "0/1 nodes are available: 1 Insufficient cpu."
    } else {
        "0/1 nodes are available: 1 node(s) didn't match Pod's node affinity/selector."
    };
    let known = json::list(pod, &["status", "conditions"])
        .iter()
        .any(|one| json::text(one, &["type"]) == "PodScheduled" && json::text(one, &["message"]) == message);
    if known {
        return;
    }
    let patch = json!({"status": {"conditions": [{
        "type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": message,
        "lastTransitionTime": shared.clock.now_text(),
    }]}});
    // As above.
    let _ =
        shared.pods(namespace).patch_status(name, &PatchParams::default(), &Patch::Strategic(patch)).await;
}
