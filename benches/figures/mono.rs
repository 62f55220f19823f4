//! What one changed service of a repository with 300 costs over smart HTTP, from its push to its rendered declaration, beside a
//! clone of the same push.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use idp::config;
use idp::reconcile::compose;
use idp::source::{self, Cache, Hint, Hosts, SourceLoop, SourceReport, Trigger};
use tokio::sync::{Semaphore, mpsc};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::forge;
use super::table::{Figure, Goal, Sheet, Times};

const SERVICES: usize = 300;
/// What a service has beside its declaration: 300 of them make 6 MB.
const FILES: usize = 4;
const BYTES: usize = 5_000;
/// Commits before the first that is measured: as many as images are asked for.
const HISTORY: usize = 25;
/// A clone is made of each push of so many.
const CLONES: usize = 10;

/// A work tree and the bare repository that it pushes to.
struct Repository(PathBuf);

impl Repository {
    fn git(&self, folder: &str, arguments: &[&str]) -> Result<String> {
        let output = Command::new("git")
            .args(arguments)
            .current_dir(self.0.join(folder))
            .envs([("GIT_CONFIG_GLOBAL", "/dev/null"), ("GIT_CONFIG_SYSTEM", "/dev/null")])
            .envs([("GIT_AUTHOR_NAME", "Ada"), ("GIT_AUTHOR_EMAIL", "ada@example.com")])
            .envs([("GIT_COMMITTER_NAME", "Ada"), ("GIT_COMMITTER_EMAIL", "ada@example.com")])
            .output()?;
        if !output.status.success() {
            bail!("git {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        }
        Ok(String::from_utf8(output.stdout)?.trim().to_owned())
    }

    fn create(root: &Path) -> Result<Self> {
        let repository = Self(root.to_owned());
        repository.git(".", &["init", "-q", "--bare", "-b", "main", "mono.git"])?;
        repository.git(".", &["init", "-q", "-b", "main", "work"])?;
        let mut noise = 1_u64;
        for service in 0..SERVICES {
            let folder = root.join(format!("work/services/s{service}"));
            std::fs::create_dir_all(folder.join(".idp"))?;
            std::fs::create_dir_all(folder.join("src"))?;
            let declaration = format!("service: {{name: s{service}, team: shop}}\n");
            std::fs::write(folder.join(".idp/deploy.yaml"), declaration)?;
            for file in 0..FILES {
                let mut text = String::new();
                while text.len() < BYTES {
                    noise =
                        noise.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                    writeln!(text, "{noise:x}")?;
                }
                std::fs::write(folder.join(format!("src/f{file}")), text)?;
            }
        }
        repository.git("work", &["add", "-A"])?;
        repository.git("work", &["commit", "-q", "-m", "all services"])?;
        for commit in 0..HISTORY {
            repository.git("work", &["commit", "-q", "--allow-empty", "-m", &format!("commit {commit}")])?;
        }
        repository.show()?;
        Ok(repository)
    }

    /// Changes a service and brings the commit to the bare repository, where no branch that is followed shows it.
    fn change(&self, service: usize, text: &str) -> Result<String> {
        let file = format!("services/s{service}/src/f0");
        std::fs::write(self.0.join("work").join(file), text)?;
        self.git("work", &["commit", "-q", "-a", "-m", "change a service"])?;
        self.git("work", &["push", "-q", "--force", "../mono.git", "HEAD:refs/heads/next"])?;
        self.git("work", &["rev-parse", "HEAD"])
    }

    /// Moves `main` to a commit that is there, as Git does it in the end: by a rename.
    fn merge(&self, commit: &str) -> Result<()> {
        let new = self.0.join("mono.git/main.new");
        std::fs::write(&new, format!("{commit}\n"))?;
        Ok(std::fs::rename(new, self.0.join("mono.git/refs/heads/main"))?)
    }

    fn show(&self) -> Result<String> {
        self.git("work", &["push", "-q", "../mono.git", "HEAD:refs/heads/main"])
    }
}

/// From a push to the report of its declaration.
pub async fn pushes(sheet: &mut Sheet, pushes: usize) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let repository = Repository::create(folder.path())?;
    let url = format!("{}/mono.git", forge::serve(folder.path()).await?);
    let (hint, mut reports, stop) = start(&url, folder.path())?;
    let first = next(&mut reports).await?;
    if first.stats.rendered != SERVICES as u64 {
        bail!("{} of {SERVICES} services: {:?}", first.stats.rendered, first.heads.problems);
    }
    let (mut times, mut clones, mut bytes, mut requests) = (Vec::new(), Vec::new(), Vec::new(), 0);
    for push in 0..pushes {
        let commit = repository.change(push * 7 % SERVICES, &format!("push {push}"))?;
        let begun = Instant::now();
        repository.merge(&commit)?;
        hint.send(Trigger::Webhook);
        let report = loop {
            let report = next(&mut reports).await?;
            if report.commit.as_ref().is_some_and(|seen| seen.as_str() == commit) {
                break report;
            }
        };
        times.push(begun.elapsed());
        if report.stats.rendered != 1 {
            bail!("{} services were rendered", report.stats.rendered);
        }
        bytes.push(report.stats.bytes);
        requests = requests.max(report.stats.requests);
        if push % CLONES == 0 {
            let target = folder.path().join("clone").display().to_string();
            let begun = Instant::now();
            let arguments = ["clone", "-q", "--bare", "--depth", "1", &url, &target];
            tokio::task::block_in_place(|| repository.git(".", &arguments))?;
            clones.push(begun.elapsed());
            std::fs::remove_dir_all(&target)?;
        }
    }
    stop.cancel();
    bytes.sort_unstable();
    let (median, most) = (bytes.get(bytes.len() / 2), bytes.last());
    let (median, most) = (median.copied().unwrap_or_default(), most.copied().unwrap_or_default());
    let goal = Goal { median: Some(Duration::from_millis(40)), p99: Some(Duration::from_millis(100)) };
    let what = "push of one service → its declaration rendered";
    let figures = [Figure { what, times: Times::new(times), goal }];
    let against = Figure::plain("against: git clone --depth 1 of the same push", clones);
    sheet.print(&format!("A repository of {SERVICES} services"), &against, &figures);
    println!(
        "  bytes received: {median} (median), {most} (most), goal ≤ 5000; requests: {requests}; rendered: 1 of {SERVICES}"
    );
    Ok(())
}

type Started = (Hint, mpsc::Receiver<SourceReport>, CancellationToken);

fn start(url: &str, folder: &Path) -> Result<Started> {
    let text = format!(
        "cluster: {{in_cluster: true}}\ncache_dir: {}\nplatform: {{image: \"registry.example.com/shop/{{{{service.name}}}}\"}}\n\
         environments: [{{name: production, namespace: shop, default: true}}]\n\
         sources: [{{name: mono, url: \"{url}\", poll: 24h, paths: [\"services/*/.idp/deploy.yaml\"]}}]\n",
        folder.join("cache").display()
    );
    let config = Arc::new(config::parse(&text, folder).map_err(|errors| anyhow::anyhow!("{errors}"))?);
    let hint = Hint::default();
    let (sender, reports) = mpsc::channel(64);
    let stop = CancellationToken::new();
    let looper = SourceLoop {
        source: config.sources.values().next().context("a source")?.clone(),
        environments: config.environments.values().cloned().collect(),
        cache: Cache::open(&config.cache_dir, config.cache_limit, config.sources.keys().cloned()),
        compose: compose(&config),
        clients: source::Clients::default(),
        hosts: Hosts::default(),
        hint: hint.clone(),
        suspended: tokio::sync::watch::channel(None).1,
        reports: sender,
        permits: Arc::new(Semaphore::new(2)),
    };
    tokio::spawn(looper.run(stop.clone()));
    Ok((hint, reports, stop))
}

async fn next(reports: &mut mpsc::Receiver<SourceReport>) -> Result<SourceReport> {
    let report = tokio::time::timeout(Duration::from_mins(1), reports.recv()).await?;
    report.context("the source's loop ended")
}
