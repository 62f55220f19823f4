//! What comes before a rollout: an environment in which the commit is proven, and services whose declared version is stable.

use std::time::Duration;

use jiff::Timestamp;

use super::gates::{declared, elapsed};
use super::group;
use super::machine::Machine;
use super::people::{self, PATIENCE};
use crate::model::duration::rough;
use crate::model::name::{ReleaseKey, ServiceName};
use crate::model::policy::Predecessor;
use crate::model::record::Record;
use crate::model::rollout::{Outcome, Phase, Rollout};
use crate::model::standing::{Seen, Standing, Surroundings, Tried};
use crate::model::verdict::{Gate, Verdict};

/// Why it is not a rollout's turn.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unmet {
    /// One clause: "staging has not proven it yet".
    pub reason: String,
    /// When it may be its turn although nothing happens until then.
    pub at: Option<Timestamp>,
}

fn unmet(reason: impl Into<String>) -> Unmet {
    Unmet { reason: reason.into(), at: None }
}

/// Returns the releases that a rollout comes after.
pub fn before<'a>(release: &'a ReleaseKey, rollout: &'a Rollout) -> impl Iterator<Item = ReleaseKey> + 'a {
    let order = &rollout.policy.order;
    let environment = order
        .environment
        .as_ref()
        .map(|before| ReleaseKey { environment: before.environment.clone(), ..release.clone() });
    let service = |service: &ServiceName| ReleaseKey { service: service.clone(), ..release.clone() };
    environment.into_iter().chain(order.services.iter().map(service))
}

/// Returns why it is not the rollout's turn; `None` if it is, or if a person promoted it fully.
pub fn turn(release: &ReleaseKey, rollout: &Rollout, around: &Surroundings, now: Timestamp) -> Option<Unmet> {
    if rollout.people.promoted_fully.is_some() {
        return None;
    }
    let order = &rollout.policy.order;
    if let (Some(first), false) = (around.cycle.first(), order.services.is_empty()) {
        let names = around.cycle.iter().chain([first]).map(ServiceName::as_str);
        let names = names.collect::<Vec<_>>().join(", ");
        return Some(unmet(format!(
            "deploy.after leads round in a circle, {names}: one of them must go first"
        )));
    }
    if let Some(mate) = order.services.iter().find(|service| around.mates.contains_key(*service)) {
        return Some(unmet(format!(
            "deploy.after names {mate}, which is of the same group: what goes together cannot go one after the other"
        )));
    }
    let of = |key: ReleaseKey| around.releases.get(&key);
    let service = |service: &ServiceName| {
        let key = ReleaseKey { service: service.clone(), ..release.clone() };
        stands(service, of(key))
    };
    order.services.iter().find_map(service).or_else(|| {
        let before = order.environment.as_ref()?;
        let key = ReleaseKey { environment: before.environment.clone(), ..release.clone() };
        proven(before, &tried(rollout), of(key), now)
    })
}

fn tried(rollout: &Rollout) -> Tried {
    match rollout.candidate.version() {
        Some(version) => Tried::of(version),
        None => Tried {
            commit: rollout.candidate.revision().commit.to_string(),
            identity: rollout.candidate.identity().clone(),
            digest: None,
        },
    }
}

/// Whether a service's declared version is stable.
fn stands(service: &ServiceName, standing: Option<&Standing>) -> Option<Unmet> {
    let Some(head) = standing.and_then(|standing| standing.head.as_ref()) else {
        return Some(unmet(format!("it comes after {service}, which no source declares here")));
    };
    let Some(seen) = standing.and_then(|standing| standing.record.as_ref()) else {
        return Some(unmet(format!("it comes after {service}, which has not been looked at yet")));
    };
    let running = seen.run.is_some();
    if seen.stable.as_ref().is_some_and(|(stable, _)| stable.identity == head.identity) && !running {
        return None;
    }
    let how = if running { "is being rolled out" } else { "is not stable" };
    Some(unmet(format!("it comes after {service}, whose version of commit {} {how}", head.short())))
}

