//! The loop of one source: idle, looking, or looking with another look already asked for. However many hints come during a look, one
//! more look follows. After a failure the waits grow; a hint still looks at once, but not more often than four times a second.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures::FutureExt as _;
use futures::future::OptionFuture;
use rand::Rng;
use tokio::sync::{Mutex, OwnedSemaphorePermit, Semaphore, mpsc, watch};
use tokio::task::{JoinError, JoinHandle};
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;
use tracing::Instrument as _;

use super::auth::Clients;
use super::cache::Cache;
use super::error::Cause;
use super::hint::Hint;
use super::mirror::Order;
use super::network::{LOOK_DEADLINE, Network};
use super::poll::{Due, Host, Hosts, Schedule, Seen};
use super::reader::{Looked, Reader};
use super::report::{Compose, Pace, SourceReport, Trigger};
use super::watch::LocalWatch;
use crate::config::{Environment, Source};
use crate::model::suspension::Suspended;

/// How long a local repository must be quiet after a notification: a push touches a few files.
const QUIET: Duration = Duration::from_millis(3);

/// What a source shows after a panic in a look.
const OUR_FAULT: &str = "the look ended early by a fault of our own; it is tried again";

/// Everything that the loop of one source is made of.
pub struct SourceLoop {
    /// The source.
    pub source: Arc<Source>,
    /// Every environment of the platform.
    pub environments: Arc<[Environment]>,
    /// Where the mirrors of all sources are kept.
    pub cache: Cache,
    /// The two pure functions.
    pub compose: Compose,
    /// What all sources share to reach their repositories.
    pub clients: Clients,
    /// The hosts that all sources share.
    pub hosts: Hosts,
    /// Where hints come from.
    pub hint: Hint,
    /// Whether the source is suspended: then nothing makes it be looked at.
    pub suspended: watch::Receiver<Option<Suspended>>,
    /// Where reports go to. A full channel makes the loop wait, not forget.
    pub reports: mpsc::Sender<SourceReport>,
    /// How many looks may run at one time, over all sources.
    pub permits: Arc<Semaphore>,
}

impl SourceLoop {
    /// Runs until `stop`, or until nobody takes reports any more. Fails only if the source's globs do not compile.
    pub async fn run(self, stop: CancellationToken) -> Result<(), Cause> {
        let reader = Reader::new(self.source.clone(), &self.environments, &self.cache, self.compose.clone())?;
        let reader = Arc::new(Mutex::new(reader));
        let host = self.hosts.of(&self.source.url);
        let mut schedule = Schedule::new(self.source.poll, host.is_none(), self.hosts.began());
        let mut watch = LocalWatch::default();
        let mut trigger = Trigger::Start;
        loop {
            if self.suspended.borrow().is_some() {
                if !self.resumed(&stop).await {
                    return Ok(());
                }
                trigger = Trigger::Asked;
            }
            if let Some(path) = self.source.url.local() {
                watch.ensure(path, &self.hint, &self.source.name);
            }
            // Boxed: most loops rest, and a round needs ten times the room.
            let round = Box::pin(self.round(&reader, host.as_ref(), (&mut schedule, trigger), &stop));
            let Some(due) = round.await else { return Ok(()) };
            let mut suspended = self.suspended.clone();
            trigger = tokio::select! {
                // A hint that was waiting is not lost to a poll at the same instant.
                biased;
                () = stop.cancelled() => return Ok(()),
                Ok(_) = suspended.wait_for(Option::is_some) => trigger,
                trigger = self.hinted(due.earliest) => trigger,
                () = sleep_until(due.next) => Trigger::Poll,
            };
        }
    }

    /// Looks, reports what was seen and puts in order what that left; `None` when the daemon stops, or nobody takes reports.
    async fn round(
        &self,
        reader: &Arc<Mutex<Reader>>,
        host: Option<&Arc<Host>>,
        (schedule, trigger): (&mut Schedule, Trigger),
        stop: &CancellationToken,
    ) -> Option<Due> {
        let looked = self.look(reader, host, trigger, stop).await?;
        let seen = Seen { up: looked.report.up, moved: looked.moved, trigger: looked.report.trigger };
        let due = schedule.after(seen, Instant::now(), rand::rng().random());
        let pace = Some(pace(schedule, &due));
        tokio::select! {
            biased;
            sent = self.reports.send(SourceReport { pace, ..looked.report }) => sent.ok()?,
            () = stop.cancelled() => return None,
        }
        if looked.order != Order::Fine {
            self.tidy(reader, looked.order, stop).await;
        }
        Some(due)
    }

