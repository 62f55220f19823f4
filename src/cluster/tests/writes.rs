//! Writes.

use std::time::Duration;

use serde_json::{Value, json};

use super::{World, config, deployment, key};
use crate::cluster::apply::WriteError;
use crate::cluster::calls::{Calls, Place};
use crate::cluster::error::ApiError;
use crate::model::object::{Fence, Manifest};
use crate::model::observed::{Known, Live};
use crate::model::rollout::{Mark, Version};
use crate::model::write::Write;
use crate::sandbox::api::{Fault, Verb};

fn apply(manifest: &Manifest, over: Option<&Live>) -> Write {
    let fence =
        over.map(|live| Fence { uid: live.uid.clone(), resource_version: live.resource_version.clone() });
    Write::Apply { manifest: Box::new(manifest.clone()), fence }
}

async fn write(world: &World, write: &Write) -> Result<Option<Live>, WriteError> {
    world.cluster.execute(world.owner(), write).await.map(|applied| applied.live)
}

fn version() -> Version {
    serde_json::from_value(json!({"identity": "1-abc", "platform": "p",
        "revision": {"commit": "a".repeat(40), "committed_at": "2026-01-01T00:00:00Z", "author": "ann", "subject": "s",
            "repository": "r"},
        "image": {"repository": "r", "digest": format!("sha256:{}", "0".repeat(64))}}))
    .unwrap()
}

#[tokio::test]
async fn a_creation_is_an_apply_that_never_meets_what_exists() {
    let world = World::new().await;
    let made = write(&world, &apply(&config("a", "1"), None)).await.unwrap().unwrap();
    assert!(made.managed && !made.scaled);
    // Equal content, no other owner: an apply without a guard would pass.
    for again in ["1", "2"] {
        let error = write(&world, &apply(&config("a", again), None)).await.unwrap_err();
        assert!(matches!(error, WriteError::Conflict { .. }) && error.is_transient(), "{error}");
    }
    let there = world.get(&key("ConfigMap", "a")).await.unwrap();
    assert_eq!(there["data"]["a"], "1");
    assert_eq!(there["metadata"]["resourceVersion"], made.resource_version.as_str());
}

#[tokio::test]
async fn a_field_that_left_the_body_leaves_the_cluster() {
    let world = World::new().await;
    let mut manifest = config("a", "1");
    manifest.body["data"]["b"] = "2".into();
    let made = write(&world, &apply(&manifest, None)).await.unwrap().unwrap();
    write(&world, &apply(&config("a", "1"), Some(&made))).await.unwrap();
    assert_eq!(world.get(&key("ConfigMap", "a")).await.unwrap()["data"], json!({"a": "1"}));
}

#[tokio::test]
async fn an_apply_over_something_newer_is_refused() {
    let world = World::new().await;
    let first = write(&world, &apply(&config("a", "1"), None)).await.unwrap().unwrap();
    write(&world, &apply(&config("a", "2"), Some(&first))).await.unwrap();
    let error = write(&world, &apply(&config("a", "3"), Some(&first))).await.unwrap_err();
    assert!(matches!(error, WriteError::Conflict { .. }), "{error}");
    assert_eq!(world.get(&key("ConfigMap", "a")).await.unwrap()["data"]["a"], "2");
}

#[tokio::test]
async fn an_apply_over_what_is_gone_or_another_creates_nothing() {
    let world = World::new().await;
    let first = write(&world, &apply(&deployment("web", "i:1", Some(0)), None)).await.unwrap().unwrap();
    let delete = Write::Delete { key: key("Deployment", "web"), uid: first.uid.clone() };
    write(&world, &delete).await.unwrap();
    let error = write(&world, &apply(&deployment("web", "i:2", None), Some(&first))).await.unwrap_err();
    assert!(matches!(error, WriteError::Conflict { .. }), "{error}");
    assert_eq!(world.get(&key("Deployment", "web")).await, None);

    let other = write(&world, &apply(&deployment("web", "i:3", Some(0)), None)).await.unwrap().unwrap();
    let confused = Live { uid: first.uid, ..other };
    let error = write(&world, &apply(&deployment("web", "i:2", None), Some(&confused))).await.unwrap_err();
    assert!(matches!(error, WriteError::Conflict { .. }), "{error}");
}

#[tokio::test]
async fn replicas_belong_to_the_rollout_alone() {
    let world = World::new().await;
    let made = write(&world, &apply(&deployment("web", "i:1", Some(0)), None)).await.unwrap().unwrap();
    let fence =
        |live: &Live| Fence { uid: live.uid.clone(), resource_version: live.resource_version.clone() };
    let scale =
        |live: &Live, replicas| Write::Scale { key: key("Deployment", "web"), replicas, fence: fence(live) };
    let scaled = write(&world, &scale(&made, 3)).await.unwrap().unwrap();
    assert!(scaled.scaled && scaled.managed);
    let changed =
        write(&world, &apply(&deployment("web", "i:2", None), Some(&scaled))).await.unwrap().unwrap();
    assert_eq!(changed.object["spec"]["replicas"], 3);
    assert!(matches!(write(&world, &scale(&made, 9)).await, Err(WriteError::Conflict { .. })));
}

