//! The rollout: what is decided and what is written, both as pure functions.
//!
//! In: the record, the head, what was observed and measured, commands, the time. Out: the record as it shall be, the transitions
//! that led there, and the writes that the cluster needs. Pure: no client, no clock, no file, no network; the same inputs give
//! the same answer, so a crash anywhere is followed by the same decision.
//!
//! ```text
//!  Stable | Failed ─► Preparing ─► Progressing ─► Promoting ─► Baking ─► Stable
//!                         │             │             │           │
//!                         └─────────────┴── RollingBack ◄─────────┘
//! ```

mod advance;
mod assign;
mod autoscale;
mod back;
mod before;
mod begin;
mod command;
mod describe;
mod drift;
mod durable;
mod effects;
mod ending;
mod fence;
pub mod gates;
mod group;
pub mod hold;
mod in_place;
mod input;
mod jobs;
pub(crate) mod machine;
mod nodes;
mod objects;
pub mod order;
pub mod people;
mod progress;
mod promote;
mod rebuild;
pub mod route;
mod routes;
pub mod run;
pub mod size;
pub mod statistics;
pub mod statistics_latency;
#[cfg(test)]
pub(crate) mod tests;
mod traffic;
mod undo;
pub mod view;

pub use advance::advance;
pub use assign::assignment;
pub use durable::must_store;
pub use effects::{Effects, effects};
pub use fence::newest_epoch;
pub use input::{Advance, Inputs};
pub use jobs::job_keys;
pub use objects::{Body, objects};
pub use rebuild::{Rebuilt, rebuild};
pub use routes::track_keys;
