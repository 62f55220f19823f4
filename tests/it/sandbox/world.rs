//! A small world: a repository, a registry, a sandbox cluster, a broker, and the daemon, which can be killed and started again.

use std::time::Duration;

use idp::cluster::raw::resource;
use idp::config;
use idp::model::desired::SourceProblem;
use idp::model::record::{Health, Record};
use idp::model::rollout::{Outcome, Phase, Summary};
use idp::sandbox::{Sandbox, SandboxOptions};
use idp::source::SourceStatus;
use kube::api::{Api, DynamicObject, Patch, PatchParams, PostParams};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use super::broker::{Broker, TOPIC};
use super::ledger::Ledger;
use super::process::Process;
use super::repository::Repository;
use crate::lease::{self, HOME};

/// Probes, grace periods and back-offs of the sandbox's pods run so much faster than declared.
const TIME_SCALE: f64 = 0.05;
/// How long anything may take; reached only by what never happens.
const PATIENCE: Duration = Duration::from_mins(1);
pub const NAMESPACE: &str = "shop-production";
pub const RELEASE: &str = "web.production";
/// What signs the hooks of the source `web`, where it has any.
pub const SECRET: &str = "open sesame";

/// The events of a first deploy.
pub const FIRST: [&str; 6] = [
    "change.merged",
    "pipelinerun.queued",
    "pipelinerun.started",
    "idp-rollout.stepped",
    "service.deployed",
    "pipelinerun.finished",
];
/// The events of a canary that is promoted.
pub const GOOD: [&str; 8] = [
    "change.merged",
    "pipelinerun.queued",
    "pipelinerun.started",
    "idp-rollout.stepped",
    "idp-rollout.stepped",
    "idp-rollout.stepped",
    "service.upgraded",
    "pipelinerun.finished",
];
/// The events of a canary that fails in its first step.
pub const ROLLED_BACK: [&str; 8] = [
    "change.merged",
    "pipelinerun.queued",
    "pipelinerun.started",
    "incident.detected",
    "idp-version.held",
    "service.rolledback",
    "pipelinerun.finished",
    "incident.resolved",
];

/// What a world is made of beside the usual.
#[derive(Default)]
pub struct Setup {
    /// Lines for the source's entry in the configuration, indented by four.
    pub source: &'static str,
    /// Lines for the environment's entry in the configuration, indented by four.
    pub environment: &'static str,
    /// A second source with a repository of its own.
    pub second_source: bool,
    /// Time between two looks; a second if not said.
    pub poll: Option<&'static str>,
}

/// The daemon is dropped first, so that what it needs outlives it.
pub struct World {
    pub daemon: Option<Process>,
    pub repository: Repository,
    pub second: Option<Repository>,
    pub ledger: Ledger,
    pub broker: Option<Broker>,
    pub sandbox: Sandbox,
    config: String,
    folder: tempfile::TempDir,
}

/// The declaration of a service: a canary of three steps in little more than a second.
pub fn declaration(service: &str) -> String {
    format!(
        r#"service:
  name: {service}
  team: shop
workload:
  port: 8080
  replicas: 3
deploy:
  strategy: canary
  canary:
    - weight: 25
      pause: 400ms
    - weight: 50
      pause: 400ms
    - weight: 100
      pause: 300ms
  progress_deadline: 40s
  healthcheck:
    path: /health
    interval: 150ms
    timeout: 140ms
    threshold: 20
  rollback:
    on_restarts: ">0"
    window: 1s
"#
    )
}

