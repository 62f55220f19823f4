//! Watches, and what the view makes of them and of our own writes.

use serde_json::{Value, json};

use super::{World, config, deployment, key};
use crate::cluster::calls::Place;
use crate::cluster::watched::Watched;
use crate::cluster::{raw, view::ViewError};
use crate::model::object::Fence;
use crate::model::observed::{Known, Live};
use crate::model::write::Write;
use crate::sandbox::api::{Fault, Verb};

async fn create(world: &World, body: Value) -> raw::Raw {
    let text = |name: &str| body[name].as_str().unwrap().to_owned();
    let resource = raw::resource(&text("apiVersion"), &text("kind"));
    let namespace = body["metadata"]["namespace"].as_str().unwrap_or("shop").to_owned();
    let place = Place { resource: &resource, namespace: &namespace, name: "" };
    world.calls().create(&place, body).await.unwrap()
}

fn pod(name: &str, release: &str) -> Value {
    let labels = json!({"idp.dev/release": release, "idp.dev/service": "web", "idp.dev/track": "stable"});
    json!({"apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": name, "labels": labels},
        "spec": {"containers": [{"name": "app", "image": "i:1"}]}})
}

fn pods(world: &World) -> Vec<String> {
    let (observed, _) = world.cluster.view().observed(&world.release, &world.namespace, &[]);
    observed.pods.into_iter().map(|pod| pod.name).collect()
}

fn woken(world: &World) -> usize {
    world.woken.lock().unwrap().len()
}

#[tokio::test]
async fn nothing_is_told_before_every_list_was_seen() {
    let world = World::new().await;
    let error = world.cluster.observe(&world.release, &world.namespace, &[]).await.unwrap_err();
    assert_eq!(error, ViewError::NotSynced(Watched::ALL.to_vec()));
}

#[tokio::test]
async fn watches_fill_the_view_and_wake() {
    let world = World::watching().await;
    create(&world, pod("web-1", "web.prod")).await;
    world.eventually("the pod is seen", || pods(&world) == ["web-1"]).await;
    assert_eq!(world.woken.lock().unwrap().as_slice(), std::slice::from_ref(&world.release));

    create(&world, pod("other-1", "other.prod")).await;
    world.eventually("the other wakes", || woken(&world) == 2).await;
    assert_eq!(pods(&world), ["web-1"]);
}

#[tokio::test]
async fn an_autoscaler_is_seen_by_whose_workload_it_targets() {
    let world = World::watching().await;
    world.cluster.observe(&world.release, &world.namespace, &[]).await.unwrap();
    let scaler = |name: &str, target: &str| {
        json!({"apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler", "metadata": {"name": name},
            "spec": {"maxReplicas": 4, "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": target}}})
    };
    create(&world, scaler("others", "other")).await;
    let before = woken(&world);
    create(&world, scaler("keda-hpa-web", "web")).await;
    world.eventually("it wakes", || woken(&world) > before).await;
    let own = crate::render::autoscaler_key("web", "shop");
    let observed =
        world.cluster.observe(&world.release, &world.namespace, std::slice::from_ref(&own)).await.unwrap();
    let seen: Vec<&str> = observed.routes.objects.keys().map(|key| key.name.as_str()).collect();
    assert_eq!(seen, ["keda-hpa-web", "web"]);
    assert_eq!(observed.object(&own), &Known::Absent, "without a read of its own");
}

#[tokio::test]
async fn a_label_on_a_pod_elsewhere_shows_and_wakes_nothing() {
    let world = World::watching().await;
    world.cluster.observe(&world.release, &world.namespace, &[]).await.unwrap();
    let mut foreign = pod("web-1", "web.prod");
    foreign["metadata"]["namespace"] = "default".into();
    create(&world, foreign).await;
    create(&world, pod("other-1", "other.prod")).await;
    world.eventually("the other wakes", || woken(&world) > 0).await;
    assert!(!world.woken.lock().unwrap().contains(&world.release));
    assert!(pods(&world).is_empty());
}

#[tokio::test]
async fn a_pod_that_changes_its_label_changes_its_release() {
    let world = World::watching().await;
    create(&world, pod("web-1", "web.prod")).await;
    world.eventually("the pod is seen", || pods(&world) == ["web-1"]).await;
    let resource = raw::resource("v1", "Pod");
    let place = Place { resource: &resource, namespace: "shop", name: "web-1" };
    let patch = json!({"metadata": {"labels": {"idp.dev/release": "other.prod"}}});
    world.calls().merge(&place, &patch).await.unwrap();
    world.eventually("the pod is gone here", || pods(&world).is_empty()).await;
    let patch = json!({"metadata": {"labels": {"idp.dev/release": "no-release"}}});
    world.calls().merge(&place, &patch).await.unwrap();
    world
        .eventually("it is reported", || {
            world.cluster.view().health()[&Watched::Pod].skipped.contains_key("shop/web-1")
        })
        .await;
}

