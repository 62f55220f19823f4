//! The source loop: one actor a repository. It looks which commit a branch has, fetches it into a bare mirror (or reads a local
//! repository where it is), finds the declaration files, has what moved rendered, and reports.
//!
//! In: the configuration, hints, and two pure functions composed of `declare` and `render`. Out: a [`SourceReport`] a look. An error
//! never empties anything: the last good answer stays, with the reason. May use: `model`, `config`, Git, the network, the file system.

mod actor;
mod auth;
mod branch;
mod cache;
mod changes;
#[cfg(test)]
mod disk_tests;
mod error;
mod find;
#[cfg(test)]
mod fixture;
#[cfg(test)]
mod follow_tests;
#[cfg(test)]
mod forge;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod fuzzing;
mod hint;
mod history;
#[cfg(test)]
mod hostile;
mod index;
#[cfg(test)]
mod local_tests;
mod look;
#[cfg(test)]
mod loop_tests;
mod manifests;
mod mirror;
#[cfg(test)]
mod mono_tests;
mod network;
mod page;
mod poll;
mod pull;
mod reader;
#[cfg(test)]
mod redaction_tests;
mod refs;
mod remote;
#[cfg(test)]
mod remote_tests;
mod report;
mod signature;
#[cfg(test)]
mod signed_tests;
mod ssh;
mod store;
mod suspend;
#[cfg(test)]
mod tests;
mod tidy;
mod transport;
mod tree;
mod trust;
#[cfg(test)]
mod unhappy_tests;
mod watch;
mod watched;
pub mod webhook;

use jiff::Timestamp;

pub use actor::SourceLoop;
pub use auth::{AuthError, Clients, ShownKey};
pub use cache::Cache;
pub use error::{Cause, GitError};
pub use hint::{Hint, Hints};
pub use poll::{Hosts, Pause, PauseWhy};
pub use report::{
    Compose, Declare, DeclareRequest, Declared, LookStats, Pace, Refused, Render, RenderAnswer,
    RenderRequest, SourceReport, SourceStatus, Trigger,
};
pub use suspend::Suspensions;

/// The room's only look at the wall clock.
#[allow(clippy::disallowed_methods)] // The one place.
fn now() -> Timestamp {
    Timestamp::now()
}
