//! The keys that a server may have: those that the configuration lists, or the lines of a `known_hosts` file that name it (sshd(8)).
//! A key that no line names is refused, and so is one of which a line says that it is revoked.

use aws_lc_rs::hmac;
use russh::keys::ssh_key::known_hosts::{Entry, HostPatterns, Marker};
use russh::keys::{Algorithm, EcdsaCurve, HashAlg, PublicKey};

use crate::config::{HostKeys, SshUrl};
use crate::source::auth::{self, AuthError, ShownKey};

/// The keys that one server may have.
#[derive(Debug)]
pub(super) struct Pinned {
    /// Host and port, as `known_hosts` writes them.
    host: String,
    /// Where keys are named.
    whence: String,
    listed: bool,
    keys: Vec<PublicKey>,
    revoked: Vec<PublicKey>,
}

impl Pinned {
    /// Reads them anew.
    pub(super) fn load(known: &HostKeys, url: &SshUrl) -> Result<Self, AuthError> {
        let mut pinned = Self {
            host: shown(url),
            whence: "host_keys".to_owned(),
            listed: true,
            keys: Vec::new(),
            revoked: Vec::new(),
        };
        match known {
            HostKeys::Listed(lines) => {
                let keys = lines.iter().map(|line| PublicKey::from_openssh(line));
                pinned.keys = keys.collect::<Result<_, _>>().map_err(|_| AuthError::HostKey)?;
            }
            HostKeys::File(file) => {
                (pinned.whence, pinned.listed) = (file.display().to_string(), false);
                let text = auth::text(file)?;
                for (line, number) in text.lines().zip(1..) {
                    let line = line.trim();
                    if !line.is_empty() && !line.starts_with('#') {
                        let bad = |_| AuthError::KnownHosts { file: file.clone(), line: number };
                        pinned.take(
                            &line.split_whitespace().collect::<Vec<_>>().join(" ").parse().map_err(bad)?,
                        );
                    }
                }
            }
        }
        Ok(pinned)
    }

    /// Takes a line that names this server. One that trusts an authority says nothing of a key.
    fn take(&mut self, entry: &Entry) {
        if !names(entry.host_patterns(), &self.host) {
            return;
        }
        match entry.marker() {
            None => self.keys.push(entry.public_key().clone()),
            Some(Marker::Revoked) => self.revoked.push(entry.public_key().clone()),
            Some(Marker::CertAuthority) => {}
        }
    }

    /// Returns the types of keys that the server is asked for: first those that are pinned, so that it shows one of them if it has it.
    pub(super) fn algorithms(&self) -> Vec<Algorithm> {
        let ecdsa = |curve| Algorithm::Ecdsa { curve };
        let rsa = |hash| Algorithm::Rsa { hash: Some(hash) };
        let mut all = vec![
            Algorithm::Ed25519,
            ecdsa(EcdsaCurve::NistP256),
            ecdsa(EcdsaCurve::NistP384),
            ecdsa(EcdsaCurve::NistP521),
            rsa(HashAlg::Sha512),
            rsa(HashAlg::Sha256),
        ];
        let pinned = |algorithm: &Algorithm| {
            self.keys.iter().any(|key| match (key.algorithm(), algorithm) {
                (Algorithm::Rsa { .. }, Algorithm::Rsa { .. }) => true,
                (key, algorithm) => key == *algorithm,
            })
        };
        all.sort_by_key(|algorithm| !pinned(algorithm));
        all
    }

    /// Tells whether a server with this key is the one that is meant.
    pub(super) fn judge(&self, key: &PublicKey) -> Result<(), AuthError> {
        let same = |other: &PublicKey| other.key_data() == key.key_data();
        let (host, whence) = (self.host.clone(), self.whence.clone());
        let fingerprint = key.fingerprint(HashAlg::Sha256).to_string();
        let plain = PublicKey::new(key.key_data().clone(), "").to_openssh().unwrap_or_default();
        let kind = plain.split(' ').next().unwrap_or_default().to_owned();
        let is_revoked = self.revoked.iter().any(same);
        if !is_revoked && self.keys.iter().any(same) {
            return Ok(());
        }
        let line = if self.listed { plain } else { format!("{host} {plain}") };
        let shown = Box::new(ShownKey { host, kind, fingerprint, whence, line });
        Err(match self.keys.is_empty() {
            _ if is_revoked => AuthError::RevokedHost(shown),
            true => AuthError::UnknownHost(shown),
            false => AuthError::OtherHost(shown),
        })
    }
}

/// Returns host and port as `known_hosts` writes them.
pub(super) fn shown(url: &SshUrl) -> String {
    if url.port == 22 { url.host.clone() } else { format!("[{}]:{}", url.host, url.port) }
}

/// Tells whether a line's patterns name a host; one with `!` that fits says no to the whole line.
fn names(patterns: &HostPatterns, host: &str) -> bool {
    match patterns {
        HostPatterns::HashedName { salt, hash } => {
            let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, salt);
            hmac::verify(&key, host.as_bytes(), hash).is_ok()
        }
        HostPatterns::Patterns(patterns) => {
            let fits = |pattern: &str| fits(pattern.to_ascii_lowercase().as_bytes(), host.as_bytes());
            let refused = patterns.iter().any(|pattern| pattern.strip_prefix('!').is_some_and(fits));
            !refused && patterns.iter().any(|pattern| fits(pattern))
        }
    }
}

/// Tells whether a pattern with `*` and `?` fits a whole text.
fn fits(pattern: &[u8], text: &[u8]) -> bool {
    // Where to go on when what follows the last `*` does not fit: it swallows one byte more.
    let (mut pattern, mut text, mut again) = (pattern, text, None);
    loop {
        match (pattern.split_first(), text.split_first()) {
            (Some((b'*', rest)), _) => (pattern, again) = (rest, Some((rest, text))),
            (None, None) => return true,
            (Some((want, rest)), Some((byte, after))) if *want == b'?' || want == byte => {
                (pattern, text) = (rest, after);
            }
            _ => {
                let Some((rest, swallowed)) = again else { return false };
                let Some((_, after)) = swallowed.split_first() else { return false };
                (pattern, text, again) = (rest, after, Some((rest, after)));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_are_those_of_known_hosts() {
        for (pattern, host, wanted) in [
            ("git.example.com", "git.example.com", true),
            ("GIT.example.com", "git.example.com", true),
            ("git.example.com", "git.example.com.evil.com", false),
            ("*.example.com", "git.example.com", true),
            ("*.example.com", "example.com", false),
            ("g?t.*.com", "git.a.b.com", true),
            ("*", "", true),
            ("**a*", "bab", true),
            ("a*b*c", "aXbXbX", false),
            ("*,!git.example.com", "git.example.com", false),
            ("other,git.example.com", "git.example.com", true),
            ("git.example.com", "[git.example.com]:2222", false),
            ("[git.example.com]:2222", "[git.example.com]:2222", true),
        ] {
            let patterns = pattern.parse().unwrap();
            assert_eq!(names(&patterns, host), wanted, "{pattern} {host}");
        }
    }

    #[test]
    fn a_name_may_be_hashed() {
        // ssh-keygen -H
        let line = "|1|O33ESRMWPVkMYIwJ1Uw+n877jTo=|nuuC5vEqXlEZ/8BXQR7m619W6Ak=".parse().unwrap();
        assert!(names(&line, "example.com") && !names(&line, "example.org"));
    }
}
