//! Routes of all shapes: split, joined, edited, accepted.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::model::traffic::ANNOTATION_SPLIT;

const WEB: Names<'static> = Names { service: "web", namespace: "shop" };
const RELEASE: &str = "web.production";

/// Applies a patch of adds, replaces and removes as the server does.
pub fn patched(live: &Value, patch: &[Value]) -> Value {
    let mut live = live.clone();
    for operation in patch {
        let pointer = operation["path"].as_str().unwrap();
        let (parent, last) = pointer.rsplit_once('/').unwrap();
        let last = last.replace("~1", "/");
        let parent = live.pointer_mut(parent).unwrap().as_object_mut().unwrap();
        match operation["op"].as_str().unwrap() {
            "remove" => drop(parent.remove(&last).expect("it is there")),
            "replace" => drop(parent.insert(last, operation["value"].clone()).expect("it is there")),
            _ => drop(parent.insert(last, operation["value"].clone())),
        }
    }
    live
}

fn http(refs: &Value) -> Value {
    json!({"metadata": {"generation": 3, "annotations": {"own": "1"}},
        "spec": {"parentRefs": [{"name": "edge"}], "rules": [{"matches": [{"path": {"value": "/"}}], "backendRefs": refs}]}})
}

fn istio(route: &Value) -> Value {
    json!({"metadata": {"generation": 3}, "spec": {"hosts": ["shop.example.com"], "http": [{"timeout": "3s", "route": route}]}})
}

const HTTP: &dyn Dialect = &http_route::HttpRoute;
const ISTIO_: &dyn Dialect = &virtual_service::VirtualService;

fn at(dialect: &dyn Dialect, live: &Value, weight: u8) -> Value {
    patched(live, &split(dialect, live, WEB, Claim::new(RELEASE, 1), weight))
}

fn refs(live: &Value) -> Vec<(String, u64)> {
    let one = |backend: &Value| {
        let name = backend["name"].as_str().map(str::to_owned);
        let destination = &backend["destination"];
        let host = format!(
            "{}/{}",
            destination["host"].as_str().unwrap_or(""),
            destination["subset"].as_str().unwrap_or("")
        );
        (name.unwrap_or(host), backend["weight"].as_u64().unwrap())
    };
    let lists = [HTTP, ISTIO_].iter().flat_map(|dialect| dialect.lists(live)).collect::<Vec<_>>();
    lists.iter().flat_map(|path| list(live, path)).map(one).collect()
}

#[test]
fn one_backend_becomes_two_and_the_weights_are_per_cent() {
    let live = http(&json!([{"name": "web", "port": 80}]));
    let found = at(HTTP, &live, 10);
    assert_eq!(refs(&found), [("web-stable".into(), 90), ("web-canary".into(), 10)]);
    assert_eq!(found["spec"]["rules"][0]["backendRefs"][1]["port"], 80);
    assert_eq!(share(HTTP, &found, WEB), Some(10));
    assert_eq!(share(HTTP, &live, WEB), None);
}

#[test]
fn other_backends_keep_their_proportion() {
    let live = http(&json!([{"name": "web", "weight": 6}, {"name": "old", "weight": 2}]));
    let found = at(HTTP, &live, 25);
    assert_eq!(refs(&found), [("web-stable".into(), 225), ("web-canary".into(), 75), ("old".into(), 100)]);
}

#[test]
fn a_rule_that_names_both_tracks_keeps_its_references() {
    let live = http(&json!([{"name": "web-canary", "weight": 0}, {"name": "web-stable", "weight": 1}]));
    let found = at(HTTP, &live, 30);
    assert_eq!(refs(&found), [("web-canary".into(), 30), ("web-stable".into(), 70)]);
    assert_eq!(patched(&found, &join(HTTP, &found, WEB, RELEASE)), live);
    // Twins of the team's own are not folded either.
    let live = http(&json!([{"name": "web-stable", "weight": 7}, {"name": "web-canary", "weight": 0}]));
    let found = at(HTTP, &at(HTTP, &live, 30), 60);
    assert_eq!(refs(&found), [("web-stable".into(), 40), ("web-canary".into(), 60)]);
    assert_eq!(patched(&found, &join(HTTP, &found, WEB, RELEASE)), live);
}

