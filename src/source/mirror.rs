//! A bare mirror of a remote repository in the cache: exactly the tracked branches, no tags, shallow. It holds nothing that a fetch
//! cannot bring back.

use std::num::NonZeroU32;
use std::path::PathBuf;

use gix::bstr::ByteSlice;
use gix::protocol::transport::Protocol;
use gix::protocol::transport::client::blocking_io::http::Transport;
use gix::remote::fetch::{Shallow, Status, Tags};
use gix::remote::ref_map;
use gix::{ObjectId, Repository, ThreadSafeRepository};
use url::Url;

use super::error::GitError;
use super::history::HISTORY_LIMIT;
use super::network::Network;
use super::poll;
use super::store::BranchHeads;
use super::transport::Client;
use crate::config::Credentials;

/// Commits that the first fetch brings.
const FIRST_DEPTH: u32 = 32;
/// Looks by gix alone after the one in which a server surprised us: it may be of another kind, or have had a bad day.
const REST: u8 = 10;
/// Packs after which a mirror is made anew: each fetch leaves one.
const PACKS_LIMIT: usize = 50;

/// A mirror of one remote repository.
#[derive(Debug)]
pub(super) struct Mirror {
    url: Url,
    credentials: Option<Credentials>,
    folder: PathBuf,
    depth: u32,
    short: ShortWay,
}

/// Whether a server can be asked for its heads by one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ShortWay {
    /// Not before gix listed refs by protocol v2, which tells that the server speaks it.
    Unknown,
    Open,
    /// Not for so many looks.
    Resting(u8),
}

impl Mirror {
    /// Names a mirror; touches nothing yet.
    pub(super) fn new(url: Url, credentials: Option<Credentials>, folder: PathBuf) -> Self {
        Self { url, credentials, folder, depth: FIRST_DEPTH, short: ShortWay::Unknown }
    }

    /// Tells by one request whether the branches still have these heads; `false` also where that way is not open or surprises:
    /// then [`Self::update`] has to look.
    pub(super) fn unmoved(&mut self, heads: &BranchHeads, network: &mut Network) -> Result<bool, GitError> {
        match self.short {
            ShortWay::Open => {}
            ShortWay::Unknown => return Ok(false),
            ShortWay::Resting(looks) => {
                self.short = if looks > 1 { ShortWay::Resting(looks - 1) } else { ShortWay::Unknown };
                return Ok(false);
            }
        }
        network.authorize(self.credentials.as_ref())?;
        match poll::ask(&self.url, heads, network) {
            Ok(now) => Ok(now == *heads),
            Err(error) if error.is_surprise() => {
                self.short = ShortWay::Resting(REST);
                tracing::debug!(error = error.sentence(), "asked again in full");
                Ok(false)
            }
            Err(error) => Err(error),
        }
    }

    /// Asks for the branches' heads and fetches what is not here yet.
    pub(super) fn update(
        &mut self,
        branches: &[String],
        network: &mut Network,
    ) -> Result<(Repository, BranchHeads), GitError> {
        if self.packs() > PACKS_LIMIT {
            self.discard()?;
        }
        let repo = self.repository()?;
        let heads = self.fetch(&repo, branches, network, false)?;
        Ok((repo, heads))
    }

    /// Doubles the history that is here; `false` at the limit.
    pub(super) fn deepen(&mut self, branches: &[String], network: &mut Network) -> Result<bool, GitError> {
        let limit = u32::try_from(HISTORY_LIMIT).unwrap_or(u32::MAX);
        if self.depth >= limit {
            return Ok(false);
        }
        self.depth = self.depth.saturating_mul(2).min(limit);
        let repo = self.repository()?;
        self.fetch(&repo, branches, network, true)?;
        Ok(true)
    }

    /// Deletes the mirror; the next look makes it anew.
    pub(super) fn discard(&mut self) -> Result<(), GitError> {
        self.depth = FIRST_DEPTH;
        self.short = ShortWay::Unknown;
        match std::fs::remove_dir_all(&self.folder) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(GitError::Cache(error.into())),
            _ => Ok(()),
        }
    }

    fn packs(&self) -> usize {
        let packs = std::fs::read_dir(self.folder.join("objects/pack")).into_iter().flatten().flatten();
        packs.filter(|file| file.path().extension().is_some_and(|extension| extension == "pack")).count()
    }

    fn repository(&mut self) -> Result<Repository, GitError> {
        // An object that inflates to more than this cannot be one that is read; the cap keeps a crafted pack from taking all memory.
        let options =
            gix::open::Options::isolated().config_overrides(["gitoxide.objects.allocLimit=268435456"]);
        if let Ok(repo) = gix::open_opts(&self.folder, options.clone()) {
            return Ok(repo);
        }
        self.discard()?;
        std::fs::create_dir_all(&self.folder).map_err(|error| GitError::Cache(error.into()))?;
        let (kind, create) = (gix::create::Kind::Bare, gix::create::Options::default());
        let made = ThreadSafeRepository::init_opts(&self.folder, kind, create, options);
        made.map(Repository::from).map_err(|error| GitError::Cache(error.into()))
    }

    fn fetch(
        &mut self,
        repo: &Repository,
        branches: &[String],
        network: &mut Network,
        always: bool,
    ) -> Result<BranchHeads, GitError> {
        network.authorize(self.credentials.as_ref())?;
        let own = |error: gix::Error| GitError::Fetch(error.into());
        let specs = branches.iter().map(|branch| format!("+refs/heads/{branch}:refs/heads/{branch}"));
        let specs: Vec<String> = specs.collect();
        let remote = repo
            .remote_at(self.url.as_str())
            .and_then(|remote| {
                remote.with_refspecs(specs.iter().map(String::as_str), gix::remote::Direction::Fetch)
            })
            .map_err(own)?
            .with_fetch_tags(Tags::None);
        let url = gix::url::parse(self.url.as_str()).map_err(own)?;
        let transport = Transport::new_http(Client(network.clone()), url, Protocol::V2, false);
        let connection = remote.to_connection_with_transport(transport).with_credentials(|_| Ok(None));
        let asked = connection.prepare_fetch(gix::progress::Discard, ref_map::Options::default());
        let prepared = asked.map_err(|error| network.error(error))?;
        if self.short == ShortWay::Unknown && network.lists() {
            self.short = ShortWay::Open;
        }
        let heads = listed(branches, &prepared.ref_map().remote_refs);
        let here = |id: &ObjectId| repo.find_commit(*id).is_ok();
        if heads.values().all(Option::is_none) || (!always && heads.values().flatten().all(here)) {
            return Ok(heads);
        }
        let depth = NonZeroU32::new(self.depth).unwrap_or(NonZeroU32::MIN);
        let received = prepared
            .with_shallow(Shallow::DepthAtRemote(depth))
            .receive(gix::progress::Discard, &network.interrupt)
            .map_err(|error| network.error(error))?;
        if matches!(received.status, Status::Change { .. }) {
            network.fetches += 1;
        }
        Ok(heads)
    }
}

/// Picks the tracked branches out of what the server listed.
fn listed(branches: &[String], refs: &[gix::protocol::handshake::Ref]) -> BranchHeads {
    let mut heads: BranchHeads = branches.iter().map(|branch| (branch.clone(), None)).collect();
    for reference in refs {
        let (name, id, peeled) = reference.unpack();
        let name = name.to_str().ok().and_then(|name| name.strip_prefix("refs/heads/"));
        if let Some(head) = name.and_then(|name| heads.get_mut(name)) {
            *head = peeled.or(id).map(gix::oid::to_owned);
        }
    }
    heads
}
