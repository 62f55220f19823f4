//! (room rollout)
pub mod statistics;
