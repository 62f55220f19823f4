//! What is known about a source between two looks, and how one look becomes a report: each release's newest answer, or the reason
//! why the last good one stays. Nothing is ever taken away here.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use gix::ObjectId;
use jiff::Timestamp;

use super::branch::{Branch, File};
use super::history::hidden;
use super::report::{LookStats, SourceReport, SourceStatus, Trigger};
use crate::config::Source;
use crate::model::change::CommitId;
use crate::model::desired::{Desired, HeadUpdate, Heads, SourceProblem};
use crate::model::name::{ReleaseKey, ServiceName};

/// Characters of a sentence, or of a path, that are shown.
const TEXT_LIMIT: usize = 10_000;

/// What became of a branch in one look.
pub(super) struct BranchLook<'a> {
    pub(super) name: &'a str,
    /// The tag that was last taken, where tags are followed.
    pub(super) tag: Option<&'a str>,
    pub(super) branch: &'a Branch,
    /// Why it could not be read; the branch is then as it was.
    pub(super) error: Option<String>,
    /// The head that was refused, where that is why.
    pub(super) refused: Option<ObjectId>,
}

/// What was last told about a release.
#[derive(Debug, Clone, PartialEq)]
enum Told {
    Good(Arc<Desired>),
    Kept(String),
}

#[derive(Debug, Clone)]
struct Release {
    branch: String,
    path: String,
    told: Told,
}

/// The source's memory.
#[derive(Debug, Default)]
pub(super) struct Memory {
    releases: BTreeMap<ReleaseKey, Release>,
    /// What was last reported, without its releases.
    last: Option<SourceReport>,
    changed_at: Option<Timestamp>,
    /// The head of each branch.
    heads: Vec<(String, ObjectId)>,
}

/// One look, gathered.
#[derive(Default)]
struct Gathered {
    releases: BTreeMap<ReleaseKey, Release>,
    problems: Vec<SourceProblem>,
    files: usize,
    declared: BTreeSet<ReleaseKey>,
}

impl Gathered {
    fn problem(&mut self, path: Option<&str>, commit: Option<&str>, message: &str) {
        let (path, commit) = (path.map(line), commit.map(str::to_owned));
        self.problems.push(SourceProblem { path, commit, message: visible(message) });
    }

    fn keep(&mut self, key: &ReleaseKey, from: &Release, reason: &str) {
        let release = Release { told: Told::Kept(visible(reason)), ..from.clone() };
        self.releases.entry(key.clone()).or_insert(release);
    }
}

impl Memory {
    /// Turns a look into a report. `trouble` is what is wrong with the repository as a whole.
    pub(super) fn report(
        &mut self,
        source: &Source,
        branches: &[BranchLook<'_>],
        trouble: Option<&str>,
        (trigger, cost, now): (Trigger, LookStats, Timestamp),
    ) -> SourceReport {
        let mut gathered = Gathered::default();
        let up = trouble.is_none() && branches.iter().all(|look| look.error.is_none());
        if let Some(trouble) = trouble {
            gathered.problem(None, None, trouble);
        }
        for look in branches {
            self.gather(look, trouble, &mut gathered);
        }
        self.keep_vanished(branches, &mut gathered);
        let follow = source.follow.to_string();
        let own = branches.iter().find(|look| look.name == follow);
        let tag = own.and_then(|look| look.tag).map(str::to_owned);
        let commit = own.and_then(|look| look.branch.head);
        let commit = commit.and_then(|id| id.to_string().parse::<CommitId>().ok());
        self.note_heads(branches, now);
        let status = SourceStatus {
            source: source.name.clone(),
            repository: source.url.to_string(),
            branch: follow,
            tag,
            commit: commit.clone(),
            looked_at: now,
            changed_at: self.changed_at,
            files: gathered.files,
            releases: gathered.declared.len(),
            problem_count: gathered.problems.len(),
            problems: shown(&gathered.problems),
        };
        let status_changed = self
            .last
            .as_ref()
            .is_none_or(|old| SourceStatus { looked_at: now, ..old.status.clone() } != status);
        let report = SourceReport {
            source: source.name.clone(),
            commit,
            heads: Heads { releases: BTreeMap::new(), problems: gathered.problems },
            looked_at: now,
            trigger,
            stats: cost,
            up,
            status,
            status_changed,
            pace: None,
        };
        self.last = Some(report.clone());
        let heads = Heads { releases: self.moved(gathered.releases), ..report.heads };
        SourceReport { heads, ..report }
    }

    /// Reports a look that found all as the last one left it, whatever the source declares: what it costs must not grow with that.
    pub(super) fn again(
        &mut self,
        (trigger, cost, now): (Trigger, LookStats, Timestamp),
    ) -> Option<SourceReport> {
        let last = self.last.as_mut()?;
        (last.trigger, last.stats, last.looked_at) = (trigger, cost, now);
        (last.status.looked_at, last.status_changed) = (now, false);
        Some(last.clone())
    }

    fn gather(&self, look: &BranchLook<'_>, trouble: Option<&str>, gathered: &mut Gathered) {
        let error = trouble.or(look.error.as_deref());
        let commit = look.branch.head.map(|id| id.to_string());
        if let (Some(error), None) = (&look.error, trouble) {
            let refused = look.refused.map(|id| id.to_string());
            gathered.problem(None, refused.as_deref().or(commit.as_deref()), error);
        }
        for (path, file) in look.branch.files.iter() {
            gathered.files += 1;
            match &file.state {
                Err(message) => {
                    gathered.problem(Some(path), commit.as_deref(), message);
                    let reason = format!("{}: {message}", line(path));
                    for (key, release) in self.of(look.name, path, file.service.as_ref()) {
                        gathered.declared.insert(key.clone());
                        gathered.keep(key, release, error.unwrap_or(&reason));
                    }
                }
                Ok(_) => Self::gather_answers(look, (path, file), error, gathered),
            }
        }
    }

    fn gather_answers(
        look: &BranchLook<'_>,
        (path, file): (&str, &File),
        error: Option<&str>,
        gathered: &mut Gathered,
    ) {
        let (Ok(good), Some(service)) = (&file.state, &file.service) else { return };
        let commit = look.branch.head.map(|id| id.to_string());
        for (environment, answer) in &good.answers {
            let key = ReleaseKey { service: service.clone(), environment: environment.clone() };
            let told = match (error, answer) {
                (Some(error), _) => Told::Kept(visible(error)),
                (None, Ok(desired)) => Told::Good(desired.clone()),
                (None, Err(message)) => Told::Kept(visible(&format!("{}: {message}", line(path)))),
            };
            if let Err(message) = answer {
                gathered.problem(Some(path), commit.as_deref(), message);
            }
            gathered.declared.insert(key.clone());
            let release = Release { branch: look.name.to_owned(), path: path.to_owned(), told };
            gathered.releases.insert(key, release);
        }
    }

    /// Returns the known releases of a file that is refused now: those of its service, and those that came from its path.
    fn of<'a>(
        &'a self,
        branch: &'a str,
        path: &'a str,
        service: Option<&'a ServiceName>,
    ) -> impl Iterator<Item = (&'a ReleaseKey, &'a Release)> {
        self.releases.iter().filter(move |(key, release)| {
            release.branch == branch && (Some(&key.service) == service || release.path == path)
        })
    }

