//! Which source counts the requests: chosen once a rollout, and never taken back.

use jiff::Timestamp;

use super::{Asked, Counter, Scrape, Sheet, older};
use crate::model::samples::{Tally, Target, TrafficSource};

/// Rounds in which every pod said that it counts nothing, before the next source is tried. One is too few: many client libraries show a
/// counter only after its first request.
const NAMELESS_ROUNDS: u32 = 2;
/// The same while some pods give no answer at all.
const SILENT_ROUNDS: u32 = 5;

impl Sheet {
    /// Returns who is to be asked next.
    pub(in crate::evidence) fn asked(&self) -> Asked {
        match (self.chosen, self.provider) {
            (Some(TrafficSource::Probes), _) => Asked::Nobody,
            (Some(TrafficSource::Prometheus(dialect)), patience) => {
                Asked::Prometheus(Some(dialect), patience.unwrap_or_default())
            }
            (None, Some(patience)) => Asked::Prometheus(None, patience),
            (Some(TrafficSource::PodMetrics) | None, _) => Asked::Pods,
        }
    }

    /// A pod that Prometheus has not scraped yet has counted nothing that is known of, unless it is older than a scrape can be late:
    /// what it counts until the first scrape is then the stage's.
    pub(super) fn not_scraped_yet(&mut self, pod: &Target, now: Timestamp) {
        let patience = self.provider.unwrap_or_default();
        let young = pod.ready_since >= self.began.checked_sub(patience).unwrap_or(self.began);
        if young && !self.counters.contains_key(&pod.uid) {
            let long_ago = now.checked_sub(patience * 10).unwrap_or(now);
            let nothing = Counter { name: None, last: Tally::default(), seen_at: long_ago };
            self.counters.insert(pod.uid.clone(), nothing);
        }
    }

    /// A source applies if one of its names exists at any pod: Prometheus if there is one, else the pods' own metrics, else our checks.
    /// A choice is never taken back here, and a Prometheus that does not answer is waited for.
    pub(super) fn choose(&mut self, asked: Asked, round: &[(Target, Scrape)], now: Timestamp) {
        if self.chosen.is_some() || round.is_empty() {
            return;
        }
        let any = |what: fn(&Scrape) -> bool| round.iter().any(|(_, scrape)| what(scrape));
        if any(|scrape| matches!(scrape, Scrape::Counted(_) | Scrape::Absurd(_))) {
            self.chosen = match asked {
                Asked::Prometheus(dialect, _) => dialect.map(TrafficSource::Prometheus),
                Asked::Pods | Asked::Nobody => Some(TrafficSource::PodMetrics),
            };
            return;
        }
        self.undecided += 1;
        let failed = any(|scrape| matches!(scrape, Scrape::Failed(_)));
        match asked {
            Asked::Prometheus(_, patience) => {
                let missing = any(|scrape| matches!(scrape, Scrape::NotServed(_)));
                let late = older(self.began, patience, now);
                if !failed && self.undecided >= NAMELESS_ROUNDS && (late || !missing) {
                    (self.provider, self.undecided) = (None, 0);
                }
            }
            _ if self.undecided >= if failed { SILENT_ROUNDS } else { NAMELESS_ROUNDS } => {
                self.chosen = Some(TrafficSource::Probes);
            }
            _ => {}
        }
    }
}
