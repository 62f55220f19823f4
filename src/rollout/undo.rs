//! Going back to a version that was stable before: a rollout like any other, whose objects come from what is kept in the cluster and
//! not from Git. The version that is left is held, so that Git does not bring it back at once.

use super::hold;
use super::machine::Machine;
use super::run::is_job;
use crate::model::change::Changes;
use crate::model::command::Command;
use crate::model::desired::Mode;
use crate::model::observed::{Known, RevisionBody};
use crate::model::policy::{Order, Policy, Strategy};
use crate::model::record::Stable;
use crate::model::rollout::{Candidate, Hold, Mark};
use crate::model::transition::Kind;
use crate::model::verdict::{Gate, Verdict};

impl Machine<'_> {
    /// Answers `undo`.
    pub fn undo(&mut self, command: &Command) -> Result<String, String> {
        if let Some(rollout) = &self.record.rollout {
            return Err(format!("rollout {} runs: `abort` takes it back", rollout.number));
        }
        if self.record.mode == Mode::Observe {
            return Err("its mode is observe: nothing is written".to_owned());
        }
        let Some(stable) = self.record.stable.clone() else {
            return Err("no version was ever promoted: there is nothing to go back from".to_owned());
        };
        // Where an earlier candidate keeps the traffic, going back is to the version that was last promoted.
        let stuck = self.record.serving.is_some() && command.to.is_none();
        let target =
            if stuck { self.kept_stable(&stable)? } else { self.earlier(&stable, command.to)? }.clone();
        let Some(policy) = self.way_back(&stable) else {
            return Err(
                "how its versions are rolled out is not known: Git is away and the record was rebuilt"
                    .to_owned(),
            );
        };
        if !stuck {
            self.leave(&stable, command);
        }
        let (number, from) = (target.rollout, target.version.identity.short().to_owned());
        let candidate = Candidate::Ready(target.version);
        let rollout = self.open(candidate, Changes::default(), policy);
        if let Some(running) = self.record.rollout.as_mut() {
            running.undo = Some(number);
        }
        let done = format!("rollout {rollout} goes back to version {from} of rollout {number}");
        if let Some(revision) =
            self.record.rollout.as_ref().map(|rollout| rollout.candidate.revision().clone())
        {
            self.say(Kind::Queued { revision }, format!("{done}, asked by {}", command.person()));
        }
        Ok(done)
    }

    fn kept_stable(&self, stable: &Stable) -> Result<&RevisionBody, String> {
        let kept = self.input.observed.revisions.get(&stable.rollout).and_then(Known::present);
        kept.ok_or_else(|| format!("the objects of rollout {} cannot be read now", stable.rollout))
    }

    /// Finds the kept version to go back to: the one that `to` names, else the newest other one that was stable.
    fn earlier(&self, stable: &Stable, to: Option<u64>) -> Result<&RevisionBody, String> {
        let revisions = &self.input.observed.revisions;
        let Some(number) = to else {
            let kept = revisions.values().rev().filter_map(Known::present);
            let mut kept = kept.filter(|kept| kept.mark == Mark::Stable && kept.rollout < stable.rollout);
            let other = kept.find(|kept| kept.version.identity != stable.version.identity);
            return other.ok_or_else(|| "no earlier version is kept that was stable".to_owned());
        };
        let kept = match revisions.get(&number) {
            Some(Known::Present(kept)) => kept,
            Some(Known::Unknown) => {
                return Err(format!("the objects of rollout {number} cannot be read now"));
            }
            Some(Known::Absent) | None => return Err(format!("nothing is kept of a rollout {number}")),
        };
        if kept.version.identity == stable.version.identity {
            return Err(format!("rollout {number} brought the version that runs"));
        }
        if kept.mark != Mark::Stable {
            return Err(format!("the version of rollout {number} was never stable"));
        }
        Ok(kept)
    }

    /// The present version's policy without its steps: a version that was proven once is not led through a canary again.
    fn way_back(&self, stable: &Stable) -> Option<Policy> {
        let declared = self.input.head.desired().map(|desired| &desired.policy);
        let policy = stable.policy.as_deref().or(declared)?.clone();
        let strategy = if is_job(&policy) { Strategy::Job } else { Strategy::Rolling };
        Some(Policy { strategy, steps: Vec::new(), order: Order::default(), ..policy })
    }

    fn leave(&mut self, stable: &Stable, command: &Command) {
        let identity = stable.version.identity.clone();
        let verdict = Verdict::fail(Gate::Command, format!("undone by {}", command.person()));
        let held = hold::entry(&self.record, &identity, Hold::Held, verdict.clone(), self.input.now);
        self.record.held.insert(stable.rollout, held);
        // Everybody had it: its going is the end of a failed deployment.
        self.record.incident = true;
        let image = Some(stable.version.image.clone());
        self.say(Kind::GateFailed { verdict: verdict.clone(), image }, verdict.to_string());
        let sentence = format!("version {} is held: {verdict}", identity.short());
        let revision = stable.version.revision.clone();
        self.say(
            Kind::HoldSet { hold: Hold::Held, identity: identity.short().to_owned(), revision, verdict },
            sentence,
        );
    }
}
