//! For tests: `git http-backend` behind a small server that wants a token, counts, and can be told to fail.

use std::process::Stdio;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use http_body_util::BodyExt;
use tokio::io::AsyncWriteExt;
use tokio::sync::Semaphore;

use super::Hosts;
use super::fixture::{Repo, Running, config};

/// What the server does with the next requests instead of serving Git.
#[derive(Debug, Clone)]
pub(crate) enum Fault {
    Status(u16, &'static str, String),
    Endless,
    Garbage,
    /// Only our own short question, which names no agent, is answered so.
    Short(Vec<u8>),
    /// No answer comes.
    Silence,
    /// A pack comes byte by byte, five a second.
    SlowPack,
    /// Only the first so many bytes of a pack's answer come.
    Half(usize),
    /// Answers wait until there are permits.
    Hold(Arc<Semaphore>),
    /// These answers, whatever is asked.
    Crafted(Arc<Crafted>),
}

/// Answers of a server that nobody should meet; what is not said is served as it is.
#[derive(Debug, Default)]
pub(crate) struct Crafted {
    /// What a client is greeted with.
    pub(crate) greeting: Option<Vec<u8>>,
    /// The answer to `ls-refs`.
    pub(crate) refs: Option<Vec<u8>>,
    /// The answer to `fetch`.
    pub(crate) fetch: Option<Vec<u8>>,
    /// The pack in the answer to `fetch`.
    pub(crate) pack: Option<Vec<u8>>,
    /// The head that the pack may make known.
    pub(crate) head: Option<gix::ObjectId>,
}

/// A packet line.
pub(crate) fn packet(content: &[u8]) -> Vec<u8> {
    [format!("{:04x}", content.len() + 4).as_bytes(), content].concat()
}

impl Crafted {
    fn answer(&self, body: &[u8]) -> Option<Vec<u8>> {
        let has = |text: &[u8]| body.windows(text.len()).any(|part| part == text);
        if body.is_empty() {
            return self.greeting.clone();
        }
        if has(b"command=ls-refs") {
            return self.refs.clone();
        }
        if let Some(fetch) = &self.fetch {
            return Some(fetch.clone());
        }
        let pack = self.pack.as_ref()?;
        let mut answer = Vec::new();
        if !has(b"0009done") {
            answer.extend([packet(b"acknowledgments\n"), packet(b"ready\n"), b"0001".to_vec()].concat());
        }
        answer.extend(packet(b"packfile\n"));
        for part in pack.chunks(60_000) {
            answer.extend(packet(&[b"\x01", part].concat()));
        }
        answer.extend_from_slice(b"0000");
        Some(answer)
    }
}

#[derive(Clone)]
pub(crate) struct Forge {
    root: std::path::PathBuf,
    /// Whether the protocol's version is not heard.
    pub(crate) old: Arc<AtomicBool>,
    fault: Arc<Mutex<Option<Fault>>>,
    /// Requests for a pack, and requests at all.
    packs: Arc<AtomicUsize>,
    requests: Arc<AtomicUsize>,
    /// The `Authorization` that it takes, and those that it got.
    takes: Arc<Mutex<String>>,
    got: Arc<Mutex<Vec<Option<String>>>>,
    pub(crate) address: std::net::SocketAddr,
}

pub(crate) const TOKEN: &str = "canary-5f3e";

impl Forge {
    pub(crate) async fn start(root: &std::path::Path) -> Self {
        Self::start_at("127.0.0.1:0", root).await
    }

