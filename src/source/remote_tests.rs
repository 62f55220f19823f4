//! The source loop over smart HTTP: `git http-backend` behind a small server that wants a token, counts, and can be told to fail.

use std::process::Stdio;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use http_body_util::BodyExt;
use tokio::io::AsyncWriteExt;

use super::fixture::{Repo, Running, config};
use super::*;

/// What the server does with the next requests instead of serving Git.
#[derive(Debug, Clone)]
enum Fault {
    Status(u16, &'static str, String),
    Endless,
    Garbage,
}

#[derive(Clone)]
struct Forge {
    root: std::path::PathBuf,
    fault: Arc<Mutex<Option<Fault>>>,
    /// Requests for a pack, and requests at all.
    packs: Arc<AtomicUsize>,
    requests: Arc<AtomicUsize>,
    address: std::net::SocketAddr,
}

const TOKEN: &str = "canary-5f3e";

impl Forge {
    async fn start(root: &std::path::Path) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let forge = Self {
            root: root.to_owned(),
            fault: Arc::default(),
            packs: Arc::default(),
            requests: Arc::default(),
            address: listener.local_addr().unwrap(),
        };
        let router = Router::new().fallback(serve).with_state(forge.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        forge
    }

    fn url(&self) -> String {
        format!("http://{}/origin.git", self.address)
    }

    fn fail(&self, fault: Fault) {
        *self.fault.lock().unwrap() = Some(fault);
    }

    fn heal(&self) {
        *self.fault.lock().unwrap() = None;
    }

