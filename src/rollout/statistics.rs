//! Error rates under a gate that looks after every sample. A fixed-sample test looked at a hundred times aborts a healthy version
//! far more often than its level says; the tests here may be looked at after every request, for ever, and still err at most
//! once in a thousand rollouts.
//!
//! **Derivation.** Let k of n requests fail, each with the unknown probability p. Average the likelihood over rates q that are
//! drawn from Beta(a, b) and divide it by the likelihood of a rate θ:
//!
//! ```text
//! E(θ) = B(k + a, n − k + b) / B(a, b) / (θᵏ · (1 − θ)ⁿ⁻ᵏ)
//! ```
//!
//! If p = θ, E(θ) is a non-negative martingale that begins at 1, so it *ever* reaches 1/α with a probability of at most α (Ville
//! 1939). The rates that are not refuted, `{θ : E(θ) < 1/α}`, therefore hold the true p at all times at once with probability
//! 1 − α: the beta-binomial mixture of Robbins ("Statistical methods related to the law of the iterated logarithm", 1970), as
//! in Howard, Ramdas, `McAuliffe` and Sekhon ("Time-uniform, nonparametric, nonasymptotic confidence sequences", 2021). ln E is
//! convex in θ with its minimum, at most 0, at k/n: the set is an interval, its lower end is [`lower_bound`], and "the limit
//! lies below that end" is [`exceeds`]: `limit < k/n` and `E(limit) ≥ 1/α`.
//!
//! Two sets of pods: the product of both averages over the *largest* likelihood that any pair with `candidate ≤ stable` gives
//! (at the pooled rate) is never above the martingale of the true pair, so the same bound holds: universal inference
//! (Wasserman, Ramdas, Balakrishnan, 2020). That is [`worse`].
//!
//! **Choice of a = 1/4, b = 1**: nearly as much weight on each decade of small rates, where limits are, as on the large ones. It
//! moves power, never validity. Requests are taken as independent; a burst with one cause counts as many.

use std::f64::consts::TAU;

use crate::model::samples::Tally;

/// The probability that a version that keeps the limit is ever refuted, however often it is looked at.
pub const ALPHA: f64 = 0.001;

const A: f64 = 0.25;
const B: f64 = 1.0;

/// Beyond 2⁵² counts a double no longer tells neighbours apart; nothing measured in a rollout comes near.
#[allow(clippy::cast_precision_loss)]
fn real(count: u64) -> f64 {
    count as f64
}

/// What Stirling's formula leaves of ln Γ(x): `ln Γ(x) − ((x − ½) ln x − x + ½ ln 2π)`, for x > 0. Small arguments are moved up to
/// where the series is exact to 1e-12.
fn stirling_remainder(x: f64) -> f64 {
    let (mut x, mut moved) = (x, 0.0);
    while x < 10.0 {
        moved += (x + 0.5) * (1.0 / x).ln_1p() - 1.0;
        x += 1.0;
    }
    let square = (x * x).recip();
    moved + (1.0 / 12.0 - square * (1.0 / 360.0 - square * (1.0 / 1260.0 - square / 1680.0))) / x
}

/// `count · ln(rate)`, where nothing counted weighs nothing.
fn weighted_ln(count: f64, rate: f64) -> f64 {
    if count == 0.0 { 0.0 } else { count * rate.ln() }
}

/// ln of the likelihood of a rate: `θᵏ (1 − θ)ⁿ⁻ᵏ`.
fn ln_likelihood(tally: Tally, rate: f64) -> f64 {
    let passed = real(tally.requests - tally.errors);
    let rest = if passed == 0.0 { 0.0 } else { passed * (-rate).ln_1p() };
    weighted_ln(real(tally.errors), rate) + rest
}

/// ln of the averaged likelihood, `B(k + a, n − k + b) / B(a, b)`, by Stirling's formula: no difference of large ln Γ is taken.
fn ln_average(tally: Tally) -> f64 {
    ln_beta(real(tally.errors) + A, real(tally.requests - tally.errors) + B) - ln_beta(A, B)
}

fn ln_beta(x: f64, y: f64) -> f64 {
    let sum = x + y;
    weighted_ln(x, x / sum)
        + weighted_ln(y, y / sum)
        + 0.5 * (TAU * sum / x / y).ln()
        + stirling_remainder(x)
        + stirling_remainder(y)
        - stirling_remainder(sum)
}

fn rate(tally: Tally) -> f64 {
    if tally.requests == 0 { 0.0 } else { real(tally.errors) / real(tally.requests) }
}

/// Tells whether the numbers can be a count of errors among requests.
fn sane(tally: Tally) -> Option<Tally> {
    (tally.errors <= tally.requests).then_some(tally)
}

