//! Executes [`Write`]s, one call each. Nothing is tried twice: a write that met something newer is answered with a typed error and
//! the pass looks again.
//!
//! How a write is kept from hitting what it was not meant for (read in the API server's own sources, 1.36):
//! - *over an existing object*: the body carries `metadata.uid` and `metadata.resourceVersion`. A newer object is 409, another UID
//!   under the name 409 or 422, and an object that is gone is 409 too ("uid mismatch: … no existing object was found"); without
//!   the UID a resource version alone would create it anew, with a default of one pod.
//! - *of an object that is not there*: POST would be refused over an existing one, but leaves its fields to the manager entry
//!   (`idp`, Update); the (`idp`, Apply) entry of the next write would only share them, and a field dropped from Git would then
//!   never leave the cluster. So it is a server-side apply as well, with the resource version `1`: when the object is absent the
//!   server creates it and ignores the version; when it exists the server compares and answers 409, because no object can have
//!   that version (etcd's first write has 2). It is not forced, so that a foreign owner is named in the answer.

use serde_json::{Map, Value, json};

use super::calls::{Calls, Place};
use super::error::ApiError;
use super::raw::{Raw, resource_of};
use super::revision::{self, Owner, RevisionError, Sealed};
use super::view::View;
use crate::model::object::{Fence, Manifest, ObjectKey};
use crate::model::observed::Live;
use crate::model::rollout::{Mark, Version};
use crate::model::write::Write;
use crate::model::{MANAGER, MANAGER_ROLLOUT};

/// The resource version that no object has.
const NEVER: &str = "1";

/// What a write led to.
#[derive(Debug, Clone, PartialEq)]
pub struct Applied {
    /// The object; none for revisions.
    pub key: Option<ObjectKey>,
    /// The object as the server answered; `None` once it is deleted, and for revisions.
    pub live: Option<Live>,
}

/// Why a write was not executed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WriteError {
    /// What was read is not what is there: newer, another object under the name, gone, or there although it was absent.
    #[error("{what} is not as it was read")]
    Conflict {
        /// The object.
        what: String,
        /// What the server said.
        #[source]
        source: ApiError,
    },
    /// The server refused it, or did not answer.
    #[error("{what} could not be written")]
    Api {
        /// The object.
        what: String,
        /// What the server said.
        #[source]
        source: ApiError,
    },
    /// A version does not fit into its Secret, or a Secret cannot be read.
    #[error("the revision of rollout {rollout} could not be written")]
    Revision {
        /// The rollout.
        rollout: u64,
        /// Why.
        #[source]
        source: RevisionError,
    },
}

impl WriteError {
    /// Returns whether another look or another time can help without anybody changing something.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Conflict { .. } => true,
            Self::Api { source, .. } => source.is_transient(),
            Self::Revision { .. } => false,
        }
    }

    /// Returns one sentence for people where the cluster, or a budget, refuses it; for `Observed::refusals`.
    pub fn refusal(&self) -> Option<String> {
        match self {
            Self::Conflict { source: ApiError::Conflict { managers, .. }, what } if !managers.is_empty() => {
                Some(format!("{what} has fields that belong to {}", managers.join(", ")))
            }
            Self::Conflict { .. } => None,
            Self::Api { source, .. } => source.refusal(),
            Self::Revision { source, .. } => Some(source.to_string()),
        }
    }

    /// Returns the server's answer, if there was one.
    pub fn api(&self) -> Option<&ApiError> {
        match self {
            Self::Conflict { source, .. } | Self::Api { source, .. } => Some(source),
            Self::Revision { .. } => None,
        }
    }
}

/// Executes one write of a release and notes the server's answer in the view, so that it is never read staler than it was written.
pub async fn execute(
    calls: &Calls,
    view: &View,
    owner: Owner<'_>,
    write: &Write,
) -> Result<Applied, WriteError> {
    match write {
        Write::Apply { manifest, fence } => apply(calls, view, owner, manifest, fence.as_ref()).await,
        Write::Scale { key, replicas, fence } => {
            narrow(calls, view, owner, key, json!({"spec": {"replicas": replicas}}), fence).await
        }
        Write::Start { key, fence } => {
            narrow(calls, view, owner, key, json!({"spec": {"suspend": false}}), fence).await
        }
        Write::Raise { key, replicas, fence } => raise(calls, view, owner, (key, *replicas), fence).await,
        Write::Route { key, patch, fence } => route(calls, view, (key, patch), fence).await,
        Write::Delete { key, uid } => delete(calls, view, owner, key, uid).await,
        Write::ReplacePod { key, uid } => replace_pod(calls, key, uid).await,
        Write::SaveRevision { rollout, version, mark, objects } => {
            save(calls, view, owner, (*rollout, *mark), version, objects).await
        }
        Write::MarkRevision { rollout, mark } => mark_revision(calls, view, owner, *rollout, *mark).await,
        Write::DropRevision { rollout } => drop_revision(calls, view, owner, *rollout).await,
    }
}

