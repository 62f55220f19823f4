//! Stories of routers: what a team's route looks like on the way, and that it is as it was at the end.

use serde_json::{Value, json};

use super::gateway::{http_key, http_route, istio_key, virtual_service};
use super::people::tell;
use super::world::{Behaviour, Cut, World};
use crate::model::command::Verb;
use crate::model::object::ObjectKey;
use crate::model::policy::Strategy;
use crate::model::rollout::{Hold, Outcome};
use crate::model::traffic::{Provider, Traffic};

const EDGE: fn() -> Value = || http_route(&json!([{"name": "web", "port": 8080}]));

/// A first deploy, settled, and a route to it.
fn routed(key: &ObjectKey, body: &Value) -> World {
    let mut world = World::new();
    world.merge("v1", Strategy::Canary, Behaviour::Healthy);
    world.settle(200);
    world.put_route(key, body);
    world.tick();
    world
}

fn http() -> World {
    routed(&http_key(), &EDGE())
}

fn outcome(world: &World, number: u64) -> Outcome {
    world.record.as_ref().unwrap().history[&number].outcome
}

fn untouched(world: &World, key: &ObjectKey, body: &Value) {
    let live = world.route(key);
    assert_eq!(live["spec"], body["spec"], "{}: the route is as it was", world.label);
    assert!(
        live["metadata"]["annotations"].as_object().is_none_or(serde_json::Map::is_empty),
        "{}",
        world.label
    );
    for name in ["web-canary", "web-stable", "web-tracks"] {
        assert!(!world.has_object(name), "{}: {name} is left", world.label);
    }
}

fn verdict(world: &World, number: u64) -> String {
    world.record.as_ref().unwrap().history[&number].verdict.clone()
}

#[test]
fn a_good_canary_has_exactly_its_share_and_leaves_the_route_as_it_was() {
    for delay in [0, 1, 7] {
        for (key, body) in [(http_key(), EDGE()), (istio_key(), virtual_service())] {
            let mut world = routed(&key, &body);
            world.gateway = Some(delay);
            let begun = world.transitions.len();
            world.merge("v2", Strategy::Canary, Behaviour::Healthy);
            world.settle(400);
            assert_eq!(world.stable_tag().as_deref(), Some("v2"));
            assert_eq!(world.shares, [0, 10, 50, 100, 0], "{key} after {delay} s");
            let sentence = &world.transitions[begun + 3].sentence;
            assert!(sentence.starts_with("step 1 of 3 passed (10 %): "), "{sentence}");
            untouched(&world, &key, &body);
        }
    }
}

#[test]
fn a_bad_canary_loses_its_traffic_before_its_pods() {
    let mut world = http();
    world.gateway = Some(5);
    world.merge("v2", Strategy::Canary, Behaviour::Errors(5));
    assert!(world.until(200, |world| world.phase() == "RollingBack"));
    assert_eq!(world.record.as_ref().unwrap().rollout.as_ref().unwrap().weight, 0, "with the verdict itself");
    while world.share() == Some(10) {
        let canary = world.weights.last().unwrap().1;
        assert_eq!(canary, 1, "it serves as long as it is sent to");
        world.tick();
    }
    world.settle(200);
    assert_eq!((outcome(&world, 2), world.stable_tag().as_deref()), (Outcome::RolledBack, Some("v1")));
    assert_eq!(world.shares, [0, 10, 0]);
    assert_eq!(
        world.creates["apps/v1:Deployment:shop:web-canary"], 1,
        "while the route is joined none is made"
    );
    untouched(&world, &http_key(), &EDGE());
}

#[test]
fn pods_that_are_never_ready_get_no_request() {
    let mut world = http();
    world.gateway = Some(0);
    world.merge("v2", Strategy::Canary, Behaviour::NeverStarts);
    assert!(world.until(400, |world| world.record.as_ref().unwrap().history.contains_key(&2)));
    assert_eq!((outcome(&world, 2), world.shares.as_slice()), (Outcome::RolledBack, &[0][..]));
}

