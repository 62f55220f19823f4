//! Accepts connections: a bounded number of them, each with a limit on its headers and on the time that it may take for them and in
//! all. Where all places are taken, a new connection gets that of the one that has gone longest without an answer: who is slow gives
//! way to who is quick.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::http::Request;
use hyper::body::Incoming;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::ServiceExt as _;

use super::{HttpState, Peer, router};

/// Connections at one time.
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
    serve_at_most(CONNECTIONS, listener, state, shutdown).await;
}

pub(super) async fn serve_at_most(
    connections: usize,
    listener: TcpListener,
    state: HttpState,
    shutdown: CancellationToken,
) {
    let router = router(state);
    let places = Arc::new(Places::new(connections));
    let tasks = TaskTracker::new();
    loop {
        let accepted = tokio::select! {
            () = shutdown.cancelled() => break,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, peer)) => {
                let place = Places::enter(&places);
                tasks.spawn(connection((stream, peer), place, router.clone(), shutdown.clone()));
            }
            Err(error) => {
                // Out of descriptors, for example: at once again would only spin.
                tracing::warn!(%error, "connection not accepted");
                sleep(Duration::from_millis(100)).await;
            }
        }
    }
    tasks.close();
    if tokio::time::timeout(GRACE, tasks.wait()).await.is_err() {
        tracing::warn!("connections were cut at the end of the grace period");
    }
}

/// The places for connections, in the order of their last answers; one that was never answered counts from when it came.
struct Places {
    most: usize,
    taken: Mutex<Taken>,
}

#[derive(Default)]
struct Taken {
    last: u64,
    by: BTreeMap<u64, CancellationToken>,
}

impl Taken {
    fn put(&mut self, cut: CancellationToken) -> u64 {
        self.last += 1;
        self.by.insert(self.last, cut);
        self.last
    }
}

impl Places {
    fn new(most: usize) -> Self {
        Self { most, taken: Mutex::default() }
    }

    fn taken(&self) -> MutexGuard<'_, Taken> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a place, if need be that of another, which is cut off.
    fn enter(places: &Arc<Self>) -> Arc<Place> {
        let mut taken = places.taken();
        if taken.by.len() >= places.most
            && let Some((_, slowest)) = taken.by.pop_first()
        {
            slowest.cancel();
        }
        let cut = CancellationToken::new();
        let at = Mutex::new(taken.put(cut.clone()));
        Arc::new(Place { places: Arc::clone(places), at, cut })
    }
}

/// A place, given back when it is dropped.
struct Place {
    places: Arc<Places>,
    at: Mutex<u64>,
    cut: CancellationToken,
}

impl Place {
    fn at(&self) -> MutexGuard<'_, u64> {
        self.at.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes an answer.
    fn answered(&self) {
        let (mut at, mut taken) = (self.at(), self.places.taken());
        if let Some(cut) = taken.by.remove(&at) {
            *at = taken.put(cut);
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let at = *self.at();
        self.places.taken().by.remove(&at);
    }
}

async fn connection(
    (stream, peer): (TcpStream, SocketAddr),
    place: Arc<Place>,
    router: axum::Router,
    shutdown: CancellationToken,
) {
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
    let cut = place.cut.clone();
    let from = from.map_future(move |answer| {
        let place = Arc::clone(&place);
        async move {
            let answer = answer.await;
            place.answered();
            answer
        }
    });
    let served = builder.serve_connection(TokioIo::new(stream), TowerToHyperService::new(from));
    let mut served = std::pin::pin!(served);
    tokio::select! {
        ended = served.as_mut() => return note(ended),
        () = cut.cancelled() => return tracing::debug!("the slowest connection was cut off to make room"),
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
