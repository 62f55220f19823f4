//! Commit statuses: what the author of a merge is told, derived from the record. Pure; there is no history to send, the newest wins.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::model::desired::{Mode, SourceProblem};
use crate::model::name::{ReleaseKey, SourceName};
use crate::model::record::{HeadSeen, Record};
use crate::model::rollout::{Outcome, Phase, Rollout, Summary};

/// Characters of a description that forges accept.
const DESCRIPTION: usize = 140;

/// How a commit stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// On its way.
    Pending,
    /// Its version is stable.
    Success,
    /// It is not, and will not be by itself.
    Failure,
}

/// One status of one commit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CommitStatus {
    /// How it stands.
    pub state: State,
    /// What it is about: `idp/<environment>/<service>`, or `idp/<source>`.
    pub context: String,
    /// One sentence, at most 140 characters.
    pub description: String,
    /// Where a person can read more.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target_url: Option<String>,
}

/// Returns the statuses that follow from a record, by full commit id: of the newest ended rollout, of the head, and of the running
/// rollout. `page` is where a person can read more about the release.
pub fn statuses_of(key: &ReleaseKey, record: &Record, page: Option<&str>) -> BTreeMap<String, CommitStatus> {
    let context = format!("idp/{}/{}", key.environment, key.service);
    let status = |(state, text): (State, String)| CommitStatus {
        state,
        context: context.clone(),
        description: cut(&text),
        target_url: page.map(str::to_owned),
    };
    let mut statuses = BTreeMap::new();
    if let Some(head) = &record.head
        && let Some(said) = of_head(record, head)
    {
        statuses.insert(head.commit.clone(), status(said));
    }
    if let Some((number, summary)) = record.history.last_key_value() {
        statuses.insert(summary.revision.commit.to_string(), status(of_ended(*number, summary)));
    }
    if let Some(rollout) = &record.rollout {
        let commit = rollout.candidate.revision().commit.to_string();
        statuses.insert(commit, status(of_running(rollout)));
    }
    statuses
}

/// Returns the statuses of commits in which a source has problems: one a commit, of all its problems.
pub fn statuses_of_problems(
    source: &SourceName,
    problems: &[SourceProblem],
    page: Option<&str>,
) -> BTreeMap<String, CommitStatus> {
    let mut messages: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for problem in problems {
        let Some(commit) = &problem.commit else { continue };
        let message = match &problem.path {
            Some(path) => format!("{path}: {}", problem.message),
            None => problem.message.clone(),
        };
        messages.entry(commit.clone()).or_default().push(message);
    }
    let status = |messages: Vec<String>| {
        let first = messages.first().cloned().unwrap_or_default();
        let text = if messages.len() > 1 { format!("{} problems: {first}", messages.len()) } else { first };
        CommitStatus {
            state: State::Failure,
            context: format!("idp/{source}"),
            description: cut(&text),
            target_url: page.map(str::to_owned),
        }
    };
    messages.into_iter().map(|(commit, messages)| (commit, status(messages))).collect()
}

fn cut(text: &str) -> String {
    // A line of its own would not be shown.
    let text: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    if text.chars().count() <= DESCRIPTION {
        return text;
    }
    text.chars().take(DESCRIPTION - 1).chain(['…']).collect()
}

fn of_running(rollout: &Rollout) -> (State, String) {
    let number = rollout.number;
    if let Some(ending) = &rollout.ending {
        return match ending.outcome {
            Outcome::Superseded => (State::Failure, superseded(number)),
            _ => (State::Failure, format!("rollout {number} is being taken back: {}", ending.verdict)),
        };
    }
    if rollout.frozen_since.is_some() {
        let text = "a gate failed and rollback.auto is false: it waits for abort or a newer version";
        return (State::Failure, format!("rollout {number}: {text}"));
    }
    let waits = match rollout.phase {
        Phase::Preparing if rollout.candidate.version().is_none() => "waits for its image".to_owned(),
        Phase::Preparing => "waits for its turn".to_owned(),
        Phase::Progressing => {
            let step = usize::try_from(rollout.step).unwrap_or(usize::MAX);
            let weight = rollout.step_weight();
            format!("step {} of {}, {weight} %", step.saturating_add(1), rollout.policy.steps.len())
        }
        Phase::Promoting => "all pods take the new version".to_owned(),
        Phase::Baking => "all pods run the new version, the gates still watch".to_owned(),
        Phase::RollingBack => "is being taken back".to_owned(),
    };
    (State::Pending, format!("rollout {number}: {waits}"))
}

fn superseded(number: u64) -> String {
    format!("rollout {number} was superseded by a newer commit")
}

fn of_ended(number: u64, summary: &Summary) -> (State, String) {
    match summary.outcome {
        Outcome::Promoted => {
            (State::Success, format!("rollout {number} was promoted: the version is stable"))
        }
        Outcome::Undone => (State::Success, format!("rollout {number} went back to this version")),
        Outcome::Superseded => (State::Failure, superseded(number)),
        Outcome::RolledBack => (State::Failure, format!("rolled back: {}", summary.verdict)),
        Outcome::Aborted => (State::Failure, format!("aborted: {}", summary.verdict)),
        Outcome::Failed => (State::Failure, format!("failed: {}", summary.verdict)),
    }
}

/// Says how the head stands where no rollout of its own says it; nothing where the daemon does not act.
fn of_head(record: &Record, head: &HeadSeen) -> Option<(State, String)> {
    if record.stable.as_ref().is_some_and(|stable| stable.version.identity == head.identity) {
        return Some((State::Success, "nothing to roll out: this version is stable".to_owned()));
    }
    if record.mode == Mode::Observe {
        return None;
    }
    let kept = record.held.values().rev().find(|kept| kept.identity == head.identity && !kept.released);
    Some(match (kept, &record.rollout) {
        (Some(kept), _) => {
            (State::Failure, format!("this version does not start again by itself: {}", kept.verdict))
        }
        (None, Some(rollout)) => (State::Pending, format!("waits for the end of rollout {}", rollout.number)),
        (None, None) => (State::Pending, "waits to be started".to_owned()),
    })
}

#[cfg(test)]
pub(crate) mod tests;
