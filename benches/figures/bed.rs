//! The bed on which figures and counts are taken: a sandbox cluster, a repository on disk, a registry and the daemon's own code, in
//! one process. Every request of the daemon to the API server passes a tape that notes when it was answered.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use futures::StreamExt;
use hmac::{Hmac, Mac};
use http_body_util::BodyExt;
use idp::cluster::{client, crd};
use idp::config;
use idp::model::record::Record;
use idp::reconcile::{Daemon, count_calls};
use idp::sandbox::{Sandbox, SandboxOptions};
use idp::telemetry::metrics::Metrics;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{DynamicObject, PostParams};
use kube::client::Body;
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Client};
use serde_json::Value;
use sha2::Sha256;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tower::Service;

use super::repository::Repository;

/// The service that is delivered; its Deployment has this name.
pub const SERVICE: &str = "checkout";
/// Where it runs.
pub const NAMESPACE: &str = "shop-production";
/// Under which name the daemon's requests stand in the sandbox's log.
pub const AGENT: &str = "idpd";
const IMAGE: &str = "shop/checkout";
/// What signs the hooks.
pub const SECRET: &str = "not much of a secret";

/// A request of the daemon.
#[derive(Debug, Clone)]
pub struct Asked {
    /// When it was answered.
    pub answered: Instant,
    /// How long that took.
    pub took: Duration,
    /// `GET`, `POST`, `PATCH`, …
    pub method: http::Method,
    /// The path, without a query.
    pub path: String,
    /// Whether the server did what was asked.
    pub done: bool,
    /// A record's write that says how its rollout ends: the way back begins with it.
    pub ending: bool,
}

/// The daemon's requests since it was last cleared.
#[derive(Clone, Default)]
pub struct Tape {
    all: Arc<Mutex<Vec<Asked>>>,
    waited: Arc<AtomicU64>,
}

impl Tape {
    /// Forgets everything.
    pub fn clear(&self) {
        self.lock().clear();
    }

    /// Returns the first request that `wanted` picks and that the server did.
    pub fn first(&self, wanted: impl Fn(&Asked) -> bool) -> Option<Asked> {
        self.lock().iter().find(|asked| asked.done && wanted(asked)).cloned()
    }

    /// Returns how long passes have waited for the server's answers since the start. What they write is in the release's namespace,
    /// where others of the daemon write Kubernetes events only.
    pub fn waited(&self) -> Duration {
        Duration::from_nanos(self.waited.load(Ordering::Relaxed))
    }

    /// Tells what was answered between two moments, a line each, watches apart.
    pub fn until(&self, from: Instant, to: Instant) -> Vec<String> {
        let all = self.lock();
        let between = all.iter().filter(|asked| asked.answered >= from && asked.answered <= to);
        let line = |asked: &Asked| {
            let (after, took) = (asked.answered.duration_since(from), asked.took);
            let path = asked.path.rsplit("/namespaces/").next().unwrap_or_default();
            let refused = if asked.done { "" } else { ": refused" };
            format!("{:>6.1} ms ({:>4.1} ms) {} {path}{refused}", millis(after), millis(took), asked.method)
        };
        between.map(line).collect()
    }

