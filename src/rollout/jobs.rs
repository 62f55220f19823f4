//! Jobs in the cluster, of gates and of services that are one: which may stand, what they are called, when they begin, and when they are
//! taken away. Whether one may be made is in the record (`stage.jobs`), so nothing runs that was not stored before.

use std::time::Duration;

use serde_json::Value;
use sha2::{Digest as _, Sha256};

use super::effects::is_ours;
use super::gates::declared::gate_key;
use super::gates::job::{self, Seen};
use super::input::Inputs;
use super::objects::{self, Body};
use super::run::is_job;
use super::view;
use crate::model::gate::{DeclaredGate, JobGate};
use crate::model::name::ReleaseKey;
use crate::model::object::{Fence, Manifest, ObjectKey, Role};
use crate::model::observed::{Known, Live, PodView};
use crate::model::record::{Ownership, Record};
use crate::model::rollout::{JobRun, Phase, Rollout, Version};
use crate::model::verdict::Gate;
use crate::model::write::Write;
use crate::model::{ANNOTATION_ROLLOUT, LABEL_GATE};
use crate::render::{self, GateJob};

/// The longest part of a Job's name that says what it is for.
const SPOKEN: usize = 40;

/// The key of the Job of a gate: a function of rollout, stage, gate and attempt, so that one that is made again after a lost reply is the
/// same Job.
pub fn key(release: &ReleaseKey, namespace: &str, rollout: &Rollout, gate: &str, run: &JobRun) -> ObjectKey {
    let place = format!("{}\n{gate}\n{}", rollout.stage.number, run.attempt);
    named(release, namespace, rollout, &format!("{}-{gate}", release.service), &place)
}

/// The key of the Job that is a rollout's version.
fn run_key(release: &ReleaseKey, namespace: &str, rollout: &Rollout, run: &JobRun) -> ObjectKey {
    let place = format!("{}\n{}", rollout.candidate.identity(), run.attempt);
    named(release, namespace, rollout, release.service.as_str(), &place)
}

fn named(release: &ReleaseKey, namespace: &str, rollout: &Rollout, spoken: &str, place: &str) -> ObjectKey {
    let number = rollout.number;
    let all = format!("{release}\n{number}\n{place}");
    let hash: String = hex::encode(Sha256::digest(all.as_bytes())).chars().take(6).collect();
    let spoken: String = spoken.chars().take(SPOKEN).collect();
    ObjectKey {
        api_version: "batch/v1".to_owned(),
        kind: "Job".to_owned(),
        namespace: namespace.to_owned(),
        name: format!("{}-r{number}-{hash}", spoken.trim_end_matches('-')),
    }
}

/// What is kept of the run of a version that is a Job, once it may be made.
fn own_run(rollout: &Rollout) -> Option<&JobRun> {
    let runs = is_job(&rollout.policy) && rollout.phase == Phase::Promoting;
    rollout.stage.jobs.get(Gate::Job.name()).filter(|_| runs)
}

/// The gates whose Jobs the record allows now, with what is kept of them.
fn allowed(rollout: &Rollout) -> impl Iterator<Item = (&DeclaredGate, &JobGate, &JobRun)> {
    rollout.policy.gates.iter().filter_map(|gate| {
        let run = rollout.stage.jobs.get(&gate_key(gate))?;
        Some((gate, gate.asks.job()?, run))
    })
}

/// Returns the Jobs that the record allows: a pass must know of them.
pub fn job_keys(release: &ReleaseKey, namespace: &str, record: &Record) -> Vec<ObjectKey> {
    let rollout = record.rollout.iter();
    rollout
        .flat_map(|rollout| {
            let own = own_run(rollout).map(|run| run_key(release, namespace, rollout, run));
            let gates = allowed(rollout);
            gates.map(|(gate, _, run)| key(release, namespace, rollout, &gate.name, run)).chain(own)
        })
        .collect()
}

/// Returns what is seen of a gate's Job.
pub fn look(
    record: &Record,
    input: &Inputs<'_>,
    rollout: &Rollout,
    gate: &DeclaredGate,
    run: &JobRun,
) -> Seen {
    let key = key(input.release, input.namespace.as_str(), rollout, &gate.name, run);
    seen(record, input, &key, run, gate.timeout)
}

/// Returns what is seen of the run of a version that is a Job.
pub fn look_run(record: &Record, input: &Inputs<'_>, rollout: &Rollout, run: &JobRun) -> Seen {
    let key = run_key(input.release, input.namespace.as_str(), rollout, run);
    seen(record, input, &key, run, deadline(input, rollout))
}

