//! GitHub's webhooks, as its documentation "Validating webhook deliveries" and "Webhook events and payloads" describe them.

use serde::Deserialize;

use super::Request;
use super::event::{Event, ParseError, Pushed, Told, read, time};
use super::proof::{ProofError, sha256_of_body};
use crate::config::Secret;
use crate::model::pull::{Action, PullRequest, PullState, Review};

pub(super) const PROOF: &[&str] = &["x-hub-signature-256"];

/// Checks `X-Hub-Signature-256: sha256=<hex>`.
pub(super) fn verify(request: Request<'_>, secrets: &[Secret]) -> Result<(), ProofError> {
    sha256_of_body(request, PROOF, secrets)
}

/// Reads what happened.
pub(super) fn parse(request: Request<'_>) -> Result<Told, ParseError> {
    let name = request.header(&["x-github-event"]).unwrap_or_default();
    let event = event("GitHub", name, request.body)?;
    let id = request.header(&["x-github-delivery"]).map(str::to_owned);
    Ok(Told { event, name: name.to_owned(), id })
}

#[derive(Deserialize)]
struct Push {
    #[serde(rename = "ref")]
    reference: String,
}

#[derive(Deserialize)]
struct Changed {
    action: String,
    number: u64,
    pull_request: Details,
}

#[derive(Deserialize)]
struct Reviewed {
    action: String,
    review: Given,
    pull_request: Details,
}

/// A review. Of one that is dismissed the time is still that of its submission.
#[derive(Deserialize)]
struct Given {
    user: Option<User>,
    commit_id: Option<String>,
    submitted_at: Option<String>,
    state: String,
}

#[derive(Deserialize)]
pub(super) struct Details {
    #[serde(default)]
    number: u64,
    #[serde(default)]
    merged: bool,
    merged_at: Option<String>,
    state: Option<String>,
    updated_at: Option<String>,
    title: Option<String>,
    user: Option<User>,
    base: End,
    head: Option<End>,
    labels: Option<Vec<Label>>,
}

#[derive(Deserialize)]
struct End {
    #[serde(rename = "ref")]
    branch: String,
    sha: Option<String>,
}

#[derive(Deserialize)]
struct Label {
    name: String,
}

#[derive(Deserialize)]
pub(super) struct User {
    pub(super) login: String,
}

/// Reads the events that Gitea has from GitHub.
pub(super) fn event(forge: &'static str, name: &str, body: &[u8]) -> Result<Event, ParseError> {
    match name {
        "push" => {
            let push: Push = read(forge, body)?;
            Ok(Event::Push(Pushed::refs([push.reference.as_str()])))
        }
        "pull_request" => Ok(pull(read(forge, body)?)),
        "pull_request_review" => Ok(review(read(forge, body)?)),
        "ping" => Ok(Event::Ping),
        _ => Ok(Event::Other),
    }
}

fn pull(Changed { action, number, pull_request }: Changed) -> Event {
    let action = match action.as_str() {
        "opened" => Action::Opened,
        "synchronize" | "synchronized" => Action::Synchronized,
        "reopened" => Action::Reopened,
        "labeled" | "label_updated" => Action::Labeled,
        "unlabeled" | "label_cleared" => Action::Unlabeled,
        "closed" if pull_request.merged => Action::Merged,
        "closed" => Action::Closed,
        _ => return Event::Other,
    };
    Event::Pull(Box::new(pull_request.told(number, action, None)))
}

fn review(Reviewed { action, review, pull_request }: Reviewed) -> Event {
    let Given { user, commit_id, submitted_at, state } = review;
    let (action, at) = match (action.as_str(), state.as_str()) {
        ("submitted", "approved") => (Action::Approved, submitted_at),
        ("submitted", "changes_requested") => (Action::Rejected, submitted_at),
        ("dismissed", _) => (Action::Unapproved, pull_request.updated_at.clone()),
        // A comment takes no approval back.
        _ => return Event::Other,
    };
    // A user that is no more approves of nothing.
    let Some(User { login }) = user else { return Event::Other };
    let review = Review { who: login, at: time(at.as_deref()), commit: commit_id };
    let number = pull_request.number;
    Event::Pull(Box::new(pull_request.told(number, action, Some(review))))
}

