//! What a pass costs in CPU time, and the pure decisions in it.

use std::collections::BTreeMap;
use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use criterion::{Criterion, SamplingMode};
use idp::cluster::Cluster;
use idp::declare;
use idp::model::desired::{Desired, Head};
use idp::model::name::{EnvironmentName, Namespace, ReleaseKey};
use idp::model::observed::{Observed, Stopped};
use idp::model::record::Record;
use idp::model::samples::{CheckTally, Samples, Tally, Track, Traffic, TrafficSource};
use idp::model::standing::Surroundings;
use idp::render::{self, PlatformDefaults, RenderContext};
use idp::rollout::{Inputs, advance, effects, must_store, view};
use jiff::Timestamp;
use k8s_openapi::api::apps::v1::Deployment;
use kube::api::{Patch, PatchParams};
use kube::{Api, Client};
use serde_json::json;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::Scale;
use super::bed::{Bed, NAMESPACE, SERVICE};
use super::reaction::{WATCHED, bed, push};
use super::table::{Figure, Goal, Sheet, show};

/// Everything that a decision rests on, as a running canary has it.
struct Scene {
    release: ReleaseKey,
    namespace: Namespace,
    record: Record,
    head: Head,
    observed: Observed,
    samples: Samples,
}

/// The pure decisions, then whole passes, on a canary that is being observed.
pub async fn costs(sheet: &mut Sheet, scale: Scale) -> Result<()> {
    // At a scale of 0.01 a probe every 10 s would be one every 100 ms, and its news would be passes of their own.
    let calm = WATCHED.replace("250ms", "2s").replace("200ms", "1s");
    let mut bed = bed(&calm, 0.1).await?;
    let (commit, _) = push(&mut bed, 0, "healthy").await?;
    bed.until("the canary is observed", |record| {
        record.rollout.as_ref().is_some_and(|rollout| rollout.stage.ready_at.is_some())
    })
    .await?;
    let scene = capture(&bed, &calm, &commit).await?;
    tokio::task::block_in_place(|| decisions(&scene, sheet, scale.decide))?;
    passes(bed, sheet, scale.changes).await
}

fn decisions(scene: &Scene, sheet: &mut Sheet, time: Duration) -> Result<()> {
    let Scene { release, namespace, record, head, observed, samples } = scene;
    let (images, commands) = (BTreeMap::new(), BTreeMap::new());
    let input = Inputs {
        release,
        namespace,
        head,
        waiting: head.desired(),
        direct: None,
        images: &images,
        observed,
        samples: Some(samples),
        commands: &commands,
        unreadable: &BTreeMap::new(),
        around: &Surroundings::default(),
        suspended: false,
        slot: true,
        session: samples.session,
        epoch: record.epoch,
        now: samples.last_at,
    };
    let crashed = restarted(observed);
    let failing = Inputs { observed: &crashed, ..input };
    let next = advance(record, &input).record;
    if advance(record, &failing).record.rollout.is_none_or(|rollout| rollout.ending.is_none()) {
        bail!("restarts of the candidate's pods decide nothing: the scene is not what its name says");
    }
    let text = serde_json::to_string(record)?;
    let parse =
        timed(time, "read the record's JSON", || serde_json::from_str::<Record>(black_box(&text)).is_ok());
    let goal = || Goal { median: Some(Duration::from_micros(20)), p99: None };
    let figures = [
        Figure {
            goal: goal(),
            ..timed(time, "advance, a step is observed", || advance(black_box(record), &input))
        },
        Figure {
            goal: goal(),
            ..timed(time, "advance, a crash decides", || advance(black_box(record), &failing))
        },
        timed(time, "effects, a copy of the record included", || {
            effects(&mut black_box(&next).clone(), &input)
        }),
        timed(time, "is it worth a write?", || must_store(black_box(record), black_box(&next))),
    ];
    let against = Figure { what: "against: read the same record from its JSON", ..parse };
    let (bytes, pods) = (text.len(), observed.pods.len());
    let title = format!(
        "The pure decisions of a pass (a record of {bytes} bytes, {pods} pods; samples are means of batches)"
    );
    sheet.print(&title, &against, &figures);
    Ok(())
}

/// The same cluster, in which the candidate's pods have just restarted.
fn restarted(observed: &Observed) -> Observed {
    let mut observed = observed.clone();
    for pod in observed.pods.iter_mut().filter(|pod| pod.track == "canary") {
        let (reason, message) = ("Error".to_owned(), String::new());
        pod.restarts = 1;
        pod.terminated = Some(Stopped { reason, message, exit_code: Some(1) });
    }
    observed
}

