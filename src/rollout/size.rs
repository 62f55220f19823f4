//! How many pods each track gets without a router, and the way between two sizes. Traffic follows pods, so the share is only as
//! exact as the number of pods allows; [`Pair::share`] says what it really is.

use crate::model::policy::Amount;

/// The bounds of a release's sizes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// Pods wanted.
    pub wanted: u32,
    /// Pods at most, both tracks together: `wanted + max(1, ⌈max_surge · wanted⌉)`.
    pub most: u32,
    /// Ready pods that no write of ours may go below: `wanted − max_unavailable`.
    pub ready: u32,
}

impl Bounds {
    /// Returns the bounds for `wanted` pods.
    pub fn new(wanted: u32, max_surge: Amount, max_unavailable: Amount) -> Self {
        Self {
            wanted,
            most: wanted.saturating_add(max_surge.of_ceil(wanted).max(1)),
            ready: wanted.saturating_sub(max_unavailable.of_floor(wanted)),
        }
    }
}

/// A number of pods for each track.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pair {
    /// Stable's.
    pub stable: u32,
    /// The candidate's.
    pub candidate: u32,
}

impl Pair {
    /// Returns the candidate's share in per cent, rounded; 0 without pods.
    pub fn share(self) -> u8 {
        let all = self.stable.saturating_add(self.candidate);
        if all == 0 {
            return 0;
        }
        let share = (u64::from(self.candidate) * 200 + u64::from(all)) / (2 * u64::from(all));
        u8::try_from(share).unwrap_or(100)
    }
}

/// Returns the pair that comes nearest to `weight` per cent; of equals the one with fewer pods. Every pair satisfies
/// `1 ≤ c ≤ n`, `max(1, n − c) ≤ s ≤ n` and `c + s ≤ most`. With nothing wanted, both are zero.
pub fn resting(bounds: Bounds, weight: u8) -> Pair {
    let n = bounds.wanted;
    let mut best: Option<(u64, u32, Pair)> = None;
    for candidate in 1..=n {
        let lowest = n.saturating_sub(candidate).max(1);
        let highest = n.min(bounds.most.saturating_sub(candidate));
        // The share falls with every stable pod, so only the two stable sizes around the exact one can be nearest.
        let exact = u64::from(candidate) * u64::from(100 - weight.min(99)) / u64::from(weight.max(1));
        let exact = u32::try_from(exact).unwrap_or(u32::MAX);
        for stable in [exact, exact.saturating_add(1), lowest] {
            let stable = stable.clamp(lowest, highest.max(lowest));
            let all = stable + candidate;
            if all > bounds.most {
                continue;
            }
            let distance = error(candidate, all, weight);
            if best.is_none_or(|(least, pods, _)| (distance, all) < (least, pods)) {
                best = Some((distance, all, Pair { stable, candidate }));
            }
        }
    }
    best.map_or(Pair { stable: n, candidate: 0 }, |(_, _, pair)| pair)
}

/// Returns the pair for a router that gives the candidate `weight` per cent: stable keeps all its pods, since all traffic may have to go
/// back to it at once, and the candidate has its share of them, at least one. `full`: as many as stable.
pub fn routed(bounds: Bounds, weight: u8, full: bool) -> Pair {
    let n = bounds.wanted;
    let share = u32::try_from((u64::from(n) * u64::from(weight)).div_ceil(100)).unwrap_or(n);
    Pair { stable: n, candidate: if full { n } else { share.max(1).min(n) } }
}

/// Returns the candidate's pods beside a stable that an autoscaler holds at `stable`, without a router: as many as give it `weight` per
/// cent of all, at least one and at most as many as stable has. Above 50 per cent they do not.
pub fn beside(stable: u32, weight: u8) -> u32 {
    let weight = u64::from(weight.clamp(1, 99));
    let rest = 100 - weight;
    let nearest = (2 * u64::from(stable) * weight + rest) / (2 * rest);
    u32::try_from(nearest).unwrap_or(stable).max(1).min(stable)
}

/// Distance of `c / all` from the weight, scaled so that no rounding decides.
fn error(candidate: u32, all: u32, weight: u8) -> u64 {
    let share = u64::from(candidate) * 100_000_000 / u64::from(all.max(1));
    share.abs_diff(u64::from(weight) * 1_000_000)
}

