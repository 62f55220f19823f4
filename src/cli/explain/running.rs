//! Explaining a release with a running rollout.

use std::time::Duration;

use jiff::Timestamp;

use super::{Answer, after, by, since};
use crate::model::duration::rough;
use crate::model::policy::OnUnknown;
use crate::model::record::Record;
use crate::model::rollout::{Asked, Candidate, Ending, Hold, Phase, Rollout};
use crate::model::verdict::{Answer as Says, Gate, Verdict};
use crate::rollout::people::{self, PATIENCE};
use crate::rollout::run::is_job;

pub(super) fn answer(record: &Record, rollout: &Rollout, now: Timestamp) -> Answer {
    if let Some(ending) = &rollout.ending {
        return rolling_back(record, rollout, ending, now);
    }
    if let Some(since) = rollout.frozen_since {
        return frozen(rollout, since, now);
    }
    if let Some(asked) = &rollout.people.paused {
        return paused(record, rollout, asked, now);
    }
    if let Some(answer) = people_wait(record, rollout, now) {
        return answer;
    }
    match rollout.phase {
        Phase::Preparing => preparing(record, rollout, now),
        Phase::Progressing | Phase::Promoting if rollout.stage.ready_at.is_none() => {
            waiting(record, rollout, now)
        }
        Phase::Progressing | Phase::Promoting | Phase::Baking => observing(record, rollout, now),
        Phase::RollingBack => Answer {
            why: format!("{} goes back to the stable version", name(rollout)),
            unblocks: "nothing to do: it ends when stable's pods are ready".to_owned(),
            next: "with the next change of a pod".to_owned(),
            next_at: None,
            commands: vec![],
        },
    }
}

/// `rollout #7 (1a2b3c4d5e)`.
fn name(rollout: &Rollout) -> String {
    format!("rollout #{} ({})", rollout.number, rollout.candidate.revision().commit.short())
}

fn place(record: &Record, rollout: &Rollout) -> String {
    match rollout.phase {
        Phase::Preparing => format!("{} has its image", name(rollout)),
        Phase::Progressing => format!(
            "{} is at step {} of {} (asked {} %, real {} %)",
            name(rollout),
            rollout.step.saturating_add(1),
            rollout.policy.steps.len(),
            record.weight,
            record.real_weight
        ),
        Phase::Baking => format!("{} has all pods and is being watched", name(rollout)),
        _ if rollout.first => format!("{} is the first deploy", name(rollout)),
        _ => format!("{} takes over stable's pods", name(rollout)),
    }
}

/// The verdict that explains most: a failing one, else an unknown one.
fn trouble(rollout: &Rollout) -> Option<&Verdict> {
    rollout.stage.verdicts.values().filter(|v| v.answer != Says::Pass && !v.dry_run).max_by_key(|v| v.answer)
}

fn preparing(record: &Record, rollout: &Rollout, now: Timestamp) -> Answer {
    let by_when = after(rollout.phase_since, rollout.policy.image_wait);
    match &rollout.candidate {
        Candidate::Waiting { .. } => {
            let reason = trouble(rollout)
                .map_or_else(|| "its digest is not known yet".to_owned(), |v| v.reason.clone());
            Answer {
                why: format!("{} waits for its image: {reason}", name(rollout)),
                unblocks: "the image in the registry, or a newer commit".to_owned(),
                next: format!(
                    "the registry is asked again and again; given up and parked {}",
                    by(by_when, now)
                ),
                next_at: Some(by_when),
                commands: vec!["abort"],
            }
        }
        Candidate::Ready(_) => {
            let said = trouble(rollout).map(ToString::to_string);
            let said = said.or_else(|| Some(record.message.clone()).filter(|text| !text.is_empty()));
            let said = said.map(|text| format!(": {text}")).unwrap_or_default();
            let order = &rollout.policy.order;
            let (unblocks, next) = match trouble(rollout).map(|verdict| verdict.gate) {
                Some(Gate::Declared | Gate::Slo) => {
                    ("its gates that come before, or enough of its error budget", "with the next measurement")
                }
                _ if order.environment.is_some() || !order.services.is_empty() => (
                    "what comes before it stable, then a free place; `promote --full` starts it before its turn",
                    "as soon as one of them changes",
                ),
                _ => {
                    ("a free place among the rollouts of this environment", "as soon as another rollout ends")
                }
            };
            Answer {
                why: format!("{} has its image and waits to start{said}", name(rollout)),
                unblocks: unblocks.to_owned(),
                next: next.to_owned(),
                next_at: None,
                commands: vec!["abort"],
            }
        }
    }
}

