//! The cache folder of all sources: a mirror each, within a limit on what they take together. Mirrors of sources that are not
//! configured any more, and what a killed fetch left, are deleted when this process begins to own the folder; over the limit those
//! go that changed least recently. Whatever is deleted here a fetch brings back; nothing but the wire notices.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use crate::model::name::SourceName;

/// The mirrors of all sources; clones share them.
#[derive(Debug, Clone)]
pub struct Cache(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    folder: PathBuf,
    /// Bytes.
    limit: u64,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    mirrors: BTreeMap<SourceName, Kept>,
    owner: Owner,
}

/// Whether the folder is this process's: another one that uses it too would lose what it writes.
#[derive(Debug, Default)]
enum Owner {
    #[default]
    Unknown,
    /// As long as the file is open.
    We(#[allow(dead_code)] File), // Never read: it is held.
    Another,
}

/// A mirror as it was last measured.
#[derive(Debug, Default)]
struct Kept {
    bytes: u64,
    /// When a pack last came; by the clock of the file system.
    changed: Option<SystemTime>,
    in_use: bool,
}

impl Cache {
    /// Takes over a folder: deletes the mirrors of all other sources, and what was left half written. `limit` is in bytes. What
    /// fails is logged and tried again with the next look.
    pub fn open(cache_dir: &Path, limit: u64, sources: impl IntoIterator<Item = SourceName>) -> Self {
        let mirrors = sources.into_iter().map(|name| (name, Kept::default())).collect();
        let state = Mutex::new(State { mirrors, owner: Owner::Unknown });
        let cache = Self(Arc::new(Shared { folder: cache_dir.join("git"), limit, state }));
        cache.own(&mut cache.state());
        cache
    }

    /// Returns the size of each mirror on disk, in bytes; 0 where there is none.
    pub fn bytes(&self) -> Vec<(SourceName, u64)> {
        self.state().mirrors.iter().map(|(name, kept)| (name.clone(), kept.bytes)).collect()
    }

    /// Returns where the mirror of a source belongs.
    pub(super) fn folder(&self, source: &SourceName) -> PathBuf {
        self.0.folder.join(source.as_str())
    }

    /// Keeps a mirror from being deleted until the answer is dropped.
    pub(super) fn begin(&self, source: &SourceName) -> InUse {
        let mut state = self.state();
        self.own(&mut state);
        state.mirrors.entry(source.clone()).or_default().in_use = true;
        InUse { cache: self.clone(), source: source.clone(), changed: false }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Becomes the folder's owner, where nobody is yet, and puts it in order.
    fn own(&self, state: &mut State) {
        if !matches!(state.owner, Owner::Unknown) {
            return;
        }
        let folder = &self.0.folder;
        match lock(folder) {
            Ok(file) => state.owner = Owner::We(file),
            Err(fs::TryLockError::WouldBlock) => {
                state.owner = Owner::Another;
                let folder = folder.display();
                tracing::warn!(%folder, "another process keeps its mirrors here too: give each a cache_dir of its own; cache_limit does not hold");
                return;
            }
            Err(fs::TryLockError::Error(error)) => {
                let folder = folder.display();
                tracing::warn!(%folder, %error, "the cache folder cannot be used; tried again with the next look");
                return;
            }
        }
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            let name = entry.file_name();
            let name = name.to_str().and_then(|name| name.parse::<SourceName>().ok());
            let of = name.and_then(|name| state.mirrors.get_mut(&name));
            if let Some(kept) = of {
                sweep(&entry.path());
                kept.measure(&entry.path());
            } else if entry.file_name() != LOCK {
                remove(&entry.path(), "a mirror of no source of the configuration was deleted");
            }
        }
        self.shrink(state);
    }

