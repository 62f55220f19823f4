//! What the candidate's pods say of themselves, and what they answer to their health check.

use std::time::Duration;

use super::{Stage, elapsed};
use crate::model::observed::PodView;
use crate::model::samples::{CheckTally, Samples, Track};
use crate::model::verdict::{Gate, Numbers, Verdict};

impl Stage<'_> {
    /// What the pods themselves say; disrupted pods are no evidence.
    pub(super) fn pod_state(&self) -> Option<Verdict> {
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

    pub(super) fn health_check(&self, samples: Option<&Samples>) -> Option<Verdict> {
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
