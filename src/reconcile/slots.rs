//! `max_concurrent_rollouts` an environment: a counter in memory, rebuilt from the records at start. A slot is taken on leaving
//! Preparing and given back by the terminal record; those that wait are woken then.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Mutex, PoisonError};

use crate::model::name::{EnvironmentName, ReleaseKey};
use crate::model::record::Record;
use crate::model::rollout::Phase;

/// The slots of all environments.
#[derive(Debug, Default)]
pub struct Slots {
    limits: BTreeMap<EnvironmentName, u32>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Releases whose record was not seen since the start: until every one was, nobody gets a slot.
    unseen: BTreeSet<ReleaseKey>,
    taken: HashMap<EnvironmentName, BTreeSet<ReleaseKey>>,
    waiting: HashMap<EnvironmentName, BTreeSet<ReleaseKey>>,
}

impl Slots {
    /// Makes the slots, all free.
    pub fn new(limits: BTreeMap<EnvironmentName, u32>) -> Self {
        Self { limits, state: Mutex::default() }
    }

    /// Gives no slot before the records of these releases were seen.
    pub fn await_records(&self, fleet: impl IntoIterator<Item = ReleaseKey>) {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).unseen = fleet.into_iter().collect();
    }

    /// Tells whether the release has or may take a slot; if not, it is woken when one is free.
    pub fn available(&self, release: &ReleaseKey) -> bool {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let limit = self.limits.get(&release.environment).copied().unwrap_or(u32::MAX);
        let taken = state.taken.entry(release.environment.clone()).or_default();
        let free = taken.contains(release) || u32::try_from(taken.len()).unwrap_or(u32::MAX) < limit;
        let free = free && state.unseen.is_empty();
        if !free {
            state.waiting.entry(release.environment.clone()).or_default().insert(release.clone());
        }
        free
    }

    /// Notes what the record says after a pass; returns the releases that may try now.
    pub fn note(&self, release: &ReleaseKey, record: Option<&Record>) -> Vec<ReleaseKey> {
        let holds = record
            .and_then(|record| record.rollout.as_ref())
            .is_some_and(|rollout| rollout.phase != Phase::Preparing || rollout.over);
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let last_unseen = state.unseen.remove(release) && state.unseen.is_empty();
        let taken = state.taken.entry(release.environment.clone()).or_default();
        let freed = if holds {
            taken.insert(release.clone());
            false
        } else {
            taken.remove(release)
        };
        if last_unseen {
            return std::mem::take(&mut state.waiting).into_values().flatten().collect();
        }
        if !freed {
            return Vec::new();
        }
        state.waiting.remove(&release.environment).into_iter().flatten().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_gets_a_slot_before_every_record_was_seen() {
        let (a, b): (ReleaseKey, ReleaseKey) = ("a.x".parse().unwrap(), "b.x".parse().unwrap());
        let slots = Slots::new(BTreeMap::from([(a.environment.clone(), 1)]));
        slots.await_records([b.clone()]);
        assert!(!slots.available(&a));
        assert_eq!(slots.note(&b, None), std::slice::from_ref(&a));
        assert!(slots.available(&a));
    }
}
