//! Leadership, on a paused clock.

use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::World;
use crate::cluster::calls::{Calls, Place};
use crate::cluster::lease::{self, Leadership, LeaseOptions};
use crate::cluster::raw;
use crate::model::record::Record;
use crate::sandbox::api::{Fault, Verb};

fn stand(world: &World, identity: &str) -> (Leadership, CancellationToken) {
    let shutdown = world.shutdown.child_token();
    let options = LeaseOptions::new("shop".parse().unwrap(), "test", identity.to_owned());
    let calls = Calls::new(world.server.client_as(identity));
    (lease::spawn(calls, options, world.newer.subscribe(), &world.tasks, &shutdown), shutdown)
}

async fn leads(leadership: &mut Leadership) -> u64 {
    let wait = async {
        loop {
            if let Some(epoch) = leadership.epoch() {
                return epoch;
            }
            assert!(leadership.changed().await);
        }
    };
    tokio::time::timeout(Duration::from_mins(2), wait).await.unwrap()
}

#[tokio::test(start_paused = true)]
async fn one_leads_and_keeps_leading_without_a_second_term() {
    let world = World::new().await;
    let (mut first, _keep) = stand(&world, "a");
    assert_eq!(leads(&mut first).await, 1);
    let (second, _keep_too) = stand(&world, "b");
    for _ in 0..60 {
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert_eq!((first.epoch(), second.epoch()), (Some(1), None));
    }
}

#[tokio::test(start_paused = true)]
async fn a_lease_that_is_given_back_is_taken_at_once_with_a_higher_epoch() {
    let world = World::new().await;
    let (mut first, stop) = stand(&world, "a");
    leads(&mut first).await;
    let (mut second, _keep) = stand(&world, "b");
    stop.cancel();
    let begin = Instant::now();
    assert_eq!(leads(&mut second).await, 2);
    assert!(begin.elapsed() <= Duration::from_secs(5), "{:?}", begin.elapsed());
    assert_eq!(first.epoch(), None);
}

#[tokio::test(start_paused = true)]
async fn a_silent_holder_stops_before_another_begins() {
    let world = World::new().await;
    let (mut first, _keep) = stand(&world, "a");
    leads(&mut first).await;
    let (mut second, _keep_too) = stand(&world, "b");
    tokio::time::sleep(Duration::from_secs(20)).await;
    world.server.inject(|request| (request.user_agent == "a").then_some(Fault::Hang));
    let begin = Instant::now();
    let ended = async {
        while first.epoch().is_some() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Instant::now()
    };
    let (ended, epoch) = tokio::join!(ended, leads(&mut second));
    let taken = Instant::now();
    assert_eq!(epoch, 2);
    assert!(ended < taken, "two leaders at one time");
    assert!(taken - begin <= Duration::from_secs(20), "{:?}", taken - begin);
    world.server.clear_faults();
    tokio::time::sleep(Duration::from_mins(1)).await;
    assert_eq!((first.epoch(), second.epoch()), (None, Some(2)));
}

#[tokio::test(start_paused = true)]
async fn a_renewal_whose_answer_was_lost_is_still_a_renewal() {
    let world = World::new().await;
    let (mut first, _keep) = stand(&world, "a");
    leads(&mut first).await;
    let once = std::sync::atomic::AtomicBool::new(true);
    world.server.inject(move |request| {
        let first = request.verb == Verb::Update && once.swap(false, std::sync::atomic::Ordering::Relaxed);
        first.then_some(Fault::ApplyThenDrop)
    });
    for _ in 0..30 {
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert_eq!(first.epoch(), Some(1));
    }
}

#[tokio::test(start_paused = true)]
async fn an_epoch_is_higher_than_that_of_any_record() {
    let world = World::new().await;
    let empty = world.cluster.create_record(world.owner()).await.unwrap();
    let mut record = super::records::sample();
    record.epoch = 41;
    world.cluster.store_record(&world.release, &empty, &record).await.unwrap();
    let (mut first, _keep) = stand(&world, "a");
    assert_eq!(leads(&mut first).await, 42);
    let resource = raw::resource("coordination.k8s.io/v1", "Lease");
    let place = Place { resource: &resource, namespace: "shop", name: "idpd-test" };
    let lease = world.calls().get(&place).await.unwrap().unwrap().into_value();
    assert_eq!(lease["spec"]["leaseTransitions"], 42);
    assert_eq!(lease["spec"]["holderIdentity"], "a");
}

/// A record that came from a backup may be of a term that never was here.
#[tokio::test(start_paused = true)]
async fn who_finds_a_record_of_a_newer_term_stands_anew_above_it() {
    let world = World::new().await;
    let (mut first, _keep) = stand(&world, "a");
    assert_eq!(leads(&mut first).await, 1);
    let empty = world.cluster.create_record(world.owner()).await.unwrap();
    let record = Record { epoch: 7, ..super::records::sample() };
    world.cluster.store_record(&world.release, &empty, &record).await.unwrap();
    world.newer.send_replace(7);
    let begin = Instant::now();
    let above = async {
        while first.epoch() != Some(8) {
            assert!(first.changed().await);
        }
    };
    tokio::time::timeout(Duration::from_mins(1), above).await.unwrap();
    assert!(begin.elapsed() < Duration::from_secs(1), "{:?}", begin.elapsed());
    for _ in 0..60 {
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert_eq!(first.epoch(), Some(8), "what was seen once is over");
    }
}

#[tokio::test(start_paused = true)]
async fn no_leader_without_the_records_epochs() {
    let world = World::new().await;
    world.server.inject(|request| (request.kind == "Release").then(|| Fault::status(500)));
    let (first, _keep) = stand(&world, "a");
    tokio::time::sleep(Duration::from_secs(30)).await;
    assert_eq!(first.epoch(), None);
}
