//! From a reply to the bytes that the caller asked for: plain JSON, metadata only, or a Table.

use std::sync::Arc;

use http::{HeaderMap, header};
use jiff::Timestamp;
use serde_json::{Value, json};

use super::{super::json, core::Body, error::ApiError, kinds::KindSpec, table};

/// How the caller wants objects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    Plain,
    Metadata,
    Table,
}

/// Reads the `Accept` header; the first form that the server knows counts.
pub(crate) fn form(headers: &HeaderMap) -> Result<Form, ApiError> {
    let accept = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or("*/*");
    for choice in accept.split(',') {
        let mut parts = choice.split(';').map(str::trim);
        let media = parts.next().unwrap_or_default();
        if !matches!(media, "application/json" | "*/*" | "application/*" | "") {
            continue;
        }
        let parameters: Vec<&str> = parts.collect();
        let value = |name: &str| parameters.iter().find_map(|part| part.strip_prefix(name));
        match (value("as="), value("g=")) {
            (None, _) => return Ok(Form::Plain),
            (Some("Table"), Some("meta.k8s.io")) if value("v=") == Some("v1") => return Ok(Form::Table),
            (Some("PartialObjectMetadata" | "PartialObjectMetadataList"), _) => return Ok(Form::Metadata),
            // Something that is not served, such as aggregated discovery: the next choice counts.
            _ => {}
        }
    }
    Err(ApiError::new(406, "NotAcceptable", "only the following media types are accepted: application/json"))
}

/// What a reply's body is written as.
pub(crate) struct Writer<'a> {
    pub(crate) form: Form,
    pub(crate) kind: &'a Arc<KindSpec>,
    pub(crate) now: Timestamp,
    /// `includeObject` of the query.
    pub(crate) include: &'a str,
}

impl Writer<'_> {
    pub(crate) fn body(&self, body: &Body) -> Value {
        match body {
            Body::Object(object) => self.object(object),
            Body::List { items, version } => self.list(items, &version.to_string()),
        }
    }

    /// One object. A `Status` or a `Scale` has no other form.
    pub(crate) fn object(&self, object: &Value) -> Value {
        if json::text(object, &["kind"]) != self.kind.kind {
            return object.clone();
        }
        match self.form {
            Form::Plain => object.clone(),
            Form::Metadata => metadata_only(object),
            Form::Table => {
                let version = json::text(object, &["metadata", "resourceVersion"]);
                table::table(self.kind, &[object], version, self.now, self.include)
            }
        }
    }

    fn list(&self, items: &[Arc<Value>], version: &str) -> Value {
        match self.form {
            Form::Plain => json!({
                "kind": format!("{}List", self.kind.kind), "apiVersion": self.kind.api_version(),
                "metadata": {"resourceVersion": version}, "items": items,
            }),
            Form::Metadata => {
                let items: Vec<Value> = items.iter().map(|object| metadata_only(object)).collect();
                json!({
                    "kind": "PartialObjectMetadataList", "apiVersion": "meta.k8s.io/v1",
                    "metadata": {"resourceVersion": version}, "items": items,
                })
            }
            Form::Table => {
                let items: Vec<&Value> = items.iter().map(|object| &**object).collect();
                table::table(self.kind, &items, version, self.now, self.include)
            }
        }
    }

    /// The object of a bookmark, which says nothing but how far the watch is.
    pub(crate) fn bookmark(&self, version: u64, initial_end: bool) -> Value {
        let mut meta = json!({"resourceVersion": version.to_string(), "creationTimestamp": null});
        if initial_end {
            json::set(&mut meta, &["annotations"], json!({"k8s.io/initial-events-end": "true"}));
        }
        match self.form {
            Form::Table => {
                let empty = table::table(self.kind, &[], &version.to_string(), self.now, self.include);
                let mut out = empty;
                json::set(&mut out, &["metadata"], json!({"resourceVersion": version.to_string()}));
                out
            }
            Form::Metadata => json!({
                "kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": meta,
            }),
            Form::Plain => json!({
                "kind": self.kind.kind, "apiVersion": self.kind.api_version(), "metadata": meta,
            }),
        }
    }
}

/// The metadata of an object alone.
pub(crate) fn metadata_only(object: &Value) -> Value {
    json!({
        "kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1",
        "metadata": object.get("metadata").cloned().unwrap_or_default(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_known_form_counts() {
        let ask = |accept: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::ACCEPT, accept.parse().unwrap());
            form(&headers).map_err(|error| error.code)
        };
        assert_eq!(ask("application/json;as=Table;v=v1;g=meta.k8s.io,application/json"), Ok(Form::Table));
        assert_eq!(
            ask("application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json"),
            Ok(Form::Plain)
        );
        assert_eq!(ask("application/vnd.kubernetes.protobuf"), Err(406));
        assert_eq!(ask("application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1"), Ok(Form::Metadata));
    }
}
