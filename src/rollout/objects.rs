//! Which body may stand now, per object: stable's or the candidate's from the kept revisions, direct changes from the head. What
//! is not listed is not written; that alone deletes nothing.

use std::sync::Arc;

use serde_json::Value;

use super::autoscale;
use super::in_place;
use super::input::Inputs;
use super::jobs;
use super::machine::{is_beside, step_sizes};
use super::nodes;
use super::routes;
use super::run::is_job;
use super::size::{Bounds, Pair};
use super::view::{View, Workload, candidate_key};
use crate::model::change::Revision;
use crate::model::desired::{Desired, Head, Identity};
use crate::model::object::{Manifest, Role};
use crate::model::observed::{Known, RevisionBody};
use crate::model::record::{Record, Stable};
use crate::model::rollout::{Phase, Rollout};
use crate::{plan, render};

/// An object's body and what it is written for.
#[derive(Debug, Clone)]
pub struct Body {
    /// The object; a workload's body carries `spec.replicas: 0`, for its creation only.
    pub manifest: Manifest,
    /// The rollout that it belongs to.
    pub rollout: u64,
    /// The commit.
    pub revision: Revision,
    /// The identity of its version.
    pub identity: Identity,
}

/// Returns the workload among the objects of a version that its rollout acts on: what serves, or a Job.
pub fn workload(objects: &[Manifest]) -> Option<&Manifest> {
    objects.iter().find(|manifest| matches!(manifest.role, Role::Workload | Role::Job))
}

/// Returns the bodies that may stand now, in the order of their application: config, workloads, shared objects.
pub fn objects(record: &Record, input: &Inputs<'_>) -> Vec<Body> {
    let stable = record.stable.as_ref();
    let mut bodies = match (record.rollout.as_ref(), record.serving.as_deref()) {
        (None, None) => stable.map_or_else(Vec::new, |stable| resting(record, stable, input)),
        (None, Some(serving)) => under_cover(record, stable, serving.number, input),
        (Some(rollout), _) => running(record, rollout, input),
    };
    routes::add(record, input, &mut bodies);
    autoscale::add(record, input, &mut bodies);
    jobs::add(record, input, &mut bodies);
    nodes::take_over(record, input, &mut bodies);
    bodies.sort_by_key(|body| body.manifest.role);
    bodies.dedup_by(|a, b| a.manifest.key == b.manifest.key);
    bodies
}

/// What stands while the candidate of an ended rollout has all traffic: stable's own Deployment is left as it is.
fn under_cover(record: &Record, stable: Option<&Stable>, cover: u64, input: &Inputs<'_>) -> Vec<Body> {
    let mut bodies = stable.map_or_else(Vec::new, |stable| resting(record, stable, input));
    bodies.retain(|body| body.manifest.role != Role::Workload);
    bodies.extend(covering(cover, input));
    bodies
}

/// The config and the Deployment of an earlier candidate that serves.
fn covering(cover: u64, input: &Inputs<'_>) -> Vec<Body> {
    let Some(kept) = kept(input, cover) else { return Vec::new() };
    let configs = kept.objects.iter().filter(|manifest| manifest.role == Role::Config);
    let mut bodies: Vec<Body> = configs.map(|manifest| body_of(manifest.clone(), kept)).collect();
    bodies.extend(workload(&kept.objects).map(|manifest| body_of(render::canary_of(manifest), kept)));
    bodies
}

