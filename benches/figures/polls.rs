//! What many sources cost: a thousand that nothing happens to, ten thousand that are hooked within a minute, and fifty beside one that
//! is pushed to all the time. The forge is another process; the source loops are the daemon's.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use idp::config;
use idp::model::name::{ServiceName, SourceName};
use idp::source::{Cache, Clients, Compose, Declared, Hint, Hosts, SourceLoop, SourceReport, Trigger};
use tokio::sync::{Semaphore, mpsc};
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use super::cpu::cpu;
use super::door::memory;
use super::herd::Herd;
use super::table::{Figure, Goal, Sheet, Times, show};

/// Looks at one time, as in the daemon.
const LOOKS: usize = 8;
/// How long anything may take.
const PATIENCE: Duration = Duration::from_mins(10);

/// How much is measured.
#[derive(Clone, Copy)]
pub struct Fleet {
    /// Sources that nothing happens to.
    pub idle: usize,
    /// How long.
    pub rest: Duration,
    /// Sources that are hooked at once.
    pub hooked: usize,
    /// Sources beside the one of the storm.
    pub beside: usize,
    /// Pushes of the storm, and how long it lasts.
    pub storm: (u32, Duration),
}

/// Running source loops.
struct Loops {
    hints: Vec<Hint>,
    numbers: BTreeMap<SourceName, usize>,
    reports: mpsc::Receiver<SourceReport>,
    stop: CancellationToken,
}

impl Drop for Loops {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

impl Loops {
    /// Starts the loops of so many repositories and waits until each was seen.
    async fn start(herd: &Herd, count: usize, poll: &str, cache: &Path) -> Result<Self> {
        let source =
            |number| format!("- {{name: r{number}, url: \"{}\", poll: {poll}}}\n", herd.repository(number));
        let sources: Vec<String> = (0..count).map(source).collect();
        let text = format!(
            "cluster: {{in_cluster: true}}\ncache_dir: {}\nenvironments: [{{name: production, namespace: p}}]\nsources:\n{}",
            cache.display(),
            sources.concat()
        );
        let config = config::parse(&text, cache).map_err(|errors| anyhow::anyhow!("{errors}"))?;
        let (sender, reports) = mpsc::channel(64);
        let stop = CancellationToken::new();
        let mut loops = Self { hints: Vec::new(), numbers: BTreeMap::new(), reports, stop };
        let (hosts, clients) = (Hosts::default(), Clients::default());
        let permits = Arc::new(Semaphore::new(LOOKS));
        let mirrors = Cache::open(&config.cache_dir, config.cache_limit, config.sources.keys().cloned());
        let environments: Arc<[_]> = config.environments.values().cloned().collect();
        for number in 0..count {
            let source = config
                .sources
                .get(&format!("r{number}").parse::<SourceName>()?)
                .context("it is configured")?;
            let hint = Hint::default();
            loops.hints.push(hint.clone());
            loops.numbers.insert(source.name.clone(), number);
            let (_, suspended) = tokio::sync::watch::channel(None);
            let source_loop = SourceLoop {
                source: source.clone(),
                environments: environments.clone(),
                cache: mirrors.clone(),
                compose: compose("checkout".parse()?),
                clients: clients.clone(),
                hosts: hosts.clone(),
                hint,
                suspended,
                reports: sender.clone(),
                permits: Arc::clone(&permits),
            };
            tokio::spawn(source_loop.run(loops.stop.clone()));
        }
        loops.all_show(&herd.commits[0], count).await?;
        Ok(loops)
    }

    async fn next(&mut self) -> Result<(usize, SourceReport)> {
        let report = timeout(PATIENCE, self.reports.recv()).await.context("no report came")?;
        let report = report.context("the loops ended")?;
        ensure!(report.up, "{}: {:?}", report.source, report.heads.problems);
        Ok((self.numbers.get(&report.source).copied().context("it is one of ours")?, report))
    }

    /// Waits until so many sources have shown a commit.
    async fn all_show(&mut self, commit: &str, mut count: usize) -> Result<()> {
        while count > 0 {
            let (_, report) = self.next().await?;
            let shown = report.commit.is_some_and(|shown| shown.as_str() == commit);
            count -= usize::from(shown && report.stats.fetches > 0);
        }
        Ok(())
    }

