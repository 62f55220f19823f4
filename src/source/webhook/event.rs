//! What requests tell, in one form for all forges.

use std::fmt;

use serde::de::DeserializeOwned;

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
    Pull(PullRequest),
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

/// Something that became of a pull request; others say merge request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PullRequest {
    /// Its number.
    pub number: u64,
    /// What became of it.
    pub action: Action,
    /// The branch that it is to be merged into.
    pub base: String,
    /// The branch that it comes from, where the forge says it.
    pub head: Option<String>,
    /// The newest commit of it, where the forge says it.
    pub commit: Option<String>,
    /// Its labels now; none where the forge has no labels.
    pub labels: Vec<String>,
}

/// What became of a pull request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// It was opened.
    Opened,
    /// It has new commits.
    Synchronized,
    /// It was opened again.
    Reopened,
    /// It has a label more, or other ones.
    Labeled,
    /// It has a label less.
    Unlabeled,
    /// It was closed and not merged.
    Closed,
    /// It was merged.
    Merged,
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Opened => "opened",
            Self::Synchronized => "synchronized",
            Self::Reopened => "reopened",
            Self::Labeled => "labeled",
            Self::Unlabeled => "unlabeled",
            Self::Closed => "closed",
            Self::Merged => "merged",
        })
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
