//! Room `cluster`: everything that is said to the Kubernetes API, and what was last heard from it.
//!
//! In: writes as values ([`crate::model::write::Write`]), records, a client over any tower service. Out: views as values
//! ([`crate::model::observed`]), typed refusals, wake-ups by release key, leadership. May use: `model` and the Kubernetes API; no
//! other room. Nothing is decided here, and nothing is retried behind the caller's back: every call has one deadline and one
//! answer.
//!
//! ```text
//!  apply, record, revision ─► Calls (deadline, one try) ──► API server ──► watch ──► view ──► observe, wake
//!            └────────────── write responses (read your own writes) ───────────────►┘
//! ```

pub mod access;
pub mod apply;
pub mod calls;
pub mod client;
pub mod commands;
pub mod crd;
pub mod error;
mod feed;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod fuzzing;
mod handle;
pub mod home;
pub mod lease;
mod namespace;
mod opened;
pub mod pod;
pub mod pulls;
pub mod raw;
pub mod record;
mod record_codec;
pub mod revision;
mod routes;
mod shard;
pub mod suspensions;
mod table;
pub mod version;
pub mod view;
pub mod watch;
pub mod watched;

pub use handle::Cluster;
pub use shard::ReleaseSeen;

#[cfg(test)]
mod tests;
