//! How a rollout ends: the verdict that ends it, and the one terminal record.

use std::sync::Arc;

use super::gates::{Evaluation, elapsed};
use super::hold;
use super::in_place;
use super::machine::{Machine, is_beside, is_gradual};
use super::people::{self, PATIENCE};
use super::run::is_job;
use crate::model::desired::Head;
use crate::model::image::ImageState;
use crate::model::policy::OnUnknown;
use crate::model::record::{Record, Stable, Totals};
use crate::model::rollout::{Candidate, Ending, Hold, LOG_BYTES, Outcome, Phase, Rollout, Summary};
use crate::model::transition::Kind;
use crate::model::verdict::{Answer, Gate, Verdict};

/// After so many supersedes in a row the running candidate finishes and the newest waits.
const SUPERSEDES: u32 = 2;

impl Machine<'_> {
    /// Ends the running rollout unpromoted: the way back begins, or, where nothing was changed yet or there is no way back, the
    /// terminal record is written at once. The first verdict stays.
    pub fn end(&mut self, ending: Ending) {
        let Some(rollout) = self.record.rollout.as_mut().filter(|rollout| rollout.ending.is_none()) else {
            return;
        };
        let image = rollout.candidate.version().map(|version| version.image.clone());
        let (first, phase) = (rollout.first, rollout.phase);
        let job = is_job(&rollout.policy);
        let over =
            ending.outcome == Outcome::Superseded && !is_gradual(rollout) && phase != Phase::RollingBack;
        if ending.outcome != Outcome::Superseded && ending.verdict.gate != Gate::Command {
            self.record.incident = self.record.incident || phase != Phase::Preparing;
            let sentence = ending.verdict.to_string();
            self.say(Kind::GateFailed { verdict: ending.verdict.clone(), image }, sentence);
        }
        if let Some(rollout) = self.record.rollout.as_mut() {
            rollout.ending = Some(ending);
        }
        if job && !first && phase != Phase::Preparing {
            // A run cannot be taken back: there is nothing to restore.
            self.enter(Phase::RollingBack);
            self.finish();
        } else if phase == Phase::Preparing || first || (over && !self.head_is_stable()) {
            self.finish();
        } else {
            self.enter(Phase::RollingBack);
            self.fall();
        }
    }

    /// Stable's Deployment did not become ready with the new template, and nothing says that the candidate is bad: the rollout ends, and
    /// the candidate keeps all traffic until another version, or this one again, takes its place.
    pub fn stay(&mut self, verdict: Verdict) {
        let Some(rollout) = self.record.rollout.clone().filter(|rollout| rollout.ending.is_none()) else {
            return;
        };
        self.record.incident = true;
        let image = rollout.candidate.version().map(|version| version.image.clone());
        self.say(Kind::GateFailed { verdict: verdict.clone(), image }, verdict.to_string());
        let Rollout { weight, split, .. } = rollout;
        match self.record.serving.as_mut() {
            Some(serving) => (serving.weight, serving.split) = (weight, split),
            None => self.record.serving = Some(Box::new(rollout)),
        }
        let ending =
            Ending { outcome: Outcome::Failed, hold: Some(Hold::Parked), verdict, at: self.input.now };
        if let Some(rollout) = self.record.rollout.as_mut() {
            rollout.ending = Some(ending);
        }
        self.finish();
    }

    /// Forgets an earlier candidate that served, once its Deployment stands no more.
    fn uncover(&mut self, rollout: &Rollout) {
        if rollout.cover.is_some() && (rollout.away || rollout.joining) {
            self.record.serving = None;
        }
    }

    /// Ends the rollout if a gate failed, a gate stayed unknown too long, or a deadline passed. Returns whether it ended or is
    /// frozen, so that the phase goes no further.
    pub fn judge(&mut self, evaluation: &Evaluation) -> bool {
        self.keep_verdicts(evaluation);
        if let Some(verdict) = evaluation.failed().cloned() {
            self.fail(verdict);
            return true;
        }
        if self.falls_with_group() {
            return true;
        }
        let Some(rollout) = self.record.rollout.as_ref() else { return true };
        if rollout.frozen_since.is_some() {
            self.thaw_or_wait();
            return true;
        }
        let (since, on_unknown) = (rollout.stage.unknown_since, people::on_unknown(rollout));
        let timeout = rollout.policy.rollback.unknown_timeout;
        let (Some(since), Some(verdict)) = (since, evaluation.unknown().cloned()) else { return false };
        match on_unknown {
            OnUnknown::Continue => false,
            OnUnknown::Rollback => {
                self.park(verdict);
                true
            }
            OnUnknown::Hold => {
                let over = self.overdue(since, timeout);
                if over {
                    self.park(verdict);
                }
                over
            }
        }
    }

    /// A gate failed: back, or frozen where the team wants to decide itself.
    fn fail(&mut self, verdict: Verdict) {
        let now = self.input.now;
        let Some(rollout) = self.record.rollout.as_mut() else { return };
        // Without the quarantine it may start again by itself, but not at once and not for ever.
        let hold = Some(if rollout.policy.rollback.hold { Hold::Held } else { Hold::Parked });
        if rollout.policy.rollback.auto {
            let never_ran = rollout.first || rollout.phase == Phase::Preparing;
            let outcome = if never_ran { Outcome::Failed } else { Outcome::RolledBack };
            self.end(Ending { outcome, hold, verdict, at: now });
            return;
        }
        if rollout.frozen_since.is_none() {
            rollout.frozen_since = Some(now);
            let image = rollout.candidate.version().map(|version| version.image.clone());
            let sentence = format!(
                "{verdict}; rollback.auto is false: frozen until it is aborted or a newer version comes"
            );
            self.say(Kind::GateFailed { verdict, image }, sentence);
        }
        self.thaw_or_wait();
    }

    fn thaw_or_wait(&mut self) {
        if self.supersede() {
            return;
        }
        let Some(since) = self.record.rollout.as_ref().and_then(|rollout| rollout.frozen_since) else {
            return;
        };
        if self.overdue(since, PATIENCE) {
            let verdict =
                self.worst_verdict().unwrap_or_else(|| Verdict::fail(Gate::Deadline, "frozen for 24h"));
            let outcome = if self.record.rollout.as_ref().is_some_and(|rollout| rollout.first) {
                Outcome::Failed
            } else {
                Outcome::RolledBack
            };
            self.end(Ending { outcome, hold: Some(Hold::Held), verdict, at: self.input.now });
        }
    }

    fn worst_verdict(&self) -> Option<Verdict> {
        let verdicts = &self.record.rollout.as_ref()?.stage.verdicts;
        verdicts.values().find(|verdict| verdict.answer == Answer::Fail && !verdict.dry_run).cloned()
    }

    /// Nothing was proven: back, and parked.
    pub fn park(&mut self, verdict: Verdict) {
        let first = self
            .record
            .rollout
            .as_ref()
            .is_some_and(|rollout| rollout.first || rollout.phase == Phase::Preparing);
        let outcome = if first { Outcome::Failed } else { Outcome::RolledBack };
        self.end(Ending { outcome, hold: Some(Hold::Parked), verdict, at: self.input.now });
    }

    /// Keeps the newest verdicts in the record and notes since when a gate is unknown.
    fn keep_verdicts(&mut self, evaluation: &Evaluation) {
        let now = self.input.now;
        let mut changed = Vec::new();
        if let Some(rollout) = self.record.rollout.as_mut() {
            for (name, verdict) in &evaluation.verdicts {
                let before = rollout.stage.verdicts.insert(name.clone(), verdict.clone());
                if before.is_none_or(|before| before.answer != verdict.answer) {
                    changed.push(format!("{}/{}", verdict.gate.name(), verdict.answer.name()));
                }
            }
            rollout.stage.gates.extend(evaluation.gates.clone());
            rollout.stage.jobs.extend(evaluation.jobs.clone());
            let unknown = evaluation.unknown().is_some();
            rollout.stage.unknown_since = unknown.then(|| rollout.stage.unknown_since.unwrap_or(now));
            if let Some(samples) = self.input.samples.filter(|samples| samples.rollout == rollout.number) {
                rollout.traffic_source = rollout.traffic_source.or(samples.source);
            }
        }
        for key in changed {
            *self.record.totals.verdicts.entry(key).or_default() += 1;
        }
    }

    /// Tells whether the head asks for another version that may take the candidate's place now, and ends the rollout if so.
    pub fn supersede(&mut self) -> bool {
        let Head::Known(desired) = self.input.head else { return false };
        let Some(rollout) = self.record.rollout.as_ref() else { return false };
        if &desired.identity == rollout.candidate.identity() || !self.acts() {
            return false;
        }
        let reverted = self.head_is_stable();
        let known = matches!(self.input.images.get(&desired.identity), Some(ImageState::Resolved(_)));
        let lost = matches!(rollout.candidate, Candidate::Waiting { .. }) && self.input.waiting.is_none();
        let held = hold::holding(&self.record, &desired.identity).is_some();
        let waits = people::waits_for_person(rollout) || self.lockstep.is_some();
        let stuck = lost || rollout.frozen_since.is_some() || waits;
        let patient = self.record.superseded_in_row >= SUPERSEDES && !stuck;
        if held
            || self.input.suspended
            || !desired.auto_deploy
            || (!reverted && (patient || !(known || lost)))
        {
            return false;
        }
        let what = if reverted { "the head is stable's version again" } else { "a newer version is here" };
        let verdict = Verdict::pass(Gate::Command, format!("{what}: {}", desired.revision.commit.short()));
        let moved = rollout.template_moved || rollout.over;
        self.end(Ending { outcome: Outcome::Superseded, hold: None, verdict, at: self.input.now });
        if self.record.rollout.is_none() && moved {
            // Its template stands in stable's Deployment and the newer one is applied over it: begun in the same breath, so that
            // stable's template is not put back in between.
            self.begin(desired, true);
        }
        true
    }

    fn head_is_stable(&self) -> bool {
        let head = self.input.head.desired().map(|desired| &desired.identity);
        head.is_some() && head == self.record.stable.as_ref().map(|stable| &stable.version.identity)
    }

    /// Writes the one terminal record of a rollout that ended unpromoted.
    pub fn finish(&mut self) {
        let Some(rollout) = self.record.rollout.clone() else { return };
        let Some(ending) = rollout.ending.clone() else { return };
        let identity = rollout.candidate.identity().clone();
        if let Some(hold) = ending.hold {
            let held = hold::entry(&self.record, &identity, hold, ending.verdict.clone(), self.input.now);
            self.record.held.insert(rollout.number, held);
            let kind = Kind::HoldSet {
                hold,
                identity: identity.short().to_owned(),
                revision: rollout.candidate.revision().clone(),
                verdict: ending.verdict.clone(),
            };
            let word = if hold == Hold::Held { "held" } else { "parked" };
            self.say(kind, format!("version {} is {word}: {}", identity.short(), ending.verdict));
        }
        if matches!(ending.outcome, Outcome::RolledBack | Outcome::Aborted)
            && rollout.phase == Phase::RollingBack
        {
            let running = self.record.stable.as_ref().map(|stable| stable.version.clone());
            let kind = Kind::RolledBack {
                verdict: ending.verdict.clone(),
                candidate: rollout.candidate.version().cloned(),
                running,
                took: elapsed(ending.at, self.input.now),
            };
            *self.record.totals.rollbacks.entry(ending.verdict.gate.name().to_owned()).or_default() += 1;
            self.say(kind, format!("rolled back: {}", ending.verdict));
        }
        self.record.superseded_in_row = if ending.outcome == Outcome::Superseded {
            self.record.superseded_in_row.saturating_add(1)
        } else {
            0
        };
        self.close(&rollout, ending.outcome, &ending.verdict.to_string());
    }

    /// Writes the one terminal record of a rollout whose candidate is stable now.
    pub fn promote(&mut self) {
        let Some(rollout) = self.record.rollout.clone() else { return };
        let Candidate::Ready(version) = rollout.candidate.clone() else { return };
        let now = self.input.now;
        let previous = self.record.stable.take();
        let (number, changes) = (rollout.number, rollout.changes.clone());
        let policy = Some(Box::new(rollout.policy.clone()));
        self.record.stable =
            Some(Stable { rollout: number, version: version.clone(), changes, since: now, policy });
        self.record.superseded_in_row = 0;
        let took = elapsed(rollout.started_at, now);
        let sentence = format!(
            "{} is stable: commit {}, {}",
            self.input.release,
            version.revision.commit.short(),
            version.image.digest.short()
        );
        if rollout.undo.is_some() {
            let left = previous.as_ref().and_then(|left| self.record.held.get(&left.rollout));
            let verdict =
                left.map_or_else(|| Verdict::fail(Gate::Command, "undone"), |held| held.verdict.clone());
            *self.record.totals.rollbacks.entry(verdict.gate.name().to_owned()).or_default() += 1;
            let candidate = previous.map(|stable| stable.version);
            self.say(
                Kind::RolledBack { verdict, candidate, running: Some(version), took },
                format!("went back: {sentence}"),
            );
            self.close(&rollout, Outcome::Undone, &sentence);
            return;
        }
        let since_commit = elapsed(version.revision.committed_at, now);
        let previous = previous.map(|stable| stable.version);
        self.say(Kind::Promoted { version, previous, took, since_commit }, sentence.clone());
        self.close(&rollout, Outcome::Promoted, &sentence);
    }

    fn close(&mut self, rollout: &Rollout, outcome: Outcome, reason: &str) {
        self.uncover(rollout);
        let now = self.input.now;
        let image = rollout.candidate.version().map(|version| version.image.clone());
        let whole = rollout.router.is_some() && rollout.step_weight() >= 100;
        let partly = if in_place::is_in_place(rollout) {
            rollout.step_weight() < 100
        } else {
            is_beside(rollout) && !rollout.template_moved
        };
        let caught = partly && !whole;
        let took = elapsed(rollout.started_at, now);
        let kind = Kind::Finished { outcome, reason: reason.to_owned(), took, image: image.clone(), caught };
        self.say(kind, format!("rollout {} ended: {}: {reason}", rollout.number, outcome.name()));
        *self.record.totals.rollouts.entry(Totals::rollout_key(outcome, caught)).or_default() += 1;
        let reached = match rollout.phase {
            Phase::Preparing => 0,
            _ => rollout.step.saturating_add(1),
        };
        let summary = Summary {
            identity: rollout.candidate.identity().clone(),
            revision: rollout.candidate.revision().clone(),
            image,
            outcome,
            verdict: reason.to_owned(),
            started_at: rollout.started_at,
            ended_at: now,
            steps: reached,
            log: self.record.rollout.take().map(|rollout| rollout.log).unwrap_or_default(),
        };
        self.record.history.insert(rollout.number, summary);
        forget_logs(&mut self.record);
    }
}

/// Keeps the logs of the newest rollouts: a record has room for so many bytes of them.
fn forget_logs(record: &mut Record) {
    let mut room = LOG_BYTES;
    for summary in record.history.values_mut().rev() {
        let bytes = summary.log.iter().map(|line| line.kind.len() + line.sentence.len() + 60).sum();
        match room.checked_sub(bytes) {
            Some(left) => room = left,
            None => summary.log = Arc::default(),
        }
    }
}
