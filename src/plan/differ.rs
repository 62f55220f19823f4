//! Is every field of a body that we applied present and equal in the live object? What others own (defaults, sidecars, their
//! annotations) is no difference.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Serialize;
use serde_json::{Map, Value};
use sha2::{Digest as _, Sha256};

use super::free::{self, Leaf, Members};
use super::quantity;
use crate::model::{
    ANNOTATION_CHANGE_URL, ANNOTATION_EPOCH, ANNOTATION_HASH, ANNOTATION_REVISION, ANNOTATION_ROLLOUT,
    ANNOTATION_VERSION,
};

/// Differences that one comparison returns at most; the first are enough to act on.
pub const LIMIT: usize = 20;
/// Characters of a value that are shown.
const SHOWN: usize = 120;
/// Nesting that is followed; the API server itself refuses deeper objects.
const DEPTH: usize = 100;

/// Annotations that change with every commit or writer: never written for themselves, so never a difference.
const VOLATILE: [&str; 6] = [
    ANNOTATION_REVISION,
    ANNOTATION_ROLLOUT,
    ANNOTATION_CHANGE_URL,
    ANNOTATION_VERSION,
    ANNOTATION_EPOCH,
    ANNOTATION_HASH,
];
/// Metadata that the server writes; in a body of ours it is a fence.
const SERVER_METADATA: [&str; 6] =
    ["uid", "resourceVersion", "generation", "creationTimestamp", "managedFields", "selfLink"];
/// Kinds whose `spec.replicas` belongs to the rollout or an autoscaler.
const SCALED: [&str; 3] = ["Deployment", "ReplicaSet", "StatefulSet"];

/// One field that is not as wanted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// Where, as in `spec.template.spec.containers[web].image`.
    pub path: String,
    /// What our body says, as JSON of at most 120 characters; of a Secret a short hash.
    pub wanted: String,
    /// What the live object says, in the same form; `None`: it is not there.
    pub found: Option<String>,
}

/// Compares a body of ours with the live object: every field of the body has to be there and equal. Lists of named items are
/// matched by their keys, other lists exactly, quantities by amount. Not compared: `status`, `spec.replicas` of workloads, server
/// metadata, the annotations that change with every commit. At most [`LIMIT`] differences, in the body's order.
pub fn differs(body: &Value, live: &Value) -> Vec<Difference> {
    let kind = body.get("kind").and_then(Value::as_str).unwrap_or_default();
    let mut walk = Walk { secret: kind == "Secret", found: Vec::new() };
    let Some(fields) = body.as_object() else {
        walk.value("", "", body, Some(live), 0);
        return walk.found;
    };
    for (name, wanted) in fields {
        let found = live.get(name);
        match name.as_str() {
            "status" => {}
            // Items of lists and watches come without these two.
            "apiVersion" | "kind" if found.is_none() => {}
            "metadata" => walk.metadata(wanted, found),
            "spec" if SCALED.contains(&kind) => walk.spec(wanted, found),
            // The server turns `stringData` into `data` and forgets it.
            "stringData" if kind == "Secret" => {
                walk.value("data", "data", &encoded(wanted), live.get("data"), 0);
            }
            _ => walk.value(name, name, wanted, found, 0),
        }
    }
    walk.found
}

/// Tells whether `spec.template` of a body of ours is not what stands in the live object; by the rules of [`differs`].
pub fn template_differs(body: &Value, live: &Value) -> bool {
    let mut walk = Walk { secret: false, found: Vec::new() };
    let template = |object| Value::get(object, "spec").and_then(|spec| spec.get("template"));
    let wanted = template(body).unwrap_or(&Value::Null);
    walk.value("spec.template", "template", wanted, template(live), 0);
    !walk.found.is_empty()
}

fn encoded(data: &Value) -> Value {
    let encode = |value: &Value| Value::String(STANDARD.encode(value.as_str().unwrap_or_default()));
    let members = data.as_object().into_iter().flatten();
    Value::Object(members.map(|(name, value)| (name.clone(), encode(value))).collect())
}

struct Walk {
    secret: bool,
    found: Vec<Difference>,
}

impl Walk {
    fn full(&self) -> bool {
        self.found.len() >= LIMIT
    }

    fn metadata(&mut self, wanted: &Value, found: Option<&Value>) {
        let (Some(fields), Some(Value::Object(there))) = (wanted.as_object(), found) else {
            return self.value("metadata", "metadata", wanted, found, 0);
        };
        for (name, value) in fields.iter().filter(|(name, _)| !SERVER_METADATA.contains(&name.as_str())) {
            match (name.as_str(), value) {
                ("annotations", Value::Object(annotations)) => {
                    let lasting = annotations.iter().filter(|(name, _)| !VOLATILE.contains(&name.as_str()));
                    let lasting: Map<String, Value> =
                        lasting.map(|(name, value)| (name.clone(), value.clone())).collect();
                    self.value("metadata.annotations", name, &Value::Object(lasting), there.get(name), 1);
                }
                _ => self.value(&join("metadata", name), name, value, there.get(name), 1),
            }
        }
    }

