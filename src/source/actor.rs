//! The loop of one source: idle, looking, or looking with another look already asked for. However many hints come during a look, one
//! more look follows. After a failure the waits grow; a hint still looks at once, but not more often than four times a second.

use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use backoff::{BackoffBuilder, ExponentialBuilder};
use rand::Rng;
use tokio::sync::{Semaphore, mpsc};
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;

use super::error::Cause;
use super::hint::Hint;
use super::reader::{Looked, Reader};
use super::report::{Compose, SourceReport, Trigger};
use super::network::{LOOK_DEADLINE, Network};
use super::watch::RefWatcher;
use crate::config::{Environment, Source};

/// How long a local repository must be quiet after a notification: a push touches a few files.
const QUIET: Duration = Duration::from_millis(3);
/// Waits before another look when a webhook came but its commit is not visible yet.
const REVISITS: [Duration; 3] = [Duration::from_secs(1), Duration::from_secs(2), Duration::from_secs(7)];
/// Shortest time between two looks while the source fails.
const FAILING_GAP: Duration = Duration::from_millis(250);

/// Everything that the loop of one source is made of.
pub struct SourceLoop {
    /// The source.
    pub source: Source,
    /// Every environment of the platform.
    pub environments: Vec<Environment>,
    /// Where mirrors are kept.
    pub cache_dir: PathBuf,
    /// The two pure functions.
    pub compose: Compose,
    /// The client that all sources share, from [`super::client`].
    pub client: reqwest::Client,
    /// Where hints come from.
    pub hint: Hint,
    /// Where reports go to. A full channel makes the loop wait, not forget.
    pub reports: mpsc::Sender<SourceReport>,
    /// How many looks may run at one time, over all sources.
    pub permits: Arc<Semaphore>,
}

/// When the next look is due without a hint.
struct Schedule {
    poll: Duration,
    failures: Box<dyn Iterator<Item = Duration> + Send>,
    revisits: std::slice::Iter<'static, Duration>,
    next: Instant,
    /// Not before this, whatever is hinted.
    earliest: Instant,
}

impl SourceLoop {
    /// Runs until `stop`, or until nobody takes reports any more. Fails only if the source's globs do not compile.
    pub async fn run(self, stop: CancellationToken) -> Result<(), Cause> {
        let reader =
            Reader::new(self.source.clone(), &self.environments, &self.cache_dir, self.compose.clone())?;
        let reader = Arc::new(Mutex::new(reader));
        let mut schedule = Schedule::new(self.source.poll);
        let mut watcher = None;
        let mut trigger = Trigger::Start;
        loop {
            self.watch(&mut watcher);
            let Some(looked) = self.look(&reader, trigger, &stop).await else { return Ok(()) };
            let seen = Seen {
                up: looked.report.up,
                // A local repository shows a commit before anybody can tell of it.
                settled: looked.moved || self.source.url.local().is_some(),
                retry_after: looked.retry_after,
                trigger,
            };
            schedule.after(&seen, Instant::now());
            if self.reports.send(looked.report).await.is_err() {
                return Ok(());
            }
            trigger = tokio::select! {
                () = stop.cancelled() => return Ok(()),
                trigger = self.hinted(schedule.earliest) => trigger,
                () = sleep_until(schedule.next) => Trigger::Poll,
            };
        }
    }

