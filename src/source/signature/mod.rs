//! Who signed a commit: the raw commit object and the allowed keys go in, nothing or a reason comes out. Pure: it reads no file and
//! no clock. Whatever is not understood is refused.

mod commit;
mod openpgp;
mod signers;
mod ssh;
#[cfg(test)]
pub(super) mod testing;
#[cfg(test)]
mod tests;

use jiff::Timestamp;

/// Largest commit object that is checked, in bytes.
pub(super) const COMMIT_LIMIT: u64 = 1 << 20;

const PUBLIC_KEY: &str = "-----BEGIN PGP PUBLIC KEY BLOCK-----";

/// Why a commit is refused. The sentence goes on after "commit ID".
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Refusal {
    #[error("is not signed: sign it with an allowed key (git commit --amend -S) and push it again")]
    NotSigned,
    #[error("has the signature of a SHA-256 repository (gpgsig-sha256), which is not read: sign it as SHA-1")]
    Sha256,
    #[error("has a signature of more than 64 KiB, which is not read: sign it anew")]
    TooLarge,
    #[error("has a signature that cannot be read, {0}: sign it anew")]
    Form(&'static str),
    #[error("is signed with {0}, which is not accepted: sign with {1}")]
    Algorithm(String, &'static str),
    #[error("is signed for {0}, not as a commit of Git: sign it with git commit --amend -S")]
    Namespace(String),
    #[error(
        "is signed by an unknown key {0}: sign with an allowed key, or add this one to signatures.allowed"
    )]
    Unknown(String),
    #[error("is not what the key {0} signed: it was changed afterwards; sign it anew")]
    Changed(String),
    #[error("is signed by the key {0}, which expired at {1}: sign with a valid key, or renew this one")]
    Expired(String, Timestamp),
    #[error("is signed by the key {0}, which is valid only from {1}: sign with a valid key, or wait")]
    NotYet(String, Timestamp),
    #[error("is signed by the key {0}, which {1}: sign with another allowed key")]
    Unfit(String, &'static str),
    #[error("has a signature by the key {0} that {1} {2}: look at the signer's clock and sign it anew")]
    Time(String, &'static str, Timestamp),
}

/// Why a file of keys is not used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum KeysError {
    #[error("line {line}: {reason}")]
    Line { line: usize, reason: String },
    #[error("{0}")]
    Block(String),
    #[error(
        "there is no key in it: it holds lines of allowed_signers (NAME ssh-ed25519 AAAA…) or armored OpenPGP public keys"
    )]
    Empty,
}

/// The keys that a source trusts.
#[derive(Debug, Default)]
pub(super) struct Allowed {
    ssh: Vec<signers::Signer>,
    openpgp: Vec<openpgp::Key>,
}

impl Allowed {
    /// Adds the keys of a file. Fails on the first thing in it that is not understood: a limit on a key that is not enforced would
    /// be worse than none.
    pub(super) fn add(&mut self, text: &str) -> Result<(), KeysError> {
        let before = self.ssh.len() + self.openpgp.len();
        if text.contains("-----BEGIN ") {
            self.openpgp.extend(openpgp::keys(text)?);
        } else {
            self.ssh.extend(signers::parse(text)?);
        }
        if self.ssh.len() + self.openpgp.len() == before { Err(KeysError::Empty) } else { Ok(()) }
    }

    /// Checks that a commit, given as the bytes of its object, is signed by one of these keys, which is valid now.
    pub(super) fn check(&self, raw: &[u8], now: Timestamp) -> Result<(), Refusal> {
        let signed = commit::split(raw)?;
        let armor = signed.armor.trim_end();
        let begin = armor.lines().next().unwrap_or_default().trim_end();
        if armor.matches("-----BEGIN ").count() > 1 {
            return Err(Refusal::Form("there are two"));
        }
        match begin {
            ssh::BEGIN => ssh::check(&signed.payload, armor, &self.ssh, now),
            "-----BEGIN PGP SIGNATURE-----" => openpgp::check(&signed.payload, armor, &self.openpgp, now),
            "-----BEGIN SIGNED MESSAGE-----" => Err(Refusal::Algorithm("X.509".to_owned(), "GPG or SSH")),
            _ => Err(Refusal::Form("it is neither GPG nor SSH")),
        }
    }
}

/// Cuts foreign text for a sentence; control characters are escaped.
fn quoted(text: &[u8]) -> String {
    let text: String = String::from_utf8_lossy(text).chars().take(64).collect();
    format!("{text:?}")
}
