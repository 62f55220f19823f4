//! The books of one stage of one release: what was asked, what was answered, and what that says about a track's traffic. Pure; times
//! are arguments.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use jiff::Timestamp;

use super::exposition::Reading;
use super::timings::{Look, Timings};
use crate::model::policy::CheckKind;
use crate::model::samples::{
    Answers, Assignment, CheckTally, Dialect, Measured, Samples, Tally, Target, Track, Traffic,
    TrafficSource, blind_after,
};

/// Counters of pods that are gone are kept up to here, so that a pod that comes back is not counted twice.
const COUNTERS_KEPT: usize = 4_096;

/// What one look at a pod's `/metrics` gave.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Scrape {
    /// Its counts.
    Counted(Reading),
    /// Metrics without any of the names.
    Nameless,
    /// No metrics are served there.
    NotServed(String),
    /// A counter that is there and cannot be used.
    Absurd(String),
    /// No answer.
    Failed(String),
}

/// Who is asked in a round.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Asked {
    /// The environment's Prometheus; with the dialect that it answered in, once one is known, and how long pods may be missing there
    /// before it is taken as not scraping them.
    Prometheus(Option<Dialect>, Duration),
    /// Each pod.
    Pods,
    /// Nobody: our own checks are the source.
    Nobody,
}

/// A pod's counter as last seen; without a name it has counted nothing yet.
struct Counter {
    name: Option<&'static str>,
    last: Tally,
    seen_at: Timestamp,
}

struct Side {
    /// Our own checks, each a request.
    probes: Tally,
    /// What the pods counted since the stage began.
    counted: Tally,
    /// What the newest round says.
    traffic: Traffic,
}

pub(super) struct Sheet {
    rollout: u64,
    stage: u32,
    session: u64,
    began: Timestamp,
    /// The pods that were there when the stage began: what they counted before is not the stage's.
    first: BTreeSet<String>,
    present: BTreeSet<String>,
    chosen: Option<TrafficSource>,
    /// Prometheus is still to be tried.
    provider: Option<Duration>,
    undecided: u32,
    last_at: Option<Timestamp>,
    checks: BTreeMap<String, CheckTally>,
    counters: BTreeMap<String, Counter>,
    timings: Option<Timings>,
    answers: BTreeMap<String, Answers>,
    candidate: Side,
    stable: Side,
}

fn unknown(reason: impl Into<String>) -> Traffic {
    Traffic::Unknown { reason: reason.into() }
}

fn uids(pods: &[Target]) -> BTreeSet<String> {
    pods.iter().map(|pod| pod.uid.clone()).collect()
}

impl Sheet {
    /// Begins; `provider`: there is a Prometheus, and pods may be missing there for so long.
    pub(super) fn new(
        assignment: &Assignment,
        session: u64,
        provider: Option<Duration>,
        now: Timestamp,
    ) -> Self {
        let side = || Side {
            probes: Tally::default(),
            counted: Tally::default(),
            traffic: unknown("no source of request counts has answered yet"),
        };
        Self {
            rollout: assignment.rollout,
            stage: assignment.stage,
            session,
            began: now,
            first: uids(&assignment.pods),
            present: uids(&assignment.pods),
            chosen: assignment.source,
            provider,
            undecided: 0,
            last_at: None,
            checks: BTreeMap::new(),
            counters: BTreeMap::new(),
            timings: Timings::new(assignment),
            answers: BTreeMap::new(),
            candidate: side(),
            stable: side(),
        }
    }

    /// Takes over the pods, and the source once it is pinned, of a newer assignment of the same stage.
    pub(super) fn update(&mut self, assignment: &Assignment) {
        self.chosen = assignment.source.or(self.chosen);
        self.present = uids(&assignment.pods);
        let present = &self.present;
        self.checks.retain(|uid, _| present.contains(uid));
        if self.counters.len() > COUNTERS_KEPT {
            self.counters.retain(|uid, _| present.contains(uid));
        }
    }

    fn side(&mut self, track: Track) -> &mut Side {
        match track {
            Track::Candidate => &mut self.candidate,
            Track::Stable => &mut self.stable,
        }
    }

