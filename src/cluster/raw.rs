//! An object of any kind as JSON: what every call and every watch of this room speaks in.
//!
//! It takes whatever the server sends, so that one object with a strange field ends neither a list nor a watch; what a view needs is
//! read from it afterwards, and only that one object is skipped if it cannot be read.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Resource;
use kube::core::{ApiResource, DynamicResourceScope, GroupVersionKind};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;

use crate::model::name::ReleaseKey;
use crate::model::object::ObjectKey;
use crate::model::observed::Live;
use crate::model::{LABEL_ENVIRONMENT, LABEL_RELEASE, LABEL_SERVICE, MANAGER};

/// An object. With `META` the server is asked for metadata only.
#[derive(Clone)]
pub struct Raw<const META: bool = false> {
    /// What kube's watcher needs to know.
    meta: ObjectMeta,
    managed: bool,
    scaled: bool,
    value: Value,
}

/// Only what names it: the body may be a Secret's.
impl<const META: bool> fmt::Debug for Raw<META> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}@{}", self.namespace(), self.name(), self.resource_version())
    }
}

impl<const META: bool> Raw<META> {
    /// Takes an object's JSON; `managedFields` are read and dropped.
    pub fn new(mut value: Value) -> Self {
        let text = |name: &str| {
            value.pointer("/metadata").and_then(|meta| meta.get(name)?.as_str()).map(str::to_owned)
        };
        let meta = ObjectMeta {
            name: text("name"),
            namespace: text("namespace"),
            uid: text("uid"),
            resource_version: text("resourceVersion"),
            ..ObjectMeta::default()
        };
        let fields = value.pointer_mut("/metadata/managedFields").map(Value::take);
        if let Some(Value::Object(metadata)) = value.get_mut("metadata") {
            metadata.remove("managedFields");
        }
        let entries = fields.as_ref().and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
        let managed = entries.iter().any(|entry| is_applied_by(entry, MANAGER));
        let scaled = entries.iter().any(|entry| {
            !is_applied_by(entry, MANAGER) && entry.pointer("/fieldsV1/f:spec/f:replicas").is_some()
        });
        Self { meta, managed, scaled, value }
    }

    /// Returns the name; empty if the server sent none.
    pub fn name(&self) -> &str {
        self.meta.name.as_deref().unwrap_or_default()
    }

    /// Returns the namespace; empty for cluster-scoped objects.
    pub fn namespace(&self) -> &str {
        self.meta.namespace.as_deref().unwrap_or_default()
    }

    /// Returns the UID.
    pub fn uid(&self) -> &str {
        self.meta.uid.as_deref().unwrap_or_default()
    }

    /// Returns the resource version.
    pub fn resource_version(&self) -> &str {
        self.meta.resource_version.as_deref().unwrap_or_default()
    }

    /// Returns the body.
    pub fn value(&self) -> &Value {
        &self.value
    }

    /// Returns the body.
    pub fn into_value(self) -> Value {
        self.value
    }

    /// Returns whether deletion has begun.
    pub fn is_deleting(&self) -> bool {
        self.value.pointer("/metadata/deletionTimestamp").is_some()
    }

    /// Returns a label's value.
    pub fn label(&self, name: &str) -> Option<&str> {
        self.value.get("metadata")?.get("labels")?.get(name)?.as_str()
    }

    /// Returns the release that the labels name: `idp.dev/release` on pods and ReplicaSets, service and environment elsewhere.
    pub fn release(&self) -> Option<ReleaseKey> {
        if let Some(release) = self.label(LABEL_RELEASE) {
            return release.parse().ok();
        }
        let service = self.label(LABEL_SERVICE)?.parse().ok()?;
        let environment = self.label(LABEL_ENVIRONMENT)?.parse().ok()?;
        Some(ReleaseKey { service, environment })
    }

    /// Returns the object as a pass sees it; lists leave out kind and version of their items, so they come from `resource`.
    pub fn into_live(self, resource: &ApiResource) -> Live {
        let Self { meta, managed, scaled, mut value } = self;
        if let Value::Object(map) = &mut value {
            map.insert("apiVersion".to_owned(), Value::from(resource.api_version.as_str()));
            map.insert("kind".to_owned(), Value::from(resource.kind.as_str()));
        }
        Live {
            uid: meta.uid.unwrap_or_default(),
            resource_version: meta.resource_version.unwrap_or_default(),
            managed,
            scaled,
            object: Arc::new(value),
        }
    }
}

