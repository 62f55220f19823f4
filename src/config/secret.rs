//! Secrets: values that never print themselves, and references that are read again each time, so that a rotated file takes effect
//! without a restart.

use std::fmt;
use std::io::Read;
use std::path::PathBuf;

use subtle::ConstantTimeEq;

/// Largest secret that is read from a file, in bytes.
const MAX_BYTES: u64 = 64 * 1024;

/// A secret value; `Debug` and `Display` print `***`.
#[derive(Clone)]
pub struct Secret(String);

impl Secret {
    /// Wraps a value.
    pub fn new(value: impl Into<String>) -> Self {
        Self(value.into())
    }

    /// Returns the value. Whoever calls this answers for it that the value reaches no log, error, event or address.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl PartialEq for Secret {
    fn eq(&self, other: &Self) -> bool {
        self.0.as_bytes().ct_eq(other.0.as_bytes()).into()
    }
}

impl Eq for Secret {}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// Where a secret comes from.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum SecretRef {
    /// A file; one newline at its end is not part of the secret.
    File(PathBuf),
    /// An environment variable of the daemon.
    Env(String),
}

/// Why a secret could not be read. A file may appear later, so all but the wrong content is transient.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// The file cannot be read.
    #[error("cannot read the secret file {}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The variable is not set, or is not UTF-8.
    #[error("the environment variable {0} is not set, or is not UTF-8")]
    Env(String),
    /// Nothing is in it.
    #[error("the secret in {0} is empty")]
    Empty(String),
    /// More is in it than a secret needs, or it is not one line of text.
    #[error("the secret in {0} is not one line of text of at most 64 KiB")]
    NotText(String),
}

impl SecretRef {
    /// Reads the secret anew.
    pub fn read(&self) -> Result<Secret, SecretError> {
        let text = match self {
            Self::Env(name) => std::env::var(name).map_err(|_| SecretError::Env(name.clone()))?,
            Self::File(path) => read_file(path)?,
        };
        let value = text.strip_suffix('\n').unwrap_or(&text);
        let value = value.strip_suffix('\r').unwrap_or(value);
        if value.is_empty() {
            return Err(SecretError::Empty(self.to_string()));
        }
        if value.chars().any(char::is_control) {
            return Err(SecretError::NotText(self.to_string()));
        }
        Ok(Secret::new(value))
    }
}

fn read_file(path: &PathBuf) -> Result<String, SecretError> {
    let failed = |source| SecretError::File { path: path.clone(), source };
    let mut text = String::new();
    let file = std::fs::File::open(path).map_err(failed)?;
    file.take(MAX_BYTES + 1).read_to_string(&mut text).map_err(failed)?;
    if text.len() as u64 > MAX_BYTES {
        return Err(SecretError::NotText(path.display().to_string()));
    }
    Ok(text)
}

impl fmt::Display for SecretRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(f, "{}", path.display()),
            Self::Env(name) => write!(f, "${name}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_prints_nothing_of_itself() {
        let secret = Secret::new("correct-horse");
        assert_eq!(format!("{secret} {secret:?} {:?}", Some(&secret)), "*** *** Some(***)");
        assert_eq!(secret.expose(), "correct-horse");
    }

    #[test]
    fn a_file_is_read_anew_without_its_last_newline() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("token");
        let secret = SecretRef::File(path.clone());
        assert!(matches!(secret.read(), Err(SecretError::File { .. })));
        for (content, wanted) in
            [("one\n", Some("one")), ("two\r\n", Some("two")), ("a\nb", None), ("\n", None)]
        {
            std::fs::write(&path, content).unwrap();
            assert_eq!(secret.read().ok().as_ref().map(Secret::expose), wanted, "{content:?}");
        }
    }
}