#[tokio::test]
async fn what_an_autoscaler_holds_is_raised_without_taking_it_over() {
    let world = World::new().await;
    let made = write(&world, &apply(&deployment("web", "i:1", Some(0)), None)).await.unwrap().unwrap();
    let fence =
        |live: &Live| Fence { uid: live.uid.clone(), resource_version: live.resource_version.clone() };
    let scale = Write::Scale { key: key("Deployment", "web"), replicas: 3, fence: fence(&made) };
    let scaled = write(&world, &scale).await.unwrap().unwrap();
    let resource = super::super::raw::resource("apps/v1", "Deployment");
    let place = Place { resource: &resource, namespace: "shop", name: "web" };
    let five = json!({"spec": {"replicas": 5}});
    world.calls().merge_scale(&place, "kube-controller-manager", &five).await.unwrap();
    let raise = |live: &Live| Write::Raise { key: key("Deployment", "web"), replicas: 8, fence: fence(live) };
    let error = write(&world, &raise(&scaled)).await.unwrap_err();
    assert!(matches!(error, WriteError::Conflict { .. }), "{error}");
    let live = look(&world, "web").await;
    assert!(live.scaled, "somebody else's number is none that an apply would reset");
    write(&world, &raise(&live)).await.unwrap();
    let live = look(&world, "web").await;
    assert_eq!(live.object["spec"]["replicas"], 8);
    let other = Live { uid: "another".into(), ..live };
    let error = write(&world, &raise(&other)).await.unwrap_err();
    assert!(matches!(error, WriteError::Conflict { .. }), "{error}");
    assert_eq!(look(&world, "web").await.object["spec"]["replicas"], 8);
}

/// What the next look shows of a Deployment.
async fn look(world: &World, name: &str) -> Live {
    let key = key("Deployment", name);
    let resource = super::super::raw::resource("apps/v1", "Deployment");
    let place = Place { resource: &resource, namespace: "shop", name };
    let raw = world.calls().get(&place).await.unwrap().unwrap();
    assert_eq!(raw.name(), key.name);
    raw.into_live(&resource)
}

#[tokio::test]
async fn a_delete_names_its_object_by_uid() {
    let world = World::new().await;
    let first = write(&world, &apply(&config("a", "1"), None)).await.unwrap().unwrap();
    let delete = |uid: &str| Write::Delete { key: key("ConfigMap", "a"), uid: uid.to_owned() };
    assert_eq!(write(&world, &delete("another")).await.unwrap(), None);
    assert!(world.get(&key("ConfigMap", "a")).await.is_some());
    assert_eq!(write(&world, &delete(&first.uid)).await.unwrap(), None);
    assert_eq!(world.get(&key("ConfigMap", "a")).await, None);
    assert_eq!(write(&world, &delete(&first.uid)).await.unwrap(), None, "gone already is what was wanted");
}

#[tokio::test]
async fn what_a_stranger_owns_is_named_and_left_alone() {
    let world = World::new().await;
    let resource = super::super::raw::resource("v1", "ConfigMap");
    let place = Place { resource: &resource, namespace: "shop", name: "a" };
    let body =
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}, "data": {"a": "theirs"}});
    world.calls().apply(&place, "kubectl", false, &body).await.unwrap();
    let error = write(&world, &apply(&config("a", "ours"), None)).await.unwrap_err();
    assert!(matches!(error, WriteError::Conflict { .. }), "{error}");
    assert_eq!(world.get(&key("ConfigMap", "a")).await.unwrap()["data"]["a"], "theirs");
}

