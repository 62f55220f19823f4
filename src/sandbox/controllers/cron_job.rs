//! A CronJob: at each of its times a Job, as far as the one before and the deadline for a late start allow. It follows `pkg/controller/cronjob` of
//! Kubernetes 1.36, without its back-off after more than a hundred missed times.

use std::{sync::Arc, time::Duration};

use jiff::{Timestamp, tz::TimeZone};
use serde_json::{Value, json};

use super::{
    super::{api::ApiError, clock, json},
    Outcome,
    hands::{Hands, controller_reference, controls, is_going},
    history::name_of,
    job,
};
use crate::model::schedule::Schedule;

/// The annotation with the time that a Job was made for.
const SCHEDULED: &str = "batch.kubernetes.io/cronjob-scheduled-timestamp";
/// Times that are passed over at one look, when it was away for long.
const MISSED: usize = 100_000;

/// Brings one CronJob to what it asks for.
pub(super) fn sync(hands: &Hands, namespace: &str, name: &str) -> Outcome {
    let Some(cron) = hands.cron_job(namespace, name) else { return Outcome::Done };
    if is_going(&cron) {
        return Outcome::Done;
    }
    let jobs: Vec<Arc<Value>> = hands.all_jobs().into_iter().filter(|job| controls(&cron, job)).collect();
    let mut status = cron.get("status").cloned().unwrap_or_default();
    let looked = look(hands, &cron, &jobs, &mut status);
    let mut failed = looked.is_err() || tidy(hands, &cron, &jobs).is_err();
    if cron.get("status") != Some(&status) {
        let mut new = Value::clone(&cron);
        json::set(&mut new, &["status"], status);
        failed |= hands.update_cron_job_status(new).is_err();
    }
    match looked {
        _ if failed => Outcome::Failed,
        Ok(Some(wait)) => Outcome::Later(wait + Duration::from_millis(1)),
        _ => Outcome::Done,
    }
}

fn time_of(object: &Value, path: &[&str]) -> Option<Timestamp> {
    clock::parse_time(json::text(object, path))
}

fn has_succeeded(job: &Value) -> bool {
    time_of(job, &["status", "completionTime"]).is_some()
}

/// One look: the status, the Job whose time has come, and how long the next one is away.
fn look(
    hands: &Hands,
    cron: &Value,
    jobs: &[Arc<Value>],
    status: &mut Value,
) -> Result<Option<Duration>, ApiError> {
    let active: Vec<&Arc<Value>> = jobs.iter().filter(|job| !job::has_ended(job) && !is_going(job)).collect();
    let ends = jobs.iter().filter_map(|job| time_of(job, &["status", "completionTime"]));
    if let Some(last) = ends.max() {
        json::set(status, &["lastSuccessfulTime"], clock::seconds_text(last));
    }
    put_active(status, &active);
    if json::flag(cron, &["spec", "suspend"]) {
        return Ok(None);
    }
    let now = hands.now();
    let since =
        time_of(status, &["lastScheduleTime"]).or_else(|| time_of(cron, &["metadata", "creationTimestamp"]));
    let (due, next) = times(cron, since.unwrap_or(now), now);
    let wait = next.map(|next| clock::elapsed(now, next));
    let late = |due: Timestamp| {
        let most = json::int(cron, &["spec", "startingDeadlineSeconds"]);
        most.is_some_and(|most| clock::elapsed(due, now) > Duration::from_secs(most.unsigned_abs()))
    };
    let Some(due) = due.filter(|due| !late(*due)) else { return Ok(wait) };
    match json::text(cron, &["spec", "concurrencyPolicy"]) {
        // It is looked at again when the one before has ended.
        "Forbid" if !active.is_empty() => return Ok(wait),
        "Replace" => active.iter().try_for_each(|job| hands.delete_job(job).map(drop))?,
        _ => {}
    }
    let namespace = json::text(cron, &["metadata", "namespace"]);
    let made = match hands.create_job(namespace, new_job(cron, due)) {
        Err(error) if error.code == 409 => None,
        other => Some(other?),
    };
    json::set(status, &["lastScheduleTime"], clock::seconds_text(due));
    let replaced = json::text(cron, &["spec", "concurrencyPolicy"]) == "Replace";
    let mut running = if replaced { Vec::new() } else { active };
    running.extend(&made);
    put_active(status, &running);
    Ok(wait)
}

/// The newest time after `since` that has come, and the first that has not.
fn times(cron: &Value, since: Timestamp, now: Timestamp) -> (Option<Timestamp>, Option<Timestamp>) {
    let zone = json::text_opt(cron, &["spec", "timeZone"]).map(TimeZone::get);
    let zone = zone.and_then(Result::ok).unwrap_or(TimeZone::UTC);
    let Ok(schedule) = json::text(cron, &["spec", "schedule"]).parse::<Schedule>() else {
        return (None, None);
    };
    let mut at = zone.to_datetime(since);
    let mut due = None;
    for _ in 0..MISSED {
        let Some(next) = schedule.next(at) else { break };
        let Ok(time) = zone.to_timestamp(next) else { break };
        if time > now {
            return (due, Some(time));
        }
        (at, due) = (next, Some(time));
    }
    (due, None)
}

/// The Job of a time: its name is a function of it, so that none is made twice.
fn new_job(cron: &Value, due: Timestamp) -> Value {
    let part = |name: &str| json::at(cron, &["spec", "jobTemplate", "metadata", name]).cloned();
    let mut job = json!({
        "metadata": {
            "name": format!("{}-{}", name_of(cron), due.as_second() / 60),
            "ownerReferences": [controller_reference(cron, "CronJob")],
            "labels": part("labels").unwrap_or_else(|| json!({})),
            "annotations": part("annotations").unwrap_or_else(|| json!({})),
        },
        "spec": json::at(cron, &["spec", "jobTemplate", "spec"]).cloned().unwrap_or_default(),
    });
    json::set(&mut job, &["metadata", "annotations", SCHEDULED], clock::seconds_text(due));
    job
}

fn put_active(status: &mut Value, jobs: &[&Arc<Value>]) {
    let reference = |job: &&Arc<Value>| {
        json!({"apiVersion": "batch/v1", "kind": "Job", "name": name_of(job),
            "namespace": json::text(job, &["metadata", "namespace"]), "uid": json::text(job, &["metadata", "uid"])})
    };
    if jobs.is_empty() {
        json::remove(status, &["active"]);
    } else {
        json::set(status, &["active"], Value::from(jobs.iter().map(reference).collect::<Vec<_>>()));
    }
}

/// Deletes the oldest Jobs beyond what is to be left of those that ended well, and of the others.
fn tidy(hands: &Hands, cron: &Value, jobs: &[Arc<Value>]) -> Result<(), ApiError> {
    for (well, limit) in [(true, "successfulJobsHistoryLimit"), (false, "failedJobsHistoryLimit")] {
        let ended = |job: &&Arc<Value>| job::has_ended(job) && has_succeeded(job) == well && !is_going(job);
        let mut ended: Vec<&Arc<Value>> = jobs.iter().filter(ended).collect();
        ended.sort_by_key(|job| (time_of(job, &["status", "startTime"]), name_of(job).to_owned()));
        let limit = json::int(cron, &["spec", limit])
            .and_then(|limit| usize::try_from(limit).ok())
            .unwrap_or(usize::MAX);
        let surplus = ended.len().saturating_sub(limit);
        for job in ended.into_iter().take(surplus) {
            hands.delete_job(job)?;
        }
    }
    Ok(())
}
