//! The publisher loop: outbox entries → Kafka or the log, acknowledgements back.
//!
//! Each release is a lane of its own: its next event leaves when the one before it was acknowledged, so order holds through time-outs
//! and new producers, and a lane that stands still holds up no other. A full channel or a broker that is away costs the sender
//! nothing: everything is in the record and is offered again.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use backoff::BackoffBuilder as _;
use futures::StreamExt as _;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::kafka::{KafkaSink, Sent};
use super::lane::Lane;
use crate::model::name::ReleaseKey;
use crate::model::record::{OutboxEntry, RenderedEvent};
use crate::telemetry::metrics::EventMetrics;

/// Lanes that send at the same time.
const FLIGHTS: usize = 64;
/// Bytes of entries that wait in memory, of all lanes; what is above it stays in its record until it is offered again.
const WAITING: usize = 32 * 1024 * 1024;
/// Lanes remembered while they have nothing to do.
const LANES: usize = 10_000;

/// What one release has in its outbox.
#[derive(Debug, Clone)]
pub struct Outgoing {
    /// The release.
    pub release: ReleaseKey,
    /// The UID of its `Release` object.
    pub uid: String,
    /// *All* entries of the stored outbox, in ascending order: the newest offer replaces what an earlier one left waiting.
    pub entries: Vec<(u64, OutboxEntry)>,
}

/// What may be trimmed from a release's outbox.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Acked {
    /// The release.
    pub release: ReleaseKey,
    /// The UID of its `Release` object; a record made anew under the same name is another one.
    pub uid: String,
    /// Everything up to and including this sequence number was acknowledged.
    pub sequence: u64,
}

/// Where events go.
#[derive(Debug)]
pub enum Sink {
    /// Without a broker: to the log, acknowledged at once.
    Log,
    /// To Kafka.
    Kafka(KafkaSink),
}

impl Sink {
    async fn send(&self, release: &ReleaseKey, event: &RenderedEvent) -> Sent {
        match self {
            Self::Kafka(kafka) => kafka.send(&release.to_string(), event).await,
            Self::Log => {
                tracing::info!(%release, id = event.id, kind = event.kind, data = event.data, "event");
                Sent::Acknowledged
            }
        }
    }
}

/// Offers a release's outbox to the publisher. Never waits: `false` says that the publisher is busy and it has to be offered again.
pub fn offer(to: &mpsc::Sender<Outgoing>, outgoing: Outgoing) -> bool {
    to.try_send(outgoing).is_ok()
}

/// Publishes until `shutdown`, or until nobody can offer any more; then for `drain` at most sends what waits. Returns the number of
/// entries that were not acknowledged: they are in their records.
pub async fn run(
    sink: Sink,
    offers: mpsc::Receiver<Outgoing>,
    acks: mpsc::Sender<Acked>,
    metrics: EventMetrics,
    shutdown: CancellationToken,
    drain: Duration,
) -> usize {
    let mut publisher = Publisher {
        sink: Arc::new(sink),
        metrics,
        lanes: BTreeMap::new(),
        ready: VecDeque::new(),
        flights: FuturesUnordered::new(),
        waiting: 0,
        acked: BTreeMap::new(),
    };
    let deadline = publisher.publish(offers, acks, shutdown, drain).await;
    let left = publisher.lanes.values().map(Lane::unacknowledged).sum();
    if let (Sink::Kafka(_), true) = (&*publisher.sink, left > 0) {
        tracing::warn!(
            entries = left,
            "stopping with events that no broker has acknowledged: they stay in their records"
        );
        flush(publisher, deadline).await;
    }
    left
}

/// Gives events that are with the client a last chance; an acknowledgement that nobody hears only means that it is sent again.
async fn flush(publisher: Publisher, deadline: Instant) {
    let limit = deadline.saturating_duration_since(Instant::now()).min(Duration::from_secs(1));
    let flushed = tokio::task::spawn_blocking(move || {
        if let Sink::Kafka(kafka) = &*publisher.sink {
            kafka.flush(limit);
        }
    });
    // It ends by its limit; if it panicked, there is nothing left to do either.
    let _ = flushed.await;
}

/// One entry that was sent to its end.
struct Landed {
    release: ReleaseKey,
    uid: String,
    sequence: u64,
}

struct Publisher {
    sink: Arc<Sink>,
    metrics: EventMetrics,
    lanes: BTreeMap<ReleaseKey, Lane>,
    /// Lanes that have something to send and nothing in flight.
    ready: VecDeque<ReleaseKey>,
    flights: FuturesUnordered<BoxFuture<'static, Landed>>,
    /// Bytes that wait in the lanes.
    waiting: usize,
    /// Acknowledgements on their way back, the newest a release.
    acked: BTreeMap<ReleaseKey, Acked>,
}

