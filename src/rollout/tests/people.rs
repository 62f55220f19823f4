//! What people may say of a rollout, and what follows, on the toy cluster.

use std::time::Duration;

use super::world::{Behaviour, World, digest};
use crate::model::command::{Command, Verb};
use crate::model::desired::Identity;
use crate::model::name::ReleaseKey;
use crate::model::policy::{Approval, OnUnknown, Step, Strategy};
use crate::model::rollout::{Hold, Outcome};
use crate::model::standing::{Seen, Standing, Tried};

fn stable() -> World {
    let mut world = World::new();
    world.merge("v1", Strategy::Canary, Behaviour::Healthy);
    world.settle(200);
    world
}

/// A second version on its way, with these steps.
fn rolling(steps: Vec<Step>) -> World {
    let mut world = stable();
    world.merge("v2", Strategy::Canary, Behaviour::Healthy);
    world.desired_mut().policy.steps = steps;
    assert!(world.until(60, |world| world.phase() == "Progressing"));
    world
}

fn timed() -> Vec<Step> {
    [(10, 8), (50, 8), (100, 4)]
        .map(|(weight, pause)| Step::timed(weight, Duration::from_secs(pause)))
        .to_vec()
}

fn manual() -> Vec<Step> {
    let mut steps = timed();
    steps[1] = Step { manual: true, ..Step::timed(50, Duration::ZERO) };
    steps
}

fn approval(count: u32) -> Approval {
    Approval { teams: vec!["sre".parse().unwrap()], count, timeout: Duration::from_mins(30) }
}

/// Says something; returns whether it was accepted, and the answer.
fn say(world: &mut World, command: Command) -> (bool, String) {
    let id = format!("c{}", world.commands.len());
    world.commands.insert(id.clone(), command);
    world.tick();
    let answer = &world.record.as_ref().unwrap().commands[&id];
    (answer.accepted, answer.message.clone())
}

fn ask(world: &World, verb: Verb) -> Command {
    Command::new(verb, "ann", "because", world.now)
}

pub fn tell(world: &mut World, verb: Verb) -> (bool, String) {
    let command = ask(world, verb);
    say(world, command)
}

fn wait(world: &mut World, seconds: u32) {
    for _ in 0..seconds {
        world.tick();
    }
}

fn outcome(world: &World, number: u64) -> Outcome {
    world.record.as_ref().unwrap().history[&number].outcome
}

fn weight(world: &World) -> u8 {
    world.record.as_ref().unwrap().weight
}

fn message(world: &World) -> String {
    world.record.as_ref().unwrap().message.clone()
}

#[test]
fn a_manual_step_waits_for_promote_and_no_longer_than_a_day() {
    let mut world = rolling(manual());
    wait(&mut world, 3_600);
    assert_eq!((weight(&world), message(&world).as_str()), (50, "step 2 of 3: waiting for `promote`"));
    let (no, why) = tell(&mut world, Verb::Resume);
    assert!(!no && why == "rollout 2 is not paused; at step 2 of 3 it waits for `promote`", "{why}");
    let (yes, why) = tell(&mut world, Verb::Promote);
    assert!(yes && why == "rollout 2 goes on at step 2 of 3 as soon as its gates pass", "{why}");
    world.settle(300);
    assert_eq!(world.stable_tag().as_deref(), Some("v2"));

    let mut world = rolling(manual());
    assert!(world.until(120, |world| world.kinds().last() == Some(&"ApprovalRequested")));
    world.now += Duration::from_hours(24);
    world.settle(300);
    assert_eq!(outcome(&world, 2), Outcome::RolledBack);
    let held = &world.record.as_ref().unwrap().held[&2];
    assert_eq!((held.hold, held.not_before), (Hold::Parked, None), "nobody is asked again by itself");
    assert_eq!(held.verdict.reason, "`promote` did not come within 1d");
}

#[test]
fn a_manual_step_is_watched_while_it_waits() {
    let mut world = rolling(manual());
    assert!(world.until(120, |world| message(world).ends_with("waiting for `promote`")));
    world.behaviours.insert(digest("v2"), Behaviour::Errors(20));
    assert!(world.until(600, |world| world.record.as_ref().unwrap().rollout.is_none()));
    assert_eq!(outcome(&world, 2), Outcome::RolledBack);
}

