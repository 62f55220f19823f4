//! Where the scenarios are played.

use std::path::Path;
use std::sync::Arc;

use idp::cluster::client::{self, Access};
use idp::reconcile::count_calls;
use idp::sandbox::{Node, NodeOptions, Registry, Sandbox, SandboxOptions};
use idp::telemetry::metrics::Metrics;

use crate::genuine::ground::{Ground, TIME_SCALE};

/// A cluster with two nodes and a registry.
pub enum Cluster {
    Sandbox { sandbox: Box<Sandbox>, _second: Node },
    Genuine(Box<Ground>),
}

impl Cluster {
    pub async fn sandbox() -> anyhow::Result<Self> {
        let options = SandboxOptions { time_scale: TIME_SCALE, ..SandboxOptions::default() };
        let sandbox = Sandbox::start(options).await?;
        let second = NodeOptions {
            name: "second-node".to_owned(),
            takes_any: false,
            resolver: sandbox.registry().resolver(),
            time_scale: TIME_SCALE,
            back_off_scale: TIME_SCALE,
            ..NodeOptions::default()
        };
        let second = Node::start(sandbox.server().client_as("second-node"), second).await?;
        Ok(Self::Sandbox { sandbox: Box::new(sandbox), _second: second })
    }

    pub async fn genuine() -> anyhow::Result<Self> {
        Ok(Self::Genuine(Box::new(Ground::lay().await?)))
    }

    /// Returns the client of whoever looks on.
    pub fn client(&self) -> kube::Client {
        match self {
            Self::Sandbox { sandbox, .. } => sandbox.client(),
            Self::Genuine(ground) => ground.client.clone(),
        }
    }

    /// Returns the client of the daemon, made as the daemon makes it.
    pub async fn daemon_client(&self, metrics: &Arc<Metrics>) -> anyhow::Result<kube::Client> {
        let on_call = count_calls(metrics);
        Ok(match self {
            Self::Sandbox { sandbox, .. } => client::over(sandbox.server().service(), on_call),
            Self::Genuine(ground) => {
                let path: &Path = &ground.api.kubeconfig;
                let access = Access::Kubeconfig { path: Some(path.to_owned()), context: None };
                client::connect(&access, on_call).await?
            }
        })
    }

    pub fn registry(&self) -> &Registry {
        match self {
            Self::Sandbox { sandbox, .. } => sandbox.registry(),
            Self::Genuine(ground) => &ground.registry,
        }
    }
}
