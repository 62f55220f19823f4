//! Our own private key.

use std::path::Path;

use russh::keys::{Algorithm, Error, PrivateKey, decode_secret_key};

use crate::config::SshKey;
use crate::source::auth::{self, AuthError};
use crate::source::error::GitError;

/// Reads the key anew.
pub(super) fn load(key: &SshKey) -> Result<PrivateKey, GitError> {
    let file = &key.private_key;
    let text = auth::text(file).map_err(GitError::Auth)?;
    let passphrase = key.passphrase.as_ref().map(crate::config::SecretRef::read).transpose();
    let passphrase = passphrase.map_err(GitError::Secret)?;
    let found = decode_secret_key(&text, passphrase.as_ref().map(crate::config::Secret::expose));
    let key = found.map_err(|error| unusable(file, why(&error, &text, passphrase.is_some())))?;
    match key.algorithm() {
        Algorithm::Ed25519 | Algorithm::Ecdsa { .. } => Ok(key),
        _ => Err(unusable(file, "its type is not used: make one with ssh-keygen -t ed25519")),
    }
}

fn unusable(file: &Path, why: &'static str) -> GitError {
    GitError::Auth(AuthError::Unusable { file: file.to_owned(), why })
}

/// Says it in words of our own: those of a parser may repeat what it read.
fn why(error: &Error, text: &str, opened: bool) -> &'static str {
    match error {
        Error::KeyIsEncrypted => "it is encrypted: write credentials.ssh.passphrase_file as well",
        Error::UnsupportedKeyType { .. } => "its type is not used: make one with ssh-keygen -t ed25519",
        _ if text.contains("ENCRYPTED") && !opened => {
            "it is encrypted: write credentials.ssh.passphrase_file as well"
        }
        _ if opened => "it is no private key, or the passphrase does not open it",
        _ if text.contains("PUBLIC KEY") || text.starts_with("ssh-") || text.starts_with("ecdsa-") => {
            "it is the public half: write the file of the private key"
        }
        _ => "it is no private key of OpenSSH, or damaged: make one with ssh-keygen -t ed25519",
    }
}
