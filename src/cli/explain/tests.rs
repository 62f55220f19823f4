//! What `idp explain` says in each state, word for word.

use serde_json::{Value, json};

use super::super::fixtures::{self as at, noon, record, view};
use super::*;

fn check(status: &Value, why: &str, unblocks: &str, next: &str, next_at: Option<&str>) -> Explanation {
    let explanation = explain("hello.production", &record(status), noon());
    assert_eq!(explanation.why, why);
    assert_eq!(explanation.unblocks, unblocks);
    assert_eq!(explanation.next, next);
    assert_eq!(explanation.next_at.map(|at| at.to_string()).as_deref(), next_at);
    explanation
}

#[test]
fn stable() {
    let explanation = check(
        &at::stable(),
        "all is as declared: aaaaaaaaaa is stable for 2h",
        "nothing to do",
        "with the next commit, or when one of its objects changes",
        None,
    );
    assert_eq!(explanation.phase, "Stable");
    let last = "rollout #6 of aaaaaaaaaa ended 2h ago as Promoted: all gates passed";
    assert_eq!(explanation.last.as_deref(), Some(last));
    let mut degraded = at::stable();
    (degraded["health"], degraded["message"]) = (json!("Degraded"), json!("0 of 3 pods ready"));
    check(
        &degraded,
        "aaaaaaaaaa is stable for 2h, but it is Degraded: 0 of 3 pods ready",
        "pods that get well, or a commit that mends them",
        "with the next commit, or when one of its objects changes",
        None,
    );
}

#[test]
fn invalid_and_headless() {
    let mut status = at::stable();
    (status["sync"], status["message"]) = (json!("Invalid"), json!("line 3: unknown key `replica`"));
    check(
        &status,
        "the newest declaration cannot be used, and aaaaaaaaaa is stable for 2h: line 3: unknown key `replica`",
        "a commit that mends the file; `idp validate` shows what is wrong before it is pushed",
        "with the next commit of the source",
        None,
    );
    let mut status = at::stable();
    status.as_object_mut().unwrap().remove("head");
    status["message"] = json!("");
    check(
        &status,
        "the daemon has not seen the source's newest commit, and aaaaaaaaaa is stable for 2h",
        "a source that answers; `idp status` shows what is wrong with it",
        "with the next look at the source; until then nothing new starts and nothing is deleted",
        None,
    );
}

#[test]
fn preparing() {
    let explanation = check(
        &at::waiting_for_image(),
        "rollout #7 (bbbbbbbbbb) waits for its image: the registry has none of the tags bbbbbbb",
        "the image in the registry, or a newer commit",
        "the registry is asked again and again; given up and parked in 10m (12:10:00 UTC)",
        Some("2026-01-01T12:10:00Z"),
    );
    assert_eq!(explanation.commands, ["idp rollout abort hello.production"]);
    let mut status = at::rolling("Preparing");
    status["message"] = json!("3 of 3 places are taken");
    check(
        &status,
        "rollout #7 (bbbbbbbbbb) has its image and waits to start: 3 of 3 places are taken",
        "a free place among the rollouts of this environment",
        "as soon as another rollout ends",
        None,
    );
}

#[test]
fn progressing() {
    check(
        &at::rolling("Progressing"),
        "rollout #7 (bbbbbbbbbb) is at step 1 of 3 (asked 10 %, real 25 %), and its pods are not ready yet",
        "the candidate's pods Ready",
        "with every change of a pod; in 5m (12:05:00 UTC) pods that started and are not ready fail it, pods that never started park it",
        Some("2026-01-01T12:05:00Z"),
    );
    let explanation = check(
        &at::watched(),
        "rollout #7 (bbbbbbbbbb) is at step 1 of 3 (asked 10 %, real 25 %); 3m of 5m count so far",
        "time in which samples are seen and no gate fails",
        "with the next sample; the next step in 2m (12:02:00 UTC) at the earliest",
        Some("2026-01-01T12:02:00Z"),
    );
    assert_eq!(
        explanation.verdicts,
        [
            "error_rate pass: few requests fail (value 0.10 %, limit 1.00 %, 1000 samples, over 2m)",
            "pod_state pass: no restarts"
        ]
    );
    check(
        &at::unknown_gate(),
        "rollout #7 (bbbbbbbbbb) is at step 1 of 3 (asked 10 %, real 25 %) and holds, because a gate cannot tell: error_rate unknown: not scraped",
        "data for this gate; nothing is held against the version meanwhile",
        "with the next sample; rolled back and parked in 58m (12:58:00 UTC)",
        Some("2026-01-01T12:58:00Z"),
    );
    let mut status = at::watched();
    status["rollout"]["frozen_since"] = json!("2026-01-01T11:30:00Z");
    status["rollout"]["stage"]["verdicts"]["error_rate"] = at::failing();
    check(
        &status,
        "rollout #7 (bbbbbbbbbb) is frozen where it is, since a gate failed and rollback.auto is false: error_rate fail: too many requests fail (value 5.10 %, limit 1.00 %, 1234 samples, over 2m)",
        "a person's abort, or a newer version",
        "rolled back by itself in 23h30m (2026-01-02 11:30 UTC)",
        Some("2026-01-02T11:30:00Z"),
    );
}

