//! The entries of `metadata.managedFields`: one a manager, operation and subresource.

use std::fmt::Write as _;

use serde_json::{Value, json};

use super::{super::json, fieldset::FieldSet};

/// Who writes, and through which door.
#[derive(Debug, Clone)]
pub(crate) struct Manager {
    pub(crate) name: String,
    pub(crate) api_version: String,
    pub(crate) subresource: String,
    /// The time that a changed entry gets.
    pub(crate) now: String,
}

/// One manager's fields.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    pub(crate) name: String,
    pub(crate) applied: bool,
    pub(crate) api_version: String,
    pub(crate) subresource: String,
    pub(crate) time: Option<String>,
    pub(crate) fields: FieldSet,
}

impl Entry {
    pub(crate) fn new(by: &Manager, applied: bool, fields: FieldSet) -> Self {
        Self {
            name: by.name.clone(),
            applied,
            api_version: by.api_version.clone(),
            subresource: by.subresource.clone(),
            // What came through `/scale` carries no time on a genuine server.
            time: (by.subresource != "scale").then(|| by.now.clone()),
            fields,
        }
    }

    /// An applier keeps its identity over versions, an updater has one a version.
    pub(crate) fn is(&self, by: &Manager, applied: bool) -> bool {
        self.applied == applied
            && self.name == by.name
            && self.subresource == by.subresource
            && (applied || self.api_version == by.api_version)
    }

    fn decode(value: &Value) -> Option<Self> {
        let applied = match json::text(value, &["operation"]) {
            "Apply" => true,
            "Update" => false,
            _ => return None,
        };
        Some(Self {
            name: json::text(value, &["manager"]).to_owned(),
            applied,
            api_version: json::text(value, &["apiVersion"]).to_owned(),
            subresource: json::text(value, &["subresource"]).to_owned(),
            time: json::at(value, &["time"]).and_then(Value::as_str).map(str::to_owned),
            fields: FieldSet::from_fields_v1(value.get("fieldsV1")?),
        })
    }

    fn encode(&self) -> Value {
        let mut out = json!({
            "manager": self.name,
            "operation": if self.applied { "Apply" } else { "Update" },
            "apiVersion": self.api_version,
            "fieldsType": "FieldsV1",
            "fieldsV1": self.fields.to_fields_v1(),
        });
        if let Some(time) = &self.time {
            json::set(&mut out, &["time"], time.as_str());
        }
        if !self.subresource.is_empty() {
            json::set(&mut out, &["subresource"], self.subresource.as_str());
        }
        out
    }

    /// As conflict messages name it.
    pub(crate) fn label(&self) -> String {
        let mut out = format!("{:?}", self.name);
        if !self.subresource.is_empty() {
            let _ = write!(out, " with subresource {:?}", self.subresource);
        }
        if !self.applied {
            let _ = write!(out, " using {}", self.api_version);
        }
        out
    }
}

pub(crate) fn decode(object: &Value) -> Vec<Entry> {
    json::list(object, &["metadata", "managedFields"]).iter().filter_map(Entry::decode).collect()
}

pub(crate) fn encode(object: &mut Value, mut entries: Vec<Entry>) {
    entries.retain(|entry| !entry.fields.is_empty());
    entries.sort_by(|a, b| {
        let key = |e: &Entry| {
            (!e.applied, e.time.clone(), e.name.clone(), e.api_version.clone(), e.subresource.clone())
        };
        key(a).cmp(&key(b))
    });
    if entries.is_empty() {
        json::remove(object, &["metadata", "managedFields"]);
    } else {
        let list: Vec<Value> = entries.iter().map(Entry::encode).collect();
        json::set(object, &["metadata", "managedFields"], list);
    }
}
