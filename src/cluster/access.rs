//! Who a bearer token belongs to, and what that person may do: both are asked of the API server, which knows.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Value, json};

use super::calls::{Calls, Place};
use super::error::ApiError;
use super::raw::resource;
use crate::model::GROUP;

/// Who asks, as the API server says.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
pub struct Caller {
    /// The name.
    #[serde(rename = "username")]
    pub name: String,
    #[serde(default)]
    uid: String,
    #[serde(default)]
    groups: Vec<String>,
    #[serde(default)]
    extra: BTreeMap<String, Vec<String>>,
}

/// Returns whose token it is; `None`: nobody's.
pub async fn caller(calls: &Calls, token: &str) -> Result<Option<Caller>, ApiError> {
    let (api_version, kind) = ("authentication.k8s.io/v1", "TokenReview");
    let resource = resource(api_version, kind);
    let place = Place { resource: &resource, namespace: "", name: "" };
    let body = json!({"apiVersion": api_version, "kind": kind, "metadata": {}, "spec": {"token": token}});
    let answer = calls.create(&place, body).await?;
    let status = answer.value().get("status").cloned().unwrap_or(Value::Null);
    if status.get("authenticated").and_then(Value::as_bool) != Some(true) {
        return Ok(None);
    }
    let user = status.get("user").cloned().unwrap_or(Value::Null);
    Ok(serde_json::from_value(user).ok().filter(|caller: &Caller| !caller.name.is_empty()))
}

/// Tells whether a person may do `verb` with a `Release`.
pub async fn may(
    calls: &Calls,
    caller: &Caller,
    verb: &str,
    namespace: &str,
    name: &str,
) -> Result<bool, ApiError> {
    let (api_version, kind) = ("authorization.k8s.io/v1", "SubjectAccessReview");
    let resource = resource(api_version, kind);
    let place = Place { resource: &resource, namespace: "", name: "" };
    let asked =
        json!({"group": GROUP, "resource": "releases", "verb": verb, "namespace": namespace, "name": name});
    let spec = json!({
        "user": caller.name, "uid": caller.uid, "groups": caller.groups, "extra": caller.extra,
        "resourceAttributes": asked,
    });
    let body = json!({"apiVersion": api_version, "kind": kind, "metadata": {}, "spec": spec});
    let answer = calls.create(&place, body).await?;
    Ok(answer.value().pointer("/status/allowed").and_then(Value::as_bool) == Some(true))
}
