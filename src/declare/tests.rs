//! The six examples with their exact findings, the odd shapes that are met in the wild, and hostile files.

use std::fmt::Write as _;

use proptest::prelude::*;
use serde_json::{Value as Json, json};

use super::*;
use crate::model::policy::{CheckKind, OnLowTraffic, OnUnknown, Strategy};

const EXAMPLES: [(&str, &str); 6] = [
    ("minimal", include_str!("../../examples/deploy/minimal.yaml")),
    ("canary", include_str!("../../examples/deploy/canary.yaml")),
    ("web-api", include_str!("../../examples/deploy/web-api.yaml")),
    ("batch-job", include_str!("../../examples/deploy/batch-job.yaml")),
    ("strict-production", include_str!("../../examples/deploy/strict-production.yaml")),
    ("escape-hatch", include_str!("../../examples/deploy/escape-hatch.yaml")),
];

fn found(text: &str) -> Diagnostics {
    match parse(".idp/deploy.yaml", text.as_bytes()) {
        Ok(spec) => spec.notes().clone(),
        Err(found) => found,
    }
}

/// `CODE line:column` of everything found.
fn codes(text: &str) -> Vec<String> {
    found(text).iter().map(|f| format!("{} {}:{}", f.code, f.place.line, f.place.column)).collect()
}

fn spec(text: &str) -> Spec {
    parse(".idp/deploy.yaml", text.as_bytes()).unwrap_or_else(|found| panic!("{found}"))
}

fn env(name: &str) -> EnvironmentName {
    name.parse().unwrap()
}

/// A tree as JSON, scalars by YAML's core schema: what an editor checks against the schema.
fn json_of(node: &Node) -> Json {
    match &node.value {
        _ if node.is_null() => Json::Null,
        tree::Value::List(items) => items.iter().map(json_of).collect(),
        tree::Value::Map(entries) => entries
            .iter()
            .map(|entry| (entry.key.clone(), json_of(&entry.node)))
            .collect::<serde_json::Map<_, _>>()
            .into(),
        tree::Value::Text(text, tree::Style::Plain) => serde_json::from_str::<Json>(text)
            .ok()
            .filter(|v| v.is_number() || v.is_boolean())
            .unwrap_or_else(|| json!(text)),
        tree::Value::Text(text, _) => json!(text),
    }
}

#[test]
fn the_six_examples_say_exactly_what_is_not_enforced() {
    let mut all = String::new();
    for (name, text) in EXAMPLES {
        writeln!(all, "{name}").unwrap();
        for finding in &found(text) {
            writeln!(
                all,
                "  {}:{} {} {}",
                finding.place.line, finding.place.column, finding.code, finding.what
            )
            .unwrap();
        }
    }
    insta::assert_snapshot!(all);
}

#[test]
fn the_six_examples_and_nothing_misspelt_pass_the_schema() {
    let validator = jsonschema::validator_for(&schema()).unwrap();
    let tree = |text: &str| json_of(&text::load(text.as_bytes(), &Findings::new("x")).unwrap());
    for (name, text) in EXAMPLES {
        let errors: Vec<String> =
            validator.iter_errors(&tree(text)).map(|e| format!("{} {e}", e.instance_path())).collect();
        assert_eq!(errors, Vec::<String>::new(), "{name}");
    }
    for bad in [
        "service: {name: a}",
        "service: {name: a, team: b, nmae: c}",
        "service: {name: a, team: b}\ndeploy: {strategy: big_bang}",
        "service: {name: a, team: b}\nfoo: 1",
        "service: {name: a, team: b}\nenvironments: {prod: {namespace: x}}",
        "service: {name: a, team: b}\nworkload: {port: 99999}",
        "service: {name: a, team: b}\nimage: {wait: 15}",
    ] {
        assert!(!validator.is_valid(&tree(bad)), "{bad}");
    }
}

#[test]
fn every_example_that_is_enforced_resolves() {
    let minimal = spec(EXAMPLES[0].1).resolve(&env("staging")).unwrap();
    assert_eq!(minimal.policy.strategy, Strategy::Rolling);
    assert_eq!((minimal.replicas, minimal.workload.port()), (2, 8080));
    let canary = spec(EXAMPLES[1].1).resolve(&env("production")).unwrap();
    let steps: Vec<(u8, u64)> = canary.policy.steps.iter().map(|s| (s.weight, s.pause.as_secs())).collect();
    assert_eq!(steps, [(10, 300), (50, 600), (100, 0)]);
    assert_eq!(canary.policy.rollback.max_error_rate, Some(0.01));
    let CheckKind::Http { path, tls: false, .. } = &canary.policy.health.kind else { panic!() };
    assert_eq!(path, "/health");
    assert_eq!(canary.workload.probe.unwrap().kind, canary.policy.health.kind);
}

