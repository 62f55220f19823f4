//! One life of the daemon: the genuine driver with its loops that measure, on a cluster that it sees through a [`Feed`].

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use futures::future::BoxFuture;
use rand::SeedableRng;
use rand::rngs::StdRng;
use serde_json::Value;
use tokio::sync::{Notify, mpsc};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::SimulationError;
use super::feed::Feed;
use super::heads::Workshop;
use super::images::Images as Shelf;
use super::street::Street;
use crate::clock::Clock;
use crate::cluster::Cluster;
use crate::cluster::home::Announcer;
use crate::event::publisher::Outgoing;
use crate::evidence::images::Images;
use crate::evidence::observe::{Evidence, Options};
use crate::evidence::wake;
use crate::model::name::ReleaseKey;
use crate::reconcile::parts::Parts;
use crate::reconcile::pass::Driver;
use crate::reconcile::queue::{Next, Queue, Requests};
use crate::reconcile::report::Reporter;
use crate::reconcile::statuses::Statuses;
use crate::sandbox::ApiServer;

/// Offers that wait for the broker.
const OFFERS: usize = 256;

/// What a daemon is started with.
pub(super) struct Ground<'a> {
    pub(super) workshop: &'a Workshop,
    pub(super) server: &'a ApiServer,
    pub(super) street: &'a Arc<Street>,
    pub(super) images: &'a Arc<Shelf>,
    pub(super) clock: &'a Clock,
    /// Rung whenever the daemon has something to do.
    pub(super) bell: &'a Arc<Notify>,
    pub(super) seed: u64,
}

/// A pass that ended; `next` is none if the daemon died in it.
pub(super) struct Done {
    pub(super) daemon: u64,
    pub(super) release: ReleaseKey,
    pub(super) next: Option<Next>,
}

/// See the module.
pub(super) struct Daemon {
    /// Which life it is, and the epoch of its leadership.
    pub(super) number: u64,
    pub(super) driver: Arc<Driver>,
    /// Cancelled when it dies.
    pub(super) token: CancellationToken,
    pub(super) feed: Feed,
    /// Offers to the broker, Kubernetes events.
    pub(super) outgoing: mpsc::Receiver<Outgoing>,
    pub(super) events: mpsc::Receiver<(String, Value)>,
    /// Ready pods of stable and of the candidate at the best moment since a release's pass began, as far as the daemon was shown.
    pub(super) capacity: BTreeMap<ReleaseKey, (u32, u32)>,
    requests: Requests,
    due: BTreeMap<ReleaseKey, Instant>,
    running: BTreeSet<ReleaseKey>,
    again: BTreeSet<ReleaseKey>,
}

/// By what its requests are known.
pub(super) fn agent(number: u64) -> String {
    format!("idpd/{number}")
}

/// Which life of the daemon a request came from.
pub(super) fn number_of(agent: &str) -> Option<u64> {
    agent.strip_prefix("idpd/")?.parse().ok()
}

impl Daemon {
    pub(super) fn start(ground: &Ground<'_>, number: u64) -> Result<Self, SimulationError> {
        let Ground { workshop, server, street, images, clock, bell, seed } = *ground;
        let (queue, requests) = Queue::new();
        let (wake_queue, rung) = (queue.clone(), Arc::clone(bell));
        let cluster = Cluster::new(
            server.client_as(&agent(number)),
            Arc::new(move |release: &ReleaseKey| {
                wake_queue.soon(release);
                rung.notify_one();
            }),
        );
        let (token, tasks) = (CancellationToken::new(), TaskTracker::new());
        let (waker, mut woken) = wake::pair();
        let session = seed.wrapping_mul(31).wrapping_add(number) >> 12;
        let options = Options {
            clock: clock.clone(),
            connect: Some(street.connect()),
            outside: Some(Arc::clone(&workshop.outside)),
            ..Options::new(session)
        };
        let evidence = Evidence::start(options, waker.clone(), tasks.clone(), token.clone())
            .map_err(SimulationError::part("starting the loop that measures"))?;
        let resolver = Images::within(images.answers(), session, waker, tasks.clone(), token.clone());
        let (woken_queue, rung, stop) = (queue.clone(), Arc::clone(bell), token.clone());
        tasks.spawn(async move {
            let forward = async {
                loop {
                    woken_queue.soon(&woken.next().await);
                    rung.notify_one();
                }
            };
            let _: Option<()> = stop.run_until_cancelled(forward).await;
        });
        let (offers, outgoing) = mpsc::channel(OFFERS);
        let (announcer, events) = Announcer::pair();
        let name = workshop.config.cluster.name.clone();
        let metrics = Arc::clone(&workshop.metrics);
        let parts = Parts {
            config: Arc::clone(&workshop.config),
            cluster,
            queue,
            evidence,
            images: resolver,
            reporter: Reporter::new(metrics, name, offers, announcer, Statuses::none()),
            session,
            clock: clock.clone(),
        };
        let random = StdRng::seed_from_u64(seed ^ number.wrapping_mul(0x9e37_79b9));
        Ok(Self {
            number,
            driver: Arc::new(parts.driver()),
            token,
            feed: Feed::new(server.core(), random),
            outgoing,
            events,
            capacity: BTreeMap::new(),
            requests,
            due: BTreeMap::new(),
            running: BTreeSet::new(),
            again: BTreeSet::new(),
        })
    }

    /// Asks for a pass at once.
    pub(super) fn ask(&mut self, release: &ReleaseKey) {
        self.due.insert(release.clone(), Instant::now());
    }

    /// When a pass is due.
    pub(super) fn next(&self) -> Option<Instant> {
        let idle = self.due.iter().filter(|(release, _)| !self.running.contains(*release));
        let passes = idle.map(|(_, at)| *at).min();
        passes.into_iter().chain(self.feed.next()).min()
    }

    /// Shows what its watches show now, and begins the passes that are due.
    pub(super) fn settle(&mut self) -> Vec<BoxFuture<'static, Done>> {
        self.feed.settle(&self.driver.cluster);
        let now = Instant::now();
        for (release, at) in self.requests.asked() {
            if at <= now && self.running.contains(&release) {
                self.again.insert(release);
            } else {
                let due = self.due.entry(release).or_insert(at);
                *due = at.min(*due);
            }
        }
        for release in &self.running {
            let seen = self.feed.ready(release);
            let best = self.capacity.entry(release.clone()).or_default();
            *best = (best.0.max(seen.0), best.1.max(seen.1));
        }
        let due: Vec<ReleaseKey> = self
            .due
            .iter()
            .filter(|(release, at)| **at <= now && !self.running.contains(*release))
            .map(|(release, _)| release.clone())
            .collect();
        due.into_iter().map(|release| self.begin(release)).collect()
    }

    fn begin(&mut self, release: ReleaseKey) -> BoxFuture<'static, Done> {
        self.due.remove(&release);
        self.running.insert(release.clone());
        self.capacity.insert(release.clone(), self.feed.ready(&release));
        let (driver, token, number) = (Arc::clone(&self.driver), self.token.clone(), self.number);
        Box::pin(async move {
            let pass = Box::pin(driver.pass(release.clone(), number));
            let next = token.run_until_cancelled(pass).await;
            Done { daemon: number, release, next }
        })
    }

    /// Takes over when a pass wants the next one.
    pub(super) fn ended(&mut self, release: &ReleaseKey, next: Next) {
        self.running.remove(release);
        if self.again.remove(release) {
            self.ask(release);
        } else if let Next::At(at) = next {
            let due = self.due.entry(release.clone()).or_insert(at);
            *due = at.min(*due);
        }
    }
}
