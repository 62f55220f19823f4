//! Watches a local repository: a push to it is a hint at once, and so is another repository that comes in its place, by a swapped
//! symbolic link or a rename. What a repository's lock files do is nobody's business. Where nothing can be watched, it is polled.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use notify::{EventKind, RecommendedWatcher, RecursiveMode, Watcher};

use super::error::GitError;
use super::hint::Hint;
use super::report::Trigger;
use crate::model::name::SourceName;

/// Links that are followed on the way to a repository: as many as Linux follows.
const LINKS: usize = 40;
/// Where branches and tags are.
const BRANCHES: &str = "refs/heads";
const TAGS: &str = "refs/tags";

/// The watch on a local repository, renewed as the repository comes and goes.
#[derive(Default)]
pub(super) struct LocalWatch {
    watcher: Option<RefWatcher>,
    /// That it is polled was said.
    said: bool,
}

impl LocalWatch {
    /// Watches what is there now. To be called before each read, so that nothing falls between.
    pub(super) fn ensure(&mut self, repository: &Path, hint: &Hint, source: &SourceName) {
        if self.watcher.as_ref().is_some_and(RefWatcher::stands) {
            return;
        }
        self.watcher = None;
        match RefWatcher::new(repository, hint.clone()) {
            Ok(watcher) => {
                self.watcher = Some(watcher);
                if std::mem::take(&mut self.said) {
                    tracing::info!(%source, "the local repository is watched again");
                }
            }
            Err(error) if !self.said => {
                self.said = true;
                tracing::warn!(%source, error = error.sentence(), "the local repository is polled instead");
            }
            Err(_) => {}
        }
    }
}

/// Watches the refs of a repository, and the way to it, until it is dropped.
struct RefWatcher {
    _watcher: RecommendedWatcher,
    /// All of it was there to be watched.
    complete: bool,
    /// Another repository may be there now.
    moved: Arc<AtomicBool>,
}

impl RefWatcher {
    fn new(repository: &Path, hint: Hint) -> Result<Self, GitError> {
        let failed = |error: notify::Error| GitError::Watch(explained(error));
        let repository = std::path::absolute(repository).map_err(|error| GitError::Watch(error.into()))?;
        let way = way(&repository);
        let folders: BTreeSet<PathBuf> =
            way.iter().filter_map(|step| step.parent().map(Path::to_owned)).collect();
        let moved = Arc::new(AtomicBool::new(false));
        let flag = Arc::clone(&moved);
        let mut watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
            let on_the_way = event.as_ref().map_or(true, |event| {
                event.need_rescan() || (changes(event) && event.paths.iter().any(|path| way.contains(path)))
            });
            if on_the_way {
                flag.store(true, Ordering::Release);
            }
            if on_the_way || event.as_ref().is_ok_and(moves_a_ref) {
                hint.send(Trigger::Notify);
            }
        })
        .map_err(failed)?;
        for folder in folders.iter().filter(|folder| folder.is_dir()) {
            watcher.watch(folder, RecursiveMode::NonRecursive).map_err(failed)?;
        }
        let folder = shared_folder(&repository);
        if folder.is_dir() {
            watcher.watch(&folder, RecursiveMode::NonRecursive).map_err(failed)?;
        }
        for refs in [BRANCHES, TAGS].map(|refs| folder.join(refs)).iter().filter(|refs| refs.is_dir()) {
            watcher.watch(refs, RecursiveMode::Recursive).map_err(failed)?;
        }
        let complete = folder.join(BRANCHES).is_dir();
        Ok(Self { _watcher: watcher, complete, moved })
    }

    /// Tells whether what is watched is still what is there.
    fn stands(&self) -> bool {
        self.complete && !self.moved.load(Ordering::Acquire)
    }
}

/// Returns the folder with the branches of a repository, links resolved; for a work tree that was added to another, they are there.
/// Where there is no repository yet, the folder in which one may come to be.
fn shared_folder(repository: &Path) -> PathBuf {
    let opened = gix::open_opts(repository, gix::open::Options::isolated());
    let folder = opened.map_or_else(|_| repository.to_owned(), |repo| repo.common_dir().to_owned());
    folder.canonicalize().unwrap_or(folder)
}

/// Returns each link on the way to a folder, and the folder at its end: if one of them changes, another folder may be there.
fn way(path: &Path) -> BTreeSet<PathBuf> {
    let names = |path: &Path| -> Vec<OsString> {
        path.components().rev().map(|part| part.as_os_str().to_owned()).collect()
    };
    let (mut rest, mut here, mut way) = (names(path), PathBuf::new(), BTreeSet::new());
    while let Some(name) = rest.pop() {
        match Path::new(&name).components().next() {
            Some(Component::ParentDir) => {
                here.pop();
                continue;
            }
            Some(Component::CurDir) | None => continue,
            Some(_) => here.push(&name),
        }
        if let Ok(target) = std::fs::read_link(&here)
            && way.len() < LINKS
        {
            way.insert(here.clone());
            here.pop();
            rest.extend(names(&target));
        }
    }
    way.insert(here);
    way
}

fn changes(event: &notify::Event) -> bool {
    !matches!(event.kind, EventKind::Access(_))
}

fn moves_a_ref(event: &notify::Event) -> bool {
    let is_ref = |path: &PathBuf| {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let of_refs = path.components().any(|part| part.as_os_str() == "heads" || part.as_os_str() == "tags");
        Path::new(name).extension().is_none_or(|extension| extension != "lock")
            && (of_refs || matches!(name, "packed-refs" | "HEAD"))
    };
    changes(event) && event.paths.iter().any(is_ref)
}

/// Says how to mend what the system limits.
fn explained(error: notify::Error) -> super::error::Cause {
    let limit = match &error.kind {
        notify::ErrorKind::MaxFilesWatch => "fs.inotify.max_user_watches",
        // EMFILE and ENFILE: inotify_init(2) answers so at the limit of instances.
        notify::ErrorKind::Io(io) if matches!(io.raw_os_error(), Some(23 | 24)) => {
            "fs.inotify.max_user_instances"
        }
        _ => return error.into(),
    };
    format!("the system's limit {limit} is reached: raise it by sysctl").into()
}
