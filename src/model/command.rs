//! Commands of people: written into a Release's `spec.commands`, answered exactly once in its `status.commands`.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// What a person can ask of a release.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verb {
    /// End the running rollout, back to stable, hold the version.
    Abort,
    /// Forget that the head's version is held or parked and start it again.
    Retry,
}

impl Verb {
    /// Returns the verb as it is typed.
    pub fn name(self) -> &'static str {
        match self {
            Self::Abort => "abort",
            Self::Retry => "retry",
        }
    }
}

/// One entry of `spec.commands`; its key there is the command's id.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Command {
    /// What is asked.
    pub verb: Verb,
    /// Who asks, from the API server's review of the caller.
    pub who: String,
    /// Why, in the person's words; may be empty.
    #[serde(default)]
    pub why: String,
    /// When it was asked.
    pub at: Timestamp,
}

/// One entry of `status.commands`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CommandResult {
    /// Whether it took effect.
    pub accepted: bool,
    /// One sentence: what was done, or why it makes no sense now.
    pub message: String,
    /// Who asked.
    pub who: String,
    /// When it was answered.
    pub at: Timestamp,
}
