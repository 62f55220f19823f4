//! Records as literals for this room's tests.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::fleet::ReleaseView;
use crate::model::record::Record;

/// Noon, the time of every test.
pub fn noon() -> Timestamp {
    "2026-01-01T12:00:00Z".parse().unwrap()
}

fn revision(digit: char, subject: &str) -> Value {
    json!({
        "commit": digit.to_string().repeat(40), "committed_at": "2026-01-01T11:00:00Z", "author": "Ann",
        "subject": subject, "repository": "https://git.example.com/web.git"
    })
}

fn version(digit: char, subject: &str) -> Value {
    json!({
        "identity": format!("1-{}", digit.to_string().repeat(16)), "revision": revision(digit, subject), "platform": "p",
        "image": {"repository": "registry.example.com/web/hello", "tag": digit.to_string().repeat(7),
                  "digest": format!("sha256:{}", digit.to_string().repeat(64))}
    })
}

/// A release that runs version `a`.
pub fn stable() -> Value {
    json!({
        "schema": 1, "epoch": 1, "environment": "production", "team": "web", "source": "shop", "mode": "apply",
        "sequence": 9, "replicas": 3, "rollouts": 6, "phase": "Stable", "health": "Healthy", "sync": "Synced",
        "revision": "aaaaaaaaaa", "message": "all is as declared",
        "head": {"commit": "a".repeat(40), "identity": "1-aaaaaaaaaaaaaaaa", "subject": "good", "seen_at": "2026-01-01T11:00:00Z"},
        "stable": {"rollout": 6, "version": version('a', "good"), "since": "2026-01-01T10:00:00Z"},
        "history": {"6": {"identity": "1-aaaaaaaaaaaaaaaa", "revision": revision('a', "good"), "outcome": "Promoted",
            "verdict": "all gates passed", "started_at": "2026-01-01T09:50:00Z", "ended_at": "2026-01-01T10:00:00Z", "steps": 3}}
    })
}

fn policy() -> Value {
    json!({
        "strategy": "canary",
        "steps": [{"weight": 10, "pause": "5m"}, {"weight": 50, "pause": "10m"}, {"weight": 100, "pause": "2m"}],
        "progress_deadline": "10m", "image_wait": "15m", "max_surge": {"percent": 25}, "max_unavailable": {"count": 0},
        "health": {"kind": {"http": {"path": "/health", "tls": false, "status": [[200, 399]]}}, "port": 8080,
            "interval": "10s", "timeout": "2s", "threshold": 3, "success_threshold": 1, "initial_delay": "0s"},
        "rollback": {"auto": true, "max_error_rate": 0.01, "max_restarts": 2, "min_requests": 100, "window": "2m",
            "on_low_traffic": "pass", "on_unknown": "hold", "unknown_timeout": "1h", "hold": true, "history": 10}
    })
}

/// [`stable`] with rollout 7 of version `b` in a phase, begun at 11:50, in this phase and step since 11:55.
pub fn rolling(phase: &str) -> Value {
    let mut record = stable();
    record["head"]["identity"] = json!("1-bbbbbbbbbbbbbbbb");
    record["head"]["commit"] = json!("b".repeat(40));
    record["sync"] = json!("OutOfSync");
    record["health"] = json!("Progressing");
    record["phase"] = json!(phase);
    record["rollouts"] = json!(7);
    record["message"] = json!("");
    (record["weight"], record["real_weight"]) = (json!(10), json!(25));
    record["rollout"] = json!({
        "number": 7, "candidate": {"ready": version('b', "new")}, "first": false, "policy": policy(), "phase": phase,
        "phase_since": "2026-01-01T11:55:00Z", "started_at": "2026-01-01T11:50:00Z", "step": 0,
        "step_since": "2026-01-01T11:55:00Z", "progress_at": "2026-01-01T11:56:00Z",
        "stage": {"number": 1, "verdicts": {}}
    });
    record
}