    /// Moves a repository, hooks it, and returns how long it took until that was seen.
    async fn push(&mut self, herd: &Herd, number: usize, commit: usize) -> Result<Duration> {
        herd.show(number, commit).await?;
        let pushed = Instant::now();
        self.hints[number].send(Trigger::Webhook);
        loop {
            let (seen, report) = self.next().await?;
            if seen == number && report.commit.is_some_and(|shown| shown.as_str() == herd.commits[commit]) {
                return Ok(pushed.elapsed());
            }
        }
    }
}

/// Reads who a file is and renders nothing: what follows from a declaration is measured elsewhere.
fn compose(service: ServiceName) -> Compose {
    let declared = Declared { service, paths: Vec::new(), manifests: Vec::new(), ignore: Vec::new() };
    Compose { declare: Arc::new(move |_| Ok(declared.clone())), render: Arc::new(|_| BTreeMap::new()) }
}

/// The least that asks for one branch: gitprotocol-v2(5).
const LISTING: &str =
    "0014command=ls-refs\n0016object-format=sha100010009peel\n001fref-prefix refs/heads/main\n0000";

/// Takes the figures.
pub async fn taken(sheet: &mut Sheet, fleet: Fleet) -> Result<()> {
    idle(sheet, fleet).await?;
    storm(sheet, fleet).await?;
    hooked(sheet, fleet.hooked).await
}

/// A thousand repositories at 30 s.
async fn idle(sheet: &mut Sheet, fleet: Fleet) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let herd = Herd::start(folder.path(), 1).await?;
    let mut loops = Loops::start(&herd, fleet.idle, "30s", &folder.path().join("cache")).await?;
    let (began, before) = (Instant::now(), cpu()?);
    let (mut seen, mut requests, mut bytes) = (0_u32, 0, 0);
    while let Ok(report) = timeout(fleet.rest.saturating_sub(began.elapsed()), loops.next()).await {
        let (_, report) = report?;
        seen += 1;
        (requests, bytes) = (requests + report.stats.requests, bytes + report.stats.bytes);
    }
    let (spent, lasted) = (cpu()?.saturating_sub(before), began.elapsed());
    drop(loops);
    // As many requests that ask for the same, and nothing else.
    let http = reqwest::Client::new();
    let before = cpu()?;
    for number in 0..seen.max(1) as usize {
        let url = format!("{}/git-upload-pack", herd.repository(number % fleet.idle));
        let answer = http.post(url).body(LISTING).header("git-protocol", "version=2").send().await?;
        ensure!(answer.status().is_success(), "{}", answer.text().await?);
        answer.bytes().await?;
    }
    let bare = cpu()?.saturating_sub(before);
    println!("\n{} sources that nothing happens to, polled every 30 s, for {}", fleet.idle, show(lasted));
    println!(
        "  {seen} looks, {requests} requests, {} bytes of answers a look",
        bytes / u64::from(seen.max(1))
    );
    println!("  {} of CPU; as many bare requests take {}", show(spent), show(bare));
    let share = spent.as_secs_f64() / lasted.as_secs_f64() * 100.0;
    println!("  per cent of a core {}", sheet.judge_ratio("per cent of a core of idle polls", share, 3.0));
    Ok(())
}

/// What was seen of a storm.
struct Storm {
    /// From the last push to the one repository until it was seen.
    newest: Duration,
    /// The same of the others.
    others: Vec<Duration>,
    /// Fetches of the one repository.
    fetches: u64,
}

