//! The repository that a mirror is of, and how gix is connected to it: by the kind of its address.

use gix::protocol::transport::Protocol;
use gix::protocol::transport::client::blocking_io;
use gix::protocol::transport::client::blocking_io::http::Transport as Http;
use url::Url;

use super::error::GitError;
use super::network::Network;
use super::ssh;
use super::transport::{Client, Known};
use crate::config::{Access, Proof, RepoUrl, Source, SshKey, SshUrl};

/// A connection of gix.
pub(super) type Transport = Box<dyn blocking_io::Transport + Send>;

/// A repository elsewhere.
#[derive(Debug)]
pub(super) enum Remote {
    /// Over smart HTTP.
    Http {
        /// Its address.
        url: Url,
        /// How it is reached.
        access: Box<Access>,
    },
    /// Over SSH.
    Ssh {
        /// Its address.
        url: SshUrl,
        /// Our key, and the server's.
        key: SshKey,
    },
}

impl Remote {
    /// Returns that of a source; a repository on this machine is none, and without a key there is none over SSH.
    pub(super) fn of(source: &Source) -> Option<Self> {
        match (&source.url, &source.access.proof) {
            (RepoUrl::Http(url), _) => {
                Some(Self::Http { url: url.clone(), access: Box::new(source.access.clone()) })
            }
            (RepoUrl::Ssh(url), Some(Proof::Ssh(key))) => {
                Some(Self::Ssh { url: url.clone(), key: key.clone() })
            }
            (RepoUrl::Ssh(_) | RepoUrl::Local(_), _) => None,
        }
    }

    /// Returns an address that gix can read.
    pub(super) fn address(&self) -> String {
        match self {
            Self::Http { url, .. } => url.to_string(),
            Self::Ssh { url, .. } => ssh::address(url),
        }
    }

    /// Proves the source and connects gix. What is known already is not asked again; over SSH nothing is.
    pub(super) fn connect(&self, known: Option<Known>, network: &mut Network) -> Result<Transport, GitError> {
        match self {
            Self::Http { url, access } => {
                network.authorize_blocking(url, access)?;
                let parsed = gix::url::parse(url.as_str()).map_err(|error| GitError::Fetch(error.into()))?;
                let client = Client { network: network.clone(), known };
                Ok(Box::new(Http::new_http(client, parsed, Protocol::V2, false)))
            }
            Self::Ssh { url, key } => ssh::connect(url, key, network),
        }
    }
}
