//! How long requests take, under a gate that looks after every sample. What is known is a histogram: how many requests fell into each
//! bucket since the stage began.
//!
//! **Against a limit.** "The 99th percentile is above 500 ms" and "more than 1 % of requests take longer than 500 ms" are the same sentence, so
//! a limit of latency is a limit of a rate: [`exceeds_limit`] asks the confidence sequence of [`super::statistics`] about the requests
//! above the first bound that is not below the limit. All of those are certainly too slow; requests in the bucket that the limit cuts
//! are taken as fast enough. So the error of the buckets is never against the candidate, and the guarantee is that of the sequence:
//! right at all looks at once.
//!
//! **Against stable.** "The candidate's quantile is above k times stable's" is shown by a bound a that stable's quantile is proven
//! not to be above, and a bound b ≥ k·a that the candidate's is proven to be above ([`exceeds_stable`]). Each of the two is a
//! question about a rate; with m bounds each side gets α / 2m (Bonferroni), so that some wrong proof ever happens at most once in
//! 1/α rollouts. That a lies on stable's side and b on the candidate's also means: the whole of both buckets' width is in the
//! candidate's favour, and a histogram with few buckets shows only large differences.
//!
//! **An outage that hits both.** [`slower`] is the rank test of Wilcoxon, Mann and Whitney over buckets: of all pairs of a candidate's
//! and a stable's request, the share U in which the candidate's took longer, ties counting half. Under "both the same" U has the mean
//! ½ and, with nᵢ and N requests and tⱼ in bucket j, the variance
//! `(N + 1 − Σ(tⱼ³ − tⱼ) / (N (N − 1))) / (12 n₁ n₂)`. U − ½ is a mean of independent terms but for smaller ones (Hájek's projection),
//! so z = (U − ½)/σ is followed by the mixture of normal laws with the standard deviation τ: `E = (1 + τ²/σ²)^-½ · exp(z² / (2 (1 + σ²/τ²)))`
//! is a martingale in the limit that begins at 1 (Robbins 1970; for means of any law Waudby-Smith, Arbour, Sinha, Kennedy and
//! Ramdas, "Time-uniform central limit theory and asymptotic confidence sequences", 2024). Ranks know no unit and no outlier. τ = 0.1 is a
//! candidate whose request takes longer than stable's in 60 of 100 pairs.

use super::statistics::{self, ALPHA};
use crate::model::histogram::Histogram;
use crate::model::samples::Tally;

/// The standard deviation of the mixture: what difference of ranks is looked for first.
const TAU: f64 = 0.1;

/// What a histogram says of a limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Against {
    /// The quantile is above the limit: proven.
    Above,
    /// It is not, or that is not proven.
    NotShown,
    /// More requests than allowed are in its last bucket, which begins below the limit: the buckets cannot tell.
    TooCoarse,
}

/// Requests that took longer than the bound at `index`, among all; with no bound there, none did.
fn slow(histogram: &Histogram, index: usize) -> Tally {
    Tally { requests: histogram.total(), errors: histogram.above(index) }
}

/// Finds the first bound that is not below so many seconds; numbers that are written in two ways are the same.
fn bound_at(histogram: &Histogram, seconds: f64) -> Option<usize> {
    histogram.bounds.iter().position(|bound| *bound >= seconds * (1.0 - 1e-9))
}

/// Returns the requests that certainly took longer than a limit in seconds, among all. `None`: the last bound is below the limit.
pub fn above_limit(histogram: &Histogram, limit: f64) -> Option<Tally> {
    bound_at(histogram, limit).map(|index| slow(histogram, index))
}

/// Tells whether more than a share 1 − `quantile` of requests takes longer than `limit` seconds; `alpha` as in [`statistics::exceeds`].
pub fn exceeds_limit(histogram: &Histogram, quantile: f64, limit: f64, alpha: f64) -> Against {
    let allowed = 1.0 - quantile;
    let exceeds = |tally| statistics::exceeds(tally, allowed, alpha) == Some(true);
    if let Some(tally) = above_limit(histogram, limit) {
        return if exceeds(tally) { Against::Above } else { Against::NotShown };
    }
    let Some(last) = histogram.bounds.len().checked_sub(1) else { return Against::NotShown };
    if exceeds(slow(histogram, last)) { Against::TooCoarse } else { Against::NotShown }
}