/// What is there now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sizes {
    /// `spec.replicas` of each track.
    pub spec: Pair,
    /// Ready pods of each track.
    pub ready: Pair,
    /// Stable's pods that are not ready by their own doing: a version that mends them must not wait for them.
    pub broken: u32,
}

/// One write of `spec.replicas`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Move {
    /// Stable to so many.
    Stable(u32),
    /// The candidate to so many.
    Candidate(u32),
}

/// Returns the next write on the way to `target`, or none when it is reached or the pods of the last write are waited for. Tried
/// in this order: candidate down, stable down, stable up, candidate up; each as far as `most` and the ready pods allow. Pods
/// that are not ready are lowered freely. Candidate pods are added beside a stable whose pods are ready or broken.
pub fn next(bounds: Bounds, sizes: Sizes, target: Pair) -> Option<Move> {
    let spec = sizes.spec;
    let ready = Pair {
        stable: sizes.ready.stable.min(spec.stable),
        candidate: sizes.ready.candidate.min(spec.candidate),
    };
    let floor = |own_ready: u32, other_ready: u32| bounds.ready.saturating_sub(other_ready).min(own_ready);
    let candidate = target.candidate.max(floor(ready.candidate, ready.stable));
    if candidate < spec.candidate {
        return Some(Move::Candidate(candidate));
    }
    let stable = target.stable.max(floor(ready.stable, ready.candidate));
    if stable < spec.stable {
        return Some(Move::Stable(stable));
    }
    let room = bounds.most.saturating_sub(spec.stable.saturating_add(spec.candidate));
    if spec.stable < target.stable {
        let grown = target.stable.min(spec.stable.saturating_add(room));
        return (grown > spec.stable).then_some(Move::Stable(grown));
    }
    if spec.candidate < target.candidate && ready.stable.saturating_add(sizes.broken) >= spec.stable {
        let grown = target.candidate.min(spec.candidate.saturating_add(room));
        return (grown > spec.candidate).then_some(Move::Candidate(grown));
    }
    None
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn bounds(wanted: u32) -> Bounds {
        Bounds::new(wanted, Amount::Percent(25), Amount::Count(0))
    }

    fn pair(stable: u32, candidate: u32) -> Pair {
        Pair { stable, candidate }
    }

    /// Plays the walk with pods that are ready at once; returns the pairs on the way.
    fn walk(bounds: Bounds, from: Pair, target: Pair) -> Vec<Pair> {
        let mut spec = from;
        let mut way = Vec::new();
        while let Some(step) = next(bounds, Sizes { spec, ready: spec, broken: 0 }, target) {
            match step {
                Move::Stable(n) => spec.stable = n,
                Move::Candidate(n) => spec.candidate = n,
            }
            way.push(spec);
            assert!(way.len() < 500, "no end from {from:?} to {target:?} in {bounds:?}");
        }
        way
    }

    #[test]
    fn the_documented_example() {
        let b = bounds(3);
        assert_eq!(b.most, 4);
        assert_eq!(resting(b, 10), pair(3, 1));
        assert_eq!(resting(b, 50), pair(2, 2));
        assert_eq!(walk(b, pair(3, 1), pair(2, 2)), [pair(2, 1), pair(2, 2)]);
        assert_eq!(walk(b, pair(2, 2), pair(3, 0)), [pair(2, 1), pair(3, 1), pair(3, 0)]);
    }

    #[test]
    fn the_real_share_is_said() {
        assert_eq!(pair(3, 1).share(), 25);
        assert_eq!(pair(1, 2).share(), 67);
        assert_eq!(pair(0, 0).share(), 0);
        assert_eq!(pair(0, 3).share(), 100);
    }

    #[test]
    fn one_pod_and_none() {
        assert_eq!(resting(bounds(1), 10), pair(1, 1));
        assert_eq!(resting(bounds(0), 50), pair(0, 0));
    }

    #[test]
    fn every_resting_pair_is_the_nearest_by_brute_force() {
        for n in 1..=30u32 {
            for surge in [0, 1, 25, 50, 100] {
                let b = Bounds::new(n, Amount::Percent(surge), Amount::Count(0));
                for weight in 1..=99u8 {
                    let mut best: Option<(u64, u32)> = None;
                    for c in 1..=n {
                        for s in n.saturating_sub(c).max(1)..=n {
                            if c + s <= b.most {
                                let key = (error(c, c + s, weight), c + s);
                                best = Some(best.map_or(key, |b| b.min(key)));
                            }
                        }
                    }
                    let got = resting(b, weight);
                    let all = got.stable + got.candidate;
                    assert_eq!(
                        Some((error(got.candidate, all, weight), all)),
                        best,
                        "n={n} w={weight} {got:?}"
                    );
                }
            }
        }
    }

    #[test]
    fn beside_an_autoscaler_no_other_number_of_pods_is_nearer_to_the_exact_one() {
        // |c − s·w/(100−w)|, scaled by 100−w.
        let distance = |s: u32, c: u32, w: u8| {
            (i64::from(c) * (100 - i64::from(w)) - i64::from(s) * i64::from(w)).unsigned_abs()
        };
        for s in 1..=60u32 {
            for w in 1..=50u8 {
                let got = beside(s, w);
                let least = (1..=s).map(|c| distance(s, c, w)).min().unwrap();
                assert_eq!(distance(s, got, w), least, "s={s} w={w} c={got}");
            }
            assert_eq!((beside(s, 50), beside(s, 99)), (s, s));
        }
        assert_eq!((beside(0, 10), beside(12, 10), beside(10, 20), beside(3, 1)), (0, 1, 3, 1));
    }

    #[test]
    fn the_walk_ends_between_all_pairs() {
        for n in 0..=30u32 {
            let b = bounds(n);
            let mut pairs: Vec<Pair> = (1..=99).map(|w| resting(b, w)).collect();
            pairs.push(pair(n, 0));
            pairs.dedup();
            for &from in &pairs {
                for &to in &pairs {
                    let way = walk(b, from, to);
                    assert_eq!(way.last().copied().unwrap_or(from), to, "n={n} {from:?}->{to:?}");
                }
            }
        }
    }

    #[test]
    fn a_candidate_without_a_ready_pod_goes_to_zero_at_once() {
        let b = bounds(4);
        let sizes = Sizes { spec: pair(4, 1), ready: pair(4, 0), broken: 0 };
        assert_eq!(next(b, sizes, pair(4, 0)), Some(Move::Candidate(0)));
        let broken = Sizes { spec: pair(2, 2), ready: pair(0, 0), broken: 0 };
        assert_eq!(next(b, broken, pair(4, 0)), Some(Move::Candidate(0)));
    }

    #[test]
    fn a_stable_that_lost_its_pods_is_no_safe_place() {
        let b = bounds(3);
        let sizes = Sizes { spec: pair(3, 1), ready: pair(0, 1), broken: 0 };
        assert_eq!(next(b, sizes, pair(3, 0)), None, "the only ready pod stays");
    }

    #[test]
    fn a_stable_that_crashes_does_not_keep_its_mending_away() {
        let b = bounds(5);
        let waits = Sizes { spec: pair(3, 0), ready: pair(1, 0), broken: 0 };
        assert_eq!(next(b, waits, pair(3, 3)), None, "its pods are on their way");
        assert_eq!(next(b, Sizes { broken: 2, ..waits }, pair(3, 3)), Some(Move::Candidate(3)));
    }

    proptest! {
        #[test]
        fn no_move_breaks_the_capacity_rule_or_the_roof(
            n in 0u32..20, s in 0u32..20, c in 0u32..20, rs in 0u32..20, rc in 0u32..20, w in 1u8..=99, back: bool, broken in 0u32..20,
        ) {
            let b = bounds(n);
            let ready = pair(rs.min(s), rc.min(c));
            let target = if back { pair(n, 0) } else { resting(b, w) };
            let sizes = Sizes { spec: pair(s, c), ready, broken };
            let before = ready.stable + ready.candidate;
            let after = match next(b, sizes, target) {
                None => return Ok(()),
                Some(Move::Stable(x)) => pair(x, c),
                Some(Move::Candidate(x)) => pair(s, x),
            };
            let ready_after = ready.stable.min(after.stable) + ready.candidate.min(after.candidate);
            prop_assert!(ready_after >= before.min(b.ready), "{sizes:?} -> {after:?}");
            if after.stable + after.candidate > s + c {
                prop_assert!(after.stable + after.candidate <= b.most);
            }
        }
    }
}
