//! A service whose repository is on this machine, so that a change is merged without a forge.

use std::path::PathBuf;

use idp::sandbox::Registry;

use super::ground::Ground;
use super::release::Release;
use super::repository::Repository;

/// The owner of all services here; the namespace follows.
pub const TEAM: &str = "shop";
pub const NAMESPACE: &str = "shop-production";

/// A service and its repository.
pub struct Service {
    pub name: &'static str,
    pub release: Release,
    repository: Repository,
    registry: Registry,
}

impl Service {
    /// Makes the repository; it is empty.
    pub async fn create(ground: &Ground, name: &'static str) -> anyhow::Result<Self> {
        let repository = Repository::create(&ground.file(name)).await?;
        let release = Release::new(&ground.client, NAMESPACE, name);
        Ok(Self { name, release, repository, registry: ground.registry.clone() })
    }

    /// Returns the item of `sources` for it.
    pub fn source(&self) -> String {
        format!("  - {{name: {}, url: {}, poll: 24h}}\n", self.name, self.repository.path.display())
    }

    /// Returns the release's key.
    pub fn key(&self) -> String {
        format!("{}.production", self.name)
    }

    /// Merges a change of the service's one file, after CI has pushed an image that behaves so; returns the commit's id.
    pub async fn merge(&self, content: &str, behaviour: &str) -> anyhow::Result<String> {
        self.merge_as(content, behaviour, &declaration(self.name)).await
    }

    /// As [`Self::merge`], with another declaration.
    pub async fn merge_as(
        &self,
        content: &str,
        behaviour: &str,
        declaration: &str,
    ) -> anyhow::Result<String> {
        self.merge_with(content, behaviour, declaration, &[]).await
    }

    /// As [`Self::merge_as`], with more files.
    pub async fn merge_with(
        &self,
        content: &str,
        behaviour: &str,
        declaration: &str,
        more: &[(&str, &str)],
    ) -> anyhow::Result<String> {
        let files = [&[(".idp/deploy.yaml", declaration), ("app.txt", content)], more].concat();
        let commit = self.repository.commit(content, &files).await?;
        self.registry.push_as(&format!("{TEAM}/{}", self.name), &commit, behaviour);
        self.repository.merge().await?;
        Ok(commit)
    }

    /// Takes the repository away; returns where it is until [`Self::appear`].
    pub fn disappear(&self) -> anyhow::Result<PathBuf> {
        let away = self.repository.path.with_extension("away");
        std::fs::rename(&self.repository.path, &away)?;
        Ok(away)
    }

    /// Brings the repository back.
    pub fn appear(&self, away: PathBuf) -> anyhow::Result<()> {
        Ok(std::fs::rename(away, &self.repository.path)?)
    }
}

/// Pauses that are short and still have samples in them, and a health check that a machine does not fail which is merely busy.
pub fn declaration(name: &str) -> String {
    format!(
        r#"service: {{name: {name}, team: {TEAM}}}
workload: {{replicas: 2}}
deploy:
  strategy: canary
  canary:
    - {{weight: 50, pause: 1s}}
    - {{weight: 100, pause: 1s}}
  healthcheck: {{path: /healthz, interval: 200ms, timeout: 150ms, threshold: 30}}
  rollback: {{on_restarts: ">0", window: 1s}}
"#
    )
}
