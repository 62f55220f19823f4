//! The record store.

use std::fmt::Write as _;

use serde_json::{Value, json};

use super::World;
use crate::cluster::calls::Place;
use crate::cluster::record::{self, Contents, INVENTORY_PLAIN, RecordError};
use crate::cluster::{crd, raw::Raw};
use crate::model::object::{ContentHash, ObjectKey, Role};
use crate::model::record::{InventoryEntry, OutboxEntry, Ownership, Record, RenderedEvent};
use crate::sandbox::api::{Fault, Verb};

pub(super) fn sample() -> Record {
    serde_json::from_value(json!({"schema": 1, "epoch": 3, "environment": "prod", "team": "tea", "source": "git",
        "mode": "apply", "sequence": 0, "replicas": 2, "phase": "Stable", "health": "Healthy", "sync": "Synced",
        "weight": 0, "revision": "abc"}))
    .unwrap()
}

fn entry(number: u64) -> OutboxEntry {
    let event = RenderedEvent {
        id: format!("e{number}"),
        kind: "k".into(),
        source: "s".into(),
        subject: "web".into(),
        time: "2026-01-01T00:00:00Z".into(),
        data: "{}".into(),
    };
    OutboxEntry { at: "2026-01-01T00:00:00Z".parse().unwrap(), events: vec![event] }
}

fn fill_inventory(record: &mut Record, count: usize, random: bool) {
    for number in 0..count {
        let text = if random { noise(number) } else { "0".repeat(16) };
        let key: ObjectKey = format!("v1:ConfigMap:shop:web-files-{number}-{text}").parse().unwrap();
        let ownership = Ownership::Owned { uid: text.clone() };
        record
            .inventory
            .insert(key, InventoryEntry { role: Role::Config, hash: ContentHash(text), ownership });
    }
}

/// Text that does not compress: a linear congruence in hexadecimal.
fn noise(seed: usize) -> String {
    let mut state = seed as u64 ^ 0x9e37_79b9_7f4a_7c15;
    let mut text = String::new();
    for _ in 0..8 {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let _ = write!(text, "{:08x}", state >> 32);
    }
    text
}

async fn raw(world: &World) -> Raw {
    let resource = crd::resource();
    let place = Place { resource: &resource, namespace: "shop", name: "web" };
    world.calls().get(&place).await.unwrap().unwrap()
}

async fn patch_status(world: &World, status: Value) {
    let resource = crd::resource();
    let place = Place { resource: &resource, namespace: "shop", name: "web" };
    world.calls().merge_status(&place, &json!({"status": status})).await.unwrap();
}

#[tokio::test]
async fn a_record_begins_as_an_object_with_an_empty_status() {
    let world = World::new().await;
    assert_eq!(world.cluster.read_record(&world.release, &world.namespace).await.unwrap(), None);
    let empty = world.cluster.create_record(world.owner()).await.unwrap();
    assert_eq!((&empty.contents, empty.record()), (&Contents::Empty, None));
    let again = world.cluster.create_record(world.owner()).await.unwrap();
    assert_eq!(again.uid, empty.uid);

    let stored = world.cluster.store_record(&world.release, &again, &sample()).await.unwrap();
    assert_eq!(stored.record(), Some(&sample()));
    let read = world.cluster.read_record(&world.release, &world.namespace).await.unwrap().unwrap();
    assert_eq!(read, stored);
    let raw = raw(&world).await;
    assert_eq!((raw.label("idp.dev/service"), raw.label("idp.dev/team")), (Some("web"), Some("tea")));
    assert_eq!(raw.value()["metadata"]["annotations"]["velero.io/restore-status"], "true");
    assert_eq!(record::highest_epoch(world.calls()).await.unwrap(), 3);
}