impl Details {
    /// Tells what became of it, with all that it says of itself.
    pub(super) fn told(self, number: u64, action: Action, review: Option<Review>) -> PullRequest {
        let Self { merged, merged_at, state, updated_at, title, user, base, head, labels, .. } = self;
        let state = match state.as_deref() {
            Some("open") => Some(PullState::Open),
            Some("closed") if merged || merged_at.is_some() => Some(PullState::Merged),
            Some("closed") => Some(PullState::Closed),
            _ => None,
        };
        let (head, commit) = head.map_or((None, None), |head| (Some(head.branch), head.sha));
        PullRequest {
            number,
            action,
            at: time(updated_at.as_deref()),
            state,
            title,
            author: user.map(|user| user.login),
            base: base.branch,
            head,
            commit,
            labels: labels.into_iter().flatten().map(|label| label.name).collect(),
            review,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{headers, pull, push, pushed_refs};
    use super::*;

    #[test]
    fn the_documented_vector_is_accepted_and_nothing_else() {
        let secrets = [Secret::new("before"), Secret::new("It's a Secret to Everybody")];
        let signature = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17";
        let proven = |signature: &str, body: &[u8], secrets: &[Secret]| {
            let headers = headers(&[("x-hub-signature-256", signature)]);
            verify(Request { headers: &headers, body }, secrets)
        };
        assert_eq!(proven(signature, b"Hello, World!", &secrets), Ok(()));
        assert_eq!(proven(signature, b"Hello, World?", &secrets), Err(ProofError::Wrong));
        assert_eq!(proven(signature, b"Hello, World!", &secrets[..1]), Err(ProofError::Wrong));
        assert_eq!(proven(signature, b"Hello, World!", &[]), Err(ProofError::Wrong));
        for bad in [&signature[7..], &signature[..70], "sha256=", "sha256=zz", "sha1=00", ""] {
            assert_eq!(proven(bad, b"Hello, World!", &secrets), Err(ProofError::Wrong), "{bad}");
        }
        let none = Request { headers: &headers(&[]), body: b"" };
        assert_eq!(verify(none, &secrets), Err(ProofError::Missing));
    }

    #[test]
    fn events_are_read() {
        let read = |name: &str, body: &str| {
            let headers = headers(&[("x-github-event", name), ("x-github-delivery", "72d3162e")]);
            parse(Request { headers: &headers, body: body.as_bytes() }).map(|told| told.event)
        };
        assert_eq!(read("push", r#"{"ref":"refs/heads/main","after":"x"}"#), Ok(push(&["main"])));
        assert_eq!(read("push", r#"{"ref":"refs/tags/v1"}"#), Ok(pushed_refs(&[], &["v1"])));
        assert_eq!(read("push", r#"{"ref":"refs/notes/x"}"#), Ok(push(&[])));
        assert_eq!(read("ping", r#"{"zen":"Keep it logically awesome.","hook_id":1}"#), Ok(Event::Ping));
        assert_eq!(read("issues", "nonsense"), Ok(Event::Other));
        for bad in ["", "payload=%7B%7D", "[]", r#"{"ref":1}"#] {
            assert_eq!(read("push", bad), Err(ParseError("GitHub")), "{bad}");
        }
    }

    #[test]
    fn the_life_of_a_pull_request_is_read() {
        let read = |action: &str, merged: bool| {
            let body = format!(
                r#"{{"action":"{action}","number":7,"pull_request":{{"number":7,"merged":{merged},
                "base":{{"ref":"main","sha":"0a"}},"head":{{"ref":"topic","sha":"1b"}},"labels":[{{"name":"preview"}}]}}}}"#
            );
            let headers = headers(&[("x-github-event", "pull_request")]);
            parse(Request { headers: &headers, body: body.as_bytes() }).unwrap().event
        };
        for (word, action) in [
            ("opened", Action::Opened),
            ("synchronize", Action::Synchronized),
            ("reopened", Action::Reopened),
            ("labeled", Action::Labeled),
            ("unlabeled", Action::Unlabeled),
            ("closed", Action::Closed),
        ] {
            assert_eq!(read(word, false), pull(7, action, &["preview"]), "{word}");
        }
        assert_eq!(read("closed", true), pull(7, Action::Merged, &["preview"]));
        assert_eq!(read("edited", false), Event::Other);
    }

    #[test]
    fn reviews_are_read_with_whose_they_are_when_and_for_which_commit() {
        let read = |action: &str, state: &str, user: &str| {
            let body = format!(
                r#"{{"action":"{action}","review":{{"user":{user},"commit_id":"0c","submitted_at":"2026-01-01T12:00:00Z","state":"{state}"}},
                "pull_request":{{"number":7,"state":"open","title":"More","user":{{"login":"bob"}},"updated_at":"2026-01-01T12:00:09Z",
                "base":{{"ref":"main"}},"head":{{"ref":"topic","sha":"1b"}},"labels":[]}}}}"#
            );
            let headers = headers(&[("x-github-event", "pull_request_review")]);
            parse(Request { headers: &headers, body: body.as_bytes() }).unwrap().event
        };
        let ann = r#"{"login":"ann"}"#;
        for (action, state, expected, at) in [
            ("submitted", "approved", Action::Approved, "2026-01-01T12:00:00Z"),
            ("submitted", "changes_requested", Action::Rejected, "2026-01-01T12:00:00Z"),
            ("dismissed", "dismissed", Action::Unapproved, "2026-01-01T12:00:09Z"),
        ] {
            let Event::Pull(told) = read(action, state, ann) else { panic!("{action} {state}") };
            let review = Review { who: "ann".to_owned(), at: at.parse().ok(), commit: Some("0c".to_owned()) };
            assert_eq!(
                (told.number, told.action, told.review),
                (7, expected, Some(review)),
                "{action} {state}"
            );
            assert_eq!((told.state, told.author.as_deref()), (Some(PullState::Open), Some("bob")));
            assert_eq!((told.title.as_deref(), told.at), (Some("More"), "2026-01-01T12:00:09Z".parse().ok()));
        }
        assert_eq!(read("submitted", "commented", ann), Event::Other);
        assert_eq!(read("edited", "approved", ann), Event::Other);
        assert_eq!(read("submitted", "approved", "null"), Event::Other);
    }
}
