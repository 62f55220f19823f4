//! What the driver keeps of a release between passes: a cache, never the truth. Losing it costs at most a minute of watching.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

use jiff::Timestamp;

use crate::cluster::record::Stored;
use crate::model::desired::{Desired, Head, HeadUpdate};
use crate::model::name::{ReleaseKey, SourceName};
use crate::model::object::ObjectKey;
use crate::model::record::Record;

/// One release.
#[derive(Debug, Default)]
pub struct Memory {
    /// What each source that declares the release last said.
    pub heads: BTreeMap<SourceName, Head>,
    /// The record as it was last read or stored.
    pub stored: Option<Stored>,
    /// The record as the last pass left it, where that was not worth a write.
    pub working: Option<Record>,
    /// The desired state that the waiting rollout began with.
    pub waiting: Option<Box<Desired>>,
    /// The newest desired state whose identity was stable's.
    pub direct: Option<Box<Desired>>,
    /// What writes were refused with, by object.
    pub refusals: BTreeMap<ObjectKey, String>,
    /// The highest sequence number that the broker acknowledged, and since when it is not trimmed.
    pub acknowledged: Option<(u64, Timestamp)>,
    /// Errors in a row, for the back-off.
    pub errors: u32,
    /// The last error that was logged, so that a lasting one is said once.
    pub said: String,
}

impl Memory {
    /// Takes over what a source said; tells whether a pass has to look at it. Nobody waits for one more image of a version that runs.
    pub fn note_head(&mut self, source: &SourceName, update: HeadUpdate) -> bool {
        let due = match &update {
            HeadUpdate::Known(desired) => !self.is_image_alone(source, desired),
            HeadUpdate::Keep { .. } => true,
        };
        let head = match update {
            HeadUpdate::Known(desired) => Head::Known(desired),
            HeadUpdate::Keep { reason } => match self.heads.remove(source) {
                Some(Head::Known(desired) | Head::KeepLast { desired, .. }) => {
                    Head::KeepLast { desired, reason }
                }
                Some(Head::None { .. }) | None => Head::None { reason, looked: true },
            },
        };
        self.heads.insert(source.clone(), head);
        due
    }

    /// Tells whether a head differs from the last one in the images that would do, while its version is what runs.
    fn is_image_alone(&self, source: &SourceName, desired: &Desired) -> bool {
        let Some(Head::Known(last)) = self.heads.get(source) else { return false };
        let Some(record) = self.stored.as_ref().and_then(Stored::record) else { return false };
        let stands = record.rollout.is_none()
            && record.stable.as_ref().is_some_and(|stable| stable.version.identity == desired.identity);
        stands && Desired { image: last.image.clone(), ..desired.clone() } == **last
    }

    /// Returns the head by which the release is run: its owner's. A release without a record belongs to the first that claims it.
    /// A later claimant is refused and the owner goes on.
    pub fn head(&self) -> Head {
        let owner = self.owner();
        let head = match owner {
            Some(owner) => self.heads.get(owner),
            None => {
                self.heads.values().find(|head| matches!(head, Head::Known(_))).or(self.heads.values().next())
            }
        };
        let claimants = || self.heads.keys().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        head.cloned().unwrap_or_else(|| Head::None {
            reason: match owner {
                Some(owner) if !self.heads.is_empty() => {
                    format!("owned by source {owner}, which does not declare it; claimed by {}", claimants())
                }
                _ => "no source has been looked at yet".to_owned(),
            },
            looked: false,
        })
    }

    /// Returns the source that owns the release, once that is known.
    pub fn owner(&self) -> Option<&SourceName> {
        self.stored.as_ref().and_then(Stored::record).map(|record| &record.source)
    }

    /// Returns the other sources that ever declared the release, each with its commit if it does so now.
    pub fn claims<'a>(
        &'a self,
        owner: &'a SourceName,
    ) -> impl Iterator<Item = (&'a SourceName, Option<String>)> {
        let others = self.heads.iter().filter(move |(source, _)| *source != owner);
        others.map(|(source, head)| {
            let commit = match head {
                Head::Known(desired) => Some(desired.revision.commit.to_string()),
                Head::KeepLast { .. } | Head::None { .. } => None,
            };
            (source, commit)
        })
    }

    /// Keeps what later passes need of the head, given the record that a pass left.
    pub fn remember(&mut self, head: &Head, record: &Record) {
        let Head::Known(desired) = head else { return };
        let keep = |kept: &mut Option<Box<Desired>>| {
            if kept.as_ref() != Some(desired) {
                *kept = Some(desired.clone());
            }
        };
        if record.stable.as_ref().is_some_and(|stable| stable.version.identity == desired.identity) {
            keep(&mut self.direct);
        }
        let candidate = record.rollout.as_ref().map(|rollout| rollout.candidate.identity());
        if candidate == Some(&desired.identity) {
            keep(&mut self.waiting);
        } else if candidate.is_none() {
            self.waiting = None;
        }
    }
}

/// All releases. A pass locks its own release for its length; the map only to find it.
#[derive(Debug, Default)]
pub struct Memories(Mutex<HashMap<ReleaseKey, Arc<tokio::sync::Mutex<Memory>>>>);

impl Memories {
    /// Returns a release's memory, an empty one at first.
    pub fn of(&self, release: &ReleaseKey) -> Arc<tokio::sync::Mutex<Memory>> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(all.entry(release.clone()).or_default())
    }

    /// Forgets a release.
    pub fn forget(&self, release: &ReleaseKey) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(release);
    }
}
