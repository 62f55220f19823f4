//! Records as values, and what their commits are told.

use std::sync::Arc;

use serde_json::{Value, json};

use super::*;
use crate::event::catalogue::stories::{failing, version};
use crate::event::outbox::tests::record;
use crate::model::rollout::{HeldVersion, Hold};

const COMMIT: &str = "8f4e2d1c0b9a8f7e6d5c4b3a29181706f5e4d3c2";

fn key() -> ReleaseKey {
    "hello.production".parse().unwrap()
}

fn policy() -> Value {
    json!({
        "strategy": "canary",
        "steps": [{"weight": 10, "pause": "1m"}, {"weight": 50, "pause": "1m"}, {"weight": 100, "pause": "1m"}],
        "progress_deadline": "10m", "image_wait": "10m", "max_surge": {"count": 1}, "max_unavailable": {"count": 0},
        "health": {
            "kind": "tcp", "port": 8080, "interval": "10s", "timeout": "2s", "threshold": 3, "success_threshold": 1,
            "initial_delay": "0s",
        },
        "rollback": {
            "auto": true, "max_restarts": 2, "min_requests": 100, "window": "1m", "on_low_traffic": "pass",
            "on_unknown": "hold", "unknown_timeout": "1h", "hold": true, "history": 5,
        },
    })
}

/// A rollout of version b at its second step, whose error rate fails.
pub fn rollout() -> Rollout {
    let noon = "2026-03-01T12:00:00Z";
    serde_json::from_value(json!({
        "number": 7, "candidate": {"ready": version("b")}, "first": false, "policy": policy(),
        "phase": "Progressing", "phase_since": noon, "started_at": noon, "step": 1, "step_since": noon,
        "progress_at": noon, "stage": {"number": 1, "verdicts": {"error_rate": failing()}},
    }))
    .unwrap()
}

fn head(digit: &str) -> HeadSeen {
    HeadSeen {
        commit: "1".repeat(40),
        identity: version(digit).identity,
        subject: "later".into(),
        seen_at: jiff::Timestamp::UNIX_EPOCH,
    }
}

fn ended(outcome: Outcome) -> Summary {
    let at = jiff::Timestamp::UNIX_EPOCH;
    Summary {
        identity: version("b").identity,
        revision: version("b").revision,
        image: None,
        outcome,
        verdict: failing().to_string(),
        started_at: at,
        ended_at: at,
        steps: 1,
        log: Arc::default(),
    }
}

fn said(record: &Record, commit: &str) -> Option<(State, String)> {
    let status = statuses_of(&key(), record, None).remove(commit)?;
    assert_eq!(status.context, "idp/production/hello");
    assert!(status.description.chars().count() <= 140);
    Some((status.state, status.description))
}

#[test]
fn a_running_rollout_is_pending_with_what_it_waits_for() {
    let cases = [
        (Phase::Preparing, "rollout 7: waits for its turn"),
        (Phase::Progressing, "rollout 7: step 2 of 3, 50 %"),
        (Phase::Promoting, "rollout 7: all pods take the new version"),
        (Phase::Baking, "rollout 7: all pods run the new version, the gates still watch"),
    ];
    for (phase, text) in cases {
        let mut record = record();
        record.rollout = Some(Rollout { phase, ..rollout() });
        assert_eq!(said(&record, COMMIT), Some((State::Pending, text.to_owned())));
    }
}

#[test]
fn a_failed_verdict_is_told_at_once_with_its_numbers() {
    let mut record = record();
    let ending =
        json!({"outcome": "RolledBack", "hold": "held", "verdict": failing(), "at": "2026-03-01T12:00:00Z"});
    let ending = Some(serde_json::from_value(ending).unwrap());
    record.rollout = Some(Rollout { phase: Phase::RollingBack, ending, ..rollout() });
    let (state, text) = said(&record, COMMIT).unwrap();
    assert_eq!(state, State::Failure);
    assert!(text.starts_with("rollout 7 is being taken back: error_rate fail: "), "{text}");
    assert!(text.contains("value 5.10 %"), "{text}");
}

#[test]
fn an_ended_rollout_says_how_it_ended() {
    let cases = [
        (Outcome::Promoted, State::Success, "rollout 7 was promoted"),
        (Outcome::RolledBack, State::Failure, "rolled back: error_rate fail"),
        (Outcome::Aborted, State::Failure, "aborted: "),
        (Outcome::Failed, State::Failure, "failed: "),
        (Outcome::Superseded, State::Failure, "rollout 7 was superseded by a newer commit"),
    ];
    for (outcome, state, text) in cases {
        let mut record = record();
        record.history.insert(6, ended(Outcome::Promoted));
        record.history.insert(7, ended(outcome));
        let (found, sentence) = said(&record, COMMIT).unwrap();
        assert_eq!(found, state, "{outcome:?}");
        assert!(sentence.starts_with(text), "{sentence}");
    }
}

#[test]
fn a_head_is_stable_already_or_held_or_waits() {
    let head_commit = "1".repeat(40);
    let mut record = record();
    record.head = Some(head("c"));
    assert_eq!(said(&record, &head_commit).unwrap().0, State::Pending);
    record.rollout = Some(rollout());
    assert_eq!(
        said(&record, &head_commit),
        Some((State::Pending, "waits for the end of rollout 7".to_owned()))
    );
    record.rollout = None;
    let mut held = HeldVersion {
        identity: version("c").identity,
        hold: Hold::Held,
        verdict: failing(),
        since: jiff::Timestamp::UNIX_EPOCH,
        times: 0,
        not_before: None,
        released: false,
    };
    record.held.insert(5, held.clone());
    assert_eq!(said(&record, &head_commit).unwrap().0, State::Failure);
    held.released = true;
    record.held.insert(5, held);
    assert_eq!(said(&record, &head_commit).unwrap().0, State::Pending);
    record.mode = Mode::Observe;
    assert_eq!(said(&record, &head_commit), None);
    let stable = json!({"rollout": 4, "version": version("c"), "since": "2026-03-01T12:00:00Z"});
    record.stable = Some(serde_json::from_value(stable).unwrap());
    assert_eq!(said(&record, &head_commit).unwrap().0, State::Success);
}

#[test]
fn problems_of_a_commit_are_one_status_cut_to_size() {
    let problem = |path: Option<&str>, commit: Option<&str>, message: &str| SourceProblem {
        path: path.map(str::to_owned),
        commit: commit.map(str::to_owned),
        message: message.to_owned(),
    };
    let source = "hello".parse().unwrap();
    let statuses = statuses_of_problems(
        &source,
        &[
            problem(Some(".idp/deploy.yaml"), Some(COMMIT), &format!("line 3\n{}", "é".repeat(200))),
            problem(None, Some(COMMIT), "second"),
            problem(None, None, "the repository refuses"),
        ],
        Some("https://idp.example.com/sources/hello"),
    );
    assert_eq!(statuses.len(), 1);
    let status = &statuses[COMMIT];
    assert_eq!((status.state, status.context.as_str()), (State::Failure, "idp/hello"));
    assert!(
        status.description.starts_with("2 problems: .idp/deploy.yaml: line 3 éé"),
        "{}",
        status.description
    );
    assert_eq!((status.description.chars().count(), status.description.chars().last()), (140, Some('…')));
    assert_eq!(status.target_url.as_deref(), Some("https://idp.example.com/sources/hello"));
}
