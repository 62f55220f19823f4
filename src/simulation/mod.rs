//! Simulation: the same driver on the same API server, with everything that can go wrong, in virtual time.
//!
//! What it does: draws from a seed what happens to one release (commits, commands, faults), plays it on a paused runtime, and holds the
//! design's properties over everything that was written (`check` says which). In: seeds, or a declaration. Out: a
//! summary, or the shortest plan that still breaks a property, to be played again line by line; for a declaration, the story of its
//! rollout. May use: every room but the edge.
//!
//! No socket, no thread, no unseeded dice, no order of a hash map: one seed twice gives one trace. What is simulated and what is not:
//!
//! - genuine: the driver, the rooms under it, the API server with its field ownership and conflicts, the controllers of Deployments and
//!   ReplicaSets, the parsing and rendering of declarations, the loops that measure and that resolve images, down to one connection and
//!   one question to a registry
//! - simulated: a node (`node`), connections to its pods (`wire`) and the load that they get (`street`), a registry (`images`),
//!   what watches deliver and when (`feed`), a broker (`broker`), leadership (each life of the daemon is an epoch), Git (a head is
//!   the text of a declaration, read and rendered)

mod bed;
mod broker;
mod check;
mod daemon;
mod deeds;
pub mod effects;
mod feed;
mod gateway;
mod heads;
mod images;
mod matrix;
mod node;
mod orders;
mod plan;
mod play;
mod pod;
mod rehearse;
mod run;
mod see;
mod shrink;
mod street;
mod trace;
mod wire;

#[cfg(test)]
mod tests;

pub use check::Violation;
pub use matrix::{Column, Cuts, Matrix, matrix};
pub use rehearse::{Conduct, RATE, Rehearsed, rehearse};
pub use run::{Asked, Failure, Ran, Summary, one, run};
pub use trace::Announced;

/// Why a simulation could not be played at all.
#[derive(Debug, thiserror::Error)]
pub enum SimulationError {
    /// A part could not be made.
    #[error("{what}")]
    Part {
        /// What was being done.
        what: &'static str,
        /// Why it failed.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A part is not there.
    #[error("{0} is missing: this is a mistake of the simulation itself")]
    Missing(&'static str),
    /// What is rehearsed breaks a property of the daemon: a bug of ours.
    #[error("the rehearsal broke {0}: please report this with the declaration")]
    Broken(String),
}

impl SimulationError {
    fn part<E: Into<Box<dyn std::error::Error + Send + Sync>>>(what: &'static str) -> impl FnOnce(E) -> Self {
        move |source| Self::Part { what, source: source.into() }
    }

    fn missing(what: &'static str) -> Self {
        Self::Missing(what)
    }
}
