//! What can become of a webhook request, in words for an answer, a log and a metric.

use super::ProofError;

/// What became of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HookOutcome {
    /// The source is looked at.
    Accepted(News),
    /// It was here before.
    Duplicate,
    /// It is proven and asks for no look: a ping, another event, another branch, a pull request that is not merged.
    Irrelevant,
    /// It would make the source be looked at, which is suspended.
    Suspended,
    /// It is not accepted.
    Refused(Refusal),
}

/// What an accepted request is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum News {
    /// A branch or a tag that may have moved.
    Commit,
    /// Something that was published, as its producer names it: an image may be there that somebody waits for.
    Artifact(String),
}

/// Why a request is not accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// No source of this name takes webhooks.
    #[error("the address names no source that takes webhooks: it ends in /hooks/ and the source's name")]
    UnknownSource,
    /// The proof is missing or wrong.
    #[error(transparent)]
    Unproven(ProofError),
    /// It is proven and not what the forge sends.
    #[error("the body is not the JSON that the forge sends: set the hook's content type to application/json")]
    Malformed,
    /// The body is larger than the source takes.
    #[error("the body is larger than webhook.max_body allows")]
    TooLarge,
    /// The body did not come in time, or broke off.
    #[error("the body did not come in time, or broke off")]
    TooSlow,
    /// Too much is being received already.
    #[error("too much was being received at the time: the forge was told to come again")]
    Overloaded,
    /// The secret cannot be read.
    #[error("the hook's secret cannot be read: the daemon's log says why")]
    NoSecret,
    /// What it tells of a pull request could not be kept in the cluster.
    #[error("what it tells of a pull request could not be kept: the forge was told to come again")]
    NotKept,
}

impl Refusal {
    /// Returns the word for the metric's label `result`.
    pub fn name(self) -> &'static str {
        match self {
            Self::UnknownSource => "unknown_source",
            Self::Unproven(_) => "unproven",
            Self::Malformed => "malformed",
            Self::TooLarge => "too_large",
            Self::TooSlow => "too_slow",
            Self::Overloaded => "overloaded",
            Self::NoSecret => "no_secret",
            Self::NotKept => "not_kept",
        }
    }
}

impl HookOutcome {
    /// Returns the word for the metric's label `result`.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Accepted(_) => "accepted",
            Self::Duplicate => "duplicate",
            Self::Irrelevant => "irrelevant",
            Self::Suspended => "suspended",
            Self::Refused(refusal) => refusal.name(),
        }
    }
}
