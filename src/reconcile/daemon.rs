//! The wiring of the daemon: every loop is started here, in order, and stopped in order. `idpd`, `idp demo` and the tests run this
//! same code.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Semaphore, mpsc, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::compose::compose;
use super::door::Shared;
use super::options::{self, identity, listen, registries, sink};
use super::parts::Parts;
use super::pass::Driver;
use super::queue::{self, Queue, Requests};
use super::report::Reporter;
use super::statuses::Statuses;
use super::supervisor::{DaemonError, Supervisor, start};
use crate::clock::Clock;
use crate::cluster::client::OnCall;
use crate::cluster::home::Announcer;
use crate::cluster::lease::{self, Leadership, LeaseOptions};
use crate::cluster::{Cluster, crd, suspensions as asked};
use crate::config::Config;
use crate::event::publisher::{self, Acked};
use crate::evidence::images::Images;
use crate::evidence::observe::Evidence;
use crate::evidence::wake;
use crate::model::desired::HeadUpdate;
use crate::model::name::ReleaseKey;
use crate::source::{self, Hints, SourceLoop, SourceReport, Suspensions};
use crate::telemetry::metrics::{Answered, Metrics};

/// Passes at one time.
const PASSES: usize = 16;
/// Looks at sources at one time.
const LOOKS: usize = 8;
/// How long the orderly stop may take.
const STOP: Duration = Duration::from_secs(10);
/// How long the CRD may take to be established.
const ESTABLISHED: Duration = Duration::from_secs(30);
/// How long the list of suspended sources may take.
const LISTED: Duration = Duration::from_secs(30);

/// Returns the function that the cluster's client calls after every request, so that it is counted.
pub fn count_calls(metrics: &Metrics) -> OnCall {
    let metrics = metrics.cluster.clone();
    Arc::new(move |call| {
        let answer = if call.code == 0 { Answered::Error } else { Answered::Status(call.code) };
        metrics.request(call.verb, call.resource, answer, call.took);
    })
}

/// A running daemon.
pub struct Daemon {
    address: SocketAddr,
    metrics: Arc<Metrics>,
    shutdown: CancellationToken,
    sinks: CancellationToken,
    tasks: TaskTracker,
    /// Cancelled when the last pass has ended.
    passes: CancellationToken,
    died: watch::Receiver<Option<&'static str>>,
}

