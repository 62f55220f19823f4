//! The odd shapes that are met in the wild, and the layers of a file.

use super::*;
use crate::model::policy::{OnLowTraffic, OnUnknown};

#[test]
fn sections_may_stand_in_three_places_but_only_in_one_of_them() {
    let canonical = spec(&format!(
        "{HEAD}deploy: {{healthcheck: {{path: /a}}, rollback: {{auto: false}}, canary: [{{weight: 100}}]}}\n"
    ));
    for text in [
        "service: {name: api, team: pay}\nhealthcheck: {path: /a}\nrollback: {auto: false}\ncanary: [{weight: 100}]\n",
        "service: {name: api, team: pay, healthcheck: {path: /a}, rollback: {auto: false}}\ncanary: [{weight: 100}]\ndeploy:\n",
    ] {
        assert_eq!(spec(text).resolve(&env("a")), canonical.resolve(&env("a")), "{text}");
    }
    let twice =
        "service:\n  name: api\n  team: pay\n  rollback: {auto: true}\ndeploy:\n  rollback: {auto: false}\n";
    assert_eq!(codes(twice), ["E_TWICE 6:3"]);
    let shown = found(twice).to_string();
    assert!(shown.contains("keep one of lines 4 and 6"), "{shown}");
}

#[test]
fn a_file_without_indentation_is_printed_repaired() {
    let flat = "# our service\nservice:\nname: payments-api\nteam: payments\ndeploy:\nstrategy: canary\ncanary:\n- weight: 10\npause: 5m\n- weight: 50\npause: 10m\n- weight: 100\nhealthcheck:\npath: /health\ninterval: 10s\nthreshold: 3\nrollback:\nauto: true\non_error_rate: \">1%\"\n";
    assert_eq!(codes(flat), ["E_INDENTATION 2:1"]);
    let repaired = found(flat).as_slice()[0].repaired.clone().unwrap();
    let canonical = spec(EXAMPLES[1].1).resolve(&env("a"));
    assert_eq!(spec(&repaired).resolve(&env("a")), canonical, "{repaired}");
    let half = "service:\nname: payments-api\nteam: payments\ndeploy:\nstrategy: canary\ncanary:\n  - weight: 10\n    pause: 5m\n  - weight: 50\n    pause: 10m\n  - weight: 100\nhealthcheck:\n  path: /health\n  interval: 10s\n  threshold: 3\nrollback:\n  auto: true\n  on_error_rate: \">1%\"\n";
    let repaired = found(half).as_slice()[0].repaired.clone().unwrap();
    assert_eq!(spec(&repaired).resolve(&env("a")), canonical, "{repaired}");
    assert!(
        found(flat)
            .to_string()
            .contains("the repaired file:\n# our service\nservice:\n  name: payments-api\n")
    );
}

#[test]
fn an_unquoted_threshold_is_recognised_and_the_rest_is_read_on() {
    for value in [">1%", ">= 1 %", "> 1%", ">1% # one"] {
        let text = format!("{HEAD}rollback:\n  on_error_rate: {value}\n  min_requests: many\n");
        assert_eq!(codes(&text), ["E_BLOCK_SCALAR 3:18", "E_VALUE 4:17"], "{value}");
    }
    assert!(
        found(&format!("{HEAD}rollback:\n  on_error_rate: >1%\n")).to_string().contains("quote it: \">1%\"")
    );
    for (value, at) in [(">2", "3:3"), (">0", "3:16")] {
        let text = format!("{HEAD}rollback:\n  on_restarts: {value}\n  min_requests: 5\n");
        assert_eq!(codes(&text), [format!("E_BLOCK_SCALAR {at}")], "{value}");
    }
}

#[test]
fn odd_texts_are_explained_at_their_place() {
    for (text, expected) in [
        ("service:\n\tname: api\n\tteam: pay\n", "E_TAB 2:1"),
        ("service:\n  name: api\n\tteam: pay\n", "E_TAB 3:1"),
        ("service: {name: api, team: pay}\n---\nservice: {name: b, team: c}\n", "E_DOCUMENTS 2:1"),
        (
            "service: {name: api, team: pay}\nworkload: {port: 1}\nworkload: {port: 2}\n",
            "E_DUPLICATE_KEY 3:1",
        ),
        ("service: {name: api, team: pay}\nworkload: {port: 1, port: 2}\n", "E_DUPLICATE_KEY 2:21"),
        ("", "E_EMPTY 1:1"),
        ("# nothing\n", "E_EMPTY 1:1"),
        ("---\n", "E_EMPTY 1:1"),
        ("service: {name: api\n", "E_YAML"),
        ("service: [1, 2\nx: }", "E_YAML"),
        ("service: {name: {{env}}, team: pay}\n", "E_YAML 1:18"),
        ("service: {name: api, team: *nobody}\n", "E_YAML 1:28"),
        ("service: {name: api, team: pay, description: \"a\u{0}b\"}", "E_ENCODING 1:48"),
        ("service: {name: api, team: no}\n", "E_YES_NO 1:28"),
    ] {
        let all = codes(text);
        assert!(all.iter().any(|code| code.starts_with(expected)), "{text:?}: {all:?} {}", found(text));
        assert!(found(text).has_errors());
    }
    assert_eq!(
        codes("\u{feff}service: {name: api, team: pay}\r\nworkload:\r\n  port: 80\r\n"),
        Vec::<String>::new()
    );
    let found = parse("f", b"service: {name: \xff\xfe}").unwrap_err();
    assert_eq!((found.as_slice()[0].code, found.as_slice()[0].place.column), (Code::Encoding, 17));
}

