//! One request to a resource, parsed: what the fault hook and the request log see.

use std::{collections::HashMap, sync::Arc};

use bytes::Bytes;
use http::{HeaderMap, Method, header};
use serde_json::Value;

use super::{error::ApiError, kinds::KindSpec};

/// What a request asks for, in the words of Kubernetes' audit log; the patches are told apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Verb {
    /// One object.
    Get,
    /// Many objects.
    List,
    /// Changes as they come.
    Watch,
    /// A new object.
    Create,
    /// A whole object in place of another.
    Update,
    /// A merge, strategic merge or JSON patch.
    Patch,
    /// A server-side apply.
    Apply,
    /// One object away.
    Delete,
    /// Many objects away.
    DeleteCollection,
}

impl Verb {
    /// Whether it changes something.
    pub fn is_mutating(self) -> bool {
        !matches!(self, Self::Get | Self::List | Self::Watch)
    }
}

/// How a patch's body is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PatchKind {
    Merge,
    Strategic,
    Json,
}

/// What happens to fields that the kind does not declare.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FieldValidation {
    Ignore,
    Strict,
}

/// A request to a resource.
#[derive(Debug, Clone)]
pub struct Request {
    /// What it asks for.
    pub verb: Verb,
    /// The resource's API group; empty for core.
    pub group: String,
    /// The resource's kind.
    pub kind: String,
    /// The namespace in the path; empty if none is.
    pub namespace: String,
    /// The name in the path, or in the body of a create; empty if none is.
    pub name: String,
    /// `status`, `scale`, `binding`, `proxy` or empty.
    pub subresource: String,
    /// The caller's `User-Agent`.
    pub user_agent: String,
    /// The user that the caller impersonates; empty if none.
    pub impersonated: String,
    /// The field manager that the caller named, else the first part of its `User-Agent`.
    pub field_manager: String,
    /// Whether conflicts of an apply are to be taken over.
    pub force: bool,
    /// Whether nothing is to be stored.
    pub dry_run: bool,
    /// The body; null if there is none.
    pub body: Arc<Value>,
    pub(crate) spec: Arc<KindSpec>,
    pub(crate) query: HashMap<String, String>,
    pub(crate) patch: PatchKind,
    pub(crate) field_validation: FieldValidation,
    pub(crate) rest: String,
}

/// The parts of a resource path.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Path<'a> {
    pub(crate) group: &'a str,
    pub(crate) version: &'a str,
    pub(crate) namespace: &'a str,
    pub(crate) plural: &'a str,
    pub(crate) name: &'a str,
    pub(crate) subresource: &'a str,
    /// What follows the subresource, as in `…/proxy/metrics`.
    pub(crate) rest: String,
}

impl<'a> Path<'a> {
    /// Reads `/api/v1/…` and `/apis/<group>/<version>/…`; none if it names no resource.
    pub(crate) fn parse(path: &'a str) -> Option<Self> {
        let mut parts = path.trim_matches('/').split('/').filter(|part| !part.is_empty());
        let (group, version) = match parts.next()? {
            "api" => ("", parts.next()?),
            "apis" => (parts.next()?, parts.next()?),
            _ => return None,
        };
        let rest: Vec<&str> = parts.collect();
        let (namespace, rest) = match rest.as_slice() {
            ["namespaces", _] | ["namespaces", _, "status" | "finalize"] => ("", rest.as_slice()),
            ["namespaces", namespace, rest @ ..] => (*namespace, rest),
            rest => ("", rest),
        };
        let (plural, rest) = rest.split_first()?;
        let name = rest.first().copied().unwrap_or_default();
        let subresource = rest.get(1).copied().unwrap_or_default();
        let rest = rest.get(2..).unwrap_or_default().join("/");
        Some(Self { group, version, namespace, plural, name, subresource, rest })
    }
}

/// The query's pairs; of a repeated key the last one counts.
pub(crate) fn query_pairs(query: Option<&str>) -> HashMap<String, String> {
    url::form_urlencoded::parse(query.unwrap_or_default().as_bytes()).into_owned().collect()
}

impl Request {
    /// Reads a request for the resource at `path`.
    pub(crate) fn read(
        spec: Arc<KindSpec>,
        path: Path<'_>,
        parts: &http::request::Parts,
        body: &Bytes,
    ) -> Result<Self, ApiError> {
        let query = query_pairs(parts.uri.query());
        let (verb, patch_kind) = verb(&parts.method, &path, &query, &parts.headers)?;
        let body = read_body(&parts.headers, body)?;
        let user_agent = text_header(&parts.headers, header::USER_AGENT.as_str());
        let field_manager = match query.get("fieldManager").map(String::as_str) {
            Some("") | None => user_agent.split('/').next().unwrap_or_default().to_owned(),
            Some(given) => given.to_owned(),
        };
        if verb == Verb::Apply && query.get("fieldManager").is_none_or(String::is_empty) {
            let body = "Required value: is required for apply patch";
            return Err(ApiError::invalid_option("fieldManager", "FieldValueRequired", body));
        }
        let force = query.get("force").is_some_and(|text| text == "true");
        if force && verb != Verb::Apply {
            let body = "Forbidden: may not be specified for non-apply patch";
            return Err(ApiError::invalid_option("force", "FieldValueForbidden", body));
        }
        let name = match path.name {
            "" => super::super::json::text(&body, &["metadata", "name"]).to_owned(),
            name => name.to_owned(),
        };
        Ok(Self {
            verb,
            group: spec.group.clone(),
            kind: spec.kind.clone(),
            namespace: path.namespace.to_owned(),
            name,
            subresource: path.subresource.to_owned(),
            impersonated: text_header(&parts.headers, "impersonate-user"),
            user_agent,
            field_manager,
            force,
            dry_run: is_dry_run(&query, &body, verb),
            field_validation: match query.get("fieldValidation").map(String::as_str) {
                Some("Strict") => FieldValidation::Strict,
                _ => FieldValidation::Ignore,
            },
            body: Arc::new(body),
            spec,
            query,
            patch: patch_kind,
            rest: path.rest,
        })
    }

