//! How a repository is reached and how a source proves itself there: types that name files and variables, never a secret itself.

mod address;
mod fields;
#[cfg(test)]
mod tests;

use std::fmt;
use std::path::PathBuf;

use url::Url;

pub(super) use address::address;
pub use address::{Scope, SshUrl};
pub(super) use fields::{access, api_url, github_api, platform};

use super::secret::SecretRef;
use super::types::Credentials;

/// How a source's repository is reached.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Access {
    /// How the source proves itself; `None`: it asks as anybody.
    pub proof: Option<Proof>,
    /// The way that its requests over HTTP take.
    pub route: Route,
}

/// The way that requests over HTTP take.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Route {
    /// Certificates in PEM that are trusted beside those of the system.
    pub ca_file: Option<PathBuf>,
    /// The proxy; `None`: what `HTTPS_PROXY`, `HTTP_PROXY`, `ALL_PROXY` and `NO_PROXY` of the daemon say.
    pub proxy: Option<Proxy>,
}

/// A proxy.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Proxy {
    /// Its address, `http` or `https`, without credentials.
    pub url: Url,
    /// Who asks it.
    pub credentials: Option<Credentials>,
    /// Hosts that are asked directly: a name with all below it, an address, or a network such as `10.0.0.0/8`.
    pub no_proxy: Vec<String>,
}

/// How a source proves itself to its repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Proof {
    /// A name and a password or token: `Authorization: Basic`.
    Basic(Credentials),
    /// A token alone: `Authorization: Bearer`.
    Bearer(SecretRef),
    /// Tokens that a GitHub App's installation gets for an hour each.
    GitHubApp(GitHubApp),
    /// A key over SSH.
    Ssh(SshKey),
}

/// An installation of a GitHub App.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct GitHubApp {
    /// The id of the App, or its client id.
    pub app_id: String,
    /// The id of its installation.
    pub installation_id: String,
    /// The App's private key: RSA, PEM, PKCS#1 or PKCS#8.
    pub private_key: PathBuf,
    /// The address of the forge's API, without a slash at its end.
    pub api_url: Url,
}

/// A key over SSH, and the server's keys that it is shown to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SshKey {
    /// The private key: of OpenSSH's own format, PKCS#8 or SEC1.
    pub private_key: PathBuf,
    /// What opens it where it is encrypted.
    pub passphrase: Option<SecretRef>,
    /// The keys that the server may have.
    pub known: HostKeys,
}

/// The keys that a server may have over SSH.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HostKeys {
    /// A file in the form of `known_hosts` (sshd(8)).
    File(PathBuf),
    /// Lines `TYPE KEY` of this source's server; at least one.
    Listed(Vec<String>),
}

/// Credentials that the platform gives to every source below an address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SharedProof {
    /// The address.
    pub scope: Scope,
    /// The credentials.
    pub proof: Proof,
}

impl Access {
    /// Returns the secrets by name, for a check.
    pub(super) fn secrets(&self) -> Vec<(&'static str, &SecretRef)> {
        let mut found: Vec<_> = self.proof.iter().filter_map(Proof::secret).collect();
        found.extend(self.route.secret());
        found
    }

    /// Returns the files by name that are no secrets of one line, for a check.
    pub(super) fn files(&self) -> Vec<(&'static str, &PathBuf)> {
        let mut found: Vec<_> = self.proof.iter().flat_map(Proof::files).collect();
        found.extend(self.route.file());
        found
    }
}

impl Route {
    pub(super) fn secret(&self) -> Option<(&'static str, &SecretRef)> {
        let credentials = self.proxy.as_ref()?.credentials.as_ref()?;
        Some(("proxy", &credentials.secret))
    }

    pub(super) fn file(&self) -> Option<(&'static str, &PathBuf)> {
        self.ca_file.as_ref().map(|file| ("ca_file", file))
    }
}

impl Proof {
    pub(super) fn secret(&self) -> Option<(&'static str, &SecretRef)> {
        match self {
            Self::Basic(credentials) => Some(("credentials", &credentials.secret)),
            Self::Bearer(secret) => Some(("credentials", secret)),
            Self::GitHubApp(_) => None,
            Self::Ssh(key) => key.passphrase.as_ref().map(|secret| ("credentials.ssh", secret)),
        }
    }

    pub(super) fn files(&self) -> Vec<(&'static str, &PathBuf)> {
        match self {
            Self::Basic(_) | Self::Bearer(_) => Vec::new(),
            Self::GitHubApp(app) => vec![("credentials.github_app.private_key_file", &app.private_key)],
            Self::Ssh(key) => {
                let mut files = vec![("credentials.ssh.private_key_file", &key.private_key)];
                if let HostKeys::File(file) = &key.known {
                    files.push(("credentials.ssh.known_hosts_file", file));
                }
                files
            }
        }
    }
}

impl fmt::Display for GitHubApp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "GitHub App {} (installation {})", self.app_id, self.installation_id)
    }
}
