//! Metrics of Git sources.

use std::time::Duration;

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
    last_look: GaugeVec,
    last_change: GaugeVec,
    last_webhook: GaugeVec,
    problems: GaugeVec,
    interval: GaugeVec,
    paused: GaugeVec,
    suspended: GaugeVec,
    cache: GaugeVec,
}

/// How a source stands at a scrape. What is absent has no series.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct SourceStands {
    /// When it was last looked at.
    pub last_look: Option<Timestamp>,
    /// When a branch of it last moved.
    pub last_change: Option<Timestamp>,
    /// When the last webhook came that was proven.
    pub last_webhook: Option<Timestamp>,
    /// What is wrong with it; how many.
    pub problems: Option<usize>,
    /// Seconds between two looks.
    pub interval: Option<u64>,
    /// Its host is not asked now.
    pub paused: bool,
    /// Somebody suspended it.
    pub suspended: bool,
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
            last_look: to.gauges(
                "idp_source_last_look_timestamp_seconds",
                "When a source was last looked at, in seconds since 1970.",
                &["source"],
            )?,
            last_change: to.gauges(
                "idp_source_last_change_timestamp_seconds",
                "When a branch of a source last moved, as this process saw it, in seconds since 1970.",
                &["source"],
            )?,
            last_webhook: to.gauges(
                "idp_source_webhook_last_timestamp_seconds",
                "When a webhook last came that was proven, in seconds since 1970; absent if none did since the start.",
                &["source"],
            )?,
            problems: to.gauges("idp_source_problems", "What is wrong with a source and its files.", &["source"])?,
            interval: to.gauges(
                "idp_source_poll_interval_seconds",
                "The time between two looks without a hint, as it is now.",
                &["source"],
            )?,
            paused: to.gauges(
                "idp_source_paused",
                "1 while the host of a source is not asked, because it wants that or had its requests, else 0.",
                &["source"],
            )?,
            suspended: to.gauges("idp_source_suspended", "1 if a source is suspended, else 0.", &["source"])?,
            cache: to.gauges(
                "idp_source_cache_bytes",
                "Size of a source's mirror on disk; all together stay within cache_limit.",
                &["source"],
            )?,
        })
    }

    /// Takes over how each source stands now; what is not among them is gone.
    pub fn stand<'a>(&self, sources: impl IntoIterator<Item = (&'a SourceName, SourceStands)>) {
        let all = [
            &self.last_look,
            &self.last_change,
            &self.last_webhook,
            &self.problems,
            &self.interval,
            &self.paused,
            &self.suspended,
        ];
        for gauge in all {
            gauge.reset();
        }
        for (source, stands) in sources {
            let set = |gauge: &GaugeVec, value: Option<f64>| {
                if let Some(value) = value {
                    gauge.with_label_values(&[source.as_str()]).set(value);
                }
            };
            set(&self.last_look, stands.last_look.map(seconds));
            set(&self.last_change, stands.last_change.map(seconds));
            set(&self.last_webhook, stands.last_webhook.map(seconds));
            set(&self.problems, stands.problems.map(whole));
            set(&self.interval, stands.interval.map(|seconds| Duration::from_secs(seconds).as_secs_f64()));
            set(&self.paused, Some(f64::from(u8::from(stands.paused))));
            set(&self.suspended, Some(f64::from(u8::from(stands.suspended))));
        }
    }

    /// Counts a successful look or fetch; `result` is `changed` or `unchanged`, `bytes` what was received.
    pub fn succeeded(&self, source: &SourceName, result: &'static str, bytes: u64, now: Timestamp) {
        let source = source.as_str();
        self.up.with_label_values(&[source]).set(1.0);
        self.fetches.with_label_values(&[source, result]).inc();
        self.bytes.with_label_values(&[source]).inc_by(bytes);
        self.last_success.with_label_values(&[source]).set(seconds(now));
    }

    /// Notes how large the mirror of a source is on disk, in bytes.
    pub fn cached(&self, source: &SourceName, bytes: u64) {
        // Exact below 2^53.
        #[allow(clippy::cast_precision_loss)]
        self.cache.with_label_values(&[source.as_str()]).set(bytes as f64);
    }

    /// Counts a look that failed.
    pub fn failed(&self, source: &SourceName) {
        self.up.with_label_values(&[source.as_str()]).set(0.0);
        self.fetches.with_label_values(&[source.as_str(), "failed"]).inc();
    }
}

/// Whole seconds since 1970 are exact in an f64.
fn seconds(at: Timestamp) -> f64 {
    Duration::try_from(at.duration_since(Timestamp::UNIX_EPOCH)).unwrap_or_default().as_secs_f64()
}

fn whole(count: usize) -> f64 {
    f64::from(u32::try_from(count).unwrap_or(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::super::Metrics;
    use super::*;

    #[test]
    fn a_source_that_is_gone_has_no_series() {
        let metrics = Metrics::register().unwrap();
        let (a, b): (SourceName, SourceName) = ("a".parse().unwrap(), "b".parse().unwrap());
        let stands = SourceStands {
            last_look: Timestamp::from_second(1_767_268_800).ok(),
            problems: Some(2),
            interval: Some(600),
            suspended: true,
            ..SourceStands::default()
        };
        metrics.sources.stand([(&a, stands), (&b, SourceStands::default())]);
        let text = metrics.render();
        for line in [
            "idp_source_last_look_timestamp_seconds{source=\"a\"} 1767268800",
            "idp_source_problems{source=\"a\"} 2",
            "idp_source_poll_interval_seconds{source=\"a\"} 600",
            "idp_source_suspended{source=\"a\"} 1",
            "idp_source_paused{source=\"b\"} 0",
        ] {
            assert!(text.contains(line), "{line}\n{text}");
        }
        assert!(!text.contains("idp_source_webhook_last"), "none came");
        metrics.sources.stand([(&b, SourceStands::default())]);
        assert!(!metrics.render().contains("source=\"a\""));
    }
}
