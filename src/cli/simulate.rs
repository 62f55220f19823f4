//! `idp simulate`: plays seeds with every fault in virtual time, and shows the shortest plan that breaks a property.

use std::fmt::Write as _;
use std::thread::available_parallelism;
use std::time::Duration;

use clap::Args;
use serde::Serialize;
use tokio::time::Instant;

use super::output::{Tone, paint};
use super::{CliError, Exit, Output};
use crate::simulation::{self, Asked, Failure, Ran, Summary};

/// Progress is said this often.
const TELL: u64 = 1_000;

/// Which seeds.
#[derive(Debug, Clone, Args)]
pub struct SimulateArgs {
    /// How many seeds to play
    #[arg(long, value_name = "N", default_value_t = 1_000)]
    pub seeds: u64,
    /// The first of them
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub from: u64,
    /// Play this seed alone
    #[arg(long, value_name = "N", conflicts_with_all = ["seeds", "from"])]
    pub seed: Option<u64>,
    /// With --seed: print everything that happens in it
    #[arg(long, requires = "seed")]
    pub trace: bool,
    /// Seeds side by side; as many as there are cores
    #[arg(long, value_name = "N")]
    pub threads: Option<usize>,
    /// Instead of seeds, the crash matrix: a daemon that dies at each of its writes
    #[arg(long, conflicts_with_all = ["seeds", "from", "seed"])]
    pub matrix: bool,
}

/// What is printed.
#[derive(Serialize)]
struct Report<'a> {
    ok: bool,
    #[serde(flatten)]
    summary: &'a Summary,
    rollouts: u64,
    years: f64,
    seconds: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    failure: Option<String>,
}

/// Plays them. Good: every property held; Bad: one did not.
pub fn run(args: &SimulateArgs, output: &Output) -> Result<Exit, CliError> {
    let threads = args.threads.or(available_parallelism().ok().map(usize::from)).unwrap_or(1);
    if args.matrix {
        return super::matrix::run(threads, output);
    }
    let begun = Instant::now();
    let Ran { summary, failure, took } = if let Some(seed) = args.seed {
        let (ran, lines) = simulation::one(seed).map_err(CliError::Simulation)?;
        if args.trace {
            println!("{}", lines.join("\n"));
        }
        ran
    } else {
        let seeds = args.from..args.from.saturating_add(args.seeds);
        let told = |count: u64| {
            if count.is_multiple_of(TELL) {
                eprintln!("{count} of {} seeds, {:.0?}", args.seeds, begun.elapsed());
            }
        };
        simulation::run(&Asked { seeds, threads }, told).map_err(CliError::Simulation)?
    };
    let report = Report {
        ok: failure.is_none(),
        rollouts: summary.rollouts(),
        years: summary.years(),
        seconds: took.as_secs_f64(),
        failure: failure.as_ref().map(ToString::to_string),
        summary: &summary,
    };
    output.show(&report, |output| text(&summary, failure.as_ref(), took, output.colour))?;
    Ok(if failure.is_none() { Exit::Good } else { Exit::Bad })
}

#[allow(clippy::cast_precision_loss)] // For people.
fn text(summary: &Summary, failure: Option<&Failure>, took: Duration, colour: bool) -> String {
    let counts = |counts: &std::collections::BTreeMap<String, u64>| {
        counts.iter().map(|(name, count)| format!("{count} {name}")).collect::<Vec<_>>().join(", ")
    };
    let each = took.as_secs_f64() * 1000.0 / summary.seeds.max(1) as f64;
    let mut out = format!(
        "{} seeds, {} rollouts ({})\n{:.2} virtual years, {} lives of the daemon, {} passes, {} writes, {} requests met a fault\nwhat happened: {}\n{:.1} s, {each:.1} ms a seed\n",
        summary.seeds,
        summary.rollouts(),
        counts(&summary.outcomes),
        summary.years(),
        summary.lives,
        summary.passes,
        summary.writes,
        summary.refused,
        counts(&summary.happened),
        took.as_secs_f64(),
    );
    match failure {
        None => out.push_str(&paint("every property held", Tone::Good, colour)),
        Some(failure) => {
            let _ = write!(
                out,
                "{}\n{failure}play it again: idp simulate --seed {} --trace",
                paint("a property does not hold", Tone::Bad, colour),
                failure.seed
            );
        }
    }
    out
}
