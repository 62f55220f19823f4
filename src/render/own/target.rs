//! The workload that rollouts act on: which it is, what its manifest may say, and what the platform sets in it.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::read::{Document, map_at};
use super::{Fault, workload_kind};
use crate::declare;
use crate::model::declaration::{Declaration, Manifests};
use crate::model::policy::{Amount, Strategy};
use crate::model::traffic::Provider;
use crate::model::workload::WorkloadKind;
use crate::model::{LABEL_ENVIRONMENT, LABEL_RELEASE, LABEL_SERVICE, LABEL_TRACK};
use crate::render::objects::content_digits;
use crate::render::{RenderContext, objects, pod};

/// Pods at most, as in `workload.replicas`.
const PODS: u64 = 10_000;

/// Returns which document is the target.
pub(super) fn find(all: &[Document], manifests: &Manifests) -> Result<usize, Fault> {
    let fault = |what: String| Fault { file: "source.target".to_owned(), what };
    let is_workload =
        |document: &Document| matches!(document.kind.as_str(), "Deployment" | "StatefulSet" | "DaemonSet");
    let workloads: Vec<usize> =
        all.iter().enumerate().filter(|(_, document)| is_workload(document)).map(|(at, _)| at).collect();
    let names: Vec<String> = workloads
        .iter()
        .filter_map(|at| all.get(*at))
        .map(|document| format!("{} {}", document.kind, document.name))
        .collect();
    let there = if names.is_empty() { "none".to_owned() } else { names.join(", ") };
    let at = if let Some(target) = &manifests.target {
        let (kind, name) = (target.kind.name(), &target.name);
        let at = all.iter().position(|document| document.kind == kind && document.name == *name);
        at.ok_or_else(|| fault(format!("the manifests have no {kind} {name}; workloads in them: {there}")))?
    } else {
        let [only] = workloads.as_slice() else {
            let what = format!(
                "rollouts act on one workload, and the manifests have {there}: name it by source.target"
            );
            return Err(fault(what));
        };
        *only
    };
    match all.get(at) {
        Some(document) if workload_kind(document).is_none() => {
            Err(document.fault("rollouts of its kind are not enforced by this version"))
        }
        _ => Ok(at),
    }
}

/// Refuses what would take a rollout out of our hands, and what this kind cannot follow.
pub(super) fn check(
    all: &[Document],
    at: usize,
    declaration: &Declaration,
    manifests: &Manifests,
) -> Result<(), Fault> {
    let Some(document) = all.get(at) else { return Ok(()) };
    let Some(kind) = workload_kind(document) else { return Ok(()) };
    let policy = &declaration.policy;
    if let Some((key, what, fix)) = declare::unfit(kind, policy, manifests).into_iter().next() {
        return Err(document.fault(format!("deploy.{key}: {what}: {fix}")));
    }
    let spec = |pointer: &str| document.body.pointer(pointer).filter(|value| !value.is_null());
    match kind {
        WorkloadKind::Deployment => {
            for (field, key) in [
                ("strategy", "deploy.strategy, max_surge and max_unavailable"),
                ("progressDeadlineSeconds", "deploy.progress_deadline"),
                ("paused", "idp rollout pause"),
            ] {
                if spec(&format!("/spec/{field}")).is_some() {
                    return Err(document.fault(format!("spec.{field} is what {key} say: remove it")));
                }
            }
        }
        WorkloadKind::DaemonSet => by_node(document, manifests)?,
        WorkloadKind::StatefulSet => {
            let rolling = spec("/spec/updateStrategy/type").is_none_or(|kind| kind == "RollingUpdate");
            let partition = spec("/spec/updateStrategy/rollingUpdate/partition");
            if !rolling || partition.is_some_and(|partition| *partition != json!(0)) {
                let what = "spec.updateStrategy would keep pods from a rollout: remove it, the steps of deploy.canary are the partition";
                return Err(document.fault(what));
            }
        }
    }
    let routed = policy.strategy == Strategy::BlueGreen
        || matches!(policy.traffic.provider, Provider::GatewayApi | Provider::Istio);
    let service = declaration.service.name.as_str();
    let has = |kind: &str, name: &str| all.iter().find(|one| one.kind == kind && one.name == name);
    if routed && has("Service", service).is_none() {
        let what = format!(
            "no Service {service} is in the manifests, and by it the traffic would be moved: name it so, or write provider: replicas"
        );
        return Err(document.fault(what));
    }
    for (kind, name) in [
        ("Service", format!("{service}-stable")),
        ("Service", format!("{service}-canary")),
        ("Deployment", format!("{}-canary", document.name)),
    ] {
        if let Some(taken) = has(kind, &name) {
            return Err(taken.fault("has a name that rollouts use: give it another one"));
        }
    }
    Ok(())
}

