//! Each server does the least that the suite relies on.

mod api_server;
mod gitea;
mod kafka;
mod prometheus;

use std::time::Duration;

/// For what follows by itself from what a test has done.
const SOON: Duration = Duration::from_secs(30);
