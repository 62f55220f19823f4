//! `idp`: from a merged commit to a verdict. The daemon `idpd` watches Git repositories, compares what each `.idp/deploy.yaml`
//! declares with a Kubernetes cluster, applies the difference as a canary that has to stay healthy, and takes it back by itself when it
//! does not. Every transition is published to Kafka and counted for Prometheus. `idp` is the command line; both are thin binaries over
//! this crate.
//!
//! # The map
//!
//! Four loops, each with one job. What one leaves for another is a value that may be read at any time, so none waits for another.
//!
//! ```text
//!  webhook · file changed · poll · start                pod, object or Release changed · command · timer
//!                  │ hints, never data                                    │ release keys
//!                  ▼                                                      ▼
//!  ┌─ source: one actor a repository ─┐                 ┌─ reconcile: one pass a release at a time ──┐
//!  │ look     which commit            │                 │ read     record, head, observed, samples   │
//!  │ fetch    into a bare mirror      │                 │ advance  what shall be so       rollout    │
//!  │ declare  files → declarations    │                 │ effects  what has to be written rollout    │
//!  │ render   → desired objects       │── head ────────►│ store    the record, compare and swap      │
//!  └──────────────────────────────────┘                 │ apply    the writes, fenced                │
//!  ┌─ evidence ───────────────────────┐                 │ report   log line, metric, event           │
//!  │ registry → digest of the image   │── image ───────►│                                            │
//!  │ pods → probes, errors, latency   │── samples ─────►│ never waits: its only network is the       │
//!  │                                  │◄─ assignment ───│ Kubernetes API                             │
//!  └──────────────────────────────────┘                 └────────────────────┬───────────────────────┘
//!                                                                            │ outbox, in the record
//!                                                       ┌─ event: publisher ─▼───────────────────────┐
//!                                                       │ CloudEvents → Kafka · statuses → the forge │
//!                                                       └────────────────────────────────────────────┘
//! ```
//!
//! A new commit, a crashed pod, a command, a sample and a timer all enter a release by the same door, and everything is derived anew.
//! The record (a `Release` object) is the truth and memory is a cache: a daemon killed anywhere goes on at the same step with the same
//! counters. It is written before the cluster is; that a write has landed is seen by a later pass, and only that pass announces it.
//!
//! # The rooms
//!
//! Decisions are pure: these rooms name no client, clock, file or network, and the time is an argument. Each may use those before it.
//!
//! - [`model`]: the words of the project as types; everything else speaks in them
//! - [`declare`]: `.idp/deploy.yaml` → declaration, every fault with its place and its remedy
//! - [`render`]: declaration and commit → objects, and the identity of the version that they make
//! - [`plan`]: desired × observed → what to create, update and prune
//! - [`health`]: object → health
//! - [`rollout`]: record × what is known × now → the record as it shall be, and the writes it allows; strategies, gates, holds
//! - the catalogue and the outbox of [`event`]: transition → what the world is told
//!
//! These talk to the world. They know the pure rooms, never each other:
//!
//! - [`source`]: Git and webhooks in
//! - [`evidence`]: pods and image registries, asked within limits
//! - [`cluster`]: the Kubernetes API: watch, observe, apply, the record, leadership
//! - [`event`]: Kafka and commit statuses out
//!
//! And these make a program of it:
//!
//! - [`clock`]: what time of day it is, one value for all
//! - [`config`]: `idpd.yaml`, refused with all its faults at once
//! - [`telemetry`]: log lines and metrics
//! - [`http`]: webhook routes, `/metrics`, `/healthz`, `/readyz`
//! - [`reconcile`]: the pass, its queue, and the wiring of the daemon
//! - [`sandbox`]: a cluster in the process, with pods that answer, for tests and `idp demo`
//! - [`simulation`]: the same driver with every fault in virtual time, and the properties that must hold
//! - [`cli`]: the verbs of `idp`
//!
//! # Where to begin
//!
//! [`model::record`] says what is remembered of a release and [`model::rollout`] what of an attempt; [`rollout`] decides with them;
//! [`reconcile::pass`] is the one place where all of it meets. To see it move: `cargo run --release -- demo`.

pub mod cli;
pub mod clock;
pub mod cluster;
pub mod config;
pub mod declare;
pub mod event;
pub mod evidence;
#[cfg(any(test, feature = "fuzzing"))]
#[doc(hidden)]
pub mod fuzzing;
pub mod health;
pub mod http;
pub mod model;
pub mod plan;
pub mod reconcile;
pub mod render;
pub mod rollout;
pub mod sandbox;
pub mod simulation;
pub mod source;
pub mod telemetry;
