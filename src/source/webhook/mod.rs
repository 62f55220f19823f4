//! Webhooks: authenticated hints. One file a forge, each with a pure `verify` and a pure `parse`; the forge comes from the
//! configuration, never from headers, and nothing in a body chooses an address, a ref or a namespace.

mod dedupe;
mod gitea;
mod github;
mod receiver;

use hmac::{Hmac, Mac};
use http::HeaderMap;
use serde::Deserialize;
use sha2::Sha256;
use subtle::ConstantTimeEq;

use crate::config::{Forge, Secret};

pub use receiver::{HookOutcome, Hooks, Refusal};

/// What a request says happened.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Event {
    /// A branch moved, was created or was deleted.
    Push {
        /// The branch, without `refs/heads/`.
        branch: String,
    },
    /// A pull request was merged.
    Merged {
        /// The branch that it was merged into.
        branch: String,
    },
    /// The forge tries the hook out.
    Ping,
    /// Anything else.
    Other,
}

/// Why a request's proof is not accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
enum ProofError {
    /// There is no signature.
    #[error("the request has no signature: set the hook's secret in the forge")]
    Missing,
    /// It does not match.
    #[error("the signature does not match: the secrets of forge and configuration differ")]
    Wrong,
}

/// Why an authenticated request cannot be understood.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the request's body is not the JSON that {0} sends: set the hook's content type to application/json")]
struct ParseError(&'static str);

/// The headers of a forge.
struct Names {
    /// The signature, the first that is there counts.
    signature: &'static [&'static str],
    event: &'static [&'static str],
    delivery: &'static [&'static str],
}

fn names(forge: Forge) -> &'static Names {
    match forge {
        Forge::GitHub => &github::NAMES,
        Forge::Gitea => &gitea::NAMES,
    }
}

fn verify(forge: Forge, headers: &HeaderMap, body: &[u8], secrets: &[Secret]) -> Result<(), ProofError> {
    match forge {
        Forge::GitHub => github::verify(headers, body, secrets),
        Forge::Gitea => gitea::verify(headers, body, secrets),
    }
}

fn parse(forge: Forge, headers: &HeaderMap, body: &[u8]) -> Result<Event, ParseError> {
    match forge {
        Forge::GitHub => github::parse(headers, body),
        Forge::Gitea => gitea::parse(headers, body),
    }
}

fn header<'a>(headers: &'a HeaderMap, names: &[&str]) -> Option<&'a str> {
    names.iter().find_map(|name| headers.get(*name)).and_then(|value| value.to_str().ok())
}

/// Compares a hexadecimal HMAC-SHA256 with that of the body under each secret, in constant time.
fn check(hex_signature: &str, body: &[u8], secrets: &[Secret]) -> Result<(), ProofError> {
    let mut given = [0_u8; 32];
    hex::decode_to_slice(hex_signature, &mut given).map_err(|_| ProofError::Wrong)?;
    let mut fits = subtle::Choice::from(0);
    for secret in secrets {
        let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(secret.expose().as_bytes()) else { continue };
        mac.update(body);
        fits |= mac.finalize().into_bytes().as_slice().ct_eq(&given);
    }
    if fits.into() { Ok(()) } else { Err(ProofError::Wrong) }
}

#[derive(Deserialize)]
struct PushBody {
    #[serde(rename = "ref")]
    reference: String,
}

#[derive(Deserialize)]
struct PullBody {
    action: String,
    pull_request: PullRequest,
}

#[derive(Deserialize)]
struct PullRequest {
    #[serde(default)]
    merged: bool,
    base: Base,
}

#[derive(Deserialize)]
struct Base {
    #[serde(rename = "ref")]
    branch: String,
}

/// Reads the events that GitHub and its relatives share.
fn event(forge: &'static str, name: Option<&str>, body: &[u8]) -> Result<Event, ParseError> {
    let bad = |_| ParseError(forge);
    match name {
        Some("push") => {
            let push: PushBody = serde_json::from_slice(body).map_err(bad)?;
            let branch = push.reference.strip_prefix("refs/heads/").map(str::to_owned);
            Ok(branch.map_or(Event::Other, |branch| Event::Push { branch }))
        }
        Some("pull_request") => {
            let pull: PullBody = serde_json::from_slice(body).map_err(bad)?;
            let merged = pull.action == "closed" && pull.pull_request.merged;
            let branch = pull.pull_request.base.branch;
            Ok(if merged { Event::Merged { branch } } else { Event::Other })
        }
        Some("ping") => Ok(Event::Ping),
        _ => Ok(Event::Other),
    }
}
