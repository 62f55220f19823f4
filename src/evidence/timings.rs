//! The durations of one stage's requests: from the pods' own histograms or Prometheus', and where nobody has any, from our own checks.
//! Pure; what was counted before the stage is not in it.

use std::collections::BTreeMap;

use crate::model::histogram::Histogram;
use crate::model::samples::{Assignment, Latencies, Latency, Target, Track};

/// Rounds with requests and without any histogram, before our checks are taken instead.
const BARE_ROUNDS: u32 = 2;
/// Histograms of pods that are gone are kept up to here.
const PODS_KEPT: usize = 4_096;
/// The bounds of our own checks' durations, in seconds, beside those that are asked about.
const BOUNDS: [f64; 12] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0];

/// What one look at a pod gave of its durations.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Look {
    /// Its histogram since it started.
    Seen(Histogram),
    /// It counts requests and no durations; `true`: it has had requests.
    Bare(bool),
    /// Nothing, or nothing that can be used.
    Unknown(String),
}

#[derive(Default)]
struct Side {
    counted: Histogram,
    probes: Histogram,
    unknown: Option<String>,
}

pub(super) struct Timings {
    bounds: Vec<f64>,
    last: BTreeMap<String, Histogram>,
    candidate: Side,
    stable: Side,
    seen: bool,
    bare: u32,
}

impl Timings {
    pub(super) fn new(assignment: &Assignment) -> Option<Self> {
        let bounds = assignment.latency.clone()?;
        let unknown = || Some("no durations of requests were seen yet".to_owned());
        let side = || Side { unknown: unknown(), ..Side::default() };
        let (candidate, stable) = (side(), side());
        Some(Self { bounds, last: BTreeMap::new(), candidate, stable, seen: false, bare: 0 })
    }

    fn side(&mut self, track: Track) -> &mut Side {
        match track {
            Track::Candidate => &mut self.candidate,
            Track::Stable => &mut self.stable,
        }
    }

    /// Notes how long one answered check took.
    pub(super) fn took(&mut self, track: Track, seconds: f64) {
        let bounds = self.bounds.iter().copied().chain(BOUNDS).collect::<Vec<_>>();
        let side = self.side(track);
        if side.probes.counts.is_empty() {
            side.probes = Histogram::with_bounds(bounds);
        }
        side.probes.add(seconds);
    }

    /// Notes one round; `anew` tells of a pod not seen before that all of its counts are the stage's.
    pub(super) fn round(&mut self, looks: &[(Target, Look)], anew: impl Fn(&Target) -> bool) {
        for track in [Track::Candidate, Track::Stable] {
            self.side(track).unknown = None;
        }
        let mut had_requests = false;
        for (pod, look) in looks {
            match look {
                Look::Seen(histogram) => {
                    self.seen = true;
                    self.count(pod, histogram, anew(pod));
                }
                Look::Bare(requests) => {
                    had_requests |= requests;
                    self.last.entry(pod.uid.clone()).or_default();
                }
                Look::Unknown(why) => {
                    self.side(pod.track).unknown = Some(format!("not scraped: pod {}: {why}", pod.name));
                }
            }
        }
        for track in [Track::Candidate, Track::Stable] {
            if !looks.iter().any(|(pod, _)| pod.track == track) {
                self.side(track).unknown = Some("no pod to ask".to_owned());
            }
        }
        if !self.seen && had_requests {
            self.bare += 1;
        }
    }

    fn count(&mut self, pod: &Target, histogram: &Histogram, anew: bool) {
        if self.last.len() > PODS_KEPT {
            self.last.clear();
        }
        let delta = match self.last.insert(pod.uid.clone(), histogram.clone()) {
            // Its first requests since it was last looked at.
            Some(known) if known.counts.is_empty() => histogram.clone(),
            // Other buckets: another program, whose counts cannot be compared with those before.
            Some(known) if known.bounds != histogram.bounds => return,
            Some(known) => histogram.since(&known),
            None if anew => histogram.clone(),
            None => Histogram { counts: vec![0; histogram.counts.len()], ..histogram.clone() },
        };
        let side = self.side(pod.track);
        side.counted = side.counted.plus(&delta);
    }

