//! Services of type `job`, value by value.

use std::time::Duration;

use super::{HEAD, codes, found, spec};
use crate::model::declaration::Concurrency;
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

const CRON: &str = "service: {name: api, team: pay, type: cron}\n";

#[test]
fn what_a_cron_says_is_checked_where_it_stands() {
    for (text, expected) in [
        ("workload: {schedule: \"15 2 * * *\"}", ""),
        (
            "workload: {schedule: \"@daily\", timezone: Europe/Berlin, concurrency: replace, timeout: 45m, retries: 2}",
            "",
        ),
        ("", "E_MISSING 1:1"),
        ("workload: {schedule: \"61 * * * *\"}", "E_VALUE 2:22"),
        ("workload: {schedule: \"TZ=UTC 0 0 * * *\"}", "E_VALUE 2:22"),
        ("workload: {schedule: \"@every 5m\"}", "E_VALUE 2:22"),
        ("workload: {schedule: \"0 0 30 2 *\"}", "E_VALUE 2:22"),
        ("workload: {schedule: \"@daily\", timezone: Local}", "E_VALUE 2:42"),
        ("workload: {schedule: \"@daily\", timezone: ../etc}", "E_VALUE 2:42"),
        ("workload: {schedule: \"@daily\", concurrency: never}", "E_VALUE 2:45"),
        ("workload: {schedule: \"@daily\", port: 80}", "E_CONFLICT 2:32"),
        ("workload: {schedule: \"@daily\"}\ndeploy: {strategy: recreate}", "E_CONFLICT 3:10"),
        ("workload: {schedule: \"@daily\"}\nrollback: {window: 5m}", "E_CONFLICT 3:12"),
        (
            "workload: {schedule: \"@daily\"}\nsource: {manifests: [a.yaml]}",
            "E_CONFLICT 1:33, E_CONFLICT 2:1",
        ),
    ] {
        let text = format!("{CRON}{text}\n");
        assert_eq!(codes(&text).join(", "), expected, "{text}\n{}", found(&text));
    }
    let says = found(&format!("{CRON}workload: {{schedule: \"TZ=UTC 0 0 * * *\"}}\n")).to_string();
    assert!(says.contains("a time zone does not belong") && says.contains("workload.timezone"), "{says}");
    for head in [HEAD, JOB] {
        let text = format!("{head}workload: {{schedule: \"@daily\", timezone: UTC, concurrency: allow}}\n");
        assert_eq!(codes(&text), ["E_CONFLICT 2:12", "E_CONFLICT 2:32", "E_CONFLICT 2:47"]);
    }
}

#[test]
fn a_cron_is_a_job_with_times() {
    let text =
        format!("{CRON}workload: {{schedule: \"15 2 * * mon\", timezone: Europe/Berlin, retries: 2}}\n");
    let declared = spec(&text).resolve(&super::env("production")).unwrap();
    let cron = declared.cron.unwrap();
    assert_eq!(
        (cron.schedule.to_string().as_str(), cron.timezone.as_deref()),
        ("15 2 * * mon", Some("Europe/Berlin"))
    );
    assert_eq!(cron.concurrency, Concurrency::Forbid);
    assert_eq!((declared.run.unwrap().retries, declared.policy.strategy), (2, Strategy::Job));
}
