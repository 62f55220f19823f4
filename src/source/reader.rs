//! One look at a source from its repository to its report. First the one request that tells whether anything moved; if something did,
//! or that cannot be told so, the rest, which blocks: it runs on a thread of its own, never on the runtime's.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use gix::{ObjectId, Repository};

use super::branch::{Branch, Context};
use super::cache::{Cache, InUse};
use super::error::{Cause, GitError};
use super::find::Finder;
use super::look::{BranchLook, Memory};
use super::mirror::Order;
use super::network::{LOOK_DEADLINE, Network};
use super::poll::Word;
use super::refs::{Tip, Tips};
use super::report::{Compose, LookStats, SourceReport, Trigger};
use super::store::Store;
use super::tree::Budget;
use super::trust::Trust;
use crate::config::{Environment, Follow, Source};
use crate::model::name::EnvironmentName;

/// Something that is followed, and the environments that follow it.
#[derive(Debug)]
struct Tracked {
    follow: Follow,
    environments: Vec<EnvironmentName>,
    /// The tag that was last taken, with its commit.
    tag: Option<(String, ObjectId)>,
    state: Branch,
    error: Option<String>,
    /// The head that is not taken because of its signature.
    refused: Option<ObjectId>,
    /// The head as it was last seen, with the bytes of its commit; only where signatures are asked for.
    signed: Option<(ObjectId, Vec<u8>)>,
}

impl Tracked {
    fn new(follow: Follow) -> Box<Self> {
        let (environments, state) = (Vec::new(), Branch::default());
        Box::new(Self { follow, environments, tag: None, state, error: None, refused: None, signed: None })
    }

    /// Judges where it points now: a tag that is taken does not move, and nothing older is taken in its place.
    fn moves_to(&self, tip: Option<&Tip>) -> Result<ObjectId, GitError> {
        if let (Follow::Tags(range), Some((tag, id))) = (&self.follow, &self.tag) {
            let version = |tag: &str| range.version(tag);
            let now = tip.and_then(|tip| tip.tag.as_deref());
            if now.is_none_or(|now| version(now) < version(tag)) {
                let now = now.and_then(version).map(|version| version.to_string());
                return Err(GitError::TagGone { gone: tag.clone(), now });
            }
            if let Some(moved) = tip.filter(|tip| tip.tag.as_ref() == Some(tag) && tip.id != *id) {
                let cut = |id: &ObjectId| id.to_hex_with_len(10).to_string();
                return Err(GitError::TagMoved { tag: tag.clone(), from: cut(id), to: cut(&moved.id) });
            }
        }
        match (tip, &self.follow) {
            (Some(tip), _) => Ok(tip.id),
            (None, Follow::Branch(name)) => Err(GitError::NoBranch(name.clone())),
            (None, Follow::Tags(range)) => Err(GitError::NoTag(range.clone())),
            (None, Follow::Commit(id)) => Err(GitError::NoCommit(id.clone())),
        }
    }

    fn look<'a>(&'a self, name: &'a str) -> BranchLook<'a> {
        let tag = self.tag.as_ref().map(|(tag, _)| tag.as_str());
        BranchLook { name, tag, branch: &self.state, error: self.error.clone(), refused: self.refused }
    }

    /// Asks whether a head is signed by a trusted key now, and notes why it is not.
    fn judge(&mut self, trust: &Trust, keys: &Result<(), String>, head: ObjectId, raw: Vec<u8>) -> bool {
        let checked = keys
            .clone()
            .and_then(|()| trust.check(head, &raw, super::now()).map_err(|error| error.sentence()));
        self.signed = Some((head, raw));
        self.refused = checked.is_err().then_some(head);
        self.error = checked.err();
        self.error.is_none()
    }
}

/// Reads one source; remembers what it read.
pub(super) struct Reader {
    source: Arc<Source>,
    compose: Compose,
    finder: Finder,
    claimable: Vec<EnvironmentName>,
    /// By the name of what is followed. Boxed, as a map has room for eleven and most sources follow one thing.
    tracked: BTreeMap<String, Box<Tracked>>,
    trust: Option<Trust>,
    store: Store,
    cache: Cache,
    memory: Memory,
    /// The tips that the last look found, if it left nothing to be tried again.
    settled: Option<Settled>,
    /// Failures of a fetch in a row whose cause nobody named: the mirror may be damaged.
    unexplained: u32,
}

/// [`Tips`] without the room for more that a map has: every source keeps them.
type Settled = Box<[(String, Option<Tip>)]>;

/// Tells whether these tips are the settled ones.
fn is(settled: Option<&[(String, Option<Tip>)]>, tips: &Tips) -> bool {
    settled.is_some_and(|settled| settled.iter().map(|(name, tip)| (name, tip)).eq(tips))
}

/// What one request told: where all that is followed points now, or nothing where none tells.
pub(super) type Told = Result<Option<Tips>, GitError>;

