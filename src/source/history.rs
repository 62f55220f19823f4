//! The first-parent history of a branch, read only as far as somebody asks, and what each commit changed. From it follow the commits
//! whose images are as good as the head's, and the commit that brought a service its present content.

use gix::{ObjectId, Repository};
use jiff::Timestamp;

use super::error::GitError;
use super::page;
use super::tree::{self, Budget, diff};
use super::watched::Watched;
use crate::config::Source;
use crate::model::change::{CommitId, Revision};

/// How far back anybody looks.
pub(super) const HISTORY_LIMIT: usize = 512;
/// How many images are asked for.
pub(super) const CANDIDATES: usize = 20;
/// Paths of one commit that are told apart; with more, everything counts as changed.
const CHANGED_LIMIT: usize = 50_000;

/// One commit and what it changed against its first parent.
#[derive(Debug)]
pub(super) struct Step {
    pub(super) id: ObjectId,
    /// In order. `None`: everything (the first commit of all, or more than can be told apart).
    changed: Option<Vec<String>>,
}

impl Step {
    /// Tells whether the commit changed something that counts.
    pub(super) fn moves(&self, watched: &Watched) -> bool {
        self.changed.as_ref().is_none_or(|paths| watched.any(paths))
    }

    /// Tells whether the commit changed a file.
    pub(super) fn changes(&self, path: &str) -> bool {
        self.changed
            .as_ref()
            .is_none_or(|paths| paths.binary_search_by(|changed| changed.as_str().cmp(path)).is_ok())
    }

    /// Returns the paths that changed; `None`: everything.
    pub(super) fn changed(&self) -> Option<&[String]> {
        self.changed.as_deref()
    }
}

/// Fetches more history; `false`: there is no more to be had.
pub(super) type Deepen<'a> = dyn FnMut() -> Result<bool, GitError> + 'a;

/// The history from a head downwards.
pub(super) struct History<'a> {
    repo: &'a Repository,
    steps: Vec<Step>,
    next: Option<ObjectId>,
    /// The first commit of all was read.
    ended: bool,
    deepen: &'a mut Deepen<'a>,
}

/// Where a service's content comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Origin {
    /// The commits with the same watched content, oldest first, at most 20.
    pub(super) candidates: Vec<CommitId>,
    /// The oldest of them from which on the declaration did not change either.
    pub(super) brought: ObjectId,
}

impl<'a> History<'a> {
    /// Begins at a head.
    pub(super) fn new(repo: &'a Repository, head: ObjectId, deepen: &'a mut Deepen<'a>) -> Self {
        Self { repo, steps: Vec::new(), next: Some(head), ended: false, deepen }
    }

    /// Returns the commit so many below the head; `None` past the end or the limit.
    pub(super) fn step(&mut self, index: usize, budget: &mut Budget) -> Result<Option<&Step>, GitError> {
        while self.steps.len() <= index {
            let Some(id) = self.next.filter(|_| self.steps.len() < HISTORY_LIMIT) else { return Ok(None) };
            if !self.load(id, true, budget)? {
                self.next = None;
            }
        }
        Ok(self.steps.get(index))
    }

    /// Returns the commit so many below the head as far as the history is here already.
    pub(super) fn here(&mut self, index: usize, budget: &mut Budget) -> Result<Option<&Step>, GitError> {
        while self.steps.len() <= index {
            let Some(id) = self.next.filter(|_| self.steps.len() < HISTORY_LIMIT) else { return Ok(None) };
            if !self.load(id, false, budget)? {
                return Ok(None);
            }
        }
        Ok(self.steps.get(index))
    }

    /// Tells whether the history was read to its first commit.
    pub(super) fn ended(&self) -> bool {
        self.ended
    }

