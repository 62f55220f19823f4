//! The crash matrix: a daemon that dies at each write of the success path and of the way back, before it, with its reply lost and after
//! it. The end, and how often each object was made and deleted, are those of the run without a crash.

use std::collections::BTreeMap;
use std::panic::resume_unwind;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::SimulationError;
use super::bed::{Bed, SERVICE};
use super::daemon::agent;
use super::effects::{self, Deed, Effects};
use super::gateway::Way;
use super::heads::{ENVIRONMENT, Shape, Workshop};
use super::orders::Cut;
use super::plan::{Action, Plan};
use super::trace::Trace;
use crate::sandbox::json as read;

/// Seconds after which the first version is stable, and the story's own begins.
const BEGIN: u32 = 60;
/// A story has come to rest by then.
const LONGEST: Duration = Duration::from_mins(12);
/// Looked at this often whether it has.
const LOOK: Duration = Duration::from_secs(10);
/// What is acknowledged, removed and trimmed afterwards.
const SETTLED: Duration = Duration::from_mins(1);

/// Which cuts to play.
#[derive(Debug, Clone, Copy)]
pub struct Cuts {
    /// The first write that is cut, counted from 1.
    pub first: u32,
    /// From there every so many writes; at least 1, which is all of them.
    pub stride: u32,
    /// Stories side by side, at least one.
    pub threads: usize,
}

/// What was cut, and what came of it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Matrix {
    /// The stories by name, in order.
    pub stories: Vec<Column>,
    /// The first cut of each story that ends otherwise than the run without one.
    pub wrong: Vec<String>,
}

/// One story.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Column {
    /// Its name, for people.
    pub story: &'static str,
    /// How many of its writes were cut, each in three ways, by the name of the effect that they belong to.
    pub cut: BTreeMap<&'static str, u32>,
    /// Effects that it should have and has no write of.
    pub missing: Vec<&'static str>,
}

impl Matrix {
    /// How many runs with a crash were played.
    pub fn runs(&self) -> u32 {
        let ways = u32::try_from(Cut::ALL.len()).unwrap_or(u32::MAX);
        self.stories.iter().flat_map(|story| story.cut.values()).sum::<u32>().saturating_mul(ways)
    }

    /// Tells whether every story has its effects, and every cut ended well.
    pub fn holds(&self) -> bool {
        self.wrong.is_empty() && self.stories.iter().all(|story| story.missing.is_empty())
    }
}

/// What must not depend on a crash.
#[derive(Debug, Default, PartialEq, Eq)]
struct End {
    /// By kind and name: made, deleted.
    counts: BTreeMap<String, (u32, u32)>,
    /// Deployments with image and size, and every other object's name.
    objects: Vec<String>,
    outcomes: Vec<String>,
    finished: usize,
    violations: Vec<String>,
}

struct Run {
    end: End,
    lives: u64,
    /// The writes that can be cut, each by the name of its effect.
    named: Vec<&'static str>,
    lines: Vec<String>,
}

/// What is rolled out while daemons die.
#[derive(Clone)]
struct Story {
    name: &'static str,
    plan: Plan,
    /// Writes are counted from then on, in seconds.
    from: u32,
    /// The rollouts that it has.
    rollouts: u64,
    /// The named effects that it has, in order.
    effects: &'static [&'static str],
}

fn stories() -> [Story; 5] {
    let pods = Shape { strategy: "canary", steps: vec![(50, 6), (100, 6)], window: 10, ..Shape::plain() };
    let route = Shape { route: Some(Way::HttpRoute), ..pods.clone() };
    let second = |shape: &Shape, tag: &str| {
        let commit = Action::Commit { tag: tag.to_owned(), late: 0 };
        Plan::quiet(11, shape.clone(), 3).then(u64::from(BEGIN) + 1, commit)
    };
    let first = Plan::quiet(11, pods.clone(), 3);
    let story = |name, plan, effects| Story { name, plan, from: BEGIN, rollouts: 2, effects };
    [
        Story { from: 0, rollouts: 1, ..story("first deploy", first, effects::FIRST) },
        story("success, by pods", second(&pods, "v1.good"), effects::BY_PODS),
        story("success, by `HTTPRoute`", second(&route, "v1.good"), effects::BY_ROUTE),
        story("way back, by pods", second(&pods, "v1.crash"), effects::BACK_BY_PODS),
        story("way back, by `HTTPRoute`", second(&route, "v1.errors-60"), effects::BACK_BY_ROUTE),
    ]
}

