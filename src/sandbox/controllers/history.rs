//! `ControllerRevision`s: the templates that a StatefulSet or a DaemonSet has had, by which its pods are told apart.

use std::sync::Arc;

use serde_json::{Value, json};

use super::{
    super::{api::ApiError, json},
    hands::{Hands, claim, controller_reference},
    revision::safe_hash,
};

/// The label of pods and revisions that tells templates apart.
pub(super) const HASH: &str = "controller-revision-hash";

/// The revisions of one owner, oldest first, and the one that has its present template.
pub(super) struct History {
    pub(super) all: Vec<Arc<Value>>,
    pub(super) update: Arc<Value>,
}

impl History {
    /// Reads the history of `owner`; a template that is new, or that comes back, becomes the newest revision.
    pub(super) fn read(hands: &Hands, owner: &Value, kind: &str) -> Result<Self, ApiError> {
        let namespace = json::text(owner, &["metadata", "namespace"]);
        let mine = claim(owner, kind, hands.revisions(namespace), |one| hands.update_revision(one));
        let mut all = mine;
        all.sort_by_key(|one| number_of(one));
        let data = data_of(owner);
        let next = all.last().map_or(0, |one| number_of(one)) + 1;
        let update = match all.iter().position(|one| one.get("data") == Some(&data)) {
            Some(at) if at + 1 == all.len() => all.get(at).cloned().unwrap_or_default(),
            Some(at) => {
                let mut back = Value::clone(&all.remove(at));
                json::set(&mut back, &["revision"], next);
                let back = hands.update_revision(back)?;
                all.push(Arc::clone(&back));
                back
            }
            None => {
                let made = make(hands, owner, kind, &data, next)?;
                all.push(Arc::clone(&made));
                made
            }
        };
        Ok(Self { all, update })
    }

    /// Returns the revision of this name.
    pub(super) fn named(&self, name: &str) -> Option<&Value> {
        self.all.iter().map(Arc::as_ref).find(|one| json::text(one, &["metadata", "name"]) == name)
    }

    /// Deletes the oldest revisions beyond the limit that `is_live` does not need.
    pub(super) fn tidy(
        &self,
        hands: &Hands,
        owner: &Value,
        is_live: impl Fn(&Value) -> bool,
    ) -> Result<(), ApiError> {
        let limit = json::int(owner, &["spec", "revisionHistoryLimit"]).unwrap_or(10);
        let spare: Vec<&Value> = self.all.iter().map(Arc::as_ref).filter(|one| !is_live(one)).collect();
        let surplus = spare.len().saturating_sub(usize::try_from(limit).unwrap_or(0));
        for one in spare.into_iter().take(surplus) {
            match hands.delete_revision(one) {
                Err(error) if error.code != 404 => return Err(error),
                _ => {}
            }
        }
        Ok(())
    }
}

fn make(hands: &Hands, owner: &Value, kind: &str, data: &Value, number: i64) -> Result<Arc<Value>, ApiError> {
    let hash = safe_hash(&data.to_string(), None);
    let name = format!("{}-{hash}", json::text(owner, &["metadata", "name"]));
    let namespace = json::text(owner, &["metadata", "namespace"]);
    let mut body = json!({
        "metadata": {
            "name": name, "namespace": namespace,
            "labels": json::at(owner, &["spec", "template", "metadata", "labels"]).cloned().unwrap_or(json!({})),
            "ownerReferences": [controller_reference(owner, kind)],
        },
        "data": data, "revision": number,
    });
    json::set(&mut body, &["metadata", "labels", HASH], hash);
    hands.create_revision(namespace, body)
}

fn number_of(revision: &Value) -> i64 {
    json::int(revision, &["revision"]).unwrap_or(0)
}

/// Returns what a revision keeps of its owner.
fn data_of(owner: &Value) -> Value {
    let mut template = json::at(owner, &["spec", "template"]).cloned().unwrap_or_default();
    json::set(&mut template, &["$patch"], "replace");
    json!({"spec": {"template": template}})
}

/// Returns the template that a revision keeps.
pub(super) fn template_of(revision: &Value) -> Value {
    let mut template = json::at(revision, &["data", "spec", "template"]).cloned().unwrap_or_default();
    json::remove(&mut template, &["$patch"]);
    template
}

pub(super) fn name_of(object: &Value) -> &str {
    json::text(object, &["metadata", "name"])
}

/// Makes the body of a pod of `owner` from a template.
pub(super) fn pod_of(owner: &Value, kind: &str, template: &Value) -> Value {
    let mut pod = json!({
        "metadata": {"ownerReferences": [controller_reference(owner, kind)]},
        "spec": json::at(template, &["spec"]).cloned().unwrap_or_default(),
    });
    for name in ["labels", "annotations", "finalizers"] {
        if let Some(value) = json::at(template, &["metadata", name]) {
            json::set(&mut pod, &["metadata", name], value.clone());
        }
    }
    pod
}

/// Clones what the store shares.
pub(super) fn owned(pods: &[Arc<Value>]) -> Vec<Value> {
    pods.iter().map(|pod| Value::clone(pod)).collect()
}
