//! The bed: a cluster, its node, its load, and daemons on it, moved from one event to the next in virtual time.
//!
//! Everything but the passes and what measures is done step by step in [`Bed::turn`], in one order; between two turns the runtime's
//! paused clock stands, or is moved to the next moment at which anything is due.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use futures::StreamExt as _;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use jiff::{SignedDuration, Timestamp};
use rand::SeedableRng;
use rand::rngs::StdRng;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

use super::SimulationError;
use super::broker::Broker;
use super::check::{Checker, Violation};
use super::daemon::{Daemon, Done, Ground};
use super::deeds::Deed;
use super::gateway::Gateway;
use super::heads::{SOURCE, Shape, Workshop};
use super::images::Images;
use super::node::Node;
use super::orders::Orders;
use super::plan::Plan;
use super::street::Street;
use super::trace::Trace;
use crate::clock::Clock;
use crate::model::desired::{Desired, HeadUpdate};
use crate::model::name::{ReleaseKey, SourceName};
use crate::sandbox::ApiServer;
use crate::sandbox::api::ApiOptions;
use crate::sandbox::controllers::Manager;

/// When every simulation begins.
const START: &str = "2026-01-01T00:00:00Z";
/// Turns at one moment, and in one stretch, after which the simulation is taken to stand still.
const TURNS_AT_ONCE: u32 = 1_000;
/// See above.
const TURNS: u32 = 60_000;
/// The service that is simulated, and where it runs.
pub(super) const SERVICE: &str = "web";
/// See above.
pub(super) const NAMESPACE: &str = "shop";

/// See the module.
pub(super) struct Bed {
    pub(super) workshop: Arc<Workshop>,
    pub(super) release: ReleaseKey,
    pub(super) source: SourceName,
    pub(super) server: ApiServer,
    pub(super) controllers: Manager,
    /// The controllers do nothing until then.
    pub(super) lag: Option<Instant>,
    pub(super) node: Node,
    pub(super) gateway: Gateway,
    pub(super) street: Arc<Street>,
    pub(super) images: Arc<Images>,
    pub(super) orders: Arc<Orders>,
    pub(super) daemons: Vec<Daemon>,
    /// Lives so far.
    pub(super) lives: u64,
    pub(super) broker: Broker,
    /// Milliseconds by which the daemon's clock is off.
    pub(super) off: Arc<AtomicI64>,
    clock: Clock,
    /// What is to happen, in order.
    pub(super) script: BTreeMap<(Instant, u64), Deed>,
    scripted: u64,
    pub(super) shape: Shape,
    /// What is declared instead of a text, where a real declaration is rehearsed.
    pub(super) declared: Option<Desired>,
    pub(super) tag: String,
    pub(super) replicas: u32,
    pub(super) commits: u64,
    pub(super) heads: Vec<(ReleaseKey, HeadUpdate)>,
    /// No source can be looked at until then.
    pub(super) git_back: Option<Instant>,
    pub(super) commands: u64,
    pub(super) checker: Checker,
    pub(super) trace: Trace,
    pub(super) random: StdRng,
    pub(super) begun: Instant,
    seed: u64,
    pub(super) bell: Arc<Notify>,
    changes: watch::Receiver<u64>,
    passes: FuturesUnordered<BoxFuture<'static, Done>>,
    /// How long the next dead daemon is away.
    pub(super) away: Duration,
    /// How many passes have ended.
    pub(super) passed: u64,
}