/// Refuses what is not a DaemonSet's, and what the walk from node to node cannot follow.
fn by_node(document: &Document, manifests: &Manifests) -> Result<(), Fault> {
    if document.body.pointer("/spec/replicas").is_some() {
        return Err(document.fault("spec.replicas: its nodes say how many pods it has: remove it"));
    }
    let rolling = |field: &str| document.body.pointer(&format!("/spec/updateStrategy/rollingUpdate/{field}"));
    if rolling("maxSurge")
        .is_some_and(|surge| !matches!(amount(surge), Some(none) if none.of_ceil(PODS_OF_ONE) == 0))
    {
        let what = "spec.updateStrategy.rollingUpdate.maxSurge: a node has one pod of it at a time, so that none comes on top: remove it";
        return Err(document.fault(what));
    }
    if manifests.unavailable && rolling("maxUnavailable").is_some() {
        let what = "spec.updateStrategy.rollingUpdate.maxUnavailable is what deploy.max_unavailable says: remove one of the two";
        return Err(document.fault(what));
    }
    Ok(())
}

/// A number of pods of which any share is at least one.
const PODS_OF_ONE: u32 = 100;

fn amount(value: &Value) -> Option<Amount> {
    let count = || u32::try_from(value.as_u64()?).ok().map(Amount::Count);
    let percent = || value.as_str()?.strip_suffix('%')?.parse().ok().map(Amount::Percent);
    count().or_else(percent)
}

/// Returns how many pods of a DaemonSet may be away at once, where its manifest says so.
pub(super) fn unavailable(document: &Document) -> Result<Option<Amount>, Fault> {
    let said = document.body.pointer("/spec/updateStrategy/rollingUpdate/maxUnavailable");
    let counted = workload_kind(document) == Some(WorkloadKind::DaemonSet);
    let Some(said) = said.filter(|_| counted) else { return Ok(None) };
    let fault = || {
        document.fault("spec.updateStrategy.rollingUpdate.maxUnavailable is neither a number of pods from 1 nor a share of them")
    };
    amount(said).filter(|most| most.of_ceil(PODS_OF_ONE) > 0).map(Some).ok_or_else(fault)
}

/// Returns the pods that the target wants, 1 where it does not say, of a DaemonSet 0: its nodes are counted later.
pub(super) fn replicas(document: &Document) -> Result<u32, Fault> {
    if workload_kind(document) == Some(WorkloadKind::DaemonSet) {
        return Ok(0);
    }
    let Some(wanted) = document.body.pointer("/spec/replicas") else { return Ok(1) };
    let wanted =
        wanted.as_u64().filter(|wanted| *wanted <= PODS).and_then(|wanted| u32::try_from(wanted).ok());
    wanted.ok_or_else(|| document.fault(format!("spec.replicas is not a number from 0 to {PODS}")))
}

/// Returns the first port of the target's first container.
pub(super) fn port(body: &Value) -> Option<u16> {
    let port = body.pointer("/spec/template/spec/containers/0/ports/0/containerPort")?.as_u64()?;
    u16::try_from(port).ok()
}