    /// A request as a component inside the server makes it.
    pub(crate) fn internal(
        spec: Arc<KindSpec>,
        verb: Verb,
        (namespace, name): (&str, &str),
        (agent, body): (&str, Value),
    ) -> Self {
        Self {
            verb,
            group: spec.group.clone(),
            kind: spec.kind.clone(),
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            subresource: String::new(),
            user_agent: agent.to_owned(),
            impersonated: String::new(),
            field_manager: agent.to_owned(),
            force: false,
            dry_run: false,
            body: Arc::new(body),
            spec,
            query: HashMap::new(),
            patch: PatchKind::Merge,
            field_validation: FieldValidation::Ignore,
            rest: String::new(),
        }
    }

    /// A parameter of the query, or the empty string.
    pub(crate) fn parameter(&self, name: &str) -> &str {
        self.query.get(name).map(String::as_str).unwrap_or_default()
    }
}

fn is_dry_run(query: &HashMap<String, String>, body: &Value, verb: Verb) -> bool {
    let in_body = matches!(verb, Verb::Delete | Verb::DeleteCollection)
        && !super::super::json::list(body, &["dryRun"]).is_empty();
    in_body || query.get("dryRun").is_some_and(|text| text == "All")
}

fn verb(
    method: &Method,
    path: &Path<'_>,
    query: &HashMap<String, String>,
    headers: &HeaderMap,
) -> Result<(Verb, PatchKind), ApiError> {
    let watch = query.get("watch").is_some_and(|text| text == "true" || text == "1");
    let named = !path.name.is_empty();
    let plain = |verb| Ok((verb, PatchKind::Merge));
    match (method, named) {
        (&Method::GET, _) if watch => plain(Verb::Watch),
        (&Method::GET | &Method::HEAD, true) => plain(Verb::Get),
        (&Method::GET | &Method::HEAD, false) => plain(Verb::List),
        (&Method::POST, _) => plain(Verb::Create),
        (&Method::PUT, true) => plain(Verb::Update),
        (&Method::DELETE, true) => plain(Verb::Delete),
        (&Method::DELETE, false) => plain(Verb::DeleteCollection),
        (&Method::PATCH, true) => {
            let given = text_header(headers, header::CONTENT_TYPE.as_str());
            match given.split(';').next().unwrap_or_default().trim() {
                "application/apply-patch+yaml" => plain(Verb::Apply),
                "application/merge-patch+json" => plain(Verb::Patch),
                "application/strategic-merge-patch+json" => Ok((Verb::Patch, PatchKind::Strategic)),
                "application/json-patch+json" => Ok((Verb::Patch, PatchKind::Json)),
                _ => Err(unsupported_media()),
            }
        }
        _ => Err(ApiError::method_not_allowed()),
    }
}

/// The content type is none that the resource takes.
pub(crate) fn unsupported_media() -> ApiError {
    ApiError::new(
        415,
        "UnsupportedMediaType",
        "the body of the request was in an unknown format - accepted media types include: application/json-patch+json, application/merge-patch+json, application/apply-patch+yaml",
    )
}

fn read_body(headers: &HeaderMap, body: &Bytes) -> Result<Value, ApiError> {
    if body.is_empty() {
        return Ok(Value::Null);
    }
    if body.len() > 3 * 1024 * 1024 {
        return Err(ApiError::new(
            413,
            "RequestEntityTooLarge",
            "Request entity too large: limit is 3145728",
        ));
    }
    let given = text_header(headers, header::CONTENT_TYPE.as_str());
    if given.contains("protobuf") || given.contains("cbor") {
        return Err(unsupported_media());
    }
    match serde_json::from_slice(body) {
        Ok(value) => Ok(value),
        Err(_) if given.contains("yaml") => serde_yaml::from_slice(body)
            .map_err(|error| ApiError::bad_request(format!("error decoding YAML: {error}"))),
        Err(error) => {
            Err(ApiError::bad_request(format!("couldn't get version/kind; json parse error: {error}")))
        }
    }
}

fn text_header(headers: &HeaderMap, name: &str) -> String {
    headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_taken_apart() {
        let pod = Path::parse("/api/v1/namespaces/shop/pods/web-1/status").unwrap();
        assert_eq!(
            (pod.namespace, pod.plural, pod.name, pod.subresource),
            ("shop", "pods", "web-1", "status")
        );
        let namespace = Path::parse("/api/v1/namespaces/shop").unwrap();
        assert_eq!((namespace.namespace, namespace.plural, namespace.name), ("", "namespaces", "shop"));
        let all = Path::parse("/apis/apps/v1/deployments").unwrap();
        assert_eq!((all.group, all.plural, all.name), ("apps", "deployments", ""));
        let proxied = Path::parse("/api/v1/namespaces/a/pods/p:80/proxy/x/y").unwrap();
        assert_eq!((proxied.name, proxied.rest.as_str()), ("p:80", "x/y"));
        assert_eq!(Path::parse("/version"), None);
        assert_eq!(Path::parse("/apis/apps/v1"), None);
    }
}