#[test]
fn at_rest_nothing_goes_to_a_candidate_without_pods() {
    let live = http(&json!([{"name": "web-stable", "weight": 1}, {"name": "web-canary", "weight": 1}]));
    let found = at(HTTP, &live, 30);
    let joined = patched(&found, &join(HTTP, &found, WEB, RELEASE));
    assert_eq!(refs(&joined), [("web-stable".into(), 100), ("web-canary".into(), 0)]);
}

#[test]
fn a_rule_for_the_candidate_alone_is_left_alone() {
    let live = http(&json!([{"name": "web-canary", "weight": 1}]));
    assert!(split(HTTP, &live, WEB, Claim::new(RELEASE, 1), 30).is_empty());
    assert!(!names_service(HTTP, &live, WEB));
}

#[test]
fn what_is_not_the_service_is_not_split() {
    for backend in [
        json!({"name": "website"}),
        json!({"name": "web", "namespace": "other"}),
        json!({"name": "web", "kind": "ServiceImport", "group": "multicluster.x-k8s.io"}),
    ] {
        assert!(!names_service(HTTP, &http(&json!([backend])), WEB), "{backend}");
    }
    for host in ["website", "web.other", "web.shopping", "web.shop.example.com"] {
        let live = istio(&json!([{"destination": {"host": host}}]));
        assert!(!names_service(ISTIO_, &live, WEB), "{host}");
    }
    for host in ["web", "web.shop", "web.shop.svc", "web.shop.svc.cluster.local"] {
        let live = istio(&json!([{"destination": {"host": host}}]));
        assert!(names_service(ISTIO_, &live, WEB), "{host}");
    }
}

#[test]
fn destinations_are_split_by_subset() {
    let live = istio(&json!([{"destination": {"host": "web", "port": {"number": 80}}, "headers": {"x": 1}}]));
    let found = at(ISTIO_, &live, 5);
    assert_eq!(refs(&found), [("web/stable".into(), 95), ("web/canary".into(), 5)]);
    assert_eq!(found["spec"]["http"][0]["route"][1]["headers"], json!({"x": 1}));
    assert_eq!(patched(&found, &join(ISTIO_, &found, WEB, RELEASE))["spec"], live["spec"]);
}

#[test]
fn weights_of_somebody_else_are_put_back_and_their_rules_are_kept() {
    let live = http(&json!([{"name": "web", "weight": 4}, {"name": "old", "weight": 1}]));
    let mut found = at(HTTP, &live, 10);
    found["spec"]["rules"][0]["backendRefs"][1]["weight"] = json!(999);
    assert_eq!(at(HTTP, &found, 10), at(HTTP, &live, 10));
    // A rule put before it.
    let rule = json!({"backendRefs": [{"name": "other"}]});
    found["spec"]["rules"].as_array_mut().unwrap().insert(0, rule.clone());
    let again = at(HTTP, &at(HTTP, &found, 50), 50);
    assert_eq!(again["spec"]["rules"][0], rule);
    let joined = patched(&again, &join(HTTP, &again, WEB, RELEASE));
    let names: Vec<&str> =
        list(&joined, "/spec/rules/1/backendRefs").iter().map(|r| text(r, "name")).collect();
    assert_eq!(names, ["web", "old"]);
    // All of it applied anew by its owner, our annotation kept.
    let mut found = at(HTTP, &live, 10);
    found["spec"] = live["spec"].clone();
    assert_eq!(at(HTTP, &found, 10), at(HTTP, &live, 10));
    assert_eq!(patched(&found, &join(HTTP, &found, WEB, RELEASE)), live);
}

#[test]
fn only_who_split_it_joins_it() {
    let found = at(HTTP, &http(&json!([{"name": "web"}])), 10);
    assert!(join(HTTP, &found, WEB, "api.production").is_empty());
    assert_eq!(claim(&found).unwrap().release, RELEASE);
}

#[test]
fn a_new_epoch_is_written_and_moves_nothing() {
    let found = at(HTTP, &http(&json!([{"name": "web"}])), 10);
    let patch = split(HTTP, &found, WEB, Claim::new(RELEASE, 2), 10);
    assert_eq!(patch.len(), 1);
    assert_eq!(claim(&patched(&found, &patch)).unwrap().epoch, 2);
}

fn answered(kind: &str, status: &str, generation: u64) -> Value {
    json!({"type": kind, "status": status, "observedGeneration": generation, "reason": "R", "message": "m"})
}

