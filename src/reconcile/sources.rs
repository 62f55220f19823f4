//! What each source said last, with what only the driver can see of it: claims that are refused, and releases of its that it does
//! not declare. One task keeps it in the home namespace, so that a slow API server holds up no head, what failed is tried again, and
//! an older status never replaces a newer one.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::Notify;

use super::error::chain;
use super::pass::Driver;
use crate::cluster::home::{self, HomeError};
use crate::cluster::lease::Leadership;
use crate::http::sources::{LastError, SourceSeen};
use crate::model::desired::SourceProblem;
use crate::model::name::{ReleaseKey, SourceName};
use crate::source::{Pace, SourceReport, SourceStatus};

/// How soon a status is kept again that could not be.
const RETRY: Duration = Duration::from_secs(2);
/// Problems of a source that a release without a declaration shows.
const SHOWN: usize = 2;
/// Characters of an error that are kept.
const ERROR: usize = 1_000;

/// All sources of the configuration.
#[derive(Debug, Default)]
pub struct Sources {
    said: Mutex<BTreeMap<SourceName, Said>>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct Said {
    status: Option<SourceStatus>,
    /// The last look: when, and whether the repository answered. Not kept in the cluster: a look that finds nothing writes nothing.
    looked: Option<(Timestamp, bool)>,
    /// How it is looked at.
    pace: Option<Pace>,
    /// Why a look last failed.
    last_error: Option<LastError>,
    /// Its claims that are refused.
    refused: BTreeMap<ReleaseKey, SourceProblem>,
    /// Releases that it owns and does not declare.
    silent: BTreeSet<ReleaseKey>,
    /// What is kept is older.
    dirty: bool,
}

impl Said {
    /// Returns the status with the claims that are refused among its problems.
    fn whole(&self) -> Option<SourceStatus> {
        let mut status = self.status.clone()?;
        status.problem_count += self.refused.len();
        status.problems.extend(self.refused.values().cloned());
        Some(status)
    }
}

impl Sources {
    /// Makes them, none looked at.
    pub fn new(names: impl IntoIterator<Item = SourceName>) -> Self {
        let said = names.into_iter().map(|name| (name, Said::default())).collect();
        Self { said: Mutex::new(said), changed: Notify::new() }
    }

    fn said(&self) -> MutexGuard<'_, BTreeMap<SourceName, Said>> {
        self.said.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes that a source was looked at, whether its repository answered, and when it is looked at next.
    pub fn looked(&self, report: &SourceReport) {
        let mut all = self.said();
        let said = all.entry(report.source.clone()).or_default();
        said.looked = Some((report.looked_at, report.up));
        said.pace = report.pace;
        if let Some(problem) = report.heads.problems.first().filter(|_| !report.up) {
            let message = problem.message.chars().take(ERROR).collect();
            said.last_error = Some(LastError { at: report.looked_at, message });
        }
    }

    /// Returns how each source was last seen.
    pub fn seen(&self) -> Vec<SourceSeen> {
        let all = self.said();
        let seen = all.iter().map(|(name, said)| SourceSeen {
            up: said.looked.map(|(_, up)| up),
            status: said.whole().map(|status| SourceStatus {
                looked_at: said.looked.map_or(status.looked_at, |(at, _)| at),
                ..status
            }),
            pace: said.pace,
            last_error: said.last_error.clone(),
            ..SourceSeen::new(name.clone())
        });
        seen.collect()
    }

    /// Notes what a look changed; returns the releases that show why their source does not declare them.
    pub fn note(&self, status: &SourceStatus) -> BTreeSet<ReleaseKey> {
        let mut all = self.said();
        let said = all.entry(status.source.clone()).or_default();
        said.status = Some(status.clone());
        said.dirty = true;
        self.changed.notify_one();
        said.silent.clone()
    }

    /// Says why a release has no declaration although `owner` is its source; nothing before the source was looked at.
    pub fn why_silent(&self, owner: &SourceName, release: &ReleaseKey) -> Option<String> {
        let mut all = self.said();
        let Some(said) = all.get_mut(owner) else {
            return Some(format!(
                "its source {owner} is not in the configuration: what runs stays and nothing is deleted"
            ));
        };
        said.silent.insert(release.clone());
        let status = said.status.as_ref()?;
        let commit =
            status.commit.as_ref().map_or(String::new(), |commit| format!(" at commit {}", commit.short()));
        let problems = status.problems.iter().take(SHOWN).map(|problem| match &problem.path {
            Some(path) => format!("; {path}: {}", problem.message),
            None => format!("; {}", problem.message),
        });
        Some(format!(
            "its source {owner} does not declare it{commit}: what runs stays and nothing is deleted{}",
            problems.collect::<String>()
        ))
    }

    /// Notes that a release is declared by its source.
    pub fn heard(&self, owner: &SourceName, release: &ReleaseKey) {
        if let Some(said) = self.said().get_mut(owner) {
            said.silent.remove(release);
        }
    }

