//! The one way to a pod: a TCP connection of our own, TLS over it where the check says `https`, or the API server's pod proxy. Every
//! answer has a deadline and a size.

use std::fmt::Write as _;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures::FutureExt as _;
use futures::future::BoxFuture;
use http::Request;
use http_body_util::{BodyExt, Empty};
use hyper::body::Body;
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::model::duration::rough;
use crate::model::samples::Target;

const HEAD_LIMIT: usize = 64 << 10;
const HEADERS: usize = 100;
const AGENT: &str = concat!("idp-probe/", env!("CARGO_PKG_VERSION"));

/// Why a pod gave no answer. Each is one clause for people; what it means is the caller's to say.
#[derive(Debug, thiserror::Error)]
pub enum DialError {
    /// The pod's address, or path and port, do not make a request.
    #[error("{0:?} cannot be asked for")]
    Malformed(String),
    /// The deadline passed.
    #[error("no answer within {}", rough(*.0))]
    Timeout(Duration),
    /// Nothing listens there.
    #[error("connection refused")]
    Refused,
    /// The connection did not come about.
    #[error("cannot connect")]
    Connect(#[source] io::Error),
    /// The connection broke, or what came is not HTTP/1.
    #[error("no HTTP answer")]
    Http(#[source] hyper::Error),
    /// The same over TLS.
    #[error("no HTTPS answer")]
    Https(#[source] reqwest::Error),
    /// The API server did not pass the question on.
    #[error("no answer from the API server's pod proxy")]
    Proxy(#[source] Box<kube::Error>),
    /// The API server answered itself: the pod was not reached, or may not be asked.
    #[error("API server: HTTP {status} {message}")]
    NotProxied {
        /// Its status.
        status: u16,
        /// Its message, at most 200 characters.
        message: String,
    },
}

impl DialError {
    /// Returns the clause with its innermost cause, at most 300 characters.
    pub fn clause(&self) -> String {
        let mut text = self.to_string();
        let mut cause = std::error::Error::source(self);
        while let Some(inner) = cause.and_then(std::error::Error::source) {
            cause = Some(inner);
        }
        if let Some(cause) = cause {
            let _ = write!(text, ": {cause}");
        }
        text.chars().take(300).collect()
    }
}

/// How the pods of an environment are reached.
#[derive(Clone)]
pub enum Way {
    /// At their addresses.
    Direct,
    /// Through the API server's pod proxy, for a daemon outside the pod network.
    Proxy(kube::Client),
}

/// What to ask a pod for.
#[derive(Debug, Clone, Copy)]
pub struct Ask<'a> {
    /// The port.
    pub port: u16,
    /// TLS, the certificate not verified.
    pub tls: bool,
    /// The path, beginning with `/`.
    pub path: &'a str,
    /// The value of the `accept` header.
    pub accept: &'a str,
    /// Bytes of the body that are read; what comes after is left.
    pub limit: usize,
    /// Longest wait for everything together.
    pub deadline: Duration,
}

/// A pod's answer.
#[derive(Debug)]
pub struct Reply {
    /// The status.
    pub status: u16,
    /// The body, up to the limit.
    pub body: Bytes,
    /// Whether the body ended within the limit.
    pub whole: bool,
}

/// A connection to a pod.
pub trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}

impl<S: AsyncRead + AsyncWrite + Unpin + Send> Stream for S {}

/// Connects to an address: over TCP, or within a process where pods are simulated.
pub type Connect = Arc<dyn Fn(SocketAddr) -> BoxFuture<'static, io::Result<Box<dyn Stream>>> + Send + Sync>;

/// The dialler; cheap to clone.
#[derive(Clone)]
pub struct Dialer {
    connect: Connect,
    /// None where no pod speaks TLS.
    tls: Option<reqwest::Client>,
}

fn over_tcp(address: SocketAddr) -> BoxFuture<'static, io::Result<Box<dyn Stream>>> {
    async move {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(Box::new(stream) as Box<dyn Stream>)
    }
    .boxed()
}

/// Reads a body up to `limit` bytes and tells whether that was all.
async fn read<B: Body<Data = Bytes>>(body: B, limit: usize) -> Result<(Bytes, bool), B::Error> {
    let mut body = pin!(body);
    let mut bytes = BytesMut::new();
    while let Some(frame) = body.frame().await {
        if let Ok(data) = frame?.into_data() {
            let room = limit - bytes.len();
            if data.len() > room {
                bytes.extend_from_slice(data.get(..room).unwrap_or_default());
                return Ok((bytes.freeze(), false));
            }
            bytes.extend_from_slice(&data);
        }
    }
    Ok((bytes.freeze(), true))
}

impl Dialer {
    /// Sets up TLS without verification of certificates, as kubelet probes pods: a pod's certificate names a service, not an address,
    /// and nothing that is sent is secret.
    pub fn new() -> Result<Self, reqwest::Error> {
        let tls = reqwest::Client::builder()
            .tls_danger_accept_invalid_certs(true)
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .pool_max_idle_per_host(0)
            .user_agent(AGENT)
            .build()?;
        Ok(Self { connect: Arc::new(over_tcp), tls: Some(tls) })
    }

    /// Reaches pods by `connect` alone; none of them speaks TLS, and asked for it they refuse.
    pub fn within(connect: Connect) -> Self {
        Self { connect, tls: None }
    }

    /// Connects to a pod; everything under `probe: direct` without TLS goes through here.
    pub(super) async fn connect(&self, pod: &Target, port: u16) -> Result<Box<dyn Stream>, DialError> {
        let ip: IpAddr = pod.ip.parse().map_err(|_| DialError::Malformed(pod.ip.clone()))?;
        (self.connect)(SocketAddr::new(ip, port)).await.map_err(|error| {
            if error.kind() == io::ErrorKind::ConnectionRefused {
                DialError::Refused
            } else {
                DialError::Connect(error)
            }
        })
    }

