//! Telemetry: log lines and metrics.
//!
//! In: transitions, records, and what the loops count. Out: lines on standard error, and the text of `/metrics`. May use: the
//! model, and the pure part of `event`. Nothing here is global: metrics are owned structs, registered once and handed down by owner.

pub mod log;
pub mod metrics;