    /// Reads a commit and its parent; `false` if its parent is not to be had.
    fn load(&mut self, id: ObjectId, deepen: bool, budget: &mut Budget) -> Result<bool, GitError> {
        let commit = tree::commit(self.repo, id)?;
        let tree = commit.tree_id().map_err(GitError::corrupt)?.detach();
        let parent = commit.parent_ids().next().map(gix::Id::detach);
        let Some(parent) = parent else {
            self.steps.push(Step { id, changed: None });
            (self.next, self.ended) = (None, true);
            return Ok(true);
        };
        while !self.repo.has_object(parent) {
            if !deepen || !(self.deepen)()? {
                return Ok(false);
            }
        }
        let above = tree::commit(self.repo, parent)?;
        let above = above.tree_id().map_err(GitError::corrupt)?.detach();
        let mut changed = Vec::new();
        diff(self.repo, Some(above), Some(tree), "", budget, &mut changed)?;
        changed.sort_unstable();
        let changed = (changed.len() <= CHANGED_LIMIT).then_some(changed);
        self.steps.push(Step { id, changed });
        self.next = Some(parent);
        Ok(true)
    }

    /// Finds where a service's content comes from. Where the limit comes first, the head alone counts.
    pub(super) fn origin(
        &mut self,
        head: ObjectId,
        path: &str,
        watched: &Watched,
        budget: &mut Budget,
    ) -> Result<Origin, GitError> {
        let mut run = Vec::new();
        let mut brought = None;
        let mut index = 0;
        while let Some(step) = self.step(index, budget)? {
            run.push(commit_id(step.id)?);
            let moves = step.moves(watched);
            if brought.is_none() && (moves || step.changes(path)) {
                brought = Some(step.id);
            }
            if moves {
                run.reverse();
                run.truncate(CANDIDATES);
                return Ok(Origin { candidates: run, brought: brought.unwrap_or(head) });
            }
            index += 1;
        }
        Ok(Origin { candidates: vec![commit_id(head)?], brought: brought.unwrap_or(head) })
    }

    /// Returns how many commits lie between a former head and this one. Where more were pushed at once than a fetch brings, the history
    /// is deepened until it meets the former head or is older: it was left behind then.
    pub(super) fn distance(
        &mut self,
        former: ObjectId,
        budget: &mut Budget,
    ) -> Result<Option<usize>, GitError> {
        while let Some(id) = self.next.filter(|id| *id != former && self.steps.len() < HISTORY_LIMIT) {
            if !self.load(id, false, budget)?
                && (self.is_older(id, former)? || !self.load(id, true, budget)?)
            {
                return Ok(None);
            }
        }
        Ok((self.next == Some(former)).then_some(self.steps.len()))
    }

    /// Tells whether a commit was made before another one, or that one is not here to compare.
    fn is_older(&self, id: ObjectId, other: ObjectId) -> Result<bool, GitError> {
        if !self.repo.has_object(other) {
            return Ok(true);
        }
        let made = |id| Ok::<_, GitError>(tree::commit(self.repo, id)?.time().map_or(0, |time| time.seconds));
        Ok(made(id)? < made(other)?)
    }
}

/// Converts Git's id into ours.
pub(super) fn commit_id(id: ObjectId) -> Result<CommitId, GitError> {
    id.to_string().parse().map_err(|error: crate::model::change::CommitIdError| GitError::corrupt(error))
}

/// Reads what a commit says about itself.
pub(super) fn revision(repo: &Repository, id: ObjectId, source: &Source) -> Result<Revision, GitError> {
    let read = tree::commit(repo, id)?;
    // A date or a name that is none is no reason to refuse what was committed.
    let committed_at = read.time().map_or(0, |time| time.seconds);
    let author = read.author().map(|author| author.name.to_string()).unwrap_or_default();
    let message = read.message_raw_sloppy().to_string();
    let subject = message.lines().find(|line| !line.trim().is_empty()).unwrap_or_default();
    let commit = commit_id(id)?;
    Ok(Revision {
        url: page::of_commit(source, &commit),
        commit,
        committed_at: Timestamp::from_second(committed_at).unwrap_or(Timestamp::UNIX_EPOCH),
        author: printable(&author, 100),
        subject: printable(subject, 120),
        repository: source.url.to_string(),
    })
}

/// Removes control and direction characters and cuts.
pub(super) fn printable(text: &str, limit: usize) -> String {
    text.trim().chars().filter(|c| !hidden(*c)).take(limit).collect()
}

/// Tells whether a character could make a line read as another: a control or a direction character.
pub(super) fn hidden(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
}
