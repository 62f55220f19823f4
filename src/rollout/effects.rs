//! record′ × objects × observed → writes. Level-triggered: the same inputs give the same writes, and a write that has landed is not
//! asked for again. Nothing is written that the record does not allow.

use std::collections::BTreeSet;

use serde_json::Value;

use super::autoscale;
use super::back;
use super::in_place;
use super::input::Inputs;
use super::jobs;
use super::machine::{self, sizes};
use super::nodes;
use super::objects::{self, Body};
use super::routes;
use super::size::{Bounds, Move, Pair, next};
use super::view::{self, View, Workload, candidate_key, carries_labels, target_key};
use crate::model::name::ReleaseKey;
use crate::model::object::{Fence, Manifest, ObjectKey, Role};
use crate::model::observed::{Known, Live};
use crate::model::record::{InventoryEntry, Ownership, Record};
use crate::model::rollout::{Candidate, Hold, Mark, Outcome, Phase};
use crate::model::workload::WorkloadKind;
use crate::model::write::Write;
use crate::plan::{self, Prune};
use crate::render;

/// What a pass is to do, and the inventory that must be stored before it does.
#[derive(Debug, Clone, Default)]
pub struct Effects {
    /// The writes, in order.
    pub writes: Vec<Write>,
    /// The namespace is missing and objects wait for it.
    pub namespace_missing: bool,
}

/// Computes the writes and widens the record's inventory by what they may create.
pub fn effects(record: &mut Record, input: &Inputs<'_>) -> Effects {
    let mut all = Effects::default();
    if record.mode == crate::model::desired::Mode::Observe && record.rollout.is_none() {
        return all;
    }
    let view = View::new(record, input.release, input.namespace.as_str(), input.observed);
    match input.observed.namespace {
        Known::Present(()) => {}
        Known::Absent => {
            all.namespace_missing = true;
            return all;
        }
        Known::Unknown => return all,
    }
    revisions(record, input, &mut all.writes);
    let bodies = objects::objects(record, input);
    settle(record, input, &bodies);
    applies(record, input, &bodies, &mut all.writes);
    routes::writes(record, input, &view, &mut all.writes);
    resize(record, input, &view, &mut all.writes);
    in_place::replacements(record, input, &view, &mut all.writes);
    removals(record, input, &view, &bodies, &mut all.writes);
    jobs::writes(record, input, &bodies, &mut all.writes);
    all
}

/// Tells whether an object that exists is ours: in the inventory with this UID, or applied by `idp` under this release's labels.
pub fn is_ours(record: &Record, release: &ReleaseKey, key: &ObjectKey, live: &Live) -> bool {
    let owned = record
        .inventory
        .get(key)
        .is_some_and(|entry| matches!(&entry.ownership, Ownership::Owned { uid } if *uid == live.uid));
    owned || (live.managed && carries_labels(live.object.as_ref(), release))
}

/// Widens the inventory before anything is created, and narrows it by what is certainly gone.
fn settle(record: &mut Record, input: &Inputs<'_>, bodies: &[Body]) {
    for body in bodies {
        let key = &body.manifest.key;
        let ownership = match input.observed.object(key) {
            Known::Present(live) if is_ours(record, input.release, key, live) => {
                Ownership::Owned { uid: live.uid.clone() }
            }
            Known::Present(_) => continue,
            Known::Unknown => match record.inventory.get(key) {
                Some(entry) => entry.ownership.clone(),
                None => continue,
            },
            Known::Absent => Ownership::Intended { rollout: body.rollout },
        };
        let entry = InventoryEntry { role: body.manifest.role, hash: body.manifest.hash.clone(), ownership };
        record.inventory.insert(key.clone(), entry);
    }
    let named: BTreeSet<&ObjectKey> = bodies.iter().map(|body| &body.manifest.key).collect();
    record.inventory.retain(|key, _| named.contains(key) || *input.observed.object(key) != Known::Absent);
    for (key, entry) in &mut record.inventory {
        let live = input.observed.object(key).present();
        if let (Ownership::Intended { .. }, Some(live)) = (&entry.ownership, live)
            && live.managed
            && carries_labels(live.object.as_ref(), input.release)
        {
            entry.ownership = Ownership::Owned { uid: live.uid.clone() };
        }
    }
}