    /// Puts the mirror in order, as one look among all; a stop ends it at once, and a hint unless it is overdue.
    async fn tidy(&self, reader: &Arc<Mutex<Reader>>, order: Order, stop: &CancellationToken) {
        let Ok(permit) = self.permits.clone().acquire_owned().await else { return };
        let mut reading = reader.clone().lock_owned().await;
        let interrupt = Arc::new(AtomicBool::new(false));
        let asked = interrupt.clone();
        let task = tokio::task::spawn_blocking(move || {
            let _permit = permit;
            reading.tidy(&asked);
        });
        let wanted = async {
            tokio::select! {
                () = stop.cancelled() => {}
                trigger = self.hint.wait(), if order == Order::Untidy => self.hint.send(trigger),
            }
        };
        if let Err(error) = ended(task, wanted, &interrupt).await {
            tracing::error!(source = %self.source.name, %error, "putting its packs into one ended early");
        }
    }

    /// Waits until the source is resumed; what is hinted meanwhile is seen by the look that follows. `false` when the daemon stops.
    async fn resumed(&self, stop: &CancellationToken) -> bool {
        let mut suspended = self.suspended.clone();
        tokio::select! {
            biased;
            () = stop.cancelled() => false,
            resumed = suspended.wait_for(Option::is_none) => resumed.is_ok(),
        }
    }

    async fn hinted(&self, earliest: Instant) -> Trigger {
        let trigger = self.hint.wait().await;
        if trigger == Trigger::Notify {
            sleep(QUIET).await;
        }
        sleep_until(earliest).await;
        // What was hinted while we waited is seen by the look that follows.
        self.hint.take().map_or(trigger, |later| later.max(trigger))
    }

    /// Waits for its turn at the host and among all looks, then looks; `None` when the daemon stops.
    async fn look(
        &self,
        reader: &Arc<Mutex<Reader>>,
        host: Option<&Arc<Host>>,
        trigger: Trigger,
        stop: &CancellationToken,
    ) -> Option<Looked> {
        // The host first: one that does not answer takes few of the permits.
        let turn = async {
            let place = OptionFuture::from(host.map(Host::enter)).await;
            Some((place, self.permits.clone().acquire_owned().await.ok()?))
        };
        let (place, permit) = tokio::select! {
            () = stop.cancelled() => return None,
            turn = turn => turn?,
        };
        // What was hinted while we waited is seen by this look.
        let trigger = self.hint.take().map_or(trigger, |later| later.max(trigger));
        let looked = self.read(reader, permit, trigger, stop).await;
        if let (Some(place), Some(looked)) = (place, &looked) {
            place.leave(looked.word, looked.report.stats.requests);
        }
        looked
    }

    async fn read(
        &self,
        reader: &Arc<Mutex<Reader>>,
        permit: OwnedSemaphorePermit,
        trigger: Trigger,
        stop: &CancellationToken,
    ) -> Option<Looked> {
        let until = Instant::now() + LOOK_DEADLINE;
        let mut network = Network::new(self.clients.clone(), stop.clone());
        let interrupt = network.interrupt.clone();
        let span = tracing::info_span!("look", source = %self.source.name, ?trigger);
        let mut reading = reader.clone().lock_owned().await;
        let asked = AssertUnwindSafe(reading.ask(&mut network)).catch_unwind();
        let Ok(told) = asked.instrument(span.clone()).await else {
            tracing::error!(source = %self.source.name, "asking for the refs ended early");
            return Some(reading.failed(OUR_FAULT, trigger));
        };
        if let Some(looked) = reading.idle(&told, &network, trigger) {
            return Some(looked);
        }
        let task = tokio::task::spawn_blocking(move || {
            let _permit = permit;
            let _span = span.entered();
            reading.look(told, network, trigger)
        });
        let over = async {
            tokio::select! { () = stop.cancelled() => {}, () = sleep_until(until) => {} }
        };
        match ended(task, over, &interrupt).await {
            Ok(looked) if !stop.is_cancelled() => Some(looked),
            Ok(_) => None,
            Err(error) => {
                tracing::error!(source = %self.source.name, %error, "look ended early");
                let mut reader = reader.lock().await;
                Some(reader.failed(OUR_FAULT, trigger))
            }
        }
    }
}

/// Waits for the end of what runs on a thread of its own, and asks for it once `over` comes first.
async fn ended<T>(
    mut task: JoinHandle<T>,
    over: impl Future<Output = ()>,
    interrupt: &AtomicBool,
) -> Result<T, JoinError> {
    tokio::select! {
        ended = &mut task => ended,
        () = over => {
            interrupt.store(true, Ordering::Release);
            task.await
        }
    }
}

fn pace(schedule: &Schedule, due: &Due) -> Pace {
    let now = Instant::now();
    let (interval, slowed) = schedule.pace(now);
    let wait = due.next.saturating_duration_since(now);
    let next = super::now().checked_add(wait).unwrap_or(jiff::Timestamp::MAX);
    Pace { interval_seconds: interval.as_secs(), slowed, next }
}
