//! A plan that breaks a property, made shorter: halves of it are left out first, then smaller and smaller parts, at last single
//! actions, for as long as the property stays broken and the time is not over.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::SimulationError;
use super::heads::Workshop;
use super::plan::Plan;
use super::run::{Failure, safely};

/// However long a plan is, it is not tried for longer.
const LONGEST: Duration = Duration::from_secs(30);

/// What was tried so far.
struct Trials<'a> {
    workshop: &'a Arc<Workshop>,
    property: &'static str,
    begun: Instant,
    attempts: u32,
}

impl Trials<'_> {
    fn still_breaks(&mut self, plan: &Plan) -> Result<bool, SimulationError> {
        self.attempts += 1;
        let found = safely(self.workshop, plan, false)?.violations;
        Ok(found.first().is_some_and(|violation| violation.property == self.property))
    }

    fn is_over(&self) -> bool {
        self.begun.elapsed() >= LONGEST
    }
}

/// Returns the shortest plan that was found, and plays it once more for its lines; `None` if the plan breaks nothing.
pub(super) fn shrunk(workshop: &Arc<Workshop>, mut plan: Plan) -> Result<Option<Failure>, SimulationError> {
    let found = safely(workshop, &plan, false)?.violations;
    let Some(property) = found.first().map(|violation| violation.property) else { return Ok(None) };
    let mut trials = Trials { workshop, property, begun: Instant::now(), attempts: 0 };
    let mut size = plan.actions.len() / 2;
    while size > 0 {
        // The first commit stays: without it there is nothing to break.
        let mut end = plan.actions.len();
        while end > 1 && !trials.is_over() {
            let begin = end.saturating_sub(size).max(1);
            let less = plan.without(begin..end);
            if trials.still_breaks(&less)? {
                plan = less;
            }
            end = begin;
        }
        size /= 2;
    }
    let played = safely(workshop, &plan, true)?;
    let mut lines = vec![format!(
        "{:?}, {} pods, {} requests/s, calm at {:?}",
        plan.shape, plan.replicas, plan.rate, plan.calm
    )];
    lines.extend(plan.actions.iter().map(|(at, action)| format!("{:>6} s  {action:?}", at.as_secs())));
    Ok(Some(Failure {
        seed: plan.seed,
        violations: played.violations,
        plan: lines,
        attempts: trials.attempts,
        lines: played.lines,
    }))
}
