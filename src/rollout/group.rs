//! Groups: a team's services that name one group go from step to step together. None goes to a share before the others could go there
//! too, none is proven before all are, and what is taken back takes the others back with it.
//!
//! Nobody leads: each says in its record where it would go (`Lockstep`), and goes once every other is there, could go there, or has
//! nothing to roll out. Who is taken back for another's sake is not held: its version begins again and waits for the other's next one.

use jiff::Timestamp;

use super::machine::Machine;
use super::people::PATIENCE;
use crate::model::name::{GroupName, ServiceName};
use crate::model::rollout::{Ending, Lockstep, Outcome, Phase, Place, Rollout};
use crate::model::standing::{Run, Standing, Surroundings, Tried};
use crate::model::verdict::{Gate, Verdict};

/// Returns the group that a rollout keeps step with. Going back waits for nobody, and who promotes fully waits no more.
fn group(rollout: &Rollout) -> Option<&GroupName> {
    let free = rollout.undo.is_some() || rollout.people.promoted_fully.is_some();
    rollout.policy.order.group.as_ref().filter(|_| !free)
}

/// Returns why the others of its group keep a rollout from going to a place: one clause.
pub fn behind(rollout: &Rollout, around: &Surroundings, place: Place) -> Option<String> {
    let group = group(rollout)?;
    let known = |mate: &ServiceName| around.mates.contains_key(mate) || around.left.contains(mate);
    let unseen = rollout.mates.iter().find(|mate| !known(mate));
    if let Some(mate) = unseen {
        return Some(format!("{mate} of group {group} has not been looked at yet"));
    }
    let mut mates = around.mates.iter();
    mates.find_map(|(mate, standing)| Some(format!("{mate} of group {group} {}", lag(standing, place)?)))
}

/// What keeps one of the group from a place.
fn lag(standing: &Standing, place: Place) -> Option<String> {
    let Some(seen) = &standing.record else { return Some("has not been looked at yet".to_owned()) };
    match &seen.run {
        Some(Run { ending: Some(_), .. }) => return Some("is on its way back".to_owned()),
        Some(run) if run.reached >= place || run.ready_for >= Some(place) => return None,
        Some(Run { reached: Place::Before, .. }) => return Some("has not started".to_owned()),
        Some(Run { reached: Place::Share(share), .. }) => return Some(format!("is at {share} %")),
        Some(_) => return Some("is being promoted".to_owned()),
        None => {}
    }
    let head = to_come(standing)?;
    let commit = head.short();
    Some(match ended(standing, head).map(|(outcome, _)| outcome) {
        Some(Outcome::Superseded) | None => format!("is about to start commit {commit}"),
        Some(outcome) => format!("ended as {} with commit {commit}", outcome.name()),
    })
}

/// The version that a service is asked to run and does not, where it would begin by itself.
fn to_come(standing: &Standing) -> Option<&Tried> {
    let stable = standing.record.as_ref().and_then(|seen| seen.stable.as_ref());
    let head = standing.head.as_ref().filter(|_| standing.follows)?;
    stable.is_none_or(|(stable, _)| stable.identity != head.identity).then_some(head)
}

/// How a version's last rollout ended, and when.
fn ended(standing: &Standing, version: &Tried) -> Option<(Outcome, Timestamp)> {
    let mut ended = standing.record.as_ref()?.ended.iter().rev();
    ended.find(|(tried, ..)| tried.identity == version.identity).map(|(_, outcome, at)| (*outcome, *at))
}

/// Returns the one of its group that was taken back while the rollout ran, and how it ended.
fn taken_back<'a>(rollout: &Rollout, around: &'a Surroundings) -> Option<(&'a ServiceName, Outcome)> {
    let bad = |outcome: &Outcome| matches!(outcome, Outcome::RolledBack | Outcome::Aborted | Outcome::Failed);
    around.mates.iter().find_map(|(mate, standing)| {
        let seen = standing.record.as_ref()?;
        if let Some(run) = &seen.run {
            return Some((mate, run.ending.filter(bad)?));
        }
        let head = to_come(standing)?;
        let (outcome, at) = ended(standing, head)?;
        (bad(&outcome) && at > rollout.started_at).then_some((mate, outcome))
    })
}

/// Tells whether one of the group has begun: who has a slot would wait for who has none.
pub fn has_begun(rollout: &Rollout, around: &Surroundings) -> bool {
    let begun = |run: &Run| run.ending.is_none() && run.reached > Place::Before;
    let runs = |standing: &Standing| standing.record.as_ref().and_then(|seen| seen.run.clone());
    group(rollout).is_some() && around.mates.values().filter_map(runs).any(|run| begun(&run))
}

/// Tells whether its group is what a rollout that has not begun still waits for.
pub fn holds_start(rollout: &Rollout, around: &Surroundings) -> bool {
    let place = rollout.stage.lockstep.as_ref().map(|wait| wait.place);
    group(rollout).is_some() && place.is_none_or(|place| behind(rollout, around, place).is_some())
}

impl Machine<'_> {
    /// Remembers who is of its group, so that a process that has not seen them yet waits for them.
    pub fn note_mates(&mut self) {
        let around = self.input.around;
        if let Some(rollout) = self.record.rollout.as_mut().filter(|rollout| group(rollout).is_some()) {
            rollout.mates.extend(around.mates.keys().cloned());
            rollout.mates.retain(|mate| !around.left.contains(mate));
        }
    }

    /// Tells whether the group lets a rollout go to a place, and says in the record that nothing else keeps it; parks what waits too long.
    pub fn in_lockstep(&mut self, rollout: &Rollout, place: Place) -> bool {
        if group(rollout).is_none() {
            return true;
        }
        let now = self.input.now;
        let since = self.lockstep.as_ref().filter(|wait| wait.place == place).map(|wait| wait.since);
        let wait = Lockstep { place, since: since.unwrap_or(now) };
        if let Some(rollout) = self.record.rollout.as_mut() {
            rollout.stage.lockstep = Some(wait.clone());
        }
        // What was not said durably nobody can have seen.
        if since.is_none() {
            self.wake_at(now);
            return false;
        }
        let Some(reason) = behind(rollout, self.input.around, place) else { return true };
        if self.overdue(wait.since, PATIENCE) {
            self.park(Verdict::unknown(Gate::Order, reason));
        }
        false
    }

    /// Takes the rollout back if another of its group was; tells whether it did. Its version is not held: it waits for the other's next.
    pub fn falls_with_group(&mut self) -> bool {
        let Some(rollout) = self.record.rollout.as_ref() else { return false };
        let Some(group) = group(rollout) else { return false };
        let bound = rollout.phase != Phase::Preparing && !rollout.proven && rollout.policy.rollback.auto;
        let Some((mate, outcome)) = taken_back(rollout, self.input.around).filter(|_| bound) else {
            return false;
        };
        let reason = format!("{mate} of group {group} ended as {}", outcome.name());
        let verdict = Verdict::unknown(Gate::Order, reason);
        self.end(Ending { outcome: Outcome::RolledBack, hold: None, verdict, at: self.input.now });
        true
    }

    /// Says whom of its group a stage waits for.
    pub fn waits_in_group(&self, rollout: &Rollout) -> Option<String> {
        let wait = rollout.stage.lockstep.as_ref()?;
        let waits = behind(rollout, self.input.around, wait.place)?;
        Some(format!("waiting for its group: {waits}"))
    }
}
