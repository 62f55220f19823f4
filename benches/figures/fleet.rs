//! Many services of one repository, delivered by `idpd` as a process of its own to a sandbox that is served over HTTP: what the process
//! takes is the daemon's alone.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Stdio;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use idp::cluster::crd;
use idp::model::record::Record;
use idp::sandbox::{Sandbox, SandboxOptions, Verb};
use kube::api::{DynamicObject, ListParams};
use kube::{Api, ResourceExt};
use tokio::process::{Child, Command};
use tokio::time::{Instant, sleep};

use super::bed::NAMESPACE;
use super::repository::Repository;

/// How long the whole fleet may take from one version to the next.
const PATIENCE: Duration = Duration::from_mins(8);

/// How long the daemon may take to its first answer.
const START: Duration = Duration::from_mins(1);

/// What the daemon wrote into the records, as it reached the API server.
#[derive(Default)]
pub struct Written {
    /// How often since it was last cleared, by service.
    pub count: BTreeMap<String, u64>,
    /// When the write came that begins the way back, by service.
    pub ending: BTreeMap<String, Instant>,
}

/// The running parts; the process ends first.
pub struct Fleet {
    process: Child,
    /// Where the daemon serves its metrics.
    url: String,
    /// The cluster.
    pub sandbox: Sandbox,
    /// What was written into the records.
    written: Arc<Mutex<Written>>,
    repository: Repository,
    services: usize,
    version: usize,
    folder: tempfile::TempDir,
}

impl Fleet {
    /// Starts every part, and has so many services of this declaration, in which `NAME` is the service's, promoted once.
    pub async fn start(declaration: &str, services: usize, time_scale: f64) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let options = SandboxOptions { time_scale, serve_http: true, ..SandboxOptions::default() };
        let sandbox = Sandbox::start(options).await?;
        let mut repository = Repository::create(&folder.path().join("all.git"))?;
        let files: Vec<(String, String)> = (0..services)
            .map(|number| {
                let name = name(number);
                (format!("services/{name}/.idp/deploy.yaml"), declaration.replace("NAME", &name))
            })
            .collect();
        let files: Vec<(&str, &str)> = files.iter().map(|(path, text)| (&**path, &**text)).collect();
        repository.write("All services", &files)?;
        let written = follow(&sandbox);
        let (process, url) = spawn(&sandbox, &repository, folder.path()).await?;
        let mut fleet = Self { process, url, sandbox, written, repository, services, version: 0, folder };
        fleet.push("healthy")?;
        fleet.until("every first version is stable", stands).await?;
        Ok(fleet)
    }

    /// Pushes the next version of every service, whose pods behave so.
    pub fn push(&mut self, behaviour: &str) -> Result<()> {
        self.version += 1;
        let text = format!("version {}\n", self.version);
        let paths: Vec<String> =
            (0..self.services).map(|number| format!("services/{}/src/app", name(number))).collect();
        let files: Vec<(&str, &str)> = paths.iter().map(|path| (path.as_str(), text.as_str())).collect();
        let commit = self.repository.write("The next version of all", &files)?;
        for number in 0..self.services {
            let image = format!("shop/{}", name(number));
            self.sandbox.registry().push_as(&image, &commit, behaviour);
        }
        self.repository.merge()
    }

    /// Waits until every record is as wanted; returns them.
    pub async fn until(
        &mut self,
        what: &str,
        wanted: fn(&Record) -> bool,
    ) -> Result<BTreeMap<String, Record>> {
        let begun = Instant::now();
        let api: Api<DynamicObject> =
            Api::namespaced_with(self.sandbox.server().client_as("witness"), NAMESPACE, &crd::resource());
        loop {
            if let Some(status) = self.process.try_wait()? {
                bail!("idpd ended with {status}: {}", tail(self.folder.path()));
            }
            let mut there = BTreeMap::new();
            // Before the daemon has installed the kind, there is none.
            for object in api.list(&ListParams::default()).await.map(|list| list.items).unwrap_or_default() {
                let status = object.data.get("status").cloned().unwrap_or_default();
                if let Some(record) = serde_json::from_value::<Record>(status).ok().filter(wanted) {
                    there.insert(object.name_any(), record);
                }
            }
            if there.len() == self.services {
                return Ok(there);
            }
            if begun.elapsed() > PATIENCE {
                bail!("{} of {} until {what}: {}", there.len(), self.services, tail(self.folder.path()));
            }
            // A look at a thousand records is work for the machine that is measured.
            sleep(Duration::from_millis(self.services.clamp(20, 1_000) as u64)).await;
        }
    }

    /// What was written so far.
    pub fn written(&self) -> MutexGuard<'_, Written> {
        self.written.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The CPU time of the daemon so far, in steps of 10 ms.
    pub fn cpu(&self) -> Result<Duration> {
        super::cpu::cpu_of(&self.process.id().context("it ended")?.to_string())
    }

    /// What the daemon says in its metrics of passes: how many there were, and how many of them began within 100 ms.
    pub async fn passes(&self) -> Result<(u64, u64)> {
        let page = reqwest::get(format!("{}/metrics", self.url)).await?.error_for_status()?.text().await?;
        let value = |series: &str| -> Result<u64> {
            let line = page.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
            Ok(line.with_context(|| format!("the metrics have no {series}"))?.parse()?)
        };
        let within = value(r#"idp_pass_delay_seconds_bucket{le="0.1"}"#)?;
        Ok((value("idp_pass_delay_seconds_count")?, within))
    }

    /// Ends every part.
    pub async fn stop(mut self) -> Result<()> {
        self.process.kill().await?;
        self.sandbox.stop().await;
        Ok(())
    }
}

