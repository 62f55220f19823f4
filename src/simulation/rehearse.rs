//! A rehearsal: the declared rollout of a real declaration, from a stable version of itself, in virtual time.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::SimulationError;
use super::bed::Bed;
use super::deeds::Deed;
use super::heads::{Shape, Workshop};
use super::plan::{Action, Plan};
use super::trace::{Announced, Trace};
use crate::model::desired::Desired;
use crate::model::rollout::Outcome;

/// Requests a second that the Service gets.
pub const RATE: u32 = 20;
/// Looked at this often whether it is over.
const LOOK: Duration = Duration::from_secs(30);
/// A rollout that takes longer is shown up to there.
const LONGEST: Duration = Duration::from_hours(24);
/// The stable version has this long to be there.
const BEFORE: Duration = Duration::from_hours(2);

/// How the new version behaves.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Conduct {
    /// Well.
    Good,
    /// So many of a hundred requests fail.
    Errors(f64),
    /// It crashes after twenty seconds, again and again.
    Crash,
    /// Its pods take longer to start than they may.
    Slow,
    /// Its pods turn unready again and again.
    Flap,
}

/// What would happen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rehearsed {
    /// The release.
    pub release: String,
    /// What the daemon would announce, timed from the merge.
    pub story: Vec<Announced>,
    /// How it ends; `None`: it is still under way after a day.
    pub outcome: Option<Outcome>,
}

/// Reads a declaration for an environment and plays its rollout. An `Err` in the answer says why it cannot be rolled out.
pub fn rehearse(
    text: &str,
    environment: &str,
    conduct: Conduct,
) -> Result<Result<Rehearsed, String>, SimulationError> {
    if crate::declare::parse(".idp/deploy.yaml", text.as_bytes())
        .is_ok_and(|spec| !spec.manifests().is_empty())
    {
        return Ok(Err(
            "a rehearsal plays what the platform generates, not manifests of the team's own".to_owned()
        ));
    }
    let workshop = Workshop::new(environment)?;
    let Some(answer) = workshop.desired(text).into_iter().next() else {
        return Ok(Err(format!("it declares nothing for environment {environment}")));
    };
    let desired = match answer {
        Ok(desired) => desired,
        Err(reason) => return Ok(Err(reason)),
    };
    let played = std::thread::scope(|scope| scope.spawn(|| alone(&workshop, &desired, conduct)).join());
    played.unwrap_or_else(|_| Err(SimulationError::missing("the end of the rehearsal"))).map(Ok)
}

fn alone(
    workshop: &Arc<Workshop>,
    desired: &Desired,
    conduct: Conduct,
) -> Result<Rehearsed, SimulationError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .map_err(SimulationError::part("making a runtime"))?;
    runtime.block_on(play(workshop, desired, conduct))
}

async fn play(
    workshop: &Arc<Workshop>,
    desired: &Desired,
    conduct: Conduct,
) -> Result<Rehearsed, SimulationError> {
    let mut plan = Plan::quiet(1, Shape::plain(), desired.replicas);
    plan.rate = RATE;
    plan.actions.clear();
    let mut bed = Bed::new(workshop, &plan, Trace::new(false))?;
    bed.follow(desired);
    merge(&mut bed, "v0".to_owned())?;
    let stable = until_over(&mut bed, BEFORE).await?;
    if stable != Some(Outcome::Promoted) {
        return Ok(told(bed, Duration::ZERO, stable));
    }
    bed.run(Instant::now() + LOOK).await?;
    bed.trace.story.clear();
    let merged = bed.time();
    merge(&mut bed, tag(conduct, desired))?;
    let outcome = until_over(&mut bed, LONGEST).await?;
    bed.run(Instant::now() + LOOK).await?;
    Ok(told(bed, merged, outcome))
}

fn merge(bed: &mut Bed, tag: String) -> Result<(), SimulationError> {
    bed.perform(Deed::Planned(Action::Commit { tag, late: 0 }))
}

fn tag(conduct: Conduct, desired: &Desired) -> String {
    match conduct {
        Conduct::Good => "v1.good".to_owned(),
        // A dot would end the word.
        Conduct::Errors(percent) => format!("v1.errors-{percent:.0}"),
        Conduct::Crash => "v1.crash-20s".to_owned(),
        Conduct::Slow => format!("v1.slow-{}s", desired.policy.progress_deadline.as_secs() + 60),
        Conduct::Flap => "v1.unready-20s".to_owned(),
    }
}

/// Moves on until the newest rollout has ended.
async fn until_over(bed: &mut Bed, longest: Duration) -> Result<Option<Outcome>, SimulationError> {
    let begun = Instant::now();
    while begun.elapsed() < longest {
        bed.run(Instant::now() + LOOK).await?;
        if let Some(violation) = bed.checker.violations.first() {
            let broken = format!("{} at {:?}: {}", violation.property, violation.at, violation.what);
            return Err(SimulationError::Broken(broken));
        }
        let record = bed.checker.record.as_ref().filter(|record| record.rollout.is_none());
        let newest = record.and_then(|record| record.history.get(&record.rollouts));
        if let Some(ended) = newest.filter(|_| record.is_some_and(|record| record.rollouts >= bed.commits)) {
            return Ok(Some(ended.outcome));
        }
    }
    Ok(None)
}

fn told(bed: Bed, merged: Duration, outcome: Option<Outcome>) -> Rehearsed {
    let story = bed.trace.story.into_iter();
    let since = |one: Announced| Announced { at: one.at.saturating_sub(merged), ..one };
    Rehearsed { release: bed.release.to_string(), story: story.map(since).collect(), outcome }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "service: {name: payments, team: pay}
deploy:
  canary: [{weight: 10, pause: 5m}, {weight: 50, pause: 10m}, {weight: 100}]
  healthcheck: {path: /health, interval: 10s}
";

    fn outcome(conduct: Conduct) -> Rehearsed {
        rehearse(FILE, "staging", conduct).unwrap().unwrap()
    }

    #[test]
    fn a_good_version_takes_its_steps_and_a_bad_one_comes_back() {
        let good = outcome(Conduct::Good);
        assert_eq!((good.release.as_str(), good.outcome), ("payments.staging", Some(Outcome::Promoted)));
        let steps: Vec<u64> = good
            .story
            .iter()
            .filter(|one| one.reason == "StepPassed")
            .map(|one| one.at.as_secs() / 60)
            .collect();
        assert_eq!(steps, [5, 15, 15], "{:?}", good.story);
        for bad in [Conduct::Errors(50.0), Conduct::Crash] {
            let bad = outcome(bad);
            assert_eq!(bad.outcome, Some(Outcome::RolledBack), "{:?}", bad.story);
        }
    }

    #[test]
    fn manifests_of_a_team_are_not_played_and_that_is_said() {
        let own = "service: {name: a, team: b}\nsource: {manifests: [k8s/*.yaml]}\n";
        let refused = rehearse(own, "staging", Conduct::Good).unwrap().unwrap_err();
        assert!(refused.contains("not manifests of the team's own"), "{refused}");
    }

    #[test]
    fn a_declaration_that_is_none_says_why() {
        let refused =
            rehearse("service: {name: a, team: b}\nworkload: {prot: 1}\n", "staging", Conduct::Good);
        assert!(refused.unwrap().unwrap_err().contains("prot"));
    }
}
