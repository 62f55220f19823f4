//! Canaries in place: of a StatefulSet there is never a second one beside, since its pods have names and storage of their own, nor of a
//! DaemonSet, whose pods have the nodes. The share of a step is the number of its pods that have the candidate's template. Of a StatefulSet
//! the partition says how many; of a DaemonSet nothing does, and the pods are walked here (see `nodes`).
//!
//! Going back a StatefulSet has a trap of its own: after a template that never becomes ready, Kubernetes waits for the broken pod for ever, even once
//! the former template is back (documented there as "forced rollback"). So pods that stand in the way are deleted here, by UID.

use serde_json::{Value, json};

use super::gates::elapsed;
use super::input::Inputs;
use super::machine::{Machine, bounds, is_stepped};
use super::nodes;
use super::objects;
use super::promote;
use super::size::{Bounds, Pair};
use super::view::{View, Workload, target_key};
use crate::model::desired::Desired;
use crate::model::object::{Manifest, ObjectKey, Role};
use crate::model::observed::PodView;
use crate::model::record::{InventoryEntry, Ownership, Record};
use crate::model::rollout::{Phase, Rollout};
use crate::model::workload::WorkloadKind;
use crate::model::write::Write;
use crate::render;

/// Tells whether the candidate gets its share in the pods of the one workload that there is.
pub fn is_in_place(rollout: &Rollout) -> bool {
    is_stepped(rollout) && !rollout.workload.is_deployment()
}

/// Returns the pair for a canary in place: no pod comes on top, so both have all wanted pods together. The candidate has the number that
/// is nearest to `weight` per cent, of equals the smaller; at least one, and one is left to stable where there are two.
pub fn sizes(bounds: Bounds, weight: u8) -> Pair {
    let wanted = bounds.wanted;
    let exact = u64::from(wanted) * u64::from(weight.min(100));
    let nearest = u32::try_from((exact + 49) / 100).unwrap_or(wanted);
    let most = if weight >= 100 { wanted } else { wanted.saturating_sub(1).max(1) };
    let candidate = nearest.max(1).min(most).min(wanted);
    Pair { stable: wanted - candidate, candidate }
}

/// Returns the pods that stable keeps in the running step.
pub fn share(record: &Record, rollout: &Rollout) -> u32 {
    sizes(bounds(rollout, record.replicas), rollout.step_weight()).stable
}

/// Returns a workload of which the first `kept` pods keep the template that they have; one that cannot say so is as it was.
pub fn shared_by(workload: &Manifest, kept: u32) -> Manifest {
    let mut body = workload.body.clone();
    if WorkloadKind::of(&workload.key) != WorkloadKind::StatefulSet {
        return workload.clone();
    }
    if let Some(strategy) = body.pointer_mut("/spec/updateStrategy").and_then(Value::as_object_mut) {
        let rolling = strategy.entry("rollingUpdate").or_insert_with(|| json!({}));
        if let Some(rolling) = rolling.as_object_mut() {
            rolling.insert("partition".to_owned(), json!(kept));
        }
    }
    render::rehashed(workload, body)
}

/// Tells whether pods of the former template are kept beside the newest one on purpose.
pub fn is_shared(workload: &Workload) -> bool {
    let walked = !workload.kind.has_replicas() && nodes::is_on_delete(&workload.live.object);
    partition(workload) > 0 || walked && !workload.former.is_empty()
}

fn has_share(workload: &Workload, kept: u32) -> bool {
    if workload.kind.has_replicas() {
        return partition(workload) == u64::from(kept);
    }
    workload.former.len() <= usize::try_from(kept).unwrap_or(usize::MAX)
}

fn partition(workload: &Workload) -> u64 {
    let partition = workload.live.object.pointer("/spec/updateStrategy/rollingUpdate/partition");
    partition.and_then(Value::as_u64).unwrap_or(0)
}

/// The pods to delete, so that the controller makes them anew. Of a StatefulSet those that keep it from going on: not ready, of a template that
/// is to go, in one that shall be of one template. Of a DaemonSet all that are to go, as many at a time as may be away.
pub fn replacements(record: &Record, input: &Inputs<'_>, view: &View, writes: &mut Vec<Write>) {
    let (Some(rollout), Some(workload)) = (record.rollout.as_ref(), view.stable.present()) else { return };
    let key = target_key(record, input);
    let touched =
        writes.iter().any(|write| matches!(write, Write::Apply { manifest, .. } if manifest.key == key));
    let by_node = !workload.kind.has_replicas();
    let (version, kept) = match rollout.phase {
        Phase::RollingBack => (record.stable.as_ref().map(|stable| stable.rollout), 0),
        Phase::Promoting => (Some(rollout.number), 0),
        Phase::Progressing if by_node => (Some(rollout.number), share(record, rollout)),
        Phase::Preparing | Phase::Progressing | Phase::Baking => (None, 0),
    };
    // Before the controller has seen the template that stands, nobody can tell which pods are of another one.
    if workload.kind.is_deployment() || touched || !workload.settled || partition(workload) > 0 {
        return;
    }
    let carried = version.is_some_and(|number| objects::has_template(input, workload, number));
    if !carried || !super::effects::is_ours(record, input.release, &key, &workload.live) {
        return;
    }
    let late = |pod: &PodView| {
        let broken = pod.restarts > 0 || pod.waiting.is_some();
        broken || elapsed(pod.created_at, input.now) >= rollout.policy.progress_deadline
    };
    // On the way forward a pod of the former version may be about to come back by itself.
    let given_up = |pod: &PodView| rollout.phase == Phase::RollingBack || late(pod);
    let pods: Vec<&PodView> = if !by_node {
        workload.former.iter().filter(|pod| pod.ready_since.is_none() && given_up(pod)).collect()
    } else if rollout.frozen_since.is_some() || !nodes::is_on_delete(&workload.live.object) {
        Vec::new()
    } else {
        nodes::replaced(input, rollout, workload, kept, given_up)
    };
    for pod in pods {
        let key = ObjectKey {
            api_version: "v1".to_owned(),
            kind: "Pod".to_owned(),
            namespace: input.namespace.to_string(),
            name: pod.name.clone(),
        };
        writes.push(Write::ReplacePod { key, uid: pod.uid.clone() });
    }
}

