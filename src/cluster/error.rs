//! What the API server answered instead of doing what was asked, sorted by what follows from it.

use std::time::Duration;

use kube::core::Status;

/// The longest text that is kept of a server's message, in characters.
const MESSAGE: usize = 600;

/// How to mend what is forbidden.
pub(super) const RIGHTS: &str = "the rights that are needed are in examples/rbac.yaml";

/// Why a call to the Kubernetes API did not succeed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ApiError {
    /// Somebody else wrote first, or owns a field, or the object exists already: look again.
    #[error("the API server refused a write over something newer{}: {message}", owners(.managers))]
    Conflict {
        /// What the server said.
        message: String,
        /// The other field managers, where the server named them.
        managers: Vec<String>,
    },
    /// The object, or its namespace, is not there, or on its way out.
    #[error("the API server does not have it: {0}")]
    NotFound(String),
    /// The daemon lacks a right.
    #[error(
        "the API server forbids it to this account: {0} ({rights})",
        rights = RIGHTS
    )]
    Forbidden(String),
    /// A quota or limit range is exhausted.
    #[error("a quota of the namespace is exhausted: {0}")]
    Quota(String),
    /// An admission policy or webhook said no.
    #[error("the cluster's admission refused it: {0}")]
    Admission(String),
    /// The body is not valid for its kind.
    #[error("the API server finds it invalid: {0}")]
    Invalid(String),
    /// Too many requests.
    #[error("the API server asks to wait {} s", .after.as_secs())]
    Throttled {
        /// How long, at least.
        after: Duration,
    },
    /// No connection, a 5xx, or an answer that is none.
    #[error("the API server is not available: {0}")]
    Unavailable(String),
    /// No answer in time: a write may have been applied.
    #[error("the API server did not answer within {} s; a write may have been applied", .after.as_secs())]
    Timeout {
        /// The deadline that passed.
        after: Duration,
    },
}

fn owners(managers: &[String]) -> String {
    if managers.is_empty() { String::new() } else { format!(" (owned by {})", managers.join(", ")) }
}

impl ApiError {
    /// Returns whether the same call can succeed later without anything being changed by people. [`Self::Conflict`] is transient:
    /// after looking again.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Conflict { .. } | Self::Throttled { .. } | Self::Unavailable(_) | Self::Timeout { .. } => {
                true
            }
            Self::NotFound(_)
            | Self::Forbidden(_)
            | Self::Quota(_)
            | Self::Admission(_)
            | Self::Invalid(_) => false,
        }
    }

    /// Returns the sentence for people where the cluster refused what was asked: rights, quota, admission, validity.
    pub fn refusal(&self) -> Option<String> {
        match self {
            Self::NotFound(_)
            | Self::Forbidden(_)
            | Self::Quota(_)
            | Self::Admission(_)
            | Self::Invalid(_) => Some(self.to_string()),
            Self::Conflict { .. } | Self::Throttled { .. } | Self::Unavailable(_) | Self::Timeout { .. } => {
                None
            }
        }
    }

    /// Returns a short constant name, for metrics.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Conflict { .. } => "conflict",
            Self::NotFound(_) => "not_found",
            Self::Forbidden(_) => "forbidden",
            Self::Quota(_) => "quota",
            Self::Admission(_) => "admission",
            Self::Invalid(_) => "invalid",
            Self::Throttled { .. } => "throttled",
            Self::Unavailable(_) => "unavailable",
            Self::Timeout { .. } => "timeout",
        }
    }
}

impl From<kube::Error> for ApiError {
    fn from(error: kube::Error) -> Self {
        match error {
            kube::Error::Api(status) => from_status(&status),
            kube::Error::Service(source) => Self::Unavailable(cut(&chain(source.as_ref()))),
            // A body that is not what was asked for comes from something between us and the server.
            other => Self::Unavailable(cut(&chain(&other))),
        }
    }
}

/// The innermost cause says what happened ("connection refused"); kube's outer texts repeat their sources.
fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut inner = error;
    while let Some(source) = inner.source() {
        inner = source;
    }
    inner.to_string()
}

fn cut(text: &str) -> String {
    text.chars().take(MESSAGE).collect()
}

