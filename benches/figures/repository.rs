//! A bare repository on disk with one branch, `main`, written with the library that the daemon reads it with.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::Result;
use gix::objs::Tree;
use gix::objs::tree::{Entry, EntryKind};

/// See the module.
pub struct Repository {
    path: PathBuf,
    files: BTreeMap<String, String>,
    head: Option<gix::ObjectId>,
}

impl Repository {
    /// Makes an empty one.
    pub fn create(path: &Path) -> Result<Self> {
        gix::init_bare(path)?;
        Ok(Self { path: path.to_owned(), files: BTreeMap::new(), head: None })
    }

    /// Returns where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Writes files over those of the last commit, and a commit of them; returns its id. No branch shows it before [`Self::merge`].
    pub fn write(&mut self, message: &str, files: &[(&str, &str)]) -> Result<String> {
        self.files.extend(files.iter().map(|(path, text)| ((*path).to_owned(), (*text).to_owned())));
        let repository = gix::open(&self.path)?;
        let all = self.files.iter().map(|(path, text)| (path.as_str(), text.as_str()));
        let tree = tree(&repository, &all.collect())?;
        let author = gix::actor::Signature {
            name: "Ada".into(),
            email: "ada@example.com".into(),
            time: gix::date::Time { seconds: 1_767_225_600, offset: 0 },
        };
        let mut buffer = gix::date::parse::TimeBuf::default();
        let author = author.to_ref(&mut buffer);
        let commit = repository.new_commit_as(author, author, message, tree, self.head)?.id;
        self.head = Some(commit);
        Ok(commit.to_string())
    }

    /// Moves `main` to the last written commit, as Git does it in the end: by a rename. Nothing follows it, so that whoever watches
    /// the branch cannot be ahead of the caller.
    pub fn merge(&self) -> Result<()> {
        let Some(head) = self.head else { return Ok(()) };
        let new = self.path.join("main.new");
        std::fs::write(&new, format!("{head}\n"))?;
        Ok(std::fs::rename(new, self.path.join("refs/heads/main"))?)
    }
}

/// Writes the tree of files, each folder one of its own.
fn tree(repository: &gix::Repository, files: &BTreeMap<&str, &str>) -> Result<gix::ObjectId> {
    let (mut entries, mut folders) = (Vec::new(), BTreeMap::<&str, BTreeMap<&str, &str>>::new());
    for (path, text) in files {
        if let Some((folder, rest)) = path.split_once('/') {
            folders.entry(folder).or_default().insert(rest, text);
            continue;
        }
        let oid = repository.write_blob(text)?.detach();
        entries.push(Entry { mode: EntryKind::Blob.into(), filename: (*path).into(), oid });
    }
    for (folder, files) in folders {
        let oid = tree(repository, &files)?;
        entries.push(Entry { mode: EntryKind::Tree.into(), filename: folder.into(), oid });
    }
    entries.sort();
    Ok(repository.write_object(&Tree { entries })?.detach())
}

/// Opens a repository and reads the id that `main` has: what is the least that anybody who looks must do.
pub fn read_head(path: &Path) -> Result<gix::ObjectId> {
    Ok(gix::open(path)?.find_reference("refs/heads/main")?.into_fully_peeled_id()?.detach())
}
