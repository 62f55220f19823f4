//! What was last heard of other people's routes, and of autoscalers, by namespace: they carry no label of ours, so they are filed by the names that they
//! mention, and a release sees those that mention its Service.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde_json::Value;

use super::opened::Opened;
use super::shard::ObjectRow;
use super::table::{News, State, Table};
use super::watched::Watched;
use crate::model::autoscale::{AUTOSCALER, AUTOSCALING};
use crate::model::object::ObjectKey;
use crate::model::observed::{Known, Live, Routes};

/// Names that are read out of one route at most.
const NAMES: usize = 1_000;
/// The suffixes by which a route names one track of a Service.
const TRACKS: [&str; 2] = ["-stable", "-canary"];

/// A route and the names that it mentions.
#[derive(Debug, Clone, PartialEq)]
struct Row {
    object: ObjectRow,
    names: BTreeSet<String>,
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct RouteBook {
    /// By namespace.
    tables: BTreeMap<String, Table<ObjectKey, Row>>,
    /// The version that each kind is read by, where the server has it.
    served: BTreeMap<Watched, &'static str>,
}

/// Tells whether a kind is filed here alone: routes are somebody else's, while a rule for destinations may be ours.
pub(super) fn is_weighted(key: &ObjectKey) -> bool {
    is_autoscaler(key)
        || super::watched::ROUTES
            .iter()
            .any(|(version, kind)| key.kind == *kind && key.api_version == *version)
}

/// Tells whether an object is an autoscaler: ours are filed with everybody's, by what they target.
pub(super) fn is_autoscaler(key: &ObjectKey) -> bool {
    key.kind == AUTOSCALER && key.api_version == AUTOSCALING
}

impl RouteBook {
    /// Notes by which version a kind is read; none: the server does not have it, and what was known of it is gone. Returns the
    /// namespaces in which something was.
    pub fn serve(&mut self, watched: Watched, version: Option<&'static str>) -> Vec<String> {
        if let Some(version) = version {
            self.served.insert(watched, version);
            return Vec::new();
        }
        self.served.remove(&watched);
        let of_kind = |key: &&ObjectKey| key.kind == watched.name();
        let forget = |(namespace, table): (&String, &mut Table<ObjectKey, Row>)| {
            let keys: Vec<ObjectKey> = table.keys().filter(of_kind).cloned().collect();
            let gone = keys.iter().filter(|key| table.remove(*key)).count();
            (gone > 0).then(|| namespace.clone())
        };
        self.tables.iter_mut().filter_map(forget).collect()
    }

    /// Takes a watch event. Returns the Services that would see a difference.
    pub fn heard(&mut self, key: ObjectKey, live: &Live, row: ObjectRow, round: u64) -> BTreeSet<String> {
        let names = names_of(live.object.as_ref());
        let table = self.tables.entry(key.namespace.clone()).or_default();
        let mut touched = match table.get(&key) {
            Some(State::Present(known)) => known.names.clone(),
            _ => BTreeSet::new(),
        };
        touched.extend(names.iter().cloned());
        let item = Row { object: row, names };
        let news = News { uid: &live.uid, version: &live.resource_version, round, item };
        if table.heard(key, news) { touched } else { BTreeSet::new() }
    }

    /// Takes the answer of a read or of a write of ours.
    pub fn told(&mut self, key: &ObjectKey, live: &Live, row: ObjectRow, round: u64) {
        let item = Row { object: row, names: names_of(live.object.as_ref()) };
        let news = News { uid: &live.uid, version: &live.resource_version, round, item };
        self.tables.entry(key.namespace.clone()).or_default().told(key.clone(), news);
    }

    /// Takes the answer that our own delete by UID has removed it.
    pub fn gone(&mut self, key: &ObjectKey, uid: &str, round: u64) {
        self.tables.entry(key.namespace.clone()).or_default().gone(key.clone(), uid, round);
    }

    /// Takes a read's answer that there is nothing.
    pub fn told_absent(&mut self, key: &ObjectKey, round: u64) {
        self.tables.entry(key.namespace.clone()).or_default().told_absent(key.clone(), round);
    }

    /// Marks that what is known of a route is in doubt.
    pub fn doubt(&mut self, key: &ObjectKey) {
        self.tables.entry(key.namespace.clone()).or_default().doubt(key.clone());
    }

    /// Returns whether only a read can tell about a route.
    pub fn is_doubted(&self, key: &ObjectKey) -> bool {
        let table = self.tables.get(&key.namespace);
        table.is_some_and(|table| matches!(table.get(key), Some(State::Doubt)))
    }

    /// Takes a deletion. Returns the Services that would see a difference.
    pub fn removed(&mut self, key: &ObjectKey, uid: &str) -> BTreeSet<String> {
        let Some(table) = self.tables.get_mut(&key.namespace) else { return BTreeSet::new() };
        let names = match table.get(key) {
            Some(State::Present(row)) => row.names.clone(),
            _ => BTreeSet::new(),
        };
        let removed = table.removed(key, uid);
        if table.is_empty() {
            self.tables.remove(&key.namespace);
        }
        if removed { names } else { BTreeSet::new() }
    }

