//! `idp rehearse`: plays the declared rollout of a real declaration in virtual time, and prints what would happen, when, and why.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use serde::Serialize;

use super::output::{Tone, clean, paint};
use super::{CliError, Exit, Output};
use crate::model::duration::rough;
use crate::model::rollout::Outcome;
use crate::simulation::{self, Conduct, RATE, Rehearsed};

/// Where a repository's declaration is.
const DEFAULT: &str = ".idp/deploy.yaml";
/// Bytes of a declaration at most.
const LIMIT: u64 = 1 << 20;

/// What to rehearse.
#[derive(Debug, Clone, Args)]
pub struct RehearseArgs {
    /// The file, or a folder that holds .idp/deploy.yaml
    #[arg(default_value = DEFAULT)]
    pub path: PathBuf,
    /// The environment
    #[arg(long, value_name = "NAME", default_value = "production")]
    pub env: String,
    /// How the new version misbehaves: a share of failing requests as in 5%, crash, slow or flap
    #[arg(long, value_name = "HOW", value_parser = conduct)]
    pub bad: Option<Conduct>,
}

fn conduct(text: &str) -> Result<Conduct, String> {
    match text {
        "crash" => Ok(Conduct::Crash),
        "slow" => Ok(Conduct::Slow),
        "flap" => Ok(Conduct::Flap),
        other => {
            let percent = other.strip_suffix('%').and_then(|number| number.trim().parse::<f64>().ok());
            percent
                .filter(|percent| (1.0..=100.0).contains(percent))
                .map(Conduct::Errors)
                .ok_or_else(|| "write 5%, crash, slow or flap; a share is from 1% to 100%".to_owned())
        }
    }
}

/// What is printed.
#[derive(Serialize)]
struct Report<'a> {
    release: &'a str,
    outcome: Option<&'static str>,
    timeline: Vec<Line<'a>>,
}

#[derive(Serialize)]
struct Line<'a> {
    seconds: f64,
    event: &'a str,
    sentence: &'a str,
}

/// Plays it. Good: promoted; Bad: not; Usage: the file cannot be read.
pub fn run(args: &RehearseArgs, output: &Output) -> Result<Exit, CliError> {
    let path = if args.path.is_dir() { args.path.join(DEFAULT) } else { args.path.clone() };
    let text = match read(&path) {
        Ok(text) => text,
        Err(error) => {
            eprintln!("error: {} cannot be read: {error}", path.display());
            return Ok(Exit::Usage);
        }
    };
    let conduct = args.bad.unwrap_or(Conduct::Good);
    let rehearsed = simulation::rehearse(&text, &args.env, conduct).map_err(CliError::Simulation)?;
    let rehearsed = match rehearsed {
        Ok(rehearsed) => rehearsed,
        Err(reason) => {
            eprintln!("error: {}: {}", path.display(), clean(&reason));
            return Ok(Exit::Bad);
        }
    };
    let line = |one: &simulation::Announced| one.at.as_secs_f64();
    let report = Report {
        release: &rehearsed.release,
        outcome: rehearsed.outcome.map(Outcome::name),
        timeline: rehearsed
            .story
            .iter()
            .map(|one| Line { seconds: line(one), event: &one.reason, sentence: &one.sentence })
            .collect(),
    };
    output.show(&report, |output| shown(&rehearsed, output.colour))?;
    Ok(if rehearsed.outcome == Some(Outcome::Promoted) { Exit::Good } else { Exit::Bad })
}

fn read(path: &std::path::Path) -> std::io::Result<String> {
    use std::io::Read as _;
    let mut text = String::new();
    std::fs::File::open(path)?.take(LIMIT).read_to_string(&mut text)?;
    Ok(text)
}

fn shown(rehearsed: &Rehearsed, colour: bool) -> String {
    let mut out = format!(
        "{}: a merge, as it would be rolled out (virtual time, {RATE} requests/s, pods ready in a second or two)\n",
        rehearsed.release
    );
    for one in &rehearsed.story {
        let _ = writeln!(out, "{:>8}  {:<16} {}", time(one.at), one.reason, clean(&one.sentence));
    }
    let (word, tone) = match rehearsed.outcome {
        Some(Outcome::Promoted) => ("it is promoted", Tone::Good),
        Some(Outcome::RolledBack) => ("it is taken back, and does not start again by itself", Tone::Bad),
        Some(_) => ("it is not promoted", Tone::Bad),
        None => ("it is still under way after a day", Tone::Busy),
    };
    out.push_str(&paint(word, tone, colour));
    out
}

fn time(at: Duration) -> String {
    format!("+{}", rough(at))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_can_be_wrong_with_a_version() {
        assert_eq!(conduct("5%"), Ok(Conduct::Errors(5.0)));
        assert_eq!(conduct("flap"), Ok(Conduct::Flap));
        for bad in ["5", "0%", "101%", "", "crashes"] {
            assert!(conduct(bad).is_err(), "{bad}");
        }
    }
}
