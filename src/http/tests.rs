//! The routes through the router, and the limits that need a connection through a real one.

use std::sync::Mutex;

use axum::body::Body;
use axum::http::Request;
use hmac::{Hmac, Mac};
use http_body_util::BodyExt;
use sha2::Sha256;
use tower::ServiceExt;

use super::*;
use crate::config;
use crate::model::pull::Action;
use crate::model::suspension::SuspensionAsked;
use crate::source::webhook::News;
use crate::source::{Hints, Trigger};

pub(super) const PUSH: &str = r#"{"ref":"refs/heads/main"}"#;

pub(super) struct Server {
    pub(super) state: HttpState,
    seen: Arc<Mutex<Vec<HookSeen>>>,
    hints: Hints,
    suspensions: Suspensions,
    kept: Arc<Kept>,
    ready: watch::Sender<Readiness>,
    _dir: tempfile::TempDir,
}

/// The cluster as the door knows it: what was kept in it, and why nothing can be now.
#[derive(Default)]
struct Kept {
    pulls: Mutex<Vec<(u64, Action)>>,
    away: Mutex<Option<String>>,
}

pub(super) fn server() -> Server {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("old"), "before\n").unwrap();
    std::fs::write(dir.path().join("new"), "after\n").unwrap();
    let text = "cluster: {in_cluster: true}
environments: [{name: production, namespace: p}, {name: staging, namespace: s, branch: develop}]
sources:
- {name: hub, url: /r, webhook: {forge: github, secret_file: new, second_secret_file: old, max_body: 1KiB}}
- {name: tea, url: /r, webhook: {forge: gitea, secret_file: new}}
- {name: lost, url: /r, webhook: {forge: gitea, secret_file: gone}}
- {name: lab, url: /r, webhook: {forge: gitlab, secret_file: new}}
- {name: build, url: /r, webhook: {forge: cdevents, secret_file: new}}
- {name: any, url: /r, webhook: {forge: generic, secret_file: new, signature_header: x-proof}}
- {name: none, url: /r}
";
    let config = config::parse(text, dir.path()).unwrap();
    let hints = Hints::new(config.sources.keys().cloned());
    let seen = Arc::new(Mutex::new(Vec::new()));
    let (ready, receiver) = watch::channel(Readiness::NotReady("no leader yet".to_owned()));
    let on_hook = {
        let seen = seen.clone();
        Arc::new(move |hook: &HookSeen| seen.lock().unwrap().push(hook.clone()))
    };
    let suspensions = Suspensions::new(config.sources.values());
    let hooks = Arc::new(Hooks::new(&config, &hints, &suspensions));
    let kept: Arc<Kept> = Arc::default();
    let (keeper, reader) = (kept.clone(), kept.clone());
    let keep: KeepPull = Arc::new(move |_, pull, _| {
        let answer = keeper.away.lock().unwrap().clone().map_or(Ok(()), Err);
        if answer.is_ok() {
            keeper.pulls.lock().unwrap().push((pull.number, pull.action));
        }
        Box::pin(async { answer })
    });
    let pulls: PullsNow = Arc::new(move |_| {
        let answer = reader.away.lock().unwrap().clone().map_or(Ok(Pulls::default()), Err);
        Box::pin(async { answer })
    });
    let sources: SourcesNow = Arc::new(|| {
        let seen = |name: &str| sources::SourceSeen {
            up: Some(true),
            ..sources::SourceSeen::new(name.parse().unwrap())
        };
        vec![seen("none"), seen("tea")]
    });
    let metrics = Arc::new(|| "idp_leader 1\n".to_owned());
    let releases: releases::Releases = Arc::new(|token, release, ask| {
        Box::pin(async move {
            match token.as_str() {
                "ann" => Ok(serde_json::json!({"release": release, "ask": format!("{ask:?}")})),
                "eve" => Err(releases::Denied::Forbidden("eve may not".to_owned())),
                _ => Err(releases::Denied::Nobody),
            }
        })
    });
    let ways =
        Ways { hints: hints.clone(), suspensions: suspensions.clone(), sources, keep, pulls, releases };
    let state = HttpState::new(hooks, ways, metrics, receiver, on_hook);
    Server { state, seen, hints, suspensions, kept, ready, _dir: dir }
}

fn sign(secret: &str, body: &str) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).unwrap();
    mac.update(body.as_bytes());
    hex::encode(mac.finalize().into_bytes())
}

