//! What a pass reads out of the observed objects: the two Deployments, and which of their pods belong to which template.

use serde_json::Value;

use super::input::Inputs;
use super::nodes;
use crate::model::name::ReleaseKey;
use crate::model::object::{Fence, ObjectKey};
use crate::model::observed::{Known, Live, Observed, PodView, ReplicaSetView};
use crate::model::record::Record;
use crate::model::workload::WorkloadKind;
use crate::model::{ANNOTATION_EPOCH, ANNOTATION_ROLLOUT, ANNOTATION_VERSION, LABEL_RELEASE};
use crate::render::CANARY_SUFFIX;

/// The key of the team's own workload: the record's target, else the Deployment that is named after the service.
pub fn stable_key(target: Option<&ObjectKey>, release: &ReleaseKey, namespace: &str) -> ObjectKey {
    target.cloned().unwrap_or_else(|| deployment(namespace, release.service.as_str().to_owned()))
}

/// The key of the candidate's own Deployment. Of a workload that is replaced in place there is never one.
pub fn canary_key(target: Option<&ObjectKey>, release: &ReleaseKey, namespace: &str) -> ObjectKey {
    let name = target.map_or(release.service.as_str(), |target| target.name.as_str());
    deployment(namespace, format!("{name}{CANARY_SUFFIX}"))
}

/// The key of the workload that a record's rollouts act on.
pub fn target_key(record: &Record, input: &Inputs<'_>) -> ObjectKey {
    stable_key(record.target.as_ref(), input.release, input.namespace.as_str())
}

/// The key of the Deployment of a record's candidate.
pub fn candidate_key(record: &Record, input: &Inputs<'_>) -> ObjectKey {
    canary_key(record.target.as_ref(), input.release, input.namespace.as_str())
}

/// The key of the team's own Service.
pub fn service_key(release: &ReleaseKey, namespace: &str) -> ObjectKey {
    ObjectKey {
        api_version: "v1".to_owned(),
        kind: "Service".to_owned(),
        namespace: namespace.to_owned(),
        name: release.service.as_str().to_owned(),
    }
}

fn deployment(namespace: &str, name: String) -> ObjectKey {
    ObjectKey {
        api_version: "apps/v1".to_owned(),
        kind: "Deployment".to_owned(),
        namespace: namespace.to_owned(),
        name,
    }
}

/// A live workload with its pods, told apart by template.
#[derive(Debug, Clone)]
pub struct Workload {
    /// What it is.
    pub kind: WorkloadKind,
    /// What a fenced write names.
    pub fence: Fence,
    /// The live object.
    pub live: Live,
    /// `spec.replicas`; of a DaemonSet the nodes that want a pod and answer.
    pub replicas: u32,
    /// The controller has seen the newest `spec`, and it is not one that a DaemonSet is only created with.
    pub settled: bool,
    /// The rollout that last wrote the object, from its annotation.
    pub rollout: Option<u64>,
    /// The identity of the version that it was last written for, from its annotation.
    pub identity: Option<String>,
    /// Pods of the newest template, those being deleted and those that ended left out.
    pub current: Vec<PodView>,
    /// Pods of earlier templates, those being deleted left out.
    pub former: Vec<PodView>,
    /// Pods that are on their way out.
    pub leaving: usize,
    /// The message of the condition `ReplicaFailure` (quota, admission).
    pub refused: Option<String>,
}

impl Workload {
    /// Returns the ready pods of the newest template. Before the controller has seen the newest spec nobody can tell which
    /// template is the newest, so there are none.
    pub fn ready_current(&self) -> u32 {
        if self.settled { ready(&self.current) } else { 0 }
    }

    /// Returns the ready pods of any template.
    pub fn ready(&self) -> u32 {
        ready(&self.current).saturating_add(ready(&self.former))
    }

    /// Returns the pods of any template that are not ready by their own doing.
    pub fn broken(&self) -> u32 {
        let pods = self.current.iter().chain(&self.former);
        u32::try_from(pods.filter(|pod| pod.is_broken()).count()).unwrap_or(u32::MAX)
    }