/// Measures with criterion's warm-up and batches; each batch's mean is one sample.
fn timed<T>(time: Duration, what: &'static str, mut work: impl FnMut() -> T) -> Figure {
    const BATCHES: usize = 200;
    let mut times = Vec::new();
    let mut criterion = Criterion::default()
        .without_plots()
        .sample_size(BATCHES)
        // Its own analysis goes nowhere, and would take longer than the measurement in an unoptimised build.
        .nresamples(1_001)
        .warm_up_time(time / 3)
        .measurement_time(time);
    let mut group = criterion.benchmark_group("decisions");
    group.sampling_mode(SamplingMode::Flat);
    group.bench_function(what, |bencher| {
        bencher.iter_custom(|count| {
            let begun = Instant::now();
            for _ in 0..count {
                black_box(work());
            }
            let took = begun.elapsed();
            times.push(took / u32::try_from(count.max(1)).unwrap_or(u32::MAX));
            took
        });
    });
    group.finish();
    // The warm-up's are among them, at the front.
    Figure::plain(what, times.split_off(times.len().saturating_sub(BATCHES)))
}

/// Reads the scene out of a running bed, through the same rooms as a pass.
async fn capture(bed: &Bed, declaration: &str, commit: &str) -> Result<Scene> {
    let release: ReleaseKey = "checkout.production".parse()?;
    let namespace: Namespace = NAMESPACE.parse()?;
    let cluster = Cluster::new(bed.sandbox.server().client_as("scene"), Arc::new(|_: &ReleaseKey| {}));
    let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
    cluster.watch(&tasks, &stop);
    cluster.view().synced().wait_for(|synced| *synced).await?;
    let stored = cluster.read_record(&release, &namespace).await?.context("there is no record")?;
    let record = stored.record().context("the record cannot be read")?.clone();
    let mut keys: Vec<_> = record.inventory.keys().cloned().collect();
    keys.extend([view::stable_key(None, &release, NAMESPACE), view::canary_key(None, &release, NAMESPACE)]);
    let observed = cluster.observe(&release, &namespace, &keys).await?;
    stop.cancel();
    let desired = desired(&release, &namespace, &record, declaration, commit)?;
    let samples = samples(&record, &observed)?;
    let head = Head::Known(Box::new(desired));
    Ok(Scene { release, namespace, record, head, observed, samples })
}

fn desired(
    release: &ReleaseKey,
    namespace: &Namespace,
    record: &Record,
    declaration: &str,
    commit: &str,
) -> Result<Desired> {
    let environment: EnvironmentName = release.environment.clone();
    let spec = declare::parse(".idp/deploy.yaml", declaration.as_bytes())?;
    let declaration = spec.resolve(&environment)?;
    let candidate = record.rollout.as_ref().context("no rollout runs")?.candidate.clone();
    let platform = PlatformDefaults {
        image: Some("127.0.0.1:5000/shop/checkout".to_owned()),
        ..PlatformDefaults::default()
    };
    let context = RenderContext {
        release: release.clone(),
        namespace: namespace.clone(),
        source: record.source.clone(),
        revision: candidate.revision().clone(),
        watched_tree: "tree".to_owned(),
        image_candidates: vec![commit.to_owned()],
        manifests: &[],
        platform: &platform,
    };
    let desired = render::render(&declaration, &context)?;
    Ok(Desired { identity: candidate.identity().clone(), ..desired })
}

fn samples(record: &Record, observed: &Observed) -> Result<Samples> {
    let rollout = record.rollout.as_ref().context("no rollout runs")?;
    let last_at = rollout.stage.ready_at.unwrap_or(Timestamp::UNIX_EPOCH);
    let checks = observed.pods.iter().map(|pod| {
        let track = if pod.track == "canary" { Track::Candidate } else { Track::Stable };
        let tally = CheckTally {
            track,
            pod: pod.name.clone(),
            passed_in_row: 20,
            failed_in_row: 0,
            asked: 20,
            failed: 0,
            last_failure: None,
            last_at,
        };
        (pod.uid.clone(), tally)
    });
    Ok(Samples {
        rollout: rollout.number,
        stage: rollout.stage.number,
        session: 1,
        last_at,
        checks: checks.collect(),
        source: Some(TrafficSource::PodMetrics),
        candidate: Traffic::Seen(Tally { requests: 1_000, errors: 2 }),
        stable: Traffic::Seen(Tally { requests: 3_000, errors: 5 }),
        latency: None,
        answers: BTreeMap::new(),
    })
}

