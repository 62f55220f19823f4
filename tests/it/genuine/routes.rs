//! A canary by a team's own `HTTPRoute` on a genuine API server, with a gateway that obeys it.

use std::time::Duration;

use idp::cluster::raw::resource;
use idp::model::rollout::Outcome;
use idp::sandbox::gateway::{Gateway, Sent, definitions};
use kube::api::{Api, DynamicObject, PostParams};
use serde_json::{Value, json};

use super::SOON;
use super::daemon::{Daemon, Setup};
use super::ground::Ground;
use super::service::{NAMESPACE, Service};
use crate::stack::{Kafka, require, until};

const VERSION: &str = "gateway.networking.k8s.io/v1";

#[tokio::test]
async fn a_canary_by_an_http_route_is_promoted_and_rolled_back() -> anyhow::Result<()> {
    if require().is_some() {
        return Ok(());
    }
    let (ground, kafka) = tokio::try_join!(Ground::lay(), Kafka::launch())?;
    define(&ground.client).await?;
    let service = Service::create(&ground, "books").await?;
    let setup = Setup {
        kubeconfig: &ground.api.kubeconfig,
        sources: service.source(),
        kafka: (&kafka.bootstrap, "routes"),
        environment: "",
    };
    let daemon = Daemon::prepare(&ground, &setup)?;
    let story = story(&ground, &service, &daemon).await;
    daemon.explain(story)
}

/// Makes the kinds, and waits until the server has them.
pub async fn define(client: &kube::Client) -> anyhow::Result<()> {
    let all: Api<DynamicObject> =
        Api::all_with(client.clone(), &resource("apiextensions.k8s.io/v1", "CustomResourceDefinition"));
    for definition in definitions() {
        let made = all.create(&PostParams::default(), &serde_json::from_value(definition)?).await?;
        let name = made.metadata.name.unwrap_or_default();
        until("the kind to be served", SOON, async || {
            let conditions = all.get(&name).await?.data["status"]["conditions"].clone();
            let established = |one: &Value| one["type"] == "Established" && one["status"] == "True";
            Ok(conditions.as_array().is_some_and(|all| all.iter().any(established)).then_some(()))
        })
        .await?;
    }
    Ok(())
}

/// Makes the team's route to a service; returns it with its spec.
pub async fn create(client: &kube::Client, service: &str) -> anyhow::Result<(Api<DynamicObject>, Value)> {
    let routes: Api<DynamicObject> =
        Api::namespaced_with(client.clone(), NAMESPACE, &resource(VERSION, "HTTPRoute"));
    let spec = json!({"parentRefs": [{"name": "gate"}], "rules": [
        {"matches": [{"path": {"type": "PathPrefix", "value": "/"}}], "backendRefs": [{"name": service, "port": 8080}]}]});
    let body =
        json!({"apiVersion": VERSION, "kind": "HTTPRoute", "metadata": {"name": "edge"}, "spec": spec});
    routes.create(&PostParams::default(), &serde_json::from_value(body)?).await?;
    Ok((routes, spec))
}

async fn story(ground: &Ground, service: &Service, daemon: &Daemon) -> anyhow::Result<()> {
    let first = service.merge("one", "v1").await?;
    daemon.start().await?;
    service.release.until_ended(&first, Outcome::Promoted).await?;

    let (routes, spec) = create(&ground.client, "books").await?;
    let gateway = Gateway::start(&ground.client, Some(Duration::from_millis(200)));
    gateway.drive("HTTPRoute", NAMESPACE, "edge", 200.0);
    until("requests to be served", SOON, async || Ok((gateway.sent().served.len() == 1).then_some(())))
        .await?;

    let good = service.merge("two", "v2").await?;
    let watched = |step: u32| {
        move |record: &idp::model::record::Record| {
            let rollout = record.rollout.as_ref();
            rollout.is_some_and(|rollout| rollout.step == step && rollout.stage.ready_at.is_some())
        }
    };
    service.release.until("the first step", watched(0)).await?;
    gateway.sent();
    service.release.until("the second step", watched(1)).await?;
    let half = gateway.sent();
    assert!((30.0..75.0).contains(&half.share("canary")), "{half:?}");
    service.release.until_ended(&good, Outcome::Promoted).await?;
    let rest = some_more(&gateway).await?;
    assert_eq!(
        (rest.unserved + half.unserved, rest.failed.len() + half.failed.len()),
        (0, 0),
        "{half:?} {rest:?}"
    );
    as_it_was(&routes, &spec).await?;

    let bad = service.merge("three", "v3.errors-60").await?;
    let record = service.release.until_ended(&bad, Outcome::RolledBack).await?;
    assert!(record.history.values().any(|summary| summary.verdict.starts_with("error_rate fail")));
    as_it_was(&routes, &spec).await?;
    daemon.stop().await
}

/// Returns what came back until the gateway has gone by the joined route for a while.
async fn some_more(gateway: &Gateway) -> anyhow::Result<Sent> {
    let mut all = Sent::default();
    until("requests after the end", SOON, async || {
        let sent = gateway.sent();
        all.unserved += sent.unserved;
        for (into, from) in [(&mut all.served, sent.served), (&mut all.failed, sent.failed)] {
            for (track, count) in from {
                *into.entry(track).or_default() += count;
            }
        }
        Ok((all.served.values().sum::<u64>() >= 300).then(|| all.clone()))
    })
    .await
}

pub async fn as_it_was(routes: &Api<DynamicObject>, spec: &Value) -> anyhow::Result<()> {
    let live = routes.get("edge").await?;
    assert_eq!(live.data["spec"], *spec);
    assert_eq!(live.metadata.annotations.unwrap_or_default().len(), 0);
    Ok(())
}