    /// A workload's `spec`, without the field that the rollout or an autoscaler owns.
    fn spec(&mut self, wanted: &Value, found: Option<&Value>) {
        let (Some(fields), Some(Value::Object(there))) = (wanted.as_object(), found) else {
            return self.value("spec", "spec", wanted, found, 0);
        };
        for (name, value) in fields.iter().filter(|(name, _)| *name != "replicas") {
            self.value(&join("spec", name), name, value, there.get(name), 1);
        }
    }

    /// Compares one field. `field` is its name in the schema; an item of a list has its list's name.
    fn value(&mut self, path: &str, field: &str, wanted: &Value, found: Option<&Value>, depth: usize) {
        if self.full() || found == Some(wanted) {
            return;
        }
        match (wanted, found) {
            (_, None) if free::may_be_dropped(field, wanted) => {}
            (Value::Null, Some(_)) => {}
            (Value::Object(wanted), Some(Value::Object(found))) if depth < DEPTH => {
                self.map(path, field, wanted, found, depth);
            }
            (Value::Array(wanted), Some(Value::Array(found))) if depth < DEPTH => {
                self.list(path, field, wanted, found, depth);
            }
            (wanted, Some(found)) if same(free::leaf(field), wanted, found) => {}
            _ => self.push(path, wanted, found),
        }
    }

    fn map(
        &mut self,
        path: &str,
        field: &str,
        wanted: &Map<String, Value>,
        found: &Map<String, Value>,
        depth: usize,
    ) {
        let members = free::members(field);
        for (name, value) in wanted {
            let there = found.get(name);
            // Most of an object is as it was applied, and needs no name.
            if there == Some(value) {
                continue;
            }
            let path = join(path, name);
            match (members, there) {
                (Members::Fields, there) => self.value(&path, name, value, there, depth + 1),
                (_, None) => self.push(&path, value, None),
                (Members::Amounts, Some(there)) if same(Leaf::Amount, value, there) => {}
                (Members::Exact, there) => self.value(&path, name, value, there, depth + 1),
                // A key that is data says nothing about its value: compared without a field's rules.
                (_, Some(there)) => self.value(&path, "", value, Some(there), depth + 1),
            }
            if self.full() {
                return;
            }
        }
        if members == Members::Exact {
            for (name, there) in found.iter().filter(|(name, _)| !wanted.contains_key(*name)) {
                self.push(&join(path, name), &Value::Null, Some(there));
            }
        }
    }

    fn list(&mut self, path: &str, field: &str, wanted: &[Value], found: &[Value], depth: usize) {
        if let (Some(wanted), Some(found)) = (keyed(field, wanted), keyed(field, found)) {
            for (key, value) in wanted {
                let path = format!("{path}[{key}]");
                match found.get(&key) {
                    Some(there) => self.value(&path, "", value, Some(there), depth + 1),
                    None => self.push(&path, value, None),
                }
            }
            return;
        }
        if wanted.len() != found.len() {
            self.push(path, &Value::Array(wanted.to_vec()), Some(&Value::Array(found.to_vec())));
            return;
        }
        for (index, (value, there)) in wanted.iter().zip(found).enumerate() {
            self.value(&format!("{path}[{index}]"), "", value, Some(there), depth + 1);
        }
    }

    fn push(&mut self, path: &str, wanted: &Value, found: Option<&Value>) {
        if self.full() {
            return;
        }
        let secret = self.secret && !path.starts_with("metadata");
        let show = |value: &Value| if secret { hashed(value) } else { shown(value) };
        self.found.push(Difference {
            path: path.chars().take(2 * SHOWN).collect(),
            wanted: show(wanted),
            found: found.map(show),
        });
    }
}

/// The items by their keys; `None` where one has no key or two have the same.
fn keyed<'a>(list: &str, items: &'a [Value]) -> Option<BTreeMap<String, &'a Value>> {
    let mut map = BTreeMap::new();
    for item in items {
        if map.insert(free::item_key(list, item)?, item).is_some() {
            return None;
        }
    }
    Some(map)
}

fn same(leaf: Leaf, wanted: &Value, found: &Value) -> bool {
    if wanted == found {
        return true;
    }
    match (leaf, wanted, found) {
        (Leaf::Amount, _, _) => {
            let (wanted, found) = (quantity::nano(wanted), quantity::nano(found));
            wanted.is_some() && wanted == found
        }
        // `1` and `1.0` are one number, also where they are written as different ones.
        (_, Value::Number(wanted), Value::Number(found)) => wanted.as_f64() == found.as_f64(),
        (Leaf::NumberOrText, Value::Number(number), Value::String(text))
        | (Leaf::NumberOrText, Value::String(text), Value::Number(number)) => number.to_string() == *text,
        _ => false,
    }
}

fn join(path: &str, name: &str) -> String {
    match (path, name.contains(['.', '/'])) {
        (_, true) => format!("{path}[{name}]"),
        ("", false) => name.to_owned(),
        (_, false) => format!("{path}.{name}"),
    }
}

fn shown(value: &Value) -> String {
    let text = value.to_string();
    match text.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text,
    }
}

/// Enough to see that two values differ, too little to guess one.
fn hashed(value: &Value) -> String {
    if value.is_null() {
        return "null".to_owned();
    }
    let digest = Sha256::digest(value.to_string().as_bytes());
    format!("hash {}", hex::encode(digest.get(..3).unwrap_or_default()))
}