    /// Tells whether exactly `wanted` pods of the newest template are wanted, there and ready, and no other is left.
    pub fn complete(&self, wanted: u32) -> bool {
        self.settled
            && self.replicas == wanted
            && self.former.is_empty()
            && self.ready_current() >= wanted
            && count(&self.current) == wanted
    }
}

fn count(pods: &[PodView]) -> u32 {
    u32::try_from(pods.len()).unwrap_or(u32::MAX)
}

fn ready(pods: &[PodView]) -> u32 {
    u32::try_from(pods.iter().filter(|pod| pod.ready_since.is_some()).count()).unwrap_or(u32::MAX)
}

/// The workloads of a release.
#[derive(Debug, Clone)]
pub struct View {
    /// The team's own.
    pub stable: Known<Workload>,
    /// The candidate's.
    pub canary: Known<Workload>,
}

impl View {
    /// Reads the view out of what was observed.
    pub fn new(record: &Record, release: &ReleaseKey, namespace: &str, observed: &Observed) -> Self {
        let target = record.target.as_ref();
        let read = |key: &ObjectKey| match observed.object(key) {
            Known::Unknown => Known::Unknown,
            Known::Absent => Known::Absent,
            Known::Present(live) => Known::Present(workload(WorkloadKind::of(key), live, observed)),
        };
        Self {
            stable: read(&stable_key(target, release, namespace)),
            canary: read(&canary_key(target, release, namespace)),
        }
    }
}

/// How the pods of a workload are told apart by template.
enum Templates<'a> {
    /// By their ReplicaSets, and the number of the newest.
    Sets(Vec<&'a ReplicaSetView>, Option<u64>),
    /// By the owner's UID, and what the newest is called.
    Hash(&'a str, &'a str),
}

impl<'a> Templates<'a> {
    fn of(kind: WorkloadKind, live: &'a Live, observed: &'a Observed) -> Self {
        let object = live.object.as_ref();
        match kind {
            WorkloadKind::Deployment => {
                let sets = observed.replica_sets.iter().filter(|set| set.owner == live.uid).collect();
                let newest = annotation(object, "deployment.kubernetes.io/revision");
                Self::Sets(sets, newest.and_then(|text| text.parse().ok()))
            }
            WorkloadKind::StatefulSet => {
                let newest = object.pointer("/status/updateRevision").and_then(Value::as_str);
                Self::Hash(&live.uid, newest.unwrap_or_default())
            }
            WorkloadKind::DaemonSet => Self::Hash(&live.uid, nodes::template_of(object)),
        }
    }

    /// Tells whether a pod has the newest template; `None`: it is not one of the workload's.
    fn is_newest(&self, pod: &PodView) -> Option<bool> {
        match self {
            Self::Sets(sets, newest) => {
                let set = sets.iter().find(|set| set.uid == pod.owner)?;
                Some(Some(set.revision) == *newest)
            }
            Self::Hash(owner, newest) => {
                (pod.owner == *owner).then(|| !newest.is_empty() && pod.revision == *newest)
            }
        }
    }
}

fn workload(kind: WorkloadKind, live: &Live, observed: &Observed) -> Workload {
    let object = live.object.as_ref();
    let templates = Templates::of(kind, live, observed);
    let generation = number(object, "/metadata/generation");
    let seen = number(object, "/status/observedGeneration");
    // `Recreate` makes the new ReplicaSet once no old pod is left. Until then the newest one, and every pod, is of the old template.
    let recreates = object.pointer("/spec/strategy/type").and_then(Value::as_str) == Some("Recreate");
    let none_updated = recreates && number(object, "/status/updatedReplicas").unwrap_or(0) == 0;
    let counted = !kind.has_replicas();
    let (mut current, mut former, mut leaving, mut away) = (Vec::new(), Vec::new(), 0, 0);
    for pod in &observed.pods {
        let Some(newest) = templates.is_newest(pod).filter(|_| !pod.ended) else { continue };
        if counted && pod.is_away() {
            away += 1;
        } else if pod.deleting {
            leaving += 1;
        } else if newest && !none_updated {
            current.push(pod.clone());
        } else {
            former.push(pod.clone());
        }
    }
    let wanted = if counted {
        number(object, "/status/desiredNumberScheduled").unwrap_or(0).saturating_sub(away)
    } else {
        number(object, "/spec/replicas").unwrap_or(1)
    };
    Workload {
        kind,
        fence: Fence { uid: live.uid.clone(), resource_version: live.resource_version.clone() },
        replicas: u32::try_from(wanted).unwrap_or(u32::MAX),
        settled: generation.is_some() && seen >= generation && !(counted && nodes::is_nowhere(object)),
        rollout: annotation(object, ANNOTATION_ROLLOUT).and_then(|text| text.parse().ok()),
        identity: annotation(object, ANNOTATION_VERSION).map(str::to_owned),
        current,
        former,
        leaving,
        refused: condition_message(object, "ReplicaFailure"),
        live: live.clone(),
    }
}

