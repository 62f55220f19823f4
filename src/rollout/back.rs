//! RollingBack: traffic away from the candidate, stable's template back, seen healthy, and the terminal record. Needs nothing but
//! the Kubernetes API: what stable was is kept in its revision Secret.

use super::gates::elapsed;
use super::machine::{Machine, is_beside};
use super::objects;
use super::view::Workload;
use crate::model::observed::Known;
use crate::model::rollout::Rollout;

impl Machine<'_> {
    /// One look at the way back.
    pub fn rolling_back(&mut self) {
        let Some(rollout) = self.record.rollout.clone() else { return };
        let wanted = self.record.replicas;
        // In place each pod that is replaced takes one away first: only those of the template that is back are gained.
        let beside = rollout.workload.is_deployment();
        let gained = |workload: &Workload| if beside { workload.ready() } else { workload.ready_current() };
        let ready = self.view.stable.present().map_or(0, gained);
        self.fall();
        let restored = self.carries_stable();
        if restored {
            self.note_progress(ready);
        }
        let stable_ready =
            restored && self.view.stable.present().is_some_and(|workload| workload.complete(wanted));
        let gone = self.has_left() && self.candidate_is_gone();
        let joined = gone && self.rejoin();
        let removed = !is_beside(&rollout) || matches!(self.view.canary, Known::Absent);
        if stable_ready && gone && removed && joined && self.is_given_back() {
            self.finish();
            return;
        }
        let overdue = self.back_is_overdue(&rollout);
        // A stable that cannot be made ready must not keep the release here for ever: it ends, and shows as degraded.
        if overdue && gone && restored {
            self.finish();
        }
    }

    /// Tells whether the way back has taken longer than its deadline since the last pod gained; asks to be woken then.
    pub fn back_is_overdue(&mut self, rollout: &Rollout) -> bool {
        let since = self.record.rollout.as_ref().map_or(rollout.progress_at, |rollout| rollout.progress_at);
        self.overdue(since, rollout.policy.progress_deadline)
    }

    /// Tells whether stable's Deployment has stable's template.
    pub fn carries_stable(&self) -> bool {
        let Some(stable) = self.record.stable.as_ref() else { return true };
        let Some(workload) = self.view.stable.present() else { return false };
        objects::has_template(self.input, workload, stable.rollout)
    }
}

/// Tells whether a rollout on its way back is past its deadline: the capacity rule then yields, one pod a write.
pub fn overdue(rollout: &Rollout, now: jiff::Timestamp) -> bool {
    elapsed(rollout.progress_at, now) >= rollout.policy.progress_deadline
}
