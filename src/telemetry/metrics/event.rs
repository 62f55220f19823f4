//! Metrics of the outbox and the publisher.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use prometheus::{GaugeVec, HistogramVec, IntCounterVec};

use super::MetricsError;
use super::registrar::{Registrar, SHORT};
use crate::event::catalogue::types;
use crate::model::name::ReleaseKey;
use crate::model::record::Record;

/// How full one release's outbox is.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
struct Fill {
    entries: u32,
    share: f64,
}

/// Metrics of events.
#[derive(Debug, Clone)]
pub struct EventMetrics {
    outbox: GaugeVec,
    fill: GaugeVec,
    published: IntCounterVec,
    duration: HistogramVec,
    dropped: IntCounterVec,
    statuses: IntCounterVec,
    fills: Arc<Mutex<BTreeMap<ReleaseKey, Fill>>>,
}

fn known(kind: &str) -> &'static str {
    types::by_name(kind).map_or("other", |kind| kind.name)
}

impl EventMetrics {
    pub(super) fn register(to: &mut Registrar) -> Result<Self, MetricsError> {
        Ok(Self {
            outbox: to.gauges("idp_outbox_events", "Outbox entries that wait, of all releases.", &[])?,
            fill: to.gauges(
                "idp_outbox_fill_ratio",
                "How full the fullest outbox is; from 0.8 on the broker needs a look, at 1 new rollouts wait.",
                &[],
            )?,
            published: to.counters(
                "idp_events_published_total",
                "Attempts to publish an event: acknowledged, or why not.",
                &["type", "result"],
            )?,
            duration: to.histograms(
                "idp_event_publish_seconds",
                "From handing an event to the broker's client to its acknowledgement.",
                &["type"],
                SHORT,
            )?,
            dropped: to.counters(
                "idp_events_dropped_total",
                "Lost events: unsendable ones, and outbox entries collapsed because the outbox was full.",
                &["type", "result"],
            )?,
            statuses: to.counters(
                "idp_commit_statuses_total",
                "Commit statuses handed to forges, by what came of them.",
                &["result"],
            )?,
            fills: Arc::default(),
        })
    }

    /// Notes how full a release's outbox is. Costs a walk over one number a release.
    pub fn outbox(&self, release: &ReleaseKey, record: &Record) {
        let entries = u32::try_from(record.outbox.len()).unwrap_or(u32::MAX);
        let fill = (entries > 0).then(|| Fill { entries, share: record.outbox_fill() });
        self.set_fill(release, fill);
    }

    /// Forgets a release that is gone.
    pub fn forget(&self, release: &ReleaseKey) {
        self.set_fill(release, None);
    }

    /// Only outboxes that hold something are remembered: in a quiet fleet there are none to walk over.
    fn set_fill(&self, release: &ReleaseKey, fill: Option<Fill>) {
        let mut fills = self.fills.lock().unwrap_or_else(PoisonError::into_inner);
        match fill {
            Some(fill) => drop(fills.insert(release.clone(), fill)),
            None => drop(fills.remove(release)),
        }
        let entries: f64 = fills.values().map(|fill| f64::from(fill.entries)).sum();
        let fullest = fills.values().map(|fill| fill.share).fold(0.0, f64::max);
        self.outbox.with_label_values::<&str>(&[]).set(entries);
        self.fill.with_label_values::<&str>(&[]).set(fullest);
    }

    /// Counts an acknowledged event.
    pub fn published(&self, kind: &str, took: Duration) {
        self.published.with_label_values(&[known(kind), "acknowledged"]).inc();
        self.duration.with_label_values(&[known(kind)]).observe(took.as_secs_f64());
    }

    /// Counts an attempt that failed and is repeated; `result` is the failure as a word of a fixed set.
    pub fn failed(&self, kind: &str, result: &'static str) {
        self.published.with_label_values(&[known(kind), result]).inc();
    }

    /// Counts an event that no broker will ever take.
    pub fn unsendable(&self, kind: &str) {
        self.dropped.with_label_values(&[known(kind), "unsendable"]).inc();
    }

    /// Counts a commit status; `result` is a word of a fixed set (`sent`, `refused`, `failed`).
    pub fn status(&self, result: &'static str) {
        self.statuses.with_label_values(&[result]).inc();
    }

    /// Counts outbox entries that a full outbox dropped.
    pub fn collapsed(&self, count: u64) {
        self.dropped.with_label_values(&["any", "collapsed"]).inc_by(count);
    }
}
