//! The measuring half of the evidence loop: while a release has an assignment, each of its pods is checked at its interval, and once an
//! interval the pods' request counters are read. Samples can be read at any time; nothing here waits for a reader.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::{Semaphore, watch};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{Instrument, info_span};

use super::check::{CheckError, check};
use super::dial::{Connect, Dialer, Way};
use super::outside::{Allow, Outside};
use super::prometheus::Provider;
use super::question::measure;
use super::sheet::Sheet;
use super::wake::Waker;
use super::{lock, part_of, seeded};
use crate::clock::Clock;
use crate::model::name::{EnvironmentName, ReleaseKey};
use crate::model::policy::CheckKind;
use crate::model::samples::{Assignment, Question, Samples, Target};

mod traffic;

/// First checks are spread over this part of an interval, and never over more than [`SPREAD`]: a failing candidate is to be seen soon.
const SPREAD_PART: u32 = 5;
const SPREAD: Duration = Duration::from_millis(500);
const SHORTEST_CHECK: Duration = Duration::from_millis(50);
const SHORTEST_ROUND: Duration = Duration::from_millis(200);
const LONGEST_ROUND: Duration = Duration::from_mins(1);

/// How to measure.
#[derive(Clone)]
pub struct Options {
    /// How pods are reached, by environment; at their addresses where nothing is said.
    pub ways: BTreeMap<EnvironmentName, Way>,
    /// Where requests are counted, by environment; by the pods themselves where nothing is said.
    pub prometheus: BTreeMap<EnvironmentName, Arc<Provider>>,
    /// What gates may ask although it is denied by default: this machine, for example.
    pub allowed: Allow,
    /// Tells this process's samples from those of the one before, and makes the jitter repeatable.
    pub session: u64,
    /// Checks at a time, over all releases.
    pub checks: usize,
    /// Reads of metrics at a time, over all releases; each may take 4 MiB.
    pub scrapes: usize,
    /// Checks at a time, and reads at a time, for one release.
    pub per_release: usize,
    /// The time of samples.
    pub clock: Clock,
    /// How connections to pods come about; over TCP where nothing is said.
    pub connect: Option<Connect>,
    /// What asks addresses that teams wrote; made for this loop alone where nothing is said.
    pub outside: Option<Arc<Outside>>,
}

impl Options {
    /// Direct probes over TCP, the machine's clock, 256 checks and 64 reads at a time, 16 of each for one release.
    pub fn new(session: u64) -> Self {
        Self {
            ways: BTreeMap::new(),
            prometheus: BTreeMap::new(),
            allowed: Arc::new(|_| false),
            session,
            checks: 256,
            scrapes: 64,
            per_release: 16,
            clock: Clock::wall(),
            connect: None,
            outside: None,
        }
    }
}

/// Why measuring cannot start; terminal.
#[derive(Debug, thiserror::Error)]
pub enum EvidenceError {
    /// TLS for `https` checks.
    #[error("cannot set up TLS for health checks")]
    Tls(#[source] reqwest::Error),
}

/// The loop; cheap to clone.
#[derive(Clone)]
pub struct Evidence {
    shared: Arc<Shared>,
    books: Arc<Mutex<HashMap<ReleaseKey, Book>>>,
}

/// What the tasks of all releases share.
struct Shared {
    options: Options,
    dialer: Dialer,
    outside: Arc<Outside>,
    waker: Waker,
    tracker: TaskTracker,
    cancel: CancellationToken,
    checks: Semaphore,
    scrapes: Semaphore,
}

/// One release that is measured. Its tasks hold the job, not the book.
struct Book {
    job: Arc<Job>,
    assignment: Arc<Assignment>,
    feed: watch::Sender<Arc<Assignment>>,
    /// In an order, so that what ends ends in one.
    pods: BTreeMap<String, CancellationToken>,
    questions: Vec<(Question, CancellationToken)>,
    stop: CancellationToken,
}

/// What the tasks of one release and stage share.
struct Job {
    shared: Arc<Shared>,
    release: ReleaseKey,
    way: Way,
    provider: Option<Arc<Provider>>,
    sheet: Arc<Mutex<Sheet>>,
    checks: Semaphore,
    scrapes: Semaphore,
}

impl Evidence {
    /// Starts with nothing to measure. Tasks run in `tracker` and end with `cancel`. Fails if TLS cannot be set up.
    pub fn start(
        options: Options,
        waker: Waker,
        tracker: TaskTracker,
        cancel: CancellationToken,
    ) -> Result<Self, EvidenceError> {
        let dialer = match &options.connect {
            Some(connect) => Dialer::within(Arc::clone(connect)),
            None => Dialer::new().map_err(EvidenceError::Tls)?,
        };
        let outside = match &options.outside {
            Some(outside) => Arc::clone(outside),
            None => Arc::new(Outside::new(Arc::clone(&options.allowed)).map_err(EvidenceError::Tls)?),
        };
        let checks = Semaphore::new(options.checks.clamp(1, Semaphore::MAX_PERMITS));
        let scrapes = Semaphore::new(options.scrapes.clamp(1, Semaphore::MAX_PERMITS));
        let shared = Shared { options, dialer, outside, waker, tracker, cancel, checks, scrapes };
        Ok(Self { shared: Arc::new(shared), books: Arc::default() })
    }

