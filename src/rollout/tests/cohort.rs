//! Stories of cohorts: whose requests go to the candidate whatever its weight, from when it has pods and until it loses them.

use std::time::Duration;

use serde_json::{Value, json};

use super::gateway::{WEB, http_key, http_route, istio_key, virtual_service};
use super::world::{Behaviour, World};
use crate::model::object::ObjectKey;
use crate::model::policy::{Step, Strategy};
use crate::model::rollout::{Hold, Outcome};
use crate::model::traffic::Cohort;
use crate::rollout::route;

fn testers() -> Cohort {
    let header = [("x-tester".to_owned(), "yes".to_owned())];
    Cohort { header: header.into_iter().collect(), cookie: Some(("beta".to_owned(), "1".to_owned())) }
}

/// A first deploy with a route, and a second version whose first step is for a cohort alone.
fn begun(key: &ObjectKey, body: &Value, behaviour: Behaviour) -> World {
    let mut world = World::new();
    world.merge("v1", Strategy::Canary, Behaviour::Healthy);
    world.settle(200);
    world.put_route(key, body);
    world.tick();
    merge(&mut world, behaviour);
    world
}

fn merge(world: &mut World, behaviour: Behaviour) {
    world.merge("v2", Strategy::Canary, behaviour);
    let first = Step { cohort: Some(testers()), ..Step::timed(0, Duration::from_secs(8)) };
    let second = Step { cohort: Some(testers()), ..Step::timed(50, Duration::from_secs(8)) };
    let last = Step::timed(100, Duration::from_secs(4));
    world.desired_mut().policy.steps = vec![first, second, last];
}

/// Tells whether the gateway sends the cohort to the candidate.
fn sends(world: &World, key: &ObjectKey) -> bool {
    let Some(obeyed) = world.obeyed.get(key) else { return false };
    let dialect = route::dialect(key).unwrap();
    let (rules, _) = dialect.rules();
    let rules = obeyed.pointer(&rules.replacen("/spec", "", 1)).and_then(Value::as_array);
    rules.is_some_and(|rules| rules.iter().any(|rule| dialect.is_narrowed(rule, &testers())))
}

#[test]
fn a_cohort_is_sent_from_its_step_on_and_the_others_by_the_weight() {
    for delay in [0, 3] {
        for (key, body) in
            [(http_key(), http_route(&json!([{"name": "web"}]))), (istio_key(), virtual_service())]
        {
            let mut world = begun(&key, &body, Behaviour::Healthy);
            world.gateway = Some(delay);
            world.label = format!("{key} after {delay} s");
            let mut ways = Vec::new();
            for _ in 0..300 {
                world.tick();
                let ready = world.pods.iter().any(|pod| pod.track == "canary" && pod.ready_since.is_some());
                let sent = sends(&world, &key);
                assert!(ready || !sent, "{}: a cohort is sent to nobody", world.label);
                let way = (sent, world.share().unwrap_or(0));
                if ways.last() != Some(&way) {
                    ways.push(way);
                }
            }
            let wanted = [(false, 0), (true, 0), (true, 50), (false, 100), (false, 0)];
            assert_eq!(ways, wanted, "{}", world.label);
            assert_eq!(world.stable_tag().as_deref(), Some("v2"));
            let sentence = world
                .transitions
                .iter()
                .find(|one| one.kind.name() == "StepPassed" && one.rollout == Some(2));
            let sentence = &sentence.unwrap().sentence;
            assert!(sentence.starts_with("step 1 of 3 passed (0 % and a cohort): "), "{sentence}");
            assert_eq!(world.route(&key)["spec"], body["spec"], "{}: the route is as it was", world.label);
        }
    }
}

#[test]
fn a_bad_version_loses_the_cohort_before_its_pods() {
    let (key, body) = (http_key(), http_route(&json!([{"name": "web"}])));
    let mut world = begun(&key, &body, Behaviour::Healthy);
    assert!(world.until(100, |world| sends(world, &http_key())));
    world.gateway = Some(4);
    world.behaviours.insert(super::world::digest("v2"), Behaviour::FailsChecks);
    assert!(world.until(100, |world| world.phase() == "RollingBack"));
    assert_eq!(
        world.record.as_ref().unwrap().rollout.as_ref().unwrap().cohort,
        None,
        "with the verdict itself"
    );
    while sends(&world, &key) {
        assert_eq!(world.weights.last().unwrap().1, 1, "it serves as long as it is sent to");
        world.tick();
    }
    world.settle(300);
    assert_eq!(world.record.as_ref().unwrap().history[&2].outcome, Outcome::RolledBack);
    assert_eq!(world.route(&key)["spec"], body["spec"]);
}

#[test]
fn without_a_route_a_cohort_is_refused_before_anything_is_changed() {
    let mut world = World::new();
    world.merge("v1", Strategy::Canary, Behaviour::Healthy);
    world.settle(200);
    merge(&mut world, Behaviour::Healthy);
    assert!(world.until(60, |world| world.record.as_ref().unwrap().held.contains_key(&2)));
    let held = &world.record.as_ref().unwrap().held[&2];
    let verdict = held.verdict.to_string();
    assert_eq!((held.hold, world.has_object("web-canary")), (Hold::Parked, false));
    assert!(verdict.contains("`deploy.canary[0].match` tells requests apart"), "{verdict}");
    assert!(verdict.contains("create an HTTPRoute or a VirtualService"), "{verdict}");
}

#[test]
fn a_record_lost_meanwhile_leaves_no_rule_behind() {
    let (key, body) = (http_key(), http_route(&json!([{"name": "web"}])));
    let mut world = begun(&key, &body, Behaviour::Healthy);
    assert!(world.until(100, |world| sends(world, &http_key())));
    world.disturbed = true;
    (world.record, world.fallen) = (None, None);
    world.restart();
    world.transitions.clear();
    world.settle(900);
    assert_eq!(world.stable_tag().as_deref(), Some("v2"));
    assert_eq!(world.route(&key)["spec"], body["spec"]);
    assert!(route::names_service(route::dialect(&key).unwrap(), &world.route(&key), WEB));
}
