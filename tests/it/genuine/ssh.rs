//! A source over SSH, with a deploy key, from a real forge whose key is pinned. Nothing but the source's own loop is needed for that.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use idp::config;
use idp::source::{
    Cache, Clients, Compose, DeclareRequest, Declared, Hint, Hosts, Refused, RenderRequest, SourceLoop,
    SourceReport, Trigger,
};
use tempfile::TempDir;
use tokio::process::Command;
use tokio::sync::{Semaphore, mpsc};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::SOON;
use crate::stack::{self, command};

/// A source's loop, with what it reports.
struct Reader {
    hint: Hint,
    reports: mpsc::Receiver<SourceReport>,
    _stop: DropGuard,
}

impl Reader {
    fn start(folder: &Path, url: &str) -> anyhow::Result<Self> {
        let text = format!(
            "cluster: {{in_cluster: true}}\ncache_dir: cache\nenvironments: [{{name: production, namespace: p}}]\n\
             sources: [{{name: books, url: \"{url}\", poll: 24h, \
             credentials: {{ssh: {{private_key_file: key, known_hosts_file: known_hosts}}}}}}]\n"
        );
        fs::write(folder.join("idpd.yaml"), text)?;
        let config = config::load(&folder.join("idpd.yaml"))?;
        let source = config.sources.into_values().next().context("there is one")?;
        let cache = Cache::open(&config.cache_dir, config.cache_limit, [source.name.clone()]);
        let (sender, reports) = mpsc::channel(8);
        let (hint, stop) = (Hint::default(), CancellationToken::new());
        let source_loop = SourceLoop {
            source,
            environments: config.environments.into_values().collect(),
            cache,
            compose: compose(),
            clients: Clients::default(),
            hosts: Hosts::default(),
            hint: hint.clone(),
            suspended: tokio::sync::watch::channel(None).1,
            reports: sender,
            permits: Arc::new(Semaphore::new(1)),
        };
        tokio::spawn(source_loop.run(stop.clone()));
        Ok(Self { hint, reports, _stop: stop.drop_guard() })
    }

    async fn next(&mut self) -> anyhow::Result<SourceReport> {
        tokio::time::timeout(SOON, self.reports.recv()).await?.context("the loop runs")
    }

    async fn look(&mut self, trigger: Trigger) -> anyhow::Result<SourceReport> {
        self.hint.send(trigger);
        self.next().await
    }
}

/// What a file declares is of no interest here.
fn compose() -> Compose {
    let service = "books".parse().ok();
    let refused = Refused { service, message: "it is only looked at".to_owned() };
    Compose {
        declare: Arc::new(move |_: &DeclareRequest| Err::<Declared, _>(refused.clone())),
        render: Arc::new(|_: &RenderRequest| BTreeMap::new()),
    }
}

#[tokio::test]
async fn a_source_is_fetched_over_ssh_with_a_deploy_key_from_the_pinned_server() -> anyhow::Result<()> {
    if stack::require().is_some() {
        return Ok(());
    }
    let gitea = stack::gitea().await?;
    let repo = gitea.admin.create_repo(&gitea.admin.user, "books-over-ssh").await?;
    let first = repo.commit("main", "declare", &[(".idp/deploy.yaml", "service: books")]).await?;
    let folder = TempDir::new()?;
    let mut keygen = Command::new("ssh-keygen");
    keygen.args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(folder.path().join("key"));
    command::run(&mut keygen, Duration::from_secs(30)).await?;
    let public = fs::read_to_string(folder.path().join("key.pub"))?;

    // A server that nobody vouches for gets no key.
    let known = folder.path().join("known_hosts");
    fs::write(&known, "# nobody\n")?;
    let url = format!("ssh://git@127.0.0.1:{}/{}/{}.git", gitea.ssh_port, repo.owner, repo.name);
    let mut reader = Reader::start(folder.path(), &url)?;
    let said = problem(&reader.next().await?)?;
    let line = format!("[127.0.0.1]:{} {}", gitea.ssh_port, gitea.host_key().await?);
    ensure!(said.contains("SHA256:") && said.ends_with(&format!("write: {line}")), "{said}");

    // What the error says to write is right; and the forge does not know our key yet.
    fs::write(&known, format!("{line}\n"))?;
    let said = problem(&reader.look(Trigger::Asked).await?)?;
    ensure!(
        said.contains("add it to the repository as a deploy key")
            && said.contains(public.split(' ').nth(1).context("a key")?),
        "{said}"
    );

    repo.add_deploy_key(&public).await?;
    let report = reader.look(Trigger::Asked).await?;
    ensure!(report.commit.as_ref().is_some_and(|commit| commit.as_str() == first), "{report:?}");
    ensure!((report.stats.requests, report.stats.fetches) == (1, 1), "{:?}", report.stats);
    let report = reader.look(Trigger::Poll).await?;
    ensure!(report.up && (report.stats.requests, report.stats.fetches) == (1, 0), "{:?}", report.stats);

    let second = repo.commit("main", "change", &[("a.txt", "a")]).await?;
    let report = reader.look(Trigger::Webhook).await?;
    ensure!(report.commit.as_ref().is_some_and(|commit| commit.as_str() == second), "{report:?}");

    // The key is this repository's alone.
    let other = gitea.admin.create_repo(&gitea.admin.user, "books-of-others").await?;
    let url = format!("ssh://git@127.0.0.1:{}/{}/{}.git", gitea.ssh_port, other.owner, other.name);
    let said = problem(&Reader::start(folder.path(), &url)?.next().await?)?;
    ensure!(said.contains("gives no repository over SSH"), "{said}");
    Ok(())
}

fn problem(report: &SourceReport) -> anyhow::Result<String> {
    ensure!(!report.up, "{report:?}");
    Ok(report.heads.problems.first().context("a reason")?.message.clone())
}
