//! Revision Secrets: the objects and facts of one version, kept in the cluster so that rolling back needs nothing else.
//!
//! A Secret of type `idp.dev/revision`, named `idp-<service>-<rollout>`; its one entry `version` is gzip-compressed JSON. The mark
//! (candidate, stable, held, …) is a label, so that marking leaves the data alone and `kubectl get secrets -l idp.dev/mark=held`
//! answers. The Secret is not `immutable`: stable's data are rewritten when direct changes came since, and deleting and creating
//! it for that would leave a moment without a way back.

use std::fmt;
use std::io::{Read, Write};
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use kube::core::ApiResource;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::calls::Place;
use super::raw::Raw;
use crate::model::name::{Namespace, ReleaseKey, ServiceName, TeamName};
use crate::model::object::Manifest;
use crate::model::observed::RevisionBody;
use crate::model::rollout::{Mark, Version};
use crate::model::{LABEL_ENVIRONMENT, LABEL_MANAGED_BY, LABEL_SERVICE, LABEL_TEAM, MANAGER};

/// The Secret's type.
pub const TYPE: &str = "idp.dev/revision";
/// The label with the mark; what the watch selects by.
pub const LABEL_MARK: &str = "idp.dev/mark";
/// The label with the rollout's number.
pub const LABEL_ROLLOUT: &str = "idp.dev/rollout";
/// The compressed bytes may be this many at most: with base64, names and labels a Secret stays below Kubernetes' 1 MiB of data.
pub const REVISION_BYTES: usize = 900 * 1024;
/// A version that inflates to more is not ours.
const INFLATED_BYTES: u64 = 32 * 1024 * 1024;
const ENTRY: &str = "version";

/// Why a revision could not be written or read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RevisionError {
    /// More than fits into a Secret.
    #[error(
        "the objects of one version take {bytes} bytes compressed, at most {REVISION_BYTES} fit; declare less in `files`"
    )]
    TooLarge {
        /// The compressed size.
        bytes: usize,
    },
    /// It cannot be understood.
    #[error("revision Secret {name} cannot be read: {reason}")]
    Unreadable {
        /// The Secret's name.
        name: String,
        /// Why.
        reason: String,
    },
}

/// Where a release's revisions are.
#[derive(Debug, Clone, Copy)]
pub struct Owner<'a> {
    /// The release.
    pub release: &'a ReleaseKey,
    /// Where it runs.
    pub namespace: &'a Namespace,
    /// The owning team.
    pub team: &'a TeamName,
}

/// A revision Secret as it was last seen: compressed, since a version's objects are many times larger as values.
#[derive(Clone, PartialEq, Eq)]
pub struct Sealed {
    /// The rollout that brought the version.
    pub rollout: u64,
    /// The mark.
    pub mark: Mark,
    /// The namespace.
    pub namespace: String,
    /// The Secret's name.
    pub name: String,
    /// The Secret's UID.
    pub uid: String,
    /// The version that was read.
    pub resource_version: String,
    packed: Arc<[u8]>,
}

impl fmt::Debug for Sealed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{} {} ({} bytes)", self.namespace, self.name, label(self.mark), self.packed.len())
    }
}

#[derive(Serialize, Deserialize)]
struct Contents {
    version: Version,
    objects: Vec<Manifest>,
}

/// Returns the resource.
pub fn resource() -> ApiResource {
    super::raw::resource("v1", "Secret")
}

/// Returns the name of a revision Secret: at most 40 + 25 characters.
pub fn name(service: &ServiceName, rollout: u64) -> String {
    format!("idp-{service}-{rollout}")
}

/// Returns the rollout that a revision Secret's name ends in.
pub(super) fn rollout_of(name: &str) -> Option<u64> {
    name.rsplit('-').next()?.parse().ok()
}

/// Returns a mark as it stands in the label.
pub fn label(mark: Mark) -> &'static str {
    match mark {
        Mark::Candidate => "candidate",
        Mark::Stable => "stable",
        Mark::Held => "held",
        Mark::Parked => "parked",
        Mark::Superseded => "superseded",
    }
}

fn mark(label: &str) -> Option<Mark> {
    [Mark::Candidate, Mark::Stable, Mark::Held, Mark::Parked, Mark::Superseded]
        .into_iter()
        .find(|mark| self::label(*mark) == label)
}

