//! A cluster in one process: for `idp demo`, tests and simulation.
//!
//! What it does: an API server ([`api`]), the controllers of Deployments and ReplicaSets, a node whose pods are HTTP
//! servers ([`node`]), an image registry ([`registry`]), a load generator ([`load`]) and a gateway that obeys routes ([`gateway`]). [`Sandbox`] wires the first four
//! together; each can be used alone, the node and the load generator against a genuine server too.
//!
//! In: a seed, a clock, a scale of time. Out: a [`kube::Client`], on request a URL for kubectl. May use: `model`, the network.
//!
//! It behaves as a genuine cluster does; a difference is a bug of the sandbox. Where the kinds of
//! `idp.dev` come from is not known here: they are registered, or declared by a `CustomResourceDefinition`.

pub mod api;
pub mod clock;
pub(crate) mod controllers;
mod follow;
pub mod gateway;
mod grpc;
mod http;
pub(crate) mod json;
pub mod load;
pub mod node;
pub mod registry;
#[cfg(test)]
mod tests;

use std::{io, time::Duration};

use tokio_util::{sync::CancellationToken, task::TaskTracker};

pub use self::{
    api::{ApiOptions, ApiServer, Fault, KindSpec, Logged, Verb},
    clock::Clock,
    gateway::{Gateway, Sent},
    load::{Load, LoadCounts, LoadOptions},
    node::{Behaviour, Node, NodeOptions},
    registry::{Access, Registry, RegistryFault},
};

/// How a sandbox starts.
#[derive(Debug, Clone)]
pub struct SandboxOptions {
    /// UIDs, generated names and the dice of `errors-…` pods follow from it.
    pub seed: u64,
    /// Multiplies the times that objects and image tags declare: probes, grace, back-offs, progress deadlines. 1 is as
    /// declared, 0.01 makes a minute 600 ms. The clock itself is not scaled.
    pub time_scale: f64,
    /// Whether the API is served over HTTP on a free port of 127.0.0.1 too.
    pub serve_http: bool,
    /// How long each mutating request waits before its effect.
    pub write_latency: Duration,
    /// Where timestamps come from.
    pub clock: Clock,
    /// How long the container of a `crash` or `oom` image runs.
    pub crash_after: Duration,
}

impl Default for SandboxOptions {
    fn default() -> Self {
        Self {
            seed: 0,
            time_scale: 1.0,
            serve_http: false,
            write_latency: Duration::ZERO,
            clock: Clock::system(),
            crash_after: Duration::from_millis(200),
        }
    }
}

/// Why a sandbox did not start.
#[derive(Debug, thiserror::Error)]
pub enum SandboxError {
    /// A port of 127.0.0.1 could not be opened.
    #[error("listen on 127.0.0.1")]
    Listen(#[source] io::Error),
    /// The node could not make its Node object.
    #[error("register the node")]
    Node(#[source] Box<kube::Error>),
}

/// An API server with controllers, a node and a registry. Dropped, it ends; [`Sandbox::stop`] also waits for the end.
pub struct Sandbox {
    server: ApiServer,
    node: Node,
    registry: Registry,
    token: CancellationToken,
    tasks: TaskTracker,
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        self.token.cancel();
    }
}

impl Sandbox {
    /// Starts all parts; when it returns, the node is registered.
    pub async fn start(options: SandboxOptions) -> Result<Self, SandboxError> {
        let SandboxOptions { seed, time_scale, serve_http, write_latency, clock, crash_after } = options;
        let server = ApiServer::new(ApiOptions { seed, clock: clock.clone(), frugal: false });
        if serve_http {
            server.serve().await.map_err(SandboxError::Listen)?;
        }
        let registry = Registry::start().await.map_err(SandboxError::Listen)?;
        let (token, tasks) = (CancellationToken::new(), TaskTracker::new());
        controllers::start(&server, time_scale, &tasks, token.clone());
        let node = NodeOptions {
            resolver: registry.resolver(),
            time_scale,
            back_off_scale: time_scale,
            crash_after,
            seed,
            clock,
            ..NodeOptions::default()
        };
        let node = Node::start(server.client_as("sandbox-node"), node)
            .await
            .map_err(|error| SandboxError::Node(Box::new(error)))?;
        server.set_write_latency(write_latency);
        Ok(Self { server, node, registry, token, tasks })
    }

    /// A client without a socket in between.
    pub fn client(&self) -> kube::Client {
        self.server.client()
    }

    /// The API server: its log, its faults, its URL.
    pub fn server(&self) -> &ApiServer {
        &self.server
    }

    /// The node: killing, evicting, losing.
    pub fn node(&self) -> &Node {
        &self.node
    }

    /// The registry: pushing images.
    pub fn registry(&self) -> &Registry {
        &self.registry
    }

    /// Sends load to a Service of it.
    pub fn load(&self, options: LoadOptions) -> Load {
        Load::start(&self.server.client_as("sandbox-load"), options)
    }

    /// Ends every task, server and connection.
    pub async fn stop(self) {
        self.token.cancel();
        self.node.stop().await;
        self.tasks.close();
        self.tasks.wait().await;
        self.registry.stop().await;
        self.server.stop().await;
    }
}