#[test]
fn accepted_by_every_parent_for_this_generation() {
    let mut live = http(&json!([{"name": "web"}]));
    live["spec"]["parentRefs"] = json!([{"name": "edge"}, {"name": "mesh", "sectionName": "a"}]);
    let parent =
        |reference: Value, conditions: Vec<Value>| json!({"parentRef": reference, "conditions": conditions});
    let mut said = |parents: Vec<Value>, gateway: Option<&str>| {
        live["status"] = json!({"parents": parents});
        HTTP.accepted(&live, gateway)
    };
    let good = |generation| {
        vec![answered("Accepted", "True", generation), answered("ResolvedRefs", "True", generation)]
    };
    let edge = |conditions| parent(json!({"name": "edge", "group": "gateway.networking.k8s.io"}), conditions);
    let mesh = |conditions| parent(json!({"name": "mesh", "sectionName": "a"}), conditions);
    assert_eq!(said(vec![edge(good(3)), mesh(good(4))], None), Acceptance::Accepted);
    assert_eq!(said(vec![edge(good(3))], Some("edge")), Acceptance::Accepted);
    assert!(matches!(said(vec![edge(good(3))], None), Acceptance::Waiting(_)));
    assert!(matches!(said(vec![edge(good(2)), mesh(good(3))], None), Acceptance::Waiting(_)));
    assert!(matches!(said(vec![edge(good(3)[..1].to_vec()), mesh(good(3))], None), Acceptance::Waiting(_)));
    let bad = vec![answered("Accepted", "True", 3), answered("ResolvedRefs", "False", 3)];
    assert!(matches!(said(vec![edge(bad), mesh(good(3))], None), Acceptance::Refused(_)));
    assert!(matches!(said(vec![], Some("absent")), Acceptance::Refused(_)));
}

#[test]
fn a_mesh_without_a_status_has_nothing_more_to_say() {
    let mut live = istio(&json!([{"destination": {"host": "web"}}]));
    assert_eq!(ISTIO_.accepted(&live, None), Acceptance::Untold);
    live["status"] =
        json!({"observedGeneration": "2", "conditions": [{"type": "Reconciled", "status": "True"}]});
    assert!(matches!(ISTIO_.accepted(&live, None), Acceptance::Waiting(_)));
    live["status"]["observedGeneration"] = json!("3");
    assert_eq!(ISTIO_.accepted(&live, None), Acceptance::Accepted);
    live["status"]["conditions"][0]["status"] = json!("False");
    assert!(matches!(ISTIO_.accepted(&live, None), Acceptance::Refused(_)));
}

#[test]
fn subsets_come_and_go() {
    for spec in [
        json!({"host": "web.shop", "trafficPolicy": {"tls": {}}}),
        json!({"host": "web", "subsets": []}),
        json!({"host": "web", "subsets": [{"name": "stable", "labels": {"own": "1"}}, {"name": "eu"}]}),
    ] {
        let live = json!({"metadata": {"annotations": {}}, "spec": spec});
        assert!(of_host(&live, WEB) && !has_subsets(&live));
        let found = patched(&live, &add_subsets(&live, RELEASE));
        assert!(has_subsets(&found) && add_subsets(&found, RELEASE).is_empty());
        assert!(found["metadata"]["annotations"][ANNOTATION_SPLIT].is_string());
        // One is taken out by somebody else, and comes back as ours.
        let mut edited = found.clone();
        edited["spec"]["subsets"].as_array_mut().unwrap().retain(|subset| subset["name"] != "canary");
        let found = patched(&edited, &add_subsets(&edited, RELEASE));
        assert!(remove_subsets(&found, "other.production").is_empty());
        assert_eq!(patched(&found, &remove_subsets(&found, RELEASE)), live);
    }
}

fn backend(names: &'static [&'static str]) -> impl Strategy<Value = Value> {
    let weight = prop_oneof![Just(None), (0_u64..10_000).prop_map(Some)];
    (prop::sample::select(names), weight, any::<bool>()).prop_map(|(name, weight, extra)| {
        let mut backend = json!({"name": name});
        if let Some(weight) = weight {
            backend["weight"] = json!(weight);
        }
        if extra {
            backend["filters"] = json!([{"type": "RequestHeaderModifier"}]);
        }
        backend
    })
}

