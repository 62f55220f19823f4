//! A lost record is rebuilt from the cluster, not treated as a first deploy: no ungated deploy, no orphan, and a hold still holds.
//! The inventory is every live object of ours; the kept revisions and their marks tell what was stable, what was being tried, and
//! what was held. Nothing is credited.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::autoscale;
use super::begin::image_of;
use super::hold;
use super::machine::is_beside;
use super::route::{self, Choice};
use super::traffic::share_of;
use super::view::{View, Workload, carries_labels, stable_key};
use crate::model::autoscale::Scaling;
use crate::model::change::Changes;
use crate::model::desired::{Desired, Identity};
use crate::model::name::ReleaseKey;
use crate::model::object::{ContentHash, Manifest, ObjectKey, Role};
use crate::model::observed::{Live, Observed, RevisionBody};
use crate::model::policy::Strategy;
use crate::model::record::{Health, InventoryEntry, Ownership, Record, SCHEMA, Stable, Sync, Totals};
use crate::model::rollout::{
    Candidate, Ending, Hold, Mark, Outcome, People, Phase, Rollout, StageState, Version,
};
use crate::model::traffic::Router;
use crate::model::transition::{Kind, Transition};
use crate::model::verdict::{Gate, Verdict};
use crate::model::workload::WorkloadKind;
use crate::model::write::Write;
use crate::model::{ANNOTATION_HASH, LABEL_TRACK};
use crate::{plan, render};

/// The identity of a version that nobody declared: what was found running without a record and without a kept revision.
pub const UNKNOWN_IDENTITY: &str = "0-unknown";

/// A record made from what is there.
#[derive(Debug, Clone)]
pub struct Rebuilt {
    /// The record; a fresh one if there was nothing.
    pub record: Record,
    /// `RecordRebuilt`, unless there was nothing.
    pub transitions: Vec<Transition>,
    /// What was found running without a kept revision is kept as one.
    pub keep: Option<Write>,
}

/// Makes the record of a release that has none.
pub fn rebuild(
    release: &ReleaseKey,
    desired: &Desired,
    observed: &Observed,
    epoch: u64,
    now: Timestamp,
) -> Rebuilt {
    let mut record = fresh(release, desired, epoch);
    let revisions: BTreeMap<u64, &RevisionBody> =
        observed.revisions.iter().filter_map(|(n, revision)| Some((*n, revision.present()?))).collect();
    record.target = target(release, desired, &revisions);
    let view = View::new(&record, release, desired.namespace.as_str(), observed);
    record.inventory = inventory(release, observed, desired, &revisions);
    let canary = view.canary.present().and_then(|workload| workload.rollout);
    let live = view.stable.present().and_then(|workload| workload.rollout);
    record.rollouts = revisions.keys().copied().chain(canary).chain(live).max().unwrap_or(0);
    if revisions.is_empty() && record.inventory.is_empty() {
        return Rebuilt { record, transitions: Vec::new(), keep: None };
    }
    holds(&mut record, &revisions, now);
    let stable = revisions.iter().rev().find(|(_, revision)| revision.mark == Mark::Stable);
    record.stable = stable.map(|(number, revision)| Stable {
        rollout: *number,
        version: revision.version.clone(),
        changes: Changes::default(),
        since: now,
        policy: None,
    });
    let keep =
        if revisions.is_empty() { found_running(&mut record, release, desired, observed, now) } else { None };
    record.rollout = unfinished(&record, desired, &revisions, &view, now);
    if let Some(rollout) = record.rollout.as_mut() {
        reroute(rollout, record.replicas, release, desired.namespace.as_str(), observed);
    }
    let phase = record.rollout.as_ref().map_or("Stable", |rollout| rollout.phase.name()).to_owned();
    record.phase.clone_from(&phase);
    let transition = Transition {
        at: now,
        release: release.clone(),
        environment: release.environment.clone(),
        team: record.team.clone(),
        source: record.source.clone(),
        rollout: record.rollout.as_ref().map(|rollout| rollout.number),
        sentence: format!("the record was lost and rebuilt from the cluster: {phase}"),
        kind: Kind::RecordRebuilt { phase },
    };
    Rebuilt { record, transitions: vec![transition], keep }
}

fn fresh(release: &ReleaseKey, desired: &Desired, epoch: u64) -> Record {
    Record {
        schema: SCHEMA,
        epoch,
        environment: release.environment.clone(),
        team: desired.team.clone(),
        source: desired.source.clone(),
        mode: desired.mode,
        sequence: 0,
        published: 0,
        replicas: desired.replicas,
        autoscale: desired.autoscale,
        rollouts: 0,
        phase: "Stable".to_owned(),
        health: Health::Unknown,
        sync: Sync::Unknown,
        weight: 0,
        real_weight: 0,
        revision: String::new(),
        message: String::new(),
        head: None,
        target: None,
        stable: None,
        rollout: None,
        serving: None,
        held: BTreeMap::new(),
        history: BTreeMap::new(),
        superseded_in_row: 0,
        unavailable_since: None,
        incident: false,
        drifted: std::collections::BTreeSet::new(),
        applying: std::collections::BTreeSet::new(),
        inventory: BTreeMap::new(),
        outbox: BTreeMap::new(),
        commands: BTreeMap::new(),
        totals: Totals::default(),
        conditions: Vec::new(),
        chain_tail: None,
    }
}

