//! What is asked before the first pod, and after the last: declared gates, and objectives whose budget is waited for.

use super::gates::Evaluation;
use super::gates::declared::{self, Bench};
use super::machine::Machine;
use super::people::{self, PATIENCE};
use crate::model::gate::When;
use crate::model::policy::OnUnknown;
use crate::model::rollout::Rollout;
use crate::model::verdict::{Answer, Verdict};

impl Machine<'_> {
    /// Tells whether the first pod may be created: every gate that comes before passed, and enough of each budget is left. A failed gate
    /// ends the rollout; a budget is waited for, a day at most.
    pub fn cleared(&mut self) -> bool {
        let Some(rollout) = self.record.rollout.clone() else { return false };
        let gates = declared::asked(&rollout, true);
        if gates.is_empty() && rollout.policy.slo.is_empty() {
            return true;
        }
        let samples = self.input.samples;
        let bench = Bench {
            state: &rollout.stage,
            samples: samples
                .filter(|samples| samples.rollout == rollout.number && samples.stage == rollout.stage.number),
            jobs: &self.jobs(&rollout, true),
            session: self.input.session,
            begun: Some(rollout.phase_since),
            now: self.input.now,
        };
        let mut evaluation = Evaluation::default();
        evaluation.declared(&gates, bench);
        let objectives: Vec<Option<Verdict>> =
            declared::waited_for(&rollout).iter().map(|slo| bench.budget(slo)).collect();
        if self.judge(&evaluation) {
            return false;
        }
        let passed_over = people::on_unknown(&rollout) == OnUnknown::Continue;
        let unknown = evaluation.unknown().is_some();
        let budgets = self.wait_for(&rollout, &objectives, passed_over);
        self.wake_at(super::progress::later(self.input.now, super::machine::STORE_EVERY));
        budgets && !evaluation.pending && !evaluation.awaited && (!unknown || passed_over)
    }

    /// Keeps the verdicts of objectives. Tells whether all of them pass; parks the version where one does not for a day.
    fn wait_for(&mut self, rollout: &Rollout, objectives: &[Option<Verdict>], passed_over: bool) -> bool {
        let mut all = true;
        for verdict in objectives {
            let Some(verdict) = verdict else {
                all = false;
                continue;
            };
            let before = self
                .record
                .rollout
                .as_mut()
                .and_then(|rollout| rollout.stage.verdicts.insert(verdict.key(), verdict.clone()));
            if before.is_none_or(|before| before.answer != verdict.answer) {
                let key = format!("{}/{}", verdict.gate.name(), verdict.answer.name());
                *self.record.totals.verdicts.entry(key).or_default() += 1;
            }
            // Nobody measured it: not to know is what `on_unknown` speaks of, too small a budget is not.
            let unmeasured = verdict.numbers.value.is_none();
            let waits = verdict.answer != Answer::Pass && !(passed_over && unmeasured);
            if waits && self.overdue(rollout.phase_since, PATIENCE) {
                self.park(verdict.clone());
                return false;
            }
            all &= !waits;
        }
        all
    }

    /// Once the bake's time is over, the gates that come after it are asked; returns whether they begin now.
    pub fn ask_after(&mut self, rollout: &Rollout) -> bool {
        let declared = rollout.policy.gates.iter().any(|gate| gate.when == When::After);
        if !declared || rollout.stage.pause_over {
            return false;
        }
        if let Some(rollout) = self.record.rollout.as_mut() {
            rollout.stage.pause_over = true;
        }
        self.wake_at(self.input.now);
        true
    }
}
