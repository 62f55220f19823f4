//! An autoscaler's bounds and a step's cohort, value by value.

use super::{HEAD, codes, env, found, spec};
use crate::model::autoscale::Autoscale;

#[test]
fn bounds_and_cohorts_are_checked_where_they_stand() {
    for (text, expected) in [
        ("workload: {replicas: {min: 1, max: 2, whatever: 2}}", "E_UNKNOWN_KEY 2:39"),
        ("workload: {replicas: {min: 1}}", "E_MISSING 2:12"),
        ("workload: {replicas: {min: 0, max: 3}}", "E_VALUE 2:28"),
        ("workload: {replicas: {min: 4, max: 3}}", "E_CONFLICT 2:28"),
        ("workload: {replicas: {min: 1, max: 3, cpu: 0}}", "E_VALUE 2:44"),
        (
            "workload: {replicas: {min: 1, max: 3}}\ndeploy: {canary: [{weight: 51}, {weight: 100}], traffic: {provider: replicas}}",
            "E_WEIGHTS 3:28",
        ),
        ("deploy: {canary: [{weight: 0}, {weight: 100}]}", "E_VALUE 2:28"),
        ("deploy: {canary: [{weight: 0, match: {}}, {weight: 100}]}", "E_MISSING 2:31"),
        ("deploy: {canary: [{weight: 100, match: {header: {a: b}}}]}", "E_CONFLICT 2:28"),
        ("deploy: {canary: [{weight: 0, match: {header: {cookie: b}}}, {weight: 100}]}", "E_CONFLICT 2:48"),
        ("deploy: {canary: [{weight: 0, match: {header: {'a b': c}}}, {weight: 100}]}", "E_VALUE 2:48"),
        ("deploy: {canary: [{weight: 0, match: {cookie: {a: 'b;c'}}}, {weight: 100}]}", "E_VALUE 2:48"),
        ("deploy: {canary: [{weight: 0, match: {cookie: {a: b, c: d}}}, {weight: 100}]}", "E_LIMIT 2:54"),
        (
            "deploy: {canary: [{weight: 0, match: {header: {a: b}}}, {weight: 100}], traffic: {provider: replicas}}",
            "E_CONFLICT 2:31",
        ),
    ] {
        let text = format!("{HEAD}{text}\n");
        assert_eq!(codes(&text).join(", "), expected, "{text}\n{}", found(&text));
    }
}

#[test]
fn what_they_say_is_read() {
    let text = format!(
        "{HEAD}workload: {{replicas: {{min: 3, max: 12}}}}\ndeploy:\n  canary:\n    - {{weight: 0, match: {{header: {{X-Tester: yes please}}, cookie: {{beta: 1}}}}}}\n    - {{weight: 100}}\nenvironments: {{production: {{}}, staging: {{overrides: {{workload: {{replicas: 1}}}}}}}}\n"
    );
    let spec = spec(&text);
    let production = spec.resolve(&env("production")).unwrap();
    assert_eq!(
        (production.replicas, production.autoscale),
        (3, Some(Autoscale { min: 3, max: 12, cpu: 80 }))
    );
    let cohort = production.policy.steps[0].cohort.clone().unwrap();
    assert_eq!(cohort.header["x-tester"], "yes please");
    assert_eq!(cohort.cookie, Some(("beta".to_owned(), "1".to_owned())));
    let staging = spec.resolve(&env("staging")).unwrap();
    assert_eq!((staging.replicas, staging.autoscale), (1, None));
}
