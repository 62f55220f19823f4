//! Everything that a decision rests on, as values.

use std::collections::BTreeMap;

use jiff::Timestamp;

use crate::model::command::Command;
use crate::model::desired::{Desired, Head, Identity};
use crate::model::image::ImageState;
use crate::model::name::{Namespace, ReleaseKey};
use crate::model::observed::Observed;
use crate::model::record::Record;
use crate::model::samples::Samples;
use crate::model::standing::Surroundings;
use crate::model::transition::Transition;

/// What [`super::advance`] is given beside the record.
#[derive(Debug)]
pub struct Inputs<'a> {
    /// The release.
    pub release: &'a ReleaseKey,
    /// Where it runs.
    pub namespace: &'a Namespace,
    /// What the source loop knows.
    pub head: &'a Head,
    /// The desired state that the waiting rollout began with, while the driver still has it: the head may have moved on.
    pub waiting: Option<&'a Desired>,
    /// The newest desired state whose identity was stable's: what was last applied directly.
    pub direct: Option<&'a Desired>,
    /// What the registries answered, for the head's and the waiting candidate's identity.
    pub images: &'a BTreeMap<Identity, ImageState>,
    /// What the cluster has.
    pub observed: &'a Observed,
    /// What was measured.
    pub samples: Option<&'a Samples>,
    /// `spec.commands` of the Release.
    pub commands: &'a BTreeMap<String, Command>,
    /// Commands that cannot be read, by id, with the reason.
    pub unreadable: &'a BTreeMap<String, String>,
    /// The releases that the waiting rollout comes after.
    pub around: &'a Surroundings,
    /// `spec.suspend`: nothing new starts; a rollback is still allowed.
    pub suspended: bool,
    /// Whether a place among `max_concurrent_rollouts` is free for this release.
    pub slot: bool,
    /// The measuring session: time of another session is not credited.
    pub session: u64,
    /// The fencing epoch of this leader.
    pub epoch: u64,
    /// The time of this pass.
    pub now: Timestamp,
}

/// What [`super::advance`] answers.
#[derive(Debug, Clone)]
pub struct Advance {
    /// The record as it shall be.
    pub record: Record,
    /// What happened, in order.
    pub transitions: Vec<Transition>,
    /// When to look again, if nothing happens before.
    pub due: Option<Timestamp>,
}
