//! Genuine servers for the suite: the forge Gitea.
//!
//! In: nothing but tools on the PATH; [`require`] says which. Out: handles that end what they started when they are dropped.
//! Each server starts when a test first asks for it, listens on 127.0.0.1 only and keeps its data in a temporary folder.
//!
//! ```text
//!  go.mod, go.sum, pom.xml ──► cache    target/tmp/stack/<name>-<version>-<digest of the pins>, built once, renamed into place
//!                                │
//!                 port ──► process ──► gitea
//!                            dies with the test process, whatever ends it
//! ```
//!
//! [`gitea`] shares one server among the tests that run at the same time: keep to users and
//! repositories with names of your own. A test that stops or freezes a server launches one for itself
//! ([`Gitea::launch`]); that a shared one cannot be stopped follows from its type, as stopping takes `&mut`.

mod build;
mod cache;
mod command;
mod gitea;
mod gitea_repo;
mod http;
mod port;
mod process;
mod require;
mod shared;
mod smoke;
mod wait;

pub use gitea::{Forge, Gitea};
pub use gitea_repo::{CommitStatus, Repo};
pub use require::require;

use std::sync::Arc;

use shared::Shared;

static GITEA: Shared<Gitea> = Shared::new();

/// Returns the forge that the running tests share.
pub async fn gitea() -> anyhow::Result<Arc<Gitea>> {
    GITEA.get_or_launch(Gitea::launch).await
}
