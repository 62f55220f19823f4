//! The share of failing requests: as it stands, and what the end of a step makes of it.

use std::time::Duration;

use super::{Stage, elapsed, turn};
use crate::model::policy::{OnLowTraffic, Policy};
use crate::model::samples::{Samples, Tally, Traffic, TrafficSource};
use crate::model::verdict::{Gate, Numbers, Verdict};
use crate::rollout::statistics;

impl Stage<'_> {
    pub(super) fn error_rate(
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
        let provider = samples.source.unwrap_or(TrafficSource::PodMetrics).name().to_owned();
        let numbers = Numbers {
            provider: Some(provider),
            ..rate_numbers(mine, limit, elapsed(self.begun(), self.now))
        };
        let Some(exceeded) = statistics::exceeds(mine, limit, turn::FROM_BEGIN) else {
            return Some(
                Verdict::unknown(Gate::ErrorRate, "absurd numbers: more errors than requests").with(numbers),
            );
        };
        if !exceeded && let Some((part, beside, since)) = self.turned_bad(limit, mine, theirs) {
            let provider = numbers.provider;
            let numbers = Numbers { provider, ..rate_numbers(part, limit, elapsed(since, self.now)) };
            return Some(
                Self::over(part, beside, limit, "the candidate began to fail too many requests")
                    .with(numbers),
            );
        }
        if !exceeded {
            let above = numbers.value.is_some_and(|value| value > limit);
            let reason = match (mine.requests, above) {
                (0, _) => "no requests yet",
                (_, true) => "above the limit, but so few requests may be chance",
                (_, false) => "within the limit",
            };
            return Some(Verdict::pass(Gate::ErrorRate, reason).with(numbers));
        }
        Some(Self::over(mine, theirs, limit, "the candidate fails too many requests").with(numbers))
    }

    /// The verdict of a candidate over the limit: its own fault, or an outage that hits both.
    fn over(mine: Tally, theirs: Tally, limit: f64, reason: &str) -> Verdict {
        if statistics::both_exceed(mine, theirs, limit) == Some(true) {
            let reason = "stable fails too many requests as well: an outage that hits both says nothing of the candidate";
            return Verdict::unknown(Gate::ErrorRate, reason);
        }
        Verdict::fail(Gate::ErrorRate, reason)
    }

    /// Adds what this session measured to what earlier sessions stored.
    pub(super) fn totals(&self, samples: Option<&Samples>) -> (Tally, Tally) {
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
        let chance = statistics::exceeds(seen, limit, turn::FROM_BEGIN) == Some(false);
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
    Numbers { value, limit: Some(limit), samples: Some(tally.requests), window_seconds, provider: None }
}
