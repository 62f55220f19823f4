//! Promoting and Baking: stable's Deployment takes the candidate's template, then all pods are the candidate's and the gates still
//! watch. Order of the end: stable's template, stable ready, waiting shared objects, candidate to 0, bake, prune, terminal record.

use super::input::Inputs;
use super::machine::{Machine, is_gradual};
use super::objects;
use super::people;
use super::progress::{best_verdict, stage_limit};
use super::run::is_job;
use super::view::{View, Workload};
use crate::model::observed::Known;
use crate::model::rollout::{Phase, Place, Rollout};
use crate::model::verdict::{Gate, Verdict};

impl Machine<'_> {
    /// One look at stable's Deployment on its way to the candidate's template.
    pub fn promoting(&mut self) {
        let Some(rollout) = self.record.rollout.clone() else { return };
        if is_job(&rollout.policy) {
            return self.running(&rollout);
        }
        let evaluation = self.evaluate(&rollout, true);
        if self.judge(&evaluation) || (!is_gradual(&rollout) && self.supersede()) {
            return;
        }
        let wanted = self.record.replicas;
        let ready = self.view.stable.present().map_or(0, Workload::ready_current);
        if carries(self.input, &self.view, rollout.number) {
            self.note_progress(ready);
        }
        let complete = carries(self.input, &self.view, rollout.number)
            && self.view.stable.present().is_some_and(|workload| workload.complete(wanted));
        if complete && !rollout.stable_ready {
            if let Some(rollout) = self.record.rollout.as_mut() {
                rollout.stable_ready = true;
            }
            self.fall();
            return;
        }
        if rollout.stable_ready {
            self.fall();
            if self.has_left() && self.candidate_is_gone() {
                self.rejoin();
                self.enter(Phase::Baking);
                self.begin_observing();
                return;
            }
        }
        let since = self.record.rollout.as_ref().map_or(rollout.progress_at, |rollout| rollout.progress_at);
        if self.overdue(since, rollout.policy.progress_deadline) {
            let reason =
                self.why_not_ready("stable's Deployment was not ready with the new template in time");
            let reason = match self.why_not_routed().filter(|_| rollout.stable_ready) {
                Some(why) => format!("traffic could not be moved back to stable in time: {why}"),
                None => reason,
            };
            let verdict = Verdict::unknown(Gate::Deadline, reason);
            if rollout.router.is_some() {
                self.stay(verdict);
            } else {
                self.park(verdict);
            }
        }
    }

    /// All pods are the candidate's; the gates still watch for the last step's pause, or the window of a rolling deploy.
    pub fn baking(&mut self) {
        let Some(rollout) = self.record.rollout.clone() else { return };
        if rollout.proven {
            let gone = matches!(self.view.canary, Known::Absent);
            let late = self.overdue(rollout.step_since, rollout.policy.progress_deadline);
            // What a gateway that does not answer keeps standing is taken away at rest.
            if gone && (self.rejoin() || late) {
                self.promote();
            }
            return;
        }
        let wait = people::wait(&rollout);
        let mut evaluation = self.evaluate(&rollout, wait.observed);
        if self.weigh_traffic(&rollout, wait.pause, &mut evaluation)
            || self.judge(&evaluation)
            || (!is_gradual(&rollout) && self.supersede())
            || self.paused(&rollout)
        {
            return;
        }
        if self.observe(&evaluation, wait.pause) {
            if self.agreed(&rollout, &wait) {
                self.baked(&rollout, &evaluation);
            }
        } else if self.overdue(rollout.phase_since, stage_limit(&rollout, &wait)) {
            self.park(Verdict::unknown(Gate::Deadline, "the bake did not end in time"));
        }
    }

    fn baked(&mut self, rollout: &Rollout, evaluation: &super::gates::Evaluation) {
        if self.ask_after(rollout) {
            return;
        }
        let Some(verdict) = self.end_of_pause(rollout, evaluation) else { return };
        if !self.in_lockstep(rollout, Place::End) {
            return;
        }
        let verdict = if evaluation.verdicts.is_empty() { best_verdict(evaluation) } else { verdict };
        // By a router the step of 100 has passed long ago.
        if rollout.router.is_none() || rollout.cover.is_some() {
            self.say_stepped(rollout, verdict, 100);
        }
        let now = self.input.now;
        if let Some(rollout) = self.record.rollout.as_mut() {
            rollout.proven = true;
            rollout.step_since = now;
        }
    }

    /// Tells whether no pod of the candidate's own Deployment is wanted or left.
    pub fn candidate_is_gone(&self) -> bool {
        match &self.view.canary {
            Known::Unknown => false,
            Known::Absent => true,
            Known::Present(canary) => {
                canary.settled
                    && canary.replicas == 0
                    && canary.current.is_empty()
                    && canary.former.is_empty()
            }
        }
    }
}

/// Tells whether stable's Deployment carries the template of a rollout's candidate, as that rollout wrote it.
pub fn carries(input: &Inputs<'_>, view: &View, number: u64) -> bool {
    let Some(workload) = view.stable.present() else { return false };
    workload.rollout == Some(number) && objects::has_template(input, workload, number)
}