/// One repository is pushed to twenty times a second; each of the others once, somewhere in between.
async fn storm(sheet: &mut Sheet, Fleet { beside, storm, .. }: Fleet) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let (pushes, lasts) = storm;
    let herd = Herd::start(folder.path(), pushes as usize + 1).await?;
    let mut loops = Loops::start(&herd, beside + 1, "1h", &folder.path().join("cache")).await?;
    let (mut alone, mut rested) = (Vec::new(), Vec::new());
    for number in 1..=beside {
        rested.push(loops.push(&herd, number, 1).await?);
        alone.push(loops.push(&herd, 0, number).await?);
    }
    let Storm { newest, others, fetches } = stormed(&herd, &mut loops, beside, storm).await?;
    let [alone, rested, others] = [alone, rested, others].map(Times::new);
    let newest_ratio = newest.as_secs_f64() / alone.median().as_secs_f64();
    let others_ratio = others.percentile(99).as_secs_f64() / rested.percentile(99).as_secs_f64();
    let plain = |what, times| Figure { what, times, goal: Goal::default() };
    let figures = [
        plain("a push to another, at rest → seen", rested),
        plain("a push to another, in the storm → seen", others),
    ];
    let against = plain("against: a single push → seen", alone);
    let title = format!("{pushes} pushes to one repository in {} s: {fetches} fetches", lasts.as_secs());
    sheet.print(&title, &against, &figures);
    println!("  its newest commit was seen after {}", show(newest));
    let ratio = sheet.judge_ratio("newest commit of a storm / single push", newest_ratio, 1.5);
    println!("  newest / single {ratio}");
    let ratio = sheet.judge_ratio("others' p99 in a storm / at rest", others_ratio, 2.0);
    println!("  others' p99 in the storm / at rest {ratio}");
    Ok(())
}

async fn stormed(
    herd: &Herd,
    loops: &mut Loops,
    beside: usize,
    (pushes, lasts): (u32, Duration),
) -> Result<Storm> {
    let begin = Instant::now();
    let mut told: Vec<Option<Instant>> = vec![None; beside + 1];
    let (mut newest, mut others, mut fetches) = (None, Vec::new(), 0);
    let (mut push, mut other) = (0_u32, 0);
    loop {
        tokio::select! {
            () = sleep_until(begin + lasts * (push + 1) / pushes), if push < pushes => {
                push += 1;
                herd.show(0, push as usize).await?;
                told[0] = Some(Instant::now());
                loops.hints[0].send(Trigger::Webhook);
                if other < beside && other * (pushes as usize) < beside * push as usize {
                    other += 1;
                    // Further than any of them was before.
                    herd.show(other, 2).await?;
                    told[other] = Some(Instant::now());
                    loops.hints[other].send(Trigger::Webhook);
                }
            }
            seen = loops.next() => {
                let (number, report) = seen?;
                let (wanted, shown) = (if number == 0 { pushes as usize } else { 2 }, report.commit);
                fetches += if number == 0 { report.stats.fetches } else { 0 };
                if shown.is_some_and(|shown| shown.as_str() == herd.commits[wanted])
                    && let Some(at) = told[number].take()
                {
                    if number == 0 { newest = Some(at.elapsed()) } else { others.push(at.elapsed()) }
                }
            }
        }
        if let Some(newest) = newest
            && others.len() == beside
        {
            return Ok(Storm { newest, others, fetches });
        }
    }
}

/// Ten thousand repositories move and are hooked at once.
async fn hooked(sheet: &mut Sheet, count: usize) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let herd = Herd::start(folder.path(), 2).await?;
    let began = Instant::now();
    let mut loops = Loops::start(&herd, count, "1h", &folder.path().join("cache")).await?;
    let first = began.elapsed();
    for number in 0..count {
        herd.show(number, 1).await?;
    }
    let hooked = Instant::now();
    for hint in &loops.hints {
        hint.send(Trigger::Webhook);
    }
    loops.all_show(&herd.commits[1], count).await?;
    let seen = hooked.elapsed();
    println!(
        "\n{count} repositories that move and are hooked at once (their first looks took {})",
        show(first)
    );
    let goal = sheet.judge("all of the hooked repositories are seen", "time", seen, Duration::from_mins(1));
    println!("  all seen after {}, {goal}", show(seen));
    println!("  at most {} requests at one time", herd.most_at_once().await?);
    let resident = memory()? >> 20;
    #[allow(clippy::cast_precision_loss)]
    let goal = sheet.judge_ratio("MiB with ten thousand sources", resident as f64, 256.0);
    println!("  MiB of the process with the loops {goal}");
    Ok(())
}