    /// Keeps every release that is known and was not met: its file or its environment is gone. Nothing is deleted.
    fn keep_vanished(&self, branches: &[BranchLook<'_>], gathered: &mut Gathered) {
        for (key, release) in &self.releases {
            if gathered.releases.contains_key(key) {
                continue;
            }
            let head =
                branches.iter().find(|look| look.name == release.branch).and_then(|look| look.branch.head);
            let commit = head.map(|id| id.to_string());
            let path = &release.path;
            let reason = format!(
                "{path} no longer declares {key} on {}: the last good version stays and nothing is deleted",
                release.branch
            );
            gathered.problem(Some(path), commit.as_deref(), &reason);
            gathered.keep(key, release, &reason);
        }
    }

    fn note_heads(&mut self, branches: &[BranchLook<'_>], now: Timestamp) {
        let head = |look: &BranchLook<'_>| Some((look.name.to_owned(), look.branch.head?));
        let heads: Vec<_> = branches.iter().filter_map(head).collect();
        if heads.iter().any(|head| !self.heads.contains(head)) {
            self.changed_at = Some(now);
        }
        self.heads = heads;
    }

    /// Remembers what is told now and returns what differs from what was told before.
    fn moved(&mut self, releases: BTreeMap<ReleaseKey, Release>) -> BTreeMap<ReleaseKey, HeadUpdate> {
        let mut moved = BTreeMap::new();
        for (key, release) in &releases {
            if self.releases.get(key).is_some_and(|old| same(&old.told, &release.told)) {
                continue;
            }
            let update = match &release.told {
                Told::Good(desired) => HeadUpdate::Known(Box::new(Desired::clone(desired))),
                Told::Kept(reason) => HeadUpdate::Keep { reason: reason.clone() },
            };
            moved.insert(key.clone(), update);
        }
        self.releases = releases;
        moved
    }
}

/// Cuts problems to what a ConfigMap and a screen can hold.
fn shown(problems: &[SourceProblem]) -> Vec<SourceProblem> {
    let cut = |problem: &SourceProblem| {
        let message = problem.message.chars().take(1_000).collect();
        SourceProblem { message, ..problem.clone() }
    };
    problems.iter().take(50).map(cut).collect()
}

/// Shows a text from a repository: cut, and what could make a screen or a log read otherwise written out.
fn visible(text: &str) -> String {
    let shown = |c: char| match c {
        '\n' => vec![c],
        c if hidden(c) => c.escape_unicode().collect(),
        c => vec![c],
    };
    text.chars().take(TEXT_LIMIT).flat_map(shown).collect()
}

/// As [`visible`], in one line.
fn line(text: &str) -> String {
    visible(text).replace('\n', "\\u{a}")
}

fn same(old: &Told, new: &Told) -> bool {
    match (old, new) {
        (Told::Good(old), Told::Good(new)) => Arc::ptr_eq(old, new) || old == new,
        (old, new) => old == new,
    }
}
