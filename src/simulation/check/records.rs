//! Properties of what is stored: one record after another.

use std::time::Duration;

use serde_json::Value;

use super::Facts;
use crate::event::catalogue::types;
use crate::model::command::CommandResult;
use crate::model::policy::{OnUnknown, Step};
use crate::model::record::{COMMANDS, HELD, HISTORY, OUTBOX_ENTRIES, Record};
use crate::model::rollout::{Candidate, Hold, Outcome, Phase, Rollout};
use crate::model::samples::blind_after;

/// Bytes of a record at most.
const RECORD_BYTES: usize = 256 * 1024;

/// One record over another.
pub(super) struct Stored<'a> {
    pub(super) at: Duration,
    pub(super) old: &'a Record,
    pub(super) new: &'a Record,
    pub(super) number: Option<u64>,
    pub(super) bytes: usize,
}

impl Stored<'_> {
    /// The same rollout before and after.
    fn same(&self) -> Option<(&Rollout, &Rollout)> {
        let (old, new) = (self.old.rollout.as_ref()?, self.new.rollout.as_ref()?);
        (old.number == new.number).then_some((old, new))
    }
}

type Property = fn(&Stored<'_>, &Facts) -> Option<String>;

const PROPERTIES: [(&str, Property); 13] = [
    ("S1", one_rollout),
    ("S3", a_step_takes_its_time),
    ("S4", unknown_never_advances),
    ("S5", an_ending_stands),
    ("S8", what_is_held_stays_held),
    ("S8", a_hold_ends_by_retry),
    ("S9", one_commit),
    ("S11", epochs_of_records),
    ("S13", one_end),
    ("S14", numbers_have_no_gap),
    ("S21", caps),
    ("S23", answered_once),
    ("S25", stable_changes_at_the_end),
];

/// Holds every property over a stored record.
pub(super) fn check(stored: &Stored<'_>, facts: &mut Facts) -> Vec<(&'static str, String)> {
    let broken = PROPERTIES.iter().filter_map(|(name, holds)| Some((*name, holds(stored, facts)?)));
    let broken = broken.collect();
    if let Some(ended) = stored.old.rollout.as_ref().filter(|_| stored.same().is_none()) {
        let outcome = stored.new.history.get(&ended.number).map(|summary| summary.outcome.name());
        facts.ended.insert(ended.number, outcome.unwrap_or("nothing").to_owned());
    }
    broken
}

/// Remembers what later records are held against.
pub(super) fn note(at: Duration, record: &Record, facts: &mut Facts) {
    if let Some(rollout) = &record.rollout {
        facts.born.entry(rollout.number).or_insert(at);
        if rollout.ending.is_some() {
            facts.ending.entry(rollout.number).or_insert(at);
        }
    }
    if let Some(rollout) = record.rollout.as_ref().filter(|rollout| rollout.stage.ready_at.is_some()) {
        facts.stages.entry((rollout.number, rollout.stage.number)).or_insert(at);
    }
}

/// S1: at most one rollout, the newest; the one before it has ended.
fn one_rollout(stored: &Stored<'_>, _: &Facts) -> Option<String> {
    let new = stored.new.rollout.as_ref()?;
    if new.number != stored.new.rollouts {
        return Some(format!("rollout {} runs, and {} is the newest", new.number, stored.new.rollouts));
    }
    let old = stored.old.rollout.as_ref().filter(|old| old.number != new.number)?;
    let ended = stored.new.history.contains_key(&old.number);
    (!ended).then(|| format!("rollout {} began and {} has not ended", new.number, old.number))
}

/// S3 and S24: from one step to the next only after the step's pause has been watched within it, whatever daemons died meanwhile.
fn a_step_takes_its_time(stored: &Stored<'_>, facts: &Facts) -> Option<String> {
    let (old, new) = stored.same()?;
    let stepped = new.step > old.step && old.phase == Phase::Progressing;
    let baked = new.proven && !old.proven;
    if !stepped && !baked {
        return None;
    }
    if new.step > old.step + 1 {
        return Some(format!("from step {} to {}", old.step, new.step));
    }
    let canary = !old.first && !old.forward;
    let step = old.current_step().filter(|_| canary);
    if let Some(lack) = step.filter(|_| stepped).and_then(|step| lacks_people(stored, old, step)) {
        return Some(lack);
    }
    // By a router all was watched on the candidate, before stable's Deployment took its template.
    let watched_before = baked && old.router.is_some() && old.cover.is_none();
    if watched_before || old.people.promoted.is_some() || promoted(stored) {
        return None;
    }
    let pause = step.map_or(old.policy.rollback.window, |step| step.pause);
    if pause.is_zero() {
        return None;
    }
    let Some(since) = facts.stages.get(&(old.number, old.stage.number)) else {
        return Some(format!("step {} passed and its begin was never stored", old.step + 1));
    };
    let spare = blind_after(&old.policy.health).max(old.policy.health.interval * 2);
    let watched = facts.watched(*since, stored.at, spare);
    (watched < pause)
        .then(|| format!("step {} passed after {watched:?} of {pause:?}, since {since:?}", old.step + 1))
}

/// What people were to say of a step and have not.
fn lacks_people(stored: &Stored<'_>, old: &Rollout, step: &Step) -> Option<String> {
    let lack = match &step.approve {
        Some(approval) => {
            let given = old.people.approvals.len() + fresh(stored, "approvals");
            given < approval.count as usize
        }
        None => step.manual && old.people.promoted.is_none() && !promoted(stored),
    };
    lack.then(|| format!("step {} passed and nobody said so", old.step + 1))
}

/// Whether a person let the rollout go on with this record, or go to its end before.
fn promoted(stored: &Stored<'_>) -> bool {
    let fully = stored.old.rollout.as_ref().is_some_and(|old| old.people.promoted_fully.is_some());
    fully || fresh(stored, "goes on") + fresh(stored, "goes to 100") > 0
}

/// How many commands were accepted with this record whose answer has these words.
fn fresh(stored: &Stored<'_>, words: &str) -> usize {
    let fresh = stored.new.commands.iter().filter(|(id, _)| !stored.old.commands.contains_key(*id));
    fresh.filter(|(_, answer)| answer.accepted && answer.message.contains(words)).count()
}

/// S4: what a step passed by is a pass.
fn unknown_never_advances(stored: &Stored<'_>, _: &Facts) -> Option<String> {
    let policy = stored.old.rollout.as_ref().map(|rollout| rollout.policy.rollback.on_unknown);
    // Who promotes fully vouches for what cannot be measured.
    if policy == Some(OnUnknown::Continue) || promoted(stored) {
        return None;
    }
    let fresh = stored.new.outbox.iter().filter(|(number, _)| **number > stored.old.sequence);
    let mut events = fresh.flat_map(|(_, entry)| &entry.events);
    events.find_map(|event| {
        if event.kind != types::ROLLOUT_STEPPED.name {
            return None;
        }
        let data: Value = serde_json::from_str(&event.data).unwrap_or_default();
        let passed = data.to_string().contains("\"answer\":\"pass\"");
        (!passed).then(|| format!("a step passed by {data}"))
    })
}

/// S5: once a rollout is on its way back, its verdict stands and nothing of it goes on.
fn an_ending_stands(stored: &Stored<'_>, _: &Facts) -> Option<String> {
    let (old, new) = stored.same()?;
    let ending = old.ending.as_ref()?;
    let stands = new.ending.as_ref() == Some(ending)
        && new.phase == old.phase
        && new.step == old.step
        && new.weight <= old.weight;
    (!stands)
        .then(|| format!("rollout {} ended by {} and goes on in {:?}", old.number, ending.verdict, new.phase))
}

/// S8: a held or parked identity does not begin.
fn what_is_held_stays_held(stored: &Stored<'_>, _: &Facts) -> Option<String> {
    let new = stored.new.rollout.as_ref().filter(|rollout| rollout.number > stored.old.rollouts)?;
    let identity = new.candidate.identity();
    let mut entries = stored.new.held.iter().rev().filter(|(number, _)| **number < new.number);
    let (number, held) = entries.find(|(_, held)| held.identity == *identity)?;
    (!held.released)
        .then(|| format!("rollout {} tries what rollout {number} left {:?}", new.number, held.hold))
}

/// S8: a hold ends by a person's `retry`, a parking not before its time.
fn a_hold_ends_by_retry(stored: &Stored<'_>, _: &Facts) -> Option<String> {
    let answered = |result: &CommandResult| result.accepted;
    let retried = stored
        .new
        .commands
        .iter()
        .any(|(id, result)| !stored.old.commands.contains_key(id) && answered(result));
    stored.old.held.iter().filter(|(_, held)| !held.released && held.hold == Hold::Held).find_map(
        |(number, _)| {
            let released = stored.new.held.get(number).is_some_and(|held| held.released);
            (released && !retried)
                .then(|| format!("the hold of rollout {number} ended and nobody asked for it"))
        },
    )
}

/// S9: a rollout is of one commit, one identity, and one image once that is known.
fn one_commit(stored: &Stored<'_>, _: &Facts) -> Option<String> {
    let (old, new) = stored.same()?;
    let same = old.candidate.identity() == new.candidate.identity()
        && old.candidate.revision() == new.candidate.revision()
        && (matches!(old.candidate, Candidate::Waiting { .. }) || old.candidate == new.candidate)
        && old.policy == new.policy;
    (!same).then(|| format!("rollout {} changed what it rolls out", new.number))
}

/// S11: the epoch in the record never falls, and nobody stores under one that is not theirs.
fn epochs_of_records(stored: &Stored<'_>, _: &Facts) -> Option<String> {
    let foreign = stored.number.is_some_and(|number| number != stored.new.epoch);
    (foreign || stored.new.epoch < stored.old.epoch)
        .then(|| format!("epoch {} after {}, by {:?}", stored.new.epoch, stored.old.epoch, stored.number))
}

/// S13: what ended has one terminal record that never changes.
fn one_end(stored: &Stored<'_>, facts: &Facts) -> Option<String> {
    let changed = stored
        .old
        .history
        .iter()
        .find(|(number, summary)| stored.new.history.get(number).is_some_and(|now| now != *summary));
    if let Some((number, _)) = changed {
        return Some(format!("the end of rollout {number} changed"));
    }
    if let Some(again) = stored.new.rollout.as_ref().filter(|new| facts.ended.contains_key(&new.number)) {
        return Some(format!("rollout {} goes on after its end", again.number));
    }
    let ended = stored.old.rollout.as_ref().filter(|_| stored.same().is_none())?;
    let kept = stored.new.history.contains_key(&ended.number);
    (!kept).then(|| format!("rollout {} ended without a word", ended.number))
}

/// S14: sequence numbers only grow, and every one above what was acknowledged is there or was dropped with a word.
fn numbers_have_no_gap(stored: &Stored<'_>, _: &Facts) -> Option<String> {
    let (old, new) = (stored.old, stored.new);
    if new.sequence < old.sequence || new.published < old.published {
        return Some(format!("sequence {} after {}", new.sequence, old.sequence));
    }
    let changed =
        old.outbox.iter().find(|(number, entry)| new.outbox.get(number).is_some_and(|now| now != *entry));
    if let Some((number, _)) = changed {
        return Some(format!("entry {number} changed"));
    }
    let marked = new.outbox.values().flat_map(|entry| &entry.events);
    if marked.into_iter().any(|event| event.kind == types::EVENTS_DROPPED.name) {
        return None;
    }
    let missing = (new.published + 1..=new.sequence).find(|number| !new.outbox.contains_key(number));
    missing.map(|number| format!("entry {number} is neither published nor there"))
}

/// S21: what grows stays under its caps.
fn caps(stored: &Stored<'_>, _: &Facts) -> Option<String> {
    let new = stored.new;
    let sizes = [
        ("held", new.held.len(), HELD),
        ("history", new.history.len(), HISTORY),
        ("commands", new.commands.len(), COMMANDS),
        // What says how something ended is never dropped.
        ("outbox", new.outbox.len(), OUTBOX_ENTRIES * 2),
        ("bytes", stored.bytes, RECORD_BYTES),
    ];
    sizes
        .into_iter()
        .find(|(_, size, most)| size > most)
        .map(|(name, size, most)| format!("{name}: {size} of {most}"))
}

/// S23: an answer never changes, and an abort that was accepted ends the rollout in the same breath.
fn answered_once(stored: &Stored<'_>, _: &Facts) -> Option<String> {
    for (id, answer) in &stored.old.commands {
        if stored.new.commands.get(id).is_some_and(|now| now != answer) {
            return Some(format!("the answer to {id} changed"));
        }
    }
    let fresh = stored.new.commands.iter().filter(|(id, _)| !stored.old.commands.contains_key(*id));
    let aborted =
        fresh.filter(|(_, answer)| answer.accepted && answer.message.contains("taken back")).count();
    if aborted == 0 {
        return None;
    }
    let running = stored.new.rollout.as_ref().and_then(|rollout| rollout.ending.as_ref());
    let ended = stored.old.rollout.as_ref().and_then(|old| stored.new.history.get(&old.number));
    let outcome = running.map(|ending| ending.outcome).or(ended.map(|summary| summary.outcome));
    let fits = aborted == 1 && outcome == Some(Outcome::Aborted);
    (!fits).then(|| format!("{aborted} aborts were accepted and the rollout is {outcome:?}"))
}

/// S25: the record's stable version changes only when Promoting or Baking ends, or where nothing differs.
fn stable_changes_at_the_end(stored: &Stored<'_>, _: &Facts) -> Option<String> {
    let of = |record: &Record| record.stable.as_ref().map(|stable| (stable.rollout, stable.version.clone()));
    let (old, new) = (of(stored.old), of(stored.new));
    if old == new {
        return None;
    }
    let Some((number, _)) = new else { return Some("the stable version was forgotten".to_owned()) };
    let promoted = stored.new.history.get(&number).map(|summary| summary.outcome);
    let from =
        stored.old.rollout.as_ref().filter(|rollout| rollout.number == number).map(|rollout| rollout.phase);
    let fits = matches!(promoted, Some(Outcome::Promoted | Outcome::Undone))
        && matches!(from, Some(Phase::Preparing | Phase::Promoting | Phase::Baking));
    (!fits).then(|| format!("rollout {number} is stable from {from:?} with {promoted:?}"))
}
