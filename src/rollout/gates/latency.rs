//! How long requests take: each limit against what the candidate's took, or against stable's.

use std::time::Duration;

use super::{Evaluation, Stage, elapsed};
use crate::model::duration::rough;
use crate::model::histogram::Histogram;
use crate::model::policy::{LatencyLimit, Longest};
use crate::model::rollout::StageLatency;
use crate::model::samples::{Latency, Samples, TrafficSource};
use crate::model::verdict::{Answer, Gate, Numbers, Verdict};
use crate::rollout::statistics::ALPHA;
use crate::rollout::statistics_latency::{self as statistics, Against};

/// Puts what the last session measured to what the earlier ones did.
fn fold(latency: &mut StageLatency) {
    latency.base_candidate = latency.base_candidate.plus(&latency.last_candidate);
    latency.base_stable = latency.base_stable.plus(&latency.last_stable);
    (latency.last_candidate, latency.last_stable) = Default::default();
}

impl Stage<'_> {
    /// Asks every limit; the worst answer is the gate's.
    pub(super) fn latency(&self, samples: Option<&Samples>, all: &mut Evaluation) {
        let kept = self.kept(samples);
        let (mine, theirs) =
            (kept.base_candidate.plus(&kept.last_candidate), kept.base_stable.plus(&kept.last_stable));
        all.latency = Some(kept);
        let verdict = match samples.and_then(|samples| samples.latency.as_ref()) {
            None => self.silent(Gate::Latency),
            Some(measured) => match &measured.candidate {
                Latency::Unknown { .. } if elapsed(self.begun(), self.now) < self.blind_after() => None,
                Latency::Unknown { reason } => Some(Verdict::unknown(Gate::Latency, reason.clone())),
                Latency::Seen(_) if !self.fresh(samples) => self.silent(Gate::Latency),
                Latency::Seen(_) => {
                    let answers = self.max_latency.iter().map(|limit| self.judge(limit, &mine, &theirs));
                    let (verdicts, doubts): (Vec<_>, Vec<_>) = answers.unzip();
                    all.doubt = doubts.into_iter().flatten().next();
                    let counted = samples.and_then(|samples| samples.source);
                    let by = if measured.probes { Some(TrafficSource::Probes) } else { counted };
                    worst(verdicts).map(|verdict| {
                        let provider = by.map(|source| source.name().to_owned());
                        let numbers = Numbers { provider, ..verdict.numbers.clone() };
                        verdict.with(numbers)
                    })
                }
            },
        };
        all.add(verdict);
    }

    /// What is known of the stage in all sessions.
    fn kept(&self, samples: Option<&Samples>) -> StageLatency {
        let mut kept = self.state.latency.as_deref().cloned().unwrap_or_default();
        if self.session != self.state.session {
            fold(&mut kept);
        }
        let Some(samples) = samples else { return kept };
        if let Some(measured) = &samples.latency {
            for (latency, last) in
                [(&measured.candidate, &mut kept.last_candidate), (&measured.stable, &mut kept.last_stable)]
            {
                if let Latency::Seen(histogram) = latency {
                    last.clone_from(histogram);
                }
            }
        }
        kept
    }

    /// One limit's verdict, and the doubt that a step does not end on.
    fn judge(
        &self,
        limit: &LatencyLimit,
        mine: &Histogram,
        theirs: &Histogram,
    ) -> (Verdict, Option<Verdict>) {
        let (word, share) = (limit.quantile.name(), limit.quantile.share());
        let questions = u32::try_from(self.max_latency.len()).unwrap_or(u32::MAX).max(1);
        let alpha = ALPHA / f64::from(questions);
        let (against, most) = match limit.most {
            Longest::Time(time) => {
                let most = time.as_secs_f64();
                (statistics::exceeds_limit(mine, share, most, alpha), most)
            }
            Longest::TimesStable(times) => {
                let Some(found) = statistics::exceeds_stable(mine, theirs, share, times, questions) else {
                    let reason = format!("{word} of stable is not known well enough yet to compare with");
                    let numbers = self.time_numbers(mine, share, None);
                    return (Verdict::pass(Gate::Latency, reason).with(numbers), None);
                };
                found
            }
        };
        let numbers = self.time_numbers(mine, share, Some(most));
        let what = match limit.most {
            Longest::Time(time) => format!("{word} above {}", rough(time)),
            Longest::TimesStable(times) => format!("{word} above {times} times stable's"),
        };
        let timed = matches!(limit.most, Longest::Time(_));
        let verdict = match against {
            Against::Above if timed && statistics::both_slow(mine, theirs, share, most) => Verdict::unknown(
                Gate::Latency,
                format!("{what}, and stable's as well: what slows both says nothing of the candidate"),
            ),
            Against::Above => Verdict::fail(Gate::Latency, format!("the candidate is too slow: {what}")),
            Against::TooCoarse => Verdict::unknown(
                Gate::Latency,
                format!("the last bucket of the durations begins below the limit: {what} cannot be told"),
            ),
            Against::NotShown if mine.is_empty() => Verdict::pass(Gate::Latency, "no requests yet"),
            Against::NotShown => Verdict::pass(Gate::Latency, format!("{word} within the limit")),
        };
        let doubt = (against == Against::NotShown && timed && self.doubtful(mine, share, most)).then(|| {
            let reason = format!("{what}, which may still be chance: it waits for more requests");
            Verdict::unknown(Gate::Latency, reason).with(numbers.clone())
        });
        (verdict.with(numbers), doubt)
    }

    /// Enough requests, and more of them too slow than allowed, though not provably.
    #[allow(clippy::cast_precision_loss)] // Counts beyond 2^52 are refused as absurd where they are read.
    fn doubtful(&self, mine: &Histogram, share: f64, most: f64) -> bool {
        let Some(tally) = statistics::above_limit(mine, most) else { return false };
        tally.requests >= self.policy.rollback.min_requests
            && tally.errors as f64 > (1.0 - share) * tally.requests as f64
    }

    fn time_numbers(&self, mine: &Histogram, share: f64, limit: Option<f64>) -> Numbers {
        let window = elapsed(self.begun(), self.now);
        Numbers {
            value: mine.quantile(share),
            limit,
            samples: Some(mine.total()),
            provider: None,
            window_seconds: Some(window)
                .filter(|window| *window >= Duration::from_secs(1))
                .map(|window| window.as_secs()),
        }
    }
}

fn worst(verdicts: Vec<Verdict>) -> Option<Verdict> {
    let rank = |verdict: &Verdict| match verdict.answer {
        Answer::Fail => 0,
        Answer::Unknown => 1,
        Answer::Pass => 2,
    };
    verdicts.into_iter().min_by_key(rank)
}
