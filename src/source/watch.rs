//! Watches a local repository: a push to it is a hint at once. What a repository's lock files do is nobody's business.

use std::path::{Path, PathBuf};

use notify::{EventKind, RecommendedWatcher, RecursiveMode, Watcher};

use super::error::GitError;
use super::hint::Hint;
use super::report::Trigger;

/// Watches the refs of a repository until it is dropped.
pub(super) struct RefWatcher {
    _watcher: RecommendedWatcher,
}

impl RefWatcher {
    /// Begins to watch. To be called before the first read, so that nothing falls between.
    pub(super) fn new(repository: &Path, hint: Hint) -> Result<Self, GitError> {
        let failed = |error: notify::Error| GitError::Watch(error.into());
        let folder = git_folder(repository);
        let mut watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
            if event.as_ref().map_or(true, counts) {
                hint.send(Trigger::Notify);
            }
        })
        .map_err(failed)?;
        watcher.watch(&folder, RecursiveMode::NonRecursive).map_err(failed)?;
        watcher.watch(&folder.join("refs/heads"), RecursiveMode::Recursive).map_err(failed)?;
        Ok(Self { _watcher: watcher })
    }
}

/// Returns where the refs are: the folder itself, or `.git` in it.
fn git_folder(repository: &Path) -> PathBuf {
    let inner = repository.join(".git");
    if inner.is_dir() { inner } else { repository.to_owned() }
}

fn counts(event: &notify::Event) -> bool {
    let is_ref = |path: &PathBuf| {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let below_heads = path.components().any(|part| part.as_os_str() == "heads");
        Path::new(name).extension().is_none_or(|extension| extension != "lock")
            && (below_heads || matches!(name, "packed-refs" | "HEAD"))
    };
    !matches!(event.kind, EventKind::Access(_)) && event.paths.iter().any(is_ref)
}