#[tokio::test]
async fn refusals_are_sentences_and_outages_are_not() {
    let world = World::new().await;
    let table = [(403, true), (422, true), (429, false), (500, false), (503, false)];
    for (code, refused) in table {
        world.server.inject(move |request| (request.verb == Verb::Apply).then(|| Fault::status(code)));
        let error = write(&world, &apply(&config("a", "1"), None)).await.unwrap_err();
        assert_eq!((error.refusal().is_some(), error.is_transient()), (refused, !refused), "{code}: {error}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_call_without_an_answer_ends_at_its_deadline_and_leaves_doubt() {
    let world = World::new().await;
    world.server.inject(|request| (request.verb == Verb::Apply).then_some(Fault::ApplyThenHang));
    let begin = tokio::time::Instant::now();
    let error = write(&world, &apply(&config("a", "1"), None)).await.unwrap_err();
    assert!(matches!(error.api(), Some(ApiError::Timeout { .. })), "{error}");
    assert_eq!(begin.elapsed().as_secs(), super::super::calls::DEADLINE.as_secs());
    let wanted = [key("ConfigMap", "a")];
    let (observed, missing) = world.cluster.view().observed(&world.release, &world.namespace, &wanted);
    assert_eq!((observed.object(&wanted[0]), missing.as_slice()), (&Known::Unknown, wanted.as_slice()));
    let calls = Calls::new(world.server.client()).with_deadline(Duration::from_millis(1));
    world.server.inject(|_| Some(Fault::Hang));
    let resource = super::super::raw::resource("v1", "ConfigMap");
    let place = Place { resource: &resource, namespace: "shop", name: "a" };
    assert!(matches!(calls.get(&place).await, Err(ApiError::Timeout { .. })));
}

#[tokio::test]
async fn revisions_are_kept_marked_and_dropped() {
    let world = World::watching().await;
    let save = |mark, image: &str| Write::SaveRevision {
        rollout: 3,
        version: Box::new(version()),
        mark,
        objects: vec![deployment("web", image, None)],
    };
    let kept = || world.cluster.view().revision(&world.release, &world.namespace, 3);
    write(&world, &save(Mark::Candidate, "i:1")).await.unwrap();
    let first = kept().unwrap();
    let opened = first.open().unwrap();
    assert_eq!((opened.version, opened.objects.len(), opened.mark), (version(), 1, Mark::Candidate));
    world.mutations();
    write(&world, &save(Mark::Candidate, "i:1")).await.unwrap();
    assert_eq!(world.mutations(), 0, "equal bytes cost no call");

    write(&world, &Write::MarkRevision { rollout: 3, mark: Mark::Stable }).await.unwrap();
    assert_eq!(kept().unwrap().mark, Mark::Stable);
    assert_eq!(kept().unwrap().packed(), first.packed());
    write(&world, &save(Mark::Stable, "i:2")).await.unwrap();
    assert_eq!(kept().unwrap().open().unwrap().objects[0], deployment("web", "i:2", None));
    let secret = world.get(&key("Secret", "idp-web-3")).await.unwrap();
    assert_eq!(
        (&secret["type"], &secret["metadata"]["labels"]["idp.dev/mark"]),
        (&json!("idp.dev/revision"), &json!("stable"))
    );

    write(&world, &Write::DropRevision { rollout: 3 }).await.unwrap();
    assert!(kept().is_none());
    assert_eq!(world.get(&key("Secret", "idp-web-3")).await, None);
    write(&world, &Write::DropRevision { rollout: 3 }).await.unwrap();
    let error = write(&world, &Write::MarkRevision { rollout: 3, mark: Mark::Held }).await.unwrap_err();
    assert!(matches!(error, WriteError::Conflict { .. }), "{error}");
}

#[tokio::test]
async fn a_revision_behind_its_watch_is_read_and_not_overwritten() {
    let world = World::new().await;
    let save = |image: &str| Write::SaveRevision {
        rollout: 3,
        version: Box::new(version()),
        mark: Mark::Candidate,
        objects: vec![deployment("web", image, None)],
    };
    write(&world, &save("i:1")).await.unwrap();
    let other = super::super::Cluster::new(world.server.client(), std::sync::Arc::new(|_| {}));
    let error = other.execute(world.owner(), &save("i:2")).await.unwrap_err();
    assert!(matches!(error, WriteError::Conflict { .. }), "{error}");
    let seen = other.view().revision(&world.release, &world.namespace, 3).unwrap();
    assert_eq!(seen.open().unwrap().objects[0], deployment("web", "i:1", None));
    other.execute(world.owner(), &save("i:2")).await.unwrap();
}

#[tokio::test]
async fn a_secret_of_the_teams_own_is_no_revision() {
    let world = World::new().await;
    let resource = super::super::revision::resource();
    let place = Place { resource: &resource, namespace: "shop", name: "idp-web-3" };
    let body: Value = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "idp-web-3"}, "stringData": {"a": "b"}});
    world.calls().create(&place, body).await.unwrap();
    let write_it = Write::SaveRevision {
        rollout: 3,
        version: Box::new(version()),
        mark: Mark::Stable,
        objects: Vec::new(),
    };
    let error = write(&world, &write_it).await.unwrap_err();
    assert!(matches!(error, WriteError::Revision { .. }) && !error.is_transient(), "{error}");
}

#[tokio::test]
async fn a_namespace_is_created_once_and_left_as_it_is() {
    let world = World::new().await;
    let namespace = "fresh".parse().unwrap();
    world.cluster.ensure_namespace(&namespace).await.unwrap();
    world.cluster.ensure_namespace(&namespace).await.unwrap();
    let (observed, _) = world.cluster.view().observed(&world.release, &namespace, &[]);
    assert_eq!(observed.namespace, Known::Present(()));
}

#[tokio::test]
async fn sources_are_kept_in_the_home_namespace() {
    use crate::cluster::home;
    let world = World::new().await;
    let source = "git".parse().unwrap();
    assert_eq!(home::read_source(world.calls(), &world.namespace, &source).await.unwrap(), None);
    for status in [json!({"id": "a"}), json!({"id": "b", "error": null})] {
        home::put_source(world.calls(), &world.namespace, &source, &status).await.unwrap();
        let read = home::read_source(world.calls(), &world.namespace, &source).await.unwrap();
        assert_eq!(read, Some(status));
    }
    let long = json!("x".repeat(home::SOURCE_BYTES));
    assert!(home::put_source(world.calls(), &world.namespace, &source, &long).await.is_err());
}