    /// Returns what is known. `probes`: our checks are the source of requests; `checked` tells why a track's checks are not known.
    pub(super) fn snapshot(&self, probes: bool, checked: impl Fn(Track) -> Option<String>) -> Latencies {
        let probes = probes || (!self.seen && self.bare >= BARE_ROUNDS);
        let of = |track: Track, side: &Side| {
            let (unknown, histogram) =
                if probes { (checked(track), &side.probes) } else { (side.unknown.clone(), &side.counted) };
            match unknown {
                Some(reason) => Latency::Unknown { reason },
                None => Latency::Seen(histogram.clone()),
            }
        };
        Latencies {
            probes,
            candidate: of(Track::Candidate, &self.candidate),
            stable: of(Track::Stable, &self.stable),
        }
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;
    use crate::evidence::sheet::testing::assignment;

    fn pod(name: &str, track: Track) -> Target {
        Target {
            uid: name.into(),
            namespace: "n".into(),
            name: name.into(),
            ip: "127.0.0.1".into(),
            track,
            ready_since: Timestamp::UNIX_EPOCH,
        }
    }

    fn timings() -> Timings {
        Timings::new(&Assignment { latency: Some(vec![0.3]), ..assignment(&[]) }).unwrap()
    }

    fn look(counts: &[u64]) -> Look {
        Look::Seen(Histogram { bounds: vec![0.1, 0.5], counts: counts.to_vec() })
    }

    fn seen(counts: &[u64]) -> Latency {
        Latency::Seen(Histogram { bounds: vec![0.1, 0.5], counts: counts.to_vec() })
    }

    #[test]
    fn what_a_pod_counted_before_the_stage_is_not_in_it() {
        let (old, new) = (pod("old", Track::Stable), pod("new", Track::Candidate));
        let mut timings = timings();
        let mut round = |of_old: Look, of_new: Look| {
            let looks = [(old.clone(), of_old), (new.clone(), of_new)];
            timings.round(&looks, |pod| pod.name == "new");
            let known = timings.snapshot(false, |_| None);
            (known.stable, known.candidate)
        };
        assert_eq!(round(look(&[9, 9, 9]), look(&[1, 0, 1])), (seen(&[0, 0, 0]), seen(&[1, 0, 1])));
        assert_eq!(round(look(&[9, 10, 9]), look(&[1, 5, 1])), (seen(&[0, 1, 0]), seen(&[1, 5, 1])));
        // It was started anew, and counts from zero.
        assert_eq!(round(look(&[1, 0, 0]), look(&[1, 5, 1])), (seen(&[1, 1, 0]), seen(&[1, 5, 1])));
        let away = round(Look::Unknown("no answer within 1s".into()), look(&[1, 5, 1])).0;
        assert_eq!(away, Latency::Unknown { reason: "not scraped: pod old: no answer within 1s".into() });
        assert_eq!(round(look(&[1, 0, 0]), look(&[2, 5, 1])), (seen(&[1, 1, 0]), seen(&[2, 5, 1])));
    }

    #[test]
    fn our_checks_are_the_last_resort() {
        let new = pod("new", Track::Candidate);
        let mut timings = timings();
        timings.took(Track::Candidate, 0.2);
        timings.took(Track::Candidate, 0.4);
        for (requests, rounds, probes) in [(false, 5, false), (true, 1, false), (true, 1, true)] {
            for _ in 0..rounds {
                timings.round(&[(new.clone(), Look::Bare(requests))], |_| true);
            }
            assert_eq!(timings.snapshot(false, |_| None).probes, probes, "{requests} {rounds}");
        }
        let known = timings.snapshot(false, |track| (track == Track::Stable).then(|| "nobody".to_owned()));
        let Latency::Seen(histogram) = &known.candidate else { panic!("{known:?}") };
        let limit = histogram.bounds.iter().position(|bound| (bound - 0.3).abs() < 1e-9).unwrap();
        assert_eq!((histogram.total(), histogram.above(limit)), (2, 1));
        assert_eq!(known.stable, Latency::Unknown { reason: "nobody".into() });
        // A counter that appears with its first request began at zero.
        timings.round(&[(new.clone(), look(&[3, 1, 0]))], |_| false);
        assert_eq!(timings.snapshot(false, |_| None).candidate, seen(&[3, 1, 0]));
    }
}
