//! What can be wrong with what a source proves itself with, or with how the other side does. Waiting helps with none of it.

use std::path::PathBuf;

use crate::config::SecretError;

/// Why a source cannot prove itself, or does not believe the server. No sentence repeats a secret.
#[derive(Debug, thiserror::Error)]
pub enum AuthError {
    /// A file cannot be read.
    #[error("cannot read {}", file.display())]
    Unreadable {
        /// The file.
        file: PathBuf,
        /// Why.
        #[source]
        cause: std::io::Error,
    },
    /// A file holds something else than it should.
    #[error("{} cannot be used: {why}", file.display())]
    Unusable {
        /// The file.
        file: PathBuf,
        /// Why, and what to write instead.
        why: &'static str,
    },
    /// A secret has characters that no header may have.
    #[error("the secret has characters that cannot be sent: it is visible ASCII")]
    NotAHeader,
    /// The password of the proxy cannot be read.
    #[error("read the password of the proxy")]
    ProxySecret(#[source] SecretError),
    /// 407.
    #[error("the proxy does not take these credentials: check proxy.username and proxy.password_file")]
    ProxyRefuses,
    /// The client could not be set up.
    #[error("set up the client for the certificates and the proxy of the source")]
    Client(#[source] reqwest::Error),
    /// The forge gives an App no token.
    #[error("the forge gives {app} no token and answers {status}: {hint}")]
    NoToken {
        /// The App and its installation.
        app: String,
        /// The status.
        status: u16,
        /// What it probably is.
        hint: &'static str,
    },
    /// What the forge gives an App is none.
    #[error("what the forge gives {app} is no token: check api_url")]
    NotAToken {
        /// The App and its installation.
        app: String,
    },
    /// The server has a key over SSH that was not named.
    #[error(
        "the key of {} is {} {}, and {} names none for it: if its owner publishes this one, write: {}",
        .0.host, .0.kind, .0.fingerprint, .0.whence, .0.line
    )]
    UnknownHost(Box<ShownKey>),
    /// The server has another key over SSH than was named.
    #[error(
        "the key of {} is {} {}, which is not the one that {} names: somebody may be in between, and nothing was sent. If its owner says that it changed, write: {}",
        .0.host, .0.kind, .0.fingerprint, .0.whence, .0.line
    )]
    OtherHost(Box<ShownKey>),
    /// The server has a key over SSH that is revoked.
    #[error(
        "the key of {} is {} {}, which {} revokes: nothing was sent",
        .0.host, .0.kind, .0.fingerprint, .0.whence
    )]
    RevokedHost(Box<ShownKey>),
    /// A line of a file of keys is none.
    #[error("line {line} of {} is none of known_hosts: it is HOST TYPE KEY", file.display())]
    KnownHosts {
        /// The file.
        file: PathBuf,
        /// The line, from 1.
        line: usize,
    },
    /// A key of the configuration is none.
    #[error("a key in host_keys cannot be read: it is TYPE KEY")]
    HostKey,
    /// The server does not take the key.
    #[error("{host} does not take the key for {user}: add it to the repository as a deploy key: {public}")]
    KeyRefused {
        /// Host and port.
        host: String,
        /// Who logs in.
        user: String,
        /// The public key.
        public: String,
    },
    /// The server speaks no cipher or key that we do.
    #[error("{host} and we speak no {what} in common; it has {theirs}")]
    NothingInCommon {
        /// Host and port.
        host: String,
        /// What.
        what: String,
        /// What it speaks.
        theirs: String,
    },
    /// The server ends before the first word of Git.
    #[error("{host} gives no repository over SSH: {said}")]
    NoRepository {
        /// Host and port.
        host: String,
        /// What it said, cut to 200 characters.
        said: String,
    },
}

/// A key that a server showed over SSH.
#[derive(Debug)]
pub struct ShownKey {
    /// Host and port, as `known_hosts` writes them.
    pub host: String,
    /// The type of the key.
    pub kind: String,
    /// `SHA256:…`.
    pub fingerprint: String,
    /// Where keys are named.
    pub whence: String,
    /// What to write there.
    pub line: String,
}