impl Machine<'_> {
    /// Tells whether a step in place stands: as many pods as it wants have the candidate's template, and all are ready.
    pub fn replaced(&self, rollout: &Rollout, target: Pair) -> bool {
        promote::carries(self.input, &self.view, rollout.number)
            && self.view.stable.present().is_some_and(|workload| {
                workload.settled
                    && workload.replicas == self.record.replicas
                    && has_share(workload, target.stable)
                    && workload.ready_current() >= target.candidate
                    && workload.ready() >= self.record.replicas
            })
    }

    /// Takes over how many pods a workload has that cannot be told: one that is not there yet, or not seen yet, has as many as before. Returns
    /// whether the release has such a one.
    pub fn count_nodes(&mut self) -> bool {
        let counted = self.record.target.as_ref().is_some_and(|key| !WorkloadKind::of(key).has_replicas());
        if let Some(workload) = self.view.stable.present().filter(|workload| counted && workload.settled) {
            self.record.replicas = workload.replicas;
        }
        counted
    }

    /// Tells whether the workload replaces its pods as its team wants, once the walk is over.
    pub fn is_given_back(&self) -> bool {
        let Some(stable) = self.record.stable.as_ref() else { return true };
        let kept = objects::kept_workload(self.input, stable.rollout).map(|manifest| &manifest.body);
        self.view.stable.present().is_none_or(|workload| {
            workload.kind.has_replicas()
                || nodes::is_on_delete(&workload.live.object) == kept.is_some_and(nodes::is_on_delete)
        })
    }

    /// Returns the pods of both templates.
    pub fn split_in_place(&self, rollout: &Rollout) -> Pair {
        let (candidate, stable) = super::machine::tracks(rollout, &self.view);
        let count = |pods: &[PodView]| u32::try_from(pods.len()).unwrap_or(u32::MAX);
        Pair { stable: count(&stable), candidate: count(&candidate) }
    }

    /// Returns the key of the workload that rollouts act on.
    pub fn target_key(&self) -> ObjectKey {
        target_key(&self.record, self.input)
    }

    /// Takes over which workload a version is about, as long as none is there.
    pub fn take_target(&mut self, desired: &Desired) {
        let there = |entry: &InventoryEntry| {
            entry.role == Role::Workload && matches!(entry.ownership, Ownership::Owned { .. })
        };
        if self.record.stable.is_some() || self.record.inventory.values().any(there) {
            return;
        }
        let wanted = objects::workload(&desired.objects).map(|manifest| &manifest.key);
        if let Some(key) = wanted.filter(|key| **key != self.target_key()) {
            self.record.target = Some(key.clone());
        }
    }

    /// Returns why a version cannot be rolled out: it is about another workload than the one that is there.
    pub fn other_target(&self, objects: &[Manifest]) -> Option<String> {
        let (wanted, there) = (&objects::workload(objects)?.key, self.target_key());
        let name = |key: &ObjectKey| format!("{} {}", key.kind, key.name);
        (*wanted != there).then(|| {
            format!(
                "its workload would be {} and is {}: a release keeps its workload, so give the service another name, or delete the Release and its objects first",
                name(wanted),
                name(&there)
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::policy::Amount;

    #[test]
    fn a_share_is_the_nearest_number_of_pods_and_leaves_one_to_stable() {
        for (wanted, weight, stable, candidate) in [
            (3, 10, 2, 1),
            (3, 50, 2, 1),
            (3, 60, 1, 2),
            (3, 99, 1, 2),
            (3, 100, 0, 3),
            (10, 25, 8, 2),
            (10, 26, 7, 3),
            (2, 50, 1, 1),
            (1, 10, 0, 1),
            (0, 50, 0, 0),
        ] {
            let bounds = Bounds::new(wanted, Amount::Count(0), Amount::Count(0));
            assert_eq!(sizes(bounds, weight), Pair { stable, candidate }, "{weight} % of {wanted}");
        }
    }
}
