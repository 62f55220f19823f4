//! Crash anywhere, start again: the same end, the same objects created and deleted, the same events.

use super::world::{Behaviour, Cut, World};
use crate::model::policy::Strategy;

/// A first deploy, settled.
fn settled(strategy: Strategy) -> World {
    let mut world = World::new();
    world.merge("v1", strategy, Behaviour::Healthy);
    world.settle(300);
    world
}

/// A first deploy, cut at a mutation.
fn first(strategy: Strategy, cut: Option<(u64, Cut)>) -> World {
    let mut world = World::new();
    world.cut = cut;
    world.label = format!("first {strategy:?} cut {cut:?}");
    world.merge("v1", strategy, Behaviour::Healthy);
    world.settle(300);
    world
}

/// Then one version of this behaviour, cut at a mutation.
fn then(settled: &World, strategy: Strategy, behaviour: Behaviour, cut: Option<(u64, Cut)>) -> World {
    let mut world = settled.clone();
    world.cut = cut;
    world.label = format!("{strategy:?} {behaviour:?} cut {cut:?}");
    world.merge("v2", strategy, behaviour);
    world.settle(600);
    world
}

const CUTS: [Cut; 3] = [Cut::Before, Cut::ReplyLost, Cut::After];

#[test]
fn a_first_deploy_cut_before_a_write_after_it_and_with_its_reply_lost() {
    let whole = first(Strategy::Canary, None);
    for at in 1..=whole.mutations {
        for cut in CUTS {
            let found = first(Strategy::Canary, Some((at, cut))).fingerprint();
            assert_eq!(found, whole.fingerprint(), "cut {cut:?} mutation {at}");
        }
    }
}

#[test]
fn a_rollout_cut_before_a_write_after_it_and_with_its_reply_lost() {
    for strategy in [Strategy::Canary, Strategy::Rolling] {
        let settled = settled(strategy);
        for behaviour in [Behaviour::Healthy, Behaviour::Errors(5), Behaviour::Crash] {
            let whole = then(&settled, strategy, behaviour, None);
            let writes = whole.mutations - settled.mutations;
            assert!(writes > 10, "the story is told in {writes} mutations");
            for at in settled.mutations + 1..=whole.mutations {
                for cut in CUTS {
                    let found = then(&settled, strategy, behaviour, Some((at, cut))).fingerprint();
                    assert_eq!(
                        found,
                        whole.fingerprint(),
                        "{strategy:?} {behaviour:?} cut {cut:?} mutation {at}"
                    );
                }
            }
        }
    }
}

/// The record is deleted at any second: no ungated deploy, no orphan, the hold still holds.
#[test]
fn a_record_lost_at_any_moment_is_rebuilt() {
    for strategy in [Strategy::Canary, Strategy::Rolling] {
        let settled = settled(strategy);
        for (behaviour, stable) in [(Behaviour::Healthy, "v2"), (Behaviour::Errors(5), "v1")] {
            for lost_at in (0..45).step_by(2) {
                let mut world = settled.clone();
                world.merge("v2", strategy, behaviour);
                for _ in 0..lost_at {
                    world.tick();
                }
                world.label = format!("{strategy:?} {behaviour:?} lost after {lost_at} s");
                world.record = None;
                world.restart();
                world.transitions.clear();
                world.settle(900);
                let at = format!("{strategy:?} {behaviour:?} lost after {lost_at} s");
                assert_eq!(world.stable_tag().as_deref(), Some(stable), "{at}");
                assert!(!world.has_object("web-canary"), "{at}");
                assert!(!world.deletes.contains_key("apps/v1:Deployment:shop:web"), "{at}");
                if stable == "v1" {
                    let rollouts = world.record.as_ref().unwrap().rollouts;
                    for _ in 0..200 {
                        world.tick();
                    }
                    assert_eq!(world.record.as_ref().unwrap().rollouts, rollouts, "{at}: held");
                }
            }
        }
    }
}