    /// Sends one GET. A status of any kind is an answer. Without TLS and proxy each question has a connection of its own.
    pub async fn get(&self, way: &Way, pod: &Target, ask: Ask<'_>) -> Result<Reply, DialError> {
        let answer = async {
            match way {
                Way::Direct if ask.tls => self.secure(pod, ask).await,
                Way::Direct => self.plain(pod, ask).await,
                Way::Proxy(client) => proxied(client, pod, ask).await,
            }
        };
        timeout(ask.deadline, answer).await.unwrap_or(Err(DialError::Timeout(ask.deadline)))
    }

    /// Tells whether the pod accepts a connection. The API server proxies HTTP only: there any HTTP answer of the pod's proves it.
    pub async fn knock(
        &self,
        way: &Way,
        pod: &Target,
        port: u16,
        deadline: Duration,
    ) -> Result<(), DialError> {
        match way {
            Way::Direct => match timeout(deadline, self.connect(pod, port)).await {
                Ok(connected) => connected.map(drop),
                Err(_) => Err(DialError::Timeout(deadline)),
            },
            Way::Proxy(_) => {
                let ask = Ask { port, tls: false, path: "/", accept: "*/*", limit: HEAD_LIMIT, deadline };
                self.get(way, pod, ask).await.map(drop)
            }
        }
    }

    async fn plain(&self, pod: &Target, ask: Ask<'_>) -> Result<Reply, DialError> {
        let request = Request::get(ask.path)
            .header(http::header::HOST, host(&pod.ip, ask.port))
            .header(http::header::USER_AGENT, AGENT)
            .header(http::header::ACCEPT, ask.accept)
            .header(http::header::CONNECTION, "close")
            .body(Empty::<Bytes>::new())
            .map_err(|_| DialError::Malformed(ask.path.to_owned()))?;
        let stream = self.connect(pod, ask.port).await?;
        let (mut sender, connection) = hyper::client::conn::http1::Builder::new()
            .max_buf_size(HEAD_LIMIT)
            .max_headers(HEADERS)
            .handshake(TokioIo::new(stream))
            .await
            .map_err(DialError::Http)?;
        let exchange = async move {
            let response = sender.send_request(request).await.map_err(DialError::Http)?;
            let status = response.status().as_u16();
            let (body, whole) = read(response.into_body(), ask.limit).await.map_err(DialError::Http)?;
            Ok(Reply { status, body, whole })
        };
        // The connection must be driven while its answer is awaited; a task of its own would outlive the deadline.
        let mut exchange = pin!(exchange);
        tokio::select! {
            biased;
            reply = &mut exchange => reply,
            _ended = connection => exchange.await,
        }
    }

    async fn secure(&self, pod: &Target, ask: Ask<'_>) -> Result<Reply, DialError> {
        let ip: IpAddr = pod.ip.parse().map_err(|_| DialError::Malformed(pod.ip.clone()))?;
        let url = format!("https://{}{}", SocketAddr::new(ip, ask.port), ask.path);
        let tls = self.tls.as_ref().ok_or(DialError::Refused)?;
        let request = tls.get(url).header(http::header::ACCEPT, ask.accept);
        let mut response = request.send().await.map_err(secure_error)?;
        let status = response.status().as_u16();
        let mut body = BytesMut::new();
        let mut whole = true;
        while let Some(chunk) = response.chunk().await.map_err(secure_error)? {
            let room = ask.limit - body.len();
            body.extend_from_slice(chunk.get(..room.min(chunk.len())).unwrap_or_default());
            if chunk.len() > room {
                whole = false;
                break;
            }
        }
        Ok(Reply { status, body: body.freeze(), whole })
    }
}

fn secure_error(error: reqwest::Error) -> DialError {
    let mut cause: Option<&dyn std::error::Error> = Some(&error);
    while let Some(inner) = cause {
        let io = inner.downcast_ref::<io::Error>();
        if io.is_some_and(|error| error.kind() == io::ErrorKind::ConnectionRefused) {
            return DialError::Refused;
        }
        cause = inner.source();
    }
    DialError::Https(error.without_url())
}

fn host(ip: &str, port: u16) -> String {
    if ip.contains(':') { format!("[{ip}]:{port}") } else { format!("{ip}:{port}") }
}

/// The API server's own answer, as opposed to the pod's.
#[derive(Deserialize)]
struct Status {
    kind: String,
    #[serde(rename = "apiVersion")]
    api_version: String,
    #[serde(default)]
    message: String,
}

async fn proxied(client: &kube::Client, pod: &Target, ask: Ask<'_>) -> Result<Reply, DialError> {
    let scheme = if ask.tls { "https" } else { "http" };
    let uri = format!(
        "/api/v1/namespaces/{}/pods/{scheme}:{}:{}/proxy{}",
        pod.namespace, pod.name, ask.port, ask.path
    );
    let request = Request::get(&uri)
        .header(http::header::ACCEPT, ask.accept)
        .body(kube::client::Body::empty())
        .map_err(|_| DialError::Malformed(uri))?;
    let failed = |error| DialError::Proxy(Box::new(error));
    let response = client.send(request).await.map_err(failed)?;
    let status = response.status().as_u16();
    let (body, whole) = read(response.into_body(), ask.limit).await.map_err(failed)?;
    if status >= 400
        && let Ok(own) = serde_json::from_slice::<Status>(&body)
        && own.kind == "Status"
        && own.api_version == "v1"
    {
        return Err(DialError::NotProxied { status, message: own.message.chars().take(200).collect() });
    }
    Ok(Reply { status, body, whole })
}
