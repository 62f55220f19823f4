//! The verbs against an in-process API server.

use std::time::Duration;

use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Pod, Service};
use kube::api::{Api, DynamicObject, ListParams, Patch, PatchParams, PostParams};
use kube::{Client, Config};
use serde_json::{Value, json};

use super::command::Ask;
use super::connect::Scope;
use super::fixtures as at;
use super::output::Format;
use super::*;
use crate::model::command::Verb;
use crate::model::record::Health;
use crate::sandbox::api::{self, ApiOptions, ApiServer, Fault, KindSpec};

const PATIENCE: Duration = Duration::from_secs(10);

async fn namespace(client: &Client, name: &str) {
    let namespace: Namespace = serde_json::from_value(json!({"metadata": {"name": name}})).unwrap();
    Api::all(client.clone()).create(&PostParams::default(), &namespace).await.unwrap();
}

/// A server with the namespaces `web` and `idp-system` and the kind Release.
async fn cluster() -> (ApiServer, Client) {
    let server = ApiServer::new(ApiOptions::default());
    let mut kind = KindSpec::free_form("idp.dev", "v1alpha1", "Release", "releases");
    (kind.namespaced, kind.status) = (true, true);
    server.register(kind);
    let client = server.client();
    namespace(&client, "web").await;
    namespace(&client, "idp-system").await;
    (server, client)
}

/// Looks everywhere.
fn scope(client: &Client) -> Scope {
    Scope { client: client.clone(), namespace: None }
}

async fn put(client: &Client, service: &str, environment: &str, status: Value) {
    let api = connect::releases_in(client, "web");
    let object: DynamicObject = serde_json::from_value(json!({
        "apiVersion": "idp.dev/v1alpha1", "kind": "Release",
        "metadata": {"name": service, "labels": {"idp.dev/environment": environment}}, "spec": {}
    }))
    .unwrap();
    api.create(&PostParams::default(), &object).await.unwrap();
    set(client, service, status).await;
}

async fn set(client: &Client, service: &str, status: Value) {
    let patch = Patch::Merge(json!({ "status": status }));
    connect::releases_in(client, "web").patch_status(service, &PatchParams::default(), &patch).await.unwrap();
}