/// Packs a version and its objects.
pub fn pack(version: &Version, objects: &[Manifest]) -> Result<Vec<u8>, RevisionError> {
    let unreadable = |reason: String| RevisionError::Unreadable { name: String::new(), reason };
    let json = serde_json::to_vec(&json!({"version": version, "objects": objects}))
        .map_err(|error| unreadable(error.to_string()))?;
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(&json).map_err(|error| unreadable(error.to_string()))?;
    let packed = encoder.finish().map_err(|error| unreadable(error.to_string()))?;
    if packed.len() > REVISION_BYTES {
        return Err(RevisionError::TooLarge { bytes: packed.len() });
    }
    Ok(packed)
}

/// Returns the body of a revision Secret; with what was read last, the body that replaces it.
pub fn body(owner: Owner<'_>, rollout: u64, mark: Mark, packed: &[u8], over: Option<&Sealed>) -> Value {
    let Owner { release, namespace, team } = owner;
    let mut metadata = json!({
        "name": name(&release.service, rollout), "namespace": namespace,
        "labels": {
            LABEL_SERVICE: release.service, LABEL_ENVIRONMENT: release.environment, LABEL_TEAM: team,
            LABEL_MANAGED_BY: MANAGER, LABEL_MARK: label(mark), LABEL_ROLLOUT: rollout.to_string(),
        },
    });
    if let (Some(over), Value::Object(metadata)) = (over, &mut metadata) {
        metadata.insert("uid".to_owned(), over.uid.clone().into());
        metadata.insert("resourceVersion".to_owned(), over.resource_version.clone().into());
    }
    json!({"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "type": TYPE,
        "data": {ENTRY: STANDARD.encode(packed)}})
}

impl Sealed {
    /// Takes a Secret from the cluster; none if it is no revision of ours.
    pub fn read<const META: bool>(raw: &Raw<META>) -> Result<Self, RevisionError> {
        let unreadable = |reason: &str| RevisionError::Unreadable {
            name: format!("{}/{}", raw.namespace(), raw.name()),
            reason: reason.to_owned(),
        };
        if raw.value().get("type").and_then(Value::as_str) != Some(TYPE) {
            return Err(unreadable("its type is not idp.dev/revision"));
        }
        let rollout = raw.label(LABEL_ROLLOUT).and_then(|text| text.parse().ok());
        if rollout.is_some() && rollout != rollout_of(raw.name()) {
            return Err(unreadable("its label idp.dev/rollout is not the number in its name"));
        }
        let data = raw.value().pointer("/data/version").and_then(Value::as_str);
        let packed = data.and_then(|text| STANDARD.decode(text).ok());
        Ok(Self {
            rollout: rollout.ok_or_else(|| unreadable("its label idp.dev/rollout is no number"))?,
            mark: raw
                .label(LABEL_MARK)
                .and_then(mark)
                .ok_or_else(|| unreadable("its label idp.dev/mark is unknown"))?,
            namespace: raw.namespace().to_owned(),
            name: raw.name().to_owned(),
            uid: raw.uid().to_owned(),
            resource_version: raw.resource_version().to_owned(),
            packed: packed.ok_or_else(|| unreadable("its data have no entry `version` in base64"))?.into(),
        })
    }

    /// Returns the compressed bytes.
    pub fn packed(&self) -> &[u8] {
        &self.packed
    }

    /// Returns where the Secret is.
    pub fn place<'a>(&'a self, resource: &'a ApiResource) -> Place<'a> {
        Place { resource, namespace: &self.namespace, name: &self.name }
    }

    /// Unpacks the version and its objects.
    pub fn open(&self) -> Result<RevisionBody, RevisionError> {
        let unreadable = |reason: String| RevisionError::Unreadable {
            name: format!("{}/{}", self.namespace, self.name),
            reason,
        };
        let mut json = Vec::new();
        GzDecoder::new(&*self.packed)
            .take(INFLATED_BYTES)
            .read_to_end(&mut json)
            .map_err(|error| unreadable(error.to_string()))?;
        let Contents { version, objects } =
            serde_json::from_slice(&json).map_err(|error| unreadable(error.to_string()))?;
        Ok(RevisionBody { rollout: self.rollout, version, mark: self.mark, objects: Arc::new(objects) })
    }
}
