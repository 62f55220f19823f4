//! The objects, their history and their names: one value behind a lock that is held briefly.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};

use rand::{Rng, SeedableRng, rngs::StdRng};
use serde_json::Value;
use tokio::sync::watch;

use super::{super::json, kinds::KindSpec};

/// Where objects of a kind are kept.
pub(crate) type Place = (String, String);

/// The objects of one place by namespace and name.
type Objects = BTreeMap<(String, String), Arc<Value>>;

/// One change of one object.
#[derive(Debug, Clone)]
pub(crate) struct Change {
    pub(crate) version: u64,
    pub(crate) place: Arc<Place>,
    /// The object before; none if it was created.
    pub(crate) old: Option<Arc<Value>>,
    /// The object after, for a deletion its last state.
    pub(crate) new: Arc<Value>,
    pub(crate) deleted: bool,
}

/// Everything that is stored.
pub(crate) struct Store {
    version: u64,
    kinds: Vec<Arc<KindSpec>>,
    /// In an order, since whoever walks over all of them acts in it.
    objects: BTreeMap<Arc<Place>, Objects>,
    history: VecDeque<Change>,
    /// How many changes are kept for watches that start in the past.
    pub(crate) history_limit: usize,
    /// Changes up to this version are no longer known.
    forgotten: u64,
    random: StdRng,
    next_cluster_ip: u32,
    signal: watch::Sender<u64>,
}