/// Answers the first command as the daemon would; returns it.
async fn answer(client: Client, service: &'static str, accepted: bool) -> Value {
    let api = connect::releases_in(&client, "web");
    loop {
        let object = api.get(service).await.unwrap();
        let commands = object.data.pointer("/spec/commands").and_then(Value::as_object).cloned();
        if let Some((id, command)) = commands.into_iter().flatten().next() {
            let result =
                json!({"accepted": accepted, "message": "as told", "who": command["who"], "at": at::noon()});
            set(&client, service, json!({"commands": {id: result}})).await;
            return command;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

fn quiet() -> Output {
    Output { format: Format::Json, colour: false, width: 100, live: false }
}

#[tokio::test]
async fn a_command_carries_its_giver_and_waits_for_the_answer() {
    for (verb, accepted) in [(Verb::Abort, true), (Verb::Retry, false)] {
        let (server, client) = cluster().await;
        server.set_user("ann@example.com", &[]);
        put(&client, "hello", "production", at::watched()).await;
        let daemon = tokio::spawn(answer(client.clone(), "hello", accepted));
        let answered =
            command::give(&scope(&client), "hello.production", &Ask::new(verb, "too\nslow"), PATIENCE)
                .await
                .unwrap();
        assert_eq!((answered.result.accepted, answered.verb), (accepted, verb));
        let command = daemon.await.unwrap();
        assert_eq!((&command["who"], &command["why"]), (&json!("ann@example.com"), &json!("too slow")));
        assert_eq!(command["verb"], json!(verb.name()));
        let meant = if verb == Verb::Abort { json!(7) } else { Value::Null };
        assert_eq!(command.get("rollout").cloned().unwrap_or_default(), meant, "what the person looked at");
        let writes = server.requests().into_iter().filter(|r| r.mutating && r.field_manager == "idp-cli");
        assert_eq!(writes.count(), 1);
    }
}

#[tokio::test]
async fn a_daemon_that_does_not_answer_is_told_from_a_refusal() {
    let (_server, client) = cluster().await;
    put(&client, "hello", "production", at::watched()).await;
    let ask = Ask::new(Verb::Abort, "");
    let error = command::give(&scope(&client), "hello", &ask, Duration::from_millis(20)).await.unwrap_err();
    assert_eq!(error.exit(), Exit::Unreachable);
    let report = error.report();
    assert!(report.contains("the daemon did not answer within 20ms"), "{report}");
}

#[tokio::test]
async fn releases_are_found_by_what_people_type() {
    let (_server, client) = cluster().await;
    put(&client, "hello", "production", at::stable()).await;
    put(&client, "broken", "production", json!({"schema": 1, "phase": 7})).await;
    namespace(&client, "web-staging").await;
    let all = connect::releases(&scope(&client), ListParams::default()).await.unwrap();
    let rows: Vec<_> = all.iter().map(|view| view.row(at::noon())).collect();
    let names: Vec<_> = rows.iter().map(|row| row.release.as_str()).collect();
    assert_eq!(names, ["broken.production", "hello.production"]);
    assert!(rows[0].message.starts_with("its record cannot be read"), "{}", rows[0].message);
    for asked in ["hello", "hello.production"] {
        assert_eq!(connect::find(&scope(&client), asked).await.unwrap().release, "hello.production");
    }
    let missing = connect::find(&scope(&client), "hello.staging").await.unwrap_err();
    assert_eq!(missing.exit(), Exit::Usage);
    assert!(
        missing.report().contains("there are: broken.production, hello.production"),
        "{}",
        missing.report()
    );
    let other: DynamicObject = serde_json::from_value(json!({
        "apiVersion": "idp.dev/v1alpha1", "kind": "Release",
        "metadata": {"name": "hello", "labels": {"idp.dev/environment": "staging"}}, "spec": {}
    }))
    .unwrap();
    connect::releases_in(&client, "web-staging").create(&PostParams::default(), &other).await.unwrap();
    let error = connect::find(&scope(&client), "hello").await.unwrap_err();
    assert!(matches!(&error, CliError::Ambiguous { found, .. } if found.len() == 2), "{error}");
    let staging = Scope { namespace: Some("web-staging".to_owned()), ..scope(&client) };
    assert_eq!(connect::find(&staging, "hello").await.unwrap().release, "hello.staging");
    assert_eq!(connect::find(&scope(&client), "Hello").await.unwrap_err().exit(), Exit::Usage);
}

#[tokio::test]
async fn one_release_is_shown_with_its_objects_pods_and_sources() {
    let (_server, client) = cluster().await;
    let mut status = at::stable();
    let owned = |role: &str| json!({"role": role, "hash": "h", "ownership": {"owned": {"uid": "u"}}});
    status["inventory"] =
        json!({"v1:Service:web:hello": owned("shared"), "v1:ConfigMap:web:gone": owned("config")});
    put(&client, "hello", "production", status).await;
    let service: Service = serde_json::from_value(
        json!({"metadata": {"name": "hello"}, "spec": {"ports": [{"port": 80}], "selector": {"a": "b"}}}),
    )
    .unwrap();
    Api::namespaced(client.clone(), "web").create(&PostParams::default(), &service).await.unwrap();
    let labels = json!({"idp.dev/release": "hello.production", "idp.dev/track": "stable"});
    let pod: Pod = serde_json::from_value(
        json!({"metadata": {"name": "hello-1", "labels": labels}, "spec": {"containers": [{"name": "a", "image": "b"}]}}),
    )
    .unwrap();
    Api::namespaced(client.clone(), "web").create(&PostParams::default(), &pod).await.unwrap();
    let view = connect::find(&scope(&client), "hello").await.unwrap();
    let parts = screen::parts(&client, &view).await;
    let healths: Vec<_> =
        parts.objects.iter().map(|line| (line.name.as_str(), line.assessment.health)).collect();
    assert_eq!(healths, [("gone", Health::Missing), ("hello", Health::Healthy)]);
    assert_eq!((parts.pods[0].ready, parts.pods[0].all), (0, 1));
    let map: ConfigMap = serde_json::from_value(
        json!({"metadata": {"name": "idp-source-shop"}, "data": {"status": "{\"error\": \"no such ref\"}"}}),
    )
    .unwrap();
    Api::namespaced(client.clone(), "idp-system").create(&PostParams::default(), &map).await.unwrap();
    let (sources, note) = sources::all(&client, "idp-system").await;
    assert_eq!((sources[0].error.as_deref(), note), (Some("no such ref"), None));
    assert_eq!(sources::all(&client, "elsewhere").await, (vec![], None));
}

#[tokio::test]
async fn a_watch_ends_with_its_rollout() {
    let (server, client) = cluster().await;
    put(&client, "hello", "production", at::watched()).await;
    let story = async {
        // The rollout goes on only when somebody watches.
        while !server.requests().iter().any(|request| request.verb == api::Verb::Watch) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        set(&client, "hello", at::going_back()).await;
        let mut ended = at::not_again("held", 1, None);
        // A merge patch removes nothing that it does not name.
        ended["rollout"] = Value::Null;
        set(&client, "hello", ended).await;
    };
    let output = quiet();
    let options = watch::Options { timeout: Some(PATIENCE), ..watch::Options::default() };
    let everywhere = scope(&client);
    let (exit, ()) = tokio::join!(watch::run(&everywhere, &output, "hello", options), story);
    assert_eq!(exit.unwrap(), Exit::Bad);
    put(&client, "slow", "production", at::watched()).await;
    let options = watch::Options { timeout: Some(Duration::from_millis(20)), ..options };
    assert_eq!(watch::run(&scope(&client), &quiet(), "slow", options).await.unwrap(), Exit::Timeout);
}

#[tokio::test]
async fn a_watch_that_stays_broken_is_a_lost_cluster() {
    let (server, client) = cluster().await;
    put(&client, "hello", "production", at::watched()).await;
    server.inject(|request| {
        let down =
            Fault::Status { code: 503, reason: "Down".into(), message: "no".into(), retry_after: None };
        (request.verb == api::Verb::Watch).then_some(down)
    });
    let options = watch::Options {
        timeout: Some(PATIENCE),
        broken: Duration::from_millis(20),
        ..watch::Options::default()
    };
    let error = watch::run(&scope(&client), &quiet(), "hello", options).await.unwrap_err();
    assert_eq!(error.exit(), Exit::Unreachable);
}

#[tokio::test]
async fn what_keeps_us_from_the_cluster_is_said() {
    let (server, client) = cluster().await;
    server.inject(|request| {
        (request.namespace != "web").then_some(Fault::Status {
            code: 403,
            reason: "Forbidden".into(),
            message: "no".into(),
            retry_after: None,
        })
    });
    let error = connect::find(&scope(&client), "hello").await.unwrap_err();
    assert_eq!(error.exit(), Exit::Unreachable);
    assert!(error.report().contains("ask for a role"), "{}", error.report());
    // Who may not look everywhere looks where they may.
    assert!(error.report().contains("--namespace"), "{}", error.report());
    let web = Scope { namespace: Some("web".to_owned()), ..scope(&client) };
    let known = connect::find(&web, "hello").await.unwrap_err();
    assert_eq!(known.exit(), Exit::Usage, "it is not there, and that could be seen");
    let nowhere = Client::try_from(Config::new("http://127.0.0.1:1".parse().unwrap())).unwrap();
    let error = connect::find(&scope(&nowhere), "hello").await.unwrap_err();
    assert_eq!(error.exit(), Exit::Unreachable);
    assert!(error.report().contains("check that the cluster is reachable"), "{}", error.report());
}
