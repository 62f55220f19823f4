//! A gate that is a Job: what the Job and its pods say, and what that means. A version fails by what its container did; what kept the
//! container from running (quota, no node, no image, somebody who deleted it) is not known to be the version's doing.

use std::time::Duration;

use jiff::Timestamp;
use serde_json::Value;

use super::elapsed;
use super::words::last_words;
use crate::model::duration::rough;
use crate::model::observed::{Live, PodView};
use crate::model::rollout::JobRun;
use crate::model::verdict::{Answer, Gate, Verdict};

/// A Job of which nobody else's doing is the reason is made anew once.
const ATTEMPTS: u32 = 2;
/// How long a Job may be without a pod before that is told.
const NO_POD: Duration = Duration::from_mins(1);
/// Beyond a Job's deadline: who should have ended it is not there.
const GRACE: Duration = Duration::from_mins(2);
/// The end of a pod may be heard after that of its Job.
const LATE: Duration = Duration::from_secs(10);

/// What is seen of a gate's Job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Seen {
    /// It was not read.
    Unknown,
    /// It is certainly not there.
    Absent,
    /// It is not there, and the server refused it; or another object has its name. One clause.
    Refused(String),
    /// It is there.
    There {
        /// Its UID.
        uid: String,
        /// Whether a container of it was seen started.
        started: bool,
        /// How it stands.
        state: State,
    },
}

/// How a Job stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State {
    /// It runs, or is about to.
    Runs,
    /// It cannot start, or has not, and why.
    Stuck(String),
    /// Its container ended well.
    Complete,
    /// It failed, and what its container did.
    Failed(String),
    /// It was ended at its deadline.
    Late,
}

/// Reads a Job that is there, with its pods.
pub fn state(live: &Live, pods: &[&PodView], deadline: Duration, now: Timestamp) -> Seen {
    let started = pods.iter().any(|pod| pod.started);
    let there = |state| Seen::There { uid: live.uid.clone(), started, state };
    let object = live.object.as_ref();
    if condition(object, "Complete").is_some() {
        return there(State::Complete);
    }
    let Some(failed) = condition(object, "Failed") else {
        return there(going(object, pods, deadline, now));
    };
    let text = |name: &str| failed.get(name).and_then(Value::as_str).unwrap_or_default();
    if text("reason") == "DeadlineExceeded" {
        return there(State::Late);
    }
    let since = text("lastTransitionTime").parse::<Timestamp>().unwrap_or(now);
    let ended = pods.iter().filter(|pod| pod.terminated.is_some()).max_by_key(|pod| pod.created_at);
    there(match ended {
        Some(pod) => State::Failed(exit(pod)),
        None if elapsed(since, now) < LATE => State::Runs,
        None => State::Failed(format!("{}: {}", text("reason"), last_words(text("message")))),
    })
}

/// What its newest pod that ended did.
fn exit(pod: &PodView) -> String {
    let Some(end) = &pod.terminated else { return String::new() };
    let code = end.exit_code.map_or_else(String::new, |code| format!(" with code {code}"));
    let words = last_words(&end.message);
    let words = if words.is_empty() { words } else { format!(": {words}") };
    format!("pod {} ended{code} ({}){words}", pod.name, end.reason)
}

/// A Job that has not ended.
fn going(object: &Value, pods: &[&PodView], deadline: Duration, now: Timestamp) -> State {
    let time = |pointer: &str| object.pointer(pointer)?.as_str()?.parse::<Timestamp>().ok();
    let begun = time("/status/startTime").or_else(|| time("/metadata/creationTimestamp")).unwrap_or(now);
    let age = elapsed(begun, now);
    if age >= deadline.saturating_add(GRACE) {
        return State::Stuck(format!("it neither ended nor was ended within {}", rough(age)));
    }
    let stuck = pods
        .iter()
        .filter(|pod| !pod.ended && !pod.deleting)
        .find_map(|pod| Some(format!("pod {}: {}", pod.name, pod.why_not_running()?)));
    match stuck {
        Some(why) => State::Stuck(why),
        None if pods.is_empty() && age >= NO_POD => {
            State::Stuck(format!("no pod was made for it within {}; its events say why", rough(NO_POD)))
        }
        None => State::Runs,
    }
}