const HEAD: &str = "service: {name: api, team: pay}\n";

#[test]
fn values_are_checked_where_they_stand() {
    for (text, expected) in [
        ("image: {wait: 15}", "E_DURATION 2:15"),
        ("image: r/UPPER", "E_VALUE 2:8"),
        ("image: {tag: \"a b\"}", "E_VALUE 2:14"),
        ("image: {digest: \"sha256:12\"}", "E_VALUE 2:17"),
        ("image: {tag: \"{{commit}}\"}", "E_VALUE 2:14, E_TEMPLATE 2:14"),
        ("workload: {port: 0}", "E_VALUE 2:18"),
        ("workload: {port: 65536}", "E_VALUE 2:18"),
        ("workload: {port: http}", "E_VALUE 2:18"),
        ("workload: {replicas: 10001}", "E_VALUE 2:22"),
        ("workload: {replicas: -1}", "E_VALUE 2:22"),
        ("workload: {replicas: {min: 1, whatever: 2}}", "E_UNSUPPORTED 2:22"),
        ("workload: {cpu: 1x}", "E_QUANTITY 2:17"),
        ("workload: {memory: 128}", "E_QUANTITY 2:20"),
        ("workload: {cpu: 2, limits: {cpu: 1}}", "E_CONFLICT 2:17"),
        ("workload: {run_as: 0}", "E_VALUE 2:20"),
        ("workload: {run_as: me}", "E_VALUE 2:20"),
        ("workload: {env: {1A: b}}", "E_NAME 2:18"),
        ("workload: {env: {A: }}", "E_TYPE 2:20"),
        ("workload: {env: {A: \"{{commit.sa}}\"}}", "E_TEMPLATE 2:21"),
        ("workload: {env: {A: \"{{pr.number}}\"}}", "E_UNSUPPORTED 2:21"),
        ("workload: {env: {A: \"${resources.db.url}\"}}", "E_UNSUPPORTED 2:21"),
        ("workload: {files: {etc/a: b}}", "E_VALUE 2:20"),
        ("workload: {files: {/etc/../a: b}}", "E_VALUE 2:20"),
        ("workload: {files: {/a: b, /a/b: c}}", "E_CONFLICT 2:27"),
        ("workload: {command: sh}", "E_TYPE 2:21"),
        ("workload: {termination_grace: 0s}", "E_DURATION 2:31"),
        ("workload: {service_account: x}", "E_UNSUPPORTED 2:12"),
        ("workload: []", "E_TYPE 2:11"),
        ("deploy: {strategy: canary}", "E_MISSING 2:20"),
        ("deploy: {strategy: blue_green}", "E_UNSUPPORTED 2:20"),
        ("deploy: {strategy: fast}", "E_VALUE 2:20"),
        ("deploy: {canary: []}", "E_WEIGHTS 2:18"),
        ("deploy: {canary: [{pause: 5m}]}", "E_MISSING 2:19"),
        ("deploy: {canary: [{weight: 0}, {weight: 100}]}", "E_VALUE 2:28"),
        ("deploy: {canary: [{weight: 101}]}", "E_VALUE 2:28"),
        ("deploy: {canary: [{weight: 50}, {weight: 50}, {weight: 100}]}", "E_WEIGHTS 2:42"),
        ("deploy: {canary: [{weight: 50, pause: 300}, {weight: 100}]}", "E_DURATION 2:39"),
        ("deploy: {canary: [{weight: 50, pause: {}}, {weight: 100}]}", "E_UNSUPPORTED 2:39"),
        ("deploy: {canary: [{weight: 50, approve: {x: 1}}, {weight: 100}]}", "E_UNSUPPORTED 2:32"),
        ("deploy: {canary: [{weight: 50}]}", "N_FINAL_STEP 2:19"),
        ("deploy: {max_surge: 0}", "E_CONFLICT 2:21"),
        ("deploy: {max_surge: 200%}", "E_VALUE 2:21"),
        ("deploy: {mode: dry}", "E_VALUE 2:16"),
        ("deploy: {healthcheck: {type: grpc}}", "E_UNSUPPORTED 2:30"),
        ("deploy: {healthcheck: {type: http}}", "E_MISSING 2:10"),
        ("deploy: {healthcheck: {type: tcp, path: /a}}", "E_CONFLICT 2:35"),
        ("deploy: {healthcheck: {path: health}}", "E_VALUE 2:30"),
        ("deploy: {healthcheck: {path: /a, status: 20}}", "E_VALUE 2:42"),
        ("deploy: {healthcheck: {interval: 2s, timeout: 2s}}", "E_CONFLICT 2:47"),
        ("deploy: {healthcheck: {threshold: 0}}", "E_VALUE 2:35"),
        ("deploy: {healthcheck: {target: service}}", "E_UNSUPPORTED 2:32"),
        ("deploy: {rollback: {on_error_rate: 1}}", "E_THRESHOLD 2:36"),
        ("deploy: {rollback: {on_restarts: many}}", "E_THRESHOLD 2:34"),
        ("deploy: {rollback: {auto: \"true\"}}", ""),
        ("deploy: {rollback: {auto: yes}}", "E_YES_NO 2:27"),
        ("deploy: {rollback: {git: revert_pr}}", "E_UNSUPPORTED 2:26"),
        ("deploy: {rollback: {git: status}}", ""),
        ("deploy: {rollback: {history: 51}}", "E_VALUE 2:30"),
        ("environments: {Prod: {}}", "E_NAME 2:16"),
        ("environments: {prod: {namespace: x}}", "E_PLATFORM 2:23"),
        ("environments: {prod: {approval: {}}}", "E_UNSUPPORTED 2:23"),
        ("environments: {prod: {overrides: {service: {}}}}", "E_OVERRIDE 2:35"),
        ("environments: {prod: {overrides: {workload: {prot: null}}}}", "E_UNKNOWN_KEY 2:46"),
        ("environments: {prod: {overrides: {workload: {port: x}}}}", "E_VALUE 2:52"),
        ("environments: {prod: {auto_deploy: 1}}", "E_TYPE 2:36"),
        ("environments: {prod: }", ""),
        ("deploy:", ""),
        ("x-notes: {anything: [1, 2]}", ""),
        ("apiVersion: idp/v2", "E_VALUE 2:13"),
        ("extends: base@1.0.0", "E_UNSUPPORTED 2:1"),
        ("bogus: 1", "E_UNKNOWN_KEY 2:1"),
        ("workload: &w {port: 80}\nx-more: *w", ""),
        ("workload: !custom {port: 80}", "E_YAML 2:19"),
    ] {
        assert_eq!(
            codes(&format!("{HEAD}{text}\n")).join(", "),
            expected,
            "{text}\n{}",
            found(&format!("{HEAD}{text}\n"))
        );
    }
}

