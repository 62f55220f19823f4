//! What people asked of sources: a ConfigMap `idp-suspension-<source>` each in the home namespace, written by the command line and
//! watched by the daemon.

use std::collections::BTreeSet;
use std::sync::Arc;

use futures::StreamExt;
use kube::Api;
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::{self, Event, watcher};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::calls::Calls;
use super::raw::{Raw, resource};
use super::watch::{Pauses, SECONDS};
use crate::model::name::{Namespace, SourceName};
use crate::model::suspension::SuspensionAsked;
use crate::model::{LABEL_KEEPS, LABEL_MANAGED_BY, MANAGER};

/// What the names of the ConfigMaps begin with.
pub const PREFIX: &str = "idp-suspension-";
/// The entry of the ConfigMaps.
pub const ENTRY: &str = "suspension.json";
/// The value of [`LABEL_KEEPS`] on them.
pub const KEEPS: &str = "suspension";

/// Hears what was last asked of a source; nothing: it was removed.
pub type Heard = Arc<dyn Fn(&SourceName, Option<&SuspensionAsked>) + Send + Sync>;

/// Returns the ConfigMap that says what was asked of a source, for a server-side apply.
pub fn object(home: &str, source: &SourceName, asked: &SuspensionAsked) -> Value {
    let labels = json!({LABEL_MANAGED_BY: MANAGER, LABEL_KEEPS: KEEPS, "idp.dev/source": source});
    let text = serde_json::to_string(asked).unwrap_or_default();
    json!({"apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"name": format!("{PREFIX}{source}"), "namespace": home, "labels": labels}, "data": {ENTRY: text}})
}

/// Watches all of them until `shutdown`. `heard` is told of each, and then `listed` is cancelled: from then on what was asked before
/// the start is known.
pub fn watch(
    calls: &Calls,
    home: &Namespace,
    heard: Heard,
    listed: CancellationToken,
    (tasks, shutdown): (&TaskTracker, &CancellationToken),
) {
    let resource = resource("v1", "ConfigMap");
    let api: Api<Raw> = Api::namespaced_with(calls.client(), home.as_str(), &resource);
    let config = watcher::Config {
        label_selector: Some(format!("{LABEL_KEEPS}={KEEPS}")),
        timeout: Some(SECONDS),
        ..watcher::Config::default()
    };
    let shutdown = shutdown.clone();
    tasks.spawn(async move {
        let run = async {
            let mut events = std::pin::pin!(watcher(api, config).backoff(Pauses::default()));
            let mut there = Listing::default();
            while let Some(event) = events.next().await {
                match event {
                    Ok(event) => there.take(event, &heard, &listed),
                    Err(error) => {
                        tracing::debug!(%error, "the watch of suspensions failed and is begun anew");
                    }
                }
            }
        };
        shutdown.run_until_cancelled(run).await;
    });
}

/// Which ones there are, so that one that is missing from a new list is noticed.
#[derive(Default)]
struct Listing {
    there: BTreeSet<SourceName>,
    before: BTreeSet<SourceName>,
}

impl Listing {
    fn take(&mut self, event: Event<Raw>, heard: &Heard, listed: &CancellationToken) {
        match event {
            Event::Init => self.before = std::mem::take(&mut self.there),
            Event::InitApply(raw) | Event::Apply(raw) => {
                let Some((source, asked)) = read(&raw) else { return };
                heard(&source, Some(&asked));
                self.there.insert(source);
            }
            Event::InitDone => {
                for gone in std::mem::take(&mut self.before).difference(&self.there) {
                    heard(gone, None);
                }
                listed.cancel();
            }
            Event::Delete(raw) => {
                if let Some(source) = source(&raw)
                    && self.there.remove(&source)
                {
                    heard(&source, None);
                }
            }
        }
    }
}

fn source(raw: &Raw) -> Option<SourceName> {
    raw.name().strip_prefix(PREFIX)?.parse().ok()
}

/// Reads one; what is not readable suspends nothing and resumes nothing.
fn read(raw: &Raw) -> Option<(SourceName, SuspensionAsked)> {
    let source = source(raw)?;
    let text = raw.value().get("data").and_then(|data| data.get(ENTRY)?.as_str()).unwrap_or_default();
    match serde_json::from_str(text) {
        Ok(asked) => Some((source, asked)),
        Err(error) => {
            tracing::warn!(%source, %error, "a suspension cannot be read: suspend or resume the source again");
            None
        }
    }
}