/// The workload of the newest kept version, else the one that is declared now.
fn target(
    release: &ReleaseKey,
    desired: &Desired,
    revisions: &BTreeMap<u64, &RevisionBody>,
) -> Option<ObjectKey> {
    let kept = revisions.values().rev().find_map(|revision| super::objects::workload(&revision.objects));
    let key = &kept.or_else(|| super::objects::workload(&desired.objects))?.key;
    (*key != stable_key(None, release, desired.namespace.as_str())).then(|| key.clone())
}

fn inventory(
    release: &ReleaseKey,
    observed: &Observed,
    desired: &Desired,
    revisions: &BTreeMap<u64, &RevisionBody>,
) -> BTreeMap<crate::model::object::ObjectKey, InventoryEntry> {
    let ours = |live: &Live| live.managed && carries_labels(live.object.as_ref(), release);
    let live = observed.objects.iter().filter_map(|(key, known)| Some((key, known.present()?)));
    live.filter(|(_, live)| ours(live))
        .map(|(key, live)| {
            let kept = revisions.values().rev().flat_map(|revision| revision.objects.iter());
            let mut known = kept.chain(&desired.objects);
            let known = known.find(|manifest| manifest.key == *key).map(|manifest| manifest.role);
            let role = known.unwrap_or(match key.kind.as_str() {
                "Deployment" => Role::Workload,
                "ConfigMap" => Role::Config,
                "Job" => Role::Job,
                _ => Role::Shared,
            });
            let hash =
                super::view::annotation(live.object.as_ref(), ANNOTATION_HASH).unwrap_or_default().to_owned();
            let ownership = Ownership::Owned { uid: live.uid.clone() };
            (key.clone(), InventoryEntry { role, hash: ContentHash(hash), ownership })
        })
        .collect()
}

fn holds(record: &mut Record, revisions: &BTreeMap<u64, &RevisionBody>, now: Timestamp) {
    for (number, revision) in revisions {
        let hold = match revision.mark {
            Mark::Held => Hold::Held,
            Mark::Parked => Hold::Parked,
            Mark::Candidate | Mark::Stable | Mark::Superseded => continue,
        };
        let verdict = Verdict::unknown(Gate::Cluster, "the record was lost; its revision is marked so");
        let entry = hold::entry(record, &revision.version.identity, hold, verdict, now);
        record.held.insert(*number, entry);
    }
}

/// The rollout that was under way, by what stands in the cluster.
fn unfinished(
    record: &Record,
    desired: &Desired,
    revisions: &BTreeMap<u64, &RevisionBody>,
    view: &View,
    now: Timestamp,
) -> Option<Rollout> {
    let stable = view.stable.present();
    let carries = |revision: &RevisionBody| {
        let body = super::objects::workload(&revision.objects);
        body.is_some_and(|body| {
            stable.is_some_and(|live| !plan::template_differs(&body.body, live.live.object.as_ref()))
        })
    };
    let runs = |number: u64| {
        let own = view.canary.present().is_some_and(|canary: &Workload| canary.rollout == Some(number));
        own || stable.is_some_and(|live| live.rollout == Some(number))
    };
    let (number, revision) = revisions.iter().rev().find(|(number, revision)| match revision.mark {
        Mark::Candidate => true,
        Mark::Held | Mark::Parked | Mark::Superseded => runs(**number),
        Mark::Stable => false,
    })?;
    if record.stable.as_ref().is_some_and(|stable| stable.rollout > *number) {
        return None;
    }
    let moved = carries(revision) && record.stable.is_some();
    let first = record.stable.is_none();
    let ended = match revision.mark {
        Mark::Held => Some(Some(Hold::Held)),
        Mark::Parked => Some(Some(Hold::Parked)),
        Mark::Superseded => Some(None),
        Mark::Candidate | Mark::Stable => None,
    };
    if first && ended.is_some() {
        return None;
    }
    let canary = desired.policy.strategy.is_beside();
    let workload = record.target.as_ref().map_or(WorkloadKind::Deployment, WorkloadKind::of);
    // In place the candidate's template stands there in every step: only what it was given tells how far it was.
    let partly = canary && !workload.is_deployment() && stable.is_some_and(super::in_place::is_shared);
    let phase = match ended {
        Some(_) => Phase::RollingBack,
        None if partly && !first => Phase::Progressing,
        None if first || moved || !canary => Phase::Promoting,
        None => Phase::Progressing,
    };
    let ending = ended.map(|hold| Ending {
        outcome: if hold.is_some() { Outcome::RolledBack } else { Outcome::Superseded },
        hold,
        verdict: Verdict::unknown(Gate::Cluster, "the record was lost on the way back"),
        at: now,
    });
    Some(Rollout {
        number: *number,
        candidate: Candidate::Ready(revision.version.clone()),
        changes: Changes::default(),
        first,
        forward: false,
        policy: desired.policy.clone(),
        phase,
        phase_since: now,
        started_at: now,
        step: 0,
        step_since: now,
        progress_at: now,
        progress_pods: 0,
        stage: StageState::default(),
        traffic_source: None,
        ending,
        frozen_since: None,
        template_moved: moved || phase == Phase::Promoting,
        passed: String::new(),
        stable_ready: false,
        proven: false,
        over: false,
        undo: None,
        people: People::default(),
        mates: BTreeSet::new(),
        log: Arc::default(),
        workload,
        router: None,
        weight: 0,
        asked_at: None,
        cohort: None,
        split: false,
        away: false,
        joining: false,
        cover: None,
        scaling: Scaling::default(),
    })
}

