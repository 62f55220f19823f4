//! Metrics: owned structs, one an owner, registered once in a registry of their own. Names begin with `idp_`, units are base
//! units, and no label holds a commit, a pod, a branch or a person.

mod cluster;
mod event;
mod hook;
mod queue;
mod registrar;
mod release;
mod source;

pub use cluster::{Answered, ClusterMetrics};
pub use event::EventMetrics;
pub use hook::HookMetrics;
pub use queue::{QueueMetrics, Stage};
pub use registrar::Described;
pub use release::ReleaseMetrics;
pub use source::{SourceMetrics, SourceStands};

use prometheus::process_collector::ProcessCollector;
use prometheus::{Registry, TextEncoder};
use registrar::Registrar;

/// Why metrics could not be registered.
#[derive(Debug, thiserror::Error)]
#[error("registering the metric {name}")]
pub struct MetricsError {
    /// The metric's name.
    name: String,
    /// What the registry says.
    #[source]
    source: prometheus::Error,
}

/// All metrics of the process. Each part is cheap to clone and is handed to its owner.
#[derive(Debug, Clone)]
pub struct Metrics {
    registry: Registry,
    described: Vec<Described>,
    /// Releases and their rollouts.
    pub releases: ReleaseMetrics,
    /// Git sources.
    pub sources: SourceMetrics,
    /// Webhooks.
    pub hooks: HookMetrics,
    /// The queue, the passes and their stages.
    pub queue: QueueMetrics,
    /// Requests to the Kubernetes API, and the lease.
    pub cluster: ClusterMetrics,
    /// The outbox and the publisher.
    pub events: EventMetrics,
}

impl Metrics {
    /// Registers every metric in a new registry. Fails only where two names collide.
    pub fn register() -> Result<Self, MetricsError> {
        let mut registrar = Registrar::new();
        let events = EventMetrics::register(&mut registrar)?;
        let releases = ReleaseMetrics::register(&mut registrar, events.clone())?;
        let sources = SourceMetrics::register(&mut registrar)?;
        let hooks = HookMetrics::register(&mut registrar)?;
        let queue = QueueMetrics::register(&mut registrar)?;
        let cluster = ClusterMetrics::register(&mut registrar)?;
        registrar
            .gauges("idp_build_info", "1; the version of this program.", &["version"])?
            .with_label_values(&[env!("CARGO_PKG_VERSION")])
            .set(1.0);
        registrar.add("process_*", Box::new(ProcessCollector::for_self()))?;
        let (registry, described) = registrar.into_parts();
        Ok(Self { registry, described, releases, sources, hooks, queue, cluster, events })
    }

    /// Returns the text of `/metrics`, in the Prometheus text format.
    pub fn render(&self) -> String {
        TextEncoder::new().encode_to_string(&self.registry.gather()).unwrap_or_else(|error| {
            tracing::error!(error = &error as &dyn std::error::Error, "writing the metrics as text");
            String::new()
        })
    }

    /// Returns what is registered, in the order of registration: for the documentation.
    pub fn described(&self) -> &[Described] {
        &self.described
    }
}

#[cfg(test)]
pub(crate) mod tests;
