//! A `Release` as it was read: its record where that parses, and the columns of the fleet's table in any case.

use jiff::Timestamp;
use kube::api::DynamicObject;
use serde::Serialize;
use serde_json::Value;

use super::explain::explain;
use super::output::Tone;
use crate::cluster::record::{Contents, RecordError, decode};
use crate::model::LABEL_ENVIRONMENT;
use crate::model::change::CommitId;
use crate::model::record::{Health, Record, SCHEMA, Sync};

/// What is readable of a release's status.
#[derive(Debug, Clone, PartialEq)]
pub enum Seen {
    /// The record.
    Record(Box<Record>),
    /// There is none yet, or it was lost and is being rebuilt.
    Empty,
    /// It does not parse; why.
    Unreadable(String),
}

/// A release as it was read.
#[derive(Debug, Clone, PartialEq)]
pub struct ReleaseView {
    /// `<service>.<environment>`.
    pub release: String,
    /// The service: the object's name.
    pub name: String,
    /// The environment; empty where nothing says it.
    pub environment: String,
    /// The namespace.
    pub namespace: String,
    /// When the object was created.
    pub created_at: Option<Timestamp>,
    /// `spec.suspend`.
    pub suspended: bool,
    /// The status as it stands.
    pub status: Value,
    /// The status as a record.
    pub seen: Seen,
}

impl ReleaseView {
    /// Reads an object; nothing in it can make this fail.
    pub fn of(object: &DynamicObject) -> Self {
        let status = object.data.get("status").cloned().unwrap_or(Value::Null);
        let label = object.metadata.labels.as_ref().and_then(|labels| labels.get(LABEL_ENVIRONMENT));
        let environment = label.cloned().unwrap_or_else(|| text(&status, "environment"));
        let name = object.metadata.name.clone().unwrap_or_default();
        Self {
            release: if environment.is_empty() { name.clone() } else { format!("{name}.{environment}") },
            name,
            environment,
            namespace: object.metadata.namespace.clone().unwrap_or_default(),
            created_at: object.metadata.creation_timestamp.as_ref().map(|time| time.0),
            suspended: object.data.pointer("/spec/suspend").and_then(Value::as_bool) == Some(true),
            seen: read(&status),
            status,
        }
    }

    /// Tells whether a person who typed `asked` may mean this release.
    pub fn is(&self, asked: &str) -> bool {
        self.release == asked || self.name == asked
    }

    /// Returns the record, if there is one.
    pub fn record(&self) -> Option<&Record> {
        match &self.seen {
            Seen::Record(record) => Some(record),
            Seen::Empty | Seen::Unreadable(_) => None,
        }
    }

    /// Returns its line in the fleet's table.
    pub fn row(&self, now: Timestamp) -> Row {
        let mut row = Row {
            release: self.release.clone(),
            namespace: self.namespace.clone(),
            phase: text(&self.status, "phase"),
            weight: None,
            real_weight: None,
            revision: text(&self.status, "revision"),
            image: String::new(),
            sync: text(&self.status, "sync"),
            health: text(&self.status, "health"),
            age_seconds: self.created_at.map(|at| now.duration_since(at).unsigned_abs().as_secs()),
            message: text(&self.status, "message"),
        };
        match &self.seen {
            Seen::Empty => "no record yet: the daemon has not looked at it".clone_into(&mut row.message),
            Seen::Unreadable(why) => row.message = format!("its record cannot be read here: {why}"),
            Seen::Record(record) => fill(&mut row, record, now),
        }
        if self.suspended {
            row.message = format!("suspended: nothing new starts. {}", row.message);
        }
        row
    }
}

