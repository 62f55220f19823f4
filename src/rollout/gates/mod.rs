//! The gates of one stage, a file each kind: pod state and health check, error rate, latency, and what the team declares. Each says
//! pass, fail, unknown, or nothing yet.

pub mod declared;
pub mod job;
mod latency;
mod pods;
#[cfg(test)]
mod tests;
mod traffic;
mod turn;
mod words;

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;

use declared::{Bench, Judged, Kept};
pub use traffic::{Traffics, traffic};
pub use turn::{FROM_BEGIN, begin_anew};

use crate::model::gate::DeclaredGate;
use crate::model::observed::PodView;
use crate::model::policy::{CheckKind, LatencyLimit, Policy};
use crate::model::rollout::{GateCount, JobRun, StageLatency, StageState};
use crate::model::samples::{self, Samples, Tally};
use crate::model::verdict::{Answer, Gate, Verdict};

/// What the gates of a stage are asked about.
#[derive(Debug)]
pub struct Stage<'a> {
    /// The pinned policy.
    pub policy: &'a Policy,
    /// The limit of the error rate, where this stage asks it.
    pub max_error_rate: Option<f64>,
    /// The declared gates that this stage asks.
    pub declared: Vec<&'a DeclaredGate>,
    /// What is seen of the Jobs among them, by the key of their verdicts.
    pub jobs: BTreeMap<String, job::Seen>,
    /// The limits of latency, where this stage asks them.
    pub max_latency: &'a [LatencyLimit],
    /// What the record keeps of the stage.
    pub state: &'a StageState,
    /// The measuring session of this process.
    pub session: u64,
    /// The rollout's number, which samples must carry.
    pub rollout: u64,
    /// Candidate pods, those being deleted left out.
    pub candidate: &'a [PodView],
    /// Stable's pods that are still there to compare with.
    pub stable: &'a [PodView],
    /// What was measured.
    pub samples: Option<&'a Samples>,
    /// Whether any pod is wanted at all.
    pub wanted: bool,
    /// When pods of this stage may have begun.
    pub since: Timestamp,
    /// The time of this pass.
    pub now: Timestamp,
}

/// What the gates say together.
#[derive(Debug, Clone, Default)]
pub struct Evaluation {
    /// Every gate that has an answer.
    pub verdicts: BTreeMap<String, Verdict>,
    /// A gate has no answer yet.
    pub pending: bool,
    /// The candidate's requests since the stage began.
    pub candidate: Tally,
    /// Stable's requests since the stage began.
    pub stable: Tally,
    /// The measurements of declared gates, as they are to be kept.
    pub gates: BTreeMap<String, GateCount>,
    /// The Jobs of declared gates, as they are to be kept.
    pub jobs: BTreeMap<String, JobRun>,
    /// A Job has not told yet: the stage does not end before it has, and its time counts meanwhile.
    pub awaited: bool,
    /// How long requests took since the stage began, as it is to be kept.
    pub latency: Option<StageLatency>,
    /// A quantile is above its limit and that may still be chance: a step does not end on it.
    pub doubt: Option<Verdict>,
    /// Whether samples are fresh enough for time to be credited.
    pub fresh: bool,
}

impl Evaluation {
    /// Returns the first failing verdict.
    pub fn failed(&self) -> Option<&Verdict> {
        self.verdicts.values().find(|verdict| verdict.answer == Answer::Fail && !verdict.dry_run)
    }

    /// Returns the first unknown verdict.
    pub fn unknown(&self) -> Option<&Verdict> {
        self.verdicts.values().find(|verdict| verdict.answer == Answer::Unknown && !verdict.dry_run)
    }

    /// Judges declared gates; one that is only told is waited for by nobody.
    pub fn declared(&mut self, gates: &[&DeclaredGate], bench: Bench<'_>) {
        for gate in gates {
            let Judged { key, kept, verdict } = bench.judge(gate);
            let silent = verdict.is_none() && !gate.dry_run;
            match kept {
                Kept::Count(count) => {
                    self.gates.insert(key, count);
                    self.pending |= silent;
                }
                Kept::Job(Some(run)) => {
                    self.jobs.insert(key, run);
                    self.awaited |= silent;
                }
                Kept::Job(None) => self.awaited |= silent,
            }
            self.verdicts.extend(verdict.map(|verdict| (verdict.key(), verdict)));
        }
    }

    fn add(&mut self, verdict: Option<Verdict>) {
        match verdict {
            Some(verdict) => {
                self.verdicts.insert(verdict.key(), verdict);
            }
            None => self.pending = true,
        }
    }
}

impl Stage<'_> {
    /// Asks every gate.
    pub fn evaluate(&self) -> Evaluation {
        let samples = self
            .samples
            .filter(|samples| samples.rollout == self.rollout && samples.stage == self.state.number);
        let mut all = Evaluation { fresh: self.fresh(samples), ..Evaluation::default() };
        (all.candidate, all.stable) = self.totals(samples);
        all.add(self.pod_state());
        if self.policy.health.kind != CheckKind::None {
            all.add(self.health_check(samples));
        }
        if let Some(limit) = self.max_error_rate {
            all.add(self.error_rate(samples, limit, all.candidate, all.stable));
        }
        if !self.max_latency.is_empty() {
            self.latency(samples, &mut all);
        }
        let Self { state, session, now, .. } = *self;
        let bench = Bench { state, samples, jobs: &self.jobs, session, begun: state.ready_at, now };
        all.declared(&self.declared, bench);
        if self.state.ready_at.is_none() {
            // The pods are still on their way: what fails fails at once, but nobody can have passed, and nobody is late.
            all.verdicts.retain(|_, verdict| verdict.answer == Answer::Fail);
            all.pending = true;
        }
        all
    }

    /// No samples: nothing yet at first, unknown once we should have seen some. Where nobody is wanted and nobody is there, nobody can be asked.
    fn silent(&self, gate: Gate) -> Option<Verdict> {
        if self.is_empty() {
            return Some(Verdict::pass(gate, "no pod is wanted"));
        }
        let last =
            self.samples.filter(|samples| samples.rollout == self.rollout).map(|samples| samples.last_at);
        let since = last.map_or(self.begun(), |last| last.max(self.begun()));
        let blind = elapsed(since, self.now);
        (blind >= self.blind_after()).then(|| {
            let reason = format!("no samples for {}", crate::model::duration::rough(blind));
            Verdict::unknown(gate, reason)
        })
    }

    fn begun(&self) -> Timestamp {
        self.state.ready_at.unwrap_or(self.now)
    }

    fn blind_after(&self) -> Duration {
        samples::blind_after(&self.policy.health) + self.policy.health.initial_delay
    }

    fn measures(&self) -> bool {
        self.policy.health.kind != CheckKind::None
            || self.max_error_rate.is_some()
            || !self.max_latency.is_empty()
    }

    fn is_empty(&self) -> bool {
        !self.wanted && self.candidate.is_empty()
    }

    fn fresh(&self, samples: Option<&Samples>) -> bool {
        if !self.measures() || self.is_empty() {
            return true;
        }
        samples.is_some_and(|samples| {
            elapsed(samples.last_at, self.now) < samples::blind_after(&self.policy.health)
        })
    }
}

/// Returns the time from `from` to `to`; zero if it runs backwards.
pub fn elapsed(from: Timestamp, to: Timestamp) -> Duration {
    Duration::try_from(to.duration_since(from)).unwrap_or(Duration::ZERO)
}
