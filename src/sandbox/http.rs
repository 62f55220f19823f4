//! Small HTTP on both ends, shared by the room: one GET on a fresh connection, and a server whose connections all die
//! with its token.

use std::{future::Future, io, net::SocketAddr, time::Duration};

use bytes::Bytes;
use futures::{FutureExt as _, future::BoxFuture};
use http::{Method, Request, Response, header};
use http_body_util::{BodyExt as _, Full};
use hyper::{body::Incoming, service::service_fn};
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

/// Why a GET had no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum GetError {
    #[error("connect")]
    Connect(#[source] io::Error),
    #[error("exchange")]
    Exchange(#[source] hyper::Error),
    #[error("build the request")]
    Request(#[source] http::Error),
    #[error("no answer in time")]
    Timeout,
}

/// GETs `path` of the server at `address` within `timeout`.
pub(crate) async fn get(
    address: SocketAddr,
    path: &str,
    user_agent: &str,
    timeout: Duration,
) -> Result<Response<Bytes>, GetError> {
    let exchange = async {
        let stream = TcpStream::connect(address).await.map_err(GetError::Connect)?;
        let handshake = hyper::client::conn::http1::handshake(TokioIo::new(stream));
        let (mut sender, connection) = handshake.await.map_err(GetError::Exchange)?;
        let request = Request::builder()
            .method(Method::GET)
            .uri(path)
            .header(header::HOST, address.to_string())
            .header(header::USER_AGENT, user_agent)
            .header(header::CONNECTION, "close")
            .body(Full::<Bytes>::default())
            .map_err(GetError::Request)?;
        let answer = async move {
            let (parts, body) = sender.send_request(request).await?.into_parts();
            Ok(Response::from_parts(parts, body.collect().await?.to_bytes()))
        };
        // The connection ends with the exchange; an error of it shows in the answer.
        let (answer, _) = tokio::join!(answer, connection);
        answer.map_err(GetError::Exchange)
    };
    tokio::time::timeout(timeout, exchange).await.unwrap_or(Err(GetError::Timeout))
}

/// How a server ends.
#[derive(Debug, Clone)]
pub(crate) struct Ending {
    /// No more connections; requests under way are answered.
    pub(crate) drain: CancellationToken,
    /// Everything breaks off at once.
    pub(crate) kill: CancellationToken,
}

impl Ending {
    /// Ends with `kill`, and may be drained before.
    pub(crate) fn new(kill: CancellationToken) -> Self {
        Self { drain: kill.child_token(), kill }
    }
}

/// Serves `listener` until its end, over HTTP/1 and, where it is wanted, HTTP/2. `spawn` starts the task of one connection.
pub(crate) async fn serve<H, F>(
    listener: TcpListener,
    http2: bool,
    ending: Ending,
    spawn: impl Fn(BoxFuture<'static, ()>) + Send,
    handler: H,
) where
    H: Fn(Request<Incoming>) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Response<Full<Bytes>>> + Send + 'static,
{
    loop {
        let accepted = tokio::select! {
            () = ending.drain.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        let Ok((stream, _)) = accepted else { continue };
        spawn(connection(stream, http2, ending.clone(), handler.clone()).boxed());
    }
}

async fn connection<H, F>(stream: TcpStream, http2: bool, ending: Ending, handler: H)
where
    H: Fn(Request<Incoming>) -> F + Send + Sync + 'static,
    F: Future<Output = Response<Full<Bytes>>> + Send + 'static,
{
    if http2 && super::grpc::is_meant(&stream, &ending.kill).await {
        return super::grpc::connection(stream, ending, handler).await;
    }
    let service = service_fn(move |request| {
        let answer = handler(request);
        async move { Ok::<_, std::convert::Infallible>(answer.await) }
    });
    let builder = hyper::server::conn::http1::Builder::new();
    let mut serving = std::pin::pin!(builder.serve_connection(TokioIo::new(stream), service));
    // Errors are callers that went away, which concerns nobody here.
    tokio::select! {
        () = ending.kill.cancelled() => return,
        _ = serving.as_mut() => return,
        () = ending.drain.cancelled() => serving.as_mut().graceful_shutdown(),
    }
    tokio::select! {
        () = ending.kill.cancelled() => {}
        _ = serving => {}
    }
}

/// An answer with a plain text body.
pub(crate) fn text(code: u16, body: impl Into<Bytes>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() =
        http::StatusCode::from_u16(code).unwrap_or(http::StatusCode::INTERNAL_SERVER_ERROR);
    response
}
