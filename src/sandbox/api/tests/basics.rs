//! Create, read, change and delete through a `kube::Client`.

use k8s_openapi::api::{
    apps::v1::Deployment,
    core::v1::{ConfigMap, Namespace, Pod},
};
use kube::api::{
    Api, DeleteParams, ListParams, Patch, PatchParams, PostParams, Preconditions, PropagationPolicy,
};
use serde_json::json;

use super::super::{ApiOptions, ApiServer};

pub(super) fn server() -> ApiServer {
    ApiServer::new(ApiOptions::default())
}

pub(super) fn web(replicas: Option<i32>) -> serde_json::Value {
    let mut body = json!({
        "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {"name": "web", "labels": {"app": "web"}},
        "spec": {
            "selector": {"matchLabels": {"app": "web"}},
            "template": {
                "metadata": {"labels": {"app": "web"}},
                "spec": {"containers": [{
                    "name": "app", "image": "shop/web:v1", "ports": [{"containerPort": 8080, "name": "http"}],
                    "resources": {"requests": {"cpu": "0.5", "memory": "1024Mi"}},
                }]},
            },
        },
    });
    if let Some(replicas) = replicas {
        body["spec"]["replicas"] = json!(replicas);
    }
    body
}

pub(super) fn code<T: std::fmt::Debug>(result: Result<T, kube::Error>) -> (u16, String) {
    match result.unwrap_err() {
        kube::Error::Api(status) => (status.code, status.message.clone()),
        other => panic!("{other}"),
    }
}

#[tokio::test]
async fn an_object_lives_and_dies() {
    let server = server();
    let maps: Api<ConfigMap> = Api::namespaced(server.client(), "default");
    let body: ConfigMap =
        serde_json::from_value(json!({"metadata": {"name": "a"}, "data": {"k": "1"}})).unwrap();
    let made = maps.create(&PostParams::default(), &body).await.unwrap();
    assert!(made.metadata.uid.is_some() && made.metadata.resource_version.is_some());
    assert_eq!(
        code(maps.create(&PostParams::default(), &body).await),
        (409, "configmaps \"a\" already exists".into())
    );

    let patch = Patch::Merge(json!({"data": {"k": "2"}}));
    let changed = maps.patch("a", &PatchParams::default(), &patch).await.unwrap();
    assert_ne!(changed.metadata.resource_version, made.metadata.resource_version);
    let same = maps.patch("a", &PatchParams::default(), &patch).await.unwrap();
    assert_eq!(same.metadata.resource_version, changed.metadata.resource_version, "a no-op writes nothing");

    let stale = maps.replace("a", &PostParams::default(), &made).await;
    assert_eq!(code(stale).0, 409);
    let wrong = DeleteParams {
        preconditions: Some(Preconditions { uid: Some("other".into()), resource_version: None }),
        ..DeleteParams::default()
    };
    assert_eq!(code(maps.delete("a", &wrong).await).0, 409);
    maps.delete("a", &DeleteParams::background()).await.unwrap();
    assert_eq!(code(maps.get("a").await), (404, "configmaps \"a\" not found".into()));
}

#[tokio::test]
async fn a_namespace_must_exist() {
    let server = server();
    let maps: Api<ConfigMap> = Api::namespaced(server.client(), "shop");
    let body: ConfigMap = serde_json::from_value(json!({"metadata": {"name": "a"}})).unwrap();
    assert_eq!(
        code(maps.create(&PostParams::default(), &body).await),
        (404, "namespaces \"shop\" not found".into())
    );
    let namespaces: Api<Namespace> = Api::all(server.client());
    let shop: Namespace = serde_json::from_value(json!({"metadata": {"name": "shop"}})).unwrap();
    namespaces.create(&PostParams::default(), &shop).await.unwrap();
    maps.create(&PostParams::default(), &body).await.unwrap();
    assert_eq!(namespaces.list(&ListParams::default()).await.unwrap().items.len(), 3);
}

