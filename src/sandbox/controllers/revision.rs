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
    pub(super) deployment: Arc<Value>,
    pub(super) new: Option<Arc<Value>>,
    pub(super) old: Vec<Arc<Value>>,
}

impl<'a> Rollout<'a> {
    /// Tells the new replica set from the old ones; the oldest with the Deployment's template is the new one.
    pub(super) fn new(hands: &'a Hands, deployment: Arc<Value>, mut sets: Vec<Arc<Value>>) -> Self {
        sort_by_age(&mut sets);
        let at = sets.iter().position(|set| same_template(&deployment, set));
        let new = at.map(|at| sets.remove(at));
        Self { hands, deployment, new, old: sets }
    }

    pub(super) fn all(&self) -> impl Iterator<Item = &Value> {
        self.old.iter().chain(&self.new).map(|set| &**set)
    }

    /// Keeps the revision of the new replica set and of the Deployment up to date; makes the replica set if asked.
    pub(super) fn sync_revision(&mut self, create: bool) -> Result<(), ApiError> {
        let newest = self.old.iter().map(|set| revision_of(set)).max().unwrap_or(0) + 1;
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
    fn refresh(&self, set: Arc<Value>, newest: i64) -> Result<Arc<Value>, ApiError> {
        let annotations = annotations(&self.deployment, &set, newest);
        let seconds = json::at(&self.deployment, &["spec", "minReadySeconds"]);
        let same = json::at(&set, &["metadata", "annotations"]).and_then(Value::as_object)
            == Some(&annotations)
            && json::at(&set, &["spec", "minReadySeconds"]) == seconds;
        if same {
            return Ok(set);
        }
        let mut new = Value::clone(&set);
        json::set(&mut new, &["metadata", "annotations"], annotations);
        match seconds {
            Some(seconds) => json::set(&mut new, &["spec", "minReadySeconds"], seconds.clone()),
            None => drop(json::remove(&mut new, &["spec", "minReadySeconds"])),
        }
        self.hands.update_replica_set(new, "")
    }

    fn create(&mut self, newest: i64) -> Result<(), ApiError> {
        let namespace = json::text(&self.deployment, &["metadata", "namespace"]).to_owned();
        let body = self.new_set(newest);
        let name = json::text(&body, &["metadata", "name"]).to_owned();
        let made = match self.hands.create_replica_set(&namespace, body) {
            Err(error) if error.code == 409 => match self.hands.replica_set(&namespace, &name) {
                // Ours already, only not seen yet.
                Some(set) if controls(&self.deployment, &set) && same_template(&self.deployment, &set) => {
                    Ok(set)
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
                let mut changed = Value::clone(&self.deployment);
                conditions::set(json::member_mut(&mut changed, "status"), condition);
                self.store(changed)?;
                Err(error)
            }
        }
    }

    /// Two templates gave one name: the next name is another one.
    fn count_collision(&mut self) -> Result<(), ApiError> {
        let mut changed = Value::clone(&self.deployment);
        let count = json::int(&changed, &["status", "collisionCount"]).unwrap_or(0) + 1;
        json::set(&mut changed, &["status", "collisionCount"], count);
        self.store(changed)
    }

    /// Notes the revision, and with `always` (else only where there is none) how the rollout stands.
    fn note(&mut self, revision: &str, reason: &str, message: &str, always: bool) -> Result<(), ApiError> {
        let deployment = &self.deployment;
        let has_deadline = json::int(deployment, &["spec", "progressDeadlineSeconds"]).is_some();
        let missing =
            deployment.get("status").and_then(|status| conditions::find(status, "Progressing")).is_none();
        let says = has_deadline && (always || missing);
        if !says && json::text(deployment, &["metadata", "annotations", REVISION]) == revision {
            return Ok(());
        }
        let mut changed = Value::clone(deployment);
        json::set(&mut changed, &["metadata", "annotations", REVISION], revision);
        if says {
            let now = self.hands.now_text();
            let condition = conditions::new("Progressing", "True", reason, message, &now);
            conditions::set(json::member_mut(&mut changed, "status"), condition);
        }
        self.store(changed)
    }

    /// Writes the Deployment's status, if it changed.
    pub(super) fn store_status(&mut self, status: Value) -> Result<(), ApiError> {
        if self.deployment.get("status") == Some(&status) {
            return Ok(());
        }
        let mut changed = Value::clone(&self.deployment);
        json::set(&mut changed, &["status"], status);
        self.store(changed)
    }

    /// Writes the Deployment's status and annotations, if they changed.
    fn store(&mut self, changed: Value) -> Result<(), ApiError> {
        if changed != *self.deployment {
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
        let total: i64 = self.old.iter().map(|set| replicas_of(set)).sum();
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
        let annotations = annotations(deployment, &set, newest);
        json::set(&mut set, &["metadata", "annotations"], annotations);
        size_annotations(&mut set, limits);
        set
    }
}

/// Sorts by creation, then by name.
pub(super) fn sort_by_age(sets: &mut [Arc<Value>]) {
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

/// Sets the annotations by which a later scaling is recognised.
pub(super) fn size_annotations(set: &mut Value, limits: Limits) {
    json::set(set, &["metadata", "annotations", DESIRED], limits.desired.to_string());
    json::set(set, &["metadata", "annotations", MOST], limits.most().to_string());
}

/// Whether a set has these annotations.
pub(super) fn is_sized(set: &Value, limits: Limits) -> bool {
    let noted = |name: &str| json::text(set, &["metadata", "annotations", name]);
    noted(DESIRED) == limits.desired.to_string() && noted(MOST) == limits.most().to_string()
}

/// The annotations of a replica set: the Deployment's copied over its own, the revision raised.
fn annotations(deployment: &Value, set: &Value, newest: i64) -> Map<String, Value> {
    let own = [REVISION, HISTORY, DESIRED, MOST, LAST_APPLIED];
    let copied = json::pairs(deployment, &["metadata", "annotations"])
        .filter(|(key, _)| !own.contains(key))
        .map(|(key, value)| (key.to_owned(), value.into()));
    let before = json::text(set, &["metadata", "annotations", REVISION]).to_owned();
    let present = json::at(set, &["metadata", "annotations"]).and_then(Value::as_object);
    let mut annotations = present.cloned().unwrap_or_default();
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
    annotations
}

/// Whether a replica set has the Deployment's template, but for the hash.
fn same_template(deployment: &Value, set: &Value) -> bool {
    let template = |object| json::at(object, &["spec", "template"]).unwrap_or(&Value::Null);
    same_below(template(deployment), template(set), &["metadata", "labels", HASH])
}

/// Whether two values are the same but for what is at `path`.
fn same_below(one: &Value, two: &Value, path: &[&str]) -> bool {
    let (Some((first, rest)), Value::Object(left), Value::Object(right)) = (path.split_first(), one, two)
    else {
        return one == two;
    };
    let others = |map: &Map<String, Value>| map.len() - usize::from(map.contains_key(*first));
    let below = match (left.get(*first), right.get(*first)) {
        _ if rest.is_empty() => true,
        (Some(one), Some(two)) => same_below(one, two, rest),
        (one, two) => one.is_none() && two.is_none(),
    };
    below
        && others(left) == others(right)
        && left.iter().all(|(key, value)| key == first || right.get(key) == Some(value))
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
