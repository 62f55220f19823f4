//! What is known of one release.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use tokio::time::Instant;

use super::opened::Opened;
use super::revision::Sealed;
use super::routes::is_weighted;
use super::table::{State, Table};
use crate::model::object::ObjectKey;
use crate::model::observed::{Known, Live, Observed, PodView, ReplicaSetView, RevisionBody, Routes};
use crate::model::{LABEL_ENVIRONMENT, LABEL_MANAGED_BY, LABEL_SERVICE, MANAGER};

/// How long a read answers for an object that no watch of ours shows: somebody else's under a name that we want.
const OUTSIDE: Duration = Duration::from_secs(30);

/// A `Release`'s metadata.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReleaseSeen {
    /// Where it is.
    pub namespace: String,
    /// Its UID.
    pub uid: String,
    /// Its version.
    pub resource_version: String,
    /// Counts changes of `spec`.
    pub generation: u64,
    /// Whether deletion has begun.
    pub deleting: bool,
}

/// A live object, as text.
#[derive(Debug, Clone)]
pub(super) struct ObjectRow {
    uid: String,
    resource_version: String,
    managed: bool,
    scaled: bool,
    text: Box<str>,
    /// When it was read, if no watch of ours shows it.
    outside: Option<Instant>,
}

impl PartialEq for ObjectRow {
    fn eq(&self, other: &Self) -> bool {
        let Self { uid, resource_version, managed, scaled, text, outside: _ } = self;
        (uid, resource_version, managed, scaled, text)
            == (&other.uid, &other.resource_version, &other.managed, &other.scaled, &other.text)
    }
}

impl ObjectRow {
    pub fn new(live: &Live, outside: bool, now: Instant) -> Self {
        Self {
            uid: live.uid.clone(),
            resource_version: live.resource_version.clone(),
            managed: live.managed,
            scaled: live.scaled,
            // An object has no key that JSON could not say.
            text: serde_json::to_string(&live.object).unwrap_or_default().into_boxed_str(),
            outside: outside.then_some(now),
        }
    }

    /// Returns the object, parsed unless this version of it was lately.
    pub fn live(&self, parsed: &Opened<Arc<Value>>) -> Option<Live> {
        let parse = || serde_json::from_str(&self.text).map(Arc::new);
        Some(Live {
            uid: self.uid.clone(),
            resource_version: self.resource_version.clone(),
            managed: self.managed,
            scaled: self.scaled,
            object: parsed.get(&self.uid, &self.resource_version, parse).ok()?,
        })
    }

    fn is_fresh(&self, now: Instant) -> bool {
        self.outside.is_none_or(|read| now.duration_since(read) < OUTSIDE)
    }
}

/// Returns whether the selector of our watches ([`super::watched::Watched::selector`]) shows this object.
pub(super) fn is_selected(live: &Live) -> bool {
    let label = |name: &str| live.object.get("metadata")?.get("labels")?.get(name)?.as_str();
    label(LABEL_MANAGED_BY) == Some(MANAGER)
        && label(LABEL_SERVICE).is_some()
        && label(LABEL_ENVIRONMENT).is_some()
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Shard {
    /// Where the last pass looked: whose deletion wakes this release.
    pub namespace: Option<String>,
    pub objects: Table<ObjectKey, ObjectRow>,
    /// By namespace and name, as pods.
    pub replica_sets: Table<(String, String), ReplicaSetView>,
    pub pods: Table<(String, String), PodView>,
    /// By namespace and rollout.
    pub revisions: Table<(String, u64), Sealed>,
    /// By namespace.
    pub releases: Table<String, ReleaseSeen>,
}

impl Shard {
    pub fn is_empty(&self) -> bool {
        let Self { namespace: _, objects, replica_sets, pods, revisions, releases } = self;
        objects.is_empty()
            && replica_sets.is_empty()
            && pods.is_empty()
            && revisions.is_empty()
            && releases.is_empty()
    }

    /// Returns the objects that no watch of ours shows.
    pub fn outside(&self) -> Vec<ObjectKey> {
        let outside = self.objects.present().filter(|(_, row)| row.outside.is_some());
        outside.map(|(key, _)| key.clone()).collect()
    }

    pub fn observed(
        &self,
        namespace: &str,
        known: Known<()>,
        wanted: &[ObjectKey],
        opened: &Opened<RevisionBody>,
        parsed: &Opened<Arc<Value>>,
    ) -> (Observed, Vec<ObjectKey>) {
        let now = Instant::now();
        let mut missing = Vec::new();
        let mut objects: BTreeMap<ObjectKey, Known<Live>> = BTreeMap::new();
        for (key, row) in self.objects.present().filter(|(key, _)| key.namespace == namespace) {
            if let Some(live) = row.live(parsed).filter(|_| row.is_fresh(now)) {
                objects.insert(key.clone(), Known::Present(live));
            }
        }
        for key in wanted.iter().filter(|key| !is_weighted(key)) {
            if objects.contains_key(key) {
                continue;
            }
            let state = match self.objects.get(key) {
                Some(State::Absent) => Known::Absent,
                Some(State::Present(row)) if row.is_fresh(now) => {
                    row.live(parsed).map_or(Known::Unknown, Known::Present)
                }
                _ => Known::Unknown,
            };
            if state == Known::Unknown {
                missing.push(key.clone());
            }
            objects.insert(key.clone(), state);
        }
        let here = |place: &(String, String)| place.0 == namespace;
        let observed = Observed {
            namespace: known,
            objects,
            replica_sets: self
                .replica_sets
                .present()
                .filter(|(at, _)| here(at))
                .map(|(_, set)| set.clone())
                .collect(),
            pods: self.pods.present().filter(|(at, _)| here(at)).map(|(_, pod)| pod.clone()).collect(),
            revisions: self.revisions(namespace, opened),
            routes: Routes::default(),
            refusals: BTreeMap::new(),
        };
        (observed, missing)
    }

    /// A revision that cannot be read is there and unknown, so that nothing overwrites it and nothing follows from it.
    fn revisions(
        &self,
        namespace: &str,
        opened: &Opened<RevisionBody>,
    ) -> BTreeMap<u64, Known<RevisionBody>> {
        let here = self.revisions.present().filter(|((at, _), _)| at == namespace);
        let open = |sealed: &Sealed| {
            let body = opened.get(&sealed.uid, &sealed.resource_version, || sealed.open());
            body.map_or(Known::Unknown, Known::Present)
        };
        here.map(|((_, rollout), sealed)| (*rollout, open(sealed))).collect()
    }
}