impl Daemon {
    /// Starts every loop. `client` is the cluster; the configuration says where to listen.
    ///
    /// Order: the CRD and the home namespace; the sinks; the watches and the lease; the loops that measure; the queue; the sources;
    /// the door. Fails if one of them cannot be started; what is merely away (the broker, a repository, a registry) is waited for.
    pub async fn start(
        config: Config,
        client: kube::Client,
        metrics: Arc<Metrics>,
    ) -> Result<Self, DaemonError> {
        let config = Arc::new(config);
        let clock = Clock::wall();
        let (shutdown, sinks) = (CancellationToken::new(), CancellationToken::new());
        let tasks = TaskTracker::new();
        let (obituary, died) = watch::channel(None);
        let supervisor = Supervisor { tasks: tasks.clone(), shutdown: shutdown.clone(), obituary };

        let (queue, requests) = Queue::new();
        let wake_queue = queue.clone();
        let cluster =
            Cluster::new(client.clone(), Arc::new(move |release: &ReleaseKey| wake_queue.soon(release)));
        crd::ensure_crd(cluster.calls(), ESTABLISHED).await.map_err(start(
            "the Release CRD could not be installed; `idp crd | kubectl apply -f -` does it by hand",
        ))?;
        cluster.ensure_namespace(&config.cluster.home_namespace).await.map_err(start(format!(
            "the home namespace {} could not be made",
            config.cluster.home_namespace
        )))?;

        let (outgoing, offers) = mpsc::channel(256);
        let (acks, acked) = mpsc::channel(256);
        let sink = sink(&config)?;
        let publisher = publisher::run(sink, offers, acks, metrics.events.clone(), sinks.clone(), STOP / 2);
        tasks.spawn(async move {
            publisher.await;
        });
        let statuses = Statuses::start(&config, &metrics.events, &tasks, &sinks)
            .map_err(start("the commit statuses could not be set up"))?;
        let announcer = Announcer::spawn(cluster.calls().clone(), &tasks, &sinks);

        cluster.watch(&tasks, &shutdown);
        let (waker, mut woken) = wake::pair();
        let session = rand::random::<u64>() >> 12;
        let options = options::evidence(&config, &client, session, &clock)?;
        let evidence = Evidence::start(options, waker.clone(), tasks.clone(), shutdown.clone())
            .map_err(start("the health checks could not be set up"))?;
        let images = Images::start(registries(&config)?, session, waker, tasks.clone(), shutdown.clone())
            .map_err(start("the registry client could not be set up"))?;
        let woken_queue = queue.clone();
        supervisor.spawn("evidence", async move {
            loop {
                woken_queue.soon(&woken.next().await);
            }
        });

        let name = config.cluster.name.clone();
        let reporter = Reporter::new(Arc::clone(&metrics), name, outgoing, announcer, statuses);
        let lease = LeaseOptions {
            address: config.listen.to_string(),
            duration: config.cluster.lease.duration,
            renew: config.cluster.lease.renew,
            ..LeaseOptions::new(config.cluster.home_namespace.clone(), &config.cluster.name, identity())
        };
        let mut synced = cluster.view().synced();
        let parts =
            Parts { config: Arc::clone(&config), cluster, queue, evidence, images, reporter, session, clock };
        let driver = Arc::new(parts.driver());
        let calls = driver.cluster.calls().clone();
        let leadership = lease::spawn(calls, lease, driver.newer.subscribe(), &tasks, &sinks);
        let ready = leadership.clone();
        supervisor.spawn("acknowledgements", acknowledge(Arc::clone(&driver), acked));

        let (listener, address) = listen(&config).await?;
        let shared = Shared {
            hints: Hints::new(config.sources.keys().cloned()),
            suspensions: suspensions(&driver, &tasks, &shutdown).await?,
            hosts: source::Hosts::new(config.platform.hosts.clone()),
        };
        let cache =
            source::Cache::open(&config.cache_dir, config.cache_limit, config.sources.keys().cloned());
        let reports = sources(&supervisor, &config, &shared, &cache);
        supervisor.spawn("reports", heads(Arc::clone(&driver), reports, cache));
        supervisor.spawn("source statuses", super::sources::keep(Arc::clone(&driver), leadership.clone()));
        let queue_driver = Arc::clone(&driver);
        let stop = shutdown.clone();
        let passes = supervisor.spawn_finishing("queue", async move {
            if stop.run_until_cancelled(synced.wait_for(|synced| *synced)).await.is_some() {
                lead(queue_driver, requests, leadership, stop).await;
            }
        });
        super::door::open(&supervisor, listener, &driver, &shared, ready);
        tracing::info!(%address, cluster = config.cluster.name, sources = config.sources.len(), "idpd runs");
        Ok(Self { address, metrics, shutdown, sinks, tasks, passes, died })
    }

    /// Returns where webhooks, metrics and health are served.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Returns the metrics.
    pub fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// Waits until a task ends that never should.
    pub async fn died(&mut self) -> DaemonError {
        match self.died.wait_for(Option::is_some).await {
            Ok(name) => DaemonError::Died(name.unwrap_or("unknown")),
            Err(_) => DaemonError::Died("supervisor"),
        }
    }

    /// Stops in order: the door, the sources and the queue first, passes under way are finished; then the sinks drain and the lease
    /// is given back. Ten seconds at most.
    pub async fn stop(self) {
        let deadline = Instant::now() + STOP;
        self.shutdown.cancel();
        // What they wrote is to be published, and nobody else may lead before they end.
        if tokio::time::timeout(STOP / 2, self.passes.cancelled()).await.is_err() {
            tracing::warn!(
                "passes under way did not end in time; the next leader does what they had not done"
            );
        }
        self.sinks.cancel();
        self.tasks.close();
        if tokio::time::timeout_at(deadline, self.tasks.wait()).await.is_err() {
            tracing::warn!("some tasks did not end in time; what they had is in the records");
        }
    }
}

/// Runs passes while this process leads; a term that ends ends them, and the next begins with every release.
async fn lead(driver: Arc<Driver>, requests: Requests, leadership: Leadership, stop: CancellationToken) {
    let mut changes = leadership.clone();
    let fleet = driver.cluster.view().fleet().into_iter().map(|(release, _)| release);
    let fleet: Vec<ReleaseKey> = fleet.collect();
    driver.slots.await_records(fleet.iter().cloned());
    for release in &fleet {
        driver.queue.soon(release);
    }
    while leadership.epoch().is_none() {
        if stop.run_until_cancelled(changes.changed()).await != Some(true) {
            return;
        }
    }
    let metrics = &driver.reporter.metrics().cluster;
    metrics.leader(true);
    let pass = |release: ReleaseKey, late: Duration| {
        let (driver, leadership) = (Arc::clone(&driver), leadership.clone());
        driver.reporter.metrics().queue.late(late);
        async move {
            match leadership.epoch() {
                Some(epoch) => Box::pin(driver.pass(release, epoch)).await,
                // Not the leader now: looked at again when it may be.
                None => queue::Next::At(Instant::now() + Duration::from_secs(1)),
            }
        }
    };
    queue::run(driver.queue.clone(), requests, PASSES, stop, pass).await;
    metrics.leader(false);
}

