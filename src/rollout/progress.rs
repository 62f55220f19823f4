//! Progressing: a canary's steps below 100 %. Each step in order: size, ready, observe for its pause, verdict, next.

use std::time::Duration;

use jiff::Timestamp;

use super::autoscale;
use super::gates::{self, Evaluation, Traffics, elapsed};
use super::in_place;
use super::machine::{Machine, STORE_EVERY, is_stepped, next_people, next_stage, step_sizes};
use super::people::{self, PATIENCE, Wait};
use super::size::Pair;
use crate::model::gate::{DeclaredGate, When};
use crate::model::policy::{OnUnknown, Policy, Step};
use crate::model::rollout::{Phase, Place, Rollout};
use crate::model::samples::{Traffic, blind_after};
use crate::model::transition::Kind;
use crate::model::verdict::{Gate, Verdict};

impl Machine<'_> {
    /// One look at the running step.
    pub fn progressing(&mut self) {
        self.fix_candidate();
        let Some(rollout) = self.record.rollout.clone() else { return };
        let Some(weight) = rollout.current_step().map(|step| step.weight) else {
            return;
        };
        let wait = people::wait(&rollout);
        let mut evaluation = self.evaluate(&rollout, wait.observed);
        if self.weigh_traffic(&rollout, wait.pause, &mut evaluation)
            || self.judge(&evaluation)
            || self.supersede()
            || self.paused(&rollout)
        {
            return;
        }
        let target = step_sizes(&rollout, self.bounds(&rollout), weight);
        let stable = autoscale::goal(&self.record, self.input, &self.view, target.stable);
        let target = Pair { stable, ..target };
        if !self.stands(&rollout, weight, target) {
            self.step_deadline(&rollout);
            return;
        }
        self.begin_observing();
        let passed = self.observe(&evaluation, wait.pause);
        let limit = stage_limit(&rollout, &wait);
        if passed {
            if self.agreed(&rollout, &wait) && self.in_lockstep(&rollout, next_place(&rollout)) {
                let there = in_place::is_in_place(&rollout).then(|| self.split_in_place(&rollout));
                let real = if rollout.router.is_some() { weight } else { there.unwrap_or(target).share() };
                self.step_passed(&rollout, &evaluation, real);
            }
        } else if self.overdue(rollout.step_since, limit) {
            self.park(Verdict::unknown(Gate::Deadline, "the step did not end in time"));
        }
    }

    /// Tells whether the step stands: both tracks have the sizes of `target`, all ready, and a router gives the step's weight; measuring
    /// begins at that moment. What is lost later does not begin the step anew: samples stay, and the pause counts again when it is back.
    fn stands(&mut self, rollout: &Rollout, weight: u8, target: Pair) -> bool {
        if rollout.router.is_some() && !rollout.split {
            // No pod of the candidate before it is certain that its traffic comes by weight.
            let routed = self.routed();
            if let Some(rollout) = self.record.rollout.as_mut() {
                rollout.split = routed;
            }
            return false;
        }
        if !self.sized(rollout, target) {
            return false;
        }
        let now = self.input.now;
        let cohort = rollout.current_step().and_then(|step| step.cohort.as_ref());
        if rollout.router.is_some() && (rollout.weight < weight || rollout.cohort.as_ref() != cohort) {
            if let Some(rollout) = self.record.rollout.as_mut() {
                rollout.weight = weight;
                rollout.cohort = cohort.cloned();
                rollout.asked_at = Some(now);
            }
            return false;
        }
        let routed = self.routed();
        if let Some(rollout) = self.record.rollout.as_mut().filter(|_| routed) {
            // What is lost from here on has the whole deadline to come back.
            rollout.progress_at = now;
        }
        routed
    }

    fn sized(&mut self, rollout: &Rollout, target: Pair) -> bool {
        let canary = self.view.canary.present();
        let beside = || {
            self.sizes().spec == target
                && canary.is_some_and(|canary| canary.settled && canary.ready_current() >= target.candidate)
                && self.view.stable.present().is_some_and(|stable| {
                    stable.ready().saturating_add(stable.broken()) >= target.stable.min(self.record.replicas)
                })
        };
        let there = if in_place::is_in_place(rollout) { self.replaced(rollout, target) } else { beside() };
        if !there {
            self.note_gained(rollout);
        }
        there
    }

    fn note_gained(&mut self, rollout: &Rollout) {
        let (candidate, _) = super::machine::tracks(rollout, &self.view);
        let ready = candidate.iter().filter(|pod| pod.ready_since.is_some()).count();
        let ready = u32::try_from(ready).unwrap_or(u32::MAX);
        self.note_progress(ready);
    }

    /// Notes that the stage's sizes are ready for the first time: measuring begins from zero here.
    pub fn begin_observing(&mut self) {
        let now = self.input.now;
        if let Some(rollout) = self.record.rollout.as_mut().filter(|rollout| rollout.stage.ready_at.is_none())
        {
            next_stage(rollout);
            rollout.stage.ready_at = Some(now);
        }
    }

    /// Credits the time in which samples were really seen and nothing failed; true once `pause` is reached with every gate passing.
    pub fn observe(&mut self, evaluation: &Evaluation, pause: Duration) -> bool {
        let (now, session) = (self.input.now, self.input.session);
        let samples = self.input.samples;
        let Some(rollout) = self.record.rollout.as_mut() else { return false };
        let health = rollout.policy.health.clone();
        let goes_on = people::on_unknown(rollout) == OnUnknown::Continue;
        let stage = &mut rollout.stage;
        let tallies =
            samples.filter(|samples| samples.rollout == rollout.number && samples.stage == stage.number);
        let seen_to = tallies.map_or(now, |samples| samples.last_at);
        if stage.session != session {
            stage.base_candidate = stage.base_candidate.plus(stage.last_candidate);
            stage.base_stable = stage.base_stable.plus(stage.last_stable);
            stage.session = session;
            stage.credited_to = None;
        }
        stage.last_candidate = evaluation.candidate.since(stage.base_candidate);
        stage.last_stable = evaluation.stable.since(stage.base_stable);
        if tallies.is_some_and(|samples| matches!(samples.candidate, Traffic::Seen(_))) {
            gates::begin_anew(stage, evaluation.candidate, evaluation.stable, now);
        }
        stage.latency = evaluation.latency.clone().map(Box::new).or(stage.latency.take());
        // A longer gap between two looks is a blind spell.
        let most = blind_after(&health).max(health.interval * 2);
        // Where the team goes on without what cannot be measured, time counts without it too.
        let known = evaluation.fresh && evaluation.unknown().is_none();
        let blind = !known && goes_on;
        let seen_to = if blind { now } else { seen_to };
        let passing = !evaluation.pending && (known || blind);
        if passing {
            let from =
                stage.credited_to.or(stage.ready_at.filter(|_| stage.credited.is_zero())).unwrap_or(seen_to);
            let gap = elapsed(from, seen_to);
            if gap < most {
                stage.credited = stage.credited.saturating_add(gap);
            }
        }
        stage.credited_to = Some(seen_to);
        let credited = stage.credited;
        if stage.stored_at.is_none_or(|stored| elapsed(stored, now) >= STORE_EVERY) {
            stage.stored_at = Some(now);
        }
        let done = passing && credited >= pause && !evaluation.awaited;
        if !done {
            // Samples wake a pass only where a decision may follow, so the next look is asked for while its gap still counts.
            let rest = pause.saturating_sub(credited).max(Duration::from_millis(200));
            self.wake_at(later(now, rest.min(STORE_EVERY).min(most / 2)));
        }
        done
    }

    /// Pods that never started prove nothing: at the deadline the version is parked. (Started and not ready fails by pod state.)
    fn step_deadline(&mut self, rollout: &Rollout) {
        let since = rollout.step_since.max(rollout.progress_at);
        if self.overdue(since, rollout.policy.progress_deadline) {
            let reason = self.why_not_ready("its pods were not ready in time");
            let reason = match self.why_not_routed() {
                Some(why) => format!("its traffic could not be moved in time: {why}"),
                None => reason,
            };
            self.park(Verdict::unknown(Gate::Deadline, reason));
        }
    }

    /// Returns the best explanation that the pods give for not being ready.
    pub fn why_not_ready(&self, otherwise: &str) -> String {
        let rollout = self.record.rollout.as_ref();
        // Before its template is written, the pods of stable's Deployment are not the candidate's.
        let others = rollout.is_some_and(|rollout| rollout.phase == Phase::Progressing);
        let workloads = [
            (self.view.canary.present(), "pod"),
            (self.view.stable.present(), if others { "stable's pod" } else { "pod" }),
        ];
        for (workload, whose) in workloads {
            let Some(workload) = workload else { continue };
            if let Some(refused) = &workload.refused {
                return format!("{otherwise}: {refused}");
            }
            let pods = workload.current.iter();
            let reason = pods.filter(|pod| pod.ready_since.is_none()).find_map(|pod| {
                Some(format!("{otherwise}: {whose} {}: {}", pod.name, pod.why_not_running()?))
            });
            if let Some(reason) = reason {
                return reason;
            }
        }
        self.input
            .observed
            .refusals
            .values()
            .next()
            .map_or(otherwise.to_owned(), |why| format!("{otherwise}: {why}"))
    }

    /// Returns the verdict of a stage whose pause is over; none if its traffic says to wait: the next pass weighs it.
    pub fn end_of_pause(&mut self, rollout: &Rollout, evaluation: &Evaluation) -> Option<Verdict> {
        if people::wait(rollout).pause.is_zero() {
            return Some(best_verdict(evaluation));
        }
        if evaluation.doubt.is_some() {
            self.wake_at(self.input.now);
            return None;
        }
        match gates::traffic(&rollout.policy, evaluation.candidate) {
            Traffics::Enough => Some(best_verdict(evaluation)),
            Traffics::LowPass(verdict) => Some(verdict),
            // Where the team goes on without what cannot be told, nobody waits for it to be told.
            Traffics::Undecided(_) if people::on_unknown(rollout) == OnUnknown::Continue => {
                Some(best_verdict(evaluation))
            }
            Traffics::Undecided(_) | Traffics::LowRollback(_) => {
                self.wake_at(self.input.now);
                None
            }
        }
    }

    fn step_passed(&mut self, rollout: &Rollout, evaluation: &Evaluation, real: u8) {
        let Some(verdict) = self.end_of_pause(rollout, evaluation) else { return };
        self.say_stepped(rollout, verdict, real);
        let next = rollout.step.saturating_add(1);
        let now = self.input.now;
        if let Some(rollout) = self.record.rollout.as_mut() {
            rollout.step = next;
            rollout.scaling.candidate = None;
            rollout.step_since = now;
            rollout.progress_at = now;
            rollout.progress_pods = 0;
            next_stage(rollout);
            next_people(rollout);
        }
        if next_place(rollout) == Place::Promotion {
            self.enter(Phase::Promoting);
            if let Some(rollout) = self.record.rollout.as_mut() {
                rollout.template_moved = true;
            }
        }
    }

    /// Says that a step passed, with what was asked and what the pods really were.
    pub fn say_stepped(&mut self, rollout: &Rollout, verdict: Verdict, real: u8) {
        let Some(candidate) = rollout.candidate.version().cloned() else { return };
        // A first deploy or a rolling one has the whole share in one step, whatever the file says of canaries.
        let steps = if is_stepped(rollout) && rollout.cover.is_none() {
            rollout.policy.steps.as_slice()
        } else {
            &[]
        };
        let of = u32::try_from(steps.len()).unwrap_or(u32::MAX).max(1);
        let step = rollout.step.saturating_add(1).min(of);
        let asked = steps.get(rollout.step as usize).map_or(100, |step| step.weight);
        let in_place = in_place::is_in_place(rollout);
        let sizes = if in_place { self.split_in_place(rollout) } else { self.sizes().spec };
        let all = sizes.stable.saturating_add(sizes.candidate);
        let share = if real == asked {
            format!("{asked} %")
        } else {
            format!("asked {asked} %, got {real} %: {} of {all} pods", sizes.candidate)
        };
        let cohort = steps.get(rollout.step as usize).is_some_and(|step| step.cohort.is_some());
        let share = if cohort { format!("{share} and a cohort") } else { share };
        let sentence = format!("step {step} of {of} passed ({share}): {verdict}");
        if let Some(rollout) = self.record.rollout.as_mut() {
            rollout.passed.clone_from(&sentence);
        }
        self.say(Kind::Stepped { step, of, asked, real, verdict, candidate }, sentence);
    }

    /// Once the pause is over, traffic that tells too little takes the place of the error rate's verdict. Returns whether it ended the rollout.
    pub fn weigh_traffic(&mut self, rollout: &Rollout, pause: Duration, evaluation: &mut Evaluation) -> bool {
        if pause.is_zero() || rollout.stage.credited < pause {
            return false;
        }
        if let Some(doubt) = evaluation.doubt.take() {
            evaluation.verdicts.insert(doubt.key(), doubt);
        }
        match gates::traffic(&rollout.policy, evaluation.candidate) {
            Traffics::Enough => {}
            Traffics::LowPass(verdict) | Traffics::Undecided(verdict) => {
                evaluation.verdicts.insert(verdict.key(), verdict);
            }
            Traffics::LowRollback(verdict) => {
                self.park(verdict);
                return true;
            }
        }
        false
    }
}