/// Takes up the router of a rollout that was under way. What the route gives stands, up to the first step's weight: nothing is credited,
/// so no more is allowed.
fn reroute(rollout: &mut Rollout, replicas: u32, release: &ReleaseKey, namespace: &str, observed: &Observed) {
    if !is_beside(rollout) || replicas == 0 {
        return;
    }
    let router = match route::choose(&rollout.policy.traffic, release, namespace, observed) {
        Choice::Route(router) => router,
        Choice::Pods if rollout.policy.strategy == Strategy::BlueGreen => Router::Selector,
        Choice::Pods | Choice::Wait(_) | Choice::Refused(_) => return,
    };
    let live = share_of(&router, release, namespace, observed);
    let most = match rollout.phase {
        Phase::Progressing => rollout.policy.steps.first().map_or(0, |step| step.weight),
        _ => 100,
    };
    rollout.weight = live.unwrap_or(0).min(most);
    rollout.split = live.is_some();
    rollout.router = Some(router);
}

/// Live objects without any kept revision: their bodies become a stable version of unknown identity, and the head rolls against it.
fn found_running(
    record: &mut Record,
    release: &ReleaseKey,
    desired: &Desired,
    observed: &Observed,
    now: Timestamp,
) -> Option<Write> {
    let key = stable_key(record.target.as_ref(), release, desired.namespace.as_str());
    let live = observed.object(&key).present()?;
    let image = image_of(live)?;
    let version = Version {
        identity: Identity(UNKNOWN_IDENTITY.to_owned()),
        revision: desired.revision.clone(),
        image,
        platform: desired.platform.clone(),
    };
    record.stable = Some(Stable {
        rollout: 0,
        version: version.clone(),
        changes: Changes::default(),
        since: now,
        policy: None,
    });
    let objects = record.inventory.iter().filter_map(|(key, entry)| {
        let live = observed.object(key).present()?;
        let track = live.object.pointer(&format!("/metadata/labels/{}", LABEL_TRACK.replace('/', "~1")));
        let beside = entry.role == Role::Workload && track.and_then(Value::as_str) == Some("canary");
        if beside || super::routes::is_track(release, key) || autoscale::is_autoscaler(key) {
            return None;
        }
        let body = as_applied(live.object.as_ref(), entry.role);
        Some(Manifest { key: key.clone(), role: entry.role, hash: render::content_hash(&body), body })
    });
    let objects: Vec<Manifest> = objects.collect();
    Some(Write::SaveRevision { rollout: 0, version: Box::new(version), mark: Mark::Stable, objects })
}

/// What of a live object could have been applied: no server's fields.
fn as_applied(live: &Value, role: Role) -> Value {
    let take = |pointer: &str| live.pointer(pointer).cloned().unwrap_or(Value::Null);
    let mut body = json!({
        "apiVersion": take("/apiVersion"),
        "kind": take("/kind"),
        "metadata": {"name": take("/metadata/name"), "namespace": take("/metadata/namespace"), "labels": take("/metadata/labels")},
    });
    for field in ["spec", "data"] {
        if let (Some(value), Some(body)) = (live.get(field), body.as_object_mut()) {
            body.insert(field.to_owned(), value.clone());
        }
    }
    let counted = live.get("kind").and_then(Value::as_str).and_then(WorkloadKind::named);
    if role == Role::Workload
        && counted.is_none_or(WorkloadKind::has_replicas)
        && let Some(spec) = body.get_mut("spec").and_then(Value::as_object_mut)
    {
        spec.insert("replicas".to_owned(), json!(0));
    }
    body
}
