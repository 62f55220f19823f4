//! How hard one host is asked, over all sources on it: few looks at one time, and none while it wants to be left alone.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, sleep_until};

use super::budget::DEFAULT;
use super::pause::{Entry, PLACES, PauseWhy, State, Word};
use crate::config::RepoUrl;

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
            state.leave(self.word, self.requests, Instant::now())
        };
        if let Some(pause) = pause {
            let (host, seconds) = (&self.host.name, pause.as_secs());
            tracing::warn!(%host, seconds, "the host asks to be left alone: all sources on it wait");
        }
        self.host.left.notify_waiters();
    }
}

/// The hosts of all sources; clones share them.
#[derive(Debug, Clone)]
pub struct Hosts {
    began: Instant,
    known: Arc<Mutex<BTreeMap<String, Arc<Host>>>>,
    /// Requests a minute, by name or by name and port.
    budgets: Arc<BTreeMap<String, u32>>,
}

impl Default for Hosts {
    fn default() -> Self {
        Self::new(BTreeMap::new())
    }
}

impl Hosts {
    /// Begins with how many requests a minute some hosts get, by name or by name and port; the others get 60,000.
    pub fn new(budgets: BTreeMap<String, u32>) -> Self {
        Self { began: Instant::now(), known: Arc::default(), budgets: Arc::new(budgets) }
    }

    /// Returns when it was made: the same for all sources.
    pub(in crate::source) fn began(&self) -> Instant {
        self.began
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
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        Some(known.entry(name.clone()).or_insert_with(|| Arc::new(Host::new(name, budget))).clone())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    const fn seconds(count: u64) -> Duration {
        Duration::from_secs(count)
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
