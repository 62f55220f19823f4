//! One tracked branch of a source at one commit: its declaration files, what each asks for, and where its content comes from. A new
//! head re-renders only the files whose declaration or watched content moved; the others keep their answer.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use gix::{ObjectId, Repository};

use super::changes::changes;
use super::error::GitError;
use super::find::{Changes as Changed, Finder, Found, Walked};
use super::history::{CANDIDATES, Deepen, History, Origin, Step, commit_id, hidden, revision};
use super::index::Files;
use super::manifests::manifests;
use super::report::{Compose, DeclareRequest, Declared, Refused, RenderRequest};
use super::tree::{Budget, blob, commit};
use super::watched::Watched;
use crate::config::Source;
use crate::model::change::{Changes, CommitId};
use crate::model::desired::Desired;
use crate::model::image::Wanted;
use crate::model::name::{EnvironmentName, ServiceName};

/// Declaration files that one branch may have.
const FILES_LIMIT: usize = 20_000;
/// How many files of those that declare one service are named.
const DOUBLES_SHOWN: usize = 3;

/// What a branch is read with; the same for every look.
pub(super) struct Context<'a> {
    pub(super) source: &'a Source,
    pub(super) finder: &'a Finder,
    pub(super) compose: &'a Compose,
    /// The environments that follow this branch and that the source may claim.
    pub(super) environments: &'a [EnvironmentName],
    /// Every environment that the source may claim.
    pub(super) claimable: &'a [EnvironmentName],
}

/// A branch as it was last read.
#[derive(Debug, Default)]
pub(super) struct Branch {
    pub(super) head: Option<ObjectId>,
    pub(super) files: Files,
    walked: Option<Arc<Walked>>,
}

/// A declaration file.
#[derive(Debug)]
pub(super) struct File {
    /// The service that it declares, or did when it could last be read.
    pub(super) service: Option<ServiceName>,
    /// The blob, and what it says of itself.
    pub(super) declared: Result<(ObjectId, Declared), String>,
    /// What came of it.
    pub(super) state: Result<Good, String>,
}

/// A declaration file that was rendered.
#[derive(Debug, Clone)]
pub(super) struct Good {
    blob: ObjectId,
    declared: Declared,
    pub(super) watched: Arc<Watched>,
    pub(super) origin: Origin,
    changes: Changes,
    /// What it asks for, by environment.
    pub(super) answers: BTreeMap<EnvironmentName, Result<Arc<Desired>, String>>,
}

/// A file that was read anew: the service that it declares, or did, and what it says of itself.
type Read = (Option<ServiceName>, Result<(ObjectId, Declared), String>);

impl Branch {
    /// Moves to a head and returns how many files were rendered. After an error the branch is as it was. What a commit does not touch
    /// is not looked at.
    pub(super) fn advance(
        &mut self,
        context: &Context<'_>,
        repo: &Repository,
        head: ObjectId,
        deepen: &mut Deepen<'_>,
        budget: &mut Budget,
    ) -> Result<u64, GitError> {
        if self.head == Some(head) {
            return Ok(0);
        }
        let tree = commit(repo, head)?;
        let tree = tree.tree_id().map_err(GitError::corrupt)?.detach();
        let mut history = History::new(repo, head, deepen);
        let fresh = match self.head {
            Some(former) => history.distance(former, budget)?,
            None => None,
        };
        let (walked, changes) = context.finder.walk(repo, tree, self.walked.as_ref(), budget)?;
        self.count(context, &changes)?;
        let mut reads: BTreeMap<String, Read> = BTreeMap::new();
        for found in changes.found {
            let (path, read) = self.read(context, repo, found, budget)?;
            reads.insert(path, read);
        }
        let gone: BTreeSet<String> = changes.gone.into_iter().collect();
        let moved = self.moved(&mut history, fresh, budget)?;
        let doubles = self.doubles(&reads, &gone);
        let touched = self.touched(&reads, &gone, moved.as_ref(), doubles.keys());
        let mut look = Look { context, repo, head, tree, fresh, moved, history, budget, rendered: 0 };
        let mut files = Vec::with_capacity(touched.len());
        for path in touched {
            let prior = self.files.get(&path);
            let read = reads
                .remove(&path)
                .or_else(|| prior.map(|file| (file.service.clone(), file.declared.clone())));
            let Some((service, declared)) = read else { continue };
            let prior = prior.and_then(|file| file.state.as_ref().ok());
            let state = match doubled(&declared, &doubles) {
                Some(message) => Err(message),
                None => look.file(&path, &declared, prior)?,
            };
            files.push((path, File { service, declared, state }));
        }
        let rendered = look.rendered;
        for path in &gone {
            self.files.remove(path);
        }
        for (path, file) in files {
            self.files.put(path, file);
        }
        (self.head, self.walked) = (Some(head), Some(walked));
        Ok(rendered)
    }