    fn note(&self, asked: Asked) {
        let namespace = format!("/namespaces/{NAMESPACE}/");
        if asked.path.contains(&namespace) && !asked.path.ends_with("/events") {
            let took = u64::try_from(asked.took.as_nanos()).unwrap_or(u64::MAX);
            self.waited.fetch_add(took, Ordering::Relaxed);
        }
        self.lock().push(asked);
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Asked>> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What else there is around a daemon.
#[derive(Default)]
pub struct Extras {
    /// More of the environment, each with a comma before it.
    pub environment: String,
    /// More of the configuration.
    pub more: String,
    /// Definitions that the cluster has before the daemon starts.
    pub kinds: Vec<Value>,
}

/// The running parts.
pub struct Bed {
    /// The cluster.
    pub sandbox: Sandbox,
    /// The team's repository.
    pub repository: Repository,
    /// The daemon.
    pub daemon: Daemon,
    /// What the daemon asked the API server.
    pub tape: Tape,
    /// The release's record, as a watch shows it.
    pub records: watch::Receiver<Option<Record>>,
    /// What looks at the cluster beside the daemon; it ends with the bed, since a watch of a server that has stopped never rests.
    pub lookers: JoinSet<()>,
    http: reqwest::Client,
    deliveries: AtomicU64,
    folder: tempfile::TempDir,
}

impl Bed {
    /// Starts every part; nothing is deployed.
    pub async fn start(options: SandboxOptions) -> Result<Self> {
        Self::start_with(options, &Extras::default()).await
    }

    /// As [`Self::start`], with more around the daemon.
    pub async fn start_with(options: SandboxOptions, extras: &Extras) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let sandbox = Sandbox::start(options).await?;
        define(&sandbox.server().client_as("operator"), &extras.kinds).await?;
        let repository = Repository::create(&folder.path().join("checkout.git"))?;
        let text = configuration(&sandbox, &repository, folder.path(), extras)?;
        let config = config::parse(&text, folder.path())?;
        let metrics = Arc::new(Metrics::register()?);
        let tape = Tape::default();
        let client = taped(&sandbox, &tape, &metrics);
        let daemon = Daemon::start(config, client, metrics).await?;
        let mut lookers = JoinSet::new();
        let records = follow(sandbox.server().client_as("witness"), &mut lookers);
        let (http, deliveries) = (reqwest::Client::new(), AtomicU64::new(0));
        Ok(Self { sandbox, repository, daemon, tape, records, lookers, http, deliveries, folder })
    }

    /// Commits files on top of what is there and pushes the commit's image, whose pods behave so. Nobody sees it before the merge.
    pub fn commit(&mut self, message: &str, files: &[(&str, &str)], behaviour: &str) -> Result<String> {
        let commit = self.repository.write(message, files)?;
        self.sandbox.registry().push_as(IMAGE, &commit, behaviour);
        Ok(commit)
    }

    /// Where the daemon keeps its mirrors.
    pub fn cache(&self) -> PathBuf {
        self.folder.path().join("cache")
    }

    /// Sends what Gitea sends for a push, signed; returns when the daemon has taken it.
    pub async fn hook(&self, commit: &str) -> Result<()> {
        let body = serde_json::json!({
            "ref": "refs/heads/main", "before": "0".repeat(40), "after": commit,
            "repository": {"id": 1, "full_name": IMAGE, "default_branch": "main"},
            "pusher": {"login": "ada"}, "commits": [{"id": commit, "message": "a change"}],
        })
        .to_string();
        let mut mac = Hmac::<Sha256>::new_from_slice(SECRET.as_bytes())?;
        mac.update(body.as_bytes());
        let delivery = self.deliveries.fetch_add(1, Ordering::Relaxed);
        let url = format!("http://{}/hooks/checkout", self.daemon.address());
        let request = self.http.post(url).header("content-type", "application/json");
        let request = request
            .header("x-gitea-event", "push")
            .header("x-gitea-delivery", format!("delivery-{delivery}"))
            .header("x-gitea-signature", hex::encode(mac.finalize().into_bytes()));
        let answer = request.body(body).send().await?;
        if answer.status() != 202 {
            bail!("the hook was answered with {}", answer.status());
        }
        Ok(())
    }

    /// Waits until the record is as wanted, a minute at most.
    pub async fn until(&mut self, what: &str, wanted: impl Fn(&Record) -> bool) -> Result<Record> {
        let seen = self.records.wait_for(|record| record.as_ref().is_some_and(&wanted));
        let seen = tokio::time::timeout(Duration::from_mins(1), seen).await;
        let seen = seen.map(|seen| seen.map(|record| record.clone()));
        match seen {
            Ok(Ok(Some(record))) => Ok(record),
            _ => bail!("waited in vain until {what}; the record is {:#?}", self.records.borrow().as_ref()),
        }
    }

    /// Stops every part, the daemon first.
    pub async fn stop(self) {
        let Self { sandbox, daemon, mut lookers, folder, .. } = self;
        lookers.shutdown().await;
        daemon.stop().await;
        sandbox.stop().await;
        drop(folder);
    }
}

/// Tells whether nothing runs and this commit is what stable runs.
pub fn stands(record: &Record, commit: &str) -> bool {
    let stable = record.stable.as_ref().map(|stable| stable.version.revision.commit.as_str());
    record.rollout.is_none() && stable == Some(commit)
}

/// A client that is the daemon's alone.
fn taped(sandbox: &Sandbox, tape: &Tape, metrics: &Metrics) -> Client {
    let (server, tape) = (sandbox.server().service(), tape.clone());
    let service = tower::service_fn(move |request: http::Request<Body>| {
        let (mut server, tape) = (server.clone(), tape.clone());
        async move {
            let (mut parts, body) = request.into_parts();
            parts.headers.insert(http::header::USER_AGENT, http::HeaderValue::from_static(AGENT));
            let bytes = body.collect().await?.to_bytes();
            let (method, path) = (parts.method.clone(), parts.uri.path().to_owned());
            let ending = path.ends_with("/status") && contains(&bytes, br#""ending":{"#);
            let asked = Instant::now();
            let answer = server.call(http::Request::from_parts(parts, Body::from(bytes))).await?;
            let (answered, took) = (Instant::now(), asked.elapsed());
            let done = answer.status().is_success();
            tape.note(Asked { answered, took, method, path, done, ending });
            Ok::<_, tower::BoxError>(answer)
        }
    });
    client::over(service, count_calls(metrics))
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1_000.0
}

fn contains(bytes: &[u8], wanted: &[u8]) -> bool {
    bytes.windows(wanted.len()).any(|window| window == wanted)
}

/// Follows the release's record as anybody can.
fn follow(client: Client, lookers: &mut JoinSet<()>) -> watch::Receiver<Option<Record>> {
    let (sender, records) = watch::channel(None);
    lookers.spawn(async move {
        let api: Api<DynamicObject> = Api::namespaced_with(client, NAMESPACE, &crd::resource());
        let changes = watcher(api, watcher::Config::default()).default_backoff().applied_objects();
        let mut changes = std::pin::pin!(changes.filter_map(async |change| change.ok()));
        while let Some(object) = changes.next().await {
            let status = object.data.get("status").cloned().unwrap_or_default();
            if let Ok(record) = serde_json::from_value::<Record>(status) {
                sender.send_replace(Some(record));
            }
        }
    });
    records
}

async fn define(client: &Client, kinds: &[Value]) -> Result<()> {
    let all: Api<CustomResourceDefinition> = Api::all(client.clone());
    for kind in kinds {
        all.create(&PostParams::default(), &serde_json::from_value(kind.clone())?).await?;
    }
    Ok(())
}

fn configuration(
    sandbox: &Sandbox,
    repository: &Repository,
    folder: &Path,
    extras: &Extras,
) -> Result<String> {
    let registry = sandbox.registry().address();
    std::fs::write(folder.join("hook"), SECRET).context("writing the hook's secret")?;
    Ok(format!(
        r#"listen: 127.0.0.1:0
cache_dir: {cache}
cluster: {{in_cluster: true, name: bench}}
environments:
  - {{name: production, namespace: {NAMESPACE}, default: true, create_namespace: true{environment}}}
platform:
  image: "{registry}/{IMAGE}"
  registries:
    - {{host: "{registry}", insecure: true}}
sources:
  - name: checkout
    url: {repository}
    ref: main
    paths: [.idp/deploy.yaml]
    webhook: {{forge: gitea, secret_file: hook}}
{more}"#,
        environment = extras.environment,
        more = extras.more,
        cache = folder.join("cache").display(),
        repository = repository.path().display(),
    ))
}