async fn apply(
    calls: &Calls,
    view: &View,
    owner: Owner<'_>,
    manifest: &Manifest,
    fence: Option<&Fence>,
) -> Result<Applied, WriteError> {
    let mut body = manifest.body.clone();
    address(&mut body, &manifest.key, fence);
    // Forced only over what the inventory owns: it carries a fence because a pass has read and accepted it.
    patch(calls, view, owner, (&manifest.key, &body), MANAGER, fence.is_some()).await
}

/// Applies the one field that is the rollout's own.
async fn narrow(
    calls: &Calls,
    view: &View,
    owner: Owner<'_>,
    key: &ObjectKey,
    mut body: Value,
    fence: &Fence,
) -> Result<Applied, WriteError> {
    address(&mut body, key, Some(fence));
    patch(calls, view, owner, (key, &body), MANAGER_ROLLOUT, true).await
}

/// Writes through the scale subresource. Its answer is no whole object: the next look reads that.
async fn raise(
    calls: &Calls,
    view: &View,
    owner: Owner<'_>,
    (key, replicas): (&ObjectKey, u32),
    fence: &Fence,
) -> Result<Applied, WriteError> {
    let resource = resource_of(key);
    let place = Place { resource: &resource, namespace: &key.namespace, name: &key.name };
    let patch = json!({"metadata": {"uid": fence.uid, "resourceVersion": fence.resource_version},
        "spec": {"replicas": replicas}});
    let answer = calls.merge_scale(&place, MANAGER_ROLLOUT, &patch).await;
    view.forget(owner.release, key);
    match answer {
        Ok(()) => Ok(Applied { key: Some(key.clone()), live: None }),
        Err(source) => Err(refused(key, source)),
    }
}

/// Patches a route that belongs to somebody else. The patch sets UID and resource version to what was read, so that the server refuses it
/// over anything else.
async fn route(
    calls: &Calls,
    view: &View,
    (key, patch): (&ObjectKey, &[Value]),
    fence: &Fence,
) -> Result<Applied, WriteError> {
    let resource = resource_of(key);
    let place = Place { resource: &resource, namespace: &key.namespace, name: &key.name };
    let set = |field: &str, value: &str| json!({"op": "replace", "path": format!("/metadata/{field}"), "value": value});
    let mut operations = vec![set("uid", &fence.uid), set("resourceVersion", &fence.resource_version)];
    operations.extend(patch.iter().cloned());
    match calls.patch(&place, MANAGER_ROLLOUT, &operations).await {
        Ok(raw) => {
            let live = raw.into_live(&resource);
            view.note_route(key, &live);
            Ok(Applied { key: Some(key.clone()), live: Some(live) })
        }
        Err(source) => {
            view.forget_route(key);
            Err(refused(key, source))
        }
    }
}

/// Writes into a body which object it is and what of it was read.
fn address(body: &mut Value, key: &ObjectKey, fence: Option<&Fence>) {
    let Value::Object(map) = body else { return };
    map.insert("apiVersion".to_owned(), key.api_version.clone().into());
    map.insert("kind".to_owned(), key.kind.clone().into());
    let metadata = map.entry("metadata").or_insert_with(|| Value::Object(Map::new()));
    let Value::Object(metadata) = metadata else { return };
    metadata.insert("name".to_owned(), key.name.clone().into());
    if !key.namespace.is_empty() {
        metadata.insert("namespace".to_owned(), key.namespace.clone().into());
    }
    let version = match fence {
        Some(fence) => {
            metadata.insert("uid".to_owned(), fence.uid.clone().into());
            fence.resource_version.as_str()
        }
        None => NEVER,
    };
    metadata.insert("resourceVersion".to_owned(), version.into());
}

async fn patch(
    calls: &Calls,
    view: &View,
    owner: Owner<'_>,
    (key, body): (&ObjectKey, &Value),
    manager: &str,
    force: bool,
) -> Result<Applied, WriteError> {
    let resource = resource_of(key);
    let place = Place { resource: &resource, namespace: &key.namespace, name: &key.name };
    match calls.apply(&place, manager, force, body).await {
        Ok(raw) => {
            let live = raw.into_live(&resource);
            view.note(owner.release, key, &live);
            Ok(Applied { key: Some(key.clone()), live: Some(live) })
        }
        Err(source) => {
            // Whatever is known of it is in doubt: the next look asks the server.
            view.forget(owner.release, key);
            Err(refused(key, source))
        }
    }
}

fn refused(key: &ObjectKey, source: ApiError) -> WriteError {
    let what = key.for_people();
    match source {
        ApiError::Conflict { .. } => WriteError::Conflict { what, source },
        ApiError::Invalid(ref message) if message.contains("metadata.uid") => {
            WriteError::Conflict { what, source }
        }
        source => WriteError::Api { what, source },
    }
}

