//! The HTTP door of the daemon: webhooks become hints or news of an image, metrics and health go out.

use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::watch;

use super::pass::Driver;
use super::supervisor::Supervisor;
use crate::cluster::lease::Leadership;
use crate::cluster::pulls::PullKeeper;
use crate::http::sources::{Paused, SourceSeen, webhook};
use crate::http::{self, HookSeen, HttpState, KeepPull, PullsNow, Readiness, Ways};
use crate::source::webhook::{HookOutcome, Hooks, News};
use crate::source::{Hints, Hosts, Suspensions};
use crate::telemetry::metrics::SourceStands;

/// How often readiness is asked.
const LOOK: Duration = Duration::from_millis(250);

/// What the loops of all sources share with the door.
#[derive(Clone)]
pub struct Shared {
    /// Asks for looks.
    pub hints: Hints,
    /// Which of them are suspended.
    pub suspensions: Suspensions,
    /// Which hosts are left alone.
    pub hosts: Hosts,
}

/// Opens the door.
pub fn open(
    supervisor: &Supervisor,
    listener: TcpListener,
    driver: &Arc<Driver>,
    shared: &Shared,
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
    let hooks = Arc::new(Hooks::new(&driver.config, &shared.hints, &shared.suspensions));
    let seen = Arc::new(seen(Arc::clone(driver), shared.clone()));
    let (text, counted) = (Arc::clone(driver), Arc::clone(driver));
    let (scraped, heard) = (Arc::clone(&seen), Arc::clone(&hooks));
    let metrics = Arc::new(move || {
        let metrics = text.reporter.metrics();
        metrics.queue.depth(u32::try_from(text.queue.depth()).unwrap_or(u32::MAX));
        let sources = scraped();
        metrics.sources.stand(sources.iter().map(|seen| (&seen.name, stands(seen, &heard))));
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
    let (keep, pulls) = pulls(driver);
    let Shared { hints, suspensions, .. } = shared.clone();
    let releases = super::steer::releases(driver);
    let ways = Ways { hints, suspensions, sources: seen, keep, pulls, releases };
    let state = HttpState::new(hooks, ways, metrics, ready, on_hook);
    let shutdown = supervisor.shutdown().clone();
    supervisor.spawn("http", async move {
        http::serve(listener, state, shutdown).await;
    });
}

/// Tells how each source was last seen, and what keeps it from being looked at.
fn seen(driver: Arc<Driver>, shared: Shared) -> impl Fn() -> Vec<SourceSeen> + Send + Sync {
    move || {
        let mut sources = driver.sources.seen();
        for seen in &mut sources {
            seen.suspended = shared.suspensions.of(&seen.name);
            let pause =
                driver.config.sources.get(&seen.name).and_then(|source| shared.hosts.pause(&source.url));
            seen.paused = pause.and_then(|pause| {
                Some(Paused {
                    until: driver.clock.now().checked_add(pause.left).ok()?,
                    host: pause.host,
                    why: pause.why,
                })
            });
        }
        sources
    }
}

fn stands(seen: &SourceSeen, hooks: &Hooks) -> SourceStands {
    let status = seen.status.as_ref();
    SourceStands {
        last_look: status.map(|status| status.looked_at),
        last_change: status.and_then(|status| status.changed_at),
        last_webhook: webhook(hooks, &seen.name).and_then(|webhook| webhook.last),
        problems: status.map(|status| status.problem_count),
        interval: seen.pace.map(|pace| pace.interval_seconds),
        paused: seen.paused.is_some(),
        suspended: seen.suspended.is_some(),
    }
}

/// Keeps and reads the pull requests of the sources, in the home namespace.
fn pulls(driver: &Driver) -> (KeepPull, PullsNow) {
    let home = driver.config.cluster.home_namespace.clone();
    let keeper = PullKeeper::new(driver.cluster.calls().clone(), home);
    let reader = keeper.clone();
    let keep: KeepPull = Arc::new(move |source, pull, received| {
        let keeper = keeper.clone();
        Box::pin(async move { keeper.keep(&source, pull, received).await.map_err(|error| error.to_string()) })
    });
    let pulls: PullsNow = Arc::new(move |source| {
        let reader = reader.clone();
        Box::pin(async move { reader.read(&source).await.map_err(|error| error.to_string()) })
    });
    (keep, pulls)
}
