//! What the demo showed, as one value: for people a screen, for scripts one JSON object.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use jiff::Timestamp;
use serde::Serialize;
use serde_json::Value;

use super::story::CHAPTERS;
use super::witness::{Notes, Seen};
use crate::cli::output::{Tone, clean, paint, wrap};
use crate::model::record::Record;
use crate::model::rollout::Outcome;

/// The timings: the name in the data, what a person is told, the unit.
const TIMINGS: [(&str, &str, &str); 3] = [
    ("push_to_applied_ms", "the branch moves → the candidate is written (median)", "ms"),
    ("failure_to_rolled_back_ms", "a gate fails → only stable runs (median)", "ms"),
    ("total_seconds", "the whole demo", "s"),
];

/// One ended rollout.
#[derive(Debug, Clone, Serialize)]
pub struct Ended {
    #[serde(skip)]
    pub(super) number: u64,
    /// The release.
    pub release: &'static str,
    #[serde(skip)]
    pub(super) wanted: Outcome,
    /// How it ended.
    pub outcome: Outcome,
    /// The highest step reached, from 1.
    pub steps: u32,
    /// The sentence that ended it.
    pub verdict: String,
    /// From the merge to the end, in seconds with one decimal.
    pub seconds: f64,
    #[serde(skip)]
    pub(super) late_image: bool,
    #[serde(skip)]
    pub(super) push_to_applied: Option<Duration>,
}

/// A version that does not start again by itself.
#[derive(Debug, Clone, Serialize)]
pub struct Held {
    /// The rollout that ended so.
    pub rollout: u64,
    /// Its identity.
    pub identity: String,
    /// Why.
    pub verdict: String,
}

/// Everything that the demo showed.
#[derive(Debug, Clone, Serialize)]
pub struct Summary {
    /// The rollouts in order.
    pub rollouts: Vec<Ended>,
    /// The types of the events, in the order in which they came back from the broker.
    pub events: Vec<String>,
    /// What is held at the end.
    pub held: Vec<Held>,
    /// Times in milliseconds, median of what was measured, and the whole in seconds.
    pub timings: BTreeMap<&'static str, f64>,
}

impl Summary {
    /// Gathers what was seen.
    pub fn new(ended: &[Ended], notes: &Notes, record: Option<&Record>, took: Duration) -> Self {
        let held = record.into_iter().flat_map(|record| &record.held).filter(|(_, held)| !held.released);
        let held = held.map(|(number, held)| Held {
            rollout: *number,
            identity: held.identity.to_string(),
            verdict: held.verdict.to_string(),
        });
        let mut timings = BTreeMap::from([("total_seconds", round(took.as_secs_f64()))]);
        let applied =
            ended.iter().filter(|ended| !ended.late_image).filter_map(|ended| ended.push_to_applied);
        let applied: Vec<f64> = applied.map(|took| took.as_secs_f64() * 1000.0).collect();
        let mut put = |name, all: Vec<f64>| {
            if let Some(median) = median(all) {
                timings.insert(name, round(median));
            }
        };
        put("push_to_applied_ms", applied);
        put("failure_to_rolled_back_ms", failure_to_rollback(&notes.events));
        Self {
            rollouts: ended.to_vec(),
            events: notes.events.iter().map(|event| event.kind.clone()).collect(),
            held: held.collect(),
            timings,
        }
    }

    /// Tells whether everything went as told: every rollout with its outcome, and both bad versions held.
    pub fn as_told(&self) -> bool {
        let rollouts = CHAPTERS.iter().filter(|chapter| chapter.outcome.is_some()).count();
        let outcomes = self.rollouts.iter().all(|ended| ended.outcome == ended.wanted);
        let bad = self.rollouts.iter().filter(|ended| ended.wanted == Outcome::RolledBack).count();
        self.rollouts.len() == rollouts && outcomes && self.held.len() == bad
    }

    /// Renders the last screen.
    pub fn text(&self, width: u16, colour: bool) -> String {
        let mut text = String::from("\n■ What became of it\n");
        for ended in &self.rollouts {
            let tone = if ended.outcome == Outcome::Promoted { Tone::Good } else { Tone::Bad };
            let outcome = paint(&format!("{:<10}", ended.outcome.name()), tone, colour);
            let head = format!("  #{} {outcome} {:5.1} s  ", ended.number, ended.seconds);
            hang(&mut text, &head, 24, &ended.verdict, width);
        }
        for held in &self.held {
            let identity = held.identity.get(..12).unwrap_or(&held.identity);
            let said =
                format!("version {identity} of rollout #{} does not start again by itself", held.rollout);
            hang(&mut text, "  held  ", 8, &said, width);
        }
        let _ = writeln!(text, "\n■ {} events, read back from the broker", self.events.len());
        let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
        for kind in &self.events {
            *counts.entry(kind).or_default() += 1;
        }
        for (kind, count) in counts {
            let _ = writeln!(text, "  {count:3} × {kind}");
        }
        let _ = writeln!(text, "\n■ How long it took");
        for (name, title, unit) in TIMINGS {
            if let Some(value) = self.timings.get(name) {
                let _ = writeln!(text, "  {title:<58} {value:8.1} {unit}");
            }
        }
        let (verdict, tone) = if self.as_told() {
            ("Everything went as told.", Tone::Good)
        } else {
            ("Not everything went as told.", Tone::Bad)
        };
        let _ = write!(text, "\n{}", paint(verdict, tone, colour));
        text
    }
}

/// Writes a text behind a head of so many characters; its further lines begin where the first one does.
fn hang(out: &mut String, head: &str, indent: usize, text: &str, width: u16) {
    let lines = wrap(&clean(text), usize::from(width).saturating_sub(indent));
    let _ = writeln!(out, "{head}{}", lines.join(&format!("\n{}", " ".repeat(indent))));
}

/// Tells whether the terminal event of the last rollout is among the events.
pub fn all_events_came(notes: &Notes, last: u64) -> bool {
    let finished = notes.events.iter().filter(|event| event.kind.contains("pipelinerun.finished")).count();
    u64::try_from(finished).is_ok_and(|finished| finished >= last)
}

/// From each failed verdict's event to the event that says that stable runs again.
fn failure_to_rollback(events: &[Seen]) -> Vec<f64> {
    let time = |event: &Seen| -> Option<Timestamp> {
        event.data.pointer("/context/timestamp").and_then(Value::as_str)?.parse().ok()
    };
    let mut failed = None;
    let mut all = Vec::new();
    for event in events {
        if event.kind.contains("incident.detected") {
            failed = time(event);
        } else if event.kind.contains("service.rolledback")
            && let (Some(from), Some(to)) = (failed.take(), time(event))
        {
            all.push(to.duration_since(from).as_secs_f64() * 1000.0);
        }
    }
    all
}

fn median(mut all: Vec<f64>) -> Option<f64> {
    all.sort_by(f64::total_cmp);
    all.get(all.len() / 2).copied()
}

pub fn round(value: f64) -> f64 {
    (value * 10.0).round() / 10.0
}
