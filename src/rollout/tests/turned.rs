//! A candidate that is watched for long, with a sample a second: how many samples it takes to see that it turned bad, and how seldom anything is
//! written while nothing happens. The same in wall time is a figure of `benches/`.

use std::time::Duration;

use super::world::{Behaviour, World, digest};
use crate::model::policy::{Step, Strategy};

const HOUR: Duration = Duration::from_hours(1);

/// A canary in its first step, which lasts an hour, of a policy with this limit.
fn watched(limit: f64) -> World {
    let mut world = World::new();
    world.merge("v1", Strategy::Canary, Behaviour::Healthy);
    world.settle(200);
    world.merge("v2", Strategy::Canary, Behaviour::Healthy);
    let policy = &mut world.desired_mut().policy;
    policy.steps = vec![Step::timed(50, HOUR), Step::timed(100, Duration::from_secs(4))];
    policy.health.interval = Duration::from_secs(1);
    policy.rollback.max_error_rate = Some(limit);
    let stands = |world: &World| {
        let rollout = world.record.as_ref().and_then(|record| record.rollout.as_ref());
        rollout.is_some_and(|rollout| rollout.stage.ready_at.is_some())
    };
    assert!(world.until(100, stands));
    world
}

/// The samples until a candidate is taken back that was well for so long and then fails so many of a hundred requests a second and pod.
fn samples_until(well: u32, percent: u64) -> u32 {
    let mut world = watched(0.05);
    world.until(well, |_| false);
    world.behaviours.insert(digest("v2"), Behaviour::Errors(percent));
    let mut seconds = 0;
    while world.phase() == "Progressing" {
        world.tick();
        seconds += 1;
        assert!(seconds < 100, "{percent} % was never seen");
    }
    // The pass of a second comes before its sample.
    seconds - 1
}

#[test]
fn a_candidate_that_turns_bad_is_taken_back_within_a_sample_or_three() {
    for well in [3, 240] {
        assert_eq!(samples_until(well, 50), 1, "blatant, after {well} s");
        let five_times = samples_until(well, 25);
        assert!(
            (1..=3).contains(&five_times),
            "{five_times} samples at five times the limit, after {well} s"
        );
    }
}

#[test]
fn a_canary_that_is_watched_is_written_once_a_minute() {
    for behaviour in [Behaviour::Healthy, Behaviour::Errors(2)] {
        let mut world = watched(0.05);
        world.behaviours.insert(digest("v2"), behaviour);
        world.until(70, |_| false);
        let before = world.mutations;
        world.until(600, |_| false);
        assert_eq!((world.phase().as_str(), world.mutations - before), ("Progressing", 10), "{behaviour:?}");
    }
}
