//! Metrics of releases and their rollouts. Counters that have a total in the record start from it after a restart; the series of
//! a release vanish with it.

mod series;

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use prometheus::core::{Collector, MetricVec, MetricVecBuilder};
use prometheus::{GaugeVec, IntCounter};

use super::registrar::Registrar;
use super::{EventMetrics, MetricsError};
use crate::model::name::{EnvironmentName, ReleaseKey};
use crate::model::record::{Record, Totals};
use crate::model::rollout::{Outcome, Phase};
use crate::model::transition::{Kind, Transition};
use crate::model::verdict::{Answer, Gate};
use series::{Counters, Gauges, Times};

/// What is remembered of a release between two records.
#[derive(Debug, Default)]
struct Seen {
    /// The labels that `idp_release_info` has now: they change, and the old series has to go.
    info: Option<[String; 4]>,
    /// When the verdict was given that a recovery counts from.
    failed_at: Option<Timestamp>,
}

/// Metrics of releases.
#[derive(Debug, Clone)]
pub struct ReleaseMetrics {
    gauges: Gauges,
    counters: Counters,
    times: Times,
    events: EventMetrics,
    seen: Arc<Mutex<BTreeMap<ReleaseKey, Seen>>>,
}

impl ReleaseMetrics {
    pub(super) fn register(to: &mut Registrar, events: EventMetrics) -> Result<Self, MetricsError> {
        Ok(Self {
            gauges: Gauges::register(to)?,
            counters: Counters::register(to)?,
            times: Times::register(to)?,
            events,
            seen: Arc::default(),
        })
    }

    fn seen(&self) -> MutexGuard<'_, BTreeMap<ReleaseKey, Seen>> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts a transition; to be called once each, when the record that has it is stored.
    pub fn transition(&self, transition: &Transition) {
        let release = &transition.release;
        let (service, environment) = (release.service.as_str(), release.environment.as_str());
        let team = transition.team.as_str();
        match &transition.kind {
            Kind::Finished { outcome, took, caught, .. } => {
                let stage = stage(*caught);
                self.counters
                    .rollouts
                    .with_label_values(&[service, environment, outcome.name(), stage])
                    .inc();
                self.times
                    .duration
                    .with_label_values(&[environment, outcome.name()])
                    .observe(took.as_secs_f64());
                if is_change_failure(outcome.name(), stage) {
                    self.counters.change_failures.with_label_values(&[service, environment, team]).inc();
                }
            }
            Kind::Promoted { since_commit, .. } => {
                self.counters.deployments.with_label_values(&[service, environment, team]).inc();
                self.times.lead_time.with_label_values(&[environment]).observe(since_commit.as_secs_f64());
            }
            Kind::RolledBack { verdict, .. } => {
                self.counters.rollbacks.with_label_values(&[service, environment, verdict.gate.name()]).inc();
            }
            Kind::GateFailed { .. } => {
                self.seen().entry(release.clone()).or_default().failed_at.get_or_insert(transition.at);
            }
            Kind::HealthyAgain { .. } => self.recovered(release, transition.at),
            Kind::DriftCorrected { objects } => {
                let count = u64::try_from(objects.len()).unwrap_or(u64::MAX);
                self.counters.corrections.with_label_values(&[service, environment]).inc_by(count);
            }
            Kind::EventsDropped { count, .. } => self.events.collapsed(*count),
            Kind::ChangeSeen { .. }
            | Kind::Queued { .. }
            | Kind::Started { .. }
            | Kind::Stepped { .. }
            | Kind::HoldSet { .. }
            | Kind::HoldReleased { .. }
            | Kind::Applied { .. }
            | Kind::RecordRebuilt { .. }
            | Kind::ApprovalRequested { .. }
            | Kind::CommandAnswered { .. } => {}
        }
    }

    /// Measures a recovery whose beginning this process has seen.
    fn recovered(&self, release: &ReleaseKey, at: Timestamp) {
        let since = self.seen().get_mut(release).and_then(|seen| seen.failed_at.take());
        if let Some(took) = since.and_then(|since| Duration::try_from(at.duration_since(since)).ok()) {
            self.times
                .recovery
                .with_label_values(&[release.environment.as_str()])
                .observe(took.as_secs_f64());
        }
    }

