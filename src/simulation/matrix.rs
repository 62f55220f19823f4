//! The crash matrix: a daemon that dies at each write of the success path and of the way back, before it, with its reply lost and after
//! it. The end, and how often each object was made and deleted, are those of the run without a crash.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::bed::Bed;
use super::gateway::Way;
use super::heads::{ENVIRONMENT, Shape, Workshop};
use super::orders::Cut;
use super::plan::{Action, Plan};
use super::trace::Trace;
use crate::sandbox::json as read;

/// What must not depend on a crash.
#[derive(Debug, PartialEq, Eq)]
struct End {
    /// By kind and name: made, deleted.
    counts: BTreeMap<String, (u32, u32)>,
    /// Deployments with image and size, and every other object's name.
    objects: Vec<String>,
    outcomes: Vec<String>,
    finished: usize,
}

struct Run {
    end: End,
    lives: u64,
    lines: Vec<String>,
}

fn commit(tag: &str) -> Action {
    Action::Commit { tag: tag.to_owned(), late: 0 }
}

fn run(workshop: &Arc<Workshop>, plan: &Plan) -> Run {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    runtime.unwrap().block_on(async {
        let mut bed = Bed::new(workshop, plan, Trace::new(true)).unwrap();
        bed.run(bed.begun + Duration::from_mins(12)).await.unwrap();
        assert_eq!(bed.checker.violations, [], "{plan:?}");
        let finished = "dev.cdevents.pipelinerun.finished";
        let told = bed.broker.topic.values().flat_map(|lane| lane.values().flatten());
        Run {
            lives: bed.lives,
            end: End {
                counts: bed.checker.counts.clone(),
                objects: objects(&bed),
                outcomes: bed.checker.facts.outcomes().map(str::to_owned).collect(),
                finished: told.filter(|told| told.kind.starts_with(finished)).count(),
            },
            lines: bed.trace.lines,
        }
    })
}

fn objects(bed: &Bed) -> Vec<String> {
    let ours = bed.objects().into_iter().filter(|object| {
        ["Deployment", "Service", "ConfigMap", "Secret", "Release"].contains(&read::text(object, &["kind"]))
    });
    ours.map(|object| {
        let spec = read::at(&object, &["spec", "template", "spec", "containers"]);
        let image = spec.map_or(String::new(), |containers| containers[0]["image"].to_string());
        let size = read::at(&object, &["spec", "replicas"]).map_or(String::new(), ToString::to_string);
        let mark = read::text(&object, &["metadata", "labels", "idp.dev/mark"]);
        let name = read::text(&object, &["metadata", "name"]);
        format!("{} {name} {image} {size} {mark}", read::text(&object, &["kind"]))
    })
    .collect()
}

/// What is rolled out while daemons die.
struct Story {
    name: &'static str,
    plan: Plan,
    /// Writes are counted from then on, in seconds.
    from: u32,
    /// The named effects that it has, in order.
    effects: &'static [&'static str],
}

const FIRST: &[&str] = &["E1", "E2", "E6", "E7", "E11", "E12"];
const BY_PODS: &[&str] = &["E1", "E2", "E4", "E5", "E6", "E7", "E9", "E10", "E11", "E12"];
const BY_ROUTE: &[&str] = &["E1", "E2", "E3", "E4", "E5", "E6", "E7", "E8", "E9", "E10", "E11", "E12"];
const BACK_BY_PODS: &[&str] = &["E1", "E2", "E5", "A1", "A3", "A5", "A6", "A7", "E12"];
const BACK_BY_ROUTE: &[&str] =
    &["E1", "E2", "E3", "E4", "E5", "A1", "A2", "A3", "A4", "A5", "A6", "A7", "E12"];

fn stories() -> [Story; 5] {
    let pods = Shape { steps: vec![(50, 6), (100, 6)], ..Shape::canary() };
    let route = Shape { route: Some(Way::HttpRoute), ..pods.clone() };
    let second = |shape: &Shape, tag: &str| Plan::quiet(11, shape.clone(), 3).then(120, commit(tag));
    let story = |name, plan, from, effects| Story { name, plan, from, effects };
    [
        story("first deploy", Plan::quiet(11, pods.clone(), 3), 0, FIRST),
        story("success, by pods", second(&pods, "v1.good"), 119, BY_PODS),
        story("success, by HTTPRoute", second(&route, "v1.good"), 119, BY_ROUTE),
        story("way back, by pods", second(&pods, "v1.crash"), 119, BACK_BY_PODS),
        story("way back, by HTTPRoute", second(&route, "v1.errors-60"), 119, BACK_BY_ROUTE),
    ]
}

/// Where a story stands while its writes are named.
#[derive(Default)]
struct Standing {
    phase: String,
    back: bool,
    split: bool,
}