impl World {
    /// Starts everything but the daemon. The repository is empty and nothing is deployed.
    pub async fn new(setup: Setup) -> Self {
        if let Ok(filter) = std::env::var("RUST_LOG") {
            // Another test of this run may have set it up.
            let _ = idp::telemetry::log::init(&filter, idp::telemetry::log::Format::Human);
        }
        let folder = tempfile::tempdir().unwrap();
        let options = SandboxOptions {
            seed: 7,
            time_scale: TIME_SCALE,
            crash_after: Duration::from_millis(100),
            ..SandboxOptions::default()
        };
        let sandbox = Sandbox::start(options).await.unwrap();
        let repository = Repository::create(&folder.path().join("web.git"));
        let second = setup.second_source.then(|| Repository::create(&folder.path().join("other.git")));
        let broker = Some(Broker::start());
        let mut world = Self {
            config: String::new(),
            ledger: Ledger::default(),
            daemon: None,
            sandbox,
            repository,
            second,
            broker,
            folder,
        };
        std::fs::write(world.folder.path().join("hook"), SECRET).unwrap();
        world.config = world.configuration(&setup);
        world
    }

    /// As [`Self::new`], with the daemon.
    pub async fn start(setup: Setup) -> Self {
        let mut world = Self::new(setup).await;
        world.start_daemon().await;
        world
    }

    /// As [`Self::start`], with the service `web` deployed, its first version promoted.
    pub async fn deployed(setup: Setup) -> Self {
        let mut world = Self::start(setup).await;
        world.repository.put(".idp/deploy.yaml", declaration("web"));
        world.merge("one", "healthy");
        world.ends(1, Outcome::Promoted).await;
        world.ledger.count_ready_from_now();
        world
    }

    fn configuration(&self, setup: &Setup) -> String {
        let registry = self.sandbox.registry().address();
        let source = |name: &str, repository: &Repository| {
            let url = repository.path().display();
            let poll = setup.poll.unwrap_or("1s");
            let paths = "[.idp/deploy.yaml, services/*/.idp/deploy.yaml]";
            format!("  - name: {name}\n    url: {url}\n    poll: {poll}\n    paths: {paths}\n")
        };
        let mut sources = source("web", &self.repository) + setup.source;
        if let Some(second) = &self.second {
            sources += &source("other", second);
        }
        let kafka = self.broker.as_ref().map_or(String::new(), |broker| {
            format!(
                "kafka:\n  brokers: [\"{}\"]\n  topic: {TOPIC}\n  properties: {{reconnect.backoff.max.ms: \"200\", message.timeout.ms: \"2000\"}}\n",
                broker.address()
            )
        });
        format!(
            r#"listen: 127.0.0.1:0
cache_dir: {cache}
cluster:
  in_cluster: true
  name: test
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
{sources}{kafka}"#,
            cache = self.folder.path().join("cache").display(),
            environment = setup.environment,
        )
    }

    /// Starts the daemon; one that ended at its start is started again, as a supervisor does.
    pub async fn start_daemon(&mut self) {
        let deadline = Instant::now() + PATIENCE;
        while self.daemon.is_none() {
            assert!(Instant::now() < deadline, "the daemon starts");
            let config = config::parse(&self.config, self.folder.path()).unwrap();
            self.daemon = Process::start(config, self.sandbox.server()).await;
        }
        // The daemon has installed the kind; the ledger watches once.
        if self.ledger.is_idle() {
            self.ledger.follow(self.sandbox.server());
        }
    }

    /// Kills the daemon where it stands.
    pub fn kill(&mut self) {
        drop(self.daemon.take());
    }

    /// Lets the lease of a killed daemon run out: the next one need not wait for it.
    pub async fn expire_lease(&self) {
        lease::end(self.sandbox.server().client_as("test"), "test").await.unwrap();
    }

    /// Kills the daemon and starts it again, with nothing in its memory.
    pub async fn restart(&mut self) {
        self.kill();
        self.expire_lease().await;
        self.start_daemon().await;
    }

    /// Commits what was put into the repository together with a source file that says `content`, pushes an image whose pods behave as
    /// said, and merges. Returns the commit.
    pub fn merge(&mut self, content: &str, behaviour: &str) -> String {
        self.repository.put("src/main", content);
        self.push(behaviour)
    }

