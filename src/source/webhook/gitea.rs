//! Gitea's webhooks, and Forgejo's, which are the same under another name. Both also send headers that look like GitHub's; those are
//! not looked at.

use http::HeaderMap;

use super::{Event, Names, ParseError, ProofError, check, event, header};
use crate::config::Secret;

pub(super) const NAMES: Names = Names {
    signature: &["x-gitea-signature", "x-forgejo-signature"],
    event: &["x-gitea-event", "x-forgejo-event"],
    delivery: &["x-gitea-delivery", "x-forgejo-delivery"],
};

/// Checks `X-Gitea-Signature` or `X-Forgejo-Signature`: bare hexadecimal.
pub(super) fn verify(headers: &HeaderMap, body: &[u8], secrets: &[Secret]) -> Result<(), ProofError> {
    check(header(headers, NAMES.signature).ok_or(ProofError::Missing)?, body, secrets)
}

/// Reads what happened.
pub(super) fn parse(headers: &HeaderMap, body: &[u8]) -> Result<Event, ParseError> {
    event("Gitea", header(headers, NAMES.event), body)
}

#[cfg(test)]
mod tests {
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
            let headers =
                HeaderMap::from_iter([(http::HeaderName::from_static(name), value.parse().unwrap())]);
            assert_eq!(verify(&headers, b"Hello, World!", &secrets), proof, "{name}");
        }
    }

    #[test]
    fn a_merge_is_a_pull_request_that_was_closed_and_merged() {
        let body = br#"{"action":"closed","number":1,"pull_request":{"id":1,"merged":true,"base":{"label":"main","ref":"main","sha":"x"}}}"#;
        let name = http::HeaderName::from_static("x-gitea-event");
        let headers = HeaderMap::from_iter([(name, "pull_request".parse().unwrap())]);
        assert_eq!(parse(&headers, body), Ok(Event::Merged { branch: "main".to_owned() }));
    }
}
