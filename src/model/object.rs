//! Kubernetes objects as values: their key, what they are for, and their body.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// What an object is, without its version's history: two bodies with one key are the same object.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ObjectKey {
    /// `v1`, `apps/v1`, …
    pub api_version: String,
    /// `Deployment`, `Service`, …
    pub kind: String,
    /// The namespace; empty for cluster-scoped objects.
    pub namespace: String,
    /// The name.
    pub name: String,
}

/// Why a text is not an object key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not an object key: write <apiVersion>:<kind>:<namespace>:<name>")]
pub struct ObjectKeyError(String);

impl fmt::Display for ObjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}:{}", self.api_version, self.kind, self.namespace, self.name)
    }
}

impl ObjectKey {
    /// Returns what people call it: `Service shop/web`.
    pub fn for_people(&self) -> String {
        format!("{} {}/{}", self.kind, self.namespace, self.name)
    }
}

impl FromStr for ObjectKey {
    type Err = ObjectKeyError;

    fn from_str(text: &str) -> Result<Self, ObjectKeyError> {
        let mut parts = text.splitn(4, ':');
        let mut next = || parts.next().map(str::to_owned).ok_or_else(|| ObjectKeyError(text.to_owned()));
        Ok(Self { api_version: next()?, kind: next()?, namespace: next()?, name: next()? })
    }
}

impl TryFrom<String> for ObjectKey {
    type Error = ObjectKeyError;

    fn try_from(text: String) -> Result<Self, ObjectKeyError> {
        text.parse()
    }
}

impl From<ObjectKey> for String {
    fn from(key: ObjectKey) -> Self {
        key.to_string()
    }
}

/// What an object is for, which decides when its body may change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Config with a content hash in its name: additive, several generations side by side.
    Config,
    /// The Deployment whose pod template a rollout changes. Its body has `spec.replicas: 0`, which is used at creation only.
    Workload,
    /// Everything that stable and candidate share (Service, routes): changed directly, or after promotion during a canary.
    Shared,
    /// A Job, of a gate or of a service that is one: made suspended, started once, never changed, and taken away when its rollout is over.
    Job,
}

/// The hash of an object's body without the annotations that change with every commit: 16 hexadecimal digits.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ContentHash(pub String);

/// A rendered object.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    /// Which object.
    pub key: ObjectKey,
    /// What it is for.
    pub role: Role,
    /// The hash of `body`.
    pub hash: ContentHash,
    /// The body, as it is applied by the manager `idp`.
    pub body: Value,
}

/// What proves that a write meets the object that was read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fence {
    /// The object's UID.
    pub uid: String,
    /// The resource version that was read.
    pub resource_version: String,
}
