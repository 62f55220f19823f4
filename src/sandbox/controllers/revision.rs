//! Which ReplicaSet is the Deployment's new one, which are old, and the numbers that order them.

use std::{hash::Hasher as _, sync::Arc};

use serde_json::{Map, Value, json};

use super::{
    super::{api::ApiError, json},
    conditions,
    hands::{Hands, controller_reference, controls},
    rolling::Limits,
};

pub(super) const REVISION: &str = "deployment.kubernetes.io/revision";
const HISTORY: &str = "deployment.kubernetes.io/revision-history";
pub(super) const DESIRED: &str = "deployment.kubernetes.io/desired-replicas";
pub(super) const MOST: &str = "deployment.kubernetes.io/max-replicas";
const HASH: &str = "pod-template-hash";
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// A Deployment with its replica sets, while it is worked on.
pub(super) struct Rollout<'a> {
    pub(super) hands: &'a Hands,
    pub(super) deployment: Value,
    pub(super) new: Option<Value>,
    pub(super) old: Vec<Value>,
}

impl<'a> Rollout<'a> {
    /// Tells the new replica set from the old ones; the oldest with the Deployment's template is the new one.
    pub(super) fn new(hands: &'a Hands, deployment: Value, sets: Vec<Arc<Value>>) -> Self {
        let mut sets: Vec<Value> = sets.into_iter().map(|set| (*set).clone()).collect();
        sort_by_age(&mut sets);
        let at = sets.iter().position(|set| same_template(&deployment, set));
        let new = at.map(|at| sets.remove(at));
        Self { hands, deployment, new, old: sets }
    }

    pub(super) fn all(&self) -> impl Iterator<Item = &Value> {
        self.old.iter().chain(&self.new)
    }

    /// Keeps the revision of the new replica set and of the Deployment up to date; makes the replica set if asked.
    pub(super) fn sync_revision(&mut self, create: bool) -> Result<(), ApiError> {
        let newest = self.old.iter().map(revision_of).max().unwrap_or(0) + 1;
        match self.new.take() {
            Some(set) => {
                let set = self.refresh(set, newest)?;
                let name = json::text(&set, &["metadata", "name"]).to_owned();
                let message = format!("Found new replica set {name:?}");
                let revision = json::text(&set, &["metadata", "annotations", REVISION]).to_owned();
                self.new = Some(set);
                self.note(&revision, "FoundNewReplicaSet", &message, false)
            }
            None if create => self.create(newest),
            None => Ok(()),
        }
    }

    /// Brings annotations and readiness of the new replica set in line with the Deployment.
    fn refresh(&self, set: Value, newest: i64) -> Result<Value, ApiError> {
        let mut new = set.clone();
        annotate(&self.deployment, &mut new, newest);
        match json::at(&self.deployment, &["spec", "minReadySeconds"]) {
            Some(seconds) => json::set(&mut new, &["spec", "minReadySeconds"], seconds.clone()),
            None => drop(json::remove(&mut new, &["spec", "minReadySeconds"])),
        }
        if new == set { Ok(set) } else { self.hands.update_replica_set(&new, "") }
    }

    fn create(&mut self, newest: i64) -> Result<(), ApiError> {
        let namespace = json::text(&self.deployment, &["metadata", "namespace"]).to_owned();
        let body = self.new_set(newest);
        let name = json::text(&body, &["metadata", "name"]).to_owned();
        let made = match self.hands.create_replica_set(&namespace, body) {
            Err(error) if error.code == 409 => match self.hands.replica_set(&namespace, &name) {
                // Ours already, only not seen yet.
                Some(set) if controls(&self.deployment, &set) && same_template(&self.deployment, &set) => {
                    Ok((*set).clone())
                }
                _ => {
                    self.count_collision()?;
                    Err(error)
                }
            },
            other => other,
        };
        match made {
            Ok(set) => {
                self.new = Some(set);
                let message = format!("Created new replica set {name:?}");
                self.note(&newest.to_string(), "NewReplicaSetCreated", &message, true)
            }
            Err(error) => {
                let why = json::text(&error.status, &["message"]);
                let message = format!("Failed to create new replica set {name:?}: {why}");
                let now = self.hands.now_text();
                let condition =
                    conditions::new("Progressing", "False", "ReplicaSetCreateError", &message, &now);
                let mut changed = self.deployment.clone();
                conditions::set(json::member_mut(&mut changed, "status"), condition);
                self.store(&changed)?;
                Err(error)
            }
        }
    }

    /// Two templates gave one name: the next name is another one.
    fn count_collision(&mut self) -> Result<(), ApiError> {
        let mut changed = self.deployment.clone();
        let count = json::int(&changed, &["status", "collisionCount"]).unwrap_or(0) + 1;
        json::set(&mut changed, &["status", "collisionCount"], count);
        self.store(&changed)
    }

    /// Notes the revision, and with `always` (else only where there is none) how the rollout stands.
    fn note(&mut self, revision: &str, reason: &str, message: &str, always: bool) -> Result<(), ApiError> {
        let mut changed = self.deployment.clone();
        json::set(&mut changed, &["metadata", "annotations", REVISION], revision);
        let has_deadline = json::int(&changed, &["spec", "progressDeadlineSeconds"]).is_some();
        let missing =
            changed.get("status").and_then(|status| conditions::find(status, "Progressing")).is_none();
        if has_deadline && (always || missing) {
            let now = self.hands.now_text();
            let condition = conditions::new("Progressing", "True", reason, message, &now);
            conditions::set(json::member_mut(&mut changed, "status"), condition);
        }
        self.store(&changed)
    }

