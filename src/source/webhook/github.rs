//! GitHub's webhooks, as its documentation "Validating webhook deliveries" and "Webhook events and payloads" describe them.

use http::HeaderMap;

use super::{Event, Names, ParseError, ProofError, check, event, header};
use crate::config::Secret;

pub(super) const NAMES: Names = Names {
    signature: &["x-hub-signature-256"],
    event: &["x-github-event"],
    delivery: &["x-github-delivery"],
};

/// Checks `X-Hub-Signature-256: sha256=<hex>`.
pub(super) fn verify(headers: &HeaderMap, body: &[u8], secrets: &[Secret]) -> Result<(), ProofError> {
    let signature = header(headers, NAMES.signature).ok_or(ProofError::Missing)?;
    check(signature.strip_prefix("sha256=").ok_or(ProofError::Wrong)?, body, secrets)
}

/// Reads what happened.
pub(super) fn parse(headers: &HeaderMap, body: &[u8]) -> Result<Event, ParseError> {
    event("GitHub", header(headers, NAMES.event), body)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs
            .iter()
            .map(|(name, value)| (http::HeaderName::from_static(name), value.parse().unwrap()))
            .collect()
    }

    #[test]
    fn the_documented_vector_is_accepted_and_nothing_else() {
        let secrets = [Secret::new("before"), Secret::new("It's a Secret to Everybody")];
        let signature = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17";
        let proven = |signature: &str, body: &[u8], secrets: &[Secret]| {
            verify(&headers(&[("x-hub-signature-256", signature)]), body, secrets)
        };
        assert_eq!(proven(signature, b"Hello, World!", &secrets), Ok(()));
        assert_eq!(proven(signature, b"Hello, World?", &secrets), Err(ProofError::Wrong));
        assert_eq!(proven(signature, b"Hello, World!", &secrets[..1]), Err(ProofError::Wrong));
        assert_eq!(proven(signature, b"Hello, World!", &[]), Err(ProofError::Wrong));
        for bad in [&signature[7..], &signature[..70], "sha256=", "sha256=zz", "sha1=00", ""] {
            assert_eq!(proven(bad, b"Hello, World!", &secrets), Err(ProofError::Wrong), "{bad}");
        }
        assert_eq!(verify(&HeaderMap::new(), b"", &secrets), Err(ProofError::Missing));
    }

    #[test]
    fn events_are_read() {
        let read = |name: &str, body: &str| parse(&headers(&[("x-github-event", name)]), body.as_bytes());
        let merged = r#"{"action":"closed","pull_request":{"merged":true,"base":{"ref":"main"}}}"#;
        let branch = "main".to_owned();
        assert_eq!(
            read("push", r#"{"ref":"refs/heads/main","after":"x"}"#),
            Ok(Event::Push { branch: branch.clone() })
        );
        assert_eq!(read("push", r#"{"ref":"refs/tags/v1"}"#), Ok(Event::Other));
        assert_eq!(read("pull_request", merged), Ok(Event::Merged { branch }));
        assert_eq!(read("pull_request", &merged.replace("true", "false")), Ok(Event::Other));
        assert_eq!(read("pull_request", &merged.replace("closed", "opened")), Ok(Event::Other));
        assert_eq!(read("ping", "{}"), Ok(Event::Ping));
        assert_eq!(read("issues", "nonsense"), Ok(Event::Other));
        for bad in ["", "payload=%7B%7D", "[]", r#"{"ref":1}"#] {
            assert!(read("push", bad).is_err(), "{bad}");
        }
    }
}
