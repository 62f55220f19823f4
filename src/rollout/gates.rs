//! The gates of one stage: pod state, health check, error rate. Each says pass, fail, unknown, or nothing yet.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;

use super::statistics;
use crate::model::observed::PodView;
use crate::model::policy::{CheckKind, OnLowTraffic, Policy};
use crate::model::rollout::StageState;
use crate::model::samples::{self, CheckTally, Samples, Tally, Track, Traffic, TrafficSource};
use crate::model::verdict::{Answer, Gate, Numbers, Verdict};

/// What the gates of a stage are asked about.
#[derive(Debug)]
pub struct Stage<'a> {
    /// The pinned policy.
    pub policy: &'a Policy,
    /// The limit of the error rate, where this stage asks it.
    pub max_error_rate: Option<f64>,
    /// What the record keeps of the stage.
    pub state: &'a StageState,
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
    pub verdicts: BTreeMap<&'static str, Verdict>,
    /// A gate has no answer yet.
    pub pending: bool,
    /// The candidate's requests since the stage began.
    pub candidate: Tally,
    /// Stable's requests since the stage began.
    pub stable: Tally,
    /// Whether samples are fresh enough for time to be credited.
    pub fresh: bool,
}

impl Evaluation {
    /// Returns the first failing verdict.
    pub fn failed(&self) -> Option<&Verdict> {
        self.verdicts.values().find(|verdict| verdict.answer == Answer::Fail)
    }

    /// Returns the first unknown verdict.
    pub fn unknown(&self) -> Option<&Verdict> {
        self.verdicts.values().find(|verdict| verdict.answer == Answer::Unknown)
    }

