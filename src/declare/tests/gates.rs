//! `gates` and `slo`, value by value.

use super::{HEAD, codes, found};

#[test]
fn gates_and_objectives_are_checked_where_they_stand() {
    for (text, expected) in [
        ("deploy: {gates: [{name: a, type: metric, query: up, min: 1}]}", ""),
        ("gates: [{name: a, type: http, url: \"https://h/{{commit.sha}}\", when: before}]", ""),
        ("deploy: {gates: [{type: metric, query: up, min: 1}]}", "E_MISSING 2:18"),
        ("deploy: {gates: [{name: a, query: up, min: 1}]}", "E_MISSING 2:18"),
        ("deploy: {gates: [{name: a, type: magic}]}", "E_VALUE 2:34"),
        ("deploy: {gates: [{name: a, type: job, command: [x]}]}", ""),
        (
            "deploy: {gates: [{name: a, type: job, command: [/c, \"{{version}}\"], image: \"r.io/a/b:{{version}}\", retries: 2, timeout: 2h, when: before}]}",
            "",
        ),
        ("deploy: {gates: [{name: a, type: job}]}", "E_MISSING 2:18"),
        ("deploy: {gates: [{name: a, type: job, command: []}]}", "E_VALUE 2:39"),
        ("deploy: {gates: [{name: a, type: job, command: [\"{{x.y}}\"]}]}", "E_TEMPLATE 2:49"),
        ("deploy: {gates: [{name: a, type: job, command: [x], interval: 1m}]}", "E_CONFLICT 2:53"),
        ("deploy: {gates: [{name: a, type: job, command: [x], image: \"A:b:c\"}]}", "E_VALUE 2:60"),
        ("deploy: {gates: [{name: a, type: job, command: [x], retries: 11}]}", "E_VALUE 2:62"),
        ("deploy: {gates: [{name: a, type: http, url: \"http://h\", command: [x]}]}", "E_CONFLICT 2:57"),
        ("deploy: {gates: [{name: a, type: policy}]}", "E_UNSUPPORTED 2:34"),
        ("deploy: {gates: [{name: a, type: metric, query: up, min: 1, condition: x}]}", "E_UNSUPPORTED 2:61"),
        ("deploy: {gates: [{name: a, type: metric, query: up}]}", "E_MISSING 2:18"),
        ("deploy: {gates: [{name: a, type: metric, query: up, min: 2, max: 1}]}", "E_CONFLICT 2:58"),
        ("deploy: {gates: [{name: a, type: metric, query: up, min: nan}]}", "E_VALUE 2:58"),
        ("deploy: {gates: [{name: a, type: metric, query: \"sum(up\", min: 1}]}", "E_VALUE 2:49"),
        ("deploy: {gates: [{name: a, type: metric, query: \"\", min: 1}]}", "E_VALUE 2:49"),
        (
            "deploy: {gates: [{name: a, type: metric, query: \"x{v='{{pr.number}}'}\", min: 1}]}",
            "E_TEMPLATE 2:49",
        ),
        ("deploy: {gates: [{name: a, type: metric, query: up, min: 1, interval: 60}]}", "E_DURATION 2:71"),
        ("deploy: {gates: [{name: a, type: metric, query: up, min: 1, failure_limit: -1}]}", "E_VALUE 2:76"),
        ("deploy: {gates: [{name: a, type: http, url: h/x}]}", "E_VALUE 2:45"),
        ("deploy: {gates: [{name: a, type: http, url: \"ftp://h/x\"}]}", "E_VALUE 2:45"),
        ("deploy: {gates: [{name: a, type: http, url: \"http://u:p@h/x\"}]}", "E_VALUE 2:45"),
        ("deploy: {gates: [{name: a, type: http, url: \"http://h\", min: 1}]}", "E_CONFLICT 2:57"),
        ("deploy: {gates: [{name: A, type: http, url: \"http://h\"}]}", "E_NAME 2:25"),
        (
            "deploy: {gates: [{name: a, type: http, url: \"http://h\"}, {name: a, type: http, url: \"http://h\"}]}",
            "E_CONFLICT 2:65",
        ),
        ("slo: [{name: a, objective: 99.9, good: x, total: y, min_budget: 20%}]", ""),
        ("slo: [{name: a, objective: 100, good: x, total: y}]", "E_VALUE 2:28"),
        ("slo: [{name: a, good: x, total: y}]", "E_MISSING 2:7"),
        ("slo: [{name: a, objective: 99, good: \"x)\", total: y}]", "E_VALUE 2:38"),
        ("slo: [{name: a, objective: 99, good: x, total: y, min_budget: 0.2}]", "E_THRESHOLD 2:63"),
        ("slo: [{name: a, objective: 99, good: x, total: y, window: 1m}]", "E_DURATION 2:59"),
    ] {
        let text = format!("{HEAD}{text}\n");
        assert_eq!(codes(&text).join(", "), expected, "{text}\n{}", found(&text));
    }
}