/// Tells whether nothing runs and something is stable.
pub fn stands(record: &Record) -> bool {
    record.rollout.is_none() && record.stable.is_some()
}

/// Tells whether the first step of a canary is being observed.
pub fn observed(record: &Record) -> bool {
    record.rollout.as_ref().is_some_and(|rollout| rollout.stage.ready_at.is_some())
}

/// The name of a service.
pub fn name(number: usize) -> String {
    format!("s{number}")
}

/// Notes what is written into the records.
fn follow(sandbox: &Sandbox) -> Arc<Mutex<Written>> {
    let written = Arc::<Mutex<Written>>::default();
    let notes = Arc::clone(&written);
    sandbox.server().inject(move |request| {
        if request.kind == "Release" && request.verb == Verb::Patch && request.subresource == "status" {
            let mut notes = notes.lock().unwrap_or_else(PoisonError::into_inner);
            *notes.count.entry(request.name.clone()).or_default() += 1;
            if request.body.pointer("/status/rollout/ending").is_some_and(serde_json::Value::is_object) {
                notes.ending.entry(request.name.clone()).or_insert_with(Instant::now);
            }
        }
        None
    });
    written
}

async fn spawn(sandbox: &Sandbox, repository: &Repository, folder: &Path) -> Result<(Child, String)> {
    let kubeconfig = folder.join("kubeconfig");
    std::fs::write(&kubeconfig, sandbox.server().kubeconfig().context("it is served over HTTP")?)?;
    // Free until now; the daemon binds it next.
    let address = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?;
    let registry = sandbox.registry().address();
    let config = format!(
        r#"listen: {address}
cache_dir: {cache}
cluster: {{kubeconfig: {kubeconfig}, name: bench}}
environments:
  - {{name: production, namespace: {NAMESPACE}, default: true, create_namespace: true, max_concurrent_rollouts: 1000}}
platform:
  image: "{registry}/{{{{service.team}}}}/{{{{service.name}}}}"
  registries:
    - {{host: "{registry}", insecure: true}}
sources:
  - {{name: all, url: {repository}, ref: main, paths: ["services/*/.idp/deploy.yaml"]}}
"#,
        cache = folder.join("cache").display(),
        kubeconfig = kubeconfig.display(),
        repository = repository.path().display(),
    );
    let file = folder.join("idpd.yaml");
    std::fs::write(&file, config)?;
    let log = std::fs::File::create(folder.join("idpd.log"))?;
    let mut process = Command::new(env!("CARGO_BIN_EXE_idpd"))
        .arg("--config")
        .arg(&file)
        .args(["--log", "warn"])
        .stdout(log.try_clone()?)
        .stderr(Stdio::from(log))
        .kill_on_drop(true)
        .spawn()?;
    let url = format!("http://{address}");
    let begun = Instant::now();
    while !reqwest::get(format!("{url}/readyz")).await.is_ok_and(|answer| answer.status().is_success()) {
        if process.try_wait()?.is_some() || begun.elapsed() > START {
            bail!("idpd did not start: {}", tail(folder));
        }
        sleep(Duration::from_millis(50)).await;
    }
    Ok((process, url))
}

/// The end of the daemon's log.
fn tail(folder: &Path) -> String {
    let log = std::fs::read_to_string(folder.join("idpd.log")).unwrap_or_default();
    let lines: Vec<&str> = log.lines().rev().take(20).collect();
    lines.into_iter().rev().collect::<Vec<_>>().join("\n")
}