/// [`rolling`] in Preparing, its image not known.
pub fn waiting_for_image() -> Value {
    let mut record = rolling("Preparing");
    record["rollout"]["candidate"] = json!({"waiting": {"identity": "1-bbbbbbbbbbbbbbbb", "revision": revision('b', "new"), "platform": "p",
            "image": {"repository": "registry.example.com/hello", "wanted": {"tags": ["bbbbbbb"]}}}});
    record["rollout"]["stage"]["verdicts"] = json!({"image": {"gate": "image", "answer": "unknown",
        "reason": "the registry has none of the tags bbbbbbb"}});
    (record["weight"], record["real_weight"]) = (json!(0), json!(0));
    record
}

/// [`rolling`] in Progressing, ready and watched since 11:57.
pub fn watched() -> Value {
    let mut record = rolling("Progressing");
    record["rollout"]["stage"] = json!({"number": 1, "ready_at": "2026-01-01T11:57:00Z", "credited": "3m",
        "credited_to": "2026-01-01T12:00:00Z", "verdicts": {
            "error_rate": {"gate": "error_rate", "answer": "pass", "reason": "few requests fail",
                "numbers": {"value": 0.001, "limit": 0.01, "samples": 1000, "window_seconds": 120}},
            "pod_state": {"gate": "pod_state", "answer": "pass", "reason": "no restarts"}}});
    record
}

/// [`watched`] with a gate that cannot tell since 11:58.
pub fn unknown_gate() -> Value {
    let mut record = watched();
    record["rollout"]["stage"]["unknown_since"] = json!("2026-01-01T11:58:00Z");
    record["rollout"]["stage"]["verdicts"]["error_rate"] =
        json!({"gate": "error_rate", "answer": "unknown", "reason": "not scraped"});
    record
}

/// The verdict that ends the bad rollouts of the tests.
pub fn failing() -> Value {
    json!({"gate": "error_rate", "answer": "fail", "reason": "too many requests fail",
        "numbers": {"value": 0.051, "limit": 0.01, "samples": 1234, "window_seconds": 120}})
}

/// [`rolling`] on the way back from a failed gate.
pub fn going_back() -> Value {
    let mut record = rolling("RollingBack");
    record["rollout"]["ending"] =
        json!({"outcome": "RolledBack", "hold": "held", "verdict": failing(), "at": "2026-01-01T11:55:00Z"});
    (record["weight"], record["real_weight"]) = (json!(0), json!(25));
    record
}

/// Back at version `a`; the head asks for `b`, which is held or parked.
pub fn not_again(hold: &str, times: u32, not_before: Option<&str>) -> Value {
    let mut record = rolling("Stable");
    record.as_object_mut().unwrap().remove("rollout");
    (record["weight"], record["real_weight"]) = (json!(0), json!(0));
    record["health"] = json!("Healthy");
    record["held"] = json!({"7": {"identity": "1-bbbbbbbbbbbbbbbb", "hold": hold, "verdict": failing(),
        "since": "2026-01-01T11:58:00Z", "times": times, "not_before": not_before}});
    record["history"]["7"] = json!({"identity": "1-bbbbbbbbbbbbbbbb", "revision": revision('b', "new"),
        "outcome": "RolledBack", "verdict": "error_rate fail: too many requests fail",
        "started_at": "2026-01-01T11:50:00Z", "ended_at": "2026-01-01T11:58:00Z", "steps": 1});
    record
}

/// Reads a literal.
pub fn record(status: &Value) -> Record {
    serde_json::from_value(status.clone()).unwrap()
}

/// A release `hello.production` with this status, a day old.
pub fn view(status: &Value) -> ReleaseView {
    let object = json!({
        "apiVersion": "idp.dev/v1alpha1", "kind": "Release",
        "metadata": {"name": "hello", "namespace": "web", "labels": {"idp.dev/environment": "production"},
            "creationTimestamp": "2025-12-31T12:00:00Z"},
        "status": status
    });
    ReleaseView::of(&serde_json::from_value(object).unwrap())
}