/// Tells whether the candidate's quantile is above `times` stable's, and gives the bound that stable's is proven to be within. With
/// [`ALPHA`] over `questions` such limits. `None`: stable's quantile is not known well enough yet.
pub fn exceeds_stable(
    candidate: &Histogram,
    stable: &Histogram,
    quantile: f64,
    times: f64,
    questions: u32,
) -> Option<(Against, f64)> {
    let allowed = 1.0 - quantile;
    let bounds = u32::try_from(stable.bounds.len().max(candidate.bounds.len())).unwrap_or(u32::MAX);
    let alpha = ALPHA / f64::from(questions.max(1)) / 2.0 / f64::from(bounds.max(1));
    let within = |index: usize| {
        let Tally { requests, errors } = slow(stable, index);
        // "Fewer than 1 % are slower" is "more than 99 % are not".
        statistics::exceeds(Tally { requests, errors: requests - errors }, quantile, alpha) == Some(true)
    };
    let known = (0..stable.bounds.len()).find(|index| within(*index))?;
    let limit = stable.bounds.get(known)? * times;
    let against = match bound_at(candidate, limit) {
        Some(index) if statistics::exceeds(slow(candidate, index), allowed, alpha) == Some(true) => {
            Against::Above
        }
        Some(_) => Against::NotShown,
        None => exceeds_limit(candidate, quantile, limit, alpha),
    };
    Some((against, limit))
}

/// Beyond 2⁵² counts a double no longer tells neighbours apart; nothing measured in a rollout comes near.
#[allow(clippy::cast_precision_loss)]
fn real(count: u64) -> f64 {
    count as f64
}

/// Tells whether the candidate's requests take longer than stable's, by ranks, wrong at most once in 1/[`ALPHA`] rollouts (for large
/// numbers) however often it is asked. Without requests on either side, or a bound that both have: no.
pub fn slower(candidate: &Histogram, stable: &Histogram) -> bool {
    let (candidate, stable) = candidate.in_common(stable);
    let (mine, theirs) = (real(candidate.total()), real(stable.total()));
    let all = mine + theirs;
    if mine == 0.0 || theirs == 0.0 || candidate.bounds.is_empty() || all < 3.0 {
        return false;
    }
    let (mut wins, mut faster, mut ties) = (0.0, 0.0, 0.0);
    for (one, other) in candidate.counts.iter().zip(&stable.counts) {
        let (one, other) = (real(*one), real(*other));
        wins += one * (faster + other / 2.0);
        faster += other;
        let bucket = one + other;
        ties += bucket * (bucket * bucket - 1.0);
    }
    let effect = wins / mine / theirs - 0.5;
    let variance = (all + 1.0 - ties / all / (all - 1.0)) / (12.0 * mine * theirs);
    if effect <= 0.0 || variance <= 0.0 {
        return false;
    }
    let (prior, square) = (TAU * TAU, effect * effect / variance);
    let evidence = square / (2.0 * (1.0 + variance / prior)) - 0.5 * (prior / variance).ln_1p();
    evidence >= -ALPHA.ln()
}

/// Tells whether a candidate above the limit proves nothing against its version: stable's requests are too slow as well, and the
/// candidate is not shown to be slower than they are, both by ranks and beyond the limit itself.
pub fn both_slow(candidate: &Histogram, stable: &Histogram, quantile: f64, limit: f64) -> bool {
    let (Some(mine), Some(theirs)) = (above_limit(candidate, limit), above_limit(stable, limit)) else {
        return false;
    };
    let shared = theirs.requests > 0 && real(theirs.errors) > (1.0 - quantile) * real(theirs.requests);
    let worse = super::statistics::worse(mine, theirs) == Some(true);
    shared && !(worse && slower(candidate, stable))
}

#[cfg(test)]
mod tests {
    use rand::rngs::StdRng;
    use rand::{Rng, SeedableRng};

    use super::*;
    use Against::{Above, NotShown, TooCoarse};

    fn histogram(bounds: &[f64], counts: &[u64]) -> Histogram {
        Histogram { bounds: bounds.to_vec(), counts: counts.to_vec() }
    }

    #[test]
    fn a_limit_is_a_rate_beyond_its_bucket() {
        let bounds = [0.1, 0.25, 0.5, 1.0];
        for (counts, limit, expected) in [
            ([900, 100, 0, 0, 0], 0.5, NotShown),
            ([900, 50, 0, 50, 0], 0.5, Above),
            ([900, 50, 0, 50, 0], 0.3, Above),
            // The bucket that the limit cuts is in the candidate's favour.
            ([900, 0, 100, 0, 0], 0.3, NotShown),
            ([900, 50, 0, 11, 0], 0.5, NotShown),
            ([900, 0, 0, 0, 100], 2.0, TooCoarse),
            ([990, 0, 0, 0, 5], 2.0, NotShown),
            ([0, 0, 0, 0, 0], 0.5, NotShown),
        ] {
            let all = histogram(&bounds, &counts);
            assert_eq!(exceeds_limit(&all, 0.99, limit, ALPHA), expected, "{counts:?} {limit}");
        }
        assert_eq!(exceeds_limit(&Histogram::default(), 0.5, 1.0, ALPHA), NotShown);
        assert_eq!(
            exceeds_limit(&histogram(&[0.3], &[0, 20]), 0.5, 0.1 * 3.0, ALPHA),
            Above,
            "0.3 is 0.1 · 3"
        );
    }

