//! A team with a repository on the forge: it changes things by pull requests.

use std::sync::atomic::{AtomicU32, Ordering};

use crate::stack::{Gitea, Repo};

/// A user and the repository of the user's organisation.
pub struct Team {
    pub repo: Repo,
    branches: AtomicU32,
}

impl Team {
    /// Makes user, organisation and repository.
    pub async fn new(gitea: &Gitea, user: &str, organisation: &str, name: &str) -> anyhow::Result<Self> {
        let user = gitea.admin.create_user(user).await?;
        user.create_org(organisation).await?;
        let repo = user.create_repo(organisation, name).await?;
        Ok(Self { repo, branches: AtomicU32::new(0) })
    }

    /// Opens a pull request, labels it, and closes it without merging it.
    pub async fn abandon(&self, title: &str, files: &[(&str, &str)]) -> anyhow::Result<u64> {
        let branch = format!("change-{}", self.branches.fetch_add(1, Ordering::Relaxed));
        self.repo.create_branch(&branch, "main").await?;
        self.repo.commit(&branch, title, files).await?;
        let number = self.repo.open_pull_request(title, &branch, "main").await?;
        self.repo.label_pull_request(number, "preview").await?;
        self.repo.close_pull_request(number).await?;
        Ok(number)
    }

    /// Opens a pull request with these files and merges it; returns the merge commit's id.
    pub async fn merge(&self, title: &str, files: &[(&str, &str)]) -> anyhow::Result<String> {
        let branch = format!("change-{}", self.branches.fetch_add(1, Ordering::Relaxed));
        self.repo.create_branch(&branch, "main").await?;
        self.repo.commit(&branch, title, files).await?;
        let number = self.repo.open_pull_request(title, &branch, "main").await?;
        self.repo.merge_pull_request(number).await
    }
}