    /// Commits what was put into the repository, pushes images for the services `web` and `api`, and merges.
    pub fn push(&mut self, behaviour: &str) -> String {
        let commit = self.repository.write("a change");
        self.sandbox.registry().push_as("shop/web", &commit, behaviour);
        self.sandbox.registry().push_as("shop/api", &commit, behaviour);
        self.repository.merge();
        commit
    }

    pub fn api(&self, version: &str, kind: &str, namespace: &str) -> Api<DynamicObject> {
        let client = self.sandbox.server().client_as("test");
        Api::namespaced_with(client, namespace, &resource(version, kind))
    }

    pub fn deployments(&self) -> Api<DynamicObject> {
        self.api("apps/v1", "Deployment", NAMESPACE)
    }

    pub fn releases(&self) -> Api<DynamicObject> {
        self.api("idp.dev/v1alpha1", "Release", NAMESPACE)
    }

    /// The `Release` of a service, with its record.
    pub async fn release(&self, service: &str) -> Option<(DynamicObject, Record)> {
        let object = self.releases().get_opt(service).await.unwrap()?;
        let record = serde_json::from_value(object.data["status"].clone()).ok()?;
        Some((object, record))
    }

    /// The record of the service `web`.
    pub async fn record(&self) -> Record {
        self.release("web").await.expect("the release has a record").1
    }

