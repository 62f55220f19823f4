//! The one request that an unchanged repository costs.
//!
//! In: the heads that are known. Out: the heads that a server lists now. What reads the answer is pure.

mod listing;
#[cfg(test)]
mod tests;

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
