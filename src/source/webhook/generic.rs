//! Requests of anybody who can sign: by Standard Webhooks, or with the HMAC-SHA256 of the body in a header that the configuration
//! names. The body is not read: whatever is proven is a hint.

use http::HeaderName;
use jiff::Timestamp;

use super::event::{Event, Told};
use super::proof::{ProofError, hex_of_body};
use super::{Request, standard};
use crate::config::Secret;

/// Checks the header, hexadecimal with or without `sha256=` before it, or else the signature of Standard Webhooks.
pub(super) fn verify(
    request: Request<'_>,
    header: Option<&HeaderName>,
    secrets: &[Secret],
    now: Timestamp,
) -> Result<(), ProofError> {
    let Some(header) = header else { return standard::verify(request, secrets, now) };
    let signature = request.header(&[header.as_str()]).ok_or(ProofError::Missing)?;
    hex_of_body(signature.strip_prefix("sha256=").unwrap_or(signature), request.body, secrets)
}

/// Takes it as a hint.
pub(super) fn parse(request: Request<'_>) -> Told {
    let id = request.header(standard::ID).map(str::to_owned);
    Told { event: Event::Moved, name: "request".to_owned(), id }
}

#[cfg(test)]
mod tests {
    use super::super::tests::headers;
    use super::*;

    #[test]
    fn the_named_header_counts_or_else_standard_webhooks() {
        let secrets = [Secret::new("It's a Secret to Everybody")];
        let hex = "757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17";
        let named = HeaderName::from_static("x-proof");
        let proven = |name: &str, value: &str, header: Option<&HeaderName>| {
            let headers = headers(&[(name, value)]);
            let request = Request { headers: &headers, body: b"Hello, World!" };
            verify(request, header, &secrets, Timestamp::UNIX_EPOCH)
        };
        assert_eq!(proven("x-proof", hex, Some(&named)), Ok(()));
        assert_eq!(proven("x-proof", &format!("sha256={hex}"), Some(&named)), Ok(()));
        assert_eq!(proven("x-proof", "00", Some(&named)), Err(ProofError::Wrong));
        assert_eq!(proven("x-hub-signature-256", hex, Some(&named)), Err(ProofError::Missing));
        assert_eq!(proven("x-proof", hex, None), Err(ProofError::Missing));
    }

    #[test]
    fn any_body_is_a_hint() {
        let headers = headers(&[("webhook-id", "msg_1")]);
        let told = parse(Request { headers: &headers, body: b"\xff not JSON" });
        assert_eq!((told.event, told.id.as_deref()), (Event::Moved, Some("msg_1")));
    }
}
