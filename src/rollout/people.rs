//! What a running rollout waits for, and what people said of it: pauses, manual steps, approvals. A person can make it wait or go on,
//! never past a gate that fails.

use std::time::Duration;

use super::gates::elapsed;
use super::machine::{Machine, is_gradual, is_stepped};
use crate::model::duration::rough;
use crate::model::policy::{Approval, OnUnknown, Step};
use crate::model::rollout::{Phase, Rollout};
use crate::model::transition::Kind;
use crate::model::verdict::{Gate, Verdict};

/// How long a frozen rollout (`rollback.auto: false`), a pause and a manual step wait for a person.
pub const PATIENCE: Duration = Duration::from_hours(24);

/// What the present stage waits for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wait {
    /// Time to be credited; zero asks the gates once.
    pub pause: Duration,
    /// Whether the stage lasts long enough for its traffic to be judged.
    pub observed: bool,
    /// A person's `promote` is waited for.
    pub manual: bool,
    /// People who must agree.
    pub approve: Option<Approval>,
}

impl Wait {
    fn of(step: &Step) -> Self {
        let observed = !step.pause.is_zero() || step.waits_for_person();
        // Whoever approves promotes.
        let manual = step.manual && step.approve.is_none();
        Self { pause: step.pause, observed, manual, approve: step.approve.clone() }
    }

    fn nothing() -> Self {
        Self { pause: Duration::ZERO, observed: false, manual: false, approve: None }
    }

    /// How long people are waited for at most.
    pub fn patience(&self) -> Duration {
        let manual = if self.manual { PATIENCE } else { Duration::ZERO };
        self.approve.as_ref().map_or(manual, |approval| approval.timeout)
    }
}

/// Returns what the present stage waits for, with what people said of it.
pub fn wait(rollout: &Rollout) -> Wait {
    let steps = &rollout.policy.steps;
    let step = match rollout.phase {
        Phase::Preparing | Phase::RollingBack => None,
        Phase::Progressing => steps.get(rollout.step as usize),
        Phase::Promoting | Phase::Baking => {
            steps.last().filter(|_| is_gradual(rollout) && rollout.router.is_none())
        }
    };
    // By a router all traffic was watched on the candidate before stable's Deployment took its template.
    let rolls = matches!(rollout.phase, Phase::Promoting | Phase::Baking)
        && (!is_stepped(rollout) || rollout.cover.is_some());
    let declared = match step {
        Some(step) => Wait::of(step),
        None if rolls => Wait { pause: rollout.policy.rollback.window, observed: true, ..Wait::nothing() },
        None => Wait::nothing(),
    };
    if rollout.people.promoted.is_some() || rollout.people.promoted_fully.is_some() {
        return Wait { pause: Duration::ZERO, manual: false, ..declared };
    }
    declared
}

/// Tells whether the running stage lasts long enough for its traffic to be judged.
pub fn observed(rollout: &Rollout) -> bool {
    rollout.phase == Phase::Promoting || wait(rollout).observed
}

/// What a gate that cannot tell means now: who promotes fully vouches for what cannot be measured.
pub fn on_unknown(rollout: &Rollout) -> OnUnknown {
    match rollout.people.promoted_fully {
        Some(_) => OnUnknown::Continue,
        None => rollout.policy.rollback.on_unknown,
    }
}

/// Tells whether a person stands between the rollout and its next step, so that a newer version need not wait for it.
pub fn waits_for_person(rollout: &Rollout) -> bool {
    let start = rollout.phase == Phase::Preparing && missing(rollout, start(rollout)).is_some();
    let wait = wait(rollout);
    start
        || rollout.people.paused.is_some()
        || wait.manual
        || missing(rollout, wait.approve.as_ref()).is_some()
}

/// Returns who must agree before the rollout starts. Going back needs nobody's leave.
pub fn start(rollout: &Rollout) -> Option<&Approval> {
    rollout.policy.order.approval.as_ref().filter(|_| rollout.undo.is_none())
}

/// Returns how many approvals are still missing and how many are asked for; `None` if there are enough.
pub fn missing(rollout: &Rollout, approval: Option<&Approval>) -> Option<(u32, u32)> {
    let given = u32::try_from(rollout.people.approvals.len()).unwrap_or(u32::MAX);
    let wanted = approval?.count;
    (given < wanted).then(|| (wanted - given, wanted))
}

/// Says which approvals are waited for: `2 of 3 approvals by sre`.
pub fn approvals(missing: u32, approval: &Approval) -> String {
    let teams: Vec<&str> = approval.teams.iter().map(crate::model::name::TeamName::as_str).collect();
    let by = if teams.is_empty() { String::new() } else { format!(" by {}", teams.join(" or ")) };
    let noun = if approval.count == 1 { "approval" } else { "approvals" };
    format!("{missing} of {} {noun}{by}", approval.count)
}

impl Machine<'_> {
    /// Tells whether a person paused the rollout; a pause that nobody ends for a day parks it.
    pub fn paused(&mut self, rollout: &Rollout) -> bool {
        let Some(asked) = &rollout.people.paused else { return false };
        if self.overdue(asked.at, PATIENCE) {
            let reason = format!("paused by {} and not resumed within {}", asked.who, rough(PATIENCE));
            self.park(Verdict::unknown(Gate::Command, reason));
        }
        true
    }

    /// Tells whether the people whom the stage waits for have said yes; parks what they leave alone for too long.
    pub fn agreed(&mut self, rollout: &Rollout, wait: &Wait) -> bool {
        let lacking = missing(rollout, wait.approve.as_ref());
        let what = match (&wait.approve, lacking) {
            (Some(approval), Some((missing, _))) => approvals(missing, approval),
            _ if wait.manual => "`promote`".to_owned(),
            _ => return true,
        };
        self.wait_for_people(&what, wait.patience());
        false
    }

    /// Tells whether those who must approve of the start have done so.
    pub fn start_approved(&mut self, rollout: &Rollout) -> bool {
        let Some(approval) = start(rollout) else { return true };
        let Some((missing, _)) = missing(rollout, Some(approval)) else { return true };
        self.wait_for_people(&approvals(missing, approval), approval.timeout);
        false
    }

    fn wait_for_people(&mut self, what: &str, patience: Duration) {
        let now = self.input.now;
        let Some(rollout) = self.record.rollout.as_mut() else { return };
        let number = rollout.number;
        let begun = rollout.people.waited_since.is_none();
        let since = *rollout.people.waited_since.get_or_insert(now);
        if begun {
            let kind = Kind::ApprovalRequested { what: what.to_owned() };
            self.say(kind, format!("rollout {number} waits for {what}, for {} at most", rough(patience)));
        }
        if self.overdue(since, patience) {
            let reason = format!("{what} did not come within {}", rough(patience));
            self.park(Verdict::unknown(Gate::Command, reason));
        }
    }

    /// Moves the clocks of a rollout on by the time for which it was paused, so that no deadline counts it.
    pub fn shift_clocks(&mut self, paused_at: jiff::Timestamp) {
        let now = self.input.now;
        let away = elapsed(paused_at, now);
        let Some(rollout) = self.record.rollout.as_mut() else { return };
        let waited = rollout.people.waited_since.as_mut();
        let clocks = [&mut rollout.phase_since, &mut rollout.step_since, &mut rollout.progress_at];
        for clock in clocks.into_iter().chain(waited) {
            *clock = clock.saturating_add(away).unwrap_or(now).min(now);
        }
    }
}
