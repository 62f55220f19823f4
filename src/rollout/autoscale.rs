//! Somebody else scales stable's Deployment: an autoscaler of ours, made from the file's bounds, or one of the team's (a
//! `HorizontalPodAutoscaler`, be it its own or `KEDA`'s), found by what it targets. It is read, never fought: the pods wanted are those
//! that it holds, and no write of ours but one gives stable a size.
//!
//! That one write: beside a candidate the autoscaler sees less load and takes pods from stable. So the most that it ever held since the
//! rollout left Preparing is kept, and before the candidate loses its pods, at the end of either way, stable is raised to as many, once.
//! As soon as that was seen, the autoscaler's word holds again.

use serde_json::Value;

use super::effects::is_ours;
use super::input::Inputs;
use super::machine::{Machine, is_beside};
use super::objects::Body;
use super::promote;
use super::size;
use super::view::{View, target_key};
use crate::model::autoscale::{AUTOSCALER, Scaling};
use crate::model::object::ObjectKey;
use crate::model::observed::Live;
use crate::model::policy::Strategy;
use crate::model::record::Record;
use crate::model::rollout::{Phase, Rollout};
use crate::render;

/// The highest weight that a candidate without a route can have beside an autoscaler: as many pods as stable.
pub const MOST_WEIGHT: u8 = 50;

/// Who scales stable's Deployment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scaler {
    /// For people: `HorizontalPodAutoscaler shop/web`.
    pub name: String,
    /// The most pods that it gives.
    pub most: u32,
    /// It is ours: nobody but us may rest at no pods at all.
    pub own: bool,
}

/// Returns who scales stable's Deployment; somebody else's word goes before what the file says.
pub fn of(record: &Record, input: &Inputs<'_>) -> Option<Scaler> {
    let scaler =
        |key: &ObjectKey, live: &Live, own: bool| Scaler { name: key.for_people(), most: most_of(live), own };
    if let Some((key, live)) = foreign(record, input) {
        return Some(scaler(key, live, false));
    }
    let key = render::autoscaler_key(input.release.service.as_str(), input.namespace.as_str());
    let live = input.observed.object(&key).present().filter(|live| targets(record, input, live));
    match (record.autoscale, live) {
        (Some(bounds), _) => Some(Scaler { name: key.for_people(), most: bounds.max, own: true }),
        // On its way out: until it is gone, it would put back any other number.
        (None, Some(live)) => Some(scaler(&key, live, true)),
        (None, None) => None,
    }
}

/// Returns an autoscaler of stable's Deployment that is not ours.
pub fn foreign<'a>(record: &Record, input: &Inputs<'a>) -> Option<(&'a ObjectKey, &'a Live)> {
    let all = input.observed.routes.objects.iter().filter(|(key, _)| is_autoscaler(key));
    let mut targeting = all
        .filter_map(|(key, known)| Some((key, known.present()?)))
        .filter(|(_, live)| targets(record, input, live));
    targeting.find(|(key, live)| !is_ours(record, input.release, key, live))
}

/// Tells whether an object is an autoscaler; of those in an inventory it is ours.
pub fn is_autoscaler(key: &ObjectKey) -> bool {
    key.kind == AUTOSCALER && key.api_version.starts_with("autoscaling/")
}

fn targets(record: &Record, input: &Inputs<'_>, live: &Live) -> bool {
    let text = |field: &str| {
        live.object
            .pointer("/spec/scaleTargetRef")
            .and_then(|target| target.get(field))
            .and_then(Value::as_str)
    };
    let stable = target_key(record, input);
    let group = text("apiVersion").is_some_and(|version| version.starts_with("apps/"));
    group && text("kind") == Some(stable.kind.as_str()) && text("name") == Some(stable.name.as_str())
}

fn most_of(live: &Live) -> u32 {
    let most = live.object.pointer("/spec/maxReplicas").and_then(Value::as_u64);
    most.and_then(|most| u32::try_from(most).ok()).unwrap_or(u32::MAX)
}

/// Returns the size that somebody else holds stable at; none where we have to give it one: it is new, or ours rests at nothing.
pub fn held(view: &View, scaler: &Scaler) -> Option<u32> {
    let stable = view.stable.present()?;
    let parked = stable.live.scaled && !scaler.own;
    (stable.replicas > 0 || parked).then_some(stable.replicas)
}

/// Returns the size that stable shall have: what the autoscaler holds, what it is to be raised to, or `otherwise` without one.
pub fn goal(record: &Record, input: &Inputs<'_>, view: &View, otherwise: u32) -> u32 {
    let Some(scaler) = of(record, input) else { return otherwise };
    let Some(live) = held(view, &scaler) else { return record.replicas };
    let scaling = record.rollout.as_ref().map_or(Scaling::default(), |rollout| rollout.scaling);
    if scaling.raising && !scaling.lifted { live.max(record.replicas) } else { live }
}