#[test]
fn overrides_lie_over_the_file_and_lists_replace() {
    let text = "service: {name: api, team: pay, tier: critical}\nimage: registry.example.com/pay/api:1\nworkload: {replicas: 4, env: {A: a, B: b}, command: [x, y]}\ndeploy:\n  canary: [{weight: 10, pause: 5m}, {weight: 100}]\n  healthcheck: {path: /h}\nenvironments:\n  staging:\n    auto_deploy: false\n    overrides:\n      image: {tag: '2'}\n      workload: {replicas: 1, env: {B: c, A: null}, command: [z]}\n      deploy: {strategy: rolling}\n      healthcheck: {type: tcp, path: null}\n      rollback: {on_unknown: continue}\n  production:\n";
    let spec = spec(text);
    let names: Vec<String> = spec.environments(&[env("other")]).iter().map(ToString::to_string).collect();
    assert_eq!(names, ["production", "staging"]);
    let production = spec.resolve(&env("production")).unwrap();
    let staging = spec.resolve(&env("staging")).unwrap();
    assert_eq!((production.replicas, production.auto_deploy, production.policy.steps.len()), (4, true, 2));
    assert_eq!(production.policy.rollback.on_low_traffic, OnLowTraffic::Hold);
    assert_eq!((staging.replicas, staging.auto_deploy, staging.policy.steps.len()), (1, false, 0));
    assert_eq!(staging.policy.strategy, Strategy::Rolling);
    assert_eq!(staging.policy.rollback.on_unknown, OnUnknown::Continue);
    assert_eq!(staging.policy.health.kind, CheckKind::Tcp);
    assert_eq!(staging.image.repository, production.image.repository);
    assert_eq!((staging.image.tag(), production.image.tag()), ("2", "1"));
    assert_eq!(staging.workload.env.into_iter().collect::<Vec<_>>(), [("B".to_owned(), "c".to_owned())]);
    assert_eq!(staging.workload.command.unwrap(), ["z"]);
    assert_eq!(spec.resolve(&env("other")).unwrap_err().as_slice()[0].code, Code::Environment);
    let unknown = check_environments(&spec, &[env("production"), env("stagin")]);
    assert_eq!(unknown.as_slice()[0].place.line, 8);
    assert!(unknown.to_string().contains("did you mean `stagin`?"), "{unknown}");
}

#[test]
fn an_image_that_is_one_text_replaces_all_of_the_files_but_the_wait() {
    let digest = format!("sha256:{}", "ab".repeat(32));
    let text = format!(
        "{HEAD}image: {{repository: r/a, digest: \"{digest}\", wait: 1m}}\nenvironments:\n  one: {{overrides: {{image: \"r/b:2\"}}}}\n  two: {{overrides: {{image: {{wait: 2m}}}}}}\n"
    );
    let spec = spec(&text);
    let (one, two) = (spec.resolve(&env("one")).unwrap(), spec.resolve(&env("two")).unwrap());
    assert_eq!(
        (one.image.repository.as_deref(), one.image.tag(), one.image.digest.as_ref()),
        (Some("r/b"), "2", None)
    );
    assert_eq!(one.policy.image_wait.as_secs(), 60);
    assert_eq!((two.image.digest.unwrap().as_str(), two.policy.image_wait.as_secs()), (digest.as_str(), 120));
}

#[test]
fn merge_keys_and_anchors_work() {
    let text = "x-base: &base {cpu: 200m, memory: 64Mi}\nservice: {name: api, team: pay}\nworkload:\n  <<: *base\n  cpu: 300m\n";
    let workload = spec(text).resolve(&env("a")).unwrap().workload;
    assert_eq!((workload.cpu.as_deref(), workload.memory.as_deref()), (Some("300m"), Some("64Mi")));
}

#[test]
fn the_name_is_found_in_files_that_say_nothing_else() {
    for text in [
        "service: {name: api, team: pay}\nworkload: [",
        "service:\n  name: \"api\" # ours\n\tteam: x",
        "service:\nname: api\nteam: pay\n",
        "service:\n  team: pay\n  name: api\nbogus: 1\n",
        "service: {team: pay, name: api}\nbogus: 1\n",
    ] {
        assert_eq!(
            service_name_of(text.as_bytes()).map(|name| name.to_string()).as_deref(),
            Some("api"),
            "{text}"
        );
    }
    for text in ["", "name: [", "service: {name: Not A Name}", "\u{0}", "service: {nickname: api, x: ["] {
        assert_eq!(service_name_of(text.as_bytes()), None, "{text}");
    }
}
