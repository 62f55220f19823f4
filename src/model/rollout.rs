//! A rollout's words: the version, what holds it, and the state that a running rollout keeps in the record.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::autoscale::Scaling;
use super::change::{Changes, Revision};
use super::desired::Identity;
use super::image::{Image, ImageRequest};
use super::name::ServiceName;
pub use super::phase::{Hold, Mark, Outcome, Phase};
use super::policy::{Policy, Step};
use super::samples::TrafficSource;
pub use super::stage::{Beginning, GateCount, JobRun, Lockstep, Place, StageLatency, StageState};
use super::traffic::{Cohort, Router};
use super::verdict::Verdict;
use super::workload::WorkloadKind;

/// What a rollout tries to make stable.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Version {
    /// What it is.
    pub identity: Identity,
    /// The commit that brought it.
    pub revision: Revision,
    /// The image that its pods run.
    pub image: Image,
    /// Hash of renderer, defaults and profile.
    pub platform: String,
}

/// An identity that does not start again by itself.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct HeldVersion {
    /// Which.
    pub identity: Identity,
    /// How.
    pub hold: Hold,
    /// Why: the verdict that ended its rollout.
    pub verdict: Verdict,
    /// Since when.
    pub since: Timestamp,
    /// Parked: how often it was parked; after the fifth time only `retry` helps.
    pub times: u32,
    /// Parked: not before then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_before: Option<Timestamp>,
    /// Ended by `retry`, by a seen cause gone, or not yet.
    #[serde(default)]
    pub released: bool,
}

/// One attempt to take a release from its stable version to a candidate. Each flag is one fact that a later pass has seen done.
#[allow(clippy::struct_excessive_bools)]
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Rollout {
    /// Counts up per release, from 1.
    pub number: u64,
    /// What is to become stable; the image is known once the phase is past Preparing.
    pub candidate: Candidate,
    /// The commits that it brings, after the one that was stable when it began.
    #[serde(default, skip_serializing_if = "Changes::is_empty")]
    pub changes: Changes,
    /// Whether no version was ever promoted.
    pub first: bool,
    /// Stable has no available pod: no canary, roll forward.
    #[serde(default)]
    pub forward: bool,
    /// The pinned policy.
    pub policy: Policy,
    /// Where it stands.
    pub phase: Phase,
    /// Since when.
    pub phase_since: Timestamp,
    /// When it was begun.
    pub started_at: Timestamp,
    /// The canary's step, from 0.
    pub step: u32,
    /// Since when it is at this step.
    pub step_since: Timestamp,
    /// When a pod was last gained; Promoting's and `RollingBack`'s deadline counts from there.
    pub progress_at: Timestamp,
    /// The highest number of ready pods of the version on its way up, in this phase.
    #[serde(default)]
    pub progress_pods: u32,
    /// What was seen of the present stage.
    pub stage: StageState,
    /// Where requests are counted, once chosen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub traffic_source: Option<TrafficSource>,
    /// The verdict that ends it, once there is one; never changes afterwards.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ending: Option<Ending>,
    /// A gate failed while `rollback.auto` is false: since when the weight is frozen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub frozen_since: Option<Timestamp>,
    /// Whether stable's Deployment may carry the candidate's template: set on entering Promoting, kept through `RollingBack`.
    #[serde(default)]
    pub template_moved: bool,
    /// The sentence of the step that passed last.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub passed: String,
    /// Promoting of a canary: stable's Deployment was seen ready with the candidate's template.
    #[serde(default)]
    pub stable_ready: bool,
    /// The bake passed: what is left is to remove the candidate's own objects.
    #[serde(default)]
    pub proven: bool,
    /// It began over the template of a rolling rollout that it superseded: until its own template is applied, stable's Deployment
    /// is left as it stands.
    #[serde(default)]
    pub over: bool,
    /// It goes back to the version of this earlier rollout, whose kept objects it takes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub undo: Option<u64>,
    /// What people said of it.
    #[serde(default, skip_serializing_if = "People::is_silent")]
    pub people: People,
    /// The others of its group, as far as they were seen since it began.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub mates: BTreeSet<ServiceName>,
    /// What happened so far, in order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub log: Arc<Vec<Happened>>,
    /// What its pods belong to.
    #[serde(default, skip_serializing_if = "WorkloadKind::is_deployment")]
    pub workload: WorkloadKind,
    /// What moves the traffic, chosen when it started; `None`: traffic follows pods.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub router: Option<Router>,
    /// With a router: the share that the candidate may be given, in per cent, 0 to 100.
    #[serde(default)]
    pub weight: u8,
    /// With a router: whose requests go to the candidate beside its share.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cohort: Option<Cohort>,
    /// With a router: since when it shall be as it shall be now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub asked_at: Option<Timestamp>,
    /// The route was seen split, and accepted so: pods of the candidate get what it says and nothing else.
    #[serde(default)]
    pub split: bool,
    /// All traffic was seen back at stable's own Deployment: the candidate's may be taken away.
    #[serde(default)]
    pub away: bool,
    /// The candidate's Deployment is empty for good: the route goes back to what it was.
    #[serde(default)]
    pub joining: bool,
    /// An earlier candidate that still has the traffic, by its rollout's number: its Deployment stands in for the candidate's own, and
    /// stable's takes this rollout's template under its cover.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cover: Option<u64>,
    /// What is kept of an autoscaler.
    #[serde(default, skip_serializing_if = "Scaling::is_idle")]
    pub scaling: Scaling,
}