fn is_applied_by(entry: &Value, manager: &str) -> bool {
    let is = |name: &str, wanted: &str| entry.get(name).and_then(Value::as_str) == Some(wanted);
    is("manager", manager) && is("operation", "Apply")
}

impl<'de, const META: bool> Deserialize<'de> for Raw<META> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Value::deserialize(deserializer).map(Self::new)
    }
}

impl<const META: bool> Serialize for Raw<META> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.value.serialize(serializer)
    }
}

impl<const META: bool> Resource for Raw<META> {
    type DynamicType = ApiResource;
    type Scope = DynamicResourceScope;

    fn kind(resource: &ApiResource) -> Cow<'_, str> {
        Cow::Borrowed(&resource.kind)
    }

    fn group(resource: &ApiResource) -> Cow<'_, str> {
        Cow::Borrowed(&resource.group)
    }

    fn version(resource: &ApiResource) -> Cow<'_, str> {
        Cow::Borrowed(&resource.version)
    }

    fn plural(resource: &ApiResource) -> Cow<'_, str> {
        Cow::Borrowed(&resource.plural)
    }

    fn metadata_api() -> bool {
        META
    }

    fn meta(&self) -> &ObjectMeta {
        &self.meta
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.meta
    }
}

/// Returns the resource of a kind: its plural is the English one, as for every kind that Kubernetes itself brings.
pub fn resource(api_version: &str, kind: &str) -> ApiResource {
    let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
    ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, kind))
}

/// Returns the resource of an object's kind.
pub fn resource_of(key: &ObjectKey) -> ApiResource {
    resource(&key.api_version, &key.kind)
}

/// Returns the key of an object of this kind.
pub fn key_of<const META: bool>(resource: &ApiResource, raw: &Raw<META>) -> ObjectKey {
    ObjectKey {
        api_version: resource.api_version.clone(),
        kind: resource.kind.clone(),
        namespace: raw.namespace().to_owned(),
        name: raw.name().to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn owners_are_read_before_managed_fields_are_dropped() {
        let raw: Raw = serde_json::from_value(json!({"metadata": {"name": "a", "namespace": "n", "uid": "u", "resourceVersion": "7",
            "labels": {"idp.dev/service": "a", "idp.dev/environment": "prod"},
            "managedFields": [
                {"manager": "idp", "operation": "Apply"},
                {"manager": "idp-rollout", "operation": "Apply", "fieldsV1": {"f:spec": {"f:replicas": {}}}}]}}))
        .unwrap();
        assert_eq!(raw.release().unwrap().to_string(), "a.prod");
        let live = raw.into_live(&resource("apps/v1", "Deployment"));
        assert!(live.managed && live.scaled);
        assert_eq!((live.uid.as_str(), live.resource_version.as_str()), ("u", "7"));
        assert!(live.object.pointer("/metadata/managedFields").is_none());
        assert_eq!(live.object["kind"], "Deployment");
    }

    #[test]
    fn an_update_by_our_name_is_not_an_apply() {
        let raw: Raw = serde_json::from_value(json!({"metadata": {"managedFields": [
            {"manager": "idp", "operation": "Update"}, {"manager": "kubectl", "operation": "Apply"}]}}))
        .unwrap();
        let live = raw.into_live(&resource("v1", "Service"));
        assert!(!live.managed && !live.scaled);
    }

    #[test]
    fn strange_objects_are_taken_and_never_printed() {
        for text in [
            "null",
            "[]",
            "{\"metadata\":3}",
            "{\"metadata\":{\"managedFields\":{\"a\":1}},\"data\":\"c2VjcmV0\"}",
        ] {
            let raw: Raw = serde_json::from_str(text).unwrap();
            assert!(!format!("{raw:?}").contains("c2VjcmV0"));
            assert!(raw.release().is_none());
        }
    }

    #[test]
    fn resources_get_their_plural() {
        let plural = |api_version, kind| resource(api_version, kind).plural;
        assert_eq!(plural("v1", "ConfigMap"), "configmaps");
        assert_eq!(plural("networking.k8s.io/v1", "NetworkPolicy"), "networkpolicies");
        assert_eq!(resource("idp.dev/v1alpha1", "Release").plural, "releases");
    }
}
