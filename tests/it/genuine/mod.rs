//! The main job on genuine parts: the daemon as a process of its own, between a real forge, a real API server, a real broker and a
//! real Prometheus.
//!
//! ```text
//!  Gitea ── signed webhooks ──►┌──────┐── events ──► Kafka ──► kcat
//!    ▲  ◄── Git over HTTP ─────│ idpd │── /metrics ◄── Prometheus
//!    └──── commit statuses ◄───└──┬───┘
//!                     (proxy) ────┴──► API server ◄── node: pods that answer HTTP, asked by the load generator
//! ```
//!
//! [`ground`] is what the daemon works on, [`account`] as whom, [`daemon`] the process, [`repository`], [`service`] and [`team`] what it follows, [`release`] and
//! [`events`] what it leaves. The tests are in [`story`], [`outage`], [`alone`], [`kill`], [`matrix`], [`routes`], [`cohorts`], [`rights`] and [`ssh`].

mod account;
mod alone;
pub mod census;
mod cohorts;
mod daemon;
mod events;
pub mod ground;
mod hook;
mod kill;
mod matrix;
mod outage;
mod proxy;
pub mod release;
pub mod repository;
mod rights;
mod routes;
mod schemas;
mod service;
mod ssh;
mod story;
mod team;

use std::time::Duration;

/// For what follows by itself from what a test has done. A rollout takes some 20 s on an idle machine.
pub const SOON: Duration = Duration::from_mins(2);