/// Tells whether the candidate is about to lose its pods, whichever way: on the way back, or once stable's have taken its template.
fn is_ending(record: &Record, input: &Inputs<'_>, view: &View) -> bool {
    let Some(rollout) = record.rollout.as_ref().filter(|rollout| is_beside(rollout)) else { return false };
    match rollout.phase {
        Phase::RollingBack => true,
        Phase::Promoting => {
            let rolled = view.stable.present().is_some_and(|stable| stable.complete(stable.replicas));
            rolled && promote::carries(input, view, rollout.number)
        }
        Phase::Preparing | Phase::Progressing | Phase::Baking => false,
    }
}

/// Adds the autoscaler that the file asks for, unless somebody else's scales the Deployment already.
pub fn add(record: &Record, input: &Inputs<'_>, bodies: &mut Vec<Body>) {
    let Some(bounds) = record.autoscale.filter(|_| foreign(record, input).is_none()) else { return };
    let service = super::view::service_key(input.release, input.namespace.as_str());
    let Some(service) = bodies.iter().find(|body| body.manifest.key == service).cloned() else { return };
    bodies.push(Body { manifest: render::autoscaler_of(&service.manifest, bounds), ..service });
}

/// Tells whether an autoscaler of ours is not to be any more.
pub fn is_over(record: &Record, input: &Inputs<'_>) -> bool {
    record.autoscale.is_none() || foreign(record, input).is_some()
}

impl Machine<'_> {
    /// Takes over how many pods are wanted: what the file says, or what an autoscaler holds.
    pub fn note_size(&mut self) {
        let desired = self.input.head.desired();
        if let Some(desired) = desired {
            self.record.autoscale = desired.autoscale;
        }
        if self.count_nodes() {
            return;
        }
        let declared = desired.map_or(self.record.replicas, |desired| desired.replicas);
        let scaler = of(&self.record, self.input);
        if let Some(rollout) = self.record.rollout.as_mut() {
            rollout.scaling.scaled = scaler.is_some();
        }
        let Some(scaler) = scaler else {
            self.take_number(declared);
            return;
        };
        let before = self.record.replicas;
        self.record.replicas = match held(&self.view, &scaler) {
            None if self.record.stable.is_none() => declared,
            None => before,
            Some(live) if self.keeps_most() => before.min(scaler.most).max(live),
            Some(live) => live,
        };
        let ending = is_ending(&self.record, self.input, &self.view);
        let (live, wanted) = (held(&self.view, &scaler), self.record.replicas);
        if let Some(rollout) = self.record.rollout.as_mut() {
            rollout.scaling.raising |= ending;
            rollout.scaling.lifted |= rollout.scaling.raising && live.is_some_and(|live| live >= wanted);
        }
    }

    fn take_number(&mut self, declared: u32) {
        if self.record.replicas != declared {
            self.record.replicas = declared;
            if self.record.rollout.is_none() && self.record.stable.is_some() {
                let stable = self.target_key();
                self.record.applying.insert(stable);
            }
        }
    }

    /// Tells whether what the autoscaler takes from stable may be for no other reason than the candidate.
    fn keeps_most(&self) -> bool {
        match &self.record.rollout {
            Some(rollout) if rollout.scaling.lifted => false,
            Some(rollout) => {
                rollout.cover.is_some() || is_beside(rollout) && rollout.phase != Phase::Preparing
            }
            None => self.record.serving.is_some(),
        }
    }

    /// Fixes the candidate's pods for the running step, where they follow from stable's without a router.
    pub fn fix_candidate(&mut self) {
        let stable = self.view.stable.present().map_or(self.record.replicas, |stable| stable.replicas);
        let Some(rollout) = self.record.rollout.as_mut() else { return };
        let alone = rollout.scaling.scaled && rollout.router.is_none();
        let weight = rollout.current_step().map_or(MOST_WEIGHT, |step| step.weight);
        let fixed = rollout.scaling.candidate.unwrap_or_else(|| size::beside(stable, weight));
        rollout.scaling.candidate = alone.then_some(fixed);
    }

    /// Returns why a rollout cannot go with the autoscaler that there is, and how to mend it.
    pub fn unscalable(&self, rollout: &Rollout, routed: bool) -> Option<String> {
        if let (Some(_), Some((key, _))) = (self.record.autoscale, foreign(&self.record, self.input)) {
            return Some(doubled(key));
        }
        let scaler = of(&self.record, self.input)?;
        let canary = rollout.policy.strategy == Strategy::Canary && is_beside(rollout);
        if routed || !canary || rollout.cover.is_some() || self.record.replicas == 0 {
            return None;
        }
        let mut steps = rollout.policy.steps.iter().enumerate();
        let (at, step) = steps.find(|(_, step)| step.weight > MOST_WEIGHT && step.weight < 100)?;
        Some(format!(
            "`deploy.canary[{at}].weight` is {}: {} scales the service and no route moves its traffic, so a candidate gets {MOST_WEIGHT} % at most: write {MOST_WEIGHT} or less, add a route, or remove the autoscaler",
            step.weight, scaler.name
        ))
    }
}

/// Says that two autoscalers would scale one Deployment.
pub fn doubled(key: &ObjectKey) -> String {
    format!(
        "`workload.replicas` asks for an autoscaler, and {} scales the service already: write a number of pods, or remove the other one",
        key.for_people()
    )
}