#[test]
fn a_gateway_that_never_takes_the_route_parks_the_version_before_a_pod_of_it_runs() {
    let mut world = http();
    world.gateway = None;
    world.merge("v2", Strategy::Canary, Behaviour::Healthy);
    world.until(1500, |world| world.record.as_ref().unwrap().history.contains_key(&2));
    assert!(world.weights.iter().all(|(number, canary)| *number != 2 || *canary == 0));
    assert!(
        verdict(&world, 2).contains("gateway gate has not seen its last change"),
        "{}",
        verdict(&world, 2)
    );
    assert_eq!(world.record.as_ref().unwrap().held[&2].hold, Hold::Parked);
    world.gateway = Some(1);
    world.settle(60);
    untouched(&world, &http_key(), &EDGE());
}

#[test]
fn a_gateway_that_stops_answering_costs_no_request() {
    // Its last answer is for 50 %: nothing may be taken away before the deadline, and then what is least.
    let mut world = http();
    world.merge("v2", Strategy::Canary, Behaviour::Healthy);
    assert!(world.until(100, |world| world.share() == Some(50)));
    world.gateway = None;
    assert!(world.until(400, |world| world.phase() == "RollingBack"), "{}", world.phase());
    world.disturbed = true;
    world.until(600, |world| world.record.as_ref().unwrap().rollout.is_none());
    assert_eq!(outcome(&world, 2), Outcome::RolledBack);
    world.gateway = Some(1);
    world.settle(60);
    untouched(&world, &http_key(), &EDGE());
}

#[test]
fn weights_of_somebody_else_are_put_back() {
    let mut world = http();
    world.merge("v2", Strategy::Canary, Behaviour::Healthy);
    assert!(world.until(100, |world| world.share() == Some(10)));
    world.disturbed = true;
    world.edit_route(&http_key(), |route| {
        route["spec"]["rules"][0]["backendRefs"][1]["weight"] = json!(100);
        route["spec"]["rules"][0]["backendRefs"][0]["weight"] = json!(0);
        route["spec"]["rules"][0]["matches"][0]["path"]["value"] = json!("/v2");
    });
    world.settle(400);
    assert_eq!(world.shares, [0, 10, 50, 100, 0]);
    let mut wanted = EDGE();
    wanted["spec"]["rules"][0]["matches"][0]["path"]["value"] = json!("/v2");
    untouched(&world, &http_key(), &wanted);
}

#[test]
fn a_route_applied_anew_by_its_owner_is_split_anew() {
    let mut world = http();
    world.merge("v2", Strategy::Canary, Behaviour::Healthy);
    assert!(world.until(100, |world| world.share() == Some(50)));
    world.disturbed = true;
    world.edit_route(&http_key(), |route| {
        *route = {
            let mut new = EDGE();
            new["metadata"]["generation"] = route["metadata"]["generation"].clone();
            new
        }
    });
    world.settle(400);
    assert_eq!(outcome(&world, 2), Outcome::Promoted);
    untouched(&world, &http_key(), &EDGE());
}

#[test]
fn a_route_that_vanishes_ends_the_rollout_and_harms_nobody() {
    let mut world = http();
    world.merge("v2", Strategy::Canary, Behaviour::Healthy);
    assert!(world.until(100, |world| world.share() == Some(10)));
    world.disturbed = true;
    world.drop_route(&http_key());
    world.until(800, |world| world.record.as_ref().unwrap().rollout.is_none());
    world.settle(60);
    assert_eq!((outcome(&world, 2), world.stable_tag().as_deref()), (Outcome::RolledBack, Some("v1")));
    assert!(verdict(&world, 2).contains("the route is gone"), "{}", verdict(&world, 2));
    assert!(!world.has_object("web-canary") && !world.has_object("web-stable"));
}

#[test]
fn a_rule_that_names_both_tracks_has_them_at_rest() {
    let refs = json!([{"name": "web-stable", "weight": 1}, {"name": "web-canary", "weight": 0}]);
    let body = http_route(&refs);
    let mut world = routed(&http_key(), &body);
    world.tick();
    assert!(world.has_object("web-stable"), "the team's route names it");
    world.merge("v2", Strategy::Canary, Behaviour::Healthy);
    world.settle(400);
    assert_eq!(outcome(&world, 2), Outcome::Promoted);
    assert_eq!(world.route(&http_key())["spec"], body["spec"]);
    assert_eq!(world.object("web-canary").unwrap()["spec"]["selector"]["idp.dev/track"], "canary");
    assert!(!world.deletes.keys().any(|key| key.contains("Service")), "{:?}", world.deletes);
}