/// Returns the rate, 0 to 1, that the true error rate is above, right at all looks at once with probability 1 − [`ALPHA`]. Zero
/// without an error; `None` if there are more errors than requests. Costs less than 20 µs even without optimisation.
pub fn lower_bound(errors: u64, requests: u64) -> Option<f64> {
    let tally = sane(Tally { requests, errors })?;
    if errors == 0 {
        return Some(0.0);
    }
    let average = ln_average(tally);
    let refuted = |ln_rate: f64| average - ln_likelihood(tally, ln_rate.exp()) >= -ALPHA.ln();
    // Below `low` the factor θᵏ alone refutes; k/n itself is never refuted.
    let (mut low, mut high) = ((average + ALPHA.ln()) / real(errors), rate(tally).ln());
    for _ in 0..64 {
        let middle = f64::midpoint(low, high);
        if refuted(middle) {
            low = middle;
        } else {
            high = middle;
        }
    }
    Some(low.exp())
}

/// Tells whether the true error rate is above `limit` (0 to 1), wrong at most once in 1/`alpha` rollouts however often it is asked:
/// questions that share one [`ALPHA`] get a part of it each. With a limit of 0 any error exceeds it, a limit of 1 is never exceeded.
/// `None`: more errors than requests, or no usable limit.
pub fn exceeds(tally: Tally, limit: f64, alpha: f64) -> Option<bool> {
    let tally = sane(tally)?;
    if !(0.0..=1.0).contains(&limit) {
        return None;
    }
    if tally.errors == 0 || rate(tally) <= limit {
        return Some(false);
    }
    Some(ln_average(tally) - ln_likelihood(tally, limit) >= -alpha.ln())
}

/// Tells whether the candidate's true error rate is above stable's, with the same guarantee as [`exceeds`]. Without requests on
/// either side: no. `None`: more errors than requests.
pub fn worse(candidate: Tally, stable: Tally) -> Option<bool> {
    let (candidate, stable) = (sane(candidate)?, sane(stable)?);
    if rate(candidate) <= rate(stable) || stable.requests == 0 {
        return Some(false);
    }
    let pooled = rate(candidate.plus(stable));
    let evidence = ln_average(candidate) - ln_likelihood(candidate, pooled) + ln_average(stable)
        - ln_likelihood(stable, pooled);
    Some(evidence >= -ALPHA.ln())
}

/// Tells whether a candidate that was found above the limit proves nothing against its version: stable's pods, over the same time,
/// fail more than the limit too, and the candidate is not shown to be [`worse`] than they are. Stable's plain rate is enough here:
/// wrongly "shared" waits for more samples, wrongly "not shared" takes a healthy version back. Without requests at stable: no.
/// `None`: more errors than requests.
pub fn both_exceed(candidate: Tally, stable: Tally, limit: f64) -> Option<bool> {
    let shared = rate(sane(stable)?) > limit;
    Some(shared && !worse(candidate, stable)?)
}

#[cfg(test)]
mod tests {
    use rand::rngs::StdRng;
    use rand::{Rng, SeedableRng};

    use super::*;

    fn tally(errors: u64, requests: u64) -> Tally {
        Tally { requests, errors }
    }

    fn above(tally: Tally, limit: f64) -> Option<bool> {
        exceeds(tally, limit, ALPHA)
    }

    #[test]
    fn the_remainder_agrees_with_known_values_of_gamma() {
        let ln_gamma = |x: f64| (x - 0.5) * x.ln() - x + 0.5 * TAU.ln() + stirling_remainder(x);
        for (x, gamma) in [
            (0.25, 3.625_609_908_221_908),
            (0.5, std::f64::consts::PI.sqrt()),
            (1.0, 1.0),
            (2.0, 1.0),
            (5.0, 24.0),
            (10.5, 1_133_278.388_948_785),
            (21.0, 2_432_902_008_176_640_000.0),
        ] {
            assert!((ln_gamma(x) - f64::ln(gamma)).abs() < 1e-11, "{x}: {}", ln_gamma(x));
        }
    }

    /// The defining property, exactly: at every n the evidence against the true rate has the mean 1.
    #[test]
    fn the_evidence_is_a_martingale() {
        for p in [0.001_f64, 0.01, 0.2, 0.7] {
            for n in [1_u64, 2, 17, 120] {
                let (mut mean, mut ways) = (0.0, 1.0);
                for k in 0..=n {
                    // ways · likelihood · (average / likelihood): the likelihood of the true rate cancels.
                    let evidence = ln_average(tally(k, n)) - ln_likelihood(tally(k, n), p);
                    mean += ways * (ln_likelihood(tally(k, n), p) + evidence).exp();
                    ways = ways * real(n - k) / real(k + 1);
                }
                assert!((mean - 1.0).abs() < 1e-9, "p {p} n {n}: {mean}");
            }
        }
    }

