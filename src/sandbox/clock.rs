//! Times as Kubernetes writes and compares them.

use std::time::Duration;

use jiff::Timestamp;

pub use crate::clock::Clock;

impl Clock {
    /// The present moment as Kubernetes writes `metav1.Time`: RFC 3339, whole seconds.
    pub(crate) fn now_text(&self) -> String {
        seconds_text(self.now())
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
