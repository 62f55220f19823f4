//! From a request's body to an object of its kind: unknown fields go, quantities take their canonical form.

use std::fmt::Write as _;

use serde_json::Value;

use super::{
    super::json,
    error::ApiError,
    kinds::KindSpec,
    quantity,
    request::{FieldValidation, Request},
    schema::{Scalar, Type, Typed},
};

/// What a walk over a body found wrong.
#[derive(Debug, Default)]
struct Findings {
    unknown: Vec<String>,
    mistyped: Vec<Mistyped>,
}

/// A value of the wrong type.
#[derive(Debug)]
struct Mistyped {
    path: String,
    expected: &'static str,
    got: &'static str,
}

/// Reads `body` as an object of `kind` for a create or an update.
///
/// Fails if apiVersion or kind are another's, if a field has the wrong type, or on an unknown field where the request
/// asked for strict validation.
pub(crate) fn object(kind: &KindSpec, request: &Request, mut body: Value) -> Result<Value, ApiError> {
    if !body.is_object() {
        return Err(ApiError::bad_request("the body is no object"));
    }
    check_type(kind, &mut body)?;
    json::drop_nulls(&mut body);
    let mut found = Findings::default();
    prune(kind.typed(), &mut body, &mut String::new(), &mut found);
    let problem = |what: &str| {
        ApiError::bad_request(format!(
            "{0} in version {1:?} cannot be handled as a {0}: {what}",
            kind.kind, kind.version
        ))
    };
    // What a custom resource's schema says is checked later, with all the rest.
    if let Some(Mistyped { path, got, .. }) = found.mistyped.first()
        && !kind.is_custom()
    {
        return Err(problem(&format!("json: cannot unmarshal {got} into Go struct field .{path}")));
    }
    if request.field_validation == FieldValidation::Strict && !found.unknown.is_empty() {
        let fields: Vec<String> =
            found.unknown.iter().map(|path| format!("unknown field {path:?}")).collect();
        return Err(problem(&format!("strict decoding error: {}", fields.join(", "))));
    }
    Ok(body)
}

/// Reads `body` as an applied configuration: what is not declared is refused, never dropped.
pub(crate) fn configuration(kind: &KindSpec, mut body: Value) -> Result<Value, ApiError> {
    if !body.is_object() {
        return Err(ApiError::bad_request("the body is no object"));
    }
    let stated = (json::text(&body, &["apiVersion"]), json::text(&body, &["kind"]));
    if stated.0.is_empty() || stated.1.is_empty() {
        return Err(ApiError::bad_request("apiVersion and kind must be set in an applied object"));
    }
    if stated.0 != kind.api_version() {
        return Err(ApiError::bad_request(format!(
            "Incorrect version specified in apply patch. Specified patch version: {}, expected: {}",
            stated.0,
            kind.api_version()
        )));
    }
    check_type(kind, &mut body)?;
    if json::at(&body, &["metadata", "managedFields"]).is_some_and(|v| !v.is_null()) {
        return Err(ApiError::bad_request("metadata.managedFields must be nil"));
    }
    json::drop_nulls(&mut body);
    let mut found = Findings::default();
    let mut pruned = body.clone();
    prune(kind.typed(), &mut pruned, &mut String::new(), &mut found);
    let wrong =
        found.unknown.first().map(|path| format!(".{path}: field not declared in schema")).or_else(|| {
            let Mistyped { path, expected, got } = found.mistyped.first()?;
            Some(format!(".{path}: expected {expected}, got {got}"))
        });
    if let Some(wrong) = wrong {
        return Err(ApiError::unforeseen(format!(
            "failed to create typed patch object ({}/{}; {}, Kind={}): {wrong}",
            json::text(&body, &["metadata", "namespace"]),
            json::text(&body, &["metadata", "name"]),
            kind.api_version(),
            kind.kind
        )));
    }
    Ok(pruned)
}

fn check_type(kind: &KindSpec, body: &mut Value) -> Result<(), ApiError> {
    let expected = kind.api_version();
    let given = json::text(body, &["apiVersion"]).to_owned();
    if !given.is_empty() && given != expected {
        return Err(ApiError::bad_request(format!(
            "the API version in the data ({given}) does not match the expected API version ({expected})"
        )));
    }
    let given = json::text(body, &["kind"]).to_owned();
    if !given.is_empty() && given != kind.kind {
        return Err(ApiError::bad_request(format!(
            "the kind in the data ({given}) does not match the expected kind ({})",
            kind.kind
        )));
    }
    json::set(body, &["apiVersion"], expected);
    json::set(body, &["kind"], kind.kind.as_str());
    Ok(())
}

fn prune(of: Typed<'_>, value: &mut Value, path: &mut String, found: &mut Findings) {
    let length = path.len();
    match (of.shape(), &mut *value) {
        (Type::Free { .. }, _) => {}
        (Type::Map { .. }, Value::Object(map)) => {
            map.retain(|key, member| {
                if length > 0 {
                    path.push('.');
                }
                path.push_str(key);
                let known = of.member(key);
                match known {
                    Some(below) => prune(below, member, path, found),
                    None => found.unknown.push(path.clone()),
                }
                path.truncate(length);
                known.is_some()
            });
        }
        (Type::List { .. }, Value::Array(items)) => {
            for (at, item) in items.iter_mut().enumerate() {
                let _ = write!(path, "[{at}]");
                prune(of.element(), item, path, found);
                path.truncate(length);
            }
        }
        (Type::Scalar(scalar), value) => scalar_of(*scalar, value, path, found),
        (of, other) => {
            let expected = if matches!(of, Type::Map { .. }) { "map" } else { "list" };
            found.mistyped.push(Mistyped { path: path.clone(), expected, got: type_name(other) });
        }
    }
}

fn scalar_of(scalar: Scalar, value: &mut Value, path: &str, found: &mut Findings) {
    let fits = match scalar {
        Scalar::Text => value.is_string(),
        Scalar::Number => value.is_number(),
        Scalar::Boolean => value.is_boolean(),
        Scalar::Untyped => !value.is_object() && !value.is_array(),
        Scalar::Quantity => {
            let text = match &*value {
                Value::String(text) => text.clone(),
                other => other.to_string(),
            };
            let canonical = quantity::canonical(&text);
            let fits = canonical.is_some();
            if let Some(canonical) = canonical {
                *value = Value::String(canonical);
            }
            fits
        }
    };
    if !fits {
        let expected = match scalar {
            Scalar::Number => "numeric (int or float)",
            Scalar::Boolean => "boolean",
            Scalar::Text | Scalar::Untyped | Scalar::Quantity => "string",
        };
        found.mistyped.push(Mistyped { path: path.to_owned(), expected, got: type_name(value) });
    }
}

fn type_name(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "bool",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}
