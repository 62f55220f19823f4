//! A StatefulSet on the toy cluster: its controller, and what a person would tell of its rollouts.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::world::{Behaviour, Cut, World};
use crate::model::desired::Desired;
use crate::model::object::{Manifest, ObjectKey, Role};
use crate::model::policy::Strategy;
use crate::model::rollout::{Hold, Outcome, Phase};
use crate::render;

/// Makes a StatefulSet of the Deployment of a declaration.
pub fn stateful(desired: &mut Desired) {
    for manifest in desired.objects.iter_mut().filter(|manifest| manifest.role == Role::Workload) {
        let mut body = manifest.body.clone();
        body["kind"] = json!("StatefulSet");
        body["spec"]["updateStrategy"] = json!({"type": "RollingUpdate", "rollingUpdate": {"partition": 0}});
        let key = ObjectKey { kind: "StatefulSet".to_owned(), ..manifest.key.clone() };
        *manifest = Manifest { key, role: Role::Workload, hash: render::content_hash(&body), body };
    }
}

impl World {
    /// The StatefulSet controller, one round: pods in order, replaced from the highest down to the partition.
    pub fn stateful_sets(&mut self) {
        let keys: Vec<ObjectKey> =
            self.objects.keys().filter(|key| key.kind == "StatefulSet").cloned().collect();
        for key in keys {
            self.stateful_set(&key);
        }
    }

    fn stateful_set(&mut self, key: &ObjectKey) {
        self.clock += 1;
        let version = self.clock;
        let object = self.objects.get_mut(key).unwrap();
        let template = object.body["spec"]["template"].clone();
        let update = render::content_hash(&template).0;
        let current = object.body["status"]["currentRevision"].as_str().unwrap_or(&update).to_owned();
        let wanted = usize::try_from(object.body["spec"]["replicas"].as_u64().unwrap_or(1)).unwrap();
        let rolling = &object.body["spec"]["updateStrategy"]["rollingUpdate"];
        let partition = usize::try_from(rolling["partition"].as_u64().unwrap_or(0)).unwrap();
        let (uid, generation) = (object.uid.clone(), object.body["metadata"]["generation"].clone());
        self.templates.insert(update.clone(), template);
        let all_new = self.pods.len() == wanted
            && self.pods.iter().all(|pod| pod.revision == update && pod.ready_since.is_some());
        let object = self.objects.get_mut(key).unwrap();
        object.version = version;
        object.body["status"] = json!({"observedGeneration": generation, "updateRevision": update,
            "currentRevision": if all_new { &update } else { &current }});
        for ordinal in 0..wanted {
            let name = format!("{}-{ordinal}", key.name);
            match self.pods.iter().find(|pod| pod.name == name) {
                None => {
                    let revision = if ordinal < partition { &current } else { &update };
                    let image = self.templates[revision]["spec"]["containers"][0]["image"].as_str().unwrap();
                    let image = image.split_once('@').unwrap().1.to_owned();
                    let mut pod = self.pod(&uid, &image, "stable");
                    (pod.name, pod.revision) = (name, revision.clone());
                    self.pods.push(pod);
                    return;
                }
                Some(pod) if pod.ready_since.is_none() => return,
                Some(_) => {}
            }
        }
        let place = |name: &str| name.rsplit('-').next().unwrap().parse::<usize>().unwrap();
        let surplus = self.pods.iter().map(|pod| place(&pod.name)).filter(|at| *at >= wanted).max();
        let old = self.pods.iter().filter(|pod| pod.revision != update && place(&pod.name) >= partition);
        if let Some(at) = surplus.or(old.map(|pod| place(&pod.name)).max()) {
            self.pods.retain(|pod| place(&pod.name) != at);
        }
    }

    /// How many pods run the image of each tag, and how many of all are ready.
    pub(super) fn spread(&self) -> (Vec<usize>, usize) {
        let of = |tag: &str| {
            let digest = super::world::digest(tag);
            self.pods.iter().filter(|pod| pod.image_id.as_ref() == Some(&digest)).count()
        };
        (
            ["v1", "v2", "v3"].map(of).to_vec(),
            self.pods.iter().filter(|pod| pod.ready_since.is_some()).count(),
        )
    }

    fn set(&self) -> &Value {
        let mut all = self.objects.iter();
        all.find(|(key, _)| key.kind == "StatefulSet").map(|(_, object)| &*object.body).unwrap()
    }
}

fn world(strategy: Strategy, behaviour: Behaviour) -> World {
    let mut world = World::new();
    world.stateful = true;
    world.merge("v1", strategy, behaviour);
    world
}

fn settled(strategy: Strategy) -> World {
    let mut world = world(strategy, Behaviour::Healthy);
    world.settle(200);
    world
}

pub(super) fn outcomes(world: &World) -> Vec<Outcome> {
    world.record.as_ref().unwrap().history.values().map(|summary| summary.outcome).collect()
}

