//! Services of type `job`, value by value.

use std::time::Duration;

use super::{HEAD, codes, found, spec};
use crate::model::gate::When;
use crate::model::policy::{CheckKind, Strategy};

const JOB: &str = "service: {name: api, team: pay, type: job}\n";

#[test]
fn what_a_job_says_is_checked_where_it_stands() {
    for (text, expected) in [
        ("", ""),
        ("workload: {command: [/run], timeout: 45m, retries: 2}", ""),
        ("workload: {timeout: 8d}", "E_DURATION 2:21"),
        ("workload: {retries: 11}", "E_VALUE 2:21"),
        ("workload: {port: 80, replicas: 2}", "E_CONFLICT 2:12, E_CONFLICT 2:22"),
        ("workload: {probe: {path: /x}}", "E_CONFLICT 2:12"),
        ("deploy: {strategy: rolling}", "E_CONFLICT 2:10"),
        ("deploy: {group: shop, after: [web]}", "E_CONFLICT 2:10"),
        ("healthcheck: {path: /x}", "E_CONFLICT 2:1"),
        ("rollback: {on_error_rate: \">1%\"}", "E_CONFLICT 2:12"),
        ("rollback: {auto: false, hold: false, on_unknown: hold, unknown_timeout: 2h, history: 3}", ""),
        ("rollback: {on_unknown: continue}", "E_CONFLICT 2:12"),
        ("source: {manifests: [k8s/*.yaml]}", "E_CONFLICT 1:33"),
        ("gates: [{name: a, type: job, command: [x]}]", ""),
        ("gates: [{name: a, type: job, command: [x], when: after}]", "E_CONFLICT 2:50"),
    ] {
        let text = format!("{JOB}{text}\n");
        assert_eq!(codes(&text).join(", "), expected, "{text}\n{}", found(&text));
    }
    let text = format!("{HEAD}workload: {{timeout: 45m, retries: 2}}\n");
    assert_eq!(codes(&text), ["E_CONFLICT 2:12", "E_CONFLICT 2:26"]);
}

#[test]
fn a_job_runs_once_and_nothing_of_it_is_measured() {
    let text = format!(
        "{JOB}workload: {{timeout: 45m, retries: 2}}\ngates: [{{name: a, type: job, command: [x]}}]\n"
    );
    let declared = spec(&text).resolve(&super::env("production")).unwrap();
    let run = declared.run.unwrap();
    assert_eq!((run.timeout, run.retries, declared.replicas), (Duration::from_mins(45), 2, 0));
    let policy = declared.policy;
    assert_eq!((policy.strategy, policy.health.kind), (Strategy::Job, CheckKind::None));
    assert_eq!((policy.rollback.max_error_rate, policy.gates[0].when), (None, When::Before));
}