#[test]
fn promote_skips_the_rest_of_one_pause_and_no_gate() {
    let mut steps = timed();
    steps[0].pause = Duration::from_hours(2);
    let mut world = rolling(steps.clone());
    wait(&mut world, 30);
    assert!(tell(&mut world, Verb::Promote).0);
    wait(&mut world, 3);
    assert_eq!(weight(&world), 50);
    assert!(world.record.as_ref().unwrap().rollout.as_ref().unwrap().people.promoted.is_none());

    let mut world = rolling(steps);
    wait(&mut world, 30);
    world.provider_down = true;
    wait(&mut world, 60);
    assert!(tell(&mut world, Verb::Promote).0);
    wait(&mut world, 120);
    assert_eq!(weight(&world), 10, "a gate that cannot tell still holds it");
    let full = Command { full: true, ..ask(&world, Verb::Promote) };
    assert!(say(&mut world, full).0);
    assert!(world.until(300, |world| world.stable_tag().as_deref() == Some("v2")), "{}", message(&world));
}

#[test]
fn promoted_fully_a_bad_version_is_still_taken_back() {
    let mut steps = timed();
    steps[0].pause = Duration::from_hours(2);
    let mut world = stable();
    world.merge("v2", Strategy::Canary, Behaviour::Crash);
    world.desired_mut().policy.steps = steps;
    assert!(world.until(60, |world| world.phase() == "Progressing"));
    let full = Command { full: true, ..ask(&world, Verb::Promote) };
    assert!(say(&mut world, full).0);
    world.settle(300);
    assert_eq!((outcome(&world, 2), world.stable_tag().as_deref()), (Outcome::RolledBack, Some("v1")));
}

#[test]
fn a_pause_holds_it_and_a_failing_gate_does_not_wait() {
    let mut world = rolling(timed());
    assert!(tell(&mut world, Verb::Pause).0);
    let (again, why) = tell(&mut world, Verb::Pause);
    assert!(!again && why == "rollout 2 is paused by ann already", "{why}");
    wait(&mut world, 3_600);
    assert_eq!(
        (weight(&world), message(&world).as_str()),
        (10, "paused by ann: it stays as it is until `resume`")
    );
    assert!(tell(&mut world, Verb::Resume).0);
    world.settle(300);
    assert_eq!(world.stable_tag().as_deref(), Some("v2"));

    let mut world = rolling(timed());
    assert!(tell(&mut world, Verb::Pause).0);
    world.behaviours.insert(digest("v2"), Behaviour::Errors(20));
    world.settle(600);
    assert_eq!(outcome(&world, 2), Outcome::RolledBack);

    let mut world = rolling(timed());
    assert!(tell(&mut world, Verb::Pause).0);
    world.now += Duration::from_hours(25);
    world.settle(300);
    assert_eq!(outcome(&world, 2), Outcome::RolledBack, "nothing stays in a phase for ever");
}

#[test]
fn a_pause_costs_no_deadline() {
    let mut world = stable();
    world.merge("v2", Strategy::Canary, Behaviour::Healthy);
    world.desired_mut().policy.rollback.unknown_timeout = Duration::from_secs(30);
    assert!(world.until(60, |world| world.phase() == "Progressing"));
    assert!(tell(&mut world, Verb::Pause).0);
    wait(&mut world, 7_200);
    assert!(tell(&mut world, Verb::Resume).0);
    world.settle(300);
    assert_eq!(world.stable_tag().as_deref(), Some("v2"));
}

#[test]
fn a_command_that_was_meant_for_another_rollout_is_refused() {
    let mut world = rolling(manual());
    let old = Command { rollout: Some(1), ..ask(&world, Verb::Promote) };
    let (yes, why) = say(&mut world, old);
    assert!(!yes && why == "it was meant for rollout 1, and rollout 2 runs now", "{why}");
    let right = Command { rollout: Some(2), ..ask(&world, Verb::Abort) };
    assert!(say(&mut world, right).0);
    world.settle(100);
    let late = Command { rollout: Some(2), ..ask(&world, Verb::Abort) };
    assert_eq!(say(&mut world, late), (false, "it was meant for rollout 2, and none runs now".to_owned()));
}

#[test]
fn what_was_answered_is_never_done_again() {
    let mut world = rolling(manual());
    for _ in 0..40 {
        tell(&mut world, Verb::Resume);
    }
    let answers = world.record.as_ref().unwrap().commands.clone();
    assert_eq!(answers.len(), 40, "as long as they are asked their answers stay");
    wait(&mut world, 10);
    assert_eq!(world.record.as_ref().unwrap().commands, answers);
    world.commands.clear();
    world.commands.insert("last".into(), ask(&world, Verb::Promote));
    world.tick();
    assert_eq!(world.record.as_ref().unwrap().commands.len(), 20);
}