/// Returns the verdict that says most: the one with numbers, else any.
pub fn best_verdict(evaluation: &Evaluation) -> Verdict {
    let all = || evaluation.verdicts.values();
    let best = all().find(|verdict| verdict.gate == Gate::ErrorRate).or_else(|| all().next());
    best.cloned().unwrap_or_else(|| Verdict::pass(Gate::PodState, "no pods are wanted"))
}

/// Where a rollout goes when its running step has passed.
fn next_place(rollout: &Rollout) -> Place {
    let next = rollout.policy.steps.get(rollout.step.saturating_add(1) as usize);
    // Without a router the promotion itself is the step of 100.
    let by_pods = |step: &Step| rollout.router.is_none() && step.weight >= 100;
    match next.filter(|step| rollout.people.promoted_fully.is_none() && !by_pods(step)) {
        Some(step) => Place::Share(step.weight),
        None => Place::Promotion,
    }
}

/// How long a stage may take from its sizes on: deadline, pause, and the patience with unknown, with people and with its group together.
pub fn stage_limit(rollout: &Rollout, wait: &Wait) -> Duration {
    let Policy { progress_deadline, rollback, .. } = &rollout.policy;
    let observed = progress_deadline.saturating_add(wait.pause.saturating_mul(2));
    let together = if rollout.policy.order.group.is_some() { PATIENCE } else { Duration::ZERO };
    let jobs = jobs_of(rollout).map(|gate| gate.timeout).max().unwrap_or_default();
    let waits = wait.patience().saturating_add(together).saturating_add(jobs);
    observed.saturating_add(rollback.unknown_timeout).saturating_add(waits)
}

/// The gates that are waited for while pods stand, and that take a time of their own.
fn jobs_of(rollout: &Rollout) -> impl Iterator<Item = &DeclaredGate> {
    let gates = rollout.policy.gates.iter();
    gates.filter(|gate| gate.when != When::Before && gate.asks.job().is_some() && !gate.dry_run)
}

/// Returns the time `rest` after `now`.
pub fn later(now: Timestamp, rest: Duration) -> Timestamp {
    now.checked_add(rest).unwrap_or(now)
}
