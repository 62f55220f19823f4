//! Metrics of Git sources.

use jiff::Timestamp;
use prometheus::{GaugeVec, IntCounterVec};

use super::MetricsError;
use super::registrar::Registrar;
use crate::model::name::SourceName;

/// Metrics of sources.
#[derive(Debug, Clone)]
pub struct SourceMetrics {
    up: GaugeVec,
    fetches: IntCounterVec,
    bytes: IntCounterVec,
    last_success: GaugeVec,
}

impl SourceMetrics {
    pub(super) fn register(to: &mut Registrar) -> Result<Self, MetricsError> {
        Ok(Self {
            up: to.gauges(
                "idp_source_up",
                "1 if the last look at a source succeeded, else 0.",
                &["source"],
            )?,
            fetches: to.counters(
                "idp_source_fetches_total",
                "Looks at a source, by what came of them: changed, unchanged, failed.",
                &["source", "result"],
            )?,
            bytes: to.counters("idp_source_fetch_bytes_total", "Bytes of packs received.", &["source"])?,
            last_success: to.gauges(
                "idp_source_last_success_timestamp_seconds",
                "When a look at a source last succeeded, in seconds since 1970.",
                &["source"],
            )?,
        })
    }

    /// Counts a successful look or fetch; `result` is `changed` or `unchanged`, `bytes` what was received.
    pub fn succeeded(&self, source: &SourceName, result: &'static str, bytes: u64, now: Timestamp) {
        let source = source.as_str();
        self.up.with_label_values(&[source]).set(1.0);
        self.fetches.with_label_values(&[source, result]).inc();
        self.bytes.with_label_values(&[source]).inc_by(bytes);
        // Whole seconds since 1970 are exact in an f64.
        let seconds = std::time::Duration::try_from(now.duration_since(Timestamp::UNIX_EPOCH));
        self.last_success.with_label_values(&[source]).set(seconds.unwrap_or_default().as_secs_f64());
    }

    /// Counts a look that failed.
    pub fn failed(&self, source: &SourceName) {
        self.up.with_label_values(&[source.as_str()]).set(0.0);
        self.fetches.with_label_values(&[source.as_str(), "failed"]).inc();
    }
}
