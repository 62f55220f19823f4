//! A bare mirror of a remote repository in the cache: exactly what is followed, shallow. It holds nothing that a fetch cannot bring
//! back.

use std::num::NonZeroU32;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use gix::remote::fetch::{Shallow, Status, Tags};
use gix::remote::ref_map;
use gix::{ObjectId, Repository, ThreadSafeRepository};

use super::cache::delete;
use super::error::{Cause, GitError};
use super::history::HISTORY_LIMIT;
use super::network::Network;
use super::poll;
use super::refs::{self, Tip, Tips};
use super::remote::Remote;
use super::store::only_commits;
use super::tidy::{packs, tidy};
use super::transport::Known;
use crate::config::Follow;

/// Commits that the first fetch brings.
const FIRST_DEPTH: u32 = 32;
/// Looks by gix alone after the one in which a server surprised us: it may be of another kind, or have had a bad day.
const REST: u8 = 10;
/// Where pinned commits stand among the mirror's refs.
const PINNED: &str = "refs/idp/pinned/";
/// Packs after which they are put into one: each fetch leaves one.
const PACKS_LIMIT: usize = 50;
/// Packs after which that is done even if somebody waits.
const PACKS_MOST: usize = 100;
/// How many more there are before that is tried again, where it failed.
const PACKS_MORE: usize = 10;

/// A mirror of one remote repository.
#[derive(Debug)]
pub(super) struct Mirror {
    remote: Remote,
    folder: PathBuf,
    depth: u32,
    /// What was last fetched, as refspecs.
    specs: Vec<String>,
    short: ShortWay,
    /// Packs after which they are put into one.
    untidy: usize,
}

/// Whether a mirror should be put in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Order {
    /// No.
    Fine,
    /// Yes, while nobody waits for a look.
    Untidy,
    /// Yes, whoever waits.
    Overdue,
}

/// A ref and the commit that it names.
type Listed = (Vec<u8>, ObjectId);

/// Whether a server can be asked for its refs by one request.
#[derive(Debug, Clone, PartialEq, Eq)]
enum ShortWay {
    /// Not before gix listed refs by protocol v2, which tells that the server speaks it.
    Unknown,
    /// Yes; and this is what the server says of itself, which gix need not ask again.
    Open(Bytes),
    /// Not for so many looks.
    Resting(u8),
}

impl Mirror {
    /// Names a mirror; touches nothing yet.
    pub(super) fn new(remote: Remote, folder: PathBuf) -> Self {
        let (depth, short) = (FIRST_DEPTH, ShortWay::Unknown);
        Self { remote, folder, depth, specs: Vec::new(), short, untidy: PACKS_LIMIT }
    }