/// A look's report and what the loop needs beside it.
pub(super) struct Looked {
    pub(super) report: SourceReport,
    /// A tracked branch moved.
    pub(super) moved: bool,
    /// What it says about the repository's host.
    pub(super) word: Word,
    /// Whether it left so much behind that [`Reader::tidy`] is due.
    pub(super) order: Order,
}

impl Reader {
    /// Prepares a reader; touches nothing yet. Fails where a glob does not compile, which the configuration checked.
    pub(super) fn new(
        source: Arc<Source>,
        environments: &[Environment],
        cache: &Cache,
        compose: Compose,
    ) -> Result<Self, Cause> {
        let claimed =
            environments.iter().filter(|environment| source.may_claim_environment(&environment.name));
        let own = source.follow.clone();
        let mut tracked = BTreeMap::from([(own.to_string(), Tracked::new(own))]);
        let mut claimable = Vec::new();
        for environment in claimed {
            let follow = environment.follow.as_ref().unwrap_or(&source.follow);
            let followed = tracked.entry(follow.to_string());
            let followed = followed.or_insert_with(|| Tracked::new(follow.clone()));
            followed.environments.push(environment.name.clone());
            claimable.push(environment.name.clone());
        }
        Ok(Self {
            finder: Finder::new(&source.paths)?,
            trust: source.signatures.as_ref().map(|signatures| Trust::new(&signatures.allowed)),
            store: Store::new(&source, cache),
            cache: cache.clone(),
            memory: Memory::default(),
            settled: None,
            unexplained: 0,
            source,
            compose,
            claimable,
            tracked,
        })
    }

    /// Asks where all that is followed points now, if one request tells.
    pub(super) async fn ask(&mut self, network: &mut Network) -> Told {
        let follows = self.follows();
        self.store.tips(&follows, network).await
    }

    /// Reports a look that found nothing new; `None` if it may have to be finished by [`Self::look`].
    pub(super) fn idle(&mut self, told: &Told, network: &Network, trigger: Trigger) -> Option<Looked> {
        // A key may have been taken away while nothing moved.
        let idle =
            matches!(told, Ok(Some(tips)) if is(self.settled.as_deref(), tips)) && self.trust.is_none();
        if !idle {
            return None;
        }
        self.unexplained = 0;
        let mut stats = LookStats::default();
        network.count_into(&mut stats);
        let report = self.memory.again((trigger, stats, super::now()))?;
        Some(Looked { report, moved: false, word: Word::of(None, network.spent()), order: Order::Fine })
    }

    /// Looks once, with what was told first. Whatever fails is in the report; the last good answers stay.
    pub(super) fn look(&mut self, told: Told, mut network: Network, trigger: Trigger) -> Looked {
        let before = self.heads();
        let mut stats = LookStats::default();
        let mut in_use = self.source.url.local().is_none().then(|| self.cache.begin(&self.source.name));
        let failed = told.and_then(|told| self.read(told, &mut network, &mut stats)).err();
        if network.fetches > 0 || failed.is_some() {
            in_use.iter_mut().for_each(InUse::changed);
        }
        network.count_into(&mut stats);
        let word = Word::of(failed.as_ref(), network.spent());
        let trouble = failed.map(|error| self.trouble(&error));
        drop(in_use);
        let report = self.report(trouble.as_deref(), trigger, stats);
        let order = if stats.fetches > 0 { self.store.order() } else { Order::Fine };
        Looked { report, moved: before != self.heads(), word, order }
    }

    /// Reports a look that came to no end.
    pub(super) fn failed(&mut self, trouble: &str, trigger: Trigger) -> Looked {
        let report = self.report(Some(trouble), trigger, LookStats::default());
        Looked { report, moved: false, word: Word::Nothing, order: Order::Fine }
    }

    /// Puts the mirror in order, which takes long: for when nobody waits for a report.
    pub(super) fn tidy(&mut self, interrupt: &AtomicBool) {
        let mut in_use = self.cache.begin(&self.source.name);
        self.store.tidy(interrupt);
        in_use.changed();
    }

    fn report(&mut self, trouble: Option<&str>, trigger: Trigger, stats: LookStats) -> SourceReport {
        if trouble.is_some() {
            // The next look that succeeds has to say so, though nothing moved.
            self.settled = None;
        }
        let looks: Vec<_> = self.tracked.iter().map(|(name, tracked)| tracked.look(name)).collect();
        self.memory.report(&self.source, &looks, trouble, (trigger, stats, super::now()))
    }

    fn heads(&self) -> BTreeMap<String, Option<ObjectId>> {
        self.tracked.iter().map(|(name, tracked)| (name.clone(), tracked.state.head)).collect()
    }

    fn follows(&self) -> Vec<Follow> {
        self.tracked.values().map(|tracked| tracked.follow.clone()).collect()
    }