#[test]
fn the_service_itself_is_checked() {
    for (text, expected) in [
        ("workload: {port: 80}", "E_MISSING 1:1"),
        ("service: {}", "E_MISSING 1:1"),
        ("service: {name: A, team: b}", "E_NAME 1:17"),
        ("service: {name: a, team: b, type: cron}", "E_UNSUPPORTED 1:35"),
        ("service: {name: a, team: b, tier: gold}", "E_VALUE 1:35"),
        ("service: {name: a, team: b, labels: {idp.dev/x: z}}", "E_PLATFORM 1:38"),
        ("service: {name: a, team: b, labels: {x: a b}}", "E_LIMIT 1:41"),
        ("service: {name: a, team: b, paths: [../x]}", "E_VALUE 1:37"),
        ("service: {name: a, team: b, paths: ['[']}", "E_VALUE 1:37"),
        ("service: {name: a, team: b, runbook: x}", "E_VALUE 1:38"),
        ("service: {name: a, team: b, links: [{title: x}]}", "E_MISSING 1:37"),
        ("service: hello", "E_TYPE 1:10"),
        ("- a", "E_TYPE 1:1"),
        ("hello", "E_TYPE 1:1"),
    ] {
        let all = codes(text);
        assert!(all.iter().any(|code| code == expected), "{text}: {all:?}");
    }
}

#[test]
fn all_faults_of_a_file_come_together_in_the_order_of_its_lines() {
    let text = "service: {name: api, team: pay, tier: gold}\nworkload:\n  prot: 80\n  cpu: lots\ndeploy:\n  stratgy: canary\n  traffic: {}\n  progress_deadline: 10\n";
    assert_eq!(
        codes(text),
        [
            "E_VALUE 1:39",
            "E_UNKNOWN_KEY 3:3",
            "E_QUANTITY 4:8",
            "E_UNKNOWN_KEY 6:3",
            "E_UNSUPPORTED 7:3",
            "E_DURATION 8:22"
        ]
    );
    let shown = found(text).to_string();
    assert!(
        shown.contains(".idp/deploy.yaml:3:3: error[E_UNKNOWN_KEY]: `workload` has no key `prot`"),
        "{shown}"
    );
    assert!(shown.contains("fix: did you mean `port`?"), "{shown}");
    assert!(shown.contains("did you mean `strategy`?"), "{shown}");
    let json = serde_json::to_value(found(text)).unwrap();
    assert_eq!(json[0]["code"], "E_VALUE");
    assert_eq!((&json[0]["line"], &json[0]["column"]), (&json!(1), &json!(39)));
}

