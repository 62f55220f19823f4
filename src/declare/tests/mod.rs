//! The six examples with their exact findings, and the values one by one.

use std::fmt::Write as _;

use serde_json::{Value as Json, json};

use super::*;
use crate::model::policy::{CheckKind, Strategy};

mod gates;
mod hostile;
mod jobs;
mod scale;
mod shapes;

const EXAMPLES: [(&str, &str); 6] = [
    ("minimal", include_str!("../../../examples/deploy/minimal.yaml")),
    ("canary", include_str!("../../../examples/deploy/canary.yaml")),
    ("web-api", include_str!("../../../examples/deploy/web-api.yaml")),
    ("batch-job", include_str!("../../../examples/deploy/batch-job.yaml")),
    ("strict-production", include_str!("../../../examples/deploy/strict-production.yaml")),
    ("escape-hatch", include_str!("../../../examples/deploy/escape-hatch.yaml")),
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
    let named = "service: {name: a, team: b}\nenvironments: {prod: }";
    for (name, text) in EXAMPLES.into_iter().chain([("an environment that is only named", named)]) {
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
        ("workload: {cpu: 1x}", "E_QUANTITY 2:17"),
        ("workload: {memory: 128}", "E_QUANTITY 2:20"),
        ("workload: {cpu: 2, limits: {cpu: 1}}", "E_CONFLICT 2:17"),
        ("workload: {run_as: 0}", "E_VALUE 2:20"),
        ("workload: {run_as: me}", "E_VALUE 2:20"),
        ("workload: {env: {1A: b}}", "E_NAME 2:18"),
        ("workload: {env: {A: }}", "E_TYPE 2:19"),
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
        ("deploy: {strategy: blue_green}", ""),
        ("deploy: {strategy: recreate}", ""),
        ("deploy: {strategy: big_bang}", "E_VALUE 2:20"),
        ("deploy: {traffic: {provider: gateway_api, route: edge, gateway: public.v1}}", ""),
        ("deploy: {traffic: {provider: nginx}}", "E_UNSUPPORTED 2:30"),
        ("deploy: {traffic: {provider: haproxy}}", "E_VALUE 2:30"),
        ("deploy: {traffic: {route: Edge}}", "E_VALUE 2:27"),
        ("deploy: {traffic: {gateway: shop/public}}", "E_VALUE 2:29"),
        ("deploy: {traffic: {provider: replicas, route: edge}}", "E_CONFLICT 2:40"),
        ("deploy: {traffic: {rout: edge}}", "E_UNKNOWN_KEY 2:20"),
        ("deploy: {strategy: fast}", "E_VALUE 2:20"),
        ("deploy: {canary: []}", "E_WEIGHTS 2:18"),
        ("deploy: {canary: [{pause: 5m}]}", "E_MISSING 2:19"),
        ("deploy: {canary: [{weight: 0}, {weight: 100}]}", "E_VALUE 2:28"),
        ("deploy: {canary: [{weight: 101}]}", "E_VALUE 2:28"),
        ("deploy: {canary: [{weight: 50}, {weight: 50}, {weight: 100}]}", "E_WEIGHTS 2:42"),
        ("deploy: {canary: [{weight: 50, pause: 300}, {weight: 100}]}", "E_DURATION 2:39"),
        ("deploy: {canary: [{weight: 50, pause: {}}, {weight: 100}]}", ""),
        ("deploy: {canary: [{weight: 50, pause: {duration: 5m}}, {weight: 100}]}", "E_TYPE 2:39"),
        ("deploy: {canary: [{weight: 50, pause: manual}, {weight: 100, pause: manual}]}", ""),
        ("deploy: {canary: [{weight: 50, approve: {x: 1}}, {weight: 100}]}", "E_UNKNOWN_KEY 2:42"),
        ("deploy: {canary: [{weight: 50}]}", "N_FINAL_STEP 2:19"),
        ("deploy: {max_surge: 0}", "E_CONFLICT 2:21"),
        ("deploy: {max_surge: 200%}", "E_VALUE 2:21"),
        ("deploy: {mode: dry}", "E_VALUE 2:16"),
        ("deploy: {healthcheck: {type: grpc, port: 9000}}", ""),
        ("deploy: {healthcheck: {type: grpc, path: /a}}", "E_CONFLICT 2:36"),
        ("deploy: {healthcheck: {type: http}}", "E_MISSING 2:10"),
        ("deploy: {healthcheck: {type: tcp, path: /a}}", "E_CONFLICT 2:35"),
        ("deploy: {healthcheck: {path: health}}", "E_VALUE 2:30"),
        ("deploy: {healthcheck: {path: /a, status: 20}}", "E_VALUE 2:42"),
        ("deploy: {healthcheck: {interval: 2s, timeout: 2s}}", "E_CONFLICT 2:47"),
        ("deploy: {healthcheck: {threshold: 0}}", "E_VALUE 2:35"),
        ("deploy: {healthcheck: {target: service}}", "E_UNSUPPORTED 2:32"),
        ("deploy: {rollback: {on_error_rate: 1}}", "E_THRESHOLD 2:36"),
        ("deploy: {rollback: {on_error_rate: \">0%\"}}", "E_THRESHOLD 2:36"),
        ("deploy: {rollback: {on_latency: {p99: \">500ms\", p50: \">1.5x\"}}}", ""),
        ("deploy: {rollback: {on_latency: {p99: 500}}}", "E_THRESHOLD 2:39"),
        ("deploy: {rollback: {on_latency: {p99: \">0s\"}}}", "E_THRESHOLD 2:39"),
        ("deploy: {rollback: {on_latency: {p98: 1s}}}", "E_UNKNOWN_KEY 2:34"),
        ("deploy:\n  rollback:\n    on_latency:\n      p99: >500ms", "E_BLOCK_SCALAR 5:12"),
        ("deploy: {rollback: {on_restarts: many}}", "E_THRESHOLD 2:34"),
        ("deploy: {rollback: {auto: \"true\"}}", ""),
        ("deploy: {rollback: {auto: yes}}", "E_YES_NO 2:27"),
        ("deploy: {rollback: {git: revert_pr}}", "E_UNSUPPORTED 2:26"),
        ("deploy: {rollback: {git: status}}", ""),
        ("deploy: {rollback: {history: 51}}", "E_VALUE 2:30"),
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
fn environments_are_checked_where_they_stand() {
    for (text, expected) in [
        ("environments: {Prod: {}}", "E_NAME 2:16"),
        ("environments: {prod: {namespace: x}}", "E_PLATFORM 2:23"),
        ("environments: {prod: {approval: {}}}", ""),
        ("environments: {prod: {approval: {teams: [sre], count: 2, timeout: 4h}}}", ""),
        ("environments: {prod: {approval: {count: 0}}}", "E_VALUE 2:41"),
        ("environments: {prod: {approval: {teams: [Sre]}}}", "E_NAME 2:42"),
        ("environments: {prod: {approval: {timeout: 4}}}", "E_DURATION 2:43"),
        ("environments: {prod: {approval: {team: sre}}}", "E_UNKNOWN_KEY 2:34"),
        ("environments: {qa: {}, prod: {after: {env: qa, soak: 30m}}}", ""),
        ("environments: {qa: {}, prod: {after: {soak: 30m}}}", "E_MISSING 2:31"),
        ("environments: {qa: {}, prod: {after: {env: dev}}}", "E_ENVIRONMENT 2:44"),
        ("environments: {prod: {after: {env: prod}}}", "E_CONFLICT 2:36"),
        (
            "environments: {a: {after: {env: b}}, b: {after: {env: a}}, c: {after: {env: a}}}",
            "E_CONFLICT 2:16, E_CONFLICT 2:38",
        ),
        ("deploy: {after: [users-api, ledger]}", ""),
        ("deploy: {after: users-api}", "E_TYPE 2:17"),
        ("deploy: {after: [Users]}", "E_NAME 2:18"),
        ("deploy: {after: [api]}", "E_CONFLICT 2:10"),
        ("deploy: {group: shop}", ""),
        ("deploy: {group: The Shop}", "E_NAME 2:17"),
        ("environments: {prod: {overrides: {service: {}}}}", "E_OVERRIDE 2:35"),
        ("environments: {prod: {overrides: {workload: {prot: null}}}}", "E_UNKNOWN_KEY 2:46"),
        ("environments: {prod: {overrides: {workload: {port: x}}}}", "E_VALUE 2:52"),
        ("environments: {prod: {auto_deploy: 1}}", "E_TYPE 2:36"),
        ("environments: {prod: }", ""),
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
        ("service: {name: a, team: b, type: worker}", "E_UNSUPPORTED 1:35"),
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
    let text = "service: {name: api, team: pay, tier: gold}\nworkload:\n  prot: 80\n  cpu: lots\ndeploy:\n  stratgy: canary\n  hooks: {}\n  progress_deadline: 10\n";
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

/// Every key of a schema, with its last word only.
fn words(schema: &Json, found: &mut std::collections::BTreeSet<String>) {
    match schema {
        Json::Object(map) => {
            let properties = map.get("properties").and_then(Json::as_object);
            found.extend(properties.into_iter().flatten().map(|(key, _)| key.clone()));
            map.values().for_each(|inner| words(inner, found));
        }
        Json::Array(items) => items.iter().for_each(|inner| words(inner, found)),
        _ => {}
    }
}

#[test]
fn the_reference_names_every_code_and_every_key() {
    let reference = include_str!("../../../docs/deploy-yaml.md");
    let mut known = std::collections::BTreeSet::new();
    words(&schema(), &mut known);
    assert!(known.len() > 80, "{known:?}");
    let named = |word: &str| {
        reference.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').any(|found| found == word)
    };
    let missing: Vec<&String> = known.iter().filter(|key| !named(key)).collect();
    assert!(missing.is_empty(), "docs/deploy-yaml.md says nothing about {missing:?}");
    for code in Code::ALL {
        assert!(reference.contains(&format!("`{code}`")), "{code}");
    }
}
