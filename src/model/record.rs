//! The durable state of a release: the status of its `Release` object. Whatever grows is a map keyed by number or name, so that a
//! merge patch can add and remove one entry.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::autoscale::Autoscale;
use super::change::Changes;
use super::command::CommandResult;
use super::desired::{Identity, Mode};
use super::name::{EnvironmentName, SourceName, TeamName};
use super::object::{ContentHash, ObjectKey, Role};
use super::policy::Policy;
use super::rollout::{HeldVersion, Outcome, Rollout, Summary, Version};

/// The schema that this program writes. A record with a higher one is only read.
pub const SCHEMA: u32 = 1;
/// Outbox entries at most.
pub const OUTBOX_ENTRIES: usize = 64;
/// Bytes of rendered events in the outbox at most.
pub const OUTBOX_BYTES: usize = 128 * 1024;
/// Held and parked identities kept, the newest.
pub const HELD: usize = 50;
/// Summaries of ended rollouts kept, the newest.
pub const HISTORY: usize = 10;
/// Answers to commands kept, the newest.
pub const COMMANDS: usize = 20;

/// Health, as the field says it. Ordered from best to worst.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Health {
    /// As wanted and serving.
    Healthy,
    /// Stopped on purpose.
    Suspended,
    /// On its way.
    Progressing,
    /// Not there.
    Missing,
    /// Broken.
    Degraded,
    /// Cannot tell.
    #[default]
    Unknown,
}

impl Health {
    /// Returns the word.
    pub fn name(self) -> &'static str {
        match self {
            Self::Healthy => "Healthy",
            Self::Suspended => "Suspended",
            Self::Progressing => "Progressing",
            Self::Missing => "Missing",
            Self::Degraded => "Degraded",
            Self::Unknown => "Unknown",
        }
    }
}

/// Whether the cluster is what the head declares.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Sync {
    /// It is.
    Synced,
    /// It is not (yet).
    OutOfSync,
    /// Cannot tell.
    #[default]
    Unknown,
    /// The declaration does not parse or asks for what is not enforced.
    Invalid,
}

impl Sync {
    /// Returns the word.
    pub fn name(self) -> &'static str {
        match self {
            Self::Synced => "Synced",
            Self::OutOfSync => "OutOfSync",
            Self::Unknown => "Unknown",
            Self::Invalid => "Invalid",
        }
    }
}

/// Whether an object of the inventory is known to exist.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ownership {
    /// A rollout, or a direct change (number 0), may create it.
    Intended {
        /// The rollout's number.
        rollout: u64,
    },
    /// It exists and is ours.
    Owned {
        /// Its UID: what a delete names.
        uid: String,
    },
}

/// One object of a release.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InventoryEntry {
    /// What it is for.
    pub role: Role,
    /// The hash of the body that may stand.
    pub hash: ContentHash,
    /// Intended or owned.
    pub ownership: Ownership,
}

/// An outbox entry: one transition with its events, rendered; the bytes never change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OutboxEntry {
    /// When the transition happened.
    pub at: Timestamp,
    /// One to three events.
    pub events: Vec<RenderedEvent>,
}

/// The newest event of a chain from commit to verdict: what the chain's next event links to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChainTail {
    /// The chain's id.
    pub chain: String,
    /// The event's id.
    pub event: String,
}

/// A CloudEvent, ready to be sent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RenderedEvent {
    /// CloudEvents `id`: hash of the release's UID, the sequence number and the index.
    pub id: String,
    /// CloudEvents `type`.
    #[serde(rename = "type")]
    pub kind: String,
    /// CloudEvents `source`.
    pub source: String,
    /// CloudEvents `subject`.
    pub subject: String,
    /// CloudEvents `time`, RFC 3339.
    pub time: String,
    /// The data, exactly as it goes on the wire: JSON text.
    pub data: String,
}

/// A condition in the form of `metav1.Condition`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Condition {
    /// `Ready`, `Synced`, `Progressing`, `Held`.
    #[serde(rename = "type")]
    pub kind: String,
    /// `True`, `False` or `Unknown`.
    pub status: String,
    /// One word in upper camel case.
    pub reason: String,
    /// One sentence.
    pub message: String,
    /// When `status` last changed.
    pub last_transition_time: Timestamp,
}

/// Totals from which counters in `/metrics` start after a restart.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Totals {
    /// Ended rollouts by [`Totals::rollout_key`].
    #[serde(default)]
    pub rollouts: BTreeMap<String, u64>,
    /// Rollbacks by cause (gate name).
    #[serde(default)]
    pub rollbacks: BTreeMap<String, u64>,
    /// Stored verdicts by `gate/answer`.
    #[serde(default)]
    pub verdicts: BTreeMap<String, u64>,
}

impl Totals {
    /// Returns the key of an ended rollout in `rollouts`: the outcome, and whether more than a canary's share ever saw it
    /// (`RolledBack/canary`, `Promoted/full`).
    pub fn rollout_key(outcome: Outcome, caught: bool) -> String {
        format!("{}/{}", outcome.name(), if caught { "canary" } else { "full" })
    }
}

/// What the head asks for and how it stands, for people and columns.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeadSeen {
    /// The commit, in full.
    pub commit: String,
    /// The identity that it asks for.
    pub identity: Identity,
    /// The first line of its message.
    pub subject: String,
    /// When this head was first seen.
    pub seen_at: Timestamp,
}

