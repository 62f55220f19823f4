//! The signature of the Standard Webhooks specification: `webhook-signature: v1,<base64>` is the HMAC-SHA256 of
//! `{webhook-id}.{webhook-timestamp}.{body}`, and a request is good for five minutes. Several signatures may stand there, with a space
//! between; those of other kinds are passed over.

use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use jiff::Timestamp;
use subtle::ConstantTimeEq;

use super::Request;
use super::proof::{ProofError, any, either, mac};
use crate::config::Secret;

pub(super) const PROOF: &[&str] = &["webhook-signature"];
pub(super) const ID: &[&str] = &["webhook-id"];
/// What a secret of the specification begins with; base64 follows. Any other secret is the key as it is written.
pub(super) const SECRET_PREFIX: &str = "whsec_";
/// Seconds that a request's time may differ from ours.
const TOLERANCE: u64 = 300;
/// Senders differ in whether they pad.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// Checks the signature under any of the secrets.
pub(super) fn verify(request: Request<'_>, secrets: &[Secret], now: Timestamp) -> Result<(), ProofError> {
    let needed = |names: &[&str]| request.header(names).filter(|text| !text.is_empty());
    let id = needed(ID).ok_or(ProofError::Missing)?;
    let time = needed(&["webhook-timestamp"]).ok_or(ProofError::Missing)?;
    let signatures: Vec<Vec<u8>> = needed(PROOF)
        .ok_or(ProofError::Missing)?
        .split(' ')
        .filter_map(|text| BASE64.decode(text.strip_prefix("v1,")?).ok())
        .collect();
    let keys: Vec<Vec<u8>> = secrets.iter().filter_map(key).collect();
    if keys.is_empty() && !secrets.is_empty() {
        return Err(ProofError::Secret);
    }
    let fits = |key: &Vec<u8>| {
        let signature = mac(key, &[id.as_bytes(), b".", time.as_bytes(), b".", request.body]);
        either(signatures.iter().map(|given| given.as_slice().ct_eq(signature.as_slice())))
    };
    any(keys.iter().map(fits))?;
    let seconds: i64 = time.parse().map_err(|_| ProofError::Stale)?;
    if seconds.abs_diff(now.as_second()) > TOLERANCE { Err(ProofError::Stale) } else { Ok(()) }
}

fn key(secret: &Secret) -> Option<Vec<u8>> {
    match secret.expose().strip_prefix(SECRET_PREFIX) {
        Some(encoded) => BASE64.decode(encoded).ok().filter(|key| !key.is_empty()),
        None => Some(secret.expose().as_bytes().to_vec()),
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::headers;
    use super::*;

    /// The vector of the specification's own libraries.
    const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    const BODY: &[u8] = br#"{"test": 2432232314}"#;
    const SIGNATURE: &str = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=";
    const AT: i64 = 1_614_265_330;

    fn proven(signature: &str, secret: &str, now: i64, body: &[u8]) -> Result<(), ProofError> {
        let headers = headers(&[
            ("webhook-id", "msg_p5jXN8AQM9LWM0D4loKWxJek"),
            ("webhook-timestamp", "1614265330"),
            ("webhook-signature", signature),
        ]);
        let secrets = [Secret::new("before"), Secret::new(secret)];
        verify(Request { headers: &headers, body }, &secrets, Timestamp::from_second(now).unwrap())
    }

    #[test]
    fn the_vector_of_the_specification_is_accepted() {
        assert_eq!(proven(SIGNATURE, SECRET, AT, BODY), Ok(()));
        let among = format!("v1a,hnO3f9T8Ytu9 v1,bm9pc2U= {SIGNATURE}");
        assert_eq!(proven(&among, SECRET, AT, BODY), Ok(()), "one of several is enough");
        assert_eq!(proven(SIGNATURE.trim_end_matches('='), SECRET, AT, BODY), Ok(()));
    }

    #[test]
    fn anything_else_is_not() {
        let bare = SIGNATURE.trim_start_matches("v1,");
        for (signature, secret, body) in [
            (SIGNATURE, SECRET, &BODY[1..]),
            (SIGNATURE, "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSx", BODY),
            (SIGNATURE, "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", BODY),
            (bare, SECRET, BODY),
            (&SIGNATURE.replace("v1,", "v1a,"), SECRET, BODY),
            ("v1,", SECRET, BODY),
            ("v1,g0hM", SECRET, BODY),
            (" ", SECRET, BODY),
        ] {
            assert_eq!(proven(signature, secret, AT, body), Err(ProofError::Wrong), "{signature} {secret}");
        }
        assert_eq!(proven("", SECRET, AT, BODY), Err(ProofError::Missing));
        let no_base64 = [Secret::new("whsec_?")];
        let headers = headers(&[("webhook-id", "a"), ("webhook-timestamp", "1"), ("webhook-signature", "b")]);
        let request = Request { headers: &headers, body: BODY };
        assert_eq!(verify(request, &no_base64, Timestamp::UNIX_EPOCH), Err(ProofError::Secret));
        assert_eq!(verify(request, &[], Timestamp::UNIX_EPOCH), Err(ProofError::Wrong));
    }

    #[test]
    fn a_request_is_good_for_five_minutes() {
        for (now, answer) in
            [(300, Ok(())), (-300, Ok(())), (301, Err(ProofError::Stale)), (-301, Err(ProofError::Stale))]
        {
            assert_eq!(proven(SIGNATURE, SECRET, AT + now, BODY), answer, "{now}");
        }
    }
}
