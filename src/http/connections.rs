//! Accepts connections: a bounded number of them, each with a limit on its headers and on the time that it may take for them and in
//! all.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::http::Request;
use hyper::body::Incoming;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::ServiceExt as _;

use super::{HttpState, Peer, router};

/// Connections at one time; the others wait in the kernel's queue.
const CONNECTIONS: usize = 1024;
/// Bytes of a request's head.
const HEAD_LIMIT: usize = 64 * 1024;
/// Header lines of a request.
const HEADER_LINES: usize = 128;
/// How long a request's head may take, idle time between two requests included.
const HEAD_TIME: Duration = Duration::from_secs(10);
/// How long a connection may live.
const LIFETIME: Duration = Duration::from_mins(5);
/// How long what is under way may take after the end was announced.
const GRACE: Duration = Duration::from_secs(5);

/// Serves until `shutdown`, then ends what is under way within five seconds.
pub async fn serve(listener: TcpListener, state: HttpState, shutdown: CancellationToken) {
    let router = router(state);
    let slots = Arc::new(Semaphore::new(CONNECTIONS));
    let tasks = TaskTracker::new();
    loop {
        let accepted = tokio::select! {
            () = shutdown.cancelled() => break,
            accepted = async {
                let slot = slots.clone().acquire_owned().await;
                (slot, listener.accept().await)
            } => accepted,
        };
        match accepted {
            (Ok(slot), Ok((stream, peer))) => {
                let connection = connection(stream, peer, router.clone(), shutdown.clone());
                tasks.spawn(async move {
                    connection.await;
                    drop(slot);
                });
            }
            (_, Err(error)) => {
                // Out of descriptors, for example: at once again would only spin.
                tracing::warn!(%error, "connection not accepted");
                sleep(Duration::from_millis(100)).await;
            }
            (Err(_), _) => break,
        }
    }
    tasks.close();
    if tokio::time::timeout(GRACE, tasks.wait()).await.is_err() {
        tracing::warn!("connections were cut at the end of the grace period");
    }
}

async fn connection(stream: TcpStream, peer: SocketAddr, router: axum::Router, shutdown: CancellationToken) {
    stream.set_nodelay(true).ok();
    let mut builder = hyper::server::conn::http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIME)
        .max_buf_size(HEAD_LIMIT)
        .max_headers(HEADER_LINES);
    let from = router.map_request(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(Peer(peer));
        request
    });
    let served = builder.serve_connection(TokioIo::new(stream), TowerToHyperService::new(from));
    let mut served = std::pin::pin!(served);
    tokio::select! {
        ended = served.as_mut() => return note(ended),
        () = shutdown.cancelled() => {}
        () = sleep(LIFETIME) => {}
    }
    served.as_mut().graceful_shutdown();
    if let Ok(ended) = tokio::time::timeout(GRACE, served).await {
        note(ended);
    }
}

fn note(ended: Result<(), hyper::Error>) {
    if let Err(error) = ended {
        tracing::debug!(%error, "connection ended early");
    }
}