/// Sorts a `Status` by code; within 403 and 400 by the words that Kubernetes has used since its first versions, because admission,
/// quota and authorisation share their codes.
pub(super) fn from_status(status: &Status) -> ApiError {
    let message = cut(&status.message);
    match status.code {
        401 => ApiError::Forbidden(message),
        403 if message.contains("exceeded quota") || message.contains("usage per") => {
            ApiError::Quota(message)
        }
        403 if message.contains("because it is being terminated") => ApiError::NotFound(message),
        403 if message.contains(" cannot ") => ApiError::Forbidden(message),
        403 => ApiError::Admission(message),
        404 => ApiError::NotFound(message),
        409 => ApiError::Conflict { message, managers: managers(status) },
        429 => ApiError::Throttled { after: Duration::from_secs(u64::from(retry_after(status).max(1))) },
        400 | 422
            if message.contains("admission webhook") || message.contains("ValidatingAdmissionPolicy") =>
        {
            ApiError::Admission(message)
        }
        400..=499 => ApiError::Invalid(message),
        _ => ApiError::Unavailable(message),
    }
}

fn retry_after(status: &Status) -> u32 {
    status.details.as_ref().map_or(0, |details| details.retry_after_seconds)
}

/// Server-side apply names each owner as `conflict with "kubectl" using apps/v1` in a cause `FieldManagerConflict`.
fn managers(status: &Status) -> Vec<String> {
    let causes = status.details.as_ref().map(|details| details.causes.as_slice()).unwrap_or_default();
    let mut names: Vec<String> = causes
        .iter()
        .filter(|cause| cause.reason == "FieldManagerConflict")
        .filter_map(|cause| cause.message.split('"').nth(1))
        .map(cut)
        .collect();
    names.sort();
    names.dedup();
    names
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn sorted(status: serde_json::Value) -> ApiError {
        from_status(&serde_json::from_value(status).unwrap())
    }

    #[test]
    fn answers_are_sorted_by_what_follows_from_them() {
        let table = [
            (403, "pods \"a\" is forbidden: exceeded quota: small, requested: pods=1", "quota", false),
            (
                403,
                "deployments.apps \"a\" is forbidden: User \"idp\" cannot patch resource",
                "forbidden",
                false,
            ),
            (
                403,
                "configmaps \"a\" is forbidden: unable to create new content in namespace shop because it is being terminated",
                "not_found",
                false,
            ),
            (403, "admission webhook \"x\" denied the request: no", "admission", false),
            (400, "admission webhook \"x\" denied the request: no", "admission", false),
            (400, "unknown field", "invalid", false),
            (401, "Unauthorized", "forbidden", false),
            (404, "not found", "not_found", false),
            (409, "the object has been modified", "conflict", true),
            (422, "spec.x: Invalid value", "invalid", false),
            (429, "slow down", "throttled", true),
            (500, "etcd", "unavailable", true),
            (503, "shutting down", "unavailable", true),
        ];
        for (code, message, name, transient) in table {
            let error = sorted(json!({"status": "Failure", "code": code, "message": message, "reason": ""}));
            assert_eq!((error.name(), error.is_transient()), (name, transient), "{code} {message}");
        }
    }

    #[test]
    fn the_other_owners_are_named() {
        let error = sorted(
            json!({"status": "Failure", "code": 409, "reason": "Conflict", "message": "Apply failed",
            "details": {"causes": [
                {"reason": "FieldManagerConflict", "message": "conflict with \"kubectl\" using apps/v1", "field": ".spec"},
                {"reason": "FieldManagerConflict", "message": "conflict with \"kubectl\" using apps/v1", "field": ".spec.x"},
            ]}}),
        );
        assert_eq!(
            error,
            ApiError::Conflict { message: "Apply failed".into(), managers: vec!["kubectl".into()] }
        );
        assert!(error.to_string().contains("owned by kubectl"), "{error}");
    }

    #[test]
    fn a_wait_is_never_zero() {
        let error = sorted(json!({"status": "Failure", "code": 429, "message": "", "reason": ""}));
        assert_eq!(error, ApiError::Throttled { after: Duration::from_secs(1) });
    }
}
