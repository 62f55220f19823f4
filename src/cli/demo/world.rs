//! Everything that the demo needs, from nothing: a sandbox cluster, a repository on disk, a registry, a broker, and the daemon.

use std::sync::Arc;
use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::consumer::{Consumer as _, StreamConsumer};
use rdkafka::mocking::MockCluster;
use rdkafka::producer::DefaultProducerContext;

use super::repository::Repository;
use crate::cluster::client;
use crate::config;
use crate::reconcile::{Daemon, count_calls};
use crate::sandbox::{Load, LoadOptions, Sandbox, SandboxOptions};
use crate::telemetry::metrics::Metrics;

/// The repository's image.
pub const IMAGE: &str = "shop/checkout";
/// The release that the demo tells of.
pub const RELEASE: &str = "checkout.production";
/// Where it runs.
pub const NAMESPACE: &str = "shop-production";
const TOPIC: &str = "idp.deployments";
/// Probes, grace periods and back-offs of the sandbox's pods run so much faster than declared.
const TIME_SCALE: f64 = 0.1;
/// Requests a second that the load generator sends.
const RATE: f64 = 600.0;

/// Why the demo could not go on.
#[derive(Debug, thiserror::Error)]
pub enum DemoError {
    /// A part did not start or broke.
    #[error("{what}")]
    Part {
        /// What was being done.
        what: String,
        /// Why it failed.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The story did not go as told.
    #[error("{0}")]
    Story(String),
}

/// Makes an error of a part.
pub fn part<E: Into<Box<dyn std::error::Error + Send + Sync>>>(what: &str) -> impl FnOnce(E) -> DemoError {
    let what = what.to_owned();
    move |source| DemoError::Part { what, source: source.into() }
}

/// The running parts.
pub struct World {
    /// The cluster.
    pub sandbox: Sandbox,
    /// The team's repository.
    pub repository: Repository,
    /// The daemon.
    pub daemon: Daemon,
    /// Reads back what the daemon publishes.
    pub consumer: StreamConsumer,
    /// The broker's address.
    pub broker: String,
    kafka: MockCluster<'static, DefaultProducerContext>,
    load: Option<Load>,
    folder: tempfile::TempDir,
}

impl World {
    /// Starts every part. The repository is empty and nothing is deployed.
    pub async fn start() -> Result<Self, DemoError> {
        let folder = tempfile::tempdir().map_err(part("making a folder for the demo"))?;
        let options = SandboxOptions {
            seed: 7,
            time_scale: TIME_SCALE,
            serve_http: true,
            crash_after: Duration::from_millis(200),
            ..SandboxOptions::default()
        };
        let sandbox = Sandbox::start(options).await.map_err(part("starting the sandbox cluster"))?;
        let repository =
            Repository::create(&folder.path().join("checkout.git")).map_err(part("making the repository"))?;
        let kafka = MockCluster::new(1).map_err(part("starting the broker"))?;
        kafka.create_topic(TOPIC, 1, 1).map_err(part("making the topic"))?;
        let broker = kafka.bootstrap_servers();
        let consumer = consumer(&broker)?;
        let text = configuration(&sandbox, &repository, &broker, folder.path());
        let config = config::parse(&text, folder.path()).map_err(part("reading the demo's configuration"))?;
        let metrics = Arc::new(Metrics::register().map_err(part("registering the metrics"))?);
        let client = client::over(sandbox.server().service(), count_calls(&metrics));
        let daemon = Daemon::start(config, client, metrics).await.map_err(part("starting the daemon"))?;
        Ok(Self { sandbox, repository, daemon, consumer, broker, kafka, load: None, folder })
    }

    /// Lets real requests flow to the Service; bounded in number and time.
    pub fn let_load_flow(&mut self) {
        let options = LoadOptions {
            rate: RATE,
            max_requests: 200_000,
            max_time: Duration::from_mins(5),
            ..LoadOptions::new(NAMESPACE, "checkout")
        };
        self.load = Some(self.sandbox.load(options));
    }

    /// Writes a kubeconfig for `kubectl` and returns its path.
    pub fn kubeconfig(&self) -> Result<std::path::PathBuf, DemoError> {
        let path = self.folder.path().join("kubeconfig");
        let text = self.sandbox.server().kubeconfig().unwrap_or_default();
        std::fs::write(&path, text).map_err(part("writing the kubeconfig"))?;
        Ok(path)
    }

    /// Stops every part, the daemon first.
    pub async fn stop(self) {
        let Self { sandbox, daemon, consumer, kafka, load, folder, repository: _, broker: _ } = self;
        drop(load);
        daemon.stop().await;
        drop(consumer);
        sandbox.stop().await;
        drop(kafka);
        drop(folder);
    }
}

fn consumer(broker: &str) -> Result<StreamConsumer, DemoError> {
    let consumer: StreamConsumer = ClientConfig::new()
        .set("bootstrap.servers", broker)
        .set("group.id", "idp-demo")
        .set("auto.offset.reset", "earliest")
        .create()
        .map_err(part("making a consumer"))?;
    consumer.subscribe(&[TOPIC]).map_err(part("subscribing to the topic"))?;
    Ok(consumer)
}

fn configuration(
    sandbox: &Sandbox,
    repository: &Repository,
    broker: &str,
    folder: &std::path::Path,
) -> String {
    let registry = sandbox.registry().address();
    format!(
        r#"listen: 127.0.0.1:0
cache_dir: {cache}
cluster:
  in_cluster: true
  name: demo
environments:
  - name: production
    namespace: "{{{{service.team}}}}-{{{{env}}}}"
    default: true
    create_namespace: true
platform:
  image: "{registry}/{{{{service.team}}}}/{{{{service.name}}}}"
  registries:
    - host: "{registry}"
      insecure: true
sources:
  - name: checkout
    url: {repository}
    ref: main
    paths: [.idp/deploy.yaml]
kafka:
  brokers: ["{broker}"]
  topic: {TOPIC}
"#,
        cache = folder.join("cache").display(),
        repository = repository.path().display(),
    )
}
