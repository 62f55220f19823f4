//! A bare Git repository on disk, written with the library that the daemon reads it with: no `git` program is needed.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use gix::bstr::BString;
use gix::objs::Tree;
use gix::objs::tree::{Entry, EntryKind};
use gix::refs::transaction::PreviousValue;
use jiff::Timestamp;

/// A repository with one branch, `main`.
pub struct Repository {
    path: PathBuf,
    files: BTreeMap<String, Vec<u8>>,
    head: Option<gix::ObjectId>,
}

impl Repository {
    pub fn create(path: &Path) -> Self {
        gix::init_bare(path).unwrap();
        Self { path: path.to_owned(), files: BTreeMap::new(), head: None }
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Puts a file into the next commit.
    pub fn put(&mut self, path: &str, content: impl Into<Vec<u8>>) {
        self.files.insert(path.to_owned(), content.into());
    }

    /// Takes a file out of the next commit.
    pub fn remove(&mut self, path: &str) {
        assert!(self.files.remove(path).is_some(), "{path} was there");
    }

    /// Returns a file as the next commit will have it.
    pub fn file(&self, path: &str) -> String {
        String::from_utf8(self.files[path].clone()).unwrap()
    }

    /// Writes a commit over the last one and returns its id. No branch shows it yet.
    pub fn write(&mut self, message: &str) -> String {
        let repository = gix::open(&self.path).unwrap();
        let files: Vec<(&str, &[u8])> =
            self.files.iter().map(|(path, text)| (path.as_str(), &**text)).collect();
        let tree = tree(&repository, &files);
        let signature = gix::actor::Signature {
            name: BString::from("Ada"),
            email: BString::from("ada@example.com"),
            time: gix::date::Time { seconds: Timestamp::UNIX_EPOCH.as_second(), offset: 0 },
        };
        let mut buffer = gix::date::parse::TimeBuf::default();
        let signature = signature.to_ref(&mut buffer);
        let commit = repository.new_commit_as(signature, signature, message, tree, self.head).unwrap();
        self.head = Some(commit.id);
        commit.id.to_string()
    }

    /// Moves `main` to the last written commit: the merge.
    pub fn merge(&self) {
        let repository = gix::open(&self.path).unwrap();
        repository.reference("refs/heads/main", self.head.unwrap(), PreviousValue::Any, "merge").unwrap();
    }

    /// Returns the last written commit.
    pub fn head(&self) -> String {
        self.head.unwrap().to_string()
    }

    /// Takes the next commit to stand on an older one. The files are as they were put last.
    pub fn rewind(&mut self, commit: &str) {
        self.head = Some(commit.parse().unwrap());
    }

    /// Takes the branch away.
    pub fn delete_branch(&self) {
        let repository = gix::open(&self.path).unwrap();
        repository.find_reference("refs/heads/main").unwrap().delete().unwrap();
    }

    /// Moves the whole repository away: it cannot be read any more. Returns where it went.
    pub fn disappear(&self) -> PathBuf {
        let away = self.path.with_extension("away");
        std::fs::rename(&self.path, &away).unwrap();
        away
    }

    /// Puts it back.
    pub fn reappear(&self) {
        std::fs::rename(self.path.with_extension("away"), &self.path).unwrap();
    }
}

/// Writes the tree of these files, sorted by path, and of the folders among them.
fn tree(repository: &gix::Repository, files: &[(&str, &[u8])]) -> gix::ObjectId {
    let mut folders: BTreeMap<&str, Vec<(&str, &[u8])>> = BTreeMap::new();
    let mut entries = Vec::new();
    for (path, content) in files {
        if let Some((folder, rest)) = path.split_once('/') {
            folders.entry(folder).or_default().push((rest, content));
        } else {
            let oid = repository.write_blob(content).unwrap().detach();
            entries.push(Entry { mode: EntryKind::Blob.into(), filename: BString::from(*path), oid });
        }
    }
    for (folder, files) in folders {
        let oid = tree(repository, &files);
        entries.push(Entry { mode: EntryKind::Tree.into(), filename: BString::from(folder), oid });
    }
    entries.sort();
    repository.write_object(&Tree { entries }).unwrap().detach()
}