    /// Writes the Deployment's status and annotations, if they changed.
    pub(super) fn store(&mut self, changed: &Value) -> Result<(), ApiError> {
        if *changed != self.deployment {
            self.deployment = self.hands.update_deployment_status(changed)?;
        }
        Ok(())
    }

    fn new_set(&self, newest: i64) -> Value {
        let deployment = &self.deployment;
        let hash = template_hash(deployment);
        let meta = |name: &str| json::text(deployment, &["metadata", name]).to_owned();
        let mut template = json::at(deployment, &["spec", "template"]).cloned().unwrap_or_default();
        json::set(&mut template, &["metadata", "labels", HASH], hash.as_str());
        let mut selector = json::at(deployment, &["spec", "selector"]).cloned().unwrap_or_default();
        json::set(&mut selector, &["matchLabels", HASH], hash.as_str());
        let labels = json::at(&template, &["metadata", "labels"]).cloned().unwrap_or_default();
        let limits = Limits::of(deployment);
        let total: i64 = self.old.iter().map(replicas_of).sum();
        let replicas = if json::text(deployment, &["spec", "strategy", "type"]) == "Recreate" {
            limits.desired
        } else {
            limits.grow(0, total)
        };
        let mut set = json!({
            "metadata": {
                "name": format!("{}-{hash}", meta("name")), "namespace": meta("namespace"), "labels": labels,
                "ownerReferences": [controller_reference(deployment, "Deployment")],
            },
            "spec": {"replicas": replicas, "selector": selector, "template": template},
        });
        if let Some(seconds) = json::at(deployment, &["spec", "minReadySeconds"]) {
            json::set(&mut set, &["spec", "minReadySeconds"], seconds.clone());
        }
        annotate(deployment, &mut set, newest);
        size_annotations(&mut set, limits);
        set
    }
}

/// Sorts by creation, then by name.
pub(super) fn sort_by_age(sets: &mut [Value]) {
    sets.sort_by_key(|set| {
        let text = |name: &str| json::text(set, &["metadata", name]).to_owned();
        (text("creationTimestamp"), text("name"))
    });
}

pub(super) fn replicas_of(set: &Value) -> i64 {
    json::int(set, &["spec", "replicas"]).unwrap_or(0)
}

pub(super) fn revision_of(set: &Value) -> i64 {
    json::text(set, &["metadata", "annotations", REVISION]).parse().unwrap_or(0)
}

/// Sets the annotations by which a later scaling is recognised; true if they changed.
pub(super) fn size_annotations(set: &mut Value, limits: Limits) {
    json::set(set, &["metadata", "annotations", DESIRED], limits.desired.to_string());
    json::set(set, &["metadata", "annotations", MOST], limits.most().to_string());
}

/// Copies the Deployment's annotations and raises the revision.
fn annotate(deployment: &Value, set: &mut Value, newest: i64) {
    let own = [REVISION, HISTORY, DESIRED, MOST, LAST_APPLIED];
    let copied: Map<String, Value> = json::pairs(deployment, &["metadata", "annotations"])
        .filter(|(key, _)| !own.contains(key))
        .map(|(key, value)| (key.to_owned(), value.into()))
        .collect();
    let before = json::text(set, &["metadata", "annotations", REVISION]).to_owned();
    let annotations = json::map_mut(set, &["metadata", "annotations"]);
    annotations.extend(copied);
    if before.parse().unwrap_or(0) < newest {
        annotations.insert(REVISION.to_owned(), newest.to_string().into());
        if !before.is_empty() {
            let history = match annotations.get(HISTORY).and_then(Value::as_str) {
                Some(earlier) if !earlier.is_empty() => format!("{earlier},{before}"),
                _ => before,
            };
            annotations.insert(HISTORY.to_owned(), history.into());
        }
    }
}

/// Whether a replica set has the Deployment's template, but for the hash.
fn same_template(deployment: &Value, set: &Value) -> bool {
    let template = |object: &Value| {
        let mut template = json::at(object, &["spec", "template"]).cloned().unwrap_or_default();
        json::remove(&mut template, &["metadata", "labels", HASH]);
        template
    };
    template(deployment) == template(set)
}

fn template_hash(deployment: &Value) -> String {
    let template = json::at(deployment, &["spec", "template"]).cloned().unwrap_or_default();
    safe_hash(&template.to_string(), json::int(deployment, &["status", "collisionCount"]))
}

/// Returns a short hash whose letters spell no word; `collisions` makes another one of the same text.
pub(super) fn safe_hash(text: &str, collisions: Option<i64>) -> String {
    const ALPHABET: &[u8; 27] = b"bcdfghjklmnpqrstvwxz2456789";
    let mut hasher = Fnv::default();
    hasher.write(text.as_bytes());
    if let Some(count) = collisions {
        hasher.write(&count.to_le_bytes());
    }
    let digits = hasher.finish().to_string();
    digits
        .bytes()
        .filter_map(|byte| ALPHABET.get(usize::from(byte) % 27))
        .map(|byte| char::from(*byte))
        .collect()
}

/// FNV-1a with 32 bits: the same on every machine and in every version, which the standard hasher does not promise.
struct Fnv(u32);

impl Default for Fnv {
    fn default() -> Self {
        Self(0x811c_9dc5)
    }
}

impl std::hash::Hasher for Fnv {
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u32::from(*byte)).wrapping_mul(0x0100_0193);
        }
    }

    fn finish(&self) -> u64 {
        u64::from(self.0)
    }
}
