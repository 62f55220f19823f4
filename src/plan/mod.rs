//! Desired × observed → plan.
//!
//! In: rendered manifests, what was observed of the cluster, the release's inventory. Out: what to create, update and prune, each
//! with its reason, as values. May use: `model` and nothing that can fail or wait.

mod differ;
mod free;
mod quantity;

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use crate::model::ANNOTATION_HASH;
use crate::model::object::{Fence, Manifest, ObjectKey};
use crate::model::observed::{Known, Live, Observed};
use crate::model::record::{InventoryEntry, Ownership};

pub use differ::{Difference, LIMIT, differs, template_differs};

/// Deletions in one plan above which a person has to say so (S16 of the rollout's properties).
pub const PRUNE_LIMIT: usize = 10;
/// Of a release with at least [`PRUNE_LIMIT`] objects, the share of deletions above which a person has to say so, in per cent.
pub const PRUNE_SHARE: usize = 20;
/// Kinds whose deletion takes data or other people's objects along: never pruned without a person.
pub const PRUNE_NEVER: [&str; 3] = ["Namespace", "PersistentVolumeClaim", "CustomResourceDefinition"];

/// The difference between what is wanted and what is there.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Plan {
    /// Not there, in the order of application.
    pub create: Vec<Manifest>,
    /// There and ours, but not as wanted, in the order of application.
    pub update: Vec<Update>,
    /// There and ours by UID, but no longer wanted; what others depend on comes last.
    pub prune: Vec<Prune>,
    /// As wanted: costs no call.
    pub unchanged: Vec<ObjectKey>,
    /// There under a wanted name and not ours: refused until it is adopted.
    pub foreign: Vec<ObjectKey>,
    /// Not read: nothing follows from it.
    pub unknown: Vec<ObjectKey>,
}

/// An object to be applied again.
#[derive(Debug, Clone, PartialEq)]
pub struct Update {
    /// What is wanted.
    pub manifest: Manifest,
    /// What was read.
    pub fence: Fence,
    /// Why, never empty, at most [`LIMIT`].
    pub differences: Vec<Difference>,
}

/// An object to be deleted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Prune {
    /// Which.
    pub key: ObjectKey,
    /// Its UID in the inventory.
    pub uid: String,
}

impl Plan {
    /// Tells whether the cluster is as wanted, as far as could be seen.
    pub fn is_empty(&self) -> bool {
        self.create.is_empty() && self.update.is_empty() && self.prune.is_empty()
    }
}

enum Found<'a> {
    Missing,
    Unread,
    Foreign,
    Ours(&'a Live),
}

fn find<'a>(observed: &'a Observed, entry: Option<&InventoryEntry>, key: &ObjectKey) -> Found<'a> {
    let live = match observed.object(key) {
        Known::Unknown => return Found::Unread,
        Known::Absent => return Found::Missing,
        Known::Present(live) => live,
    };
    match entry.map(|entry| &entry.ownership) {
        Some(Ownership::Owned { uid }) if *uid == live.uid => Found::Ours(live),
        // The creation's answer may be lost: what stands there under our field manager is what we created.
        Some(Ownership::Intended { .. }) if live.managed => Found::Ours(live),
        _ => Found::Foreign,
    }
}

/// Compares what is wanted with what is there. `inventory` decides what is ours: an object that is not in it, or is there under
/// another UID, is neither updated nor deleted.
pub fn plan(
    desired: &[Manifest],
    observed: &Observed,
    inventory: &BTreeMap<ObjectKey, InventoryEntry>,
) -> Plan {
    let mut plan = Plan::default();
    for manifest in desired {
        let key = &manifest.key;
        match find(observed, inventory.get(key), key) {
            Found::Missing => plan.create.push(manifest.clone()),
            Found::Unread => plan.unknown.push(key.clone()),
            Found::Foreign => plan.foreign.push(key.clone()),
            Found::Ours(live) => {
                let differences = why_update(manifest, live);
                if differences.is_empty() {
                    plan.unchanged.push(key.clone());
                } else {
                    let fence =
                        Fence { uid: live.uid.clone(), resource_version: live.resource_version.clone() };
                    plan.update.push(Update { manifest: manifest.clone(), fence, differences });
                }
            }
        }
    }
    add_prunes(&mut plan, desired, observed, inventory);
    plan
}

fn add_prunes(
    plan: &mut Plan,
    desired: &[Manifest],
    observed: &Observed,
    inventory: &BTreeMap<ObjectKey, InventoryEntry>,
) {
    let wanted: BTreeSet<&ObjectKey> = desired.iter().map(|manifest| &manifest.key).collect();
    let mut prunes = Vec::new();
    for (key, entry) in inventory.iter().filter(|(key, _)| !wanted.contains(key)) {
        // An intended object has no UID yet: a pass records it first, a later plan deletes it.
        let Ownership::Owned { uid } = &entry.ownership else { continue };
        match find(observed, Some(entry), key) {
            Found::Ours(_) => prunes.push((entry.role, Prune { key: key.clone(), uid: uid.clone() })),
            Found::Unread => plan.unknown.push(key.clone()),
            // Gone, or another object took the name: the deletion has nothing to do.
            Found::Missing | Found::Foreign => {}
        }
    }
    // Roles are ordered as they are applied; what was applied first is needed longest.
    prunes.sort_by(|(a, _), (b, _)| b.cmp(a));
    plan.prune = prunes.into_iter().map(|(_, prune)| prune).collect();
}

fn why_update(manifest: &Manifest, live: &Live) -> Vec<Difference> {
    let differences = differs(&manifest.body, &live.object);
    if !differences.is_empty() {
        return differences;
    }
    // A field that left our body still stands there and is in no comparison of what we want: only the hash of what was applied tells.
    let applied = live.object.get("metadata").and_then(|m| m.get("annotations"));
    match applied.and_then(|annotations| annotations.get(ANNOTATION_HASH)).and_then(|hash| hash.as_str()) {
        Some(hash) if hash != manifest.hash.0 => vec![Difference {
            path: format!("metadata.annotations[{ANNOTATION_HASH}]"),
            wanted: manifest.hash.0.clone(),
            found: Some(hash.chars().take(64).collect()),
        }],
        _ => Vec::new(),
    }
}

/// Tells why deletions need a person's word: more than [`PRUNE_LIMIT`], more than [`PRUNE_SHARE`] per cent of a release of ten or
/// more, or a kind of [`PRUNE_NEVER`]. `total` is the number of the release's objects. Hashed config, the candidate and what a
/// rollout itself created do not belong in `prunes`.
pub fn guard(prunes: &[Prune], total: usize) -> Option<String> {
    if let Some(prune) = prunes.iter().find(|prune| PRUNE_NEVER.contains(&prune.key.kind.as_str())) {
        return Some(format!(
            "{} {} would be deleted: a {} is never deleted without a person's word",
            prune.key.kind, prune.key.name, prune.key.kind
        ));
    }
    let count = prunes.len();
    if count > PRUNE_LIMIT {
        return Some(format!("{count} objects would be deleted at once; the limit is {PRUNE_LIMIT}"));
    }
    if total >= PRUNE_LIMIT && count * 100 > total * PRUNE_SHARE {
        return Some(format!("{count} of {total} objects would be deleted; the limit is {PRUNE_SHARE} %"));
    }
    None
}

#[cfg(test)]
mod tests;
