//! How long requests took, counted in buckets.

use serde::{Deserialize, Serialize};

/// Counts by duration. The bounds, in seconds, are finite and strictly ascending; `counts` has one more entry than they, for what took
/// longer than the last. No bounds and no counts: nothing was counted.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Histogram {
    /// The upper bounds, in seconds.
    pub bounds: Vec<f64>,
    /// The requests of each bucket, not of all below it.
    pub counts: Vec<u64>,
}

impl Histogram {
    /// Makes an empty one of these bounds; what is not finite is left out, and they are put in order.
    pub fn with_bounds(bounds: impl IntoIterator<Item = f64>) -> Self {
        let mut bounds: Vec<f64> = bounds.into_iter().filter(|bound| bound.is_finite()).collect();
        bounds.sort_by(f64::total_cmp);
        bounds.dedup();
        let counts = vec![0; bounds.len() + 1];
        Self { bounds, counts }
    }

    /// Tells whether nothing was counted.
    pub fn is_empty(&self) -> bool {
        self.total() == 0
    }

    /// Returns how many were counted.
    pub fn total(&self) -> u64 {
        self.counts.iter().fold(0, |sum, count| sum.saturating_add(*count))
    }

    /// Returns how many took longer than the bound at `index`; 0 for none there.
    pub fn above(&self, index: usize) -> u64 {
        self.counts.iter().skip(index.saturating_add(1)).fold(0, |sum, count| sum.saturating_add(*count))
    }

    /// Counts one request that took so many seconds.
    pub fn add(&mut self, seconds: f64) {
        let index = self.bounds.iter().position(|bound| seconds <= *bound).unwrap_or(self.bounds.len());
        if let Some(count) = self.counts.get_mut(index) {
            *count = count.saturating_add(1);
        }
    }

    /// Returns both together, in the buckets that both have.
    #[must_use]
    pub fn plus(&self, other: &Self) -> Self {
        if self.counts.is_empty() {
            return other.clone();
        }
        if other.counts.is_empty() {
            return self.clone();
        }
        let (left, right) = self.in_common(other);
        let counts = left.counts.iter().zip(&right.counts).map(|(a, b)| a.saturating_add(*b)).collect();
        Self { bounds: left.bounds, counts }
    }

    /// Returns what came since `earlier`, a state of the same counter; all of it if the counter began anew or has other buckets now.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        let fell = || self.counts.iter().zip(&earlier.counts).any(|(now, then)| now < then);
        if self.bounds != earlier.bounds || fell() {
            return self.clone();
        }
        let counts = self.counts.iter().zip(&earlier.counts).map(|(now, then)| now - then).collect();
        Self { bounds: self.bounds.clone(), counts }
    }

    /// Returns both in the buckets that both have.
    #[must_use]
    pub fn in_common(&self, other: &Self) -> (Self, Self) {
        if self.bounds == other.bounds {
            return (self.clone(), other.clone());
        }
        let same = |bound: &&f64| other.bounds.iter().any(|theirs| theirs.total_cmp(bound).is_eq());
        let bounds: Vec<f64> = self.bounds.iter().filter(same).copied().collect();
        (self.coarser(&bounds), other.coarser(&bounds))
    }

    /// Returns the same counts in fewer buckets, whose bounds are among these.
    fn coarser(&self, bounds: &[f64]) -> Self {
        let mut counts = vec![0_u64; bounds.len() + 1];
        for (index, count) in self.counts.iter().enumerate() {
            let upper = self.bounds.get(index);
            let place = upper.and_then(|upper| bounds.iter().position(|bound| upper <= bound));
            if let Some(sum) = counts.get_mut(place.unwrap_or(bounds.len())) {
                *sum = sum.saturating_add(*count);
            }
        }
        Self { bounds: bounds.to_vec(), counts }
    }

    /// Estimates the duration, in seconds, that a share `quantile` (0 to 1) of all stays within, evenly between the bounds of its bucket; the
    /// last bound for what lies above it. `None`: nothing was counted, or there are no bounds.
    #[allow(clippy::cast_precision_loss)] // An estimate for people.
    pub fn quantile(&self, quantile: f64) -> Option<f64> {
        let rank = self.total() as f64 * quantile;
        let (mut below, mut lower) = (0.0, 0.0);
        if self.is_empty() {
            return None;
        }
        for (bound, count) in self.bounds.iter().zip(&self.counts) {
            let count = *count as f64;
            if count > 0.0 && below + count >= rank {
                return Some(lower + (bound - lower) * ((rank - below) / count).clamp(0.0, 1.0));
            }
            (below, lower) = (below + count, *bound);
        }
        self.bounds.last().copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn histogram(bounds: &[f64], counts: &[u64]) -> Histogram {
        Histogram { bounds: bounds.to_vec(), counts: counts.to_vec() }
    }

    #[test]
    fn requests_fall_into_the_bucket_whose_bound_they_do_not_exceed() {
        let mut all = Histogram::with_bounds([1.0, 0.1, f64::INFINITY, 0.1]);
        for seconds in [0.05, 0.1, 0.5, 1.0, 7.0] {
            all.add(seconds);
        }
        assert_eq!(all, histogram(&[0.1, 1.0], &[2, 2, 1]));
        assert_eq!((all.total(), all.above(0), all.above(1), all.above(9)), (5, 3, 1, 0));
    }

    #[test]
    fn two_of_other_buckets_are_compared_in_those_that_both_have() {
        let fine = histogram(&[0.1, 0.2, 0.5], &[1, 2, 3, 4]);
        let coarse = histogram(&[0.2, 1.0], &[10, 20, 30]);
        assert_eq!(fine.plus(&coarse), histogram(&[0.2], &[13, 57]));
        assert_eq!(fine.plus(&Histogram::default()), fine);
        assert_eq!(Histogram::default().plus(&fine), fine);
        assert_eq!(histogram(&[0.3], &[1, 1]).plus(&coarse), histogram(&[], &[62]));
    }

    #[test]
    fn a_counter_that_began_anew_counts_wholly() {
        let then = histogram(&[0.1], &[5, 5]);
        assert_eq!(histogram(&[0.1], &[7, 5]).since(&then), histogram(&[0.1], &[2, 0]));
        assert_eq!(histogram(&[0.1], &[9, 1]).since(&then), histogram(&[0.1], &[9, 1]));
        assert_eq!(histogram(&[0.2], &[9, 9]).since(&then), histogram(&[0.2], &[9, 9]));
    }

    #[test]
    fn quantiles_lie_within_their_bucket() {
        let all = histogram(&[0.1, 0.2, 0.4], &[50, 0, 50, 0]);
        for (quantile, seconds) in [(0.25, 0.05), (0.5, 0.1), (0.75, 0.3), (1.0, 0.4)] {
            let found = all.quantile(quantile).unwrap();
            assert!((found - seconds).abs() < 1e-9, "{quantile}: {found}");
        }
        assert_eq!(histogram(&[0.1], &[0, 9]).quantile(0.5), Some(0.1));
        assert_eq!(Histogram::default().quantile(0.5), None);
    }
}
