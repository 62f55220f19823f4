//! The namespace of a release, where an environment lets it be created.

use serde_json::json;

use super::calls::{Calls, Place};
use super::error::ApiError;
use super::raw::resource;
use super::view::View;
use crate::model::name::Namespace;
use crate::model::{LABEL_MANAGED_BY, MANAGER};

/// Creates a namespace where the environment allows it; one that is there is left as it is, and one on
/// its way out is an error.
pub async fn ensure_namespace(calls: &Calls, view: &View, namespace: &Namespace) -> Result<(), ApiError> {
    let resource = resource("v1", "Namespace");
    let place = Place { resource: &resource, namespace: "", name: namespace.as_str() };
    let body = json!({"apiVersion": "v1", "kind": "Namespace",
        "metadata": {"name": namespace, "labels": {LABEL_MANAGED_BY: MANAGER}}});
    let raw = match calls.create(&place, body).await {
        Ok(raw) => raw,
        Err(error @ ApiError::Conflict { .. }) => calls.get(&place).await?.ok_or(error)?,
        Err(error) => return Err(error),
    };
    view.note_namespace(namespace.as_str(), raw.uid(), raw.resource_version(), raw.is_deleting());
    if raw.is_deleting() {
        return Err(ApiError::NotFound(format!("namespace {namespace} is being deleted")));
    }
    Ok(())
}
