//! Looking cheaply and not too often: the one request that an unchanged repository costs, when the next look is due, and how hard one
//! host is asked.
//!
//! In: the heads that are known, what looks found, the time. Out: the heads that a server lists now, the next look's time, a place at
//! a host. What decides is pure.

mod budget;
mod host;
mod listing;
mod pause;
mod quota;
mod schedule;
#[cfg(test)]
mod tests;

#[cfg(any(test, feature = "fuzzing"))]
use gix::ObjectId;
pub(super) use host::Host;
pub use host::{Hosts, Pause};
pub use pause::PauseWhy;
pub(super) use pause::Word;
pub(super) use quota::spent;
pub(super) use schedule::{Due, Schedule, Seen};
use url::Url;

use super::error::GitError;
use super::network::Network;
use super::refs::{self, Tip, Tips};
use crate::config::Follow;

/// Reads an answer to `ls-refs` of any branches.
#[cfg(any(test, feature = "fuzzing"))]
pub(super) fn read(answer: &[u8]) -> Result<Vec<(&[u8], ObjectId)>, GitError> {
    listing::refs(answer, 1_000).map_err(|surprise| GitError::Fetch(surprise.into()))
}

/// Asks by one request where all that is followed points now.
pub(super) async fn ask(url: &Url, follows: &[Follow], network: &Network) -> Result<Tips, GitError> {
    let body = listing::request(follows).ok_or_else(|| GitError::Fetch("a name is too long".into()))?;
    let url = format!("{}/git-upload-pack", url.as_str().trim_end_matches('/'));
    let url = Url::parse(&url).map_err(|error| GitError::Fetch(error.into()))?;
    let limits = listing::Limits::of(follows);
    let answer = network.command(url, body, limits.bytes).await?;
    let refs = listing::refs(&answer, limits.refs).map_err(|surprise| GitError::Fetch(surprise.into()))?;
    refs::tips(follows, refs)
}

/// Writes refs as a server lists them.
pub(super) fn listed(refs: &[(String, &Tip)]) -> Vec<u8> {
    listing::answer(refs.iter().map(|(name, tip)| (name.as_str(), tip.id)))
}
