//! Stories with an autoscaler beside us, ours or the team's: it is never fought, and no pods are missed when the candidate's go.

use serde_json::{Value, json};

use super::gateway::{http_key, http_route};
use super::world::{Behaviour, World};
use crate::model::autoscale::Autoscale;
use crate::model::object::ObjectKey;
use crate::model::policy::Strategy;
use crate::model::rollout::{Hold, Outcome};
use crate::model::traffic::{Provider, Traffic};

/// An autoscaler: pods by their use, which it hears of late; it lowers after so many seconds.
struct Toy {
    min: u32,
    max: u32,
    /// The pods that the traffic needs, all tracks together.
    load: u32,
    patience: usize,
    /// What each pod of stable had to do, in parts of what it should.
    used: Vec<f64>,
    wanted: Vec<u32>,
    /// The fewest ready pods that there ever were, both tracks together.
    fewest: u32,
}

/// Seconds after which the use of a pod is known, and between two looks.
const LATE: usize = 2;
const PERIOD: usize = 4;
const BOUNDS: Autoscale = Autoscale { min: 2, max: 12, cpu: 70 };

fn toy(load: u32, patience: usize) -> Toy {
    Toy {
        min: BOUNDS.min,
        max: BOUNDS.max,
        load,
        patience,
        used: Vec::new(),
        wanted: Vec::new(),
        fewest: u32::MAX,
    }
}

fn ready(world: &World, track: &str) -> u32 {
    let pods = world.pods.iter().filter(|pod| pod.track == track && pod.ready_since.is_some());
    u32::try_from(pods.count()).unwrap()
}

fn size(world: &World) -> u32 {
    let body = &world.fingerprint()["objects"]["apps/v1:Deployment:shop:web"];
    u32::try_from(body["spec"]["replicas"].as_u64().unwrap_or(0)).unwrap()
}

impl Toy {
    /// Gives stable what its share of the traffic needs.
    fn act(&mut self, world: &mut World) {
        let (stable, canary) = (ready(world, "stable"), ready(world, "canary"));
        self.fewest = self.fewest.min(stable + canary);
        let current = size(world);
        if current == 0 || stable + canary == 0 {
            return;
        }
        let used = match world.share() {
            Some(share) => f64::from(self.load * u32::from(100 - share)) / f64::from(100 * stable.max(1)),
            None => f64::from(self.load) / f64::from(stable + canary),
        };
        self.used.push(used);
        if !self.used.len().is_multiple_of(PERIOD) {
            return;
        }
        let used = self.used[self.used.len().saturating_sub(LATE)];
        let needed =
            if (used - 1.0).abs() <= 0.1 { f64::from(current) } else { (f64::from(current) * used).ceil() };
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        self.wanted.push((needed as u32).clamp(self.min, self.max));
        let from = self.wanted.len().saturating_sub(self.patience + 1);
        let wanted = self.wanted[from..].iter().copied().max().unwrap();
        if wanted != current {
            world.edit("web", |body| body["spec"]["replicas"] = wanted.into());
            world.stir();
        }
    }

    fn until(&mut self, world: &mut World, seconds: u32, done: impl Fn(&World) -> bool) -> bool {
        for _ in 0..seconds {
            world.tick();
            self.act(world);
            if done(world) {
                return true;
            }
        }
        false
    }

    fn settle(&mut self, world: &mut World, tag: &str) {
        let done = self.until(world, 600, |world| at_rest(world, tag));
        assert!(
            done,
            "not settled: {:?}",
            world.record.as_ref().map(|record| (&record.message, &record.rollout))
        );
        self.until(world, 20, |_| false);
    }
}

fn at_rest(world: &World, tag: &str) -> bool {
    let rests = world.record.as_ref().is_some_and(|record| record.rollout.is_none() && !record.incident);
    rests && world.stable_tag().as_deref() == Some(tag)
}

fn own_key() -> ObjectKey {
    "autoscaling/v2:HorizontalPodAutoscaler:shop:web".parse().unwrap()
}

fn foreign() -> (ObjectKey, Value) {
    let key = "autoscaling/v2:HorizontalPodAutoscaler:shop:keda-hpa-web".parse().unwrap();
    let target = json!({"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"});
    let spec = json!({"scaleTargetRef": target, "minReplicas": 1, "maxReplicas": 12});
    (key, json!({"metadata": {"name": "keda-hpa-web", "namespace": "shop"}, "spec": spec}))
}

/// A release with an autoscaler of ours, which holds eight pods.
fn scaled(patience: usize) -> (World, Toy) {
    let (mut world, mut toy) = (World::new(), toy(8, patience));
    world.merge("v1", Strategy::Canary, Behaviour::Healthy);
    declare(&mut world);
    toy.settle(&mut world, "v1");
    assert_eq!((size(&world), n(&world)), (8, 8));
    toy.fewest = u32::MAX;
    (world, toy)
}