impl Publisher {
    async fn publish(
        &mut self,
        mut offers: mpsc::Receiver<Outgoing>,
        acks: mpsc::Sender<Acked>,
        shutdown: CancellationToken,
        drain: Duration,
    ) -> Instant {
        let (mut open, mut deadline) = (true, None::<Instant>);
        loop {
            let end = deadline.unwrap_or_else(|| Instant::now() + drain);
            tokio::select! {
                () = shutdown.cancelled(), if deadline.is_none() => {
                    deadline = Some(Instant::now() + drain);
                    offers.close();
                }
                () = tokio::time::sleep_until(end), if deadline.is_some() => return end,
                permit = acks.reserve(), if !self.acked.is_empty() => match (permit, self.acked.pop_first()) {
                    (Ok(permit), Some((_, acked))) => permit.send(acked),
                    // Nobody listens any more.
                    _ => self.acked.clear(),
                },
                Some(landed) = self.flights.next() => self.land(landed),
                offer = offers.recv(), if open => match offer {
                    Some(outgoing) => self.take(outgoing),
                    None => open = false,
                },
            }
            self.depart();
            if !open && deadline.is_none() {
                deadline = Some(Instant::now() + drain);
            }
            if !open && self.flights.is_empty() && self.acked.is_empty() {
                return deadline.unwrap_or_else(Instant::now);
            }
        }
    }

    /// Takes an offer: it replaces what waits of the same release.
    fn take(&mut self, outgoing: Outgoing) {
        if self.lanes.len() >= LANES && !self.lanes.contains_key(&outgoing.release) {
            self.lanes.retain(|_, lane| !lane.idle());
        }
        let release = outgoing.release;
        let lane = self.lanes.entry(release.clone()).or_default();
        self.waiting = self.waiting.saturating_sub(lane.bytes());
        let again = lane.offer(outgoing.uid, outgoing.entries, WAITING.saturating_sub(self.waiting));
        self.waiting = self.waiting.saturating_add(lane.bytes());
        if let Some(sequence) = again {
            let uid = lane.uid().to_owned();
            self.acked.insert(release.clone(), Acked { release: release.clone(), uid, sequence });
        }
        if lane.ready() && !self.ready.contains(&release) {
            self.ready.push_back(release);
        }
    }

    /// Lets ready lanes send, each its next entry.
    fn depart(&mut self) {
        while self.flights.len() < FLIGHTS {
            let Some(release) = self.ready.pop_front() else { return };
            let Some(lane) = self.lanes.get_mut(&release) else { continue };
            let before = lane.bytes();
            let Some((sequence, entry)) = lane.depart() else { continue };
            self.waiting = self.waiting.saturating_sub(before - lane.bytes());
            let landed = Landed { release, uid: lane.uid().to_owned(), sequence };
            let (sink, metrics) = (Arc::clone(&self.sink), self.metrics.clone());
            self.flights.push(Box::pin(async move {
                for event in &entry.events {
                    send(&sink, &metrics, &landed, event).await;
                }
                landed
            }));
        }
    }

    fn land(&mut self, landed: Landed) {
        let Landed { release, uid, sequence } = landed;
        if let Some(lane) = self.lanes.get_mut(&release) {
            lane.land(&uid, sequence);
            if lane.ready() {
                self.ready.push_back(release.clone());
            }
        }
        self.acked.insert(release.clone(), Acked { release, uid, sequence });
    }
}

/// Sends one event until it is acknowledged or proves unsendable.
async fn send(sink: &Sink, metrics: &EventMetrics, landed: &Landed, event: &RenderedEvent) {
    let pauses = backoff::ExponentialBuilder::default()
        .with_min_delay(Duration::from_millis(50))
        .with_max_delay(Duration::from_secs(5))
        .with_jitter()
        .without_max_times();
    let mut pauses = pauses.build();
    loop {
        let begun = Instant::now();
        match sink.send(&landed.release, event).await {
            Sent::Acknowledged => return metrics.published(&event.kind, begun.elapsed()),
            Sent::Unsendable(reason) => {
                tracing::error!(
                    release = %landed.release, sequence = landed.sequence, id = event.id, kind = event.kind, reason,
                    "an event is dropped: the broker will never take it"
                );
                return metrics.unsendable(&event.kind);
            }
            Sent::Failed(word, reason) => {
                metrics.failed(&event.kind, word);
                let pause = pauses.next().unwrap_or(Duration::from_secs(5));
                tracing::warn!(
                    release = %landed.release, sequence = landed.sequence, reason, ?pause,
                    "publishing an event: it is sent again"
                );
                tokio::time::sleep(pause).await;
            }
        }
    }
}

#[cfg(test)]
mod tests;