#[test]
fn a_step_waits_for_as_many_people_as_it_asks() {
    let mut steps = timed();
    steps[0].approve = Some(approval(2));
    let mut world = rolling(steps);
    assert!(world.until(60, |world| message(world) == "step 1 of 3: waiting for 2 of 2 approvals by sre"));
    assert_eq!(world.kinds().last(), Some(&"ApprovalRequested"));
    let by = |who: &str, rollout: Option<u64>, world: &World| Command {
        rollout,
        ..Command::new(Verb::Approve, who, "", world.now)
    };
    let blind = by("ann", None, &world);
    assert!(!say(&mut world, blind).0, "an approval is bound to what was looked at");
    for (who, accepted) in [("ann", true), ("ann", false), ("bob", true)] {
        let command = by(who, Some(2), &world);
        let (yes, why) = say(&mut world, command);
        assert_eq!(yes, accepted, "{who}: {why}");
        if who == "ann" {
            let (promoted, why) = tell(&mut world, Verb::Promote);
            assert!(!promoted && why.contains("waits for 1 more approvals"), "{why}");
        }
    }
    wait(&mut world, 5);
    assert_eq!(weight(&world), 50);
    assert!(world.record.as_ref().unwrap().rollout.as_ref().unwrap().people.approvals.is_empty());
}

#[test]
fn full_promotion_steps_over_no_approval() {
    let mut steps = timed();
    steps[1].approve = Some(approval(1));
    let mut world = rolling(steps);
    let full = Command { full: true, ..ask(&world, Verb::Promote) };
    let (yes, why) = say(&mut world, full);
    assert!(!yes && why == "step 2 asks for an approval: promote it step by step", "{why}");

    let mut steps = timed();
    steps[0].approve = Some(approval(1));
    let mut world = stable();
    world.merge("v2", Strategy::Canary, Behaviour::Healthy);
    world.desired_mut().policy.steps = steps;
    world.desired_mut().policy.order.approval = Some(approval(1));
    assert!(world.until(60, |world| message(world).starts_with("waiting for 1 of 1")), "{}", message(&world));
    let full = Command { full: true, ..ask(&world, Verb::Promote) };
    let (yes, why) = say(&mut world, full);
    assert!(!yes && why == "step 1 asks for an approval: promote it step by step", "{why}");
}

#[test]
fn an_environment_may_ask_for_approval_before_anything_changes() {
    let mut world = stable();
    world.merge("v2", Strategy::Canary, Behaviour::Healthy);
    world.desired_mut().policy.order.approval = Some(approval(1));
    assert!(world.until(60, |world| message(world) == "waiting for 1 of 1 approval by sre"));
    let before = world.mutations;
    wait(&mut world, 1_000);
    assert_eq!((world.mutations, world.has_object("web-canary")), (before, false));
    let command = Command { rollout: Some(2), ..ask(&world, Verb::Approve) };
    assert!(say(&mut world, command).0);
    world.settle(300);
    assert_eq!(world.stable_tag().as_deref(), Some("v2"));

    let mut world = stable();
    world.merge("v2", Strategy::Canary, Behaviour::Healthy);
    world.desired_mut().policy.order.approval = Some(approval(1));
    wait(&mut world, 2_000);
    assert_eq!(outcome(&world, 2), Outcome::Failed);
    let held = &world.record.as_ref().unwrap().held[&2];
    assert_eq!((held.hold, held.not_before), (Hold::Parked, None));
}

#[test]
fn a_newer_version_need_not_wait_for_a_person() {
    let mut world = rolling(manual());
    for version in ["v3", "v4", "v5", "v6"] {
        wait(&mut world, 60);
        world.merge(version, Strategy::Canary, Behaviour::Healthy);
        world.desired_mut().policy.steps = manual();
    }
    assert!(world.until(300, |world| message(world).ends_with("waiting for `promote`")));
    let rollout = world.record.as_ref().unwrap().rollout.clone().unwrap();
    assert_eq!(rollout.candidate.version().unwrap().image.tag.as_deref(), Some("v6"));
}

#[test]
fn undo_goes_back_to_what_was_stable_and_git_does_not_bring_it_back() {
    let mut world = stable();
    world.merge("v2", Strategy::Canary, Behaviour::Healthy);
    world.settle(400);
    assert_eq!(world.stable_tag().as_deref(), Some("v2"));
    world.git_away = true;
    world.provider_down = true;
    let (yes, why) = tell(&mut world, Verb::Undo);
    assert!(yes && why.starts_with("rollout 3 goes back to version "), "{why}");
    assert!(why.ends_with(" of rollout 1"), "{why}");
    world.provider_down = false;
    assert!(world.until(400, |world| world.stable_tag().as_deref() == Some("v1")), "{}", message(&world));
    world.git_away = false;
    wait(&mut world, 3_600);
    assert_eq!(world.stable_tag().as_deref(), Some("v1"));
    assert!(
        message(&world).contains("is held since rollout 2: command fail: undone by ann: because"),
        "{}",
        message(&world)
    );
    world.merge("v3", Strategy::Canary, Behaviour::Healthy);
    world.settle(400);
    assert_eq!(world.stable_tag().as_deref(), Some("v3"), "a new version is a new chance");
}

