//! A recorded change of a release's state. One value drives the log line, the Kubernetes event, the Kafka events and the metrics,
//! so that they cannot disagree.

use std::time::Duration;

use jiff::Timestamp;

use super::change::{Changes, Revision};
use super::image::Image;
use super::name::{EnvironmentName, ReleaseKey, SourceName, TeamName};
use super::rollout::{Hold, Outcome, Version};
use super::verdict::Verdict;

/// What every transition carries.
#[derive(Debug, Clone, PartialEq)]
pub struct Transition {
    /// When it was recorded.
    pub at: Timestamp,
    /// The release.
    pub release: ReleaseKey,
    /// The environment (also part of the key).
    pub environment: EnvironmentName,
    /// The owning team.
    pub team: TeamName,
    /// The source.
    pub source: SourceName,
    /// The rollout's number; `None` for what belongs to no rollout.
    pub rollout: Option<u64>,
    /// What happened.
    pub kind: Kind,
    /// The one sentence for people.
    pub sentence: String,
}

/// What happened.
#[derive(Debug, Clone, PartialEq)]
pub enum Kind {
    /// A commit that asks for a new version was seen.
    ChangeSeen {
        /// The commit.
        revision: Revision,
        /// The commits that came with it, after the one that is stable.
        changes: Changes,
    },
    /// A rollout was begun and waits for image or slot.
    Queued {
        /// The commit.
        revision: Revision,
    },
    /// The rollout has image and slot: pods are about to be created.
    Started {
        /// The candidate.
        candidate: Version,
        /// First deploy: no version was ever promoted.
        first: bool,
    },
    /// A step's verdict passed.
    Stepped {
        /// The step that passed, from 1.
        step: u32,
        /// How many there are.
        of: u32,
        /// The share asked for, per cent.
        asked: u8,
        /// The share that the pods had, per cent.
        real: u8,
        /// The verdict.
        verdict: Verdict,
        /// The candidate.
        candidate: Version,
    },
    /// A gate failed (or stayed unknown too long, or a deadline passed): the way back begins.
    GateFailed {
        /// The verdict.
        verdict: Verdict,
        /// The image of the candidate, where known.
        image: Option<Image>,
    },
    /// The candidate is stable.
    Promoted {
        /// The candidate.
        version: Version,
        /// What was stable before; `None` for a first deploy.
        previous: Option<Version>,
        /// From the rollout's begin.
        took: Duration,
        /// From the commit, for lead time.
        since_commit: Duration,
    },
    /// The way back is done.
    RolledBack {
        /// The verdict that caused it.
        verdict: Verdict,
        /// What was tried.
        candidate: Option<Version>,
        /// What runs now; `None` where a first deploy was taken back.
        running: Option<Version>,
        /// From the verdict.
        took: Duration,
    },
    /// The rollout ended: the terminal record, one each.
    Finished {
        /// How.
        outcome: Outcome,
        /// Why, the verdict's sentence.
        reason: String,
        /// From the rollout's begin.
        took: Duration,
        /// The candidate's image, where known.
        image: Option<Image>,
        /// Whether only a canary's share of traffic ever saw it.
        caught: bool,
    },
    /// An identity does not start again by itself.
    HoldSet {
        /// Held or parked.
        hold: Hold,
        /// The identity, short.
        identity: String,
        /// The commit.
        revision: Revision,
        /// Why.
        verdict: Verdict,
    },
    /// A hold or a parking ended.
    HoldReleased {
        /// The identity, short.
        identity: String,
        /// Who or what ended it.
        by: String,
    },
    /// Nothing but people is waited for.
    ApprovalRequested {
        /// What they are to do: "`promote`", "2 of 2 approvals by sre".
        what: String,
    },
    /// Healthy again after a failed rollout.
    HealthyAgain {
        /// What runs.
        version: Version,
    },
    /// Foreign edits of our objects were put back.
    DriftCorrected {
        /// The objects, as `Kind/name`.
        objects: Vec<String>,
    },
    /// The head changed what is applied directly: no rollout.
    Applied {
        /// The commit.
        revision: Revision,
    },
    /// The record was lost and rebuilt from the cluster.
    RecordRebuilt {
        /// What it was rebuilt to.
        phase: String,
    },
    /// A person's command was answered.
    CommandAnswered {
        /// The verb.
        verb: String,
        /// Who asked.
        who: String,
        /// Why.
        why: String,
        /// Whether it took effect.
        accepted: bool,
    },
    /// Progress entries of the outbox were dropped because it was full.
    EventsDropped {
        /// The first dropped sequence number.
        from: u64,
        /// The last one.
        to: u64,
        /// How many entries between the two were dropped; entries that say how something ended stay.
        count: u64,
    },
}

impl Kind {
    /// Returns the reason of the Kubernetes event and the `event` field of the log line.
    pub fn name(&self) -> &'static str {
        match self {
            Self::ChangeSeen { .. } => "ChangeSeen",
            Self::Queued { .. } => "RolloutQueued",
            Self::Started { .. } => "RolloutStarted",
            Self::Stepped { .. } => "StepPassed",
            Self::GateFailed { .. } => "GateFailed",
            Self::Promoted { .. } => "Promoted",
            Self::RolledBack { .. } => "RolledBack",
            Self::Finished { .. } => "RolloutFinished",
            Self::HoldSet { .. } => "Held",
            Self::HoldReleased { .. } => "HoldReleased",
            Self::ApprovalRequested { .. } => "ApprovalRequested",
            Self::HealthyAgain { .. } => "HealthyAgain",
            Self::DriftCorrected { .. } => "DriftCorrected",
            Self::Applied { .. } => "Applied",
            Self::RecordRebuilt { .. } => "RecordRebuilt",
            Self::CommandAnswered { .. } => "CommandAnswered",
            Self::EventsDropped { .. } => "EventsDropped",
        }
    }

    /// Tells whether this is bad news (Kubernetes event type `Warning`).
    pub fn is_warning(&self) -> bool {
        match self {
            Self::GateFailed { .. }
            | Self::RolledBack { .. }
            | Self::HoldSet { .. }
            | Self::EventsDropped { .. } => true,
            Self::Finished { outcome, .. } => {
                !matches!(outcome, Outcome::Promoted | Outcome::Superseded | Outcome::Undone)
            }
            _ => false,
        }
    }

    /// Tells whether the entry says how something ended: never dropped from a full outbox.
    pub fn is_terminal(&self) -> bool {
        matches!(
            self,
            Self::Promoted { .. }
                | Self::RolledBack { .. }
                | Self::Finished { .. }
                | Self::HoldSet { .. }
                | Self::HealthyAgain { .. }
        )
    }
}