    /// Notes who else declares a release now, each with the commit; `asked` are all that ever did.
    pub fn refuse<'a>(
        &self,
        release: &ReleaseKey,
        owner: &SourceName,
        asked: impl Iterator<Item = (&'a SourceName, Option<String>)>,
    ) {
        let mut all = self.said();
        for (source, commit) in asked {
            let Some(said) = all.get_mut(source) else { continue };
            let problem = commit.map(|commit| SourceProblem {
                path: None,
                commit: Some(commit),
                message: format!(
                    "{release} belongs to source {owner}: the claim of source {source} is refused"
                ),
            });
            if said.refused.get(release) == problem.as_ref() {
                continue;
            }
            match problem {
                Some(problem) => {
                    tracing::warn!(%source, %release, %owner, "a claim is refused: the release belongs to another source");
                    said.refused.insert(release.clone(), problem);
                }
                None => {
                    said.refused.remove(release);
                }
            }
            said.dirty = said.status.is_some();
            self.changed.notify_one();
        }
    }

    /// Takes everything that has to be kept, each with the claims that are refused among its problems.
    fn take(&self) -> Vec<(SourceStatus, Vec<SourceProblem>)> {
        let mut all = self.said();
        all.values_mut()
            .filter_map(|said| {
                let status = said.whole().filter(|_| std::mem::take(&mut said.dirty))?;
                Some((status, said.refused.values().cloned().collect()))
            })
            .collect()
    }

    fn again(&self, source: &SourceName) {
        if let Some(said) = self.said().get_mut(source) {
            said.dirty = true;
        }
        self.changed.notify_one();
    }
}

/// Keeps what sources said, while this process leads.
pub async fn keep(driver: Arc<Driver>, mut leadership: Leadership) {
    loop {
        driver.sources.changed.notified().await;
        while leadership.epoch().is_none() {
            if !leadership.changed().await {
                return;
            }
        }
        let mut failed = false;
        for (status, refused) in driver.sources.take() {
            driver.reporter.source_problems(&status.source, &refused);
            if let Err(error) = keep_one(&driver, &status).await {
                tracing::warn!(source = %status.source, error = %chain(&error), "a source's status could not be kept");
                if matches!(error, HomeError::Api(_)) {
                    failed = true;
                    driver.sources.again(&status.source);
                }
            }
        }
        if failed {
            tokio::time::sleep(RETRY).await;
        }
    }
}

async fn keep_one(driver: &Driver, status: &SourceStatus) -> Result<(), HomeError> {
    let home = &driver.config.cluster.home_namespace;
    let value = serde_json::to_value(status).unwrap_or_default();
    home::put_source(driver.cluster.calls(), home, &status.source, &value).await?;
    if !status.problems.is_empty() {
        let event = super::problem::event(home, status, driver.clock.now());
        driver.reporter.announcer().announce(home.as_str(), event);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(source: &str, problems: &[&str]) -> SourceStatus {
        let problems: Vec<_> = problems
            .iter()
            .map(|message| SourceProblem { path: Some("a".into()), commit: None, message: (*message).into() })
            .collect();
        serde_json::from_value(serde_json::json!({
            "source": source, "repository": "r", "branch": "main", "looked_at": "2026-01-01T00:00:00Z",
            "commit": "0123456789012345678901234567890123456789", "files": 1, "releases": 1, "problems": problems,
        }))
        .unwrap()
    }

    #[test]
    fn a_release_that_its_source_does_not_declare_says_why_once_the_source_was_looked_at() {
        let (web, other): (SourceName, SourceName) = ("web".parse().unwrap(), "other".parse().unwrap());
        let release: ReleaseKey = "web.production".parse().unwrap();
        let sources = Sources::new([web.clone()]);
        assert_eq!(sources.why_silent(&web, &release), None);
        assert_eq!(
            sources.note(&status("web", &["no YAML"])),
            BTreeSet::from([release.clone()]),
            "looks again"
        );
        let why = sources.why_silent(&web, &release).unwrap();
        assert!(why.contains("at commit 0123456789") && why.contains("a: no YAML"), "{why}");
        assert!(sources.why_silent(&other, &release).unwrap().contains("not in the configuration"));
        sources.heard(&web, &release);
        assert!(sources.note(&status("web", &[])).is_empty());
    }

    #[test]
    fn a_refused_claim_shows_on_the_source_that_made_it_until_it_is_withdrawn() {
        let (web, other): (SourceName, SourceName) = ("web".parse().unwrap(), "other".parse().unwrap());
        let release: ReleaseKey = "web.production".parse().unwrap();
        let sources = Sources::new([web.clone(), other.clone()]);
        sources.note(&status("other", &[]));
        sources.refuse(&release, &web, [(&other, Some("c".to_owned()))].into_iter());
        let kept = sources.take();
        assert_eq!(kept.len(), 1);
        assert_eq!((kept[0].0.source.as_str(), kept[0].0.problem_count), ("other", 1));
        sources.refuse(&release, &web, [(&other, Some("c".to_owned()))].into_iter());
        assert!(sources.take().is_empty(), "said once");
        sources.refuse(&release, &web, [(&other, None)].into_iter());
        assert_eq!(sources.take()[0].0.problem_count, 0);
    }
}