fn declare(world: &mut World) {
    let desired = world.desired_mut();
    (desired.replicas, desired.autoscale) = (BOUNDS.min, Some(BOUNDS));
    world.stir();
}

fn n(world: &World) -> u32 {
    world.record.as_ref().unwrap().replicas
}

fn outcome(world: &World, number: u64) -> Outcome {
    world.record.as_ref().unwrap().history[&number].outcome
}

#[test]
fn twelve_pods_stay_twelve_when_an_autoscaler_takes_over_and_when_it_goes() {
    let mut world = World::new();
    world.merge("v1", Strategy::Canary, Behaviour::Healthy);
    world.desired_mut().replicas = 12;
    world.settle(200);
    assert_eq!((world.sized.as_slice(), world.has_object("web")), (&[12][..], true));
    declare(&mut world);
    world.settle(30);
    assert_eq!((size(&world), n(&world), world.sized.len()), (12, 12, 1), "nothing is written");
    let made = world.fingerprint()["objects"][own_key().to_string()].clone();
    assert_eq!((&made["spec"]["minReplicas"], &made["spec"]["maxReplicas"]), (&json!(2), &json!(12)));
    assert_eq!(made["spec"]["metrics"][0]["resource"]["target"]["averageUtilization"], 70);
    assert_eq!(world.kinds().last(), Some(&"Applied"), "and no rollout");
    world.edit("web", |body| body["spec"]["replicas"] = 9.into());
    world.stir();
    world.settle(30);
    assert_eq!((size(&world), n(&world)), (9, 9), "its word holds");
    assert!(!world.kinds().contains(&"DriftCorrected"));
    (world.desired_mut().replicas, world.desired_mut().autoscale) = (9, None);
    world.stir();
    world.settle(30);
    assert_eq!((size(&world), n(&world), world.sized.len()), (9, 9, 1), "nothing is written");
    assert_eq!(world.deletes.get(&own_key().to_string()), Some(&1), "the autoscaler is gone");
    assert_eq!(world.record.as_ref().unwrap().rollouts, 1);
    world.desired_mut().replicas = 4;
    world.stir();
    world.settle(30);
    assert_eq!((size(&world), world.raised.len()), (4, 0), "from here on the number holds");
}

#[test]
fn the_autoscaler_of_the_team_is_found_and_respected() {
    let mut world = World::new();
    world.merge("v1", Strategy::Canary, Behaviour::Healthy);
    world.settle(200);
    let (key, body) = foreign();
    world.put_route(&key, &body);
    let mut toy = toy(8, 0);
    toy.until(&mut world, 60, |_| false);
    assert_eq!((size(&world), n(&world), world.sized.len()), (8, 8, 1));
    assert!(!world.kinds().contains(&"DriftCorrected"), "it is no drift");
    let before = world.mutations;
    toy.until(&mut world, 200, |_| false);
    assert_eq!(world.mutations, before);
    // One that rests at nothing, as KEDA's does, is left there.
    world.edit("web", |body| body["spec"]["replicas"] = 0.into());
    world.stir();
    for _ in 0..30 {
        world.tick();
    }
    assert_eq!((size(&world), n(&world), world.sized.len(), world.raised.len()), (0, 0, 1, 0));
}

#[test]
fn a_good_canary_stands_beside_all_of_stable_which_is_raised_once_at_the_end() {
    for patience in [0, 5, 60] {
        let (mut world, mut toy) = scaled(patience);
        world.merge("v2", Strategy::Canary, Behaviour::Healthy);
        declare(&mut world);
        assert!(toy.until(&mut world, 60, |world| ready(world, "canary") > 0));
        assert_eq!(ready(&world, "canary"), 1, "10 % beside eight");
        assert!(toy.until(&mut world, 200, |world| world.phase() == "Promoting"));
        assert_eq!(n(&world), 8, "what was held at most");
        toy.settle(&mut world, "v2");
        assert_eq!(size(&world), 8);
        assert_eq!(world.sized.len(), 1, "nothing but the first deploy gave stable a size");
        assert!(world.raised.len() <= 1 && world.raised.iter().all(|size| *size == 8), "{:?}", world.raised);
        assert!(patience > 5 || world.raised.len() == 1, "it was lowered, and raised");
        assert!(patience == 0 || toy.fewest >= 8, "{} were ready with {patience} s", toy.fewest);
        assert!(world.weights.iter().all(|(_, canary)| *canary <= 8));
    }
}

