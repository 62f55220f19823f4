//! How every release stands, for those that come after it: noted with each head and each pass, and told to whom it concerns at once.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::model::desired::Head;
use crate::model::name::{ReleaseKey, ServiceName};
use crate::model::record::Record;
use crate::model::standing::{Seen, Standing, Surroundings, Tried};
use crate::{declare, rollout::order};

/// All releases. Memory is bounded by their number.
#[derive(Debug, Default)]
pub struct Standings(Mutex<Table>);

#[derive(Debug, Default)]
struct Table {
    standings: HashMap<ReleaseKey, Standing>,
    /// Who waits for a release, until it changes.
    waiting: HashMap<ReleaseKey, BTreeSet<ReleaseKey>>,
}

impl Table {
    fn note(&mut self, release: &ReleaseKey, change: impl FnOnce(&mut Standing)) -> Vec<ReleaseKey> {
        let standing = self.standings.entry(release.clone()).or_default();
        let before = standing.clone();
        change(standing);
        if *standing == before {
            return Vec::new();
        }
        self.waiting.remove(release).into_iter().flatten().collect()
    }
}

impl Standings {
    fn table(&self) -> MutexGuard<'_, Table> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes what a release is asked to be; returns who waits for news of it.
    pub fn note_head(&self, release: &ReleaseKey, head: &Head) -> Vec<ReleaseKey> {
        let desired = head.desired();
        self.table().note(release, |standing| {
            standing.head = desired.map(Tried::wanted);
            standing.after = desired.map(|desired| desired.policy.order.services.clone()).unwrap_or_default();
        })
    }

    /// Notes what a release's record says after a pass; returns who waits for news of it.
    pub fn note(&self, release: &ReleaseKey, record: Option<&Record>) -> Vec<ReleaseKey> {
        self.table().note(release, |standing| standing.record = record.map(Seen::of))
    }

    /// Returns how those stand that the release's waiting rollout comes after; it is told when one of them changes.
    pub fn around(&self, release: &ReleaseKey, record: &Record) -> Surroundings {
        let Some(rollout) = record.rollout.as_ref().filter(|rollout| !rollout.policy.order.is_empty()) else {
            return Surroundings::default();
        };
        let mut table = self.table();
        let mut releases = BTreeMap::new();
        for before in order::before(release, rollout) {
            table.waiting.entry(before.clone()).or_default().insert(release.clone());
            if let Some(standing) = table.standings.get(&before) {
                releases.insert(before, standing.clone());
            }
        }
        let after = |service: &ServiceName| {
            if *service == release.service {
                return rollout.policy.order.services.clone();
            }
            let key = ReleaseKey { service: service.clone(), ..release.clone() };
            table.standings.get(&key).map(|standing| standing.after.clone()).unwrap_or_default()
        };
        let cycle = declare::cycle(&release.service, after);
        Surroundings { releases, cycle }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::policy::Strategy;
    use crate::rollout::tests::world::{Behaviour, World};

    #[test]
    fn who_waits_is_told_of_a_change_and_of_nothing_else() {
        let mut world = World::new();
        world.slot = false;
        world.merge("v1", Strategy::Rolling, Behaviour::Healthy);
        world.desired_mut().policy.order.services = vec!["users".parse().unwrap()];
        world.tick();
        let record = world.record.clone().unwrap();
        let users = ReleaseKey { service: "users".parse().unwrap(), ..world.release.clone() };
        let (standings, web) = (Standings::default(), world.release.clone());
        assert_eq!(standings.around(&web, &record), Surroundings::default());
        assert_eq!(standings.note_head(&users, &world.head), std::slice::from_ref(&web));
        assert_eq!(standings.note_head(&users, &world.head), [], "nothing changed, and nobody waits now");
        assert_eq!(standings.around(&web, &record).releases.len(), 1);
        assert_eq!(standings.note(&users, Some(&record)), [web]);
    }
}
