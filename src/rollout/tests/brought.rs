//! Objects that a version brings beside its workload, and those that a commit drops, on the toy cluster.

use serde_json::json;

use super::world::{Behaviour, World};
use crate::model::LABEL_RELEASE;
use crate::model::object::{Manifest, ObjectKey, Role};
use crate::model::policy::Strategy;
use crate::render;

fn account(name: &str) -> Manifest {
    let body = json!({
        "apiVersion": "v1", "kind": "ServiceAccount",
        "metadata": {"name": name, "namespace": "shop", "labels": {LABEL_RELEASE: "web.production"}},
    });
    let key = ObjectKey {
        api_version: "v1".to_owned(),
        kind: "ServiceAccount".to_owned(),
        namespace: "shop".to_owned(),
        name: name.to_owned(),
    };
    Manifest { key, role: Role::Shared, hash: render::content_hash(&body), body }
}

/// A stable version with as many accounts.
fn world(stateful: bool, accounts: usize) -> World {
    let mut world = World::new();
    world.stateful = stateful;
    world.merge("v1", Strategy::Canary, Behaviour::Healthy);
    world.desired_mut().objects.extend((0..accounts).map(|n| account(&format!("account-{n}"))));
    world.settle(200);
    world
}

#[test]
fn what_a_candidate_brings_is_there_before_its_pods_and_goes_with_it() {
    for stateful in [false, true] {
        for (behaviour, stays) in [(Behaviour::Healthy, true), (Behaviour::Errors(5), false)] {
            let mut world = world(stateful, 0);
            world.merge("v2", Strategy::Canary, behaviour);
            world.desired_mut().objects.push(account("brought"));
            let digest = super::world::digest("v2");
            let runs = |world: &World| world.pods.iter().any(|pod| pod.image_id.as_ref() == Some(&digest));
            assert!(world.until(60, runs), "{stateful} {behaviour:?}");
            assert!(world.has_object("brought"), "{stateful} {behaviour:?}");
            world.settle(400);
            assert_eq!(world.has_object("brought"), stays, "{stateful} {behaviour:?}");
        }
    }
}

#[test]
fn what_a_commit_drops_is_deleted_at_rest_unless_it_is_too_much() {
    for (accounts, dropped, stays) in [(2, 1, false), (12, 11, true)] {
        let mut world = world(true, accounts);
        world.desired_mut().objects.retain(|manifest| {
            let number = manifest.key.name.strip_prefix("account-").and_then(|n| n.parse::<usize>().ok());
            number.is_none_or(|number| number >= dropped)
        });
        for _ in 0..5 {
            world.tick();
        }
        assert_eq!(world.has_object("account-0"), stays, "{dropped} of {accounts}");
        assert!(world.has_object(&format!("account-{dropped}")) && world.has_object("web"));
    }
}

#[test]
fn nothing_is_deleted_while_it_is_not_known_what_may_stand() {
    let mut world = world(true, 2);
    world.desired_mut().objects.retain(|manifest| !manifest.key.name.starts_with("account"));
    world.git_away = true;
    world.restart();
    for _ in 0..5 {
        world.tick();
    }
    assert!(world.has_object("account-0") && world.has_object("account-1"));
    world.git_away = false;
    for _ in 0..5 {
        world.tick();
    }
    assert!(!world.has_object("account-0") && !world.has_object("account-1"));
}
