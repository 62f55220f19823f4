//! The checker: holds the properties of the design over everything that is written, in this order: each accepted write with the
//! object before and after, each stored record, each event that reached the broker, and the end.
//!
//! Checked: S1, S2, S3, S4, S5, S6, S7, S8, S9, S11, S13, S14, S16, S21, S23, S24, S25;
//! at the end L1, L2, L4, L6, L7. S10 and S12 are the crash matrix (equal counts of what is created and deleted) and L1 (no write
//! that changes nothing). Not yet: S15 (the simulated broker takes whole outboxes; the publisher's order has tests of its own), S17 to
//! S20 and S26 (their rooms do not exist), S22 (a pass has no other way out than the Kubernetes API: the rooms' table holds that; every
//! rollback here must end while registry, metrics and broker are away), L3 (no lease here), L5 and L8 (one release).

mod end;
mod records;
#[cfg(test)]
mod tests;
mod writes;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;

pub(super) use self::end::{End, check as at_the_end};
use super::daemon::number_of;
use super::gateway::Way;
use super::street::Haze;
use crate::cluster::record::{Contents, decode};
use crate::model::name::ReleaseKey;
use crate::model::record::Record;
use crate::sandbox::Logged;
use crate::sandbox::api::{Change, Core};
use crate::sandbox::json as read;

/// A property that does not hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// Its name in the design, as in `S6`.
    pub property: &'static str,
    /// Since the begin.
    pub at: Duration,
    /// What was seen.
    pub what: String,
}

/// One change of one object, and whose request it was.
pub(super) struct Seen {
    pub(super) change: Change,
    pub(super) agent: String,
    /// The daemon's life, if it was one.
    pub(super) number: Option<u64>,
    /// The subresource.
    pub(super) door: String,
    pub(super) body: Arc<Value>,
}

/// What is remembered from one write to the next.
#[derive(Default)]
pub(super) struct Facts {
    /// When each life of the daemon began, by number.
    began: BTreeMap<u64, Duration>,
    /// When the present leader's predecessor was last seen to write or to begin.
    alive: Vec<(Duration, Duration)>,
    jumps: Vec<Duration>,
    /// Since when nothing could be measured, and until when.
    dark: Vec<(Duration, Option<Duration>)>,
    /// When a stage was first recorded as ready, by rollout and stage.
    stages: BTreeMap<(u64, u32), Duration>,
    /// When a rollout was first recorded, and when its ending was.
    born: BTreeMap<u64, Duration>,
    ending: BTreeMap<u64, Duration>,
    /// Rollouts that ended.
    ended: BTreeMap<u64, String>,
    /// The highest epoch that an accepted write left on an object.
    epochs: BTreeMap<String, u64>,
    /// Somebody else changed what moves the traffic since a daemon last wrote it.
    edited: bool,
    /// How much later than decided a write may be accepted.
    tolerance: Duration,
}

/// See the module.
pub(super) struct Checker {
    release: ReleaseKey,
    /// The team's own route to the service.
    route: Option<Way>,
    cursor: u64,
    pub(super) record: Option<Record>,
    pub(super) facts: Facts,
    pub(super) violations: Vec<Violation>,
    /// Accepted writes of daemons.
    pub(super) writes: u64,
    /// Objects created and deleted by daemons, by kind and name.
    pub(super) counts: BTreeMap<String, (u32, u32)>,
}

impl Checker {
    pub(super) fn new(release: &ReleaseKey, route: Option<Way>) -> Self {
        Self {
            release: release.clone(),
            route,
            cursor: 0,
            record: None,
            facts: Facts { tolerance: Duration::from_secs(1), ..Facts::default() },
            violations: Vec::new(),
            writes: 0,
            counts: BTreeMap::new(),
        }
    }

    /// What was there before that version is nobody's.
    pub(super) fn begins_at(&mut self, version: u64) {
        self.cursor = version;
    }

    /// Answers may take so long that what was decided is accepted that much later.
    pub(super) fn tolerate(&mut self, late: Duration) {
        self.facts.tolerance = late;
    }

    pub(super) fn broken(&self) -> bool {
        !self.violations.is_empty()
    }

    pub(super) fn began(&mut self, number: u64, at: Duration) {
        self.facts.began.insert(number, at);
        self.facts.alive.push((at, at));
    }

    /// Somebody leads now.
    pub(super) fn lives(&mut self, at: Duration) {
        if let Some(last) = self.facts.alive.last_mut() {
            last.1 = at;
        }
    }

