//! A Job: pods until enough of them ended well, or too many badly, or its time is over. What a genuine one also does and nobody here
//! asks for is left out: indexes, success policies, rules by exit code, finalizers on its pods, the deletion of old Jobs.

use std::{sync::Arc, time::Duration};

use jiff::Timestamp;
use serde_json::{Value, json};

use super::{
    super::{api::ApiError, clock, json},
    Outcome, conditions,
    hands::{Hands, claim, is_going},
    pods, replica_set,
};

/// The wait before the first pod that takes the place of a failed one; it doubles.
const BACK_OFF: Duration = Duration::from_secs(10);

/// Its pods as they count.
struct Count<'a> {
    active: Vec<&'a Arc<Value>>,
    going: usize,
    ready: usize,
    succeeded: usize,
    failed: usize,
    /// When the newest failed pod ended.
    failed_at: Option<Timestamp>,
}

/// Brings one Job to what it asks for.
pub(super) fn sync(hands: &Hands, namespace: &str, name: &str) -> Outcome {
    let Some(job) = hands.job(namespace, name) else { return Outcome::Done };
    if is_going(&job) || has_ended(&job) {
        return Outcome::Done;
    }
    let mine = claim(&job, "Job", hands.pods(namespace), |pod| hands.update_pod(pod));
    let count = count(&job, &mine);
    let mut status = job.get("status").cloned().unwrap_or_default();
    let looked = look(hands, &job, &count, &mut status);
    let mut failed = looked.is_err();
    if job.get("status") != Some(&status) {
        let mut new = (*job).clone();
        json::set(&mut new, &["status"], status);
        failed |= hands.update_job_status(new).is_err();
    }
    match looked {
        _ if failed => Outcome::Failed,
        Ok(Some(wait)) => Outcome::Later(wait + Duration::from_millis(1)),
        _ => Outcome::Done,
    }
}

pub(super) fn has_ended(job: &Value) -> bool {
    let ended = |one: &Value| {
        matches!(json::text(one, &["type"]), "Complete" | "Failed") && json::text(one, &["status"]) == "True"
    };
    json::list(job, &["status", "conditions"]).iter().any(ended)
}

fn count<'a>(job: &Value, mine: &'a [Arc<Value>]) -> Count<'a> {
    let phase = |pod: &Value| json::text(pod, &["status", "phase"]).to_owned();
    let counts = |pod: &&Arc<Value>| phase(pod) == "Failed" && !is_ignored(job, pod);
    let number = |holds: &dyn Fn(&Arc<Value>) -> bool| mine.iter().filter(|pod| holds(pod)).count();
    Count {
        active: mine.iter().filter(|pod| pods::is_active(pod)).collect(),
        going: number(&|pod| is_going(pod) && !pods::has_ended(pod)),
        ready: number(&|pod| pods::is_active(pod) && pods::is_ready(pod)),
        succeeded: number(&|pod| phase(pod) == "Succeeded"),
        failed: mine.iter().filter(counts).count(),
        failed_at: mine.iter().filter(counts).filter_map(|pod| ended_at(pod)).max(),
    }
}

fn ended_at(pod: &Value) -> Option<Timestamp> {
    let containers = json::list(pod, &["status", "containerStatuses"]).iter();
    containers
        .filter_map(|one| clock::parse_time(json::text(one, &["state", "terminated", "finishedAt"])))
        .max()
}

/// Whether the Job's policy says that such an end does not count.
fn is_ignored(job: &Value, pod: &Value) -> bool {
    let holds = |kind: &str| {
        json::list(pod, &["status", "conditions"])
            .iter()
            .any(|one| json::text(one, &["type"]) == kind && json::text(one, &["status"]) == "True")
    };
    json::list(job, &["spec", "podFailurePolicy", "rules"]).iter().any(|rule| {
        json::text(rule, &["action"]) == "Ignore"
            && json::list(rule, &["onPodConditions"]).iter().any(|one| holds(json::text(one, &["type"])))
    })
}