/// Deletes by UID. Gone, or another object under the name, is what was wanted.
async fn delete(
    calls: &Calls,
    view: &View,
    owner: Owner<'_>,
    key: &ObjectKey,
    uid: &str,
) -> Result<Applied, WriteError> {
    let resource = resource_of(key);
    let place = Place { resource: &resource, namespace: &key.namespace, name: &key.name };
    let live = match calls.delete(&place, uid).await {
        Ok(Some(raw)) if raw.is_deleting() => {
            let live = raw.into_live(&resource);
            view.note(owner.release, key, &live);
            Some(live)
        }
        Ok(_) | Err(ApiError::NotFound(_)) => {
            view.note_gone(owner.release, key, uid);
            None
        }
        Err(ApiError::Conflict { .. }) => {
            view.forget(owner.release, key);
            None
        }
        Err(source) => {
            view.forget(owner.release, key);
            return Err(refused(key, source));
        }
    };
    Ok(Applied { key: Some(key.clone()), live })
}

/// Deletes a pod by UID; its watch tells of it. Gone, or another pod under the name, is what was wanted.
async fn replace_pod(calls: &Calls, key: &ObjectKey, uid: &str) -> Result<Applied, WriteError> {
    let resource = resource_of(key);
    let place = Place { resource: &resource, namespace: &key.namespace, name: &key.name };
    match calls.delete(&place, uid).await {
        Ok(_) | Err(ApiError::NotFound(_) | ApiError::Conflict { .. }) => Ok(NOTHING),
        Err(source) => Err(refused(key, source)),
    }
}

const NOTHING: Applied = Applied { key: None, live: None };

/// Keeps a version. Over an existing Secret it is a replacement that names what was read; equal bytes cost no call.
async fn save(
    calls: &Calls,
    view: &View,
    owner: Owner<'_>,
    (rollout, mark): (u64, Mark),
    version: &Version,
    objects: &[Manifest],
) -> Result<Applied, WriteError> {
    let packed =
        revision::pack(version, objects).map_err(|source| WriteError::Revision { rollout, source })?;
    let name = revision::name(&owner.release.service, rollout);
    let resource = revision::resource();
    let place = Place { resource: &resource, namespace: owner.namespace.as_str(), name: &name };
    let known = view.revision(owner.release, owner.namespace, rollout);
    let body = revision::body(owner, rollout, mark, &packed, known.as_ref());
    let answer = match &known {
        Some(known) if known.packed() == packed && known.mark == mark => return Ok(NOTHING),
        Some(_) => calls.replace(&place, body).await,
        None => calls.create(&place, body).await,
    };
    settle(calls, view, owner, (&place, rollout), answer).await
}

async fn mark_revision(
    calls: &Calls,
    view: &View,
    owner: Owner<'_>,
    rollout: u64,
    mark: Mark,
) -> Result<Applied, WriteError> {
    let name = revision::name(&owner.release.service, rollout);
    let resource = revision::resource();
    let place = Place { resource: &resource, namespace: owner.namespace.as_str(), name: &name };
    let Some(known) = view.revision(owner.release, owner.namespace, rollout) else {
        let gone = Err(ApiError::NotFound(format!("Secret {name}")));
        return settle(calls, view, owner, (&place, rollout), gone).await;
    };
    if known.mark == mark {
        return Ok(NOTHING);
    }
    let patch = json!({"metadata": {"uid": known.uid, "resourceVersion": known.resource_version,
        "labels": {revision::LABEL_MARK: revision::label(mark)}}});
    let answer = calls.merge(&place, &patch).await;
    settle(calls, view, owner, (&place, rollout), answer).await
}

/// Notes what became of a revision Secret; after a refusal the Secret is read, since its watch may be behind.
async fn settle(
    calls: &Calls,
    view: &View,
    owner: Owner<'_>,
    (place, rollout): (&Place<'_>, u64),
    answer: Result<Raw, ApiError>,
) -> Result<Applied, WriteError> {
    let read = |raw: &Raw| Sealed::read(raw).map_err(|source| WriteError::Revision { rollout, source });
    let what = || format!("Secret {}/{}", place.namespace, place.name);
    match answer {
        Ok(raw) => {
            view.note_revision(owner.release, read(&raw)?);
            Ok(NOTHING)
        }
        Err(source @ (ApiError::Conflict { .. } | ApiError::NotFound(_))) => {
            match calls.get(place).await.map_err(|source| WriteError::Api { what: what(), source })? {
                Some(raw) => view.note_revision(owner.release, read(&raw)?),
                None => view.drop_revision(owner.release, owner.namespace, rollout),
            }
            Err(WriteError::Conflict { what: what(), source })
        }
        Err(source) => Err(WriteError::Api { what: what(), source }),
    }
}

async fn drop_revision(
    calls: &Calls,
    view: &View,
    owner: Owner<'_>,
    rollout: u64,
) -> Result<Applied, WriteError> {
    let Some(known) = view.revision(owner.release, owner.namespace, rollout) else { return Ok(NOTHING) };
    let resource = revision::resource();
    match calls.delete(&known.place(&resource), &known.uid).await {
        Ok(_) | Err(ApiError::NotFound(_) | ApiError::Conflict { .. }) => {
            view.drop_revision(owner.release, owner.namespace, rollout);
            Ok(NOTHING)
        }
        Err(source) => {
            Err(WriteError::Api { what: format!("Secret {}/{}", known.namespace, known.name), source })
        }
    }
}
