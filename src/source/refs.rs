//! What a list of refs says of what is followed: a branch's head, the highest tag of a range, or the one commit.

use std::collections::BTreeMap;

use gix::ObjectId;
use gix::bstr::ByteSlice;

use super::error::GitError;
use crate::config::{Follow, TagRange};

/// Where branches stand among the refs.
pub(super) const HEADS: &str = "refs/heads/";
/// Where tags stand among the refs.
pub(super) const TAGS: &str = "refs/tags/";
/// Tags of one form that are looked through at most.
const TAGS_LIMIT: usize = 10_000;

/// Where something that is followed points now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Tip {
    /// The commit.
    pub(super) id: ObjectId,
    /// The tag that names it, where tags are followed.
    pub(super) tag: Option<String>,
}

impl Tip {
    /// Returns the full name of the ref of a branch of this name, or of the tag.
    pub(super) fn full_name(&self, branch: &str) -> Option<String> {
        match &self.tag {
            Some(tag) => Some(format!("{TAGS}{tag}")),
            None if branch.starts_with("commit ") => None,
            None => Some(format!("{HEADS}{branch}")),
        }
    }
}

/// The tips of what is followed, by its name; `None`: there is no such branch, tag or commit.
pub(super) type Tips = BTreeMap<String, Option<Tip>>;

/// Returns the prefix of the refs that say where something points; `None`: no ref does.
pub(super) fn prefix(follow: &Follow) -> Option<String> {
    match follow {
        Follow::Branch(name) => Some(format!("{HEADS}{name}")),
        Follow::Tags(range) => Some(format!("{TAGS}{}", range.prefix())),
        Follow::Commit(_) => None,
    }
}

/// Tells whether tags are among what is followed.
pub(super) fn any_tags(follows: &[Follow]) -> bool {
    follows.iter().any(|follow| matches!(follow, Follow::Tags(_)))
}

/// Picks tips out of refs, each with the commit that it names. What stands twice has the last one.
pub(super) fn tips<'a>(
    follows: &[Follow],
    refs: impl IntoIterator<Item = (&'a [u8], ObjectId)>,
) -> Result<Tips, GitError> {
    let mut branches: BTreeMap<&str, ObjectId> = BTreeMap::new();
    let mut tags: BTreeMap<&str, ObjectId> = BTreeMap::new();
    for (name, id) in refs {
        let Ok(name) = name.to_str() else { continue };
        if let Some(branch) = name.strip_prefix(HEADS) {
            branches.insert(branch, id);
        } else if let Some(tag) = name.strip_prefix(TAGS) {
            tags.insert(tag, id);
        }
    }
    let tip = |follow: &Follow| {
        let tip = match follow {
            Follow::Branch(name) => branches.get(name.as_str()).map(|id| Tip { id: *id, tag: None }),
            Follow::Tags(range) => {
                let tag = highest(range, tags.keys().copied())?;
                tag.and_then(|tag| Some(Tip { id: *tags.get(tag)?, tag: Some(tag.to_owned()) }))
            }
            Follow::Commit(id) => {
                ObjectId::from_hex(id.as_str().as_bytes()).ok().map(|id| Tip { id, tag: None })
            }
        };
        Ok((follow.to_string(), tip))
    };
    follows.iter().map(tip).collect()
}

/// Picks the highest tag of a range out of names without `refs/tags/`, of which too many of the form are an error.
pub(super) fn highest<'a>(
    range: &TagRange,
    tags: impl Iterator<Item = &'a str>,
) -> Result<Option<&'a str>, GitError> {
    let of_form: Vec<&str> =
        tags.filter(|tag| tag.starts_with(range.prefix())).take(TAGS_LIMIT + 1).collect();
    if of_form.len() > TAGS_LIMIT {
        return Err(GitError::TooManyTags { pattern: range.pattern(), limit: TAGS_LIMIT });
    }
    Ok(range.highest(of_form))
}