    #[test]
    fn edges() {
        assert_eq!(lower_bound(0, 0), Some(0.0));
        assert_eq!(lower_bound(0, 1_000_000), Some(0.0));
        assert_eq!(lower_bound(2, 1), None);
        assert_eq!(above(tally(0, 0), 0.01), Some(false));
        assert_eq!(above(tally(0, 0), 0.0), Some(false));
        assert_eq!(above(tally(0, 500), 0.01), Some(false));
        assert_eq!(above(tally(1, 1_000_000), 0.0), Some(true));
        assert_eq!(above(tally(50, 50), 1.0), Some(false));
        assert_eq!(above(tally(2, 1), 0.01), None);
        for limit in [f64::NAN, f64::INFINITY, -0.1, 1.1] {
            assert_eq!(above(tally(1, 2), limit), None, "{limit}");
        }
        for (errors, requests) in [(u64::MAX, u64::MAX), (1, u64::MAX), (u64::MAX / 2, u64::MAX)] {
            let bound = lower_bound(errors, requests).unwrap();
            assert!((0.0..=1.0).contains(&bound), "{errors} of {requests}: {bound}");
        }
    }

    #[test]
    fn what_a_person_expects() {
        for (errors, requests, limit, expected) in [
            (1, 20, 0.01, false),
            (5, 100, 0.01, false),
            (12, 230, 0.01, true),
            (50, 100, 0.01, true),
            (10, 1_000, 0.01, false),
            (20, 1_000, 0.01, false),
            (60, 1_000, 0.01, true),
            (1_200, 100_000, 0.01, true),
            (1_010, 100_000, 0.01, false),
            (30, 50, 0.5, false),
            (45, 50, 0.5, true),
        ] {
            assert_eq!(above(tally(errors, requests), limit), Some(expected), "{errors} of {requests}");
        }
    }

    #[test]
    fn the_bound_and_the_test_agree() {
        for requests in [1_u64, 3, 40, 999, 123_456, 1_000_000_000] {
            for errors in [1, requests / 100 + 1, requests / 2 + 1, requests] {
                let bound = lower_bound(errors, requests).unwrap();
                assert!(bound > 0.0 && bound <= rate(tally(errors, requests)), "{errors} of {requests}");
                assert_eq!(above(tally(errors, requests), bound * 0.999), Some(true));
                assert_eq!(above(tally(errors, requests), (bound * 1.001).min(1.0)), Some(false));
            }
        }
    }

    #[test]
    fn an_outage_of_both_is_told_from_a_bad_candidate() {
        let bad = tally(25, 500);
        for (stable, shared) in [
            (tally(0, 0), false),
            (tally(2, 500), false),
            (tally(24, 500), true),
            (tally(400, 500), true),
            (tally(3, 60), true),
        ] {
            assert_eq!(both_exceed(bad, stable, 0.01), Some(shared), "{stable:?}");
        }
        // Stable is over the limit, the candidate far beyond it: that is the candidate's own fault.
        assert_eq!(both_exceed(tally(250, 500), tally(15, 500), 0.01), Some(false));
        assert_eq!(both_exceed(bad, tally(2, 1), 0.01), None);
        assert_eq!(worse(tally(250, 500), tally(15, 500)), Some(true));
        assert_eq!(worse(tally(6, 100), tally(5, 100)), Some(false));
        assert_eq!(worse(tally(6, 100), tally(0, 0)), Some(false));
    }

    /// Errors at their places in a stream of requests with error rate `p`: evidence can pass the threshold only at an error.
    fn first_abort(random: &mut StdRng, p: f64, limit: f64, horizon: u64) -> Option<u64> {
        let (mut errors, mut requests) = (0, 0.0);
        loop {
            requests += 1.0 + (random.random::<f64>().ln() / (-p).ln_1p()).floor();
            if requests > real(horizon) {
                return None;
            }
            errors += 1;
            #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
            let at = requests as u64;
            if above(tally(errors, at), limit) == Some(true) {
                return Some(at);
            }
        }
    }

    #[test]
    fn a_healthy_version_is_not_aborted() {
        let mut random = StdRng::seed_from_u64(1);
        for (limit, p) in [(0.01, 0.01), (0.01, 0.005), (0.05, 0.05), (0.2, 0.2), (0.5, 0.5)] {
            let horizon = if p < 0.1 { 2_000 } else { 300 };
            let paths = 3_000;
            let aborted =
                (0..paths).filter(|_| first_abort(&mut random, p, limit, horizon).is_some()).count();
            assert!(aborted <= paths / 1_000, "limit {limit} rate {p}: {aborted} of {paths}");
        }
    }

    /// Five times the limit is seen before `limit · requests` reaches 8 in 99 of 100 rollouts, 3 in half of them (15 errors); total
    /// failure within a handful of requests.
    #[test]
    fn a_bad_version_is_caught_soon() {
        let mut random = StdRng::seed_from_u64(2);
        for (limit, p) in [(0.001, 0.005), (0.01, 0.05), (0.05, 0.25), (0.1, 0.5)] {
            let mut seen: Vec<f64> = (0..400)
                .map(|_| first_abort(&mut random, p, limit, u64::MAX).map_or(f64::MAX, |at| real(at) * limit))
                .collect();
            seen.sort_by(f64::total_cmp);
            assert!(
                seen[200] < 3.0 && seen[396] < 8.0,
                "limit {limit}: median {} p99 {}",
                seen[200],
                seen[396]
            );
        }
        assert!((1..=10).any(|n| above(tally(n, n), 0.2) == Some(true)));
    }
}