fn route() -> impl Strategy<Value = Value> {
    let rule = prop::collection::vec(backend(&["web", "old", "web", "api"]), 0..5);
    prop::collection::vec(rule, 1..4).prop_map(|rules| {
        let rules: Vec<Value> = rules.into_iter().map(|refs| json!({"backendRefs": refs, "timeouts": {"request": "1s"}})).collect();
        json!({"metadata": {"annotations": {"a": "b"}}, "spec": {"parentRefs": [{"name": "g"}], "rules": rules}})
    })
}

/// The same route in the words of Istio.
fn as_istio(live: &Value) -> Value {
    let rules = list(live, "/spec/rules").iter().map(|rule| {
        let route: Vec<Value> = list(rule, "/backendRefs")
            .iter()
            .map(|backend| {
                let mut backend = backend.clone();
                let name = backend.as_object_mut().unwrap().remove("name").unwrap();
                backend["destination"] = json!({"host": name});
                backend
            })
            .collect();
        json!({"route": route, "retries": {"attempts": 2}})
    });
    json!({"metadata": {"annotations": {}}, "spec": {"http": rules.collect::<Vec<_>>(), "tcp": []}})
}

fn weigh(dialect: &dyn Dialect, backends: &[Value], is: impl Fn(Part) -> bool) -> u128 {
    let own = backends.iter().filter(|backend| is(dialect.part(backend, WEB)));
    own.map(|backend| {
        u128::from(backend["weight"].as_u64().unwrap_or(dialect.default_weight(backends.len())))
    })
    .sum()
}

proptest! {
    #[test]
    fn split_and_join_is_nothing(live in route(), first in 0_u8..=100, second in 0_u8..=100, mesh: bool) {
        let (dialect, live) = if mesh { (ISTIO_, as_istio(&live)) } else { (HTTP, live) };
        let once = at(dialect, &live, first);
        prop_assert!(split(dialect, &once, WEB, Claim::new(RELEASE, 1), first).is_empty(), "a second time changes nothing");
        let twice = at(dialect, &once, second);
        prop_assert_eq!(&twice, &at(dialect, &live, second), "the way does not matter");
        prop_assert_eq!(patched(&twice, &join(dialect, &twice, WEB, RELEASE)), live);
    }

    #[test]
    fn weights_are_exact_and_proportions_stay(live in route(), weight in 0_u8..=100, mesh: bool) {
        let (dialect, live) = if mesh { (ISTIO_, as_istio(&live)) } else { (HTTP, live) };
        let found = at(dialect, &live, weight);
        for path in dialect.lists(&live) {
            let (before, after) = (list(&live, &path), list(&found, &path));
            let whole = weigh(dialect, before, |part| part == Part::Whole);
            let (stable, canary) = (weigh(dialect, after, |part| part == Part::Stable), weigh(dialect, after, |part| part == Part::Canary));
            prop_assert_eq!(canary * 100, (stable + canary) * u128::from(weight));
            let (other, others) = (weigh(dialect, before, |part| part == Part::Other), weigh(dialect, after, |part| part == Part::Other));
            prop_assert_eq!(whole * others, other * (stable + canary), "{:?} {:?}", before, after);
        }
        let given = names_service(dialect, &live, WEB);
        prop_assert!(share(dialect, &found, WEB).is_none_or(|share| given && (share == weight || share == 0)));
    }

    #[test]
    fn all_else_stays_byte_for_byte(live in route(), weight in 0_u8..=100) {
        let mut found = at(HTTP, &live, weight);
        let mut live = live;
        for object in [&mut found, &mut live] {
            object["metadata"]["annotations"].as_object_mut().unwrap().remove(ANNOTATION_SPLIT);
            for rule in object["spec"]["rules"].as_array_mut().unwrap() {
                rule["backendRefs"].as_array_mut().unwrap().retain(|backend| HTTP.part(backend, WEB) == Part::Other);
                for backend in rule["backendRefs"].as_array_mut().unwrap() {
                    backend.as_object_mut().unwrap().remove("weight");
                }
            }
        }
        prop_assert_eq!(found, live);
    }
}

fn testers() -> Cohort {
    let header = [("x-tester".to_owned(), "yes".to_owned())];
    Cohort { header: header.into_iter().collect(), cookie: Some(("a.b".to_owned(), "1".to_owned())) }
}

fn sent(dialect: &dyn Dialect, live: &Value, weight: u8, cohort: Option<&Cohort>) -> Value {
    patched(live, &split(dialect, live, WEB, Claim::new(RELEASE, 1).with(cohort), weight))
}

