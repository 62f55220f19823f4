//! How late a thread wakes that only sleeps: what the machine itself adds to any time that is taken on it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::time::Instant;

const NAP: Duration = Duration::from_millis(1);
/// Shorter ones are not worth keeping.
const SHORT: Duration = Duration::from_micros(200);

/// A thread that naps and notes when it was late, and by how much.
pub struct Stalls {
    all: Arc<Mutex<Vec<(Instant, Duration)>>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Stalls {
    /// Starts it.
    pub fn start() -> Self {
        let (all, stop) = (Arc::<Mutex<Vec<_>>>::default(), Arc::<AtomicBool>::default());
        let (notes, stopped) = (Arc::clone(&all), Arc::clone(&stop));
        let thread = std::thread::spawn(move || {
            while !stopped.load(Ordering::Relaxed) {
                let begun = Instant::now();
                #[allow(clippy::disallowed_methods)]
                // Whatever the runtime does, the machine is what is asked.
                std::thread::sleep(NAP);
                let late = begun.elapsed().saturating_sub(NAP);
                if late > SHORT {
                    notes.lock().unwrap_or_else(PoisonError::into_inner).push((Instant::now(), late));
                }
            }
        });
        Self { all, stop, thread: Some(thread) }
    }

    /// Returns the longest of those that ended between two moments.
    pub fn longest(&self, from: Instant, to: Instant) -> Duration {
        let all = self.all.lock().unwrap_or_else(PoisonError::into_inner);
        let between = all.iter().filter(|(at, _)| *at >= from && *at <= to);
        between.map(|(_, late)| *late).max().unwrap_or_default()
    }
}

impl Drop for Stalls {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let _ = self.thread.take().map(JoinHandle::join);
    }
}