pub(super) fn github(event: &str, delivery: &str, secret: &str, body: &str) -> Request<Body> {
    Request::post("/hooks/hub")
        .header("x-github-event", event)
        .header("x-github-delivery", delivery)
        .header("x-hub-signature-256", format!("sha256={}", sign(secret, body)))
        .header("content-length", body.len())
        .body(Body::from(body.to_owned()))
        .unwrap()
}

impl Server {
    pub(super) async fn send(&self, request: Request<Body>) -> (u16, String, http::HeaderMap) {
        let response = router(self.state.clone()).oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        (parts.status.as_u16(), String::from_utf8_lossy(&body).into_owned(), parts.headers)
    }

    pub(super) fn outcome(&self) -> HookOutcome {
        self.seen.lock().unwrap().last().unwrap().outcome.clone()
    }

    fn hinted(&self, source: &str) -> bool {
        let hint = self.hints.get(&source.parse().unwrap()).unwrap();
        let wait = hint.wait();
        futures::FutureExt::now_or_never(wait) == Some(Trigger::Webhook)
    }
}

#[tokio::test]
async fn a_signed_push_is_a_hint_once() {
    let server = server();
    assert_eq!(server.send(github("push", "1", "after", PUSH)).await.0, 202);
    assert_eq!(server.outcome(), HookOutcome::Accepted(News::Commit));
    assert!(server.hinted("hub"));
    assert_eq!(server.send(github("push", "1", "after", PUSH)).await.0, 202);
    assert_eq!(server.outcome(), HookOutcome::Duplicate);
    assert!(!server.hinted("hub"));
    assert_eq!(server.send(github("push", "2", "before", PUSH)).await.0, 202);
    assert!(server.hinted("hub"), "the second secret counts as well");
    assert_eq!(server.send(github("push", "3", "after", &PUSH.replace("main", "develop"))).await.0, 202);
    let source = server.seen.lock().unwrap().last().unwrap().source.clone().unwrap();
    assert_eq!((source.0.as_str(), source.1), ("hub", Forge::GitHub));
}