    /// Refuses more files than anybody has.
    fn count(&self, context: &Context<'_>, changes: &Changed) -> Result<(), GitError> {
        let fresh = changes.found.iter().filter(|found| self.files.get(&found.path).is_none()).count();
        let files = (self.files.iter().count() + fresh).saturating_sub(changes.gone.len());
        if files <= FILES_LIMIT {
            return Ok(());
        }
        Err(GitError::TooLarge {
            what: format!("the source {}", context.source.name),
            size: format!("{files} declaration files"),
            limit: format!("{FILES_LIMIT} files"),
        })
    }

    /// Reads a file and asks who it is; an unreadable file keeps the name that it had.
    fn read(
        &self,
        context: &Context<'_>,
        repo: &Repository,
        found: Found,
        budget: &mut Budget,
    ) -> Result<(String, Read), GitError> {
        let Found { path, blob: id } = found;
        let known = self.files.get(&path).and_then(|file| file.service.clone());
        if path.chars().any(hidden) {
            let why = "its path has control or direction characters: rename it".to_owned();
            return Ok((path, (known, Err(why))));
        }
        let bytes = match id.and_then(|id| Ok((id, blob(repo, id, &path, budget)?))) {
            Ok(read) => read,
            Err(error @ (GitError::TooLarge { .. } | GitError::NotPlain { .. })) => {
                return Ok((path, (known, Err(error.sentence()))));
            }
            Err(error) => return Err(error),
        };
        let (id, bytes) = bytes;
        let request = DeclareRequest {
            source: context.source.name.clone(),
            path: path.clone(),
            bytes: Arc::from(bytes),
            environments: context.claimable.to_vec(),
        };
        let read = match (context.compose.declare)(&request) {
            Ok(declared) if !context.source.services.allows(&declared.service) => {
                let Source { name, services, .. } = context.source;
                let service = declared.service;
                let message = format!(
                    "the source {name} may not declare the service {service}: it may declare {}",
                    services.written()
                );
                (None, Err(message))
            }
            Ok(declared) => (Some(declared.service.clone()), Ok((id, declared))),
            Err(Refused { service, message }) => (service.or(known), Err(message)),
        };
        Ok((path, read))
    }

    /// Returns the files that watch what the new commits changed; `None`: that is not known, so everything may have moved.
    fn moved(
        &self,
        history: &mut History<'_>,
        fresh: Option<usize>,
        budget: &mut Budget,
    ) -> Result<Option<BTreeSet<String>>, GitError> {
        let Some(fresh) = fresh else { return Ok(None) };
        let mut moved = BTreeSet::new();
        for index in 0..fresh {
            let Some(changed) = history.step(index, budget)?.and_then(Step::changed) else { return Ok(None) };
            for path in changed {
                self.files.touched_by(path, &mut moved);
            }
        }
        Ok(Some(moved))
    }

    /// Returns, for each service that a file begins or ceases to declare, the files that declare it now.
    fn doubles(
        &self,
        reads: &BTreeMap<String, Read>,
        gone: &BTreeSet<String>,
    ) -> BTreeMap<ServiceName, Vec<String>> {
        let mut doubles: BTreeMap<ServiceName, Vec<String>> = BTreeMap::new();
        let before = gone.iter().chain(reads.keys()).filter_map(|path| self.files.get(path));
        for (_, declared) in before.filter_map(|file| file.declared.as_ref().ok()) {
            doubles.entry(declared.service.clone()).or_default();
        }
        for (path, (_, declared)) in reads {
            if let Ok((_, declared)) = declared {
                doubles.entry(declared.service.clone()).or_default().push(path.clone());
            }
        }
        for (service, paths) in &mut doubles {
            let others = self.files.declaring(service);
            paths.extend(others.filter(|path| !gone.contains(*path) && !reads.contains_key(*path)).cloned());
            paths.sort();
        }
        doubles
    }

    /// Returns the files that have to be looked at: read anew, moved, declared elsewhere as well, or open for images.
    fn touched<'a>(
        &self,
        reads: &BTreeMap<String, Read>,
        gone: &BTreeSet<String>,
        moved: Option<&BTreeSet<String>>,
        services: impl Iterator<Item = &'a ServiceName>,
    ) -> BTreeSet<String> {
        let mut touched: BTreeSet<String> = reads.keys().cloned().collect();
        match moved {
            Some(moved) => touched.extend(moved.iter().chain(self.files.open()).cloned()),
            None => touched.extend(self.files.iter().map(|(path, _)| path.clone())),
        }
        for service in services {
            touched.extend(self.files.declaring(service).cloned());
        }
        touched.retain(|path| !gone.contains(path));
        touched
    }
}

