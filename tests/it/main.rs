//! The integration suite: one binary, so that what it starts is shared, and one module a subject.

// What a test cannot get, it fails for; the sentence of the panic is the report.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod counts;
mod genuine;
mod hygiene;
mod lease;
mod sandbox;
mod scenarios;
mod stack;
mod targets;
