//! Bitbucket Data Center's webhooks, as its documentation "Event payload" and "Manage webhooks" describe them. It has no labels.

use serde::Deserialize;

use super::Request;
use super::event::{Action, Event, ParseError, PullRequest, Pushed, Told, branch, read};
use super::proof::{ProofError, sha256_of_body};
use crate::config::Secret;

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
struct Pull {
    pull_request: Details,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Details {
    id: u64,
    from_ref: Ref,
    to_ref: Ref,
}

fn push(Push { changes }: Push) -> Event {
    Event::Push(Pushed::refs(changes.iter().map(|change| change.reference.id.as_str())))
}

fn pull(action: Action, Pull { pull_request: Details { id, from_ref, to_ref } }: Pull) -> Event {
    let (head, commit) = (branch(&from_ref.id), from_ref.latest_commit);
    let base = branch(&to_ref.id).unwrap_or(to_ref.id);
    Event::Pull(PullRequest { number: id, action, base, head, commit, labels: Vec::new() })
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
        let body = r#"{"eventKey":"pr:opened","pullRequest":{"id":7,"version":0,"state":"OPEN",
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
        assert_eq!(read("pr:modified", body), Ok(Event::Other));
    }
}