/// The durable state of a release.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// See [`SCHEMA`].
    pub schema: u32,
    /// The fencing epoch of the last writer.
    pub epoch: u64,
    /// The environment.
    pub environment: EnvironmentName,
    /// The owning team.
    pub team: TeamName,
    /// The source that owns the release; a later claimant is refused.
    pub source: SourceName,
    /// Apply or observe.
    pub mode: Mode,
    /// The sequence number of the newest outbox entry.
    pub sequence: u64,
    /// The sequence number up to which entries were acknowledged by the broker and trimmed.
    #[serde(default)]
    pub published: u64,
    /// Pods wanted; belongs to no version. With an autoscaler: what it holds, or held at most since the running rollout began.
    pub replicas: u32,
    /// The bounds of the autoscaler that is ours; belong to no version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub autoscale: Option<Autoscale>,
    /// The number of the newest rollout.
    #[serde(default)]
    pub rollouts: u64,
    /// Where it stands: a phase's name, `Stable` or `Failed`; for columns.
    pub phase: String,
    /// Health.
    #[serde(default)]
    pub health: Health,
    /// Sync.
    #[serde(default)]
    pub sync: Sync,
    /// The share that the candidate was last given, in per cent, asked and real; for columns.
    #[serde(default)]
    pub weight: u8,
    /// See above.
    #[serde(default)]
    pub real_weight: u8,
    /// The commit of the version that runs, short; for columns.
    #[serde(default)]
    pub revision: String,
    /// One sentence: why it is where it is.
    #[serde(default)]
    pub message: String,
    /// The head.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub head: Option<HeadSeen>,
    /// The workload that rollouts act on; `None`: the Deployment that is named after the service.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<ObjectKey>,
    /// The stable version's rollout and the version; `None` until the first is promoted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stable: Option<Stable>,
    /// The running rollout.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rollout: Option<Rollout>,
    /// An ended rollout whose candidate keeps all traffic: stable's Deployment did not become ready with its template.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub serving: Option<Box<Rollout>>,
    /// Held and parked identities, by the number of the rollout that ended so.
    #[serde(default)]
    pub held: BTreeMap<u64, HeldVersion>,
    /// Ended rollouts, by number.
    #[serde(default)]
    pub history: BTreeMap<u64, Summary>,
    /// Supersedes since a rollout last ended otherwise.
    #[serde(default)]
    pub superseded_in_row: u32,
    /// The stable version has had no available pod since then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unavailable_since: Option<Timestamp>,
    /// A rollout failed and the release was not seen healthy since.
    #[serde(default)]
    pub incident: bool,
    /// Objects of ours that somebody else changed, until they are seen put back.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub drifted: BTreeSet<ObjectKey>,
    /// Objects that the head changes directly, until they are seen applied.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub applying: BTreeSet<ObjectKey>,
    /// The release's objects.
    #[serde(default)]
    pub inventory: BTreeMap<ObjectKey, InventoryEntry>,
    /// Transitions that are not acknowledged yet, by sequence number.
    #[serde(default)]
    pub outbox: BTreeMap<u64, OutboxEntry>,
    /// Where the newest rollout's chain of events ends.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub chain_tail: Option<ChainTail>,
    /// Answers to commands, by command id.
    #[serde(default)]
    pub commands: BTreeMap<String, CommandResult>,
    /// Counters.
    #[serde(default)]
    pub totals: Totals,
    /// Conditions.
    #[serde(default)]
    pub conditions: Vec<Condition>,
}

impl Record {
    /// Returns how full the outbox is, by entries or by bytes, whichever is more; above 1 where only what may not be dropped is left.
    pub fn outbox_fill(&self) -> f64 {
        let share = |used: usize, cap: usize| {
            let number = |count: usize| f64::from(u32::try_from(count).unwrap_or(u32::MAX));
            number(used) / number(cap)
        };
        share(self.outbox.len(), OUTBOX_ENTRIES).max(share(outbox_bytes(&self.outbox), OUTBOX_BYTES))
    }

    /// Tells whether the outbox is at its cap: progress is dropped from it, and new rollouts wait while it stays there.
    pub fn outbox_full(&self) -> bool {
        self.outbox_fill() >= 1.0
    }
}

/// Counts the bytes that the events take in the record, where their data is JSON text within JSON.
fn outbox_bytes(outbox: &BTreeMap<u64, OutboxEntry>) -> usize {
    let escaped = |text: &str| text.len() + text.bytes().filter(|byte| matches!(byte, b'"' | b'\\')).count();
    let events = outbox.values().flat_map(|entry| &entry.events);
    events
        .map(|event| {
            let rest = [&event.id, &event.kind, &event.source, &event.subject, &event.time];
            escaped(&event.data) + rest.iter().map(|text| text.len()).sum::<usize>()
        })
        .sum()
}

/// The stable version.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Stable {
    /// The rollout that brought it: the number of its revision Secret.
    pub rollout: u64,
    /// The version.
    pub version: Version,
    /// The commits that it brought, after the one that was stable before.
    #[serde(default, skip_serializing_if = "Changes::is_empty")]
    pub changes: Changes,
    /// Since when.
    pub since: Timestamp,
    /// How it was rolled out: what going back from it follows where Git is away.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy: Option<Box<Policy>>,
}
