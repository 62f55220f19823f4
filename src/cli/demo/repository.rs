//! A real Git repository on disk, written with the library that the daemon reads it with: no `git` program is needed.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use gix::bstr::BString;
use gix::objs::Tree;
use gix::objs::tree::{Entry, EntryKind};
use jiff::Timestamp;

/// Why the repository could not be written; the demo ends.
#[derive(Debug, thiserror::Error)]
#[error("the demo's repository at {path} could not be written: {source}")]
pub struct RepositoryError {
    path: String,
    #[source]
    source: Box<dyn std::error::Error + Send + Sync>,
}

/// A bare repository with one branch, `main`.
pub struct Repository {
    path: PathBuf,
    files: BTreeMap<String, String>,
    head: Option<gix::ObjectId>,
}

impl Repository {
    /// Makes an empty one.
    pub fn create(path: &Path) -> Result<Self, RepositoryError> {
        let repository = Self { path: path.to_owned(), files: BTreeMap::new(), head: None };
        repository.tell(gix::init_bare(path))?;
        Ok(repository)
    }

    /// Returns where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Writes files over those of the last commit and a commit of them; returns its id. No branch shows it yet: CI can build and push
    /// its image first.
    pub fn write(
        &mut self,
        message: &str,
        files: &[(&str, String)],
        at: Timestamp,
    ) -> Result<String, RepositoryError> {
        for (path, text) in files {
            self.files.insert((*path).to_owned(), text.clone());
        }
        let repository = self.tell(gix::open(&self.path))?;
        let files: Vec<(&str, &str)> =
            self.files.iter().map(|(path, text)| (path.as_str(), text.as_str())).collect();
        let tree = self.tree(&repository, &files)?;
        let signature = gix::actor::Signature {
            name: BString::from("Ada"),
            email: BString::from("ada@example.com"),
            time: gix::date::Time { seconds: at.as_second(), offset: 0 },
        };
        let mut buffer = gix::date::parse::TimeBuf::default();
        let signature = signature.to_ref(&mut buffer);
        let commit = self.tell(repository.new_commit_as(signature, signature, message, tree, self.head))?;
        self.head = Some(commit.id);
        Ok(commit.id.to_string())
    }

    /// Moves `main` to the last written commit: the merge.
    pub fn merge(&self) -> Result<(), RepositoryError> {
        let Some(head) = self.head else { return Ok(()) };
        let repository = self.tell(gix::open(&self.path))?;
        let any = gix::refs::transaction::PreviousValue::Any;
        self.tell(repository.reference("refs/heads/main", head, any, "merge")).map(drop)
    }

    /// Writes the tree of these files, sorted by path, and of the folders among them.
    fn tree(
        &self,
        repository: &gix::Repository,
        files: &[(&str, &str)],
    ) -> Result<gix::ObjectId, RepositoryError> {
        let mut folders: BTreeMap<&str, Vec<(&str, &str)>> = BTreeMap::new();
        let mut entries = Vec::new();
        for (path, text) in files {
            if let Some((folder, rest)) = path.split_once('/') {
                folders.entry(folder).or_default().push((rest, text));
            } else {
                let oid = self.tell(repository.write_blob(text))?.detach();
                entries.push(Entry { mode: EntryKind::Blob.into(), filename: BString::from(*path), oid });
            }
        }
        for (folder, files) in folders {
            let oid = self.tree(repository, &files)?;
            entries.push(Entry { mode: EntryKind::Tree.into(), filename: BString::from(folder), oid });
        }
        entries.sort();
        Ok(self.tell(repository.write_object(&Tree { entries }))?.detach())
    }

    fn tell<T, E>(&self, result: Result<T, E>) -> Result<T, RepositoryError>
    where
        E: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        result.map_err(|source| RepositoryError {
            path: self.path.display().to_string(),
            source: source.into(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commits_are_read_back() {
        let folder = tempfile::tempdir().unwrap();
        let mut repository = Repository::create(&folder.path().join("app.git")).unwrap();
        let at = Timestamp::UNIX_EPOCH;
        repository.write("one", &[(".idp/deploy.yaml", "a".into()), ("src/main", "b".into())], at).unwrap();
        repository.merge().unwrap();
        let id = repository.write("two", &[("README.md", "c".into())], at).unwrap();
        repository.merge().unwrap();
        let opened = gix::open(repository.path()).unwrap();
        let head = opened.find_reference("refs/heads/main").unwrap().into_fully_peeled_id().unwrap();
        assert_eq!(head.to_string(), id);
        let tree = head.object().unwrap().into_commit().tree().unwrap();
        assert!(tree.lookup_entry_by_path(".idp/deploy.yaml").unwrap().is_some());
        assert!(tree.lookup_entry_by_path("src/main").unwrap().is_some());
    }
}
