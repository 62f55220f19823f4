//! `idp explain RELEASE`: why a release is where it is, what unblocks it, and when it looks next; a pure function of its record.

mod resting;
mod running;

pub(super) use running::pause;

use std::time::Duration;

use jiff::Timestamp;
use serde::Serialize;

use super::connect::Scope;
use super::fleet::{ReleaseView, Seen};
use super::output::{Tone, clean, paint, wrap};
use super::table::{Cell, render};
use super::{CliError, Exit, Output, connect};
use crate::model::duration;
use crate::model::record::Record;
use crate::model::rollout::{HeldVersion, Hold, Summary};

/// Held versions that are listed for people; the data have all.
const SHOWN: usize = 3;

/// Where a release stands, in sentences.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Explanation {
    /// The release.
    pub release: String,
    /// A phase's name, `Stable` or `Failed`.
    pub phase: String,
    /// Why it is where it is.
    pub why: String,
    /// What gets it on.
    pub unblocks: String,
    /// What happens next by itself.
    pub next: String,
    /// When that is, at the latest, where it is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_at: Option<Timestamp>,
    /// The verdicts of the running stage, each one sentence.
    pub verdicts: Vec<String>,
    /// The versions that do not start by themselves, the newest first.
    pub held: Vec<String>,
    /// How the last rollout ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last: Option<String>,
    /// Commands that make sense now.
    pub commands: Vec<String>,
}

/// The parts that differ from state to state.
struct Answer {
    why: String,
    unblocks: String,
    next: String,
    next_at: Option<Timestamp>,
    commands: Vec<&'static str>,
}

/// Explains a record. Everything in it is asked, nothing else.
pub fn explain(release: &str, record: &Record, now: Timestamp) -> Explanation {
    let answer = match &record.rollout {
        Some(rollout) => running::answer(record, rollout, now),
        None => resting::answer(record, now),
    };
    let verdicts = record.rollout.iter().flat_map(|rollout| rollout.stage.verdicts.values());
    let held = record.held.iter().rev().filter(|(_, held)| !held.released);
    let commands = answer.commands.iter().map(|verb| format!("idp rollout {verb} {release}"));
    Explanation {
        release: release.to_owned(),
        phase: record.rollout.as_ref().map_or_else(|| record.phase.clone(), |r| r.phase.name().to_owned()),
        why: answer.why,
        unblocks: answer.unblocks,
        next: answer.next,
        next_at: answer.next_at,
        verdicts: verdicts.map(ToString::to_string).collect(),
        held: held.map(|(number, held)| hold(*number, held, now)).collect(),
        last: record.history.last_key_value().map(|(number, summary)| ended(*number, summary, now)),
        commands: commands.collect(),
    }
}

/// Explains a release whose record may be missing or unreadable.
pub fn explain_view(view: &ReleaseView, now: Timestamp) -> Explanation {
    let without = |why: String, unblocks: &str, next: &str| Explanation {
        release: view.release.clone(),
        phase: "Unknown".to_owned(),
        why,
        unblocks: unblocks.to_owned(),
        next: next.to_owned(),
        next_at: None,
        verdicts: Vec::new(),
        held: Vec::new(),
        last: None,
        commands: Vec::new(),
    };
    match &view.seen {
        Seen::Record(record) => {
            let mut explanation = explain(&view.release, record, now);
            if view.suspended {
                explanation.unblocks = format!(
                    "spec.suspend set to false; until then nothing new starts. {}",
                    explanation.unblocks
                );
            }
            explanation
        }
        Seen::Empty => without(
            "it has no record yet, or its record was lost".to_owned(),
            "a running daemon: it makes the record, or rebuilds it from the cluster",
            "with the daemon's next pass",
        ),
        Seen::Unreadable(why) => without(
            format!("its record cannot be read by this program: {why}"),
            "an `idp` as new as the daemon (`idp version`)",
            "the daemon goes on regardless",
        ),
    }
}