fn paused(record: &Record, rollout: &Rollout, asked: &Asked, now: Timestamp) -> Answer {
    let at = after(asked.at, PATIENCE);
    let why = if asked.why.is_empty() { String::new() } else { format!(" ({})", asked.why) };
    Answer {
        why: format!(
            "{} and was paused by {}{why} {} ago",
            place(record, rollout),
            asked.who,
            since(asked.at, now)
        ),
        unblocks: "`resume`, or `promote` to go on at once; a gate that fails takes it back all the same"
            .to_owned(),
        next: format!("rolled back and parked {}", by(at, now)),
        next_at: Some(at),
        commands: vec!["resume", "promote", "abort"],
    }
}

/// Where nothing but people is waited for.
fn people_wait(record: &Record, rollout: &Rollout, now: Timestamp) -> Option<Answer> {
    let begun = rollout.people.waited_since?;
    let wait = people::wait(rollout);
    let start = people::start(rollout).filter(|_| rollout.phase == Phase::Preparing);
    let approval = start.or(wait.approve.as_ref());
    let (what, command, patience) = match (approval, people::missing(rollout, approval)) {
        (Some(approval), Some((missing, _))) => {
            (people::approvals(missing, approval), "approve", approval.timeout)
        }
        _ if wait.manual => ("a person".to_owned(), "promote", wait.patience()),
        _ => return None,
    };
    let at = after(begun, patience);
    Some(Answer {
        why: format!("{} and waits for {what}", place(record, rollout)),
        unblocks: format!("`{command}`; a gate that fails takes it back all the same"),
        next: format!("given up and parked {}", by(at, now)),
        next_at: Some(at),
        commands: vec![command, "abort"],
    })
}

/// Tells whether it is the route that is waited for, and not pods.
fn is_rerouting(rollout: &Rollout) -> bool {
    let asked = rollout.step_weight();
    rollout.router.is_some()
        && match rollout.phase {
            Phase::Progressing => !rollout.split || rollout.weight == asked,
            _ => rollout.stable_ready && !rollout.away,
        }
}

/// A version that is a job runs.
fn job_runs(rollout: &Rollout) -> Answer {
    let said =
        trouble(rollout).map(|verdict| format!(", and it is not known how: {verdict}")).unwrap_or_default();
    Answer {
        why: format!("{} runs its Job{said}", name(rollout)),
        unblocks: "the end of the Job: complete makes the version stable, failed holds it".to_owned(),
        next: "with every change of the Job; it is ended at `workload.timeout`".to_owned(),
        next_at: None,
        commands: vec!["abort"],
    }
}

fn waiting(record: &Record, rollout: &Rollout, now: Timestamp) -> Answer {
    if is_job(&rollout.policy) {
        return job_runs(rollout);
    }
    if is_rerouting(rollout) {
        let at = after(rollout.step_since.max(rollout.progress_at), rollout.policy.progress_deadline);
        return Answer {
            why: format!("{}, and its traffic is being moved: {}", place(record, rollout), record.message),
            unblocks: "the route as asked, and accepted by its gateways".to_owned(),
            next: format!(
                "with every change of the route; {} at the latest it is given up and parked",
                by(at, now)
            ),
            next_at: Some(at),
            commands: vec!["abort"],
        };
    }
    let from = if rollout.phase == Phase::Progressing { rollout.step_since } else { rollout.progress_at };
    let at = after(from, rollout.policy.progress_deadline);
    let said = trouble(rollout).map(|verdict| format!(": {verdict}")).unwrap_or_default();
    Answer {
        why: format!("{}, and its pods are not ready yet{said}", place(record, rollout)),
        unblocks: "the candidate's pods Ready".to_owned(),
        next: format!(
            "with every change of a pod; {} pods that started and are not ready fail it, pods that never started park it",
            by(at, now)
        ),
        next_at: Some(at),
        commands: vec!["abort"],
    }
}