#[test]
fn a_bad_canary_leaves_as_many_pods_as_were_held_before() {
    for patience in [0, 5, 60] {
        let (mut world, mut toy) = scaled(patience);
        world.merge("v2", Strategy::Canary, Behaviour::Healthy);
        declare(&mut world);
        let half = |world: &World| world.record.as_ref().unwrap().weight == 50 && ready(world, "canary") > 4;
        assert!(toy.until(&mut world, 200, half));
        toy.until(&mut world, 6, |_| false);
        world.behaviours.insert(super::world::digest("v2"), Behaviour::Errors(20));
        toy.settle(&mut world, "v1");
        assert_eq!((outcome(&world, 2), size(&world)), (Outcome::RolledBack, 8));
        assert!(world.raised.len() <= 1, "{:?}", world.raised);
        assert!(patience == 0 || toy.fewest >= 8, "{} were ready with {patience} s", toy.fewest);
    }
}

#[test]
fn with_a_router_the_candidate_has_its_share_of_what_was_held_at_most() {
    let (mut world, mut toy) = scaled(5);
    world.put_route(&http_key(), &http_route(&json!([{"name": "web", "port": 8080}])));
    world.merge("v2", Strategy::Canary, Behaviour::Healthy);
    declare(&mut world);
    let steps = &mut world.desired_mut().policy.steps;
    steps[1].weight = 75;
    toy.settle(&mut world, "v2");
    let mut sizes: Vec<u32> = world.weights.iter().filter(|(n, _)| *n == 2).map(|(_, size)| *size).collect();
    sizes.dedup();
    assert_eq!((&sizes[..4], sizes.last()), (&[0, 1, 6, 8][..], Some(&0)));
    assert_eq!((size(&world), world.sized.len(), world.raised.as_slice()), (8, 1, &[8][..]));
}

#[test]
fn bounds_of_the_head_hold_at_once_in_the_middle_of_a_canary() {
    let (mut world, mut toy) = scaled(5);
    world.merge("v2", Strategy::Canary, Behaviour::Healthy);
    declare(&mut world);
    assert!(toy.until(&mut world, 60, |world| ready(world, "canary") > 0));
    world.desired_mut().autoscale = Some(Autoscale { min: 3, max: 6, cpu: 70 });
    (toy.min, toy.max) = (3, 6);
    toy.wanted.clear();
    toy.until(&mut world, 6, |_| false);
    let live = &world.fingerprint()["objects"][own_key().to_string()]["spec"];
    assert_eq!((&live["minReplicas"], &live["maxReplicas"]), (&json!(3), &json!(6)));
    assert_eq!((n(&world), world.record.as_ref().unwrap().rollouts), (6, 2), "and no other rollout begins");
    toy.settle(&mut world, "v2");
    assert_eq!(size(&world), 6);
}

#[test]
fn a_weight_that_is_not_to_be_had_is_refused_before_anything_is_changed() {
    let (mut world, mut toy) = scaled(5);
    world.merge("v2", Strategy::Canary, Behaviour::Healthy);
    declare(&mut world);
    world.desired_mut().policy.steps[1].weight = 75;
    assert!(toy.until(&mut world, 60, |world| world.record.as_ref().unwrap().history.contains_key(&2)));
    let record = world.record.as_ref().unwrap();
    assert_eq!((record.held[&2].hold, world.has_object("web-canary")), (Hold::Parked, false));
    let verdict = &record.history[&2].verdict;
    let wanted = "`deploy.canary[1].weight` is 75: HorizontalPodAutoscaler shop/web scales the service";
    assert!(verdict.contains(wanted) && verdict.contains("write 50 or less, add a route"), "{verdict}");
    // With a number of pods it is to be had.
    let (mut world, _) = (world, toy);
    world.merge("v3", Strategy::Canary, Behaviour::Healthy);
    world.desired_mut().policy.steps[1].weight = 75;
    world.desired_mut().policy.traffic = Traffic { provider: Provider::Replicas, ..Traffic::default() };
    assert!(world.until(400, |world| world.stable_tag().as_deref() == Some("v3")));
}

#[test]
fn two_autoscalers_are_refused_and_the_one_that_is_there_stays() {
    let mut world = World::new();
    world.merge("v1", Strategy::Canary, Behaviour::Healthy);
    world.settle(200);
    let (key, body) = foreign();
    world.put_route(&key, &body);
    declare(&mut world);
    for _ in 0..20 {
        world.tick();
    }
    let record = world.record.as_ref().unwrap();
    assert!(record.message.contains("keda-hpa-web scales the service already"), "{}", record.message);
    assert!(!world.creates.contains_key(&own_key().to_string()));
    world.merge("v2", Strategy::Canary, Behaviour::Healthy);
    declare(&mut world);
    assert!(world.until(60, |world| world.record.as_ref().unwrap().held.contains_key(&2)));
    let verdict = &world.record.as_ref().unwrap().held[&2].verdict.to_string();
    assert!(verdict.contains("write a number of pods, or remove the other one"), "{verdict}");
}