/// Sets what the platform decides.
pub(super) fn set(
    document: &mut Document,
    declaration: &Declaration,
    context: &RenderContext<'_>,
) -> Result<(), Fault> {
    let Some(kind) = workload_kind(document) else { return Ok(()) };
    let release = context.release.to_string();
    let mut labels = BTreeMap::from([
        (LABEL_RELEASE, release.as_str()),
        (LABEL_SERVICE, declaration.service.name.as_str()),
        (LABEL_ENVIRONMENT, declaration.environment.as_str()),
    ]);
    if kind == WorkloadKind::Deployment {
        labels.insert(LABEL_TRACK, "stable");
        let fault = document.fault("spec.selector is no map");
        let selector = map_at(&mut document.body, &["spec", "selector", "matchLabels"]).ok_or(fault)?;
        selector.insert(LABEL_RELEASE.to_owned(), json!(release));
        selector.insert(LABEL_TRACK.to_owned(), json!("stable"));
    }
    let fault = document.fault("spec.template.metadata.labels is no map");
    let own = map_at(&mut document.body, &["spec", "template", "metadata", "labels"]).ok_or(fault)?;
    for (key, value) in labels {
        own.insert(key.to_owned(), json!(value));
    }
    let fault = document.fault("spec is no map");
    let spec = map_at(&mut document.body, &["spec"]).ok_or(fault)?;
    if kind.has_replicas() {
        spec.insert("replicas".to_owned(), json!(0));
    }
    match kind {
        WorkloadKind::DaemonSet => {
            // Said in full, since a rollout says otherwise meanwhile.
            let most = declaration.policy.max_unavailable;
            let most = if most.of_ceil(PODS_OF_ONE) == 0 { Amount::Count(1) } else { most };
            let rolling = json!({"maxUnavailable": objects::amount(most)});
            let strategy = spec.entry("updateStrategy").or_insert_with(|| json!({"type": "RollingUpdate"}));
            if let Some(strategy) = strategy.as_object_mut()
                && strategy.entry("type").or_insert_with(|| json!("RollingUpdate")) == "RollingUpdate"
            {
                strategy.insert("rollingUpdate".to_owned(), rolling);
            }
        }
        WorkloadKind::Deployment => {
            spec.entry("revisionHistoryLimit").or_insert(json!(objects::REVISION_HISTORY));
            let deadline = pod::seconds(declaration.policy.progress_deadline).max(1);
            spec.insert("progressDeadlineSeconds".to_owned(), json!(deadline));
            spec.insert("strategy".to_owned(), objects::replacement(declaration));
        }
        WorkloadKind::StatefulSet => {
            let most =
                spec.get("updateStrategy").and_then(|own| own.pointer("/rollingUpdate/maxUnavailable"));
            let mut rolling = json!({"partition": 0});
            if let (Some(most), Some(rolling)) = (most.cloned(), rolling.as_object_mut()) {
                rolling.insert("maxUnavailable".to_owned(), most);
            }
            spec.insert(
                "updateStrategy".to_owned(),
                json!({"type": "RollingUpdate", "rollingUpdate": rolling}),
            );
        }
    }
    Ok(())
}

/// Gives each ConfigMap that the target's pods read the hash of its content as a part of its name, and every pod template that new name.
pub(super) fn fix_config(all: &mut [Document], at: usize) {
    let mut read = Vec::new();
    if let Some(template) = all.get_mut(at).and_then(|target| target.body.pointer_mut("/spec/template/spec"))
    {
        each_config(template, &mut |name| read.push(name.clone()));
    }
    let mut renamed: BTreeMap<String, String> = BTreeMap::new();
    for document in
        all.iter_mut().filter(|document| document.kind == "ConfigMap" && read.contains(&document.name))
    {
        let data = json!([document.body.get("data"), document.body.get("binaryData")]);
        let digits = content_digits(Sha256::new().chain_update(data.to_string()));
        let name = format!("{}-{digits}", document.name);
        renamed.insert(std::mem::replace(&mut document.name, name.clone()), name.clone());
        document.config = true;
        if let Some(metadata) = map_at(&mut document.body, &["metadata"]) {
            metadata.insert("name".to_owned(), json!(name));
        }
    }
    for document in all.iter_mut() {
        if let Some(template) = document.body.pointer_mut("/spec/template/spec") {
            each_config(template, &mut |name| {
                if let Some(new) = renamed.get(name) {
                    name.clone_from(new);
                }
            });
        }
    }
}

/// Visits each name of a ConfigMap in a pod's spec.
fn each_config(spec: &mut Value, visit: &mut dyn FnMut(&mut String)) {
    for list in ["containers", "initContainers", "volumes"] {
        for item in spec.get_mut(list).and_then(Value::as_array_mut).into_iter().flatten() {
            for (list, place) in
                [("envFrom", "/configMapRef/name"), ("env", "/valueFrom/configMapKeyRef/name")]
            {
                for one in item.get_mut(list).and_then(Value::as_array_mut).into_iter().flatten() {
                    name_at(one, place, visit);
                }
            }
            name_at(item, "/configMap/name", visit);
            let sources = item.pointer_mut("/projected/sources").and_then(Value::as_array_mut);
            for one in sources.into_iter().flatten() {
                name_at(one, "/configMap/name", visit);
            }
        }
    }
}

fn name_at(value: &mut Value, place: &str, visit: &mut dyn FnMut(&mut String)) {
    if let Some(Value::String(name)) = value.pointer_mut(place) {
        visit(name);
    }
}
