//! Container images: what a team asks for, and what it was resolved to.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A manifest's digest: `sha256:` and 64 hexadecimal digits.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Digest(String);

/// Why a text is not a digest.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a digest: write sha256: and 64 hexadecimal digits")]
pub struct DigestError(String);

impl Digest {
    /// Returns the digest as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns the algorithm's name and twelve digits, for people.
    pub fn short(&self) -> &str {
        self.0.get(..19).unwrap_or(&self.0)
    }
}

impl FromStr for Digest {
    type Err = DigestError;

    fn from_str(text: &str) -> Result<Self, DigestError> {
        let hexadecimal = |c: char| c.is_ascii_digit() || ('a'..='f').contains(&c);
        match text.strip_prefix("sha256:") {
            Some(hex) if hex.len() == 64 && hex.chars().all(hexadecimal) => Ok(Self(text.to_owned())),
            _ => Err(DigestError(text.chars().take(100).collect())),
        }
    }
}

impl TryFrom<String> for Digest {
    type Error = DigestError;

    fn try_from(text: String) -> Result<Self, DigestError> {
        text.parse()
    }
}

impl From<Digest> for String {
    fn from(digest: Digest) -> Self {
        digest.0
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The image that a head asks for, before anybody has asked the registry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageRequest {
    /// The repository with its registry, as in `registry.example.com/team/app`.
    pub repository: String,
    /// What to look for there.
    pub wanted: Wanted,
}

/// What to look for in the repository.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Wanted {
    /// Exactly this manifest: nothing to ask.
    Digest(Digest),
    /// The first of these tags that the registry answers for, at most 20: one for each commit with the same content, oldest first.
    Tags(Vec<String>),
}

/// An image pinned by digest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Image {
    /// The repository with its registry.
    pub repository: String,
    /// The tag that was resolved; absent where the file named the digest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tag: Option<String>,
    /// The digest that every pod of the version runs.
    pub digest: Digest,
}

impl Image {
    /// Returns the reference that stands in a pod template: always by digest.
    pub fn reference(&self) -> String {
        format!("{}@{}", self.repository, self.digest)
    }
}

/// What the evidence loop knows about a head's image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ImageState {
    /// Nothing has been asked yet.
    Unasked,
    /// The registry answered that none of the tags is there (yet).
    Absent {
        /// One sentence for people.
        reason: String,
    },
    /// The registry gave no usable answer; it is waited for.
    Unknown {
        /// One sentence for people.
        reason: String,
    },
    /// Resolved and pinned.
    Resolved(Image),
}
