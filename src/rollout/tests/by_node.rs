//! A DaemonSet on the toy cluster: its controller, and what a person would tell of its rollouts.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::in_place::{outcomes, play};
use super::world::{Behaviour, Cut, World};
use crate::model::desired::Desired;
use crate::model::object::{Manifest, ObjectKey, Role};
use crate::model::policy::{Amount, Strategy};
use crate::model::rollout::{Hold, Outcome, Phase};
use crate::model::verdict::Gate;
use crate::render;

/// Makes a DaemonSet of the Deployment of a declaration.
pub fn by_node(desired: &mut Desired) {
    desired.replicas = 0;
    for manifest in desired.objects.iter_mut().filter(|manifest| manifest.role == Role::Workload) {
        let mut body = manifest.body.clone();
        body["kind"] = json!("DaemonSet");
        body["spec"].as_object_mut().unwrap().remove("replicas");
        body["spec"]["updateStrategy"] =
            json!({"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 1}});
        let key = ObjectKey { kind: "DaemonSet".to_owned(), ..manifest.key.clone() };
        *manifest = Manifest { key, role: Role::Workload, hash: render::content_hash(&body), body };
    }
}

impl World {
    /// The DaemonSet controller, one round: a pod on every node, made from the template that stands.
    pub fn daemon_sets(&mut self) {
        let all = self.objects.keys().filter(|key| key.kind == "DaemonSet").cloned();
        for key in all.collect::<Vec<ObjectKey>>() {
            self.clock += 1;
            let version = self.clock;
            let nowhere = self.objects[&key].body["spec"]["template"]["spec"]["nodeSelector"].is_object();
            let nodes = if nowhere { Vec::new() } else { self.nodes.clone() };
            let object = self.objects.get_mut(&key).unwrap();
            object.version = version;
            let generation = object.body["metadata"]["generation"].clone();
            object.body["status"] =
                json!({"observedGeneration": generation, "desiredNumberScheduled": nodes.len()});
            let (uid, spec) = (object.uid.clone(), object.body["spec"].clone());
            let newest =
                spec["template"]["metadata"]["labels"]["idp.dev/template"].as_str().unwrap().to_owned();
            self.pods.retain(|pod| nodes.contains(&pod.node));
            let all_ready = self.pods.iter().all(|pod| pod.ready_since.is_some());
            if spec["updateStrategy"]["type"] == "RollingUpdate" && self.pods.len() == nodes.len() {
                let old = self.pods.iter().position(|pod| {
                    pod.revision != newest
                        && (all_ready || pod.ready_since.is_none())
                        && !self.lost.contains(&pod.node)
                });
                old.map(|at| self.pods.remove(at));
            }
            let image = spec["template"]["spec"]["containers"][0]["image"].as_str().unwrap();
            let image = image.split_once('@').unwrap().1;
            let without = |node: &&String| self.pods.iter().all(|pod| pod.node != **node);
            let empty: BTreeSet<String> = nodes.iter().filter(without).cloned().collect();
            for node in std::mem::replace(&mut self.empty, empty) {
                if nodes.contains(&node) && self.empty.remove(&node) {
                    self.clock += 1;
                    let mut pod = self.pod(&uid, image, "stable");
                    (pod.node, pod.revision) = (node, newest.clone());
                    self.pods.push(pod);
                }
            }
        }
    }

    fn agents(&self) -> &Value {
        let mut all = self.objects.iter();
        all.find(|(key, _)| key.kind == "DaemonSet").map(|(_, object)| &object.body["spec"]).unwrap()
    }

    /// The nodes whose pods run the image of a tag.
    fn with(&self, tag: &str) -> BTreeSet<String> {
        let digest = super::world::digest(tag);
        let pods = self.pods.iter().filter(|pod| pod.image_id.as_ref() == Some(&digest));
        pods.map(|pod| pod.node.clone()).collect()
    }
}

fn world(nodes: usize, strategy: Strategy, behaviour: Behaviour) -> World {
    let mut world = World::new();
    world.nodes = (0..nodes).map(|number| format!("node-{number}")).collect();
    world.merge("v1", strategy, behaviour);
    world
}

fn settled(nodes: usize, strategy: Strategy) -> World {
    let mut world = world(nodes, strategy, Behaviour::Healthy);
    world.settle(200);
    world
}

#[test]
fn a_good_canary_walks_from_node_to_node_and_the_real_share_is_said() {
    let mut world = settled(4, Strategy::Canary);
    assert_eq!(world.agents()["updateStrategy"]["type"], "RollingUpdate");
    world.merge("v2", Strategy::Canary, Behaviour::Healthy);
    let (mut kinds, mut spreads, mut fewest) = (BTreeSet::new(), Vec::new(), 4);
    for _ in 0..160 {
        world.tick();
        kinds.insert(world.agents()["updateStrategy"]["type"].as_str().unwrap().to_owned());
        let (spread, ready) = world.spread();
        if spreads.last() != Some(&spread) {
            spreads.push(spread);
        }
        fewest = fewest.min(ready);
    }
    assert_eq!(outcomes(&world), [Outcome::Promoted, Outcome::Promoted]);
    let way = [[4, 0], [3, 0], [3, 1], [2, 1], [2, 2], [1, 2], [1, 3], [0, 3], [0, 4]];
    assert_eq!(spreads, way.map(|[old, new]| vec![old, new, 0]));
    assert_eq!((fewest, kinds.len()), (3, 2), "one at a time: {kinds:?}");
    assert_eq!(world.agents()["updateStrategy"]["type"], "RollingUpdate", "as its team wants it");
    let said: Vec<&String> = world.transitions.iter().map(|transition| &transition.sentence).collect();
    let step = said.iter().find(|sentence| sentence.starts_with("step 1 of 3")).unwrap();
    assert!(step.starts_with("step 1 of 3 passed (asked 10 %, got 25 %: 1 of 4 pods): error_rate"), "{step}");
    assert!(!world.has_object("web-canary"));
}

#[test]
fn a_bad_version_goes_back_and_no_more_than_one_pod_is_away() {
    for behaviour in [Behaviour::Crash, Behaviour::Errors(5), Behaviour::FailsChecks, Behaviour::NeverStarts]
    {
        for strategy in [Strategy::Canary, Strategy::Rolling] {
            let mut world = settled(4, strategy);
            world.merge("v2", strategy, behaviour);
            let (spreads, fewest) = play(&mut world, 400);
            let at = format!("{strategy:?} {behaviour:?}: {spreads:?}");
            assert_eq!(outcomes(&world), [Outcome::Promoted, Outcome::RolledBack], "{at}");
            assert_eq!(world.spread(), (vec![4, 0, 0], 4), "{at}");
            assert_eq!(fewest, 3, "{at}");
            let ready = matches!(behaviour, Behaviour::Errors(_) | Behaviour::FailsChecks);
            let most = if strategy == Strategy::Rolling && ready { 4 } else { 1 };
            assert!(spreads.iter().all(|spread| spread[1] <= most), "{at}");
            let held = world.record.as_ref().unwrap().held.values().next().unwrap().hold;
            let proven = behaviour != Behaviour::NeverStarts;
            assert_eq!(held, if proven { Hold::Held } else { Hold::Parked }, "{at}");
            assert_eq!(world.agents()["updateStrategy"]["type"], "RollingUpdate", "{at}");
        }
    }
}

#[test]
fn as_many_may_be_away_as_the_file_says() {
    let mut world = settled(6, Strategy::Rolling);
    world.merge("v2", Strategy::Rolling, Behaviour::Healthy);
    world.desired_mut().policy.max_unavailable = Amount::Percent(50);
    let (spreads, fewest) = play(&mut world, 100);
    assert_eq!((world.spread().0, fewest), (vec![0, 6, 0], 3), "{spreads:?}");
}

#[test]
fn a_node_that_comes_during_a_canary_has_the_candidate_until_the_way_back() {
    let mut world = settled(4, Strategy::Canary);
    world.merge("v2", Strategy::Canary, Behaviour::Healthy);
    assert!(world.until(60, |world| world.spread() == (vec![3, 1, 0], 4)));
    world.nodes.push("new".to_owned());
    assert!(world.until(10, |world| world.spread() == (vec![3, 2, 0], 5)));
    let number = world.record.as_ref().unwrap().rollouts;
    let abort =
        crate::model::command::Command::new(crate::model::command::Verb::Abort, "ann", "no", world.now);
    world.commands.insert("c".to_owned(), abort);
    let (spreads, _) = play(&mut world, 60);
    assert_eq!(world.spread(), (vec![5, 0, 0], 5), "rollout {number}: {spreads:?}");
    assert_eq!(world.record.as_ref().unwrap().replicas, 5);
}

#[test]
fn a_node_that_does_not_answer_keeps_no_version_from_coming() {
    let mut world = settled(4, Strategy::Canary);
    world.lost.insert("node-2".to_owned());
    world.merge("v2", Strategy::Canary, Behaviour::Healthy);
    let (spreads, fewest) = play(&mut world, 200);
    assert_eq!(outcomes(&world), [Outcome::Promoted, Outcome::Promoted], "{spreads:?}");
    assert_eq!((world.spread().0, fewest), (vec![1, 3, 0], 2), "{spreads:?}");
    assert_eq!(world.with("v1"), BTreeSet::from(["node-2".to_owned()]));
    world.lost.clear();
    for _ in 0..5 {
        world.tick();
    }
    assert_eq!(world.spread(), (vec![0, 4, 0], 4), "its controller has the pods again");
}

#[test]
fn the_nodes_are_the_same_after_a_restart_and_others_the_next_time() {
    let mut firsts = BTreeSet::new();
    let mut world = settled(8, Strategy::Canary);
    for tag in ["v2", "v3", "v4", "v5"] {
        world.merge(tag, Strategy::Canary, Behaviour::Healthy);
        assert!(world.until(60, |world| world.with(tag).len() == 1));
        let chosen = world.with(tag);
        for _ in 0..3 {
            world.restart();
            world.tick();
        }
        assert_eq!(world.with(tag), chosen);
        firsts.extend(chosen);
        world.settle(300);
    }
    assert!(firsts.len() > 1, "{firsts:?}");
}

#[test]
fn a_version_that_waits_for_a_person_takes_no_further_node() {
    let mut world = settled(4, Strategy::Canary);
    world.merge("v2", Strategy::Canary, Behaviour::Errors(5));
    world.desired_mut().policy.rollback.auto = false;
    let frozen = |world: &World| {
        let rollout = world.record.as_ref().unwrap().rollout.as_ref();
        rollout.is_some_and(|rollout| rollout.frozen_since.is_some())
    };
    assert!(world.until(60, frozen));
    let before = world.with("v2");
    for _ in 0..60 {
        world.tick();
    }
    assert_eq!(world.with("v2"), before);
}

#[test]
fn a_first_version_that_never_came_up_does_not_keep_the_next_one_from_coming() {
    let mut world = world(3, Strategy::Canary, Behaviour::Crash);
    assert!(world.until(60, |world| !world.record.as_ref().is_none_or(|r| r.history.is_empty())));
    assert_eq!(outcomes(&world), [Outcome::Failed]);
    world.merge("v2", Strategy::Canary, Behaviour::Healthy);
    world.settle(200);
    assert_eq!(
        (outcomes(&world), world.spread().0),
        (vec![Outcome::Failed, Outcome::Promoted], vec![0, 3, 0])
    );
}

#[test]
fn a_stable_that_is_broken_everywhere_is_replaced_everywhere() {
    let mut world = settled(3, Strategy::Rolling);
    world.push_image("v1", Behaviour::Crash);
    world.kill_pods("stable");
    world.merge("v2", Strategy::Rolling, Behaviour::Healthy);
    world.settle(300);
    assert_eq!(world.spread(), (vec![0, 3, 0], 3));
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

#[test]
fn a_rollout_cut_before_a_write_after_it_and_with_its_reply_lost() {
    for strategy in [Strategy::Canary, Strategy::Rolling] {
        let settled = settled(3, strategy);
        for behaviour in [Behaviour::Healthy, Behaviour::Errors(5), Behaviour::Crash] {
            let whole = then(&settled, strategy, behaviour, None);
            assert!(whole.mutations > settled.mutations + 8, "{} mutations", whole.mutations);
            for at in settled.mutations + 1..=whole.mutations {
                for cut in [Cut::Before, Cut::ReplyLost, Cut::After] {
                    let found = then(&settled, strategy, behaviour, Some((at, cut)));
                    let label = format!("{strategy:?} {behaviour:?} cut {cut:?} mutation {at}");
                    assert_eq!(found.fingerprint(), whole.fingerprint(), "{label}");
                    assert_eq!(found.spread(), whole.spread(), "{label}");
                }
            }
        }
    }
}

#[test]
fn a_first_deploy_cut_anywhere_ends_the_same_and_is_created_without_a_pod() {
    let play = |cut: Option<(u64, Cut)>| {
        let mut world = world(3, Strategy::Canary, Behaviour::Healthy);
        world.cut = cut;
        world.settle(300);
        world
    };
    let whole = play(None);
    for at in 1..=whole.mutations {
        for cut in [Cut::Before, Cut::ReplyLost, Cut::After] {
            let found = play(Some((at, cut)));
            assert_eq!(found.fingerprint(), whole.fingerprint(), "cut {cut:?} mutation {at}");
        }
    }
    let mut world = world(3, Strategy::Canary, Behaviour::Healthy);
    let made = |world: &World| world.objects.keys().any(|key| key.kind == "DaemonSet");
    while !made(&world) {
        assert!(world.pods.is_empty());
        world.pass();
    }
    world.daemon_sets();
    assert!(world.pods.is_empty(), "a creation that comes too late starts nothing");
}

#[test]
fn a_record_lost_at_any_moment_is_rebuilt_and_gives_no_more_than_was_given() {
    for strategy in [Strategy::Canary, Strategy::Rolling] {
        let settled = settled(4, strategy);
        for (behaviour, stable) in [(Behaviour::Healthy, "v2"), (Behaviour::Errors(5), "v1")] {
            for lost_at in 0..40 {
                let mut world = settled.clone();
                world.merge("v2", strategy, behaviour);
                for _ in 0..lost_at {
                    world.tick();
                }
                let at = format!("{strategy:?} {behaviour:?} lost after {lost_at} s");
                let phase =
                    world.record.as_ref().and_then(|r| r.rollout.as_ref().map(|rollout| rollout.phase));
                // A node whose pod was deleted has been given, too.
                let given = 4 - world.spread().0[0];
                world.record = None;
                world.restart();
                world.transitions.clear();
                world.tick();
                world.tick();
                if phase == Some(Phase::Progressing) {
                    assert!(world.spread().0[1] <= given.max(1), "{at}: {:?} of {given}", world.spread());
                }
                world.settle(900);
                assert_eq!(world.stable_tag().as_deref(), Some(stable), "{at}");
                assert!(!world.deletes.contains_key("apps/v1:DaemonSet:shop:web"), "{at}");
                assert_eq!(world.agents()["updateStrategy"]["type"], "RollingUpdate", "{at}");
            }
        }
    }
}

#[test]
fn too_little_room_parks_and_says_so() {
    let mut world = settled(3, Strategy::Canary);
    world.merge("v2", Strategy::Canary, Behaviour::NeverStarts);
    play(&mut world, 400);
    let held = world.record.as_ref().unwrap().held.values().next().unwrap().verdict.clone();
    assert_eq!(held.gate, Gate::Deadline);
}