fn applies(record: &Record, input: &Inputs<'_>, bodies: &[Body], writes: &mut Vec<Write>) {
    for body in bodies {
        let key = &body.manifest.key;
        let stamp = render::Stamp {
            revision: body.revision.commit.clone(),
            rollout: body.rollout,
            change_url: body.revision.url.clone(),
            version: body.identity.clone(),
            epoch: record.epoch,
        };
        match input.observed.object(key) {
            Known::Unknown => {}
            Known::Absent => {
                let manifest = Box::new(render::stamp(&idle(&body.manifest), &stamp));
                writes.push(Write::Apply { manifest, fence: None });
            }
            Known::Present(live) => {
                if must_apply(record, input, body, live) {
                    let manifest = Box::new(render::stamp(&without_replicas(&body.manifest), &stamp));
                    writes.push(Write::Apply { manifest, fence: Some(fence(live)) });
                }
            }
        }
    }
}

/// Makes what an object is created as. A creation cannot be fenced, so it starts nothing by itself, and a fenced write lets it.
fn idle(manifest: &Manifest) -> Manifest {
    let mut created = nodes::nowhere(manifest);
    let spec = created.body.get_mut("spec").and_then(Value::as_object_mut);
    if let Some(spec) = spec.filter(|_| manifest.key.kind == render::CRON_JOB) {
        spec.insert("suspend".to_owned(), Value::Bool(true));
    }
    created
}

fn must_apply(record: &Record, input: &Inputs<'_>, body: &Body, live: &Live) -> bool {
    let object = live.object.as_ref();
    let workload = body.manifest.role == Role::Workload;
    // Nothing of a Job may change once it is made, but that it begins.
    if body.manifest.role == Role::Job {
        return false;
    }
    let counted = workload && !WorkloadKind::of(&body.manifest.key).has_replicas();
    // Until `idp-rollout` owns the replicas, an apply without the field would reset them to the server's default.
    if live.is_deleting()
        || (workload && !counted && !live.scaled)
        || !is_ours(record, input.release, &body.manifest.key, live)
    {
        return false;
    }
    let epoch = view::epoch_of(object);
    // Nobody has led under an epoch above the record's: somebody else wrote it there.
    let stale = epoch > record.epoch || record.rollout.is_some() && epoch < record.epoch;
    let parked = counted && nodes::is_nowhere(object);
    let moved = workload
        && record.rollout.is_some()
        && view::annotation(object, crate::model::ANNOTATION_ROLLOUT)
            != Some(body.rollout.to_string().as_str());
    parked || stale || moved || !plan::differs(&body.manifest.body, object).is_empty()
}

fn without_replicas(manifest: &Manifest) -> Manifest {
    let mut manifest = manifest.clone();
    if manifest.role == Role::Workload
        && let Some(spec) = manifest.body.get_mut("spec").and_then(Value::as_object_mut)
    {
        spec.remove("replicas");
    }
    manifest
}

fn fence(live: &Live) -> Fence {
    Fence { uid: live.uid.clone(), resource_version: live.resource_version.clone() }
}

/// At most one write of replicas: the next on the way to the sizes that the record allows.
fn resize(record: &Record, input: &Inputs<'_>, view: &View, writes: &mut Vec<Write>) {
    let bounds = bounds(record, input);
    let leftover = routes::leftover_weight(record, input);
    let Some(target) = objects::target(record, view, bounds, leftover) else {
        return;
    };
    if matches!(view.stable, Known::Unknown) || matches!(view.canary, Known::Unknown) {
        return;
    }
    let (stable, canary) = (target_key(record, input), candidate_key(record, input));
    let held = autoscale::of(record, input).and_then(|scaler| autoscale::held(view, &scaler)).is_some();
    let mut scale = |key: &ObjectKey, workload: Option<&Workload>, replicas: u32| {
        let Some(workload) = workload.filter(|workload| workload.kind.has_replicas()) else { return };
        let applied =
            writes.iter().any(|write| matches!(write, Write::Apply { manifest, .. } if manifest.key == *key));
        if !applied && is_ours(record, input.release, key, &workload.live) {
            let (key, fence) = (key.clone(), workload.fence.clone());
            let lent = held && key == stable && workload.live.scaled;
            writes.push(if lent {
                Write::Raise { key, replicas, fence }
            } else {
                Write::Scale { key, replicas, fence }
            });
        }
    };
    let wanted = autoscale::goal(record, input, view, target.stable);
    let present = Pair {
        stable: if view.stable.present().is_some() { wanted } else { 0 },
        candidate: if view.canary.present().is_some() { target.candidate } else { 0 },
    };
    match next(bounds, sizes(view), present) {
        Some(Move::Stable(replicas)) => scale(&stable, view.stable.present(), replicas),
        Some(Move::Candidate(replicas)) => scale(&canary, view.canary.present(), replicas),
        None => {
            for (key, workload) in [(&stable, view.stable.present()), (&canary, view.canary.present())] {
                let unowned = workload.filter(|workload| !workload.live.scaled);
                scale(key, unowned, unowned.map_or(0, |workload| workload.replicas));
            }
        }
    }
}