/// The candidate of a rollout.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Candidate {
    /// Its image is not known yet.
    Waiting {
        /// What it is.
        identity: Identity,
        /// The commit that brought it.
        revision: Revision,
        /// What the registry is asked for.
        image: ImageRequest,
        /// Hash of renderer, defaults and profile.
        platform: String,
    },
    /// Complete.
    Ready(Version),
}

impl Candidate {
    /// Returns what the candidate is.
    pub fn identity(&self) -> &Identity {
        match self {
            Self::Waiting { identity, .. } => identity,
            Self::Ready(version) => &version.identity,
        }
    }

    /// Returns the commit that brought it.
    pub fn revision(&self) -> &Revision {
        match self {
            Self::Waiting { revision, .. } => revision,
            Self::Ready(version) => &version.revision,
        }
    }

    /// Returns the version once its image is known.
    pub fn version(&self) -> Option<&Version> {
        match self {
            Self::Waiting { .. } => None,
            Self::Ready(version) => Some(version),
        }
    }
}

/// What a person asked of a running rollout, while it holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Asked {
    /// Who.
    pub who: String,
    /// Why, in the person's words; may be empty.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub why: String,
    /// When it was accepted.
    pub at: Timestamp,
}

/// What people said of a running rollout.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct People {
    /// Paused until `resume`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub paused: Option<Asked>,
    /// The rest of this step's pause is not waited for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub promoted: Option<Asked>,
    /// No pause is waited for, in this step and all that follow, and no gate that cannot tell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub promoted_fully: Option<Asked>,
    /// Who agreed, by name: to the start while it is Preparing, else to the running step.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub approvals: BTreeMap<String, Asked>,
    /// Since when nothing but people is waited for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waited_since: Option<Timestamp>,
}

impl People {
    /// Tells whether nobody said anything that still holds.
    pub fn is_silent(&self) -> bool {
        *self == Self::default()
    }
}

/// Why and how a rollout ends unpromoted.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Ending {
    /// The outcome to be recorded when the way back is done.
    pub outcome: Outcome,
    /// Whether the identity is held or parked afterwards.
    pub hold: Option<Hold>,
    /// The verdict.
    pub verdict: Verdict,
    /// When it was given.
    pub at: Timestamp,
}

/// Lines of a rollout's log that are kept, the first ten and the newest.
pub const LOG_LINES: usize = 60;
/// Characters of a line.
const LOG_LINE: usize = 240;
/// Bytes of the logs of ended rollouts that a record keeps, the newest.
pub const LOG_BYTES: usize = 16 * 1024;

/// One line of what happened in a rollout.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Happened {
    /// When.
    pub at: Timestamp,
    /// The transition's name, as in the Kubernetes event.
    pub kind: String,
    /// Its sentence.
    pub sentence: String,
}

impl Rollout {
    /// Returns the running step; none of a strategy without steps.
    pub fn current_step(&self) -> Option<&Step> {
        self.policy.steps.get(self.step as usize)
    }

    /// Returns the weight that the running step asks for, in per cent: 100 of a strategy without steps.
    pub fn step_weight(&self) -> u8 {
        self.current_step().map_or(100, |step| step.weight)
    }

    /// Writes a line into the log.
    pub fn note(&mut self, at: Timestamp, kind: &str, sentence: &str) {
        let sentence = sentence.chars().take(LOG_LINE).collect();
        let log = Arc::make_mut(&mut self.log);
        log.push(Happened { at, kind: kind.to_owned(), sentence });
        if log.len() > LOG_LINES {
            log.remove(10);
        }
    }
}

/// What is kept of an ended rollout.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// The identity that was tried.
    pub identity: Identity,
    /// The commit.
    pub revision: Revision,
    /// The image, where it was resolved.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<Image>,
    /// How it ended.
    pub outcome: Outcome,
    /// The verdict's sentence.
    pub verdict: String,
    /// When it began.
    pub started_at: Timestamp,
    /// When it ended.
    pub ended_at: Timestamp,
    /// The highest step reached, from 1; 0 for none.
    pub steps: u32,
    /// What happened, in order; empty where it is not kept any more.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub log: Arc<Vec<Happened>>,
}
