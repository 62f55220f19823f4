//! One tracked branch of a source at one commit: its declaration files, what each asks for, and where its content comes from. A new
//! head re-renders only the files whose declaration or watched content moved; the others keep their answer.

use std::collections::BTreeMap;
use std::sync::Arc;

use gix::{ObjectId, Repository};

use super::error::GitError;
use super::find::{Finder, Found};
use super::history::{CANDIDATES, Deepen, History, Origin, commit_id, revision};
use super::report::{Compose, DeclareRequest, Declared, Refused, RenderRequest};
use super::tree::{Budget, blob};
use super::watched::Watched;
use crate::config::Source;
use crate::model::change::CommitId;
use crate::model::desired::Desired;
use crate::model::image::Wanted;
use crate::model::name::{EnvironmentName, ServiceName};

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
    pub(super) files: BTreeMap<String, File>,
}

/// A declaration file.
#[derive(Debug)]
pub(super) struct File {
    /// The service that it declares, or did when it could last be read.
    pub(super) service: Option<ServiceName>,
    /// What came of it.
    pub(super) state: Result<Good, String>,
}

/// A declaration file that was rendered.
#[derive(Debug, Clone)]
pub(super) struct Good {
    blob: ObjectId,
    declared: Declared,
    watched: Arc<Watched>,
    origin: Origin,
    /// What it asks for, by environment.
    pub(super) answers: BTreeMap<EnvironmentName, Result<Arc<Desired>, String>>,
}

/// A file on its way: declared, but not yet rendered.
struct Candidate {
    path: String,
    prior: Option<File>,
    service: Option<ServiceName>,
    state: Result<(ObjectId, Declared), String>,
}

impl Branch {
    /// Moves to a head and returns how many files were rendered. After an error the branch is as it was.
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
        let tree = repo.find_commit(head).map_err(GitError::corrupt)?;
        let tree = tree.tree_id().map_err(GitError::corrupt)?.detach();
        let mut history = History::new(repo, head, deepen);
        let fresh = match self.head {
            Some(former) => history.distance(former, budget)?,
            None => None,
        };
        let found = context.finder.find(repo, tree, budget)?;
        let mut candidates = Vec::with_capacity(found.len());
        for found in found {
            candidates.push(self.declare(context, repo, found)?);
        }
        refuse_doubles(&mut candidates);
        let mut look = Look { context, repo, head, tree, fresh, history, budget, rendered: 0 };
        let mut files = BTreeMap::new();
        for candidate in candidates {
            let service = candidate.service.clone();
            let path = candidate.path.clone();
            files.insert(path, File { service, state: look.file(candidate)? });
        }
        let rendered = look.rendered;
        self.head = Some(head);
        self.files = files;
        Ok(rendered)
    }

    /// Reads a file and asks who it is; an unreadable file keeps the name that it had.
    fn declare(&self, context: &Context<'_>, repo: &Repository, found: Found) -> Result<Candidate, GitError> {
        let Found { path, blob: id } = found;
        let prior = self.files.get(&path).map(File::clone_good);
        let known = prior.as_ref().and_then(|file| file.service.clone());
        let id = match id {
            Ok(id) => id,
            Err(error) => return Ok(Candidate { path, prior, service: known, state: Err(error.sentence()) }),
        };
        if let Some(File { state: Ok(good), .. }) = &prior
            && good.blob == id
        {
            let state = Ok((id, good.declared.clone()));
            return Ok(Candidate { path, prior, service: known, state });
        }
        let bytes = match blob(repo, id, &path) {
            Ok(bytes) => Arc::from(bytes),
            Err(error @ GitError::TooLarge { .. }) => {
                return Ok(Candidate { path, prior, service: known, state: Err(error.sentence()) });
            }
            Err(error) => return Err(error),
        };
        let request = DeclareRequest {
            source: context.source.name.clone(),
            path: path.clone(),
            bytes,
            environments: context.claimable.to_vec(),
        };
        let (service, state) = match (context.compose.declare)(&request) {
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
        Ok(Candidate { path, prior, service, state })
    }
}

