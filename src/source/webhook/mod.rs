//! Webhooks: authenticated hints. One file a forge, each with a pure `verify` and a pure `parse`; the forge comes from the
//! configuration, never from headers, and nothing in a body chooses an address, a ref or a namespace.

mod bitbucket_cloud;
mod bitbucket_data_center;
mod cdevents;
mod dedupe;
mod deliveries;
mod event;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod fuzzing;
mod generic;
mod gitea;
mod github;
mod gitlab;
mod outcome;
mod proof;
mod receiver;
mod setup;
mod standard;
#[cfg(test)]
mod tests;

use http::HeaderMap;
use jiff::Timestamp;

use crate::config::{Forge, Secret, Webhook};

pub use deliveries::{Delivery, Log, Turned};
pub use outcome::{HookOutcome, News, Refusal};
pub use proof::ProofError;
pub use receiver::{Hooks, Proven};
pub use setup::{Setup, setup};

use event::{ParseError, Told};

/// A request, whole.
#[derive(Debug, Clone, Copy)]
struct Request<'a> {
    headers: &'a HeaderMap,
    body: &'a [u8],
}

impl<'a> Request<'a> {
    /// Returns the first of these headers that is there, as text.
    fn header(self, names: &[&str]) -> Option<&'a str> {
        names.iter().find_map(|name| self.headers.get(*name)).and_then(|value| value.to_str().ok())
    }
}

/// Tells whether a request brings a proof of any kind that its forge knows, right or wrong.
fn has_proof(webhook: &Webhook, request: Request<'_>) -> bool {
    let names = match webhook.forge {
        Forge::GitHub => github::PROOF,
        Forge::GitLab => gitlab::PROOF,
        Forge::Gitea => gitea::PROOF,
        Forge::BitbucketCloud => bitbucket_cloud::PROOF,
        Forge::BitbucketDataCenter => bitbucket_data_center::PROOF,
        Forge::Generic => match &webhook.signature_header {
            Some(name) => &[name.as_str()],
            None => standard::PROOF,
        },
        Forge::CdEvents => standard::PROOF,
    };
    request.header(names).is_some()
}

/// Checks a request's proof over its raw body, before anything of the body is read. `now` is for proofs that age.
fn verify(
    webhook: &Webhook,
    request: Request<'_>,
    secrets: &[Secret],
    now: Timestamp,
) -> Result<(), ProofError> {
    match webhook.forge {
        Forge::GitHub => github::verify(request, secrets),
        Forge::GitLab => gitlab::verify(request, secrets, now),
        Forge::Gitea => gitea::verify(request, secrets),
        Forge::BitbucketCloud => bitbucket_cloud::verify(request, secrets),
        Forge::BitbucketDataCenter => bitbucket_data_center::verify(request, secrets),
        Forge::Generic => generic::verify(request, webhook.signature_header.as_ref(), secrets, now),
        Forge::CdEvents => cdevents::verify(request, secrets, now),
    }
}

/// Reads what a proven request says.
fn parse(forge: Forge, request: Request<'_>) -> Result<Told, ParseError> {
    match forge {
        Forge::GitHub => github::parse(request),
        Forge::GitLab => gitlab::parse(request),
        Forge::Gitea => gitea::parse(request),
        Forge::BitbucketCloud => bitbucket_cloud::parse(request),
        Forge::BitbucketDataCenter => bitbucket_data_center::parse(request),
        Forge::Generic => Ok(generic::parse(request)),
        Forge::CdEvents => cdevents::parse(request),
    }
}