    pub(crate) async fn start_at(address: &str, root: &std::path::Path) -> Self {
        let listener = tokio::net::TcpListener::bind(address).await.unwrap();
        let forge = Self {
            root: root.to_owned(),
            old: Arc::default(),
            fault: Arc::default(),
            packs: Arc::default(),
            requests: Arc::default(),
            takes: Arc::new(Mutex::new(basic("idp", TOKEN))),
            got: Arc::default(),
            address: listener.local_addr().unwrap(),
        };
        let router = Router::new().fallback(serve).with_state(forge.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        forge
    }

    /// Starts it on a thread of its own, whose time runs on while that of a test is paused.
    pub(crate) async fn start_apart(root: &std::path::Path) -> Self {
        let (sender, forge) = tokio::sync::oneshot::channel();
        let root = root.to_owned();
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                sender.send(Self::start(&root).await).ok();
                std::future::pending::<()>().await;
            });
        });
        forge.await.unwrap()
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}/origin.git", self.address)
    }

    pub(crate) fn fail(&self, fault: Fault) {
        *self.fault.lock().unwrap() = Some(fault);
    }

    pub(crate) fn heal(&self) {
        *self.fault.lock().unwrap() = None;
    }

    /// Takes another `Authorization` from now on.
    pub(crate) fn take(&self, authorization: &str) {
        authorization.clone_into(&mut self.takes.lock().unwrap());
    }

    /// Returns what the requests since the last call had as `Authorization`.
    pub(crate) fn got(&self) -> Vec<Option<String>> {
        std::mem::take(&mut *self.got.lock().unwrap())
    }

    pub(crate) fn requests(&self) -> usize {
        self.requests.load(Ordering::SeqCst)
    }

    pub(crate) fn packs(&self) -> usize {
        self.packs.load(Ordering::SeqCst)
    }
}

async fn serve(State(forge): State<Forge>, request: Request) -> Response {
    forge.requests.fetch_add(1, Ordering::SeqCst);
    let (parts, body) = request.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    let given = parts.headers.get("authorization").map(|value| value.to_str().unwrap().to_owned());
    forge.got.lock().unwrap().push(given.clone());
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
        Some(Fault::Short(answer)) if !body.is_empty() && !body.windows(5).any(|part| part == b"agent") => {
            return ([("content-type", "application/x-git-upload-pack-result")], answer).into_response();
        }
        Some(Fault::Crafted(crafted)) => {
            if let Some(answer) = crafted.answer(&body) {
                let kind = if body.is_empty() { "advertisement" } else { "result" };
                let kind = format!("application/x-git-upload-pack-{kind}");
                return ([("content-type", kind)], answer).into_response();
            }
        }
        Some(Fault::Silence) => std::future::pending().await,
        Some(Fault::Hold(gate)) => gate.acquire().await.unwrap().forget(),
        _ => {}
    }
    if given.as_ref() != Some(&*forge.takes.lock().unwrap()) {
        return (StatusCode::UNAUTHORIZED, [("www-authenticate", "Basic")], "no").into_response();
    }
    let is_pack = body.windows(13).any(|window| window == b"command=fetch");
    if is_pack {
        forge.packs.fetch_add(1, Ordering::SeqCst);
    }
    let (head, answer) = backend(&forge, &parts, body).await.into_parts();
    if let (true, Some(Fault::Half(bytes))) = (is_pack, &*forge.fault.lock().unwrap()) {
        let half = futures::FutureExt::now_or_never(answer.collect()).unwrap().unwrap().to_bytes();
        return Response::from_parts(head, half.slice(..(*bytes).min(half.len())).into());
    }
    if !is_pack || !matches!(*forge.fault.lock().unwrap(), Some(Fault::SlowPack)) {
        return Response::from_parts(head, answer);
    }
    let bytes = answer.collect().await.unwrap().to_bytes();
    let slow = futures::stream::unfold(bytes, |mut rest| async {
        tokio::time::sleep(std::time::Duration::from_millis(200)).await;
        (!rest.is_empty()).then(|| (Ok::<_, std::io::Error>(rest.split_to(1)), rest))
    });
    Response::from_parts(head, axum::body::Body::from_stream(slow))
}

/// Returns the `Authorization` of a name and a password.
pub(crate) fn basic(username: &str, password: &str) -> String {
    let pair = base64::engine::general_purpose::STANDARD.encode(format!("{username}:{password}"));
    format!("Basic {pair}")
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
        .env("GIT_PROTOCOL", if forge.old.load(Ordering::SeqCst) { "" } else { header("git-protocol") })
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

pub(crate) fn started(forge: &Forge, repo: &Repo, fields: &str) -> Running {
    started_among(&Hosts::default(), forge, repo, fields)
}

pub(crate) fn started_among(hosts: &Hosts, forge: &Forge, repo: &Repo, fields: &str) -> Running {
    let cache = repo.dir.path().join("cache");
    std::fs::create_dir_all(&cache).unwrap();
    std::fs::write(cache.join("token"), format!("{TOKEN}\n")).unwrap();
    let fields = format!("credentials: {{token_file: token}}, {fields}");
    Running::start_among(hosts, config(&forge.url(), &fields, &cache))
}