impl Store {
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            version: 1,
            kinds: Vec::new(),
            objects: BTreeMap::new(),
            history: VecDeque::new(),
            history_limit: 100_000,
            forgotten: 0,
            random: StdRng::seed_from_u64(seed),
            next_cluster_ip: 1,
            signal: watch::Sender::new(1),
        }
    }

    /// The version of the last change.
    pub(crate) fn version(&self) -> u64 {
        self.version
    }

    /// Told of every change.
    pub(crate) fn subscribe(&self) -> watch::Receiver<u64> {
        self.signal.subscribe()
    }

    pub(crate) fn kinds(&self) -> &[Arc<KindSpec>] {
        &self.kinds
    }

    /// Serves `kind`, in place of one with the same group, version and plural.
    pub(crate) fn register(&mut self, kind: impl Into<Arc<KindSpec>>) {
        let kind = kind.into();
        self.unregister(&kind.group, &kind.plural);
        self.kinds.push(kind);
    }

    pub(crate) fn unregister(&mut self, group: &str, plural: &str) {
        self.kinds.retain(|kind| kind.group != group || kind.plural != plural);
    }

    pub(crate) fn kind(&self, group: &str, version: &str, plural: &str) -> Option<Arc<KindSpec>> {
        self.kinds
            .iter()
            .find(|kind| kind.group == group && kind.version == version && kind.plural == plural)
            .cloned()
    }

    pub(crate) fn get(&self, kind: &KindSpec, namespace: &str, name: &str) -> Option<Arc<Value>> {
        self.objects.get(&place(kind))?.get(&(namespace.to_owned(), name.to_owned())).cloned()
    }

    /// All objects of the kind, in the order of namespace and name; of one namespace if one is given.
    pub(crate) fn list<'a>(
        &'a self,
        kind: &KindSpec,
        namespace: &'a str,
    ) -> impl Iterator<Item = &'a Arc<Value>> + use<'a> {
        self.objects
            .get(&place(kind))
            .into_iter()
            .flatten()
            .filter(move |((ns, _), _)| namespace.is_empty() || ns == namespace)
            .map(|(_, object)| object)
    }

    /// Every object of every kind.
    pub(crate) fn everything(&self) -> impl Iterator<Item = (&Place, &Arc<Value>)> {
        self.objects
            .iter()
            .flat_map(|(place, objects)| objects.values().map(move |object| (&**place, object)))
    }

    /// Stores `object` with a new `resourceVersion`, and returns what was stored.
    pub(crate) fn put(&mut self, kind: &KindSpec, mut object: Value) -> Arc<Value> {
        let version = self.next_version();
        json::set(&mut object, &["metadata", "resourceVersion"], version.to_string());
        let key = key_of(&object);
        let object = Arc::new(object);
        let place = Arc::new(place(kind));
        let old = self.objects.entry(place.clone()).or_default().insert(key, object.clone());
        self.record(Change { version, place, old, new: object.clone(), deleted: false });
        object
    }

    /// Removes an object.
    pub(crate) fn take(&mut self, kind: &KindSpec, namespace: &str, name: &str) {
        if let Some(object) = self.get(kind, namespace, name) {
            self.take_as(kind, (*object).clone());
        }
    }

    /// Removes an object whose last state is `last`; watches see it with the version of its deletion.
    pub(crate) fn take_as(&mut self, kind: &KindSpec, mut last: Value) {
        let place = Arc::new(place(kind));
        let key = key_of(&last);
        let Some(old) = self.objects.get_mut(&place).and_then(|objects| objects.remove(&key)) else {
            return;
        };
        let version = self.next_version();
        json::set(&mut last, &["metadata", "resourceVersion"], version.to_string());
        self.record(Change { version, place, old: Some(old), new: Arc::new(last), deleted: true });
    }

    fn next_version(&mut self) -> u64 {
        self.version += 1;
        self.version
    }

    fn record(&mut self, change: Change) {
        let version = change.version;
        self.history.push_back(change);
        self.trim();
        self.signal.send_replace(version);
    }

    /// Forgets what exceeds the limit.
    pub(crate) fn trim(&mut self) {
        while self.history.len() > self.history_limit {
            if let Some(gone) = self.history.pop_front() {
                self.forgotten = gone.version;
            }
        }
    }

    /// The changes after `version`; none if some of them are forgotten.
    pub(crate) fn since(&self, version: u64) -> Option<impl Iterator<Item = &Change>> {
        if version < self.forgotten {
            return None;
        }
        let start = self.history.partition_point(|change| change.version <= version);
        Some(self.history.range(start..))
    }

    /// The oldest version that a watch may start from.
    pub(crate) fn oldest(&self) -> u64 {
        self.forgotten
    }

    /// A version 4 UUID from the seed.
    pub(crate) fn uid(&mut self) -> String {
        let raw: u128 = self.random.random();
        let fixed = (raw & !(0xf << 76) & !(0x3 << 62)) | (0x4 << 76) | (0x2 << 62);
        let hex = format!("{fixed:032x}");
        let part = |from: usize, to: usize| hex.get(from..to).unwrap_or_default();
        format!("{}-{}-{}-{}-{}", part(0, 8), part(8, 12), part(12, 16), part(16, 20), part(20, 32))
    }

    /// Five characters for a generated name, of the alphabet that Kubernetes uses so that no words come out.
    pub(crate) fn suffix(&mut self) -> String {
        const ALPHABET: &[u8; 27] = b"bcdfghjklmnpqrstvwxz2456789";
        (0..5)
            .filter_map(|_| {
                let at = self.random.random_range(0..ALPHABET.len());
                ALPHABET.get(at).map(|byte| char::from(*byte))
            })
            .collect()
    }

    /// The next address of the service network.
    pub(crate) fn cluster_ip(&mut self) -> String {
        self.next_cluster_ip += 1;
        let [_, b, c, d] = self.next_cluster_ip.to_be_bytes();
        format!("10.{}.{c}.{d}", b.saturating_add(96))
    }
}

fn place(kind: &KindSpec) -> Place {
    let (group, plural) = kind.storage();
    (group.to_owned(), plural.to_owned())
}

/// Whether a change is of `kind`.
pub(crate) fn is_at(change: &Change, kind: &KindSpec) -> bool {
    let (group, plural) = kind.storage();
    change.place.0 == group && change.place.1 == plural
}

fn key_of(object: &Value) -> (String, String) {
    (
        json::text(object, &["metadata", "namespace"]).to_owned(),
        json::text(object, &["metadata", "name"]).to_owned(),
    )
}
