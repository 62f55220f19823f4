//! Metrics of requests to the Kubernetes API, and of the lease.

use std::time::Duration;

use prometheus::{GaugeVec, HistogramVec, IntCounterVec};

use super::MetricsError;
use super::registrar::{Registrar, SHORT};

/// Metrics of the cluster.
#[derive(Debug, Clone)]
pub struct ClusterMetrics {
    requests: IntCounterVec,
    duration: HistogramVec,
    leader: GaugeVec,
}

impl ClusterMetrics {
    pub(super) fn register(to: &mut Registrar) -> Result<Self, MetricsError> {
        let metrics = Self {
            requests: to.counters(
                "idp_kubernetes_requests_total",
                "Requests to the Kubernetes API, by status; the code is timeout or error where no answer came.",
                &["verb", "kind", "code"],
            )?,
            duration: to.histograms(
                "idp_kubernetes_request_duration_seconds",
                "How long requests to the Kubernetes API take.",
                &["verb", "kind"],
                SHORT,
            )?,
            leader: to.gauges("idp_leader", "1 if this process holds the lease, else 0.", &[])?,
        };
        metrics.leader(false);
        Ok(metrics)
    }

    /// Counts a request. `verb` is a word of a fixed set (`get`, `list`, `apply`, `patch`, `create`, `delete`); `kind` is the kind
    /// of an object that this program knows.
    pub fn request(&self, verb: &'static str, kind: &str, answer: Answered, took: Duration) {
        let code = match answer {
            Answered::Status(code) => code.to_string(),
            Answered::Timeout => "timeout".to_owned(),
            Answered::Error => "error".to_owned(),
        };
        self.requests.with_label_values(&[verb, kind, &code]).inc();
        self.duration.with_label_values(&[verb, kind]).observe(took.as_secs_f64());
    }

    /// Says whether this process holds the lease.
    pub fn leader(&self, holds: bool) {
        self.leader.with_label_values::<&str>(&[]).set(if holds { 1.0 } else { 0.0 });
    }
}

/// What came of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answered {
    /// The server answered with this HTTP status.
    Status(u16),
    /// No answer in time.
    Timeout,
    /// No answer for another reason.
    Error,
}
