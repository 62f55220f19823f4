//! What a daemon works on: a control plane of its own (a daemon serves one cluster), nodes, and the registry of the pods' images.

use std::path::PathBuf;
use std::time::Duration;

use idp::sandbox::{Load, LoadOptions, Node, NodeOptions, Registry};
use k8s_openapi::api::core::v1::{Namespace, Pod};
use kube::api::{Api, PostParams};
use serde_json::json;
use tempfile::TempDir;

use crate::stack::{self, ApiServer};

/// Probes, grace periods and back-offs of pods run so much faster than declared.
pub const TIME_SCALE: f64 = 0.1;
/// A crash loop's first pause is 10 s; what is waited for here is the third restart.
const BACK_OFF_SCALE: f64 = 0.02;

/// A cluster with two nodes and a registry, and a folder for the files of whoever uses it.
pub struct Ground {
    pub client: kube::Client,
    pub registry: Registry,
    _nodes: [Node; 2],
    pub api: ApiServer,
    pub folder: TempDir,
}

impl Ground {
    /// Starts all of it.
    pub async fn lay() -> anyhow::Result<Self> {
        let api = ApiServer::launch().await?;
        let registry = Registry::start().await?;
        let client = api.client().await?;
        let options = NodeOptions {
            resolver: registry.resolver(),
            time_scale: TIME_SCALE,
            back_off_scale: BACK_OFF_SCALE,
            ..NodeOptions::default()
        };
        // For what has a pod on every node.
        let second = NodeOptions { name: "second-node".to_owned(), takes_any: false, ..options.clone() };
        let nodes = [Node::start(client.clone(), options).await?, Node::start(client.clone(), second).await?];
        Ok(Self { client, registry, _nodes: nodes, api, folder: TempDir::new()? })
    }

    /// Makes a namespace in which the server refuses every pod that does not meet the *restricted* pod security standard.
    pub async fn restrict(&self, namespace: &str) -> anyhow::Result<()> {
        let labels = json!({ "pod-security.kubernetes.io/enforce": "restricted" });
        let object = serde_json::from_value(json!({ "metadata": { "name": namespace, "labels": labels } }))?;
        let api: Api<Namespace> = Api::all(self.client.clone());
        api.create(&PostParams::default(), &object).await?;
        let careless = json!({ "metadata": { "name": "careless" }, "spec": { "containers": [{ "name": "a", "image": "a" }] } });
        let pods: Api<Pod> = Api::namespaced(self.client.clone(), namespace);
        let dry_run = PostParams { dry_run: true, ..PostParams::default() };
        let answer = pods.create(&dry_run, &serde_json::from_value(careless)?).await;
        let refused =
            matches!(&answer, Err(kube::Error::Api(status)) if status.message.contains("PodSecurity"));
        anyhow::ensure!(refused, "a careless pod is let in: {answer:?}");
        Ok(())
    }

    /// Sends requests to the Ready pods of a Service until the answer is dropped.
    pub fn load(&self, namespace: &str, service: &str, rate: f64) -> Load {
        let options = LoadOptions {
            rate,
            max_requests: 300_000,
            max_time: Duration::from_mins(20),
            ..LoadOptions::new(namespace, service)
        };
        Load::start(&self.client, options)
    }

    /// Returns a file's place in the folder.
    pub fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Runs our own command line against the cluster and returns what it prints as data.
    pub async fn idp(&self, args: &[&str]) -> anyhow::Result<serde_json::Value> {
        let mut idp = tokio::process::Command::new(env!("CARGO_BIN_EXE_idp"));
        idp.arg("--kubeconfig").arg(&self.api.kubeconfig).args(["--output", "json"]).args(args);
        let text = stack::command::run(&mut idp, Duration::from_mins(1)).await?;
        Ok(serde_json::from_str(&text)?)
    }
}
