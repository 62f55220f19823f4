//! What was last heard of the cluster, by release: compact, in memory, fed by watches and by the answers to our own writes.
//!
//! Objects are kept as JSON text without `managedFields` and parsed when a pass asks (an object as values takes eight times its
//! text; the few that were asked for lately are kept parsed), pods and ReplicaSets as what gates need of them, revisions compressed.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use serde_json::Value;
use tokio::sync::watch;
use tokio::time::Instant;

use super::opened::Opened;
use super::revision::{RevisionError, Sealed};
use super::routes::{RouteBook, is_autoscaler};
use super::shard::{ObjectRow, ReleaseSeen, Shard};
use super::table::{News, State, Table};
use super::watched::{Health, Watched, Watches};
use crate::model::name::{Namespace, ReleaseKey};
use crate::model::object::ObjectKey;
use crate::model::observed::{Known, Live, Observed, RevisionBody};

/// Called with every release of which something changed that a pass could see. It must not block; it may be called often. The echo of
/// our own write calls it only where the watch was faster than the response, hence while the pass that wrote is still running.
pub type Wake = Arc<dyn Fn(&ReleaseKey) + Send + Sync>;

/// What a watch holds a thing under: kind, namespace and name.
pub(super) type Home = (Watched, String, String);

/// See the module.
pub struct View {
    shards: RwLock<HashMap<ReleaseKey, Arc<Mutex<Shard>>>>,
    /// The release under which a thing was last filed: labels may change, and a deletion need not carry them.
    homes: Mutex<HashMap<Home, ReleaseKey>>,
    /// Other people's routes.
    routes: Mutex<RouteBook>,
    /// Whether each namespace is being deleted.
    namespaces: Mutex<Table<String, bool>>,
    opened: Opened<RevisionBody>,
    parsed: Opened<Arc<Value>>,
    watches: Watches,
    wake: Wake,
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // What a panicking holder left is at worst one row behind, and a watch mends it.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl View {
    /// Returns a view in which nothing is known.
    pub fn new(wake: Wake) -> Self {
        Self {
            shards: RwLock::default(),
            homes: Mutex::default(),
            routes: Mutex::default(),
            namespaces: Mutex::default(),
            opened: Opened::default(),
            parsed: Opened::default(),
            watches: Watches::new(),
            wake,
        }
    }

    /// Returns a signal that is true once every watch has seen its whole initial list.
    pub fn synced(&self) -> watch::Receiver<bool> {
        self.watches.synced()
    }

    /// Returns how each watch fares.
    pub fn health(&self) -> BTreeMap<Watched, Health> {
        self.watches.health()
    }

    /// Returns the releases that a `Release` exists for, each with where.
    pub fn fleet(&self) -> Vec<(ReleaseKey, ReleaseSeen)> {
        let shards = self.shards.read().unwrap_or_else(PoisonError::into_inner);
        let seen = |(key, shard): (&ReleaseKey, &Arc<Mutex<Shard>>)| {
            let seen: Vec<_> = lock(shard).releases.present().map(|(_, seen)| seen.clone()).collect();
            seen.into_iter().map(|seen| (key.clone(), seen)).collect::<Vec<_>>()
        };
        shards.iter().flat_map(seen).collect()
    }

    /// Returns the `Release` objects of one release: more than one is a release that was moved to another namespace.
    pub fn releases(&self, release: &ReleaseKey) -> Vec<ReleaseSeen> {
        self.look(release, |shard| shard.releases.present().map(|(_, seen)| seen.clone()).collect())
            .unwrap_or_default()
    }

    /// Notes the version of a `Release` as it was last read or stored, so that its own event wakes nobody.
    pub fn note_release(&self, release: &ReleaseKey, seen: ReleaseSeen) {
        let round = self.watches.round(Watched::Release);
        self.change(release, |shard| {
            let (uid, version) = (seen.uid.clone(), seen.resource_version.clone());
            let news = News { uid: &uid, version: &version, round, item: seen.clone() };
            shard.releases.told(seen.namespace, news);
        });
    }

    /// Notes an object as the server answered it to a read or a write.
    pub fn note(&self, release: &ReleaseKey, key: &ObjectKey, live: &Live) {
        if is_autoscaler(key) {
            return self.note_route(key, live);
        }
        let watched = Watched::of(key);
        let round = watched.map_or(u64::MAX, |watched| self.watches.round(watched));
        let row = ObjectRow::new(live, watched.is_none() || !super::shard::is_selected(live), Instant::now());
        let news = News { uid: &live.uid, version: &live.resource_version, round, item: row };
        self.change(release, |shard| shard.objects.told(key.clone(), news));
    }