    /// Deletes mirrors until the limit holds, those that changed least recently first, of equals the largest. Under the lock: a
    /// mirror is a hundred files at most.
    fn shrink(&self, state: &mut State) {
        if !matches!(state.owner, Owner::We(_)) {
            return;
        }
        let mut total: u64 = state.mirrors.values().map(|kept| kept.bytes).sum();
        let mut order: Vec<_> = state.mirrors.iter_mut().filter(|(_, kept)| !kept.in_use).collect();
        order.sort_by_key(|(_, kept)| (kept.changed, Reverse(kept.bytes)));
        for (name, kept) in order {
            if total <= self.0.limit {
                return;
            }
            let folder = self.folder(name);
            remove(
                &folder,
                "a mirror was deleted: all together are over cache_limit; it is fetched again when its source changes",
            );
            total = total.saturating_sub(kept.bytes);
            kept.measure(&folder);
            total = total.saturating_add(kept.bytes);
        }
    }
}

/// A mirror that a look works with.
#[derive(Debug)]
pub(super) struct InUse {
    cache: Cache,
    source: SourceName,
    changed: bool,
}

impl InUse {
    /// Notes that the mirror has another size now.
    pub(super) fn changed(&mut self) {
        self.changed = true;
    }
}

impl Drop for InUse {
    fn drop(&mut self) {
        let folder = self.cache.folder(&self.source);
        let mut state = self.cache.state();
        let Some(kept) = state.mirrors.get_mut(&self.source) else { return };
        kept.in_use = false;
        if self.changed {
            kept.measure(&folder);
            self.cache.shrink(&mut state);
        }
    }
}

impl Kept {
    fn measure(&mut self, folder: &Path) {
        self.bytes = size(folder);
        self.changed = fs::metadata(folder.join("objects/pack")).and_then(|packs| packs.modified()).ok();
    }
}

/// The file whose lock tells who owns the folder; no source can have this name.
const LOCK: &str = ".lock";

fn lock(folder: &Path) -> Result<File, fs::TryLockError> {
    let open = || {
        fs::create_dir_all(folder)?;
        let path = folder.join(LOCK);
        // Held for reading only: what is open for writing keeps a disk from being made read-only.
        File::open(&path).or_else(|_| File::create(&path).and_then(|_| File::open(&path)))
    };
    let file = open().map_err(fs::TryLockError::Error)?;
    file.try_lock()?;
    Ok(file)
}

/// Adds up the files below a folder. Symbolic links are not followed.
fn size(folder: &Path) -> u64 {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let of = |entry: fs::DirEntry| match entry.metadata() {
        Ok(found) if found.is_dir() => size(&entry.path()),
        Ok(found) => found.len(),
        Err(_) => 0,
    };
    entries.map(of).sum()
}

/// Deletes a file, or a folder with all that is in it.
pub(super) fn delete(path: &Path) -> io::Result<()> {
    let deleted = match fs::symlink_metadata(path) {
        Ok(found) if found.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
        Err(error) => Err(error),
    };
    deleted.or_else(|error| if error.kind() == io::ErrorKind::NotFound { Ok(()) } else { Err(error) })
}

fn remove(path: &Path, done: &str) {
    match delete(path) {
        Ok(()) => tracing::info!(path = %path.display(), "{done}"),
        Err(error) => {
            tracing::warn!(path = %path.display(), %error, "cannot be deleted from the cache folder");
        }
    }
}

/// Deletes from a mirror what a killed fetch left: locks, which would stop every other one; half a pack; one without its index.
fn sweep(mirror: &Path) {
    locks(mirror);
    let packs = mirror.join("objects/pack");
    for entry in fs::read_dir(&packs).into_iter().flatten().flatten() {
        let path = entry.path();
        let partner = match path.extension().and_then(|extension| extension.to_str()) {
            Some("pack" | "keep") => path.with_extension("idx"),
            Some("idx") => path.with_extension("pack"),
            _ => PathBuf::new(),
        };
        if !partner.exists() {
            remove(&path, "half a pack was deleted");
        }
    }
}

fn locks(folder: &Path) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        let is_folder = entry.file_type().is_ok_and(|kind| kind.is_dir());
        if is_folder && entry.file_name() != "objects" {
            locks(&path);
        } else if path.extension().is_some_and(|extension| extension == "lock") {
            remove(&path, "a lock of a process that is gone was deleted");
        }
    }
}
