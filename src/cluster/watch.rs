//! The watches: one task a kind, which feeds the view for as long as the process lives.

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use kube::runtime::WatchStreamExt;
use kube::runtime::utils::Backoff;
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Api, Client};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::Instrument;

use super::raw::Raw;
use super::view::View;
use super::watched::Watched;

/// The server ends a watch after so long and it is begun anew from where it was: a connection that died silently is noticed that
/// late at the latest.
pub(super) const SECONDS: u32 = 60;
/// The pause after a first failure; it doubles.
const PAUSE: Duration = Duration::from_millis(200);
/// The longest pause: how late a server that is back is noticed.
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

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
    let resource = watched.resource();
    let api: Api<Raw<META>> = Api::all_with(client, &resource);
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
                take(view, watched, &resource, event);
            }
            Err(error) => {
                let error = error.to_string();
                if view.watches().failed(watched, error.clone()) {
                    tracing::warn!(%error, "a watch failed and is begun anew");
                }
            }
        }
    }
}

fn take<const META: bool>(
    view: &View,
    watched: Watched,
    resource: &kube::core::ApiResource,
    event: Event<Raw<META>>,
) {
    match event {
        Event::Init => view.watches().begin(watched),
        Event::InitApply(raw) | Event::Apply(raw) => view.take(watched, resource, raw),
        Event::Delete(raw) => view.lose(watched, resource, &raw),
        Event::InitDone => view.listed(watched),
    }
}
