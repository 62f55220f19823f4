//! The parts together: a Deployment whose pods really serve, under load, and the genuine kubectl in front.

use std::{
    collections::BTreeMap,
    io::Write as _,
    process::{Command, Stdio},
    time::Duration,
};

use k8s_openapi::api::{apps::v1::Deployment, core::v1::Service};
use kube::api::{Api, Patch, PatchParams, PostParams};
use serde_json::{Value, json};

use super::*;

fn web(image: &str, replicas: i32) -> Value {
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"},
        "spec": {
            "replicas": replicas, "selector": {"matchLabels": {"app": "web"}},
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}},
            "template": {
                "metadata": {"labels": {"app": "web"}},
                "spec": {"containers": [{
                    "name": "app", "image": image, "ports": [{"name": "http", "containerPort": 8080}],
                    // Long enough for whoever sends load to see that the pod goes.
                    "lifecycle": {"preStop": {"sleep": {"seconds": 20}}},
                    "readinessProbe": {"httpGet": {"path": "/healthz", "port": "http"}, "periodSeconds": 1},
                }]},
            },
        },
    })
}

async fn sandbox(serve_http: bool) -> Sandbox {
    let options = SandboxOptions {
        time_scale: 0.05,
        serve_http,
        crash_after: Duration::from_millis(10),
        ..SandboxOptions::default()
    };
    Sandbox::start(options).await.unwrap()
}

async fn apply(sandbox: &Sandbox, body: &Value) {
    let api: Api<Deployment> = Api::namespaced(sandbox.client(), "default");
    api.patch("web", &PatchParams::apply("idp").force(), &Patch::Apply(body)).await.unwrap();
}

async fn until(sandbox: &Sandbox, holds: impl Fn(&Value) -> bool) -> Value {
    let api: Api<Deployment> = Api::namespaced(sandbox.client(), "default");
    let mut changes = sandbox.server().core().store().subscribe();
    let waiting = async {
        loop {
            changes.mark_unchanged();
            let found = serde_json::to_value(api.get("web").await.unwrap()).unwrap();
            if holds(&found) {
                return found;
            }
            changes.changed().await.unwrap();
        }
    };
    match tokio::time::timeout(Duration::from_secs(20), waiting).await.ok() {
        Some(found) => found,
        None => panic!("not in time: {:#?}", api.get("web").await.unwrap().status),
    }
}

fn settled(deployment: &Value) -> bool {
    let status = &deployment["status"];
    let wanted = &deployment["spec"]["replicas"];
    ["replicas", "updatedReplicas", "availableReplicas"].iter().all(|name| status[name] == *wanted)
        && status["observedGeneration"] == deployment["metadata"]["generation"]
}

async fn service(sandbox: &Sandbox) {
    let body = json!({
        "metadata": {"name": "web"},
        "spec": {"selector": {"app": "web"}, "ports": [{"name": "http", "port": 80, "targetPort": "http"}]},
    });
    let api: Api<Service> = Api::namespaced(sandbox.client(), "default");
    api.create(&PostParams::default(), &serde_json::from_value(body).unwrap()).await.unwrap();
}

#[tokio::test]
async fn a_rolling_update_under_load_loses_nothing() {
    let sandbox = sandbox(false).await;
    for tag in ["v1", "v2"] {
        sandbox.registry().push("shop/web", tag);
    }
    let digest = sandbox.registry().digest_of("shop/web", "v1").unwrap();
    let pinned = format!("{}/shop/web@{digest}", sandbox.registry().address());
    apply(&sandbox, &web(&pinned, 3)).await;
    service(&sandbox).await;
    until(&sandbox, settled).await;

    let load =
        sandbox.load(LoadOptions { rate: 200.0, max_requests: 300, ..LoadOptions::new("default", "web") });
    apply(&sandbox, &web(&sandbox.registry().image("shop/web", "v2"), 3)).await;
    until(&sandbox, settled).await;
    let counts = load.finished().await;
    assert_eq!(counts.total(), 300);
    assert!(counts.pods.len() >= 3, "{counts:?}");
    assert_eq!(counts.failed(), 0, "{counts:?}");
    let answered: BTreeMap<u16, u64> = counts.pods.values().flat_map(|pod| pod.codes.clone()).collect();
    assert!(answered.keys().all(|code| *code == 200));
    sandbox.stop().await;
}