    /// Measures the way from a hint to the first write of its candidate.
    pub fn push_to_applied(&self, environment: &EnvironmentName, took: Duration) {
        self.times.push_to_applied.with_label_values(&[environment.as_str()]).observe(took.as_secs_f64());
    }

    /// Sets the gauges of a release from its stored record, and lifts its counters to the record's totals: they go on where the
    /// process before this one stopped. To be called after the transitions of the same write were counted.
    pub fn record(&self, release: &ReleaseKey, record: &Record) {
        let names = [release.service.as_str(), release.environment.as_str()];
        let [service, environment] = names;
        self.set_info(release, record);
        self.gauges.phase.with_label_values(&names).set(phase_number(record));
        for (kind, percent) in [("asked", record.weight), ("real", record.real_weight)] {
            self.gauges
                .weight
                .with_label_values(&[service, environment, kind])
                .set(f64::from(percent) / 100.0);
        }
        let step = record.rollout.as_ref().map_or(0, |rollout| rollout.step.saturating_add(1));
        self.gauges.step.with_label_values(&names).set(f64::from(step));
        self.gauges.drift.with_label_values(&names).set(count(record.drifted.len()));
        self.set_gates(release, record);
        self.lift(release, &record.totals, record.team.as_str());
        self.events.outbox(release, record);
    }

    fn set_info(&self, release: &ReleaseKey, record: &Record) {
        let labels = [
            record.team.to_string(),
            record.sync.name().to_owned(),
            record.health.name().to_owned(),
            record.phase.clone(),
        ];
        let (service, environment) = (release.service.as_str(), release.environment.as_str());
        let mut seen = self.seen();
        let seen = seen.entry(release.clone()).or_default();
        if let Some(rollout) = record.rollout.as_ref().filter(|_| record.incident) {
            let failed_at = rollout.ending.as_ref().map(|ending| ending.at);
            seen.failed_at = seen.failed_at.or(failed_at);
        }
        if seen.info.as_ref() == Some(&labels) {
            return;
        }
        if let Some([team, sync, health, phase]) = &seen.info {
            // It may be gone with a `remove`: then there is nothing to do.
            let _ = self.gauges.info.remove_label_values(&[service, environment, team, sync, health, phase]);
        }
        let [team, sync, health, phase] = &labels;
        self.gauges.info.with_label_values(&[service, environment, team, sync, health, phase]).set(1.0);
        seen.info = Some(labels);
    }

    /// Gates that the running rollout has no verdict of have no series.
    fn set_gates(&self, release: &ReleaseKey, record: &Record) {
        let (service, environment) = (release.service.as_str(), release.environment.as_str());
        let verdicts = record.rollout.as_ref().map(|rollout| &rollout.stage.verdicts);
        for gate in GATES {
            let numbers = verdicts.and_then(|verdicts| verdicts.get(gate.name())).map(|found| &found.numbers);
            let names = [service, environment, gate.name()];
            set_or_remove(&self.gauges.value, &names, numbers.and_then(|numbers| numbers.value));
            set_or_remove(&self.gauges.limit, &names, numbers.and_then(|numbers| numbers.limit));
        }
    }

    fn lift(&self, release: &ReleaseKey, totals: &Totals, team: &str) {
        let (service, environment) = (release.service.as_str(), release.environment.as_str());
        let (mut deployments, mut failures) = (0, 0);
        for (key, total) in &totals.rollouts {
            // The keys come from the API server: what is none of our words makes no series.
            let Some((outcome, stage)) = rollout_labels(key) else { continue };
            lift(&self.counters.rollouts.with_label_values(&[service, environment, outcome, stage]), *total);
            if outcome == Outcome::Promoted.name() {
                deployments += total;
            }
            if is_change_failure(outcome, stage) {
                failures += total;
            }
        }
        lift(&self.counters.deployments.with_label_values(&[service, environment, team]), deployments);
        lift(&self.counters.change_failures.with_label_values(&[service, environment, team]), failures);
        for (cause, total) in &totals.rollbacks {
            if let Some(cause) = gate(cause) {
                lift(&self.counters.rollbacks.with_label_values(&[service, environment, cause]), *total);
            }
        }
        for (key, total) in &totals.verdicts {
            let Some((gate, answer)) = key.split_once('/').and_then(|(g, a)| Some((gate(g)?, answer(a)?)))
            else {
                continue;
            };
            lift(&self.counters.verdicts.with_label_values(&[service, environment, gate, answer]), *total);
        }
    }