    fn add(&mut self, verdict: Option<Verdict>) {
        match verdict {
            Some(verdict) => {
                self.verdicts.insert(verdict.gate.name(), verdict);
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
        if self.state.ready_at.is_none() {
            // The pods are still on their way: what fails fails at once, but nobody can have passed, and nobody is late.
            all.verdicts.retain(|_, verdict| verdict.answer == Answer::Fail);
            all.pending = true;
        }
        all
    }

    /// What the pods themselves say; disrupted pods are no evidence.
    fn pod_state(&self) -> Option<Verdict> {
        let accepted = self.policy.rollback.max_restarts;
        let evidence = || self.candidate.iter().filter(|pod| pod.disrupted.is_none());
        for pod in evidence() {
            if pod.restarts > accepted {
                let numbers = Numbers {
                    value: Some(f64::from(pod.restarts)),
                    limit: Some(f64::from(accepted)),
                    ..Numbers::default()
                };
                return Some(Verdict::fail(Gate::PodState, crash_sentence(pod)).with(numbers));
            }
            let waiting =
                pod.waiting.as_ref().filter(|stopped| stopped.reason == "CreateContainerConfigError");
            if let Some(stopped) = waiting {
                let reason =
                    format!("pod {} cannot start: {}: {}", pod.name, stopped.reason, stopped.message);
                return Some(Verdict::fail(Gate::PodState, reason));
            }
            if pod.started && pod.ready_since.is_none() && self.age(pod) >= self.policy.progress_deadline {
                let reason = format!(
                    "pod {} started and is not ready after {}",
                    pod.name,
                    crate::model::duration::rough(self.policy.progress_deadline)
                );
                return Some(Verdict::fail(Gate::PodState, reason));
            }
        }
        let there = !self.wanted || evidence().next().is_some();
        if there && evidence().all(|pod| pod.ready_since.is_some()) {
            Some(Verdict::pass(Gate::PodState, "every candidate pod is ready"))
        } else {
            None
        }
    }

    fn age(&self, pod: &PodView) -> Duration {
        elapsed(pod.created_at.max(self.since), self.now)
    }

    fn health_check(&self, samples: Option<&Samples>) -> Option<Verdict> {
        let Some(samples) = samples else { return self.silent(Gate::HealthCheck) };
        let threshold = self.policy.health.threshold.max(1);
        let is_candidate =
            |uid: &String| self.candidate.iter().any(|pod| &pod.uid == uid && pod.disrupted.is_none());
        let checks = || samples.checks.iter().filter(|(uid, _)| is_candidate(uid)).map(|(_, tally)| tally);
        if let Some(failed) = checks().find(|tally| tally.failed_in_row >= threshold) {
            return Some(Self::failed_check(samples, failed, threshold));
        }
        if !self.fresh(Some(samples)) {
            return self.silent(Gate::HealthCheck);
        }
        let wanted = self.policy.health.success_threshold.max(1);
        let ready = self.candidate.iter().filter(|pod| pod.ready_since.is_some());
        let passed =
            |pod: &PodView| samples.checks.get(&pod.uid).is_some_and(|tally| tally.passed_in_row >= wanted);
        let asked: u64 = checks().map(|tally| tally.asked).sum();
        let there = !self.wanted || ready.clone().next().is_some();
        (there && ready.clone().all(passed)).then(|| {
            let numbers = Numbers { samples: Some(asked), ..Numbers::default() };
            Verdict::pass(Gate::HealthCheck, "every candidate pod answers its health check").with(numbers)
        })
    }

    /// A failed streak of the candidate is evidence only if stable's pods can be asked at all.
    fn failed_check(samples: &Samples, failed: &CheckTally, threshold: u32) -> Verdict {
        let clause = failed.last_failure.as_deref().unwrap_or("no answer");
        let mut stable = samples.checks.values().filter(|tally| tally.track == Track::Stable).peekable();
        if stable.peek().is_some() && stable.all(|tally| tally.failed_in_row > 0) {
            return Verdict::unknown(
                Gate::HealthCheck,
                format!("stable's pods fail their health check as well ({clause})"),
            );
        }
        let numbers = Numbers {
            value: Some(f64::from(failed.failed_in_row)),
            limit: Some(f64::from(threshold)),
            samples: Some(failed.asked),
            ..Numbers::default()
        };
        let reason = format!(
            "pod {} failed its health check {} times in a row: {clause}",
            failed.pod, failed.failed_in_row
        );
        Verdict::fail(Gate::HealthCheck, reason).with(numbers)
    }

    fn error_rate(
        &self,
        samples: Option<&Samples>,
        limit: f64,
        mine: Tally,
        theirs: Tally,
    ) -> Option<Verdict> {
        let Some(samples) = samples else { return self.silent(Gate::ErrorRate) };
        if let Traffic::Unknown { reason } = &samples.candidate {
            // At first nobody was asked yet, whatever source an earlier stage chose.
            return if elapsed(self.begun(), self.now) < self.blind_after() {
                None
            } else {
                Some(Verdict::unknown(Gate::ErrorRate, reason.clone()))
            };
        }
        if !self.fresh(Some(samples)) {
            return self.silent(Gate::ErrorRate);
        }
        let numbers = rate_numbers(mine, limit, elapsed(self.begun(), self.now));
        let Some(exceeded) = statistics::exceeds(mine, limit) else {
            return Some(
                Verdict::unknown(Gate::ErrorRate, "absurd numbers: more errors than requests").with(numbers),
            );
        };
        if !exceeded {
            let source = samples.source.unwrap_or(TrafficSource::PodMetrics).name();
            let above = numbers.value.is_some_and(|value| value > limit);
            let reason = match (mine.requests, above) {
                (0, _) => format!("no requests yet by {source}"),
                (_, true) => format!("above the limit by {source}, but so few requests may be chance"),
                (_, false) => format!("within the limit by {source}"),
            };
            return Some(Verdict::pass(Gate::ErrorRate, reason).with(numbers));
        }
        if statistics::both_exceed(mine, theirs, limit) == Some(true) {
            let reason = "stable fails too many requests as well: an outage that hits both says nothing of the candidate";
            return Some(Verdict::unknown(Gate::ErrorRate, reason).with(numbers));
        }
        Some(Verdict::fail(Gate::ErrorRate, "the candidate fails too many requests").with(numbers))
    }

    /// No samples: nothing yet at first, unknown once we should have seen some.
    fn silent(&self, gate: Gate) -> Option<Verdict> {
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
        self.policy.health.kind != CheckKind::None || self.max_error_rate.is_some()
    }

    fn fresh(&self, samples: Option<&Samples>) -> bool {
        if !self.measures() {
            return true;
        }
        samples.is_some_and(|samples| {
            elapsed(samples.last_at, self.now) < samples::blind_after(&self.policy.health)
        })
    }

    /// Adds what this session measured to what earlier sessions stored.
    fn totals(&self, samples: Option<&Samples>) -> (Tally, Tally) {
        let state = self.state;
        let (base, stable_base) = if samples.is_some_and(|samples| samples.session == state.session) {
            (state.base_candidate, state.base_stable)
        } else {
            (state.base_candidate.plus(state.last_candidate), state.base_stable.plus(state.last_stable))
        };
        let Some(samples) = samples else { return (base, stable_base) };
        let seen = |traffic: &Traffic| match traffic {
            Traffic::Seen(tally) => *tally,
            Traffic::Unknown { .. } => Tally::default(),
        };
        (base.plus(seen(&samples.candidate)), stable_base.plus(seen(&samples.stable)))
    }
}

/// What the end of a step makes of the traffic that it saw.
#[derive(Debug, Clone, PartialEq)]
pub enum Traffics {
    /// Enough, or not asked about.
    Enough,
    /// Too little; pod state and health check decide.
    LowPass(Verdict),
    /// Too little to tell, wait as for unknown: few requests, or a rate above the limit that may still be chance.
    Undecided(Verdict),
    /// Too little; take it back.
    LowRollback(Verdict),
}

/// Judges the traffic at the end of a step.
pub fn traffic(policy: &Policy, seen: Tally) -> Traffics {
    let rollback = &policy.rollback;
    let Some(limit) = rollback.max_error_rate else { return Traffics::Enough };
    let numbers = rate_numbers(seen, limit, Duration::ZERO);
    if seen.requests >= rollback.min_requests {
        let chance = statistics::exceeds(seen, limit) == Some(false);
        return if chance && numbers.value.is_some_and(|rate| rate > limit) {
            let reason = "above the limit, which may still be chance: it waits for more requests";
            Traffics::Undecided(Verdict::unknown(Gate::ErrorRate, reason).with(numbers))
        } else {
            Traffics::Enough
        };
    }
    let reason = format!("low traffic: {} of {} requests", seen.requests, rollback.min_requests);
    match rollback.on_low_traffic {
        OnLowTraffic::Pass => Traffics::LowPass(Verdict::pass(Gate::ErrorRate, reason).with(numbers)),
        OnLowTraffic::Hold => Traffics::Undecided(Verdict::unknown(Gate::ErrorRate, reason).with(numbers)),
        OnLowTraffic::Rollback => {
            Traffics::LowRollback(Verdict::unknown(Gate::ErrorRate, reason).with(numbers))
        }
    }
}

#[allow(clippy::cast_precision_loss)] // Counts beyond 2^52 are refused as absurd where they are read.
fn rate_numbers(tally: Tally, limit: f64, window: Duration) -> Numbers {
    let value = (tally.requests > 0).then(|| tally.errors as f64 / tally.requests as f64);
    let window_seconds = Some(window.as_secs()).filter(|seconds| *seconds > 0);
    Numbers { value, limit: Some(limit), samples: Some(tally.requests), window_seconds }
}

fn crash_sentence(pod: &PodView) -> String {
    let why = pod.terminated.as_ref().or(pod.waiting.as_ref());
    let cause = why.map_or("stopped".to_owned(), |stopped| match stopped.exit_code {
        Some(code) => format!("{}, exit code {code}", stopped.reason),
        None => stopped.reason.clone(),
    });
    let times = if pod.restarts == 1 { "once".to_owned() } else { format!("{} times", pod.restarts) };
    format!("pod {} restarted {times} ({cause})", pod.name)
}

/// Returns the time from `from` to `to`; zero if it runs backwards.
pub fn elapsed(from: Timestamp, to: Timestamp) -> Duration {
    Duration::try_from(to.duration_since(from)).unwrap_or(Duration::ZERO)
}
