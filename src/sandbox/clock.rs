//! The one place of the room that reads a clock.
//!
//! In: a starting moment, or none for the machine's own. Out: [`Clock::now`], which moves with tokio's time, so that a
//! paused runtime also pauses every timestamp that the server, the controllers and the node write.

use std::{sync::Arc, time::Duration};

use jiff::{SignedDuration, Timestamp};
use tokio::time::Instant;

/// A source of timestamps, cheap to clone.
#[derive(Clone)]
pub struct Clock(Arc<dyn Fn() -> Timestamp + Send + Sync>);

impl Clock {
    /// Starts at `start` and advances with tokio's clock.
    pub fn starting_at(start: Timestamp) -> Self {
        let origin = Instant::now();
        Self(Arc::new(move || {
            let elapsed = SignedDuration::try_from(origin.elapsed()).unwrap_or(SignedDuration::MAX);
            start.checked_add(elapsed).unwrap_or(Timestamp::MAX)
        }))
    }

    /// Starts at the machine's present time and advances with tokio's clock.
    #[allow(clippy::disallowed_methods)] // The one place.
    pub fn system() -> Self {
        Self::starting_at(Timestamp::now())
    }

    /// Asks `read` for every timestamp.
    pub fn from_fn(read: impl Fn() -> Timestamp + Send + Sync + 'static) -> Self {
        Self(Arc::new(read))
    }

    /// The present moment.
    pub fn now(&self) -> Timestamp {
        (self.0)()
    }

    /// The present moment as Kubernetes writes `metav1.Time`: RFC 3339, whole seconds.
    pub(crate) fn now_text(&self) -> String {
        seconds_text(self.now())
    }
}

impl Default for Clock {
    fn default() -> Self {
        Self::system()
    }
}

impl std::fmt::Debug for Clock {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Clock").field(&self.now()).finish()
    }
}

/// `at` in whole seconds, as `metav1.Time` is written.
pub(crate) fn seconds_text(at: Timestamp) -> String {
    at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// Reads a `metav1.Time` or `MicroTime`.
pub(crate) fn parse_time(text: &str) -> Option<Timestamp> {
    text.parse().ok()
}

/// How long ago `then` was at `now`; zero if it lies ahead.
pub(crate) fn elapsed(then: Timestamp, now: Timestamp) -> Duration {
    Duration::try_from(now.duration_since(then)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writes_whole_seconds() {
        let at = parse_time("2026-01-02T03:04:05.678Z").unwrap();
        assert_eq!(seconds_text(at), "2026-01-02T03:04:05Z");
    }

    #[test]
    fn elapsed_is_never_negative() {
        let early = parse_time("2026-01-02T03:04:05Z").unwrap();
        let late = parse_time("2026-01-02T03:04:15Z").unwrap();
        assert_eq!(elapsed(early, late), Duration::from_secs(10));
        assert_eq!(elapsed(late, early), Duration::ZERO);
    }
}
