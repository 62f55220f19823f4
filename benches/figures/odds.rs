//! What the test of the error rate from a stage's begin does to healthy and to bad candidates, counted over simulated rollouts: the table of
//! `docs/statistics.md`. Seeded, so every run prints the same.

use idp::model::samples::Tally;
use idp::rollout::gates::FROM_BEGIN;
use idp::rollout::statistics::{both_exceed, exceeds};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::table::Sheet;

/// The limits of the error rate.
const LIMITS: [f64; 4] = [0.001, 0.005, 0.01, 0.05];
/// Requests a second to the candidate; stable has nine times as many.
const TRAFFIC: [f64; 4] = [0.2, 1.0, 10.0, 100.0];
/// Seconds between two looks.
const SAMPLING: [f64; 3] = [1.0, 10.0, 60.0];
/// Seconds of a window.
const WINDOW: f64 = 60.0;
/// Windows that a healthy candidate is looked at, and within which a bad one is to be caught.
const HEALTHY: f64 = 60.0;
const CAUGHT: f64 = 3.0;
/// How many times the limit a bad candidate fails.
const BAD: f64 = 5.0;
/// Errors that the limit allows in a window, above which a bad one must be caught.
const ENOUGH: f64 = 5.0;

/// One line of the table.
#[derive(Clone, Copy)]
struct Cell {
    limit: f64,
    /// The error rate of stable, and of a healthy candidate.
    stable: f64,
    traffic: f64,
    sampling: f64,
}

/// Prints the table and holds it against what is promised.
pub fn counted(sheet: &mut Sheet, runs: u32) {
    println!(
        "\n{runs} simulated rollouts a number: healthy ones for {HEALTHY} windows of {WINDOW} s, bad ones for {CAUGHT}"
    );
    println!(
        "| limit | stable's rate | requests/s | sampling | limit × requests a window | healthy aborted | {BAD} × limit caught |"
    );
    println!("|---|---|---|---|---|---|---|");
    let (mut random, mut worst, mut least) = (StdRng::seed_from_u64(20), 0.0_f64, 1.0_f64);
    for limit in LIMITS {
        for stable in [0.0, limit / 2.0] {
            for traffic in TRAFFIC {
                for sampling in SAMPLING {
                    let cell = Cell { limit, stable, traffic, sampling };
                    let share = |random: &mut StdRng, rate, windows| {
                        let aborted = (0..runs).filter(|_| cell.aborts(random, rate, windows)).count();
                        f64::from(u32::try_from(aborted).unwrap_or(u32::MAX)) / f64::from(runs)
                    };
                    let aborted = share(&mut random, stable, HEALTHY);
                    let caught = share(&mut random, limit * BAD, CAUGHT);
                    let allowed = limit * traffic * WINDOW;
                    worst = worst.max(aborted);
                    if allowed >= ENOUGH {
                        least = least.min(caught);
                    }
                    println!(
                        "| {} % | {} % | {traffic} | {sampling} s | {allowed:.3} | {:.2} % | {:.1} % |",
                        limit * 100.0,
                        stable * 100.0,
                        aborted * 100.0,
                        caught * 100.0
                    );
                }
            }
        }
    }
    println!("healthy aborted at most, of all {}", sheet.judge_ratio("healthy aborted", worst, 0.001));
    let missed = sheet.judge_ratio("bad not caught where the limit allows 5 a window", 1.0 - least, 0.01);
    println!("bad not caught, where the limit allows {ENOUGH} errors a window: at most {missed}");
}

impl Cell {
    /// Plays one candidate with this error rate; tells whether it is taken back.
    fn aborts(self, random: &mut StdRng, rate: f64, windows: f64) -> bool {
        let Self { traffic, sampling, .. } = self;
        if rate <= 0.0 {
            return false;
        }
        let end = windows * WINDOW;
        let per_look = (traffic * sampling).max(f64::MIN_POSITIVE);
        let (mut errors, mut request, mut look) = (0_u64, 0.0_f64, 0.0_f64);
        loop {
            // The requests to the next error are geometric.
            request += 1.0 + (random.random::<f64>().ln() / (-rate).ln_1p()).floor();
            let seen_at = (request / per_look).ceil();
            if seen_at > look && errors > 0 && self.decides(errors, look * per_look) {
                return true;
            }
            if seen_at * sampling > end {
                return false;
            }
            (errors, look) = (errors + 1, seen_at);
        }
    }

    /// What the gate says at one look.
    fn decides(self, errors: u64, requests: f64) -> bool {
        let Self { limit, stable, .. } = self;
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        let count = |of: f64| of.round() as u64;
        let candidate = Tally { requests: count(requests.floor()).max(errors), errors };
        if exceeds(candidate, limit, FROM_BEGIN) != Some(true) {
            return false;
        }
        let theirs = requests * 9.0;
        let beside = Tally { requests: count(theirs), errors: count(theirs * stable) };
        both_exceed(candidate, beside, limit) == Some(false)
    }
}