#[test]
fn a_cohort_has_a_rule_of_its_own_before_the_team_s_with_all_that_it_asks_for() {
    let mut live = http(&json!([{"name": "web", "port": 80}, {"name": "old", "weight": 3}]));
    live["spec"]["rules"][0]["filters"] = json!([{"type": "RequestMirror"}]);
    live["spec"]["rules"][0]["name"] = json!("own");
    live["spec"]["rules"].as_array_mut().unwrap().push(json!({"backendRefs": [{"name": "other"}]}));
    let found = sent(HTTP, &live, 0, Some(&testers()));
    let rules = list(&found, "/spec/rules");
    assert_eq!(rules.len(), 3);
    assert_eq!(rules[0]["filters"], live["spec"]["rules"][0]["filters"]);
    assert_eq!((rules[0].get("name"), &rules[1]["name"]), (None, &json!("own")));
    let headers = json!([
        {"type": "Exact", "name": "x-tester", "value": "yes"},
        {"type": "RegularExpression", "name": "cookie", "value": "^(.*; *)?a\\.b=1(;.*)?$"},
    ]);
    assert_eq!(rules[0]["matches"], json!([{"path": {"value": "/"}, "headers": headers}]));
    let weights = |rule: &Value| -> Vec<u64> {
        list(rule, "/backendRefs").iter().map(|one| one["weight"].as_u64().unwrap()).collect()
    };
    assert_eq!((weights(&rules[0]), weights(&rules[1])), (vec![0, 100, 300], vec![100, 0, 300]));
    assert_eq!(share(HTTP, &found, WEB), Some(0), "of the others");
    assert!(claim(&found).unwrap().has_cohort());
    assert_eq!(patched(&found, &join(HTTP, &found, WEB, RELEASE)), live);

    let live = istio(&json!([{"destination": {"host": "web"}}]));
    let found = sent(ISTIO_, &live, 10, Some(&testers()));
    let rules = list(&found, "/spec/http");
    let headers = json!({"x-tester": {"exact": "yes"}, "cookie": {"regex": "^(.*; *)?a\\.b=1(;.*)?$"}});
    assert_eq!((&rules[0]["match"], &rules[0]["timeout"]), (&json!([{"headers": headers}]), &json!("3s")));
    assert_eq!(rules[1].get("match"), None);
    assert_eq!(patched(&found, &join(ISTIO_, &found, WEB, RELEASE))["spec"], live["spec"]);
}

#[test]
fn a_rule_that_no_request_of_the_cohort_can_reach_gets_none() {
    let mut live = http(&json!([{"name": "web"}]));
    live["spec"]["rules"][0]["matches"] = json!([
        {"headers": [{"name": "X-Tester", "value": "no"}]},
        {"headers": [{"name": "x-tester", "value": "yes"}], "method": "GET"},
    ]);
    let found = sent(HTTP, &live, 10, Some(&testers()));
    let matches = list(&found, "/spec/rules/0/matches");
    assert_eq!(
        (matches.len(), &matches[0]["method"], list(&found, "/spec/rules").len()),
        (1, &json!("GET"), 2)
    );
    live["spec"]["rules"][0]["matches"].as_array_mut().unwrap().truncate(1);
    let found = sent(HTTP, &live, 10, Some(&testers()));
    assert_eq!(list(&found, "/spec/rules").len(), 1);
    assert_eq!(patched(&found, &join(HTTP, &found, WEB, RELEASE)), live);
}

proptest! {
    #[test]
    fn a_cohort_comes_and_goes_and_leaves_nothing(live in route(), first in 0_u8..=100, second in 0_u8..=100, mesh: bool) {
        let (dialect, live) = if mesh { (ISTIO_, as_istio(&live)) } else { (HTTP, live) };
        let cohort = testers();
        let once = sent(dialect, &live, first, Some(&cohort));
        let again = split(dialect, &once, WEB, Claim::new(RELEASE, 1).with(Some(&cohort)), first);
        prop_assert!(again.is_empty(), "a second time changes nothing: {:?}", again);
        prop_assert_eq!(&sent(dialect, &once, second, None), &at(dialect, &live, second), "it goes");
        let other = Cohort { cookie: None, ..testers() };
        let twice = sent(dialect, &once, second, Some(&other));
        prop_assert_eq!(&twice, &sent(dialect, &live, second, Some(&other)), "the way does not matter");
        prop_assert_eq!(patched(&twice, &join(dialect, &twice, WEB, RELEASE)), live);
    }
}
