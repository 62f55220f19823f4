//! The daemon as a process of its own.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::ground::Ground;
use crate::stack::{self, Process, guarded};

const START_LIMIT: Duration = Duration::from_mins(1);
const STOP_LIMIT: Duration = Duration::from_secs(30);

/// What differs between the daemons of the suite.
pub struct Setup<'a> {
    /// The cluster, as the daemon reaches it.
    pub kubeconfig: &'a Path,
    /// The items of `sources`, in YAML, two spaces deep.
    pub sources: String,
    /// The broker's address and the topic.
    pub kafka: (&'a str, &'a str),
    /// More of the environment, in YAML, four spaces deep.
    pub environment: &'a str,
}

/// The daemon. It ends when this is dropped.
pub struct Daemon {
    /// Its door, such as `http://127.0.0.1:20000`.
    pub url: String,
    config: PathBuf,
    log: PathBuf,
    running: Running,
}

type Running = Arc<Mutex<Option<Process>>>;

impl Daemon {
    /// Writes the configuration; nothing runs yet.
    pub fn prepare(ground: &Ground, setup: &Setup<'_>) -> anyhow::Result<Self> {
        let address = format!("127.0.0.1:{}", stack::free_port()?);
        let config = ground.file("idpd.yaml");
        fs::write(&config, configuration(ground, setup, &address))?;
        let running = Running::default();
        Ok(Self { url: format!("http://{address}"), config, log: ground.file("idpd.log"), running })
    }

    /// Starts it and waits until it leads.
    pub async fn start(&self) -> anyhow::Result<()> {
        let mut process = self.process()?;
        let ready = format!("{}/readyz", self.url);
        process.ready(START_LIMIT, async || stack::succeeds(&ready).await).await?;
        *self.lock() = Some(process);
        Ok(())
    }

    /// Starts it and waits for nothing.
    pub fn spawn(&self) -> anyhow::Result<()> {
        let process = self.process()?;
        *self.lock() = Some(process);
        Ok(())
    }

    /// Tells whether it was started and neither killed nor stopped since; that it ended by itself is an error.
    pub fn runs(&self) -> anyhow::Result<bool> {
        let mut running = self.lock();
        running.as_mut().map(Process::ensure_runs).transpose().map(|runs| runs.is_some())
    }

    /// Returns what kills it at once, from wherever.
    pub fn killer(&self) -> impl Fn() + Send + Sync + 'static {
        let running = Arc::clone(&self.running);
        // Dropping is killing.
        move || drop(running.lock().unwrap_or_else(PoisonError::into_inner).take())
    }

    /// Stops it in order and waits for its end.
    pub async fn stop(&self) -> anyhow::Result<()> {
        let Some(process) = self.lock().take() else { return Ok(()) };
        process.terminate()?;
        process.finish(STOP_LIMIT).await
    }

    /// Returns all that the daemon logged.
    pub fn said(&self) -> anyhow::Result<String> {
        Ok(fs::read_to_string(&self.log)?)
    }

    /// Adds the end of the daemon's log to an error: after it, so that whoever cuts a long report cuts the log.
    pub fn explain<T>(&self, result: anyhow::Result<T>) -> anyhow::Result<T> {
        result.map_err(|error| {
            let log = fs::read_to_string(&self.log).unwrap_or_default();
            let lines: Vec<&str> = log.lines().collect();
            let end = lines.get(lines.len().saturating_sub(60)..).unwrap_or_default().join("\n");
            anyhow::anyhow!("{error:#}\nthe end of the daemon's log:\n{end}")
        })
    }

    fn process(&self) -> anyhow::Result<Process> {
        let mut command = guarded(env!("CARGO_BIN_EXE_idpd"));
        command.arg("--config").arg(&self.config).args(["--log", "info,idp=debug"]);
        Process::spawn("idpd", command, &self.log)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<Process>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn configuration(ground: &Ground, setup: &Setup<'_>, address: &str) -> String {
    let registry = ground.registry.address();
    let Setup { kubeconfig, sources, kafka: (broker, topic), environment } = setup;
    format!(
        r#"listen: {address}
cache_dir: {cache}
cluster:
  kubeconfig: {kubeconfig}
  name: genuine
environments:
  - name: production
    namespace: "{{{{service.team}}}}-{{{{env}}}}"
    default: true
    create_namespace: true
{environment}platform:
  image: "{registry}/{{{{service.team}}}}/{{{{service.name}}}}"
  registries:
    - host: "{registry}"
      insecure: true
sources:
{sources}kafka:
  brokers: ["{broker}"]
  topic: {topic}
"#,
        cache = ground.file("cache").display(),
        kubeconfig = kubeconfig.display(),
    )
}
