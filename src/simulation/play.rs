//! One plan from its begin to its end: what happens, the calm after it, a good version, and a day of nothing.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use tokio::time::Instant;

use super::SimulationError;
use super::bed::Bed;
use super::check::{End, Violation, at_the_end};
use super::deeds::Deed;
use super::heads::Workshop;
use super::plan::{Action, Plan};
use super::trace::{Announced, Trace};

/// After so long without faults every deadline has passed.
const CALM: Duration = Duration::from_mins(40);
/// Looked at this often whether it is at rest before.
const LOOK: Duration = Duration::from_secs(20);
/// So long a good version may take to be stable, whatever runs.
const PROMOTED: Duration = Duration::from_mins(45);
/// The bake, the last acknowledgement, what is removed.
const SETTLED: Duration = Duration::from_mins(10);
/// And then nothing happens.
const IDLE: Duration = Duration::from_hours(24);
/// The good version at the end.
const GOOD: &str = "v9.good";

/// What came of one plan.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Played {
    pub(super) violations: Vec<Violation>,
    pub(super) story: Vec<Announced>,
    pub(super) lines: Vec<String>,
    /// Rollouts by outcome.
    pub(super) outcomes: BTreeMap<String, u64>,
    /// Requests of daemons that met a fault.
    pub(super) refused: u64,
    pub(super) time: Duration,
    pub(super) passes: u64,
    pub(super) writes: u64,
    pub(super) lives: u64,
}

/// Plays a plan on a runtime of its own.
pub(super) fn play(workshop: &Arc<Workshop>, plan: &Plan, keep: bool) -> Result<Played, SimulationError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .map_err(SimulationError::part("making a runtime"))?;
    runtime.block_on(whole(workshop, plan, Trace::new(keep)))
}

async fn whole(workshop: &Arc<Workshop>, plan: &Plan, trace: Trace) -> Result<Played, SimulationError> {
    let mut bed = Bed::new(workshop, plan, trace)?;
    if plan.actions.iter().any(|(_, action)| matches!(action, Action::Storm { .. })) {
        bed.checker.tolerate(Duration::from_secs(12));
    }
    bed.run(bed.begun + plan.calm).await?;
    ending(&mut bed, plan.again).await?;
    Ok(played(bed))
}

/// Whether what was committed last is a good version, and stable.
fn is_promoted(bed: &Bed) -> bool {
    let Some(record) = &bed.checker.record else { return false };
    let stable = record.stable.as_ref().map(|stable| &stable.version.identity);
    let good = matches!(bed.tag.split_once('.'), None | Some((_, "good")));
    good && record.rollout.is_none() && record.head.as_ref().map(|head| &head.identity) == stable
}

/// The calm, a good version where the last one was none or one more is asked for, the day.
async fn ending(bed: &mut Bed, again: bool) -> Result<(), SimulationError> {
    bed.calm()?;
    rest(bed, CALM).await?;
    if !asked(bed, End::Calm) {
        return Ok(());
    }
    bed.patch_release(&json!({"spec": {"suspend": false}}));
    if again || !is_promoted(bed) {
        bed.perform(Deed::Planned(Action::Commit { tag: GOOD.to_owned(), late: 0 }))?;
        bed.run(Instant::now() + LOOK).await?;
        rest(bed, PROMOTED).await?;
    }
    bed.run(Instant::now() + SETTLED).await?;
    if !asked(bed, End::Promoted) {
        return Ok(());
    }
    let writes = bed.checker.writes;
    bed.run(Instant::now() + IDLE).await?;
    let since = bed.checker.writes.saturating_sub(writes);
    asked(bed, End::Idle(since));
    Ok(())
}

/// Moves on until no rollout runs that could, and for so long at most.
async fn rest(bed: &mut Bed, longest: Duration) -> Result<(), SimulationError> {
    let end = Instant::now() + longest;
    while Instant::now() < end && !bed.checker.broken() {
        bed.run(Instant::now() + LOOK).await?;
        bed.attend();
        let Some(record) = &bed.checker.record else { continue };
        let stable = record.stable.as_ref().map(|stable| &stable.version.identity);
        let reached = record.head.as_ref().map(|head| &head.identity) == stable;
        // What is held waits for a person, and the good version at the end is never held for long.
        if record.rollout.is_none() && (reached || (!record.held.is_empty() && bed.tag != GOOD)) {
            return Ok(());
        }
    }
    Ok(())
}

/// Asks what must hold here, unless something is broken already. Tells whether all holds.
fn asked(bed: &mut Bed, end: End) -> bool {
    if !bed.checker.broken() {
        let found = at_the_end(&bed.checker, &bed.broker, &bed.objects(), bed.time(), end);
        bed.checker.violations.extend(found);
    }
    !bed.checker.broken()
}

fn played(bed: Bed) -> Played {
    let mut outcomes: BTreeMap<String, u64> = BTreeMap::new();
    for outcome in bed.checker.facts.outcomes() {
        *outcomes.entry(outcome.to_owned()).or_default() += 1;
    }
    Played {
        outcomes,
        refused: bed.orders.faults(),
        time: bed.time(),
        passes: bed.passed,
        writes: bed.checker.writes,
        lives: bed.lives,
        violations: bed.checker.violations,
        story: bed.trace.story,
        lines: bed.trace.lines,
    }
}