impl File {
    fn clone_good(&self) -> Self {
        Self { service: self.service.clone(), state: self.state.clone() }
    }
}

/// Refuses every file whose service another file declares as well.
fn refuse_doubles(candidates: &mut [Candidate]) {
    let mut paths: BTreeMap<ServiceName, Vec<String>> = BTreeMap::new();
    for candidate in candidates.iter() {
        if let Ok((_, declared)) = &candidate.state {
            paths.entry(declared.service.clone()).or_default().push(candidate.path.clone());
        }
    }
    for candidate in candidates {
        let Ok((_, declared)) = &candidate.state else { continue };
        let Some(all) = paths.get(&declared.service).filter(|all| all.len() > 1) else { continue };
        let message = format!(
            "the service {} is declared by {}: one service, one file; both are refused",
            declared.service,
            all.join(" and ")
        );
        candidate.state = Err(message);
    }
}

/// One pass over the files of a head.
struct Look<'a, 'b> {
    context: &'a Context<'a>,
    repo: &'a Repository,
    head: ObjectId,
    tree: ObjectId,
    /// How many commits are new since the last look; `None`: not known, so everything may have moved.
    fresh: Option<usize>,
    history: History<'a>,
    budget: &'b mut Budget,
    rendered: u64,
}

impl Look<'_, '_> {
    fn file(&mut self, candidate: Candidate) -> Result<Result<Good, String>, GitError> {
        let Candidate { path, prior, state, .. } = candidate;
        let (blob_id, declared) = match state {
            Ok(state) => state,
            Err(message) => return Ok(Err(message)),
        };
        let prior = prior.and_then(|file| file.state.ok());
        if let Some(prior) = prior.filter(|prior| prior.blob == blob_id && prior.declared == declared)
            && let Some(good) = self.unmoved(prior)?
        {
            return Ok(Ok(good));
        }
        let watched = match Watched::new(&path, &declared) {
            Ok(watched) => Arc::new(watched),
            Err(message) => return Ok(Err(message)),
        };
        let bytes = blob(self.repo, blob_id, &path)?.into();
        let watched_tree = watched.content_id(self.repo, self.tree, self.budget)?;
        let origin = self.history.origin(self.head, &path, &watched, self.budget)?;
        let request = RenderRequest {
            source: self.context.source.name.clone(),
            revision: revision(self.repo, origin.brought, self.context.source)?,
            bytes,
            watched_tree,
            candidates: origin.candidates.clone(),
            environments: self.context.environments.to_vec(),
            claimable: self.context.claimable.to_vec(),
            path,
        };
        self.rendered += 1;
        let answers = checked(&declared, &request, (self.context.compose.render)(&request));
        Ok(Ok(Good { blob: blob_id, declared, watched, origin, answers }))
    }

    /// Returns the former result if nothing that it watches moved, with the images of the new commits added.
    fn unmoved(&mut self, mut prior: Good) -> Result<Option<Good>, GitError> {
        let Some(fresh) = self.fresh else { return Ok(None) };
        let mut newer = Vec::new();
        for index in 0..fresh {
            let Some(step) = self.history.step(index, self.budget)? else { return Ok(None) };
            if step.moves(&prior.watched) {
                return Ok(None);
            }
            newer.push(commit_id(step.id)?);
        }
        newer.reverse();
        newer.truncate(CANDIDATES.saturating_sub(prior.origin.candidates.len()));
        for answer in prior.answers.values_mut().flatten() {
            add_images(answer, &prior.origin.candidates, &newer);
        }
        prior.origin.candidates.extend(newer);
        Ok(Some(prior))
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

/// Keeps of an answer what was asked for: this service, in environments that the source may claim.
fn checked(
    declared: &Declared,
    request: &RenderRequest,
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
            Ok(Arc::new(desired))
        });
        checked.insert(environment, result);
    }
    checked
}