/// The bounds under which sizes are walked now.
fn bounds(record: &Record, input: &Inputs<'_>) -> Bounds {
    let rollout = record.rollout.as_ref();
    let policy = input.head.desired().map(|desired| &desired.policy);
    let mut bounds = match (rollout.or(record.serving.as_deref()), policy) {
        (Some(rollout), _) => machine::bounds(rollout, record.replicas),
        (None, Some(policy)) => Bounds::new(record.replicas, policy.max_surge, policy.max_unavailable),
        (None, None) => Bounds {
            wanted: record.replicas,
            most: record.replicas.saturating_add(1),
            ready: record.replicas,
        },
    };
    // Past its deadline the way back gives up capacity rather than stand still; one ready pod stays.
    if rollout.is_some_and(|rollout| rollout.phase == Phase::RollingBack && back::overdue(rollout, input.now))
    {
        bounds.ready = bounds.ready.min(1);
    }
    bounds
}

/// The candidate's Deployment once it is empty and nothing needs it, and config that no version names to which a rollback may
/// return.
fn removals(record: &Record, input: &Inputs<'_>, view: &View, bodies: &[Body], writes: &mut Vec<Write>) {
    let canary = candidate_key(record, input);
    let finished = match record.rollout.as_ref() {
        None => record.serving.is_none(),
        Some(rollout) => rollout.proven || rollout.phase == Phase::RollingBack,
    };
    if let Known::Present(workload) = &view.canary {
        let empty = workload.settled && workload.replicas == 0 && workload.current.is_empty();
        let ours = is_ours(record, input.release, &canary, &workload.live);
        let moving = writes.iter().any(|write| matches!(write, Write::Scale { key, .. } if *key == canary));
        if finished && empty && ours && !moving {
            writes.retain(|write| !matches!(write, Write::Apply { manifest, .. } if manifest.key == canary));
            writes.push(Write::Delete { key: canary, uid: workload.live.uid.clone() });
        }
    }
    let over = autoscale::is_over(record, input);
    let passing =
        |key: &ObjectKey| routes::is_track(input.release, key) || over && autoscale::is_autoscaler(key);
    for (key, entry) in record.inventory.iter().filter(|(key, _)| passing(key)) {
        let wanted = bodies.iter().any(|body| body.manifest.key == *key);
        if let (false, Ownership::Owned { uid }, Known::Present(_)) =
            (wanted, &entry.ownership, input.observed.object(key))
        {
            writes.push(Write::Delete { key: key.clone(), uid: uid.clone() });
        }
    }
    if record.rollout.is_some() || record.serving.is_some() || record.stable.is_none() {
        return;
    }
    let revisions = input.observed.revisions.values();
    if revisions.clone().any(|revision| matches!(revision, Known::Unknown)) {
        return;
    }
    let kept: BTreeSet<&ObjectKey> = revisions
        .filter_map(Known::present)
        .filter(|revision| matches!(revision.mark, Mark::Stable | Mark::Candidate))
        .flat_map(|revision| revision.objects.iter().map(|manifest| &manifest.key))
        .chain(bodies.iter().map(|body| &body.manifest.key))
        .collect();
    prune(record, input, bodies, writes);
    for (key, entry) in &record.inventory {
        if entry.role == Role::Config
            && !kept.contains(key)
            && let Ownership::Owned { uid } = &entry.ownership
        {
            writes.push(Write::Delete { key: key.clone(), uid: uid.clone() });
        }
    }
}

