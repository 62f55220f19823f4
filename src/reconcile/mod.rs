//! Reconcile: the pass, the queue, the requeue policy, and the wiring of the daemon.
//!
//! In: heads from the source loop, views and records from the cluster, samples and images from the evidence loop. Out: stored
//! records, writes, transitions. May use: every room.

mod compose;
mod daemon;
mod door;
pub mod error;
pub mod memory;
mod options;
pub mod parts;
pub mod pass;
mod problem;
pub mod queue;
mod read;
pub mod report;
pub mod slots;
pub mod sources;
pub mod standings;
pub mod statuses;
mod steer;
mod supervisor;

pub use compose::compose;
pub use daemon::{Daemon, count_calls};
pub use supervisor::{DaemonError, Supervisor};