/// Renders an explanation for people.
pub fn text(explanation: &Explanation, width: u16, colour: bool) -> String {
    let tone = super::fleet::tone(&explanation.phase).unwrap_or(Tone::Good);
    let mut lines =
        vec![format!("{}  {}", clean(&explanation.release), paint(&clean(&explanation.phase), tone, colour))];
    let mut say = |title: &str, text: &str| {
        let text = clean(text);
        for (index, line) in wrap(&text, usize::from(width).saturating_sub(12)).iter().enumerate() {
            let title = if index == 0 { title } else { "" };
            lines.push(format!("  {}{line}", paint(&format!("{title:<10}"), Tone::Faint, colour)));
        }
    };
    say("why", &explanation.why);
    say("unblocks", &explanation.unblocks);
    say("next", &explanation.next);
    for verdict in &explanation.verdicts {
        say("gate", verdict);
    }
    for held in explanation.held.iter().take(SHOWN) {
        say("held", held);
    }
    let more = explanation.held.len().saturating_sub(SHOWN);
    if more > 0 {
        say("", &format!("and {more} more: -o json lists all"));
    }
    if let Some(last) = &explanation.last {
        say("last", last);
    }
    for command in &explanation.commands {
        say("try", command);
    }
    lines.join("\n")
}

/// Explains one release.
pub async fn run(scope: &Scope, output: &Output, asked: &str) -> Result<Exit, CliError> {
    let view = connect::find(scope, asked).await?;
    let explanation = explain_view(&view, super::now());
    output.show(&explanation, |output| text(&explanation, output.width, output.colour))?;
    Ok(Exit::Good)
}

/// Renders the kept history as a table, the newest first.
pub fn history(record: &Record, now: Timestamp, width: u16, colour: bool) -> String {
    let row = |(number, summary): (&u64, &Summary)| {
        let outcome = Cell::new(summary.outcome.name());
        vec![
            Cell::new(format!("  #{number}")),
            match super::fleet::tone(summary.outcome.name()) {
                Some(tone) => outcome.tone(tone),
                None => outcome,
            },
            Cell::new(summary.revision.commit.short()),
            Cell::new(format!("{} ago", since(summary.ended_at, now))),
            Cell::new(&summary.verdict),
        ]
    };
    render(&["", "", "", "", ""], record.history.iter().rev().map(row).collect(), width, colour)
}

fn hold(number: u64, held: &HeldVersion, now: Timestamp) -> String {
    let age = since(held.since, now);
    let word = match held.hold {
        Hold::Held => "held".to_owned(),
        Hold::Parked if held.times > 1 => format!("parked, time {},", held.times),
        Hold::Parked => "parked".to_owned(),
    };
    format!("{} ({word} for {age}, rollout #{number}): {}", held.identity.short(), held.verdict)
}

fn ended(number: u64, summary: &Summary, now: Timestamp) -> String {
    let (outcome, commit) = (summary.outcome.name(), summary.revision.commit.short());
    let age = since(summary.ended_at, now);
    let why = if summary.verdict.is_empty() { String::new() } else { format!(": {}", summary.verdict) };
    format!("rollout #{number} of {commit} ended {age} ago as {outcome}{why}")
}

/// The time between two instants, for a sentence; zero if they are the other way round.
fn since(earlier: Timestamp, now: Timestamp) -> String {
    let seconds = now.as_second().saturating_sub(earlier.as_second());
    duration::rough(Duration::from_secs(u64::try_from(seconds).unwrap_or(0)))
}

/// A moment, seen from now: `in 4m (12:04:05 UTC)`.
fn by(at: Timestamp, now: Timestamp) -> String {
    if at <= now {
        return format!("now (since {})", since(at, now));
    }
    let far = at.duration_since(now).unsigned_abs() > Duration::from_hours(12);
    let form = if far { "%Y-%m-%d %H:%M UTC" } else { "%H:%M:%S UTC" };
    format!("in {} ({})", since(now, at), at.strftime(form))
}

/// Adds a duration; a time beyond the calendar's end is that end.
fn after(at: Timestamp, wait: Duration) -> Timestamp {
    at.checked_add(wait).unwrap_or(Timestamp::MAX)
}

#[cfg(test)]
mod tests;
