//! What a person would tell of a release, on the toy cluster.

use jiff::Timestamp;

use super::world::{Behaviour, World, digest};
use crate::model::change::{Change, Changes, CommitId};
use crate::model::command::{Command, Verb};
use crate::model::policy::{OnLowTraffic, Strategy};
use crate::model::rollout::{Hold, Outcome};
use crate::model::verdict::Gate;

fn stable_world(strategy: Strategy) -> World {
    let mut world = World::new();
    world.merge("v1", strategy, Behaviour::Healthy);
    world.settle(200);
    assert_eq!(world.stable_tag().as_deref(), Some("v1"), "{:?}", world.record.as_ref().unwrap().message);
    world
}

fn outcome(world: &World, number: u64) -> Outcome {
    world.record.as_ref().unwrap().history[&number].outcome
}

#[test]
fn a_first_deploy_takes_no_canary() {
    let world = stable_world(Strategy::Canary);
    let started =
        ["ChangeSeen", "RolloutQueued", "RolloutStarted", "StepPassed", "Promoted", "RolloutFinished"];
    assert_eq!(world.kinds(), started);
    assert!(!world.has_object("web-canary"));
}

#[test]
fn a_good_canary_is_promoted_step_by_step() {
    let mut world = stable_world(Strategy::Canary);
    let begun = world.transitions.len();
    world.merge("v2", Strategy::Canary, Behaviour::Healthy);
    world.settle(400);
    assert_eq!(world.stable_tag().as_deref(), Some("v2"));
    let steps = [
        "ChangeSeen",
        "RolloutQueued",
        "RolloutStarted",
        "StepPassed",
        "StepPassed",
        "StepPassed",
        "Promoted",
        "RolloutFinished",
    ];
    assert_eq!(world.kinds()[begun..], steps);
    assert!(!world.has_object("web-canary") && !world.has_object("nothing"));
    let sentence = &world.transitions[begun + 3].sentence;
    assert!(
        sentence.starts_with("step 1 of 3 passed (asked 10 %, got 25 %: 1 of 4 pods): error_rate pass"),
        "{sentence}"
    );
}

#[test]
fn the_commits_that_a_release_brings_are_kept_with_it() {
    let mut world = stable_world(Strategy::Rolling);
    let before = world.record.as_ref().unwrap().stable.as_ref().unwrap().version.revision.commit.clone();
    world.merge("v2", Strategy::Rolling, Behaviour::Healthy);
    let newest = world.desired_mut().revision.commit.clone();
    let change = |commit: &CommitId| Change {
        commit: commit.clone(),
        author: "Ada".into(),
        committer: None,
        committed_at: Timestamp::UNIX_EPOCH,
        merged_at: None,
        pull_request: None,
    };
    let other = "ab".repeat(20).parse().unwrap();
    let commits = [&newest, &other, &before, &other].map(change);
    world.desired_mut().changes = Changes { commits: commits.to_vec(), partial: true };
    let brought = Changes { commits: commits[..2].to_vec(), partial: false };
    let begun = |world: &World| world.record.as_ref().unwrap().rollout.clone();
    assert!(world.until(60, |world| begun(world).is_some_and(|rollout| rollout.changes == brought)));
    world.settle(400);
    let stable = world.record.as_ref().unwrap().stable.clone().unwrap();
    assert_eq!((stable.version.revision.commit, stable.changes), (newest, brought));
}

#[test]
fn a_pause_is_credited_although_no_sample_wakes_a_pass() {
    let mut world = stable_world(Strategy::Canary);
    world.quiet = true;
    world.merge("v2", Strategy::Canary, Behaviour::Healthy);
    for step in &mut world.desired_mut().policy.steps {
        step.pause = std::time::Duration::from_mins(5);
    }
    world.settle(1200);
    assert_eq!(world.stable_tag().as_deref(), Some("v2"));
}

#[test]
fn a_bad_canary_is_taken_back_and_held() {
    let mut world = stable_world(Strategy::Canary);
    world.merge("v2", Strategy::Canary, Behaviour::Errors(5));
    world.settle(300);
    assert_eq!((outcome(&world, 2), world.stable_tag().as_deref()), (Outcome::RolledBack, Some("v1")));
    let record = world.record.as_ref().unwrap();
    assert_eq!(record.held[&2].hold, Hold::Held);
    assert_eq!(record.held[&2].verdict.gate, Gate::ErrorRate);
    assert!(!world.has_object("web-canary") && !world.has_object("web-files-v2"), "its own objects are gone");
    // Polls, restarts and time do not start it again; an unrelated commit has the same identity.
    world.restart();
    let before = world.mutations;
    world.desired_mut().revision.commit = "b".repeat(40).parse().unwrap();
    for _ in 0..300 {
        world.tick();
    }
    assert_eq!(world.record.as_ref().unwrap().rollouts, 2);
    assert!(world.mutations - before <= 1, "only the head is noted");
}