impl Standing {
    /// The named effect that a daemon's write belongs to.
    fn name(&mut self, verb: &str, object: &str, line: &str) -> &'static str {
        let (kind, name) = object.split_once('/').unwrap_or((object, ""));
        let before = self.phase.clone();
        if object == "Release/web/status" {
            self.phase = line.split_whitespace().nth(5).unwrap_or_default().trim_end_matches(':').to_owned();
            let begins = self.phase == "Preparing";
            self.back = !begins && (self.back || self.phase == "RollingBack");
            self.split &= !begins;
        }
        let (back, phase) = (self.back, self.phase.as_str());
        match (kind, phase) {
            ("Namespace", _) | ("Release", "Preparing" | "") => "E1",
            ("Release", "Progressing") if line.contains("observing") => "E4",
            ("Release", "Progressing") => "E5",
            ("Release", "Promoting" | "Baking") => "E7",
            ("Release", "RollingBack") if before != "RollingBack" => "A1",
            ("Release", "RollingBack") => "A4",
            ("Release", _) if before.is_empty() => "E1",
            ("Release", _) if before == "Stable" => "E12",
            ("Release", _) if back => "A7",
            ("Release", _) => "E11",
            ("HTTPRoute", "Progressing") if !std::mem::replace(&mut self.split, true) => "E3",
            ("HTTPRoute", "Progressing") => "E5",
            ("HTTPRoute", "RollingBack") => "A2",
            ("HTTPRoute", _) => "E8",
            _ if verb == "deleted" && back => "A6",
            _ if verb == "deleted" => "E10",
            ("Secret", "Preparing") => "E2",
            ("Secret", "RollingBack") => "A3",
            ("Secret", _) if back => "A7",
            ("Secret", _) => "E11",
            ("Service", "Progressing") => "E3",
            ("Deployment", "Progressing") if name != "web" && line.contains("replicas 0") => "E2",
            ("Deployment", "RollingBack") if name != "web" => "A5",
            ("Deployment", "Promoting" | "Baking" | "Stable") if name != "web" => "E9",
            (_, "Progressing") => "E5",
            (_, "RollingBack") => "A6",
            _ => "E6",
        }
    }
}

/// The writes of the first daemon from a moment on, each by the name of its effect.
fn effects(lines: &[String], from: u32) -> Vec<&'static str> {
    let mut standing = Standing::default();
    let mut named = Vec::new();
    for line in lines {
        let words: Vec<&str> = line.split_whitespace().take(4).collect();
        let [at, "idpd/1", verb @ ("wrote" | "deleted"), object] = words.as_slice() else { continue };
        let name = standing.name(verb, object, line);
        if at.parse::<f64>().unwrap() >= f64::from(from) {
            named.push(name);
        }
    }
    named
}

/// Cuts a story at every `stride`th write from `first`, before it, with its reply lost and after it. Returns by effect how many of its
/// writes were cut.
fn cut(story: &Story, first: u32, stride: u32) -> BTreeMap<&'static str, u32> {
    let workshop = Workshop::new(ENVIRONMENT).unwrap();
    let whole = run(&workshop, &story.plan);
    let named = effects(&whole.lines, story.from);
    for effect in story.effects {
        assert!(
            named.contains(effect),
            "{}: no {effect} in {named:?}\n{}",
            story.name,
            whole.lines.join("\n")
        );
    }
    let mut points = BTreeMap::new();
    for write in (first..).step_by(usize::try_from(stride).unwrap()) {
        let mut died = false;
        for cut in Cut::ALL {
            let crash = Action::Crash { write, cut, away: 300 };
            let mut plan = story.plan.clone();
            plan.actions.insert(0, (Duration::from_secs(story.from.into()), crash));
            let found = run(&workshop, &plan);
            died |= found.lives > 1;
            assert_eq!(found.end, whole.end, "{}, {cut:?} write {write}", story.name);
        }
        if !died {
            break;
        }
        let effect = named.get(usize::try_from(write).unwrap() - 1).copied().unwrap_or("beyond");
        *points.entry(effect).or_default() += 1;
    }
    assert!(!points.is_empty(), "{}: nobody died", story.name);
    points
}

#[test]
fn a_success_cut_at_a_sample_of_its_writes() {
    cut(&stories()[1], 1, 7);
}

#[test]
fn a_way_back_cut_at_a_sample_of_its_writes() {
    cut(&stories()[3], 1, 7);
}

/// `cargo test --release --lib -- --ignored the_whole_crash_matrix --nocapture`
#[test]
#[ignore = "the whole matrix takes minutes without optimisation: ask for it in release"]
fn the_whole_crash_matrix() {
    for story in stories() {
        let points = cut(&story, 1, 1);
        let missing: Vec<_> = story.effects.iter().filter(|effect| !points.contains_key(*effect)).collect();
        assert!(missing.is_empty(), "{}: {missing:?} was never cut", story.name);
        let told: Vec<String> =
            points.iter().map(|(effect, writes)| format!("{effect} × {writes}")).collect();
        println!("{}: {}, each cut in {} ways", story.name, told.join(", "), Cut::ALL.len());
    }
}
