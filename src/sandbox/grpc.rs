//! `grpc.health.v1` on both ends: what pods with the tag word `grpc` answer over HTTP/2, and what kubelet asks them.

use std::{convert::Infallible, future::Future, net::SocketAddr};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, header};
use http_body_util::{BodyExt as _, Full};
use hyper::{body::Incoming, service::service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;

use super::http::Ending;

/// Where the check of the health service is.
pub(crate) const PATH: &str = "/grpc.health.v1.Health/Check";
const STATUS: HeaderName = HeaderName::from_static("grpc-status");
const SERVING: &[u8] = &[0, 0, 0, 0, 2, 8, 1];
const NOT_SERVING: &[u8] = &[0, 0, 0, 0, 2, 8, 2];

/// Answers the check.
pub(crate) fn health(serving: bool) -> Response<Full<Bytes>> {
    let body = Bytes::from_static(if serving { SERVING } else { NOT_SERVING });
    let mut response = Response::new(Full::new(body));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    response
}

/// Tells whether a caller speaks HTTP/2 from the beginning; waits for what it says first.
pub(crate) async fn is_meant(stream: &TcpStream, kill: &CancellationToken) -> bool {
    let mut first = [0; 3];
    let peeked = kill.run_until_cancelled(stream.peek(&mut first)).await;
    matches!(peeked, Some(Ok(3))) && first == *b"PRI"
}

/// Serves a connection over HTTP/2 until its end; an answer of gRPC ends with its status.
pub(crate) async fn connection<H, F>(stream: TcpStream, ending: Ending, handler: H)
where
    H: Fn(Request<Incoming>) -> F + Send + Sync + 'static,
    F: Future<Output = Response<Full<Bytes>>> + Send + 'static,
{
    let service = service_fn(move |request| {
        let answer = handler(request);
        async move {
            let (head, body) = answer.await.into_parts();
            let grpc = head.headers.get(header::CONTENT_TYPE).is_some_and(|kind| kind == "application/grpc");
            let fine =
                || Ok::<_, Infallible>(HeaderMap::from_iter([(STATUS, HeaderValue::from_static("0"))]));
            let body = body.with_trailers(async move { grpc.then(fine) });
            Ok::<_, Infallible>(Response::from_parts(head, body))
        }
    });
    let builder = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
    let mut serving = std::pin::pin!(builder.serve_connection(TokioIo::new(stream), service));
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

/// Asks as kubelet does; whatever is no clear yes is a no.
pub(crate) async fn is_serving(address: SocketAddr) -> bool {
    ask(address).await.is_ok_and(|answer| answer.as_ref() == SERVING)
}

async fn ask(address: SocketAddr) -> Result<Bytes, Box<dyn std::error::Error + Send + Sync>> {
    let stream = TcpStream::connect(address).await?;
    let handshake = hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream));
    let (mut sender, connection) = handshake.await?;
    let request = Request::post(format!("http://{address}{PATH}"))
        .header(header::CONTENT_TYPE, "application/grpc")
        .header(header::TE, "trailers")
        .header(header::USER_AGENT, "kube-probe/1.36")
        .body(Full::new(Bytes::from_static(&[0; 5])))?;
    let exchange =
        async move { Ok(sender.send_request(request).await?.into_body().collect().await?.to_bytes()) };
    let mut exchange = std::pin::pin!(exchange);
    tokio::select! {
        biased;
        answer = exchange.as_mut() => answer,
        _ended = connection => exchange.await,
    }
}
