//! A rollout's plain words: phase, outcome, mark, hold.

use serde::{Deserialize, Serialize};

/// Where a rollout stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub enum Phase {
    /// Waiting for its image and a slot; its objects are being kept. No pod exists.
    Preparing,
    /// A canary below 100 %.
    Progressing,
    /// Stable's Deployment takes the candidate's template.
    Promoting,
    /// All pods are the candidate's; the gates still watch.
    Baking,
    /// On the way back to stable.
    RollingBack,
}

impl Phase {
    /// Returns the phase's name as it stands in labels and columns.
    pub fn name(self) -> &'static str {
        match self {
            Self::Preparing => "Preparing",
            Self::Progressing => "Progressing",
            Self::Promoting => "Promoting",
            Self::Baking => "Baking",
            Self::RollingBack => "RollingBack",
        }
    }
}

/// How a rollout ended; exactly one each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub enum Outcome {
    /// The candidate is stable.
    Promoted,
    /// A gate failed or stayed unknown; stable runs again.
    RolledBack,
    /// A newer version took its place.
    Superseded,
    /// A person ended it.
    Aborted,
    /// It never ran, or a first deploy never became healthy.
    Failed,
    /// A person went back to an earlier version, and that runs now.
    Undone,
}

impl Outcome {
    /// Returns the outcome's name as it stands in labels and columns.
    pub fn name(self) -> &'static str {
        match self {
            Self::Promoted => "Promoted",
            Self::RolledBack => "RolledBack",
            Self::Superseded => "Superseded",
            Self::Aborted => "Aborted",
            Self::Failed => "Failed",
            Self::Undone => "Undone",
        }
    }
}

/// How a revision Secret is marked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mark {
    /// Being rolled out.
    Candidate,
    /// Was promoted; of two the higher rollout number is the stable one.
    Stable,
    /// Ended by a failed gate or a person.
    Held,
    /// Ended without proof.
    Parked,
    /// Ended in favour of a newer one.
    Superseded,
}

/// What an ended rollout means for its identity.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Hold {
    /// A gate failed or a person aborted: ends by `retry` only.
    Held,
    /// Nothing was proven: also ends when its cause is gone, after a back-off, five times at most.
    Parked,
}