    /// Notes that a read found nothing.
    pub fn note_absent(&self, release: &ReleaseKey, key: &ObjectKey) {
        let round = self.round(key);
        self.change(release, |shard| shard.objects.told_absent(key.clone(), round));
    }

    /// Notes that our own delete by UID was carried out.
    pub fn note_gone(&self, release: &ReleaseKey, key: &ObjectKey, uid: &str) {
        if is_autoscaler(key) {
            let round = self.route_round(key);
            return lock(&self.routes).gone(key, uid, round);
        }
        let round = self.round(key);
        self.change(release, |shard| shard.objects.gone(key.clone(), uid, round));
    }

    /// Notes that a write was refused or unanswered: the next look asks the server.
    pub fn forget(&self, release: &ReleaseKey, key: &ObjectKey) {
        if is_autoscaler(key) {
            return self.forget_route(key);
        }
        self.change(release, |shard| shard.objects.doubt(key.clone()));
    }

    /// Forgets what was read of objects that no watch of ours shows: somebody may just have made room, and says so.
    pub fn forget_outside(&self, release: &ReleaseKey) {
        self.change(release, |shard| {
            for key in shard.outside() {
                shard.objects.doubt(key);
            }
        });
    }

    /// Notes a route as the server answered it to a read or a write.
    pub fn note_route(&self, key: &ObjectKey, live: &Live) {
        let round = self.route_round(key);
        lock(&self.routes).told(key, live, ObjectRow::new(live, false, Instant::now()), round);
    }

    /// Notes that a read found no such route.
    pub fn note_no_route(&self, key: &ObjectKey) {
        let round = self.route_round(key);
        lock(&self.routes).told_absent(key, round);
    }

    /// Notes that a write of a route was refused or unanswered: the next look asks the server.
    pub fn forget_route(&self, key: &ObjectKey) {
        lock(&self.routes).doubt(key);
    }

    /// Returns whether a route is one that only a read can tell about.
    pub fn is_doubted_route(&self, key: &ObjectKey) -> bool {
        lock(&self.routes).is_doubted(key)
    }

    fn route_round(&self, key: &ObjectKey) -> u64 {
        Watched::of_route(&key.kind).map_or(u64::MAX, |watched| self.watches.round(watched))
    }

    fn round(&self, key: &ObjectKey) -> u64 {
        Watched::of(key).map_or(u64::MAX, |watched| self.watches.round(watched))
    }

    /// Returns a revision Secret as it was last seen.
    pub fn revision(&self, release: &ReleaseKey, namespace: &Namespace, rollout: u64) -> Option<Sealed> {
        let key = (namespace.to_string(), rollout);
        self.look(release, |shard| match shard.revisions.get(&key) {
            Some(State::Present(sealed)) => Some(sealed.clone()),
            _ => None,
        })
        .flatten()
    }

    /// Notes a revision Secret as the server answered it.
    pub fn note_revision(&self, release: &ReleaseKey, sealed: Sealed) {
        let round = self.watches.round(Watched::Revision);
        let (uid, version) = (sealed.uid.clone(), sealed.resource_version.clone());
        let key = (sealed.namespace.clone(), sealed.rollout);
        let news = News { uid: &uid, version: &version, round, item: sealed };
        self.change(release, |shard| shard.revisions.told(key, news));
    }

    /// Notes that a revision Secret is gone.
    pub fn drop_revision(&self, release: &ReleaseKey, namespace: &Namespace, rollout: u64) {
        let round = self.watches.round(Watched::Revision);
        let key = (namespace.to_string(), rollout);
        self.change(release, |shard| {
            let uid = match shard.revisions.get(&key) {
                Some(State::Present(sealed)) => sealed.uid.clone(),
                _ => String::new(),
            };
            shard.revisions.gone(key, &uid, round);
        });
    }

    /// Notes a namespace that we created or read.
    pub fn note_namespace(&self, name: &str, uid: &str, version: &str, terminating: bool) {
        let round = self.watches.round(Watched::Namespace);
        let news = News { uid, version, round, item: terminating };
        lock(&self.namespaces).told(name.to_owned(), news);
    }