    /// Takes away every series of a release that is gone.
    pub fn remove(&self, release: &ReleaseKey) {
        for vec in [
            &self.gauges.info,
            &self.gauges.phase,
            &self.gauges.weight,
            &self.gauges.step,
            &self.gauges.value,
            &self.gauges.limit,
            &self.gauges.drift,
        ] {
            forget(vec, release);
        }
        for vec in [
            &self.counters.rollouts,
            &self.counters.rollbacks,
            &self.counters.verdicts,
            &self.counters.deployments,
            &self.counters.change_failures,
            &self.counters.corrections,
        ] {
            forget(vec, release);
        }
        self.events.forget(release);
        self.seen().remove(release);
    }
}

const GATES: [Gate; 11] = [
    Gate::PodState,
    Gate::HealthCheck,
    Gate::ErrorRate,
    Gate::Latency,
    Gate::Declared,
    Gate::Slo,
    Gate::Deadline,
    Gate::Image,
    Gate::Command,
    Gate::Order,
    Gate::Cluster,
];
const ANSWERS: [Answer; 3] = [Answer::Pass, Answer::Unknown, Answer::Fail];
const OUTCOMES: [Outcome; 6] = [
    Outcome::Promoted,
    Outcome::RolledBack,
    Outcome::Superseded,
    Outcome::Aborted,
    Outcome::Failed,
    Outcome::Undone,
];

fn gate(name: &str) -> Option<&'static str> {
    GATES.iter().map(|gate| gate.name()).find(|known| *known == name)
}

fn answer(name: &str) -> Option<&'static str> {
    ANSWERS.iter().map(|answer| answer.name()).find(|known| *known == name)
}

fn stage(caught: bool) -> &'static str {
    if caught { "canary" } else { "full" }
}

/// Reads a key that [`Totals::rollout_key`] made.
fn rollout_labels(key: &str) -> Option<(&'static str, &'static str)> {
    OUTCOMES
        .iter()
        .flat_map(|outcome| [true, false].map(|caught| (outcome, caught)))
        .find(|(outcome, caught)| Totals::rollout_key(**outcome, *caught) == key)
        .map(|(outcome, caught)| (outcome.name(), stage(caught)))
}

/// A version that was taken back after everybody had it; what a canary caught is no failure of a change.
fn is_change_failure(outcome: &str, stage: &str) -> bool {
    let failures = [Outcome::RolledBack, Outcome::Aborted, Outcome::Undone];
    stage == "full" && failures.iter().any(|failure| failure.name() == outcome)
}

fn phase_number(record: &Record) -> f64 {
    match record.rollout.as_ref().map(|rollout| rollout.phase) {
        Some(Phase::Preparing) => 1.0,
        Some(Phase::Progressing) => 2.0,
        Some(Phase::Promoting) => 3.0,
        Some(Phase::Baking) => 4.0,
        Some(Phase::RollingBack) => 5.0,
        None if record.phase == "Failed" => 6.0,
        None => 0.0,
    }
}

fn count(number: usize) -> f64 {
    f64::from(u32::try_from(number).unwrap_or(u32::MAX))
}

fn set_or_remove(vec: &GaugeVec, names: &[&str], value: Option<f64>) {
    match value {
        Some(value) => vec.with_label_values(names).set(value),
        // An error says that there was none.
        None => drop(vec.remove_label_values(names)),
    }
}

fn lift(counter: &IntCounter, total: u64) {
    counter.inc_by(total.saturating_sub(counter.get()));
}

/// Removes the series of a release from a vector that has the labels `service` and `environment`. It walks all of them, which
/// is for the rare end of a release only.
fn forget<B: MetricVecBuilder>(vec: &MetricVec<B>, release: &ReleaseKey) {
    for family in vec.collect() {
        for metric in family.get_metric() {
            let labels: HashMap<&str, &str> =
                metric.get_label().iter().map(|pair| (pair.name(), pair.value())).collect();
            let ours = labels.get("service") == Some(&release.service.as_str())
                && labels.get("environment") == Some(&release.environment.as_str());
            if ours {
                // An error says that it is gone already.
                let _ = vec.remove(&labels);
            }
        }
    }
}