#[tokio::test]
async fn what_is_proven_and_does_not_matter_is_a_success() {
    let server = server();
    for (event, body) in [
        ("ping", "{}"),
        ("issues", "{}"),
        ("push", r#"{"ref":"refs/heads/other"}"#),
        ("push", r#"{"ref":"refs/tags/main"}"#),
        (
            "pull_request",
            r#"{"action":"closed","number":7,"pull_request":{"merged":false,"base":{"ref":"main"}}}"#,
        ),
    ] {
        assert_eq!(server.send(github(event, "1", "after", body)).await.0, 200, "{event}");
        assert_eq!(server.outcome(), HookOutcome::Irrelevant);
        assert!(!server.hinted("hub"));
    }
    let merged = r#"{"action":"closed","number":7,"pull_request":{"merged":true,"base":{"ref":"main"}}}"#;
    assert_eq!(server.send(github("pull_request", "1", "after", merged)).await.0, 202);
    assert!(server.hinted("hub"));
}

#[tokio::test]
async fn what_is_not_proven_is_401_and_no_hint() {
    let server = server();
    let mut requests = vec![github("push", "1", "wrong", PUSH), github("push", "1", "", PUSH)];
    let mut bare = github("push", "1", "after", PUSH);
    bare.headers_mut().remove("x-hub-signature-256");
    requests.push(bare);
    let mut other_forge = github("push", "1", "after", PUSH);
    *other_forge.uri_mut() = "/hooks/tea".parse().unwrap();
    requests.push(other_forge);
    for request in requests {
        assert_eq!(server.send(request).await.0, 401);
        assert_eq!(server.outcome().name(), "unproven");
    }
    assert!(!server.hinted("hub") && !server.hinted("tea"));
    for path in ["/hooks/none", "/hooks/nobody", "/hooks/NOT%20A%20NAME"] {
        let request = Request::post(path).body(Body::from(PUSH)).unwrap();
        assert_eq!(server.send(request).await.0, 404, "{path}");
        assert_eq!(server.seen.lock().unwrap().last().unwrap().source, None);
    }
    // Who signs is trusted, and would only switch the hook off after some failures.
    assert_eq!(server.send(github("push", "1", "after", "not json")).await.0, 200);
    assert_eq!(server.outcome().name(), "malformed");
}

#[tokio::test]
async fn what_no_ref_can_tell_is_kept_before_the_answer_or_has_to_come_again() {
    let server = server();
    let body = |action: &str, merged: bool| {
        format!(
            r#"{{"action":"{action}","number":7,"pull_request":{{"merged":{merged},"base":{{"ref":"main"}}}}}}"#
        )
    };
    *server.kept.away.lock().unwrap() = Some("the API server is not available".to_owned());
    for (delivery, action, merged) in [("1", "closed", true), ("2", "closed", false), ("3", "labeled", false)]
    {
        let (status, _, headers) =
            server.send(github("pull_request", delivery, "after", &body(action, merged))).await;
        assert_eq!((status, headers["retry-after"].as_bytes()), (503, &b"5"[..]), "{action}");
        assert_eq!(server.outcome().name(), "not_kept");
        assert_eq!(server.hinted("hub"), merged, "a look at what was merged costs nothing");
    }
    assert_eq!(server.send(github("push", "4", "after", PUSH)).await.0, 202, "a push has nothing to keep");
    assert!(server.hinted("hub"));
    let log = server.state.hooks.log(None, 10);
    assert!(log.refused.is_empty(), "each has a row: {log:?}");
    let why = &log.deliveries[1].why;
    assert!(why.contains("pull request 7 into main: labeled") && why.contains("not available"), "{why}");

    *server.kept.away.lock().unwrap() = None;
    assert_eq!(server.send(github("pull_request", "1", "after", &body("closed", true))).await.0, 202);
    assert_eq!(server.outcome(), HookOutcome::Accepted(News::Commit), "it was not remembered");
    assert_eq!(server.send(github("pull_request", "2", "after", &body("closed", false))).await.0, 200);
    assert_eq!(*server.kept.pulls.lock().unwrap(), [(7, Action::Merged), (7, Action::Closed)]);
}

#[tokio::test]
async fn the_webhooks_of_a_suspended_source_are_recorded_and_make_nobody_look() {
    let server = server();
    let hub = "hub".parse().unwrap();
    let asked = |suspended| SuspensionAsked {
        suspended,
        who: "ann".to_owned(),
        why: "audit".to_owned(),
        at: jiff::Timestamp::UNIX_EPOCH,
    };
    server.suspensions.note(&hub, Some(&asked(true)));
    let closed = r#"{"action":"closed","number":7,"pull_request":{"merged":true,"base":{"ref":"main"}}}"#;
    for (event, body) in [("push", PUSH), ("pull_request", closed)] {
        assert_eq!(server.send(github(event, "1", "after", body)).await.0, 200);
        assert_eq!(server.outcome(), HookOutcome::Suspended);
        assert!(!server.hinted("hub"));
    }
    assert_eq!(*server.kept.pulls.lock().unwrap(), [(7, Action::Merged)]);
    let row = server.state.hooks.log(None, 1).deliveries.remove(0);
    assert_eq!(row.outcome, "suspended");
    assert!(row.why.ends_with("suspended by ann: audit; idp sources resume hub resumes it"), "{}", row.why);
    let mut look = from("127.0.0.1:1", "/api/v1/sources/hub/look");
    *look.method_mut() = axum::http::Method::POST;
    let (status, text, _) = server.send(look).await;
    assert!(status == 409 && text.starts_with("hub is suspended by ann"), "{status} {text}");

    server.suspensions.note(&hub, Some(&asked(false)));
    assert_eq!(server.send(github("push", "1", "after", PUSH)).await.0, 202);
    assert!(server.hinted("hub"), "it was not remembered");
}

#[tokio::test]
async fn pull_requests_are_shown_to_this_machine_only() {
    let server = server();
    let path = "/api/v1/sources/hub/pulls";
    let (status, text, _) = server.send(from("127.0.0.1:1", path)).await;
    assert_eq!((status, text.as_str()), (200, r#"{"schema":1,"pulls":{}}"#));
    assert_eq!(server.send(from("192.0.2.1:1", path)).await.0, 404);
    assert_eq!(server.send(from("127.0.0.1:1", "/api/v1/sources/nobody/pulls")).await.0, 404);
    *server.kept.away.lock().unwrap() = Some("gone".to_owned());
    assert_eq!(server.send(from("127.0.0.1:1", path)).await.0, 503);
}

#[tokio::test]
async fn gitea_proves_itself_by_its_own_header() {
    let server = server();
    for (prefix, source) in [("x-gitea", "tea"), ("x-forgejo", "tea")] {
        let request = Request::post(format!("/hooks/{source}"))
            .header(format!("{prefix}-event"), "push")
            .header(format!("{prefix}-signature"), sign("after", PUSH))
            .body(Body::from(PUSH))
            .unwrap();
        assert_eq!(server.send(request).await.0, 202, "{prefix}");
        assert!(server.hinted("tea"));
    }
    let request =
        Request::post("/hooks/lost").header("x-gitea-signature", "00").body(Body::from(PUSH)).unwrap();
    let (status, _, headers) = server.send(request).await;
    assert_eq!((status, headers["retry-after"].as_bytes()), (503, &b"5"[..]));
}

#[tokio::test]
async fn who_else_can_prove_itself_is_heard() {
    let server = server();
    let post = |source: &str, pairs: &[(&str, &str)], body: &str| {
        let request = Request::post(format!("/hooks/{source}"));
        let request = pairs.iter().fold(request, |request, (name, value)| request.header(*name, *value));
        request.body(Body::from(body.to_owned())).unwrap()
    };
    let gitlab = |token: &str, id: &str, branch: &str| {
        let body = format!(r#"{{"ref":"refs/heads/{branch}"}}"#);
        let pairs = [("x-gitlab-event", "Push Hook"), ("x-gitlab-token", token), ("x-gitlab-event-uuid", id)];
        post("lab", &pairs, &body)
    };
    assert_eq!(server.send(gitlab("after", "1", "main")).await.0, 202);
    assert!(server.hinted("lab"));
    assert_eq!(server.send(gitlab("after", "1", "develop")).await.0, 202);
    assert!(server.hinted("lab"), "one id for two branches that were pushed together");
    assert_eq!(server.send(gitlab("after", "1", "main")).await.0, 202);
    assert!(!server.hinted("lab"));
    assert_eq!(server.send(gitlab("before", "2", "main")).await.0, 401);

    let signature = sign("after", "anything");
    assert_eq!(server.send(post("any", &[("x-proof", &signature)], "anything")).await.0, 202);
    assert!(server.hinted("any"));
    assert_eq!(server.send(post("any", &[("x-proof", &signature)], "something")).await.0, 401);

    let event = r#"{"context":{"id":"1","source":"/b","type":"dev.cdevents.artifact.published.0.3.0"},"subject":{"id":"pkg:oci/web"}}"#;
    let signed = |id: &str, now: i64| {
        let mut mac = Hmac::<Sha256>::new_from_slice(b"after").unwrap();
        mac.update(format!("{id}.{now}.{event}").as_bytes());
        let signature =
            base64::Engine::encode(&base64::prelude::BASE64_STANDARD, mac.finalize().into_bytes());
        let (now, signature) = (now.to_string(), format!("v1,{signature}"));
        post(
            "build",
            &[("webhook-id", id), ("webhook-timestamp", &now), ("webhook-signature", &signature)],
            event,
        )
    };
    #[allow(clippy::disallowed_methods)] // The server reads the same clock.
    let now = jiff::Timestamp::now().as_second();
    assert_eq!(server.send(signed("a", now)).await.0, 202);
    assert_eq!(server.outcome(), HookOutcome::Accepted(News::Artifact("pkg:oci/web".to_owned())));
    assert!(server.hinted("build"));
    assert_eq!(server.send(signed("b", now)).await.0, 202);
    assert_eq!(server.outcome(), HookOutcome::Duplicate, "the event's id counts, not the request's");
    assert_eq!(server.send(signed("c", now - 1000)).await.0, 401);
}

#[tokio::test]
async fn metrics_and_health_are_answered() {
    let server = server();
    let get = |path: &str| Request::get(path).body(Body::empty()).unwrap();
    let (status, text, headers) = server.send(get("/metrics")).await;
    assert_eq!((status, text.as_str()), (200, "idp_leader 1\n"));
    assert!(headers["content-type"].to_str().unwrap().starts_with("text/plain; version=0.0.4"));
    assert_eq!(server.send(get("/healthz")).await.0, 200);
    let (status, text, _) = server.send(get("/readyz")).await;
    assert_eq!((status, text.as_str()), (503, "no leader yet\n"));
    server.ready.send(Readiness::Ready).unwrap();
    assert_eq!(server.send(get("/readyz")).await.0, 200);
    assert_eq!(server.send(get("/hooks/hub")).await.0, 405);
}

fn from(peer: &str, path: &str) -> Request<Body> {
    let mut request = Request::get(path).body(Body::empty()).unwrap();
    request.extensions_mut().insert(Peer(peer.parse().unwrap()));
    request
}

#[tokio::test]
async fn every_delivery_has_an_outcome_that_only_this_machine_can_ask_for() {
    let server = server();
    let merged = r#"{"action":"closed","number":7,"pull_request":{"merged":true,"base":{"ref":"main"}}}"#;
    for (event, id, secret, body) in [
        ("push", "1", "after", PUSH),
        ("push", "1", "after", PUSH),
        ("ping", "2", "after", "{}"),
        ("push", "3", "wrong", PUSH),
        ("push", "4", "wrong", PUSH),
        ("pull_request", "5", "after", merged),
        ("pull_request", "6", "after", &merged.replace("closed", "labeled")),
        ("push", "7", "after", "not json"),
    ] {
        server.send(github(event, id, secret, body)).await;
    }
    server.send(Request::post("/hooks/nobody").body(Body::empty()).unwrap()).await;

    let path = "/api/v1/deliveries";
    let (status, text, _) = server.send(from("127.0.0.1:1", path)).await;
    assert_eq!(status, 200);
    assert!(!text.contains("sha256") && !text.contains("after") && !text.contains("not json"), "{text}");
    let log: serde_json::Value = serde_json::from_str(&text).unwrap();
    let rows: Vec<String> = log["deliveries"]
        .as_array()
        .unwrap()
        .iter()
        .rev()
        .map(|row| {
            format!("{} {} {} {}", row["id"], row["event"], row["outcome"], row["hinted"]).replace('"', "")
        })
        .collect();
    assert_eq!(
        rows,
        [
            "1 push accepted [main]",
            "1 push duplicate []",
            "2 ping irrelevant []",
            "5 pull_request accepted [main]",
            "6 pull_request irrelevant []",
            "null  refused []",
        ]
    );
    assert_eq!(
        log["deliveries"][1]["why"],
        "pull request 7 into main: labeled; it is kept, and only a merge moves a branch"
    );
    let refused = log["refused"].as_array().unwrap();
    let refused: Vec<_> =
        refused.iter().map(|r| (r["reason"].as_str().unwrap(), r["count"].as_u64())).collect();
    assert_eq!(refused, [("unknown_source", Some(1)), ("unproven", Some(2))]);

    for (peer, path, status) in [
        ("[::1]:1", path, 200),
        ("[::ffff:127.0.0.1]:1", "/api/v1/deliveries?source=tea&limit=1", 200),
        ("127.0.0.1:1", "/api/v1/deliveries?source=none", 404),
        ("127.0.0.1:1", "/api/v1/deliveries?sauce=hub", 400),
        ("192.0.2.1:1", path, 404),
        ("192.0.2.1:1", "/api/v1/deliveries?sauce=hub", 404),
    ] {
        assert_eq!(server.send(from(peer, path)).await.0, status, "{peer} {path}");
    }
    let unknown = Request::get(path).body(Body::empty()).unwrap();
    assert_eq!(server.send(unknown).await.0, 404, "whoever asks is not known");
}

#[tokio::test]
async fn sources_are_told_and_looked_at_for_this_machine_only() {
    let server = server();
    server.send(github("push", "1", "wrong", PUSH)).await;
    let path = "/api/v1/sources";
    let (status, text, _) = server.send(from("[::1]:1", path)).await;
    let list: sources::SourceList = serde_json::from_str(&text).unwrap();
    let hooks: Vec<Option<&str>> =
        list.sources.iter().map(|seen| Some(seen.webhook.as_ref()?.path.as_str())).collect();
    assert_eq!((status, hooks), (200, vec![None, Some("/hooks/tea")]));

    let look = |peer: &str, name: &str| {
        let mut request = from(peer, &format!("{path}/{name}/look"));
        *request.method_mut() = axum::http::Method::POST;
        request
    };
    assert_eq!(server.send(look("127.0.0.1:1", "tea")).await.0, 202);
    let hint = server.hints.get(&"tea".parse().unwrap()).unwrap();
    assert_eq!(futures::FutureExt::now_or_never(hint.wait()), Some(Trigger::Asked));
    assert_eq!(server.send(look("127.0.0.1:1", "nobody")).await.0, 404);
    for stranger in [from("192.0.2.1:1", path), look("192.0.2.1:1", "tea")] {
        assert_eq!(server.send(stranger).await.0, 404);
    }
    assert_eq!(futures::FutureExt::now_or_never(hint.wait()), None);
}
