//! Server-side apply, against the facts that were measured on a genuine server.

use k8s_openapi::api::{apps::v1::Deployment, core::v1::Pod};
use kube::api::{Api, DeleteParams, Patch, PatchParams, PostParams};
use serde_json::{Value, json};

use super::{
    super::{ApiOptions, ApiServer},
    basics::{code, server, web},
};

fn api(server: &ApiServer) -> Api<Deployment> {
    Api::namespaced(server.client(), "default")
}

async fn apply(api: &Api<Deployment>, manager: &str, body: &Value) -> Result<Deployment, kube::Error> {
    api.patch("web", &PatchParams::apply(manager), &Patch::Apply(body)).await
}

async fn force(api: &Api<Deployment>, manager: &str, body: &Value) -> Result<Deployment, kube::Error> {
    api.patch("web", &PatchParams::apply(manager).force(), &Patch::Apply(body)).await
}

fn only_replicas(replicas: i32) -> Value {
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"}, "spec": {"replicas": replicas},
    })
}

fn replicas(deployment: &Deployment) -> Option<i32> {
    deployment.spec.as_ref().and_then(|spec| spec.replicas)
}

#[tokio::test]
async fn the_same_body_again_writes_nothing() {
    let server = server();
    let api = api(&server);
    let first = apply(&api, "idp", &web(Some(0))).await.unwrap();
    let again = apply(&api, "idp", &web(Some(0))).await.unwrap();
    assert_eq!(first, again);
    let cpu = &first.spec.unwrap().template.spec.unwrap().containers[0]
        .resources
        .clone()
        .unwrap()
        .requests
        .unwrap();
    assert_eq!((cpu["cpu"].0.as_str(), cpu["memory"].0.as_str()), ("500m", "1Gi"));
}

#[tokio::test]
async fn replicas_change_hands_and_stay() {
    let server = server();
    let api = api(&server);
    apply(&api, "idp", &web(Some(0))).await.unwrap();
    let (status, message) = code(apply(&api, "idp-rollout", &only_replicas(3)).await);
    assert_eq!(status, 409);
    assert_eq!(message, "Apply failed with 1 conflict: conflict with \"idp\": .spec.replicas");
    let taken = force(&api, "idp-rollout", &only_replicas(3)).await.unwrap();
    assert_eq!((replicas(&taken), taken.metadata.generation), (Some(3), Some(2)));
    let after = apply(&api, "idp", &web(None)).await.unwrap();
    assert_eq!(replicas(&after), Some(3));
    let managers: Vec<String> =
        after.metadata.managed_fields.unwrap().into_iter().map(|entry| entry.manager.unwrap()).collect();
    assert_eq!(managers, ["idp", "idp-rollout"]);
}

#[tokio::test]
async fn an_empty_apply_of_the_only_owner_brings_the_default_back() {
    let server = server();
    let api = api(&server);
    apply(&api, "idp", &web(Some(0))).await.unwrap();
    force(&api, "idp-rollout", &only_replicas(3)).await.unwrap();
    let mut empty = only_replicas(0);
    empty["spec"] = json!({});
    let after = apply(&api, "idp-rollout", &empty).await.unwrap();
    assert_eq!(replicas(&after), Some(1));
}

#[tokio::test]
async fn what_is_no_longer_applied_goes() {
    let server = server();
    let api = api(&server);
    let mut body = web(None);
    body["spec"]["template"]["spec"]["containers"][0]["env"] =
        json!([{"name": "A", "value": "1"}, {"name": "B", "value": "2"}]);
    body["metadata"]["annotations"] = json!({"x": "1", "y": "2"});
    apply(&api, "idp", &body).await.unwrap();
    body["spec"]["template"]["spec"]["containers"][0]["env"] = json!([{"name": "B", "value": "3"}]);
    body["metadata"]["annotations"] = json!({"y": "2"});
    let after = apply(&api, "idp", &body).await.unwrap();
    assert_eq!(after.metadata.annotations.unwrap().into_keys().collect::<Vec<_>>(), ["y"]);
    let env = after.spec.unwrap().template.spec.unwrap().containers[0].env.clone().unwrap();
    assert_eq!(env.len(), 1);
    assert_eq!((env[0].name.as_str(), env[0].value.as_deref()), ("B", Some("3")));
}

#[tokio::test]
async fn stale_versions_other_uids_and_gone_objects() {
    let server = server();
    let api = api(&server);
    let first = apply(&api, "idp", &web(Some(1))).await.unwrap();
    let mut stale = only_replicas(2);
    stale["metadata"]["resourceVersion"] = json!("1");
    assert_eq!(code(force(&api, "idp", &stale).await).0, 409);

    let mut other = only_replicas(2);
    other["metadata"]["uid"] = json!("11111111-1111-4111-8111-111111111111");
    let (status, message) = code(force(&api, "idp", &other).await);
    assert_eq!(status, 422);
    assert!(message.contains("metadata.uid: Invalid value"), "{message}");

    let mut fenced = web(Some(2));
    fenced["metadata"]["resourceVersion"] = json!(first.metadata.resource_version);
    force(&api, "idp", &fenced).await.unwrap();
    api.delete("web", &DeleteParams::background()).await.unwrap();
    let reborn = force(&api, "idp", &fenced).await.unwrap();
    assert_ne!(reborn.metadata.uid, first.metadata.uid);
    assert_eq!(reborn.metadata.generation, Some(1));
}

