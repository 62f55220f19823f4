//! Commands of people: written into a Release's `spec.commands`, answered exactly once in its `status.commands`.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::text::{clean, cut};

/// Commands that may stand in a `spec` at one time.
pub const STANDING: usize = 64;

/// Characters of a command's `why` that are kept.
pub const WHY: usize = 500;

/// What a person can ask of a release.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verb {
    /// End the running rollout, back to stable, hold the version.
    Abort,
    /// Forget that the head's version is held or parked and start it again.
    Retry,
    /// Go on now: the rest of the running step's pause is not waited for. With `full`, no further pause either.
    Promote,
    /// Stay where it is until `resume`; a failing gate still takes it back.
    Pause,
    /// End a `pause`.
    Resume,
    /// Go back to an earlier version that was stable, and hold the present one.
    Undo,
    /// Agree to what the running rollout waits for.
    Approve,
}

impl Verb {
    /// Returns the verb as it is typed.
    pub fn name(self) -> &'static str {
        match self {
            Self::Abort => "abort",
            Self::Retry => "retry",
            Self::Promote => "promote",
            Self::Pause => "pause",
            Self::Resume => "resume",
            Self::Undo => "undo",
            Self::Approve => "approve",
        }
    }

    /// Tells whether the verb is about the rollout that runs: `retry` and `undo` are about versions, whatever runs by then.
    pub fn is_of_rollout(self) -> bool {
        !matches!(self, Self::Retry | Self::Undo)
    }

    /// Every verb.
    pub const ALL: [Self; 7] =
        [Self::Abort, Self::Retry, Self::Promote, Self::Pause, Self::Resume, Self::Undo, Self::Approve];
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
    /// The rollout that was looked at when it was asked: if another one runs by then, the command is refused, so that nobody
    /// promotes or approves what was never seen. `approve` needs it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rollout: Option<u64>,
    /// `promote`: no further pause is waited for, and no gate that cannot tell.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub full: bool,
    /// `undo`: the rollout that brought the version to go back to; the last one before the present if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<u64>,
}

impl Command {
    /// Makes a command without conditions; of `why` a line of [`WHY`] characters is kept.
    pub fn new(verb: Verb, who: impl Into<String>, why: &str, at: Timestamp) -> Self {
        let why = cut(&clean(why), WHY);
        Self { verb, who: who.into(), why, at, rollout: None, full: false, to: None }
    }

    /// Writes who and why for a sentence: `ann: the pager`.
    pub fn person(&self) -> String {
        if self.why.is_empty() { self.who.clone() } else { format!("{}: {}", self.who, self.why) }
    }
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
