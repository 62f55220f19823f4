//! idp: from a merged commit to a verdict, in one loop.
pub mod cli;
pub mod cluster;
pub mod config;
pub mod declare;
pub mod event;
pub mod evidence;
pub mod health;
pub mod http;
pub mod model;
pub mod plan;
pub mod reconcile;
pub mod render;
pub mod rollout;
pub mod sandbox;
pub mod source;
pub mod telemetry;