    /// Asks by one request where all that is followed points; by none where that cannot move. `None` where that way is not open or
    /// surprises: then [`Self::objects`] has to ask.
    pub(super) async fn tips(
        &mut self,
        follows: &[Follow],
        network: &mut Network,
    ) -> Result<Option<Tips>, GitError> {
        if follows.iter().all(|follow| matches!(follow, Follow::Commit(_))) {
            return refs::tips(follows, []).map(Some);
        }
        // Over SSH the long way is one session as well, and fetches nothing that is here.
        let Remote::Http { url, access } = &self.remote else { return Ok(None) };
        match self.short {
            ShortWay::Open(_) => {}
            ShortWay::Unknown => return Ok(None),
            ShortWay::Resting(looks) => {
                self.short = if looks > 1 { ShortWay::Resting(looks - 1) } else { ShortWay::Unknown };
                return Ok(None);
            }
        }
        network.authorize(url, access).await?;
        match poll::ask(url, follows, network).await {
            Ok(tips) => Ok(Some(tips)),
            Err(error) if error.is_surprise() => {
                self.surprised(&error);
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    fn surprised(&mut self, error: &GitError) {
        self.short = ShortWay::Resting(REST);
        tracing::debug!(error = error.sentence(), "asked again in full");
    }

    /// Fetches what is not here yet of `tips`, which [`Self::tips`] told, else of what the server lists now.
    pub(super) fn objects(
        &mut self,
        follows: &[Follow],
        tips: Option<Tips>,
        network: &mut Network,
    ) -> Result<(Repository, Tips), GitError> {
        let repo = self.repository()?;
        let tips = match tips {
            Some(tips) => match self.fetch_known(&repo, &tips, network) {
                Err(error @ (GitError::Fetch(_) | GitError::Status(_))) => {
                    self.surprised(&error);
                    self.fetch_listed(&repo, follows, network)?
                }
                fetched => fetched.map(|()| tips)?,
            },
            None => self.fetch_listed(&repo, follows, network)?,
        };
        self.fetch_pinned(&repo, &tips, follows, network)?;
        let tips = only_commits(&repo, tips, follows);
        Ok((repo, tips))
    }

    /// Doubles the history that is here; `false` at the limit.
    pub(super) fn deepen(&mut self, network: &mut Network) -> Result<bool, GitError> {
        let limit = u32::try_from(HISTORY_LIMIT).unwrap_or(u32::MAX);
        if self.depth >= limit || self.specs.is_empty() {
            return Ok(false);
        }
        self.depth = self.depth.saturating_mul(2).min(limit);
        let repo = self.repository()?;
        let specs = self.specs.clone();
        self.fetch(&repo, &specs, None, network, &|_| true)?;
        Ok(true)
    }

    /// Deletes the mirror; the next look makes it anew.
    pub(super) fn discard(&mut self) -> Result<(), GitError> {
        self.depth = FIRST_DEPTH;
        self.short = ShortWay::Unknown;
        delete(&self.folder).map_err(|error| GitError::cache(&self.folder, error))
    }

    /// Tells whether there are so many packs that they should be put into one.
    pub(super) fn order(&self) -> Order {
        match packs(&self.folder).len() {
            packs if packs <= self.untidy => Order::Fine,
            packs if packs <= PACKS_MOST => Order::Untidy,
            _ => Order::Overdue,
        }
    }

    /// Puts many packs into one. What fails there is no reason not to look: they are as good as before.
    pub(super) fn tidy(&mut self, interrupt: &AtomicBool) {
        let before = packs(&self.folder).len();
        self.untidy = PACKS_LIMIT;
        let tidied = self.repository().map_err(Cause::from).and_then(|repo| tidy(&repo, interrupt));
        if let Err(error) = tidied {
            self.untidy = before + PACKS_MORE;
            let folder = self.folder.display();
            if interrupt.load(Ordering::Acquire) {
                tracing::debug!(%folder, packs = before, "packs are put into one later");
            } else {
                tracing::warn!(%folder, packs = before, error, "packs could not be put into one");
            }
        }
    }

    fn repository(&mut self) -> Result<Repository, GitError> {
        // An object that inflates to more than this cannot be one that is read; the cap keeps a crafted pack from taking all memory.
        let options =
            gix::open::Options::isolated().config_overrides(["gitoxide.objects.allocLimit=268435456"]);
        match gix::open_opts(&self.folder, options.clone()) {
            Ok(repo) => return Ok(repo),
            // A fault of the machine says nothing about the mirror: it may be as good as ever.
            Err(error) if GitError::is_fault(&error) => return Err(GitError::cache(&self.folder, error)),
            Err(_) => self.discard()?,
        }
        let failed = |error: Cause| GitError::cache(&self.folder, error);
        std::fs::create_dir_all(&self.folder).map_err(|error| failed(error.into()))?;
        let (kind, create) = (gix::create::Kind::Bare, gix::create::Options::default());
        let made = ThreadSafeRepository::init_opts(&self.folder, kind, create, options);
        made.map(Repository::from).map_err(|error| failed(error.into()))
    }

    /// Fetches tips that are known, without asking for them again.
    fn fetch_known(&mut self, repo: &Repository, tips: &Tips, network: &mut Network) -> Result<(), GitError> {
        let there = tips.iter().filter_map(|(name, tip)| Some((name, tip.as_ref()?)));
        let refs: Vec<(String, &Tip)> =
            there.filter_map(|(name, tip)| Some((tip.full_name(name)?, tip))).collect();
        self.specs = refs.iter().map(|(name, _)| format!("+{name}:{name}")).collect();
        let ShortWay::Open(greeting) = &self.short else { return Ok(()) };
        if refs.iter().all(|(_, tip)| is_here(repo, tip.id)) {
            return Ok(());
        }
        let known = Known { greeting: greeting.clone(), refs: poll::listed(&refs).into() };
        let specs = self.specs.clone();
        self.fetch(repo, &specs, Some(known), network, &|_| true).map(drop)
    }

    /// Has gix ask for everything, and fetches what is not here.
    fn fetch_listed(
        &mut self,
        repo: &Repository,
        follows: &[Follow],
        network: &mut Network,
    ) -> Result<Tips, GitError> {
        // The tags are listed first: only the highest is fetched.
        let globs = follows.iter().filter_map(|follow| match follow {
            Follow::Tags(range) => Some(format!("+{0}{1}:{0}{1}", refs::TAGS, range.pattern())),
            Follow::Branch(_) | Follow::Commit(_) => None,
        });
        let globs: Vec<String> = globs.collect();
        let mut found = Tips::new();
        if !globs.is_empty() {
            let listed = self.fetch(repo, &globs, None, network, &|_| false)?;
            found = refs::tips(follows, listed.iter().map(|(name, id)| (name.as_slice(), *id)))?;
        }
        let spec = |follow: &Follow| match follow {
            Follow::Branch(name) => Some(format!("+{0}{name}:{0}{name}", refs::HEADS)),
            Follow::Tags(_) => {
                let name = found.get(&follow.to_string())?.as_ref()?.full_name("")?;
                Some(format!("+{name}:{name}"))
            }
            Follow::Commit(_) => None,
        };
        let specs: Vec<String> = follows.iter().filter_map(spec).collect();
        self.specs.clone_from(&specs);
        if specs.is_empty() {
            return refs::tips(follows, []);
        }
        let missing = |listed: &[Listed]| listed.iter().any(|(_, id)| !is_here(repo, *id));
        let listed = self.fetch(repo, &specs, None, network, &missing)?;
        refs::tips(follows, listed.iter().map(|(name, id)| (name.as_slice(), *id)))
    }

    /// Fetches pinned commits that are not here, by their ids. What is refused is not there afterwards.
    fn fetch_pinned(
        &mut self,
        repo: &Repository,
        tips: &Tips,
        follows: &[Follow],
        network: &mut Network,
    ) -> Result<(), GitError> {
        for follow in follows.iter().filter(|follow| matches!(follow, Follow::Commit(_))) {
            let Some(Some(Tip { id, .. })) = tips.get(&follow.to_string()) else { continue };
            // The second asks for no ref: without a prefix a server lists them all.
            let specs = [format!("+{id}:{PINNED}{id}"), format!("+{PINNED}none:{PINNED}none")];
            if !is_here(repo, *id) {
                match self.fetch(repo, &specs, None, network, &|_| true) {
                    // A server that speaks protocol v2 says "not our ref"; how, is not written down anywhere.
                    Err(GitError::Fetch(error)) => {
                        tracing::debug!(%error, commit = %id, "not fetched by its id");
                    }
                    fetched => {
                        fetched?;
                    }
                }
            }
            self.specs.retain(|spec| !specs.contains(spec));
            self.specs.extend(specs);
        }
        Ok(())
    }

    /// Fetches refspecs, if `wanted` of the refs that are listed; returns those, each with the commit that it names.
    fn fetch(
        &mut self,
        repo: &Repository,
        specs: &[String],
        known: Option<Known>,
        network: &mut Network,
        wanted: &dyn Fn(&[Listed]) -> bool,
    ) -> Result<Vec<Listed>, GitError> {
        let transport = self.remote.connect(known, network)?;
        let own = |error: gix::Error| GitError::Fetch(error.into());
        let remote = repo
            .remote_at(self.remote.address())
            .and_then(|remote| {
                remote.with_refspecs(specs.iter().map(String::as_str), gix::remote::Direction::Fetch)
            })
            .map_err(own)?
            .with_fetch_tags(Tags::None);
        let connection = remote.to_connection_with_transport(transport).with_credentials(|_| Ok(None));
        let asked = connection.prepare_fetch(gix::progress::Discard, ref_map::Options::default());
        let prepared = asked.map_err(|error| network.error(error))?;
        if self.short == ShortWay::Unknown && network.lists() {
            self.short = ShortWay::Open(network.greeting().into());
        }
        let pair = |reference: &gix::protocol::handshake::Ref| {
            let (name, id, peeled) = reference.unpack();
            Some((name.to_vec(), peeled.or(id)?.to_owned()))
        };
        let listed: Vec<_> = prepared.ref_map().remote_refs.iter().filter_map(pair).collect();
        let none = prepared.ref_map().mappings.is_empty();
        if none || !wanted(&listed) {
            return Ok(listed);
        }
        let depth = NonZeroU32::new(self.depth).unwrap_or(NonZeroU32::MIN);
        let received = prepared
            .with_shallow(Shallow::DepthAtRemote(depth))
            .receive(gix::progress::Discard, &network.interrupt)
            .map_err(|error| {
                if GitError::is_fault(&error) {
                    GitError::cache(&self.folder, error)
                } else {
                    network.error(error)
                }
            })?;
        if matches!(received.status, Status::Change { .. }) {
            network.fetches += 1;
        }
        Ok(listed)
    }
}

fn is_here(repo: &Repository, id: ObjectId) -> bool {
    repo.find_commit(id).is_ok()
}
