//! Which declaration files a change touches: `path prefix → files`, sorted, so that a changed path asks its own folders and nobody
//! else, however many services a repository has.

use std::collections::{BTreeMap, BTreeSet};

use super::branch::File;
use super::history::CANDIDATES;
use crate::model::name::ServiceName;

/// The declaration files of a branch.
#[derive(Debug, Default)]
pub(super) struct Files {
    /// Boxed, as a map has room for eleven and most branches have one.
    all: BTreeMap<String, Box<File>>,
    /// By each folder above what a file watches.
    prefixes: BTreeMap<String, BTreeSet<String>>,
    /// By the service that each declares.
    services: BTreeMap<ServiceName, BTreeSet<String>>,
    /// Those for which the images of further commits count.
    open: BTreeSet<String>,
}

impl Files {
    pub(super) fn get(&self, path: &str) -> Option<&File> {
        self.all.get(path).map(Box::as_ref)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&String, &File)> {
        self.all.iter().map(|(path, file)| (path, file.as_ref()))
    }

    /// Returns the files that declare a service.
    pub(super) fn declaring(&self, service: &ServiceName) -> impl Iterator<Item = &String> {
        self.services.get(service).into_iter().flatten()
    }

    /// Returns the files for which the images of further commits count.
    pub(super) fn open(&self) -> impl Iterator<Item = &String> {
        self.open.iter()
    }

    /// Adds the files that watch a path.
    pub(super) fn touched_by(&self, path: &str, touched: &mut BTreeSet<String>) {
        let folders = path.match_indices('/').map(|(at, _)| path.get(..at).unwrap_or_default());
        for prefix in folders.chain(["", path]) {
            for file in self.prefixes.get(prefix).into_iter().flatten() {
                let good = self.all.get(file).and_then(|file| file.state.as_ref().ok());
                if good.is_some_and(|good| good.watched.matches(path)) {
                    touched.insert(file.clone());
                }
            }
        }
    }

    /// Puts a file in the place of what stood at its path.
    pub(super) fn put(&mut self, path: String, file: File) {
        self.remove(&path);
        if let Ok((_, declared)) = &file.declared {
            self.services.entry(declared.service.clone()).or_default().insert(path.clone());
        }
        if let Ok(good) = &file.state {
            for root in good.watched.roots() {
                self.prefixes.entry(root.clone()).or_default().insert(path.clone());
            }
            if good.origin.candidates.len() < CANDIDATES {
                self.open.insert(path.clone());
            }
        }
        self.all.insert(path, Box::new(file));
    }

    /// Takes a file away.
    pub(super) fn remove(&mut self, path: &str) {
        let Some(file) = self.all.remove(path) else { return };
        self.open.remove(path);
        if let Ok((_, declared)) = &file.declared {
            take(&mut self.services, &declared.service, path);
        }
        if let Ok(good) = &file.state {
            for root in good.watched.roots() {
                take(&mut self.prefixes, root, path);
            }
        }
    }
}

/// Takes a path out of a set; one that is empty goes.
fn take<K: Ord>(sets: &mut BTreeMap<K, BTreeSet<String>>, key: &K, path: &str) {
    if let Some(set) = sets.get_mut(key) {
        set.remove(path);
        if set.is_empty() {
            sets.remove(key);
        }
    }
}
