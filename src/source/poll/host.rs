//! How hard one host is asked, over all sources on it: few looks at one time, and none while it wants to be left alone.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, sleep_until};

use super::budget::{Budget, DEFAULT};
use crate::config::RepoUrl;
use crate::model::duration::doubled;
use crate::source::error::GitError;

/// Looks at one host at one time.
const PLACES: usize = 4;
/// How long a host is left alone that does not say how long: at first, and the longest that the doublings come to.
const QUIET: (Duration, Duration) = (Duration::from_secs(2), Duration::from_mins(5));
/// The shortest and the longest that a host is left alone for its asking.
const ASKED: (Duration, Duration) = (Duration::from_secs(1), Duration::from_hours(1));

/// What a look says about its host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::source) enum Word {
    /// It answered.
    Answered,
    /// It answered, and that was the last time that it does before so long.
    Spent(Duration),
    /// It wants to be left alone, for as long as it says.
    LeaveAlone(Option<Duration>),
    /// It did not answer, or not in time.
    Silent,
    /// The look ended before it was asked.
    Nothing,
}

impl Word {
    /// Reads it from how a look ended, and from what the server said of how much it may still be asked.
    pub(in crate::source) fn of(failed: Option<&GitError>, spent: Option<Duration>) -> Self {
        match failed {
            Some(GitError::Throttled { after, .. }) => Self::LeaveAlone(*after),
            Some(GitError::Unreachable(_) | GitError::TimedOut(_)) => Self::Silent,
            Some(GitError::Stopped | GitError::Secret(_) | GitError::Auth(_) | GitError::Cache { .. }) => {
                Self::Nothing
            }
            _ => spent.map_or(Self::Answered, Self::Spent),
        }
    }
}

/// Whether a look may begin.
#[derive(Debug, PartialEq, Eq)]
enum Entry {
    Now,
    /// Not before this.
    At(Instant),
    /// When another one ended.
    Later,
}

/// What is known of a host.
#[derive(Debug)]
struct State {
    running: usize,
    budget: Budget,
    /// Until when it is left alone.
    until: Option<Instant>,
    /// How often in a row it wanted that.
    refusals: u32,
    /// It did not answer when it was last asked.
    silent: bool,
}

impl State {
    fn new(per_minute: u32) -> Self {
        Self { running: 0, budget: Budget::new(per_minute), until: None, refusals: 0, silent: false }
    }

    /// Returns why no look may begin now, and for how long.
    fn pause(&mut self, now: Instant) -> Option<(Duration, PauseWhy)> {
        let asked = self.until.and_then(|until| until.checked_duration_since(now)).unwrap_or_default();
        if !asked.is_zero() {
            return Some((asked, PauseWhy::Asked));
        }
        self.budget.wait(now).map(|wait| (wait, PauseWhy::Budget))
    }

    /// Lets a look begin. After a pause one goes first: the host may not be done with us. One that does not answer keeps one look
    /// waiting, not many: they are bounded over all hosts.
    fn enter(&mut self, now: Instant) -> Entry {
        if let Some(until) = self.until.filter(|until| now < *until) {
            return Entry::At(until);
        }
        if let Some(wait) = self.budget.wait(now) {
            return Entry::At(now + wait);
        }
        let places = if self.refusals > 0 || self.silent { 1 } else { PLACES };
        if self.running >= places {
            return Entry::Later;
        }
        self.running += 1;
        // What more it needs is known at its end.
        self.budget.spend(1);
        Entry::Now
    }

