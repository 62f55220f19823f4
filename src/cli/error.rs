//! What can go wrong between the command line and the cluster, with the exit code and the way to mend it.

use std::error::Error as _;
use std::time::Duration;

use super::Exit;
use crate::model::duration;
use crate::model::name::NameError;

/// Why a verb could not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum CliError {
    /// The kubeconfig is not usable.
    #[error("reading the kubeconfig")]
    Kubeconfig(#[source] Box<kube::config::KubeconfigError>),
    /// Neither a kubeconfig nor a pod's account was found.
    #[error("looking for a kubeconfig or a pod's own account")]
    NoConfig(#[source] Box<kube::config::InferConfigError>),
    /// No client can be made of the configuration.
    #[error("preparing the connection to the cluster")]
    Client(#[source] Box<kube::Error>),
    /// The API server answered with an error.
    #[error("{what}: the API server answered {code}: {message}")]
    Answered {
        /// What we were doing.
        what: String,
        /// The HTTP status.
        code: u16,
        /// The server's words, cut.
        message: String,
    },
    /// There was no usable answer.
    #[error("{what}")]
    Call {
        /// What we were doing.
        what: String,
        /// What the client says.
        #[source]
        source: Box<kube::Error>,
    },
    /// There was no answer in time.
    #[error("{what}: no answer within {}", duration::rough(*.after))]
    Late {
        /// What we were doing.
        what: String,
        /// How long was waited.
        after: Duration,
    },
    /// A simulation could not be played.
    #[error("simulating")]
    Simulation(#[source] crate::simulation::SimulationError),
    /// The release's name cannot be one.
    #[error("reading the release's name")]
    Name(#[source] NameError),
    /// No such release.
    #[error("there is no release {asked}")]
    NoSuchRelease {
        /// What was asked for.
        asked: String,
        /// What is there, the first few.
        known: Vec<String>,
    },
    /// The record does not know the rollout.
    #[error("{release} has no rollout {rollout}, or does not keep it any more")]
    NoSuchRollout {
        /// The release.
        release: String,
        /// What was asked for.
        rollout: u64,
        /// What is kept.
        known: Vec<u64>,
    },
    /// A service's name alone means several releases.
    #[error("{asked} is deployed to several environments: {}", .found.join(", "))]
    Ambiguous {
        /// What was asked for.
        asked: String,
        /// What it may mean.
        found: Vec<String>,
    },
    /// The API server did not say who we are.
    #[error("asking the API server who is calling: its answer names nobody")]
    Nobody,
    /// The daemon did not answer a command.
    #[error("{command} was written to {release}, but the daemon did not answer within {}", duration::rough(*.after))]
    NoDaemon {
        /// The verb and its id.
        command: String,
        /// The release.
        release: String,
        /// How long was waited.
        after: Duration,
    },
    /// The daemon's own address gives no usable answer.
    #[error("{what}")]
    Daemon {
        /// What we were doing.
        what: String,
        /// What the client says.
        #[source]
        source: Box<reqwest::Error>,
    },
    /// The forge gives no usable answer.
    #[error("{what}")]
    Forge {
        /// What we were doing.
        what: String,
        /// What the client says.
        #[source]
        source: Box<reqwest::Error>,
    },
    /// Something else answers there, or the daemon answers strangers.
    #[error("{0} does not answer as a daemon does to who asks from its own machine")]
    NotADaemon(String),
    /// The daemon's configuration has no such source, or no webhook of it; in its words.
    #[error("{0}")]
    NotConfigured(String),
    /// The daemon says no; in its words.
    #[error("{0}")]
    Refused(String),
    /// What is kept in the cluster is nothing that can be read.
    #[error("reading {what}: {message}")]
    Unreadable {
        /// What.
        what: String,
        /// Why not.
        message: String,
    },
    /// A value cannot be printed.
    #[error("writing the output as {format}: {message}")]
    Format {
        /// The format.
        format: &'static str,
        /// Why.
        message: String,
    },
    /// Stdout is closed or broken.
    #[error("writing to stdout")]
    Stdout(#[source] std::io::Error),
}

impl CliError {
    /// Sorts an error of the client by what it means for the person.
    pub fn of(what: impl Into<String>, error: kube::Error) -> Self {
        let what = what.into();
        match error {
            kube::Error::Api(status) => Self::Answered {
                what,
                code: status.code,
                message: status.message.chars().take(300).collect(),
            },
            source => Self::Call { what, source: Box::new(source) },
        }
    }

    /// Returns the exit code that it means.
    pub fn exit(&self) -> Exit {
        match self {
            Self::Name(_)
            | Self::NoSuchRelease { .. }
            | Self::NoSuchRollout { .. }
            | Self::NotConfigured(_)
            | Self::Ambiguous { .. } => Exit::Usage,
            Self::Format { .. } | Self::Stdout(_) | Self::Refused(_) | Self::Simulation(_) => Exit::Bad,
            _ => Exit::Unreachable,
        }
    }

    /// Returns how to mend it, one sentence.
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Kubeconfig(_) | Self::NoConfig(_) => {
                "name a kubeconfig with --kubeconfig or KUBECONFIG, and a context in it with --context".into()
            }
            Self::Client(_) => "check the certificates and the address in the kubeconfig".into(),
            Self::Answered { code: 401, .. } => "the credentials are not accepted: log in again".into(),
            Self::Answered { code: 403, .. } => {
                "name the namespace with --namespace, or ask for a role that may get, list, watch and patch releases.idp.dev"
                    .into()
            }
            Self::Answered { code: 404, .. } => {
                "is idp installed here? `idp crd | kubectl apply -f -` creates its resource; else check --context".into()
            }
            Self::Answered { .. } => "try again; if it stays, the API server's log says more".into(),
            Self::Call { .. } | Self::Late { .. } => {
                "check that the cluster is reachable (`kubectl version`) and that --context is the right one".into()
            }
            Self::Name(_) => "write <service>.<environment>, as `idp status` prints it".into(),
            Self::NoSuchRelease { known, .. } if known.is_empty() => {
                "no release exists yet: `idp status` shows the sources and what is wrong with them".into()
            }
            Self::NoSuchRelease { known, .. } => format!("there are: {}", known.join(", ")),
            Self::NoSuchRollout { known, .. } => {
                let known: Vec<String> = known.iter().map(ToString::to_string).collect();
                format!("kept are: {}", known.join(", "))
            }
            Self::Ambiguous { found, .. } => {
                format!("write one of them in full, as in {}", found.first().map_or("", String::as_str))
            }
            Self::Nobody => "commands are recorded with who gave them; use credentials that have a user name".into(),
            Self::NoDaemon { .. } => {
                "it takes effect once idpd runs; check its pod and its lease in the home namespace".into()
            }
            Self::Daemon { .. } | Self::NotADaemon(_) => {
                "name its address with --daemon; to one in a cluster, forward its port first with `kubectl port-forward`".into()
            }
            Self::Forge { .. } => "check that the forge is reachable from here, and its address in the configuration".into(),
            Self::NotConfigured(_) => "idp sources names them all; a source without `webhook` is only polled".into(),
            Self::Unreadable { .. } => {
                "run the same version as the daemon; if somebody wrote it by hand, remove it".into()
            }
            Self::Format { .. } => "use -o json".into(),
            Self::Stdout(_) | Self::Refused(_) | Self::Simulation(_) => return None,
        })
    }

    /// Returns the whole message: what, because of what, how to mend it.
    pub fn report(&self) -> String {
        let mut text = format!("error: {self}");
        let mut source = self.source();
        while let Some(cause) = source {
            let cause_text = cause.to_string();
            // Clients repeat their cause in their own text.
            if !text.contains(&cause_text) {
                text.push_str("\n  because: ");
                text.push_str(&cause_text);
            }
            source = cause.source();
        }
        if let Some(hint) = self.hint() {
            text.push_str("\n  mend: ");
            text.push_str(&hint);
        }
        super::output::clean_lines(&text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_says_what_why_and_how_to_mend_it() {
        let status = kube::core::Status::failure("releases.idp.dev is forbidden", "Forbidden").with_code(403);
        let error = CliError::of("reading the releases", kube::Error::Api(Box::new(status)));
        assert_eq!(error.exit(), Exit::Unreachable);
        assert_eq!(
            error.report(),
            "error: reading the releases: the API server answered 403: releases.idp.dev is forbidden\n  mend: name the namespace with --namespace, or ask for a role that may get, list, watch and patch releases.idp.dev"
        );
    }

    #[test]
    fn asking_for_what_is_not_there_is_usage() {
        let error = CliError::Ambiguous { asked: "a".into(), found: vec!["a.x".into(), "a.y".into()] };
        assert_eq!(error.exit().code(), 2);
        assert!(error.report().contains("as in a.x"), "{}", error.report());
        let error = CliError::Name("a.".parse::<crate::model::name::ReleaseKey>().unwrap_err());
        assert!(
            error.report().contains("\n  because: a environment name may not be empty\n"),
            "{}",
            error.report()
        );
    }

    #[test]
    fn escape_sequences_of_others_do_not_reach_the_terminal() {
        let error = CliError::Answered { what: "x".into(), code: 500, message: "\u{1b}[2Jboo".into() };
        assert!(!error.report().contains('\u{1b}'));
    }
}
