//! An exhaustive walk of the machine: a canary of three steps under two leaders, of which the first wakes up late with what it had
//! decided, one version that supersedes the running one, crashes before a write and with its reply lost, and a pass that is shown what
//! was there before the controllers' last round. Every order of these is walked; states that differ in times, in counts of what was done
//! and in what names were given are one.

use std::collections::hash_map::DefaultHasher;
use std::collections::{HashMap, HashSet};
use std::hash::{Hash as _, Hasher as _};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
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
    left: Bounds,
}

/// How much may go wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Bounds {
    crashes: u32,
    supersedes: u32,
    handovers: u32,
    stale: u32,
}

/// Tells whether a text is a name that was given in the order in which things were made, and no other name.
fn is_given(text: &str) -> bool {
    let number = text.strip_prefix("pod-").or_else(|| text.strip_prefix('u'));
    number.is_some_and(|number| !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit()))
}

fn essence(state: &State) -> u64 {
    let text = state.world.essence();
    let mut hasher = DefaultHasher::new();
    let mut names: HashMap<&str, usize> = HashMap::new();
    for part in text.split('"') {
        if is_given(part) {
            let next = names.len();
            names.entry(part).or_insert(next).hash(&mut hasher);
        } else if !part.starts_with("2026-") {
            // Times are of no matter: no step has a pause.
            part.hash(&mut hasher);
        }
    }
    (state.late.is_some(), state.left).hash(&mut hasher);
    hasher.finish()
}

fn steps() -> Vec<Step> {
    [34, 67, 100].map(|weight| Step::timed(weight, Duration::ZERO)).to_vec()
}

fn merge(world: &mut World, tag: &str, behaviour: Behaviour) {
    world.merge(tag, Strategy::Canary, behaviour);
    world.desired_mut().policy.steps = steps();
}

/// Passes until nothing follows, then a second; and the same cut at each of its writes, if a crash is left.
fn passed(state: &State, all: &mut Vec<State>) {
    let mut passed = state.clone();
    passed.world.tick();
    let writes = passed.world.mutations - state.world.mutations;
    all.push(passed);
    if state.left.crashes == 0 {
        return;
    }
    for number in 1..=writes {
        for cut in [Cut::Before, Cut::ReplyLost] {
            let mut cut_down = state.clone();
            cut_down.left.crashes -= 1;
            cut_down.world.cut = Some((state.world.mutations + number, cut));
            cut_down.world.tick();
            cut_down.world.cut = None;
            all.push(cut_down);
        }
    }
}

/// Returns every state that can follow, in one action each.
fn next(state: &State) -> Vec<State> {
    let mut all = Vec::new();
    passed(state, &mut all);
    if state.left.stale > 0 && state.world.past.is_some() {
        let mut late = state.clone();
        late.left.stale -= 1;
        late.world.keeps_past = late.left.stale > 0;
        late.world.shown = late.world.past.take();
        passed(&late, &mut all);
    }
    if state.left.supersedes > 0 {
        let mut superseded = state.clone();
        superseded.left.supersedes -= 1;
        merge(&mut superseded.world, "v3", Behaviour::Healthy);
        all.push(superseded);
    }
    if state.left.handovers > 0 {
        let mut handed = state.clone();
        handed.left.handovers -= 1;
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

/// What several threads walk together.
struct Walk {
    behaviour: Behaviour,
    todo: Mutex<Vec<State>>,
    seen: Mutex<HashSet<u64>>,
    /// States that are to be looked at, or are being looked at.
    open: AtomicUsize,
    ends: AtomicUsize,
    broken: AtomicBool,
}

impl Walk {
    fn work(&self) {
        struct Guard<'a>(&'a AtomicBool);
        impl Drop for Guard<'_> {
            fn drop(&mut self) {
                self.0.fetch_or(std::thread::panicking(), Ordering::Relaxed);
            }
        }
        let guard = Guard(&self.broken);
        while self.open.load(Ordering::SeqCst) > 0 && !guard.0.load(Ordering::Relaxed) {
            let Some(state) = lock(&self.todo).pop() else {
                std::thread::yield_now();
                continue;
            };
            let follow = self.look(state);
            self.open.fetch_add(follow.len(), Ordering::SeqCst);
            lock(&self.todo).extend(follow);
            self.open.fetch_sub(1, Ordering::SeqCst);
        }
    }

    /// Returns what follows a state that was not seen.
    fn look(&self, state: State) -> Vec<State> {
        let record = state.world.record.as_ref().unwrap();
        if record.rollout.is_some() || record.rollouts <= 1 || state.late.is_some() {
            let all = next(&state).into_iter();
            return all.filter(|state| lock(&self.seen).insert(essence(state))).collect();
        }
        self.ends.fetch_add(1, Ordering::Relaxed);
        end(state, self.behaviour);
        Vec::new()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Walks all states; returns how many there are, and how many ends.
fn walk(behaviour: Behaviour, left: Bounds, threads: usize) -> (usize, usize) {
    let mut world = World::new();
    merge(&mut world, "v1", Behaviour::Healthy);
    world.settle(200);
    merge(&mut world, "v2", behaviour);
    world.trusts = true;
    world.keeps_past = left.stale > 0;
    world.transitions.clear();
    let first = State { world, late: None, left };
    let walk = Walk {
        behaviour,
        seen: Mutex::new([essence(&first)].into()),
        todo: Mutex::new(vec![first]),
        open: AtomicUsize::new(1),
        ends: AtomicUsize::new(0),
        broken: AtomicBool::new(false),
    };
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| walk.work());
        }
    });
    let found = (lock(&walk.seen).len(), walk.ends.load(Ordering::Relaxed));
    println!("{behaviour:?}, {left:?}: {} states, {} ends", found.0, found.1);
    found
}

/// What must hold wherever the walk ends, once all is quiet.
fn end(mut state: State, behaviour: Behaviour) {
    let superseded = state.left.supersedes == 0;
    state.world.label = format!("{:?} left", state.left);
    state.world.keeps_past = false;
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

const WHOLE: Bounds = Bounds { crashes: 2, supersedes: 1, handovers: 1, stale: 1 };

#[test]
fn every_order_of_two_leaders_a_newer_version_and_crashes_ends_well() {
    let (states, ends) = walk(Behaviour::Healthy, Bounds { crashes: 1, stale: 0, ..WHOLE }, 1);
    assert!(states > 1_000 && ends > 10, "{states} states, {ends} ends");
}

#[test]
fn and_so_does_a_version_that_crashes() {
    let (states, ends) = walk(Behaviour::Crash, Bounds { crashes: 1, ..WHOLE }, 1);
    assert!(states > 500 && ends > 10, "{states} states, {ends} ends");
}

/// `cargo test --release --lib -- --ignored --nocapture the_whole_walk`
#[test]
#[ignore = "minutes without optimisation: ask for it in release"]
fn the_whole_walk_with_two_crashes_and_a_stale_read() {
    for behaviour in [Behaviour::Healthy, Behaviour::Crash] {
        let (states, ends) = walk(behaviour, WHOLE, 2);
        assert!(states > 10_000 && ends > 100, "{states} states, {ends} ends");
    }
}