#[tokio::test]
async fn what_a_person_made_keeps_its_spec_and_gets_our_labels() {
    let world = World::new().await;
    let resource = crd::resource();
    let place = Place { resource: &resource, namespace: "shop", name: "web" };
    let body = json!({"apiVersion": "idp.dev/v1alpha1", "kind": "Release", "metadata": {"name": "web", "labels": {"mine": "x"}},
        "spec": {"suspend": true, "commands": {
            "1": {"verb": "abort", "who": "ann", "why": "", "at": "2026-01-01T00:00:00Z"}}}});
    world.calls().create(&place, body).await.unwrap();
    let stored = world.cluster.create_record(world.owner()).await.unwrap();
    assert!(stored.spec.suspend);
    assert_eq!(stored.spec.commands["1"].who, "ann");
    let raw = raw(&world).await;
    assert_eq!((raw.label("mine"), raw.label("idp.dev/environment")), (Some("x"), Some("prod")));
}

#[tokio::test]
async fn the_second_writer_over_one_read_gets_a_conflict() {
    let world = World::new().await;
    let empty = world.cluster.create_record(world.owner()).await.unwrap();
    let first = world.cluster.store_record(&world.release, &empty, &sample()).await.unwrap();
    let stale = first.clone();
    let mut record = sample();
    record.replicas = 5;
    world.cluster.store_record(&world.release, &first, &record).await.unwrap();
    record.replicas = 7;
    let error = world.cluster.store_record(&world.release, &stale, &record).await.unwrap_err();
    assert_eq!(error, RecordError::Conflict);
    assert_eq!(raw(&world).await.value()["status"]["replicas"], 5);
}

#[tokio::test]
async fn a_patch_says_what_differs_and_nothing_else() {
    let world = World::new().await;
    let empty = world.cluster.create_record(world.owner()).await.unwrap();
    let mut record = sample();
    record.outbox = [(1, entry(1)), (2, entry(2))].into();
    world.cluster.store_record(&world.release, &empty, &record).await.unwrap();
    // A later program's fields, beside ours and inside them.
    patch_status(&world, json!({"later": {"x": 1}, "totals": {"later": 2}})).await;
    let stored = world.cluster.read_record(&world.release, &world.namespace).await.unwrap().unwrap();

    world.mutations();
    record.outbox.remove(&1);
    record.published = 1;
    world.server.clear_requests();
    let stored = world.cluster.store_record(&world.release, &stored, &record).await.unwrap();
    let requests = world.server.requests();
    assert_eq!(requests.len(), 1);
    assert_eq!(requests[0].body["status"], json!({"outbox": {"1": null}, "published": 1}));
    assert_eq!(stored.record(), Some(&record));
    assert_eq!(stored.raw_status["later"], json!({"x": 1}));
    assert_eq!(stored.raw_status["totals"]["later"], 2);

    world.mutations();
    world.cluster.store_record(&world.release, &stored, &record).await.unwrap();
    assert_eq!(world.mutations(), 0, "nothing differs, nothing is sent");
}

#[tokio::test]
async fn a_later_schema_is_shown_and_never_written() {
    let world = World::new().await;
    let empty = world.cluster.create_record(world.owner()).await.unwrap();
    world.cluster.store_record(&world.release, &empty, &sample()).await.unwrap();
    patch_status(&world, json!({"schema": 2})).await;
    let stored = world.cluster.read_record(&world.release, &world.namespace).await.unwrap().unwrap();
    assert_eq!((stored.record(), stored.shown().map(|record| record.replicas)), (None, Some(2)));
    let error = world.cluster.store_record(&world.release, &stored, &sample()).await.unwrap_err();
    assert_eq!(error, RecordError::Newer { schema: 2 });
}

#[tokio::test]
async fn a_status_that_is_no_record_is_an_error_and_not_an_empty_one() {
    let world = World::new().await;
    world.cluster.create_record(world.owner()).await.unwrap();
    patch_status(&world, json!({"phase": "Stable"})).await;
    let error = world.cluster.read_record(&world.release, &world.namespace).await.unwrap_err();
    assert!(matches!(error, RecordError::Unreadable(_)), "{error}");
    assert!(!error.is_transient());
}