#[test]
fn promoting_and_baking() {
    check(
        &at::rolling("Promoting"),
        "rollout #7 (bbbbbbbbbb) takes over stable's pods, and its pods are not ready yet",
        "the candidate's pods Ready",
        "with every change of a pod; in 6m (12:06:00 UTC) pods that started and are not ready fail it, pods that never started park it",
        Some("2026-01-01T12:06:00Z"),
    );
    let mut status = at::watched();
    status["rollout"]["phase"] = json!("Baking");
    status["rollout"]["stage"]["credited"] = json!("30s");
    check(
        &status,
        "rollout #7 (bbbbbbbbbb) has all pods and is being watched; 30s of 2m count so far",
        "time in which samples are seen and no gate fails",
        "with the next sample; promoted in 1m30s (12:01:30 UTC) at the earliest",
        Some("2026-01-01T12:01:30Z"),
    );
}

#[test]
fn rolling_back() {
    check(
        &at::going_back(),
        "rollout #7 (bbbbbbbbbb) is being taken back (back to aaaaaaaaaa): error_rate fail: too many requests fail (value 5.10 %, limit 1.00 %, 1234 samples, over 2m)",
        "nothing to do: it ends when stable's pods are ready",
        "with every change of a pod; ends as RolledBack, and the version is held; if no pod is gained, the deadline is in 6m (12:06:00 UTC)",
        Some("2026-01-01T12:06:00Z"),
    );
}

#[test]
fn held_and_parked() {
    let verdict =
        "error_rate fail: too many requests fail (value 5.10 %, limit 1.00 %, 1234 samples, over 2m)";
    let explanation = check(
        &at::not_again("held", 1, None),
        &format!(
            "bbbbbbbbbb is held and does not start again, because {verdict}; aaaaaaaaaa is stable for 2h"
        ),
        "a commit that changes the version, or `retry` for a second chance of this one",
        "nothing by itself",
        None,
    );
    assert_eq!(explanation.commands, ["idp rollout retry hello.production"]);
    assert_eq!(explanation.held, [format!("1-bbbbbbbbbb (held for 2m, rollout #7): {verdict}")]);
    check(
        &at::not_again("parked", 2, Some("2026-01-01T12:20:00Z")),
        &format!("bbbbbbbbbb is parked, because nothing was proven: {verdict}; aaaaaaaaaa is stable for 2h"),
        "time, `retry`, or a commit that changes the version",
        "tried again in 20m (12:20:00 UTC)",
        Some("2026-01-01T12:20:00Z"),
    );
    check(
        &at::not_again("parked", 6, None),
        &format!(
            "bbbbbbbbbb was parked 6 times and waits for a person, because {verdict}; aaaaaaaaaa is stable for 2h"
        ),
        "`retry`, or a commit that changes the version",
        "nothing by itself",
        None,
    );
    let mut failed = at::not_again("held", 1, None);
    failed.as_object_mut().unwrap().remove("stable");
    failed["phase"] = json!("Failed");
    let explanation = explain("hello.production", &record(&failed), noon());
    assert_eq!(explanation.phase, "Failed");
    assert!(explanation.why.ends_with("; no version was ever promoted"), "{}", explanation.why);
}

#[test]
fn what_has_not_started() {
    let mut status = at::not_again("held", 1, None);
    (status["held"], status["message"]) = (json!({}), json!("auto_deploy is false"));
    check(
        &status,
        "bbbbbbbbbb asks for a new version, but it has not been started: auto_deploy is false; aaaaaaaaaa is stable for 2h",
        "the reason above gone; else the next pass starts it",
        "with the next commit or pass",
        None,
    );
    status["mode"] = json!("observe");
    check(
        &status,
        "bbbbbbbbbb asks for a new version, but its mode is observe: differences are shown and not applied; aaaaaaaaaa is stable for 2h",
        "`deploy.mode: apply` in its declaration",
        "with the next commit or pass",
        None,
    );
}