impl Bed {
    /// An empty cluster and one daemon. Call it within a paused runtime.
    pub(super) fn new(workshop: &Arc<Workshop>, plan: &Plan, trace: Trace) -> Result<Self, SimulationError> {
        let start: Timestamp = START.parse().map_err(SimulationError::part("reading the begin"))?;
        let begun = Instant::now();
        let cluster_clock = Clock::starting_at(start);
        let off = Arc::new(AtomicI64::new(0));
        let (true_time, shift) = (cluster_clock.clone(), Arc::clone(&off));
        let clock = Clock::from_fn(move || {
            let shift = SignedDuration::from_millis(shift.load(Ordering::Relaxed));
            let now = true_time.now();
            now.checked_add(shift).unwrap_or(now)
        });
        let seed = plan.seed;
        let server = ApiServer::new(ApiOptions { seed, clock: cluster_clock, frugal: true });
        server.register(Arc::clone(&workshop.release));
        if plan.shape.route.is_some() {
            workshop.routes.iter().for_each(|kind| server.register(Arc::clone(kind)));
        }
        let images = Arc::new(Images::default());
        let street = Street::new(seed ^ 0x51ee7, f64::from(plan.rate));
        let node = Node::new(&server, images.resolver(), Arc::clone(&street), seed);
        let gateway = Gateway::new(&server, Arc::clone(&street), plan.shape.route);
        let changes = server.core().store().subscribe();
        let orders = Orders::on(&server, seed ^ 0x0_4de4);
        let release = format!("{SERVICE}.production");
        let release = release.parse().map_err(SimulationError::part("naming the release"))?;
        let source = SOURCE.parse().map_err(SimulationError::part("naming the source"))?;
        let mut bed = Self {
            workshop: Arc::clone(workshop),
            checker: Checker::new(&release, plan.shape.route),
            release,
            source,
            controllers: Manager::new(&server, 1.0),
            lag: None,
            node,
            gateway,
            street,
            images,
            orders,
            daemons: Vec::new(),
            lives: 0,
            broker: Broker::default(),
            off,
            clock,
            script: BTreeMap::new(),
            scripted: 0,
            shape: plan.shape.clone(),
            declared: None,
            tag: String::new(),
            replicas: plan.replicas,
            commits: 0,
            heads: Vec::new(),
            git_back: None,
            commands: 0,
            trace,
            random: StdRng::seed_from_u64(seed ^ 0xbed),
            begun,
            seed,
            bell: Arc::new(Notify::new()),
            changes,
            passes: FuturesUnordered::new(),
            away: Duration::from_secs(1),
            passed: 0,
            server,
        };
        bed.checker.begins_at(bed.server.version());
        for (at, action) in &plan.actions {
            bed.plan(begun + *at, Deed::Planned(action.clone()));
        }
        bed.start_daemon()?;
        Ok(bed)
    }

    /// Commits bring this declaration from now on.
    pub(super) fn follow(&mut self, desired: &Desired) {
        self.release = desired.release.clone();
        self.checker = Checker::new(&self.release, None);
        self.checker.begins_at(self.server.version());
        for daemon in &self.daemons {
            self.checker.began(daemon.number, self.begun.elapsed());
        }
        self.declared = Some(desired.clone());
    }

    /// Puts something into the script.
    pub(super) fn plan(&mut self, at: Instant, deed: Deed) {
        self.scripted += 1;
        self.script.insert((at, self.scripted), deed);
    }

    /// The time since the begin.
    pub(super) fn time(&self) -> Duration {
        self.begun.elapsed()
    }

    /// Begins another life of the daemon, which leads from now on.
    pub(super) fn start_daemon(&mut self) -> Result<(), SimulationError> {
        self.lives += 1;
        let ground = Ground {
            workshop: &self.workshop,
            server: &self.server,
            street: &self.street,
            images: &self.images,
            clock: &self.clock,
            bell: &self.bell,
            seed: self.seed,
        };
        let mut daemon = Daemon::start(&ground, self.lives)?;
        daemon.ask(&self.release);
        self.orders.lives(daemon.number, &daemon.token);
        self.checker.began(self.lives, self.begun.elapsed());
        let (time, lives) = (self.time(), self.lives);
        self.trace.note(time, || format!("daemon {lives} leads"));
        self.daemons.push(daemon);
        if self.git_back.is_none() {
            self.tell_heads();
        }
        Ok(())
    }

