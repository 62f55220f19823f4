//! A thousand canaries in flight at once while nothing happens: what the daemon's process takes, how late its passes begin, and how often it
//! writes.

use std::time::Duration;

use anyhow::Result;

use super::fleet::{Fleet, observed};
use super::table::Sheet;

/// Health checks and counts at the interval that is the default, each of two pods.
const DECLARATION: &str = r#"service: {name: NAME, team: shop}
workload: {port: 8080, replicas: 2}
deploy:
  strategy: canary
  canary: [{weight: 50, pause: 2h}, {weight: 100, pause: 1m}]
healthcheck: {path: /health}
rollback: {on_error_rate: ">1%", window: 1s, history: 3}
"#;
const MINUTE: Duration = Duration::from_mins(1);

/// How much is measured.
#[derive(Clone, Copy)]
pub struct Flight {
    /// Canaries.
    pub canaries: usize,
    /// What trails the start of them is over after so long.
    pub settle: Duration,
    /// How long they are looked at.
    pub rest: Duration,
}

/// What was seen for a while.
struct Seen {
    /// Per cent of a core.
    cpu: f64,
    passes: u64,
    /// Passes that began more than 100 ms after they were due.
    late: u64,
    /// Writes of records: all, and the most of one.
    writes: u64,
    most: u64,
}

/// Takes the figures.
pub async fn taken(sheet: &mut Sheet, flight: Flight) -> Result<()> {
    let Flight { canaries, settle, rest } = flight;
    let mut fleet = Fleet::start(DECLARATION, canaries, 0.1).await?;
    tokio::time::sleep(settle).await;
    let idle = watch(&fleet, rest / 4).await?;
    fleet.push("healthy")?;
    fleet.until("every canary is observed", observed).await?;
    tokio::time::sleep(settle).await;
    let seen = watch(&fleet, rest).await?;
    let still = fleet.until("every canary is observed", observed).await?.len();
    fleet.stop().await?;

    println!("\n{still} canaries in flight while nothing happens, for {} s", rest.as_secs());
    let per_second = count(seen.passes) / rest.as_secs_f64();
    println!("  {} passes, {per_second:.0} a second, {} writes of records", seen.passes, seen.writes);
    println!("  per cent of a core: {}", sheet.judge_ratio("per cent of a core", seen.cpu, 25.0));
    println!(
        "  against: {:.1} at rest, with as many releases and no canary ({} passes); ratio {:.1}x",
        idle.cpu,
        idle.passes,
        seen.cpu / idle.cpu.max(0.1)
    );
    let late = sheet.judge_ratio("passes later than 100 ms", count(seen.late), 1.0);
    println!("  passes that began more than 100 ms after they were due: {late}");
    let allowed = rest.as_secs().div_ceil(MINUTE.as_secs());
    let most = sheet.judge_ratio("writes of one record", count(seen.most), count(allowed) + 0.5);
    println!("  most writes of one record, of which {allowed} are one a minute: {most}");
    Ok(())
}

async fn watch(fleet: &Fleet, time: Duration) -> Result<Seen> {
    fleet.written().count.clear();
    let (before, cpu) = (fleet.passes().await?, fleet.cpu()?);
    tokio::time::sleep(time).await;
    let (after, used) = (fleet.passes().await?, fleet.cpu()?.saturating_sub(cpu));
    let written = fleet.written();
    let passes = after.0 - before.0;
    Ok(Seen {
        cpu: used.as_secs_f64() * 100.0 / time.as_secs_f64(),
        passes,
        late: passes - (after.1 - before.1),
        writes: written.count.values().sum(),
        most: written.count.values().copied().max().unwrap_or_default(),
    })
}

fn count(number: u64) -> f64 {
    f64::from(u32::try_from(number).unwrap_or(u32::MAX))
}
