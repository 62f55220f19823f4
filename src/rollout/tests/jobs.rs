//! Gates that are Jobs, on the toy cluster.

use std::time::Duration;

use super::world::{Behaviour, Cut, JobEnd, World};
use crate::model::gate::{Asks, DeclaredGate, JobGate, When};
use crate::model::policy::Strategy;
use crate::model::record::Record;
use crate::model::rollout::{Hold, Outcome, Phase};
use crate::model::verdict::Answer;

fn gate(when: When) -> DeclaredGate {
    let command = vec!["/check".into(), "{{version}}".into()];
    DeclaredGate {
        name: "check".into(),
        asks: Asks::Run { job: JobGate { command, image: None, retries: 0 } },
        when,
        interval: Duration::from_mins(1),
        failure_limit: 1,
        initial_delay: Duration::ZERO,
        timeout: Duration::from_mins(1),
        dry_run: false,
    }
}

/// A world where v1 is stable and v2, with this gate, is merged.
fn merged(gate: DeclaredGate, end: JobEnd) -> World {
    let mut world = World::new();
    world.merge("v1", Strategy::Canary, Behaviour::Healthy);
    world.settle(200);
    world.merge("v2", Strategy::Canary, Behaviour::Healthy);
    world.desired_mut().policy.gates = vec![gate];
    world.ends.insert("check".into(), end);
    world
}

fn record(world: &World) -> &Record {
    world.record.as_ref().unwrap()
}

fn jobs_made(world: &World) -> u32 {
    world.creates.iter().filter(|(key, _)| key.contains(":Job:")).map(|(_, count)| *count).sum()
}

fn ended(world: &mut World, seconds: u32) -> Outcome {
    assert!(
        world.until(seconds, |world| record(world).history.contains_key(&2)),
        "{}",
        record(world).message
    );
    record(world).history[&2].outcome
}

#[test]
fn a_job_that_comes_before_runs_once_and_is_taken_away() {
    let mut world = merged(gate(When::Before), JobEnd::Code(0));
    assert!(world.until(30, |world| jobs_made(world) == 1));
    assert!(!world.has_object("web-canary"));
    let body = world.job_bodies().remove(0);
    let container = &body["spec"]["template"]["spec"]["containers"][0];
    assert_eq!(container["command"], serde_json::json!(["/check", "v2"]));
    assert!(container["image"].as_str().unwrap().contains("@sha256:"), "the pinned one: {container}");
    assert_eq!(ended(&mut world, 400), Outcome::Promoted);
    world.settle(20);
    assert_eq!((jobs_made(&world), world.job_names()), (1, Vec::new()));
    assert!(record(&world).inventory.keys().all(|key| key.kind != "Job"));
}

#[test]
fn a_job_that_fails_ends_the_rollout_and_is_left_until_the_next_one() {
    let mut world = merged(gate(When::Before), JobEnd::Code(3));
    assert_eq!(ended(&mut world, 60), Outcome::Failed);
    world.settle(30);
    let held = &record(&world).held[&2];
    assert_eq!(held.hold, Hold::Held);
    let sentence = held.verdict.to_string();
    assert!(sentence.starts_with("gate check fail: its Job failed: pod pod-"), "{sentence}");
    assert!(sentence.ends_with("ended with code 3 (Error): the last words"), "{sentence}");
    assert!(!world.creates.keys().any(|key| key.ends_with("web-canary")));
    assert_eq!((jobs_made(&world), world.job_names().len()), (1, 1));
    world.ends.clear();
    world.merge("v3", Strategy::Canary, Behaviour::Healthy);
    world.settle(300);
    assert_eq!((world.stable_tag().as_deref(), world.job_names()), (Some("v3"), Vec::new()));
}

#[test]
fn a_job_that_cannot_start_says_nothing_of_the_version() {
    let mut world = merged(gate(When::Before), JobEnd::NeverStarts);
    assert!(world.until(30, |world| record(world).message.contains("its Job cannot start")));
    assert_eq!(ended(&mut world, 1_000), Outcome::Failed);
    let held = &record(&world).held[&2];
    assert_eq!((held.hold, held.verdict.answer), (Hold::Parked, Answer::Unknown), "{}", held.verdict);
    assert_eq!(jobs_made(&world), 1);
}

