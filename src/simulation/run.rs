//! Many seeds: played side by side, counted, and the first that breaks a property shrunk to what it takes.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::SimulationError;
use super::check::Violation;
use super::heads::{ENVIRONMENT, Workshop};
use super::plan::Plan;
use super::play::{Played, play};
use super::shrink::shrunk;

/// Which seeds, and how.
#[derive(Debug, Clone)]
pub struct Asked {
    /// The seeds.
    pub seeds: Range<u64>,
    /// Threads side by side, at least one; each plays its own seeds.
    pub threads: usize,
}

/// What so many seeds came to.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize)]
pub struct Summary {
    /// Seeds that were played.
    pub seeds: u64,
    /// Rollouts by outcome.
    pub outcomes: BTreeMap<String, u64>,
    /// What happened, by kind.
    pub happened: BTreeMap<String, u64>,
    /// Requests that met a fault.
    pub refused: u64,
    /// Passes of drivers.
    pub passes: u64,
    /// Accepted writes of daemons.
    pub writes: u64,
    /// Lives of daemons.
    pub lives: u64,
    /// Virtual seconds.
    pub virtual_seconds: u64,
}

/// The shortest plan that was found to break a property.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// The seed that it comes from.
    pub seed: u64,
    /// The properties that it breaks.
    pub violations: Vec<Violation>,
    /// What happens in it, one line each.
    pub plan: Vec<String>,
    /// Plans that were played to find it.
    pub attempts: u32,
    /// Everything that happened, line by line.
    pub lines: Vec<String>,
}

impl Summary {
    /// Returns the rollouts that ended.
    pub fn rollouts(&self) -> u64 {
        self.outcomes.values().sum()
    }

    /// Returns the virtual years.
    #[allow(clippy::cast_precision_loss)] // For people.
    pub fn years(&self) -> f64 {
        self.virtual_seconds as f64 / (365.25 * 86_400.0)
    }

    fn add(&mut self, plan: &Plan, played: &Played) {
        self.seeds += 1;
        for (outcome, count) in &played.outcomes {
            *self.outcomes.entry(outcome.clone()).or_default() += count;
        }
        for (_, action) in &plan.actions {
            *self.happened.entry(action.kind().to_owned()).or_default() += 1;
        }
        self.refused += played.refused;
        self.passes += played.passes;
        self.writes += played.writes;
        self.lives += played.lives;
        self.virtual_seconds += played.time.as_secs();
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for Violation { property, at, what } in &self.violations {
            writeln!(f, "seed {} breaks {property} at {:.3} s: {what}", self.seed, at.as_secs_f64())?;
        }
        writeln!(f, "the shortest plan that was found to break it, after {} attempts:", self.attempts)?;
        self.plan.iter().try_for_each(|line| writeln!(f, "  {line}"))
    }
}

/// What came of the seeds that were asked for.
#[derive(Debug, Clone)]
pub struct Ran {
    /// What they came to.
    pub summary: Summary,
    /// The lowest of them that breaks a property, shrunk.
    pub failure: Option<Failure>,
    /// How long playing them took, without what shrinking took.
    pub took: Duration,
}

/// Plays seeds until all are played or one breaks a property. `progress` is called after each with how many there were.
pub fn run(asked: &Asked, progress: impl Fn(u64) + Sync) -> Result<Ran, SimulationError> {
    let begun = Instant::now();
    let next = AtomicU64::new(asked.seeds.start);
    let (stop, count) = (AtomicBool::new(false), AtomicU64::new(0));
    let all: Mutex<(Summary, Option<u64>, Option<SimulationError>)> = Mutex::default();
    let work = || {
        let workshop = Workshop::new(ENVIRONMENT)?;
        while !stop.load(Ordering::Relaxed) {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= asked.seeds.end {
                return Ok(());
            }
            let plan = Plan::of(seed);
            let played = safely(&workshop, &plan, false)?;
            let mut all = all.lock().unwrap_or_else(PoisonError::into_inner);
            all.0.add(&plan, &played);
            if !played.violations.is_empty() {
                stop.store(true, Ordering::Relaxed);
                all.1 = Some(all.1.map_or(seed, |known| known.min(seed)));
            }
            drop(all);
            progress(count.fetch_add(1, Ordering::Relaxed) + 1);
        }
        Ok(())
    };
    std::thread::scope(|scope| {
        for _ in 0..asked.threads.max(1) {
            scope.spawn(|| {
                if let Err(error) = work() {
                    stop.store(true, Ordering::Relaxed);
                    all.lock().unwrap_or_else(PoisonError::into_inner).2 = Some(error);
                }
            });
        }
    });
    let (summary, broken, error) = all.into_inner().unwrap_or_else(PoisonError::into_inner);
    if let Some(error) = error {
        return Err(error);
    }
    let took = begun.elapsed();
    let failure = broken.map(of_seed).transpose()?.flatten();
    Ok(Ran { summary, failure, took })
}

fn of_seed(seed: u64) -> Result<Option<Failure>, SimulationError> {
    apart(|| shrunk(&Workshop::new(ENVIRONMENT)?, Plan::of(seed)))
}

/// On a thread of its own: the caller may be within a runtime.
fn apart<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    std::thread::scope(|scope| scope.spawn(work).join()).unwrap_or_else(|panic| resume_unwind(panic))
}

/// Plays one seed and keeps every line.
pub fn one(seed: u64) -> Result<(Ran, Vec<String>), SimulationError> {
    let begun = Instant::now();
    let plan = Plan::of(seed);
    let played = apart(|| safely(&Workshop::new(ENVIRONMENT)?, &plan, true))?;
    let mut summary = Summary::default();
    summary.add(&plan, &played);
    let took = begun.elapsed();
    let failure = if played.violations.is_empty() { None } else { of_seed(seed)? };
    Ok((Ran { summary, failure, took }, played.lines))
}

/// As [`play`], where a panic is a property that does not hold.
pub(super) fn safely(workshop: &Arc<Workshop>, plan: &Plan, keep: bool) -> Result<Played, SimulationError> {
    // What a panic leaves is dropped with its play; the workshop has no state but counters.
    let played = catch_unwind(AssertUnwindSafe(|| play(workshop, plan, keep)));
    played.unwrap_or_else(|panic| {
        let said = panic.downcast_ref::<String>().cloned();
        let said = said.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
        let what = format!("a panic: {}", said.unwrap_or_default());
        let violation = Violation { property: "panic", at: Duration::ZERO, what };
        Ok(Played { violations: vec![violation], ..Played::default() })
    })
}
