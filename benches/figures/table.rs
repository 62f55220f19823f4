//! Figures as people read them: percentiles beside the goal, and what they were compared with in the same run.

use std::time::Duration;

/// Measured times of one thing.
pub struct Times(Vec<Duration>);

impl Times {
    /// Takes at least one measurement.
    pub fn new(mut all: Vec<Duration>) -> Self {
        all.sort();
        Self(all)
    }

    /// Returns the time that this share of the measurements, in per cent, does not exceed.
    pub fn percentile(&self, percent: usize) -> Duration {
        let rank = (self.0.len() * percent).div_ceil(100).max(1);
        self.0.get(rank - 1).copied().unwrap_or_default()
    }

    /// Returns the middle one.
    pub fn median(&self) -> Duration {
        self.percentile(50)
    }

    /// Returns how many there are.
    pub fn count(&self) -> usize {
        self.0.len()
    }
}

/// One line.
pub struct Figure {
    /// What was measured.
    pub what: &'static str,
    /// Its times.
    pub times: Times,
    /// The most that the median may be, and the most that the 99th percentile may be.
    pub goals: (Option<Duration>, Option<Duration>),
}

/// Prints figures that were taken in one run; the ratios are those of the medians to the first line's.
pub fn print(title: &str, against: &str, baseline: &Times, figures: &[Figure]) {
    println!("\n{title}");
    println!(
        "  {:<58} {:>6} {:>10} {:>10} {:>10} {:>10}  {:<26} {:>8}",
        "", "n", "median", "p90", "p99", "max", "goal", "ratio"
    );
    line(against, baseline, (None, None), 1.0);
    for Figure { what, times, goals } in figures {
        let ratio = times.median().as_secs_f64() / baseline.median().as_secs_f64().max(1e-9);
        line(what, times, *goals, ratio);
    }
}

fn line(what: &str, times: &Times, goals: (Option<Duration>, Option<Duration>), ratio: f64) {
    let shown = |percent| show(times.percentile(percent));
    println!(
        "  {what:<58} {:>6} {:>10} {:>10} {:>10} {:>10}  {:<26} {ratio:>7.1}x",
        times.count(),
        shown(50),
        shown(90),
        shown(99),
        shown(100),
        judged(times, goals)
    );
}

fn judged(times: &Times, (median, p99): (Option<Duration>, Option<Duration>)) -> String {
    let goal = |name: &str, limit: Option<Duration>, seen: Duration| {
        let limit = limit?;
        let word = if seen <= limit { "met" } else { "MISSED" };
        Some(format!("{name} ≤ {} {word}", show(limit)))
    };
    let all = [goal("median", median, times.median()), goal("p99", p99, times.percentile(99))];
    all.into_iter().flatten().collect::<Vec<_>>().join(", ")
}

/// Writes a time with three digits.
pub fn show(time: Duration) -> String {
    let micros = time.as_secs_f64() * 1e6;
    if micros < 1_000.0 { format!("{micros:.1} µs") } else { format!("{:.1} ms", micros / 1_000.0) }
}
