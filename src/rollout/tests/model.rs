//! An exhaustive walk of the machine: a canary of three steps under two leaders, of which the first wakes up late with what it had
//! decided, one version that supersedes the running one, crashes before a write and with its reply lost. Every order of these is
//! walked; states that differ in times and names only are one.

use std::collections::HashSet;
use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash as _, Hasher as _};
use std::time::Duration;

use super::world::{Behaviour, Cut, Decision, World};
use crate::model::policy::{Step, Strategy};
use crate::model::rollout::Outcome;

/// A moment of the walk.
#[derive(Clone)]
struct State {
    world: World,
    /// What the first leader had decided when it was stopped.
    late: Option<Decision>,
    crashes: u32,
    supersedes: u32,
    handovers: u32,
}

/// How much may go wrong.
#[derive(Debug, Clone, Copy)]
struct Bounds {
    crashes: u32,
    supersedes: u32,
    handovers: u32,
}

fn essence(state: &State) -> u64 {
    let text = state.world.essence().to_string();
    let mut hasher = DefaultHasher::new();
    // Times are of no matter: no step has a pause.
    let mut rest = text.as_str();
    while let Some(at) = rest.find("2026-") {
        rest[..at].hash(&mut hasher);
        rest = rest[at..].find('"').map_or("", |end| &rest[at + end..]);
    }
    rest.hash(&mut hasher);
    (state.late.is_some(), state.crashes, state.supersedes, state.handovers).hash(&mut hasher);
    hasher.finish()
}

fn steps() -> Vec<Step> {
    [34, 67, 100].map(|weight| Step::timed(weight, Duration::ZERO)).to_vec()
}

fn merge(world: &mut World, tag: &str, behaviour: Behaviour) {
    world.merge(tag, Strategy::Canary, behaviour);
    world.desired_mut().policy.steps = steps();
}

/// Returns every state that can follow, in one action each.
fn next(state: &State) -> Vec<State> {
    let mut all = Vec::new();
    let mut passed = state.clone();
    passed.world.tick();
    let writes = passed.world.mutations - state.world.mutations;
    all.push(passed);
    if state.crashes > 0 {
        for number in 1..=writes {
            for cut in [Cut::Before, Cut::ReplyLost] {
                let mut cut_down = State { crashes: state.crashes - 1, ..state.clone() };
                cut_down.world.cut = Some((state.world.mutations + number, cut));
                cut_down.world.tick();
                cut_down.world.cut = None;
                all.push(cut_down);
            }
        }
    }
    if state.supersedes > 0 {
        let mut superseded = State { supersedes: state.supersedes - 1, ..state.clone() };
        merge(&mut superseded.world, "v3", Behaviour::Healthy);
        all.push(superseded);
    }
    if state.handovers > 0 {
        let mut handed = State { handovers: state.handovers - 1, ..state.clone() };
        handed.late = handed.world.decide();
        handed.world.restart();
        handed.world.epoch += 1;
        all.push(handed);
    }
    if let Some(decision) = &state.late {
        let mut woken = State { late: None, ..state.clone() };
        woken.world.act_late(decision.clone());
        all.push(woken);
    }
    all
}

/// Walks all states; returns how many there are, and how many ends.
fn walk(behaviour: Behaviour, bounds: Bounds) -> (usize, usize) {
    let mut world = World::new();
    merge(&mut world, "v1", Behaviour::Healthy);
    world.settle(200);
    merge(&mut world, "v2", behaviour);
    let Bounds { crashes, supersedes, handovers } = bounds;
    let mut todo = vec![State { world, late: None, crashes, supersedes, handovers }];
    let (mut seen, mut ends) = (HashSet::new(), 0);
    while let Some(state) = todo.pop() {
        if !seen.insert(essence(&state)) {
            continue;
        }
        let record = state.world.record.as_ref().unwrap();
        let over = record.rollout.is_none() && record.rollouts > 1;
        if over && state.late.is_none() {
            ends += 1;
            end(state, behaviour);
            continue;
        }
        todo.extend(next(&state));
    }
    (seen.len(), ends)
}

/// What must hold wherever the walk ends, once all is quiet.
fn end(mut state: State, behaviour: Behaviour) {
    let superseded = state.supersedes == 0;
    state.world.label = format!("{} crashes, {} handovers left", state.crashes, state.handovers);
    state.world.settle(400);
    let good = behaviour == Behaviour::Healthy;
    let wanted = if superseded {
        "v3"
    } else if good {
        "v2"
    } else {
        "v1"
    };
    assert_eq!(state.world.stable_tag().as_deref(), Some(wanted), "{}", state.world.label);
    assert!(!state.world.has_object("web-canary"), "{}", state.world.label);
    // What came right after it may have taken its place before it began.
    let record = state.world.record.as_ref().unwrap();
    let tried = record.history.values().filter(|summary| summary.identity.0 == "1-v2");
    for summary in tried {
        let fair = if good { Outcome::Promoted } else { Outcome::RolledBack };
        let may = summary.outcome == fair || superseded && summary.outcome == Outcome::Superseded;
        assert!(may, "{:?} with {}", summary.outcome, state.world.label);
    }
}

#[test]
fn every_order_of_two_leaders_a_newer_version_and_crashes_ends_well() {
    let bounds = Bounds { crashes: 1, supersedes: 1, handovers: 1 };
    let (states, ends) = walk(Behaviour::Healthy, bounds);
    println!("healthy: {states} states, {ends} ends");
    assert!(states > 1_000 && ends > 10, "{states} states, {ends} ends");
}

#[test]
fn and_so_does_a_version_that_crashes() {
    let bounds = Bounds { crashes: 1, supersedes: 1, handovers: 1 };
    let (states, ends) = walk(Behaviour::Crash, bounds);
    println!("crashing: {states} states, {ends} ends");
    assert!(states > 500 && ends > 10, "{states} states, {ends} ends");
}