fn number(object: &Value, pointer: &str) -> Option<u64> {
    object.pointer(pointer).and_then(Value::as_u64)
}

/// Returns an annotation of an object.
pub fn annotation<'a>(object: &'a Value, name: &str) -> Option<&'a str> {
    object.get("metadata")?.get("annotations")?.get(name)?.as_str()
}

/// Tells whether an object has a label.
pub fn carries(object: &Value, label: &str) -> bool {
    object.get("metadata").and_then(|metadata| metadata.get("labels")?.get(label)).is_some()
}

/// Returns the fencing epoch that an object was last written with; 0 for none.
pub fn epoch_of(object: &Value) -> u64 {
    annotation(object, ANNOTATION_EPOCH).and_then(|text| text.parse().ok()).unwrap_or(0)
}

/// Tells whether an object carries the labels of this release.
pub fn carries_labels(object: &Value, release: &ReleaseKey) -> bool {
    let label = |name: &str| object.get("metadata")?.get("labels")?.get(name)?.as_str();
    label(LABEL_RELEASE) == Some(release.to_string().as_str())
        || (label(crate::model::LABEL_SERVICE) == Some(release.service.as_str())
            && label(crate::model::LABEL_ENVIRONMENT) == Some(release.environment.as_str()))
}

fn condition_message(object: &Value, kind: &str) -> Option<String> {
    object.pointer("/status/conditions")?.as_array()?.iter().find_map(|condition| {
        let is = |field: &str, text: &str| condition.get(field).and_then(Value::as_str) == Some(text);
        let message = condition.get("message").and_then(Value::as_str).unwrap_or("no message");
        (is("type", kind) && is("status", "True")).then(|| message.chars().take(300).collect())
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::Arc;

    use serde_json::json;

    use super::*;
    use crate::model::observed::Routes;

    fn pod(owner: &str) -> PodView {
        PodView {
            name: "web-1".to_owned(),
            uid: "p".to_owned(),
            owner: owner.to_owned(),
            track: "stable".to_owned(),
            started: true,
            restarts: 5,
            ..PodView::default()
        }
    }

    /// Pods of the newest template and of earlier ones, of a Deployment with this strategy and so many updated pods.
    fn told_apart(strategy: &str, updated: u32) -> (usize, usize) {
        let object = json!({
            "metadata": {"generation": 2, "annotations": {"deployment.kubernetes.io/revision": "1"}},
            "spec": {"strategy": {"type": strategy}},
            "status": {"observedGeneration": 2, "updatedReplicas": updated},
        });
        let live = Live {
            uid: "d".to_owned(),
            resource_version: "1".to_owned(),
            managed: true,
            scaled: true,
            object: Arc::new(object),
        };
        let set = ReplicaSetView {
            uid: "s".to_owned(),
            owner: "d".to_owned(),
            name: "web-1".to_owned(),
            revision: 1,
            replicas: 1,
        };
        let observed = Observed {
            namespace: Known::Present(()),
            objects: BTreeMap::new(),
            replica_sets: vec![set],
            pods: vec![pod("s")],
            revisions: BTreeMap::new(),
            routes: Routes::default(),
            refusals: BTreeMap::new(),
        };
        let workload = workload(WorkloadKind::Deployment, &live, &observed);
        (workload.current.len(), workload.former.len())
    }

    #[test]
    fn before_recreate_has_made_a_new_pod_all_are_old() {
        assert_eq!(told_apart("Recreate", 0), (0, 1));
        assert_eq!(told_apart("Recreate", 1), (1, 0));
        assert_eq!(told_apart("RollingUpdate", 0), (1, 0));
    }
}