    /// Lets the newest daemon look at the source.
    pub(super) fn tell_heads(&self) {
        for daemon in &self.daemons {
            let (driver, source, heads) =
                (Arc::clone(&daemon.driver), self.source.clone(), self.heads.clone());
            let bell = Arc::clone(&self.bell);
            tokio::spawn(async move {
                driver.heard(&source, heads).await;
                bell.notify_one();
            });
        }
    }

    /// Moves on until then.
    pub(super) async fn run(&mut self, until: Instant) -> Result<(), SimulationError> {
        let (mut moment, mut turns, mut all) = (Instant::now(), 0_u32, 0_u32);
        loop {
            self.turn()?;
            (moment, turns) =
                if moment == Instant::now() { (moment, turns + 1) } else { (Instant::now(), 0) };
            all += 1;
            if turns > TURNS_AT_ONCE || all > TURNS {
                let time = self.time();
                let what = format!("{turns} turns at one moment, {all} in all: nothing comes to rest");
                self.checker.violations.push(Violation { property: "rest", at: time, what });
            }
            if Instant::now() >= until || self.checker.broken() {
                return Ok(());
            }
            let next = self.next().map_or(until, |at| at.min(until));
            tokio::select! {
                biased;
                Some(done) = self.passes.next(), if !self.passes.is_empty() => self.ended(&done),
                () = self.bell.notified() => {}
                _ = self.changes.changed() => {}
                () = tokio::time::sleep_until(next) => {}
            }
        }
    }

    fn next(&self) -> Option<Instant> {
        let script = self.script.keys().next().map(|(at, _)| *at);
        let controllers = self.lag.or_else(|| self.controllers.next());
        let daemons = self.daemons.iter().filter_map(Daemon::next);
        [script, controllers, self.node.next(), self.gateway.next(), self.broker.next()]
            .into_iter()
            .flatten()
            .chain(daemons)
            .min()
    }

    /// Does everything that is due now.
    fn turn(&mut self) -> Result<(), SimulationError> {
        self.changes.mark_unchanged();
        let now = Instant::now();
        if !self.daemons.is_empty() {
            self.checker.lives(self.begun.elapsed());
        }
        while let Some(entry) = self.script.first_entry()
            && entry.key().0 <= now
        {
            let deed = entry.remove();
            self.perform(deed)?;
        }
        self.cluster();
        self.observe();
        let mut passes = Vec::new();
        for daemon in &mut self.daemons {
            passes.extend(daemon.settle());
        }
        self.passes.extend(passes);
        self.deliver();
        self.bury();
        Ok(())
    }

    /// Lets node and controllers work until neither has anything to do now.
    fn cluster(&mut self) {
        let now = Instant::now();
        if self.lag.is_some_and(|until| until <= now) {
            self.lag = None;
        }
        loop {
            let before = self.server.version();
            self.node.settle();
            self.gateway.settle();
            if self.lag.is_none() {
                self.controllers.settle();
            }
            if self.server.version() == before {
                return;
            }
        }
    }

    fn ended(&mut self, done: &Done) {
        self.passed += 1;
        let dies = self.orders.dies_now();
        let Some(daemon) = self.daemons.iter_mut().find(|daemon| daemon.number == done.daemon) else {
            return;
        };
        match done.next {
            Some(next) if !dies => daemon.ended(&done.release, next),
            _ => daemon.token.cancel(),
        }
    }

    /// Daemons that died are gone with all that they knew; the next one comes after a while.
    fn bury(&mut self) {
        let dead: Vec<u64> =
            self.daemons.iter().filter(|one| one.token.is_cancelled()).map(|one| one.number).collect();
        if dead.is_empty() {
            return;
        }
        self.daemons.retain(|one| !one.token.is_cancelled());
        let time = self.time();
        for number in dead {
            self.trace.note(time, || format!("daemon {number} is dead"));
        }
        if self.daemons.is_empty() && !self.script.values().any(|deed| *deed == Deed::Start) {
            let away = self.away;
            self.plan(Instant::now() + away, Deed::Start);
        }
    }
}
