//! Metrics of the queue, the passes and the stages on the way from a hint to an event.

use std::time::Duration;

use prometheus::{GaugeVec, HistogramVec, IntCounterVec};

use super::MetricsError;
use super::registrar::{Registrar, SHORT};

/// A stage on the way from a hint to an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// A hint is taken.
    Receive,
    /// The pack comes into the mirror.
    Fetch,
    /// Files become declarations.
    Declare,
    /// Declarations become objects.
    Render,
    /// The cluster is read.
    Observe,
    /// Record and plan are computed.
    Plan,
    /// Objects are written.
    Apply,
    /// The record is written.
    Record,
    /// An event is acknowledged.
    Publish,
}

impl Stage {
    /// Returns the stage's name as it stands in the label.
    pub fn name(self) -> &'static str {
        match self {
            Self::Receive => "receive",
            Self::Fetch => "fetch",
            Self::Declare => "declare",
            Self::Render => "render",
            Self::Observe => "observe",
            Self::Plan => "plan",
            Self::Apply => "apply",
            Self::Record => "record",
            Self::Publish => "publish",
        }
    }
}

/// Metrics of the queue.
#[derive(Debug, Clone)]
pub struct QueueMetrics {
    depth: GaugeVec,
    passes: IntCounterVec,
    pass_delay: HistogramVec,
    pass_duration: HistogramVec,
    stages: HistogramVec,
}

impl QueueMetrics {
    pub(super) fn register(to: &mut Registrar) -> Result<Self, MetricsError> {
        Ok(Self {
            depth: to.gauges("idp_queue_depth", "Releases that are due and wait for a pass.", &[])?,
            passes: to.counters(
                "idp_passes_total",
                "Passes, by result: ok, or the variant of the error.",
                &["result"],
            )?,
            pass_delay: to.histograms(
                "idp_pass_delay_seconds",
                "From when a pass was due to its begin.",
                &[],
                SHORT,
            )?,
            pass_duration: to.histograms(
                "idp_pass_duration_seconds",
                "How long a pass takes.",
                &["result"],
                SHORT,
            )?,
            stages: to.histograms(
                "idp_stage_duration_seconds",
                "How long each stage from a hint to an event takes.",
                &["stage"],
                SHORT,
            )?,
        })
    }

    /// Sets how many releases are due and wait.
    pub fn depth(&self, depth: u32) {
        self.depth.with_label_values::<&str>(&[]).set(f64::from(depth));
    }

    /// Measures how long ago a pass was due that begins.
    pub fn late(&self, late: Duration) {
        self.pass_delay.with_label_values::<&str>(&[]).observe(late.as_secs_f64());
    }

    /// Counts a pass; `result` is `ok` or the error's variant as a word.
    pub fn pass(&self, result: &'static str, took: Duration) {
        self.passes.with_label_values(&[result]).inc();
        self.pass_duration.with_label_values(&[result]).observe(took.as_secs_f64());
    }

    /// Measures one stage.
    pub fn stage(&self, stage: Stage, took: Duration) {
        self.stages.with_label_values(&[stage.name()]).observe(took.as_secs_f64());
    }
}
