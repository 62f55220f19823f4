//! From a deciding crash to the route with weight 0, with a broker, a repository, a Prometheus and a disk that are there, and with all of them
//! away.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, Result};
use axum::Router;
use axum::routing::any;
use idp::cluster::raw::resource;
use idp::sandbox::SandboxOptions;
use idp::sandbox::gateway::{Gateway, definitions};
use k8s_openapi::api::core::v1::Pod;
use kube::api::{DynamicObject, ListParams, PostParams};
use kube::{Api, ResourceExt};
use rdkafka::mocking::MockCluster;
use rdkafka::producer::DefaultProducerContext;
use serde_json::json;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};

use super::bed::{Asked, Bed, Extras, NAMESPACE, stands};
use super::reaction::{Restarts, push};
use super::table::{Figure, Goal, Sheet, Times};

const FILE: &str = ".idp/deploy.yaml";
const DECLARATION: &str = r#"service: {name: checkout, team: shop}
workload: {port: 8080, replicas: 2}
deploy:
  strategy: canary
  canary: [{weight: 50, pause: 1h}, {weight: 100, pause: 1m}]
healthcheck: {path: /health, interval: 250ms, timeout: 200ms, threshold: 100}
rollback: {on_restarts: ">0", on_error_rate: ">5%", window: 1s, history: 3}
"#;
const ROUTE: &str = "gateway.networking.k8s.io/v1";
const TOPIC: &str = "idp.deployments";
/// What is away is missed by then: the broker's client, the repository's poll, a question to Prometheus.
const MISSED: Duration = Duration::from_millis(400);

/// How the broker is away.
#[derive(Clone, Copy, PartialEq)]
enum Away {
    /// All is there.
    Nothing,
    /// Connections to the broker are refused.
    Refused,
    /// The broker takes connections and answers nothing.
    Hanging,
}

/// What the daemon can lose.
struct Helpers {
    broker: MockCluster<'static, DefaultProducerContext>,
    prometheus: String,
    hangs: Arc<AtomicBool>,
    server: JoinHandle<()>,
}

impl Helpers {
    async fn start() -> Result<Self> {
        let broker = MockCluster::new(1)?;
        broker.create_topic(TOPIC, 1, 1)?;
        let hangs = Arc::new(AtomicBool::new(false));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
        let prometheus = format!("http://{}", listener.local_addr()?);
        let hung = Arc::clone(&hangs);
        let router = Router::new().fallback(any(move || {
            let hung = Arc::clone(&hung);
            async move {
                if hung.load(Ordering::SeqCst) {
                    std::future::pending::<()>().await;
                }
                r#"{"status":"success","data":{"resultType":"vector","result":[]}}"#
            }
        }));
        let server = tokio::spawn(async move {
            let _ = axum::serve(listener, router).await;
        });
        Ok(Self { broker, prometheus, hangs, server })
    }

    fn extras(&self) -> Extras {
        let brokers = self.broker.bootstrap_servers();
        let properties = r#"{reconnect.backoff.max.ms: "200", message.timeout.ms: "2000"}"#;
        Extras {
            environment: format!(
                r#", prometheus: {{url: "{}", scrape_interval: 1s, timeout: 1s}}"#,
                self.prometheus
            ),
            more: format!("kafka: {{brokers: [\"{brokers}\"], topic: {TOPIC}, properties: {properties}}}\n"),
            kinds: definitions().into(),
        }
    }

    /// Takes it all away, or gives it back; the disk, on which the daemon keeps its mirrors, becomes a file.
    fn set(&self, away: Away, repository: &PathBuf, cache: &PathBuf) -> Result<()> {
        let gone = |path: &PathBuf| path.with_extension("away");
        self.hangs.store(away != Away::Nothing, Ordering::SeqCst);
        match away {
            Away::Nothing => {
                std::fs::remove_file(cache)?;
                std::fs::rename(gone(cache), cache)?;
                std::fs::rename(gone(repository), repository)?;
                self.broker.broker_up(1)?;
                self.broker.broker_round_trip_time(1, Duration::ZERO)?;
            }
            Away::Refused | Away::Hanging => {
                std::fs::rename(repository, gone(repository))?;
                std::fs::rename(cache, gone(cache))?;
                std::fs::write(cache, "no folder")?;
                if away == Away::Refused {
                    self.broker.broker_down(1)?;
                } else {
                    self.broker.broker_round_trip_time(1, Duration::from_mins(10))?;
                }
            }
        }
        Ok(())
    }
}

/// The times of one kind of absence.
#[derive(Default)]
struct Taken {
    decided: Vec<Duration>,
    routed: Vec<Duration>,
    accepted: Vec<Duration>,
}