fn fill(row: &mut Row, record: &Record, now: Timestamp) {
    if row.message.is_empty() {
        row.message = explain(&row.release, record, now).why;
    }
    if let Some(rollout) = &record.rollout {
        rollout.phase.name().clone_into(&mut row.phase);
        (row.weight, row.real_weight) = (Some(record.weight), Some(record.real_weight));
    }
    let candidate = record.rollout.as_ref().and_then(|rollout| rollout.candidate.version());
    let running = record.stable.as_ref().map(|stable| &stable.version).or(candidate);
    if let Some(version) = running {
        let name = version.image.repository.rsplit('/').next().unwrap_or_default();
        let tag = version.image.tag.as_deref().unwrap_or_else(|| version.image.digest.short());
        // A tag is mostly a commit id, and columns are narrow.
        let tag = tag.parse::<CommitId>().map_or_else(|_| tag.to_owned(), |id| id.short().to_owned());
        row.image = format!("{name}:{tag}");
    }
    if record.schema > SCHEMA {
        row.message = format!("(written by a newer idp) {}", row.message);
    }
}

fn text(status: &Value, field: &str) -> String {
    status.get(field).and_then(Value::as_str).unwrap_or_default().to_owned()
}

fn read(status: &Value) -> Seen {
    match decode(status) {
        Ok(Contents::Empty) => Seen::Empty,
        Ok(Contents::Record(record) | Contents::Newer { record: Some(record), .. }) => Seen::Record(record),
        Ok(Contents::Newer { schema, record: None }) => {
            Seen::Unreadable(format!("schema {schema} of a newer idp"))
        }
        Err(RecordError::Unreadable(why)) => Seen::Unreadable(why.chars().take(200).collect()),
        Err(error) => Seen::Unreadable(error.to_string()),
    }
}

/// A line of the fleet's table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Row {
    /// `<service>.<environment>`.
    pub release: String,
    /// The namespace.
    pub namespace: String,
    /// A phase's name, `Stable` or `Failed`; empty without a record.
    pub phase: String,
    /// The share asked for, in per cent, while a rollout runs.
    pub weight: Option<u8>,
    /// The share that the candidate really has, in per cent, while a rollout runs.
    pub real_weight: Option<u8>,
    /// The commit that runs, short.
    pub revision: String,
    /// The image that runs, without its registry.
    pub image: String,
    /// Sync, in its word.
    pub sync: String,
    /// Health, in its word.
    pub health: String,
    /// Since the release was created.
    pub age_seconds: Option<u64>,
    /// Why it is where it is.
    pub message: String,
}

/// Returns the tone of a word of health, sync or phase.
pub fn tone(word: &str) -> Option<Tone> {
    let good = [Health::Healthy.name(), Sync::Synced.name(), "Promoted", "Undone"];
    let bad =
        [Health::Degraded.name(), Health::Missing.name(), Sync::Invalid.name(), "Failed", "RollingBack"];
    let plain = ["", "Stable"];
    if good.contains(&word) {
        Some(Tone::Good)
    } else if bad.contains(&word) || ["RolledBack", "Aborted"].contains(&word) {
        Some(Tone::Bad)
    } else if plain.contains(&word) {
        None
    } else {
        Some(Tone::Busy)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::fixtures as at;
    use crate::cluster::record::{INVENTORY_PLAIN, encode};
    use crate::model::object::{ContentHash, ObjectKey, Role};
    use crate::model::record::{InventoryEntry, Ownership};

    #[test]
    fn a_record_with_many_objects_is_read_whole() {
        let mut record: Record = serde_json::from_value(at::stable()).unwrap();
        for number in 0..500 {
            let key: ObjectKey = format!("v1:ConfigMap:shop:web-{number}").parse().unwrap();
            let ownership = Ownership::Owned { uid: number.to_string() };
            let hash = ContentHash(number.to_string());
            record.inventory.insert(key, InventoryEntry { role: Role::Config, hash, ownership });
        }
        let status = encode(&record).unwrap();
        assert!(status.to_string().len() < INVENTORY_PLAIN, "the inventory is deflated");
        assert_eq!(read(&status), Seen::Record(Box::new(record)));
    }
}
