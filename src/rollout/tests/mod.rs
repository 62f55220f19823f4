//! The machine on values: a toy cluster that obeys writes, plays the Deployment controller and the pods, and counts what is done
//! to it.

mod autoscaled;
mod brought;
mod by_node;
mod cohort;
mod crash;
mod gates;
mod gateway;
mod group;
mod in_place;
mod jobs;
mod model;
mod people;
mod routed;
mod runs;
mod stories;
mod turned;
pub(crate) mod world;