/// Takes the figures.
pub async fn taken(sheet: &mut Sheet, runs: usize) -> Result<()> {
    let helpers = Helpers::start().await?;
    let options = SandboxOptions { time_scale: 0.01, ..SandboxOptions::default() };
    let mut bed = Bed::start_with(options, &helpers.extras()).await?;
    let commit = bed.commit("first", &[(FILE, DECLARATION), ("src/app", "first")], "healthy")?;
    bed.repository.merge()?;
    bed.hook(&commit).await?;
    bed.until("the first version is stable", |record| stands(record, &commit)).await?;
    let client = bed.sandbox.server().client_as("team");
    let routes: Api<DynamicObject> =
        Api::namespaced_with(client.clone(), NAMESPACE, &resource(ROUTE, "HTTPRoute"));
    let body = json!({"apiVersion": ROUTE, "kind": "HTTPRoute", "metadata": {"name": "edge"}, "spec": {
        "parentRefs": [{"name": "gate"}], "rules": [{"backendRefs": [{"name": "checkout", "port": 8080}]}]}});
    routes.create(&PostParams::default(), &serde_json::from_value(body)?).await?;
    let gateway = Gateway::start(&client, Some(Duration::ZERO));
    let restarts = Restarts::follow(&mut bed);
    let [mut there, mut refused, mut hanging] = <[Taken; 3]>::default();
    for number in 0..runs {
        // By turns, so that a change of the machine's speed is in all three.
        for (kind, (away, taken)) in
            [(Away::Nothing, &mut there), (Away::Refused, &mut refused), (Away::Hanging, &mut hanging)]
                .into_iter()
                .enumerate()
        {
            let round = Round { bed: &mut bed, helpers: &helpers, restarts: &restarts, routes: &routes };
            round
                .play(number * 3 + kind, away, taken)
                .await
                .with_context(|| format!("run {number}, kind {kind}"))?;
        }
    }
    print(sheet, there, refused, hanging);
    drop(gateway);
    bed.stop().await;
    helpers.server.abort();
    Ok(())
}

fn print(sheet: &mut Sheet, there: Taken, refused: Taken, hanging: Taken) {
    let goal = || Goal { median: None, p99: Some(Duration::from_secs(1)) };
    let figure = |what, times| Figure { what, times: Times::new(times), goal: goal() };
    let figures = [
        figure("broker refuses, all else away: verdict → weight 0 accepted", refused.accepted),
        figure("broker hangs, all else away: verdict → weight 0 accepted", hanging.accepted),
        Figure::plain("the same, verdict → route written (broker refuses)", refused.routed),
        Figure::plain("the same, verdict → route written (broker hangs)", hanging.routed),
        Figure::plain("deciding restart → verdict written, all there", there.decided),
        Figure::plain("deciding restart → verdict written (broker refuses)", refused.decided),
        Figure::plain("deciding restart → verdict written (broker hangs)", hanging.decided),
    ];
    let against = Figure::plain("against: all there, verdict → weight 0 accepted", there.accepted);
    sheet.print("The way back with Kafka, Git, Prometheus and the disk away", &against, &figures);
}

/// One rollout that is taken back.
struct Round<'a> {
    bed: &'a mut Bed,
    helpers: &'a Helpers,
    restarts: &'a Restarts,
    routes: &'a Api<DynamicObject>,
}

impl Round<'_> {
    async fn play(self, number: usize, away: Away, taken: &mut Taken) -> Result<()> {
        let Self { bed, helpers, restarts, routes } = self;
        push(bed, number, "healthy").await?;
        bed.until("the first step is observed", |record| {
            let rollout = record.rollout.as_ref();
            rollout.is_some_and(|rollout| rollout.weight == 50 && rollout.stage.ready_at.is_some())
        })
        .await?;
        let (repository, cache) = (bed.repository.path().to_owned(), bed.cache());
        if away != Away::Nothing {
            helpers.set(away, &repository, &cache)?;
            sleep(MISSED).await;
        }
        let pods: Api<Pod> = Api::namespaced(bed.sandbox.server().client_as("witness"), NAMESPACE);
        let candidates = pods.list(&ListParams::default().labels("idp.dev/track=canary")).await?.items;
        let candidate = candidates.first().context("there is no candidate")?.name_any();
        restarts.clear();
        bed.tape.clear();
        anyhow::ensure!(bed.sandbox.node().kill_pod(NAMESPACE, &candidate).await, "{candidate} does not run");
        let accepted = accepted(routes).await?;
        let rollout = u64::try_from(number)? + 2;
        bed.until("the version is held", |record| {
            record.rollout.is_none() && record.held.contains_key(&rollout)
        })
        .await?;
        let (crashed, _) = restarts.first().context("no pod restarted")?;
        let stored = bed.tape.first(|asked| asked.ending).context("no verdict was written")?.answered;
        let route = |asked: &Asked| asked.path.contains("/httproutes/") && asked.answered > stored;
        let routed = bed.tape.first(route).context("no route was written")?.answered;
        taken.decided.push(stored.duration_since(crashed));
        taken.routed.push(routed.duration_since(stored));
        taken.accepted.push(accepted.duration_since(stored));
        if away != Away::Nothing {
            helpers.set(Away::Nothing, &repository, &cache)?;
        }
        Ok(())
    }
}

/// When the gateway has said of the route with weight 0 that it obeys it.
async fn accepted(routes: &Api<DynamicObject>) -> Result<Instant> {
    let begun = Instant::now();
    loop {
        let live = routes.get("edge").await?;
        let weight =
            live.data.pointer("/spec/rules/0/backendRefs/1/weight").and_then(serde_json::Value::as_u64);
        let gone = weight.is_none_or(|weight| weight == 0);
        let seen = live.data.pointer("/status/parents/0/conditions/0/observedGeneration");
        if gone && seen.and_then(serde_json::Value::as_i64) == live.metadata.generation {
            return Ok(Instant::now());
        }
        anyhow::ensure!(begun.elapsed() < Duration::from_secs(30), "the weight never fell: {:?}", live.data);
        sleep(Duration::from_millis(1)).await;
    }
}