fn running(record: &Record, rollout: &Rollout, input: &Inputs<'_>) -> Vec<Body> {
    let mut bodies = record.stable.as_ref().map_or_else(Vec::new, |stable| resting(record, stable, input));
    let Some(candidate) = kept(input, rollout.number) else {
        if rollout.over || rollout.template_moved && rollout.phase != Phase::RollingBack {
            bodies.retain(|body| body.manifest.role != Role::Workload);
        }
        bodies.extend(rollout.cover.into_iter().flat_map(|cover| covering(cover, input)));
        return bodies;
    };
    let of_candidate = |manifest: &Manifest| body_of(manifest.clone(), candidate);
    let configs = candidate.objects.iter().filter(|manifest| manifest.role == Role::Config).map(of_candidate);
    if is_job(&rollout.policy) {
        // The Job itself is added where it may run.
        let reads = rollout.phase != Phase::Preparing || !rollout.stage.jobs.is_empty();
        bodies.extend(configs.filter(|_| reads));
        if rollout.proven {
            // What runs it again takes it over before it is stable.
            bodies.retain(|body| body.manifest.role != Role::Shared);
            let shared = candidate.objects.iter().filter(|manifest| manifest.role == Role::Shared);
            bodies.extend(shared.map(of_candidate));
        }
        return bodies;
    }
    match rollout.phase {
        Phase::Preparing => {
            if rollout.over {
                bodies.retain(|body| body.manifest.role != Role::Workload);
            }
            // The Job of a gate reads what the candidate's pods read.
            if !rollout.stage.jobs.is_empty() {
                bodies.extend(configs);
            }
            bodies.extend(rollout.cover.into_iter().flat_map(|cover| covering(cover, input)));
        }
        Phase::Progressing if in_place::is_in_place(rollout) => {
            bodies.retain(|body| body.manifest.role != Role::Workload);
            bodies.extend(configs);
            let share = in_place::share(record, rollout);
            let workload = workload(&candidate.objects).map(|manifest| in_place::shared_by(manifest, share));
            bodies.extend(workload.map(|manifest| body_of(manifest, candidate)));
            bodies.extend(added(candidate, &bodies));
        }
        Phase::Progressing | Phase::RollingBack => {
            if rollout.phase == Phase::Progressing {
                bodies.extend(configs);
                bodies.extend(added(candidate, &bodies));
            }
            // On the way back nothing of it is made any more.
            let canary = candidate_key(record, input);
            let there = input.observed.object(&canary).present();
            if rollout.phase == Phase::Progressing || there.is_some() {
                bodies.extend(beside(rollout, candidate, input));
            }
        }
        Phase::Promoting | Phase::Baking => {
            let shared = !is_beside(rollout) || rollout.stable_ready;
            bodies.retain(|body| match body.manifest.role {
                Role::Config | Role::Job => true,
                Role::Workload => false,
                Role::Shared => !shared,
            });
            bodies.extend(configs);
            bodies.extend(workload(&candidate.objects).map(of_candidate));
            if shared {
                let role = |manifest: &&Manifest| manifest.role == Role::Shared;
                bodies.extend(candidate.objects.iter().filter(role).map(of_candidate));
            } else {
                bodies.extend(added(candidate, &bodies));
            }
            if !rollout.proven {
                bodies.extend(beside(rollout, candidate, input));
            }
        }
    }
    bodies
}

/// What a candidate brings beside what stands: its pods may need it, and nobody else has it.
fn added(candidate: &RevisionBody, bodies: &[Body]) -> Vec<Body> {
    let stands = |manifest: &&Manifest| bodies.iter().any(|body| body.manifest.key == manifest.key);
    let shared = candidate.objects.iter().filter(|manifest| manifest.role == Role::Shared);
    shared.filter(|manifest| !stands(manifest)).map(|manifest| body_of(manifest.clone(), candidate)).collect()
}

/// What stands beside stable's Deployment: the candidate's own, where the strategy has one, or an earlier candidate that serves.
fn beside(rollout: &Rollout, candidate: &RevisionBody, input: &Inputs<'_>) -> Vec<Body> {
    if let Some(cover) = rollout.cover {
        return covering(cover, input);
    }
    let manifest = workload(&candidate.objects).filter(|_| is_beside(rollout));
    manifest.map(|manifest| body_of(render::canary_of(manifest), candidate)).into_iter().collect()
}

/// What stands while nothing runs: stable's objects, with what the head changes directly.
fn resting(record: &Record, stable: &Stable, input: &Inputs<'_>) -> Vec<Body> {
    let Some(kept) = kept(input, stable.rollout) else { return Vec::new() };
    let direct = direct(stable, input);
    let head = |manifest: &Manifest| {
        let desired = direct?;
        let newer = desired.objects.iter().find(|other| other.key == manifest.key)?;
        Some((newer, desired))
    };
    let mut bodies = Vec::new();
    for manifest in kept.objects.iter() {
        let body = body_of(manifest.clone(), kept);
        match (manifest.role, head(manifest)) {
            (Role::Config, _) => bodies.push(body),
            // A job that ran does not run again.
            (Role::Job, _) => {}
            (Role::Workload, Some((newer, desired))) => {
                bodies.push(at(with_template(newer, manifest), body, desired));
            }
            (Role::Shared, Some((newer, desired))) => {
                bodies.push(at(render::with_runs_of(newer, manifest), body, desired));
            }
            // A resolved commit dropped it.
            (Role::Shared, None) if direct.is_some() => {}
            // A direct change that only an earlier process knew: what stands is newer than what is kept, and is left
            // alone. Once a rollout is past Preparing, what is kept was brought up to date.
            (_, None) => {
                let refreshed =
                    record.rollout.as_ref().is_some_and(|rollout| rollout.phase != Phase::Preparing);
                let same =
                    record.inventory.get(&manifest.key).is_none_or(|entry| entry.hash == manifest.hash);
                if refreshed || same || direct.is_some() {
                    bodies.push(body);
                }
            }
        }
    }
    if let Some(desired) = direct {
        let added = desired.objects.iter().filter(|newer| {
            newer.role == Role::Shared && !kept.objects.iter().any(|manifest| manifest.key == newer.key)
        });
        for newer in added {
            let template = body_of(newer.clone(), kept);
            bodies.push(at(newer.clone(), template, desired));
        }
    }
    bodies
}

