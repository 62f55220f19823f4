//! A service that is a job: its version runs once, and is stable when that run completed. A cron is one whose CronJob then runs it again at
//! its times, and so always has the last version whose run succeeded. Nothing stands beside it and nothing can be
//! restored, so a version whose run failed ends where it is, and the stable one stays the last whose run succeeded.

use super::gates::job::{self, Seen};
use super::gates::{Evaluation, elapsed};
use super::jobs;
use super::machine::{Machine, STORE_EVERY};
use super::objects;
use super::progress::later;
use crate::model::desired::Head;
use crate::model::object::Role;
use crate::model::policy::{Policy, Strategy};
use crate::model::record::{Health, Record};
use crate::model::rollout::{JobRun, Outcome, Rollout};
use crate::model::transition::Kind;
use crate::model::verdict::{Answer, Gate, Verdict};

/// Tells whether a policy is that of a job.
pub fn is_job(policy: &Policy) -> bool {
    policy.strategy == Strategy::Job
}

impl Machine<'_> {
    /// One look at the run of the version.
    pub fn running(&mut self, rollout: &Rollout) {
        let key = Gate::Job.name().to_owned();
        let run = rollout.stage.jobs.get(&key).cloned().unwrap_or_else(JobRun::first);
        let deadline = jobs::deadline(self.input, rollout);
        let seen = jobs::look_run(&self.record, self.input, rollout, &run);
        let (run, verdict) = if run.started && seen == Seen::Absent {
            let reason = "its Job was deleted by somebody while it ran: only a person may run it again";
            (run, Some(Verdict::fail(Gate::Job, reason)))
        } else {
            job::judge(Gate::Job, &seen, run, rollout.stage.verdicts.get(&key), deadline)
        };
        let passed = verdict.as_ref().is_some_and(|verdict| verdict.answer == Answer::Pass);
        let mut evaluation = Evaluation::default();
        evaluation.jobs.insert(key.clone(), run);
        evaluation.verdicts.extend(verdict.map(|verdict| (key, verdict)));
        if self.judge(&evaluation) {
            return;
        }
        if passed {
            return self.take_up(rollout);
        }
        // Whoever promoted it fully cannot have it pass without its run.
        let since = self.record.rollout.as_ref().and_then(|rollout| rollout.stage.unknown_since);
        let patience = rollout.policy.rollback.unknown_timeout;
        match (since, evaluation.unknown()) {
            (Some(since), Some(verdict)) if elapsed(since, self.input.now) >= patience => {
                self.park(verdict.clone());
            }
            _ => self.wake_at(later(self.input.now, STORE_EVERY)),
        }
    }

    /// The run completed: the version is stable, once what runs it again at its times has it.
    fn take_up(&mut self, rollout: &Rollout) {
        if self.is_taken_up(rollout) {
            return self.promote();
        }
        let now = self.input.now;
        let since = if rollout.proven { rollout.step_since } else { now };
        if let Some(rollout) = self.record.rollout.as_mut() {
            (rollout.proven, rollout.step_since) = (true, since);
        }
        if self.overdue(since, rollout.policy.progress_deadline) {
            let why = self.input.observed.refusals.values().next().map_or("no answer", String::as_str);
            let reason = format!("its run completed, and its CronJob could not be brought up to date: {why}");
            self.park(Verdict::unknown(Gate::Cluster, reason));
        }
    }

    fn is_taken_up(&self, rollout: &Rollout) -> bool {
        let Some(kept) = objects::kept(self.input, rollout.number) else { return false };
        let mut shared = kept.objects.iter().filter(|manifest| manifest.role == Role::Shared);
        shared.all(|manifest| {
            let live = self.input.observed.object(&manifest.key).present();
            live.is_some_and(|live| crate::plan::differs(&manifest.body, &live.object).is_empty())
        })
    }

    /// Returns why a version cannot take the place of stable: one serves and the other is a job.
    pub fn other_type(&self, rollout: &Rollout) -> Option<String> {
        let stable = self.record.stable.as_ref()?.rollout;
        let role = |number| objects::kept_workload(self.input, number).map(|workload| workload.role);
        let (was, is) = (role(stable)?, role(rollout.number)?);
        let name = |role| if role == Role::Job { "job" } else { "service" };
        (was != is).then(|| {
            format!(
                "service.type was {} and is {} now: delete its objects and its Release first, or give it another name",
                name(was),
                name(is)
            )
        })
    }

    /// Whether the release is a job, by what runs, else by what the head asks for, else by what was stable last.
    pub fn is_of_job(&self) -> bool {
        let running = self.record.rollout.as_ref().map(|rollout| &rollout.policy);
        let head = match self.input.head {
            Head::Known(desired) => Some(&desired.policy),
            Head::KeepLast { .. } | Head::None { .. } => None,
        };
        let stable = self.record.stable.as_ref().and_then(|stable| stable.policy.as_deref());
        running.or(head).or(stable).is_some_and(is_job)
    }

    /// How a job is: as its newest run was.
    pub fn health_of_job(&self) -> Health {
        match &self.record.rollout {
            Some(rollout) if rollout.ending.is_some() || rollout.frozen_since.is_some() => Health::Degraded,
            None if last_run(&self.record).is_some_and(|well| !well) => Health::Degraded,
            None if self.record.stable.is_some() => Health::Healthy,
            _ => Health::Progressing,
        }
    }

    /// A job is healthy again when a run completed.
    pub fn watch_job(&mut self) {
        let stable = self.record.stable.as_ref().map(|stable| stable.version.clone());
        if let Some(version) = stable.filter(|_| self.record.incident && last_run(&self.record) == Some(true))
        {
            self.record.incident = false;
            let sentence = format!("healthy again with commit {}", version.revision.commit.short());
            self.say(Kind::HealthyAgain { version }, sentence);
        }
    }
}

/// Whether the newest rollout that ended by itself ended well; those that people or newer versions ended prove nothing.
fn last_run(record: &Record) -> Option<bool> {
    record.history.values().rev().find_map(|summary| match summary.outcome {
        Outcome::Promoted | Outcome::Undone => Some(true),
        Outcome::RolledBack | Outcome::Failed => Some(false),
        Outcome::Superseded | Outcome::Aborted => None,
    })
}