/// One look: what the status is to be, and when to look again.
fn look(
    hands: &Hands,
    job: &Arc<Value>,
    count: &Count<'_>,
    status: &mut Value,
) -> Result<Option<Duration>, ApiError> {
    let number = |name: &str| json::int(job, &["spec", name]).and_then(|n| usize::try_from(n).ok());
    if json::flag(job, &["spec", "suspend"]) {
        end_pods(hands, count)?;
        json::remove(status, &["startTime"]);
        put_counts(status, count, 0);
        turn(hands, status, "Suspended", "True", ("JobSuspended", "Job suspended"));
        return Ok(None);
    }
    if json::at(status, &["startTime"]).is_none() {
        json::set(status, &["startTime"], hands.now_text());
    }
    if json::list(status, &["conditions"]).iter().any(|one| json::text(one, &["type"]) == "Suspended") {
        turn(hands, status, "Suspended", "False", ("JobResumed", "Job resumed"));
    }
    let wanted = number("completions").unwrap_or(1);
    let deadline = remaining(hands, job, status);
    let end = if count.succeeded >= wanted {
        Some(("Complete", "CompletionsReached", "Reached expected number of succeeded pods"))
    } else if count.failed > number("backoffLimit").unwrap_or(6) {
        Some(("Failed", "BackoffLimitExceeded", "Job has reached the specified backoff limit"))
    } else if deadline.is_some_and(|rest| rest.is_zero()) {
        Some(("Failed", "DeadlineExceeded", "Job was active longer than specified deadline"))
    } else {
        None
    };
    if let Some((kind, reason, message)) = end {
        end_pods(hands, count)?;
        put_counts(status, count, 0);
        if kind == "Complete" {
            json::set(status, &["completionTime"], hands.now_text());
        }
        turn(hands, status, kind, "True", (reason, message));
        return Ok(None);
    }
    let (mut active, mut wait) = (count.active.len() + count.going, deadline);
    let parallel = number("parallelism").unwrap_or(1).min(wanted.saturating_sub(count.succeeded));
    let rest = back_off(hands, count);
    if active < parallel && !rest.is_zero() {
        wait = Some(wait.map_or(rest, |wait| wait.min(rest)));
    } else {
        let namespace = json::text(job, &["metadata", "namespace"]);
        while active < parallel {
            hands.create_pod(namespace, replica_set::new_pod(job, "Job"))?;
            active += 1;
        }
    }
    put_counts(status, count, active - count.going);
    Ok(wait)
}

/// The time until its deadline, if it has one.
fn remaining(hands: &Hands, job: &Value, status: &Value) -> Option<Duration> {
    let seconds = json::int(job, &["spec", "activeDeadlineSeconds"])?;
    let begun = clock::parse_time(json::text(status, &["startTime"]))?;
    let deadline = hands.scaled(Duration::from_secs(seconds.unsigned_abs()));
    Some(deadline.saturating_sub(clock::elapsed(begun, hands.now())))
}

/// The time until a pod may take the place of one that failed.
fn back_off(hands: &Hands, count: &Count<'_>) -> Duration {
    let Some(since) = count.failed_at else { return Duration::ZERO };
    let doubled = u32::try_from(count.failed).unwrap_or(u32::MAX).saturating_sub(1).min(5);
    let wait = hands.scaled(BACK_OFF.saturating_mul(1 << doubled));
    wait.saturating_sub(clock::elapsed(since, hands.now()))
}

fn end_pods(hands: &Hands, count: &Count<'_>) -> Result<(), ApiError> {
    for pod in &count.active {
        match hands.delete_pod(pod) {
            Err(error) if error.code != 404 => return Err(error),
            _ => {}
        }
    }
    Ok(())
}

fn put_counts(status: &mut Value, count: &Count<'_>, active: usize) {
    let number = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
    let ready = if active == 0 { 0 } else { count.ready };
    let map = json::as_map(status);
    conditions::count(map, "active", number(active));
    conditions::count(map, "succeeded", number(count.succeeded));
    conditions::count(map, "failed", number(count.failed));
    map.insert("ready".to_owned(), number(ready).into());
    map.insert("terminating".to_owned(), number(count.going).into());
    map.insert("uncountedTerminatedPods".to_owned(), json!({}));
}

fn turn(hands: &Hands, status: &mut Value, kind: &str, word: &str, (reason, message): (&str, &str)) {
    let mut condition = conditions::new(kind, word, reason, message, &hands.now_text());
    json::remove(&mut condition, &["lastUpdateTime"]);
    conditions::set(status, condition);
}
