//! Where the time of day comes from: one value, made at the edge and handed down.
//!
//! In: nothing, or a moment to start at. Out: [`Clock::now`]. May use: the machine's clock and tokio's. Elapsed time, intervals and
//! deadlines are tokio's alone, which a paused runtime stops; only what is written down, compared with what was written down, or shown
//! to people asks here.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use tokio::time::Instant;

/// A source of timestamps, cheap to clone.
#[derive(Clone)]
pub struct Clock(Arc<dyn Fn() -> Timestamp + Send + Sync>);

impl Clock {
    /// The machine's own, asked each time: it follows when somebody sets it.
    #[allow(clippy::disallowed_methods)] // The one place.
    pub fn wall() -> Self {
        Self::from_fn(Timestamp::now)
    }

    /// Starts at `start` and advances with tokio's clock.
    pub fn starting_at(start: Timestamp) -> Self {
        let origin = Instant::now();
        Self::from_fn(move || {
            let elapsed = SignedDuration::try_from(origin.elapsed()).unwrap_or(SignedDuration::MAX);
            start.checked_add(elapsed).unwrap_or(Timestamp::MAX)
        })
    }

    /// Starts at the machine's present time and advances with tokio's clock.
    pub fn system() -> Self {
        Self::starting_at(Self::wall().now())
    }

    /// Asks `read` for every timestamp.
    pub fn from_fn(read: impl Fn() -> Timestamp + Send + Sync + 'static) -> Self {
        Self(Arc::new(read))
    }

    /// The present moment.
    pub fn now(&self) -> Timestamp {
        (self.0)()
    }

    /// The instant of the runtime's clock at which this clock will show `at`; at once if that is past.
    pub fn instant(&self, at: Timestamp) -> Instant {
        let ahead = Duration::try_from(at.duration_since(self.now())).unwrap_or(Duration::ZERO);
        Instant::now() + ahead
    }
}

impl Default for Clock {
    fn default() -> Self {
        Self::system()
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Clock").field(&self.now()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_clock_that_starts_somewhere_stands_and_goes_with_the_runtime() {
        let start: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
        let clock = Clock::starting_at(start);
        assert_eq!(clock.now(), start);
        tokio::time::advance(Duration::from_hours(1)).await;
        assert_eq!(clock.now().to_string(), "2026-01-01T01:00:00Z");
        let in_a_minute = clock.now() + Duration::from_mins(1);
        assert_eq!(clock.instant(in_a_minute), Instant::now() + Duration::from_mins(1));
        assert_eq!(clock.instant(start), Instant::now(), "what is past is now");
    }
}
