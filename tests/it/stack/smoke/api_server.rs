//! The control plane acts on what it is told, and its outages can be made.

use anyhow::ensure;
use k8s_openapi::api::apps::v1::ReplicaSet;
use k8s_openapi::api::core::v1::{Namespace, Pod};
use kube::api::ListParams;
use serde_json::Value;

use super::super::{ApiServer, api_server, command, require, until};
use super::SOON;

const DEPLOYMENT: &str = "
apiVersion: v1
kind: Namespace
metadata: { name: smoke }
---
apiVersion: apps/v1
kind: Deployment
metadata: { name: web, namespace: smoke }
spec:
  replicas: 2
  selector: { matchLabels: { app: web } }
  template:
    metadata: { labels: { app: web } }
    spec:
      containers: [{ name: web, image: 'registry.test/web:1' }]
";

#[tokio::test]
async fn the_api_server_is_of_the_pinned_version() -> anyhow::Result<()> {
    if require().is_some() {
        return Ok(());
    }
    let server = api_server().await?;
    assert_eq!(server.client().await?.apiserver_version().await?.git_version, "v1.36.3");

    let output = server.kubectl(&["version", "--output=json"]).await?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let versions: Value = serde_json::from_slice(&output.stdout)?;
    assert_eq!(versions["clientVersion"]["gitVersion"], "v1.36.3");
    assert_eq!(versions["serverVersion"]["gitVersion"], "v1.36.3");

    // Address and token do as well, for a client that reads no kubeconfig.
    let mut alone = tokio::process::Command::new(&server.kubectl);
    alone.args(["--kubeconfig=/dev/null", "--insecure-skip-tls-verify", "get", "--raw=/readyz"]);
    alone.args(["--server", &server.url, "--token", &server.token]);
    assert_eq!(command::run(&mut alone, SOON).await?, "ok");
    Ok(())
}

#[tokio::test]
async fn a_deployment_makes_a_replica_set_and_pods() -> anyhow::Result<()> {
    if require().is_some() {
        return Ok(());
    }
    let server = api_server().await?;
    server.apply(DEPLOYMENT).await?;
    let client = server.client().await?;
    let sets = kube::Api::<ReplicaSet>::namespaced(client.clone(), "smoke");
    let pods = kube::Api::<Pod>::namespaced(client, "smoke");
    until("a replica set with two pods", SOON, async || {
        let sets = sets.list(&ListParams::default()).await?.items.len();
        let pods = pods.list(&ListParams::default().labels("app=web")).await?.items.len();
        Ok((sets == 1 && pods == 2).then_some(()))
    })
    .await
}

#[tokio::test]
async fn the_api_server_hangs_stops_and_comes_back_with_its_data() -> anyhow::Result<()> {
    if require().is_some() {
        return Ok(());
    }
    let mut server = ApiServer::launch().await?;
    server.apply("{ apiVersion: v1, kind: Namespace, metadata: { name: kept } }").await?;

    server.freeze()?;
    let hung = server.kubectl(&["get", "namespaces", "--request-timeout=1s"]).await?;
    assert!(!hung.status.success(), "a frozen server does not answer");
    server.thaw()?;
    assert!(server.kubectl(&["get", "namespaces"]).await?.status.success(), "a thawed server answers");

    server.stop();
    let refused = server.kubectl(&["get", "namespaces", "--request-timeout=1s"]).await?;
    assert!(String::from_utf8_lossy(&refused.stderr).contains("refused"), "a stopped server has no socket");
    server.start().await?;
    kube::Api::<Namespace>::all(server.client().await?).get("kept").await?;
    Ok(())
}
