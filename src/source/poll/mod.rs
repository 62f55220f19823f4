//! Looking cheaply and not too often: the one request that an unchanged repository costs, when the next look is due, and how hard one
//! host is asked.
//!
//! In: the heads that are known, what looks found, the time. Out: the heads that a server lists now, the next look's time, a place at
//! a host. What decides is pure.

mod host;
mod listing;
mod schedule;
#[cfg(test)]
mod tests;

pub use host::Hosts;
pub(super) use host::{Host, Word};
pub(super) use schedule::{Schedule, Seen};
use url::Url;

use super::error::GitError;
use super::network::Network;
use super::store::BranchHeads;

/// Asks by one request which heads the branches of `known` have now.
pub(super) fn ask(url: &Url, known: &BranchHeads, network: &Network) -> Result<BranchHeads, GitError> {
    let body = listing::request(known.keys()).ok_or_else(|| GitError::Fetch("a name is too long".into()))?;
    let url = format!("{}/git-upload-pack", url.as_str().trim_end_matches('/'));
    let answer = network.command(&url, body, listing::ANSWER_LIMIT)?;
    listing::heads(known.keys(), &answer).map_err(|surprise| GitError::Fetch(surprise.into()))
}