#[test]
fn a_team_s_own_rule_for_destinations_gets_its_subsets_back_out() {
    let key: ObjectKey = "networking.istio.io/v1:DestinationRule:shop:own".parse().unwrap();
    let rule = json!({"metadata": {"name": "own"}, "spec": {"host": "web", "subsets": [{"name": "eu"}]}});
    let mut world = routed(&istio_key(), &virtual_service());
    world.put_route(&key, &rule);
    world.merge("v2", Strategy::Canary, Behaviour::Healthy);
    assert!(world.until(100, |world| world.share() == Some(50)));
    assert!(!world.has_object("web-tracks"));
    world.settle(400);
    assert_eq!(world.shares, [0, 10, 50, 100, 0]);
    assert_eq!(world.route(&key)["spec"], rule["spec"]);
    untouched(&world, &istio_key(), &virtual_service());
}

/// A new version whose pods are ready beside stable, and not in its place.
fn stuck() -> World {
    let mut world = http();
    world.merge("v2", Strategy::Canary, Behaviour::Healthy);
    assert!(world.until(100, |world| world.share() == Some(100)));
    world.no_room = true;
    assert!(world.until(900, |world| world.record.as_ref().unwrap().history.contains_key(&2)));
    assert_eq!((outcome(&world, 2), world.phase().as_str()), (Outcome::Failed, "Failed"));
    for _ in 0..100 {
        world.tick();
    }
    assert_eq!(world.share(), Some(100), "the healthy candidate keeps all traffic");
    assert_eq!(world.stable_tag().as_deref(), Some("v1"));
    assert_eq!(world.record.as_ref().unwrap().held[&2].hold, Hold::Parked);
    assert_eq!(world.record.as_ref().unwrap().weight, 100);
    assert!(!world.kinds().contains(&"HealthyAgain"), "it is not as it shall be");
    world
}

#[test]
fn a_stuck_promotion_keeps_the_candidate_and_a_newer_version_gets_out_of_it() {
    let mut world = stuck();
    world.no_room = false;
    world.merge("v3", Strategy::Canary, Behaviour::Healthy);
    world.settle(600);
    assert_eq!((outcome(&world, 3), world.stable_tag().as_deref()), (Outcome::Promoted, Some("v3")));
    assert_eq!(world.shares, [0, 10, 50, 100, 0], "{}", verdict(&world, 3));
    untouched(&world, &http_key(), &EDGE());
}

#[test]
fn a_stuck_promotion_is_left_by_going_back_to_stable() {
    let mut world = stuck();
    world.no_room = false;
    world.merge("v1", Strategy::Canary, Behaviour::Healthy);
    world.settle(600);
    assert_eq!(world.stable_tag().as_deref(), Some("v1"));
    assert_eq!(world.shares, [0, 10, 50, 100, 0]);
    assert!(world.record.as_ref().unwrap().serving.is_none());
    untouched(&world, &http_key(), &EDGE());
}

#[test]
fn a_stuck_promotion_is_left_by_undo_or_retry() {
    for (verb, tag) in [(Verb::Undo, "v1"), (Verb::Retry, "v2")] {
        let mut world = stuck();
        world.no_room = false;
        let (yes, why) = tell(&mut world, verb);
        assert!(yes, "{why}");
        let left = |world: &World| {
            world.record.as_ref().unwrap().serving.is_none() && world.stable_tag().as_deref() == Some(tag)
        };
        assert!(world.until(600, left), "{verb:?}: {}", world.record.as_ref().unwrap().message);
        world.until(60, |world| !world.has_object("web-stable"));
        assert_eq!(world.shares, [0, 10, 50, 100, 0], "{verb:?}");
        untouched(&world, &http_key(), &EDGE());
    }
}

#[test]
fn a_bad_version_over_a_stuck_one_goes_back_to_stable() {
    for behaviour in [Behaviour::Crash, Behaviour::Errors(50)] {
        let mut world = stuck();
        world.no_room = false;
        world.merge("v3", Strategy::Canary, behaviour);
        world.settle(900);
        assert_eq!((outcome(&world, 3), world.stable_tag().as_deref()), (Outcome::RolledBack, Some("v1")));
        assert_eq!(world.shares, [0, 10, 50, 100, 0]);
        untouched(&world, &http_key(), &EDGE());
    }
}

