//! Finds declaration files by the configured globs. A glob is matched segment by segment while the tree is walked, so that only the
//! folders that can hold a match are read.

use gix::objs::tree::EntryKind;
use gix::{ObjectId, Repository};
use globset::{GlobBuilder, GlobMatcher};

use super::error::{Cause, GitError};
use super::tree::{Budget, entries, join, too_deep};

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

    /// Walks a tree and returns the matches in the order of their paths.
    pub(super) fn find(
        &self,
        repo: &Repository,
        root: ObjectId,
        budget: &mut Budget,
    ) -> Result<Vec<Found>, GitError> {
        let rests: Vec<&[Segment]> = self.0.iter().map(Vec::as_slice).collect();
        let mut found = Vec::new();
        walk(repo, root, "", &rests, budget, &mut found)?;
        found.sort_by(|left, right| left.path.cmp(&right.path));
        Ok(found)
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
    tree: ObjectId,
    prefix: &str,
    rests: &[&[Segment]],
    budget: &mut Budget,
    found: &mut Vec<Found>,
) -> Result<(), GitError> {
    if prefix.split('/').count() > 64 {
        return Err(too_deep(prefix));
    }
    for entry in entries(repo, tree, budget)? {
        let (inside, hit, literal) = advance(rests, &entry.name);
        let path = join(prefix, &entry.name);
        match entry.kind {
            EntryKind::Tree if !inside.is_empty() => walk(repo, entry.id, &path, &inside, budget, found)?,
            EntryKind::Blob | EntryKind::BlobExecutable if hit => {
                found.push(Found { path, blob: Ok(entry.id) });
            }
            // A link among the folders that a '*' matches is nobody's declaration; one at a name that we were told to read is.
            EntryKind::Link | EntryKind::Commit if hit || literal => {
                let blob = entry.plain(&path).map(|()| entry.id);
                found.push(Found { path, blob });
            }
            _ => {}
        }
    }
    Ok(())
}