/// Takes over what the sources report.
async fn heads(driver: Arc<Driver>, mut reports: mpsc::Receiver<SourceReport>, cache: source::Cache) {
    while let Some(report) = reports.recv().await {
        let metrics = &driver.reporter.metrics().sources;
        // A look can cost other sources their mirrors.
        if report.stats.fetches > 0 || !report.up || report.trigger == source::Trigger::Start {
            cache.bytes().iter().for_each(|(source, bytes)| metrics.cached(source, *bytes));
        }
        let moved = report.stats.fetches > 0 || report.stats.rendered > 0;
        if report.up {
            let result = if moved { "changed" } else { "unchanged" };
            metrics.succeeded(&report.source, result, report.stats.bytes, report.looked_at);
        } else {
            metrics.failed(&report.source);
        }
        driver.sources.looked(&report);
        for (release, update) in &report.heads.releases {
            if let HeadUpdate::Keep { reason } = update {
                tracing::warn!(%release, source = %report.source, %reason, "the last good declaration is kept");
            }
        }
        driver.heard(&report.source, report.heads.releases).await;
        if report.status_changed {
            for problem in &report.heads.problems {
                tracing::warn!(source = %report.source, path = problem.path, problem = problem.message, "a source has a problem");
            }
            driver.reporter.source_problems(&report.source, &report.heads.problems);
            for release in driver.sources.note(&report.status) {
                driver.queue.soon(&release);
            }
        }
    }
}

/// Notes what the broker acknowledged; it is trimmed with the next write of the record.
async fn acknowledge(driver: Arc<Driver>, mut acked: mpsc::Receiver<Acked>) {
    while let Some(acked) = acked.recv().await {
        driver.acknowledged(acked).await;
    }
}

/// Learns which sources are suspended before any is looked at, and hears of each change from then on.
async fn suspensions(
    driver: &Driver,
    tasks: &TaskTracker,
    shutdown: &CancellationToken,
) -> Result<Suspensions, DaemonError> {
    let suspensions = Suspensions::new(driver.config.sources.values());
    let (heard, listed) = (suspensions.clone(), CancellationToken::new());
    let heard: asked::Heard = Arc::new(move |source, asked| heard.note(source, asked));
    let home = &driver.config.cluster.home_namespace;
    asked::watch(driver.cluster.calls(), home, heard, listed.clone(), (tasks, shutdown));
    tokio::time::timeout(LISTED, listed.cancelled()).await.map_err(start(format!(
        "the suspensions of sources in {home} could not be read: may the daemon list and watch ConfigMaps there?"
    )))?;
    Ok(suspensions)
}

fn sources(
    supervisor: &Supervisor,
    config: &Arc<Config>,
    shared: &Shared,
    cache: &source::Cache,
) -> mpsc::Receiver<SourceReport> {
    let (sender, reports) = mpsc::channel(64);
    let clients = source::Clients::default();
    let permits = Arc::new(Semaphore::new(LOOKS));
    let environments: Arc<[_]> = config.environments.values().cloned().collect();
    for source in config.sources.values() {
        let (hint, suspended) = (shared.hints.get(&source.name), shared.suspensions.watch(&source.name));
        let (Some(hint), Some(suspended)) = (hint, suspended) else { continue };
        let name = source.name.clone();
        let looper = SourceLoop {
            source: source.clone(),
            environments: environments.clone(),
            cache: cache.clone(),
            compose: compose(config),
            clients: clients.clone(),
            hosts: shared.hosts.clone(),
            hint: hint.clone(),
            suspended,
            reports: sender.clone(),
            permits: Arc::clone(&permits),
        };
        let stop = supervisor.shutdown().clone();
        supervisor.spawn("source", async move {
            if let Err(error) = looper.run(stop).await {
                tracing::error!(source = %name, %error, "a source's loop ended");
            }
        });
    }
    reports
}