/// The CPU time of a pass: what the process takes for so many changes, with the daemon and without it.
async fn passes(bed: Bed, sheet: &mut Sheet, changes: u32) -> Result<()> {
    let somebody = bed.sandbox.server().client_as("somebody");
    poke(&somebody, 0).await?;
    let before = Meter::read(&bed)?;
    for number in 1..=changes {
        poke(&somebody, number).await?;
    }
    let after = Meter::read(&bed)?;
    let (with, passes) = (after.cpu.saturating_sub(before.cpu), after.passes - before.passes);
    let Bed { daemon, sandbox, mut lookers, .. } = bed;
    daemon.stop().await;
    let begun = cpu()?;
    for number in 1..=changes {
        poke(&somebody, changes + number).await?;
    }
    let without = cpu()?.saturating_sub(begun);
    lookers.shutdown().await;
    sandbox.stop().await;
    if passes == 0 {
        bail!("{changes} changes made no pass: what one costs cannot be told");
    }
    let each = with.saturating_sub(without) / u32::try_from(passes)?;
    let change = without / changes;
    let goal = sheet.judge("CPU of a pass, mean", "mean", each, Duration::from_millis(2));
    println!("\nA pass that finds news and nothing to do, in CPU time ({changes} changes, {passes} passes)");
    println!("  CPU of a pass, the watch event that caused it included: {}  goal {goal}", show(each));
    println!(
        "  against: the sandbox's own CPU for one change: {}; ratio {:.1}x",
        show(change),
        each.as_secs_f64() / change.as_secs_f64().max(1e-9)
    );
    Ok(())
}

/// Changes something that is news to a pass and none of its business.
async fn poke(client: &Client, number: u32) -> Result<()> {
    let api: Api<Deployment> = Api::namespaced(client.clone(), NAMESPACE);
    let body = json!({"metadata": {"annotations": {"example.com/poke": number.to_string()}}});
    api.patch(SERVICE, &PatchParams::default(), &Patch::Merge(body)).await?;
    // Passes are one a release at a time: faster pokes would share one.
    tokio::time::sleep(Duration::from_millis(5)).await;
    Ok(())
}

/// What passes have taken so far.
#[derive(Clone, Copy)]
pub struct Meter {
    passes: u64,
    took: Duration,
    waited: Duration,
    cpu: Duration,
}

impl Meter {
    /// Reads it off a bed, in whose process nothing else runs.
    pub fn read(bed: &Bed) -> Result<Self> {
        let text = bed.daemon.metrics().render();
        let value = |name: &str| {
            let lines = text.lines().filter(|line| line.starts_with(name));
            lines.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum::<f64>()
        };
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // A count.
        let passes = value("idp_pass_duration_seconds_count") as u64;
        let took = Duration::from_secs_f64(value("idp_pass_duration_seconds_sum"));
        Ok(Self { passes, took, waited: bed.tape.waited(), cpu: cpu()? })
    }

    /// Prints what passes that roll a version out have taken since `before`. The time between two answers is all that a pass itself
    /// can have cost: it is one task.
    pub fn print_since(&self, before: &Self, sheet: &mut Sheet) -> Result<()> {
        let passes = u32::try_from(self.passes - before.passes)?.max(1);
        let took = self.took.saturating_sub(before.took);
        let own = took.saturating_sub(self.waited.saturating_sub(before.waited)) / passes;
        let goal =
            sheet.judge("a pass that rolls out, its own time, mean", "mean", own, Duration::from_millis(2));
        println!(
            "  {passes} passes took {} each on the way to promotion, answers waited for included",
            show(took / passes)
        );
        println!("  of it a pass's own time, in which it computes: {}  goal {goal}", show(own));
        let cpu = self.cpu.saturating_sub(before.cpu) / passes;
        println!("  CPU of the whole process (daemon, Git, cluster, pods) for a pass: {}", show(cpu));
        Ok(())
    }
}

/// The CPU time of this process so far, user and system, in steps of 10 ms.
pub fn cpu() -> Result<Duration> {
    cpu_of("self")
}

/// As [`cpu`], of the process with this id.
pub fn cpu_of(process: &str) -> Result<Duration> {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat"))?;
    // The name, in brackets, may hold anything.
    let fields = stat.rsplit(')').next().context("no fields")?;
    let ticks = fields.split_whitespace().skip(11).take(2).map(str::parse::<u64>);
    let ticks: u64 = ticks.sum::<std::result::Result<u64, _>>()?;
    Ok(Duration::from_millis(ticks * 10))
}
