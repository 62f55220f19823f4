//! The crash matrix: a daemon that dies at each write of the success path and of the way back, before it, with its reply lost and after
//! it. The end, and how often each object was made and deleted, are those of the run without a crash.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::bed::Bed;
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
}

fn plan(shape: &Shape, tag: &str) -> Plan {
    let commit = Action::Commit { tag: tag.to_owned(), late: 0 };
    Plan::quiet(11, shape.clone(), 3).then(120, commit)
}

fn run(workshop: &Arc<Workshop>, plan: &Plan) -> Run {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    runtime.unwrap().block_on(async {
        let mut bed = Bed::new(workshop, plan, Trace::new(false)).unwrap();
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

/// Every `stride`th write, from `first`; all of them with 1.
fn matrix(tag: &str, first: u32, stride: u32) {
    let workshop = Workshop::new(ENVIRONMENT).unwrap();
    let shape = Shape { steps: vec![(50, 6), (100, 6)], ..Shape::canary() };
    let calm = plan(&shape, tag);
    let whole = run(&workshop, &calm);
    let mut points = 0;
    for write in (first..).step_by(usize::try_from(stride).unwrap()) {
        let mut died = false;
        for cut in Cut::ALL {
            let crash = Action::Crash { write, cut, away: 300 };
            let found = run(&workshop, &calm.clone().then(119, crash));
            died |= found.lives > 1;
            assert_eq!(found.end, whole.end, "{tag}, {cut:?} write {write}");
        }
        if !died {
            break;
        }
        points += 3;
    }
    assert!(points > 0, "nobody died");
}

#[test]
fn a_success_cut_at_a_sample_of_its_writes() {
    matrix("v1.good", 1, 5);
}

#[test]
fn a_way_back_cut_at_a_sample_of_its_writes() {
    matrix("v1.crash", 1, 5);
}

/// `cargo test --release --lib -- --ignored the_whole_crash_matrix`
#[test]
#[ignore = "the whole matrix takes minutes without optimisation: ask for it in release"]
fn the_whole_crash_matrix() {
    matrix("v1.good", 1, 1);
    matrix("v1.crash", 1, 1);
}