    fn packs(&self) -> usize {
        self.packs.load(Ordering::SeqCst)
    }
}

async fn serve(State(forge): State<Forge>, request: Request) -> Response {
    forge.requests.fetch_add(1, Ordering::SeqCst);
    let (parts, body) = request.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    let fault = forge.fault.lock().unwrap().clone();
    match fault {
        Some(Fault::Status(status, name, value)) => {
            return (StatusCode::from_u16(status).unwrap(), [(name, value)], "no").into_response();
        }
        Some(Fault::Garbage) => {
            let kind = [("content-type", "application/x-git-upload-pack-advertisement")];
            return (kind, "this is not a packet line").into_response();
        }
        Some(Fault::Endless) => {
            let kind = [("content-type", "application/x-git-upload-pack-advertisement")];
            let first = Bytes::from_static(b"001e# service=git-upload-pack\n");
            let line = Bytes::from(format!("fff0{}", "x".repeat(0xfff0 - 4)).repeat(16));
            let lines = futures::stream::repeat_with(move || line.clone());
            let endless = futures::StreamExt::chain(futures::stream::once(async { first }), lines);
            let endless = futures::StreamExt::map(endless, Ok::<_, std::io::Error>);
            return (kind, axum::body::Body::from_stream(endless)).into_response();
        }
        None => {}
    }
    let wanted = base64::engine::general_purpose::STANDARD.encode(format!("idp:{TOKEN}"));
    if parts.headers.get("authorization").is_none_or(|given| *given != format!("Basic {wanted}")) {
        return (StatusCode::UNAUTHORIZED, [("www-authenticate", "Basic")], "no").into_response();
    }
    if body.windows(13).any(|window| window == b"command=fetch") {
        forge.packs.fetch_add(1, Ordering::SeqCst);
    }
    backend(&forge, &parts, body).await
}

/// Runs `git http-backend` as a CGI program (RFC 3875).
async fn backend(forge: &Forge, parts: &axum::http::request::Parts, body: Bytes) -> Response {
    let header =
        |name: &str| parts.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let mut child = tokio::process::Command::new("git")
        .arg("http-backend")
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap())
        .envs([("GIT_CONFIG_GLOBAL", "/dev/null"), ("GIT_CONFIG_SYSTEM", "/dev/null")])
        .env("GIT_PROJECT_ROOT", &forge.root)
        .env("GIT_HTTP_EXPORT_ALL", "1")
        .env("REQUEST_METHOD", parts.method.as_str())
        .env("PATH_INFO", parts.uri.path())
        .env("QUERY_STRING", parts.uri.query().unwrap_or_default())
        .env("CONTENT_TYPE", header("content-type"))
        .env("CONTENT_LENGTH", body.len().to_string())
        .env("GIT_PROTOCOL", header("git-protocol"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    tokio::spawn(async move { stdin.write_all(&body).await });
    let output = child.wait_with_output().await.unwrap().stdout;
    let end = output.windows(4).position(|window| window == b"\r\n\r\n").unwrap();
    let mut headers = HeaderMap::new();
    let mut status = StatusCode::OK;
    for line in String::from_utf8_lossy(&output[..end]).lines() {
        let (name, value) = line.split_once(": ").unwrap();
        if name == "Status" {
            status = StatusCode::from_u16(value[..3].parse().unwrap()).unwrap();
        } else {
            headers.insert(name.parse::<axum::http::HeaderName>().unwrap(), value.parse().unwrap());
        }
    }
    (status, headers, output[end + 4..].to_vec()).into_response()
}

fn started(forge: &Forge, repo: &Repo, fields: &str) -> Running {
    let cache = repo.dir.path().join("cache");
    std::fs::create_dir_all(&cache).unwrap();
    std::fs::write(cache.join("token"), format!("{TOKEN}\n")).unwrap();
    let fields = format!("credentials: {{token_file: token}}, {fields}");
    Running::start(config(&forge.url(), &fields, &cache))
}

#[tokio::test]
async fn a_push_is_one_fetch_and_an_idle_look_is_none() {
    let repo = Repo::new();
    let first = repo.publish(&[(".idp/deploy.yaml", "service: a"), ("x", "1")]);
    let forge = Forge::start(repo.dir.path()).await;
    let mut running = started(&forge, &repo, "");
    let report = running.next().await;
    assert!(report.up, "{:?}", report.heads.problems);
    assert_eq!(report.commit.unwrap().as_str(), first);
    assert_eq!((report.stats.fetches, forge.packs()), (1, 1));
    assert!(report.stats.bytes > 0);

    let before = forge.requests.load(Ordering::SeqCst);
    running.hint.send(Trigger::Webhook);
    let report = running.next().await;
    assert_eq!((report.stats.fetches, forge.packs()), (0, 1));
    assert_eq!(forge.requests.load(Ordering::SeqCst) - before, 2, "capabilities, refs");
    assert!(!report.status_changed && report.heads.releases.is_empty());

    let second = repo.publish(&[("x", "2")]);
    for _ in 0..50 {
        running.hint.send(Trigger::Webhook);
    }
    running.until(|report| report.commit.as_ref().unwrap().as_str() == second).await;
    assert_eq!(forge.packs(), 2, "fifty hints, one change, one fetch");
    assert_eq!(running.good("a.production").revision.commit.as_str(), second);
    assert!(
        !repo.dir.path().join("cache/git/a/refs/tags").read_dir().is_ok_and(|mut tags| tags.next().is_some())
    );
}

#[tokio::test]
async fn history_is_deepened_until_the_commit_that_brought_the_content() {
    let repo = Repo::new();
    let code = repo.commit(&[(".idp/deploy.yaml", "service: a"), ("x", "1")]);
    for _ in 0..100 {
        repo.commit(&[]);
    }
    repo.push();
    let forge = Forge::start(repo.dir.path()).await;
    let mut running = started(&forge, &repo, "");
    running.next().await;
    assert_eq!(running.good("a.production").revision.commit.as_str(), code);
    assert_eq!(forge.packs(), 3, "32, 64 and 128 commits");

    repo.work(&["checkout", "-q", "--orphan", "other"]);
    repo.commit(&[("x", "2")]);
    repo.work(&["push", "-q", "--force", "origin", "HEAD:main"]);
    running.look_at(&repo.head()).await;
    assert_eq!(running.good("a.production").revision.commit.as_str(), repo.head());
}

#[tokio::test]
async fn whatever_the_server_does_the_last_good_answer_stays_and_no_token_is_shown() {
    let repo = Repo::new();
    repo.publish(&[(".idp/deploy.yaml", "service: a")]);
    let forge = Forge::start(repo.dir.path()).await;
    let elsewhere = Forge::start(repo.dir.path()).await;
    let mut running = started(&forge, &repo, "");
    running.next().await;
    let status = |status: u16| Fault::Status(status, "x-nothing", String::new());
    for (fault, reason) in [
        (status(401), "does not take these credentials"),
        (status(403), "may not read it"),
        (status(404), "there is no repository"),
        (status(500), "answers 500"),
        (Fault::Status(429, "retry-after", "0".to_owned()), "left alone"),
        (Fault::Status(302, "location", elsewhere.url()), "sends us to"),
        (Fault::Garbage, "fetch from the repository"),
        (Fault::Endless, "more than"),
    ] {
        forge.fail(fault.clone());
        running.hint.send(Trigger::Webhook);
        let report = running.until(|report| !report.up).await;
        let kept = running.kept("a.production").to_owned();
        assert!(kept.contains(reason), "{fault:?}: {kept}");
        assert!(!format!("{report:?}").contains(TOKEN));
        forge.heal();
        running.hint.send(Trigger::Webhook);
        running.until(|report| report.up).await;
        running.good("a.production");
    }
    assert_eq!(elsewhere.requests.load(Ordering::SeqCst), 0, "a redirect carries nothing anywhere");
    assert_eq!(forge.packs(), 1, "coming back costs no fetch");
}

#[tokio::test]
async fn a_damaged_mirror_is_made_anew_and_a_token_is_read_anew() {
    let repo = Repo::new();
    repo.publish(&[(".idp/deploy.yaml", "service: a")]);
    let forge = Forge::start(repo.dir.path()).await;
    let mut running = started(&forge, &repo, "");
    running.next().await;
    let mirror = repo.dir.path().join("cache/git/a");
    std::fs::write(mirror.join("HEAD"), "nonsense").unwrap();
    let second = repo.publish(&[("x", "2")]);
    running.look_at(&second).await;
    assert!(running.good("a.production").revision.commit.as_str() == second);
    std::fs::remove_dir_all(&mirror).unwrap();
    let third = repo.publish(&[("x", "3")]);
    running.look_at(&third).await;
    assert_eq!(running.good("a.production").revision.commit.as_str(), third);

    let token = repo.dir.path().join("cache/token");
    std::fs::write(&token, "wrong").unwrap();
    running.hint.send(Trigger::Webhook);
    running.until(|report| !report.up).await;
    std::fs::remove_file(&token).unwrap();
    running.hint.send(Trigger::Webhook);
    running.until(|_| true).await;
    assert!(
        running.kept("a.production").contains("read the source's credentials"),
        "{}",
        running.kept("a.production")
    );
    std::fs::write(&token, TOKEN).unwrap();
    running.hint.send(Trigger::Webhook);
    running.until(|report| report.up).await;
}

#[tokio::test]
async fn a_server_that_is_away_is_waited_for() {
    let repo = Repo::new();
    repo.publish(&[(".idp/deploy.yaml", "service: a")]);
    let cache = repo.dir.path().join("cache");
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let mut running = Running::start(config(&format!("http://{address}/origin.git"), "", &cache));
    let report = running.next().await;
    assert!(!report.up && report.commit.is_none() && report.heads.releases.is_empty());
    assert!(report.heads.problems[0].message.contains("cannot reach the repository"));
    let report = running.next().await;
    assert_eq!(report.trigger, Trigger::Poll, "it is tried again long before the interval");
}