#[tokio::test]
async fn our_own_write_is_read_at_once_and_wakes_nobody() {
    let world = World::watching().await;
    let wanted = [key("ConfigMap", "a")];
    let before = world.cluster.observe(&world.release, &world.namespace, &wanted).await.unwrap();
    assert_eq!(before.object(&wanted[0]), &Known::Absent);

    let write = Write::Apply { manifest: Box::new(config("a", "1")), fence: None };
    let live = world.cluster.execute(world.owner(), &write).await.unwrap().live.unwrap();
    world.server.clear_requests();
    let after = world.cluster.observe(&world.release, &world.namespace, &wanted).await.unwrap();
    assert_eq!(after.object(&wanted[0]), &Known::Present(live));
    assert!(world.server.requests().is_empty(), "what was written is not read");

    // A later event of the same watch has passed the echo.
    let mut marker = config("marker", "1").body;
    marker["metadata"]["labels"]["idp.dev/service"] = "marker".into();
    create(&world, marker).await;
    world.eventually("the marker wakes", || woken(&world) > 0).await;
    assert!(!world.woken.lock().unwrap().contains(&world.release));
}

/// A pass looks twice where the first look tells what else to look for.
#[tokio::test]
async fn what_is_not_there_is_asked_for_once_as_long_as_it_is_wanted() {
    let world = World::watching().await;
    let wanted = [key("ConfigMap", "a"), key("ConfigMap", "b")];
    let [first, whole] = [&wanted[..1], &wanted[..]];
    for look in [first, whole, first, whole] {
        world.cluster.observe(&world.release, &world.namespace, look).await.unwrap();
    }
    world.cluster.view().keep(&world.release, whole);
    world.cluster.observe(&world.release, &world.namespace, whole).await.unwrap();
    let reads = || world.server.requests().iter().filter(|one| one.verb == Verb::Get).count();
    assert_eq!(reads(), 2);
    world.cluster.view().keep(&world.release, first);
    world.cluster.observe(&world.release, &world.namespace, whole).await.unwrap();
    assert_eq!(reads(), 3, "what nobody wanted was forgotten");
}

#[tokio::test]
async fn a_change_by_somebody_else_wakes_and_shows() {
    let world = World::watching().await;
    let write = Write::Apply { manifest: Box::new(config("a", "1")), fence: None };
    world.cluster.execute(world.owner(), &write).await.unwrap();
    let resource = raw::resource("v1", "ConfigMap");
    let place = Place { resource: &resource, namespace: "shop", name: "a" };
    world.calls().merge(&place, &json!({"data": {"a": "drift"}})).await.unwrap();
    let wanted = [key("ConfigMap", "a")];
    let drifted = || {
        let (observed, _) = world.cluster.view().observed(&world.release, &world.namespace, &wanted);
        observed.object(&wanted[0]).present().is_some_and(|live| live.object["data"]["a"] == "drift")
    };
    world.eventually("the change is seen", drifted).await;
    assert!(woken(&world) > 0);
}

#[tokio::test]
async fn an_object_that_loses_its_labels_is_read_and_not_taken_for_gone() {
    let world = World::watching().await;
    let write = Write::Apply { manifest: Box::new(config("a", "1")), fence: None };
    world.cluster.execute(world.owner(), &write).await.unwrap();
    let resource = raw::resource("v1", "ConfigMap");
    let place = Place { resource: &resource, namespace: "shop", name: "a" };
    let patch = json!({"metadata": {"labels": {"app.kubernetes.io/managed-by": "somebody"}}});
    world.calls().merge(&place, &patch).await.unwrap();
    world.eventually("it wakes", || woken(&world) > 0).await;
    let wanted = [key("ConfigMap", "a")];
    let observed = world.cluster.observe(&world.release, &world.namespace, &wanted).await.unwrap();
    let live: &Live = observed.object(&wanted[0]).present().unwrap();
    assert_eq!(live.object["metadata"]["labels"]["app.kubernetes.io/managed-by"], "somebody");
}

#[tokio::test]
async fn somebody_elses_deployment_under_our_name_is_seen() {
    let world = World::watching().await;
    let mut theirs = deployment("web", "i:1", Some(1)).body;
    theirs["metadata"]["labels"] = json!({});
    create(&world, theirs).await;
    let wanted = [key("Deployment", "web")];
    let observed = world.cluster.observe(&world.release, &world.namespace, &wanted).await.unwrap();
    // Created by POST under our name, so it is not applied by us.
    assert!(!observed.object(&wanted[0]).present().unwrap().managed);
    world.server.clear_requests();
    world.cluster.observe(&world.release, &world.namespace, &wanted).await.unwrap();
    assert!(world.server.requests().is_empty(), "the answer is kept for a while");
}

