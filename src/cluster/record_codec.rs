//! Between a [`Record`] and the `status` of its `Release`: encoding, budget, and the smallest patch that leads from one to the other.
//!
//! The inventory is `status.inventory`, a map; above [`INVENTORY_PLAIN`] bytes it is `status.inventoryDeflated` instead: the same
//! map as JSON, compressed by raw deflate, in base64.

use std::io::{Read, Write};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use flate2::Compression;
use flate2::read::DeflateDecoder;
use flate2::write::DeflateEncoder;
use serde::Deserialize as _;
use serde_json::{Map, Value};

use super::record::RecordError;
use crate::model::record::{Record, SCHEMA};

/// A status may have this many bytes at most.
pub const RECORD_BYTES: usize = 256 * 1024;
/// An inventory with more bytes than this is stored deflated.
pub const INVENTORY_PLAIN: usize = 16 * 1024;
/// An inventory that takes more bytes than this, deflated and in base64, is refused.
pub const INVENTORY_BYTES: usize = 96 * 1024;
/// Nothing of ours inflates to more; what does is not ours.
const INFLATED_BYTES: u64 = 16 * 1024 * 1024;

const INVENTORY: &str = "inventory";
const DEFLATED: &str = "inventoryDeflated";

/// What a status says.
#[derive(Debug, Clone, PartialEq)]
pub enum Contents {
    /// There is none: the release was never reconciled, or its record was lost.
    Empty,
    /// A record that this program wrote or could have written.
    Record(Box<Record>),
    /// A record of a later program: it is shown where it parses, and never written.
    Newer {
        /// Its schema.
        schema: u64,
        /// What of it is understood.
        record: Option<Box<Record>>,
    },
}

/// Reads a status.
pub fn decode(status: &Value) -> Result<Contents, RecordError> {
    let Some(map) = status.as_object().filter(|map| !map.is_empty()) else {
        return Ok(Contents::Empty);
    };
    let schema = map.get("schema").and_then(Value::as_u64).unwrap_or_default();
    let parsed = if map.contains_key(DEFLATED) {
        inflate(map).and_then(|value| Record::deserialize(&value).map_err(unreadable))
    } else {
        Record::deserialize(status).map_err(unreadable)
    };
    if schema > u64::from(SCHEMA) {
        return Ok(Contents::Newer { schema, record: parsed.ok().map(Box::new) });
    }
    Ok(Contents::Record(Box::new(parsed?)))
}

/// Returns the status that a record is stored as.
pub fn encode(record: &Record) -> Result<Value, RecordError> {
    let mut value =
        serde_json::to_value(record).map_err(|error| RecordError::Unreadable(error.to_string()))?;
    let Some(map) = value.as_object_mut() else { return Ok(value) };
    // An absent map and an empty one are the same record; one form keeps patches small.
    map.retain(|_, field| !field.is_null());
    let plain =
        map.get(INVENTORY).map(serde_json::to_vec).transpose().map_err(unreadable)?.unwrap_or_default();
    if plain.len() > INVENTORY_PLAIN {
        let text = deflate(&plain)?;
        if text.len() > INVENTORY_BYTES {
            return Err(RecordError::Inventory { bytes: text.len(), objects: record.inventory.len() });
        }
        map.remove(INVENTORY);
        map.insert(DEFLATED.to_owned(), Value::String(text));
    }
    Ok(value)
}

fn deflate(bytes: &[u8]) -> Result<String, RecordError> {
    let mut encoder = DeflateEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(bytes).map_err(|error| RecordError::Unreadable(error.to_string()))?;
    let packed = encoder.finish().map_err(|error| RecordError::Unreadable(error.to_string()))?;
    Ok(STANDARD.encode(packed))
}

