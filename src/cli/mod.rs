//! The command line, one file a verb.
//!
//! In: typed arguments, `Release` objects and what they name, read through the Kubernetes API. Out: text on stdout (table, JSON or
//! YAML), what went wrong on stderr, an exit code. What is printed is made by pure functions; `connect` is the only door to a
//! cluster, `daemon` asks a daemon, `hook` a forge. May use: the pure rooms and a Kubernetes client; writes nothing but `spec.commands` of a Release
//! and the suspensions of sources.
//!
//! Exit codes: 0 as asked; 1 the answer is bad news (rolled back, failed, aborted, refused); 2 asked wrongly; 3 the cluster or the
//! daemon did not answer; 4 the time given by `--timeout` is over.

pub mod command;
pub mod completions;
pub mod connect;
pub mod crd;
pub mod daemon;
pub mod deliveries;
pub mod demo;
pub mod error;
pub mod explain;
pub mod fleet;
pub mod history;
pub mod hook;
pub mod matrix;
pub mod output;
pub mod pulls;
pub mod rehearse;
pub mod report;
pub mod schema;
pub mod screen;
pub mod simulate;
pub mod sources;
pub mod sources_live;
pub mod status;
pub mod suspend;
pub mod table;
pub mod timeline;
pub mod validate;
pub mod version;
pub mod watch;

#[cfg(test)]
mod fixtures;
#[cfg(test)]
mod tests;

use std::path::PathBuf;

use clap::Args;
use jiff::Timestamp;

pub use error::CliError;
pub use output::{Colour, Format, Output};

/// How a verb ended; the process's exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// As asked.
    Good,
    /// The answer is bad news: rolled back, failed, aborted, superseded, refused.
    Bad,
    /// The command line asks for what does not exist.
    Usage,
    /// The cluster or the daemon did not answer.
    Unreachable,
    /// The time that was given is over; what was watched goes on.
    Timeout,
}

impl Exit {
    /// Returns the exit code.
    pub fn code(self) -> u8 {
        match self {
            Self::Good => 0,
            Self::Bad => 1,
            Self::Usage => 2,
            Self::Unreachable => 3,
            Self::Timeout => 4,
        }
    }
}

/// Options that every verb takes.
#[derive(Debug, Clone, Args)]
pub struct Global {
    /// The kubeconfig to use; otherwise KUBECONFIG, ~/.kube/config, or the pod's own account
    #[arg(long, global = true, help_heading = "Everywhere", env = "IDP_KUBECONFIG", value_name = "FILE")]
    pub kubeconfig: Option<PathBuf>,
    /// The context of the kubeconfig; otherwise its current one
    #[arg(long, global = true, help_heading = "Everywhere", env = "IDP_CONTEXT", value_name = "NAME")]
    pub context: Option<String>,
    /// Look at the releases of this namespace only, for who may not list those of all
    #[arg(
        short,
        long,
        global = true,
        help_heading = "Everywhere",
        env = "IDP_NAMESPACE",
        value_name = "NAME"
    )]
    pub namespace: Option<String>,
    /// The namespace in which the daemon keeps what belongs to no release
    #[arg(
        long,
        global = true,
        help_heading = "Everywhere",
        env = "IDP_HOME_NAMESPACE",
        default_value = "idp-system",
        value_name = "NAME"
    )]
    pub home_namespace: String,
    /// How to print
    #[arg(
        short,
        long,
        global = true,
        help_heading = "Everywhere",
        env = "IDP_OUTPUT",
        default_value = "table",
        value_name = "FORMAT"
    )]
    pub output: Format,
    /// When to colour
    #[arg(
        long,
        global = true,
        help_heading = "Everywhere",
        env = "IDP_COLOR",
        default_value = "auto",
        value_name = "WHEN"
    )]
    pub color: Colour,
}

/// Writes an error with its causes, each after a colon.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

/// The room's only look at the wall clock.
#[allow(clippy::disallowed_methods)] // The one place.
pub fn now() -> Timestamp {
    Timestamp::now()
}