#[test]
fn a_stable_that_lost_its_pods_is_not_sent_everyone() {
    let mut world = http();
    world.disturbed = true;
    world.merge("v2", Strategy::Canary, Behaviour::Healthy);
    assert!(world.until(100, |world| world.share() == Some(100)));
    world.no_room = true;
    world.kill_pods("stable");
    world.push_image("v2", Behaviour::FailsChecks);
    assert!(world.until(60, |world| world.phase() == "RollingBack"));
    for _ in 0..20 {
        world.tick();
    }
    assert_eq!(world.share(), Some(100), "nobody else is ready");
    world.no_room = false;
    world.settle(300);
    assert_eq!(world.shares, [0, 10, 50, 100, 0]);
    untouched(&world, &http_key(), &EDGE());
}

#[test]
fn what_the_file_asks_for_and_is_not_there_is_said_with_its_fix() {
    let named = |provider, route: Option<&str>, gateway: Option<&str>| Traffic {
        provider,
        route: route.map(str::to_owned),
        gateway: gateway.map(str::to_owned),
    };
    let cases = [
        (named(Provider::GatewayApi, Some("none"), None), "there is no HTTPRoute shop/none"),
        (named(Provider::Auto, Some("none"), None), "neither an HTTPRoute nor a VirtualService"),
        (named(Provider::Istio, None, None), "serves no VirtualService"),
        (named(Provider::GatewayApi, None, Some("other")), "is not attached to the gateway other"),
    ];
    for (traffic, said) in cases {
        let mut world = http();
        world.merge("v2", Strategy::Canary, Behaviour::Healthy);
        world.desired_mut().policy.traffic = traffic;
        assert!(world.until(60, |world| world.record.as_ref().unwrap().history.contains_key(&2)));
        assert!(verdict(&world, 2).contains(said), "{}", verdict(&world, 2));
        assert_eq!(world.record.as_ref().unwrap().held[&2].hold, Hold::Parked);
        untouched(&world, &http_key(), &EDGE());
    }
    let mut world = routed(&http_key(), &http_route(&json!([{"name": "api"}])));
    world.merge("v2", Strategy::Canary, Behaviour::Healthy);
    world.desired_mut().policy.traffic = named(Provider::GatewayApi, Some("edge"), None);
    assert!(world.until(60, |world| world.record.as_ref().unwrap().history.contains_key(&2)));
    assert!(verdict(&world, 2).contains("has no backend that is the Service web"), "{}", verdict(&world, 2));
}

#[test]
fn a_route_that_another_release_has_split_is_waited_for() {
    let mut world = http();
    let claim = json!({"idp.dev/split": "{\"release\":\"api.production\"}"});
    world.edit_route(&http_key(), |route| route["metadata"]["annotations"] = claim);
    world.merge("v2", Strategy::Canary, Behaviour::Healthy);
    for _ in 0..30 {
        world.tick();
    }
    let message = world.record.as_ref().unwrap().message.clone();
    assert_eq!(message, "waiting for its route: HTTPRoute shop/edge is split for api.production now");
    world.edit_route(&http_key(), |route| route["metadata"]["annotations"] = json!({}));
    world.settle(400);
    assert_eq!(outcome(&world, 2), Outcome::Promoted);
}

#[test]
fn without_a_route_auto_goes_by_pods() {
    let mut world = routed(&http_key(), &http_route(&json!([{"name": "api"}])));
    world.merge("v2", Strategy::Canary, Behaviour::Healthy);
    world.settle(400);
    assert!(world.shares.is_empty());
    assert_eq!(outcome(&world, 2), Outcome::Promoted);
}

