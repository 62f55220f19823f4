//! Faults, the log of requests, reviews, and the server over real HTTP.

use std::time::Duration;

use k8s_openapi::api::{
    authentication::v1::SelfSubjectReview,
    core::v1::{ConfigMap, Namespace},
};
use kube::{
    Client, Config,
    api::{Api, ListParams, PostParams},
};
use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::{
    super::{Fault, Verb},
    basics::{code, server},
};

fn map(name: &str) -> ConfigMap {
    serde_json::from_value(json!({"metadata": {"name": name}})).unwrap()
}

#[tokio::test]
async fn a_fault_comes_before_or_after_the_effect() {
    let server = server();
    let api: Api<ConfigMap> = Api::namespaced(server.client_as("idpd/1"), "default");
    for fault in [403, 409, 429, 500] {
        server.inject(move |request| (request.verb == Verb::Create).then(|| Fault::status(fault)));
        assert_eq!(code(api.create(&PostParams::default(), &map("a")).await).0, fault);
    }
    server.inject(|request| (request.verb == Verb::Create).then_some(Fault::Drop));
    assert!(api.create(&PostParams::default(), &map("a")).await.is_err());
    assert!(api.get_opt("a").await.unwrap().is_none());
    server.inject(|request| {
        (request.name == "a" && request.verb.is_mutating()).then_some(Fault::ApplyThenDrop)
    });
    assert!(api.create(&PostParams::default(), &map("a")).await.is_err());
    assert!(api.get_opt("a").await.unwrap().is_some());

    let writes: Vec<u16> = server.requests().iter().filter(|one| one.mutating).map(|one| one.code).collect();
    assert_eq!(writes, [403, 409, 429, 500, 0, 0]);
    assert!(server.requests().iter().all(|one| one.user_agent == "idpd/1" && one.kind == "ConfigMap"));
}

#[tokio::test]
async fn a_kill_point_fires_and_never_answers() {
    let server = server();
    let api: Api<ConfigMap> = Api::namespaced(server.client(), "default");
    let token = CancellationToken::new();
    let killed = token.clone();
    server.inject(move |request| {
        let fault = Fault::Kill { token: killed.clone(), after_effect: true };
        (request.verb == Verb::Create).then_some(fault)
    });
    let body = map("a");
    let params = PostParams::default();
    tokio::select! {
        () = token.cancelled() => {}
        answer = api.create(&params, &body) => panic!("{answer:?}"),
    }
    assert!(api.get_opt("a").await.unwrap().is_some());
}

#[tokio::test]
async fn a_review_names_the_configured_user() {
    let server = server();
    server.set_user("mara", &["platform"]);
    let api: Api<SelfSubjectReview> = Api::all(server.client());
    let answer = api.create(&PostParams::default(), &SelfSubjectReview::default()).await.unwrap();
    assert_eq!(answer.status.unwrap().user_info.unwrap().username.as_deref(), Some("mara"));
}

#[tokio::test]
async fn it_is_served_over_http_too() {
    let server = server();
    server.serve().await.unwrap();
    let config = Config::new(server.url().unwrap().parse().unwrap());
    let client = Client::try_from(config).unwrap();
    let namespaces: Api<Namespace> = Api::all(client.clone());
    assert_eq!(namespaces.list(&ListParams::default()).await.unwrap().items.len(), 2);
    assert_eq!(client.apiserver_version().await.unwrap().minor, "36");
    assert!(server.kubeconfig().unwrap().contains("127.0.0.1"));
    tokio::time::timeout(Duration::from_secs(5), server.stop()).await.unwrap();
}

#[tokio::test]
async fn one_seed_gives_the_same_names_twice() {
    let mut uids = Vec::new();
    for _ in 0..2 {
        let server = server();
        let api: Api<ConfigMap> = Api::namespaced(server.client(), "default");
        uids.push(api.create(&PostParams::default(), &map("a")).await.unwrap().metadata.uid);
    }
    assert_eq!(uids[0], uids[1]);
}
