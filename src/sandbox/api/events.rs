//! The two faces of an event: core/v1, as it is stored, and events.k8s.io/v1, which renames its fields.

use std::sync::Arc;

use serde_json::Value;

use super::{super::json, kinds::KindSpec};

const RENAMED: [(&str, &str); 7] = [
    ("involvedObject", "regarding"),
    ("message", "note"),
    ("reportingComponent", "reportingController"),
    ("source", "deprecatedSource"),
    ("firstTimestamp", "deprecatedFirstTimestamp"),
    ("lastTimestamp", "deprecatedLastTimestamp"),
    ("count", "deprecatedCount"),
];

/// A stored object as `kind` shows it.
pub(crate) fn outward(kind: &KindSpec, stored: Arc<Value>) -> Arc<Value> {
    if !kind.is_events_v1() {
        return stored;
    }
    let mut out = (*stored).clone();
    rename(&mut out, |(core, event)| (core, event));
    json::set(&mut out, &["apiVersion"], "events.k8s.io/v1");
    Arc::new(out)
}

/// An object of `kind` as it is stored.
pub(crate) fn inward(kind: &KindSpec, object: &mut Value) {
    if kind.is_events_v1() {
        rename(object, |(core, event)| (event, core));
        json::set(object, &["apiVersion"], "v1");
    }
}

fn rename(object: &mut Value, pick: impl Fn((&'static str, &'static str)) -> (&'static str, &'static str)) {
    for pair in RENAMED {
        let (from, to) = pick(pair);
        if let Some(value) = json::remove(object, &[from]) {
            json::set(object, &[to], value);
        }
    }
}
