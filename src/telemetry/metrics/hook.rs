//! Metrics of webhooks.

use prometheus::IntCounterVec;

use super::MetricsError;
use super::registrar::Registrar;
use crate::model::name::SourceName;

/// Metrics of webhooks.
#[derive(Debug, Clone)]
pub struct HookMetrics {
    requests: IntCounterVec,
}

impl HookMetrics {
    pub(super) fn register(to: &mut Registrar) -> Result<Self, MetricsError> {
        Ok(Self {
            requests: to.counters(
                "idp_webhook_requests_total",
                "Webhook requests, by source, forge and what came of them.",
                &["source", "forge", "result"],
            )?,
        })
    }

    /// Counts a request. `source` is a configured one (`None`: the path names none); `forge` and `result` are words of fixed sets.
    pub fn request(&self, source: Option<&SourceName>, forge: &'static str, result: &'static str) {
        let source = source.map_or("unknown", SourceName::as_str);
        self.requests.with_label_values(&[source, forge, result]).inc();
    }
}
