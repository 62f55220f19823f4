//! What a commit is and what the forge told about it.

use std::fmt;
use std::str::FromStr;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// A full commit id, 40 hexadecimal digits in lower case.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct CommitId(String);

/// Why a text is not a commit id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a commit id of 40 hexadecimal digits")]
pub struct CommitIdError(String);

impl CommitId {
    /// Returns the whole id.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns the first ten digits, for people.
    pub fn short(&self) -> &str {
        self.0.get(..10).unwrap_or(&self.0)
    }
}

impl FromStr for CommitId {
    type Err = CommitIdError;

    fn from_str(text: &str) -> Result<Self, CommitIdError> {
        let hexadecimal = |c: char| c.is_ascii_digit() || ('a'..='f').contains(&c);
        if text.len() == 40 && text.chars().all(hexadecimal) {
            Ok(Self(text.to_owned()))
        } else {
            Err(CommitIdError(text.chars().take(60).collect()))
        }
    }
}

impl TryFrom<String> for CommitId {
    type Error = CommitIdError;

    fn try_from(text: String) -> Result<Self, CommitIdError> {
        text.parse()
    }
}

impl From<CommitId> for String {
    fn from(id: CommitId) -> Self {
        id.0
    }
}

impl fmt::Display for CommitId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// One resolved commit, pinned for everything that follows from it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Revision {
    /// The commit.
    pub commit: CommitId,
    /// When it was committed, as the commit says.
    pub committed_at: Timestamp,
    /// Its author's name, without the address.
    pub author: String,
    /// The first line of its message, at most 120 characters, control characters removed.
    pub subject: String,
    /// The repository's address, without credentials.
    pub repository: String,
    /// Where a person can read the change, where the forge is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
}

/// Commits of a release that are listed at most.
pub const CHANGES: usize = 50;

/// A pull request; others say merge request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PullRequest {
    /// Its number.
    pub number: u64,
    /// Its title, at most 100 characters; empty where its commit does not tell it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub title: String,
}

/// What a commit says of itself, as far as the times of its way need it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// The commit.
    pub commit: CommitId,
    /// Its author's name, without the address.
    pub author: String,
    /// Its committer's, where that is another.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub committer: Option<String>,
    /// When it was committed, as the commit says.
    pub committed_at: Timestamp,
    /// When the commit that merged it was committed; `None`: it came without a merge.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub merged_at: Option<Timestamp>,
    /// The pull request that brought it, where its message or that of its merge says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pull_request: Option<PullRequest>,
}

/// The commits that a release brings: those that changed what its service watches, or its declaration.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Changes {
    /// They, newest first, at most [`CHANGES`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub commits: Vec<Change>,
    /// There may be older ones: the history at hand, or the list, ended before.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub partial: bool,
}

impl Changes {
    /// Tells whether there is nothing to say.
    pub fn is_empty(&self) -> bool {
        self.commits.is_empty() && !self.partial
    }

    /// Puts newer commits before these.
    #[must_use]
    pub fn after(&self, mut newer: Self) -> Self {
        newer.commits.extend(self.commits.iter().cloned());
        newer.partial |= self.partial || newer.commits.len() > CHANGES;
        newer.commits.truncate(CHANGES);
        newer
    }

    /// Returns those after a commit that was released before; all of them, flagged as partial, where that is not among them. Without
    /// one it is the first release, and all of them are its own.
    #[must_use]
    pub fn since(&self, released: Option<&CommitId>) -> Self {
        let Some(released) = released else { return self.clone() };
        match self.commits.iter().position(|change| change.commit == *released) {
            Some(count) => {
                Self { commits: self.commits.iter().take(count).cloned().collect(), partial: false }
            }
            None => Self { partial: true, ..self.clone() },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn changes(commits: std::ops::Range<usize>, partial: bool) -> Changes {
        let change = |number: usize| Change {
            commit: format!("{number:040x}").parse().unwrap(),
            author: "Ada".into(),
            committer: None,
            committed_at: Timestamp::UNIX_EPOCH,
            merged_at: None,
            pull_request: None,
        };
        Changes { commits: commits.rev().map(change).collect(), partial }
    }

    #[test]
    fn what_a_release_brings_ends_at_the_one_before() {
        let id = |number: usize| format!("{number:040x}").parse::<CommitId>().unwrap();
        let all = changes(0..10, true);
        assert_eq!(all.since(Some(&id(6))), changes(7..10, false));
        assert_eq!(all.since(Some(&id(9))), Changes::default());
        assert_eq!(all.since(Some(&id(77))), changes(0..10, true), "not among them");
        assert!(changes(0..10, false).since(Some(&id(77))).partial);
        assert_eq!(changes(0..10, false).since(None), changes(0..10, false), "the first release");
    }

    #[test]
    fn newer_ones_come_first_and_the_oldest_are_dropped() {
        assert_eq!(changes(0..3, false).after(changes(3..5, false)), changes(0..5, false));
        assert_eq!(changes(0..3, true).after(changes(3..5, false)), changes(0..5, true));
        assert_eq!(changes(0..CHANGES, false).after(changes(CHANGES..53, false)), changes(3..53, true));
    }
}