#[test]
fn a_rate_above_the_limit_passes_no_step_even_while_it_may_be_chance() {
    let mut world = stable_world(Strategy::Canary);
    world.merge("v2", Strategy::Canary, Behaviour::Errors(2));
    world.settle(300);
    let summary = &world.record.as_ref().unwrap().history[&2];
    assert_eq!((summary.outcome, summary.steps), (Outcome::RolledBack, 1), "{}", summary.verdict);
    assert_eq!(world.record.as_ref().unwrap().held[&2].hold, Hold::Held);
}

#[test]
fn without_quarantine_a_bad_version_is_tried_again_but_not_at_once_and_not_for_ever() {
    let mut world = stable_world(Strategy::Rolling);
    world.merge("v2", Strategy::Rolling, Behaviour::Crash);
    world.desired_mut().policy.rollback.hold = false;
    world.settle(100);
    for _ in 0..500 {
        world.tick();
    }
    assert_eq!(world.record.as_ref().unwrap().rollouts, 2);
    for _ in 0..7 {
        world.now += std::time::Duration::from_hours(7);
        world.until(100, |world| world.phase() == "Promoting");
        world.settle(100);
    }
    assert_eq!(world.record.as_ref().unwrap().rollouts, 7, "five times more");
}

#[test]
fn a_crash_loop_is_taken_back_on_pod_state() {
    let mut world = stable_world(Strategy::Canary);
    world.merge("v2", Strategy::Canary, Behaviour::Crash);
    world.settle(100);
    assert_eq!(world.record.as_ref().unwrap().held[&2].verdict.gate, Gate::PodState);
}

#[test]
fn a_crash_loop_is_taken_back_with_git_and_metrics_away() {
    let mut world = stable_world(Strategy::Canary);
    world.merge("v2", Strategy::Canary, Behaviour::Crash);
    world.tick();
    world.restart();
    world.git_away = true;
    world.provider_down = true;
    assert!(world.until(60, |world| world.record.as_ref().unwrap().history.contains_key(&2)));
    assert_eq!(outcome(&world, 2), Outcome::RolledBack);
}

#[test]
fn a_bad_rolling_deploy_gets_its_old_template_back() {
    let mut world = stable_world(Strategy::Rolling);
    world.merge("v2", Strategy::Rolling, Behaviour::Errors(5));
    world.settle(300);
    assert_eq!(outcome(&world, 2), Outcome::RolledBack);
    world.merge("v3", Strategy::Rolling, Behaviour::FailsChecks);
    world.settle(300);
    assert_eq!(outcome(&world, 3), Outcome::RolledBack);
    world.merge("v4", Strategy::Rolling, Behaviour::Healthy);
    world.settle(300);
    assert_eq!(world.stable_tag().as_deref(), Some("v4"));
}

#[test]
fn a_revert_is_no_rollout() {
    let mut world = stable_world(Strategy::Canary);
    world.merge("v2", Strategy::Canary, Behaviour::Errors(5));
    world.settle(300);
    world.merge("v1", Strategy::Canary, Behaviour::Healthy);
    world.settle(60);
    assert_eq!(world.record.as_ref().unwrap().rollouts, 2);
    assert!(!world.record.as_ref().unwrap().held[&2].released, "the identity stays on the list");
    world.merge("v2", Strategy::Canary, Behaviour::Errors(5));
    world.settle(60);
    assert_eq!(world.record.as_ref().unwrap().rollouts, 2, "A, B, A, B does not start B again");
}

#[test]
fn reverting_a_running_canary_removes_it() {
    let mut world = stable_world(Strategy::Canary);
    world.merge("v2", Strategy::Canary, Behaviour::Healthy);
    assert!(world.until(60, |world| world.phase() == "Progressing"));
    world.merge("v1", Strategy::Canary, Behaviour::Healthy);
    world.settle(100);
    assert_eq!(outcome(&world, 2), Outcome::Superseded);
    assert!(!world.has_object("web-canary"));
}

