//! One call to the Kubernetes API: one try, one deadline, one typed answer. Everything in this room but the watches goes through it.

use std::future::Future;
use std::time::Duration;

use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams, Preconditions};
use kube::core::ApiResource;
use kube::{Api, Client, Resource as _};
use serde_json::Value;

use super::error::ApiError;
use super::raw::Raw;
use crate::model::MANAGER;

/// How long one call may take before its outcome counts as unknown.
pub const DEADLINE: Duration = Duration::from_secs(10);

/// A client with a deadline.
#[derive(Clone)]
pub struct Calls {
    client: Client,
    deadline: Duration,
}

/// Where an object is: `namespace` is empty for cluster-scoped kinds.
#[derive(Debug, Clone, Copy)]
pub struct Place<'a> {
    /// The kind.
    pub resource: &'a ApiResource,
    /// The namespace, or empty.
    pub namespace: &'a str,
    /// The name.
    pub name: &'a str,
}

/// A page of a list.
#[derive(Debug)]
pub struct Page {
    /// The objects.
    pub items: Vec<Raw>,
    /// What to ask the next page with; `None` on the last.
    pub next: Option<String>,
}

impl Calls {
    /// Returns calls with [`DEADLINE`].
    pub fn new(client: Client) -> Self {
        Self { client, deadline: DEADLINE }
    }

    /// Returns calls with another deadline.
    #[must_use]
    pub fn with_deadline(self, deadline: Duration) -> Self {
        Self { deadline, ..self }
    }

    /// Returns the client, for watches.
    pub fn client(&self) -> Client {
        self.client.clone()
    }

    fn api(&self, place: &Place<'_>) -> Api<Raw> {
        match place.namespace {
            "" => Api::all_with(self.client.clone(), place.resource),
            namespace => Api::namespaced_with(self.client.clone(), namespace, place.resource),
        }
    }

    async fn within<T>(&self, call: impl Future<Output = Result<T, kube::Error>>) -> Result<T, ApiError> {
        match tokio::time::timeout(self.deadline, call).await {
            Ok(answer) => answer.map_err(ApiError::from),
            Err(_) => Err(ApiError::Timeout { after: self.deadline }),
        }
    }

    /// Reads one object; `None`: it is certainly not there.
    pub async fn get(&self, place: &Place<'_>) -> Result<Option<Raw>, ApiError> {
        self.within(self.api(place).get_opt(place.name)).await
    }

    /// Reads one page of at most `limit` objects of all namespaces.
    pub async fn list(
        &self,
        resource: &ApiResource,
        limit: u32,
        next: Option<String>,
    ) -> Result<Page, ApiError> {
        let place = Place { resource, namespace: "", name: "" };
        let params = ListParams { limit: Some(limit), continue_token: next, ..ListParams::default() };
        let list = self.within(self.api(&place).list(&params)).await?;
        let next = list.metadata.continue_.filter(|token| !token.is_empty());
        Ok(Page { items: list.items, next })
    }

    /// Creates an object by the manager `idp`; one that exists is a conflict.
    pub async fn create(&self, place: &Place<'_>, body: Value) -> Result<Raw, ApiError> {
        let params = PostParams { field_manager: Some(MANAGER.to_owned()), ..PostParams::default() };
        self.within(self.api(place).create(&params, &Raw::new(body))).await
    }

    /// Replaces an object by the manager `idp`; the body carries its UID and resource version.
    pub async fn replace(&self, place: &Place<'_>, body: Value) -> Result<Raw, ApiError> {
        let params = PostParams { field_manager: Some(MANAGER.to_owned()), ..PostParams::default() };
        self.within(self.api(place).replace(place.name, &params, &Raw::new(body))).await
    }

    /// Server-side apply by a manager.
    pub async fn apply(
        &self,
        place: &Place<'_>,
        manager: &str,
        force: bool,
        body: &Value,
    ) -> Result<Raw, ApiError> {
        let params = PatchParams { force, field_manager: Some(manager.to_owned()), ..PatchParams::default() };
        self.within(self.api(place).patch(place.name, &params, &Patch::Apply(body))).await
    }

    /// JSON merge patch by the manager `idp`.
    pub async fn merge(&self, place: &Place<'_>, patch: &Value) -> Result<Raw, ApiError> {
        let params = PatchParams { field_manager: Some(MANAGER.to_owned()), ..PatchParams::default() };
        self.within(self.api(place).patch(place.name, &params, &Patch::Merge(patch))).await
    }

    /// JSON patch by a manager.
    pub async fn patch(
        &self,
        place: &Place<'_>,
        manager: &str,
        operations: &[Value],
    ) -> Result<Raw, ApiError> {
        let namespace = Some(place.namespace).filter(|namespace| !namespace.is_empty());
        let path = Raw::<false>::url_path(place.resource, namespace);
        let wrong =
            |error: &dyn std::fmt::Display| ApiError::Invalid(format!("a patch of {}: {error}", place.name));
        let body = serde_json::to_vec(operations).map_err(|error| wrong(&error))?;
        let request = http::Request::patch(format!("{path}/{}?fieldManager={manager}", place.name))
            .header(http::header::CONTENT_TYPE, "application/json-patch+json")
            .body(body)
            .map_err(|error| wrong(&error))?;
        self.within(self.client.request(request)).await
    }

    /// JSON merge patch on `/status` by the manager `idp`.
    pub async fn merge_status(&self, place: &Place<'_>, patch: &Value) -> Result<Raw, ApiError> {
        let params = PatchParams { field_manager: Some(MANAGER.to_owned()), ..PatchParams::default() };
        self.within(self.api(place).patch_status(place.name, &params, &Patch::Merge(patch))).await
    }

    /// JSON merge patch on `/scale` by a manager.
    pub async fn merge_scale(&self, place: &Place<'_>, manager: &str, patch: &Value) -> Result<(), ApiError> {
        let params = PatchParams { field_manager: Some(manager.to_owned()), ..PatchParams::default() };
        let patch = Patch::Merge(patch);
        self.within(self.api(place).patch_scale(place.name, &params, &patch)).await.map(drop)
    }

    /// Deletes an object by UID, dependents in the background. Returns the object while finalizers hold it, `None` once it is gone.
    /// Another UID is a conflict.
    pub async fn delete(&self, place: &Place<'_>, uid: &str) -> Result<Option<Raw>, ApiError> {
        let preconditions = Preconditions { uid: Some(uid.to_owned()), resource_version: None };
        let params = DeleteParams { preconditions: Some(preconditions), ..DeleteParams::background() };
        let answer = self.within(self.api(place).delete(place.name, &params)).await?;
        Ok(answer.left())
    }
}