    /// Watches a local repository, as soon as it is there. Where it cannot be watched it is polled.
    fn watch(&self, watcher: &mut Option<RefWatcher>) {
        let Some(path) = self.source.url.local() else { return };
        if watcher.is_some() && path.exists() {
            return;
        }
        *watcher = match RefWatcher::new(path, self.hint.clone()) {
            Ok(watcher) => Some(watcher),
            Err(error) => {
                let source = &self.source.name;
                tracing::debug!(%source, error = error.sentence(), "local repository is polled");
                None
            }
        };
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

    /// Looks on a thread of its own; `None` when the daemon stops.
    async fn look(
        &self,
        reader: &Arc<Mutex<Reader>>,
        trigger: Trigger,
        stop: &CancellationToken,
    ) -> Option<Looked> {
        let permit = tokio::select! {
            () = stop.cancelled() => return None,
            permit = self.permits.clone().acquire_owned() => permit.ok()?,
        };
        let network = Network::new(self.client.clone(), stop.clone());
        let interrupt = network.interrupt.clone();
        let blocking = reader.clone();
        let span = tracing::info_span!("look", source = %self.source.name, ?trigger);
        let mut task = tokio::task::spawn_blocking(move || {
            let _permit = permit;
            let _span = span.entered();
            blocking.lock().unwrap_or_else(PoisonError::into_inner).look(network, trigger)
        });
        let finished = tokio::select! {
            finished = &mut task => finished,
            () = async { tokio::select! { () = stop.cancelled() => {}, () = sleep(LOOK_DEADLINE) => {} } } => {
                interrupt.store(true, Ordering::Release);
                task.await
            }
        };
        match finished {
            Ok(looked) if !stop.is_cancelled() => Some(looked),
            Ok(_) => None,
            Err(error) => {
                tracing::error!(source = %self.source.name, %error, "look ended early");
                let mut reader = reader.lock().unwrap_or_else(PoisonError::into_inner);
                Some(reader.failed("the look ended early by a fault of our own; it is tried again", trigger))
            }
        }
    }
}

/// What the schedule has to know of a look.
#[derive(Debug, Clone, Copy)]
struct Seen {
    up: bool,
    /// What was hinted at is here, or would be.
    settled: bool,
    retry_after: Option<Duration>,
    trigger: Trigger,
}

impl Schedule {
    fn new(poll: Duration) -> Self {
        let now = Instant::now();
        Self { poll, failures: failures(), revisits: [].iter(), next: now, earliest: now }
    }

    fn after(&mut self, seen: &Seen, now: Instant) {
        if !seen.up {
            let wait = self.failures.next().unwrap_or(self.poll);
            let wait = wait.max(seen.retry_after.unwrap_or_default());
            self.next = now + wait;
            self.earliest = now + seen.retry_after.unwrap_or(FAILING_GAP);
            return;
        }
        self.failures = failures();
        self.earliest = now;
        if seen.settled {
            self.revisits = [].iter();
        } else if seen.trigger == Trigger::Webhook {
            self.revisits = REVISITS.iter();
        }
        let jittered = self.poll.mul_f64(rand::rng().random_range(0.9..1.1));
        self.next = now + self.revisits.next().copied().unwrap_or(jittered);
    }
}

fn failures() -> Box<dyn Iterator<Item = Duration> + Send> {
    let backoff = ExponentialBuilder::default()
        .with_min_delay(Duration::from_secs(2))
        .with_max_delay(Duration::from_mins(5))
        .with_jitter()
        .without_max_times();
    Box::new(backoff.build())
}

#[cfg(test)]
mod tests {
    use super::*;

    const QUIET_LOOK: Seen = Seen { up: true, settled: false, retry_after: None, trigger: Trigger::Poll };

    fn waits(schedule: &mut Schedule, seen: Seen) -> (Duration, Duration) {
        let now = Instant::now();
        schedule.after(&seen, now);
        (schedule.next - now, schedule.earliest - now)
    }

    #[test]
    fn a_webhook_without_its_commit_is_looked_after_at_1_3_and_10_seconds() {
        let mut schedule = Schedule::new(Duration::from_mins(1));
        let hooked = Seen { trigger: Trigger::Webhook, ..QUIET_LOOK };
        let mut next = |seen| waits(&mut schedule, seen).0.as_secs();
        assert_eq!([next(hooked), next(QUIET_LOOK), next(QUIET_LOOK)], [1, 2, 7]);
        assert!((54..66).contains(&next(QUIET_LOOK)), "then the interval, less or more a tenth");
        assert_eq!(next(hooked), 1);
        assert!(next(Seen { settled: true, ..QUIET_LOOK }) >= 54, "its commit came");
        assert!(next(Seen { settled: true, ..hooked }) >= 54);
    }

    #[test]
    fn failures_wait_longer_and_longer_and_as_long_as_the_server_says() {
        let mut schedule = Schedule::new(Duration::from_mins(1));
        let failed = Seen { up: false, ..QUIET_LOOK };
        let all: Vec<u64> = (0..12).map(|_| waits(&mut schedule, failed).0.as_secs()).collect();
        assert!(all[0] >= 2 && all[0] <= 4, "{all:?}");
        assert!(all[11] >= 300 && all[11] <= 600, "{all:?}");
        assert_eq!(waits(&mut schedule, failed).1, FAILING_GAP);
        let hour = Duration::from_hours(1);
        assert_eq!(waits(&mut schedule, Seen { retry_after: Some(hour), ..failed }), (hour, hour));
        waits(&mut schedule, QUIET_LOOK);
        assert!(waits(&mut schedule, failed).0.as_secs() <= 4, "a good look forgets them");
    }
}
