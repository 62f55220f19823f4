//! Registering: one function a kind of metric, and a list of what was registered.

use prometheus::core::Collector;
use prometheus::{GaugeVec, HistogramOpts, HistogramVec, IntCounterVec, Opts, Registry};

use super::MetricsError;

/// What one metric is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Described {
    /// The name.
    pub name: &'static str,
    /// `counter`, `gauge` or `histogram`.
    pub kind: &'static str,
    /// The names of its labels.
    pub labels: Vec<&'static str>,
    /// What it tells.
    pub help: &'static str,
}

/// Registers metrics and remembers them.
pub struct Registrar {
    registry: Registry,
    described: Vec<Described>,
}

fn failed(name: &str) -> impl Fn(prometheus::Error) -> MetricsError {
    move |source| MetricsError { name: name.to_owned(), source }
}

impl Registrar {
    /// Begins with an empty registry.
    pub fn new() -> Self {
        Self { registry: Registry::new(), described: Vec::new() }
    }

    /// Registers a collector; `name` is for the error only.
    pub fn add(&self, name: &str, collector: Box<dyn Collector>) -> Result<(), MetricsError> {
        self.registry.register(collector).map_err(failed(name))
    }

    fn note(&mut self, name: &'static str, kind: &'static str, labels: &[&'static str], help: &'static str) {
        self.described.push(Described { name, kind, labels: labels.to_vec(), help });
    }

    /// Registers a counter with labels.
    pub fn counters(
        &mut self,
        name: &'static str,
        help: &'static str,
        labels: &[&'static str],
    ) -> Result<IntCounterVec, MetricsError> {
        let vec = IntCounterVec::new(Opts::new(name, help), labels).map_err(failed(name))?;
        self.add(name, Box::new(vec.clone()))?;
        self.note(name, "counter", labels, help);
        Ok(vec)
    }

    /// Registers a gauge with labels.
    pub fn gauges(
        &mut self,
        name: &'static str,
        help: &'static str,
        labels: &[&'static str],
    ) -> Result<GaugeVec, MetricsError> {
        let vec = GaugeVec::new(Opts::new(name, help), labels).map_err(failed(name))?;
        self.add(name, Box::new(vec.clone()))?;
        self.note(name, "gauge", labels, help);
        Ok(vec)
    }

    /// Registers a histogram with labels; `buckets` are upper bounds in the metric's unit.
    pub fn histograms(
        &mut self,
        name: &'static str,
        help: &'static str,
        labels: &[&'static str],
        buckets: &[f64],
    ) -> Result<HistogramVec, MetricsError> {
        let opts = HistogramOpts::new(name, help).buckets(buckets.to_vec());
        let vec = HistogramVec::new(opts, labels).map_err(failed(name))?;
        self.add(name, Box::new(vec.clone()))?;
        self.note(name, "histogram", labels, help);
        Ok(vec)
    }

    /// Returns the registry and the list.
    pub fn into_parts(self) -> (Registry, Vec<Described>) {
        (self.registry, self.described)
    }
}

/// Bounds for what takes milliseconds: 1 ms to 10 s.
pub const SHORT: &[f64] = &[0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0];
/// Bounds for what takes minutes: 1 s to 1 day.
pub const LONG: &[f64] =
    &[1.0, 5.0, 15.0, 60.0, 180.0, 600.0, 1_800.0, 3_600.0, 10_800.0, 21_600.0, 86_400.0];
/// Bounds for the way from a commit to its users: 1 minute to 30 days.
pub const LEAD: &[f64] =
    &[60.0, 300.0, 900.0, 3_600.0, 14_400.0, 86_400.0, 259_200.0, 604_800.0, 2_592_000.0];
