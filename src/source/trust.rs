//! Reads the keys that a source trusts from their files, and asks whether a commit is signed by one of them. The files are read at
//! each look, so that a key that is taken out counts at once; a file that cannot be read trusts nobody.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use gix::{ObjectId, Repository};
use jiff::Timestamp;

use super::error::GitError;
use super::signature::{Allowed, COMMIT_LIMIT};

/// Largest file of keys that is read, in bytes.
const FILE_LIMIT: u64 = 1 << 20;

/// The keys of a source.
#[derive(Debug)]
pub(super) struct Trust {
    files: Vec<PathBuf>,
    texts: Vec<String>,
    keys: Allowed,
}

impl Trust {
    /// Names the files; reads nothing yet.
    pub(super) fn new(files: &[PathBuf]) -> Self {
        Self { files: files.to_vec(), texts: Vec::new(), keys: Allowed::default() }
    }

    /// Reads the files; parses them where they changed.
    pub(super) fn refresh(&mut self) -> Result<(), GitError> {
        let texts = self.files.iter().map(|file| read(file)).collect::<Result<Vec<_>, _>>();
        let texts = texts.inspect_err(|_| self.texts.clear())?;
        if texts == self.texts {
            return Ok(());
        }
        self.texts.clear();
        let mut keys = Allowed::default();
        for (file, text) in self.files.iter().zip(&texts) {
            keys.add(text).map_err(|error| keys_error(file, error))?;
        }
        self.keys = keys;
        self.texts = texts;
        Ok(())
    }

    /// Returns the bytes of a commit.
    pub(super) fn read(repo: &Repository, id: ObjectId) -> Result<Vec<u8>, GitError> {
        let header = repo.find_header(id).map_err(GitError::corrupt)?;
        if header.size() > COMMIT_LIMIT {
            return Err(GitError::TooLarge {
                what: format!("commit {}", id.to_hex_with_len(10)),
                size: format!("{} bytes", header.size()),
                limit: "1 MiB".to_owned(),
            });
        }
        Ok(repo.find_commit(id).map_err(GitError::corrupt)?.detach().data)
    }

    /// Checks a commit against the keys of the last [`Trust::refresh`].
    pub(super) fn check(&self, id: ObjectId, raw: &[u8], now: Timestamp) -> Result<(), GitError> {
        self.keys.check(raw, now).map_err(|refusal| GitError::Untrusted {
            commit: id.to_hex_with_len(10).to_string(),
            reason: refusal.to_string(),
        })
    }
}

fn read(path: &Path) -> Result<String, GitError> {
    let mut text = String::new();
    let file = File::open(path).map_err(|error| keys_error(path, error))?;
    file.take(FILE_LIMIT + 1).read_to_string(&mut text).map_err(|error| keys_error(path, error))?;
    if text.len() as u64 > FILE_LIMIT {
        return Err(keys_error(path, "it has more than 1 MiB"));
    }
    Ok(text)
}

fn keys_error(path: &Path, cause: impl Into<super::Cause>) -> GitError {
    GitError::Keys { file: path.to_owned(), cause: cause.into() }
}