/// Plays a story with at most one cut; `keep`: with every line and with its writes by name.
fn run(
    workshop: &Arc<Workshop>,
    story: &Story,
    cut: Option<(u32, Cut)>,
    keep: bool,
) -> Result<Run, SimulationError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .map_err(SimulationError::part("making a runtime"))?;
    let mut plan = story.plan.clone();
    if let Some((write, cut)) = cut {
        let crash = Action::Crash { write, cut, away: 300 };
        plan.actions.insert(0, (Duration::from_secs(story.from.into()), crash));
    }
    runtime.block_on(async {
        let mut bed = Bed::new(workshop, &plan, Trace::new(keep))?;
        let longest = bed.begun + LONGEST;
        bed.run(bed.begun + Duration::from_secs(u64::from(story.from) + 5)).await?;
        while Instant::now() < longest && !bed.checker.broken() && !rests(&bed, story) {
            bed.run(Instant::now() + LOOK).await?;
        }
        bed.run(Instant::now() + SETTLED).await?;
        Ok(Run { end: end(&bed), lives: bed.lives, named: named(&bed, story.from), lines: bed.trace.lines })
    })
}

/// Tells whether the story has told all.
fn rests(bed: &Bed, story: &Story) -> bool {
    let record = bed.checker.record.as_ref();
    record.is_some_and(|record| {
        record.rollout.is_none() && record.rollouts == story.rollouts && record.outbox.is_empty()
    })
}

fn end(bed: &Bed) -> End {
    let finished = "dev.cdevents.pipelinerun.finished";
    let told = bed.broker.topic.values().flat_map(|lane| lane.values().flatten());
    let violations = bed.checker.violations.iter();
    End {
        counts: bed.checker.counts.clone(),
        objects: objects(bed),
        outcomes: bed.checker.facts.outcomes().map(str::to_owned).collect(),
        finished: told.filter(|told| told.kind.starts_with(finished)).count(),
        violations: violations.map(|one| format!("{}: {}", one.property, one.what)).collect(),
    }
}

fn objects(bed: &Bed) -> Vec<String> {
    let ours = bed.objects().into_iter().filter(|object| {
        let kind = read::text(object, &["kind"]);
        ["Deployment", "Service", "ConfigMap", "Secret", "Release", "HTTPRoute"].contains(&kind)
    });
    ours.map(|object| {
        let kind = read::text(&object, &["kind"]);
        let containers = read::list(&object, &["spec", "template", "spec", "containers"]);
        let image = containers.first().map_or("", |container| read::text(container, &["image"]));
        let what = if kind == "HTTPRoute" { &["spec"][..] } else { &["spec", "replicas"][..] };
        let size = read::at(&object, what).map_or(String::new(), ToString::to_string);
        let mark = read::text(&object, &["metadata", "labels", "idp.dev/mark"]);
        format!("{kind} {} {image} {size} {mark}", read::text(&object, &["metadata", "name"]))
    })
    .collect()
}

/// The writes of the first daemon from a moment on, each by the name of its effect.
fn named(bed: &Bed, from: u32) -> Vec<&'static str> {
    let mut effects = Effects::default();
    let (mut named, first) = (Vec::new(), agent(1));
    for (at, request) in &bed.trace.requests {
        if !request.mutating || request.user_agent != first {
            continue;
        }
        let deed = Deed {
            kind: &request.kind,
            name: &request.name,
            door: &request.subresource,
            deletes: request.verb == crate::sandbox::Verb::Delete,
            body: &request.body,
        };
        let name = effects.name(SERVICE, &deed);
        if *at >= Duration::from_secs(from.into()) {
            named.push(name);
        }
    }
    named
}