/// Says why a file is refused whose service another file declares as well.
fn doubled(
    declared: &Result<(ObjectId, Declared), String>,
    doubles: &BTreeMap<ServiceName, Vec<String>>,
) -> Option<String> {
    let service = &declared.as_ref().ok()?.1.service;
    let all = doubles.get(service).filter(|all| all.len() > 1)?;
    let shown: Vec<&str> = all.iter().take(DOUBLES_SHOWN).map(String::as_str).collect();
    let more = match all.len() - shown.len() {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    Some(format!(
        "the service {service} is declared by {}{more}: one service, one file; all are refused",
        shown.join(" and ")
    ))
}

/// One pass over the files that a head touches.
struct Look<'a, 'b> {
    context: &'a Context<'a>,
    repo: &'a Repository,
    head: ObjectId,
    tree: ObjectId,
    /// How many commits are new since the last look; `None`: not known.
    fresh: Option<usize>,
    /// The files that watch what they changed; `None`: not known, so everything may have moved.
    moved: Option<BTreeSet<String>>,
    history: History<'a>,
    budget: &'b mut Budget,
    rendered: u64,
}

impl Look<'_, '_> {
    fn file(
        &mut self,
        path: &str,
        declared: &Result<(ObjectId, Declared), String>,
        prior: Option<&Good>,
    ) -> Result<Result<Good, String>, GitError> {
        let (blob_id, declared) = match declared {
            Ok((blob, declared)) => (*blob, declared),
            Err(message) => return Ok(Err(message.clone())),
        };
        if let Some(prior) = prior.filter(|prior| prior.blob == blob_id && prior.declared == *declared)
            && self.moved.as_ref().is_some_and(|moved| !moved.contains(path))
        {
            return self.unmoved(prior.clone()).map(Ok);
        }
        let watched = match Watched::new(path, declared) {
            Ok(watched) => Arc::new(watched),
            Err(message) => return Ok(Err(message)),
        };
        let bytes = blob(self.repo, blob_id, path, self.budget)?.into();
        let watched_tree = watched.content_id(self.repo, self.tree, self.budget)?;
        let manifests = match manifests(self.repo, self.tree, &watched, self.budget) {
            Ok(manifests) => manifests,
            Err(error @ (GitError::TooLarge { .. } | GitError::NotPlain { .. })) => {
                return Ok(Err(error.sentence()));
            }
            Err(error) => return Err(error),
        };
        let origin = self.history.origin(self.head, path, &watched, self.budget)?;
        let since = self.fresh.zip(prior.map(|prior| &prior.changes));
        let changes = changes(self.repo, &mut self.history, (path, &watched), since, self.budget)?;
        let request = RenderRequest {
            source: self.context.source.name.clone(),
            revision: revision(self.repo, origin.brought, self.context.source)?,
            bytes,
            manifests,
            watched_tree,
            candidates: origin.candidates.clone(),
            environments: self.context.environments.to_vec(),
            claimable: self.context.claimable.to_vec(),
            path: path.to_owned(),
        };
        self.rendered += 1;
        let answers = checked(declared, &request, &changes, (self.context.compose.render)(&request));
        Ok(Ok(Good { blob: blob_id, declared: declared.clone(), watched, origin, changes, answers }))
    }

    /// Returns the former result of a file of which nothing moved, with the images of the new commits added.
    fn unmoved(&mut self, mut prior: Good) -> Result<Good, GitError> {
        let room = CANDIDATES.saturating_sub(prior.origin.candidates.len());
        let mut newer = Vec::new();
        // The steps go downwards from the head; the oldest of them count.
        for index in (0..self.fresh.unwrap_or_default()).rev().take(room) {
            if let Some(step) = self.history.step(index, self.budget)? {
                newer.push(commit_id(step.id)?);
            }
        }
        for answer in prior.answers.values_mut().flatten() {
            add_images(answer, &prior.origin.candidates, &newer);
        }
        prior.origin.candidates.extend(newer);
        Ok(prior)
    }
}

/// Adds the images of commits with the same content: the first tag with one commit's id in the place of the other's.
fn add_images(desired: &mut Arc<Desired>, candidates: &[CommitId], newer: &[CommitId]) {
    let (Wanted::Tags(tags), Some(first)) = (&desired.image.wanted, candidates.first()) else { return };
    let Some(template) = tags.first().filter(|tag| tag.contains(first.as_str())) else { return };
    if newer.is_empty() {
        return;
    }
    let more = newer.iter().map(|commit| template.replace(first.as_str(), commit.as_str()));
    let tags = tags.iter().cloned().chain(more).collect();
    Arc::make_mut(desired).image.wanted = Wanted::Tags(tags);
}

/// Keeps of an answer what was asked for: this service, in environments that the source may claim. Adds the commits that it came with.
fn checked(
    declared: &Declared,
    request: &RenderRequest,
    changes: &Changes,
    answer: super::report::RenderAnswer,
) -> BTreeMap<EnvironmentName, Result<Arc<Desired>, String>> {
    let mut checked = BTreeMap::new();
    for (environment, result) in answer {
        let result = result.and_then(|desired| {
            if !request.environments.contains(&environment) {
                return Err(format!(
                    "the source {} may not deploy to {environment}: its environments say what it may claim",
                    request.source
                ));
            }
            if desired.release.service != declared.service || desired.release.environment != environment {
                return Err(format!("{} was rendered as {}", declared.service, desired.release));
            }
            Ok(Arc::new(Desired { changes: changes.clone(), ..desired }))
        });
        checked.insert(environment, result);
    }
    checked
}
