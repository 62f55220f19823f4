//! Commit statuses: one sender a source whose forge can show them. The author of a merge hears what became of it.

use std::collections::BTreeMap;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::error::chain;
use crate::config::{Config, StatusForge, StatusTarget};
use crate::event::status::{statuses_of, statuses_of_problems};
use crate::event::status_sink::{Forge, ForgeTarget, StatusSink, Token};
use crate::model::desired::SourceProblem;
use crate::model::name::{ReleaseKey, SourceName};
use crate::model::record::Record;
use crate::telemetry::metrics::EventMetrics;

/// The senders by source.
pub struct Statuses(BTreeMap<SourceName, StatusSink>);

impl Statuses {
    /// Starts a sender for each source that names a forge. Fails if a token cannot be read or an address is none.
    pub fn start(
        config: &Config,
        metrics: &EventMetrics,
        tasks: &TaskTracker,
        stop: &CancellationToken,
    ) -> Result<Self, Box<dyn std::error::Error + Send + Sync>> {
        let mut sinks = BTreeMap::new();
        for source in config.sources.values() {
            let Some(target) = &source.status else { continue };
            let target = forge_target(target)?;
            let sink = StatusSink::new();
            let run = sink.clone().run(target, metrics.clone(), stop.clone());
            let name = source.name.clone();
            tasks.spawn(async move {
                if let Err(error) = run.await {
                    tracing::error!(source = %name, error = %chain(&error), "commit statuses are not sent");
                }
            });
            sinks.insert(source.name.clone(), sink);
        }
        Ok(Self(sinks))
    }

    /// Nobody is told.
    pub fn none() -> Self {
        Self(BTreeMap::new())
    }

    /// Tells a release's forge what its record says.
    pub fn tell(&self, release: &ReleaseKey, record: &Record) {
        let Some(sink) = self.0.get(&record.source) else { return };
        for (commit, status) in statuses_of(release, record, None) {
            sink.offer(&commit, status);
        }
    }

    /// Tells a source's forge what is wrong in its commits.
    pub fn problems(&self, source: &SourceName, problems: &[SourceProblem]) {
        let Some(sink) = self.0.get(source) else { return };
        for (commit, status) in statuses_of_problems(source, problems, None) {
            sink.offer(&commit, status);
        }
    }
}

fn forge_target(target: &StatusTarget) -> Result<ForgeTarget, Box<dyn std::error::Error + Send + Sync>> {
    let forge = match target.forge {
        StatusForge::GitHub => Forge::GitHub,
        StatusForge::Gitea => Forge::Gitea,
    };
    let mut repository = target.api_url.clone();
    repository.set_path(&format!("{}/{}", target.owner, target.repository));
    let token = target.token.read()?;
    Ok(ForgeTarget::new(forge, &repository, Some(&target.api_url), Token::new(token.expose()))?)
}
