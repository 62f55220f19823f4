//! The record store: one `Release` object a release, its `status` written by compare-and-swap.
//!
//! A write is a JSON merge patch on `/status` that carries `metadata.resourceVersion` and nothing but what differs, so fields of a
//! later program survive, and the server refuses it when somebody else wrote since it was read.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Deserialize;
use serde_json::{Value, json};

use super::calls::{Calls, Place};
use super::crd;
use super::error::ApiError;
use super::raw::Raw;
#[cfg(test)]
pub(crate) use super::record_codec::encode;
pub use super::record_codec::{Contents, INVENTORY_BYTES, INVENTORY_PLAIN, RECORD_BYTES, decode};
use super::record_codec::{Patched, is_alike, patch};
use crate::model::command::Command;
use crate::model::name::{Namespace, ReleaseKey, TeamName};
use crate::model::record::Record;
use crate::model::{LABEL_ENVIRONMENT, LABEL_MANAGED_BY, LABEL_SERVICE, LABEL_TEAM, MANAGER};

/// Velero restores a status only where this says so; without it a restored cluster has lost all its records.
pub const VELERO_STATUS: &str = "velero.io/restore-status";

/// Why a record could not be read or stored.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    /// Somebody else wrote since it was read: read again.
    #[error("the record changed since it was read; it has to be read again")]
    Conflict,
    /// The `Release` is gone.
    #[error("the Release object is gone")]
    Gone,
    /// The record does not fit its budget.
    #[error("the record would take {bytes} bytes of at most {RECORD_BYTES}")]
    TooLarge {
        /// Its size as JSON.
        bytes: usize,
    },
    /// The inventory does not fit its budget.
    #[error(
        "the inventory of {objects} objects would take {bytes} bytes of at most {INVENTORY_BYTES}, deflated; declare fewer objects in one service"
    )]
    Inventory {
        /// Its size, deflated and in base64.
        bytes: usize,
        /// How many objects it has.
        objects: usize,
    },
    /// The record was written by a later program; this one only reads it.
    #[error(
        "the record has schema {schema}, this program writes {}; run the newer program",
        crate::model::record::SCHEMA
    )]
    Newer {
        /// Its schema.
        schema: u64,
    },
    /// The status is there and cannot be understood.
    #[error(
        "the status of the Release cannot be read as a record: {0}; restore it, or remove the status so that it is rebuilt"
    )]
    Unreadable(String),
    /// The API server did not do it.
    #[error("the record could not be read or stored")]
    Api(#[source] ApiError),
}

impl RecordError {
    /// Returns whether the same call can succeed later without anything being changed by people.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Conflict | Self::Gone => true,
            Self::Api(error) => error.is_transient(),
            Self::TooLarge { .. } | Self::Inventory { .. } | Self::Newer { .. } | Self::Unreadable(_) => {
                false
            }
        }
    }
}

impl From<ApiError> for RecordError {
    fn from(error: ApiError) -> Self {
        match error {
            ApiError::Conflict { .. } => Self::Conflict,
            other => Self::Api(other),
        }
    }
}

/// What people ask of a release: its `spec`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ReleaseSpec {
    /// No new rollouts; a rollback is still allowed.
    pub suspend: bool,
    /// Commands by id.
    pub commands: BTreeMap<String, Command>,
    /// Commands that cannot be read, by id, with the reason: to be answered as refused.
    pub unreadable: BTreeMap<String, String>,
}

impl ReleaseSpec {
    /// Reads a `spec`; one bad command does not hide the others.
    pub(super) fn read(spec: Option<&Value>) -> Self {
        let mut read = Self::default();
        let Some(spec) = spec else { return read };
        read.suspend = spec.get("suspend").and_then(Value::as_bool).unwrap_or_default();
        for (id, value) in spec.get("commands").and_then(Value::as_object).into_iter().flatten() {
            match Command::deserialize(value) {
                Ok(command) => {
                    read.commands.insert(id.clone(), command);
                }
                Err(error) => {
                    read.unreadable.insert(id.clone(), error.to_string());
                }
            }
        }
        read
    }
}

/// A `Release` as it was last read or written.
#[derive(Debug, Clone, PartialEq)]
pub struct Stored {
    /// Where it is.
    pub namespace: Namespace,
    /// Its name: the service's.
    pub name: String,
    /// Its UID; sequence numbers of events belong to it.
    pub uid: String,
    /// The version that a compare-and-swap names.
    pub resource_version: String,
    /// `metadata.generation`: counts changes of `spec`. A higher one in the view means that `spec` has to be read again.
    pub generation: u64,
    /// What people ask.
    pub spec: ReleaseSpec,
    /// What the status says.
    pub contents: Contents,
    /// The status as it stands, unknown fields included.
    pub raw_status: Arc<Value>,
}

impl Stored {
    /// Returns the record that may be written; none in an empty status and in one of a later schema.
    pub fn record(&self) -> Option<&Record> {
        match &self.contents {
            Contents::Record(record) => Some(record),
            Contents::Empty | Contents::Newer { .. } => None,
        }
    }