#[test]
fn a_newer_version_supersedes_at_most_twice_in_a_row() {
    for strategy in [Strategy::Canary, Strategy::Rolling] {
        let mut world = stable_world(strategy);
        for tag in ["v2", "v3", "v4", "v5"] {
            world.merge(tag, strategy, Behaviour::Healthy);
            for _ in 0..12 {
                world.tick();
            }
        }
        world.settle(600);
        let outcomes: Vec<_> =
            (2..=5).map(|n| world.record.as_ref().unwrap().history.get(&n).map(|s| s.outcome)).collect();
        assert_eq!(
            outcomes[..3],
            [Some(Outcome::Superseded), Some(Outcome::Superseded), Some(Outcome::Promoted)],
            "{strategy:?}"
        );
        assert_eq!(world.stable_tag().as_deref(), Some("v5"));
    }
}

#[test]
fn a_superseded_rolling_deploy_is_not_put_back_in_between() {
    let mut world = stable_world(Strategy::Rolling);
    world.merge("v2", Strategy::Rolling, Behaviour::Crash);
    assert!(world.until(60, |world| world.phase() == "Promoting"));
    world.merge("v3", Strategy::Rolling, Behaviour::Healthy);
    let first = digest("v1");
    assert!(world.until(100, |world| world.stable_tag().as_deref() == Some("v3")));
    assert_eq!(outcome(&world, 2), Outcome::Superseded);
    let _ = first;
}

#[test]
fn an_image_that_never_comes_is_parked_and_tried_again_when_it_does() {
    let mut world = stable_world(Strategy::Canary);
    world.merge("v2", Strategy::Canary, Behaviour::Healthy);
    let image = world.images.remove(&world.head.desired().unwrap().identity).unwrap();
    assert!(world.until(100, |world| world.record.as_ref().unwrap().history.contains_key(&2)));
    assert_eq!(outcome(&world, 2), Outcome::Failed);
    assert_eq!(world.record.as_ref().unwrap().held[&2].hold, Hold::Parked);
    assert!(!world.has_object("web-canary"));
    world.images.insert(world.head.desired().unwrap().identity.clone(), image);
    for _ in 0..300 {
        world.tick();
    }
    assert_eq!(world.record.as_ref().unwrap().rollouts, 2, "not before its back-off");
    assert!(world.until(900, |world| world.stable_tag().as_deref() == Some("v2")));
}

#[test]
fn pods_that_never_start_prove_nothing() {
    let mut world = stable_world(Strategy::Canary);
    world.merge("v2", Strategy::Canary, Behaviour::NeverStarts);
    world.settle(400);
    let record = world.record.as_ref().unwrap();
    assert_eq!(record.held[&2].hold, Hold::Parked);
    assert!(record.held[&2].verdict.reason.contains("no room"), "{}", record.held[&2].verdict);
}

#[test]
fn a_provider_that_is_away_holds_the_weight_and_then_parks() {
    let mut world = stable_world(Strategy::Canary);
    world.provider_down = true;
    world.merge("v2", Strategy::Canary, Behaviour::Healthy);
    for _ in 0..250 {
        world.tick();
    }
    assert_eq!((world.phase().as_str(), world.record.as_ref().unwrap().weight), ("Progressing", 10));
    world.settle(400);
    assert_eq!(world.record.as_ref().unwrap().held[&2].hold, Hold::Parked);
}

#[test]
fn low_traffic_can_pass_hold_or_roll_back() {
    for (on, wanted) in [
        (OnLowTraffic::Pass, Outcome::Promoted),
        (OnLowTraffic::Hold, Outcome::RolledBack),
        (OnLowTraffic::Rollback, Outcome::RolledBack),
    ] {
        let mut world = stable_world(Strategy::Canary);
        world.merge("v2", Strategy::Canary, Behaviour::Healthy);
        let rollback = &mut world.desired_mut().policy.rollback;
        (rollback.on_low_traffic, rollback.min_requests) = (on, 1_000_000);
        world.settle(900);
        assert_eq!(outcome(&world, 2), wanted, "{on:?}");
    }
}

