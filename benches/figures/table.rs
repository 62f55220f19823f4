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
}

/// The most that something may take.
#[derive(Default)]
pub struct Goal {
    /// Of the median.
    pub median: Option<Duration>,
    /// Of the 99th percentile.
    pub p99: Option<Duration>,
}

/// One line.
pub struct Figure {
    /// What was measured.
    pub what: &'static str,
    /// Its times.
    pub times: Times,
    /// What was promised; nothing where the figure only explains another.
    pub goal: Goal,
}

impl Figure {
    /// A figure that promises nothing.
    pub fn plain(what: &'static str, times: Vec<Duration>) -> Self {
        Self { what, times: Times::new(times), goal: Goal::default() }
    }
}

/// Everything that is printed, and how it stands to the goals.
pub struct Sheet {
    judges: bool,
    met: usize,
    missed: Vec<String>,
}

impl Sheet {
    /// A few samples of an unoptimised build say nothing: then goals are named and not judged.
    pub fn new(judges: bool) -> Self {
        Self { judges, met: 0, missed: Vec::new() }
    }

    /// Prints figures that were taken in one run; the ratios are those of the medians to the first line's.
    pub fn print(&mut self, title: &str, against: &Figure, figures: &[Figure]) {
        println!("\n{title}");
        println!(
            "  {:<58} {:>6} {:>10} {:>10} {:>10} {:>10} {:>8}  goal",
            "", "n", "median", "p90", "p99", "max", "ratio"
        );
        let base = against.times.median().as_secs_f64().max(1e-9);
        for Figure { what, times, goal } in std::iter::once(against).chain(figures) {
            let shown = |percent| show(times.percentile(percent));
            println!(
                "  {what:<58} {:>6} {:>10} {:>10} {:>10} {:>10} {:>7.1}x  {}",
                times.0.len(),
                shown(50),
                shown(90),
                shown(99),
                shown(100),
                times.median().as_secs_f64() / base,
                self.goals(what, times, goal)
            );
        }
    }

    fn goals(&mut self, what: &str, times: &Times, goal: &Goal) -> String {
        let limits = [("median", goal.median, 50), ("p99", goal.p99, 99)];
        let limits = limits.into_iter().filter_map(|(name, limit, percent)| Some((name, limit?, percent)));
        let all = limits.map(|(name, limit, percent)| {
            self.judge(&format!("{what}, {name}"), name, times.percentile(percent), limit)
        });
        all.collect::<Vec<_>>().join(", ")
    }

    /// Holds a time against a goal; returns both as text.
    pub fn judge(&mut self, what: &str, name: &str, seen: Duration, limit: Duration) -> String {
        let goal = format!("{name} ≤ {}", show(limit));
        if !self.judges {
            return goal;
        }
        if seen <= limit {
            self.met += 1;
            return format!("{goal} met");
        }
        self.missed.push(format!("{what}: {} instead of {} at most", show(seen), show(limit)));
        format!("{goal} MISSED")
    }

    /// Holds a ratio against a goal; returns both as text.
    pub fn judge_ratio(&mut self, what: &str, seen: f64, limit: f64) -> String {
        let goal = format!("{seen:.2}, goal < {limit}");
        if !self.judges {
            return goal;
        }
        if seen < limit {
            self.met += 1;
            return format!("{goal} met");
        }
        self.missed.push(format!("{what}: {seen:.2} instead of less than {limit}"));
        format!("{goal} MISSED")
    }

    /// Prints how many goals were met, and each that was missed.
    pub fn sum_up(&self) {
        if self.judges {
            println!("{} of {} goals met", self.met, self.met + self.missed.len());
            self.missed.iter().for_each(|missed| println!("MISSED {missed}"));
        } else {
            println!("every figure can be taken; goals are judged by cargo bench");
        }
    }
}

/// Writes a time with three digits.
pub fn show(time: Duration) -> String {
    let micros = time.as_secs_f64() * 1e6;
    if micros < 1_000.0 { format!("{micros:.1} µs") } else { format!("{:.1} ms", micros / 1_000.0) }
}
