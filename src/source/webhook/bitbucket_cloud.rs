//! Bitbucket Cloud's webhooks, as its documentation "Manage webhooks" and "Event payloads" describe them. It has no labels, and
//! `pullrequest:updated` does not tell new commits from a new title.

use serde::Deserialize;

use super::Request;
use super::event::{Event, ParseError, Pushed, Told, read, time};
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
        "pullrequest:created" => Some(Action::Opened),
        "pullrequest:updated" => Some(Action::Synchronized),
        "pullrequest:fulfilled" => Some(Action::Merged),
        "pullrequest:rejected" => Some(Action::Closed),
        "pullrequest:approved" => Some(Action::Approved),
        "pullrequest:unapproved" | "pullrequest:changes_request_removed" => Some(Action::Unapproved),
        "pullrequest:changes_request_created" => Some(Action::Rejected),
        _ => None,
    };
    let event = match (name, action) {
        ("repo:push", _) => push(read("Bitbucket Cloud", request.body)?),
        (_, Some(action)) => pull(action, read("Bitbucket Cloud", request.body)?),
        _ => Event::Other,
    };
    let id = request.header(&["x-request-uuid"]).map(str::to_owned);
    Ok(Told { event, name: name.to_owned(), id })
}

#[derive(Deserialize)]
struct Body {
    push: Push,
}

#[derive(Deserialize)]
struct Push {
    changes: Vec<Change>,
}

/// What a ref was and is; nothing where it was created or deleted.
#[derive(Deserialize)]
struct Change {
    new: Option<Ref>,
    old: Option<Ref>,
}

#[derive(Deserialize)]
struct Ref {
    #[serde(rename = "type")]
    kind: String,
    name: String,
}

#[derive(Deserialize)]
struct Pull {
    pullrequest: Details,
    approval: Option<Given>,
    changes_request: Option<Given>,
}

#[derive(Deserialize)]
struct Given {
    date: Option<String>,
    user: User,
}

/// A name that people see; not all accounts have every one.
#[derive(Deserialize)]
struct User {
    nickname: Option<String>,
    display_name: Option<String>,
    uuid: Option<String>,
}

impl User {
    fn name(self) -> Option<String> {
        self.nickname.or(self.display_name).or(self.uuid)
    }
}

#[derive(Deserialize)]
struct Details {
    id: u64,
    state: Option<String>,
    title: Option<String>,
    author: Option<User>,
    updated_on: Option<String>,
    source: Option<End>,
    destination: End,
}

#[derive(Deserialize)]
struct End {
    branch: Branch,
    commit: Option<Commit>,
}

#[derive(Deserialize)]
struct Branch {
    name: String,
}

#[derive(Deserialize)]
struct Commit {
    hash: String,
}

fn push(Body { push }: Body) -> Event {
    let refs = push.changes.into_iter().filter_map(|change| change.new.or(change.old));
    let mut pushed = Pushed::default();
    for moved in refs {
        match moved.kind.as_str() {
            "branch" => pushed.branches.push(moved.name),
            "tag" => pushed.tags.push(moved.name),
            _ => {}
        }
    }
    Event::Push(pushed)
}

fn pull(action: Action, Pull { pullrequest: told, approval, changes_request }: Pull) -> Event {
    let (head, commit) = match told.source {
        Some(End { branch, commit }) => (Some(branch.name), commit.map(|commit| commit.hash)),
        None => (None, None),
    };
    let state = match told.state.as_deref() {
        Some("OPEN") => Some(PullState::Open),
        Some("MERGED") => Some(PullState::Merged),
        Some("DECLINED" | "SUPERSEDED") => Some(PullState::Closed),
        _ => None,
    };
    let review = approval.or(changes_request).and_then(|Given { date, user }| {
        // The date of what is taken back may be that of when it was given.
        let at = date.filter(|_| action != Action::Unapproved).or_else(|| told.updated_on.clone());
        Some(Review { who: user.name()?, at: time(at.as_deref()), commit: None })
    });
    Event::Pull(Box::new(PullRequest {
        number: told.id,
        action,
        at: time(told.updated_on.as_deref()),
        state,
        title: told.title,
        author: told.author.and_then(User::name),
        base: told.destination.branch.name,
        head,
        commit,
        labels: Vec::new(),
        review,
    }))
}