#[tokio::test]
async fn generation_counts_the_spec_and_status_has_its_own_door() {
    let server = server();
    let api: Api<Deployment> = Api::namespaced(server.client(), "default");
    let body: Deployment = serde_json::from_value(web(None)).unwrap();
    let made = api.create(&PostParams::default(), &body).await.unwrap();
    assert_eq!(made.metadata.generation, Some(1));
    assert_eq!(made.spec.as_ref().unwrap().replicas, Some(1));

    let labelled = Patch::Merge(json!({"metadata": {"labels": {"x": "y"}}, "status": {"replicas": 9}}));
    let after = api.patch("web", &PatchParams::default(), &labelled).await.unwrap();
    assert_eq!(after.metadata.generation, Some(1));
    assert_eq!(after.status.unwrap().replicas, None, "status is not written at the main door");

    let status = Patch::Merge(json!({"status": {"replicas": 4}, "spec": {"replicas": 7}}));
    let after = api.patch_status("web", &PatchParams::default(), &status).await.unwrap();
    assert_eq!((after.metadata.generation, after.spec.unwrap().replicas), (Some(1), Some(1)));
    assert_eq!(after.status.unwrap().replicas, Some(4));

    let scale = Patch::Merge(json!({"spec": {"replicas": 5}}));
    api.patch_scale("web", &PatchParams::default(), &scale).await.unwrap();
    let after = api.get("web").await.unwrap();
    assert_eq!((after.metadata.generation, after.spec.unwrap().replicas), (Some(2), Some(5)));
}

#[tokio::test]
async fn invalid_objects_are_422() {
    let server = server();
    let api: Api<Deployment> = Api::namespaced(server.client(), "default");
    let mut body = web(None);
    body["spec"]["template"]["metadata"]["labels"] = json!({"app": "other"});
    let bad: Deployment = serde_json::from_value(body).unwrap();
    let (status, message) = code(api.create(&PostParams::default(), &bad).await);
    assert_eq!(status, 422);
    assert!(message.contains("`selector` does not match template `labels`"), "{message}");

    let good: Deployment = serde_json::from_value(web(None)).unwrap();
    api.create(&PostParams::default(), &good).await.unwrap();
    let patch = Patch::Merge(json!({"spec": {
        "selector": {"matchLabels": {"app": "x"}}, "template": {"metadata": {"labels": {"app": "x"}}},
    }}));
    let (status, message) = code(api.patch("web", &PatchParams::default(), &patch).await);
    assert_eq!(status, 422);
    assert!(message.contains("field is immutable"), "{message}");

    let maps: Api<ConfigMap> = Api::namespaced(server.client(), "default");
    let big = json!({"metadata": {"name": "big"}, "data": {"k": "x".repeat(1024 * 1024 + 1)}});
    let big: ConfigMap = serde_json::from_value(big).unwrap();
    assert_eq!(code(maps.create(&PostParams::default(), &big).await).0, 422);
}

#[tokio::test]
async fn pods_on_a_node_go_gracefully() {
    let server = server();
    let api: Api<Pod> = Api::namespaced(server.client(), "default");
    let body: Pod = serde_json::from_value(json!({
        "metadata": {"generateName": "web-"}, "spec": {"containers": [{"name": "app", "image": "a:1"}]},
    }))
    .unwrap();
    let pod = api.create(&PostParams::default(), &body).await.unwrap();
    let name = pod.metadata.name.unwrap();
    assert_eq!(name.len(), "web-".len() + 5);
    let bind = json!({"apiVersion": "v1", "kind": "Binding", "metadata": {"name": name}, "target": {"kind": "Node", "name": "n1"}});
    let _: serde_json::Value =
        api.create_subresource("binding", &name, &PostParams::default(), &bind).await.unwrap();
    api.delete(&name, &DeleteParams::default()).await.unwrap();
    let going = api.get(&name).await.unwrap();
    assert_eq!(going.metadata.deletion_grace_period_seconds, Some(30));
    api.delete(&name, &DeleteParams::default().grace_period(0)).await.unwrap();
    assert_eq!(code(api.get(&name).await).0, 404);
}

#[tokio::test]
async fn foreground_deletion_waits_for_its_finalizer() {
    let server = server();
    let api: Api<Deployment> = Api::namespaced(server.client(), "default");
    api.create(&PostParams::default(), &serde_json::from_value(web(None)).unwrap()).await.unwrap();
    let foreground =
        DeleteParams { propagation_policy: Some(PropagationPolicy::Foreground), ..DeleteParams::default() };
    api.delete("web", &foreground).await.unwrap();
    assert!(api.get("web").await.unwrap().metadata.deletion_timestamp.is_some());
    let release = Patch::Json::<()>(
        serde_json::from_value(json!([{"op": "remove", "path": "/metadata/finalizers"}])).unwrap(),
    );
    api.patch("web", &PatchParams::default(), &release).await.unwrap();
    assert_eq!(code(api.get("web").await).0, 404);
}
