//! `idp rollout history RELEASE`: what was tried, when, how it ended, and what can be gone back to.

use jiff::Timestamp;
use serde::Serialize;

use super::connect::Scope;
use super::output::{Tone, paint};
use super::table::{Cell, render};
use super::{CliError, Exit, Output, connect, explain, fleet};
use crate::model::duration::rough;
use crate::model::record::Record;
use crate::model::rollout::{Outcome, Summary};
use crate::rollout::gates::elapsed;

/// The history, as it is printed.
#[derive(Debug, Serialize)]
pub struct History {
    /// The release.
    pub release: String,
    /// The rollouts that ended, the newest first.
    pub rollouts: Vec<Past>,
}

/// One rollout that ended.
#[derive(Debug, Serialize)]
pub struct Past {
    /// Its number.
    pub rollout: u64,
    /// How it ended.
    pub outcome: Outcome,
    /// Whether its version is the stable one.
    pub stable: bool,
    /// Whether its version was stable, so that `undo --to` may name it while its objects are kept.
    pub undoable: bool,
    /// The commit.
    pub commit: String,
    /// Its author.
    pub author: String,
    /// The first line of its message.
    pub subject: String,
    /// When it began.
    pub started_at: Timestamp,
    /// When it ended.
    pub ended_at: Timestamp,
    /// Why it ended so.
    pub verdict: String,
}

/// Reads the history out of a record.
pub fn history(release: &str, record: &Record) -> History {
    let stable = record.stable.as_ref();
    let past = |(number, summary): (&u64, &Summary)| {
        let same = stable.is_some_and(|stable| stable.version.identity == summary.identity);
        let promoted = matches!(summary.outcome, Outcome::Promoted | Outcome::Undone);
        Past {
            rollout: *number,
            outcome: summary.outcome,
            stable: stable.is_some_and(|stable| stable.rollout == *number),
            undoable: promoted && !same,
            commit: summary.revision.commit.to_string(),
            author: summary.revision.author.clone(),
            subject: summary.revision.subject.clone(),
            started_at: summary.started_at,
            ended_at: summary.ended_at,
            verdict: summary.verdict.clone(),
        }
    };
    History { release: release.to_owned(), rollouts: record.history.iter().rev().map(past).collect() }
}

/// Prints the history of a release.
pub async fn run(scope: &Scope, output: &Output, asked: &str) -> Result<Exit, CliError> {
    let view = connect::find(scope, asked).await?;
    let Some(record) = view.record() else {
        let explanation = explain::explain_view(&view, super::now());
        return output
            .show(&explanation, |output| explain::text(&explanation, output.width, output.colour))
            .map(|()| Exit::Bad);
    };
    let history = history(&view.release, record);
    output.show(&history, |output| text(&history, super::now(), output.width, output.colour))?;
    Ok(Exit::Good)
}

/// Renders the history for people.
pub fn text(history: &History, now: Timestamp, width: u16, colour: bool) -> String {
    if history.rollouts.is_empty() {
        return format!("no rollout of {} has ended yet", history.release);
    }
    let row = |past: &Past| {
        let outcome = Cell::new(past.outcome.name());
        vec![
            Cell::new(format!("{}{}", if past.stable { "*" } else { " " }, past.rollout)),
            match fleet::tone(past.outcome.name()) {
                Some(tone) => outcome.tone(tone),
                None => outcome,
            },
            Cell::new(past.commit.chars().take(10).collect::<String>()),
            Cell::new(&past.author),
            Cell::new(format!("{} ago", rough(elapsed(past.ended_at, now)))),
            Cell::new(rough(elapsed(past.started_at, past.ended_at))),
            Cell::new(format!("{} ({})", past.subject, past.verdict)),
        ]
    };
    let header = ["ROLLOUT", "OUTCOME", "COMMIT", "AUTHOR", "ENDED", "TOOK", "CHANGE"];
    let mut out = render(&header, history.rollouts.iter().map(row).collect(), width, colour);
    let release = &history.release;
    let mut next = vec![format!("idp report {release} --rollout N")];
    if let Some(past) = history.rollouts.iter().find(|past| past.undoable) {
        next.push(format!("idp rollout undo {release} --to {}", past.rollout));
    }
    out.push_str(&paint(&format!("\n* stable. next: {}", next.join(" | ")), Tone::Faint, colour));
    out
}

#[cfg(test)]
mod tests {
    use super::super::fixtures::{self as at, noon, record};
    use super::*;

    #[test]
    fn the_newest_comes_first_and_what_can_be_gone_back_to_is_named() {
        let mut status = at::not_again("held", 1, None);
        let mut older = status["history"]["6"].clone();
        older["identity"] = "1-0000000000000000".into();
        status["history"]["5"] = older;
        let shown = text(&history("hello.production", &record(&status)), noon(), 110, false);
        insta::assert_snapshot!(shown, @r"
        ROLLOUT  OUTCOME     COMMIT      AUTHOR  ENDED   TOOK  CHANGE
         7       RolledBack  bbbbbbbbbb  Ann     2m ago  8m    new (error_rate fail: too many requests fail)
        *6       Promoted    aaaaaaaaaa  Ann     2h ago  10m   good (all gates passed)
         5       Promoted    aaaaaaaaaa  Ann     2h ago  10m   good (all gates passed)
        * stable. next: idp report hello.production --rollout N | idp rollout undo hello.production --to 5
        ");
        let mut none = at::stable();
        none["history"] = serde_json::json!({});
        let shown = text(&history("x.y", &record(&none)), noon(), 80, false);
        assert_eq!(shown, "no rollout of x.y has ended yet");
    }
}
