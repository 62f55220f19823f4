//! `max_concurrent_rollouts` an environment: a counter in memory, rebuilt from the records at start. A slot is taken by
//! the pass that may leave Preparing and given back by the terminal record; as many as there are free slots are woken then.

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

    /// Tells whether the release has a slot or may take one. One that `wants` it, since nothing else is missing, takes it here, so that
    /// passes side by side cannot take the same; else it waits and is woken when one is free.
    pub fn available(&self, release: &ReleaseKey, wants: bool) -> bool {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let limit = self.limit(&release.environment);
        let seen = state.unseen.is_empty();
        let taken = state.taken.entry(release.environment.clone()).or_default();
        let free = seen && (taken.contains(release) || taken.len() < limit);
        if wants && free {
            taken.insert(release.clone());
        } else if wants {
            state.waiting.entry(release.environment.clone()).or_default().insert(release.clone());
        }
        free
    }

    /// Notes what the record says after a pass; returns those that wait and may try now: as many as slots are free.
    pub fn note(&self, release: &ReleaseKey, record: Option<&Record>, wants: bool) -> Vec<ReleaseKey> {
        let holds = record
            .and_then(|record| record.rollout.as_ref())
            .is_some_and(|rollout| rollout.phase != Phase::Preparing || rollout.over);
        let mut guard = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let state = &mut *guard;
        let last_unseen = state.unseen.remove(release) && state.unseen.is_empty();
        let environment = &release.environment;
        let taken = state.taken.entry(environment.clone()).or_default();
        if holds {
            taken.insert(release.clone());
        } else {
            taken.remove(release);
        }
        if !wants && let Some(waiting) = state.waiting.get_mut(environment) {
            waiting.remove(release);
        }
        if last_unseen {
            return std::mem::take(&mut state.waiting).into_values().flatten().collect();
        }
        let free =
            if state.unseen.is_empty() { self.limit(environment).saturating_sub(taken.len()) } else { 0 };
        let waiting = state.waiting.get_mut(environment);
        waiting.map_or_else(Vec::new, |waiting| (0..free).map_while(|_| waiting.pop_first()).collect())
    }

    fn limit(&self, environment: &EnvironmentName) -> usize {
        self.limits.get(environment).map_or(usize::MAX, |limit| usize::try_from(*limit).unwrap_or(usize::MAX))
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
        assert!(!slots.available(&a, true));
        assert_eq!(slots.note(&b, None, false), std::slice::from_ref(&a));
        assert!(slots.available(&a, true));
    }

    #[test]
    fn passes_side_by_side_take_no_more_slots_than_there_are() {
        let key = |number: usize| format!("s{number}.x").parse::<ReleaseKey>().unwrap();
        let slots = Slots::new(BTreeMap::from([("x".parse().unwrap(), 2)]));
        let free: Vec<bool> = (0..5).map(|number| slots.available(&key(number), true)).collect();
        assert_eq!(free, [true, true, false, false, false], "before any of their passes ended");
        assert!(!slots.available(&key(9), false), "who wants none now does not wait");
        assert_eq!(slots.note(&key(0), None, false), [key(2)], "one slot is free, one is woken");
        assert_eq!(slots.note(&key(2), None, false), [key(3)], "it did not take it: the next");
        assert!(slots.available(&key(3), true));
        assert_eq!(slots.note(&key(9), None, false), []);
        assert_eq!(slots.note(&key(1), None, false), [key(4)]);
    }
}
