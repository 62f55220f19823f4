//! The HTTP door of the daemon: webhooks become hints or news of an image, metrics and health go out.

use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::watch;

use super::pass::Driver;
use super::supervisor::Supervisor;
use crate::cluster::lease::Leadership;
use crate::http::{self, HookSeen, HttpState, Readiness, SourcesNow};
use crate::source::Hints;
use crate::source::webhook::{HookOutcome, Hooks, News};

/// How often readiness is asked.
const LOOK: Duration = Duration::from_millis(250);

/// Opens the door.
pub fn open(
    supervisor: &Supervisor,
    listener: TcpListener,
    driver: &Arc<Driver>,
    hints: &Hints,
    leadership: Leadership,
) {
    let (sender, ready) = watch::channel(Readiness::NotReady("starting".to_owned()));
    let synced = driver.cluster.view().synced();
    supervisor.spawn("readiness", async move {
        loop {
            let now = match (*synced.borrow(), leadership.epoch()) {
                (false, _) => Readiness::NotReady("the watches have not seen the cluster yet".to_owned()),
                (true, None) => Readiness::NotReady("another process leads; this one stands by".to_owned()),
                (true, Some(_)) => Readiness::Ready,
            };
            sender.send_if_modified(|before| std::mem::replace(before, now.clone()) != now);
            tokio::time::sleep(LOOK).await;
        }
    });
    let (text, counted) = (Arc::clone(driver), Arc::clone(driver));
    let metrics = Arc::new(move || {
        let metrics = text.reporter.metrics();
        metrics.queue.depth(u32::try_from(text.queue.depth()).unwrap_or(u32::MAX));
        metrics.render()
    });
    let on_hook = Arc::new(move |seen: &HookSeen| {
        let (source, forge) = match &seen.source {
            Some((source, forge)) => (Some(source), forge.name()),
            None => (None, "unknown"),
        };
        let result = seen.outcome.name();
        counted.reporter.metrics().hooks.request(source, forge, result);
        if let HookOutcome::Accepted(News::Artifact(artifact)) = &seen.outcome {
            counted.images.published(artifact);
        }
    });
    let looked = Arc::clone(driver);
    let sources = (hints.clone(), Arc::new(move || looked.sources.seen()) as SourcesNow);
    let hooks = Arc::new(Hooks::new(&driver.config, hints));
    let state = HttpState::new(hooks, sources, metrics, ready, on_hook);
    let shutdown = supervisor.shutdown().clone();
    supervisor.spawn("http", async move {
        http::serve(listener, state, shutdown).await;
    });
}
