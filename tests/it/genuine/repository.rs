//! A repository on this machine, written with Git itself.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::process::Command;

use crate::stack::command;

const LIMIT: Duration = Duration::from_mins(1);

/// A repository with a work tree on a branch of its own; `main` moves when a change is merged.
pub struct Repository {
    pub path: PathBuf,
}

impl Repository {
    /// Makes an empty one.
    pub async fn create(path: &Path) -> anyhow::Result<Self> {
        fs::create_dir_all(path)?;
        let repository = Self { path: path.to_owned() };
        repository.git(&["init", "--quiet", "--initial-branch=work"]).await?;
        Ok(repository)
    }

    /// Commits these files and returns the commit's id; `main` does not show it yet, so that CI can push its image first.
    pub async fn commit(&self, message: &str, files: &[(&str, &str)]) -> anyhow::Result<String> {
        for (name, text) in files {
            let file = self.path.join(name);
            if let Some(folder) = file.parent() {
                fs::create_dir_all(folder)?;
            }
            fs::write(file, text)?;
        }
        self.git(&["add", "--all"]).await?;
        self.git(&["commit", "--quiet", "--allow-empty", "--message", message]).await?;
        Ok(self.git(&["rev-parse", "HEAD"]).await?.trim().to_owned())
    }

    /// Moves `main` to the last commit.
    pub async fn merge(&self) -> anyhow::Result<()> {
        self.git(&["update-ref", "refs/heads/main", "HEAD"]).await.map(drop)
    }

    async fn git(&self, args: &[&str]) -> anyhow::Result<String> {
        let mut git = Command::new("git");
        git.current_dir(&self.path)
            // Nothing of the machine's own settings.
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .env("GIT_CONFIG_SYSTEM", "/dev/null")
            .args(["-c", "user.name=Ada", "-c", "user.email=ada@forge.test"])
            .args(args);
        command::run(&mut git, LIMIT).await
    }
}