    /// Returns what is known of a release, and the wanted objects that only a read can tell about. Pods and ReplicaSets of other
    /// namespaces are left out: anybody can put a label on a pod of their own.
    pub fn observed(
        &self,
        release: &ReleaseKey,
        namespace: &Namespace,
        wanted: &[ObjectKey],
    ) -> (Observed, Vec<ObjectKey>) {
        let known = self.namespace(namespace.as_str());
        let shard = self.shard(release);
        let mut shard = lock(&shard);
        shard.namespace = Some(namespace.to_string());
        let (mut observed, mut missing) =
            shard.observed(namespace.as_str(), known, wanted, &self.opened, &self.parsed);
        let (routes, unread) =
            self.routes().observed(namespace.as_str(), release.service.as_str(), wanted, &self.parsed);
        // Those of ours are in the inventory as well.
        let own = routes.objects.iter().filter(|(key, _)| is_autoscaler(key) && wanted.contains(key));
        observed.objects.extend(own.map(|(key, known)| (key.clone(), known.clone())));
        observed.routes = routes;
        missing.extend(unread);
        (observed, missing)
    }

    /// Says what a pass wanted to know of in all: that anything else is certainly not there is forgotten.
    pub fn keep(&self, release: &ReleaseKey, wanted: &[ObjectKey]) {
        self.change(release, |shard| shard.objects.tidy(|key| wanted.contains(key)));
    }

    pub(super) fn routes(&self) -> MutexGuard<'_, RouteBook> {
        lock(&self.routes)
    }

    fn namespace(&self, name: &str) -> Known<()> {
        match lock(&self.namespaces).get(name) {
            Some(State::Present(false)) => Known::Present(()),
            Some(State::Present(true) | State::Absent) => Known::Absent,
            None if self.watches.is_synced(Watched::Namespace) => Known::Absent,
            Some(State::Doubt) | None => Known::Unknown,
        }
    }

    pub(super) fn watches(&self) -> &Watches {
        &self.watches
    }

    pub(super) fn wake(&self, release: &ReleaseKey) {
        (self.wake)(release);
    }

    pub(super) fn namespaces(&self) -> MutexGuard<'_, Table<String, bool>> {
        lock(&self.namespaces)
    }

    pub(super) fn homes(&self) -> MutexGuard<'_, HashMap<Home, ReleaseKey>> {
        lock(&self.homes)
    }

    /// Calls `each` with every shard.
    pub(super) fn each(&self, mut each: impl FnMut(&ReleaseKey, &mut Shard)) {
        let all: Vec<_> = {
            let shards = self.shards.read().unwrap_or_else(PoisonError::into_inner);
            shards.iter().map(|(key, shard)| (key.clone(), Arc::clone(shard))).collect()
        };
        for (key, shard) in all {
            each(&key, &mut lock(&shard));
        }
    }

    fn shard(&self, release: &ReleaseKey) -> Arc<Mutex<Shard>> {
        if let Some(shard) = self.shards.read().unwrap_or_else(PoisonError::into_inner).get(release) {
            return Arc::clone(shard);
        }
        let mut shards = self.shards.write().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(shards.entry(release.clone()).or_default())
    }

    fn look<T>(&self, release: &ReleaseKey, look: impl FnOnce(&Shard) -> T) -> Option<T> {
        let shards = self.shards.read().unwrap_or_else(PoisonError::into_inner);
        let shard = Arc::clone(shards.get(release)?);
        drop(shards);
        let shard = lock(&shard);
        Some(look(&shard))
    }

    pub(super) fn change<T>(&self, release: &ReleaseKey, change: impl FnOnce(&mut Shard) -> T) -> T {
        change(&mut lock(&self.shard(release)))
    }

    /// Drops the shard of a release of which nothing is left, so that short-lived labels do not pile up.
    pub(super) fn tidy(&self, release: &ReleaseKey) {
        let mut shards = self.shards.write().unwrap_or_else(PoisonError::into_inner);
        let unused = |shard: &Arc<Mutex<Shard>>| Arc::strong_count(shard) == 1 && lock(shard).is_empty();
        if shards.get(release).is_some_and(unused) {
            shards.remove(release);
        }
    }
}

/// Why nothing may be decided on the view.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ViewError {
    /// A watch has not yet seen its initial list: what it does not show need not be absent.
    #[error("the cluster is not known yet: {}", waiting(.0))]
    NotSynced(Vec<Watched>),
    /// A kept revision cannot be read.
    #[error("a kept revision cannot be read")]
    Revision(#[source] RevisionError),
}

fn waiting(kinds: &[Watched]) -> String {
    kinds.iter().map(|watched| watched.name()).collect::<Vec<_>>().join(", ")
}