    pub(super) fn jumped(&mut self, at: Duration) {
        self.facts.jumps.push(at);
    }

    pub(super) fn haze(&mut self, at: Duration, haze: Haze) {
        match (haze, self.facts.dark.last_mut()) {
            (Haze::Dark, Some((_, None))) => {}
            (Haze::Dark, _) => self.facts.dark.push((at, None)),
            (_, Some((_, end @ None))) => *end = Some(at),
            _ => {}
        }
    }

    /// Takes the changes that these requests led to.
    pub(super) fn take(&mut self, core: &Core, requests: &VecDeque<Logged>) -> Vec<Seen> {
        let store = core.store();
        let mut changes = store.since(self.cursor).into_iter().flatten().peekable();
        let mut seen = Vec::new();
        for request in requests {
            while let Some(change) = changes.next_if(|change| change.version <= request.version) {
                seen.push(Seen {
                    change: change.clone(),
                    agent: request.user_agent.clone(),
                    number: number_of(&request.user_agent),
                    door: request.subresource.clone(),
                    body: Arc::clone(&request.body),
                });
            }
        }
        self.cursor = seen.last().map_or(self.cursor, |last| last.change.version);
        seen
    }

    /// Holds the properties over one change. `capacity`: ready pods of stable and candidate as the writer was shown them.
    pub(super) fn saw(&mut self, at: Duration, seen: &Seen, capacity: Option<(u32, u32)>) {
        let object = &seen.change.new;
        let kind = read::text(object, &["kind"]);
        if seen.number.is_some() {
            self.writes += 1;
            let key = format!("{kind}/{}", read::text(object, &["metadata", "name"]));
            let counts = self.counts.entry(key).or_default();
            counts.0 += u32::from(seen.change.old.is_none());
            counts.1 += u32::from(seen.change.deleted);
        }
        if seen.number.is_none() && seen.door.is_empty() {
            self.facts.edited |= matches!(kind, "HTTPRoute" | "VirtualService" | "Service");
        }
        let found = if kind == "Release" && !seen.change.deleted {
            self.stored(at, seen)
        } else if seen.number.is_some() {
            let written = writes::Written::new(seen, self.record.as_ref(), capacity, &self.release);
            writes::check(&written, &mut self.facts)
        } else {
            Vec::new()
        };
        let violation = |(property, what)| Violation { property, at, what };
        self.violations.extend(found.into_iter().map(violation));
    }

    fn stored(&mut self, at: Duration, seen: &Seen) -> Vec<(&'static str, String)> {
        let status = read::at(&seen.change.new, &["status"]).unwrap_or(&Value::Null);
        let before = seen.change.old.as_ref().and_then(|old| read::at(old, &["status"]));
        if before == Some(status) {
            return Vec::new();
        }
        let new = match decode(status) {
            Ok(Contents::Record(record)) => *record,
            Ok(_) => return Vec::new(),
            Err(error) => return vec![("S21", format!("a record that cannot be read: {error}"))],
        };
        let found = match &self.record {
            None => Vec::new(),
            Some(old) => {
                let stored = records::Stored {
                    at,
                    old,
                    new: &new,
                    number: seen.number,
                    bytes: serde_json::to_vec(status).map_or(usize::MAX, |text| text.len()),
                };
                records::check(&stored, &mut self.facts)
            }
        };
        records::note(at, &new, &mut self.facts);
        self.record = Some(new);
        found
    }
}

impl Facts {
    /// How the rollouts ended.
    pub(super) fn outcomes(&self) -> impl Iterator<Item = &str> {
        self.ended.values().map(String::as_str)
    }

    /// Of the time between two moments, how much of it somebody led and could measure, at most.
    fn watched(&self, from: Duration, to: Duration, spare: Duration) -> Duration {
        let within = |begin: Duration, end: Duration| end.min(to).saturating_sub(begin.max(from));
        let led: Duration = self.alive.iter().map(|(begin, end)| within(*begin, *end)).sum();
        let dark: Duration = self
            .dark
            .iter()
            .map(|(begin, end)| within(*begin, end.unwrap_or(to)).saturating_sub(spare))
            .sum();
        let jumps = self.jumps.iter().filter(|at| (from..=to).contains(*at)).count();
        let jumps = u32::try_from(jumps).unwrap_or(u32::MAX);
        led.saturating_sub(dark) + spare * jumps + self.tolerance
    }
}