#[test]
fn a_job_that_does_not_end_fails_at_its_deadline() {
    let mut world = merged(gate(When::Before), JobEnd::Hangs);
    assert_eq!(ended(&mut world, 90), Outcome::Failed);
    let held = &record(&world).held[&2];
    assert_eq!(held.verdict.to_string(), "gate check fail: its Job did not end within 1m");
}

#[test]
fn a_job_that_somebody_deletes_runs_once_more() {
    let mut world = merged(gate(When::Before), JobEnd::Hangs);
    let started = |world: &World| {
        let rollout = record(world).rollout.as_ref();
        rollout.is_some_and(|rollout| rollout.stage.jobs.values().any(|run| run.started))
    };
    assert!(world.until(30, started));
    let first = world.job_names();
    world.delete_jobs();
    assert!(world.until(30, |world| jobs_made(world) == 2));
    assert_ne!(world.job_names(), first);
    assert!(world.until(30, started));
    world.delete_jobs();
    assert!(world.until(30, |world| record(world).message.contains("deleted by somebody, twice")));
    (0..30).for_each(|_| world.tick());
    assert_eq!(jobs_made(&world), 2, "not a third time");
}

#[test]
fn a_step_waits_for_its_job_and_each_step_has_its_own() {
    let mut world = merged(gate(When::During), JobEnd::Hangs);
    let observing = |world: &World| {
        let rollout = record(world).rollout.as_ref();
        rollout.is_some_and(|rollout| rollout.phase == Phase::Progressing && rollout.stage.ready_at.is_some())
    };
    assert!(world.until(60, observing));
    (0..30).for_each(|_| world.tick());
    let rollout = record(&world).rollout.clone().unwrap();
    assert_eq!((rollout.step, jobs_made(&world)), (0, 1));
    world.ends.clear();
    let next = |world: &World| record(world).rollout.as_ref().is_some_and(|rollout| rollout.step == 1);
    assert!(world.until(4, next), "the pause of 8 s counted meanwhile");
    assert_eq!(ended(&mut world, 200), Outcome::Promoted);
    assert_eq!(jobs_made(&world), 3, "10 %, 50 % and the bake");
}

#[test]
fn a_job_that_fails_in_a_step_takes_the_candidate_back() {
    let mut world = merged(gate(When::During), JobEnd::Code(1));
    assert_eq!(ended(&mut world, 200), Outcome::RolledBack);
    assert_eq!(world.stable_tag().as_deref(), Some("v1"));
    let mut world = merged(gate(When::After), JobEnd::Code(1));
    assert_eq!(ended(&mut world, 400), Outcome::RolledBack);
}

#[test]
fn a_dry_run_of_a_job_is_told_and_not_waited_for() {
    for (end, answer) in [(JobEnd::Code(1), Some(Answer::Fail)), (JobEnd::Hangs, None)] {
        let mut world = merged(DeclaredGate { dry_run: true, ..gate(When::During) }, end);
        let told = |world: &World| {
            let verdicts = record(world).rollout.as_ref().map(|rollout| rollout.stage.verdicts.clone());
            verdicts.and_then(|verdicts| verdicts.get("gate/check").map(|verdict| verdict.answer))
        };
        if answer.is_some() {
            assert!(world.until(60, |world| told(world) == answer));
        }
        assert_eq!(ended(&mut world, 400), Outcome::Promoted);
    }
}

#[test]
fn wherever_the_daemon_dies_one_job_runs() {
    for end in [JobEnd::Code(0), JobEnd::Code(3)] {
        let mut whole = merged(gate(When::Before), end);
        whole.settle(400);
        let first = merged(gate(When::Before), end).mutations;
        for at in first + 1..=first + 14 {
            for cut in [Cut::Before, Cut::ReplyLost, Cut::After] {
                let mut world = merged(gate(When::Before), end);
                world.label = format!("{end:?} {at} {cut:?}");
                world.cut = Some((at, cut));
                world.settle(400);
                assert_eq!(jobs_made(&world), 1, "{}", world.label);
                assert_eq!(world.job_names(), whole.job_names(), "{}", world.label);
                assert_eq!(world.stable_tag(), whole.stable_tag(), "{}", world.label);
            }
        }
    }
}
