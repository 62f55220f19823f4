//! The files that a team's own manifests are in, read from the tree of a commit, within limits.

use std::collections::BTreeMap;

use gix::{ObjectId, Repository};

use super::error::GitError;
use super::tree::{Budget, at, blob, files};
use super::watched::Watched;
use crate::model::declaration::ManifestFile;

/// Files of manifests that one service may have.
const FILES: usize = 200;
/// Bytes that they may have together; what is rendered of them has to fit a revision Secret anyway.
const BYTES: usize = 4 << 20;

/// Reads the files of manifests, in the order of their paths.
pub(super) fn manifests(
    repo: &Repository,
    tree: ObjectId,
    watched: &Watched,
    budget: &mut Budget,
) -> Result<Vec<ManifestFile>, GitError> {
    let mut found = BTreeMap::new();
    for root in watched.manifest_roots() {
        let Some(entry) = at(repo, tree, root, budget)? else { continue };
        if entry.is_tree() {
            files(repo, entry.id, root, budget, &|_| true, &mut |path, entry| {
                if watched.is_manifest(&path) {
                    found.insert(path, entry.clone());
                }
            })?;
        } else if watched.is_manifest(root) {
            found.insert(root.clone(), entry);
        }
    }
    if found.len() > FILES {
        return Err(GitError::TooLarge {
            what: "source.manifests".to_owned(),
            size: format!("{} files", found.len()),
            limit: format!("{FILES} files"),
        });
    }
    let (mut all, mut bytes) = (Vec::new(), 0usize);
    for (path, entry) in found {
        entry.plain(&path)?;
        let content = blob(repo, entry.id, &path, budget)?;
        bytes = bytes.saturating_add(content.len());
        if bytes > BYTES {
            return Err(GitError::TooLarge {
                what: "source.manifests".to_owned(),
                size: format!("more than {BYTES} bytes"),
                limit: format!("{BYTES} bytes together"),
            });
        }
        all.push(ManifestFile { path, bytes: content.into() });
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use crate::source::fixture::{Repo, Running, config};

    #[tokio::test]
    async fn manifests_are_read_at_the_commit_and_a_change_of_one_is_a_change_of_the_service() {
        let repo = Repo::new();
        let file = "service: a\nmanifests: shared/k8s/*.yaml a/.idp/manifests/*.yaml";
        repo.publish(&[
            ("a/.idp/deploy.yaml", file),
            ("a/.idp/manifests/set.yaml", "set"),
            ("shared/k8s/config.yaml", "config"),
            ("shared/k8s/deep/other.yaml", "not matched"),
        ]);
        let paths = "paths: [\"*/.idp/deploy.yaml\"]";
        let mut running =
            Running::start(config(&repo.bare().display().to_string(), paths, &repo.dir.path().join("cache")));
        running.next().await;
        let told = |config: &str| format!("a/.idp/manifests/set.yaml=set;shared/k8s/config.yaml={config};");
        assert_eq!(running.good("a.production").platform, told("config"));
        let head = repo.publish(&[("shared/k8s/config.yaml", "another")]);
        running.look_at(&head).await;
        assert_eq!(running.good("a.production").platform, told("another"));
        assert_eq!(running.good("a.production").revision.commit.to_string(), head);
    }
}
