//! From the moment that a candidate turns bad to the verdict and its write, with samples a second apart: the daemon reads the counters of
//! pods that answer real requests.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result};
use futures::future::try_join_all;
use idp::model::{LABEL_SERVICE, LABEL_TRACK};
use idp::sandbox::{Load, LoadOptions};
use k8s_openapi::api::core::v1::Pod;
use kube::api::ListParams;
use kube::{Api, ResourceExt};
use tokio::time::{Instant, sleep, timeout};

use super::bed::NAMESPACE;
use super::fleet::{Fleet, name, observed, stands};
use super::table::{Figure, Goal, Sheet, Times};

const DECLARATION: &str = r#"service: {name: NAME, team: shop}
workload: {port: 8080, replicas: 2}
deploy:
  strategy: canary
  canary: [{weight: 50, pause: 2h}, {weight: 100, pause: 1s}]
healthcheck: {path: /health, interval: 1s, timeout: 900ms, threshold: 60}
rollback: {on_error_rate: ">5%", on_low_traffic: pass, min_requests: 20, window: 1s, history: 3}
"#;
/// Services at a time.
const TOGETHER: usize = 5;
/// Requests a second for each, half of them the candidate's.
const RATE: f64 = 200.0;
/// How long each candidate is well before it turns.
const WELL: Duration = Duration::from_secs(3);
/// Longer than any verdict may take.
const LONGEST: Duration = Duration::from_secs(30);
/// The share of errors after the turn, and the samples within which that is to be seen.
const TURNS: [(&str, f64, u64); 2] =
    [("blatant: 50 % at a limit of 5 %", 50.0, 1), ("five times the limit", 25.0, 3)];

/// One candidate that turned.
struct Turned {
    /// Samples since the turn, the one of the verdict among them.
    samples: u64,
    /// From the turn to the write of the verdict.
    took: Duration,
    /// From the pod being asked for that sample to the write.
    written: Duration,
    /// A bare look at the same page.
    bare: Duration,
}

/// Takes the figures.
pub async fn taken(sheet: &mut Sheet, runs: usize) -> Result<()> {
    let mut fleet = Fleet::start(DECLARATION, TOGETHER.min(runs), 0.1).await?;
    let services = TOGETHER.min(runs);
    let options = |number: usize| LoadOptions {
        rate: RATE,
        max_requests: u64::MAX,
        max_time: Duration::from_hours(1),
        ..LoadOptions::new(NAMESPACE, &name(number))
    };
    let _load: Vec<Load> = (0..services).map(|number| fleet.sandbox.load(options(number))).collect();
    for (title, percent, within) in TURNS {
        let mut all = Vec::new();
        while all.len() < runs {
            fleet.push("healthy")?;
            fleet.until("every canary is observed", observed).await?;
            sleep(WELL).await;
            fleet.written().ending.clear();
            all.extend(try_join_all((0..services).map(|number| turn(&fleet, number, percent))).await?);
            fleet.until("every bad version is held", stands).await?;
        }
        print(sheet, title, within, &all);
    }
    fleet.stop().await
}

fn print(sheet: &mut Sheet, title: &str, within: u64, all: &[Turned]) {
    let times = |of: fn(&Turned) -> Duration| all.iter().map(of).collect::<Vec<_>>();
    let goal = Goal { median: None, p99: Some(Duration::from_millis(50)) };
    let figures = [
        Figure::plain("candidate turns bad → verdict written", times(|one| one.took)),
        Figure {
            what: "its sample asked for → verdict written",
            times: Times::new(times(|one| one.written)),
            goal,
        },
    ];
    let against = Figure::plain("against: a bare look at the same page", times(|one| one.bare));
    sheet.print(&format!("A candidate that turns bad ({title}), a sample a second"), &against, &figures);
    let mut counts = BTreeMap::<u64, usize>::new();
    for one in all {
        *counts.entry(one.samples).or_default() += 1;
    }
    let counts: Vec<String> = counts.iter().map(|(samples, runs)| format!("{samples} in {runs}")).collect();
    let late = all.iter().filter(|one| one.samples > within).count() * 100 / all.len().max(1);
    let late = f64::from(u32::try_from(late).unwrap_or(u32::MAX));
    let goal =
        sheet.judge_ratio(&format!("{title}: per cent of runs later than {within} samples"), late, 2.0);
    println!("  samples until the verdict: {}; per cent later than {within}: {goal}", counts.join(", "));
}

/// Lets the candidate of a service turn bad right after a sample, so that each sample from then on has a second of it.
async fn turn(fleet: &Fleet, number: usize, percent: f64) -> Result<Turned> {
    let (service, node) = (name(number), fleet.sandbox.node());
    let api: Api<Pod> = Api::namespaced(fleet.sandbox.server().client_as("witness"), NAMESPACE);
    let selector = format!("{LABEL_SERVICE}={service},{LABEL_TRACK}=canary");
    let pods = api.list(&ListParams::default().labels(&selector)).await?.items;
    let pod = pods.first().with_context(|| format!("{service} has no candidate"))?;
    let ip = pod.status.as_ref().and_then(|status| status.pod_ip.clone()).context("it has an address")?;
    let pod = pod.name_any();
    let bare = Instant::now();
    reqwest::get(format!("http://{ip}:8080/metrics")).await?.text().await?;
    let bare = bare.elapsed();

    let before = node.scraped(NAMESPACE, &pod);
    let waited = async {
        while node.scraped(NAMESPACE, &pod) == before {
            sleep(Duration::from_millis(1)).await;
        }
        anyhow::ensure!(node.turn_bad(NAMESPACE, &pod, percent), "{pod} does not run");
        let turned = Instant::now();
        let (first, mut last) = (node.scraped(NAMESPACE, &pod).context("it was asked")?, None);
        loop {
            let ending = fleet.written().ending.get(&service).copied();
            let seen =
                node.scraped(NAMESPACE, &pod).filter(|(_, at)| ending.is_none_or(|ending| *at <= ending));
            last = seen.or(last);
            match (ending, last) {
                (Some(ending), Some((count, at))) => {
                    let (took, written) = (ending.duration_since(turned), ending.duration_since(at));
                    return Ok(Turned { samples: count.saturating_sub(first.0), took, written, bare });
                }
                _ => sleep(Duration::from_millis(1)).await,
            }
        }
    };
    timeout(LONGEST, waited).await.with_context(|| format!("{service} at {percent} %: no verdict"))?
}
