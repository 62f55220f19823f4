//! The queue: release keys, each at most once, the earliest deadline wins, one pass of a key at a time, a bounded number at once.
//! The scheduling is kube's; the runner is ours, since kube's controller runs only keys that are in its store and drops deletions.

use std::collections::{HashMap, HashSet};
use std::future::Future;
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use kube::runtime::scheduler::{ScheduleRequest, scheduler};
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::model::name::ReleaseKey;

/// kube's scheduler counts in milliseconds and rounds up, so what is due now would wait for its next tick, and a rollout is a chain
/// of such passes. What was due this long ago does not wait.
const AT_ONCE: Duration = Duration::from_millis(2);

/// The sending half; cheap to clone. Memory is bounded by the number of releases: a key that waits already is not sent again.
#[derive(Clone)]
pub struct Queue {
    requests: mpsc::UnboundedSender<ScheduleRequest<ReleaseKey>>,
    waiting: Arc<Mutex<Waiting>>,
}

/// Who waits for a pass that is due, and since when.
type Waiting = HashMap<ReleaseKey, Instant>;

/// The receiving half.
pub struct Requests {
    requests: mpsc::UnboundedReceiver<ScheduleRequest<ReleaseKey>>,
    waiting: Arc<Mutex<Waiting>>,
}

/// When a release is to be looked at again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// When something happens.
    Event,
    /// Then, if nothing happens before.
    At(Instant),
}

impl Queue {
    /// Makes a queue.
    pub fn new() -> (Self, Requests) {
        let (sender, receiver) = mpsc::unbounded_channel();
        let waiting = Arc::new(Mutex::default());
        (Self { requests: sender, waiting: Arc::clone(&waiting) }, Requests { requests: receiver, waiting })
    }

    /// Asks for a pass at once.
    pub fn soon(&self, release: &ReleaseKey) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if !waiting.contains_key(release) {
            let now = Instant::now();
            waiting.insert(release.clone(), now);
            let run_at = now.checked_sub(AT_ONCE).unwrap_or(now);
            // The receiver is gone only when the daemon stops.
            let request = ScheduleRequest { message: release.clone(), run_at };
            let _ = self.requests.send(request);
        }
    }

    /// Returns how many releases wait for a pass that is due.
    pub fn depth(&self) -> usize {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// Asks for a pass then, unless one comes before.
    pub fn at(&self, release: ReleaseKey, run_at: Instant) {
        let _ = self.requests.send(ScheduleRequest { message: release, run_at });
    }
}

impl Requests {
    /// Takes what was asked for so far, each with when, for who runs passes by an order of its own.
    pub fn asked(&mut self) -> Vec<(ReleaseKey, Instant)> {
        let mut asked = Vec::new();
        while let Ok(ScheduleRequest { message, run_at }) = self.requests.try_recv() {
            self.waiting.lock().unwrap_or_else(PoisonError::into_inner).remove(&message);
            asked.push((message, run_at));
        }
        asked
    }
}