/// Whether the commit, or its image, was stable in the other environment for the soak time, with nothing taken back there since.
fn proven(before: &Predecessor, tried: &Tried, standing: Option<&Standing>, now: Timestamp) -> Option<Unmet> {
    let environment = &before.environment;
    let Some(seen) = standing.and_then(|standing| standing.record.as_ref()) else {
        return Some(unmet(format!("{environment} has not been looked at yet")));
    };
    let head = standing.and_then(|standing| standing.head.as_ref());
    let Some(since) = stable_since(seen, head, tried) else {
        let last = seen.ended.iter().rev().find(|(ended, ..)| ended.is_same_elsewhere(tried));
        return Some(match last {
            Some((_, outcome, _)) if *outcome != Outcome::Superseded => {
                unmet(format!("in {environment} it ended as {}", outcome.name()))
            }
            _ => unmet(format!("{environment} has not proven it yet")),
        });
    };
    let taken_back = |outcome| matches!(outcome, Outcome::RolledBack | Outcome::Aborted | Outcome::Undone);
    let trouble = seen.ended.iter().rev().find(|(_, outcome, at)| *at > since && taken_back(*outcome));
    if let Some((.., outcome, _)) = trouble {
        let how = outcome.name();
        return Some(unmet(format!("{environment} has been in trouble since: a rollout ended as {how}")));
    }
    let soaked = elapsed(since, now);
    (soaked < before.soak).then(|| Unmet {
        reason: format!("it soaks in {environment}, {} of {}", rough(soaked), rough(before.soak)),
        at: since.checked_add(before.soak).ok(),
    })
}

/// Since when the version, or one that came after it, is stable there.
fn stable_since(seen: &Seen, head: Option<&Tried>, tried: &Tried) -> Option<Timestamp> {
    let (stable, since) = seen.stable.as_ref()?;
    // A commit that changes nothing there has no rollout there.
    let unchanged =
        head.is_some_and(|head| head.is_same_elsewhere(tried) && head.identity == stable.identity);
    if stable.is_same_elsewhere(tried) || unchanged {
        return Some(*since);
    }
    let promoted = seen
        .ended
        .iter()
        .rev()
        .find(|(ended, outcome, _)| *outcome == Outcome::Promoted && ended.is_same_elsewhere(tried));
    promoted.map(|(.., at)| *at)
}

/// Tells whether nothing but a slot may be missing for a rollout to leave Preparing.
pub fn wants_slot(release: &ReleaseKey, record: &Record, around: &Surroundings, now: Timestamp) -> bool {
    record.rollout.as_ref().is_some_and(|rollout| {
        rollout.phase == Phase::Preparing
            && rollout.candidate.version().is_some()
            && rollout.people.paused.is_none()
            && people::missing(rollout, people::start(rollout)).is_none()
            && turn(release, rollout, around, now).is_none()
            && declared::cleared(rollout)
            && !group::holds_start(rollout, around)
    })
}

