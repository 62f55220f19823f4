//! What the API server answers when it refuses: a `metav1.Status`, worded as the genuine server words it.

use serde_json::{Value, json};

use super::kinds::KindSpec;

/// A refusal: the HTTP code and the `Status` body.
#[derive(Debug, Clone)]
pub(crate) struct ApiError {
    pub(crate) code: u16,
    pub(crate) status: Box<Value>,
}

/// One cause of an `Invalid` answer.
pub(crate) struct FieldError {
    reason: &'static str,
    field: String,
    body: String,
}

impl FieldError {
    pub(crate) fn invalid(field: impl Into<String>, value: &Value, why: &str) -> Self {
        Self {
            reason: "FieldValueInvalid",
            field: field.into(),
            body: format!("Invalid value: {value}: {why}"),
        }
    }

    /// A value of the schema's wrong type; only its type is shown.
    pub(crate) fn of_type(field: &str, wanted: &str, got: &str) -> Self {
        Self {
            reason: "FieldValueTypeInvalid",
            field: field.to_owned(),
            body: format!("Invalid value: {got:?}: {field} in body must be of type {wanted}: {got:?}"),
        }
    }

    pub(crate) fn required(field: impl Into<String>, why: &str) -> Self {
        let body =
            if why.is_empty() { "Required value".to_owned() } else { format!("Required value: {why}") };
        Self { reason: "FieldValueRequired", field: field.into(), body }
    }

    pub(crate) fn forbidden(field: impl Into<String>, why: &str) -> Self {
        Self { reason: "FieldValueForbidden", field: field.into(), body: format!("Forbidden: {why}") }
    }

    pub(crate) fn too_long(field: impl Into<String>, limit: usize) -> Self {
        Self {
            reason: "FieldValueTooLong",
            field: field.into(),
            body: format!("Too long: may not be more than {limit} bytes"),
        }
    }

    pub(crate) fn duplicate(field: impl Into<String>, value: &Value) -> Self {
        Self { reason: "FieldValueDuplicate", field: field.into(), body: format!("Duplicate value: {value}") }
    }

    pub(crate) fn not_supported(field: impl Into<String>, value: &Value, known: &[&str]) -> Self {
        let known: Vec<String> = known.iter().map(|one| format!("{one:?}")).collect();
        Self {
            reason: "FieldValueNotSupported",
            field: field.into(),
            body: format!("Unsupported value: {value}: supported values: {}", known.join(", ")),
        }
    }
}

impl ApiError {
    /// An option of the request itself is invalid.
    pub(crate) fn invalid_option(field: &str, reason: &str, body: &str) -> Self {
        let message = format!("PatchOptions.meta.k8s.io \"\" is invalid: {field}: {body}");
        let mut error = Self::new(422, "Invalid", message);
        let details = json!({
            "group": "meta.k8s.io", "kind": "PatchOptions",
            "causes": [{"reason": reason, "message": body, "field": field}],
        });
        super::super::json::set(&mut error.status, &["details"], details);
        error
    }

    /// A failure without a reason, as errors that the genuine server did not foresee are answered.
    pub(crate) fn unforeseen(message: impl Into<String>) -> Self {
        let mut error = Self::new(500, "", message);
        super::super::json::remove(&mut error.status, &["reason"]);
        error
    }

    /// A refusal with every part given.
    pub(crate) fn new(code: u16, reason: &str, message: impl Into<String>) -> Self {
        Self {
            code,
            status: Box::new(json!({
                "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
                "message": message.into(), "reason": reason, "code": code,
            })),
        }
    }

    fn about(mut self, kind: &KindSpec, name: &str) -> Self {
        let mut details = json!({ "name": name, "kind": kind.plural });
        if !kind.group.is_empty() {
            super::super::json::set(&mut details, &["group"], kind.group.as_str());
        }
        super::super::json::set(&mut self.status, &["details"], details);
        self
    }

    pub(crate) fn not_found(kind: &KindSpec, name: &str) -> Self {
        let message = format!("{} {name:?} not found", kind.qualified());
        Self::new(404, "NotFound", message).about(kind, name)
    }

    /// No group, version or resource is at the path: a genuine server does not even answer with a `Status`.
    pub(crate) fn no_such_page() -> Self {
        Self { code: 404, status: Box::new(Value::from("404 page not found\n")) }
    }

