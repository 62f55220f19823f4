//! A `HorizontalPodAutoscaler`: from the CPU use that a test tells of to a Deployment's size, through its scale subresource
//! (`pkg/controller/podautoscaler/horizontal.go`, v1.36: bounds first, then the metric with its tolerance, the limit of one step up,
//! the stabilisation of the way down; what is at zero is left there). Without a figure it keeps to the bounds, as the genuine one does
//! without a metrics server.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use serde_json::{Value, json};
use tokio::time::Instant;

use super::{
    super::{api::ApiError, json},
    Outcome, conditions,
    hands::{Hands, is_going},
};

/// How often the genuine controller looks (`--horizontal-pod-autoscaler-sync-period`).
const PERIOD: Duration = Duration::from_secs(15);
/// How long the highest of the last recommendations holds (`--horizontal-pod-autoscaler-downscale-stabilization`).
const WINDOW: i64 = 300;
/// A use that is nearer to its target than this share of it changes nothing (`--horizontal-pod-autoscaler-tolerance`), in per cent.
const TOLERANCE: i64 = 10;

/// What was recommended lately, by namespace and name.
pub(super) type Memory = BTreeMap<(String, String), Vec<(Instant, i64)>>;

/// Looks at one autoscaler.
pub(super) fn sync(hands: &Hands, memory: &mut Memory, namespace: &str, name: &str) -> Outcome {
    let key = (namespace.to_owned(), name.to_owned());
    let Some(autoscaler) = hands.autoscaler(namespace, name).filter(|found| !is_going(found)) else {
        memory.remove(&key);
        return Outcome::Done;
    };
    let target = json::text(&autoscaler, &["spec", "scaleTargetRef", "name"]);
    let Some(deployment) = hands.deployment(namespace, target) else { return Outcome::Done };
    let past = memory.entry(key).or_default();
    match look(hands, past, &autoscaler, &deployment) {
        Ok(()) => Outcome::Later(hands.scaled(PERIOD)),
        Err(_) => Outcome::Failed,
    }
}

fn look(
    hands: &Hands,
    past: &mut Vec<(Instant, i64)>,
    autoscaler: &Arc<Value>,
    deployment: &Value,
) -> Result<(), ApiError> {
    let current = json::int(deployment, &["spec", "replicas"]).unwrap_or(1);
    if past.is_empty() {
        past.push((Instant::now(), current));
    }
    let bound = |name: &str| json::int(autoscaler, &["spec", name]).unwrap_or(1);
    let (least, most) = (bound("minReplicas"), bound("maxReplicas"));
    let (namespace, name) = super::key_parts(deployment);
    let used = hands.cpu(&namespace, &name);
    let (desired, reason) = match used {
        _ if current == 0 => (0, "ScalingDisabled"),
        _ if current > most => (most, "ValidMetricFound"),
        _ if current < least => (least, "ValidMetricFound"),
        None => (current, "FailedGetResourceMetric"),
        Some(used) => {
            let recommended = recommend(current, used, target_of(autoscaler));
            let limited = recommended.min((2 * current).max(4)).clamp(least, most);
            (stabilised(hands, past, autoscaler, limited), "ValidMetricFound")
        }
    };
    if desired != current {
        hands.scale_deployment(&namespace, &name, desired)?;
    }
    report(hands, autoscaler, (current, desired), reason)
}

/// `⌈current · used / target⌉`, unless that is near enough.
fn recommend(current: i64, used: i64, target: i64) -> i64 {
    if (used - target).abs() * 100 <= TOLERANCE * target {
        return current;
    }
    (current * used + target - 1) / target.max(1)
}

/// The mean use that the first metric aims at, in per cent of what is requested.
fn target_of(autoscaler: &Value) -> i64 {
    let metric = json::list(autoscaler, &["spec", "metrics"]).first();
    metric.and_then(|metric| json::int(metric, &["resource", "target", "averageUtilization"])).unwrap_or(80)
}

/// The highest that was recommended within the window of the way down.
fn stabilised(hands: &Hands, past: &mut Vec<(Instant, i64)>, autoscaler: &Value, recommended: i64) -> i64 {
    let window = json::int(autoscaler, &["spec", "behavior", "scaleDown", "stabilizationWindowSeconds"]);
    let window = Duration::from_secs(u64::try_from(window.unwrap_or(WINDOW)).unwrap_or(0));
    let (now, window) = (Instant::now(), hands.scaled(window));
    past.retain(|(at, _)| now.duration_since(*at) < window);
    past.push((now, recommended));
    past.iter().map(|(_, recommended)| *recommended).max().unwrap_or(recommended)
}

fn report(
    hands: &Hands,
    autoscaler: &Arc<Value>,
    (current, desired): (i64, i64),
    reason: &str,
) -> Result<(), ApiError> {
    let mut new = (**autoscaler).clone();
    json::set(&mut new, &["status", "currentReplicas"], current);
    json::set(&mut new, &["status", "desiredReplicas"], desired);
    let works = if reason == "ValidMetricFound" { "True" } else { "False" };
    if let Some(status) = new.get_mut("status") {
        let now = hands.now_text();
        conditions::set(status, condition("AbleToScale", "True", "SucceededGetScale", &now));
        conditions::set(status, condition("ScalingActive", works, reason, &now));
    }
    if new == **autoscaler { Ok(()) } else { hands.update_autoscaler_status(new).map(drop) }
}

fn condition(kind: &str, status: &str, reason: &str, now: &str) -> Value {
    json!({"type": kind, "status": status, "reason": reason, "message": "", "lastTransitionTime": now})
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_size_follows_the_use_and_small_differences_do_nothing() {
        for (current, used, target, expected) in
            [(4, 80, 80, 4), (4, 87, 80, 4), (4, 160, 80, 8), (4, 100, 80, 5), (10, 20, 80, 3), (1, 1, 80, 1)]
        {
            assert_eq!(recommend(current, used, target), expected, "{current} pods at {used} of {target}");
        }
    }
}