/// Returns the condition of a Job that holds.
pub fn condition<'a>(object: &'a Value, kind: &str) -> Option<&'a Value> {
    let is = |one: &&Value, name: &str, text: &str| one.get(name).and_then(Value::as_str) == Some(text);
    let all = object.pointer("/status/conditions")?.as_array()?;
    all.iter().find(|one| is(one, "type", kind) && is(one, "status", "True"))
}

/// Judges a gate by its Job: what is kept of it, and its verdict; none while it runs. A verdict that was given stays.
pub fn judge(
    gate: Gate,
    seen: &Seen,
    run: JobRun,
    before: Option<&Verdict>,
    deadline: Duration,
) -> (JobRun, Option<Verdict>) {
    if let Some(given) = before.filter(|verdict| verdict.answer != Answer::Unknown) {
        return (run, Some(given.clone()));
    }
    let unknown = |reason: String| Some(Verdict::unknown(gate, reason));
    let (uid, started, state) = match seen {
        Seen::Unknown => return (run, None),
        Seen::Refused(why) => return (run, unknown(format!("its Job cannot be made: {why}"))),
        Seen::Absent if run.uid.is_none() => return (run, None),
        Seen::Absent if run.attempt < ATTEMPTS => {
            let again = JobRun { attempt: run.attempt.saturating_add(1), ..JobRun::default() };
            return (again, unknown("its Job was deleted by somebody: it runs once more".to_owned()));
        }
        Seen::Absent => return (run, unknown("its Job was deleted by somebody, twice".to_owned())),
        Seen::There { uid, started, state } => (uid, *started, state),
    };
    let run = JobRun { uid: Some(uid.clone()), started: run.started || started, ..run };
    let late = || format!("did not end within {}", rough(deadline));
    let verdict = match state {
        State::Runs => None,
        State::Stuck(why) => unknown(format!("its Job cannot start: {why}")),
        State::Complete => Some(Verdict::pass(gate, "its Job completed")),
        State::Failed(what) => Some(Verdict::fail(gate, format!("its Job failed: {what}"))),
        State::Late if run.started => Some(Verdict::fail(gate, format!("its Job {}", late()))),
        State::Late => unknown(format!("its Job never started and {}", late())),
    };
    (run, verdict)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::json;

    use super::*;
    use crate::model::observed::Stopped;

    const DEADLINE: Duration = Duration::from_mins(10);

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn job(condition: Option<(&str, &str)>) -> Live {
        let condition = condition.map(|(kind, reason)| {
            json!({"type": kind, "status": "True", "reason": reason, "message": "m", "lastTransitionTime": at(0).to_string()})
        });
        let object = json!({"status": {"startTime": at(0).to_string(), "conditions": condition.into_iter().collect::<Vec<_>>()}});
        Live {
            uid: "u".into(),
            resource_version: "1".into(),
            managed: true,
            scaled: false,
            object: Arc::new(object),
        }
    }

    fn pod(change: impl FnOnce(&mut PodView)) -> PodView {
        let mut pod = PodView {
            name: "p".into(),
            uid: "p".into(),
            owner: "u".into(),
            created_at: at(0),
            ..PodView::default()
        };
        change(&mut pod);
        pod
    }

    fn said(live: &Live, pods: &[PodView], second: i64) -> String {
        let pods: Vec<&PodView> = pods.iter().collect();
        let seen = state(live, &pods, DEADLINE, at(second));
        let run = JobRun::first();
        judge(Gate::Declared, &seen, run, None, DEADLINE)
            .1
            .map_or("runs".to_owned(), |verdict| verdict.to_string())
    }

    #[test]
    fn a_version_fails_by_what_its_container_did_and_by_nothing_else() {
        let ended = |code: i32, message: &str| {
            let message = message.to_owned();
            vec![pod(|pod| {
                (pod.started, pod.ended) = (true, true);
                pod.terminated = Some(Stopped { reason: "Error".into(), message, exit_code: Some(code) });
            })]
        };
        let waits = vec![pod(|pod| {
            pod.waiting =
                Some(Stopped { reason: "ImagePullBackOff".into(), message: "no".into(), exit_code: None });
        })];
        let failed = job(Some(("Failed", "BackoffLimitExceeded")));
        let late = job(Some(("Failed", "DeadlineExceeded")));
        let runs = vec![pod(|pod| pod.started = true)];
        let no_room = vec![pod(|pod| pod.unschedulable = Some("0/3 nodes".into()))];
        for (live, pods, second, expected) in [
            (&job(None), &vec![], 5, "runs"),
            (&job(None), &runs, 5, "runs"),
            (
                &job(None),
                &vec![],
                60,
                "gate unknown: its Job cannot start: no pod was made for it within 1m; its events say why",
            ),
            (&job(None), &waits, 5, "gate unknown: its Job cannot start: pod p: ImagePullBackOff: no"),
            (&job(None), &no_room, 5, "gate unknown: its Job cannot start: pod p: 0/3 nodes"),
            (
                &job(None),
                &runs,
                720,
                "gate unknown: its Job cannot start: it neither ended nor was ended within 12m",
            ),
            (&job(Some(("Complete", ""))), &vec![], 5, "gate pass: its Job completed"),
            (
                &failed,
                &ended(3, "one\ntwo\n"),
                5,
                "gate fail: its Job failed: pod p ended with code 3 (Error): two",
            ),
            (&failed, &ended(3, ""), 5, "gate fail: its Job failed: pod p ended with code 3 (Error)"),
            (&failed, &vec![], 9, "runs"),
            (&failed, &vec![], 10, "gate fail: its Job failed: BackoffLimitExceeded: m"),
            (&late, &runs, 600, "gate fail: its Job did not end within 10m"),
            (&late, &waits, 600, "gate unknown: its Job never started and did not end within 10m"),
        ] {
            assert_eq!(said(live, pods, second), expected, "{live:?} {pods:?}");
        }
    }

    #[test]
    fn who_deletes_a_job_makes_it_run_once_more_and_no_more() {
        let first = JobRun::first();
        let (run, verdict) = judge(Gate::Declared, &Seen::Absent, first, None, DEADLINE);
        assert_eq!((run.attempt, verdict), (1, None), "it is about to be made");
        let there = state(&job(None), &[&pod(|pod| pod.started = true)], DEADLINE, at(1));
        let (run, _) = judge(Gate::Declared, &there, run, None, DEADLINE);
        assert!(run.started && run.uid.as_deref() == Some("u"));
        let (run, verdict) = judge(Gate::Declared, &Seen::Absent, run, None, DEADLINE);
        assert_eq!((run.attempt, run.uid.clone(), run.started), (2, None, false));
        assert_eq!(verdict.unwrap().answer, Answer::Unknown);
        let (run, _) = judge(Gate::Declared, &there, run, None, DEADLINE);
        let (run, verdict) = judge(Gate::Declared, &Seen::Absent, run, None, DEADLINE);
        assert_eq!((run.attempt, run.uid.is_some()), (2, true));
        assert_eq!(verdict.unwrap().to_string(), "gate unknown: its Job was deleted by somebody, twice");
    }

    #[test]
    fn a_verdict_that_was_given_stays_when_the_job_goes() {
        let run = JobRun { attempt: 1, uid: Some("u".into()), started: true };
        let passed = Verdict::pass(Gate::Declared, "its Job completed");
        assert_eq!(
            judge(Gate::Declared, &Seen::Absent, run.clone(), Some(&passed), DEADLINE),
            (run.clone(), Some(passed))
        );
        let unknown = Verdict::unknown(Gate::Declared, "x");
        assert_eq!(judge(Gate::Declared, &Seen::Absent, run, Some(&unknown), DEADLINE).0.attempt, 2);
    }
}
