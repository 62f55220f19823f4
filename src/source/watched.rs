//! What a service watches: the folder that holds `.idp` and what the declaration adds, less declarations, documents and what it
//! ignores. The content id of it tells one version from the next.

use std::collections::BTreeMap;

use gix::objs::tree::EntryKind;
use gix::{ObjectId, Repository};
use globset::{GlobBuilder, GlobSet, GlobSetBuilder};
use sha2::{Digest as _, Sha256};

use super::error::GitError;
use super::report::Declared;
use super::tree::{Budget, at, files};

/// The paths that a service watches.
#[derive(Debug)]
pub(super) struct Watched {
    /// The folder that holds `.idp`; empty for the repository's root.
    folder: String,
    added: GlobSet,
    ignored: GlobSet,
    /// Manifests, which count wherever they are.
    manifests: GlobSet,
    /// The folders without a wildcard above everything that is watched, none inside of another.
    roots: Vec<String>,
}

impl Watched {
    /// Compiles what a file and its declaration watch. The error names the glob.
    pub(super) fn new(path: &str, declared: &Declared) -> Result<Self, String> {
        let folder = folder_of(path);
        let named = declared.paths.iter().chain(&declared.manifests);
        let mut roots: Vec<String> = named.map(|glob| static_prefix(glob)).collect();
        roots.push(folder.clone());
        roots.sort();
        let mut outer: Vec<String> = Vec::new();
        for root in roots {
            if !outer.iter().any(|other| inside(&root, other)) {
                outer.push(root);
            }
        }
        let inside = declared.paths.iter().filter(|glob| static_prefix(glob) == **glob);
        let inside: Vec<String> = inside.map(|folder| format!("{folder}/**")).collect();
        Ok(Self {
            // A path without a wildcard is a file, or a folder with all that is in it.
            added: globs(declared.paths.iter().chain(&inside).map(String::as_str))?,
            ignored: globs(declared.ignore.iter().map(String::as_str))?,
            manifests: globs(declared.manifests.iter().map(String::as_str))?,
            folder,
            roots: outer,
        })
    }

    /// Tells whether a file counts.
    pub(super) fn matches(&self, path: &str) -> bool {
        let watched = (inside(path, &self.folder) || self.added.is_match(path))
            && !never_counts(path)
            && !self.ignored.is_match(path);
        watched || self.is_manifest(path)
    }

    /// Returns the folders without a wildcard above the manifests.
    pub(super) fn manifest_roots(&self) -> impl Iterator<Item = &String> {
        self.roots.iter().filter(|_| !self.manifests.is_empty())
    }

    /// Tells whether a file holds manifests.
    pub(super) fn is_manifest(&self, path: &str) -> bool {
        self.manifests.is_match(path)
    }

    /// Returns the folders without a wildcard above everything that is watched.
    pub(super) fn roots(&self) -> &[String] {
        &self.roots
    }

    /// Tells whether one of these paths counts; they are in order.
    pub(super) fn any(&self, sorted: &[String]) -> bool {
        self.roots.iter().any(|root| {
            let below = if root.is_empty() { String::new() } else { format!("{root}/") };
            let from = sorted.partition_point(|path| *path < below);
            let below = sorted.iter().skip(from).take_while(|path| path.starts_with(&below));
            let root = sorted.binary_search(root).ok().and_then(|at| sorted.get(at));
            below.chain(root).any(|path| self.matches(path))
        })
    }

    /// Returns how a path enters the content id: what is in the service's folder by its path from there, so that a folder that is
    /// moved keeps its content.
    fn named(&self, path: &str) -> String {
        let from_folder = path.strip_prefix(&self.folder).filter(|_| !self.folder.is_empty());
        from_folder
            .filter(|rest| rest.starts_with('/'))
            .map_or_else(|| path.to_owned(), |rest| format!(".{rest}"))
    }

    /// Returns the content id of everything that counts in a commit's tree: a hash of path, mode and blob of each.
    pub(super) fn content_id(
        &self,
        repo: &Repository,
        tree: ObjectId,
        budget: &mut Budget,
    ) -> Result<String, GitError> {
        let mut found: BTreeMap<String, (EntryKind, ObjectId)> = BTreeMap::new();
        for root in &self.roots {
            let Some(entry) = at(repo, tree, root, budget)? else { continue };
            let mut take = |path: String, kind, id| {
                if self.matches(&path) {
                    found.insert(self.named(&path), (kind, id));
                }
            };
            if entry.is_tree() {
                files(repo, entry.id, root, budget, &|_| true, &mut |path, e| take(path, e.kind, e.id))?;
            } else {
                take(root.clone(), entry.kind, entry.id);
            }
        }
        let mut hash = Sha256::new();
        for (path, (kind, id)) in &found {
            hash.update((path.len() as u64).to_be_bytes());
            hash.update(path.as_bytes());
            hash.update(kind.as_octal_str());
            hash.update(id.as_slice());
        }
        Ok(hex::encode(hash.finalize()))
    }
}

