//! The watches: one task a kind, which feeds the view for as long as the process lives.

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use kube::core::ApiResource;
use kube::runtime::WatchStreamExt;
use kube::runtime::utils::Backoff;
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Api, Client};
use serde_json::Value;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::Instrument;

use super::error::RIGHTS;
use super::raw::{self, Raw};
use super::view::View;
use super::watched::Watched;

/// The server ends a watch after so long and it is begun anew from where it was: a connection that died silently is noticed that
/// late at the latest.
pub(super) const SECONDS: u32 = 60;
/// The pause after a first failure; it doubles.
const PAUSE: Duration = Duration::from_millis(200);
/// The longest pause: how late a server that is back is noticed.
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// How late a kind of routes that comes to the server is noticed.
const MISSING: Duration = Duration::from_mins(1);

/// Pauses between failures in a row.
pub(super) struct Pauses {
    next: Duration,
}

impl Default for Pauses {
    fn default() -> Self {
        Self { next: PAUSE }
    }
}

impl Iterator for Pauses {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        let pause = self.next;
        self.next = (pause * 2).min(LONGEST_PAUSE);
        Some(pause)
    }
}

impl Backoff for Pauses {
    fn reset(&mut self) {
        self.next = PAUSE;
    }
}

/// Starts all watches; they end with `shutdown`.
pub fn spawn(client: &Client, view: &Arc<View>, tasks: &TaskTracker, shutdown: &CancellationToken) {
    for watched in Watched::ALL {
        let (client, view, shutdown) = (client.clone(), Arc::clone(view), shutdown.clone());
        let span = tracing::info_span!("watch", kind = watched.name());
        let task = async move {
            let run = async {
                if watched.is_metadata() {
                    run::<true>(client, &view, watched).await;
                } else {
                    run::<false>(client, &view, watched).await;
                }
            };
            shutdown.run_until_cancelled(run).await;
        };
        tasks.spawn(task.instrument(span));
    }
}

async fn run<const META: bool>(client: Client, view: &View, watched: Watched) {
    if watched.is_route() {
        return run_routes::<META>(client, view, watched).await;
    }
    follow::<META>(client, view, watched, &watched.resource()).await;
}

/// Watches a kind that the server need not have, in the first version that it has. One that is missing, or may not be read, holds nobody
/// up; it is asked for again from time to time.
async fn run_routes<const META: bool>(client: Client, view: &View, watched: Watched) {
    loop {
        for version in watched.versions() {
            let resource = raw::resource(version, watched.name());
            view.serve_routes(watched, Some(version));
            let end = follow::<META>(client.clone(), view, watched, &resource).await;
            view.serve_routes(watched, None);
            if let End::Forbidden(error) = end {
                tracing::warn!(kind = watched.name(), %error, "routes may not be read: none are used");
            }
        }
        missing(view, watched);
        tokio::time::sleep(MISSING).await;
    }
}

/// The server has nothing of a kind that it need not have: that is an answer too.
fn missing(view: &View, watched: Watched) {
    view.watches().heard(watched);
    view.watches().done(watched);
}

/// Why a watch is not begun anew.
enum End {
    Missing,
    Forbidden(String),
}

async fn follow<const META: bool>(
    client: Client,
    view: &View,
    watched: Watched,
    resource: &ApiResource,
) -> End {
    let api: Api<Raw<META>> = Api::all_with(client, resource);
    let config = watcher::Config {
        label_selector: watched.selector(),
        timeout: Some(SECONDS),
        ..watcher::Config::default()
    };
    let mut events = std::pin::pin!(watcher(api, config).backoff(Pauses::default()));
    while let Some(event) = events.next().await {
        match event {
            Ok(event) => {
                // An initial list begins before the server was asked, so it is no sign of life.
                if !matches!(event, Event::Init) {
                    view.watches().heard(watched);
                }
                take(view, watched, resource, event);
            }
            Err(error) => {
                let (code, mut error) = (refused(&error), error.to_string());
                if code == Some(403) {
                    error = format!("{error} ({RIGHTS})");
                }
                match code.filter(|_| watched.is_route()) {
                    Some(404) => return End::Missing,
                    Some(403) => return End::Forbidden(error),
                    _ => {}
                }
                if view.watches().failed(watched, error.clone()) {
                    tracing::warn!(%error, "a watch failed and is begun anew");
                }
            }
        }
    }
    End::Missing
}

/// The code with which the server refused to list.
fn refused(error: &watcher::Error) -> Option<u16> {
    match error {
        watcher::Error::InitialListFailed(kube::Error::Api(status))
        | watcher::Error::WatchStartFailed(kube::Error::Api(status)) => Some(status.code),
        _ => None,
    }
}

/// What a watch says, for who plays the API server's part.
#[derive(Debug, Clone)]
pub enum Said {
    /// An initial list begins.
    Begin,
    /// An object of the initial list.
    Listed(Value),
    /// The initial list is whole: what it did not show is gone.
    Done,
    /// An object as it is now.
    Changed(Value),
    /// An object as it last was.
    Gone(Value),
    /// The server does not know the kind.
    Missing,
}

/// Feeds the view as a watch does.
pub(super) fn tell(view: &View, watched: Watched, said: Said) {
    let resource = watched.resource();
    let event = match said {
        Said::Missing => return missing(view, watched),
        Said::Begin => Event::Init,
        Said::Listed(value) => Event::InitApply(Raw::<false>::new(value)),
        Said::Done => Event::InitDone,
        Said::Changed(value) => Event::Apply(Raw::new(value)),
        Said::Gone(value) => Event::Delete(Raw::new(value)),
    };
    take(view, watched, &resource, event);
}

fn take<const META: bool>(view: &View, watched: Watched, resource: &ApiResource, event: Event<Raw<META>>) {
    match event {
        Event::Init => view.watches().begin(watched),
        Event::InitApply(raw) | Event::Apply(raw) => view.take(watched, resource, raw),
        Event::Delete(raw) => view.lose(watched, resource, &raw),
        Event::InitDone => view.listed(watched),
    }
}
