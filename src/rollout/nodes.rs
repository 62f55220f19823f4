//! A DaemonSet: which of its nodes have the candidate, and the walk from node to node.
//!
//! Kubernetes has no share for a DaemonSet: with `RollingUpdate` a new template goes to all nodes, without a partition and without a pause.
//! With `OnDelete` it takes effect only where a pod is deleted. So while a rollout runs its pods are replaced by us: the template is applied
//! together with `OnDelete`, and pods of the former template are deleted by UID, each only as long as no more than `max_unavailable`
//! are not ready: in a step on as many nodes as its weight asks for, promoting on the rest, on the way back on those that have the
//! candidate. That the controller could do the last two by itself is no reason to let it: it replaces pods that are not ready without counting
//! them, so that with one such pod two are away at once. The team's own `updateStrategy` is put back when all pods have one template.
//!
//! Nodes come and go. The pod of a new one is made from the template that stands, during a canary the candidate's, and so is that of a node
//! that lost its pod: such pods count in the share, and only the way back takes them back. A node that does not answer wants no pod, as long
//! as it does not: else one dead machine would keep every version from coming, and from going back.
//!
//! Pods are told apart by a label with the hash of their template, not by `controller-revision-hash`: which of those is the newest stands in
//! no DaemonSet's status, only in its `ControllerRevision`s, of which another watch would tell at another time.
//!
//! A DaemonSet has no `replicas: 0` to be created with. It is created for nodes that do not exist, and a fenced write lets it go to its own.

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::back;
use super::input::Inputs;
use super::objects::{self, Body};
use super::view::{View, Workload};
use crate::model::LABEL_TEMPLATE;
use crate::model::name::ReleaseKey;
use crate::model::object::{Manifest, Role};
use crate::model::observed::PodView;
use crate::model::record::Record;
use crate::model::rollout::{Phase, Rollout};
use crate::model::workload::WorkloadKind;

/// The label of the nodes that a DaemonSet is created for. No node has it.
const NOWHERE: &str = "idp.dev/nowhere";

/// Returns the hash of the template that stands in a DaemonSet; empty where it is not one of ours.
pub fn template_of(object: &Value) -> &str {
    let labels = object.pointer("/spec/template/metadata/labels");
    labels.and_then(|labels| labels.get(LABEL_TEMPLATE)?.as_str()).unwrap_or_default()
}

/// Makes what an object is created as: a DaemonSet without a pod, any other as it is.
pub fn nowhere(manifest: &Manifest) -> Manifest {
    let mut created = manifest.clone();
    let pods = created.body.pointer_mut("/spec/template/spec").and_then(Value::as_object_mut);
    let counted = manifest.role == Role::Workload && !WorkloadKind::of(&manifest.key).has_replicas();
    if let Some(pods) = pods.filter(|_| counted) {
        let selector = pods.entry("nodeSelector").or_insert_with(|| json!({}));
        if let Some(selector) = selector.as_object_mut() {
            selector.insert(NOWHERE.to_owned(), json!("true"));
        }
    }
    created
}

/// Tells whether a DaemonSet still is as it was created.
pub fn is_nowhere(object: &Value) -> bool {
    let selector = object.pointer("/spec/template/spec/nodeSelector");
    selector.is_some_and(|selector| selector.get(NOWHERE).is_some())
}

/// Tells whether the controller replaces no pod by itself.
pub fn is_on_delete(object: &Value) -> bool {
    object.pointer("/spec/updateStrategy/type").and_then(Value::as_str) == Some("OnDelete")
}

/// Takes the replacing of pods from the controller of the release's DaemonSet as long as it is ours.
pub fn take_over(record: &Record, input: &Inputs<'_>, bodies: &mut [Body]) {
    let ours = match record.rollout.as_ref().map(|rollout| rollout.phase) {
        Some(Phase::Progressing | Phase::Promoting) => true,
        Some(Phase::RollingBack) => !is_back(record, input),
        None | Some(Phase::Preparing | Phase::Baking) => false,
    };
    let target = record.target.as_ref().filter(|key| WorkloadKind::of(key) == WorkloadKind::DaemonSet);
    for body in bodies.iter_mut().filter(|body| ours && Some(&body.manifest.key) == target) {
        // Its hash stays that of what is kept: whoever finds it without a record knows it by that, and gives it back.
        if let Some(spec) = body.manifest.body.get_mut("spec").and_then(Value::as_object_mut) {
            spec.insert("updateStrategy".to_owned(), json!({"type": "OnDelete"}));
        }
    }
}

/// Tells whether no pod of the candidate is left. Whether the others are ready does not matter here, nor whether the controller has seen the
/// newest spec: else giving it back would be a reason to take it over again.
fn is_back(record: &Record, input: &Inputs<'_>) -> bool {
    let view = View::new(record, input.release, input.namespace.as_str(), input.observed);
    let restored = |workload: &Workload| {
        let stable = record.stable.as_ref();
        stable.is_some_and(|stable| objects::has_template(input, workload, stable.rollout))
    };
    view.stable.present().is_some_and(|workload| workload.former.is_empty() && restored(workload))
}

/// Returns the pods of the former template to delete now, of which `kept` stay. As long as nothing has changed they are the same ones, so that
/// a pass which has not yet seen what the last one did does it once more and nothing else. `late`: whether a pod that is not ready is given up.
pub fn replaced<'w>(
    input: &Inputs<'_>,
    rollout: &Rollout,
    workload: &'w Workload,
    kept: u32,
    late: impl Fn(&PodView) -> bool,
) -> Vec<&'w PodView> {
    let wanted = workload.replicas;
    // With none, no pod could ever be replaced.
    let away = rollout.policy.max_unavailable.of_floor(wanted).max(1);
    let overdue = rollout.phase == Phase::RollingBack && back::overdue(rollout, input.now);
    let least = if overdue { 1 } else { wanted.saturating_sub(away) };
    let mut spare = workload.ready().saturating_sub(least);
    let surplus = workload.former.len().saturating_sub(usize::try_from(kept).unwrap_or(usize::MAX));
    let most = if overdue { surplus.min(1) } else { surplus };
    // What a step shows is to come from nodes that were well before; where all are to go, those that are missed least go first.
    let well_first = rollout.phase == Phase::Progressing;
    let mut pods: Vec<&PodView> = workload.former.iter().collect();
    pods.sort_by_cached_key(|pod| {
        let well = pod.ready_since.is_some();
        (well != well_first, place(input.release, rollout.number, &pod.node), pod.uid.clone())
    });
    let may_go = |pod: &&PodView| {
        if pod.ready_since.is_none() {
            return late(pod);
        }
        let free = spare > 0;
        spare = spare.saturating_sub(1);
        free
    };
    pods.into_iter().filter(may_go).take(most).collect()
}

/// The place of a node in the order of a rollout: the same after every restart, another one in the next rollout.
fn place(release: &ReleaseKey, rollout: u64, node: &str) -> [u8; 32] {
    Sha256::digest(format!("{release}\n{rollout}\n{node}").as_bytes()).into()
}
