//! For tests: real Git repositories made by the `git` command, hermetic; a tiny declaration language instead of the real one; and a
//! source loop that runs beside the test.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tempfile::TempDir;
use tokio::sync::{Semaphore, mpsc};
use tokio_util::sync::CancellationToken;

use super::*;
use crate::config::{self, Config};
use crate::model::declaration::ManifestFile;
use crate::model::desired::{Desired, HeadUpdate, Identity, Mode};
use crate::model::image::{ImageRequest, Wanted};
use crate::model::name::ReleaseKey;
use crate::model::policy::{
    Amount, CheckKind, HealthCheck, OnLowTraffic, OnUnknown, Policy, Rollback, Strategy,
};

/// A work tree and the bare repository that it pushes to.
pub(crate) struct Repo {
    pub(crate) dir: TempDir,
}

impl Repo {
    pub(crate) fn new() -> Self {
        let repo = Self { dir: tempfile::tempdir().unwrap() };
        repo.git(".", &["init", "-q", "--bare", "-b", "main", "origin.git"]);
        repo.git(".", &["init", "-q", "-b", "main", "work"]);
        repo.work(&["remote", "add", "origin", "../origin.git"]);
        repo
    }

    /// The bare repository.
    pub(crate) fn bare(&self) -> PathBuf {
        self.dir.path().join("origin.git")
    }

    pub(crate) fn git(&self, folder: &str, arguments: &[&str]) -> String {
        static CLOCK: AtomicU64 = AtomicU64::new(1_760_000_000);
        let date = format!("@{} +0000", CLOCK.fetch_add(60, Ordering::Relaxed));
        let output = Command::new("git")
            .args(arguments)
            .current_dir(self.dir.path().join(folder))
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap())
            .envs([("GIT_CONFIG_GLOBAL", "/dev/null"), ("GIT_CONFIG_SYSTEM", "/dev/null")])
            .envs([("GIT_AUTHOR_NAME", "Alice"), ("GIT_AUTHOR_EMAIL", "alice@example.com")])
            .envs([("GIT_COMMITTER_NAME", "Alice"), ("GIT_COMMITTER_EMAIL", "alice@example.com")])
            .envs([("GIT_AUTHOR_DATE", &date), ("GIT_COMMITTER_DATE", &date)])
            .output()
            .unwrap();
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    pub(crate) fn work(&self, arguments: &[&str]) -> String {
        self.git("work", arguments)
    }

    /// Writes files (an empty text deletes one) and commits; returns the commit's id.
    pub(crate) fn commit(&self, files: &[(&str, &str)]) -> String {
        for (path, text) in files {
            let path = self.dir.path().join("work").join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            if text.is_empty() {
                std::fs::remove_file(path).unwrap();
            } else {
                std::fs::write(path, text).unwrap();
            }
        }
        self.work(&["add", "-A"]);
        self.work(&["commit", "-q", "--allow-empty", "-m", "Change files\n\nbody"]);
        self.head()
    }

    pub(crate) fn head(&self) -> String {
        self.work(&["rev-parse", "HEAD"])
    }

    pub(crate) fn push(&self) {
        self.work(&["push", "-q", "--force", "origin", "HEAD"]);
    }

    /// Commits and pushes.
    pub(crate) fn publish(&self, files: &[(&str, &str)]) -> String {
        let commit = self.commit(files);
        self.push();
        commit
    }
}

