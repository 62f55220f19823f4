//! Gitea's webhooks, and Forgejo's, which are the same under another name. Both also send headers that look like GitHub's; those are
//! not looked at.

use serde::Deserialize;

use super::event::{Event, ParseError, Told, read};
use super::github::{Details, User};
use super::proof::{ProofError, hex_of_body};
use super::{Request, github};
use crate::config::Secret;
use crate::model::pull::{Action, Review};

pub(super) const PROOF: &[&str] = &["x-gitea-signature", "x-forgejo-signature"];

/// Checks `X-Gitea-Signature` or `X-Forgejo-Signature`: bare hexadecimal.
pub(super) fn verify(request: Request<'_>, secrets: &[Secret]) -> Result<(), ProofError> {
    hex_of_body(request.header(PROOF).ok_or(ProofError::Missing)?, request.body, secrets)
}

/// Reads what happened.
pub(super) fn parse(request: Request<'_>) -> Result<Told, ParseError> {
    let name = request.header(&["x-gitea-event", "x-forgejo-event"]).unwrap_or_default();
    let event = match name {
        "pull_request_approved" => review(Action::Approved, read("Gitea", request.body)?),
        "pull_request_rejected" => review(Action::Rejected, read("Gitea", request.body)?),
        _ => github::event("Gitea", name, request.body)?,
    };
    let id = request.header(&["x-gitea-delivery", "x-forgejo-delivery"]).map(str::to_owned);
    Ok(Told { event, name: name.to_owned(), id })
}

/// A review, which has no time of its own here; that one was dismissed is not told.
#[derive(Deserialize)]
struct Reviewed {
    number: u64,
    sender: User,
    pull_request: Details,
}

fn review(action: Action, Reviewed { number, sender, pull_request }: Reviewed) -> Event {
    let review = Review { who: sender.login, at: None, commit: None };
    Event::Pull(Box::new(pull_request.told(number, action, Some(review))))
}

#[cfg(test)]
mod tests {
    use super::super::tests::{headers, pull};
    use super::*;

    const SIGNATURE: &str = "757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17";

    #[test]
    fn a_bare_signature_under_its_own_names_counts() {
        let secrets = [Secret::new("It's a Secret to Everybody")];
        for (name, value, proof) in [
            ("x-gitea-signature", SIGNATURE.to_owned(), Ok(())),
            ("x-forgejo-signature", SIGNATURE.to_owned(), Ok(())),
            ("x-gitea-signature", format!("sha256={SIGNATURE}"), Err(ProofError::Wrong)),
            ("x-hub-signature-256", format!("sha256={SIGNATURE}"), Err(ProofError::Missing)),
        ] {
            let headers = headers(&[(name, &value)]);
            let request = Request { headers: &headers, body: b"Hello, World!" };
            assert_eq!(verify(request, &secrets), proof, "{name}");
        }
    }

    #[test]
    fn the_life_of_a_pull_request_is_read_in_its_own_words() {
        let read = |prefix: &str, action: &str, merged: bool| {
            let body = format!(
                r#"{{"action":"{action}","number":7,"pull_request":{{"id":1,"number":7,"merged":{merged},
                "base":{{"label":"main","ref":"main","sha":"0a"}},"head":{{"label":"topic","ref":"topic","sha":"1b"}},
                "labels":null}}}}"#
            );
            let (event, delivery) = (format!("{prefix}-event"), format!("{prefix}-delivery"));
            let headers = headers(&[(&event, "pull_request"), (&delivery, "f6266f16")]);
            parse(Request { headers: &headers, body: body.as_bytes() }).unwrap()
        };
        for (word, merged, action) in [
            ("opened", false, Action::Opened),
            ("synchronized", false, Action::Synchronized),
            ("reopened", false, Action::Reopened),
            ("label_updated", false, Action::Labeled),
            ("label_cleared", false, Action::Unlabeled),
            ("closed", false, Action::Closed),
            ("closed", true, Action::Merged),
        ] {
            let told = read("x-gitea", word, merged);
            assert_eq!(told.event, pull(7, action, &[]), "{word}");
            assert_eq!((told.name.as_str(), told.id.as_deref()), ("pull_request", Some("f6266f16")));
        }
        assert_eq!(read("x-forgejo", "review_requested", false).event, Event::Other);
    }

    #[test]
    fn reviews_are_events_of_their_own() {
        let body = r#"{"action":"reviewed","number":7,"pull_request":{"id":1,"number":7,"state":"open","merged":false,
            "updated_at":"2026-01-01T12:00:00Z","base":{"ref":"main","sha":"0a"},"head":{"ref":"topic","sha":"1b"},"labels":[]},
            "requested_reviewer":{"login":"ann"},"sender":{"login":"ann"},"review":{"type":"pull_request_review_approved","content":""}}"#;
        let read = |name: &str| {
            let headers = headers(&[("x-gitea-event", name)]);
            parse(Request { headers: &headers, body: body.as_bytes() }).unwrap().event
        };
        for (name, action) in
            [("pull_request_approved", Action::Approved), ("pull_request_rejected", Action::Rejected)]
        {
            let Event::Pull(told) = read(name) else { panic!("{name}") };
            let review = Review { who: "ann".to_owned(), at: None, commit: None };
            assert_eq!((told.number, told.action, told.review), (7, action, Some(review)));
            assert_eq!(told.commit.as_deref(), Some("1b"));
        }
        assert_eq!(read("pull_request_comment"), Event::Other);
    }
}
