//! From a webhook to the pass of its release, the look at the repository apart: the cost of finding whom it concerns must not follow
//! the number of services.

use std::time::Duration;

use anyhow::{Context, Result};
use hmac::{Hmac, Mac as _};
use http::{HeaderMap, HeaderValue};
use idp::config;
use idp::model::desired::HeadUpdate;
use idp::model::name::{ReleaseKey, SourceName};
use idp::reconcile::memory::Memories;
use idp::reconcile::queue::{self, Next, Queue};
use idp::source::webhook::Hooks;
use idp::source::{Hints, Suspensions};
use sha2::Sha256;
use tempfile::TempDir;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::hooks::push;
use super::table::{Figure, Goal, Sheet, Times};

const SECRET: &str = "correct horse battery staple";
/// Passes at one time.
const PASSES: usize = 16;
/// Far beyond the run.
const LATER: Duration = Duration::from_hours(1);
/// A small fleet and a large one.
const FLEETS: [usize; 2] = [100, 50_000];
/// How much longer it may take in the large one.
const FLAT: f64 = 1.5;

/// Services of one repository.
const TOGETHER: usize = 50;

/// Measures it in a small fleet and in a large one, fifty services to a repository.
pub async fn queued(sheet: &mut Sheet, pushes: usize, share: usize) -> Result<()> {
    let [few, many] = FLEETS.map(|services| (services / share).max(2));
    let (mut small, mut large) = (Fleet::start(few).await?, Fleet::start(many).await?);
    let (mut in_small, mut in_large) = (Vec::with_capacity(pushes), Vec::with_capacity(pushes));
    // By turns: which thread wakes which is the runtime's choice, and doubles a time for a while.
    for number in 0..pushes {
        in_small.push(small.push(number).await?);
        in_large.push(large.push(number).await?);
    }
    small.stop().await?;
    large.stop().await?;
    let [small, large] = [in_small, in_large].map(Times::new);
    let goal = || Goal { median: None, p99: Some(Duration::from_millis(1)) };
    // Of what the goal bounds. The medians tell which of the runtime's threads woke which.
    let ratio = large.percentile(99).as_secs_f64() / small.percentile(99).as_secs_f64();
    let against = Figure { what: "hook → pass begins, small fleet", times: small, goal: goal() };
    let figure = Figure { what: "hook → pass begins, large fleet", times: large, goal: goal() };
    sheet.print(&format!("A push among {few} services and among {many}"), &against, &[figure]);
    println!(
        "  p99 large / small {}",
        sheet.judge_ratio("hook → pass begins, p99 large / small", ratio, FLAT)
    );
    Ok(())
}

/// Services at rest, and the way of a webhook to their passes.
struct Fleet {
    hooks: Hooks,
    hints: Hints,
    memories: Memories,
    queue: Queue,
    begins: mpsc::UnboundedReceiver<(ReleaseKey, Instant)>,
    names: Vec<(SourceName, ReleaseKey)>,
    body: String,
    headers: HeaderMap,
    runner: JoinHandle<()>,
    stop: CancellationToken,
    _folder: TempDir,
}

impl Fleet {
    async fn start(services: usize) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        std::fs::write(folder.path().join("hook"), SECRET)?;
        let source = |number| {
            format!("- {{name: s{number}, url: /r/{number}, webhook: {{forge: gitea, secret_file: hook}}}}\n")
        };
        let repositories = services.div_ceil(TOGETHER);
        let sources: Vec<String> = (0..repositories).map(source).collect();
        let text = format!(
            "cluster: {{in_cluster: true}}\nenvironments: [{{name: production, namespace: p}}]\nsources:\n{}",
            sources.concat()
        );
        let config = config::parse(&text, folder.path()).map_err(|errors| anyhow::anyhow!("{errors}"))?;
        let hints = Hints::new(config.sources.keys().cloned());
        let hooks = Hooks::new(&config, &hints, &Suspensions::new(config.sources.values()));
        let names: Vec<(SourceName, ReleaseKey)> = (0..services)
            .map(|number| {
                let source = format!("s{}", number % repositories).parse()?;
                Ok((source, format!("s{number}.production").parse()?))
            })
            .collect::<Result<_>>()?;

        // Every release waits for a later look at it, as in a fleet at rest.
        let (queue, requests) = Queue::new();
        let (begun, begins) = mpsc::unbounded_channel();
        let stop = CancellationToken::new();
        let run = queue::run(queue.clone(), requests, PASSES, stop.clone(), move |release, _| {
            let _ = begun.send((release, Instant::now()));
            async { Next::At(Instant::now() + LATER) }
        });
        let body = push(4096);
        let mut mac = Hmac::<Sha256>::new_from_slice(SECRET.as_bytes())?;
        mac.update(body.as_bytes());
        let mut headers = HeaderMap::new();
        headers.insert("x-gitea-event", HeaderValue::from_static("push"));
        headers.insert("x-gitea-signature", hex::encode(mac.finalize().into_bytes()).parse()?);
        let (memories, runner) = (Memories::default(), tokio::spawn(run));
        let mut fleet = Self {
            hooks,
            hints,
            memories,
            queue,
            begins,
            names,
            body,
            headers,
            runner,
            stop,
            _folder: folder,
        };
        for (source, release) in &fleet.names {
            note(&fleet.memories, source, release).await;
            fleet.queue.soon(release);
        }
        for _ in 0..services {
            fleet.begins.recv().await.context("the queue ended")?;
        }
        Ok(fleet)
    }

    /// Receives a webhook; returns how long it took until the pass of its release began.
    async fn push(&mut self, number: usize) -> Result<Duration> {
        let (source, release) =
            self.names.get(number * 7919 % self.names.len()).context("it is within the fleet")?;
        self.headers.insert("x-gitea-delivery", HeaderValue::from(number));
        let sent = Instant::now();
        self.hooks.receive(source, &self.headers, self.body.as_bytes());
        self.hints.get(source).context("it has a hint")?.wait().await;
        note(&self.memories, source, release).await;
        self.queue.soon(release);
        let (seen, at) = self.begins.recv().await.context("the queue ended")?;
        anyhow::ensure!(seen == *release, "{seen} was looked at instead of {release}");
        Ok(at - sent)
    }

    async fn stop(self) -> Result<()> {
        self.stop.cancel();
        Ok(self.runner.await?)
    }
}

async fn note(memories: &Memories, source: &SourceName, release: &ReleaseKey) {
    let update = HeadUpdate::Keep { reason: "measured".to_owned() };
    memories.of(release).lock().await.note_head(source, update);
}
