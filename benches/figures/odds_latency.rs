//! What the tests of latency do to healthy and to slow candidates, counted over simulated rollouts: the second table of
//! `docs/statistics.md`. Seeded, so every run prints the same.

use idp::model::histogram::Histogram;
use idp::rollout::statistics::ALPHA;
use idp::rollout::statistics_latency::{Against, both_slow, exceeds_limit, exceeds_stable};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::table::Sheet;

/// The bounds that most client libraries begin with, in seconds.
const BOUNDS: [f64; 11] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];
/// What is allowed, in seconds.
const LIMIT: f64 = 0.5;
const QUANTILES: [f64; 3] = [0.5, 0.95, 0.99];
/// Requests a second to the candidate; stable has nine times as many.
const TRAFFIC: [f64; 3] = [1.0, 10.0, 100.0];
const SAMPLING: [f64; 2] = [1.0, 10.0];
/// Seconds of a window, and how many of them a healthy candidate is looked at, and a slow one until it is to be caught.
const WINDOW: f64 = 60.0;
const HEALTHY: f64 = 20.0;
const CAUGHT: f64 = 3.0;
/// The spread of durations: their logarithm has this standard deviation.
const SPREAD: f64 = 0.6;
/// Requests beyond the limit that are allowed in a window, above which a slow one must be caught.
const ENOUGH: f64 = 5.0;

/// A version: the share of its requests in each bucket.
struct Version([f64; BOUNDS.len() + 1]);

impl Version {
    /// Durations of a log-normal law, of which a share `beyond` is above [`LIMIT`].
    fn beyond(beyond: f64) -> Self {
        // The shift is found by halving: the law's quantiles have no closed form.
        let (mut low, mut high) = (-12.0, 6.0);
        for _ in 0..60 {
            let middle = f64::midpoint(low, high);
            if above((LIMIT.ln() - middle) / SPREAD) < beyond { low = middle } else { high = middle }
        }
        let mut shares = [0.0; BOUNDS.len() + 1];
        let mut rest = 1.0;
        for (share, bound) in shares.iter_mut().zip(BOUNDS) {
            let over = above((bound.ln() - low) / SPREAD);
            (*share, rest) = (rest - over, over);
        }
        if let Some(last) = shares.last_mut() {
            *last = rest;
        }
        Self(shares)
    }

    /// Adds so many requests.
    fn serve(&self, random: &mut StdRng, requests: u64, to: &mut Histogram) {
        let (mut left, mut share_left) = (requests, 1.0);
        for (share, count) in self.0.iter().zip(&mut to.counts) {
            let here = binomial(random, left, (share / share_left).clamp(0.0, 1.0));
            *count += here;
            (left, share_left) = (left - here, (share_left - share).max(1e-12));
        }
    }
}

/// The share of the normal law above so many standard deviations (Abramowitz and Stegun 26.2.17, 1e-7).
fn above(z: f64) -> f64 {
    let t = 1.0 / (1.0 + 0.231_641_9 * z.abs());
    let series = [0.319_381_530, -0.356_563_782, 1.781_477_937, -1.821_255_978, 1.330_274_429];
    let sum = series.iter().rev().fold(0.0, |sum, factor| (sum + factor) * t);
    let tail = (-z * z / 2.0).exp() / std::f64::consts::TAU.sqrt() * sum;
    if z < 0.0 { 1.0 - tail } else { tail }
}

/// Draws how many of `all` are, each with this chance: by the gaps between them where they are few, by the normal law where they are many.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss)]
fn binomial(random: &mut StdRng, all: u64, chance: f64) -> u64 {
    if chance > 0.5 {
        return all - binomial(random, all, 1.0 - chance);
    }
    if chance <= 0.0 {
        return 0;
    }
    let mean = all as f64 * chance;
    if mean > 100.0 {
        let (one, two): (f64, f64) = (random.random(), random.random());
        let normal = (-2.0 * (1.0 - one).ln()).sqrt() * (std::f64::consts::TAU * two).cos();
        return (mean + normal * (mean * (1.0 - chance)).sqrt()).round().clamp(0.0, all as f64) as u64;
    }
    let (mut at, mut found) = (0.0, 0);
    loop {
        at += 1.0 + (random.random::<f64>().ln() / (-chance).ln_1p()).floor();
        if at > all as f64 {
            return found;
        }
        found += 1;
    }
}