/// What a commit no longer has is deleted, unless it is so much, or of such a kind, that a person has to say so.
fn prune(record: &Record, input: &Inputs<'_>, bodies: &[Body], writes: &mut Vec<Write>) {
    if !objects::is_complete(record, input) {
        return;
    }
    let dropped = record.inventory.iter().filter_map(|(key, entry)| {
        let Ownership::Owned { uid } = &entry.ownership else { return None };
        let wanted = bodies.iter().any(|body| body.manifest.key == *key);
        let there = input.observed.object(key).present().is_some();
        // These go by rules of their own.
        let ours = routes::is_track(input.release, key) || autoscale::is_autoscaler(key);
        let gone = !wanted && there && entry.role == Role::Shared && !ours;
        gone.then(|| Prune { key: key.clone(), uid: uid.clone() })
    });
    let dropped: Vec<Prune> = dropped.collect();
    if plan::guard(&dropped, record.inventory.len()).is_none() {
        writes.extend(dropped.into_iter().map(|Prune { key, uid }| Write::Delete { key, uid }));
    }
}

/// Keeps the candidate's objects before anything of it is applied, marks every kept revision as the record has it, and drops what
/// is beyond the history.
fn revisions(record: &Record, input: &Inputs<'_>, writes: &mut Vec<Write>) {
    if let Some(rollout) = record.rollout.as_ref().filter(|rollout| rollout.phase == Phase::Preparing)
        && let Candidate::Ready(version) = &rollout.candidate
    {
        let head = input.head.desired().filter(|desired| desired.identity == version.identity);
        let missing = !matches!(
            input.observed.revisions.get(&rollout.number),
            Some(Known::Present(_) | Known::Unknown)
        );
        let desired = input.waiting.filter(|desired| desired.identity == version.identity).or(head);
        let objects = match rollout.undo {
            Some(number) => objects::kept(input, number).map(|kept| kept.objects.as_ref().clone()),
            None => desired.map(|desired| render::pin(&desired.objects, &version.image)),
        };
        if let Some(objects) = objects.filter(|_| missing) {
            writes.push(Write::SaveRevision {
                rollout: rollout.number,
                version: Box::new(version.clone()),
                mark: Mark::Candidate,
                objects,
            });
        }
        if let Some((stable, objects)) = objects::refreshed(record, input) {
            writes.push(Write::SaveRevision {
                rollout: stable.rollout,
                version: Box::new(stable.version),
                mark: Mark::Stable,
                objects: objects.as_ref().clone(),
            });
        }
    }
    let history = record.rollout.as_ref().map(|rollout| rollout.policy.rollback.history);
    let history = history.or(input.head.desired().map(|desired| desired.policy.rollback.history));
    let mut spare = history.and_then(|kept| usize::try_from(kept).ok()).unwrap_or(usize::MAX);
    for (number, revision) in input.observed.revisions.iter().rev() {
        let Known::Present(revision) = revision else { continue };
        let wanted = mark(record, *number);
        let needed = Some(*number) == record.stable.as_ref().map(|stable| stable.rollout)
            || record
                .rollout
                .as_ref()
                .is_some_and(|rollout| *number == rollout.number || Some(*number) == rollout.undo)
            || Some(*number) == record.serving.as_ref().map(|rollout| rollout.number);
        if !needed && spare == 0 {
            writes.push(Write::DropRevision { rollout: *number });
            continue;
        }
        if !needed {
            spare = spare.saturating_sub(1);
        }
        if revision.mark != wanted {
            writes.push(Write::MarkRevision { rollout: *number, mark: wanted });
        }
    }
}

/// Returns how a kept revision is to be marked. A rollout on its way back is marked as it will end, so that a record that is lost
/// meanwhile is rebuilt with the hold.
fn mark(record: &Record, number: u64) -> Mark {
    let ended = |hold: Hold| if hold == Hold::Held { Mark::Held } else { Mark::Parked };
    if let Some(rollout) = record.rollout.as_ref().filter(|rollout| rollout.number == number) {
        return match &rollout.ending {
            None => Mark::Candidate,
            Some(ending) => ending.hold.map_or(Mark::Superseded, ended),
        };
    }
    if let Some(held) = record.held.get(&number).filter(|held| !held.released) {
        return ended(held.hold);
    }
    let promoted = record
        .history
        .get(&number)
        .is_some_and(|summary| matches!(summary.outcome, Outcome::Promoted | Outcome::Undone));
    if promoted || record.stable.as_ref().is_some_and(|stable| stable.rollout == number) {
        Mark::Stable
    } else {
        Mark::Superseded
    }
}