    /// Notes one check; `asked` is false where the declaration asks nothing. Tells whether a decision may follow: a pod's first check, any
    /// failure, the last success that was waited for, a success after failures.
    pub(super) fn checked(
        &mut self,
        pod: &Target,
        result: Result<(), String>,
        asked: bool,
        enough: u32,
        now: Timestamp,
    ) -> bool {
        if !self.present.contains(&pod.uid) {
            return false;
        }
        self.last_at = Some(now);
        let failed = result.is_err();
        let one = Tally { requests: u64::from(asked), errors: u64::from(asked && failed) };
        let side = self.side(pod.track);
        side.probes = side.probes.plus(one);
        let known = self.checks.contains_key(&pod.uid);
        let tally = self.checks.entry(pod.uid.clone()).or_insert_with(|| CheckTally {
            track: pod.track,
            pod: pod.name.clone(),
            passed_in_row: 0,
            failed_in_row: 0,
            asked: 0,
            failed: 0,
            last_failure: None,
            last_at: now,
        });
        let recovered = !failed && tally.failed_in_row > 0;
        tally.track = pod.track;
        tally.asked += one.requests;
        tally.failed += one.errors;
        tally.last_at = now;
        match result {
            Ok(()) => {
                tally.passed_in_row = tally.passed_in_row.saturating_add(1);
                tally.failed_in_row = 0;
            }
            Err(clause) => {
                tally.failed_in_row = tally.failed_in_row.saturating_add(1);
                tally.passed_in_row = 0;
                tally.last_failure = Some(clause);
            }
        }
        !known || failed || recovered || tally.passed_in_row == enough
    }

    /// Notes one measurement of a question.
    pub(super) fn measured(&mut self, key: &str, measured: Measured, now: Timestamp) {
        self.last_at = Some(now);
        let entry = self.answers.entry(key.to_owned()).or_insert_with(|| Answers {
            passed: 0,
            failed: 0,
            last: measured.clone(),
            last_failure: None,
            last_at: now,
        });
        match &measured {
            Measured::Pass(_) => entry.passed += 1,
            Measured::Fail(clause, value) => {
                entry.failed += 1;
                entry.last_failure = Some((clause.clone(), *value));
            }
            Measured::Unknown(_) => {}
        }
        (entry.last, entry.last_at) = (measured, now);
    }

    /// Notes how long a check took that was answered.
    pub(super) fn took(&mut self, pod: &Target, took: Duration) {
        if let Some(timings) = self.timings.as_mut().filter(|_| self.present.contains(&pod.uid)) {
            timings.took(pod.track, took.as_secs_f64());
        }
    }

    /// Notes the durations of a round, before [`Self::round`] notes its counts.
    pub(super) fn timed(&mut self, looks: &[(Target, Look)]) {
        let (first, began, counters) = (&self.first, self.began, &self.counters);
        let anew = |pod: &Target| match counters.get(&pod.uid) {
            None => !first.contains(&pod.uid) && pod.ready_since >= began,
            Some(known) => known.name.is_none(),
        };
        if let Some(timings) = self.timings.as_mut() {
            timings.round(looks, anew);
        }
    }

    /// Notes one round of looks at all pods; a pod whose newest answer is not older than `fresh` still counts as seen.
    pub(super) fn round(
        &mut self,
        asked: Asked,
        round: &[(Target, Scrape)],
        fresh: Duration,
        now: Timestamp,
    ) {
        // Pinned while this round was under way: it belongs to another source.
        let meant = self.asked();
        let same = matches!((asked, meant), (Asked::Prometheus(..), Asked::Prometheus(None, _)));
        if !same && asked != meant {
            return;
        }
        for (pod, scrape) in round {
            match scrape {
                Scrape::Counted(reading) => self.count(pod, *reading, now),
                Scrape::Nameless => {
                    let nothing = Counter { name: None, last: Tally::default(), seen_at: now };
                    self.counters.entry(pod.uid.clone()).or_insert(nothing).seen_at = now;
                }
                Scrape::NotServed(_) if asked != Asked::Pods => self.not_scraped_yet(pod, now),
                Scrape::NotServed(_) | Scrape::Absurd(_) | Scrape::Failed(_) => {}
            }
        }
        self.choose(asked, round, now);
        let counted = match (asked, self.chosen) {
            (Asked::Pods, Some(TrafficSource::PodMetrics))
            | (Asked::Prometheus(..), Some(TrafficSource::Prometheus(_))) => true,
            (Asked::Prometheus(..), None) => {
                round.iter().any(|(_, scrape)| matches!(scrape, Scrape::Failed(_) | Scrape::NotServed(_)))
            }
            _ => false,
        };
        if !counted {
            return;
        }
        for track in [Track::Candidate, Track::Stable] {
            let traffic = self.seen(round, track, fresh, now);
            self.side(track).traffic = traffic;
        }
        let answered = |scrape: &Scrape| matches!(scrape, Scrape::Counted(_) | Scrape::Nameless);
        if round.iter().any(|(_, scrape)| answered(scrape)) {
            self.last_at = Some(now);
        }
    }

