//! A stretch of the way between the daemon and the API server where each write can be seen, and the daemon be ended, at two moments:
//! before the server gets the write, and when the server has answered and the daemon has not heard it.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Context as _;
use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::http::{Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use idp::cluster::client::{self, Access};
use serde_json::Value;
use tokio::task::JoinSet;

/// The largest record is 256 KiB, the largest revision 1.3 MiB.
const BODY: usize = 8 << 20;

/// When a write is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Moment {
    /// It was sent and has not reached the server.
    Before,
    /// The server has done it, and its answer has not reached the daemon.
    After,
}

/// A request that changes something.
#[derive(Clone, Debug)]
pub struct Write {
    pub method: Method,
    pub path: String,
    /// Null where there is none.
    pub body: Value,
}

/// Looks at writes; `true`: the daemon was ended, and this write or its answer goes nowhere.
type Look = Box<dyn FnMut(&Write, Moment) -> bool + Send>;

struct Way {
    client: kube::Client,
    look: Mutex<Look>,
}

impl Way {
    fn ended(&self, write: Option<&Write>, moment: Moment) -> bool {
        let Some(write) = write else { return false };
        let mut look = self.look.lock().unwrap_or_else(PoisonError::into_inner);
        look(write, moment)
    }
}

/// The proxy; it ends when this is dropped.
pub struct Proxy {
    /// How the daemon reaches the API server through it.
    pub kubeconfig: PathBuf,
    _serving: JoinSet<()>,
}

impl Proxy {
    /// Opens the way to the server of a kubeconfig; `folder` gets the daemon's own.
    pub async fn open(
        server: &Path,
        folder: &Path,
        look: impl FnMut(&Write, Moment) -> bool + Send + 'static,
    ) -> anyhow::Result<Self> {
        let access = Access::Kubeconfig { path: Some(server.to_owned()), context: None };
        let client = client::connect(&access, Arc::new(|_| ())).await?;
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
        let kubeconfig = folder.join("kubeconfig-of-the-proxy");
        std::fs::write(&kubeconfig, configuration(&format!("http://{}", listener.local_addr()?)))?;
        let way = Arc::new(Way { client, look: Mutex::new(Box::new(look)) });
        let router = axum::Router::new().fallback(forward).with_state(way);
        let mut serving = JoinSet::new();
        serving.spawn(async {
            // It ends with an error only if the socket does.
            let _ = axum::serve(listener, router).await;
        });
        Ok(Self { kubeconfig, _serving: serving })
    }
}

fn configuration(url: &str) -> String {
    let named = |what: &str, value: Value| serde_json::json!([{ "name": "proxy", what: value }]);
    serde_json::json!({
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "proxy",
        "contexts": named("context", serde_json::json!({ "cluster": "proxy", "user": "proxy" })),
        "clusters": named("cluster", serde_json::json!({ "server": url })),
        "users": named("user", serde_json::json!({})),
    })
    .to_string()
}

async fn forward(State(way): State<Arc<Way>>, request: Request) -> Response {
    match pass_on(&way, request).await {
        Ok(answer) => answer,
        Err(error) => (StatusCode::BAD_GATEWAY, format!("{error:#}")).into_response(),
    }
}

async fn pass_on(way: &Way, request: Request) -> anyhow::Result<Response> {
    let (parts, body) = request.into_parts();
    let bytes = to_bytes(body, BODY).await?;
    let write = (parts.method != Method::GET).then(|| Write {
        method: parts.method.clone(),
        path: parts.uri.path().to_owned(),
        body: serde_json::from_slice(&bytes).unwrap_or_default(),
    });
    if way.ended(write.as_ref(), Moment::Before) {
        return Ok(StatusCode::BAD_GATEWAY.into_response());
    }
    let target = parts.uri.path_and_query().context("a request without a path")?.as_str();
    let mut onward = http::Request::builder().method(parts.method.clone()).uri(target);
    for name in [header::CONTENT_TYPE, header::ACCEPT, header::USER_AGENT] {
        if let Some(value) = parts.headers.get(&name) {
            onward = onward.header(name, value);
        }
    }
    let answer = way.client.send(onward.body(kube::client::Body::from(bytes.to_vec()))?).await?;
    if way.ended(write.as_ref(), Moment::After) {
        return Ok(StatusCode::BAD_GATEWAY.into_response());
    }
    Ok(answer.map(Body::new))
}