/// Plays on until nothing runs; returns how the pods were spread on the way, and the fewest that were ready.
pub(super) fn play(world: &mut World, seconds: u32) -> (Vec<Vec<usize>>, usize) {
    let (mut spreads, mut fewest): (Vec<Vec<usize>>, _) = (Vec::new(), usize::MAX);
    for _ in 0..seconds {
        world.tick();
        let (spread, ready) = world.spread();
        if spreads.last() != Some(&spread) {
            spreads.push(spread);
        }
        fewest = fewest.min(ready);
    }
    assert_eq!(world.record.as_ref().unwrap().rollout.as_ref().map(|rollout| rollout.phase), None);
    (spreads, fewest)
}

#[test]
fn a_good_canary_takes_pod_after_pod_and_the_real_share_is_said() {
    let mut world = settled(Strategy::Canary);
    assert!(!world.has_object("web-canary"));
    world.merge("v2", Strategy::Canary, Behaviour::Healthy);
    let mut partitions = BTreeSet::new();
    let mut fewest = 3;
    for _ in 0..120 {
        world.tick();
        partitions.insert(world.set()["spec"]["updateStrategy"]["rollingUpdate"]["partition"].as_u64());
        fewest = fewest.min(world.spread().1);
    }
    assert_eq!(outcomes(&world), [Outcome::Promoted, Outcome::Promoted]);
    assert_eq!(partitions, BTreeSet::from([Some(0), Some(2)]));
    assert_eq!((world.spread().0, fewest), (vec![0, 3, 0], 2), "one pod at a time");
    let said: Vec<&String> = world.transitions.iter().map(|transition| &transition.sentence).collect();
    let step = said.iter().find(|sentence| sentence.starts_with("step 1 of 3")).unwrap();
    assert!(step.starts_with("step 1 of 3 passed (asked 10 %, got 33 %: 1 of 3 pods): error_rate"), "{step}");
    assert!(!world.has_object("web-canary"));
}

#[test]
fn a_bad_canary_goes_back_and_the_broken_pod_is_replaced() {
    for behaviour in [Behaviour::Crash, Behaviour::Errors(5), Behaviour::FailsChecks, Behaviour::NeverStarts]
    {
        for strategy in [Strategy::Canary, Strategy::Rolling] {
            let mut world = settled(strategy);
            world.merge("v2", strategy, behaviour);
            let (spreads, fewest) = play(&mut world, 400);
            let at = format!("{strategy:?} {behaviour:?}: {spreads:?}");
            assert_eq!(outcomes(&world), [Outcome::Promoted, Outcome::RolledBack], "{at}");
            assert_eq!(world.spread(), (vec![3, 0, 0], 3), "{at}");
            assert!(fewest >= 2, "{at}");
            let most = if strategy == Strategy::Canary { 1 } else { 3 };
            assert!(spreads.iter().all(|spread| spread[1] <= most), "{at}");
            let held = world.record.as_ref().unwrap().held.values().next().unwrap().hold;
            let proven = behaviour != Behaviour::NeverStarts;
            assert_eq!(held, if proven { Hold::Held } else { Hold::Parked }, "{at}");
        }
    }
}

#[test]
fn a_newer_version_waits_for_the_way_back_of_a_canary() {
    let mut world = settled(Strategy::Canary);
    world.merge("v2", Strategy::Canary, Behaviour::Healthy);
    assert!(world.until(60, |world| world.spread().0 == [2, 1, 0]));
    world.merge("v3", Strategy::Canary, Behaviour::Healthy);
    let (spreads, _) = play(&mut world, 200);
    assert_eq!(outcomes(&world), [Outcome::Promoted, Outcome::Superseded, Outcome::Promoted]);
    assert!(spreads.contains(&vec![3, 0, 0]), "{spreads:?}");
    assert!(spreads.iter().all(|spread| spread[1] == 0 || spread[2] == 0), "three templates: {spreads:?}");
    assert_eq!(world.spread().0, [0, 0, 3]);
}

#[test]
fn a_first_version_that_never_came_up_does_not_keep_the_next_one_from_coming() {
    let mut world = world(Strategy::Canary, Behaviour::Crash);
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
fn another_workload_is_refused_while_one_is_there() {
    let mut world = settled(Strategy::Canary);
    world.stateful = false;
    world.merge("v2", Strategy::Canary, Behaviour::Healthy);
    let (spreads, _) = play(&mut world, 30);
    assert_eq!(spreads, [vec![3, 0, 0]]);
    let record = world.record.as_ref().unwrap();
    let held = record.held.values().next().unwrap();
    assert_eq!(held.hold, Hold::Parked);
    let said = held.verdict.to_string();
    assert!(said.contains("would be Deployment web and is StatefulSet web"), "{said}");
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
        let settled = settled(strategy);
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
fn a_record_lost_at_any_moment_is_rebuilt_and_gives_no_more_than_was_given() {
    for strategy in [Strategy::Canary, Strategy::Rolling] {
        let settled = settled(strategy);
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
                let given = world.spread().0[1];
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
                assert!(!world.deletes.contains_key("apps/v1:StatefulSet:shop:web"), "{at}");
            }
        }
    }
}