#[test]
fn a_record_that_cannot_be_read_is_explained_too() {
    let empty = explain_view(&view(&json!(null)), noon());
    assert_eq!(empty.why, "it has no record yet, or its record was lost");
    let broken = explain_view(&view(&json!({"schema": 9, "phase": 7})), noon());
    assert!(broken.why.starts_with("its record cannot be read by this program: "), "{}", broken.why);
}

#[test]
fn for_people_it_is_wrapped_and_indented() {
    let text = text(&explain("hello.production", &record(&at::waiting_for_image()), noon()), 80, false);
    insta::assert_snapshot!(text, @r#"
    hello.production  Preparing
      why       rollout #7 (bbbbbbbbbb) waits for its image: the registry has none
                of the tags bbbbbbb
      unblocks  the image in the registry, or a newer commit
      next      the registry is asked again and again; given up and parked in 10m
                (12:10:00 UTC)
      gate      image unknown: the registry has none of the tags bbbbbbb
      last      rollout #6 of aaaaaaaaaa ended 2h ago as Promoted: all gates passed
      try       idp rollout abort hello.production
"#);
}

#[test]
fn the_page_of_states_has_these_sentences() {
    let page = include_str!("../../../docs/states.md");
    let mut invalid = at::stable();
    let message =
        ".idp/deploy.yaml: line 3: `workload` has no key `replica` (E_UNKNOWN_KEY): did you mean `replicas`?";
    (invalid["sync"], invalid["message"]) = (json!("Invalid"), json!(message));
    let mut baking = at::watched();
    baking["rollout"]["phase"] = json!("Baking");
    baking["rollout"]["stage"]["credited"] = json!("30s");
    let mut first = at::rolling("Promoting");
    first["rollout"]["first"] = json!(true);
    let all = [
        at::stable(),
        at::waiting_for_image(),
        at::rolling("Progressing"),
        at::watched(),
        at::rolling("Promoting"),
        first,
        baking,
        at::going_back(),
        invalid,
    ];
    for status in all {
        let why = explain("hello.production", &record(&status), noon()).why;
        assert!(page.contains(&why), "docs/states.md lacks: {why}");
    }
}

#[test]
fn people_are_waited_for() {
    let mut paused = at::watched();
    paused["rollout"]["people"] =
        json!({"paused": {"who": "ann", "why": "lunch", "at": "2026-01-01T11:58:00Z"}});
    let explanation = check(
        &paused,
        "rollout #7 (bbbbbbbbbb) is at step 1 of 3 (asked 10 %, real 25 %) and was paused by ann (lunch) 2m ago",
        "`resume`, or `promote` to go on at once; a gate that fails takes it back all the same",
        "rolled back and parked in 23h58m (2026-01-02 11:58 UTC)",
        Some("2026-01-02T11:58:00Z"),
    );
    assert_eq!(explanation.commands[0], "idp rollout resume hello.production");
    let mut manual = at::watched();
    manual["rollout"]["policy"]["steps"][0]["manual"] = json!(true);
    manual["rollout"]["people"] = json!({"waited_since": "2026-01-01T11:58:00Z"});
    check(
        &manual,
        "rollout #7 (bbbbbbbbbb) is at step 1 of 3 (asked 10 %, real 25 %) and waits for a person",
        "`promote`; a gate that fails takes it back all the same",
        "given up and parked in 23h58m (2026-01-02 11:58 UTC)",
        Some("2026-01-02T11:58:00Z"),
    );
    let mut start = at::rolling("Preparing");
    start["rollout"]["policy"]["order"] =
        json!({"approval": {"teams": ["sre"], "count": 2, "timeout": "4h"}});
    start["rollout"]["people"] = json!({"waited_since": "2026-01-01T11:58:00Z",
        "approvals": {"ann": {"who": "ann", "at": "2026-01-01T11:59:00Z"}}});
    check(
        &start,
        "rollout #7 (bbbbbbbbbb) has its image and waits for 1 of 2 approvals by sre",
        "`approve`; a gate that fails takes it back all the same",
        "given up and parked in 3h58m (15:58:00 UTC)",
        Some("2026-01-01T15:58:00Z"),
    );
    let mut left = at::not_again("parked", 1, None);
    left["held"]["7"]["verdict"] =
        json!({"gate": "command", "answer": "unknown", "reason": "`promote` did not come within 1d"});
    check(
        &left,
        "bbbbbbbbbb is parked and waits for a person: command unknown: `promote` did not come within 1d; aaaaaaaaaa is stable for 2h",
        "`retry`, or a commit that changes the version",
        "nothing by itself",
        None,
    );
}