    /// Ends a look; returns how long the host is left alone if that begins now.
    fn leave(&mut self, word: Word, now: Instant) -> Option<Duration> {
        self.running = self.running.saturating_sub(1);
        let paused = self.until.is_some_and(|until| now < until);
        match word {
            Word::LeaveAlone(after) => {
                let (first, longest) = QUIET;
                let grown = doubled(first, self.refusals, longest);
                let wait = after.map_or(grown, |after| after.clamp(ASKED.0, ASKED.1));
                self.until = self.until.max(Some(now + wait));
                if paused {
                    // It began before the pause: the same refusal, told twice.
                    return None;
                }
                self.refusals = self.refusals.saturating_add(1);
                Some(wait)
            }
            // Nothing was refused: all may go on at once when it is over.
            Word::Spent(left) => {
                (self.refusals, self.silent) = if paused { (self.refusals, self.silent) } else { (0, false) };
                self.until = self.until.max(Some(now + left.clamp(ASKED.0, ASKED.1)));
                None
            }
            // An answer to a look that began before the pause says nothing about its end.
            Word::Answered if !paused => {
                (self.refusals, self.silent) = (0, false);
                None
            }
            Word::Silent => {
                self.silent = true;
                None
            }
            Word::Answered | Word::Nothing => None,
        }
    }
}

/// One host.
#[derive(Debug)]
pub(in crate::source) struct Host {
    name: String,
    /// In the order of asking.
    places: Arc<Semaphore>,
    state: Mutex<State>,
    left: Notify,
}

impl Host {
    fn new(name: String, per_minute: u32) -> Self {
        let places = Arc::new(Semaphore::new(PLACES));
        let state = Mutex::new(State::new(per_minute));
        Self { name, places, state, left: Notify::new() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until a look may begin.
    pub(in crate::source) async fn enter(self: &Arc<Self>) -> Place {
        // Never closed.
        let permit = self.places.clone().acquire_owned().await.ok();
        loop {
            let left = self.left.notified();
            let entry = self.state().enter(Instant::now());
            match entry {
                Entry::Now => {
                    return Place { host: self.clone(), word: Word::Nothing, requests: 0, _permit: permit };
                }
                Entry::At(until) => sleep_until(until).await,
                Entry::Later => left.await,
            }
        }
    }
}

/// That a host is not asked now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pause {
    /// Its name and port.
    pub host: String,
    /// For how long from now.
    pub left: Duration,
    /// Why.
    pub why: PauseWhy,
}

/// Why a host is not asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PauseWhy {
    /// It wants to be left alone.
    Asked,
    /// It had the requests of a minute that the configuration grants it.
    Budget,
}

/// A look's place at a host, until it is dropped.
#[derive(Debug)]
pub(in crate::source) struct Place {
    host: Arc<Host>,
    word: Word,
    requests: u64,
    _permit: Option<OwnedSemaphorePermit>,
}

impl Place {
    /// Ends the look with what it says about the host, and with how many requests it took.
    pub(in crate::source) fn leave(mut self, word: Word, requests: u64) {
        (self.word, self.requests) = (word, requests);
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let pause = {
            let mut state = self.host.state();
            state.budget.spend(self.requests.saturating_sub(1));
            state.leave(self.word, Instant::now())
        };
        if let Some(pause) = pause {
            let (host, seconds) = (&self.host.name, pause.as_secs());
            tracing::warn!(%host, seconds, "the host asks to be left alone: all sources on it wait");
        }
        self.host.left.notify_waiters();
    }
}

/// The hosts of all sources; clones share them.
#[derive(Debug, Clone, Default)]
pub struct Hosts {
    hosts: Arc<Mutex<BTreeMap<String, Arc<Host>>>>,
    /// Requests a minute, by name or by name and port.
    budgets: Arc<BTreeMap<String, u32>>,
}

impl Hosts {
    /// Begins with how many requests a minute some hosts get, by name or by name and port; the others get 60,000.
    pub fn new(budgets: BTreeMap<String, u32>) -> Self {
        Self { hosts: Arc::default(), budgets: Arc::new(budgets) }
    }

    /// Returns whether the host of a repository is not asked now, and why.
    pub fn pause(&self, repository: &RepoUrl) -> Option<Pause> {
        let host = self.of(repository)?;
        let (left, why) = host.state().pause(Instant::now())?;
        Some(Pause { host: host.name.clone(), left, why })
    }