/// Runs passes until `shutdown`; those under way are finished. Each is told how long ago it was due.
pub async fn run<F, P>(queue: Queue, requests: Requests, most: usize, shutdown: CancellationToken, pass: F)
where
    F: Fn(ReleaseKey, Duration) -> P,
    P: Future<Output = Next>,
{
    let Requests { requests, waiting } = requests;
    let requests = futures::stream::unfold(requests, |mut requests| async move {
        requests.recv().await.map(|request| (request, requests))
    });
    let mut scheduled = pin!(scheduler(requests));
    let (mut active, mut again): (HashSet<ReleaseKey>, HashMap<ReleaseKey, Instant>) = Default::default();
    // What each asked for itself, by the clock.
    let mut planned: HashMap<ReleaseKey, Instant> = HashMap::new();
    let mut passes = FuturesUnordered::new();
    let begin = |release: ReleaseKey, due: Instant| {
        let running = pass(release.clone(), due.elapsed());
        async move { (release, running.await) }
    };
    loop {
        tokio::select! {
            biased;
            () = shutdown.cancelled() => break,
            Some((release, next)) = passes.next(), if !passes.is_empty() => {
                if let Some(due) = again.remove(&release) {
                    passes.push(begin(release, due));
                    continue;
                }
                active.remove(&release);
                if let Next::At(at) = next {
                    planned.insert(release.clone(), at);
                    queue.at(release, at);
                }
            }
            // With every place taken, what is due stays in the scheduler.
            Some(release) = scheduled.next(), if active.len() < most => {
                let asked = waiting.lock().unwrap_or_else(PoisonError::into_inner).remove(&release);
                let due = asked.into_iter().chain(planned.remove(&release)).min().unwrap_or_else(Instant::now);
                if active.insert(release.clone()) {
                    passes.push(begin(release, due));
                } else {
                    // Asked for while it runs: once more, afterwards.
                    again.entry(release).or_insert(due);
                }
            }
        }
    }
    while passes.next().await.is_some() {}
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_is_asked_for_now_does_not_wait_for_the_next_tick() {
        let (queue, requests) = Queue::new();
        let keys: [ReleaseKey; 2] = ["a.b", "c.d"].map(|key| key.parse().unwrap());
        let shutdown = CancellationToken::new();
        let asked = RefCell::new(Instant::now());
        queue.soon(&keys[0]);
        let pass = |release: ReleaseKey, late: Duration| {
            let (queue, shutdown, asked, keys) = (queue.clone(), shutdown.clone(), &asked, &keys);
            async move {
                assert_eq!((asked.borrow().elapsed(), late), (Duration::ZERO, Duration::ZERO), "{release}");
                if release == keys[1] {
                    shutdown.cancel();
                    return Next::Event;
                }
                // Long after the scheduler last looked at the time, and between two of its ticks.
                tokio::time::sleep(Duration::from_millis(7)).await;
                tokio::time::advance(Duration::from_micros(300)).await;
                *asked.borrow_mut() = Instant::now();
                queue.soon(&keys[1]);
                Next::Event
            }
        };
        run(queue.clone(), requests, 4, shutdown.clone(), pass).await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_key_runs_once_however_often_it_is_asked_for_and_never_twice_at_once() {
        let (queue, requests) = Queue::new();
        let key: ReleaseKey = "a.b".parse().unwrap();
        for _ in 0..1000 {
            queue.soon(&key);
        }
        assert_eq!(queue.depth(), 1);
        let shutdown = CancellationToken::new();
        let (runs, running) = (RefCell::new(0), RefCell::new(0));
        let lates = RefCell::new(Vec::new());
        let pass = |release: ReleaseKey, late: Duration| {
            lates.borrow_mut().push(late.as_millis());
            let (runs, running, queue, shutdown) = (&runs, &running, queue.clone(), shutdown.clone());
            async move {
                *running.borrow_mut() += 1;
                assert_eq!(*running.borrow(), 1);
                if *runs.borrow() == 0 {
                    // Asked for while it runs: it runs once more, afterwards.
                    queue.soon(&release);
                }
                tokio::time::sleep(Duration::from_secs(1)).await;
                *running.borrow_mut() -= 1;
                *runs.borrow_mut() += 1;
                match *runs.borrow() {
                    2 => Next::At(Instant::now() + Duration::from_mins(1)),
                    3 => {
                        shutdown.cancel();
                        Next::Event
                    }
                    _ => Next::Event,
                }
            }
        };
        let begun = Instant::now();
        run(queue.clone(), requests, 4, shutdown.clone(), pass).await;
        assert_eq!(*runs.borrow(), 3);
        assert!(begun.elapsed() >= Duration::from_secs(63));
        // The second was asked for while the first ran; the third by the clock, in whose whole milliseconds it is due.
        assert!(matches!(lates.borrow().as_slice(), [0, 1_000, 0 | 1]), "{lates:?}");
    }
}