/// A running source loop.
pub(crate) struct Running {
    pub(crate) hint: Hint,
    pub(crate) suspensions: Suspensions,
    reports: mpsc::Receiver<SourceReport>,
    pub(crate) stop: CancellationToken,
    /// The loop itself; gone once it was waited for.
    pub(crate) task: Option<tokio::task::JoinHandle<Result<(), Cause>>>,
    /// The services that were rendered, in order.
    pub(crate) rendered: Arc<Mutex<Vec<String>>>,
    /// The present answers by release.
    pub(crate) heads: BTreeMap<String, Result<Desired, String>>,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// Parses a configuration of two environments and one source with more fields.
pub(crate) fn config(url: &str, fields: &str, cache: &Path) -> Config {
    config_with("{}", url, fields, cache)
}

/// The same with a platform.
pub(crate) fn config_with(platform: &str, url: &str, fields: &str, cache: &Path) -> Config {
    let poll = if fields.contains("poll:") { "" } else { "poll: 24h," };
    let claim = if fields.contains("environments:") { "" } else { "environments: [production]," };
    let text = format!(
        "cluster: {{in_cluster: true}}\ncache_dir: {}\nplatform: {platform}\nenvironments:\n\
         - {{name: staging, namespace: s, branch: develop}}\n- {{name: production, namespace: p}}\n\
         sources: [{{name: a, url: \"{url}\", {poll} {claim} {fields}}}]",
        cache.display()
    );
    config::parse(&text, cache).unwrap_or_else(|errors| panic!("{errors}"))
}

impl Running {
    /// Starts the loop of the only source of a configuration.
    pub(crate) fn start(config: Config) -> Self {
        Self::start_among(&Hosts::default(), config)
    }

    /// Starts it among others that share hosts.
    pub(crate) fn start_among(hosts: &Hosts, config: Config) -> Self {
        Self::start_sharing(&Clients::default(), hosts, config)
    }

    /// Starts it among others that share hosts and clients.
    pub(crate) fn start_sharing(clients: &Clients, hosts: &Hosts, config: Config) -> Self {
        let names = config.sources.keys().cloned();
        let cache = Cache::open(&config.cache_dir, config.cache_limit, names);
        Self::start_in(cache, clients, hosts, config)
    }

    /// Starts it among others that also share a cache folder.
    pub(crate) fn start_in(cache: Cache, clients: &Clients, hosts: &Hosts, config: Config) -> Self {
        let hint = Hint::default();
        let suspensions = Suspensions::new(config.sources.values());
        let (sender, reports) = mpsc::channel(64);
        let stop = CancellationToken::new();
        let rendered = Arc::new(Mutex::new(Vec::new()));
        let source = config.sources.into_values().next().unwrap();
        let source_loop = SourceLoop {
            compose: compose(rendered.clone()),
            environments: config.environments.into_values().collect(),
            cache,
            clients: clients.clone(),
            hosts: hosts.clone(),
            hint: hint.clone(),
            suspended: suspensions.watch(&source.name).unwrap(),
            reports: sender,
            permits: Arc::new(Semaphore::new(2)),
            source,
        };
        let task = Some(tokio::spawn(source_loop.run(stop.clone())));
        Self { hint, suspensions, reports, stop, task, rendered, heads: BTreeMap::new() }
    }

    /// Waits for the next report and applies it.
    pub(crate) async fn next(&mut self) -> SourceReport {
        tokio::time::timeout(Duration::from_secs(20), self.receive()).await.expect("a report within 20 s")
    }

    /// Waits for the next report, however long it takes, and applies it.
    pub(crate) async fn receive(&mut self) -> SourceReport {
        let report = self.reports.recv().await.expect("the loop runs");
        for (key, update) in &report.heads.releases {
            let answer = match update {
                HeadUpdate::Known(desired) => Ok(Desired::clone(desired)),
                HeadUpdate::Keep { reason } => Err(reason.clone()),
            };
            self.heads.insert(key.to_string(), answer);
        }
        report
    }

    /// Waits for a report that fits; those before it are applied.
    pub(crate) async fn until(&mut self, fits: impl Fn(&SourceReport) -> bool) -> SourceReport {
        loop {
            let report = self.next().await;
            if fits(&report) {
                return report;
            }
        }
    }

    /// Asks for a look as a webhook would and waits for a report of this commit.
    pub(crate) async fn look_at(&mut self, commit: &str) -> SourceReport {
        self.hint.send(Trigger::Webhook);
        self.until(|report| report.commit.as_ref().is_some_and(|id| id.as_str() == commit)).await
    }

    pub(crate) fn take_rendered(&self) -> Vec<String> {
        std::mem::take(&mut *self.rendered.lock().unwrap())
    }

