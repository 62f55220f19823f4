//! The daemon as a process that can die: it has a runtime of its own, and death drops every task where it stands, with no chance to
//! tidy up. A request of its that was under way may or may not have had its effect, as with a process that is killed.

use std::net::SocketAddr;
use std::sync::Arc;

use idp::config::Config;
use idp::reconcile::Daemon;
use idp::sandbox::ApiServer;
use idp::telemetry::metrics::Metrics;
use tokio::runtime::{Builder, Runtime};

/// The `User-Agent` by which the daemon's requests are told from those of the sandbox's own parts.
pub const AGENT: &str = "idpd";

pub struct Process {
    runtime: Option<Runtime>,
    _daemon: Daemon,
    pub metrics: Arc<Metrics>,
    pub address: SocketAddr,
}

impl Process {
    /// Starts it; `None`: it ended at its start, as a process does that cannot reach what it needs.
    pub async fn start(config: Config, server: &ApiServer) -> Option<Self> {
        let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let metrics = Arc::new(Metrics::register().unwrap());
        let (server, counted) = (server.clone(), Arc::clone(&metrics));
        let start = async move { Daemon::start(config, server.client_as(AGENT), counted).await };
        let started = runtime.spawn(start).await;
        match started {
            Ok(Ok(daemon)) => {
                let address = daemon.address();
                Some(Self { runtime: Some(runtime), _daemon: daemon, metrics, address })
            }
            Ok(Err(error)) => {
                eprintln!("the daemon did not start: {}", idp::reconcile::error::chain(&error));
                runtime.shutdown_background();
                None
            }
            Err(error) => panic!("starting the daemon: {error}"),
        }
    }
}

/// Dropped, it dies as by `SIGKILL`.
impl Drop for Process {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}
