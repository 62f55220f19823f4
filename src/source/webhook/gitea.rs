//! Gitea's webhooks, and Forgejo's, which are the same under another name. Both also send headers that look like GitHub's; those are
//! not looked at.

use super::event::{ParseError, Told};
use super::proof::{ProofError, hex_of_body};
use super::{Request, github};
use crate::config::Secret;

pub(super) const PROOF: &[&str] = &["x-gitea-signature", "x-forgejo-signature"];

/// Checks `X-Gitea-Signature` or `X-Forgejo-Signature`: bare hexadecimal.
pub(super) fn verify(request: Request<'_>, secrets: &[Secret]) -> Result<(), ProofError> {
    hex_of_body(request.header(PROOF).ok_or(ProofError::Missing)?, request.body, secrets)
}

/// Reads what happened.
pub(super) fn parse(request: Request<'_>) -> Result<Told, ParseError> {
    let name = request.header(&["x-gitea-event", "x-forgejo-event"]).unwrap_or_default();
    let event = github::event("Gitea", name, request.body)?;
    let id = request.header(&["x-gitea-delivery", "x-forgejo-delivery"]).map(str::to_owned);
    Ok(Told { event, name: name.to_owned(), id })
}

#[cfg(test)]
mod tests {
    use super::super::event::{Action, Event};
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
}