    /// Waits until the record of `service` is as said, and returns it.
    pub async fn until_of(&self, service: &str, what: &str, is: impl Fn(&Record) -> bool) -> Record {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let record = self.release(service).await.map(|(_, record)| record);
            match record {
                Some(record) if is(&record) => return record,
                record if Instant::now() > deadline => {
                    panic!("{service} never came to be so: {what}\n{}", brief(record.as_ref()));
                }
                _ => sleep(Duration::from_millis(10)).await,
            }
        }
    }

    /// Waits until the record of `web` is as said, and returns it.
    pub async fn until(&self, what: &str, is: impl Fn(&Record) -> bool) -> Record {
        self.until_of("web", what, is).await
    }

    /// Waits until a rollout of `web` ended, and tells how; anything else than `wanted` is a failure.
    pub async fn ends(&self, number: u64, wanted: Outcome) -> Summary {
        let what = format!("rollout {number} ended");
        let record = self.until(&what, |record| record.history.contains_key(&number)).await;
        let summary = record.history[&number].clone();
        assert_eq!(summary.outcome, wanted, "rollout {number}: {}", summary.verdict);
        summary
    }

    /// Waits until a rollout of `web` is in a phase.
    pub async fn reaches(&self, number: u64, phase: Phase) -> Record {
        let here = |record: &Record| {
            record.rollout.as_ref().is_some_and(|rollout| rollout.number == number && rollout.phase == phase)
        };
        self.until(&format!("rollout {number} in {}", phase.name()), here).await
    }

    /// Waits until `look` finds something.
    pub async fn find<T>(&self, what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(found) = look().await {
                return found;
            }
            assert!(
                Instant::now() < deadline,
                "never found: {what}\n{}",
                brief(self.release("web").await.map(|r| r.1).as_ref())
            );
            sleep(Duration::from_millis(10)).await;
        }
    }

    /// Makes the namespace of the services, as an operator does.
    pub async fn make_namespace(&self) {
        let client = self.sandbox.server().client_as("test");
        let api: Api<DynamicObject> = Api::all_with(client, &resource("v1", "Namespace"));
        let body = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}});
        api.create(&PostParams::default(), &serde_json::from_value(body).unwrap()).await.unwrap();
    }

    /// Waits until the source `web` was looked at at this commit.
    pub async fn seen(&self, commit: &str) {
        let kept = self.api("v1", "ConfigMap", HOME);
        let seen = async || {
            let status: SourceStatus = serde_json::from_str(
                kept.get("idp-source-web").await.ok()?.data["data"]["status.json"].as_str()?,
            )
            .ok()?;
            status.commit.is_some_and(|seen| seen.as_str() == commit).then_some(())
        };
        self.find("the commit is seen", seen).await;
    }

    /// The problems that a source's ConfigMap shows, as `path: message`.
    pub async fn source_problems(&self, source: &str) -> Vec<String> {
        let name = format!("idp-source-{source}");
        let Some(kept) = self.api("v1", "ConfigMap", HOME).get_opt(&name).await.unwrap() else {
            return Vec::new();
        };
        let status: SourceStatus =
            serde_json::from_str(kept.data["data"]["status.json"].as_str().unwrap()).unwrap();
        let line =
            |problem: SourceProblem| format!("{}: {}", problem.path.unwrap_or_default(), problem.message);
        status.problems.into_iter().map(line).collect()
    }

    /// Writes into `spec` of the service's `Release`, as the command line does.
    pub async fn ask(&self, service: &str, spec: Value) {
        let patch = Patch::Merge(json!({"spec": spec}));
        self.releases().patch(service, &PatchParams::default(), &patch).await.unwrap();
    }

    /// Asks for a command.
    pub async fn command(&self, service: &str, id: &str, verb: &str) {
        let command = json!({"verb": verb, "who": "ada", "why": "a test", "at": "2026-01-01T00:00:00Z"});
        self.ask(service, json!({"commands": {id: command}})).await;
    }

    /// Waits until the topic has every event of the record of `web` and nothing else, each once and in order; returns their short
    /// types.
    pub async fn all_events(&mut self) -> Vec<String> {
        let mut broker = self.broker.take().unwrap();
        let deadline = Instant::now() + PATIENCE;
        loop {
            let (object, record) = self.release("web").await.unwrap();
            let uid = object.metadata.uid.unwrap();
            let wanted: Vec<_> = (1..=record.sequence).map(Some).collect();
            let found = broker.sequences(RELEASE, &uid, &record);
            if found == wanted {
                break;
            }
            assert!(
                Instant::now() < deadline,
                "the topic has {found:?} and not {wanted:?}: {:?}",
                broker.types(RELEASE)
            );
            sleep(Duration::from_millis(20)).await;
        }
        let types = broker.types(RELEASE);
        self.broker = Some(broker);
        types
    }

    /// Checks what must hold after any rollouts: nothing was doubled, no capacity was lost, no candidate is left, the stable
    /// Deployment has its pods.
    pub async fn is_sound(&self, canaries: usize) {
        self.until("at rest", |record| {
            record.rollout.is_none() && !record.incident && record.health == Health::Healthy
        })
        .await;
        assert_eq!(self.ledger.ever_named("Deployment", "web"), 1, "one Deployment, never made twice");
        assert_eq!(
            self.ledger.ever_named("Deployment", "web-canary"),
            canaries,
            "one candidate a canary rollout"
        );
        assert_eq!(self.ledger.ever_named("Service", "web"), 1);
        assert!(self.ledger.least_ready() >= 3, "at most {} of 3 pods were ready", self.ledger.least_ready());
        assert!(self.deployments().get_opt("web-canary").await.unwrap().is_none(), "no candidate is left");
        let stable = self.deployments().get("web").await.unwrap();
        assert_eq!(stable.data["spec"]["replicas"], 3);
    }

    /// The image that stable's Deployment runs.
    pub async fn image(&self) -> String {
        let stable = self.deployments().get("web").await.unwrap();
        stable.data["spec"]["template"]["spec"]["containers"][0]["image"].as_str().unwrap().to_owned()
    }

    /// The pinned image of a commit of `web`.
    pub fn image_of(&self, commit: &str) -> String {
        let registry = self.sandbox.registry();
        format!("{}/shop/web@{}", registry.address(), registry.digest_of("shop/web", commit).unwrap())
    }
}

/// A record without what is long.
pub fn brief(record: Option<&Record>) -> String {
    let Some(record) = record else { return "there is no record".to_owned() };
    let mut record = record.clone();
    record.outbox.clear();
    record.inventory.clear();
    format!("{record:#?}")
}
