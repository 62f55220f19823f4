//! Where the objects of a source are: a local repository is read where it is, a remote one through a bare mirror in the cache. A
//! mirror can be deleted at any time; one that is damaged is made anew.

use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use gix::bstr::ByteSlice;
use gix::{ObjectId, Repository};

use super::cache::Cache;
use super::error::GitError;
use super::mirror::{Mirror, Order};
use super::network::Network;
use super::refs::{HEADS, TAGS, Tip, Tips, highest};
use super::remote::Remote;
use super::tree::BLOB_LIMIT;
use crate::config::{Follow, RepoUrl, Source};

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
    pub(super) fn new(source: &Source, cache: &Cache) -> Self {
        match (&source.url, Remote::of(source)) {
            (_, Some(remote)) => {
                let folder = cache.folder(&source.name);
                Self::Remote(Box::new(Mirror::new(remote, folder)))
            }
            (RepoUrl::Local(path), None) => Self::Local(path.clone()),
            // An address that the configuration does not let through is a folder that is not there.
            (url, None) => Self::Local(PathBuf::from(url.to_string())),
        }
    }

    /// Returns the tips of what is followed where they can be had by one request, to be held against those of the last look; `None`
    /// where [`Self::objects`] finds them as cheaply.
    pub(super) async fn tips(
        &mut self,
        follows: &[Follow],
        network: &mut Network,
    ) -> Result<Option<Tips>, GitError> {
        match self {
            Self::Local(_) => Ok(None),
            Self::Remote(mirror) => mirror.tips(follows, network).await,
        }
    }

    /// Returns the tips of what is followed, their objects at hand; `tips` are those of [`Self::tips`].
    pub(super) fn objects(
        &mut self,
        follows: &[Follow],
        told: Option<Tips>,
        network: &mut Network,
    ) -> Result<(Repository, Tips), GitError> {
        match self {
            Self::Local(path) => {
                let repo = open(path)?;
                let tips = tips(&repo, follows)?;
                Ok((repo, tips))
            }
            Self::Remote(mirror) => mirror.objects(follows, told, network),
        }
    }

    /// Fetches more history of what was last fetched; `false` if there is no more to be had.
    pub(super) fn deepen(&mut self, network: &mut Network) -> Result<bool, GitError> {
        match self {
            Self::Local(_) => Ok(false),
            Self::Remote(mirror) => mirror.deepen(network),
        }
    }

    /// Tells whether a mirror should be put in order.
    pub(super) fn order(&self) -> Order {
        match self {
            Self::Local(_) => Order::Fine,
            Self::Remote(mirror) => mirror.order(),
        }
    }

    /// Puts a mirror in order.
    pub(super) fn tidy(&mut self, interrupt: &AtomicBool) {
        if let Self::Remote(mirror) = self {
            mirror.tidy(interrupt);
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

/// Refs and tags that lead to one another.
const PEELS: usize = 10;

/// Opens a repository, without any configuration but its own.
fn open(path: &Path) -> Result<Repository, GitError> {
    if !path.exists() {
        return Err(GitError::NotFound);
    }
    gix::open_opts(path, gix::open::Options::isolated()).map_err(GitError::corrupt)
}

/// Reads the tips of what is followed. Of tags only the highest is opened.
fn tips(repo: &Repository, follows: &[Follow]) -> Result<Tips, GitError> {
    let mut tips = Tips::new();
    for follow in follows {
        let tip = match follow {
            Follow::Branch(branch) => {
                peeled(repo, &format!("{HEADS}{branch}"))?.map(|id| Tip { id, tag: None })
            }
            Follow::Tags(range) => {
                let prefix = format!("{TAGS}{}", range.prefix());
                let refs = repo.references().map_err(GitError::corrupt)?;
                let refs = refs.prefixed(prefix.as_str()).map_err(GitError::corrupt)?;
                // One that cannot be read is not the highest.
                let names: Vec<String> = refs
                    .filter_map(|tag| Some(tag.ok()?.name().as_bstr().to_str().ok()?.to_owned()))
                    .collect();
                let names = names.iter().filter_map(|name| name.strip_prefix(TAGS));
                match highest(range, names)? {
                    Some(tag) => {
                        peeled(repo, &format!("{TAGS}{tag}"))?.map(|id| Tip { id, tag: Some(tag.to_owned()) })
                    }
                    None => None,
                }
            }
            Follow::Commit(id) => {
                let id = ObjectId::from_hex(id.as_str().as_bytes()).map_err(GitError::corrupt)?;
                Some(Tip { id, tag: None })
            }
        };
        tips.insert(follow.to_string(), tip);
    }
    Ok(only_commits(repo, tips, follows))
}

/// Takes away what names no commit that is here: a tag can name anything, and a pinned commit can be missing. A branch that does is
/// damaged, which reading it will tell.
pub(super) fn only_commits(repo: &Repository, mut tips: Tips, follows: &[Follow]) -> Tips {
    for follow in follows.iter().filter(|follow| follow.branch().is_none()) {
        if let Some(tip) = tips.get_mut(&follow.to_string()) {
            tip.take_if(|tip| repo.find_commit(tip.id).is_err());
        }
    }
    tips
}

/// Follows a ref to the object that it names in the end. Who can write into a repository's files can make circles of refs and of tags.
fn peeled(repo: &Repository, name: &str) -> Result<Option<ObjectId>, GitError> {
    let far = || GitError::corrupt(format!("{name} does not lead to a commit in {PEELS} steps"));
    let Some(mut reference) = repo.try_find_reference(name).map_err(GitError::corrupt)? else {
        return Ok(None);
    };
    for _ in 0..PEELS {
        let Some(next) = reference.follow() else { break };
        reference = next.map_err(GitError::corrupt)?;
    }
    let mut id = reference.try_id().ok_or_else(far)?.detach();
    for _ in 0..PEELS {
        let header = repo.find_header(id).map_err(GitError::corrupt)?;
        if header.kind() != gix::objs::Kind::Tag {
            return Ok(Some(id));
        }
        if header.size() > BLOB_LIMIT {
            break;
        }
        id = repo.find_tag(id).and_then(|tag| Ok(tag.target_id()?.detach())).map_err(GitError::corrupt)?;
    }
    Err(far())
}