/// The desired state whose direct changes hold now: the head if it asks for stable's version, else the last that did.
fn direct<'a>(stable: &Stable, input: &Inputs<'a>) -> Option<&'a Desired> {
    let head = match input.head {
        Head::Known(desired) => Some(desired.as_ref()),
        Head::KeepLast { .. } | Head::None { .. } => None,
    };
    let fits = |desired: &&Desired| desired.identity == stable.version.identity;
    head.filter(fits).or(input.direct.filter(fits))
}

fn at(manifest: Manifest, body: Body, desired: &Desired) -> Body {
    Body { manifest, revision: desired.revision.clone(), ..body }
}

/// The head's workload with stable's pods: a change of the platform alone must not roll the fleet.
fn with_template(newer: &Manifest, stable: &Manifest) -> Manifest {
    let mut body = newer.body.clone();
    let template = stable.body.pointer("/spec/template").cloned().unwrap_or(Value::Null);
    if let Some(spec) = body.get_mut("spec").and_then(Value::as_object_mut) {
        spec.insert("template".to_owned(), template);
    }
    // Most of the time nothing was changed directly, and the hash is known.
    let hash = if body == stable.body { stable.hash.clone() } else { render::content_hash(&body) };
    Manifest { key: newer.key.clone(), role: newer.role, hash, body }
}

fn body_of(manifest: Manifest, kept: &RevisionBody) -> Body {
    Body {
        manifest,
        rollout: kept.rollout,
        revision: kept.version.revision.clone(),
        identity: kept.version.identity.clone(),
    }
}

/// Returns a kept revision, if it is known to be there.
pub fn kept<'a>(input: &Inputs<'a>, number: u64) -> Option<&'a RevisionBody> {
    input.observed.revisions.get(&number).and_then(Known::present)
}

/// Returns the workload as a kept revision has it, if that is known.
pub fn kept_workload<'a>(input: &Inputs<'a>, number: u64) -> Option<&'a Manifest> {
    workload(&kept(input, number)?.objects)
}

/// Tells whether a live workload's pods are made as a kept revision has them.
pub fn has_template(input: &Inputs<'_>, live: &Workload, number: u64) -> bool {
    kept_workload(input, number)
        .is_some_and(|kept| !plan::template_differs(&kept.body, live.live.object.as_ref()))
}

/// Tells whether all is known that may stand while nothing runs, so that something else of ours is to go.
pub fn is_complete(record: &Record, input: &Inputs<'_>) -> bool {
    let stable = record.stable.as_ref();
    stable.is_some_and(|stable| kept(input, stable.rollout).is_some() && direct(stable, input).is_some())
}

/// Returns stable's kept objects with the direct changes that came since, if they differ from what is kept: its Secret is
/// rewritten before a rollout changes anything, so that a rollback restores what really stood.
pub fn refreshed(record: &Record, input: &Inputs<'_>) -> Option<(Stable, Arc<Vec<Manifest>>)> {
    let stable = record.stable.as_ref()?;
    let kept = kept(input, stable.rollout)?;
    direct(stable, input)?;
    let standing = resting(record, stable, input).into_iter().map(|body| body.manifest);
    let ran = kept.objects.iter().filter(|manifest| manifest.role == Role::Job).cloned();
    let now: Vec<Manifest> = standing.chain(ran).collect();
    let hashes =
        |objects: &[Manifest]| objects.iter().map(|m| (m.key.clone(), m.hash.clone())).collect::<Vec<_>>();
    (hashes(&now) != hashes(&kept.objects)).then(|| (stable.clone(), Arc::new(now)))
}

/// Returns the sizes to walk to; none where what stands is left alone. `leftover`: a route that no rollout stands for still gives
/// traffic to the candidate.
pub fn target(record: &Record, view: &View, bounds: Bounds, leftover: bool) -> Option<Pair> {
    let home = Pair { stable: bounds.wanted, candidate: 0 };
    let standing = super::machine::sizes(view).spec.candidate;
    let stays = Pair { candidate: standing, ..home };
    let Some(rollout) = record.rollout.as_ref() else {
        if record.serving.is_some() {
            return Some(Pair { candidate: bounds.wanted, ..home });
        }
        let kept = if leftover { stays } else { home };
        return record.stable.as_ref().map(|_| kept);
    };
    match rollout.phase {
        _ if rollout.cover.is_some() && !rollout.away => Some(Pair { candidate: bounds.wanted, ..home }),
        Phase::Preparing => record.stable.as_ref().filter(|_| !rollout.over).map(|_| home),
        Phase::Progressing if in_place::is_in_place(rollout) => Some(home),
        Phase::Progressing => {
            if rollout.router.is_some() && !rollout.split {
                return Some(home);
            }
            Some(step_sizes(rollout, bounds, rollout.step_weight()))
        }
        Phase::Promoting if is_beside(rollout) && !rollout.stable_ready => {
            let room = bounds.most.saturating_sub(bounds.wanted);
            Some(Pair { candidate: standing.min(room), ..home })
        }
        Phase::Promoting | Phase::RollingBack if rollout.router.is_some() && !rollout.away => Some(stays),
        Phase::Promoting | Phase::Baking | Phase::RollingBack => Some(home),
    }
}
