//! Explaining a release without a running rollout.

use jiff::Timestamp;

use super::{Answer, by, since};
use crate::model::change::CommitId;
use crate::model::desired::Mode;
use crate::model::record::{Health, Record, Sync};
use crate::model::rollout::{HeldVersion, Hold};
use crate::model::verdict::Gate;
use crate::rollout::hold::PARKED_TIMES;

pub(super) fn answer(record: &Record, now: Timestamp) -> Answer {
    if record.sync == Sync::Invalid {
        return invalid(record, now);
    }
    let Some(head) = &record.head else { return headless(record, now) };
    let stable = record.stable.as_ref().map(|stable| &stable.version.identity);
    if stable == Some(&head.identity) {
        return settled(record, now);
    }
    let same = |other: &&HeldVersion| other.identity == head.identity && !other.released;
    match record.held.values().rev().find(same) {
        Some(verdict) => not_again(record, verdict, now),
        None => not_started(record, now),
    }
}

/// What runs, in half a sentence.
fn running(record: &Record, now: Timestamp) -> String {
    match &record.stable {
        Some(stable) => {
            let commit = stable.version.revision.commit.short();
            let stable = format!("{commit} is stable for {}", since(stable.since, now));
            match &record.serving {
                None => stable,
                Some(serving) => {
                    let commit = serving.candidate.revision().commit.short();
                    format!(
                        "{stable}, and {commit} of rollout #{} keeps all traffic beside it",
                        serving.number
                    )
                }
            }
        }
        None => "no version was ever promoted".to_owned(),
    }
}

fn head_commit(record: &Record) -> String {
    let commit = record.head.as_ref().map_or("", |head| head.commit.as_str());
    commit.parse::<CommitId>().map_or_else(|_| commit.chars().take(10).collect(), |id| id.short().to_owned())
}

fn said(record: &Record) -> String {
    if record.message.is_empty() { String::new() } else { format!(": {}", record.message) }
}

fn invalid(record: &Record, now: Timestamp) -> Answer {
    Answer {
        why: format!("the newest declaration cannot be used, and {}{}", running(record, now), said(record)),
        unblocks: "a commit that mends the file; `idp validate` shows what is wrong before it is pushed"
            .to_owned(),
        next: "with the next commit of the source".to_owned(),
        next_at: None,
        commands: vec![],
    }
}

fn headless(record: &Record, now: Timestamp) -> Answer {
    Answer {
        why: format!(
            "the daemon has not seen the source's newest commit, and {}{}",
            running(record, now),
            said(record)
        ),
        unblocks: "a source that answers; `idp status` shows what is wrong with it".to_owned(),
        next: "with the next look at the source; until then nothing new starts and nothing is deleted"
            .to_owned(),
        next_at: None,
        commands: vec![],
    }
}

fn settled(record: &Record, now: Timestamp) -> Answer {
    let well = matches!(record.health, Health::Healthy | Health::Suspended);
    let why = match (well, record.sync) {
        (true, Sync::Synced) => format!("all is as declared: {}", running(record, now)),
        (true, _) => {
            format!("{}, and its objects are being brought in line{}", running(record, now), said(record))
        }
        (false, _) => format!("{}, but it is {}{}", running(record, now), record.health.name(), said(record)),
    };
    let unblocks = if well { "nothing to do" } else { "pods that get well, or a commit that mends them" };
    Answer {
        why,
        unblocks: unblocks.to_owned(),
        next: "with the next commit, or when one of its objects changes".to_owned(),
        next_at: None,
        commands: vec![],
    }
}

fn not_again(record: &Record, held: &HeldVersion, now: Timestamp) -> Answer {
    let commit = head_commit(record);
    let verdict = &held.verdict;
    match held.hold {
        Hold::Held => Answer {
            why: format!(
                "{commit} is held and does not start again, because {verdict}; {}",
                running(record, now)
            ),
            unblocks: "a commit that changes the version, or `retry` for a second chance of this one"
                .to_owned(),
            next: "nothing by itself".to_owned(),
            next_at: None,
            commands: vec!["retry"],
        },
        Hold::Parked if held.not_before.is_none() && verdict.gate == Gate::Command => Answer {
            why: format!("{commit} is parked and waits for a person: {verdict}; {}", running(record, now)),
            unblocks: "`retry`, or a commit that changes the version".to_owned(),
            next: "nothing by itself".to_owned(),
            next_at: None,
            commands: vec!["retry"],
        },
        Hold::Parked if held.times > PARKED_TIMES => Answer {
            why: format!(
                "{commit} was parked {} times and waits for a person, because {verdict}; {}",
                held.times,
                running(record, now)
            ),
            unblocks: "`retry`, or a commit that changes the version".to_owned(),
            next: "nothing by itself".to_owned(),
            next_at: None,
            commands: vec!["retry"],
        },
        Hold::Parked => {
            let when = held.not_before.map_or_else(|| "soon".to_owned(), |at| by(at, now));
            // Only of an image can be seen that it has come; room and data show by trying.
            let (unblocks, next) = match verdict.gate {
                Gate::Image => (
                    "its image in the registry",
                    format!("starts again once its image is there, {when} at the earliest"),
                ),
                _ => ("time", format!("tried again {when}")),
            };
            Answer {
                why: format!(
                    "{commit} is parked, because nothing was proven: {verdict}; {}",
                    running(record, now)
                ),
                unblocks: format!("{unblocks}, `retry`, or a commit that changes the version"),
                next,
                next_at: held.not_before,
                commands: vec!["retry"],
            }
        }
    }
}

fn not_started(record: &Record, now: Timestamp) -> Answer {
    let commit = head_commit(record);
    let observe = record.mode == Mode::Observe;
    let (because, unblocks) = if observe {
        (
            "its mode is observe: differences are shown and not applied",
            "`deploy.mode: apply` in its declaration",
        )
    } else {
        ("it has not been started", "the reason above gone; else the next pass starts it")
    };
    Answer {
        why: format!(
            "{commit} asks for a new version, but {because}{}; {}",
            if observe { String::new() } else { said(record) },
            running(record, now)
        ),
        unblocks: unblocks.to_owned(),
        next: "with the next commit or pass".to_owned(),
        next_at: None,
        commands: vec![],
    }
}