    fn count(&mut self, pod: &Target, reading: Reading, now: Timestamp) {
        let total = reading.total;
        let delta = match self.counters.get(&pod.uid) {
            // A pod that came later has counted for this stage only, if by its own times it became Ready within it.
            None if !self.first.contains(&pod.uid) && pod.ready_since >= self.began => total,
            None => Tally::default(),
            Some(known) if known.name.is_none() => total,
            // Another counter than last time: the two cannot be compared.
            Some(known) if known.name != Some(reading.counter) => Tally::default(),
            // The process was started anew, and counts from zero.
            Some(known) if total.requests < known.last.requests || total.errors < known.last.errors => total,
            Some(known) => total.since(known.last),
        };
        let counter = Counter { name: Some(reading.counter), last: total, seen_at: now };
        self.counters.insert(pod.uid.clone(), counter);
        let side = self.side(pod.track);
        side.counted = side.counted.plus(delta);
    }

    fn seen(&self, round: &[(Target, Scrape)], track: Track, fresh: Duration, now: Timestamp) -> Traffic {
        let pods: Vec<_> = round.iter().filter(|(pod, _)| pod.track == track).collect();
        if pods.is_empty() {
            return unknown("no pod to ask");
        }
        let recently =
            |pod: &Target| self.counters.get(&pod.uid).is_some_and(|known| !older(known.seen_at, fresh, now));
        for (pod, scrape) in pods {
            match scrape {
                Scrape::Counted(_) | Scrape::Nameless => {}
                Scrape::Absurd(why) => return unknown(format!("pod {}: {why}", pod.name)),
                Scrape::NotServed(_) | Scrape::Failed(_) if recently(pod) => {}
                Scrape::NotServed(why) | Scrape::Failed(why) => {
                    return unknown(format!("not scraped: pod {}: {why}", pod.name));
                }
            }
        }
        let side = if track == Track::Candidate { &self.candidate } else { &self.stable };
        Traffic::Seen(side.counted)
    }

    /// Returns what was measured, for the pods of the assignment; `None` before the first sample.
    pub(super) fn snapshot(&self, assignment: &Assignment, now: Timestamp) -> Option<Samples> {
        let traffic = |track, side: &Side| match self.chosen {
            _ if !assignment.traffic => unknown("traffic is not measured"),
            Some(TrafficSource::Probes) => self.probed(assignment, track, side.probes, now),
            _ => side.traffic.clone(),
        };
        let checked = |track| match self.probed(assignment, track, Tally::default(), now) {
            Traffic::Seen(_) => None,
            Traffic::Unknown { reason } => Some(reason),
        };
        let by_checks = self.chosen == Some(TrafficSource::Probes);
        Some(Samples {
            rollout: self.rollout,
            stage: self.stage,
            session: self.session,
            last_at: self.last_at?,
            checks: self.checks.clone(),
            source: self.chosen,
            candidate: traffic(Track::Candidate, &self.candidate),
            stable: traffic(Track::Stable, &self.stable),
            latency: self.timings.as_ref().map(|timings| timings.snapshot(by_checks, checked)),
            answers: self.answers.clone(),
        })
    }

    /// Checks as requests: seen if each pod of the track was checked lately.
    fn probed(&self, assignment: &Assignment, track: Track, tally: Tally, now: Timestamp) -> Traffic {
        if assignment.health.kind == CheckKind::None {
            return unknown("the pods count no requests and no health check is declared");
        }
        let mut pods = assignment.pods.iter().filter(|pod| pod.track == track).peekable();
        if pods.peek().is_none() {
            return unknown("no pod to ask");
        }
        let blind = blind_after(&assignment.health);
        let late =
            |pod: &&Target| self.checks.get(&pod.uid).is_none_or(|tally| older(tally.last_at, blind, now));
        match pods.find(late) {
            Some(pod) => unknown(format!("not checked lately: pod {}", pod.name)),
            None => Traffic::Seen(tally),
        }
    }
}

/// Whether `at` lies more than `span` before `now`; a clock that was set back makes nothing old.
fn older(at: Timestamp, span: Duration, now: Timestamp) -> bool {
    Duration::try_from(now.duration_since(at)).is_ok_and(|age| age > span)
}

mod choice;
#[cfg(test)]
pub(super) mod testing;
#[cfg(test)]
mod tests;
