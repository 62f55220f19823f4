//! Remembers which deliveries came already, bounded in number and in time.

use std::collections::{HashSet, VecDeque};
use std::time::Duration;

use tokio::time::Instant;

/// How long a delivery is remembered.
const REMEMBERED: Duration = Duration::from_hours(24);
/// How many deliveries are remembered.
const LIMIT: usize = 10_000;
/// The longest id that is remembered; forges send 36 characters.
const LONGEST: usize = 128;

/// The deliveries of the last day.
#[derive(Debug, Default)]
pub(super) struct Dedupe {
    known: HashSet<String>,
    order: VecDeque<(Instant, String)>,
}

impl Dedupe {
    /// Notes a delivery; `false` if it was there already. An id that is too long is not remembered.
    pub(super) fn first_time(&mut self, source: &str, id: &str, now: Instant) -> bool {
        while let Some((at, _)) = self.order.front()
            && (self.order.len() >= LIMIT || now.duration_since(*at) > REMEMBERED)
        {
            if let Some((_, old)) = self.order.pop_front() {
                self.known.remove(&old);
            }
        }
        if id.len() > LONGEST {
            return true;
        }
        let key = format!("{source}/{id}");
        if !self.known.insert(key.clone()) {
            return false;
        }
        self.order.push_back((now, key));
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_delivery_is_known_for_a_day_and_memory_is_bounded() {
        let mut dedupe = Dedupe::default();
        let now = Instant::now();
        assert!(dedupe.first_time("a", "1", now));
        assert!(!dedupe.first_time("a", "1", now + REMEMBERED));
        assert!(dedupe.first_time("b", "1", now));
        assert!(dedupe.first_time("a", "1", now + REMEMBERED + Duration::from_secs(1)));
        for n in 0..2 * LIMIT {
            assert!(dedupe.first_time("c", &n.to_string(), now));
        }
        assert_eq!((dedupe.known.len(), dedupe.order.len()), (LIMIT, LIMIT));
        assert!(dedupe.first_time("c", &"x".repeat(LONGEST + 1), now));
        assert!(dedupe.first_time("c", &"x".repeat(LONGEST + 1), now));
    }
}
