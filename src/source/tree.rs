//! Reads trees and blobs of one commit, within limits. Nothing is checked out: paths are names in trees and never reach the file
//! system.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::time::Instant;

use gix::bstr::ByteSlice;
use gix::objs::tree::EntryKind;
use gix::{ObjectId, Repository};

use super::error::GitError;

/// Largest blob that is read, in bytes.
pub(super) const BLOB_LIMIT: u64 = 1 << 20;
/// Largest tree object that is read, in bytes: about 200,000 entries.
const TREE_LIMIT: u64 = 8 << 20;
/// Entries that one look reads at most.
const ENTRY_LIMIT: u64 = 2_000_000;
/// What it costs to read a tree, however few entries it has.
const TREE_COST: usize = 4;
/// Bytes of declarations and paths that one look keeps in memory at most.
const BYTE_LIMIT: u64 = 512 << 20;
/// Longest name of a file, in bytes; longer ones no file system has.
const NAME_LIMIT: usize = 255;
/// Folders below one another.
const DEPTH_LIMIT: usize = 64;

/// What one look may still cost.
#[derive(Debug)]
pub(super) struct Budget {
    entries: u64,
    bytes: u64,
    until: Instant,
    allowed: Duration,
    interrupt: Arc<AtomicBool>,
}

impl Budget {
    /// Grants a look its entries and its time, until it is interrupted.
    pub(super) fn new(allowed: Duration, interrupt: Arc<AtomicBool>) -> Self {
        Self { entries: ENTRY_LIMIT, bytes: BYTE_LIMIT, until: Instant::now() + allowed, allowed, interrupt }
    }

    /// Returns how many entries were spent.
    pub(super) fn entries(&self) -> u64 {
        ENTRY_LIMIT - self.entries
    }

    /// Takes what stays in memory until the look ends.
    pub(super) fn keep(&mut self, bytes: usize) -> Result<(), GitError> {
        self.bytes = self.bytes.checked_sub(bytes as u64).ok_or_else(|| GitError::TooLarge {
            what: "what the look has to keep in memory".to_owned(),
            size: format!("more than {BYTE_LIMIT} bytes"),
            limit: format!("{BYTE_LIMIT} bytes"),
        })?;
        Ok(())
    }

    fn spend(&mut self, entries: usize) -> Result<(), GitError> {
        self.entries = self.entries.checked_sub(entries as u64).ok_or_else(|| GitError::TooLarge {
            what: "what the look has to read".to_owned(),
            size: format!("more than {ENTRY_LIMIT} tree entries"),
            limit: format!("{ENTRY_LIMIT} entries"),
        })?;
        if Instant::now() > self.until {
            return Err(GitError::TimedOut(self.allowed));
        }
        if self.interrupt.load(Ordering::Acquire) { Err(GitError::Stopped) } else { Ok(()) }
    }
}

/// One entry of a tree; the name is UTF-8 and is none of `.`, `..` and `.git`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) name: String,
    pub(super) kind: EntryKind,
    pub(super) id: ObjectId,
}

impl Entry {
    pub(super) fn is_tree(&self) -> bool {
        self.kind == EntryKind::Tree
    }

    /// Refuses what is not a plain file or folder.
    pub(super) fn plain(&self, path: &str) -> Result<(), GitError> {
        let kind = match self.kind {
            EntryKind::Link => "a symbolic link",
            EntryKind::Commit => "a submodule",
            EntryKind::Tree | EntryKind::Blob | EntryKind::BlobExecutable => return Ok(()),
        };
        Err(GitError::NotPlain { path: path.to_owned(), kind })
    }
}

fn limited(repo: &Repository, id: ObjectId, what: &str, limit: u64) -> Result<Vec<u8>, GitError> {
    let size = repo.find_header(id).map_err(GitError::corrupt)?.size();
    if size > limit {
        return Err(GitError::TooLarge {
            what: what.to_owned(),
            size: format!("{size} bytes"),
            limit: format!("{limit} bytes"),
        });
    }
    Ok(repo.find_object(id).map_err(GitError::corrupt)?.detach().data)
}

/// Reads a blob of at most 1 MiB.
pub(super) fn blob(
    repo: &Repository,
    id: ObjectId,
    path: &str,
    budget: &mut Budget,
) -> Result<Vec<u8>, GitError> {
    let data = limited(repo, id, path, BLOB_LIMIT)?;
    budget.keep(data.len())?;
    budget.spend(1).map(|()| data)
}

/// Reads a commit of at most 1 MiB.
pub(super) fn commit(repo: &Repository, id: ObjectId) -> Result<gix::Commit<'_>, GitError> {
    let size = repo.find_header(id).map_err(GitError::corrupt)?.size();
    if size > BLOB_LIMIT {
        return Err(GitError::TooLarge {
            what: format!("commit {}", id.to_hex_with_len(10)),
            size: format!("{size} bytes"),
            limit: format!("{BLOB_LIMIT} bytes"),
        });
    }
    repo.find_commit(id).map_err(GitError::corrupt)
}