#[tokio::test]
async fn a_dry_run_leaves_no_trace() {
    let server = server();
    let api = api(&server);
    let before = server.version();
    let params = PatchParams::apply("idp").dry_run();
    let shown = api.patch("web", &params, &Patch::Apply(web(Some(2)))).await.unwrap();
    assert_eq!(replicas(&shown), Some(2));
    assert_eq!(server.version(), before);
    assert!(api.get_opt("web").await.unwrap().is_none());
}

#[tokio::test]
async fn scaling_by_hand_takes_the_field_away() {
    let server = server();
    let api = api(&server);
    apply(&api, "idp-rollout", &web(Some(2))).await.unwrap();
    let params = PatchParams { field_manager: Some("kubectl".into()), ..PatchParams::default() };
    api.patch_scale("web", &params, &Patch::Merge(json!({"spec": {"replicas": 5}}))).await.unwrap();
    let (status, message) = code(apply(&api, "idp-rollout", &only_replicas(2)).await);
    assert_eq!(status, 409);
    assert_eq!(
        message,
        "Apply failed with 1 conflict: conflict with \"kubectl\" with subresource \"scale\" using apps/v1: .spec.replicas"
    );
}

#[tokio::test]
async fn fields_that_do_not_exist_are_refused() {
    let server = server();
    let api = api(&server);
    let mut body = web(None);
    body["spec"]["replicsa"] = json!(1);
    let (_, message) = code(apply(&api, "idp", &body).await);
    assert!(message.contains(".spec.replicsa: field not declared in schema"), "{message}");
}

#[tokio::test]
async fn facts_of_a_genuine_server() {
    let server = server();
    let api = api(&server);
    let body: Deployment = serde_json::from_value(web(None)).unwrap();
    let params = PostParams { field_manager: Some("poster".into()), ..PostParams::default() };
    let made = serde_json::to_value(api.create(&params, &body).await.unwrap()).unwrap();
    let spec = &made["metadata"]["managedFields"][0]["fieldsV1"]["f:spec"];
    assert_eq!(spec.get("."), None, "what a typed object always holds is not owned by its creator");
    assert_eq!(spec["f:selector"], json!({}));

    let annotated = Patch::Merge(json!({"metadata": {"annotations": {"a": "b"}}}));
    let after = api.patch("web", &PatchParams::default(), &annotated).await.unwrap();
    assert_eq!(after.metadata.generation, Some(2), "a Deployment's annotations count");
    let after = api
        .patch_status(
            "web",
            &PatchParams::default(),
            &Patch::Merge(json!({"metadata": {"annotations": {"c": "d"}}})),
        )
        .await
        .unwrap();
    assert_eq!(after.metadata.generation, Some(2), "but not through its status");
    assert_eq!(after.metadata.annotations.unwrap().len(), 2);

    api.patch_scale("web", &PatchParams::default(), &Patch::Merge(json!({"spec": {"replicas": 5}})))
        .await
        .unwrap();
    let scaled = serde_json::to_value(api.get("web").await.unwrap()).unwrap();
    let entries = scaled["metadata"]["managedFields"].as_array().unwrap();
    let entry = entries.iter().find(|entry| entry["subresource"] == "scale").unwrap();
    assert_eq!(entry.get("time"), None);

    let added = Patch::Strategic(json!({"spec": {"template": {"spec": {"containers": [
        {"name": "app", "env": [{"name": "Z", "value": "1"}]}, {"name": "side", "image": "s:1"},
    ]}}}}));
    let after = api.patch("web", &PatchParams::default(), &added).await.unwrap();
    let names: Vec<String> =
        after.spec.unwrap().template.spec.unwrap().containers.into_iter().map(|one| one.name).collect();
    assert_eq!(names, ["app", "side"]);
}

/// For a simulation: what decides nothing is not kept, and what is applied has its owners.
#[tokio::test]
async fn a_frugal_server_keeps_owners_where_they_decide() {
    let owners = |object: &serde_json::Value| {
        let entries = object["metadata"]["managedFields"].as_array().cloned().unwrap_or_default();
        entries.iter().map(|entry| entry["manager"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    for frugal in [false, true] {
        let server = ApiServer::new(ApiOptions { frugal, ..ApiOptions::default() });
        let deployments: Api<Deployment> = Api::namespaced(server.client(), "default");
        let apply = PatchParams::apply("idp");
        deployments.patch("web", &apply, &Patch::Apply(web(Some(1)))).await.unwrap();
        let status = Patch::Merge(json!({"status": {"replicas": 1}}));
        let params = PatchParams { field_manager: Some("controller".to_owned()), ..PatchParams::default() };
        let told = deployments.patch_status("web", &params, &status).await.unwrap();
        assert_eq!(told.status.clone().unwrap().replicas, Some(1));
        let expected: &[&str] = if frugal { &["idp"] } else { &["idp", "controller"] };
        assert_eq!(owners(&serde_json::to_value(told).unwrap()), expected);
        let refused =
            deployments.patch("web", &PatchParams::apply("other"), &Patch::Apply(web(Some(2)))).await;
        assert_eq!(code(refused).0, 409, "an owner that decides");

        let pods: Api<Pod> = Api::namespaced(server.client(), "default");
        let pod =
            json!({"metadata": {"name": "a"}, "spec": {"containers": [{"name": "app", "image": "i:1"}]}});
        let made = pods.create(&PostParams::default(), &serde_json::from_value(pod).unwrap()).await.unwrap();
        assert_eq!(owners(&serde_json::to_value(made).unwrap()).is_empty(), frugal);
    }
}