    /// Says what to measure for a release now; `None` ends it. Cheap, and the same assignment again changes nothing. Another rollout
    /// or stage begins from zero; within a stage pods come and go and the totals stay.
    pub fn assign(&self, release: &ReleaseKey, assignment: Option<Assignment>) {
        let mut books = lock(&self.books);
        let Some(assignment) = assignment else {
            if let Some(book) = books.remove(release) {
                book.stop.cancel();
            }
            return;
        };
        let assignment = Arc::new(assignment);
        match books.get_mut(release) {
            Some(book) if book.assignment == assignment => {}
            Some(book) if same_way(&book.assignment, &assignment) => book.update(assignment),
            known => {
                let sheet = known.and_then(|book| {
                    book.stop.cancel();
                    same_stage(&book.assignment, &assignment).then(|| Arc::clone(&book.job.sheet))
                });
                books.insert(release.clone(), self.begin(release, assignment, sheet));
            }
        }
    }

    /// Returns what was measured so far; `None` before the first sample of the assigned stage, and where nothing is assigned.
    pub fn samples(&self, release: &ReleaseKey) -> Option<Samples> {
        let books = lock(&self.books);
        let book = books.get(release)?;
        let sheet = lock(&book.job.sheet);
        sheet.snapshot(&book.assignment, self.shared.options.clock.now())
    }