/// Reads the entries of a tree; names that cannot be paths are left out.
pub(super) fn entries(repo: &Repository, id: ObjectId, budget: &mut Budget) -> Result<Vec<Entry>, GitError> {
    let data = limited(repo, id, "a folder", TREE_LIMIT)?;
    let (mut found, mut names, mut read) = (Vec::new(), HashSet::new(), TREE_COST);
    for entry in gix::objs::TreeRefIter::from_bytes(&data, id.kind()) {
        let entry = entry.map_err(GitError::corrupt)?;
        read += 1;
        let Ok(name) = entry.filename.to_str() else { continue };
        if matches!(name, "" | "." | ".." | ".git") || name.contains('/') || name.len() > NAME_LIMIT {
            continue;
        }
        // Of two entries of one name the first counts, wherever it is read.
        if names.insert(name) {
            found.push(Entry { name: name.to_owned(), kind: entry.mode.kind(), id: entry.oid.to_owned() });
        }
    }
    // What is left out was read too.
    budget.spend(read)?;
    Ok(found)
}

/// Joins a folder and a name in it.
pub(super) fn join(folder: &str, name: &str) -> String {
    if folder.is_empty() { name.to_owned() } else { format!("{folder}/{name}") }
}

/// Returns the entry at a path, if it is there.
pub(super) fn at(
    repo: &Repository,
    root: ObjectId,
    path: &str,
    budget: &mut Budget,
) -> Result<Option<Entry>, GitError> {
    let mut current = Entry { name: String::new(), kind: EntryKind::Tree, id: root };
    for part in path.split('/').filter(|part| !part.is_empty()) {
        if !current.is_tree() {
            return Ok(None);
        }
        let Some(next) = entries(repo, current.id, budget)?.into_iter().find(|e| e.name == part) else {
            return Ok(None);
        };
        current = next;
    }
    Ok(Some(current))
}

/// Visits every entry below a folder that is no folder, for which `enter` holds on the way.
pub(super) fn files(
    repo: &Repository,
    folder: ObjectId,
    prefix: &str,
    budget: &mut Budget,
    enter: &dyn Fn(&str) -> bool,
    visit: &mut dyn FnMut(String, &Entry),
) -> Result<(), GitError> {
    if prefix.split('/').count() > DEPTH_LIMIT {
        return Err(too_deep(prefix));
    }
    for entry in entries(repo, folder, budget)? {
        let path = join(prefix, &entry.name);
        if !entry.is_tree() {
            budget.keep(path.len())?;
            visit(path, &entry);
        } else if enter(&path) {
            files(repo, entry.id, &path, budget, enter, visit)?;
        }
    }
    Ok(())
}

pub(super) fn too_deep(path: &str) -> GitError {
    GitError::TooLarge {
        what: path.chars().take(100).collect(),
        size: format!("more than {DEPTH_LIMIT} folders"),
        limit: format!("{DEPTH_LIMIT} folders below one another"),
    }
}

/// Collects the paths of files that differ between two trees.
pub(super) fn diff(
    repo: &Repository,
    old: Option<ObjectId>,
    new: Option<ObjectId>,
    prefix: &str,
    budget: &mut Budget,
    changed: &mut Vec<String>,
) -> Result<(), GitError> {
    if old == new {
        return Ok(());
    }
    if prefix.split('/').count() > DEPTH_LIMIT {
        return Err(too_deep(prefix));
    }
    let mut pairs: BTreeMap<String, (Option<Entry>, Option<Entry>)> = BTreeMap::new();
    for entry in old.map(|id| entries(repo, id, budget)).transpose()?.unwrap_or_default() {
        let name = entry.name.clone();
        pairs.entry(name).or_default().0 = Some(entry);
    }
    for entry in new.map(|id| entries(repo, id, budget)).transpose()?.unwrap_or_default() {
        let name = entry.name.clone();
        pairs.entry(name).or_default().1 = Some(entry);
    }
    for (name, (old, new)) in pairs {
        if old == new {
            continue;
        }
        let path = join(prefix, &name);
        let is_file = |entry: &Option<Entry>| entry.as_ref().is_some_and(|entry| !entry.is_tree());
        if is_file(&old) || is_file(&new) {
            budget.keep(path.len())?;
            changed.push(path.clone());
        }
        let tree = |entry: Option<Entry>| entry.filter(Entry::is_tree).map(|entry| entry.id);
        let (old, new) = (tree(old), tree(new));
        diff(repo, old, new, &path, budget, changed)?;
    }
    Ok(())
}
