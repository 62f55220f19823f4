//! How other releases stand, as far as a rollout that comes after them needs to know.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use super::desired::{Desired, Identity};
use super::image::Digest;
use super::name::{EnvironmentName, GroupName, ReleaseKey, ServiceName, TeamName};
use super::record::Record;
use super::rollout::{Outcome, Phase, Place, Rollout, Version};

/// How one release stands.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Standing {
    /// The version that its newest declaration asks for, and the commit.
    pub head: Option<Tried>,
    /// The services that it comes after, as its newest declaration says.
    pub after: Vec<ServiceName>,
    /// The group that its newest declaration, or else its record, names.
    pub group: Option<Group>,
    /// Its newest declaration's version begins by itself.
    pub follows: bool,
    /// What is known of its record; `None`: not read yet, or there is none.
    pub record: Option<Seen>,
    /// It was looked for, and there is none.
    pub gone: bool,
}

/// What a release's record says.
#[derive(Debug, Clone, PartialEq)]
pub struct Seen {
    /// The rollout that runs.
    pub run: Option<Run>,
    /// The stable version, and since when.
    pub stable: Option<(Tried, Timestamp)>,
    /// The rollouts that ended last, oldest first, each with its outcome and when it ended.
    pub ended: Vec<(Tried, Outcome, Timestamp)>,
}

/// A group of services: one team's, in one environment.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Group {
    /// Where its services run.
    pub environment: EnvironmentName,
    /// Whose they are.
    pub team: TeamName,
    /// Its name.
    pub name: GroupName,
}

/// How far a running rollout is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Run {
    /// The stage that it has gone to.
    pub reached: Place,
    /// The stage that nothing but its group keeps it from.
    pub ready_for: Option<Place>,
    /// How it ends, where it is on its way back.
    pub ending: Option<Outcome>,
}

impl Run {
    /// Reads a rollout.
    pub fn of(rollout: &Rollout) -> Self {
        let reached = match rollout.phase {
            Phase::Preparing | Phase::RollingBack => Place::Before,
            Phase::Progressing => Place::Share(rollout.step_weight()),
            Phase::Promoting | Phase::Baking => Place::Promotion,
        };
        Self {
            reached,
            ready_for: rollout.stage.lockstep.as_ref().map(|wait| wait.place),
            ending: rollout.ending.as_ref().map(|ending| ending.outcome),
        }
    }
}

/// A version, by all that it can be recognised by in another environment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tried {
    /// The commit, in full.
    pub commit: String,
    /// The identity: comparable within one release only.
    pub identity: Identity,
    /// The image, where it was resolved.
    pub digest: Option<Digest>,
}

impl Tried {
    /// Returns the first ten digits of the commit, for people.
    pub fn short(&self) -> &str {
        self.commit.get(..10).unwrap_or(&self.commit)
    }

    /// Describes a version.
    pub fn of(version: &Version) -> Self {
        Self {
            commit: version.revision.commit.to_string(),
            identity: version.identity.clone(),
            digest: Some(version.image.digest.clone()),
        }
    }

    /// Describes what a declaration asks for.
    pub fn wanted(desired: &Desired) -> Self {
        Self { commit: desired.revision.commit.to_string(), identity: desired.identity.clone(), digest: None }
    }

    /// Tells whether this is the same commit, or the same image, somewhere else.
    pub fn is_same_elsewhere(&self, other: &Self) -> bool {
        self.commit == other.commit || (self.digest.is_some() && self.digest == other.digest)
    }
}

impl Seen {
    /// Reads a record.
    pub fn of(record: &Record) -> Self {
        let ended = record.history.values().map(|summary| {
            let tried = Tried {
                commit: summary.revision.commit.to_string(),
                identity: summary.identity.clone(),
                digest: summary.image.as_ref().map(|image| image.digest.clone()),
            };
            (tried, summary.outcome, summary.ended_at)
        });
        Self {
            run: record.rollout.as_ref().map(Run::of),
            stable: record.stable.as_ref().map(|stable| (Tried::of(&stable.version), stable.since)),
            ended: ended.collect(),
        }
    }
}

/// The releases that a rollout comes after.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Surroundings {
    /// By key; what is absent was not seen yet.
    pub releases: BTreeMap<ReleaseKey, Standing>,
    /// Services whose order leads back to the first of them; empty where it does not.
    pub cycle: Vec<ServiceName>,
    /// The others of its group.
    pub mates: BTreeMap<ServiceName, Standing>,
    /// Those that were of its group when its rollout began, and are no more.
    pub left: BTreeSet<ServiceName>,
}
