//! What must hold once nothing has happened for a while.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::Value;

use super::{Checker, Violation};
use crate::event::catalogue::types;
use crate::model::traffic::ANNOTATION_SPLIT;
use crate::sandbox::json as read;
use crate::simulation::broker::Broker;

/// What the deadlines of a simulated policy come to, all together.
const LONGEST_ROLLOUT: Duration = Duration::from_mins(36);
/// The same for a way back.
const LONGEST_WAY_BACK: Duration = Duration::from_mins(10);

/// Where a simulation stands when it is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::simulation) enum End {
    /// Every deadline has passed.
    Calm,
    /// A good version was merged, and every deadline has passed again.
    Promoted,
    /// A day later; so many writes of daemons since.
    Idle(u64),
}

/// The team's route has the `spec` that the team wrote, and no note of ours.
fn route_as_it_was(checker: &Checker, objects: &[std::sync::Arc<Value>]) -> Option<String> {
    let wanted = checker.route?.route();
    let is_it = |object: &&std::sync::Arc<Value>| {
        ["kind", "apiVersion"].iter().all(|field| object.get(*field) == wanted.get(*field))
    };
    let Some(live) = objects.iter().find(is_it) else { return Some("the team's route is gone".to_owned()) };
    let noted = read::at(live, &["metadata", "annotations", ANNOTATION_SPLIT]).is_some();
    (noted || live.get("spec") != wanted.get("spec")).then(|| format!("the team's route is left as {live}"))
}

/// Holds what must hold there.
pub(in crate::simulation) fn check(
    checker: &Checker,
    broker: &Broker,
    objects: &[std::sync::Arc<Value>],
    at: Duration,
    end: End,
) -> Vec<Violation> {
    let mut found: Vec<(&'static str, String)> = Vec::new();
    let Some(record) = &checker.record else {
        return vec![Violation { property: "L7", at, what: "there is no record".to_owned() }];
    };
    let named = |name: &str| objects.iter().any(|object| read::text(object, &["metadata", "name"]) == name);
    match end {
        End::Calm => {
            if let Some(rollout) = &record.rollout {
                let since = |times: &BTreeMap<u64, Duration>| times.get(&rollout.number).copied();
                let age = since(&checker.facts.born).map(|born| at.saturating_sub(born));
                let back = since(&checker.facts.ending).map(|ending| at.saturating_sub(ending));
                let what = || {
                    format!("rollout {} is still in {:?}: {}", rollout.number, rollout.phase, record.message)
                };
                if back.is_some_and(|back| back > LONGEST_WAY_BACK) {
                    found.push(("L2", what()));
                } else if age.is_some_and(|age| age > LONGEST_ROLLOUT) {
                    found.push(("L6", what()));
                }
            }
        }
        End::Promoted => {
            let stable = record.stable.as_ref().map(|stable| &stable.version.identity);
            let head = record.head.as_ref().map(|head| &head.identity);
            if record.rollout.is_some() || stable.is_none() || stable != head {
                let rollout = record.rollout.as_ref().map(|rollout| (rollout.number, rollout.phase));
                found
                    .push(("L7", format!("the good version is not stable: {rollout:?}, {}", record.message)));
            }
            for left in ["web-canary", "web-stable"].into_iter().filter(|name| named(name)) {
                found.push(("L1", format!("{left} is still there")));
            }
            found.extend(route_as_it_was(checker, objects).map(|what| ("S0→S1→S0", what)));
        }
        End::Idle(writes) => {
            if writes > 0 {
                found.push(("L1", format!("{writes} writes on a day on which nothing happened")));
            }
            if !record.outbox.is_empty() {
                found.push(("L4", format!("{} entries are still in the outbox", record.outbox.len())));
            }
            found.extend(events(checker, broker));
        }
    }
    found.into_iter().map(|(property, what)| Violation { property, at, what }).collect()
}

/// S13 and S14: one terminal event for each rollout that ended, every number told once, equal ids with equal bytes.
fn events(checker: &Checker, broker: &Broker) -> Vec<(&'static str, String)> {
    let mut found = Vec::new();
    if let Some(id) = &broker.contradiction {
        found.push(("S14", format!("{id} was told twice, with other bytes")));
    }
    let kinds = || broker.topic.values().flat_map(|lane| lane.values().flatten());
    let finished = kinds().filter(|told| told.kind == types::PIPELINERUN_FINISHED.name).count();
    let ended = checker.facts.ended.len();
    if finished != ended {
        found.push(("S13", format!("{finished} terminal events for {ended} rollouts")));
    }
    let dropped = kinds().any(|told| told.kind == types::EVENTS_DROPPED.name);
    for ((release, _), lane) in &broker.topic {
        let last = lane.keys().next_back().copied().unwrap_or_default();
        let missing = (1..=last).find(|number| !lane.contains_key(number));
        if let Some(number) = missing.filter(|_| !dropped) {
            found.push(("S14", format!("event {number} of {release} was never told")));
        }
    }
    found
}
