//! Declared gates and objectives, on the toy cluster.

use std::time::Duration;

use super::world::{Behaviour, World};
use crate::model::gate::{Asks, DeclaredGate, Measure, Slo, When};
use crate::model::policy::{OnUnknown, Strategy};
use crate::model::record::Record;
use crate::model::rollout::{Hold, Outcome, Phase};
use crate::model::samples::Measured;
use crate::model::verdict::{Answer, Gate};

fn gate(when: When) -> DeclaredGate {
    DeclaredGate {
        name: "sold".into(),
        asks: Asks::Measured(Measure::Metric {
            query: "a{v=\"{{version}}\"}".into(),
            min: Some(0.9),
            max: None,
        }),
        when,
        interval: Duration::from_secs(2),
        failure_limit: 1,
        initial_delay: Duration::ZERO,
        timeout: Duration::from_secs(1),
        dry_run: false,
    }
}

/// A world where v1 is stable and v2, with this gate, is merged.
fn merged(gate: DeclaredGate, measured: Option<Measured>) -> World {
    let mut world = World::new();
    world.merge("v1", Strategy::Canary, Behaviour::Healthy);
    world.settle(200);
    world.merge("v2", Strategy::Canary, Behaviour::Healthy);
    world.desired_mut().policy.gates = vec![gate];
    if let Some(measured) = measured {
        world.measures.insert("gate/sold".into(), measured);
    }
    world
}

fn record(world: &World) -> &Record {
    world.record.as_ref().unwrap()
}

fn fails() -> Measured {
    Measured::Fail("0.5 is below 0.9".into(), Some(0.5))
}

fn passes() -> Measured {
    Measured::Pass(Some(0.95))
}

fn ticks(world: &mut World, many: u32) {
    (0..many).for_each(|_| world.tick());
}

#[test]
fn nothing_is_created_before_the_gates_that_come_before_passed() {
    let mut world = merged(gate(When::Before), None);
    ticks(&mut world, 30);
    assert!(!world.has_object("web-canary"));
    assert_eq!(record(&world).rollout.as_ref().unwrap().phase, Phase::Preparing);
    world.measures.insert("gate/sold".into(), Measured::Unknown("Prometheus: no answer within 1s".into()));
    ticks(&mut world, 30);
    assert!(!world.has_object("web-canary"));
    let message = &record(&world).message;
    assert_eq!(message, "waiting before its first pod: gate sold: Prometheus: no answer within 1s");
    world.measures.insert("gate/sold".into(), passes());
    world.settle(400);
    assert_eq!(world.stable_tag().as_deref(), Some("v2"));
}

#[test]
fn a_gate_that_comes_before_fails_a_version_that_never_ran() {
    let mut world = merged(gate(When::Before), Some(fails()));
    let created = world.creates.clone();
    world.settle(60);
    let record = record(&world);
    assert_eq!((record.history[&2].outcome, record.held[&2].hold), (Outcome::Failed, Hold::Held));
    assert_eq!(record.held[&2].verdict.gate, Gate::Declared);
    let sentence = "gate sold fail: 0.5 is below 0.9: 2 of 2 measurements failed, 1 may (value 0.5, limit 0.9, 2 samples";
    assert!(record.history[&2].verdict.starts_with(sentence), "{}", record.history[&2].verdict);
    assert!(!world.creates.contains_key("web-canary") && created.len() == world.creates.len());
    assert_eq!(world.stable_tag().as_deref(), Some("v1"));
}

#[test]
fn not_to_know_parks_and_holds_nothing_against_the_version() {
    let silent = Measured::Unknown("Prometheus: no answer within 1s".into());
    let mut world = merged(gate(When::Before), Some(silent.clone()));
    assert!(world.until(400, |world| record(world).history.contains_key(&2)));
    assert_eq!(record(&world).held[&2].hold, Hold::Parked);
    let mut world = merged(gate(When::Before), Some(silent));
    world.desired_mut().policy.rollback.on_unknown = OnUnknown::Continue;
    world.settle(400);
    assert_eq!(world.stable_tag().as_deref(), Some("v2"), "it is passed over");
}