    #[test]
    fn a_multiple_of_stables_is_shown_by_two_bounds() {
        let bounds = [0.1, 0.2, 0.5, 1.0];
        let stable = histogram(&bounds, &[9_000, 990, 10, 0, 0]);
        for (counts, times, expected) in [
            ([900, 90, 5, 0, 0], 1.5, Some((NotShown, 0.2 * 1.5))),
            ([700, 100, 100, 100, 0], 1.5, Some((Above, 0.2 * 1.5))),
            ([700, 100, 200, 0, 0], 1.5, Some((NotShown, 0.2 * 1.5))),
            ([700, 0, 0, 0, 300], 9.0, Some((TooCoarse, 0.2 * 9.0))),
        ] {
            let found = exceeds_stable(&histogram(&bounds, &counts), &stable, 0.99, times, 1);
            assert_eq!(found, expected, "{counts:?}");
        }
        let few = histogram(&bounds, &[20, 0, 0, 0, 0]);
        assert_eq!(exceeds_stable(&histogram(&bounds, &[0, 0, 0, 0, 500]), &few, 0.99, 1.5, 1), None);
    }

    #[test]
    fn ranks_tell_a_slower_candidate_from_an_equal_one() {
        let bounds = [0.1, 0.2, 0.5];
        let of = |counts: &[u64]| histogram(&bounds, counts);
        for (candidate, stable, expected) in [
            (&[100, 100, 100, 0][..], &[1_000, 1_000, 1_000, 0][..], false),
            (&[20, 80, 200, 0], &[1_000, 1_000, 1_000, 0], true),
            (&[200, 80, 20, 0], &[1_000, 1_000, 1_000, 0], false),
            (&[0, 0, 3, 0], &[3, 0, 0, 0], false),
            (&[0, 0, 300, 0], &[300, 0, 0, 0], true),
            (&[0, 300, 0, 0], &[0, 300, 0, 0], false),
            (&[0, 0, 0, 0], &[5, 0, 0, 0], false),
        ] {
            assert_eq!(slower(&of(candidate), &of(stable)), expected, "{candidate:?} {stable:?}");
        }
        assert!(!slower(&histogram(&[1.0], &[0, 900]), &histogram(&[2.0], &[900, 0])), "nothing in common");
    }

    #[test]
    fn an_outage_of_both_is_told_from_a_slow_candidate() {
        let bounds = [0.1, 0.5, 1.0];
        let bad = histogram(&bounds, &[500, 300, 200, 0]);
        let both = |stable: &[u64]| both_slow(&bad, &histogram(&bounds, stable), 0.99, 0.5);
        assert!(both(&[5_000, 3_000, 2_000, 0]));
        assert!(!both(&[9_900, 95, 5, 0]), "stable is well");
        assert!(!both(&[9_000, 800, 200, 0]), "stable is slow too, and the candidate far slower");
        assert!(!both(&[0, 0, 0, 0]));
    }

    /// What a normal law gives, from two even ones.
    fn gauss(random: &mut StdRng) -> f64 {
        let (one, two): (f64, f64) = (random.random(), random.random());
        (-2.0 * (1.0 - one).ln()).sqrt() * (std::f64::consts::TAU * two).cos()
    }

    #[test]
    fn equal_versions_are_not_called_slower_however_often_it_is_asked() {
        let mut random = StdRng::seed_from_u64(3);
        let (mut wrong, paths) = (0, 300);
        for _ in 0..paths {
            let mut sides = [(); 2].map(|()| Histogram::with_bounds([0.05, 0.1, 0.25, 0.5, 1.0]));
            let mut called = false;
            for _ in 0..60 {
                for (side, many) in sides.iter_mut().zip([5, 45]) {
                    (0..many).for_each(|_| side.add(0.1 * (0.7 * gauss(&mut random)).exp()));
                }
                called |= slower(&sides[0], &sides[1]);
                let against = exceeds_stable(&sides[0], &sides[1], 0.95, 1.5, 1);
                called |= against.is_some_and(|(against, _)| against == Above);
            }
            wrong += u32::from(called);
        }
        assert!(wrong <= 1, "{wrong} of {paths}");
    }
}