    pub(crate) fn good(&self, release: &str) -> &Desired {
        self.heads[release].as_ref().unwrap_or_else(|reason| panic!("{release}: {reason}"))
    }

    pub(crate) fn kept(&self, release: &str) -> &str {
        self.heads[release].as_ref().expect_err("the last good answer is kept")
    }
}

fn field<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
}

fn words(text: &str, name: &str) -> Vec<String> {
    field(text, name).unwrap_or_default().split_whitespace().map(str::to_owned).collect()
}

/// Two functions that read `service: NAME`, `paths: A B`, `ignore: A B`, `environments: A B`, `broken: WHY` and `unrenderable: WHY`.
pub(crate) fn compose(rendered: Arc<Mutex<Vec<String>>>) -> Compose {
    let declare = |request: &DeclareRequest| {
        let text = String::from_utf8_lossy(&request.bytes).into_owned();
        let service = field(&text, "service").and_then(|name| name.parse().ok());
        match (field(&text, "broken"), service) {
            (None, Some(service)) => Ok(Declared {
                service,
                paths: words(&text, "paths"),
                manifests: words(&text, "manifests"),
                ignore: words(&text, "ignore"),
            }),
            (broken, service) => Err(Refused { service, message: broken.unwrap_or("no service").to_owned() }),
        }
    };
    let render = move |request: &RenderRequest| {
        let text = String::from_utf8_lossy(&request.bytes).into_owned();
        rendered.lock().unwrap().push(field(&text, "service").unwrap().to_owned());
        let named = words(&text, "environments");
        let all = request.environments.iter().map(ToString::to_string).collect();
        let environments = if named.is_empty() { all } else { named };
        let answer = |environment: &String| {
            let result = match field(&text, "unrenderable") {
                Some(why) => Err(why.to_owned()),
                None => Ok(desired(request, &text, environment)),
            };
            (environment.parse().unwrap(), result)
        };
        environments.iter().map(answer).collect()
    };
    Compose { declare: Arc::new(declare), render: Arc::new(render) }
}

/// A file with its content, so that a test can see that it was read.
fn told(file: &ManifestFile) -> String {
    format!("{}={};", file.path, String::from_utf8_lossy(&file.bytes))
}

fn desired(request: &RenderRequest, text: &str, environment: &str) -> Desired {
    let service = field(text, "service").unwrap();
    let second = Duration::from_secs(1);
    let health = HealthCheck {
        kind: CheckKind::Tcp,
        port: 80,
        interval: second,
        timeout: second,
        threshold: 1,
        success_threshold: 1,
        initial_delay: second,
    };
    let rollback = Rollback {
        auto: true,
        max_error_rate: None,
        max_latency: Vec::new(),
        max_restarts: 2,
        min_requests: 1,
        window: second,
        on_low_traffic: OnLowTraffic::Pass,
        on_unknown: OnUnknown::Hold,
        unknown_timeout: second,
        hold: true,
        history: 10,
    };
    let policy = Policy {
        strategy: Strategy::Rolling,
        traffic: crate::model::traffic::Traffic::default(),
        steps: Vec::new(),
        progress_deadline: second,
        image_wait: second,
        max_surge: Amount::Count(1),
        max_unavailable: Amount::Count(0),
        health,
        rollback,
        order: crate::model::policy::Order::default(),
        gates: Vec::new(),
        slo: Vec::new(),
    };
    Desired {
        release: format!("{service}.{environment}").parse::<ReleaseKey>().unwrap(),
        namespace: "p".parse().unwrap(),
        team: "t".parse().unwrap(),
        source: request.source.clone(),
        revision: request.revision.clone(),
        identity: Identity(request.watched_tree.clone()),
        changes: crate::model::change::Changes::default(),
        platform: request.manifests.iter().map(told).collect(),
        image: ImageRequest {
            repository: "r/a".to_owned(),
            wanted: Wanted::Tags(request.candidates.iter().map(|commit| format!("v-{commit}")).collect()),
        },
        mode: Mode::Apply,
        auto_deploy: true,
        replicas: 1,
        autoscale: None,
        policy,
        port: 80,
        objects: Vec::new(),
    }
}
