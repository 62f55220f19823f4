//! Events: what a transition means to the world outside, and how that reaches it.
//!
//! In: transitions and records. Out: outbox entries with their events already rendered, Kafka records, Kubernetes events, commit
//! statuses. The catalogue, the outbox, the bindings and the derivation of statuses are pure; the publisher and the status sender
//! are loops of their own that never make a pass wait.
//!
//! ```text
//!  transition ─► catalogue ─► outbox (in the record) ─► publisher ─► Kafka | log
//!            └─► announce: log line, metrics, Kubernetes event
//!  record ─────► status ─► forge
//! ```

pub mod announce;
pub mod binding;
pub mod catalogue;
pub mod kafka;
pub mod kubernetes;
mod lane;
pub mod outbox;
pub mod publisher;
pub mod status;
pub mod status_sink;
