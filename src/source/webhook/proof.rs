//! Proofs that forges share: an HMAC-SHA256 of the body in hexadecimal, or the secret itself. All comparisons take constant time.

use hmac::{Hmac, Mac};
use sha2::{Digest, Sha256};
use subtle::{Choice, ConstantTimeEq};

use super::Request;
use crate::config::Secret;

/// Why a request's proof is not accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
pub enum ProofError {
    /// There is none.
    #[error("the request has no signature: set the hook's secret in the forge")]
    Missing,
    /// It does not match.
    #[error("the signature does not match: the secrets of forge and configuration differ")]
    Wrong,
    /// It was made at another time.
    #[error("the signature is not of the last 5 minutes: a delivery that was recorded, or the clocks differ")]
    Stale,
    /// Our secret is none.
    #[error("the secret begins with whsec_ and no base64 follows: copy it anew")]
    Secret,
}

/// Returns the HMAC-SHA256 of some bytes in a row.
pub(super) fn mac(key: &[u8], parts: &[&[u8]]) -> [u8; 32] {
    // A key of any length will do; the error is the trait's.
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(key) else { return [0; 32] };
    for part in parts {
        mac.update(part);
    }
    mac.finalize().into_bytes().into()
}

/// Checks a hexadecimal HMAC-SHA256 of the body under any of the secrets.
pub(super) fn hex_of_body(given: &str, body: &[u8], secrets: &[Secret]) -> Result<(), ProofError> {
    let mut signature = [0_u8; 32];
    hex::decode_to_slice(given, &mut signature).map_err(|_| ProofError::Wrong)?;
    let fits = |secret: &Secret| mac(secret.expose().as_bytes(), &[body]).ct_eq(&signature);
    any(secrets.iter().map(fits))
}

/// Checks a header of the form `sha256=<hex>`.
pub(super) fn sha256_of_body(
    request: Request<'_>,
    header: &[&str],
    secrets: &[Secret],
) -> Result<(), ProofError> {
    let signature = request.header(header).ok_or(ProofError::Missing)?;
    hex_of_body(signature.strip_prefix("sha256=").ok_or(ProofError::Wrong)?, request.body, secrets)
}

/// Checks that a text is one of the secrets. Hashes are compared, so that not even its length is told.
pub(super) fn is_secret<'a>(
    given: &str,
    secrets: impl Iterator<Item = &'a Secret>,
) -> Result<(), ProofError> {
    let given = Sha256::digest(given.as_bytes());
    any(secrets.map(|secret| Sha256::digest(secret.expose().as_bytes()).as_slice().ct_eq(&given)))
}

/// Accepts if anything fits. All are compared, whichever does.
pub(super) fn any(fits: impl Iterator<Item = Choice>) -> Result<(), ProofError> {
    if either(fits).into() { Ok(()) } else { Err(ProofError::Wrong) }
}

/// Tells whether any of the comparisons fits, after all of them.
pub(super) fn either(fits: impl Iterator<Item = Choice>) -> Choice {
    fits.fold(Choice::from(0), |before, fits| before | fits)
}