#[tokio::test]
async fn a_long_inventory_is_deflated_and_comes_back() {
    let world = World::new().await;
    let empty = world.cluster.create_record(world.owner()).await.unwrap();
    let mut record = sample();
    fill_inventory(&mut record, 10, false);
    let stored = world.cluster.store_record(&world.release, &empty, &record).await.unwrap();
    assert!(stored.raw_status.get("inventoryDeflated").is_none());
    fill_inventory(&mut record, 400, false);
    assert!(serde_json::to_string(&record.inventory).unwrap().len() > INVENTORY_PLAIN);
    let stored = world.cluster.store_record(&world.release, &stored, &record).await.unwrap();
    assert!(stored.raw_status.get("inventory").is_none());
    assert_eq!(stored.record(), Some(&record));
    record.inventory.clear();
    let stored = world.cluster.store_record(&world.release, &stored, &record).await.unwrap();
    assert!(stored.raw_status.get("inventoryDeflated").is_none());
    assert_eq!(stored.record(), Some(&record));
}

#[tokio::test]
async fn what_does_not_fit_is_refused_before_it_is_sent() {
    let world = World::new().await;
    let empty = world.cluster.create_record(world.owner()).await.unwrap();
    world.mutations();
    let mut record = sample();
    fill_inventory(&mut record, 2000, true);
    let error = world.cluster.store_record(&world.release, &empty, &record).await.unwrap_err();
    assert!(matches!(error, RecordError::Inventory { objects: 2000, .. }), "{error}");
    let mut record = sample();
    record.message = "x".repeat(256 * 1024);
    let error = world.cluster.store_record(&world.release, &empty, &record).await.unwrap_err();
    assert!(matches!(error, RecordError::TooLarge { .. }), "{error}");
    assert_eq!(world.mutations(), 0);
}

#[tokio::test]
async fn one_unreadable_command_does_not_hide_the_others() {
    let world = World::new().await;
    world.cluster.create_record(world.owner()).await.unwrap();
    let mut value = raw(&world).await.into_value();
    value["spec"] = json!({"commands": {"good": {"verb": "retry", "who": "ann", "at": "2026-01-01T00:00:00Z"}, "bad": 3}});
    let spec = super::super::record::ReleaseSpec::read(value.get("spec"));
    assert!(spec.commands.contains_key("good") && spec.unreadable.contains_key("bad"));
}

#[tokio::test]
async fn faults_are_told_apart() {
    let world = World::new().await;
    let empty = world.cluster.create_record(world.owner()).await.unwrap();
    world.server.inject(|request| (request.verb == Verb::Patch).then(|| Fault::status(429)));
    let error = world.cluster.store_record(&world.release, &empty, &sample()).await.unwrap_err();
    assert!(matches!(error, RecordError::Api(_)) && error.is_transient(), "{error}");
    world.server.inject(|request| (request.verb == Verb::Patch).then(|| Fault::status(403)));
    let error = world.cluster.store_record(&world.release, &empty, &sample()).await.unwrap_err();
    assert!(!error.is_transient(), "{error}");
}

/// A fraction may come back with another last bit, here and from a genuine server; a record that differed from itself for ever was
/// stored again and again.
#[tokio::test]
async fn what_was_stored_is_what_is_known() {
    let world = World::new().await;
    let stored = world.cluster.create_record(world.owner()).await.unwrap();
    let comes_back = |value: f64| {
        let text = serde_json::to_string(&value).unwrap();
        serde_json::from_str::<f64>(&text).unwrap().to_bits() == value.to_bits()
    };
    let mut shares = (1..1000_u32).flat_map(|n| (1..n).map(move |m| f64::from(m) / f64::from(n)));
    let share = shares.find(|share| !comes_back(*share)).unwrap_or(0.1);
    let verdict = json!({"gate": "error_rate", "answer": "fail", "reason": "", "numbers": {"value": share}});
    let held = json!({"identity": "1-a", "hold": "held", "verdict": verdict, "since": "2026-01-01T00:00:00Z", "times": 0});
    let mut record = sample();
    record.held.insert(1, serde_json::from_value(held).unwrap());
    record.held.get_mut(&1).unwrap().verdict.numbers.value = Some(share);
    let stored = world.cluster.store_record(&world.release, &stored, &record).await.unwrap();
    assert_eq!(stored.record(), Some(&record));
    let again = world.cluster.store_record(&world.release, &stored, &record).await.unwrap();
    assert_eq!(again.resource_version, stored.resource_version);
}