/// Returns the folder that holds `.idp`; for a declaration elsewhere, the folder that holds it.
fn folder_of(path: &str) -> String {
    let (folder, _) = path.rsplit_once('/').unwrap_or(("", path));
    match folder.rsplit_once('/') {
        Some((above, ".idp")) => above.to_owned(),
        _ if folder == ".idp" => String::new(),
        _ => folder.to_owned(),
    }
}

/// Tells whether a file never makes a new version: what lies in a folder `.idp`, and documents. No glob, since every service would have
/// its own: three compiled ones take some seventy kilobytes.
fn never_counts(path: &str) -> bool {
    path.as_bytes().ends_with(b".md") || path.split('/').rev().skip(1).any(|folder| folder == ".idp")
}

fn inside(path: &str, folder: &str) -> bool {
    folder.is_empty() || path == folder || path.strip_prefix(folder).is_some_and(|rest| rest.starts_with('/'))
}

fn static_prefix(glob: &str) -> String {
    let plain = |segment: &&str| !segment.contains(['*', '?', '[', '{', '\\']);
    glob.split('/').take_while(plain).collect::<Vec<_>>().join("/")
}

fn globs<'a>(texts: impl Iterator<Item = &'a str>) -> Result<GlobSet, String> {
    let mut set = GlobSetBuilder::new();
    for text in texts {
        let glob = GlobBuilder::new(text).literal_separator(true).build();
        set.add(glob.map_err(|error| format!("{text:?} is not a glob: {}", error.kind()))?);
    }
    set.build().map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn watched(path: &str, paths: &[&str], ignore: &[&str]) -> Watched {
        let strings = |texts: &[&str]| texts.iter().map(ToString::to_string).collect();
        let declared = Declared {
            service: "a".parse().unwrap(),
            paths: strings(paths),
            manifests: Vec::new(),
            ignore: strings(ignore),
        };
        Watched::new(path, &declared).unwrap()
    }

    #[test]
    fn a_service_watches_its_folder_less_declarations_and_documents() {
        let root = watched(".idp/deploy.yaml", &[], &["docs/**"]);
        for (path, counts) in [
            ("src/main.rs", true),
            (".idp/deploy.yaml", false),
            ("a/.idp/deploy.yaml", false),
            ("a/.idp/b/c", false),
            ("a/b.idp/c", true),
            ("a/.idp", true),
            ("README.md", false),
            ("a/b.md", false),
            (".md", false),
            ("a.md/b", true),
            ("docs/x.txt", false),
            ("docs2/x.txt", true),
        ] {
            assert_eq!(root.matches(path), counts, "{path}");
        }
    }

    #[test]
    fn a_service_in_a_folder_watches_that_and_what_it_adds() {
        let one = watched("services/a/.idp/deploy.yaml", &["lib/**", "proto/*.proto"], &["lib/test/**"]);
        for (path, counts) in [
            ("services/a/x", true),
            ("services/ab/x", false),
            ("services/b/x", false),
            ("lib/x/y", true),
            ("lib/test/y", false),
            ("proto/a.proto", true),
            ("proto/sub/a.proto", false),
        ] {
            assert_eq!(one.matches(path), counts, "{path}");
            assert_eq!(one.any(&["a".to_owned(), path.to_owned(), "zz".to_owned()]), counts, "{path}");
        }
        let plain = watched("services/a/.idp/deploy.yaml", &["base", "VERSION"], &[]);
        for (path, counts) in [("base/x/y", true), ("base", true), ("VERSION", true), ("base-2/x", false)] {
            assert_eq!(plain.any(&[path.to_owned()]), counts, "{path}");
        }
        assert_eq!(one.roots, ["lib", "proto", "services/a"]);
        assert_eq!(watched(".idp/deploy.yaml", &["lib/**"], &[]).roots, [""]);
        assert_eq!(watched("deploy/a.yaml", &["**/x", "deploy/y"], &[]).roots, [""]);
    }
}
