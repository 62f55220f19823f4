//! One transition, said everywhere: log line, metrics and Kubernetes event come from one value, so that they cannot disagree.
//! (The Kafka events come from the same value, when [`super::outbox::outbox_push`] puts them into the record.)

use serde_json::Value;

use super::catalogue::EventSource;
use super::kubernetes::kubernetes_event;
use crate::model::transition::Transition;
use crate::telemetry::log::log_transition;
use crate::telemetry::metrics::ReleaseMetrics;

/// Logs and counts a transition, and returns the body of its Kubernetes event for the caller to create. To be called once the
/// record with the transition is stored, once each.
pub fn announce(metrics: &ReleaseMetrics, source: &EventSource, transition: &Transition) -> Value {
    log_transition(transition);
    metrics.transition(transition);
    kubernetes_event(source, transition)
}