    /// Ends an initial list of a kind. Returns the namespaces in which something was gone.
    pub fn sweep(&mut self, watched: Watched, round: u64) -> Vec<String> {
        let kind = watched.name();
        let swept = self.tables.iter_mut().filter_map(|(namespace, table)| {
            table.sweep(round, |key| key.kind == kind).then(|| namespace.clone())
        });
        swept.collect()
    }

    /// Returns what a release sees: the routes that mention its Service, and the wanted ones; and which of these only a read can tell.
    pub fn observed(
        &self,
        namespace: &str,
        service: &str,
        wanted: &[ObjectKey],
        parsed: &Opened<Arc<Value>>,
    ) -> (Routes, Vec<ObjectKey>) {
        let served: BTreeSet<(String, String)> = self
            .served
            .iter()
            .map(|(watched, version)| ((*version).to_owned(), watched.name().to_owned()))
            .collect();
        let (mut objects, mut missing) = (BTreeMap::new(), Vec::new());
        let table = self.tables.get(namespace);
        for (key, row) in table.into_iter().flat_map(Table::present) {
            if (row.names.contains(service) || wanted.contains(key))
                && let Some(live) = row.object.live(parsed)
            {
                objects.insert(key.clone(), Known::Present(live));
            }
        }
        for key in table.into_iter().flat_map(Table::doubted) {
            missing.push(key.clone());
            objects.insert(key.clone(), Known::Unknown);
        }
        for key in wanted.iter().filter(|key| is_weighted(key) && key.namespace == namespace) {
            // A kind that the server does not have has no objects; one that may not be read is not served either.
            objects.entry(key.clone()).or_insert(Known::Absent);
        }
        (Routes { served, objects }, missing)
    }
}

/// The first labels of all names and hosts in a route's `spec`, and what they are without the suffix of a track.
fn names_of(object: &Value) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    if let Some(spec) = object.get("spec") {
        collect(spec, &mut names, 0);
    }
    names
}

fn collect(value: &Value, names: &mut BTreeSet<String>, depth: usize) {
    if depth > 32 || names.len() >= NAMES {
        return;
    }
    match value {
        Value::Object(fields) => {
            for (field, value) in fields {
                match value {
                    Value::String(text) if field == "name" || field == "host" => {
                        let first = text.split('.').next().unwrap_or_default();
                        names.extend(
                            TRACKS.iter().filter_map(|track| first.strip_suffix(track)).map(str::to_owned),
                        );
                        names.insert(first.to_owned());
                    }
                    other => collect(other, names, depth + 1),
                }
            }
        }
        Value::Array(items) => items.iter().for_each(|item| collect(item, names, depth + 1)),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::json;
    use tokio::time::Instant;

    use super::*;

    fn live(version: &str, backend: &str) -> Live {
        let object = json!({"kind": "HTTPRoute", "spec": {"rules": [{"backendRefs": [{"name": backend}]}]}});
        Live {
            uid: "u".into(),
            resource_version: version.into(),
            managed: false,
            scaled: false,
            object: Arc::new(object),
        }
    }

    fn key(name: &str) -> ObjectKey {
        format!("gateway.networking.k8s.io/v1:HTTPRoute:shop:{name}").parse().unwrap()
    }

    fn hear(book: &mut RouteBook, version: &str, backend: &str) -> BTreeSet<String> {
        let live = live(version, backend);
        book.heard(key("edge"), &live, ObjectRow::new(&live, false, Instant::now()), 1)
    }

    #[tokio::test]
    async fn a_release_sees_the_routes_that_mention_its_service_and_those_it_asks_for() {
        let mut book = RouteBook::default();
        book.serve(Watched::HttpRoute, Some("gateway.networking.k8s.io/v1"));
        assert!(hear(&mut book, "5", "web-canary").contains("web"));
        let (routes, missing) = book.observed("shop", "web", &[key("none")], &Opened::default());
        assert!(missing.is_empty() && routes.serves("gateway.networking.k8s.io", "HTTPRoute"));
        assert!(routes.object(&key("edge")).present().is_some());
        assert_eq!(routes.object(&key("none")), &Known::Absent);
        assert!(book.observed("shop", "api", &[], &Opened::default()).0.objects.is_empty());
        assert!(book.observed("other", "web", &[], &Opened::default()).0.objects.is_empty());
        assert!(
            book.observed("shop", "api", &[key("edge")], &Opened::default())
                .0
                .object(&key("edge"))
                .present()
                .is_some()
        );
    }

    #[tokio::test]
    async fn those_that_it_names_no_more_hear_of_it_too() {
        let mut book = RouteBook::default();
        hear(&mut book, "5", "web");
        let touched = hear(&mut book, "6", "api");
        assert!(touched.contains("web") && touched.contains("api"));
        assert!(hear(&mut book, "6", "api").is_empty(), "an echo is no news");
        assert!(book.removed(&key("edge"), "u").contains("api"));
    }

    #[tokio::test]
    async fn what_was_refused_is_read_again() {
        let mut book = RouteBook::default();
        hear(&mut book, "5", "web");
        book.doubt(&key("edge"));
        let (routes, missing) = book.observed("shop", "web", &[key("edge")], &Opened::default());
        assert_eq!((routes.object(&key("edge")), missing), (&Known::Unknown, vec![key("edge")]));
    }
}