    /// Returns the record for people to look at, of whatever schema.
    pub fn shown(&self) -> Option<&Record> {
        match &self.contents {
            Contents::Record(record) => Some(record),
            Contents::Newer { record, .. } => record.as_deref(),
            Contents::Empty => None,
        }
    }

    fn read(namespace: &Namespace, raw: Raw) -> Result<Self, RecordError> {
        Self::read_as(namespace, raw, decode)
    }

    /// Reads it; `decode` says what the status is.
    fn read_as(
        namespace: &Namespace,
        raw: Raw,
        decode: impl FnOnce(&Value) -> Result<Contents, RecordError>,
    ) -> Result<Self, RecordError> {
        let generation = raw.value().pointer("/metadata/generation").and_then(Value::as_u64);
        let (name, uid) = (raw.name().to_owned(), raw.uid().to_owned());
        let resource_version = raw.resource_version().to_owned();
        let spec = ReleaseSpec::read(raw.value().get("spec"));
        let mut value = raw.into_value();
        let raw_status = Arc::new(value.get_mut("status").map(Value::take).unwrap_or_default());
        let contents = decode(&raw_status)?;
        let generation = generation.unwrap_or_default();
        let namespace = namespace.clone();
        Ok(Self { namespace, name, uid, resource_version, generation, spec, contents, raw_status })
    }
}

/// Reads a release's `Release`; `None`: it is certainly not there.
pub async fn read(
    calls: &Calls,
    release: &ReleaseKey,
    namespace: &Namespace,
) -> Result<Option<Stored>, RecordError> {
    let resource = crd::resource();
    let place = Place { resource: &resource, namespace: namespace.as_str(), name: release.service.as_str() };
    match calls.get(&place).await? {
        Some(raw) => Stored::read(namespace, raw).map(Some),
        None => Ok(None),
    }
}

/// Creates a release's `Release` without a record, or returns the one that is there: object first, then status, is how a record
/// begins, and a process that dies between the two leaves an empty status, which is no record.
pub async fn create(
    calls: &Calls,
    release: &ReleaseKey,
    namespace: &Namespace,
    team: &TeamName,
) -> Result<Stored, RecordError> {
    let resource = crd::resource();
    let place = Place { resource: &resource, namespace: namespace.as_str(), name: release.service.as_str() };
    let metadata = json!({
        "name": release.service, "namespace": namespace,
        "labels": {
            LABEL_SERVICE: release.service, LABEL_ENVIRONMENT: release.environment, LABEL_TEAM: team,
            "app.kubernetes.io/name": release.service, LABEL_MANAGED_BY: MANAGER, VELERO_STATUS: "true",
        },
        "annotations": { VELERO_STATUS: "true" },
    });
    let mut body = json!({"apiVersion": resource.api_version, "kind": resource.kind, "metadata": metadata});
    match calls.create(&place, body.clone()).await {
        Ok(raw) => Stored::read(namespace, raw),
        // A person, a restore or an earlier try made it. Our labels are what the watches know it by; `spec` stays theirs.
        Err(ApiError::Conflict { .. }) => {
            if let Some(Value::Object(metadata)) = body.get_mut("metadata") {
                metadata.retain(|name, _| name == "labels" || name == "annotations");
            }
            Stored::read(namespace, calls.merge(&place, &body).await?)
        }
        Err(error) => Err(error.into()),
    }
}

/// Stores a record over what was read: one call, or none if nothing differs. [`RecordError::Conflict`] if somebody else wrote since.
pub async fn store(calls: &Calls, previous: &Stored, new: &Record) -> Result<Stored, RecordError> {
    if let Contents::Newer { schema, .. } = &previous.contents {
        return Err(RecordError::Newer { schema: *schema });
    }
    let Some(Patched { patch: status, leads_to }) = patch(&previous.raw_status, previous.record(), new)?
    else {
        return Ok(previous.clone());
    };
    let resource = crd::resource();
    let place = Place { resource: &resource, namespace: previous.namespace.as_str(), name: &previous.name };
    let body = json!({"metadata": {"resourceVersion": previous.resource_version}, "status": status});
    match calls.merge_status(&place, &body).await {
        // What was asked for came of it as a rule, and need not be understood anew.
        Ok(raw) => Stored::read_as(&previous.namespace, raw, |status| {
            if is_alike(status, &leads_to) {
                Ok(Contents::Record(Box::new(new.clone())))
            } else {
                decode(status)
            }
        }),
        Err(ApiError::NotFound(_)) => Err(RecordError::Gone),
        Err(error) => Err(error.into()),
    }
}

/// Returns the highest fencing epoch that any record of the cluster carries; 0 without records.
pub async fn highest_epoch(calls: &Calls) -> Result<u64, RecordError> {
    let resource = crd::resource();
    let mut highest = 0;
    let mut next = None;
    loop {
        let page = calls.list(&resource, 250, next).await?;
        let epochs =
            page.items.iter().filter_map(|raw| raw.value().pointer("/status/epoch").and_then(Value::as_u64));
        highest = epochs.fold(highest, u64::max);
        next = page.next;
        if next.is_none() {
            return Ok(highest);
        }
    }
}