#[test]
fn one_failure_is_accepted_and_no_step_ends_on_it() {
    let mut world = merged(gate(When::During), Some(passes()));
    let at =
        |world: &World, phase| record(world).rollout.as_ref().is_some_and(|rollout| rollout.phase == phase);
    assert!(world.until(60, |world| at(world, Phase::Progressing) && !world.weights.is_empty()));
    ticks(&mut world, 4);
    world.measures.insert("gate/sold".into(), fails());
    ticks(&mut world, 2);
    // It is measured no more: the newest one failed.
    let step = record(&world).rollout.as_ref().unwrap().step;
    world.measures.clear();
    ticks(&mut world, 60);
    let rollout = record(&world).rollout.clone().unwrap();
    assert_eq!((rollout.step, rollout.phase), (step, Phase::Progressing));
    world.restart();
    ticks(&mut world, 3);
    world.measures.insert("gate/sold".into(), fails());
    world.settle(200);
    assert_eq!(record(&world).history[&2].outcome, Outcome::RolledBack);
    let verdict = &record(&world).held[&2].verdict;
    assert_eq!((verdict.gate, verdict.name.as_deref()), (Gate::Declared, Some("sold")));
    assert_eq!(world.stable_tag().as_deref(), Some("v1"));
}

#[test]
fn a_dry_run_is_told_and_decides_nothing() {
    for measured in [Some(fails()), None] {
        let mut world = merged(DeclaredGate { dry_run: true, ..gate(When::During) }, measured.clone());
        let told = |world: &World| {
            let rollout = record(world).rollout.as_ref();
            rollout.and_then(|rollout| rollout.stage.verdicts.get("gate/sold")).map(ToString::to_string)
        };
        if measured.is_some() {
            assert!(world.until(100, |world| {
                told(world).is_some_and(|text| text.starts_with("gate sold fail (dry run): "))
            }));
        }
        world.settle(400);
        assert_eq!(world.stable_tag().as_deref(), Some("v2"));
    }
}

#[test]
fn the_end_of_the_bake_asks_the_gates_that_come_after() {
    for (measured, outcome, tag) in
        [(passes(), Outcome::Promoted, "v2"), (fails(), Outcome::RolledBack, "v1")]
    {
        let mut world = merged(gate(When::After), None);
        let over =
            |world: &World| record(world).rollout.as_ref().is_some_and(|rollout| rollout.stage.pause_over);
        assert!(world.until(300, over));
        assert_eq!(record(&world).rollout.as_ref().unwrap().phase, Phase::Baking);
        ticks(&mut world, 4);
        assert!(record(&world).rollout.is_some(), "it waits for the gate");
        world.measures.insert("gate/sold".into(), measured);
        world.settle(300);
        assert_eq!(record(&world).history[&2].outcome, outcome);
        assert_eq!(world.stable_tag().as_deref(), Some(tag));
    }
}

#[test]
fn a_budget_is_waited_for_a_day_at_most() {
    let budget = |left: f64| Measured::Fail(format!("{left} is below 0.2"), Some(left));
    let slo = || {
        let (good, total, window) = ("g".to_owned(), "t".to_owned(), Duration::from_hours(720));
        Slo {
            name: "availability".into(),
            measure: Measure::Budget { good, total, objective: 0.999, window, min: 0.2 },
        }
    };
    let begin = || {
        let mut world = merged(DeclaredGate { dry_run: true, ..gate(When::After) }, None);
        world.desired_mut().policy.slo = vec![slo()];
        world.measures.insert("slo/availability".into(), budget(0.05));
        ticks(&mut world, 10);
        world
    };
    let mut world = begin();
    let rollout = record(&world).rollout.as_ref().unwrap();
    let verdict = &rollout.stage.verdicts["slo/availability"];
    assert_eq!((rollout.phase, verdict.answer), (Phase::Preparing, Answer::Unknown));
    assert!(verdict.to_string().contains("(value 5.0 %, limit 20.0 %"), "{verdict}");
    // Longer than `unknown_timeout`: it is known how much is left.
    ticks(&mut world, 400);
    assert_eq!(record(&world).rollout.as_ref().unwrap().phase, Phase::Preparing);
    world.measures.insert("slo/availability".into(), Measured::Pass(Some(0.5)));
    world.settle(400);
    assert_eq!(world.stable_tag().as_deref(), Some("v2"));
    let mut world = begin();
    world.now += Duration::from_hours(24);
    ticks(&mut world, 5);
    assert_eq!(
        (record(&world).history[&2].outcome, record(&world).held[&2].hold),
        (Outcome::Failed, Hold::Parked)
    );
}
