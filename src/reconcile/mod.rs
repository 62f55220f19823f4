//! Reconcile: the pass, the queue, the requeue policy, and the wiring of the daemon; the only place that reads the clock.
//!
//! In: heads from the source loop, views and records from the cluster, samples and images from the evidence loop. Out: stored
//! records, writes, transitions. May use: every room.

pub mod clock;
pub mod memory;
pub mod queue;
pub mod slots;