fn inflate(map: &Map<String, Value>) -> Result<Value, RecordError> {
    let mut map = map.clone();
    if let Some(Value::String(text)) = map.remove(DEFLATED) {
        let packed = STANDARD.decode(text).map_err(|error| unreadable_inventory(&error))?;
        let mut plain = Vec::new();
        DeflateDecoder::new(packed.as_slice())
            .take(INFLATED_BYTES)
            .read_to_end(&mut plain)
            .map_err(|error| unreadable_inventory(&error))?;
        let inventory = serde_json::from_slice(&plain).map_err(|error| unreadable_inventory(&error))?;
        map.insert(INVENTORY.to_owned(), inventory);
    }
    Ok(Value::Object(map))
}

#[allow(clippy::needless_pass_by_value)] // As `map_err` hands it over.
fn unreadable(error: serde_json::Error) -> RecordError {
    RecordError::Unreadable(error.to_string())
}

fn unreadable_inventory(error: &dyn std::error::Error) -> RecordError {
    RecordError::Unreadable(format!("{DEFLATED}: {error}"))
}

/// A status patch.
#[derive(Debug, Clone, PartialEq)]
pub struct Patched {
    /// What is sent.
    pub patch: Value,
    /// The status that it leads to.
    pub leads_to: Value,
}

/// Returns the status patch from `old` to `new` and checks the budget of what it leads to.
///
/// `old` and `new` are both encoded by this program, so a field of a later or other writer is in neither, hence not in the patch,
/// hence kept by the server. Lists have no keys and are replaced whole.
pub fn patch(raw_status: &Value, old: Option<&Record>, new: &Record) -> Result<Option<Patched>, RecordError> {
    let before = old.map_or_else(|| Ok(Value::Object(Map::new())), encode)?;
    let after = encode(new)?;
    let Some(patch) = difference(&before, &after) else { return Ok(None) };
    let mut leads_to = raw_status.clone();
    merge(&mut leads_to, &patch);
    let bytes = serde_json::to_vec(&leads_to).map_err(unreadable)?.len();
    if bytes > RECORD_BYTES {
        return Err(RecordError::TooLarge { bytes });
    }
    Ok(Some(Patched { patch, leads_to }))
}

/// Returns the JSON merge patch (RFC 7396) from one value to another; `None` if they are equal.
fn difference(old: &Value, new: &Value) -> Option<Value> {
    let (Value::Object(old), Value::Object(new)) = (old, new) else {
        return (old != new).then(|| new.clone());
    };
    let mut patch = Map::new();
    for name in old.keys().filter(|name| !new.contains_key(*name)) {
        patch.insert(name.clone(), Value::Null);
    }
    for (name, value) in new {
        match old.get(name) {
            Some(before) => {
                if let Some(inner) = difference(before, value) {
                    patch.insert(name.clone(), inner);
                }
            }
            None => {
                patch.insert(name.clone(), value.clone());
            }
        }
    }
    (!patch.is_empty()).then_some(Value::Object(patch))
}

/// Tells whether two values are the same but for the last bit of a fraction, which writing and reading it may change: a record that was
/// stored would else differ for ever from what is stored.
pub fn is_alike(one: &Value, two: &Value) -> bool {
    match (one, two) {
        (Value::Object(one), Value::Object(two)) => {
            one.len() == two.len()
                && one.iter().all(|(name, value)| two.get(name).is_some_and(|other| is_alike(value, other)))
        }
        (Value::Array(one), Value::Array(two)) => {
            one.len() == two.len() && one.iter().zip(two).all(|(one, two)| is_alike(one, two))
        }
        (Value::Number(left), Value::Number(right)) if left.is_f64() || right.is_f64() => {
            let (Some(left), Some(right)) = (left.as_f64(), right.as_f64()) else { return one == two };
            (left - right).abs() <= left.abs() * f64::EPSILON * 4.0
        }
        _ => one == two,
    }
}

/// Applies a JSON merge patch (RFC 7396).
fn merge(target: &mut Value, patch: &Value) {
    let Value::Object(fields) = patch else {
        *target = patch.clone();
        return;
    };
    if !target.is_object() {
        *target = Value::Object(Map::new());
    }
    let Value::Object(map) = target else { return };
    for (name, value) in fields {
        if value.is_null() {
            map.remove(name);
        } else {
            merge(map.entry(name.clone()).or_insert(Value::Null), value);
        }
    }
}
