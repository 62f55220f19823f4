//! A candidate that was well for a while and turns bad. What it answered well before outweighs for long what it fails now, so the test of
//! the error rate is begun anew at each look.
//!
//! **Derivation.** Each beginning is a stopping time, and from it on the evidence of [`statistics::exceeds`] is a martingale that
//! begins at 1, whatever was before. The k-th beginning is asked with α · s / (k (k + 1)), which sums to α · s over all of them, and the
//! test from the stage's begin with α · (1 − s): some of them is ever wrong with a probability of at most α (the union bound), however
//! long the stage. Beginnings may be forgotten, which only takes chances to be wrong away: a handful of the newest is kept, and of
//! the older ones ever fewer.

use std::time::Duration;

use jiff::Timestamp;

use super::{Stage, elapsed};
use crate::model::rollout::{Beginning, StageState};
use crate::model::samples::Tally;
use crate::rollout::statistics::{self, ALPHA};

/// The part of [`ALPHA`] that all beginnings after the first share.
const SHARE: f64 = 0.1;
/// The newest beginnings, all of which are kept.
const NEWEST: u32 = 4;
/// Beginnings are no closer than this, so that passes without a new sample begin nothing.
const APART: Duration = Duration::from_millis(500);

/// The chance to be wrong of the test from the stage's begin.
pub const FROM_BEGIN: f64 = ALPHA * (1.0 - SHARE);

fn alpha(number: u32) -> f64 {
    let number = f64::from(number);
    ALPHA * SHARE / (number * (number + 1.0))
}

/// Begins the test anew from these totals.
pub fn begin_anew(stage: &mut StageState, candidate: Tally, stable: Tally, now: Timestamp) {
    let last = stage.begun_anew.last();
    if last.is_some_and(|last| last.candidate.requests >= candidate.requests || elapsed(last.at, now) < APART)
    {
        return;
    }
    let number = last.map_or(0, |last| last.number).saturating_add(1);
    stage.begun_anew.push(Beginning { number, at: now, candidate, stable });
    stage.begun_anew.retain(|mark| {
        let age = number - mark.number;
        age < NEWEST || mark.number.is_multiple_of((age / NEWEST).next_power_of_two())
    });
}

impl Stage<'_> {
    /// Returns what both tracks answered since the newest beginning from which on the candidate is over the limit, and when that was.
    pub(super) fn turned_bad(
        &self,
        limit: f64,
        mine: Tally,
        theirs: Tally,
    ) -> Option<(Tally, Tally, Timestamp)> {
        self.state.begun_anew.iter().rev().find_map(|mark| {
            let part = mine.since(mark.candidate);
            let over = statistics::exceeds(part, limit, alpha(mark.number)) == Some(true);
            over.then(|| (part, theirs.since(mark.stable), mark.at))
        })
    }
}

#[cfg(test)]
mod tests {
    use rand::rngs::StdRng;
    use rand::{Rng, SeedableRng};

    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(10_000 + second).unwrap()
    }

    #[test]
    fn of_old_beginnings_ever_fewer_are_kept() {
        let mut stage = StageState::default();
        for second in 1..=3_600_u32 {
            let total = Tally { requests: u64::from(second), errors: 0 };
            begin_anew(&mut stage, total, Tally::default(), at(i64::from(second)));
            begin_anew(&mut stage, total, Tally::default(), at(i64::from(second)));
        }
        let numbers: Vec<u32> = stage.begun_anew.iter().map(|mark| mark.number).collect();
        assert!(numbers.len() <= 60, "{numbers:?}");
        assert_eq!(numbers[numbers.len() - 4..], [3_597, 3_598, 3_599, 3_600]);
        for age in [10, 100, 1_000] {
            let near = numbers.iter().any(|number| (3_600 - number).abs_diff(age) <= age / 2);
            assert!(near, "none of about {age} ago: {numbers:?}");
        }
        let spent: f64 = FROM_BEGIN + (1..100_000).map(alpha).sum::<f64>();
        assert!(spent <= ALPHA && spent > ALPHA * 0.999);
    }

    /// Ten minutes at one sample a second, all well; then the candidate turns bad. Returns the samples until it is seen.
    fn samples_until(random: &mut StdRng, rate: f64, a_second: u64, limit: f64) -> u32 {
        let mut stage = StageState::default();
        let (mut total, mut second) = (Tally::default(), 0);
        for _ in 0..600 {
            total.requests += a_second;
            second += 1;
            begin_anew(&mut stage, total, Tally::default(), at(second));
        }
        for samples in 1..=100 {
            total.requests += a_second;
            total.errors += (0..a_second).filter(|_| random.random_bool(rate)).count() as u64;
            second += 1;
            let found = stage.begun_anew.iter().rev().any(|mark| {
                statistics::exceeds(total.since(mark.candidate), limit, alpha(mark.number)) == Some(true)
            });
            if found {
                return samples;
            }
            begin_anew(&mut stage, total, Tally::default(), at(second));
        }
        100
    }

    #[test]
    fn a_candidate_that_turns_bad_is_seen_at_once_however_long_it_was_well() {
        let mut random = StdRng::seed_from_u64(5);
        for (rate, a_second, limit, most) in
            [(0.5, 50, 0.01, 1), (1.0, 10, 0.01, 1), (0.05, 500, 0.01, 3), (0.25, 100, 0.05, 3)]
        {
            let late = (0..100).filter(|_| samples_until(&mut random, rate, a_second, limit) > most).count();
            assert!(late <= 1, "{rate} of {a_second}/s at {limit}: {late} of 100 later than {most}");
        }
    }

    #[test]
    fn a_healthy_candidate_is_not_taken_for_one_that_turned() {
        let mut random = StdRng::seed_from_u64(6);
        let (mut wrong, runs) = (0, 200);
        for _ in 0..runs {
            let mut stage = StageState::default();
            let mut total = Tally::default();
            let found = (1..=300).any(|second| {
                total.requests += 20;
                total.errors += (0..20).filter(|_| random.random_bool(0.01)).count() as u64;
                let over = stage.begun_anew.iter().any(|mark| {
                    statistics::exceeds(total.since(mark.candidate), 0.01, alpha(mark.number)) == Some(true)
                });
                begin_anew(&mut stage, total, Tally::default(), at(second));
                over
            });
            wrong += u32::from(found);
        }
        assert_eq!(wrong, 0, "of {runs}");
    }
}