    /// An update must say what it is based on. Here the resource stands in the place of the kind.
    pub(crate) fn version_required(kind: &KindSpec, name: &str) -> Self {
        let error =
            FieldError::invalid("metadata.resourceVersion", &json!(0), "must be specified for an update");
        let text = format!("{} {name:?} is invalid: {}: {}", kind.qualified(), error.field, error.body);
        let cause = json!({"reason": error.reason, "message": error.body, "field": error.field});
        Self::new(422, "Invalid", text).about(kind, name).with_causes(vec![cause])
    }

    /// The object has no such subresource.
    pub(crate) fn no_such_path() -> Self {
        Self::new(404, "NotFound", "the server could not find the requested resource")
    }

    /// A precondition of a deletion does not hold. Here the kind is named, not the resource.
    pub(crate) fn precondition(kind: &KindSpec, name: &str, why: &str) -> Self {
        let qualified =
            if kind.group.is_empty() { kind.kind.clone() } else { format!("{}.{}", kind.kind, kind.group) };
        let message = format!("Operation cannot be fulfilled on {qualified} {name:?}: {why}");
        let mut error = Self::new(409, "Conflict", message).about(kind, name);
        super::super::json::set(&mut error.status, &["details", "kind"], kind.kind.as_str());
        error
    }

    pub(crate) fn already_exists(kind: &KindSpec, name: &str) -> Self {
        let message = format!("{} {name:?} already exists", kind.qualified());
        Self::new(409, "AlreadyExists", message).about(kind, name)
    }

    pub(crate) fn conflict(kind: &KindSpec, name: &str, why: &str) -> Self {
        let message = format!("Operation cannot be fulfilled on {} {name:?}: {why}", kind.qualified());
        Self::new(409, "Conflict", message).about(kind, name)
    }

    /// The object moved on since the caller read it.
    pub(crate) fn modified(kind: &KindSpec, name: &str) -> Self {
        Self::conflict(
            kind,
            name,
            "the object has been modified; please apply your changes to the latest version and try again",
        )
    }

    pub(crate) fn forbidden(kind: &KindSpec, name: &str, why: &str) -> Self {
        let message = format!("{} {name:?} is forbidden: {why}", kind.qualified());
        Self::new(403, "Forbidden", message).about(kind, name)
    }

    pub(crate) fn bad_request(message: impl Into<String>) -> Self {
        Self::new(400, "BadRequest", message)
    }

    pub(crate) fn expired(message: impl Into<String>) -> Self {
        Self::new(410, "Expired", message)
    }

    pub(crate) fn method_not_allowed() -> Self {
        Self::new(405, "MethodNotAllowed", "the server does not allow this method on the requested resource")
    }

    pub(crate) fn invalid(kind: &KindSpec, name: &str, errors: &[FieldError]) -> Self {
        let mut lines: Vec<String> =
            errors.iter().map(|one| format!("{}: {}", one.field, one.body)).collect();
        lines.dedup();
        let text = match lines.as_slice() {
            [only] => only.clone(),
            many => format!("[{}]", many.join(", ")),
        };
        let qualified =
            if kind.group.is_empty() { kind.kind.clone() } else { format!("{}.{}", kind.kind, kind.group) };
        let mut error =
            Self::new(422, "Invalid", format!("{qualified} {name:?} is invalid: {text}")).about(kind, name);
        let causes: Vec<Value> = errors
            .iter()
            .map(|one| json!({"reason": one.reason, "message": one.body, "field": one.field}))
            .collect();
        super::super::json::set(&mut error.status, &["details", "kind"], kind.kind.as_str());
        super::super::json::set(&mut error.status, &["details", "causes"], causes);
        error
    }

    /// Adds `details.causes`.
    pub(crate) fn with_causes(mut self, causes: Vec<Value>) -> Self {
        super::super::json::set(&mut self.status, &["details", "causes"], causes);
        self
    }

    /// Adds `details.retryAfterSeconds`.
    pub(crate) fn with_retry_after(mut self, seconds: u32) -> Self {
        super::super::json::set(&mut self.status, &["details", "retryAfterSeconds"], seconds);
        self
    }
}
