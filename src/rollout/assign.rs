//! What the evidence loop is to measure for the running stage.

use super::gates::declared;
use super::machine::tracks;
use super::view::View;
use super::{objects, people};
use crate::model::name::{Namespace, ReleaseKey};
use crate::model::object::Manifest;
use crate::model::observed::{Known, Observed, PodView};
use crate::model::policy::{CheckKind, LatencyLimit, Longest};
use crate::model::record::Record;
use crate::model::rollout::{Phase, Rollout};
use crate::model::samples::{Assignment, Target, Track};

/// Returns the assignment of a record's running stage; none where nothing is to be measured.
pub fn assignment(
    record: &Record,
    release: &ReleaseKey,
    namespace: &Namespace,
    view: &View,
    observed: &Observed,
) -> Option<Assignment> {
    let rollout = record.rollout.as_ref()?;
    let measured = matches!(rollout.phase, Phase::Progressing | Phase::Promoting | Phase::Baking);
    let questions = declared::questions(rollout, people::observed(rollout), release);
    let traffic = rollout.policy.rollback.max_error_rate.is_some();
    let latency = latency(rollout);
    let pods_asked =
        measured && (rollout.policy.health.kind != CheckKind::None || traffic || latency.is_some());
    if !pods_asked && questions.is_empty() {
        return None;
    }
    let (candidate, stable) = if pods_asked { tracks(rollout, view) } else { Default::default() };
    let targets = |pods: &[PodView], track: Track| -> Vec<Target> {
        let ready = pods.iter().filter(|pod| pod.disrupted.is_none());
        ready
            .filter_map(|pod| {
                Some(Target {
                    uid: pod.uid.clone(),
                    namespace: namespace.to_string(),
                    name: pod.name.clone(),
                    ip: pod.ip.clone()?,
                    track,
                    ready_since: pod.ready_since?,
                })
            })
            .collect()
    };
    let mut pods = targets(&candidate, Track::Candidate);
    pods.extend(targets(&stable, Track::Stable));
    let body = observed.revisions.get(&rollout.number).and_then(Known::present);
    let port = body.and_then(|body| objects::workload(&body.objects)).and_then(container_port);
    Some(Assignment {
        rollout: rollout.number,
        stage: rollout.stage.number,
        health: rollout.policy.health.clone(),
        traffic: traffic && pods_asked,
        latency: latency.filter(|_| pods_asked),
        questions,
        source: rollout.traffic_source,
        metrics_port: port.unwrap_or(rollout.policy.health.port),
        pods,
    })
}

/// Returns the bounds that limits of latency ask about; none where latency is not gated.
fn latency(rollout: &Rollout) -> Option<Vec<f64>> {
    let limits = &rollout.policy.rollback.max_latency;
    let bound = |limit: &LatencyLimit| match limit.most {
        Longest::Time(time) => Some(time.as_secs_f64()),
        Longest::TimesStable(_) => None,
    };
    (!limits.is_empty()).then(|| limits.iter().filter_map(bound).collect())
}

fn container_port(manifest: &Manifest) -> Option<u16> {
    let port = manifest.body.pointer("/spec/template/spec/containers/0/ports/0/containerPort")?.as_u64()?;
    u16::try_from(port).ok()
}
