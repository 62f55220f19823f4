//! The series of releases: names, labels, help texts.

use prometheus::{GaugeVec, HistogramVec, IntCounterVec};

use super::super::MetricsError;
use super::super::registrar::{LEAD, LONG, Registrar, SHORT};

const RELEASE: &[&str] = &["service", "environment"];

/// What is so now.
#[derive(Debug, Clone)]
pub struct Gauges {
    pub info: GaugeVec,
    pub phase: GaugeVec,
    pub weight: GaugeVec,
    pub step: GaugeVec,
    pub value: GaugeVec,
    pub limit: GaugeVec,
    pub drift: GaugeVec,
}

impl Gauges {
    pub fn register(to: &mut Registrar) -> Result<Self, MetricsError> {
        Ok(Self {
            info: to.gauges(
                "idp_release_info",
                "1; what a release is and how it stands.",
                &["service", "environment", "team", "sync", "health", "phase"],
            )?,
            phase: to.gauges(
                "idp_rollout_phase",
                "Where a release stands: 0 Stable, 1 Preparing, 2 Progressing, 3 Promoting, 4 Baking, 5 RollingBack, 6 Failed.",
                RELEASE,
            )?,
            weight: to.gauges(
                "idp_rollout_weight_ratio",
                "The candidate's share of traffic, 0 to 1: asked for, and real: by a route what the route gives, without one the share of the pods.",
                &["service", "environment", "kind"],
            )?,
            step: to.gauges("idp_rollout_step", "The running rollout's step, from 1; 0 when none runs.", RELEASE)?,
            value: to.gauges(
                "idp_gate_value",
                "What a gate of the running rollout last measured, in the gate's unit.",
                &["service", "environment", "gate"],
            )?,
            limit: to.gauges(
                "idp_gate_limit",
                "What a gate of the running rollout allows, in the gate's unit.",
                &["service", "environment", "gate"],
            )?,
            drift: to.gauges("idp_drift_objects", "Objects that somebody else changed.", RELEASE)?,
        })
    }
}

/// What is counted.
#[derive(Debug, Clone)]
pub struct Counters {
    pub rollouts: IntCounterVec,
    pub rollbacks: IntCounterVec,
    pub verdicts: IntCounterVec,
    pub deployments: IntCounterVec,
    pub change_failures: IntCounterVec,
    pub corrections: IntCounterVec,
}

impl Counters {
    pub fn register(to: &mut Registrar) -> Result<Self, MetricsError> {
        Ok(Self {
            rollouts: to.counters(
                "idp_rollouts_total",
                "Ended rollouts, by outcome and by whether more than a canary's share ever saw the version.",
                &["service", "environment", "outcome", "stage"],
            )?,
            rollbacks: to.counters(
                "idp_rollbacks_total",
                "Rollouts that were taken back, by the gate that caused it.",
                &["service", "environment", "cause"],
            )?,
            verdicts: to.counters(
                "idp_gate_verdicts_total",
                "Stored verdicts: each change of what a gate says.",
                &["service", "environment", "gate", "verdict"],
            )?,
            deployments: to.counters(
                "idp_deployments_total",
                "Promoted versions.",
                &["service", "environment", "team"],
            )?,
            change_failures: to.counters(
                "idp_change_failures_total",
                "Versions that were taken back after more than a canary's share had seen them.",
                &["service", "environment", "team"],
            )?,
            corrections: to.counters(
                "idp_drift_corrections_total",
                "Objects that were put back after a foreign edit.",
                RELEASE,
            )?,
        })
    }
}

/// What takes time.
#[derive(Debug, Clone)]
pub struct Times {
    pub duration: HistogramVec,
    pub push_to_applied: HistogramVec,
    pub lead_time: HistogramVec,
    pub recovery: HistogramVec,
}

impl Times {
    pub fn register(to: &mut Registrar) -> Result<Self, MetricsError> {
        Ok(Self {
            duration: to.histograms(
                "idp_rollout_duration_seconds",
                "From a rollout's begin to its end.",
                &["environment", "outcome"],
                LONG,
            )?,
            push_to_applied: to.histograms(
                "idp_push_to_applied_seconds",
                "From the hint that told of a commit to the first write of its candidate.",
                &["environment"],
                SHORT,
            )?,
            lead_time: to.histograms(
                "idp_lead_time_seconds",
                "From a commit to the moment its version is stable.",
                &["environment"],
                LEAD,
            )?,
            recovery: to.histograms(
                "idp_recovery_seconds",
                "From a failed verdict to healthy again.",
                &["environment"],
                LONG,
            )?,
        })
    }
}
