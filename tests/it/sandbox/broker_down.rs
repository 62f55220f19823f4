//! The broker is away during rollouts: they go on, and every event arrives later, once and in order.

use idp::model::rollout::Outcome;

use super::world::{FIRST, GOOD, RELEASE, ROLLED_BACK, Setup, World};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_wait_for_the_broker_and_rollouts_do_not() {
    let mut world = World::deployed(Setup::default()).await;
    world.all_events().await;
    world.broker.as_ref().unwrap().cluster.broker_down(1).unwrap();
    world.merge("two", "healthy");
    world.ends(2, Outcome::Promoted).await;
    // What was not acknowledged survives the process, too.
    world.restart().await;
    world.merge("three", "crash");
    world.ends(3, Outcome::RolledBack).await;
    assert!(world.record().await.outbox.len() >= GOOD.len() - 1, "they wait in the record");
    assert_eq!(world.broker.as_mut().unwrap().types(RELEASE).len(), FIRST.len());
    world.broker.as_ref().unwrap().cluster.broker_up(1).unwrap();
    assert_eq!(world.all_events().await, [FIRST.as_slice(), &GOOD, &ROLLED_BACK].concat());
    world.is_sound(2).await;
}
