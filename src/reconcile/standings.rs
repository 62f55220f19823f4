//! How every release stands, for those that come after it: noted with each head and each pass, and told to whom it concerns at once.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::model::desired::{Head, Mode};
use crate::model::name::{ReleaseKey, ServiceName, TeamName};
use crate::model::policy::Policy;
use crate::model::record::Record;
use crate::model::rollout::Rollout;
use crate::model::standing::{Group, Seen, Standing, Surroundings, Tried};
use crate::{declare, rollout::order};

/// All releases. Memory is bounded by their number.
#[derive(Debug, Default)]
pub struct Standings(Mutex<Table>);

#[derive(Debug, Default)]
struct Table {
    standings: HashMap<ReleaseKey, Standing>,
    /// Who waits for a release, until it changes.
    waiting: HashMap<ReleaseKey, BTreeSet<ReleaseKey>>,
    /// The services of each group.
    groups: HashMap<Group, BTreeSet<ServiceName>>,
}

impl Table {
    fn note(&mut self, release: &ReleaseKey, change: impl FnOnce(&mut Standing)) -> Vec<ReleaseKey> {
        let standing = self.standings.entry(release.clone()).or_default();
        let before = standing.clone();
        change(standing);
        if *standing == before {
            return Vec::new();
        }
        let after = standing.group.clone();
        let mut told = self.waiting.remove(release).unwrap_or_default();
        if before.group != after {
            told.extend(self.regroup(release, before.group, after));
        }
        told.into_iter().collect()
    }

    /// Moves a release from one group to another; returns who is of either.
    fn regroup(
        &mut self,
        release: &ReleaseKey,
        from: Option<Group>,
        to: Option<Group>,
    ) -> BTreeSet<ReleaseKey> {
        let of = |services: &BTreeSet<ServiceName>| -> BTreeSet<ReleaseKey> {
            let key = |service: &ServiceName| ReleaseKey { service: service.clone(), ..release.clone() };
            services.iter().map(key).collect()
        };
        let mut others = BTreeSet::new();
        if let Some(from) = from {
            let services = self.groups.entry(from.clone()).or_default();
            services.remove(&release.service);
            others.extend(of(services));
            if services.is_empty() {
                self.groups.remove(&from);
            }
        }
        if let Some(to) = to {
            let services = self.groups.entry(to).or_default();
            others.extend(of(services));
            services.insert(release.service.clone());
        }
        others
    }

    /// Puts how the others of its group stand beside what a rollout already knows.
    fn add_mates(
        &mut self,
        release: &ReleaseKey,
        group: &Group,
        rollout: &Rollout,
        around: &mut Surroundings,
    ) {
        let of = self.groups.get(group).cloned().unwrap_or_default();
        for service in of.iter().chain(&rollout.mates).filter(|service| **service != release.service) {
            let mate = ReleaseKey { service: service.clone(), ..release.clone() };
            self.waiting.entry(mate.clone()).or_default().insert(release.clone());
            match self.standings.get(&mate) {
                Some(standing) if standing.gone || (standing.head.is_some() && !of.contains(service)) => {
                    around.left.insert(service.clone());
                }
                Some(standing) => {
                    around.mates.insert(service.clone(), standing.clone());
                }
                None => {}
            }
        }
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
            if let Some(desired) = desired {
                standing.group = group_of(release, &desired.team, &desired.policy);
                standing.follows = desired.auto_deploy && desired.mode == Mode::Apply;
            }
        })
    }

    /// Notes what a release's record says after a pass; returns who waits for news of it.
    pub fn note(&self, release: &ReleaseKey, record: Option<&Record>) -> Vec<ReleaseKey> {
        self.table().note(release, |standing| {
            standing.record = record.map(Seen::of);
            standing.gone = record.is_none() && standing.head.is_none();
            let running = record.and_then(|record| Some((record, record.rollout.as_ref()?)));
            if let (None, Some((record, rollout))) = (&standing.head, running) {
                standing.group = group_of(release, &record.team, &rollout.policy);
            }
        })
    }

    /// Returns how those stand that the release's rollout comes after or goes with; it is told when one of them changes.
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
        let mut around = Surroundings { releases, cycle, ..Surroundings::default() };
        if let Some(group) = group_of(release, &record.team, &rollout.policy) {
            table.add_mates(release, &group, rollout, &mut around);
        }
        around
    }
}

fn group_of(release: &ReleaseKey, team: &TeamName, policy: &Policy) -> Option<Group> {
    let name = policy.order.group.clone()?;
    Some(Group { environment: release.environment.clone(), team: team.clone(), name })
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

    #[test]
    fn a_group_is_told_of_each_other_and_of_who_leaves_it() {
        let mut world = World::new();
        world.slot = false;
        world.merge("v1", Strategy::Rolling, Behaviour::Healthy);
        world.desired_mut().policy.order.group = Some("shop".parse().unwrap());
        world.tick();
        let (standings, web, head) = (Standings::default(), world.release.clone(), world.head.clone());
        let of = |service: &str| ReleaseKey { service: service.parse().unwrap(), ..web.clone() };
        let (users, ledger) = (of("users"), of("ledger"));
        let mut record = world.record.clone().unwrap();
        let names = |record: &Record| {
            let around = standings.around(&web, record);
            let text = |services: Vec<&ServiceName>| -> Vec<String> {
                services.into_iter().map(ToString::to_string).collect()
            };
            (text(around.mates.keys().collect()), text(around.left.iter().collect()))
        };
        assert_eq!(standings.note_head(&web, &head), []);
        assert_eq!(standings.note_head(&users, &head), std::slice::from_ref(&web));
        assert_eq!(standings.note_head(&ledger, &head), [users.clone(), web.clone()]);
        assert_eq!(names(&record), (vec!["ledger".to_owned(), "users".to_owned()], vec![]));
        assert_eq!(standings.note(&users, Some(&record)), std::slice::from_ref(&web), "it waits for them");

        // Another team's group of the same name is another.
        let mut foreign = World::new();
        foreign.merge("v1", Strategy::Rolling, Behaviour::Healthy);
        foreign.desired_mut().policy.order.group = Some("shop".parse().unwrap());
        foreign.desired_mut().team = "others".parse().unwrap();
        standings.note_head(&of("theirs"), &foreign.head);
        assert_eq!(names(&record).0, ["ledger", "users"]);

        record.rollout.as_mut().unwrap().mates = ["ledger", "users"].map(|name| name.parse().unwrap()).into();
        let mut alone = World::new();
        alone.merge("v2", Strategy::Rolling, Behaviour::Healthy);
        assert_eq!(standings.note_head(&users, &alone.head), [ledger.clone(), web.clone()]);
        standings.note_head(&ledger, &Head::None { reason: String::new(), looked: true });
        standings.note(&ledger, None);
        assert_eq!(names(&record), (vec![], vec!["ledger".to_owned(), "users".to_owned()]));

        // A process that begins knows a group by the records that run.
        let standings = Standings::default();
        assert_eq!(standings.around(&web, &record).mates.len(), 0);
        standings.note(&users, Some(&record));
        assert_eq!(standings.around(&web, &record).mates.len(), 1);
    }
}
