//! Pull requests, which others call merge requests: what a forge tells of one, and what is kept of those of a source. No ref tells
//! later that one was closed or that somebody approved it, so what is kept here is data, unlike everything else in a webhook.

mod bound;
mod fold;

use std::collections::BTreeMap;
use std::fmt;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

pub use bound::{BYTES, bounded};
pub use fold::fold;

/// The form of what is kept; a higher one is only read.
pub const SCHEMA: u32 = 1;

/// Something that became of a pull request, as a forge tells it. What is missing the forge does not say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PullRequest {
    /// Its number.
    pub number: u64,
    /// What became of it.
    pub action: Action,
    /// When it was as told here, by the forge's clock.
    pub at: Option<Timestamp>,
    /// Whether it was open then.
    pub state: Option<PullState>,
    /// Its title.
    pub title: Option<String>,
    /// Who opened it.
    pub author: Option<String>,
    /// The branch that it is to be merged into.
    pub base: String,
    /// The branch that it comes from.
    pub head: Option<String>,
    /// The newest commit of it.
    pub commit: Option<String>,
    /// Its labels then; none where the forge has no labels.
    pub labels: Vec<String>,
    /// The review that was given or taken back; with the three actions of reviews only.
    pub review: Option<Review>,
}

/// A review, as a forge tells it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Review {
    /// Whose it is.
    pub who: String,
    /// When it was given or taken back, by the forge's clock.
    pub at: Option<Timestamp>,
    /// The commit that it is about; otherwise the newest one.
    pub commit: Option<String>,
}

/// What became of a pull request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// It was opened.
    Opened,
    /// It has new commits.
    Synchronized,
    /// It was opened again.
    Reopened,
    /// It has a label more, or other ones.
    Labeled,
    /// It has a label less.
    Unlabeled,
    /// It was closed and not merged.
    Closed,
    /// It was merged.
    Merged,
    /// Somebody approved it.
    Approved,
    /// Somebody's approval is no more: taken back, or dismissed.
    Unapproved,
    /// Somebody asks for changes.
    Rejected,
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Opened => "opened",
            Self::Synchronized => "synchronized",
            Self::Reopened => "reopened",
            Self::Labeled => "labeled",
            Self::Unlabeled => "unlabeled",
            Self::Closed => "closed",
            Self::Merged => "merged",
            Self::Approved => "approved",
            Self::Unapproved => "unapproved",
            Self::Rejected => "rejected",
        })
    }
}

/// Whether a pull request is open. In the order in which they win over each other at the same instant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PullState {
    /// It is.
    Open,
    /// It was closed and not merged; it may be opened again.
    Closed,
    /// It was merged, which is for ever.
    Merged,
}

impl PullState {
    /// Returns the word for people.
    pub fn name(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Closed => "closed",
            Self::Merged => "merged",
        }
    }
}

/// What somebody thinks of a pull request. In the order in which they win over each other at the same instant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stance {
    /// It is good.
    Approved,
    /// Nothing any more: the approval was taken back or dismissed.
    Unapproved,
    /// It needs changes.
    Rejected,
}

/// A stance that is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Approval {
    /// Which.
    pub stance: Stance,
    /// When it was taken: by the forge's clock, else when we heard of it.
    pub at: Timestamp,
    /// The commit that it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub commit: Option<String>,
    /// The pull request has another commit now.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub stale: bool,
}

/// A pull request that is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pull {
    /// Whether it is open.
    pub state: PullState,
    /// Since when at the latest, by the forge's clock.
    pub state_at: Timestamp,
    /// When it was as the following says, by the forge's clock.
    pub updated_at: Timestamp,
    /// Its title.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// Who opened it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub author: Option<String>,
    /// The branch that it is to be merged into.
    pub base: String,
    /// The branch that it comes from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub head: Option<String>,
    /// Its newest commit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub commit: Option<String>,
    /// Its labels.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub labels: Vec<String>,
    /// Who thinks what of it, by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub approvals: BTreeMap<String, Approval>,
}

impl Pull {
    /// Returns who approves of its newest commit.
    pub fn approved_by(&self) -> impl Iterator<Item = &str> {
        let holds = |approval: &Approval| approval.stance == Stance::Approved && !approval.stale;
        self.approvals.iter().filter(move |(_, approval)| holds(approval)).map(|(who, _)| who.as_str())
    }
}

/// The pull requests of a source, by number: the document that is kept in the cluster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pulls {
    /// The form of the document.
    pub schema: u32,
    /// What is told of a pull request that is not among these and is not newer than this is too old to count: it may have been closed
    /// and left out since.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub forgotten: Option<Timestamp>,
    /// The pull requests.
    #[serde(default)]
    pub pulls: BTreeMap<u64, Pull>,
}

impl Default for Pulls {
    fn default() -> Self {
        Self { schema: SCHEMA, forgotten: None, pulls: BTreeMap::new() }
    }
}

#[cfg(test)]
mod tests;