#[test]
fn blue_green_switches_at_once_and_back() {
    for route in [false, true] {
        for (behaviour, shares, end) in [
            (Behaviour::Healthy, &[0, 100, 0][..], Outcome::Promoted),
            (Behaviour::Errors(5), &[0, 100, 0], Outcome::RolledBack),
            (Behaviour::FailsChecks, &[0], Outcome::RolledBack),
            (Behaviour::Crash, &[0], Outcome::RolledBack),
        ] {
            let mut world = if route {
                http()
            } else {
                let mut world = World::new();
                world.merge("v1", Strategy::BlueGreen, Behaviour::Healthy);
                world.settle(200);
                world
            };
            world.label = format!("{behaviour:?}, by a route: {route}");
            world.merge("v2", Strategy::BlueGreen, behaviour);
            world.settle(600);
            assert_eq!((outcome(&world, 2), world.shares.as_slice()), (end, shares), "{}", world.label);
            let full =
                world.weights.iter().filter(|(number, _)| *number == 2).map(|(_, canary)| *canary).max();
            assert_eq!(full, Some(3), "{}: a full second set", world.label);
            assert_eq!(
                world.object("web").unwrap()["spec"]["selector"],
                json!({"idp.dev/release": "web.production"})
            );
            assert!(!world.has_object("web-canary") && !world.has_object("web-stable"));
        }
    }
}

#[test]
fn recreate_has_the_phases_of_rolling() {
    let mut world = World::new();
    world.merge("v1", Strategy::Recreate, Behaviour::Healthy);
    world.settle(200);
    world.merge("v2", Strategy::Recreate, Behaviour::Healthy);
    world.settle(200);
    assert_eq!((outcome(&world, 2), world.stable_tag().as_deref()), (Outcome::Promoted, Some("v2")));
}

type Way = (&'static str, World, Strategy, Option<(ObjectKey, Value)>);

/// The ways that the matrix goes: each from a settled world, and with what route.
fn ways() -> Vec<Way> {
    let mut blue = World::new();
    blue.merge("v1", Strategy::BlueGreen, Behaviour::Healthy);
    blue.settle(200);
    let mesh = (istio_key(), virtual_service());
    let edge = (http_key(), EDGE());
    vec![
        ("gateway", http(), Strategy::Canary, Some(edge)),
        ("mesh", routed(&mesh.0, &mesh.1), Strategy::Canary, Some(mesh)),
        ("blue-green", blue, Strategy::BlueGreen, None),
    ]
}

#[test]
fn a_routed_rollout_cut_before_a_write_after_it_and_with_its_reply_lost() {
    for (name, settled, strategy, route) in ways() {
        let both = [Behaviour::Healthy, Behaviour::Errors(5)];
        let behaviours = if name == "mesh" { &both[..1] } else { &both };
        let cuts: &[Cut] =
            if name == "gateway" { &[Cut::Before, Cut::ReplyLost, Cut::After] } else { &[Cut::ReplyLost] };
        for &behaviour in behaviours {
            let run = |cut| {
                let mut world = settled.clone();
                world.cut = cut;
                world.label = format!("{name} {behaviour:?} cut {cut:?}");
                world.merge("v2", strategy, behaviour);
                world.settle(600);
                world
            };
            let whole = run(None);
            for at in settled.mutations + 1..=whole.mutations {
                for &cut in cuts {
                    let found = run(Some((at, cut)));
                    assert_eq!(found.fingerprint(), whole.fingerprint(), "{}", found.label);
                    if let Some((key, body)) = &route {
                        untouched(&found, key, body);
                    }
                }
            }
        }
    }
}

#[test]
fn a_record_lost_with_a_split_route_is_rebuilt() {
    for (name, settled, strategy, route) in ways() {
        for (behaviour, stable) in [(Behaviour::Healthy, "v2"), (Behaviour::Errors(5), "v1")] {
            for lost_at in (0..60).step_by(6) {
                let mut world = settled.clone();
                world.merge("v2", strategy, behaviour);
                for _ in 0..lost_at {
                    world.tick();
                }
                world.label = format!("{name} {behaviour:?} lost after {lost_at} s");
                world.record = None;
                world.restart();
                world.transitions.clear();
                world.fallen = None;
                world.granted = 100;
                world.settle(900);
                assert_eq!(world.stable_tag().as_deref(), Some(stable), "{}", world.label);
                assert!(!world.has_object("web-canary"), "{}", world.label);
                for _ in 0..10 {
                    world.tick();
                }
                if let Some((key, body)) = &route {
                    untouched(&world, key, body);
                }
                assert!(
                    world.object("web").unwrap()["spec"]["selector"]["idp.dev/track"].is_null(),
                    "{}",
                    world.label
                );
            }
        }
    }
}
