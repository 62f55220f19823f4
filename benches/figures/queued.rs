//! From a webhook to the pass of its release, the look at the repository apart: the cost of finding whom it concerns must not follow
//! the number of services.

use std::sync::Arc;
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
use tokio::sync::mpsc;
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
    let small = Times::new(fleet(few, pushes).await?);
    let large = Times::new(fleet(many, pushes).await?);
    let goal = || Goal { median: None, p99: Some(Duration::from_millis(1)) };
    let ratio = large.median().as_secs_f64() / small.median().as_secs_f64();
    let against = Figure { what: "hook → pass begins, small fleet", times: small, goal: goal() };
    let figure = Figure { what: "hook → pass begins, large fleet", times: large, goal: goal() };
    sheet.print(&format!("A push among {few} services and among {many}"), &against, &[figure]);
    println!("  large / small {}", sheet.judge_ratio("hook → pass begins, large / small", ratio, FLAT));
    Ok(())
}

async fn fleet(services: usize, pushes: usize) -> Result<Vec<Duration>> {
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
    let (begun, mut begins) = mpsc::unbounded_channel();
    let stop = CancellationToken::new();
    let runner = tokio::spawn(queue::run(queue.clone(), requests, PASSES, stop.clone(), move |release| {
        let _ = begun.send((release, Instant::now()));
        async { Next::At(Instant::now() + LATER) }
    }));
    let memories = Arc::new(Memories::default());
    for (source, release) in &names {
        note(&memories, source, release).await;
        queue.soon(release);
    }
    for _ in &names {
        begins.recv().await.context("the queue ended")?;
    }

    let body = push(4096);
    let mut mac = Hmac::<Sha256>::new_from_slice(SECRET.as_bytes())?;
    mac.update(body.as_bytes());
    let mut headers = HeaderMap::new();
    headers.insert("x-gitea-event", HeaderValue::from_static("push"));
    headers.insert("x-gitea-signature", hex::encode(mac.finalize().into_bytes()).parse()?);
    let mut times = Vec::with_capacity(pushes);
    for number in 0..pushes {
        let (source, release) = names.get(number * 7919 % services).context("it is within the fleet")?;
        headers.insert("x-gitea-delivery", HeaderValue::from(number));
        let sent = Instant::now();
        hooks.receive(source, &headers, body.as_bytes());
        hints.get(source).context("it has a hint")?.wait().await;
        note(&memories, source, release).await;
        queue.soon(release);
        let (seen, at) = begins.recv().await.context("the queue ended")?;
        anyhow::ensure!(seen == *release, "{seen} was looked at instead of {release}");
        times.push(at - sent);
    }
    stop.cancel();
    runner.await?;
    Ok(times)
}

async fn note(memories: &Memories, source: &SourceName, release: &ReleaseKey) {
    let update = HeadUpdate::Keep { reason: "measured".to_owned() };
    memories.of(release).lock().await.note_head(source, update);
}