/// Prints the table and holds it against what is promised.
pub fn counted(sheet: &mut Sheet, runs: u32) {
    println!(
        "\n{runs} simulated rollouts a number: healthy ones for {HEALTHY} windows of {WINDOW} s, slow ones for {CAUGHT}; limit {LIMIT} s, and 1.5 times stable's"
    );
    println!(
        "| quantile | requests/s | sampling | beyond × requests a window | at half aborted | at the limit aborted | 5 × caught | as stable aborted (1.5x) |"
    );
    println!("|---|---|---|---|---|---|---|---|");
    let (mut random, mut worst, mut least) = (StdRng::seed_from_u64(21), 0.0_f64, 1.0_f64);
    for quantile in QUANTILES {
        let allowed = 1.0 - quantile;
        for traffic in TRAFFIC {
            for sampling in SAMPLING {
                let mut share = |beyond: f64, windows: f64, relative: bool| {
                    let stable = Version::beyond(if relative { beyond } else { allowed / 10.0 });
                    let play = Play { quantile, traffic, sampling, windows, relative };
                    let candidate = Version::beyond(beyond);
                    let aborted = (0..runs).filter(|_| play.aborts(&mut random, &candidate, &stable)).count();
                    f64::from(u32::try_from(aborted).unwrap_or(u32::MAX)) / f64::from(runs)
                };
                let (half, at) = (share(allowed / 2.0, HEALTHY, false), share(allowed, HEALTHY, false));
                let caught = share((allowed * 5.0).min(0.9), CAUGHT, false);
                let same = share(allowed, HEALTHY, true);
                let enough = allowed * traffic * WINDOW;
                // At the limit itself nobody is healthy by much: shown, and judged by nobody.
                worst = worst.max(half).max(same);
                if enough >= ENOUGH {
                    least = least.min(caught);
                }
                println!(
                    "| p{:.0} | {traffic} | {sampling} s | {enough:.1} | {:.2} % | {:.2} % | {:.1} % | {:.2} % |",
                    quantile * 100.0,
                    half * 100.0,
                    at * 100.0,
                    caught * 100.0,
                    same * 100.0
                );
            }
        }
    }
    println!(
        "healthy aborted at most, of all {}",
        sheet.judge_ratio("healthy by latency aborted", worst, 0.001)
    );
    let missed = sheet.judge_ratio("slow not caught where 5 a window may be slow", 1.0 - least, 0.01);
    println!("slow not caught, where {ENOUGH} requests a window may be slow: at most {missed}");
}

/// One kind of rollout.
#[derive(Clone, Copy)]
struct Play {
    quantile: f64,
    traffic: f64,
    sampling: f64,
    windows: f64,
    /// Against stable instead of the limit.
    relative: bool,
}

impl Play {
    /// Plays one candidate; tells whether it is taken back.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    fn aborts(self, random: &mut StdRng, candidate: &Version, stable: &Version) -> bool {
        let mut sides = [(); 2].map(|()| Histogram::with_bounds(BOUNDS));
        let looks = (self.windows * WINDOW / self.sampling) as u32;
        let requests = (self.traffic * self.sampling).max(1.0) as u64;
        for _ in 0..looks {
            let [mine, theirs] = &mut sides;
            candidate.serve(random, requests, mine);
            stable.serve(random, requests * 9, theirs);
            if self.decides(mine, theirs) {
                return true;
            }
        }
        false
    }

    /// What the gate says at one look.
    fn decides(self, mine: &Histogram, theirs: &Histogram) -> bool {
        if self.relative {
            let found = exceeds_stable(mine, theirs, self.quantile, 1.5, 1);
            return found.is_some_and(|(against, _)| against == Against::Above);
        }
        exceeds_limit(mine, self.quantile, LIMIT, ALPHA) == Against::Above
            && !both_slow(mine, theirs, self.quantile, LIMIT)
    }
}