#[tokio::test]
async fn a_read_that_fails_leaves_an_object_unknown() {
    let world = World::watching().await;
    world.server.inject(|request| (request.name == "web").then(|| Fault::status(500)));
    let wanted = [key("Deployment", "web")];
    let observed = world.cluster.observe(&world.release, &world.namespace, &wanted).await.unwrap();
    assert_eq!(observed.object(&wanted[0]), &Known::Unknown);
}

#[tokio::test]
async fn a_refused_write_is_followed_by_a_read() {
    let world = World::watching().await;
    let write = Write::Apply { manifest: Box::new(config("a", "1")), fence: None };
    let live = world.cluster.execute(world.owner(), &write).await.unwrap().live.unwrap();
    let stale = Fence { uid: live.uid, resource_version: "2".into() };
    let write = Write::Apply { manifest: Box::new(config("a", "2")), fence: Some(stale) };
    world.cluster.execute(world.owner(), &write).await.unwrap_err();
    world.server.clear_requests();
    let wanted = [key("ConfigMap", "a")];
    let observed = world.cluster.observe(&world.release, &world.namespace, &wanted).await.unwrap();
    assert!(observed.object(&wanted[0]).present().is_some());
    assert_eq!(world.server.requests().len(), 1);
}

#[tokio::test]
async fn records_show_by_release_and_their_own_stores_wake_nobody() {
    let world = World::watching().await;
    let empty = world.cluster.create_record(world.owner()).await.unwrap();
    let stored = world.cluster.store_record(&world.release, &empty, &super::records::sample()).await.unwrap();
    let seen = world.cluster.view().releases(&world.release);
    assert_eq!((seen.len(), &seen[0].resource_version), (1, &stored.resource_version));

    let resource = crate::cluster::crd::resource();
    let place = Place { resource: &resource, namespace: "shop", name: "web" };
    world.calls().merge(&place, &json!({"spec": {"suspend": true}})).await.unwrap();
    world.eventually("a person's write wakes", || woken(&world) > 0).await;
    assert_eq!(woken(&world), 1, "only the person's");
    assert!(world.cluster.view().releases(&world.release)[0].generation > stored.generation);
    assert_eq!(world.cluster.view().fleet().len(), 1);
    world.calls().delete(&place, &stored.uid).await.unwrap();
    world.eventually("it is gone", || world.cluster.view().releases(&world.release).is_empty()).await;
}

#[tokio::test]
async fn a_namespace_on_its_way_out_is_not_there() {
    let world = World::watching().await;
    world.cluster.observe(&world.release, &world.namespace, &[]).await.unwrap();
    let resource = raw::resource("v1", "Namespace");
    let place = Place { resource: &resource, namespace: "", name: "shop" };
    let uid = world.calls().get(&place).await.unwrap().unwrap().uid().to_owned();
    world.calls().delete(&place, &uid).await.unwrap();
    let gone = || {
        let (observed, _) = world.cluster.view().observed(&world.release, &world.namespace, &[]);
        observed.namespace == Known::Absent
    };
    world.eventually("the namespace is gone", gone).await;
    assert!(world.woken.lock().unwrap().contains(&world.release));
}

#[tokio::test(start_paused = true)]
async fn a_forgotten_history_costs_a_list_and_loses_nothing() {
    let world = World::watching().await;
    create(&world, pod("old", "web.prod")).await;
    world.eventually("the pod is seen", || pods(&world) == ["old"]).await;
    world.server.inject(|request| (request.kind == "Pod").then_some(Fault::Drop));
    let resource = raw::resource("v1", "Pod");
    let place = Place { resource: &resource, namespace: "shop", name: "old" };
    // The open watch ends at its time; what happens then is missed.
    tokio::time::sleep(std::time::Duration::from_secs(70)).await;
    world.server.clear_faults();
    let uid = world.calls().get(&place).await.unwrap().unwrap().uid().to_owned();
    world.calls().delete(&place, &uid).await.unwrap();
    create(&world, pod("new", "web.prod")).await;
    world.server.set_history(0);
    let health = || world.cluster.view().health()[&Watched::Pod].clone();
    assert!(health().failing.is_some());
    let mut wait = 0;
    while pods(&world) != ["new"] {
        wait += 1;
        assert!(wait < 1000, "the list is never read again: {:?}", health());
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    assert!(health().failing.is_none());
}