#[test]
fn a_key_in_the_wrong_place_is_shown_its_own() {
    let shown = found(&format!("{HEAD}replicas: 3\n")).to_string();
    assert!(shown.contains("did you mean `workload.replicas`?"), "{shown}");
}

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

/// Files made to hurt: each is refused, with few findings, having read a bounded number of values.
#[test]
fn hostile_files_are_refused_within_bounds() {
    let mut bomb = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
    for level in 1..20 {
        let row = vec![format!("*a{}", level - 1); 10].join(", ");
        writeln!(bomb, "a{level}: &a{level} [{row}]").unwrap();
    }
    let mut deep_alias = String::from("a0: &a0 [x]\n");
    for level in 1..5_000 {
        writeln!(deep_alias, "a{level}: &a{level} [*a{}]", level - 1).unwrap();
    }
    let mut many_keys = String::new();
    let mut many_environments = format!("{HEAD}environments:\n");
    for index in 0..20_000 {
        writeln!(many_keys, "k{index}: 1").unwrap();
    }
    for index in 0..2_000 {
        writeln!(many_environments, "  e{index}:").unwrap();
    }
    for (name, text, code) in [
        ("alias bomb", bomb, Code::Budget),
        ("aliases within each other", deep_alias, Code::Depth),
        ("self reference", "a: &a [*a]\n".to_owned(), Code::Yaml),
        ("deep flow", "[".repeat(200_000), Code::Depth),
        ("deep flow maps", "{a: ".repeat(60_000), Code::Depth),
        ("deep block", (0..300).map(|n| format!("{}a:\n", " ".repeat(n))).collect(), Code::Depth),
        ("many keys", many_keys, Code::Budget),
        ("many environments", many_environments, Code::Limit),
        ("too large", "#".repeat(1024 * 1024), Code::TooLarge),
        ("long key", format!("{}: 1", "k".repeat(200_000)), Code::Yaml),
        ("many quotes", "\"".repeat(200_000), Code::Yaml),
        ("many dashes", "- ".repeat(100_000), Code::Depth),
        (
            "many thresholds",
            format!("{HEAD}rollback:\n{}", "  on_error_rate: >1%\n".repeat(10_000)),
            Code::BlockScalar,
        ),
        ("nul", "\0".repeat(1000), Code::Encoding),
    ] {
        let started = std::time::Instant::now();
        let found = parse("f", text.as_bytes()).expect_err(name);
        let took = started.elapsed();
        assert!(found.iter().any(|f| f.code == code), "{name}: {}", found.as_slice()[0]);
        assert!(found.as_slice().len() <= 101, "{name}");
        assert!(found.to_string().len() < 64 * 1024, "{name}");
        // The promise is 50 ms of an optimised program; this one is not, and its machine is shared.
        assert!(took.as_millis() < 2_500, "{name} took {took:?}");
        service_name_of(text.as_bytes());
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, ..ProptestConfig::default() })]

    /// Whatever is cut out of, put into or doubled in a good file: no panic, every finding has a place, and an accepted file resolves.
    #[test]
    fn a_mutated_file_never_panics(
        which in 0usize..6,
        cuts in proptest::collection::vec((any::<prop::sample::Index>(), 0usize..20, "[-:{}\\[\\]&*!|>%@`\"'#,? \t\na0~<é]{0,6}"), 1..6),
    ) {
        let mut text: Vec<char> = EXAMPLES[which].1.chars().collect();
        for (at, length, put) in cuts {
            let at = at.index(text.len() + 1).min(text.len());
            let end = (at + length).min(text.len());
            text.splice(at..end, put.chars());
        }
        let text: String = text.into_iter().collect();
        match parse("f", text.as_bytes()) {
            Ok(spec) => {
                for environment in spec.environments(&[env("some")]) {
                    prop_assert!(spec.resolve(&environment).is_ok());
                }
            }
            Err(found) => {
                prop_assert!(found.has_errors());
                for finding in &found {
                    prop_assert!(finding.place.line >= 1 && finding.place.column >= 1);
                    prop_assert!(finding.place.line <= text.lines().count() + 1);
                    prop_assert!(!finding.what.is_empty());
                }
            }
        }
        service_name_of(text.as_bytes());
    }

    #[test]
    fn any_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        let _ = parse("f", &bytes);
        service_name_of(&bytes);
    }
}