#[test]
fn a_person_may_abort_and_retry_exactly_once() {
    let mut world = stable_world(Strategy::Canary);
    world.merge("v2", Strategy::Canary, Behaviour::Healthy);
    assert!(world.until(60, |world| world.phase() == "Progressing"));
    let command = |verb, at: Timestamp| Command::new(verb, "ada", "smells", at);
    let now = world.now;
    world.commands.insert("c1".into(), command(Verb::Abort, now));
    world.commands.insert("c2".into(), command(Verb::Retry, now));
    world.settle(100);
    assert_eq!(outcome(&world, 2), Outcome::Aborted);
    let answers = &world.record.as_ref().unwrap().commands;
    assert!(answers["c1"].accepted && !answers["c2"].accepted, "{answers:?}");
    world.commands.insert("c3".into(), command(Verb::Retry, now));
    assert!(world.until(400, |world| world.stable_tag().as_deref() == Some("v2")));
    assert_eq!(world.record.as_ref().unwrap().rollouts, 3);
}

#[test]
fn a_frozen_rollout_waits_for_a_person() {
    let mut world = stable_world(Strategy::Canary);
    world.merge("v2", Strategy::Canary, Behaviour::Errors(20));
    world.desired_mut().policy.rollback.auto = false;
    for _ in 0..200 {
        world.tick();
    }
    assert_eq!((world.phase().as_str(), world.record.as_ref().unwrap().weight), ("Progressing", 10));
    world.merge("v3", Strategy::Canary, Behaviour::Healthy);
    assert!(world.until(400, |world| world.stable_tag().as_deref() == Some("v3")));
    assert_eq!(outcome(&world, 2), Outcome::Superseded);
}

#[test]
fn the_head_may_scale_at_any_time_and_kubectl_may_not() {
    let mut world = stable_world(Strategy::Canary);
    world.desired_mut().replicas = 5;
    world.settle(60);
    assert_eq!(world.record.as_ref().unwrap().rollouts, 1, "scaling is no rollout");
    world.edit("web", |body| body["spec"]["replicas"] = 9.into());
    world.settle(60);
    assert_eq!(world.kinds().iter().filter(|kind| **kind == "DriftCorrected").count(), 1);
    world.edit("web", |body| {
        body["spec"]["template"]["spec"]["containers"][0]["env"][0]["value"] = "foreign".into();
    });
    world.settle(60);
    assert_eq!(world.kinds().iter().filter(|kind| **kind == "DriftCorrected").count(), 2);
}

#[test]
fn at_rest_nothing_is_written() {
    let mut world = stable_world(Strategy::Canary);
    world.merge("v2", Strategy::Canary, Behaviour::Errors(5));
    world.settle(300);
    let before = world.mutations;
    for _ in 0..600 {
        world.tick();
    }
    assert_eq!(world.mutations, before);
}

#[test]
fn a_first_deploy_that_fails_stays_visible_and_can_be_mended() {
    let mut world = World::new();
    world.merge("v1", Strategy::Canary, Behaviour::Crash);
    assert!(world.until(60, |world| world.phase() == "Failed"));
    assert_eq!(outcome(&world, 1), Outcome::Failed);
    assert!(world.has_object("web"));
    world.merge("v2", Strategy::Canary, Behaviour::Healthy);
    world.settle(200);
    assert_eq!(world.stable_tag().as_deref(), Some("v2"));
}

#[test]
fn a_stable_without_pods_is_rolled_forward() {
    let mut world = stable_world(Strategy::Canary);
    world.behaviours.insert(digest("v1"), Behaviour::Crash);
    world.kill_pods("stable");
    for _ in 0..150 {
        world.tick();
        world.kill_pods("stable");
    }
    world.merge("v2", Strategy::Canary, Behaviour::Healthy);
    assert!(world.until(200, |world| world.stable_tag().as_deref() == Some("v2")));
    assert!(world.weights.iter().all(|(_, canary)| *canary == 0), "no canary beside a broken stable");
}

#[test]
fn a_direct_change_is_what_a_rollback_restores() {
    let mut world = stable_world(Strategy::Rolling);
    let service = |desired: &mut crate::model::desired::Desired| {
        let manifest = desired.objects.iter_mut().find(|m| m.key.kind == "Service").unwrap();
        manifest.body["spec"]["sessionAffinity"] = "ClientIP".into();
        manifest.hash = crate::render::content_hash(&manifest.body);
    };
    service(world.desired_mut());
    world.settle(60);
    assert_eq!(world.kinds().last(), Some(&"Applied"));
    world.merge("v2", Strategy::Rolling, Behaviour::Errors(10));
    world.settle(300);
    let body = world.fingerprint()["objects"]["v1:Service:shop:web"].clone();
    assert_eq!(body["spec"]["sessionAffinity"], "ClientIP", "{body}");
}
