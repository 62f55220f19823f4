//! The figures of `docs/benchmarks.md`: `cargo bench`. Each is printed beside its goal and beside something that was measured in the
//! same run, since a machine's speed is nobody's merit. `cargo bench -- push` takes the figures whose name contains the word;
//! `cargo test --bench figures` takes each with a handful of samples and judges none, to prove that it can be taken.

#[path = "figures/alone.rs"]
mod alone;
#[path = "figures/bed.rs"]
mod bed;
#[path = "figures/cpu.rs"]
mod cpu;
#[path = "figures/door.rs"]
mod door;
#[path = "figures/fleet.rs"]
mod fleet;
#[path = "figures/flights.rs"]
mod flights;
#[path = "figures/forge.rs"]
mod forge;
#[allow(clippy::indexing_slicing)] // A panic ends a run whose figures would be wrong.
#[path = "figures/herd.rs"]
mod herd;
#[path = "figures/hooks.rs"]
mod hooks;
#[path = "figures/mono.rs"]
mod mono;
#[path = "figures/odds.rs"]
mod odds;
#[path = "figures/odds_latency.rs"]
mod odds_latency;
#[allow(clippy::indexing_slicing)]
#[path = "figures/polls.rs"]
mod polls;
#[path = "figures/queued.rs"]
mod queued;
#[path = "figures/reaction.rs"]
mod reaction;
#[path = "figures/repository.rs"]
mod repository;
#[path = "figures/stalls.rs"]
mod stalls;
#[path = "figures/steps.rs"]
mod steps;
#[path = "figures/table.rs"]
mod table;
#[path = "figures/turns.rs"]
mod turns;

use std::time::Duration;

use anyhow::Result;

use table::Sheet;

/// As in `idpd`.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// How much is measured.
#[derive(Clone, Copy)]
struct Scale {
    /// Pushes, each a rollout to its promotion.
    pushes: usize,
    /// Crashes, each a rollout that is taken back.
    crashes: usize,
    /// Changes of an object that make a pass each.
    changes: u32,
    /// How long each pure decision is measured.
    decide: Duration,
    /// Batches of webhooks.
    hooks: usize,
    /// Pushes to a repository of many services.
    mono: usize,
    /// Webhooks from a load beside the daemon.
    load: door::Load,
    /// Webhooks whose way to a pass is measured, and by what the fleets are divided.
    queued: (usize, usize),
    /// Repositories.
    fleet: polls::Fleet,
    /// Candidates that turn bad, of each kind.
    turns: usize,
    /// Ways back with everything away, of each kind.
    alone: usize,
    /// Canaries in flight.
    flight: flights::Flight,
    /// Simulated rollouts a number of the error rate's table.
    runs: u32,
}

const FULL: Scale = Scale {
    pushes: 200,
    crashes: 200,
    changes: 400,
    decide: Duration::from_secs(1),
    hooks: 200,
    mono: 200,
    load: door::Load { lasts: Duration::from_secs(5), share: 100, slow: 1_000 },
    queued: (2_000, 1),
    fleet: polls::Fleet {
        idle: 1_000,
        rest: Duration::from_mins(1),
        hooked: 10_000,
        beside: 50,
        storm: (200, Duration::from_secs(10)),
    },
    turns: 50,
    alone: 60,
    flight: flights::Flight {
        canaries: 1_000,
        settle: Duration::from_secs(20),
        rest: Duration::from_secs(150),
    },
    runs: 10_000,
};
const SMOKE: Scale = Scale {
    pushes: 3,
    crashes: 3,
    changes: 20,
    decide: Duration::from_millis(20),
    hooks: 3,
    mono: 3,
    load: door::Load { lasts: Duration::from_millis(200), share: 5, slow: 20 },
    queued: (20, 50),
    fleet: polls::Fleet {
        idle: 5,
        rest: Duration::from_secs(1),
        hooked: 10,
        beside: 3,
        storm: (20, Duration::from_secs(1)),
    },
    turns: 1,
    alone: 1,
    flight: flights::Flight { canaries: 3, settle: Duration::from_millis(200), rest: Duration::from_secs(4) },
    runs: 2,
};

#[tokio::main]
async fn main() -> Result<()> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    match words.split_first().map(|(first, rest)| (first.as_str(), rest)) {
        Some(("--load", words)) => return door::load(words).await,
        Some(("--forge", words)) => return herd::serve(words).await,
        _ => {}
    }
    let flag = |name: &str| words.iter().any(|word| word == name);
    // `cargo bench` says so; `cargo test` says nothing.
    let smoke = flag("--smoke") || !flag("--bench");
    let scale = if smoke { SMOKE } else { FULL };
    let wanted = |name: &str| {
        let mut chosen = words.iter().filter(|word| !word.starts_with('-')).peekable();
        chosen.peek().is_none() || chosen.any(|word| name.contains(word.as_str()))
    };
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    println!("{cores} cores, load average before: {}", load());
    let mut sheet = Sheet::new(!smoke);
    if wanted("push") {
        reaction::pushes(&mut sheet, scale.pushes).await?;
    }
    if wanted("crash") {
        reaction::crashes(&mut sheet, scale.crashes).await?;
    }
    if wanted("steps") {
        steps::three(&mut sheet, scale.pushes / 4 + 1).await?;
    }
    if wanted("turns") {
        turns::taken(&mut sheet, scale.turns).await?;
    }
    if wanted("alone") {
        alone::taken(&mut sheet, scale.alone).await?;
    }
    if wanted("flights") {
        flights::taken(&mut sheet, scale.flight).await?;
    }
    if wanted("pass") {
        cpu::costs(&mut sheet, scale).await?;
    }
    if wanted("hooks") {
        hooks::received(&mut sheet, scale.hooks)?;
    }
    if wanted("door") {
        door::taken(&mut sheet, scale.load).await?;
    }
    if wanted("queued") {
        queued::queued(&mut sheet, scale.queued.0, scale.queued.1).await?;
    }
    if wanted("odds") {
        tokio::task::block_in_place(|| odds::counted(&mut sheet, scale.runs));
        tokio::task::block_in_place(|| odds_latency::counted(&mut sheet, (scale.runs / 5).max(1)));
    }
    if wanted("polls") {
        polls::taken(&mut sheet, scale.fleet).await?;
    }
    if wanted("mono") {
        mono::pushes(&mut sheet, scale.mono).await?;
    }
    println!("\nload average after: {}", load());
    sheet.sum_up();
    Ok(())
}

fn load() -> String {
    let all = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    all.split_whitespace().take(3).collect::<Vec<_>>().join(" ")
}
