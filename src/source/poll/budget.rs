//! How many requests a host gets in a minute: a bucket that fills evenly. Pure.

use std::time::Duration;

use tokio::time::Instant;

/// Requests a minute where the configuration says nothing: what a run-away is stopped by. Servers say themselves when less is too much.
pub(super) const DEFAULT: u32 = 60_000;

/// What is left for one host.
#[derive(Debug)]
pub(super) struct Budget {
    per_minute: u32,
    /// Below zero: a look turned out to need more than was left.
    left: f64,
    filled: Option<Instant>,
}

impl Budget {
    /// Begins full.
    pub(super) fn new(per_minute: u32) -> Self {
        Self { per_minute, left: f64::from(per_minute), filled: None }
    }

    /// Returns how long there is not one request left.
    pub(super) fn wait(&mut self, now: Instant) -> Option<Duration> {
        let full = f64::from(self.per_minute);
        let passed = self.filled.map_or(Duration::ZERO, |filled| now.saturating_duration_since(filled));
        self.filled = Some(now);
        let rate = full / 60.0;
        self.left = passed.as_secs_f64().mul_add(rate, self.left).min(full);
        // A little less than one is one: sums of fractions are not exact.
        let missing = 1.0 - self.left;
        (missing > 1e-6).then(|| Duration::from_secs_f64(missing / rate))
    }

    /// Takes requests that were sent.
    pub(super) fn spend(&mut self, requests: u64) {
        let requests = f64::from(u32::try_from(requests).unwrap_or(u32::MAX));
        // No debt beyond a minute's worth.
        self.left = (self.left - requests).max(-f64::from(self.per_minute));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_minute_has_its_requests_and_no_more() {
        let start = Instant::now();
        let mut budget = Budget::new(60);
        let mut looks = |from: Instant, seconds: u64| {
            let mut count = 0;
            for tenth in 0..seconds * 10 {
                let now = from + Duration::from_millis(100 * tenth);
                while budget.wait(now).is_none() {
                    budget.spend(1);
                    count += 1;
                }
            }
            count
        };
        assert_eq!(looks(start, 1), 60, "all at once on start");
        assert_eq!(looks(start + Duration::from_secs(1), 60), 60, "then one a second");
    }

    #[test]
    fn what_a_look_needed_more_is_waited_for() {
        let (start, mut budget) = (Instant::now(), Budget::new(60));
        assert_eq!(budget.wait(start), None);
        budget.spend(65);
        assert_eq!(budget.wait(start), Some(Duration::from_secs(6)));
        assert_eq!(budget.wait(start + Duration::from_secs(6)), None);
        budget.spend(u64::MAX);
        assert_eq!(budget.wait(start + Duration::from_secs(6)), Some(Duration::from_secs(61)), "bounded");
    }
}
