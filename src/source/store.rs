//! Where the objects of a source are: a local repository is read where it is, a remote one through a bare mirror in the cache. A
//! mirror can be deleted at any time; one that is damaged is made anew.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use gix::{ObjectId, Repository};

use super::error::GitError;
use super::mirror::Mirror;
use super::network::Network;
use crate::config::{RepoUrl, Source};

/// The heads of the tracked branches; `None`: there is no such branch.
pub(super) type BranchHeads = BTreeMap<String, Option<ObjectId>>;

/// The objects of a source.
#[derive(Debug)]
pub(super) enum Store {
    /// A repository on this machine.
    Local(PathBuf),
    /// A mirror of one elsewhere.
    Remote(Box<Mirror>),
}

impl Store {
    /// Names the store of a source; touches nothing yet.
    pub(super) fn new(source: &Source, cache_dir: &Path) -> Self {
        match &source.url {
            RepoUrl::Local(path) => Self::Local(path.clone()),
            RepoUrl::Http(url) => {
                let folder = cache_dir.join("git").join(source.name.as_str());
                Self::Remote(Box::new(Mirror::new(url.clone(), source.credentials.clone(), folder)))
            }
        }
    }

    /// Tells whether branches surely still have these heads, where that is cheaper than [`Self::update`].
    pub(super) fn unmoved(&mut self, heads: &BranchHeads, network: &mut Network) -> Result<bool, GitError> {
        match self {
            Self::Local(_) => Ok(false),
            Self::Remote(mirror) => mirror.unmoved(heads, network),
        }
    }

    /// Returns the heads of branches, their objects at hand.
    pub(super) fn update(
        &mut self,
        branches: &[String],
        network: &mut Network,
    ) -> Result<(Repository, BranchHeads), GitError> {
        match self {
            Self::Local(path) => {
                let repo = open(path)?;
                let heads = heads(&repo, branches)?;
                Ok((repo, heads))
            }
            Self::Remote(mirror) => mirror.update(branches, network),
        }
    }

    /// Fetches more history; `false` if there is no more to be had.
    pub(super) fn deepen(&mut self, branches: &[String], network: &mut Network) -> Result<bool, GitError> {
        match self {
            Self::Local(_) => Ok(false),
            Self::Remote(mirror) => mirror.deepen(branches, network),
        }
    }

    /// Deletes a mirror: the next look makes it anew. A local repository is nobody's to delete.
    pub(super) fn discard(&mut self) -> Result<(), GitError> {
        match self {
            Self::Local(_) => Ok(()),
            Self::Remote(mirror) => mirror.discard(),
        }
    }
}

/// Opens a repository, without any configuration but its own.
fn open(path: &Path) -> Result<Repository, GitError> {
    if !path.exists() {
        return Err(GitError::NotFound);
    }
    gix::open_opts(path, gix::open::Options::isolated()).map_err(GitError::corrupt)
}

/// Reads the heads of branches.
fn heads(repo: &Repository, branches: &[String]) -> Result<BranchHeads, GitError> {
    let mut heads = BranchHeads::new();
    for branch in branches {
        let name = format!("refs/heads/{branch}");
        let mut reference = repo.try_find_reference(name.as_str()).map_err(GitError::corrupt)?;
        let id = reference.as_mut().map(gix::Reference::peel_to_id).transpose();
        heads.insert(branch.clone(), id.map_err(GitError::corrupt)?.map(gix::Id::detach));
    }
    Ok(heads)
}
