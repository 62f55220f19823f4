//! Genuine servers for the suite: a Kubernetes API server, Apache Kafka, the forge Gitea, Prometheus.
//!
//! In: nothing but tools on the PATH; [`require`] says which. Out: handles that end what they started when they are dropped.
//! Each server starts when a test first asks for it, listens on 127.0.0.1 only and keeps its data in a temporary folder.
//!
//! ```text
//!  go.mod, go.sum, pom.xml ──► cache    target/tmp/stack/<name>-<version>-<digest of the pins>, built once, renamed into place
//!                                │
//!                 port ──► process ──► api_server · kafka · gitea · prometheus
//!                            dies with the test process, whatever ends it
//! ```
//!
//! [`api_server`], [`kafka`] and [`gitea`] share one server among the tests that run at the same time: keep to namespaces,
//! topics and repositories with names of your own. A test that stops or freezes a server launches one for itself
//! ([`ApiServer::launch`] and so on); that a shared one cannot be stopped follows from its type, as stopping takes `&mut`.

mod api_server;
mod build;
mod cache;
pub mod command;
mod gitea;
mod gitea_repo;
mod http;
mod kafka;
mod kcat;
mod port;
mod process;
mod prometheus;
mod require;
mod shared;
mod smoke;
mod wait;

pub use api_server::ApiServer;
pub use gitea::{Forge, Gitea};
pub use gitea_repo::{CommitStatus, Repo};
pub use http::{client as http_client, succeeds};
pub use kafka::Kafka;
pub use kcat::Message;
pub use port::free as free_port;
pub use process::{Process, guarded};
pub use prometheus::{Prometheus, Sample};
pub use require::require;
pub use wait::until;

use std::sync::Arc;

use shared::Shared;

static API_SERVER: Shared<ApiServer> = Shared::new();
static KAFKA: Shared<Kafka> = Shared::new();
static GITEA: Shared<Gitea> = Shared::new();

/// Returns the API server that the running tests share.
pub async fn api_server() -> anyhow::Result<Arc<ApiServer>> {
    API_SERVER.get_or_launch(ApiServer::launch).await
}

/// Returns the Kafka broker that the running tests share.
pub async fn kafka() -> anyhow::Result<Arc<Kafka>> {
    KAFKA.get_or_launch(Kafka::launch).await
}

/// Returns the forge that the running tests share.
pub async fn gitea() -> anyhow::Result<Arc<Gitea>> {
    GITEA.get_or_launch(Gitea::launch).await
}

/// Starts a Prometheus with this configuration, where `{{self}}` stands for its own address.
pub async fn prometheus(config: &str) -> anyhow::Result<Prometheus> {
    Prometheus::launch(config).await
}