#[cfg(test)]
mod tests {
    use super::super::tests::{headers, pull, pushed_refs};
    use super::*;

    #[test]
    fn the_documented_vector_is_accepted() {
        let secrets = [Secret::new("It's a Secret to Everybody")];
        let signature = "sha256=a4771c39fbe90f317c7824e83ddef3caae9cb3d976c214ace1f2937e133263c9";
        let proven = |name: &str, body: &[u8]| {
            verify(Request { headers: &headers(&[(name, signature)]), body }, &secrets)
        };
        assert_eq!(proven("x-hub-signature", b"Hello World!"), Ok(()));
        assert_eq!(proven("x-hub-signature", b"Hello, World!"), Err(ProofError::Wrong));
        assert_eq!(proven("x-hub-signature-256", b"Hello World!"), Err(ProofError::Missing));
    }

    #[test]
    fn events_are_read() {
        let read = |name: &str, body: &str| {
            let headers = headers(&[("x-event-key", name), ("x-request-uuid", "5f5f")]);
            parse(Request { headers: &headers, body: body.as_bytes() }).map(|told| told.event)
        };
        let pushed = r#"{"actor":{},"push":{"changes":[
            {"forced":false,"old":{"type":"branch","name":"main"},"new":{"type":"branch","name":"main","target":{"hash":"1b"}}},
            {"created":true,"old":null,"new":{"type":"tag","name":"v1"}},
            {"closed":true,"old":{"type":"branch","name":"gone"},"new":null}]}}"#;
        assert_eq!(read("repo:push", pushed), Ok(pushed_refs(&["main", "gone"], &["v1"])));
        assert_eq!(read("repo:fork", "{}"), Ok(Event::Other));
        assert_eq!(read("repo:push", "{}"), Err(ParseError("Bitbucket Cloud")));
        let body = r#"{"pullrequest":{"id":7,"source":{"branch":{"name":"topic"},"commit":{"hash":"1b"}},
            "destination":{"branch":{"name":"main"},"commit":null}}}"#;
        for (name, action) in [
            ("pullrequest:created", Action::Opened),
            ("pullrequest:updated", Action::Synchronized),
            ("pullrequest:fulfilled", Action::Merged),
            ("pullrequest:rejected", Action::Closed),
        ] {
            assert_eq!(read(name, body), Ok(pull(7, action, &[])), "{name}");
        }
        let more = r#"{"state":"OPEN","title":"More","author":{"nickname":"bob"},"updated_on":"2026-01-01T12:00:09+00:00","#;
        let (given, kept) =
            (r#"{"date":"2026-01-01T12:00:00.5+00:00","user":{"nickname":"ann"}},"#, r#""pullrequest":"#);
        for (name, key, action, at) in [
            ("pullrequest:approved", "approval", Action::Approved, "2026-01-01T12:00:00.5Z"),
            ("pullrequest:unapproved", "approval", Action::Unapproved, "2026-01-01T12:00:09Z"),
            (
                "pullrequest:changes_request_created",
                "changes_request",
                Action::Rejected,
                "2026-01-01T12:00:00.5Z",
            ),
            (
                "pullrequest:changes_request_removed",
                "changes_request",
                Action::Unapproved,
                "2026-01-01T12:00:09Z",
            ),
        ] {
            let body = body.replacen('{', more, 2).replacen(more, "{", 1);
            let body = body.replacen(kept, &format!("\"{key}\":{given}{kept}"), 1);
            let Ok(Event::Pull(told)) = read(name, &body) else { panic!("{name}: {body}") };
            let review = Review { who: "ann".to_owned(), at: at.parse().ok(), commit: None };
            assert_eq!((told.action, told.review, told.state), (action, Some(review), Some(PullState::Open)));
            assert_eq!((told.commit.as_deref(), told.author.as_deref()), (Some("1b"), Some("bob")));
        }
        assert_eq!(read("pullrequest:comment_created", body), Ok(Event::Other));
    }
}