/// How long the present stage is watched.
pub(in crate::cli) fn pause(rollout: &Rollout) -> Duration {
    people::wait(rollout).pause
}

fn observing(record: &Record, rollout: &Rollout, now: Timestamp) -> Answer {
    let stage = &rollout.stage;
    if let (Some(unknown), Some(since)) = (trouble(rollout), stage.unknown_since) {
        return unknown_gate(record, rollout, unknown, since, now);
    }
    let pause = pause(rollout);
    let left = pause.saturating_sub(stage.credited);
    let at = after(stage.credited_to.unwrap_or(now), left);
    let counted = if pause.is_zero() {
        "its gates are asked once".to_owned()
    } else {
        format!("{} of {} count so far", rough(stage.credited), rough(pause))
    };
    let said = trouble(rollout).map(|verdict| format!("; {verdict}")).unwrap_or_default();
    let then = match rollout.phase {
        Phase::Baking => "promoted",
        Phase::Progressing => "the next step",
        _ => "watched at 100 %",
    };
    Answer {
        why: format!("{}; {counted}{said}", place(record, rollout)),
        unblocks: "time in which samples are seen and no gate fails".to_owned(),
        next: format!("with the next sample; {then} {} at the earliest", by(at, now)),
        next_at: Some(at),
        commands: vec!["abort"],
    }
}

fn unknown_gate(
    record: &Record,
    rollout: &Rollout,
    unknown: &Verdict,
    since: Timestamp,
    now: Timestamp,
) -> Answer {
    let at = after(since, rollout.policy.rollback.unknown_timeout);
    let next = match rollout.policy.rollback.on_unknown {
        OnUnknown::Continue => "the other gates decide without it".to_owned(),
        OnUnknown::Hold | OnUnknown::Rollback => {
            format!("with the next sample; rolled back and parked {}", by(at, now))
        }
    };
    Answer {
        why: format!("{} and holds, because a gate cannot tell: {unknown}", place(record, rollout)),
        unblocks: "data for this gate; nothing is held against the version meanwhile".to_owned(),
        next,
        next_at: Some(at),
        commands: vec!["abort"],
    }
}

fn frozen(rollout: &Rollout, since: Timestamp, now: Timestamp) -> Answer {
    let at = after(since, PATIENCE);
    let said = trouble(rollout).map(|verdict| format!(": {verdict}")).unwrap_or_default();
    Answer {
        why: format!(
            "{} is frozen where it is, since a gate failed and rollback.auto is false{said}",
            name(rollout)
        ),
        unblocks: "a person's abort, or a newer version".to_owned(),
        next: format!("rolled back by itself {}", by(at, now)),
        next_at: Some(at),
        commands: vec!["abort"],
    }
}

fn rolling_back(record: &Record, rollout: &Rollout, ending: &Ending, now: Timestamp) -> Answer {
    let at = after(rollout.progress_at, rollout.policy.progress_deadline);
    let target = match &record.stable {
        Some(stable) => format!("back to {}", stable.version.revision.commit.short()),
        None => "and there is no earlier version to go back to".to_owned(),
    };
    let then = match ending.hold {
        Some(Hold::Held) => ", and the version is held",
        Some(Hold::Parked) => ", and the version is parked",
        None => "",
    };
    Answer {
        why: format!("{} is being taken back ({target}): {}", name(rollout), ending.verdict),
        unblocks: "nothing to do: it ends when stable's pods are ready".to_owned(),
        next: format!(
            "with every change of a pod; ends as {}{then}; if no pod is gained, the deadline is {}",
            ending.outcome.name(),
            by(at, now)
        ),
        next_at: Some(at),
        commands: vec![],
    }
}
