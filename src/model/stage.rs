//! What a rollout's running stage has measured and waits for, as the record keeps it.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::duration;
use super::histogram::Histogram;
use super::samples::Tally;
use super::verdict::Verdict;

/// What a running rollout has seen of its present stage.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct StageState {
    /// Counts up whenever measuring begins from zero.
    pub number: u32,
    /// When the stage's sizes and readiness were first all seen; samples count from then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ready_at: Option<Timestamp>,
    /// Time credited to the pause: gates not failing, samples really seen.
    #[serde(default, with = "duration")]
    pub credited: Duration,
    /// Up to when time is credited in this session.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credited_to: Option<Timestamp>,
    /// The measuring session that `last_*` belong to.
    #[serde(default)]
    pub session: u64,
    /// The candidate's stored total of earlier sessions.
    #[serde(default)]
    pub base_candidate: Tally,
    /// Stable's stored total of earlier sessions.
    #[serde(default)]
    pub base_stable: Tally,
    /// The candidate's total of this session when last stored.
    #[serde(default)]
    pub last_candidate: Tally,
    /// Stable's total of this session when last stored.
    #[serde(default)]
    pub last_stable: Tally,
    /// How long requests took, in earlier sessions and in this one, where that is gated.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub latency: Option<Box<StageLatency>>,
    /// How often the measurements of declared gates passed and failed, by the key of their verdicts.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub gates: BTreeMap<String, GateCount>,
    /// The Jobs of declared gates, by the key of their verdicts: what is here may be made.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub jobs: BTreeMap<String, JobRun>,
    /// Where the test of the error rate was begun anew, oldest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub begun_anew: Vec<Beginning>,
    /// All else that the stage asks is met, and its group is waited for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lockstep: Option<Lockstep>,
    /// The bake's time is over: the gates that come after it are asked.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub pause_over: bool,
    /// The newest verdicts, by their key.
    #[serde(default)]
    pub verdicts: BTreeMap<String, Verdict>,
    /// Since when a gate is unknown without a break.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unknown_since: Option<Timestamp>,
    /// When the tallies were last stored.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stored_at: Option<Timestamp>,
}

/// Totals of a stage at one time of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Beginning {
    /// Counts up within the stage, from 1.
    pub number: u32,
    /// When.
    pub at: Timestamp,
    /// The candidate's requests until then.
    pub candidate: Tally,
    /// Stable's requests until then.
    pub stable: Tally,
}

/// The measurements of a declared gate in one stage.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct GateCount {
    /// The measuring session that `last_*` belong to.
    pub session: u64,
    /// Passed in earlier sessions.
    pub base_passed: u64,
    /// Failed in earlier sessions.
    pub base_failed: u64,
    /// Passed in this session.
    pub last_passed: u64,
    /// Failed in this session.
    pub last_failed: u64,
}

impl GateCount {
    /// Returns all that passed and all that failed.
    pub fn totals(self) -> (u64, u64) {
        (self.base_passed.saturating_add(self.last_passed), self.base_failed.saturating_add(self.last_failed))
    }
}

/// The durations of a stage's requests, as its totals are kept.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct StageLatency {
    /// The candidate's of earlier sessions.
    #[serde(default)]
    pub base_candidate: Histogram,
    /// Stable's of earlier sessions.
    #[serde(default)]
    pub base_stable: Histogram,
    /// The candidate's of this session when last stored.
    #[serde(default)]
    pub last_candidate: Histogram,
    /// Stable's of this session when last stored.
    #[serde(default)]
    pub last_stable: Histogram,
}

/// The Job of a declared gate in one stage.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobRun {
    /// Counts from 1; 2 once the first was deleted by somebody else before it told anything.
    pub attempt: u32,
    /// The Job's UID, once it was seen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uid: Option<String>,
    /// A container of it was seen started.
    #[serde(default)]
    pub started: bool,
}

impl JobRun {
    /// Returns the first attempt, of which nothing was seen.
    pub fn first() -> Self {
        Self { attempt: 1, ..Self::default() }
    }
}

/// A place on a rollout's way that the services of a group go to together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Place {
    /// Nothing is changed yet.
    Before,
    /// A step of this weight, 0 to 100.
    Share(u8),
    /// Stable's workload takes the candidate's template.
    Promotion,
    /// Proven.
    End,
}

/// That a stage waits for the others of its group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lockstep {
    /// Where it would go.
    pub place: Place,
    /// Since when.
    pub since: Timestamp,
}
