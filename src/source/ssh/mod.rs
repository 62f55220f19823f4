//! Git over SSH: one session a look, one program in it, and only with a server whose key is pinned.
//!
//! In: an address, our key, the server's keys, all read anew for each look. Out: a connection for gix. Nothing of the user's own
//! configuration of SSH is read, no agent is asked, nothing is forwarded.

mod host_key;
mod key;
mod session;
#[cfg(test)]
pub(super) mod testing;
#[cfg(test)]
mod tests;

use gix::protocol::transport::Protocol;
use gix::protocol::transport::client::git::{ConnectMode, blocking_io::Connection};

use super::error::GitError;
use super::network::Network;
use super::remote::Transport;
use crate::config::{SshKey, SshUrl};

/// Logs in, runs Git's program for fetches and hands its two ends to gix.
pub(super) fn connect(url: &SshUrl, key: &SshKey, network: &Network) -> Result<Transport, GitError> {
    let (incoming, outgoing) = session::open(url, key, network)?;
    let host = None::<(String, Option<u16>)>;
    let connection = Connection::new(
        incoming,
        outgoing,
        Protocol::V2,
        url.path.as_str(),
        host,
        ConnectMode::Process,
        false,
    );
    Ok(Box::new(connection.custom_url(Some(address(url).into()))))
}

/// Returns an address that gix can read: the server's alone. A path may have characters that are not for addresses, and gix connects to
/// none.
pub(super) fn address(url: &SshUrl) -> String {
    SshUrl { path: "/".to_owned(), ..url.clone() }.to_string()
}

/// Returns the command for the server's shell: the path stands in single quotes as Git writes it, and nothing in it can end them.
fn command(path: &str) -> String {
    // `/~user/…` is a home there.
    let path = if path.starts_with("/~") { path.trim_start_matches('/') } else { path };
    let quoted = path.replace('\'', "'\\''").replace('!', "'\\!'");
    format!("git-upload-pack '{quoted}'")
}
