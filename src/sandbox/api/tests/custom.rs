//! Custom resources: declared, stored, printed.

use http::Request;
use kube::{
    Client,
    api::{Api, DynamicObject, Patch, PatchParams, PostParams},
    core::{ApiResource, GroupVersionKind},
};
use serde_json::{Value, json};

use super::basics::{code, server};

fn crd() -> Value {
    json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "releases.idp.dev"},
        "spec": {
            "group": "idp.dev", "scope": "Namespaced",
            "names": {"plural": "releases", "kind": "Release", "shortNames": ["rel"]},
            "versions": [{
                "name": "v1alpha1", "served": true, "storage": true, "subresources": {"status": {}},
                "additionalPrinterColumns": [{"name": "Phase", "type": "string", "jsonPath": ".status.phase"}],
                "schema": {"openAPIV3Schema": {"type": "object", "properties": {
                    "spec": {"type": "object", "properties": {
                        "suspend": {"type": "boolean", "default": false},
                        "commands": {"type": "object", "additionalProperties": {
                            "type": "object", "x-kubernetes-preserve-unknown-fields": true,
                        }},
                    }},
                    "status": {"type": "object", "x-kubernetes-preserve-unknown-fields": true},
                }}},
            }],
        },
    })
}

fn resource(group: &str, version: &str, kind: &str, plural: &str) -> ApiResource {
    ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk(group, version, kind), plural)
}

async fn with_releases() -> (super::super::ApiServer, Api<DynamicObject>) {
    let server = server();
    let crds: Api<DynamicObject> = Api::all_with(
        server.client(),
        &resource("apiextensions.k8s.io", "v1", "CustomResourceDefinition", "customresourcedefinitions"),
    );
    let made = crds.create(&PostParams::default(), &serde_json::from_value(crd()).unwrap()).await.unwrap();
    let conditions = made.data["status"]["conditions"].as_array().unwrap().clone();
    assert!(conditions.iter().any(|one| one["type"] == "Established" && one["status"] == "True"));
    let releases = Api::namespaced_with(
        server.client(),
        "default",
        &resource("idp.dev", "v1alpha1", "Release", "releases"),
    );
    (server, releases)
}

fn release(spec: &Value) -> DynamicObject {
    let body = json!({
        "apiVersion": "idp.dev/v1alpha1", "kind": "Release", "metadata": {"name": "web"}, "spec": spec,
        "status": {"phase": "Sneaked"},
    });
    serde_json::from_value(body).unwrap()
}

pub(super) async fn raw(client: &Client, path: &str, accept: &str) -> Value {
    let request = Request::get(path).header("accept", accept).body(Vec::new()).unwrap();
    serde_json::from_str(&client.request_text(request).await.unwrap()).unwrap()
}

#[tokio::test]
async fn a_custom_resource_is_pruned_defaulted_and_checked() {
    let (_server, api) = with_releases().await;
    let made = api.create(&PostParams::default(), &release(&json!({"foo": 1}))).await.unwrap();
    assert_eq!(made.data["spec"], json!({"suspend": false}));
    assert_eq!(made.data.get("status"), None);
    assert_eq!(made.metadata.generation, Some(1));
    let bad = Patch::Merge(json!({"spec": {"suspend": "yes"}}));
    assert!(matches!(code(api.patch("web", &PatchParams::default(), &bad).await).0, 400 | 422));
}

#[tokio::test]
async fn the_record_is_written_by_compare_and_swap() {
    let (_server, api) = with_releases().await;
    let made = api.create(&PostParams::default(), &release(&json!({}))).await.unwrap();
    let version = made.metadata.resource_version;
    let swap = |version: &Option<String>| {
        Patch::Merge(json!({
            "metadata": {"resourceVersion": version}, "status": {"schema": 1, "phase": "Preparing", "later": {"x": 1}},
        }))
    };
    let after = api.patch_status("web", &PatchParams::default(), &swap(&version)).await.unwrap();
    assert_eq!(after.data["status"]["later"]["x"], 1);
    assert_eq!(after.metadata.generation, Some(1));
    assert_eq!(code(api.patch_status("web", &PatchParams::default(), &swap(&version)).await).0, 409);
}

#[tokio::test]
async fn kubectl_gets_a_table() {
    let (server, api) = with_releases().await;
    api.create(&PostParams::default(), &release(&json!({}))).await.unwrap();
    api.patch_status("web", &PatchParams::default(), &Patch::Merge(json!({"status": {"phase": "Stable"}})))
        .await
        .unwrap();
    let accept = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json";
    let table = raw(&server.client(), "/apis/idp.dev/v1alpha1/namespaces/default/releases", accept).await;
    assert_eq!(table["kind"], "Table");
    assert_eq!(table["rows"][0]["cells"], json!(["web", "Stable"]));
    let names: Vec<&str> =
        table["columnDefinitions"].as_array().unwrap().iter().map(|c| c["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["Name", "Phase"]);
}

#[tokio::test]
async fn discovery_lists_what_was_declared() {
    let (server, _) = with_releases().await;
    let client = server.client();
    let list = raw(&client, "/apis/idp.dev/v1alpha1", "application/json").await;
    assert_eq!(list["resources"][0]["shortNames"], json!(["rel"]));
    assert_eq!(list["resources"][1]["name"], "releases/status");
    let groups = client.list_api_groups().await.unwrap();
    assert!(groups.groups.iter().any(|group| group.name == "idp.dev"));
}
