//! Bitbucket Data Center's webhooks, as its documentation "Event payload" and "Manage webhooks" describe them. It has no labels.

use jiff::Timestamp;
use serde::Deserialize;

use super::Request;
use super::event::{Event, ParseError, Pushed, Told, branch, read, time};
use super::proof::{ProofError, sha256_of_body};
use crate::config::Secret;
use crate::model::pull::{Action, PullRequest, PullState, Review};

pub(super) const PROOF: &[&str] = &["x-hub-signature"];

/// Checks `X-Hub-Signature: sha256=<hex>`.
pub(super) fn verify(request: Request<'_>, secrets: &[Secret]) -> Result<(), ProofError> {
    sha256_of_body(request, PROOF, secrets)
}

/// Reads what happened.
pub(super) fn parse(request: Request<'_>) -> Result<Told, ParseError> {
    let name = request.header(&["x-event-key"]).unwrap_or_default();
    let action = match name {
        "pr:opened" => Some(Action::Opened),
        "pr:from_ref_updated" => Some(Action::Synchronized),
        "pr:reopened" => Some(Action::Reopened),
        "pr:merged" => Some(Action::Merged),
        "pr:declined" | "pr:deleted" => Some(Action::Closed),
        "pr:reviewer:approved" => Some(Action::Approved),
        "pr:reviewer:unapproved" => Some(Action::Unapproved),
        "pr:reviewer:needs_work" | "pr:reviewer:changes_requested" => Some(Action::Rejected),
        _ => None,
    };
    let event = match (name, action) {
        ("repo:refs_changed", _) => push(read("Bitbucket Data Center", request.body)?),
        ("diagnostics:ping", _) => Event::Ping,
        (_, Some(action)) => pull(action, read("Bitbucket Data Center", request.body)?),
        _ => Event::Other,
    };
    let id = request.header(&["x-request-id"]).map(str::to_owned);
    Ok(Told { event, name: name.to_owned(), id })
}

#[derive(Deserialize)]
struct Push {
    changes: Vec<Change>,
}

#[derive(Deserialize)]
struct Change {
    #[serde(rename = "ref")]
    reference: Ref,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Ref {
    id: String,
    latest_commit: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Body {
    /// When the event happened, with its zone.
    date: Option<String>,
    pull_request: Details,
    participant: Option<Participant>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Participant {
    user: User,
    last_reviewed_commit: Option<String>,
}

#[derive(Deserialize)]
struct User {
    name: String,
}

#[derive(Deserialize)]
struct Author {
    user: User,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Details {
    id: u64,
    state: Option<String>,
    title: Option<String>,
    author: Option<Author>,
    /// Milliseconds since 1970.
    updated_date: Option<i64>,
    from_ref: Ref,
    to_ref: Ref,
}

fn push(Push { changes }: Push) -> Event {
    Event::Push(Pushed::refs(changes.iter().map(|change| change.reference.id.as_str())))
}

fn pull(action: Action, Body { date, pull_request: told, participant }: Body) -> Event {
    let state = match told.state.as_deref() {
        Some("OPEN") => Some(PullState::Open),
        Some("MERGED") => Some(PullState::Merged),
        Some("DECLINED") => Some(PullState::Closed),
        _ => None,
    };
    let happened = time(date.as_deref());
    let review = participant.map(|Participant { user, last_reviewed_commit }| Review {
        who: user.name,
        at: happened,
        commit: last_reviewed_commit,
    });
    let updated = told.updated_date.and_then(|at| Timestamp::from_millisecond(at).ok());
    Event::Pull(Box::new(PullRequest {
        number: told.id,
        action,
        // One that is deleted has only the time of the event.
        at: if action == Action::Closed { happened.max(updated) } else { updated.or(happened) },
        state: state.filter(|_| action != Action::Closed),
        title: told.title,
        author: told.author.map(|author| author.user.name),
        base: branch(&told.to_ref.id).unwrap_or(told.to_ref.id),
        head: branch(&told.from_ref.id),
        commit: told.from_ref.latest_commit,
        labels: Vec::new(),
        review,
    }))
}

#[cfg(test)]
mod tests {
    use super::super::tests::{headers, pull, pushed_refs};
    use super::*;

    #[test]
    fn its_signature_is_as_documented_for_the_cloud() {
        let secrets = [Secret::new("It's a Secret to Everybody")];
        let signature = "sha256=a4771c39fbe90f317c7824e83ddef3caae9cb3d976c214ace1f2937e133263c9";
        let headers = headers(&[("x-hub-signature", signature)]);
        assert_eq!(verify(Request { headers: &headers, body: b"Hello World!" }, &secrets), Ok(()));
        assert_eq!(verify(Request { headers: &headers, body: b"" }, &secrets), Err(ProofError::Wrong));
    }

    #[test]
    fn events_are_read() {
        let read = |name: &str, body: &str| {
            let headers = headers(&[("x-event-key", name), ("x-request-id", "5f5f")]);
            parse(Request { headers: &headers, body: body.as_bytes() }).map(|told| told.event)
        };
        let pushed = r#"{"eventKey":"repo:refs_changed","changes":[
            {"ref":{"id":"refs/heads/main","displayId":"main","type":"BRANCH"},"refId":"refs/heads/main","type":"UPDATE"},
            {"ref":{"id":"refs/tags/v1","displayId":"v1","type":"TAG"},"refId":"refs/tags/v1","type":"ADD"}]}"#;
        assert_eq!(read("repo:refs_changed", pushed), Ok(pushed_refs(&["main"], &["v1"])));
        assert_eq!(read("diagnostics:ping", r#"{"test":true}"#), Ok(Event::Ping));
        assert_eq!(read("repo:forked", ""), Ok(Event::Other));
        assert_eq!(read("repo:refs_changed", "{}"), Err(ParseError("Bitbucket Data Center")));
        let body = r#"{"eventKey":"pr:opened","pullRequest":{"id":7,"version":0,
            "fromRef":{"id":"refs/heads/topic","displayId":"topic","latestCommit":"1b"},
            "toRef":{"id":"refs/heads/main","displayId":"main","latestCommit":"0a"}}}"#;
        for (name, action) in [
            ("pr:opened", Action::Opened),
            ("pr:from_ref_updated", Action::Synchronized),
            ("pr:reopened", Action::Reopened),
            ("pr:merged", Action::Merged),
            ("pr:declined", Action::Closed),
            ("pr:deleted", Action::Closed),
        ] {
            assert_eq!(read(name, body), Ok(pull(7, action, &[])), "{name}");
        }
        let more = r#"{"date":"2026-01-01T22:00:00+1000","participant":{"user":{"name":"ann"},"lastReviewedCommit":"0c"},"#;
        for (name, action) in [
            ("pr:reviewer:approved", Action::Approved),
            ("pr:reviewer:unapproved", Action::Unapproved),
            ("pr:reviewer:needs_work", Action::Rejected),
        ] {
            let body = body
                .replacen('{', more, 1)
                .replace("\"version\":0", "\"state\":\"OPEN\",\"updatedDate\":1767268809000");
            let Ok(Event::Pull(told)) = read(name, &body) else { panic!("{name}: {body}") };
            let at = "2026-01-01T12:00:00Z".parse().ok();
            let review = Review { who: "ann".to_owned(), at, commit: Some("0c".to_owned()) };
            assert_eq!((told.action, told.review, told.state), (action, Some(review), Some(PullState::Open)));
            assert_eq!(told.at, "2026-01-01T12:00:09Z".parse().ok());
        }
        assert_eq!(read("pr:modified", body), Ok(Event::Other));
    }
}