#[test]
fn undo_names_a_version_that_was_stable_or_is_refused() {
    let mut world = stable();
    assert_eq!(
        tell(&mut world, Verb::Undo),
        (false, "no earlier version is kept that was stable".to_owned())
    );
    world.merge("v2", Strategy::Rolling, Behaviour::Crash);
    world.settle(400);
    world.merge("v3", Strategy::Rolling, Behaviour::Healthy);
    world.settle(400);
    for (to, refused) in [
        (Some(2), "the version of rollout 2 was never stable"),
        (Some(3), "rollout 3 brought the version that runs"),
        (Some(9), "nothing is kept of a rollout 9"),
    ] {
        let command = Command { to, ..ask(&world, Verb::Undo) };
        assert_eq!(say(&mut world, command), (false, refused.to_owned()));
    }
    let command = Command { to: Some(1), ..ask(&world, Verb::Undo) };
    assert!(say(&mut world, command).0);
    let (again, why) = tell(&mut world, Verb::Undo);
    assert!(!again && why == "rollout 4 runs: `abort` takes it back", "{why}");
    assert!(world.until(300, |world| world.stable_tag().as_deref() == Some("v1")));
}

#[test]
fn an_undo_that_fails_leaves_what_ran() {
    let mut world = stable();
    world.merge("v2", Strategy::Canary, Behaviour::Healthy);
    world.settle(400);
    world.behaviours.insert(digest("v1"), Behaviour::Crash);
    assert!(tell(&mut world, Verb::Undo).0);
    world.settle(400);
    assert_eq!((outcome(&world, 3), world.stable_tag().as_deref()), (Outcome::RolledBack, Some("v2")));
    assert!(message(&world).ends_with("runs"), "{}", message(&world));
}

#[test]
fn going_on_without_what_cannot_be_measured_is_going_on() {
    let mut world = stable();
    world.merge("v2", Strategy::Canary, Behaviour::Healthy);
    world.desired_mut().policy.rollback.on_unknown = OnUnknown::Continue;
    world.provider_down = true;
    assert!(world.until(600, |world| world.stable_tag().as_deref() == Some("v2")), "{}", message(&world));
}

/// A second version that comes after a service, whose stable version is given.
fn ordered(users: Option<&str>) -> World {
    let mut world = stable();
    world.merge("v2", Strategy::Canary, Behaviour::Healthy);
    world.desired_mut().policy.order.services = vec!["users".parse().unwrap()];
    stands(&mut world, users);
    world
}

fn stands(world: &mut World, stable: Option<&str>) {
    let tried = |identity: &str| Tried {
        commit: "a".repeat(40),
        identity: Identity(identity.to_owned()),
        digest: None,
    };
    let users = ReleaseKey { service: "users".parse().unwrap(), ..world.release.clone() };
    let record =
        Seen { run: None, stable: stable.map(|identity| (tried(identity), world.now)), ended: Vec::new() };
    let standing = Standing { head: Some(tried("1-new")), record: Some(record), ..Standing::default() };
    world.around.releases.insert(users, standing);
}

#[test]
fn a_rollout_waits_for_the_service_that_it_comes_after() {
    let mut world = ordered(Some("1-old"));
    let waits =
        "waiting for its turn: it comes after users, whose version of commit aaaaaaaaaa is not stable";
    assert!(world.until(60, |world| message(world) == waits));
    let before = world.mutations;
    wait(&mut world, 1_000);
    assert_eq!((world.mutations, world.has_object("web-canary")), (before, false));
    stands(&mut world, Some("1-new"));
    world.settle(300);
    assert_eq!(world.stable_tag().as_deref(), Some("v2"));
}

#[test]
fn what_never_has_its_turn_is_parked_and_a_person_may_start_it() {
    let mut world = ordered(None);
    assert!(world.until(60, |world| message(world).starts_with("waiting for its turn")));
    world.now += Duration::from_hours(24);
    world.tick();
    assert_eq!(outcome(&world, 2), Outcome::Failed);
    assert!(world.record.as_ref().unwrap().held[&2].not_before.is_some(), "it may start again by itself");

    let mut world = ordered(None);
    assert!(world.until(60, |world| message(world).starts_with("waiting for its turn")));
    let full = Command { full: true, ..ask(&world, Verb::Promote) };
    assert!(say(&mut world, full).0);
    world.settle(300);
    assert_eq!(world.stable_tag().as_deref(), Some("v2"));
}

#[test]
fn a_circle_says_so() {
    let mut world = ordered(Some("1-new"));
    world.around.cycle = vec!["web".parse().unwrap(), "users".parse().unwrap()];
    let waits = "waiting for its turn: deploy.after leads round in a circle, web, users, web: one of them must go first";
    assert!(world.until(60, |world| message(world) == waits));
}