    fn read(
        &mut self,
        told: Option<Tips>,
        network: &mut Network,
        stats: &mut LookStats,
    ) -> Result<(), GitError> {
        let settled = self.settled.take();
        if told.as_ref().is_some_and(|tips| is(settled.as_deref(), tips)) {
            self.unexplained = 0;
            self.trust_again();
            self.settled = settled;
            return Ok(());
        }
        let (mut repo, tips) = self.store.objects(&self.follows(), told, network)?;
        repo.object_cache_size_if_unset(4 << 20);
        let keys = self.refresh_keys();
        let mut budget = Budget::new(LOOK_DEADLINE, network.interrupt.clone());
        let mut failed = None;
        for (name, tip) in &tips {
            let head = tip.as_ref().map(|tip| tip.id);
            let advanced = match self.trusted(&repo, (name, head), &keys) {
                Ok(true) => self.advance(&repo, (name, tip.as_ref()), network, &mut budget, stats),
                Ok(false) => Ok(()),
                Err(error) => Err(error),
            };
            failed = advanced.err();
            if failed.is_some() {
                break;
            }
        }
        stats.entries = budget.entries();
        failed.map_or(Ok(()), Err)?;
        self.unexplained = 0;
        let read = |(name, tip): (&String, &Option<Tip>)| {
            let head = tip.as_ref().map(|tip| tip.id);
            head.is_none() || self.tracked.get(name).is_some_and(|tracked| tracked.state.head == head)
        };
        self.settled = tips.iter().all(read).then(|| tips.into_iter().collect());
        Ok(())
    }

    /// Reads the keys that are trusted now; the error is the sentence for every branch.
    fn refresh_keys(&mut self) -> Result<(), String> {
        self.trust.as_mut().map_or(Ok(()), Trust::refresh).map_err(|error| error.sentence())
    }

    /// Tells whether a branch may move to a head, or stand there.
    fn trusted(
        &mut self,
        repo: &Repository,
        (branch, head): (&String, Option<ObjectId>),
        keys: &Result<(), String>,
    ) -> Result<bool, GitError> {
        let (Some(trust), Some(tracked)) = (&self.trust, self.tracked.get_mut(branch)) else {
            return Ok(true);
        };
        let Some(head) = head else { return Ok(true) };
        match Trust::read(repo, head) {
            Ok(raw) => Ok(tracked.judge(trust, keys, head, raw)),
            Err(error @ GitError::TooLarge { .. }) => {
                tracked.refused = Some(head);
                tracked.error = Some(error.sentence());
                Ok(false)
            }
            Err(error) => Err(error),
        }
    }

    /// Asks anew about the heads that are taken already: a key can expire or be taken away while no branch moves.
    fn trust_again(&mut self) {
        let keys = self.refresh_keys();
        let Some(trust) = &self.trust else { return };
        for tracked in self.tracked.values_mut() {
            if let Some((head, raw)) = tracked.signed.take() {
                tracked.judge(trust, &keys, head, raw);
            }
        }
    }

    fn advance(
        &mut self,
        repo: &Repository,
        (name, tip): (&String, Option<&Tip>),
        network: &mut Network,
        budget: &mut Budget,
        stats: &mut LookStats,
    ) -> Result<(), GitError> {
        let Some(tracked) = self.tracked.get_mut(name) else { return Ok(()) };
        let head = match tracked.moves_to(tip) {
            Ok(head) => head,
            Err(error) => {
                (tracked.refused, tracked.signed) = (None, None);
                tracked.error = Some(error.sentence());
                return Ok(());
            }
        };
        let context = Context {
            source: &self.source,
            finder: &self.finder,
            compose: &self.compose,
            environments: &tracked.environments,
            claimable: &self.claimable,
        };
        let store = &mut self.store;
        let mut deepen = || store.deepen(network);
        tracked.error = None;
        match tracked.state.advance(&context, repo, head, &mut deepen, budget) {
            Ok(rendered) => {
                stats.rendered += rendered;
                tracked.tag = tip.and_then(|tip| Some((tip.tag.clone()?, tip.id)));
            }
            Err(error @ (GitError::TooLarge { .. } | GitError::NotPlain { .. })) => {
                tracked.error = Some(error.sentence());
            }
            Err(error) => return Err(error),
        }
        Ok(())
    }

    /// Says what is wrong, and drops what is open where that may be the damage.
    fn trouble(&mut self, error: &GitError) -> String {
        self.unexplained = if matches!(error, GitError::Fetch(_)) { self.unexplained + 1 } else { 0 };
        let mut text = error.sentence();
        if matches!(error, GitError::Corrupt(_)) || self.unexplained >= 3 {
            self.unexplained = 0;
            text.push_str("; it is read anew at the next look");
            if let Err(error) = self.store.discard() {
                text.push_str(": ");
                text.push_str(&error.sentence());
            }
        }
        text
    }
}
