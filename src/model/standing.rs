//! How other releases stand, as far as a rollout that comes after them needs to know.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::desired::{Desired, Identity};
use super::image::Digest;
use super::name::{ReleaseKey, ServiceName};
use super::record::Record;
use super::rollout::{Outcome, Version};

/// How one release stands.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Standing {
    /// The version that its newest declaration asks for, and the commit.
    pub head: Option<Tried>,
    /// The services that it comes after, as its newest declaration says.
    pub after: Vec<ServiceName>,
    /// What is known of its record; `None`: not read yet, or there is none.
    pub record: Option<Seen>,
}

/// What a release's record says.
#[derive(Debug, Clone, PartialEq)]
pub struct Seen {
    /// Whether a rollout runs.
    pub running: bool,
    /// The stable version, and since when.
    pub stable: Option<(Tried, Timestamp)>,
    /// The rollouts that ended last, oldest first, each with its outcome and when it ended.
    pub ended: Vec<(Tried, Outcome, Timestamp)>,
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
            running: record.rollout.is_some(),
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
}
