//! An API server that refuses, stumbles, or does not answer: a good rollout and a bad one end as they would have, nothing is doubled,
//! and the topic has what it would have had.

use std::sync::atomic::{AtomicU64, Ordering};

use idp::model::rollout::Outcome;
use idp::sandbox::Fault;
use idp::sandbox::api::Request;

use super::process::AGENT;
use super::world::{FIRST, GOOD, ROLLED_BACK, Setup, World};

/// A good rollout and a bad one under faults that `choose` picks for the daemon's requests; it gets the request and its number.
async fn good_and_bad(choose: impl Fn(&Request, u64) -> Option<Fault> + Send + Sync + 'static) {
    let mut world = World::deployed(Setup::default()).await;
    let count = AtomicU64::new(0);
    world.sandbox.server().inject(move |request| {
        // Without its lease it would be another story, which is told elsewhere.
        if request.user_agent != AGENT || request.kind == "Lease" || request.kind == "Event" {
            return None;
        }
        choose(request, count.fetch_add(1, Ordering::Relaxed))
    });
    let good = world.merge("two", "healthy");
    world.ends(2, Outcome::Promoted).await;
    world.merge("three", "crash");
    world.ends(3, Outcome::RolledBack).await;
    world.sandbox.server().clear_faults();
    world.is_sound(2).await;
    assert_eq!(world.image().await, world.image_of(&good));
    assert_eq!(world.all_events().await, [FIRST.as_slice(), &GOOD, &ROLLED_BACK].concat());
    let record = world.record().await;
    assert_eq!((record.rollouts, record.held.len()), (3, 1));
}

fn every(nth: u64, fault: Fault) -> impl Fn(&Request, u64) -> Option<Fault> + Send + Sync {
    let count = AtomicU64::new(0);
    move |request, _| {
        let hit = request.verb.is_mutating() && count.fetch_add(1, Ordering::Relaxed) % nth == nth - 1;
        hit.then(|| fault.clone())
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_fault_at_all() {
    good_and_bad(|_, _| None).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_second_write_conflicts() {
    good_and_bad(every(2, Fault::status(409))).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_third_write_is_forbidden() {
    good_and_bad(every(3, Fault::status(403))).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_sixth_write_is_throttled_for_a_second() {
    good_and_bad(every(6, Fault::status(429))).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_second_write_lands_and_its_answer_is_lost() {
    good_and_bad(every(2, Fault::ApplyThenDrop)).await;
}

/// Storms of 500, reads and watches too.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn storms_of_500() {
    good_and_bad(|_, number| (number % 20 < 4).then(|| Fault::status(500))).await;
}

/// Three requests are never answered: one without an effect, one with, and one read.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn some_requests_hang() {
    good_and_bad(|_, number| match number {
        3 => Some(Fault::Hang),
        9 => Some(Fault::ApplyThenHang),
        _ => None,
    })
    .await;
}
