//! The bed itself: a quiet plan goes as it should, one seed twice gives one trace.

use super::gateway::Way;
use super::heads::{ENVIRONMENT, Shape, Workshop};
use super::plan::{Action, Harm, Plan};
use super::play::{Played, play};

fn played(plan: &Plan) -> Played {
    let played = play(&Workshop::new(ENVIRONMENT).unwrap(), plan, true).unwrap();
    assert_eq!(played.violations, [], "{plan:?}\n{}", played.lines.join("\n"));
    played
}

fn commit(tag: &str) -> Action {
    Action::Commit { tag: tag.to_owned(), late: 0 }
}

#[test]
fn a_good_version_and_a_bad_one() {
    for shape in [Shape::canary(), Shape::plain()] {
        let plan = Plan::quiet(1, shape, 3).then(120, commit("v1.good")).then(400, commit("v2.errors-40"));
        let played = played(&plan);
        assert_eq!(played.outcomes["Promoted"], 3, "{:?}", played.outcomes);
        assert_eq!(played.outcomes["RolledBack"], 1, "{:?}", played.outcomes);
    }
}

/// What is left of an evicted pod lies about until somebody tidies up.
#[test]
fn a_pod_that_was_put_out_hinders_no_promotion() {
    for shape in [Shape::canary(), Shape::plain()] {
        let plan =
            Plan::quiet(2, shape, 3).then(60, Action::Harm(Harm::PutOut, 0)).then(120, commit("v1.good"));
        assert_eq!(played(&plan).outcomes["Promoted"], 3);
    }
}

/// The candidate is removed once, and not made again while stable's pods are on their way.
#[test]
fn a_way_back_to_a_stable_that_is_not_ready_comes_to_rest() {
    let lost = Action::NodeLost { seconds: 60 };
    let plan = Plan::quiet(3, Shape::canary(), 3).then(120, commit("v1.crash")).then(124, lost);
    let played = played(&plan);
    let made = played.lines.iter().filter(|line| line.contains("idpd/1 deleted Deployment/web-canary"));
    assert_eq!((played.outcomes["RolledBack"], made.count()), (1, 2), "the good one's is removed as well");
}

/// A version that crashes now and then was promoted, since it ran well for as long as its pause was. What mends it must not wait for
/// all of its pods to be ready at once, which they never are.
#[test]
fn a_stable_that_crashes_again_and_again_is_mended_by_a_commit() {
    let shape = Shape { steps: vec![(50, 0), (100, 10)], progress_deadline: 30, ..Shape::canary() };
    let plan = Plan::quiet(31, shape, 2);
    let plan = plan.then(119, Action::Scale { replicas: 5 }).then(156, commit("v1.crash-15s"));
    let played = played(&plan.then(264, commit("v2.good")));
    assert_eq!(played.outcomes, [("Promoted".to_owned(), 4)].into());
}

/// Who goes on without what cannot be measured goes on where too little traffic would hold as well, and no pass asks for itself again
/// and again.
#[test]
fn going_on_without_measures_goes_on_without_traffic() {
    let shape = Shape { on_unknown: "continue", on_low_traffic: "hold", ..Shape::plain() };
    let plan = Plan::quiet(59, shape, 2).then(60, commit("v1.metrics-hang"));
    assert_eq!(played(&plan).outcomes["Promoted"], 3);
}

/// Each of two leaders wrote its own term into the team's route over the other's, and the older went on under the newer's.
#[test]
fn who_is_followed_by_another_stops_at_the_first_sign_of_it() {
    let steps = vec![(20, 24), (60, 0), (100, 24)];
    let shape = Shape { steps, route: Some(Way::VirtualService), ..Shape::canary() };
    let plan = Plan::quiet(221, shape, 3).then(261, commit("v1.slow-15s"));
    assert_eq!(played(&plan.then(347, Action::Takeover { overlap: 7_194 })).outcomes["Promoted"], 3);
}

/// Who reads a record of a newer term does nothing under it.
#[test]
fn who_finds_that_another_leads_lets_it() {
    let plan = Plan::quiet(2, Shape::canary(), 3).then(120, commit("v1.good"));
    assert_eq!(played(&plan.then(140, Action::Takeover { overlap: 15_000 })).outcomes["Promoted"], 3);
}

/// One seed twice gives one trace.
#[test]
fn the_same_seed_gives_the_same_trace() {
    for seed in [3, 4] {
        let [one, two] = [(); 2].map(|()| super::one(seed).unwrap());
        for (number, (one, two)) in one.1.iter().zip(&two.1).enumerate() {
            assert_eq!(one, two, "line {number} of seed {seed}");
        }
        assert_eq!(one.0.summary, two.0.summary, "seed {seed}");
    }
}

/// Few, since an unoptimised pass takes ten times as long; `idp simulate` plays as many as are asked for.
#[test]
fn every_property_holds_over_some_seeds() {
    let ran = super::run(&super::Asked { seeds: 0..64, threads: 2 }, |_| {}).unwrap();
    if let Some(failure) = ran.failure {
        panic!("{failure}");
    }
}
