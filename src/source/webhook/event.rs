//! What requests tell, in one form for all forges.

use jiff::Timestamp;
use serde::de::DeserializeOwned;

use crate::model::pull::PullRequest;

/// A request that was understood.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Told {
    /// What happened.
    pub event: Event,
    /// The forge's word for it.
    pub name: String,
    /// The delivery's id; a request that is sent again has the same.
    pub id: Option<String>,
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Event {
    /// Branches or tags moved, were created or were deleted; none if only other refs did.
    Push(Pushed),
    /// Something moved, and which branch is not said.
    Moved,
    /// An image, or whatever else, can be had now.
    Published {
        /// What, as its producer names it.
        artifact: String,
    },
    /// Something became of a pull request.
    Pull(Box<PullRequest>),
    /// The forge tries the hook out.
    Ping,
    /// Anything else.
    Other,
}

/// The refs that a push moved.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Pushed {
    /// The branches, without `refs/heads/`.
    pub branches: Vec<String>,
    /// The tags, without `refs/tags/`.
    pub tags: Vec<String>,
}

impl Pushed {
    /// Sorts full names of refs.
    pub(super) fn refs<'a>(names: impl IntoIterator<Item = &'a str>) -> Self {
        let mut pushed = Self::default();
        for name in names {
            if let Some(branch) = branch(name) {
                pushed.branches.push(branch);
            } else if let Some(tag) = name.strip_prefix("refs/tags/") {
                pushed.tags.push(tag.to_owned());
            }
        }
        pushed
    }
}

/// Why a request that is proven cannot be understood.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the request's body is not the JSON that {0} sends: set the hook's content type to application/json")]
pub(super) struct ParseError(pub &'static str);

/// Reads a body; `forge` is who should have sent it.
pub(super) fn read<T: DeserializeOwned>(forge: &'static str, body: &[u8]) -> Result<T, ParseError> {
    serde_json::from_slice(body).map_err(|_| ParseError(forge))
}

/// Returns the branch that a full ref names.
pub(super) fn branch(reference: &str) -> Option<String> {
    reference.strip_prefix("refs/heads/").map(str::to_owned)
}

/// Reads a time as forges write it: RFC 3339, GitLab's older `2026-01-01 12:00:00 UTC`, Bitbucket Data Center's zone without a colon.
/// What is none is as good as absent.
pub(super) fn time(text: Option<&str>) -> Option<Timestamp> {
    let text = text?;
    let other = |format: &str| Timestamp::strptime(format, text).ok();
    let gitlab = || {
        other("%Y-%m-%d %H:%M:%S %z")
            .or_else(|| text.strip_suffix(" UTC").and_then(|text| format!("{text}Z").parse().ok()))
    };
    text.parse().ok().or_else(|| other("%Y-%m-%dT%H:%M:%S%z")).or_else(gitlab)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_as_forges_write_them() {
        for (text, second) in [
            ("2026-01-01T12:00:00Z", Some(1_767_268_800)),
            ("2026-01-01T14:00:00+02:00", Some(1_767_268_800)),
            ("2026-01-01T12:00:00.123456+00:00", Some(1_767_268_800)),
            ("2026-01-01T22:00:00+1000", Some(1_767_268_800)),
            ("2026-01-01 12:00:00 UTC", Some(1_767_268_800)),
            ("2026-01-01 14:00:00 +0200", Some(1_767_268_800)),
            ("yesterday", None),
            ("", None),
        ] {
            assert_eq!(time(Some(text)).map(Timestamp::as_second), second, "{text}");
        }
        assert_eq!(time(None), None);
    }
}
