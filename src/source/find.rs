//! Finds declaration files by the configured globs. A glob is matched segment by segment while the tree is walked, so that only the
//! folders that can hold a match are read; and of those only the ones that changed since the last walk.

use std::collections::BTreeMap;
use std::sync::Arc;

use gix::objs::tree::EntryKind;
use gix::{ObjectId, Repository};
use globset::{GlobBuilder, GlobMatcher};

use super::error::{Cause, GitError};
use super::tree::{Budget, Entry, entries, join, too_deep};

#[derive(Debug)]
enum Segment {
    Name(String),
    Pattern(GlobMatcher),
    AnyFolders,
}

impl Segment {
    fn parse(text: &str) -> Result<Self, globset::Error> {
        Ok(match text {
            "**" => Self::AnyFolders,
            text if text.contains(['*', '?', '[', '{', '\\']) => {
                Self::Pattern(GlobBuilder::new(text).literal_separator(true).build()?.compile_matcher())
            }
            text => Self::Name(text.to_owned()),
        })
    }

    fn matches(&self, name: &str) -> bool {
        match self {
            Self::Name(wanted) => wanted == name,
            Self::Pattern(pattern) => pattern.is_match(name),
            Self::AnyFolders => false,
        }
    }
}

/// The globs of a source.
#[derive(Debug)]
pub(super) struct Finder(Vec<Vec<Segment>>);

/// A file that a glob names.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) path: String,
    /// The blob, or why it is not read.
    pub(super) blob: Result<ObjectId, GitError>,
}

impl Finder {
    /// Compiles globs.
    pub(super) fn new(globs: &[String]) -> Result<Self, Cause> {
        let parse = |glob: &String| glob.split('/').map(Segment::parse).collect::<Result<Vec<_>, _>>();
        Ok(Self(globs.iter().map(parse).collect::<Result<Vec<_>, _>>()?))
    }

    /// Walks a tree and returns what differs from an earlier walk: work for the folders that changed alone.
    pub(super) fn walk(
        &self,
        repo: &Repository,
        root: ObjectId,
        before: Option<&Arc<Walked>>,
        budget: &mut Budget,
    ) -> Result<(Arc<Walked>, Changes), GitError> {
        let rests: Vec<&[Segment]> = self.0.iter().map(Vec::as_slice).collect();
        let mut changes = Changes::default();
        let walked = walk(repo, (root, ""), &rests, before, budget, &mut changes)?;
        Ok((walked, changes))
    }
}

/// A folder as it was walked.
#[derive(Debug)]
pub(super) struct Walked {
    tree: ObjectId,
    files: BTreeMap<String, Entry>,
    folders: BTreeMap<String, Arc<Self>>,
}

/// What a walk found otherwise than the one before.
#[derive(Debug, Default)]
pub(super) struct Changes {
    /// Files that are new or have another content, in the order of their paths.
    pub(super) found: Vec<Found>,
    /// The paths of files that are not there any more.
    pub(super) gone: Vec<String>,
}

impl Changes {
    fn all_gone(&mut self, folder: &Walked, prefix: &str) {
        self.gone.extend(folder.files.keys().map(|name| join(prefix, name)));
        for (name, inner) in &folder.folders {
            self.all_gone(inner, &join(prefix, name));
        }
    }
}

/// What remains of the globs inside of an entry; whether it is a match itself; whether a literal name led here.
fn advance<'a>(rests: &[&'a [Segment]], name: &str) -> (Vec<&'a [Segment]>, bool, bool) {
    let (mut inside, mut hit, mut literal) = (Vec::new(), false, false);
    for rest in rests {
        let mut rest = *rest;
        while let [Segment::AnyFolders, after @ ..] = rest {
            inside.push(rest);
            rest = after;
        }
        if let [first, after @ ..] = rest
            && first.matches(name)
        {
            literal |= matches!(first, Segment::Name(_));
            if after.is_empty() {
                hit = true;
            } else {
                inside.push(after);
            }
        }
    }
    (inside, hit, literal)
}

fn walk(
    repo: &Repository,
    (tree, prefix): (ObjectId, &str),
    rests: &[&[Segment]],
    before: Option<&Arc<Walked>>,
    budget: &mut Budget,
    changes: &mut Changes,
) -> Result<Arc<Walked>, GitError> {
    if let Some(same) = before.filter(|before| before.tree == tree) {
        return Ok(same.clone());
    }
    if prefix.split('/').count() > 64 {
        return Err(too_deep(prefix));
    }
    let mut walked = Walked { tree, files: BTreeMap::new(), folders: BTreeMap::new() };
    for entry in entries(repo, tree, budget)? {
        let (inside, hit, literal) = advance(rests, &entry.name);
        let path = join(prefix, &entry.name);
        let is_file = match entry.kind {
            EntryKind::Tree if !inside.is_empty() => {
                let before = before.and_then(|before| before.folders.get(&entry.name));
                let inner = walk(repo, (entry.id, &path), &inside, before, budget, changes)?;
                walked.folders.insert(entry.name.clone(), inner);
                false
            }
            EntryKind::Blob | EntryKind::BlobExecutable => hit,
            // A link among the folders that a '*' matches is nobody's declaration; one at a name that we were told to read is.
            EntryKind::Link | EntryKind::Commit => hit || literal,
            EntryKind::Tree => false,
        };
        if is_file {
            if before.and_then(|before| before.files.get(&entry.name)) != Some(&entry) {
                changes.found.push(Found { blob: entry.plain(&path).map(|()| entry.id), path });
            }
            walked.files.insert(entry.name.clone(), entry);
        }
    }
    if let Some(before) = before {
        let gone = before.files.keys().filter(|name| !walked.files.contains_key(*name));
        changes.gone.extend(gone.map(|name| join(prefix, name)));
        for (name, inner) in &before.folders {
            if !walked.folders.contains_key(name) {
                changes.all_gone(inner, &join(prefix, name));
            }
        }
    }
    Ok(Arc::new(walked))
}