/// What was cut, by effect, and the first write whose cut ends otherwise.
type Found = (BTreeMap<&'static str, u32>, Option<(u32, String)>);

/// One story while it is being cut.
struct Cutting {
    story: Story,
    whole: Run,
    /// The write that is cut next.
    next: AtomicU32,
    found: Mutex<Found>,
}

impl Cutting {
    fn begin(workshop: &Arc<Workshop>, story: Story, first: u32) -> Result<Self, SimulationError> {
        let whole = run(workshop, &story, None, true)?;
        Ok(Self { story, whole, next: AtomicU32::new(first.max(1)), found: Mutex::default() })
    }

    /// Cuts one write after the other, until there is none any more or one of the cuts ends otherwise.
    fn work(&self, workshop: &Arc<Workshop>, stride: u32) -> Result<(), SimulationError> {
        loop {
            let write = self.next.fetch_add(stride.max(1), Ordering::Relaxed);
            let Some(effect) = usize::try_from(write).ok().and_then(|nth| self.whole.named.get(nth - 1))
            else {
                return Ok(());
            };
            let wrong = self.cut(workshop, write)?;
            let mut found = self.found.lock().unwrap_or_else(PoisonError::into_inner);
            *found.0.entry(effect).or_default() += 1;
            if let Some(wrong) = wrong {
                let earlier = found.1.as_ref().is_some_and(|(known, _)| *known < write);
                if !earlier {
                    found.1 = Some((write, format!("{}, {effect}, {wrong}", self.story.name)));
                }
                self.next.store(u32::MAX / 2, Ordering::Relaxed);
            }
        }
    }

    /// Cuts one write in all ways; tells what is otherwise then.
    fn cut(&self, workshop: &Arc<Workshop>, write: u32) -> Result<Option<String>, SimulationError> {
        for cut in Cut::ALL {
            let found = run(workshop, &self.story, Some((write, cut)), false)?;
            if found.lives > 1 && found.end == self.whole.end {
                continue;
            }
            let lines = run(workshop, &self.story, Some((write, cut)), true)?.lines.join("\n");
            let (ended, wanted) = (found.end, &self.whole.end);
            return Ok(Some(format!(
                "{cut:?} write {write}: {} lives\nended {ended:#?}\nwithout a crash {wanted:#?}\n{lines}",
                found.lives
            )));
        }
        Ok(None)
    }

    fn column(self) -> (Column, Option<String>) {
        let (cut, wrong) = self.found.into_inner().unwrap_or_else(PoisonError::into_inner);
        let has = |effect: &&&str| self.whole.named.contains(effect);
        let missing = self.story.effects.iter().filter(|effect| !has(effect)).copied().collect();
        let wrong = wrong.map(|(_, wrong)| wrong);
        // It would be equal to what is wrong as well.
        let broken = self.whole.end.violations;
        let wrong = wrong.or((!broken.is_empty()).then(|| format!("{}: {broken:?}", self.story.name)));
        (Column { story: self.story.name, cut, missing }, wrong)
    }
}

/// Plays the matrix. `progress` is called after each story with its name.
pub fn matrix(cuts: Cuts, progress: impl Fn(&str)) -> Result<Matrix, SimulationError> {
    let workshops = (0..cuts.threads.max(1)).map(|_| Workshop::new(ENVIRONMENT));
    let workshops = workshops.collect::<Result<Vec<_>, _>>()?;
    let mut matrix = Matrix::default();
    for story in stories() {
        let Some(workshop) = workshops.first() else { break };
        // On threads of their own: the caller may be within a runtime.
        let begun =
            std::thread::scope(|scope| scope.spawn(|| Cutting::begin(workshop, story, cuts.first)).join());
        let cutting = begun.unwrap_or_else(|panic| resume_unwind(panic))?;
        let worked = std::thread::scope(|scope| {
            let cutting = &cutting;
            let work = |workshop| scope.spawn(move || cutting.work(workshop, cuts.stride));
            let hands: Vec<_> = workshops.iter().map(work).collect();
            hands.into_iter().map(std::thread::ScopedJoinHandle::join).collect::<Vec<_>>()
        });
        for ended in worked {
            ended.unwrap_or_else(|panic| resume_unwind(panic))?;
        }
        let (column, wrong) = cutting.column();
        progress(column.story);
        matrix.stories.push(column);
        matrix.wrong.extend(wrong);
    }
    Ok(matrix)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As many as an unoptimised build plays in some seconds; `idp simulate --matrix` plays all.
    #[test]
    fn a_daemon_cut_at_a_sample_of_its_writes_ends_as_if_it_never_was() {
        let found = matrix(Cuts { first: 3, stride: 14, threads: 2 }, |_| {}).unwrap();
        assert!(found.wrong.is_empty(), "{}", found.wrong.join("\n"));
        assert!(found.holds(), "{found:?}");
        assert!(found.runs() >= 15, "{found:?}");
    }
}
