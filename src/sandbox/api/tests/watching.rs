//! Lists and watches.

use std::time::Duration;

use futures::{StreamExt as _, TryStreamExt as _};
use k8s_openapi::api::core::v1::{ConfigMap, Event, Pod};
use kube::{
    Resource as _,
    api::{Api, DeleteParams, ListParams, Patch, PatchParams, PostParams, WatchEvent, WatchParams},
    core::PartialObjectMeta,
    runtime::{
        WatchStreamExt as _,
        watcher::{self, watcher},
    },
};
use serde_json::json;

use super::basics::server;

fn map(name: &str, labels: &serde_json::Value) -> ConfigMap {
    serde_json::from_value(json!({"metadata": {"name": name, "labels": labels}})).unwrap()
}

#[tokio::test]
async fn what_leaves_a_selection_is_deleted_to_its_watch() {
    let server = server();
    let api: Api<ConfigMap> = Api::namespaced(server.client(), "default");
    let start = server.version().to_string();
    let mut events = api.watch(&WatchParams::default().labels("app=web"), &start).await.unwrap().boxed();
    api.create(&PostParams::default(), &map("a", &json!({"app": "web"}))).await.unwrap();
    api.create(&PostParams::default(), &map("b", &json!({"app": "other"}))).await.unwrap();
    let patch = Patch::Merge(json!({"metadata": {"labels": {"app": "other"}}}));
    api.patch("a", &PatchParams::default(), &patch).await.unwrap();
    assert!(
        matches!(events.try_next().await.unwrap().unwrap(), WatchEvent::Added(map) if map.meta().name.as_deref() == Some("a"))
    );
    assert!(matches!(events.try_next().await.unwrap().unwrap(), WatchEvent::Deleted(_)));
}

#[tokio::test]
async fn a_forgotten_version_is_410() {
    let server = server();
    let api: Api<ConfigMap> = Api::namespaced(server.client(), "default");
    server.set_history(2);
    for name in ["a", "b", "c", "d"] {
        api.create(&PostParams::default(), &map(name, &json!({}))).await.unwrap();
    }
    let mut events = api.watch(&WatchParams::default(), "1").await.unwrap().boxed();
    match events.try_next().await.unwrap().unwrap() {
        WatchEvent::Error(status) => assert_eq!((status.code, status.reason.as_str()), (410, "Expired")),
        other => panic!("{other:?}"),
    }
    assert!(events.try_next().await.unwrap().is_none());
}

#[tokio::test]
async fn bookmarks_come_and_a_timeout_ends_the_watch() {
    let server = server();
    server.set_bookmark_interval(Duration::from_millis(5));
    let api: Api<ConfigMap> = Api::namespaced(server.client(), "default");
    let params = WatchParams { timeout: Some(1), ..WatchParams::default() };
    let events: Vec<WatchEvent<ConfigMap>> =
        api.watch(&params, &server.version().to_string()).await.unwrap().try_collect().await.unwrap();
    assert!(!events.is_empty());
    assert!(events.iter().all(|event| matches!(event, WatchEvent::Bookmark(_))));
}

#[tokio::test]
async fn kube_watchers_see_lists_streams_and_metadata() {
    let server = server();
    let api: Api<ConfigMap> = Api::namespaced(server.client(), "default");
    api.create(&PostParams::default(), &map("a", &json!({}))).await.unwrap();
    for config in [watcher::Config::default(), watcher::Config::default().streaming_lists()] {
        let mut seen = watcher(api.clone(), config.clone()).default_backoff().applied_objects().boxed();
        assert_eq!(seen.try_next().await.unwrap().unwrap().meta().name.as_deref(), Some("a"));
        let meta: Api<PartialObjectMeta<ConfigMap>> = Api::namespaced(server.client(), "default");
        let mut seen = watcher(meta, config).default_backoff().applied_objects().boxed();
        assert_eq!(seen.try_next().await.unwrap().unwrap().metadata.name.as_deref(), Some("a"));
    }
}

#[tokio::test]
async fn field_selectors_choose_pods_and_events() {
    let server = server();
    let pods: Api<Pod> = Api::namespaced(server.client(), "default");
    for (name, node) in [("a", "n1"), ("b", "n2")] {
        let pod = json!({
            "metadata": {"name": name}, "spec": {"nodeName": node, "containers": [{"name": "c", "image": "i:1"}]},
        });
        pods.create(&PostParams::default(), &serde_json::from_value(pod).unwrap()).await.unwrap();
    }
    let found = pods.list(&ListParams::default().fields("spec.nodeName=n2")).await.unwrap();
    assert_eq!(found.items.len(), 1);
    let found = pods.list(&ListParams::default().fields("status.phase!=Pending")).await.unwrap();
    assert!(found.items.is_empty());
    assert!(pods.list(&ListParams::default().fields("spec.foo=1")).await.is_err());
    pods.delete_collection(&DeleteParams::default().grace_period(0), &ListParams::default()).await.unwrap();
    assert!(pods.list(&ListParams::default()).await.unwrap().items.is_empty());
}

#[tokio::test]
async fn an_event_is_the_same_through_both_apis() {
    let server = server();
    let new: Api<k8s_openapi::api::events::v1::Event> = Api::namespaced(server.client(), "default");
    let event = json!({
        "metadata": {"name": "e"}, "note": "gate failed", "reason": "RolledBack", "type": "Warning",
        "action": "Rollback", "eventTime": "2026-01-01T00:00:00.000000Z", "reportingController": "idp",
        "reportingInstance": "idp-0", "regarding": {"kind": "Release", "name": "web", "namespace": "default"},
    });
    new.create(&PostParams::default(), &serde_json::from_value(event).unwrap()).await.unwrap();
    let old: Api<Event> = Api::namespaced(server.client(), "default");
    let found = old.list(&ListParams::default().fields("involvedObject.name=web")).await.unwrap();
    assert_eq!(found.items[0].message.as_deref(), Some("gate failed"));
    assert_eq!(new.get("e").await.unwrap().note.as_deref(), Some("gate failed"));
}