    /// Returns that of an address: name and port; a repository on this machine has none.
    pub(in crate::source) fn of(&self, url: &RepoUrl) -> Option<Arc<Host>> {
        let (host, port) = match url {
            RepoUrl::Local(_) => return None,
            RepoUrl::Http(url) => {
                (url.host_str().unwrap_or_default(), url.port_or_known_default().unwrap_or_default())
            }
            RepoUrl::Ssh(url) => (url.host.as_str(), url.port),
        };
        let name = format!("{host}:{port}");
        let budget = self.budgets.get(&name).or_else(|| self.budgets.get(host)).copied().unwrap_or(DEFAULT);
        let mut hosts = self.hosts.lock().unwrap_or_else(PoisonError::into_inner);
        Some(hosts.entry(name.clone()).or_insert_with(|| Arc::new(Host::new(name, budget))).clone())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    const fn seconds(count: u64) -> Duration {
        Duration::from_secs(count)
    }

    #[test]
    fn a_host_is_left_alone_as_long_as_it_says_else_longer_and_longer() {
        let now = Instant::now();
        for (words, expected) in [
            (vec![None, None, None], vec![2, 4, 8]),
            (vec![None; 12], vec![2, 4, 8, 16, 32, 64, 128, 256, 300, 300, 300, 300]),
            (vec![Some(30), None, Some(0), Some(86_400)], vec![30, 4, 1, 3_600]),
        ] {
            let (mut state, mut at, mut waits) = (State::new(DEFAULT), now, Vec::new());
            for word in words {
                assert_eq!(state.enter(at), Entry::Now);
                let wait = state.leave(Word::LeaveAlone(word.map(seconds)), at).unwrap();
                assert_eq!(state.enter(at + wait - seconds(1)), Entry::At(at + wait));
                waits.push(wait.as_secs());
                at += wait;
            }
            assert_eq!(waits, expected);
        }
    }

    #[test]
    fn four_look_at_one_time_and_one_after_a_pause() {
        let now = Instant::now();
        let mut state = State::new(DEFAULT);
        let enter = |state: &mut State, at| (0..6).filter(|_| state.enter(at) == Entry::Now).count();
        assert_eq!(enter(&mut state, now), 4);
        assert_eq!(state.leave(Word::LeaveAlone(Some(seconds(10))), now), Some(seconds(10)));
        assert_eq!(state.leave(Word::LeaveAlone(Some(seconds(20))), now), None, "the same refusal");
        assert_eq!(state.leave(Word::Answered, now), None);
        assert_eq!(state.enter(now + seconds(15)), Entry::At(now + seconds(20)), "the longer one counts");
        state.leave(Word::Nothing, now + seconds(19));
        assert_eq!(enter(&mut state, now + seconds(20)), 1, "one goes first");
        state.leave(Word::Nothing, now + seconds(21));
        assert_eq!(enter(&mut state, now + seconds(21)), 1, "nothing was heard");
        assert_eq!(state.leave(Word::LeaveAlone(None), now + seconds(22)), Some(seconds(4)), "the second");
        assert_eq!(enter(&mut state, now + seconds(26)), 1);
        state.leave(Word::Answered, now + seconds(26));
        assert_eq!(enter(&mut state, now + seconds(26)), 4, "all is well");

        state.leave(Word::Silent, now + seconds(27));
        state.leave(Word::Nothing, now + seconds(27));
        assert_eq!(enter(&mut state, now + seconds(27)), 0, "two of four are left, one is enough");
        state.leave(Word::Silent, now + seconds(28));
        state.leave(Word::Silent, now + seconds(29));
        assert_eq!(enter(&mut state, now + seconds(29)), 1);
        state.leave(Word::Answered, now + seconds(30));
        assert_eq!(enter(&mut state, now + seconds(30)), 4);
    }

    #[test]
    fn who_answered_for_the_last_time_is_left_alone_and_then_asked_by_all() {
        let (now, mut state) = (Instant::now(), State::new(DEFAULT));
        assert_eq!(state.enter(now), Entry::Now);
        assert_eq!(state.leave(Word::Spent(seconds(50)), now), None);
        assert_eq!(state.pause(now + seconds(20)), Some((seconds(30), PauseWhy::Asked)));
        assert_eq!(state.enter(now + seconds(49)), Entry::At(now + seconds(50)));
        let later = now + seconds(50);
        assert_eq!((0..6).filter(|_| state.enter(later) == Entry::Now).count(), 4);
    }

    #[tokio::test(start_paused = true)]
    async fn a_host_gets_the_requests_of_its_budget_and_looks_wait_visibly() {
        let hosts = Hosts::new(BTreeMap::from([("git.example.com".to_owned(), 60)]));
        let (url, start) = ("https://git.example.com/a", Instant::now());
        for _ in 0..10 {
            host(&hosts, url).enter().await.leave(Word::Answered, 7);
        }
        let waited = start.elapsed().as_millis();
        assert!(
            (4_000..4_010).contains(&waited),
            "9 looks took 63 of 60, the tenth waits for its own: {waited}"
        );
        let pause = pause_of(&hosts, url).unwrap();
        assert!(
            pause.why == PauseWhy::Budget && (6_980..=7_000).contains(&pause.left.as_millis()),
            "{pause:?}"
        );
        assert_eq!(pause_of(&hosts, "https://other.example.com/a"), None);
    }

    fn host(hosts: &Hosts, url: &str) -> Arc<Host> {
        hosts.of(&RepoUrl::Http(url.parse().unwrap())).unwrap()
    }

    fn pause_of(hosts: &Hosts, url: &str) -> Option<Pause> {
        hosts.pause(&RepoUrl::Http(url.parse().unwrap()))
    }

    #[test]
    fn a_host_is_its_name_and_its_port() {
        let hosts = Hosts::default();
        let one = host(&hosts, "https://git.example.com/a/b.git");
        assert!(Arc::ptr_eq(&one, &host(&hosts.clone(), "https://GIT.example.com:443/c")));
        assert!(!Arc::ptr_eq(&one, &host(&hosts, "https://git.example.com:8443/a/b.git")));
        assert!(!Arc::ptr_eq(&one, &host(&hosts, "https://example.com/a/b.git")));
    }

    #[tokio::test(start_paused = true)]
    async fn a_thousand_looks_go_four_at_a_time_and_all_wait_out_a_pause() {
        let hosts = Hosts::default();
        let (running, highest) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let start = Instant::now();
        let mut looks = tokio::task::JoinSet::new();
        for number in 0..1_000 {
            let host = host(&hosts, "https://git.example.com/a");
            let (running, highest, other_end) = (running.clone(), highest.clone(), hosts.clone());
            looks.spawn(async move {
                let place = host.enter().await;
                let entered = Instant::now() - start;
                highest.fetch_max(running.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                tokio::time::sleep(Duration::from_millis(100)).await;
                running.fetch_sub(1, Ordering::SeqCst);
                let refused = number == 0;
                place.leave(if refused { Word::LeaveAlone(Some(seconds(60))) } else { Word::Answered }, 1);
                if refused {
                    let pause = pause_of(&other_end, "https://git.example.com/b").unwrap();
                    assert_eq!((pause.host.as_str(), pause.left), ("git.example.com:443", seconds(60)));
                    assert_eq!(pause_of(&other_end, "https://other.example.com/b"), None);
                }
                entered.as_millis()
            });
        }
        let mut entered = looks.join_all().await;
        entered.sort_unstable();
        assert_eq!(highest.load(Ordering::SeqCst), 4);
        assert_eq!(entered[..4], [0; 4]);
        assert_eq!(entered[4], 60_100, "nobody before the pause is over");
        assert!(entered[5] >= 60_200, "one goes first: {}", entered[5]);
        assert_eq!(
            *entered.last().unwrap(),
            60_200 + 100 * (995_u128.div_ceil(4) - 1),
            "then four at a time"
        );
        let place =
            tokio::time::timeout(seconds(1), host(&hosts, "https://other.example.com/").enter()).await;
        assert!(place.is_ok(), "another host knows nothing of it");
    }
}