/// Returns how long the run of a version that is a Job may take.
pub fn deadline(input: &Inputs<'_>, rollout: &Rollout) -> Duration {
    let seconds = objects::kept_workload(input, rollout.number)
        .and_then(|workload| workload.body.pointer("/spec/activeDeadlineSeconds").and_then(Value::as_u64));
    seconds.map_or(rollout.policy.progress_deadline, Duration::from_secs)
}

fn seen(record: &Record, input: &Inputs<'_>, key: &ObjectKey, run: &JobRun, deadline: Duration) -> Seen {
    let observed = input.observed;
    match observed.object(key) {
        Known::Unknown => Seen::Unknown,
        Known::Absent => match observed.refusals.get(key) {
            Some(why) if run.uid.is_none() => Seen::Refused(why.clone()),
            _ => Seen::Absent,
        },
        Known::Present(live) if !is_ours(record, input.release, key, live) => {
            Seen::Refused(format!("Job {} exists and is not managed by idp", key.name))
        }
        Known::Present(live) => {
            let pods: Vec<&PodView> = observed.pods.iter().filter(|pod| pod.owner == live.uid).collect();
            job::state(live, &pods, deadline, input.now)
        }
    }
}

/// Adds the bodies of the Jobs that may stand. One that was seen and is gone is not made again by itself.
pub fn add(record: &Record, input: &Inputs<'_>, bodies: &mut Vec<Body>) {
    let Some(rollout) = record.rollout.as_ref().filter(|rollout| rollout.ending.is_none()) else { return };
    let Some(version) = rollout.candidate.version() else { return };
    let Some(workload) = objects::kept_workload(input, rollout.number) else { return };
    let gone =
        |key: &ObjectKey, run: &JobRun| run.uid.is_some() && input.observed.object(key).present().is_none();
    if let Some(run) = own_run(rollout) {
        let key = run_key(input.release, input.namespace.as_str(), rollout, run);
        if !gone(&key, run) {
            bodies.push(body_of(render::renamed(workload, key), rollout, version));
        }
    }
    for (gate, job, run) in allowed(rollout) {
        let key = key(input.release, input.namespace.as_str(), rollout, &gate.name, run);
        if gone(&key, run) {
            continue;
        }
        let fill = |text: &String| super::gates::declared::fill_plain(text, version, input.release);
        let manifest = GateJob {
            key: &key,
            gate: &gate.name,
            command: job.command.iter().map(fill).collect(),
            image: job.image.as_ref().map(fill),
            retries: job.retries,
            deadline: gate.timeout,
        }
        .of(workload);
        bodies.push(body_of(manifest, rollout, version));
    }
}

fn body_of(manifest: Manifest, rollout: &Rollout, version: &Version) -> Body {
    let Version { revision, identity, .. } = version.clone();
    Body { manifest, rollout: rollout.number, revision, identity }
}

/// Starts the Jobs that may run, and takes away those that nobody asks about any more. A gate's that failed in the newest rollout, and the
/// newest run of a job that ended, are left for who looks after them, until the next rollout begins.
pub fn writes(record: &Record, input: &Inputs<'_>, bodies: &[Body], writes: &mut Vec<Write>) {
    let here = |key: &ObjectKey| input.observed.object(key).present().filter(|live| !live.is_deleting());
    for body in bodies.iter().filter(|body| body.manifest.role == Role::Job) {
        let key = &body.manifest.key;
        if let Some(live) =
            here(key).filter(|live| is_ours(record, input.release, key, live) && is_suspended(live))
        {
            let fence = Fence { uid: live.uid.clone(), resource_version: live.resource_version.clone() };
            writes.push(Write::Start { key: key.clone(), fence });
        }
    }
    let over = record.rollout.as_ref().is_none_or(|rollout| rollout.ending.is_some());
    for (key, entry) in record.inventory.iter().filter(|(_, entry)| entry.role == Role::Job) {
        let (Ownership::Owned { uid }, Some(live)) = (&entry.ownership, here(key)) else { continue };
        let number = view::annotation(&live.object, ANNOTATION_ROLLOUT).and_then(|text| text.parse().ok());
        let newest = number == Some(record.rollouts);
        let of_gate = view::carries(&live.object, LABEL_GATE);
        let left = ended(live, "Failed") || !of_gate && ended(live, "Complete");
        if !newest || over && !left {
            writes.push(Write::Delete { key: key.clone(), uid: uid.clone() });
        }
    }
}

fn is_suspended(live: &Live) -> bool {
    live.object.pointer("/spec/suspend").and_then(Value::as_bool) == Some(true)
}

fn ended(live: &Live, how: &str) -> bool {
    job::condition(&live.object, how).is_some()
}