#[tokio::test]
async fn a_broken_image_stops_the_rollout_and_shows_why() {
    let sandbox = sandbox(false).await;
    sandbox.registry().push("shop/web", "v1");
    sandbox.registry().push_as("shop/web", "v2", "crash");
    apply(&sandbox, &web(&sandbox.registry().image("shop/web", "v1"), 2)).await;
    until(&sandbox, settled).await;
    let mut bad = web(&sandbox.registry().image("shop/web", "v2"), 2);
    bad["spec"]["progressDeadlineSeconds"] = json!(20);
    apply(&sandbox, &bad).await;
    let stuck = until(&sandbox, |d| {
        d["status"]["conditions"]
            .as_array()
            .is_some_and(|all| all.iter().any(|one| one["reason"] == "ProgressDeadlineExceeded"))
    })
    .await;
    assert_eq!(stuck["status"]["availableReplicas"], 2, "the old pods still serve");
    sandbox.stop().await;
}

#[tokio::test]
async fn a_service_without_pods_serves_nobody() {
    let sandbox = sandbox(false).await;
    service(&sandbox).await;
    let load = sandbox.load(LoadOptions::new("default", "web"));
    assert_eq!(load.stop().await, LoadCounts::default());
    sandbox.stop().await;
}

/// Runs the genuine kubectl; none where there is none.
fn kubectl(config: &std::path::Path, arguments: &[&str]) -> Option<String> {
    let program = std::env::var_os("KUBECTL").unwrap_or_else(|| "kubectl".into());
    let output = Command::new(program)
        .arg("--kubeconfig")
        .arg(config)
        .arg("--cache-dir")
        .arg(config.with_extension("cache"))
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .ok()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{arguments:?}: {text}{errors}");
    Some(text)
}

fn release_crd() -> Value {
    json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "releases.idp.dev"},
        "spec": {
            "group": "idp.dev", "scope": "Namespaced",
            "names": {"plural": "releases", "kind": "Release", "shortNames": ["rel"]},
            "versions": [{
                "name": "v1alpha1", "served": true, "storage": true, "subresources": {"status": {}},
                "additionalPrinterColumns": [
                    {"name": "Suspended", "type": "boolean", "jsonPath": ".spec.suspend"},
                    {"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"},
                ],
                "schema": {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}},
            }],
        },
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kubectl_gets_scales_patches_and_deletes() {
    let sandbox = sandbox(true).await;
    sandbox.registry().push("shop/web", "v1");
    apply(&sandbox, &web(&sandbox.registry().image("shop/web", "v1"), 1)).await;
    until(&sandbox, settled).await;
    let kind = KindSpec::from_crd(&release_crd()).unwrap();
    let resource = kube::core::ApiResource {
        group: kind.group.clone(),
        version: kind.version.clone(),
        api_version: kind.api_version(),
        kind: kind.kind.clone(),
        plural: kind.plural.clone(),
    };
    sandbox.server().register(kind);
    let releases: Api<kube::core::DynamicObject> =
        Api::namespaced_with(sandbox.client(), "default", &resource);
    let body = json!({"apiVersion": "idp.dev/v1alpha1", "kind": "Release", "metadata": {"name": "web"}, "spec": {"suspend": false}});
    releases.create(&PostParams::default(), &serde_json::from_value(body).unwrap()).await.unwrap();

    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("config");
    std::fs::File::create(&config)
        .unwrap()
        .write_all(sandbox.server().kubeconfig().unwrap().as_bytes())
        .unwrap();
    let run = move |arguments: &[&str]| {
        let (config, arguments) =
            (config.clone(), arguments.iter().map(ToString::to_string).collect::<Vec<_>>());
        tokio::task::spawn_blocking(move || {
            let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
            kubectl(&config, &arguments)
        })
    };
    let Some(table) = run(&["get", "rel", "-A"]).await.unwrap() else {
        eprintln!("kubectl is not on the PATH: this test is skipped");
        return;
    };
    assert!(table.starts_with("NAMESPACE   NAME   SUSPENDED   AGE"), "{table}");
    let patched = run(&["patch", "release", "web", "--type=merge", "-p", r#"{"spec":{"suspend":true}}"#])
        .await
        .unwrap();
    assert_eq!(patched.unwrap().trim(), "release.idp.dev/web patched");
    assert!(run(&["get", "rel", "web"]).await.unwrap().unwrap().contains("true"));
    assert!(run(&["get", "deploy"]).await.unwrap().unwrap().contains("1/1"));
    run(&["scale", "deployment/web", "--replicas=3"]).await.unwrap();
    until(&sandbox, |d| d["spec"]["replicas"] == 3 && settled(d)).await;
    run(&["rollout", "status", "deployment/web", "--timeout=10s"]).await.unwrap();
    let patch =
        r#"{"spec":{"template":{"spec":{"containers":[{"name":"app","env":[{"name":"A","value":"1"}]}]}}}}"#;
    run(&["patch", "deployment", "web", "-p", patch]).await.unwrap();
    until(&sandbox, settled).await;
    run(&["delete", "rel", "web"]).await.unwrap();
    run(&["delete", "deployment", "web", "--timeout=10s"]).await.unwrap();
    assert!(releases.get_opt("web").await.unwrap().is_none());
    sandbox.stop().await;
}