impl Machine<'_> {
    /// Tells whether it is the rollout's turn; parks what waits a day longer than it has to.
    pub fn in_turn(&mut self, rollout: &Rollout) -> bool {
        let around = self.input.around;
        let Some(Unmet { reason, at }) = turn(self.input.release, rollout, around, self.input.now) else {
            return true;
        };
        if let Some(at) = at {
            self.wake_at(at);
        }
        let soak = rollout.policy.order.environment.as_ref().map_or(Duration::ZERO, |before| before.soak);
        if self.overdue(rollout.phase_since, soak.saturating_add(PATIENCE)) {
            self.park(Verdict::unknown(Gate::Order, reason));
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::rollout::Place;
    use crate::model::standing::Run;

    fn name(text: &str) -> ServiceName {
        text.parse().unwrap()
    }

    fn tried(commit: char, identity: &str) -> Tried {
        Tried {
            commit: commit.to_string().repeat(40),
            identity: crate::model::desired::Identity(identity.to_owned()),
            digest: None,
        }
    }

    fn at(minute: i64) -> Timestamp {
        Timestamp::from_second(minute * 60).unwrap()
    }

    #[test]
    fn staging_proves_a_commit_by_keeping_it_or_a_later_one_stable() {
        let before = Predecessor { environment: "staging".parse().unwrap(), soak: Duration::from_mins(30) };
        let standing =
            |head: Tried, stable: (Tried, Timestamp), ended: Vec<(Tried, Outcome, Timestamp)>| Standing {
                head: Some(head),
                record: Some(Seen { run: None, stable: Some(stable), ended }),
                ..Standing::default()
            };
        let (b, c, d) = (tried('b', "1-b"), tried('c', "1-c"), tried('d', "1-d"));
        let promoted = |tried: &Tried, minute| (tried.clone(), Outcome::Promoted, at(minute));
        let wanted = tried('c', "another environment's identity");
        for (what, staging, minute, answer) in [
            (
                "b still runs",
                standing(b.clone(), (b.clone(), at(0)), vec![]),
                99,
                "staging has not proven it yet",
            ),
            (
                "c soaks",
                standing(c.clone(), (c.clone(), at(60)), vec![promoted(&c, 60)]),
                70,
                "it soaks in staging, 10m of 30m",
            ),
            ("c soaked", standing(c.clone(), (c.clone(), at(60)), vec![promoted(&c, 60)]), 90, ""),
            (
                "d came while c soaked",
                standing(d.clone(), (d.clone(), at(80)), vec![promoted(&c, 60), promoted(&d, 80)]),
                90,
                "",
            ),
            (
                "d was taken back while c soaked",
                standing(
                    d.clone(),
                    (c.clone(), at(60)),
                    vec![promoted(&c, 60), (d.clone(), Outcome::RolledBack, at(80))],
                ),
                200,
                "staging has been in trouble since: a rollout ended as RolledBack",
            ),
            (
                "c was taken back",
                standing(c.clone(), (b.clone(), at(0)), vec![(c.clone(), Outcome::RolledBack, at(80))]),
                200,
                "in staging it ended as RolledBack",
            ),
            ("c changes nothing there", standing(tried('c', "1-b"), (b.clone(), at(0)), vec![]), 99, ""),
        ] {
            let said = proven(&before, &wanted, Some(&staging), at(minute));
            assert_eq!(said.map(|unmet| unmet.reason).unwrap_or_default(), answer, "{what}");
        }
        let soaking = standing(c.clone(), (c.clone(), at(60)), vec![]);
        assert_eq!(proven(&before, &wanted, Some(&soaking), at(70)).unwrap().at, Some(at(90)));
        let unseen = proven(&before, &wanted, None, at(0)).unwrap();
        assert_eq!(unseen.reason, "staging has not been looked at yet");
    }

    #[test]
    fn an_image_is_recognised_under_another_commit() {
        let digest = format!("sha256:{}", "1".repeat(64)).parse().ok();
        let release = Tried { digest, ..tried('e', "x") };
        let main = Tried { commit: "f".repeat(40), ..release.clone() };
        assert!(main.is_same_elsewhere(&release) && !main.is_same_elsewhere(&tried('e', "x")));
        assert!(
            !tried('e', "x").is_same_elsewhere(&tried('f', "x")),
            "identities of two environments are not compared"
        );
    }

    #[test]
    fn a_service_waits_for_the_declared_version_of_another() {
        let users = name("users");
        let (b, c) = (tried('b', "1-b"), tried('c', "1-c"));
        let standing = |head: Option<&Tried>, seen: Option<(bool, &Tried)>| Standing {
            head: head.cloned(),
            record: seen.map(|(running, stable)| Seen {
                run: running.then_some(Run { reached: Place::Before, ready_for: None, ending: None }),
                stable: Some((stable.clone(), at(0))),
                ended: Vec::new(),
            }),
            ..Standing::default()
        };
        for (standing, answer) in [
            (standing(None, None), "it comes after users, which no source declares here"),
            (standing(Some(&b), None), "it comes after users, which has not been looked at yet"),
            (standing(Some(&b), Some((false, &b))), ""),
            (
                standing(Some(&c), Some((false, &b))),
                "it comes after users, whose version of commit cccccccccc is not stable",
            ),
            (
                standing(Some(&c), Some((true, &b))),
                "it comes after users, whose version of commit cccccccccc is being rolled out",
            ),
        ] {
            assert_eq!(stands(&users, Some(&standing)).map(|unmet| unmet.reason).unwrap_or_default(), answer);
        }
    }
}