    fn begin(
        &self,
        release: &ReleaseKey,
        assignment: Arc<Assignment>,
        sheet: Option<Arc<Mutex<Sheet>>>,
    ) -> Book {
        let options = &self.shared.options;
        let provider = options.prometheus.get(&release.environment).cloned();
        let patience = provider.as_ref().map(|provider| provider.patience());
        let now = options.clock.now();
        let new = || Sheet::new(&assignment, options.session, patience, now);
        let sheet = sheet.unwrap_or_else(|| Arc::new(Mutex::new(new())));
        let per_release = options.per_release.clamp(1, Semaphore::MAX_PERMITS);
        let job = Arc::new(Job {
            shared: Arc::clone(&self.shared),
            release: release.clone(),
            way: options.ways.get(&release.environment).cloned().unwrap_or(Way::Direct),
            provider,
            sheet,
            checks: Semaphore::new(per_release),
            scrapes: Semaphore::new(per_release),
        });
        let stop = self.shared.cancel.child_token();
        let (feed, newest) = watch::channel(Arc::clone(&assignment));
        if assignment.traffic || assignment.latency.is_some() {
            job.spawn(&stop, Arc::clone(&job).count_traffic(newest));
        }
        let empty = Arc::new(Assignment { pods: Vec::new(), ..(*assignment).clone() });
        let (pods, questions) = (BTreeMap::new(), Vec::new());
        let mut book = Book { job, assignment: empty, feed, pods, questions, stop };
        book.update(assignment);
        book
    }
}

fn same_stage(old: &Assignment, new: &Assignment) -> bool {
    (old.rollout, old.stage) == (new.rollout, new.stage)
}

/// Whether only pods, questions, or the pinned source, differ: the running tasks serve both.
fn same_way(old: &Assignment, new: &Assignment) -> bool {
    let Assignment { rollout, stage, health, traffic, latency, metrics_port, .. } = new;
    (old.rollout, old.stage, old.traffic, old.metrics_port) == (*rollout, *stage, *traffic, *metrics_port)
        && (&old.health, &old.latency) == (health, latency)
}

impl Book {
    /// Begins with pods that came or changed, ends with those that went.
    fn update(&mut self, assignment: Arc<Assignment>) {
        lock(&self.job.sheet).update(&assignment);
        let old: HashMap<&str, &Target> =
            self.assignment.pods.iter().map(|pod| (pod.uid.as_str(), pod)).collect();
        let mut kept = BTreeMap::new();
        for pod in &assignment.pods {
            let running = self.pods.remove(&pod.uid);
            let token = match running {
                Some(token) if old.get(pod.uid.as_str()) == Some(&pod) => token,
                changed => {
                    if let Some(token) = changed {
                        token.cancel();
                    }
                    let token = self.stop.child_token();
                    let job = Arc::clone(&self.job);
                    self.job.spawn(&token, job.check_pod(Arc::clone(&assignment), pod.clone()));
                    token
                }
            };
            kept.insert(pod.uid.clone(), token);
        }
        for gone in self.pods.values() {
            gone.cancel();
        }
        self.pods = kept;
        self.ask(&assignment.questions);
        self.assignment = Arc::clone(&assignment);
        self.feed.send_replace(assignment);
    }
}

impl Book {
    /// Begins with questions that came, ends with those that went.
    fn ask(&mut self, questions: &[Question]) {
        let mut running = std::mem::take(&mut self.questions);
        for question in questions {
            let known = running.iter().position(|(known, _)| known == question);
            let token = if let Some(index) = known {
                running.swap_remove(index).1
            } else {
                let token = self.stop.child_token();
                self.job.spawn(&token, Arc::clone(&self.job).answer(question.clone()));
                token
            };
            self.questions.push((question.clone(), token));
        }
        for (_, gone) in running {
            gone.cancel();
        }
    }
}

impl Job {
    /// Measures at the question's interval, from the end of its initial delay.
    async fn answer(self: Arc<Self>, question: Question) {
        sleep(question.initial_delay + self.jitter(&question.key, question.interval)).await;
        let mut ticks = interval(question.interval.max(SHORTEST_ROUND));
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let measured = measure(&question, self.provider.as_ref(), &self.shared.outside).await;
            lock(&self.sheet).measured(&question.key, measured, self.now());
            self.shared.waker.wake(&self.release);
        }
    }

    fn spawn(&self, token: &CancellationToken, work: impl Future<Output = ()> + Send + 'static) {
        let token = token.clone();
        let span = info_span!("evidence", release = %self.release);
        let run = async move { token.run_until_cancelled(work).await };
        self.shared.tracker.spawn(run.instrument(span));
    }

    fn now(&self) -> Timestamp {
        self.shared.options.clock.now()
    }

    fn jitter(&self, key: &str, period: Duration) -> Duration {
        part_of((period / SPREAD_PART).min(SPREAD), &mut seeded(self.shared.options.session, key))
    }

    /// Checks one pod at its interval, from the end of its initial delay.
    async fn check_pod(self: Arc<Self>, assignment: Arc<Assignment>, pod: Target) {
        let health = &assignment.health;
        let ready_for = Duration::try_from(self.now().duration_since(pod.ready_since)).unwrap_or_default();
        sleep(health.initial_delay.saturating_sub(ready_for) + self.jitter(&pod.uid, health.interval)).await;
        let asked = health.kind != CheckKind::None;
        let mut ticks = interval(health.interval.max(SHORTEST_CHECK));
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let (result, took) = {
                let Ok(_own) = self.checks.acquire().await else { return };
                let Ok(_shared) = self.shared.checks.acquire().await else { return };
                let began = Instant::now();
                (check(&self.shared.dialer, &self.way, &pod, health).await, began.elapsed())
            };
            let answered = asked && !matches!(result, Err(CheckError::Dial(_)));
            let result = result.map_err(|error| error.clause());
            let mut sheet = lock(&self.sheet);
            if answered {
                sheet.took(&pod, took);
            }
            let due = sheet.checked(&pod, result, asked, health.success_threshold, self.now());
            drop(sheet);
            if due {
                self.shared.waker.wake(&self.release);
            }
        }
    }
}

#[cfg(test)]
mod tests;
